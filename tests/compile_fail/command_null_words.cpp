// expect: deleted
#include <nsjoin/spawn.hpp>

[[maybe_unused]] auto run(char** argv) -> nsjoin::Result<nsjoin::PidFd> {
#ifdef NSJOIN_REJECT
    const nsjoin::Command command{.program = nsjoin::Program::at(argv[0]), .arguments = nullptr};
#else
    const nsjoin::Command command{.program = nsjoin::Program::at(argv[0]), .arguments = argv};
#endif
    return nsjoin::join_and_exec(nsjoin::JoinPlan{}, command);
}
