// expect: nsjoin: say where the program is: Program::at
#include <nsjoin/spawn.hpp>

[[maybe_unused]] auto run(char** argv) -> nsjoin::Command {
#ifdef NSJOIN_REJECT
    return {.program = "/bin/ls", .arguments = argv};
#else
    return {.program = nsjoin::Program::at("/bin/ls"), .arguments = argv};
#endif
}
