// expect: nsjoin: there is no way back from a user namespace
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto visits(const nsjoin::Home<Kind::net>& home,
                             const nsjoin::NamespaceFd<Kind::net>& net,
                             const nsjoin::NamespaceFd<Kind::user>& user) -> bool {
    (void)net, (void)user;
#ifdef NSJOIN_REJECT
    return nsjoin::join_here(home, user).has_value();
#else
    return nsjoin::join_here(home, net).has_value();
#endif
}
