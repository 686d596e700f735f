// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <thread>

using nsjoin::ChildOf;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;

// ChildOf::callers_parent: the child is made for the caller's parent, and the caller itself joins.

namespace {

constexpr auto seven_kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                           Kind::uts, Kind::cgroup>;

/// Runs a plan for a child of the caller's parent in a process of its own, which then ends; the
/// child's exit code, as this process finds it.
auto code_of_sibling(const nsjoin::Plan& plan, const std::function<int()>& body) -> int {
    const auto before = support::children();
    const int caller = support::run_in_child([&] {
        auto side = support::clone(plan);
        if (!side) {
            std::fprintf(stderr, "%s\n", nsjoin::explain(side.error()).c_str());
            return 1;
        }
        if (side->is_child()) {
            ::_exit(body());
        }
        return side->child().pid() > 0 ? 0 : 1;
    });
    if (caller != 0) {
        return -1;
    }
    for (const pid_t pid : support::children()) {
        if (!before.contains(pid)) {
            return support::wait_for(pid);
        }
    }
    return -2;
}

auto children_of_parent(const nsjoin::PidFd& target) -> std::vector<nsjoin::Plan> {
    return {
        nsjoin::JoinPlan{}.join(target, seven_kinds).child_of(ChildOf::callers_parent),
        nsjoin::JoinPlan{}.join(target, nsjoin::all_kinds).child_of(ChildOf::callers_parent),
        nsjoin::JoinPlan{}.create<Kind::net, Kind::pid>().child_of(ChildOf::callers_parent),
        nsjoin::JoinPlan{}
            .create(support::own_root())
            .create<Kind::mount, Kind::time>()
            .child_of(ChildOf::callers_parent),
    };
}

} // namespace

TEST_CASE("callers_parent: the child is the caller's parent's") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        for (const nsjoin::Plan& plan : children_of_parent(*target)) {
            CHILD_CHECK(code_of_sibling(plan, [] { return 21; }) == 21);
        }
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("callers_parent: the caller joins and stays there, as is said") {
    const support::Container container{KindSet{seven_kinds}};
    const int code = support::run_in_child([&] {
        const auto wanted = support::spaces_of(container.pid());
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto plan = children_of_parent(*target).front();
        support::TestPipe pipe;
        const int caller = support::run_in_child([&] {
            auto side = support::clone(plan);
            CHILD_CHECK(side);
            if (side->is_child()) {
                ::_exit(support::is_in(wanted, seven_kinds) ? 0 : 1);
            }
            CHILD_CHECK(support::is_in(wanted, KindSet{seven_kinds} - Kind::pid));
            CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
            return 0;
        });
        const auto left = support::children();
        CHILD_CHECK(caller == 0 && left.size() == 1);
        return support::wait_for(*left.begin());
    });
    CHECK(code == 0);
}

TEST_CASE("callers_parent: refused to pid 1, which has no parent inside") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
        return support::run_in_child([] {
            const support::CallerState state;
            const auto ran = support::run(
                nsjoin::JoinPlan{}.create<Kind::uts>().child_of(ChildOf::callers_parent),
                [] { return 0; });
            CHILD_CHECK(support::failed_with(ran, Step::check_plan, Reason::init_has_no_sibling));
            CHILD_CHECK(support::is_clean(*ran.error));
            CHILD_CHECK(state.holds());
            return 0;
        });
    });
    CHECK(code == 0);
}

