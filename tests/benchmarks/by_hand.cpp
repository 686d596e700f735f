// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"
#include "jobs.hpp"
#include "nets.hpp"

#include <array>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {
namespace {

using nsjoin::Kind;
using nsjoin::KindSet;

auto flags_of(KindSet kinds) -> int {
    return static_cast<int>(kinds.clone_flags());
}

auto join_all(pid_t target, KindSet kinds) -> bool {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, target, 0));
    const bool good = fd >= 0 && ::setns(fd, flags_of(kinds)) == 0;
    ::close(fd);
    return good;
}

auto ended_well(pid_t pid) -> bool {
    int status = 1;
    return pid > 0 && ::waitpid(pid, &status, 0) == pid && status == 0;
}

/// A process on the memory of the caller, which is suspended until it ends or executes.
template <typename Body>
auto on_this_memory(Body& body, int flags, int* pidfd = nullptr) -> pid_t {
    alignas(16) std::array<char, 16384> stack; // NOLINT(*-member-init): 16 KiB for nothing
    const auto enter = [](void* context) -> int {
        return (*static_cast<Body*>(context))();
    };
    return ::clone(enter, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK | SIGCHLD | flags,
                   &body, pidfd);
}

void execute(const char* path) {
    std::array<char*, 2> words{const_cast<char*>(path), nullptr}; // NOLINT(*-const-cast)
    std::array<char*, 1> environment{nullptr};
    ::execve(path, words.data(), environment.data());
}

/// What a program is started with.
struct Start {
    pid_t target;
    KindSet kinds;
    const char* path;
    bool whole =
        false; ///< root inside, not dumpable before that, and a pidfd of it: not just joined
};

auto become_root() -> bool {
    return ::syscall(SYS_setresgid, 0, 0, 0) == 0 && ::syscall(SYS_setresuid, 0, 0, 0) == 0;
}

/// The first process joins and makes the second, a child of the caller; or is it itself.
auto join_and_execute(const Start& start, pid_t& child, int& pidfd) -> int {
    if (!join_all(start.target, start.kinds)) {
        return 1;
    }
    auto last = [&] {
        if (start.whole && start.kinds.contains(Kind::user)) {
            // Refused where the user namespace denies it.
            (void)!::syscall(SYS_setgroups, 0, nullptr);
            if (!become_root()) {
                return 126;
            }
        }
        execute(start.path);
        return 127;
    };
    if (!start.kinds.contains(Kind::pid) && !start.kinds.contains(Kind::time)) {
        return last();
    }
    const int flags = CLONE_PARENT | (start.whole ? CLONE_FILES | CLONE_PIDFD : 0);
    child = on_this_memory(last, flags, &pidfd);
    return child > 0 ? 0 : 1;
}

auto exec_in(const Start& start) -> Nanoseconds {
    return timed([&] {
        pid_t child = 0;
        int pidfd = -1;
        auto body = [&] {
            return join_and_execute(start, child, pidfd);
        };
        const int dumpable = start.whole ? ::prctl(PR_GET_DUMPABLE) : 0;
        if (start.whole) {
            ::prctl(PR_SET_DUMPABLE, 0);
        }
        const pid_t first = on_this_memory(body, start.whole ? CLONE_FILES : 0);
        if (start.whole) {
            ::prctl(PR_SET_DUMPABLE, dumpable);
        }
        const bool good = ended_well(first) && (child == 0 || ended_well(child));
        if (pidfd >= 0) {
            ::close(pidfd);
        }
        return good;
    });
}

