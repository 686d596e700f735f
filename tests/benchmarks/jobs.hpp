// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_JOBS_HPP
#define NSJOIN_BENCHMARKS_JOBS_HPP

#include "job.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace bench {

/// The fleet's processes in turn, whichever thread asks.
[[nodiscard]] inline auto next_target() -> pid_t {
    static std::atomic<std::size_t> turn{0};
    return scene.fleet[turn++ % scene.fleet.size()];
}

/// The jobs done by hand: raw system calls and no more of them than the job needs.
namespace by_hand {

/// pidfd_open, one setns, close, in a process made for it; only these three are timed.
auto join(nsjoin::KindSet kinds) -> Nanoseconds;
/// The same with a descriptor for each kind: open, setns, close.
auto join_one_by_one(nsjoin::KindSet kinds) -> Nanoseconds;
/// fork, join, a second fork where the pid namespace needs it; the child ends at once.
auto fork_join(nsjoin::KindSet kinds) -> Nanoseconds;
/// As fork_join, but the first process runs on the caller's memory.
auto vfork_join(nsjoin::KindSet kinds) -> Nanoseconds;
/// vfork, join, a second vfork where the pid namespace needs it, exec of a tiny program.
auto vfork_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// The same with the rest of the job: root inside, not dumpable before that, a pidfd.
auto whole_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// As vfork_exec, with fork in the place of the first vfork.
auto fork_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// fork into new namespaces, exec of the tiny program.
auto create_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// As vfork_exec, into the container.
auto container_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// Into another network namespace and back.
auto net_and_back(nsjoin::KindSet kinds) -> Nanoseconds;
/// Through all the network namespaces of the sweep and back; one visit's part.
auto sweep(nsjoin::KindSet kinds) -> Nanoseconds;

} // namespace by_hand

/// The jobs done by other programs, which are started by posix_spawn.
namespace peer {

auto nsenter(nsjoin::KindSet kinds) -> Nanoseconds;
auto nsenter_container(nsjoin::KindSet kinds) -> Nanoseconds;
/// Into the next one of the fleet.
auto nsenter_fleet(nsjoin::KindSet kinds) -> Nanoseconds;
auto unshare(nsjoin::KindSet kinds) -> Nanoseconds;
auto bwrap(nsjoin::KindSet kinds) -> Nanoseconds;
/// The tiny program itself, no namespaces.
auto nothing(nsjoin::KindSet kinds) -> Nanoseconds;
/// Runs `command`, words with blanks between, and waits for it.
auto run(const std::string& command) -> Nanoseconds;

/// run() as a job, of one of the scene's runtimes.
template <std::size_t Index>
auto runtime_job(nsjoin::KindSet /*kinds*/) -> Nanoseconds {
    return run(scene.runtimes.at(Index));
}

} // namespace peer

/// The jobs done by this library.
namespace ours {

auto join(nsjoin::KindSet kinds) -> Nanoseconds;
auto join_and_clone(nsjoin::KindSet kinds) -> Nanoseconds;
auto create_and_clone(nsjoin::KindSet kinds) -> Nanoseconds;
auto join_and_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// join_and_exec with a plan that lends the caller's memory.
auto lent_exec(nsjoin::KindSet kinds) -> Nanoseconds;
/// The same by a launcher.
auto launch(nsjoin::KindSet kinds) -> Nanoseconds;
/// lent_exec with a plan that is prepared once.
auto prepared_exec(nsjoin::KindSet kinds) -> Nanoseconds;
auto container_exec(nsjoin::KindSet kinds) -> Nanoseconds;
auto container_launch(nsjoin::KindSet kinds) -> Nanoseconds;
/// launch into the next one of the fleet.
auto fleet_launch(nsjoin::KindSet kinds) -> Nanoseconds;
auto net_and_back(nsjoin::KindSet kinds) -> Nanoseconds;
auto sweep(nsjoin::KindSet kinds) -> Nanoseconds;

} // namespace ours

/// From where a program is started.
enum class From : std::uint8_t {
    path,   ///< it seals itself
    mount,  ///< a sealed mount, as supervise() starts one
    memory, ///< a sealed memfd, which nsexec.c takes for sealed as well
};

/// How a bootstrap is timed.
struct Start {
    From from = From::path;
    bool waiting = false; ///< the bootstrap is written when the program waits for it, else at once
    bool whole = false;   ///< timed from before the start, else from the write of the bootstrap
};

/// Starts `program`, sends it the bootstrap of a join, and waits for the pid that it answers.
auto bootstrap(const std::string& program, Start start, nsjoin::KindSet kinds) -> Nanoseconds;

/// The same as a job, for one of the scene's programs.
template <std::string Scene::*Program, Start How>
auto bootstrap_job(nsjoin::KindSet kinds) -> Nanoseconds {
    return bootstrap(scene.*Program, How, kinds);
}

/// Makes the network namespaces of the sweep, in the calling process.
auto prepare_sweep() -> bool;

inline constexpr int sweep_size = 1000;

} // namespace bench

#endif // NSJOIN_BENCHMARKS_JOBS_HPP
