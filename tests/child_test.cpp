// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/console.hpp>
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

using nsjoin::Credentials;
using nsjoin::Groups;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;

// What the plan says of the child itself: ids, capabilities, terminal, cgroup, name, signals.

namespace {

auto ids_are(const char* uids, const char* gids, const char* groups) -> int {
    const std::string uid = support::status_line("self", "Uid");
    const std::string gid = support::status_line("self", "Gid");
    const std::string list = support::status_line("self", "Groups");
    if (uid == uids && gid == gids && list == groups) {
        return 0;
    }
    std::fprintf(stderr, "the ids are %s, %s, groups %s\n", uid.c_str(), gid.c_str(), list.c_str());
    return 1;
}

/// Gives the caller groups, so that they can be seen to go or stay.
auto with_groups() -> bool {
    const std::array<gid_t, 2> groups{11, 12};
    return ::setgroups(groups.size(), groups.data()) == 0;
}

} // namespace

TEST_CASE("ids: named ones, with groups set, dropped or kept") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(with_groups());
        const support::CallerState state;
        const auto as = [](Credentials ids) {
            return nsjoin::JoinPlan{}.as(std::move(ids));
        };
        CHILD_CHECK(
            support::went_well(support::run(as({.uid = 1000, .gid = 1001, .groups = {7, 5}}), [] {
                return ids_are("1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001", "5 7 ");
            })));
        CHILD_CHECK(support::went_well(support::run(as({.uid = 1000, .gid = 1001}), [] {
            return ids_are("1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001", "");
        })));
        CHILD_CHECK(support::went_well(
            support::run(as({.uid = 1000, .gid = 1001, .groups = Groups::keep()}), [] {
                return ids_are("1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001", "11 12 ");
            })));
        CHILD_CHECK(support::went_well(
            support::run(as({.uid = {}, .gid = 8, .groups = Groups::keep()}),
                         [] { return ids_are("0\t0\t0\t0", "8\t8\t8\t8", "11 12 "); })));
        CHILD_CHECK(support::went_well(support::run(
            nsjoin::JoinPlan{}, [] { return ids_are("0\t0\t0\t0", "0\t0\t0\t0", "11 12 "); })));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("ids: many groups") {
    std::vector<gid_t> many;
    for (gid_t gid = 1; gid <= 2000; ++gid) {
        many.push_back(gid * 3);
    }
    const auto plan = nsjoin::JoinPlan{}.as({.uid = 1000, .gid = 1000, .groups = Groups{many}});
    CHECK(support::went_well(support::run(plan, [&] {
        std::vector<gid_t> seen(3000);
        const int count = ::getgroups(static_cast<int>(seen.size()), seen.data());
        seen.resize(static_cast<std::size_t>(std::max(0, count)));
        return seen == many ? 0 : 1;
    })));
}

TEST_CASE("ids: all of root's rights go with the uid") {
    const auto plan = nsjoin::JoinPlan{}.as({.uid = 1000, .gid = 1000});
    CHECK(support::went_well(support::run(plan, [] {
        CHILD_CHECK(support::status_line("self", "CapEff") == "0000000000000000");
        CHILD_CHECK(support::status_line("self", "CapPrm") == "0000000000000000");
        CHILD_CHECK(::setuid(0) == -1);
        return 0;
    })));
}

