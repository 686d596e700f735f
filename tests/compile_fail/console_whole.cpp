// expect: nsjoin: the child's console is the peer's descriptor: console.peer.fd()
#include <nsjoin/nsjoin.hpp>

[[maybe_unused]] void takes(const nsjoin::Console& console) {
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.console(console), 0);
#else
    (void)nsjoin::JoinPlan{}.console(console.peer.fd());
#endif
}
