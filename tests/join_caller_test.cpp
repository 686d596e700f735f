// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <atomic>
#include <thread>

using nsjoin::Kind;
using nsjoin::KindSet;

// Every kind of caller: pid 1, with its own ideas of SIGCHLD, with threads.

namespace {

constexpr auto seven_kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                           Kind::uts, Kind::cgroup>;

/// A plan for each way in which the engine makes its processes.
auto all_routes(const nsjoin::PidFd& target) -> std::vector<nsjoin::Plan> {
    const auto long_time = std::chrono::seconds{20};
    return {
        nsjoin::JoinPlan{}.join(target, seven_kinds),
        nsjoin::JoinPlan{}.join(target, nsjoin::all_kinds),
        nsjoin::JoinPlan{}.join(target, seven_kinds).deadline(long_time),
        nsjoin::JoinPlan{}.create<Kind::net, Kind::mount, Kind::uts, Kind::pid>(),
        nsjoin::JoinPlan{}.create(support::own_root()).create<Kind::net, Kind::mount>(),
        nsjoin::JoinPlan{}
            .join(target, nsjoin::kinds<Kind::net, Kind::ipc>)
            .create(support::own_root())
            .create<Kind::mount, Kind::pid>()
            .oom_score_adj(700),
    };
}

/// Whether others may wait for the caller's children, so that the status is lost.
enum class Status : std::uint8_t { is_told, may_be_lost };

/// Where others wait for the caller's children. To be asked in a process where nobody else does.
auto status_where_others_wait() -> Status {
    if (support::keeps_taken_status()) {
        return Status::is_told;
    }
    support::skip(support::no_taken_status);
    return Status::may_be_lost;
}

/// Whether the child's exit code came back, or the word that nobody has it any more.
auto came_back(const support::Ran& ran, int code, Status status) -> bool {
    if (status == Status::may_be_lost && ran.error) {
        return ran.error->step == nsjoin::Step::wait &&
               ran.error->reason == nsjoin::Reason::already_reaped;
    }
    return (!ran.error || support::went_well(ran)) && ran.code == code;
}

/// Runs each route; the child's exit code must come back.
auto all_routes_work(const nsjoin::PidFd& target, Status status = Status::is_told) -> int {
    const support::CallerState state;
    for (const nsjoin::Plan& plan : all_routes(target)) {
        CHILD_CHECK(came_back(support::run(plan, [] { return 42; }), 42, status));
    }
    CHILD_CHECK(state.holds());
    return 0;
}

/// The same, where the child executes another program.
auto all_routes_execute(const nsjoin::PidFd& target, Status status = Status::is_told) -> int {
    const support::CallerState state;
    for (const nsjoin::Plan& plan : all_routes(target)) {
        const auto ran = support::run(plan, [] {
            ::execl("/bin/sh", "sh", "-c", "exit 43", nullptr);
            return 127;
        });
        CHILD_CHECK(came_back(ran, 43, status));
    }
    CHILD_CHECK(state.holds());
    return 0;
}

auto all_routes_come_back(const nsjoin::PidFd& target, Status status) -> int {
    return all_routes_work(target, status) + all_routes_execute(target, status);
}

void reap_all(int /*number*/) {
    const int saved = errno;
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    errno = saved;
}

} // namespace

TEST_CASE("caller: an ordinary process") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(all_routes_work(*target) == 0);
        return all_routes_execute(*target);
    });
    CHECK(code == 0);
}

TEST_CASE("caller: pid 1 of its pid namespace") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(support::own_mounts());
        CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
        return support::run_in_child([] {
            CHILD_CHECK(::getpid() == 1);
            CHILD_CHECK(::mount("proc", "/proc", "proc", 0, nullptr) == 0);
            const support::Container container{nsjoin::all_kinds};
            const auto target = nsjoin::PidFd::open(container.pid());
            CHILD_CHECK(all_routes_work(*target) == 0);
            return all_routes_execute(*target);
        });
    });
    CHECK(code == 0);
}

TEST_CASE("caller: pid 1, and the child too: what the child inherits is not taken for its own") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
        return support::run_in_child([] {
            const support::Container container{Kind::net | Kind::ipc};
            const auto target = nsjoin::PidFd::open(container.pid());
            const auto plan =
                nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>).create<Kind::pid>();
            const auto ran = support::run(plan, [] {
                CHILD_CHECK(::getpid() == 1 && ::prctl(PR_GET_DUMPABLE) == 0);
                const auto again = support::run(nsjoin::JoinPlan{}.create<Kind::uts>(), [] {
                    CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
                    return 0;
                });
                CHILD_CHECK(support::went_well(again));
                return 0;
            });
            CHILD_CHECK(support::went_well(ran));
            return 0;
        });
    });
    CHECK(code == 0);
}

TEST_CASE("caller: a SIGCHLD handler that reaps everything, in this thread") {
    const Status status = status_where_others_wait();
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        struct sigaction action {};
        action.sa_handler = reap_all;
        action.sa_flags = SA_RESTART;
        ::sigaction(SIGCHLD, &action, nullptr);
        const auto target = nsjoin::PidFd::open(container.pid());
        return all_routes_come_back(*target, status);
    });
    CHECK(code == 0);
}

