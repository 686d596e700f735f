// SPDX-License-Identifier: Apache-2.0
// The signals of enter and create, where the command is their child.
#ifndef EXAMPLES_SUPPORT_SIGNALS_HPP
#define EXAMPLES_SUPPORT_SIGNALS_HPP

#include "options.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace examples {

/// Whether the child was stopped by a signal, since it was last asked.
[[nodiscard]] inline auto has_stopped(const nsjoin::PidFd& child) -> bool {
    siginfo_t info{};
    return waitid(P_PIDFD, static_cast<id_t>(child.fd().get()), &info, WSTOPPED | WNOHANG) == 0 &&
           info.si_pid != 0;
}

/// Tells whether a process is stopped, from its file in /proc: the one that was opened while the
/// process was pinned stays its, whoever gets its pid.
class StopState {
  public:
    explicit StopState(const nsjoin::PidFd& process)
        : file_{open(("/proc/" + std::to_string(process.pid()) + "/stat").c_str(),
                     O_RDONLY | O_CLOEXEC)} {
        std::array<char, 16> self{};
        const ssize_t length = readlink("/proc/self", self.data(), self.size());
        const std::string_view seen{self.data(), static_cast<std::size_t>(length < 0 ? 0 : length)};
        if (!process.alive() || seen != std::to_string(getpid())) {
            file_.reset(); // /proc is not that of this pid namespace, and shows others
        }
    }

    [[nodiscard]] auto known() const -> bool { return file_.ok(); }

    /// False also if it has ended.
    [[nodiscard]] auto stopped() const -> bool {
        std::array<char, 512> text{};
        const ssize_t length = pread(file_.get(), text.data(), text.size(), 0);
        const std::string_view line{text.data(), static_cast<std::size_t>(length < 0 ? 0 : length)};
        const std::size_t name_end = line.rfind(") ");
        return name_end != std::string_view::npos && name_end + 2 < line.size() &&
               (line[name_end + 2] == 'T' || line[name_end + 2] == 't');
    }

  private:
    nsjoin::OwnedFd file_;
};

/// Stops this process as long as the child is stopped. A shell that has continued its job has
/// continued this process; whoever has continued the child alone has not, and its parent is not
/// told while it is stopped itself. So a watcher looks, which ends with this process.
class Stop {
  public:
    explicit Stop(const StopState& child)
        : parent_{getpid()}, watcher_{child.known() ? fork() : -1} {
        if (watcher_ == 0) {
            watch(child);
        }
    }

    Stop(const Stop&) = delete;
    Stop(Stop&&) = delete;
    auto operator=(const Stop&) -> Stop& = delete;
    auto operator=(Stop&&) -> Stop& = delete;

    ~Stop() {
        if (watcher_ > 0) {
            (void)kill(watcher_, SIGKILL);
            while (waitpid(watcher_, nullptr, 0) < 0 && errno == EINTR) {
            }
        }
    }

    static void stop() {
        (void)raise(SIGSTOP);
        // What has continued this process is blocked, and pending.
        sigset_t only;
        sigemptyset(&only);
        sigaddset(&only, SIGCONT);
        const timespec at_once{};
        (void)sigtimedwait(&only, nullptr, &at_once);
    }

  private:
    /// Again and again, for the first time may be before the parent has stopped.
    [[noreturn]] void watch(const StopState& child) const {
        constexpr timespec pause{0, 100'000'000};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent_) {
            (void)nanosleep(&pause, nullptr);
            if (!child.stopped()) {
                (void)kill(parent_, SIGCONT);
            }
        }
        _exit(0);
    }

    pid_t parent_;
    pid_t watcher_;
};

/// Whether a signal from the kernel has to be passed on: a terminal that is hung up tells none but
/// the leader of the session.
[[nodiscard]] inline auto is_hangup_of_leader(int number, const siginfo_t& info) -> bool {
    return number == SIGHUP && info.si_code > 0 && getsid(0) == getpid();
}

/// The signals of the command's parent: all blocked, from before there is a child, so that none is
/// lost or ends the parent alone.
class Signals {
  public:
    Signals() {
        // An ignored SIGCHLD is not sent at all, and takes the child's status away.
        ignored_ = std::signal(SIGCHLD, SIG_DFL) == SIG_IGN;
        sigfillset(&all_);
        sigprocmask(SIG_BLOCK, &all_, &before_);
    }

    /// In the child: all as it was.
    void restore() const {
        if (ignored_) {
            (void)std::signal(SIGCHLD, SIG_IGN);
        }
        sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

    /// Waits until the child ends. Meanwhile stops when it stops, and continues it when continued;
    /// what processes send is passed on, but not what the child itself sent its group. A signal
    /// from the terminal reaches the child by itself, but for the hangup.
    [[nodiscard]] auto attend(const nsjoin::PidFd& child) const
        -> nsjoin::Result<nsjoin::ExitStatus> {
        while (child.alive()) {
            if (has_stopped(child)) {
                stop_with(child);
                continue;
            }
            siginfo_t info{};
            const int number = sigwaitinfo(&all_, &info);
            const bool sent = number > 0 && info.si_code <= 0 && info.si_pid != child.pid();
            if ((sent && number != SIGCHLD) || is_hangup_of_leader(number, info)) {
                (void)child.send_signal(number);
            }
        }
        return child.wait();
    }

  private:
    static void stop_with(const nsjoin::PidFd& child) {
        const StopState state{child};
        {
            const Stop watched{state};
            Stop::stop();
        }
        if (!state.known() || state.stopped()) {
            (void)child.send_signal(SIGCONT);
        }
    }

    sigset_t all_{};
    sigset_t before_{};
    bool ignored_ = false;
};

/// What create does with signals when it has a child, from before the clone on, so that none comes
/// too early for it: waits on through SIGINT and SIGTERM, or with `forward` passes these on; any
/// other one ends it.
class CreateSignals {
  public:
    explicit CreateSignals(bool forward) : forward_{forward} {
        for (const int number : {SIGINT, SIGTERM, SIGCHLD}) {
            if (forward) {
                // A shell starts a job in the background with SIGINT ignored, and the command would
                // ignore what is passed on. From unshare(1), too, it has these as by default.
                (void)std::signal(number, SIG_DFL);
            }
            sigaddset(&few_, number);
        }
        sigprocmask(SIG_BLOCK, &few_, &before_);
    }

    /// In the child: as they were.
    void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

    /// Waits until the child ends.
    [[nodiscard]] auto wait(const nsjoin::PidFd& child) const
        -> nsjoin::Result<nsjoin::ExitStatus> {
        while (child.alive()) {
            siginfo_t info{};
            const int number = sigwaitinfo(&few_, &info);
            // What the terminal sends, the command gets from it.
            if (forward_ && (number == SIGINT || number == SIGTERM) && info.si_code <= 0) {
                (void)child.send_signal(number);
            }
        }
        return child.wait();
    }

  private:
    bool forward_;
    sigset_t few_{};
    sigset_t before_{};
};

} // namespace examples

#endif // EXAMPLES_SUPPORT_SIGNALS_HPP
