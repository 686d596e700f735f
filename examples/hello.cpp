// SPDX-License-Identifier: Apache-2.0
// hello PID COMMAND [ARGUMENT...]: runs a command in the namespaces of a process.
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "hello: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    if (argc < 3) {
        std::fputs("usage: hello PID COMMAND [ARGUMENT...]\n", stderr);
        return EXIT_FAILURE;
    }
    const auto target = nsjoin::PidFd::open(std::atoi(argv[1]));
    if (!target) {
        return complain(target.error());
    }
    auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
    if (!side) {
        return complain(side.error());
    }
    if (side->is_child()) {
        execvp(argv[2], argv + 2);
        std::perror(argv[2]);
        _exit(127);
    }
    const auto status = side->child().wait();
    return status ? status->exit_code() : complain(status.error());
}
