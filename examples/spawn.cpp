// SPDX-License-Identifier: Apache-2.0
// spawn PID COMMAND [ARGUMENT...]: runs a command in the namespaces of a process, from any thread
// of any program, without a copy of it.
#include <nsjoin/explain.hpp>
#include <nsjoin/spawn.hpp>

#include <cstdio>
#include <cstdlib>
#include <string_view>

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "spawn: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    const bool explains = argc > 1 && argv[1] == std::string_view{"--explain"};
    char** const words = argv + (explains ? 2 : 1);
    if (argc < (explains ? 4 : 3)) {
        const bool asked = argc == 2 && argv[1] == std::string_view{"--help"};
        std::fputs("usage: spawn [--explain] PID COMMAND [ARGUMENT...]\n", asked ? stdout : stderr);
        return asked ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    const auto target = nsjoin::PidFd::open(std::atoi(words[0]));
    if (!target) {
        return complain(target.error());
    }
    const auto plan = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
    const char* const path = std::getenv("PATH");
    const nsjoin::Command command{
        .program = nsjoin::Program::in_path(words[1], path != nullptr ? path : "/usr/bin:/bin"),
        .arguments = words + 1,
        .close_others = false, // whoever starts this passes what it will, as to nsenter(1)
    };
    if (explains) {
        std::fputs(nsjoin::explain(plan, command).c_str(), stdout);
        return EXIT_SUCCESS;
    }
    const auto child = nsjoin::join_and_exec(plan, command);
    if (!child) {
        return complain(child.error());
    }
    const auto status = child->wait();
    return status ? status->exit_code() : complain(status.error());
}
