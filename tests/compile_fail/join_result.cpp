// expect: nsjoin: this is a Result: look whether it is an error
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::Result<nsjoin::PidFd>& target) {
    const nsjoin::JoinPlan plan;
#ifdef NSJOIN_REJECT
    (void)(plan.join(target, nsjoin::all_kinds), 0);
#else
    (void)plan.join(*target, nsjoin::all_kinds);
#endif
}
