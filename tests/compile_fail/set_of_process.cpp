// expect: nsjoin: the plan says what a process is to be, and create_namespaces() leaves
#include <nsjoin/create_namespaces.hpp>

[[maybe_unused]] void creates() {
    const auto plan = nsjoin::JoinPlan{}.create<nsjoin::Kind::net>();
#ifdef NSJOIN_REJECT
    (void)nsjoin::create_namespaces(plan.umask(0));
#else
    (void)nsjoin::create_namespaces(plan);
#endif
}
