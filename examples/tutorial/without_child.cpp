// SPDX-License-Identifier: Apache-2.0
// without_child DIRECTORY: makes the namespaces of a pod, keeps them alive in that directory
// without a process, and runs two programs in them.
#include <nsjoin/create_namespaces.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/spawn.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "without_child: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    using nsjoin::JoinPlan;
    using nsjoin::Kind;
    if (argc != 2) {
        std::fputs("usage: without_child DIRECTORY\n", stderr);
        return EXIT_FAILURE;
    }
    const auto pod = nsjoin::create_namespaces(
        JoinPlan{}.create<Kind::net, Kind::ipc, Kind::uts>().host_name("pod").loopback_up());
    if (!pod) {
        return complain(pod.error());
    }
    if (const auto pinned = pod->pin(argv[1]); !pinned) {
        return complain(pinned.error());
    }
    for (const char* const script :
         {"echo \"one in $(hostname)\"", "echo \"two in $(hostname)\""}) {
        const std::array<const char*, 4> words{"sh", "-c", script, nullptr};
        const auto child =
            nsjoin::join_and_exec(JoinPlan{}.join(*pod).create<Kind::pid>(),
                                  {.program = nsjoin::Program::at("/bin/sh"), .arguments = words});
        const auto status = child ? child->wait() : nsjoin::Unexpected{child.error()};
        if (!status) {
            return complain(status.error());
        }
    }
    return EXIT_SUCCESS;
}
