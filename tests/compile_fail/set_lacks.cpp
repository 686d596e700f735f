// expect: nsjoin: the set has no namespace of this kind
#include <nsjoin/namespace_set.hpp>

[[maybe_unused]] auto read(const nsjoin::NamespaceSet<nsjoin::Kind::net>& set)
    -> nsjoin::BorrowedFd {
#ifdef NSJOIN_REJECT
    return set.fd<nsjoin::Kind::uts>();
#else
    return set.fd<nsjoin::Kind::net>();
#endif
}
