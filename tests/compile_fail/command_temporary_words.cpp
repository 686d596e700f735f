// expect: nsjoin: keep the array in a variable
#include <nsjoin/spawn.hpp>

#include <array>

[[maybe_unused]] auto run() -> nsjoin::Result<nsjoin::PidFd> {
    const std::array<const char*, 2> words{"true", nullptr};
#ifdef NSJOIN_REJECT
    const nsjoin::Command command{.program = nsjoin::Program::at("/bin/true"),
                                  .arguments = std::array<const char*, 2>{"true", nullptr}};
#else
    const nsjoin::Command command{.program = nsjoin::Program::at("/bin/true"), .arguments = words};
#endif
    (void)words;
    return nsjoin::join_and_exec(nsjoin::JoinPlan{}, command);
}
