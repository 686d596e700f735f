// expect: deleted
#include <nsjoin/fd.hpp>

[[maybe_unused]] auto use(nsjoin::OwnedFd& fd) -> int {
#ifdef NSJOIN_REJECT
    const nsjoin::OwnedFd other{fd};
    return other.get();
#else
    const nsjoin::OwnedFd other{std::move(fd)};
    return other.get();
#endif
}
