// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PID_FD_HPP
#define NSJOIN_PID_FD_HPP

#include <nsjoin/detail/kernel/clock.hpp>
#include <nsjoin/detail/kernel/proc.hpp>
#include <nsjoin/duration.hpp>
#include <nsjoin/fd.hpp>

#include <csignal>
#include <ctime>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace nsjoin::inline v0_1 {

/// How a process ended.
class ExitStatus {
  public:
    /// From the number that wait(2) gives.
    constexpr explicit ExitStatus(int wait_status) noexcept : status_{wait_status} {}

    /// Whether the process ended by itself, with an exit code.
    [[nodiscard]] constexpr auto exited() const noexcept -> bool { return (status_ & 0x7f) == 0; }

    /// The exit code, 0 to 255; of a process that a signal ended, 128 and the signal's number, as
    /// a shell has it.
    [[nodiscard]] constexpr auto exit_code() const noexcept -> int {
        return exited() ? (status_ >> 8) & 0xff : 128 + signal();
    }

    /// The signal that ended the process, or 0.
    [[nodiscard]] constexpr auto signal() const noexcept -> int { return status_ & 0x7f; }

    /// The number that wait(2) gives.
    [[nodiscard]] constexpr auto wait_status() const noexcept -> int { return status_; }

    [[nodiscard]] friend constexpr auto operator==(ExitStatus, ExitStatus) noexcept
        -> bool = default;

  private:
    int status_;
};

/// How a process ended, and what it used, with those of its children that it waited for.
struct EndedProcess {
    ExitStatus status;
    rusage usage; ///< getrusage(2)
};

/// A process, pinned: the number of a process that ended can be given to another one, this
/// descriptor can't. Owns a descriptor from pidfd_open(2) or clone3(2). Linux 5.3.
class [[nodiscard]] PidFd {
  public:
    /// No limit, for wait().
    static constexpr Duration forever = Duration::nanoseconds(-1);

    /// Pins process `pid`. pidfd_open(2). Errors: ESRCH if there is none; EINVAL if `pid` is not
    /// positive; EINVAL, or on newer kernels ENOENT, if it is a thread that leads no process;
    /// ENOSYS before Linux 5.3.
    [[nodiscard]] static auto open(pid_t pid) noexcept -> Result<PidFd> {
        const long fd = detail::call(SYS_pidfd_open, pid, 0U);
        if (fd < 0) {
            Error error{Step::open_pidfd, Reason::system, static_cast<int>(-fd), Subject{"pid "}};
            error.subject.append(std::int64_t{pid});
            return Unexpected{error};
        }
        return PidFd{OwnedFd{static_cast<int>(fd)}, pid};
    }

    /// Takes a pidfd that clone3(2) or a message brought, and the pid that it stands for.
    explicit PidFd(OwnedFd fd, pid_t pid) noexcept : fd_{std::move(fd)}, pid_{pid} {}

    /// The pid, as the pid namespace of the opener numbers it.
    [[nodiscard]] auto pid() const noexcept -> pid_t { return pid_; }

    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd { return fd_.borrow(); }

    auto fd() && -> BorrowedFd = delete;

    /// Gives the descriptor away: the caller closes it. What is left stands for no process: it is
    /// not alive, and all else is EBADF.
    [[nodiscard]] auto release() noexcept -> OwnedFd { return std::move(fd_); }

    /// Whether the process has not ended yet. poll(2).
    [[nodiscard]] auto alive() const noexcept -> bool { return !ended_within(Duration{}); }

    /// Sends signal `number`; 0 only checks that it could be sent. pidfd_send_signal(2).
    /// Errors: ESRCH if the process ended and was waited for; EPERM; EINVAL for no such signal.
    [[nodiscard]] auto send_signal(int number) const noexcept -> Result<void> {
        const long result = detail::call(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0U);
        if (result < 0) {
            return error(Step::send_signal, static_cast<int>(-result));
        }
        return {};
    }

    /// Waits until the process, a child of the caller, ends, and takes its status. waitid(2).
    /// `timeout` is forever by default, and if it is negative. A second wait, and one after
    /// somebody else took the status (a SIGCHLD handler that reaps all, or SIGCHLD ignored), is
    /// answered from the descriptor itself since Linux 6.15 (PIDFD_GET_INFO). Who traces the
    /// process keeps its end from its parent until it has taken that itself: of one that runs
    /// beside who is not trusted, wait with a timeout. Errors: deadline_passed; already_reaped if
    /// the status is lost; ECHILD if the process is not the caller's child.
    [[nodiscard]] auto wait(Duration timeout = forever) const noexcept -> Result<ExitStatus> {
        siginfo_t info{};
        const Result<bool> taken = wait_for_status(info, timeout, nullptr);
        if (!taken) {
            return Unexpected{taken.error()};
        }
        return *taken ? Result<ExitStatus>{from_siginfo(info)} : reaped_status();
    }

    /// As wait(), with what the process used: processor time, the most memory, page faults. Can be
    /// had once, with the status. waitid(2). Errors: those of wait(); already_reaped also where the
    /// status alone could still be had.
    [[nodiscard]] auto wait_usage(Duration timeout = forever) const noexcept
        -> Result<EndedProcess> {
        siginfo_t info{};
        rusage usage{};
        const Result<bool> taken = wait_for_status(info, timeout, &usage);
        if (!taken) {
            return Unexpected{taken.error()};
        }
        if (*taken) {
            return EndedProcess{from_siginfo(info), usage};
        }
        const Result<ExitStatus> status = reaped_status();
        return status ? error(Step::wait, Reason::already_reaped) : Unexpected{status.error()};
    }

