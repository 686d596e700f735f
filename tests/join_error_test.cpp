// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <sys/resource.h>

using nsjoin::Kind;
using nsjoin::NewUser;
using nsjoin::Reason;
using nsjoin::Step;

// Bad input, each with its own error and nothing left; and what older kernels or filters lack, with
// the same result as where it is there.

namespace {

struct BadInput {
    const char* what;
    nsjoin::Plan plan;
    std::string_view said; ///< in the text of the error
};

/// The plan fails with that text, and the caller is as before.
auto is_refused(const BadInput& bad) -> bool {
    const support::CallerState state;
    const auto ran = support::run(bad.plan, [] { return 0; });
    const std::string text = ran.error ? nsjoin::explain(*ran.error) : "no error";
    const bool said = text.find(bad.said) != std::string::npos;
    if (!said) {
        std::fprintf(stderr, "%s: %s\n", bad.what, text.c_str());
    }
    return said && support::is_clean(*ran.error) && state.holds();
}

auto opened(const char* path) -> nsjoin::OwnedFd {
    return nsjoin::OwnedFd{::open(path, O_RDONLY | O_CLOEXEC)};
}

} // namespace

TEST_CASE("bad input: each has an error of its own, and nothing is left") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    nsjoin::PidFd dead{nsjoin::OwnedFd{}, 0};
    {
        const support::Container ended{Kind::net};
        dead = *nsjoin::PidFd::open(ended.pid());
    }
    const auto null = opened("/dev/null");
    const auto file = opened("/etc/passwd");
    const auto no_cgroup = opened("/tmp");
    const nsjoin::JoinPlan plan;
    const auto user = plan.create(NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}});
    const std::vector<BadInput> list{
        {"a dead target", plan.join(dead, nsjoin::kinds<Kind::net>), "has ended"},
        {"a dead target, all kinds", plan.join(dead, nsjoin::all_kinds), "has ended"},
        {"a console that is no terminal", plan.console(null), "the console is no terminal"},
        {"a console that is closed", plan.console(nsjoin::BorrowedFd{9999}), "EBADF"},
        {"a root that is a file", plan.root(file), "change the root directory: ENOTDIR"},
        {"a root that is closed", plan.root(nsjoin::BorrowedFd{9999}),
         "change the root directory: EBADF"},
        {"a working directory that is a file", plan.working_directory(file),
         "change the working directory: ENOTDIR"},
        {"a cgroup that is none", plan.cgroup(no_cgroup), "no directory of a cgroup file system"},
        {"a uid that the map lacks", user.as({.uid = 5, .gid = 0}),
         "check the plan (uid 5): the id is not mapped"},
        {"a gid that the map lacks", user.as({.uid = 0, .gid = 6}),
         "check the plan (gid 6): the id is not mapped"},
        {"a uid that the joined user namespace lacks",
         plan.join(*target, nsjoin::kinds<Kind::user>).as({.uid = 77777, .gid = 0}),
         "set the uid (uid 77777): the id is not mapped"},
        {"a score out of range", plan.oom_score_adj(1001), "-1000 to 1000, not 1001"},
        {"a signal out of range", plan.death_signal(65), "1 to 64, not 65"},
        {"a negative deadline", plan.deadline(std::chrono::milliseconds{-1}),
         "0 ns or more, not -1000000"},
    };
    for (const BadInput& bad : list) {
        CHECK(is_refused(bad));
    }
}

