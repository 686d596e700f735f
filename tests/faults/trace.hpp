// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_TRACE_HPP
#define NSJOIN_TESTS_FAULTS_TRACE_HPP

#include "calls.hpp"
#include "injection.hpp"
#include "registers.hpp"
#include "state.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <map>
#include <poll.h>
#include <set>
#include <string>
#include <sys/wait.h>
#include <utility>
#include <vector>

// Follows a caller and all that it makes from system call to system call, and disturbs it at one of
// them. A process is known by its path: "0" is the caller, "0.1" the first that it made.

namespace faults {

class Trace {
  public:
    using Clock = std::chrono::steady_clock;

    Trace(const Injection& injection, std::vector<Call>* record, pid_t target)
        : injection_{injection}, record_{record}, target_{target} {}

    Trace(const Trace&) = delete;
    Trace(Trace&&) = delete;
    auto operator=(const Trace&) -> Trace& = delete;
    auto operator=(Trace&&) -> Trace& = delete;

    ~Trace() {
        if (detached_fd_ >= 0) {
            ::close(detached_fd_);
        }
    }

    /// Follows the process, which waits to be traced, to its end and that of all others. A signal
    /// has to interrupt the caller of this from time to time.
    auto follow(pid_t main, std::chrono::milliseconds limit) -> End {
        main_ = main;
        processes_[main].path = "0";
        const auto last = Clock::now() + limit;
        while (!over()) {
            int status = 0;
            const pid_t pid = ::waitpid(-1, &status, __WALL);
            if (pid > 0) {
                handle(pid, status);
            } else if (errno == ECHILD) {
                break;
            }
            if (held_ != 0 && Clock::now() > held_until_) {
                resume(std::exchange(held_, 0), 0);
            }
            if (Clock::now() > (main_ended_ ? std::min(last, ended_ + grace) : last)) {
                give_up();
            }
        }
        return end_;
    }

  private:
    /// How long others may live on when the caller has ended.
    static constexpr std::chrono::milliseconds grace{3000};
    /// How long a caller stands still, which nobody else would let go on.
    static constexpr std::chrono::milliseconds past_deadline{900};

    struct Process {
        std::string path;
        long number = 0;
        std::map<long, unsigned> ordinals; ///< how often it has made each call
        unsigned children = 0;
        std::size_t recorded = 0;
        bool counted = false; ///< the call that it is in counts
        bool outside = false; ///< the library does nothing in it any more
        bool executed = false;
        bool failing = false; ///< the call that it is in is left out
        int error = 0;
    };

    [[nodiscard]] auto over() const -> bool {
        return main_ended_ && processes_.empty() && early_.empty() && !detached_lives();
    }

    /// Who waits for it may be another process than this one.
    [[nodiscard]] auto detached_lives() const -> bool {
        pollfd entry{detached_fd_, POLLIN, 0};
        return detached_ != 0 && ::poll(&entry, 1, 0) == 0;
    }

