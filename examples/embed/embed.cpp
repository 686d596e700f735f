// SPDX-License-Identifier: Apache-2.0
// embed PID COMMAND [ARGUMENT...]: runs a command in the namespaces of a process, as a runtime with
// threads of its own does it: it executes itself again, and the new process joins before main.
#include <nsjoin/constructor.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/supervisor.hpp>

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

// The environment says only what somebody asked for.
static bool is_inside = false; // NOLINT(*-non-const-global-variables): set before main

static void note_inside(const nsjoin::Plan& /*plan*/) noexcept {
    is_inside = true;
}

NSJOIN_CONSTRUCTOR(.dialect = nsjoin::Dialect::runc_1_2, .seal = true, .in_child = note_inside);

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "embed: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

static auto inside(char** command) -> int {
    unsetenv("_LIBCONTAINER_INITPIPE"); // the command may embed nsjoin too
    execvp(command[0], command);
    std::perror(command[0]);
    return 127;
}

static auto outside(const char* pid, int argc, char** argv) -> int {
    const auto target = nsjoin::PidFd::open(std::atoi(pid));
    if (!target) {
        return complain(target.error());
    }
    nsjoin::SupervisorOptions options;
    options.dialect = nsjoin::Dialect::runc_1_2;
    options.seal = true; // as the constructor's
    options.arguments.assign(argv, argv + argc);
    const auto embedded =
        nsjoin::supervise(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds), options);
    if (!embedded) {
        return complain(embedded.error());
    }
    const auto status = embedded->child.wait();
    return status ? status->exit_code() : complain(status.error());
}

auto main(int argc, char** argv) -> int {
    if (argc < 3) {
        std::fputs("usage: embed PID COMMAND [ARGUMENT...]\n", stderr);
        return EXIT_FAILURE;
    }
    return is_inside ? inside(argv + 2) : outside(argv[1], argc, argv);
}
