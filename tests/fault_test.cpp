// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "support.hpp"
#include "tracer.hpp"

#include <nsjoin/explain.hpp>

using nsjoin::Kind;

namespace {

/// Runs the plan as an embedder would. 0 if all is as it should be: on success the child is waited
/// for; after an error nothing is left.
auto embed(const nsjoin::Plan& plan) -> int {
    const auto descriptors = support::open_descriptors();
    auto side = nsjoin::join_and_clone(plan);
    if (side && side->is_child()) {
        ::_exit(0);
    }
    if (side) {
        const auto status = side->child().wait();
        CHILD_CHECK(status);
        side = nsjoin::Side{};
    }
    CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
    CHILD_CHECK(errno == ECHILD);
    CHILD_CHECK(support::open_descriptors() == descriptors);
    return 0;
}

/// The stops of the calls that the library makes: embed() looks around before and after, which is
/// its own affair. They lie between the first and the last of these.
auto kill_everywhere(const std::function<int()>& body) -> int {
    const std::size_t never = static_cast<std::size_t>(-1);
    std::size_t count = 0;
    const int good = support::run_in_child([&] {
        const support::Traced all = support::Tracer{}.run(body, never);
        std::FILE* file = std::fopen("/dev/null", "w");
        std::fclose(file);
        CHILD_CHECK(!all.hung);
        CHILD_CHECK(all.exit_code == 0);
        return static_cast<int>(all.stops.size() > 20 ? 0 : 1);
    });
    CHECK(good == 0);
    int bad = 0;
    for (bool more = true; more; ++count) {
        const int code = support::run_in_child([&] {
            const support::Traced run = support::Tracer{}.run(body, count);
            if (run.stops.size() <= count) {
                return 99; // the run was over before
            }
            const support::Stop& stop = run.stops[count];
            const bool main_killed = run.exit_code == 128 + SIGKILL;
            if (run.hung || (run.exit_code != 0 && !main_killed)) {
                std::fprintf(stderr, "killed at stop %zu (%s of system call %ld): %s, exit %d\n",
                             count, stop.entry ? "entry" : "exit", stop.number,
                             run.hung ? "something is left" : "not cleaned up", run.exit_code);
                return 1;
            }
            return 0;
        });
        more = code != 99;
        bad += code == 0 || code == 99 ? 0 : 1;
    }
    CHECK(count > 30);
    MESSAGE("killed at each of " << count - 1 << " stops");
    return bad;
}

} // namespace

TEST_CASE("a process is killed at any system call: join of all kinds") {
    const support::Container container{nsjoin::all_kinds};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
          }) == 0);
}

TEST_CASE("a process is killed at any system call: join without time, on the caller's memory") {
    const support::Container container{nsjoin::KindSet{nsjoin::all_kinds} - Kind::time};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
          }) == 0);
}

TEST_CASE("a process is killed at any system call: create all kinds with id maps") {
    const auto plan = nsjoin::JoinPlan{}
                          .create(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                          .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts,
                                  Kind::cgroup, Kind::time>()
                          .time_offsets({std::chrono::seconds{100}, std::chrono::seconds{100}});
    CHECK(kill_everywhere([&] { return embed(plan); }) == 0);
}

TEST_CASE("a process is killed at any system call: namespaces by descriptor, and created ones") {
    const support::Container container{Kind::net | Kind::ipc};
    CHECK(kill_everywhere([&] {
              const auto net = nsjoin::NamespaceFd<Kind::net>::open(container.pid());
              const auto ipc = nsjoin::NamespaceFd<Kind::ipc>::open(container.pid());
              return embed(nsjoin::JoinPlan{}
                               .join(*net)
                               .join(*ipc)
                               .create(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                               .create<Kind::mount, Kind::uts>());
          }) == 0);
}

TEST_CASE("a process is killed at any system call: the child joins by itself") {
    const support::Container container{Kind::net | Kind::ipc | Kind::mount};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}
                               .join(*target, nsjoin::kinds<Kind::net, Kind::ipc, Kind::mount>)
                               .create<Kind::uts, Kind::cgroup>()
                               .as({.uid = 0, .gid = 0}));
          }) == 0);
}
