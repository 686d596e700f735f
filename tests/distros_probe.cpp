// SPDX-License-Identifier: Apache-2.0
// What tests/distros builds with each kind of optimization and linking: the entry points, once
// each, in namespaces that this makes itself. As root. Exits with the number of those that failed.
// An argument is the path of this program, for valgrind(1), in which /proc/self/exe is valgrind.
#include <nsjoin/create_namespaces.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/launcher.hpp>
#include <nsjoin/spawn.hpp>

#include <array>
#include <cstdio>
#include <string_view>
#include <sys/utsname.h>
#include <unistd.h>

NSJOIN_LAUNCHER();

using nsjoin::Kind;

namespace {

using Pod = nsjoin::NamespaceSet<Kind::net, Kind::ipc, Kind::uts>;

constexpr std::string_view name = "pod";
constexpr int right = 7; // what a child exits with that found what it should

auto failed(const char* what, std::string_view why) -> int {
    std::fprintf(stderr, "%s: %.*s\n", what, static_cast<int>(why.size()), why.data());
    return 1;
}

/// 0 if it ended as it should.
template <typename Child>
auto judge(const char* what, const nsjoin::Result<Child>& child) -> int {
    if (!child) {
        return failed(what, nsjoin::explain(child.error()));
    }
    const auto status = child->wait();
    return status && status->exit_code() == right ? 0 : failed(what, "the child ended otherwise");
}

auto clones(const Pod& pod) -> int {
    auto side =
        nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(pod).create<Kind::mount, Kind::pid>());
    if (side && side->is_child()) {
        utsname names{};
        const bool named = ::uname(&names) == 0 && names.nodename == name;
        ::_exit(named && ::getpid() == 1 ? right : 1);
    }
    if (!side) {
        return failed("join_and_clone", nsjoin::explain(side.error()));
    }
    const auto status = side->child().wait();
    if (!status || status->exit_code() != right) {
        return failed("join_and_clone", "the child ended otherwise");
    }
    // Nothing is left of it to join: that is an error, which says so.
    const auto gone =
        nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(side->child(), nsjoin::kinds<Kind::uts>));
    return !gone && gone.error().reason == nsjoin::Reason::process_gone
               ? 0
               : failed("join_and_clone", "joined a process that is gone");
}

auto executes(const Pod& pod, const nsjoin::LauncherOptions& options) -> int {
    const std::array<const char*, 4> words{
        "sh", "-c", "test \"$(uname -n)\" = pod && test $$ = 1 && exit 7", nullptr};
    const nsjoin::Command command{.program = nsjoin::Program::at("/bin/sh"), .arguments = words};
    const auto plan = nsjoin::JoinPlan{}.join(pod).create<Kind::pid>();
    int failures = judge("join_and_exec", nsjoin::join_and_exec(plan, command));
    auto launcher = nsjoin::Launcher::start(options);
    if (!launcher) {
        return failures + failed("a launcher", nsjoin::explain(launcher.error()));
    }
    failures += judge("a launcher's exec", launcher->exec(plan, command));
    return failures;
}

} // namespace

auto main(int count, char** words) -> int {
    const nsjoin::Result<Pod> pod =
        nsjoin::create_namespaces(nsjoin::JoinPlan{}
                                      .create<Kind::net, Kind::ipc, Kind::uts>()
                                      .host_name("pod")
                                      .loopback_up());
    if (!pod) {
        return failed("create_namespaces", nsjoin::explain(pod.error()));
    }
    nsjoin::LauncherOptions options;
    if (count > 1) {
        options.program = words[1]; // NOLINT(*-pointer-arithmetic)
    }
    return clones(*pod) + executes(*pod, options);
}
