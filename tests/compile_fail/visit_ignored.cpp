// expect: nodiscard
#include <nsjoin/join_here.hpp>

using nsjoin::Kind;

[[maybe_unused]] void visits(const nsjoin::Home<Kind::net>& home,
                             const nsjoin::NamespaceFd<Kind::net>& net) {
#ifdef NSJOIN_REJECT
    nsjoin::join_here(home, net);
#else
    const auto visit = nsjoin::join_here(home, net);
#endif
}
