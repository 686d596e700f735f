// SPDX-License-Identifier: Apache-2.0
// box [--explain] ROOT COMMAND [ARGUMENT...]: runs a command with nothing of the host's but the
// directory ROOT, which is its root, and no right to anything. Needs no root.
#include <nsjoin/explain.hpp>
#include <nsjoin/spawn.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <unistd.h>

using nsjoin::Kind;

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "box: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

/// The caller is root in there, of a user namespace that has its id alone, and has no capability.
static auto plan_of(const char* root) -> nsjoin::Result<nsjoin::Plan> {
    const auto uids = nsjoin::IdMap::single(0, geteuid());
    const auto gids = nsjoin::IdMap::single(0, getegid());
    if (!uids || !gids) {
        return nsjoin::Unexpected{uids ? gids.error() : uids.error()};
    }
    return nsjoin::JoinPlan{}
        .create(nsjoin::NewUser{.uids = *uids, .gids = *gids})
        .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup>()
        .host_name("box")
        .loopback_up()
        .pivot_root(root)
        .mount_proc()
        .new_session() // the terminal, if there is one, can be written to, and not typed into
        .umask(022)
        .capabilities({})
        .no_new_privileges()
        .death_signal(SIGKILL)
        .build();
}

auto main(int argc, char** argv) -> int {
    const bool explains = argc > 1 && argv[1] == std::string_view{"--explain"};
    char** const words = argv + (explains ? 2 : 1);
    if (argc < (explains ? 4 : 3)) {
        const bool asked = argc == 2 && argv[1] == std::string_view{"--help"};
        std::fputs("usage: box [--explain] ROOT COMMAND [ARGUMENT...]\n", asked ? stdout : stderr);
        return asked ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    const auto plan = plan_of(words[0]);
    if (!plan) {
        return complain(plan.error());
    }
    const nsjoin::Command command{
        .program = nsjoin::Program::in_path(words[1], "/usr/sbin:/usr/bin:/sbin:/bin"),
        .arguments = words + 1,
    };
    if (explains) {
        std::fputs(nsjoin::explain(*plan, command).c_str(), stdout);
        return EXIT_SUCCESS;
    }
    const auto child = nsjoin::join_and_exec(*plan, command);
    if (!child) {
        return complain(child.error());
    }
    const auto status = child->wait();
    return status ? status->exit_code() : complain(status.error());
}