TEST_CASE("caller: another thread reaps everything") {
    const Status status = status_where_others_wait();
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        std::atomic<bool> stop{false};
        std::thread reaper{[&] {
            while (!stop) {
                (void)::waitpid(-1, nullptr, WNOHANG | __WALL);
            }
        }};
        const auto target = nsjoin::PidFd::open(container.pid());
        int bad = 0;
        for (int i = 0; i < 10; ++i) {
            bad += all_routes_come_back(*target, status);
        }
        stop = true;
        reaper.join();
        return bad;
    });
    CHECK(code == 0);
}

TEST_CASE("caller: another thread with a SIGCHLD handler that reaps everything") {
    const Status status = status_where_others_wait();
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        struct sigaction action {};
        action.sa_handler = reap_all;
        ::sigaction(SIGCHLD, &action, nullptr);
        std::atomic<bool> stop{false};
        std::thread handler{[&] {
            while (!stop) {
                ::usleep(100);
            }
        }};
        sigset_t set{};
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGCHLD);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
        const auto target = nsjoin::PidFd::open(container.pid());
        const int bad = all_routes_come_back(*target, status);
        stop = true;
        handler.join();
        return bad;
    });
    CHECK(code == 0);
}

TEST_CASE("caller: SIGCHLD is ignored") {
    const Status status = status_where_others_wait();
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        ::signal(SIGCHLD, SIG_IGN);
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(all_routes_come_back(*target, status) == 0);
        struct sigaction action {};
        ::sigaction(SIGCHLD, nullptr, &action);
        CHILD_CHECK(action.sa_handler == SIG_IGN);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("caller: SA_NOCLDWAIT") {
    const Status status = status_where_others_wait();
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        struct sigaction action {};
        action.sa_handler = SIG_DFL;
        action.sa_flags = SA_NOCLDWAIT;
        ::sigaction(SIGCHLD, &action, nullptr);
        const auto target = nsjoin::PidFd::open(container.pid());
        return all_routes_come_back(*target, status);
    });
    CHECK(code == 0);
}

TEST_CASE("caller: signals interrupt it all the time") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        support::interrupt_often();
        const itimerval every{{0, 300}, {0, 300}};
        ::setitimer(ITIMER_REAL, &every, nullptr);
        const auto target = nsjoin::PidFd::open(container.pid());
        for (int i = 0; i < 10; ++i) {
            for (const nsjoin::Plan& plan : all_routes(*target)) {
                CHILD_CHECK(support::run(plan, [] { return 42; }).code == 42);
            }
        }
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("caller: not dumpable before, not dumpable after") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(all_routes_work(*target) == 0);
        CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("caller: one of several threads, whose child executes a program") {
    const support::Container container{nsjoin::all_kinds};
    const int code = support::run_in_child([&] {
        std::atomic<bool> stop{false};
        std::thread other{[&] {
            while (!stop) {
                std::free(std::malloc(1000));
            }
        }};
        const auto target = nsjoin::PidFd::open(container.pid());
        int bad = 0;
        std::thread{[&] {
            bad += all_routes_execute(*target);
        }}.join();
        bad += all_routes_execute(*target);
        stop = true;
        other.join();
        return bad;
    });
    CHECK(code == 0);
}

TEST_CASE("caller: sixteen threads at once, on two targets") {
    const support::Container one{nsjoin::all_kinds};
    const support::Container two{KindSet{seven_kinds}};
    const int code = support::run_in_child([&] {
        const auto a = nsjoin::PidFd::open(one.pid());
        const auto b = nsjoin::PidFd::open(two.pid());
        CHILD_CHECK(::chdir("/tmp") == 0);
        const support::CallerState state;
        std::atomic<int> bad{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 16; ++i) {
            threads.emplace_back([&, i] {
                const nsjoin::PidFd& target = i % 2 == 0 ? *a : *b;
                for (int round = 0; round < 20; ++round) {
                    const auto plans = all_routes(target);
                    const auto& plan = plans[static_cast<std::size_t>(i + round) % plans.size()];
                    bad += support::run(plan, [] { return 42; }).code == 42 ? 0 : 1;
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        CHILD_CHECK(bad == 0);
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("the kernel's trap: a thread's setns(mnt | net) moves the root and cwd of the others") {
    const support::Container container{Kind::mount | Kind::net};
    const int code = support::run_in_child([&] {
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto target = nsjoin::PidFd::open(container.pid());
        int result = -1;
        std::thread{[&] {
            result = ::setns(target->fd().get(), CLONE_NEWNS | CLONE_NEWNET);
        }}.join();
        if (result != 0) {
            support::skip("the kernel's trap is closed: setns(mnt | net) of a thread is refused");
            return 0;
        }
        std::array<char, 4096> name{};
        CHILD_CHECK(::getcwd(name.data(), name.size()) != nullptr);
        CHILD_CHECK(std::string_view{name.data()} != "/tmp"); // this is the trap
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("nsjoin does not step into the trap: root and cwd of all threads stay") {
    const support::Container container{Kind::mount | Kind::net};
    const int code = support::run_in_child([&] {
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto target = nsjoin::PidFd::open(container.pid());
        const support::CallerState state;
        support::Ran ran;
        std::thread{[&] {
            const auto plan =
                nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::mount, Kind::net>);
            ran = support::run(plan, [] { return 0; });
        }}.join();
        CHILD_CHECK(support::went_well(ran));
        CHILD_CHECK(state.holds());
        std::array<char, 100> name{};
        CHILD_CHECK(::getcwd(name.data(), name.size()) != nullptr);
        CHILD_CHECK(std::string_view{name.data()} == "/tmp");
        return 0;
    });
    CHECK(code == 0);
}
