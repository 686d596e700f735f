// expect: nsjoin: this needs a new namespace: create<Kind::mount>() first
#include <nsjoin/plan.hpp>

[[maybe_unused]] void brings_up(const nsjoin::PidFd& target) {
#ifdef NSJOIN_REJECT
    (void)nsjoin::JoinPlan{}.join(target, nsjoin::kinds<nsjoin::Kind::net>).loopback_up();
#else
    (void)target;
    (void)nsjoin::JoinPlan{}.create<nsjoin::Kind::net>().loopback_up();
#endif
}
