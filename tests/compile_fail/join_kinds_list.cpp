// expect: nsjoin: kinds<Kind::net>
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::Result<nsjoin::PidFd>& target) {
    const nsjoin::JoinPlan plan;
#ifdef NSJOIN_REJECT
    (void)(plan.join(*target, {nsjoin::Kind::net, nsjoin::Kind::uts}), 0);
#else
    (void)plan.join(*target, nsjoin::kinds<nsjoin::Kind::net, nsjoin::Kind::uts>);
#endif
}
