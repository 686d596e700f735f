// expect: nsjoin: name the kinds in the type
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::Result<nsjoin::PidFd>& target) {
    const nsjoin::JoinPlan plan;
#ifdef NSJOIN_REJECT
    (void)(plan.join(*target, nsjoin::Kind::net), 0);
#else
    (void)plan.join(*target, nsjoin::kinds<nsjoin::Kind::net>);
#endif
}
