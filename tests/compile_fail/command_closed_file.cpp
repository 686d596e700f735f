// expect: deleted
#include <nsjoin/spawn.hpp>

[[maybe_unused]] auto program(const nsjoin::OwnedFd& file) -> nsjoin::Program {
    (void)file;
#ifdef NSJOIN_REJECT
    return nsjoin::Program::open_file(nsjoin::OwnedFd{::open("/bin/true", O_PATH | O_CLOEXEC)});
#else
    return nsjoin::Program::open_file(file);
#endif
}
