// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join_here.hpp>
#ifdef WITH_EXPLAIN
#include <nsjoin/explain.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

// joiner.c with the library: its size beside that one's is what the library adds.

namespace {

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

} // namespace

auto main(int count, char** arguments) -> int {
    using nsjoin::Kind;
    if (count < 3) {
        return 2;
    }
    const auto target = nsjoin::PidFd::open(std::atoi(arguments[1]));
    if (!target) {
        return complain(target.error());
    }
    constexpr auto seven = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                         Kind::uts, Kind::cgroup>;
    const auto joined = nsjoin::join_for_good(*target, seven);
    if (!joined) {
        return complain(joined.error());
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::execvp(arguments[2], arguments + 2);
        ::_exit(127);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) {
        return 1;
    }
    return nsjoin::ExitStatus{status}.exit_code();
}
