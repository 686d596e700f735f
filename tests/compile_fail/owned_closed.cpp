// expect: deleted
#include <nsjoin/fd.hpp>

[[maybe_unused]] auto use(nsjoin::OwnedFd& fd) -> int {
#ifdef NSJOIN_REJECT
    return close(fd);
#else
    return close(fd.release());
#endif
}
