// expect: nsjoin: a plan joins a process that is pinned: PidFd::open(pid) first
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::Result<nsjoin::PidFd>& target) {
    const nsjoin::JoinPlan plan;
#ifdef NSJOIN_REJECT
    (void)(plan.join(target->pid(), nsjoin::all_kinds), 0);
#else
    (void)plan.join(*target, nsjoin::all_kinds);
#endif
}
