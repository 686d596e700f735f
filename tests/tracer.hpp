// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_TRACER_HPP
#define NSJOIN_TESTS_TRACER_HPP

#include "support.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <vector>

// Runs a function in a forked process and stops it, and all that it makes, at every system call.

namespace support {

/// One stop at the entry or the exit of a system call.
struct Stop {
    pid_t pid = 0;
    long number = 0; ///< of the system call
    bool entry = false;
};

/// What a traced run came to.
struct Traced {
    std::vector<Stop> stops;
    int exit_code = -1; ///< of the traced function's process; 128 and the signal that ended it
    bool hung = false;  ///< something was still there after ten seconds, and was ended
    int left = 0;       ///< how many processes that was
};

class Tracer {
  public:
    /// Runs `body` traced; at the stop with the index `kill_at`, its process, or `victim` if there
    /// is one, is killed and the rest goes on untraced. Call it in a process of its own
    /// (run_in_child): it becomes a subreaper.
    [[nodiscard]] auto run(const std::function<int()>& body, std::size_t kill_at, pid_t victim = 0)
        -> Traced {
        victim_ = victim;
        ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        main_ = ::fork();
        if (main_ == 0) {
            ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            ::raise(SIGSTOP);
            ::_exit(body());
        }
        int status = 0;
        ::waitpid(main_, &status, 0);
        set_options(main_);
        ::ptrace(PTRACE_SYSCALL, main_, nullptr, nullptr);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (std::chrono::steady_clock::now() < end) {
            const pid_t pid = ::waitpid(-1, &status, __WALL | WNOHANG);
            if (pid < 0) {
                return result_;
            }
            if (pid == 0) {
                ::usleep(50);
                continue;
            }
            handle(pid, status, kill_at);
        }
        end_all();
        return result_;
    }

  private:
    static void set_options(pid_t pid) {
        const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                             PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
        ::ptrace(PTRACE_SETOPTIONS, pid, nullptr, options);
    }

    void handle(pid_t pid, int status, std::size_t kill_at) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == main_) {
                result_.exit_code =
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
            seen_.erase(pid);
            return;
        }
        if (!WIFSTOPPED(status)) {
            return;
        }
        const bool first = seen_.emplace(pid, false).second && pid != main_;
        const int signal = WSTOPSIG(status);
        if (signal == (SIGTRAP | 0x80)) {
            at_system_call(pid, kill_at);
        } else if (first || (status >> 16) != 0 || signal == SIGSTOP) {
            resume(pid, 0);
        } else {
            resume(pid, signal);
        }
    }

    void at_system_call(pid_t pid, std::size_t kill_at) {
        __ptrace_syscall_info info{};
        ::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
        const bool entry = info.op == PTRACE_SYSCALL_INFO_ENTRY;
        if (entry) {
            numbers_[pid] = static_cast<long>(info.entry.nr);
        }
        result_.stops.push_back({pid, numbers_[pid], entry});
        if (result_.stops.size() - 1 == kill_at) {
            ::kill(victim_ != 0 ? victim_ : pid, SIGKILL);
            killed_ = true;
        }
        resume(pid, 0);
    }

    void resume(pid_t pid, int signal) const {
        ::ptrace(killed_ ? PTRACE_CONT : PTRACE_SYSCALL, pid, nullptr, static_cast<long>(signal));
    }

    void end_all() {
        result_.hung = true;
        for (const auto& [pid, unused] : seen_) {
            (void)unused;
            ++result_.left;
            ::kill(pid, SIGKILL);
        }
        int status = 0;
        while (::waitpid(-1, &status, __WALL) > 0) {
        }
    }

    pid_t main_ = 0;
    pid_t victim_ = 0;
    bool killed_ = false;
    Traced result_;
    std::map<pid_t, bool> seen_;
    std::map<pid_t, long> numbers_;
};

/// Runs `body` once for each stop of all its processes, or each `step`th, and kills there the one
/// that is stopped. How many runs ended otherwise than by that death, or left something; the last
/// one, in which nobody is killed, has to end well.
inline auto kill_everywhere(const std::function<int()>& body, std::size_t step = every(7, 1))
    -> int {
    constexpr int over = 99;
    std::size_t count = 0;
    int bad = 0;
    for (int code = 0; code != over; count += step) {
        code = run_in_child([&] {
            const Traced run = Tracer{}.run(body, count);
            const bool main_killed = run.exit_code == 128 + SIGKILL;
            if (run.stops.size() <= count && run.exit_code == 0 && !run.hung) {
                return over;
            }
            if (run.stops.size() <= count || run.hung || (run.exit_code != 0 && !main_killed)) {
                std::fprintf(stderr, "killed at stop %zu: %s, exit %d\n", count,
                             run.hung ? "something is left" : "not cleaned up", run.exit_code);
                return 1;
            }
            return 0;
        });
        bad += code == 0 || code == over ? 0 : 1;
        if (bad > 20) {
            break; // it does not even end well by itself
        }
    }
    CHECK(count > 30);
    MESSAGE("killed at one of " << step << " of " << count - step << " stops");
    return bad;
}

/// Runs `body` once for each stop, or some, each time with a new target, which is killed there. How
/// many runs did not end well: whether it succeeds or fails, it has to be clean.
template <typename Target>
auto kill_target_everywhere(const std::function<int(pid_t)>& body, nsjoin::KindSet kinds) -> int {
    constexpr int over = 99;
    const std::size_t step = every(7, 1);
    std::size_t count = 0;
    int bad = 0;
    for (int code = 0; code != over && bad <= 20; count += step) {
        const Target target{kinds};
        code = run_in_child([&] {
            const Traced run =
                Tracer{}.run([&] { return body(target.pid()); }, count, target.pid());
            if (run.exit_code != 0 || run.hung) {
                std::fprintf(stderr, "target killed at stop %zu: exit %d, %d left\n", count,
                             run.exit_code, run.left);
                return 1;
            }
            return run.stops.size() <= count ? over : 0;
        });
        bad += code == 0 || code == over ? 0 : 1;
    }
    CHECK(count > 30);
    MESSAGE("target killed at one of " << step << " of " << count - step << " stops");
    return bad;
}

} // namespace support

#endif // NSJOIN_TESTS_TRACER_HPP
