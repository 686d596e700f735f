// expect: nsjoin: a list of words has a const char* for each
#include <nsjoin/spawn.hpp>

#include <string>
#include <vector>

[[maybe_unused]] auto run(const std::vector<std::string>& words,
                          const std::vector<const char*>& texts) -> nsjoin::Command {
    (void)words, (void)texts;
#ifdef NSJOIN_REJECT
    return {.program = nsjoin::Program::at("/bin/ls"), .arguments = words};
#else
    return {.program = nsjoin::Program::at("/bin/ls"), .arguments = texts.data()};
#endif
}