TEST_CASE("ids: in a joined user namespace it is 0:0 without groups, unless they are kept") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(with_groups());
        // Ids 0 to 9 inside are 3000 to 3009 outside.
        const support::Target target{[] {
            return support::run_in_child([] { return 0; }) == 0 && ::unshare(CLONE_NEWUSER) == 0;
        }};
        const std::string proc = "/proc/" + std::to_string(target.pid());
        CHILD_CHECK(support::spill(proc + "/uid_map", "0 3000 10"));
        CHILD_CHECK(support::spill(proc + "/gid_map", "0 3000 10"));
        const auto fd = nsjoin::PidFd::open(target.pid());
        const auto join = nsjoin::JoinPlan{}.join(*fd, nsjoin::kinds<Kind::user>);
        CHILD_CHECK(support::went_well(
            support::run(join, [] { return ids_are("0\t0\t0\t0", "0\t0\t0\t0", ""); })));
        CHILD_CHECK(
            support::went_well(support::run(join.as({.uid = 3, .gid = 4, .groups = {5}}), [] {
                return ids_are("3\t3\t3\t3", "4\t4\t4\t4", "5 ");
            })));
        CHILD_CHECK(support::went_well(support::run(join.keep_ids(), [] {
            return ids_are("65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534",
                           "65534 65534 ");
        })));
        const support::CallerState state;
        const auto no_uid = support::run(join.as({.uid = 10, .gid = 0}), [] { return 0; });
        CHILD_CHECK(support::failed_with(no_uid, Step::set_uid, Reason::id_not_mapped, EINVAL));
        const auto no_gid = support::run(join.as({.uid = 0, .gid = 10}), [] { return 0; });
        CHILD_CHECK(support::failed_with(no_gid, Step::set_gid, Reason::id_not_mapped, EINVAL));
        const auto no_group =
            support::run(join.as({.uid = 0, .gid = 0, .groups = {10}}), [] { return 0; });
        CHILD_CHECK(
            support::failed_with(no_group, Step::set_groups, Reason::id_not_mapped, EINVAL));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("ids: a joined user namespace that denies setgroups: dropped is fine, named is not") {
    const support::Target target{support::new_user};
    REQUIRE(target.ok());
    const auto fd = nsjoin::PidFd::open(target.pid());
    const auto join = nsjoin::JoinPlan{}.join(*fd, nsjoin::kinds<Kind::user>);
    CHECK(support::went_well(support::run(join.as({.uid = 0, .gid = 0}), [] { return 0; })));
    const auto ran = support::run(join.as({.uid = 0, .gid = 0, .groups = {0}}), [] { return 0; });
    CHECK(support::failed_with(ran, Step::set_groups, Reason::groups_denied));
}

TEST_CASE("ids: the id that means no change is refused, and no other is taken for it") {
    const auto with = [](uid_t uid, gid_t gid) {
        return support::run(nsjoin::JoinPlan{}.as({.uid = uid, .gid = gid}), [] { return 0; });
    };
    for (const auto& ran : {with(4294967295U, 0), with(0, 4294967295U)}) {
        REQUIRE(ran.error);
        CHECK(ran.error->step == Step::check_plan);
        CHECK(nsjoin::explain(*ran.error).find("errno 0") == std::string::npos);
    }
}

