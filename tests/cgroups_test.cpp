// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/launcher.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>

// Plans with a cgroup in each of several hierarchies.

using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

constexpr const char* v2 = "/sys/fs/cgroup/unified";

/// One of each hierarchy that there is: v2 first.
struct Hierarchies {
    support::Cgroup unified{v2};
    support::Cgroup pids{"/sys/fs/cgroup/pids"};
    support::Cgroup freezer{"/sys/fs/cgroup/freezer"};

    [[nodiscard]] auto ok() const -> bool { return unified.ok() && pids.ok() && freezer.ok(); }

    [[nodiscard]] auto plan() const {
        return JoinPlan{}.cgroup(unified.fd()).cgroup(pids.fd()).cgroup(freezer.fd());
    }
};

constexpr const char* count_own =
    "n=0; while read line; do case $line in */nsjoin-test-*) n=$((n + 1));; esac; done "
    "</proc/self/cgroup; echo $n";

} // namespace

TEST_CASE("a child is in a cgroup of each hierarchy, by each way to have one") {
    const Hierarchies all;
    if (!all.ok()) {
        support::skip("no cgroups of v1 and v2 can be made");
        return;
    }
    const support::NothingLeft nothing_left;
    auto launcher = nsjoin::Launcher::start();
    REQUIRE(launcher);
    const auto plan = all.plan().create<Kind::uts>();
    const support::Execute by_launcher{[&](const nsjoin::Command& command) {
        return launcher->exec(plan, command);
    }};
    CHECK(support::wrote(support::shell(nsjoin::Plan{plan}, count_own), "3\n"));
    CHECK(support::wrote(support::shell(by_launcher, count_own), "3\n"));
    const auto prepared = launcher->prepare(plan);
    REQUIRE(prepared);
    CHECK(support::wrote(support::shell(support::Execute{[&](const nsjoin::Command& command) {
                                            return prepared->exec(command);
                                        }},
                                        count_own),
                         "3\n"));
    CHECK(support::went_well(support::run(plan, [&] {
        return all.unified.has_this_process() && all.pids.has_this_process() &&
                       all.freezer.has_this_process()
                   ? 0
                   : 1;
    })));
    // Where clone3(2) can't place it, all are entered the long way.
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_syscall(SYS_clone3, ENOSYS));
              CHILD_CHECK(support::wrote(support::shell(nsjoin::Plan{plan}, count_own), "3\n"));
              return 0;
          }) == 0);
}

TEST_CASE("all cgroups are entered before the cgroup namespace comes: its roots are they") {
    const Hierarchies all;
    if (!all.ok()) {
        support::skip("no cgroups of v1 and v2 can be made");
        return;
    }
    const auto plan = all.plan().create<Kind::cgroup>();
    const auto output = support::shell(
        nsjoin::Plan{plan},
        "while read line; do case $line in *:pids:/|*:freezer:/|0::/) echo ok;; esac; done "
        "</proc/self/cgroup");
    CHECK(support::wrote(output, "ok\nok\nok\n"));
}

TEST_CASE("two cgroups of one hierarchy, one that is none, and too many") {
    const Hierarchies all;
    if (!all.ok()) {
        support::skip("no cgroups of v1 and v2 can be made");
        return;
    }
    const support::NothingLeft nothing_left;
    const nsjoin::OwnedFd root{::open("/sys/fs/cgroup/pids", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    const nsjoin::OwnedFd none{::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    CHECK(support::fails_with(nsjoin::join_and_clone(all.plan().cgroup(root)), Step::open_cgroup,
                              Reason::bad_value));
    CHECK(support::fails_with(nsjoin::join_and_clone(all.plan().cgroup(none)), Step::open_cgroup,
                              Reason::not_a_cgroup));
    nsjoin::Draft draft;
    for (std::size_t i = 0; i <= nsjoin::most_cgroups; ++i) {
        draft.enter(root);
    }
    CHECK(support::fails_with(nsjoin::Plan::from(draft), Step::check_plan, Reason::bad_value));
}

TEST_CASE("what is to be borrowed and is not open is refused, and not taken for nothing") {
    const nsjoin::OwnedFd closed;
    const auto refused = [](const auto& plan) {
        return support::fails_with(nsjoin::join_and_clone(plan), Step::check_plan,
                                   Reason::bad_value) &&
               support::fails_with(nsjoin::join_and_clone(nsjoin::Plan{plan}), Step::check_plan,
                                   Reason::bad_value);
    };
    CHECK(refused(JoinPlan{}.cgroup(closed)));
    CHECK(refused(JoinPlan{}.root(closed)));
    CHECK(refused(JoinPlan{}.working_directory(closed)));
    CHECK(refused(JoinPlan{}.console(closed)));
    nsjoin::Draft gap;
    gap.more_cgroups[0] = nsjoin::BorrowedFd{0};
    CHECK(support::fails_with(nsjoin::Plan::from(gap), Step::check_plan, Reason::bad_value));
}
