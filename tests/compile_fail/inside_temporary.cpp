// expect: nsjoin: keep the function in a variable
#include <nsjoin/plan.hpp>

[[maybe_unused]] void calls() {
    using nsjoin::Moment;
    const auto mount = []() noexcept {
        return nsjoin::Result<void>{};
    };
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.inside<Moment::last>(
               []() noexcept { return nsjoin::Result<void>{}; }),
           0);
#endif
    (void)nsjoin::JoinPlan{}.inside<Moment::last>(mount);
}
