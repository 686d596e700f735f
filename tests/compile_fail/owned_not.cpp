// expect: deleted
#include <nsjoin/fd.hpp>

[[maybe_unused]] auto use(nsjoin::OwnedFd& fd) -> int {
#ifdef NSJOIN_REJECT
    return !fd ? 1 : 0;
#else
    return fd.ok() ? 1 : 0;
#endif
}
