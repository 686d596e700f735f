// expect: nsjoin: in the type: create<Kind::net>()
#include <nsjoin/plan.hpp>

[[maybe_unused]] void creates() {
    const nsjoin::JoinPlan plan;
#ifdef NSJOIN_REJECT
    (void)(plan.create(nsjoin::Kind::net, nsjoin::Kind::pid), 0);
#else
    (void)plan.create<nsjoin::Kind::net, nsjoin::Kind::pid>();
#endif
}