/// fork(2) as the kernel has it, for a child that ends at once.
auto raw_fork(std::uint64_t flags) -> pid_t {
    clone_args args{};
    args.flags = flags;
    args.exit_signal = (flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD;
    return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

/// Joins and makes a copy of itself, the caller's child, that ends at once.
auto join_and_copy(KindSet kinds, pid_t& child) -> int {
    if (!join_all(scene.target, kinds)) {
        return 1;
    }
    if (!kinds.contains(Kind::pid) && !kinds.contains(Kind::time)) {
        return 0;
    }
    child = raw_fork(CLONE_PARENT);
    return child >= 0 ? 0 : 1;
}

} // namespace

namespace by_hand {

auto join(KindSet kinds) -> Nanoseconds {
    return timed_in_copy([=] { return join_all(scene.target, kinds); });
}

auto join_one_by_one(KindSet kinds) -> Nanoseconds {
    return timed_in_copy([=] {
        std::array<int, nsjoin::kind_count> fds{};
        std::size_t count = 0;
        const std::string directory = "/proc/" + std::to_string(scene.target) + "/ns/";
        for (const Kind kind : kinds) {
            const std::string path = directory + std::string{nsjoin::facts(kind).name};
            fds.at(count++) = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        }
        // The user namespace last: a privileged caller has the rights over all of them now.
        bool good = true;
        for (const bool user : {false, true}) {
            std::size_t at = 0;
            for (const Kind kind : kinds) {
                const int fd = fds.at(at++);
                if ((kind == Kind::user) == user) {
                    good = ::setns(fd, flags_of(kind)) == 0 && good;
                    ::close(fd);
                }
            }
        }
        return good;
    });
}

auto fork_join(KindSet kinds) -> Nanoseconds {
    return timed([&] {
        std::array<int, 2> ends{-1, -1};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
            return false;
        }
        const pid_t first = ::fork();
        if (first == 0) {
            pid_t child = 0;
            const int code = join_and_copy(kinds, child);
            if (code == 0 && child > 0) {
                (void)!::write(ends[1], &child, sizeof child);
            }
            ::_exit(code);
        }
        ::close(ends[1]);
        pid_t child = 0;
        const bool second = ::read(ends[0], &child, sizeof child) == sizeof child;
        ::close(ends[0]);
        return ended_well(first) && (!second || ended_well(child));
    });
}

auto vfork_join(KindSet kinds) -> Nanoseconds {
    return timed([&] {
        pid_t child = 0;
        auto body = [&] {
            if (!join_all(scene.target, kinds)) {
                return 1;
            }
            // It is to be a copy of the caller, so it is made in any case.
            const pid_t copy = raw_fork(CLONE_PARENT);
            if (copy == 0) {
                ::_exit(0);
            }
            child = copy;
            return 0;
        };
        return ended_well(on_this_memory(body, 0)) && ended_well(child);
    });
}

auto vfork_exec(KindSet kinds) -> Nanoseconds {
    return exec_in({scene.target, kinds, scene.tiny.c_str()});
}

auto whole_exec(KindSet kinds) -> Nanoseconds {
    return exec_in({scene.target, kinds, scene.tiny.c_str(), true});
}

auto container_exec(KindSet kinds) -> Nanoseconds {
    return exec_in({scene.container, kinds, scene.inside.c_str()});
}

auto fork_exec(KindSet kinds) -> Nanoseconds {
    return timed([&] {
        const pid_t first = ::fork();
        if (first == 0) {
            // It is the child's parent, so it waits for it.
            pid_t child = 0;
            auto last = [] {
                execute(scene.tiny.c_str());
                return 127;
            };
            if (!join_all(scene.target, kinds)) {
                ::_exit(1);
            }
            child = on_this_memory(last, 0);
            ::_exit(ended_well(child) ? 0 : 1);
        }
        return ended_well(first);
    });
}

auto create_exec(KindSet kinds) -> Nanoseconds {
    return timed([&] {
        const pid_t child = raw_fork(kinds.clone_flags());
        if (child == 0) {
            execute(scene.tiny.c_str());
            ::_exit(127);
        }
        return ended_well(child);
    });
}

auto net_and_back(KindSet) -> Nanoseconds {
    constexpr int times = 20;
    return timed([] {
               bool good = true;
               for (int i = 0; i < times; ++i) {
                   good = ::setns(nets.front(), CLONE_NEWNET) == 0 &&
                          ::setns(home_net, CLONE_NEWNET) == 0 && good;
               }
               return good;
           }) /
           times;
}

auto sweep(KindSet) -> Nanoseconds {
    return timed([] {
               bool good = true;
               for (const int net : nets) {
                   good = ::setns(net, CLONE_NEWNET) == 0 && good;
                   good = ::setns(home_net, CLONE_NEWNET) == 0 && good;
               }
               return good;
           }) /
           sweep_size;
}

} // namespace by_hand

auto prepare_sweep() -> bool {
    const auto own = [] {
        return ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    };
    home_net = own();
    bool good = home_net >= 0;
    for (int i = 0; good && i < sweep_size; ++i) {
        good = ::unshare(CLONE_NEWNET) == 0;
        nets.push_back(own());
        good = good && nets.back() >= 0;
    }
    return ::setns(home_net, CLONE_NEWNET) == 0 && good;
}

} // namespace bench
