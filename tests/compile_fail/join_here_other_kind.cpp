// expect: nsjoin: the Home to go back to lacks this kind
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto visits(const nsjoin::Home<Kind::net>& home,
                             const nsjoin::NamespaceFd<Kind::net>& net,
                             const nsjoin::NamespaceFd<Kind::uts>& uts) -> bool {
    (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::join_here(home, uts).has_value();
#else
    return nsjoin::join_here(home, net).has_value();
#endif
}
