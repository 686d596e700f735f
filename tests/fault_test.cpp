// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"
#include "tracer.hpp"

#include <nsjoin/explain.hpp>

using nsjoin::Kind;

namespace {

/// Runs the plan as an embedder would. 0 if all is as it should be: on success the child is waited
/// for; after an error nothing is left.
auto embed(const nsjoin::Plan& plan) -> int {
    const auto descriptors = support::open_descriptors();
    auto side = support::clone(plan);
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

} // namespace

TEST_CASE("a process is killed at any system call: join of all kinds") {
    const support::Container container{nsjoin::all_kinds};
    CHECK(support::kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
          }) == 0);
}

TEST_CASE("a process is killed at any system call: join without time, on the caller's memory") {
    const support::Container container{nsjoin::KindSet{nsjoin::all_kinds} - Kind::time};
    CHECK(support::kill_everywhere([&] {
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
    CHECK(support::kill_everywhere([&] { return embed(plan); }) == 0);
}

TEST_CASE("a process is killed at any system call: what is created is furnished") {
    const support::RootFileSystem files;
    REQUIRE(files.ok());
    const auto plan = support::furnishing(files);
    CHECK(support::kill_everywhere([&] { return embed(plan); }) == 0);
}

TEST_CASE("a process is killed at any system call: namespaces by descriptor, and created ones") {
    const support::Container container{Kind::net | Kind::ipc};
    CHECK(support::kill_everywhere([&] {
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
    CHECK(support::kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}
                               .join(*target, nsjoin::kinds<Kind::net, Kind::ipc, Kind::mount>)
                               .create<Kind::uts, Kind::cgroup>()
                               .as({.uid = 0, .gid = 0}));
          }) == 0);
}

TEST_CASE(
    "the target is killed at any system call: the error is clean, or the child ended with it") {
    const auto join = [](pid_t pid) {
        const auto target = nsjoin::PidFd::open(pid);
        return target ? embed(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds)) : 1;
    };
    CHECK(support::kill_target_everywhere<support::Container>(join, nsjoin::all_kinds) == 0);
    CHECK(support::kill_target_everywhere<support::Container>(
              join, nsjoin::KindSet{nsjoin::all_kinds} - Kind::time) == 0);
}
