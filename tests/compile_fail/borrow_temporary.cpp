// expect: deleted
#include <nsjoin/fd.hpp>

[[maybe_unused]] auto use(nsjoin::OwnedFd& fd) -> int {
#ifdef NSJOIN_REJECT
    return nsjoin::OwnedFd{fd.release()}.borrow().get();
#else
    return fd.borrow().get();
#endif
}