TEST_CASE("callers_parent: refused to a process with threads that would have to join itself") {
    const support::Container container{Kind::mount | Kind::net};
    const int code = support::run_in_child([&] {
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto plan = nsjoin::JoinPlan{}
                              .join(*target, nsjoin::kinds<Kind::mount, Kind::net>)
                              .child_of(ChildOf::callers_parent);
        const support::CallerState state;
        support::Ran ran;
        std::thread{[&] {
            ran = support::run(plan, [] { return 0; });
        }}.join();
        CHILD_CHECK(support::failed_with(ran, Step::check_plan, Reason::many_threads));
        CHILD_CHECK(support::is_clean(*ran.error));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("callers_parent: refused to a process with threads also without a /proc to count them") {
    const support::Container container{Kind::mount | Kind::net};
    const int code = support::run_in_child([&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(support::own_mounts());
        CHILD_CHECK(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto plan = nsjoin::JoinPlan{}
                              .join(*target, nsjoin::kinds<Kind::mount, Kind::net>)
                              .child_of(ChildOf::callers_parent);
        bool joined = false;
        std::thread{[&] {
            auto side = support::clone(plan);
            if (side && side->is_child()) {
                ::_exit(0);
            }
            joined = side.has_value();
        }}.join();
        std::array<char, 100> name{};
        CHILD_CHECK(::getcwd(name.data(), name.size()) != nullptr);
        CHILD_CHECK(std::string_view{name.data()} == "/tmp");
        CHILD_CHECK(!joined);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("callers_parent: another process that shares root and cwd keeps them") {
    const support::Container container{Kind::mount | Kind::net};
    const int code = support::run_in_child([&] {
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto sharer =
            static_cast<pid_t>(::syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
        if (sharer == 0) {
            ::pause();
            ::_exit(0);
        }
        auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}
                                               .join(*target, nsjoin::kinds<Kind::mount, Kind::net>)
                                               .child_of(ChildOf::callers_parent));
        if (side && side->is_child()) {
            ::_exit(0);
        }
        std::string name(100, '\0');
        const std::string path = "/proc/" + std::to_string(sharer) + "/cwd";
        const ssize_t length = ::readlink(path.c_str(), name.data(), name.size());
        ::kill(sharer, SIGKILL);
        support::wait_for(sharer);
        CHILD_CHECK(name.substr(0, static_cast<std::size_t>(length)) == "/tmp");
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("callers_parent: the child is in its cgroup, of v2 and of v1") {
    for (const char* const hierarchy : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"}) {
        const support::Cgroup cgroup{hierarchy};
        if (!cgroup.ok()) {
            support::skip(std::string{"no cgroups at "} + hierarchy);
            continue;
        }
        const support::Container container{Kind::net | Kind::ipc};
        const int code = support::run_in_child([&] {
            const auto target = nsjoin::PidFd::open(container.pid());
            const auto in_it = [&] {
                return cgroup.has_this_process() ? 21 : 22;
            };
            const auto joins = nsjoin::JoinPlan{}
                                   .join(*target, nsjoin::kinds<Kind::net>)
                                   .cgroup(cgroup.fd())
                                   .child_of(ChildOf::callers_parent);
            const auto creates = nsjoin::JoinPlan{}
                                     .create<Kind::net>()
                                     .cgroup(cgroup.fd())
                                     .child_of(ChildOf::callers_parent);
            CHILD_CHECK(code_of_sibling(creates, in_it) == 21);
            CHILD_CHECK(code_of_sibling(joins, in_it) == 21);
            return 0;
        });
        INFO(std::string{hierarchy});
        CHECK(code == 0);
    }
}

TEST_CASE("callers_parent: a failure of the child reaches the caller") {
    const support::Container container{Kind::net | Kind::ipc};
    const int code = support::run_in_child([&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        const int failed = support::run_in_child([&] {
            const auto plan = nsjoin::JoinPlan{}
                                  .join(*target, nsjoin::kinds<Kind::net>)
                                  .child_of(ChildOf::callers_parent)
                                  .as({.uid = 0, .gid = 0, .groups = {}})
                                  .oom_score_adj(0)
                                  .working_directory(nsjoin::BorrowedFd{0});
            ::close(0);
            CHILD_CHECK(::open("/dev/null", O_RDONLY) == 0);
            const auto ran = support::run(plan, [] { return 0; });
            CHILD_CHECK(
                support::failed_with(ran, Step::set_working_directory, Reason::system, ENOTDIR));
            return 0;
        });
        CHILD_CHECK(failed == 0);
        for (const pid_t pid : support::children()) {
            CHILD_CHECK(support::wait_for(pid) != 0);
        }
        return 0;
    });
    CHECK(code == 0);
}
