// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>
#ifdef WITH_EXPLAIN
#include <nsjoin/explain.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

// What joiner.cpp does, by join_and_clone(): the caller stays where it is, and every error of the
// child's is one of the call.

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
    auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(
        *target, nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts,
                               Kind::cgroup>));
    if (!side) {
        return complain(side.error());
    }
    if (side->is_child()) {
        ::execvp(arguments[2], arguments + 2);
        ::_exit(127);
    }
    const auto status = side->child().wait();
    return status ? status->exit_code() : complain(status.error());
}