  private:
    [[nodiscard]] auto ended_within(Duration timeout) const noexcept -> bool {
        return polled_within(timeout, POLLIN);
    }

    /// Without events, waits until nothing but the descriptor is left of the process: POLLHUP.
    [[nodiscard]] auto polled_within(Duration timeout, short events) const noexcept -> bool {
        const detail::Deadline deadline{timeout};
        while (fd_.ok()) {
            pollfd entry{fd_.get(), events, 0};
            const detail::PollTimeout left{deadline.left()};
            const long ready = detail::call(SYS_ppoll, &entry, 1UL, left.get(), nullptr, 0UL);
            if (ready > 0) {
                return true;
            }
            if (ready == 0) {
                return false;
            }
            if (ready != -EINTR) {
                break; // let waitid(2) say what is wrong
            }
        }
        return true;
    }

    /// Whether the status was there to take: if not, somebody else has it.
    [[nodiscard]] auto wait_for_status(siginfo_t& info, Duration timeout,
                                       rusage* usage) const noexcept -> Result<bool> {
        if (!fd_.ok()) {
            return error(Step::wait, EBADF);
        }
        const detail::Deadline deadline{timeout};
        if (timeout.count() >= 0 && !ended_within(timeout)) {
            return error(Step::wait, Reason::deadline_passed);
        }
        const long result = take_status(info, deadline, usage);
        if (result == -ECHILD) {
            (void)ended_within(timeout); // somebody else's child may still run
            return false;
        }
        if (result != 0) {
            return error(Step::wait, static_cast<int>(-result));
        }
        return info.si_signo != 0 ? Result<bool>{true} : error(Step::wait, Reason::deadline_passed);
    }

    /// waitid(2). With a deadline it does not wait in there, where a tracer could hold it up for
    /// ever: none is taken then, and si_signo 0.
    [[nodiscard]] auto take_status(siginfo_t& info, const detail::Deadline& deadline,
                                   rusage* usage) const noexcept -> long {
        constexpr Duration moment = Duration::nanoseconds(1'000'000);
        const int how = deadline.left().count() < 0 ? 0 : WNOHANG;
        for (;;) {
            const long result = detail::call_again(SYS_waitid, detail::p_pidfd, fd_.get(), &info,
                                                   WEXITED | how | detail::wait_all, usage);
            const Duration left = deadline.left();
            if (result != 0 || info.si_signo != 0 || left.count() == 0) {
                return result;
            }
            const detail::PollTimeout pause{left.count() < moment.count() ? left : moment};
            (void)detail::call(SYS_ppoll, nullptr, 0UL, pause.get(), nullptr, 0UL);
        }
    }

    [[nodiscard]] static auto from_siginfo(const siginfo_t& info) noexcept -> ExitStatus {
        const int status = info.si_status; // NOLINT(*-union-access): the field of SIGCHLD
        return ExitStatus{info.si_code == CLD_EXITED ? (status & 0xff) << 8 : status & 0x7f};
    }

    [[nodiscard]] auto reaped_status() const noexcept -> Result<ExitStatus> {
        for (bool again = true;; again = false) {
            detail::PidfdInfo info;
            info.mask = detail::pidfd_info_exit;
            const long result = detail::call(SYS_ioctl, fd_.get(), detail::pidfd_get_info, &info);
            if (result == 0 && (info.mask & detail::pidfd_info_exit) != 0) {
                return ExitStatus{info.exit_code};
            }
            // A child that nobody can wait for any more may not be taken apart yet: the status is
            // there when it is. Asked in that very moment, the kernel says ESRCH.
            const bool is_own = result == 0 && static_cast<pid_t>(info.ppid) == ::getpid();
            const bool may_come = is_own || result == -ESRCH;
            if (!again || !may_come || !polled_within(Duration::seconds(1), 0)) {
                return error(Step::wait, Reason::already_reaped);
            }
        }
    }

    template <typename Why>
    [[nodiscard]] auto error(Step step, Why why) const noexcept -> Unexpected {
        auto failure = detail::fail(step, why, "pid ");
        failure.error().subject.append(std::int64_t{pid_});
        return failure;
    }

    OwnedFd fd_;
    pid_t pid_ = -1;
};

namespace detail {

/// In which a process has ended that got SIGKILL, unless that does not reach it: it is in a frozen
/// cgroup, or the caller may not signal it; or who traces it keeps its end.
inline constexpr Duration killed_soon = Duration::seconds(2);

/// What an error says of a process that is left because of that.
[[nodiscard]] inline auto out_of_reach(pid_t pid) noexcept -> Subject {
    return Subject{"SIGKILL does not reach the child, pid "}.append(std::int64_t{pid});
}

/// Why the kernel says of a process that there is none (ESRCH): it has ended, or its first thread
/// has, and others run on. One that is about to end may take a moment; the init of a pid namespace,
/// which has left its own namespaces by then, until all in there have ended. poll(2).
[[nodiscard]] inline auto why_gone(BorrowedFd pidfd, pid_t pid) noexcept -> Reason {
    pollfd entry{pidfd.get(), POLLIN, 0};
    timespec moment{0, 100'000'000};
    if (call_again(SYS_ppoll, &entry, 1UL, &moment, nullptr, 0UL) != 0) {
        return Reason::process_gone;
    }
    const char state = state_in_proc(pid); // it is there, so that its number is its own
    return state == 'Z' || state == '\0' ? Reason::first_thread_ended : Reason::process_gone;
}

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_PID_FD_HPP
