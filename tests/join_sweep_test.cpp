// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "supervisor.hpp"

#include <optional>
#include <thread>

using nsjoin::Kind;
using nsjoin::KindSet;

// Every system call that the engine makes fails, each in its turn; descriptors run out at each
// place; processes are stopped at each place. What comes back is the child or a clean error, in
// time, and nothing is left.

namespace {

/// Calls that no embedder's filter can take away without taking fork and wait from the program, or
/// whose failure only a broken kernel shows: what they undo can't be undone otherwise.
auto is_out_of_scope(long number) -> bool {
    for (const long kept : {SYS_exit_group, SYS_waitid, SYS_close, SYS_rt_sigprocmask, SYS_munmap,
                            SYS_getpid, SYS_gettid}) {
        if (number == kept) {
            return true;
        }
    }
    return false;
}

struct NamedPlan {
    const char* name;
    nsjoin::Plan plan;
};

/// The plans; `net` is a descriptor of the container's.
auto plans_of(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net)
    -> std::vector<NamedPlan> {
    static const support::RootFileSystem files;
    constexpr auto seven = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                         Kind::uts, Kind::cgroup>;
    return {
        {"join seven kinds", nsjoin::JoinPlan{}.join(target, seven)},
        {"join eight kinds", nsjoin::JoinPlan{}.join(target, nsjoin::all_kinds)},
        {"join by the child", nsjoin::JoinPlan{}
                                  .join(target, nsjoin::kinds<Kind::user, Kind::mount, Kind::net>)
                                  .create<Kind::uts>()},
        {"create all with maps and offsets",
         nsjoin::JoinPlan{}
             .create(support::own_root())
             .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup,
                     Kind::time>()
             .time_offsets({std::chrono::seconds{5}, std::chrono::seconds{5}})},
        {"join by descriptor, and create", nsjoin::JoinPlan{}
                                               .join(net)
                                               .create(support::own_root())
                                               .create<Kind::mount, Kind::pid, Kind::uts>()
                                               .as({.uid = 0, .gid = 0})
                                               .name("swept")
                                               .new_session()},
        {"furnish what is created", support::furnishing(files)},
    };
}

/// Runs the plan; 0 for a child that did its work or a clean error, 1 for anything else.
auto run_cleanly(const nsjoin::Plan& plan) -> int {
    auto side = support::clone(plan);
    if (!side) {
        return support::is_clean(side.error()) ? 0 : 1;
    }
    if (side->is_child()) {
        ::_exit(0);
    }
    return side->child().wait() ? 0 : 1;
}

/// The system calls of the plan: in all processes, between two calls of getppid by the caller.
struct Window {
    int marks = 0;

    [[nodiscard]] auto in(const support::Held& held) -> bool {
        if (held.is_main && held.number == SYS_getppid) {
            ++marks;
            return false;
        }
        return marks == 1;
    }
};

auto run_between_marks(const nsjoin::Plan& plan) -> int {
    const support::CallerState state;
    ::getppid();
    const int code = run_cleanly(plan);
    ::getppid();
    const bool holds = state.holds();
    support::reap_strays({});
    return code == 0 && holds ? 0 : 1;
}

/// The numbers of the calls, and how many there are of all.
auto calls_of(const nsjoin::Plan& plan) -> std::vector<long> {
    std::vector<long> numbers;
    Window window;
    support::Supervisor supervisor;
    const int code = supervisor.run([&] { return run_between_marks(plan); },
                                    [&](const support::Held& held) {
                                        if (window.in(held)) {
                                            numbers.push_back(held.number);
                                        }
                                        return 0;
                                    });
    CHECK(code == 0);
    return numbers;
}

/// In a thread with that filter, so that this process can look around without it.
auto run_denied(const nsjoin::Plan& plan, long number, int error) -> int {
    return support::run_in_child([&] {
        ::alarm(10);
        const support::CallerState state;
        int code = -1;
        std::thread{[&] {
            // The thread's heap, made before mmap is denied.
            const std::string heap(4096, 'x');
            asm volatile("" : : "r"(heap.data()) : "memory"); // else it may be left out
            code = support::deny_syscall(number, error) ? run_cleanly(plan) : 2;
        }}.join();
        const bool holds = state.holds();
        support::reap_strays({});
        return code == 0 && holds ? 0 : 1;
    });
}

} // namespace

TEST_CASE("each system call is denied: EPERM, ENOSYS, EINVAL") {
    const std::size_t step = support::every(4, 1);
    std::size_t turn = 0;
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    const auto net = nsjoin::NamespaceFd<Kind::net>::open(*target);
    for (const auto& entry : plans_of(*target, *net)) {
        const char* const name = entry.name;
        const nsjoin::Plan& plan = entry.plan;
        const auto calls = calls_of(plan);
        CHECK(calls.size() > 15);
        for (const long number : std::set<long>{calls.begin(), calls.end()}) {
            for (const int error : {EPERM, ENOSYS, EINVAL}) {
                if (is_out_of_scope(number) || turn++ % step != 0) {
                    continue;
                }
                const int code = run_denied(plan, number, error);
                INFO(std::string{name} << ": system call " << number << " fails with errno "
                                       << error);
                CHECK(code == 0);
            }
        }
    }
}