TEST_CASE("bad input: without rights, as uid 1000") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::as_user(1000, [&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        const nsjoin::JoinPlan plan;
        CHILD_CHECK(is_refused({"root's container", plan.join(*target, nsjoin::kinds<Kind::net>),
                                "needs the right to ptrace the process"}));
        CHILD_CHECK(is_refused({"a namespace without a user namespace", plan.create<Kind::net>(),
                                "needs CAP_SYS_ADMIN: create a user namespace too"}));
        CHILD_CHECK(is_refused(
            {"ids of others",
             plan.create(NewUser{.uids = {{0, 1000, 1}, {1, 5, 1}}, .gids = {{0, 1000, 1}}}),
             "write uid_map"}));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("bad input: a map with an overlap is none") {
    const std::array<nsjoin::IdExtent, 2> lines{{{0, 1000, 10}, {9, 2000, 1}}};
    const auto map = nsjoin::IdMap::from(lines);
    REQUIRE(!map);
    CHECK(nsjoin::explain(map.error()) ==
          "check the plan (line 2 (9 2000 1) and line 1): the lines share ids: each id may stand "
          "in one line only, inside and outside");
}

TEST_CASE("a kernel without a kind: which one it is, whatever the way to create it") {
    for (const Kind kind : nsjoin::all_kinds.set) {
        const int code = support::run_in_child([kind] {
            const auto flag = static_cast<std::uint32_t>(nsjoin::facts(kind).clone_flag);
            // clone3's flags are in memory, where no filter sees them: clone and unshare are left.
            CHILD_CHECK(support::deny_syscall(SYS_clone3, ENOSYS));
            CHILD_CHECK(support::deny_bits(SYS_clone, 0, flag, EINVAL));
            CHILD_CHECK(support::deny_bits(SYS_unshare, 0, flag, EINVAL));
            nsjoin::Draft draft;
            draft.created = Kind::uts | kind;
            const std::string said =
                "create " + std::string{nsjoin::facts(kind).name} + ": EINVAL: the running kernel";
            CHILD_CHECK(is_refused({"without a user namespace", *nsjoin::Plan::from(draft), said}));
            draft.created = Kind::user | Kind::ipc | kind;
            draft.maps = support::own_root();
            CHILD_CHECK(is_refused({"with one", *nsjoin::Plan::from(draft), said}));
            return 0;
        });
        INFO(std::string{nsjoin::facts(kind).name});
        CHECK(code == 0);
    }
}

namespace {

struct Lacking {
    const char* what;
    std::function<bool()> hide;
};

/// What kernels before the newest, and filters, take away.
auto lacking() -> std::vector<Lacking> {
    const auto denied = [](long number, int error) {
        return [number, error] {
            return support::deny_syscall(number, error);
        };
    };
    return {
        {"nothing",
         [] {
             return true;
         }},
        {"clone3: ENOSYS", denied(SYS_clone3, ENOSYS)},
        {"clone3: EPERM", denied(SYS_clone3, EPERM)},
        {"setns with several kinds: EINVAL",
         [] {
             return support::deny_setns_of_several(EINVAL);
         }},
        {"PIDFD_GET_*_NAMESPACE",
         [] {
             return support::deny_pidfd_ioctls(ENOTTY);
         }},
        {"NS_GET_USERNS",
         [] {
             return support::deny_ioctl(nsjoin::detail::ns_get_userns, ENOTTY);
         }},
        {"all of it",
         [] {
             return support::deny_syscall(SYS_clone3, ENOSYS) &&
                    support::deny_setns_of_several(EINVAL) && support::deny_pidfd_ioctls(ENOTTY) &&
                    support::deny_ioctl(nsjoin::detail::ns_get_userns, ENOTTY);
         }},
    };
}

} // namespace

TEST_CASE("fall-backs: what a kernel lacks, the same result comes by another way") {
    const support::Container container{nsjoin::all_kinds};
    const auto wanted = support::spaces_of(container.pid());
    const auto own = support::spaces_of("self");
    for (const Lacking& lack : lacking()) {
        const int code = support::run_in_child([&] {
            const auto target = nsjoin::PidFd::open(container.pid());
            CHILD_CHECK(target && lack.hide());
            const support::CallerState state;
            const auto joined = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
            CHILD_CHECK(support::went_well(support::run(
                joined, [&] { return support::is_in(wanted, nsjoin::all_kinds) ? 0 : 1; })));
            const auto created = nsjoin::JoinPlan{}
                                     .create(support::own_root())
                                     .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                             Kind::uts, Kind::cgroup, Kind::time>();
            CHILD_CHECK(support::went_well(support::run(created, [&] {
                const auto inside = support::spaces_of("self");
                return support::differing(own, inside) == nsjoin::all_kinds ? 0 : 1;
            })));
            CHILD_CHECK(state.holds());
            return 0;
        });
        INFO(std::string{lack.what});
        CHECK(code == 0);
    }
}

TEST_CASE("fall-backs: a cgroup that clone3 can't place into") {
    const support::Cgroup cgroup{"/sys/fs/cgroup/unified"};
    if (!cgroup.ok()) {
        support::skip("no cgroups of version 2 at /sys/fs/cgroup/unified");
        return;
    }
    const support::Container container{Kind::net | Kind::ipc};
    for (const int error : {ENOSYS, EPERM}) {
        const int code = support::run_in_child([&] {
            const auto target = nsjoin::PidFd::open(container.pid());
            CHILD_CHECK(support::deny_syscall(SYS_clone3, error));
            const support::CallerState state;
            const auto placed = nsjoin::JoinPlan{}.cgroup(cgroup.fd());
            const auto inside = [&] {
                return cgroup.has_this_process() ? 0 : 1;
            };
            CHILD_CHECK(support::went_well(support::run(placed, inside)));
            CHILD_CHECK(support::went_well(
                support::run(placed.join(*target, nsjoin::kinds<Kind::net, Kind::ipc>), inside)));
            CHILD_CHECK(support::went_well(support::run(placed.create<Kind::uts>(), inside)));
            CHILD_CHECK(!cgroup.has_this_process());
            CHILD_CHECK(state.holds());
            return 0;
        });
        INFO("errno " << error);
        CHECK(code == 0);
    }
}

TEST_CASE("a limit of processes: named, and nothing is left") {
    const int code = support::as_user(1000, [] {
        const support::CallerState state;
        rlimit limit{0, 0};
        CHILD_CHECK(::setrlimit(RLIMIT_NPROC, &limit) == 0);
        auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{});
        if (side && side->is_child()) {
            ::_exit(0);
        }
        CHILD_CHECK(!side);
        const std::string text = nsjoin::explain(side.error());
        CHILD_CHECK(text.find("EAGAIN: the limit of processes") != std::string::npos);
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}
