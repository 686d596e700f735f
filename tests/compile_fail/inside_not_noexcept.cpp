// expect: nsjoin: a function to call inside takes no argument, is noexcept and
#include <nsjoin/plan.hpp>

[[maybe_unused]] void calls() {
    using nsjoin::Moment;
#ifdef NSJOIN_REJECT
    const auto mount = [] {
        return nsjoin::Result<void>{};
    };
#else
    const auto mount = []() noexcept {
        return nsjoin::Result<void>{};
    };
#endif
    (void)nsjoin::JoinPlan{}.create<nsjoin::Kind::mount>().inside<Moment::last>(mount);
}