TEST_CASE("each single system call fails once: EPERM, ENOMEM, EINTR") {
    const std::size_t step = support::every(17, 1);
    std::size_t turn = 0;
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    const auto net = nsjoin::NamespaceFd<Kind::net>::open(*target);
    for (const auto& entry : plans_of(*target, *net)) {
        const char* const name = entry.name;
        const nsjoin::Plan& plan = entry.plan;
        const std::size_t count = calls_of(plan).size();
        for (std::size_t i = 0; i < count; ++i) {
            for (const int error : {EPERM, ENOMEM, EINTR}) {
                if (turn++ % step != 0) {
                    continue;
                }
                Window window;
                std::size_t index = 0;
                long number = -1;
                support::Supervisor supervisor;
                const int code = supervisor.run([&] { return run_between_marks(plan); },
                                                [&](const support::Held& held) {
                                                    if (!window.in(held) || index++ != i ||
                                                        is_out_of_scope(held.number)) {
                                                        return 0;
                                                    }
                                                    number = held.number;
                                                    return error;
                                                });
                INFO(std::string{name} << ": call " << i << " (system call " << number
                                       << ") fails with errno " << error);
                CHECK(code == 0);
            }
        }
    }
}

TEST_CASE("descriptors run out at each place") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    const auto net = nsjoin::NamespaceFd<Kind::net>::open(*target);
    for (const auto& entry : plans_of(*target, *net)) {
        const char* const name = entry.name;
        const nsjoin::Plan& plan = entry.plan;
        const int code = support::run_in_child([&] {
            ::alarm(20);
            const int first_free = *support::open_descriptors().rbegin() + 1;
            for (int fd = 0; fd < first_free; ++fd) {
                while (::fcntl(fd, F_GETFD) < 0) {
                    CHILD_CHECK(::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
                }
            }
            const support::CallerState state;
            int bad = 0;
            for (int more = 0; more < 30; ++more) {
                rlimit limit{};
                ::getrlimit(RLIMIT_NOFILE, &limit);
                const auto before = limit;
                limit.rlim_cur = static_cast<rlim_t>(first_free + more);
                ::setrlimit(RLIMIT_NOFILE, &limit);
                const int result = run_cleanly(plan);
                ::setrlimit(RLIMIT_NOFILE, &before);
                if (result != 0 || !state.holds()) {
                    std::fprintf(stderr, "%s: with %d descriptors to spare\n", name, more);
                    ++bad;
                }
                support::reap_strays({});
            }
            return bad;
        });
        INFO(std::string{name});
        CHECK(code == 0);
    }
}

TEST_CASE("a process is stopped at each place: the deadline ends it") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    const auto deadline = nsjoin::JoinPlan{}.deadline(std::chrono::milliseconds{60});
    const std::vector<nsjoin::Plan> plans{
        deadline.join(*target, nsjoin::all_kinds),
        deadline.create(support::own_root()).create<Kind::mount, Kind::pid, Kind::time>(),
    };
    for (const nsjoin::Plan& plan : plans) {
        std::size_t late = 0;
        bool more = true;
        constexpr int most_runs = 1000;
        std::size_t i = 0;
        for (int runs = 0; more && runs < most_runs; ++runs) {
            std::size_t index = 0;
            bool stopped = false;
            support::Supervisor supervisor;
            const int code = supervisor.run(
                [&] {
                    const support::CallerState state;
                    auto side = support::clone(plan);
                    if (side && side->is_child()) {
                        ::_exit(0);
                    }
                    const bool failed = !side;
                    CHILD_CHECK(!failed || side.error().reason == nsjoin::Reason::deadline_passed);
                    if (side) {
                        CHILD_CHECK(side->child().send_signal(SIGKILL));
                        CHILD_CHECK(side->child().wait());
                        side = nsjoin::Side{};
                    }
                    CHILD_CHECK(state.holds());
                    return failed ? 7 : 0;
                },
                [&](const support::Held& held) {
                    if (!held.is_main && index++ == i) {
                        stopped = true;
                        ::kill(held.pid, SIGSTOP);
                    }
                    return 0;
                });
            INFO("stopped at system call " << i);
            CHECK((code == 0 || code == 7));
            late += code == 7 && stopped ? 1U : 0U;
            // On a machine with other work the deadline may pass before: then once more.
            const bool early = code == 7 && !stopped;
            more = stopped || early;
            i += early ? 0U : 1U;
        }
        CHECK(late > 5);
    }
}
