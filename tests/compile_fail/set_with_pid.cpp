// expect: nsjoin: a pid namespace ends with its first process
#include <nsjoin/create_namespaces.hpp>

[[maybe_unused]] void creates() {
    using nsjoin::Kind;
#ifdef NSJOIN_REJECT
    (void)nsjoin::create_namespaces(nsjoin::JoinPlan{}.create<Kind::net, Kind::pid>());
#else
    (void)nsjoin::create_namespaces(nsjoin::JoinPlan{}.create<Kind::net>());
#endif
}