    void handle(pid_t pid, int status) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            ended(pid, status);
            return;
        }
        if (!WIFSTOPPED(status)) {
            return;
        }
        const auto found = processes_.find(pid);
        if (found == processes_.end()) {
            meet(pid);
            return;
        }
        const int signal = WSTOPSIG(status);
        if (signal == (SIGTRAP | 0x80)) {
            at_call(pid, found->second);
        } else if (const int event = status >> 16; event != 0) {
            at_event(pid, found->second, event);
        } else if (signal == SIGSTOP && !started_) {
            started_ = true;
            constexpr long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK |
                                     PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                                     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
            ::ptrace(PTRACE_SETOPTIONS, pid, nullptr, options);
            resume(pid, 0);
        } else {
            resume(pid, signal);
        }
    }

    void ended(pid_t pid, int status) {
        processes_.erase(pid);
        early_.erase(pid);
        if (pid == main_) {
            main_ended_ = true;
            ended_ = Clock::now();
            end_.status = status;
        }
        end_.target_ended = end_.target_ended || pid == target_;
    }

    /// The first stop of a process that another one has made. Who it is, that one's event says,
    /// unless somebody was killed before it came to that.
    void meet(pid_t pid) {
        if (end_.done) {
            let_go(pid);
        } else {
            early_.insert(pid);
        }
    }

    /// Nobody will say who it is, or it does not matter any more.
    void let_go(pid_t pid) {
        early_.erase(pid);
        let_go_.insert(pid);
        processes_[pid].outside = true;
        resume(pid, 0);
    }

    void at_event(pid_t pid, Process& process, int event) {
        if (event == PTRACE_EVENT_EXEC) {
            std::array<char, 256> link{};
            const std::string_view file = link_of({"/proc/", std::to_string(pid), "/exe"}, link);
            process.executed = true;
            process.outside = process.outside || file.ends_with("faults_probe");
        } else if (event != PTRACE_EVENT_STOP) {
            unsigned long made = 0;
            ::ptrace(PTRACE_GETEVENTMSG, pid, nullptr, &made);
            const auto child = static_cast<pid_t>(made);
            const std::string path = process.path + "." + std::to_string(++process.children);
            if (!let_go_.contains(child)) {
                Process made_now;
                made_now.path = path;
                made_now.outside = process.outside;
                made_now.executed = process.executed;
                add_child(child, std::move(made_now));
            }
        }
        resume(pid, 0);
    }

    void add_child(pid_t child, Process process) {
        processes_[child] = std::move(process);
        if (early_.erase(child) != 0) {
            resume(child, 0);
        } else {
            await_first_stop(child);
        }
    }

    /// It stops before it does anything.
    void await_first_stop(pid_t child) {
        int status = 0;
        while (::waitpid(child, &status, __WALL) < 0 && errno == EINTR) {
        }
        if (WIFSTOPPED(status)) {
            resume(child, 0);
        } else {
            ended(child, status);
        }
    }

    void at_call(pid_t pid, Process& process) {
        CallInfo info{};
        if (!read_call(pid, info)) {
            return;
        }
        if (info.entry) {
            at_entry(pid, process, info);
        } else {
            at_exit(pid, process, info);
        }
    }

    void at_entry(pid_t pid, Process& process, const CallInfo& info) {
        process.number = info.number;
        process.counted = false;
        if (info.number == mark_begin) {
            recording_ = true;
        } else if (info.number == mark_end || info.number == mark_out) {
            process.outside = true;
        } else if (recording_ && !process.outside) {
            process.counted = true;
            ++process.ordinals[process.number];
            note(pid, process, info);
            if (matches(process, false)) {
                disturb(pid, process);
            } else if (injection_.second != 0 && end_.done && !end_.second_done &&
                       !is_out_of_scope(process.number) && ++since_ == injection_.second) {
                end_.second_done = true;
                fail(pid, process, injection_.second_value);
            }
        }
        if (processes_.contains(pid) && pid != held_) {
            resume(pid, 0);
        }
    }

    void at_exit(pid_t pid, Process& process, const CallInfo& info) {
        if (process.failing) {
            process.failing = false;
            set_result(pid, -process.error);
        }
        if (process.counted && record_ != nullptr) {
            (*record_)[process.recorded].result = info.result;
        }
        if (process.counted && matches(process, true)) {
            disturb(pid, process);
        }
        process.counted = false;
        resume(pid, 0);
    }

    void note(pid_t pid, Process& process, const CallInfo& info) {
        if (record_ == nullptr) {
            return;
        }
        Call call{.path = process.path,
                  .ordinal = process.ordinals[process.number],
                  .number = process.number,
                  .result = -1,
                  .by_stream = is_stream(pid, static_cast<int>(info.first)),
                  .executed = process.executed,
                  .alive = {}};
        for (const auto& [other, what] : processes_) {
            if (!what.outside || other == main_) {
                call.alive.push_back(what.path);
            }
        }
        process.recorded = record_->size();
        record_->push_back(std::move(call));
    }

    [[nodiscard]] auto matches(Process& process, bool at_exit) const -> bool {
        return !end_.done && injection_.act != Act::none && injection_.at_exit == at_exit &&
               process.number == injection_.number && process.path == injection_.path.data() &&
               process.ordinals[process.number] == injection_.ordinal;
    }

    void fail(pid_t pid, Process& process, int error) {
        process.failing = true;
        process.error = error;
        skip_call(pid);
    }

    void disturb(pid_t pid, Process& process) {
        end_.done = true;
        for (const pid_t early : std::set<pid_t>{early_}) {
            let_go(early);
        }
        switch (injection_.act) {
        case Act::fail:
            fail(pid, process, injection_.value);
            break;
        case Act::part:
            set_third_argument(pid, injection_.value);
            break;
        case Act::kill:
            kill_victim();
            break;
        case Act::signal:
            ::syscall(SYS_tgkill, pid, pid, SIGUSR1);
            break;
        case Act::stop:
            if (process.path == "0") {
                held_ = pid;
                held_until_ = Clock::now() + past_deadline;
                break;
            }
            ::ptrace(PTRACE_DETACH, pid, nullptr, static_cast<long>(SIGSTOP));
            detached_ = pid;
            detached_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
            processes_.erase(pid);
            break;
        default:
            break;
        }
    }

    void kill_victim() const {
        const std::string_view victim{injection_.victim.data()};
        if (victim == "target") {
            ::kill(target_, SIGKILL);
        }
        for (const auto& [pid, process] : processes_) {
            if (process.path == victim) {
                ::kill(pid, SIGKILL);
            }
        }
    }

    /// From stop to stop as long as something is to be done at one of them.
    void resume(pid_t pid, int signal) {
        const auto found = processes_.find(pid);
        const bool outside = found != processes_.end() && found->second.outside;
        const bool failing = found != processes_.end() && found->second.failing;
        const bool more = !end_.done || (injection_.second != 0 && !end_.second_done);
        const bool stops =
            failing || (!outside && more && (record_ != nullptr || injection_.act != Act::none));
        ::ptrace(stops ? PTRACE_SYSCALL : PTRACE_CONT, pid, nullptr, static_cast<long>(signal));
    }

    /// What is still there has had its time.
    void give_up() {
        end_.late = end_.late || !main_ended_;
        for (const auto& [pid, process] : processes_) {
            describe_left(pid, process.path);
            ::kill(pid, SIGKILL);
        }
        for (const pid_t pid : early_) {
            describe_left(pid, "?");
            ::kill(pid, SIGKILL);
        }
        if (detached_lives()) {
            describe_left(detached_, "the stopped one");
            ::kill(detached_, SIGKILL);
        }
        int status = 0;
        for (pid_t pid = 0; !over() && (pid = ::waitpid(-1, &status, __WALL)) > 0;) {
            if (WIFEXITED(status) || WIFSIGNALED(status)) {
                ended(pid, status);
            }
        }
    }

    void describe_left(pid_t pid, const std::string& path) {
        std::array<char, 128> where{};
        const std::string directory = "/proc/" + std::to_string(pid);
        const std::size_t length =
            read_file((directory + "/syscall").c_str(), where.data(), where.size());
        const long number = std::atol(where.data());
        std::array<char, 256> bytes{};
        (void)read_file((directory + "/stat").c_str(), bytes.data(), bytes.size() - 1);
        const std::string stat{bytes.data()};
        const std::size_t at = stat.rfind(')');
        end_.left += " " + path + " (state " +
                     (at == std::string::npos ? "gone" : stat.substr(at + 2, 1)) + ", in " +
                     (length == 0 ? "?" : name_of(number)) + ")";
    }

    const Injection& injection_;
    std::vector<Call>* record_;
    pid_t target_;
    pid_t main_ = 0;
    pid_t held_ = 0; ///< the caller, which stands still
    Clock::time_point held_until_{};
    pid_t detached_ = 0; ///< stopped, and not traced any more
    int detached_fd_ = -1;
    bool started_ = false;
    bool recording_ = false;
    bool main_ended_ = false;
    unsigned since_ = 0;
    Clock::time_point ended_{};
    std::map<pid_t, Process> processes_;
    std::set<pid_t> early_;  ///< stopped, and not known yet
    std::set<pid_t> let_go_; ///< whose maker's event is not waited for
    End end_;
};

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_TRACE_HPP
