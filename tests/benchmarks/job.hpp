// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_JOB_HPP
#define NSJOIN_BENCHMARKS_JOB_HPP

#include <nsjoin/kind.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bench {

/// Nanoseconds; negative: it failed.
using Nanoseconds = double;

inline constexpr Nanoseconds failed = -1;

/// What is measured: does the job once for these kinds, and says how long that took. Runs in a
/// caller, on any of its threads.
using Job = Nanoseconds (*)(nsjoin::KindSet kinds);

/// How long `work` takes, a function that says whether it went well.
template <typename Work>
[[nodiscard]] auto timed(const Work& work) -> Nanoseconds {
    const auto begin = std::chrono::steady_clock::now();
    const bool good = work();
    const auto end = std::chrono::steady_clock::now();
    return good ? std::chrono::duration<double, std::nano>{end - begin}.count() : failed;
}

/// The first `count` of the kinds in the order in which they are added.
[[nodiscard]] inline auto first_kinds(std::size_t count) -> nsjoin::KindSet {
    using nsjoin::Kind;
    constexpr std::array order{Kind::net,    Kind::uts, Kind::ipc,  Kind::mount,
                               Kind::cgroup, Kind::pid, Kind::user, Kind::time};
    nsjoin::KindSet kinds;
    for (std::size_t i = 0; i < count; ++i) {
        kinds = kinds | order.at(i);
    }
    return kinds;
}

/// How many processes the fleet has.
inline constexpr int fleet_size = 1000;

/// What a vfork child of a program with threads can join: all but time.
[[nodiscard]] inline auto seven_kinds() -> nsjoin::KindSet {
    return first_kinds(7);
}

/// What the jobs work on. Set once, before the callers are made.
struct Scene {
    pid_t target = 0;                  ///< has all eight kinds of namespaces to itself
    std::vector<pid_t> fleet;          ///< many of the same, which callers at once go through
    std::string tiny;                  ///< the path of a program that ends at once
    pid_t container = 0;               ///< the first process of a container, or 0
    std::string inside = "/";          ///< a program in the container that ends at once
    std::vector<std::string> runtimes; ///< commands, each of which runs that program there
    // Programs that take part in the bootstrap protocol: as linked, and as large as runc.
    std::string constructor; ///< with our constructor
    std::string large_constructor;
    std::string nsexec; ///< with runc's nsexec.c, or nothing
    std::string large_nsexec;
};

inline Scene scene; // NOLINT(*-non-const-global*): jobs are plain functions

} // namespace bench

#endif // NSJOIN_BENCHMARKS_JOB_HPP