TEST_CASE("ids: uid 1000 may not take others") {
    const int code = support::as_user(1000, [] {
        const support::CallerState state;
        const auto ids =
            nsjoin::JoinPlan{}.as({.uid = 1001, .gid = 1000, .groups = Groups::keep()});
        const auto ran = support::run(ids, [] { return 0; });
        CHILD_CHECK(support::failed_with(ran, Step::set_uid, Reason::system, EPERM));
        CHILD_CHECK(nsjoin::explain(*ran.error).find("CAP_SETUID") != std::string::npos);
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("console: the child's controlling terminal, its 0, 1 and 2, and a tty for its program") {
    const int code = support::run_in_child([] {
        auto console = nsjoin::Console::open();
        CHILD_CHECK(console);
        const support::Container container{Kind::user | Kind::mount};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto plan = nsjoin::JoinPlan{}
                              .join(*target, nsjoin::kinds<Kind::user, Kind::mount>)
                              .console(console->peer.fd());
        const support::CallerState state;
        const auto ran = support::run(plan, [] {
            ::execl("/bin/sh", "sh", "-c",
                    "test -t 0 && test -t 1 && test -t 2 && echo here > /dev/tty && "
                    "test $(ps -o tty= -p $$ | cut -c1-3) = pts",
                    nullptr);
            return 127;
        });
        CHILD_CHECK(support::went_well(ran));
        std::array<char, 16> text{};
        CHILD_CHECK(::read(console->master.fd().get(), text.data(), text.size()) > 0);
        CHILD_CHECK(std::string_view{text.data()}.substr(0, 4) == "here");
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("console: a caller whose 0, 1 and 2 are closed") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        auto console = nsjoin::Console::open();
        CHILD_CHECK(console);
        const nsjoin::OwnedFd errors{::fcntl(2, F_DUPFD_CLOEXEC, 20)};
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(target);
        const auto plain = nsjoin::JoinPlan{}.console(console->peer.fd());
        // What is opened for these would have the numbers.
        const std::vector<nsjoin::Plan> plans{
            plain,
            plain.create(support::own_root()).oom_score_adj(0),
            plain.create<Kind::time>().time_offsets({}),
            plain.join(*target, nsjoin::all_kinds).deadline(std::chrono::seconds{20}),
        };
        for (const nsjoin::Plan& plan : plans) {
            for (const int closed : {0, 1, 2}) {
                ::close(closed);
            }
            const auto ran = support::run(plan, [] {
                return ::isatty(0) == 1 && ::isatty(1) == 1 && ::isatty(2) == 1 ? 0 : 5;
            });
            const bool still_closed = ::fcntl(0, F_GETFD) == -1 && ::fcntl(2, F_GETFD) == -1;
            ::dup2(errors.get(), 2);
            CHILD_CHECK(support::went_well(ran));
            CHILD_CHECK(still_closed);
        }
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("console: one that is descriptor 0 already stays open over exec") {
    const int code = support::run_in_child([] {
        auto console = nsjoin::Console::open();
        CHILD_CHECK(console);
        ::close(0);
        CHILD_CHECK(::fcntl(console->peer.fd().get(), F_DUPFD_CLOEXEC, 0) == 0);
        const auto ran = support::run(nsjoin::JoinPlan{}.console(nsjoin::BorrowedFd{0}), [] {
            ::execl("/bin/sh", "sh", "-c", "test -t 0 && test -t 1 && test -t 2", nullptr);
            return 127;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("console: a root and a working directory that are descriptors 0 and 1") {
    const int code = support::run_in_child([] {
        auto console = nsjoin::Console::open();
        CHILD_CHECK(console);
        ::close(0);
        CHILD_CHECK(::open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC) == 0);
        ::close(1);
        CHILD_CHECK(::open("/usr/bin", O_PATH | O_DIRECTORY | O_CLOEXEC) == 1);
        const auto plan = nsjoin::JoinPlan{}
                              .console(console->peer.fd())
                              .root(nsjoin::BorrowedFd{0})
                              .working_directory(nsjoin::BorrowedFd{1});
        const auto ran = support::run(plan, [] { return ::access("/bin/env", F_OK); });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("cgroup: v2 and v1, whether joined, created or forked") {
    const support::Container container{nsjoin::all_kinds};
    for (const char* const hierarchy : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"}) {
        const support::Cgroup cgroup{hierarchy};
        if (!cgroup.ok()) {
            support::skip(std::string{"no cgroups at "} + hierarchy);
            continue;
        }
        const int code = support::run_in_child([&] {
            const auto target = nsjoin::PidFd::open(container.pid());
            const auto in = nsjoin::JoinPlan{}.cgroup(cgroup.fd());
            const auto net = in.join(*target, nsjoin::kinds<Kind::net>);
            const std::vector<nsjoin::Plan> plans{
                in,  in.create<Kind::net, Kind::pid>(),      in.create(support::own_root()),
                net, net.deadline(std::chrono::seconds{20}), net.create(support::own_root()),
            };
            const support::CallerState state;
            for (const nsjoin::Plan& plan : plans) {
                const auto ran =
                    support::run(plan, [&] { return cgroup.has_this_process() ? 0 : 1; });
                CHILD_CHECK(support::went_well(ran));
            }
            // The root of a new cgroup namespace is the cgroup that the child was put into.
            const auto root = support::run(in.create<Kind::cgroup>(), [&] {
                const bool v2 = cgroup.path().find("unified") != std::string::npos;
                const std::string text = support::slurp("/proc/self/cgroup");
                return text.find(v2 ? "0::/\n" : ":pids:/\n") == std::string::npos ? 1 : 0;
            });
            CHILD_CHECK(support::went_well(root));
            CHILD_CHECK(state.holds());
            return 0;
        });
        INFO(std::string{hierarchy});
        CHECK(code == 0);
    }
}

TEST_CASE("oom_score_adj: raised in every kind of plan; lowered where it may not be, an error") {
    const int code = support::as_user(1000, [] {
        const support::Container container{Kind::user | Kind::net};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto raised = nsjoin::JoinPlan{}.oom_score_adj(777);
        const std::vector<nsjoin::Plan> plans{
            raised,
            raised.create(support::own_root()).create<Kind::pid>(),
            raised.join(*target, nsjoin::kinds<Kind::user, Kind::net>),
        };
        const support::CallerState state;
        for (const nsjoin::Plan& plan : plans) {
            const auto ran = support::run(
                plan, [] { return support::slurp("/proc/self/oom_score_adj") == "777\n" ? 0 : 1; });
            CHILD_CHECK(support::went_well(ran));
        }
        const auto lowered = nsjoin::JoinPlan{}.oom_score_adj(-500);
        for (const nsjoin::Plan& plan :
             {nsjoin::Plan{lowered}, nsjoin::Plan{lowered.create(support::own_root())},
              nsjoin::Plan{lowered.join(*target, nsjoin::kinds<Kind::user, Kind::net>)}}) {
            const auto ran = support::run(plan, [] { return 0; });
            CHILD_CHECK(support::failed_with(ran, Step::set_oom_score_adj, Reason::system, EACCES));
            CHILD_CHECK(nsjoin::explain(*ran.error).find("CAP_SYS_RESOURCE") != std::string::npos);
        }
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("name: up to fifteen bytes") {
    CHECK(support::went_well(support::run(nsjoin::JoinPlan{}.name("crun-init"), [] {
        return support::slurp("/proc/self/comm") == "crun-init\n" ? 0 : 1;
    })));
    const auto name = nsjoin::ProcessName::from("sixteen-letters!");
    REQUIRE(!name);
    CHECK(name.error().step == Step::check_plan);
    CHECK(name.error().reason == Reason::bad_value);
}

namespace {

/// Starts the plan in a process of its own, kills that once the child runs, and tells whether the
/// child's death signal reached it, which ends it.
auto dies_with_its_caller(const nsjoin::Plan& plan) -> int {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    support::TestPipe pipe;
    pid_t child = 0;
    {
        const support::Process caller{[&] {
            auto side = support::clone(plan);
            if (side && side->is_child()) {
                ::pause();
                ::_exit(0);
            }
            (void)pipe.put(side ? side->child().pid() : -1);
            ::pause();
            return 0;
        }};
        CHILD_CHECK(pipe.get(child));
    }
    CHILD_CHECK(child > 0);
    int status = 0;
    const bool ended = support::eventually(
        [&] { return ::waitpid(child, &status, WNOHANG) == child; }, std::chrono::seconds{2});
    if (!ended) {
        ::kill(child, SIGKILL);
        support::wait_for(child);
    }
    CHILD_CHECK(ended && WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    return 0;
}

} // namespace

TEST_CASE("death signal: the child gets it when the caller is killed, whatever the ids") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto dies = nsjoin::JoinPlan{}.death_signal(SIGUSR1);
        const nsjoin::KindSet no_pid = KindSet{nsjoin::all_kinds} - Kind::pid - Kind::time;
        nsjoin::Draft joins = dies.as({.uid = 0, .gid = 0}).draft();
        joins.join(*target, no_pid);
        CHILD_CHECK(dies_with_its_caller(dies) == 0);
        CHILD_CHECK(dies_with_its_caller(dies.as({.uid = 1000, .gid = 1000})) == 0);
        CHILD_CHECK(dies_with_its_caller(*nsjoin::Plan::from(joins)) == 0);
        joins.deadline = std::chrono::seconds{20};
        return dies_with_its_caller(*nsjoin::Plan::from(joins));
    });
    CHECK(code == 0);
}
