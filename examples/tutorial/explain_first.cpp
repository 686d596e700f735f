// SPDX-License-Identifier: Apache-2.0
// explain_first PID: says what it would do to join a process's network with ids and mounts of its
// own: every step, the process that does it, and why it is in that place. Does none of it.
#include <nsjoin/explain.hpp>

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

auto main(int argc, char** argv) -> int {
    const auto target = nsjoin::PidFd::open(argc < 2 ? getpid() : std::atoi(argv[1]));
    if (!target) {
        std::fprintf(stderr, "explain_first: %s\n", nsjoin::explain(target.error()).c_str());
        return EXIT_FAILURE;
    }
    const auto plan = nsjoin::JoinPlan{}
                          .join(*target, nsjoin::kinds<nsjoin::Kind::net>)
                          .create(nsjoin::NewUser{.uids = {{0, 0, 65536}}, .gids = {{0, 0, 65536}}})
                          .create<nsjoin::Kind::mount>()
                          .build();
    std::fputs(nsjoin::explain(plan).c_str(), stdout);
    return EXIT_SUCCESS;
}
