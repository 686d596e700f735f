// expect: nodiscard
#include <nsjoin/pid_fd.hpp>

[[maybe_unused]] auto use() -> bool {
#ifdef NSJOIN_REJECT
    nsjoin::PidFd::open(1);
    return true;
#else
    return nsjoin::PidFd::open(1).has_value();
#endif
}
