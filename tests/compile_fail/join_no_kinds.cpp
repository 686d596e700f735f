// expect: nsjoin: of which kinds: all_kinds
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::Result<nsjoin::PidFd>& target) {
    const nsjoin::JoinPlan plan;
#ifdef NSJOIN_REJECT
    (void)(plan.join(*target), 0);
#else
    (void)plan.join(*target, nsjoin::all_kinds);
#endif
}
