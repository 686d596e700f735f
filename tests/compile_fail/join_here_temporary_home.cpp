// expect: nsjoin: keep the Home
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto visits(const nsjoin::Home<Kind::net>& home,
                             const nsjoin::NamespaceFd<Kind::net>& net) -> bool {
    (void)home;
#ifdef NSJOIN_REJECT
    return nsjoin::join_here(*nsjoin::Home<Kind::net>::open(), net).has_value();
#else
    return nsjoin::join_here(home, net).has_value();
#endif
}
