// SPDX-License-Identifier: Apache-2.0
// sandbox COMMAND [ARGUMENT...]: runs a command in new namespaces, where the caller's id is root,
// and root has no rights. Needs none outside.
#include <nsjoin/explain.hpp>
#include <nsjoin/spawn.hpp>

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

using nsjoin::Kind;

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "sandbox: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    if (argc < 2) {
        std::fputs("usage: sandbox COMMAND [ARGUMENT...]\n", stderr);
        return EXIT_FAILURE;
    }
    const auto uids = nsjoin::IdMap::single(0, geteuid());
    const auto gids = nsjoin::IdMap::single(0, getegid());
    if (!uids || !gids) {
        return complain(uids ? gids.error() : uids.error());
    }
    const auto child = nsjoin::join_and_exec(
        nsjoin::JoinPlan{}
            .create(nsjoin::NewUser{.uids = *uids, .gids = *gids})
            .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts>()
            .host_name("sandbox")
            .loopback_up()
            .mount_proc()
            .capabilities({})
            .no_new_privileges(),
        {.program = nsjoin::Program::in_path(argv[1], "/usr/sbin:/usr/bin:/sbin:/bin"),
         .arguments = argv + 1});
    if (!child) {
        return complain(child.error());
    }
    const auto status = child->wait();
    return status ? status->exit_code() : complain(status.error());
}
