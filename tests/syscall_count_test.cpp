// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"
#include "tracer.hpp"

#include <map>

using nsjoin::Kind;

namespace {

/// How many system calls the library makes for the plan, by process in the order in which they
/// appear: the caller's, from the beginning of join_and_clone() to its return; the joiner's; the
/// child's, up to its return. A call of getppid marks the boundaries.
struct Count {
    int all = 0;
    int setns = 0;
    std::vector<int> by_process;
};

/// Once before: what a process does in its first run only is not counted.
auto run_once(const nsjoin::Plan& plan) -> bool {
    auto side = support::clone(plan);
    if (side && side->is_child()) {
        (void)::syscall(SYS_getppid);
        ::_exit(0);
    }
    return side && side->child().wait();
}

auto count_calls(const std::function<nsjoin::Plan()>& make_plan) -> Count {
    const support::Traced run = support::Tracer{}.run(
        [&] {
            const nsjoin::Plan plan = make_plan();
            (void)run_once(plan);
            (void)::syscall(SYS_getppid);
            auto side = support::clone(plan);
            (void)::syscall(SYS_getppid);
            if (side && side->is_child()) {
                ::_exit(0);
            }
            return side && side->child().wait() ? 0 : 1;
        },
        static_cast<std::size_t>(-1));
    Count count;
    std::map<pid_t, int> marks;
    std::map<pid_t, std::size_t> place;
    for (const support::Stop& stop : run.stops) {
        const bool main = stop.pid == run.stops.front().pid;
        marks[stop.pid] += stop.entry && stop.number == SYS_getppid ? 1 : 0;
        const int passed = marks[run.stops.front().pid];
        const bool counts = main ? passed == 1 : passed != 0 && marks[stop.pid] == 0;
        if (!stop.entry || stop.number == SYS_getppid || !counts) {
            continue;
        }
        if (place.emplace(stop.pid, place.size()).second) {
            count.by_process.push_back(0);
        }
        ++count.by_process[place[stop.pid]];
        ++count.all;
        count.setns += stop.number == SYS_setns ? 1 : 0;
    }
    return run.exit_code == 0 ? count : Count{};
}

/// Runs `check` on the count in a process of its own; the tracer becomes a subreaper.
auto in_child(const std::function<nsjoin::Plan()>& make_plan,
              const std::function<int(const Count&)>& check) -> int {
    return support::run_in_child([&] {
        // A signal to a traced process makes it begin a call anew: the fewest of three countings.
        Count count = count_calls(make_plan);
        for (int i = 0; i < 2; ++i) {
            const Count again = count_calls(make_plan);
            count = again.all < count.all ? again : count;
        }
        std::printf("system calls: %d", count.all);
        for (const int one : count.by_process) {
            std::printf(" %d", one);
        }
        std::printf("\n");
        return check(count);
    });
}

} // namespace

TEST_CASE("a join of seven kinds makes one setns and few other system calls") {
    const nsjoin::KindSet seven = nsjoin::KindSet{nsjoin::all_kinds} - Kind::time;
    const support::Container container{seven};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(in_child(
              [&]() -> nsjoin::Plan {
                  return nsjoin::JoinPlan{}.join(
                      *target, nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net,
                                             Kind::ipc, Kind::uts, Kind::cgroup>);
              },
              [](const Count& count) {
                  CHILD_CHECK(count.setns == 1);
                  CHILD_CHECK(count.by_process.size() == 3);
                  CHILD_CHECK(count.by_process[1] == 4); // setgroups, setns, clone3, exit_group
                  if (support::has_pidfd_ioctls()) {
                      CHILD_CHECK(count.all == 41); // the README says this number
                  } else {
                      support::skip("the number of all calls: Linux 6.11 (PIDFD_GET_*_NAMESPACE)");
                  }
                  return 0;
              }) == 0);
}

TEST_CASE("creating kinds without a user namespace makes one clone3 and no joiner") {
    CHECK(in_child(
              []() -> nsjoin::Plan {
                  return nsjoin::JoinPlan{}
                      .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts>();
              },
              [](const Count& count) {
                  CHILD_CHECK(count.by_process.size() == 2);
                  CHILD_CHECK(count.all == 18);
                  return 0;
              }) == 0);
}
