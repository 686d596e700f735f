// SPDX-License-Identifier: Apache-2.0
#ifdef BY_CLONE
#include <nsjoin/join.hpp>
#else
#include <nsjoin/join_here.hpp>
#endif
#ifdef WITH_EXPLAIN
#include <nsjoin/explain.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

// joiner.c with the library: its size beside that one's is what the library adds. With BY_CLONE the
// caller stays where it is, and every error of the child's is one of the call.

namespace {

using nsjoin::Kind;

constexpr auto seven = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                     Kind::uts, Kind::cgroup>;

auto complain(const nsjoin::Error& error) -> int {
#ifdef WITH_EXPLAIN
    std::fprintf(stderr, "%s\n", nsjoin::explain(error).c_str());
#else
    const std::string_view step = nsjoin::facts(error.step).name;
    std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(step.size()), step.data(),
                 std::strerror(error.code));
#endif
    return 1;
}

#ifdef BY_CLONE
auto run(const nsjoin::PidFd& target, char** command) -> int {
    auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(target, seven));
    if (!side) {
        return complain(side.error());
    }
    if (side->is_child()) {
        ::execvp(*command, command);
        ::_exit(127);
    }
    const auto status = side->child().wait();
    return status ? status->exit_code() : complain(status.error());
}
#else
auto run(const nsjoin::PidFd& target, char** command) -> int {
    const auto joined = nsjoin::join_for_good(target, seven);
    if (!joined) {
        return complain(joined.error());
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::execvp(*command, command);
        ::_exit(127);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) {
        return 1;
    }
    return nsjoin::ExitStatus{status}.exit_code();
}
#endif

} // namespace

auto main(int count, char** arguments) -> int {
    if (count < 3) {
        return 2;
    }
    const auto target = nsjoin::PidFd::open(std::atoi(arguments[1]));
    return target ? run(*target, arguments + 2) : complain(target.error());
}
