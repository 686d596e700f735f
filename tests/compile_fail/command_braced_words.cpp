// expect: nsjoin: keep an array in a variable
#include <nsjoin/spawn.hpp>

[[maybe_unused]] auto run() -> nsjoin::Result<nsjoin::PidFd> {
    const char* words[]{"true", nullptr};
#ifdef NSJOIN_REJECT
    const nsjoin::Command command{.program = nsjoin::Program::at("/bin/true"),
                                  .arguments = {"true", nullptr}};
#else
    const nsjoin::Command command{.program = nsjoin::Program::at("/bin/true"), .arguments = words};
#endif
    (void)words;
    return nsjoin::join_and_exec(nsjoin::JoinPlan{}, command);
}
