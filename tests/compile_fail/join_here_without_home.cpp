// expect: nsjoin: give the Home to go back to
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto visits(const nsjoin::Home<Kind::net>& home,
                             const nsjoin::NamespaceFd<Kind::net>& net) -> bool {
    (void)home;
#ifdef NSJOIN_REJECT
    return nsjoin::join_here(net).has_value();
#else
    return nsjoin::join_here(home, net).has_value();
#endif
}
