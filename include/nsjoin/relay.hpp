// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_RELAY_HPP
#define NSJOIN_RELAY_HPP

#include <nsjoin/console.hpp>
#include <nsjoin/detail/kernel/clone.hpp>
#include <nsjoin/detail/relay/typing.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

// How the terminal of a child is shown on the one that the caller was started on.

namespace nsjoin::inline v0_1 {

namespace detail {

/// Whether the program has a function for it. sigaction(2).
[[nodiscard]] inline auto has_handler(int number) noexcept -> bool {
    struct sigaction action {};

    return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_DFL &&
           action.sa_handler != SIG_IGN;
}

/// Lets the signals of the calling thread come through a descriptor, so that none ends the program
/// while its terminal is raw, until this ends. The kernel's own about faults stay as they are; so
/// do those that stop a job for touching the terminal in the background, and those that the program
/// has a handler for, but for what ends a program, or is about its terminal.
class SignalSource {
  public:
    SignalSource() noexcept {
        sigset_t set;
        sigfillset(&set);
        for (int number = 1; number <= last_signal; ++number) {
            if (!is_taken(number) && has_handler(number)) {
                sigdelset(&set, number);
            }
        }
        for (const int number :
             {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGTTIN, SIGTTOU}) {
            sigdelset(&set, number);
        }
        // A number of a standard descriptor that was closed is none of ours.
        const OwnedFd made{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
        error_ = made.ok() ? 0 : errno;
        const long copy = call(SYS_fcntl, made.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        error_ = made.ok() && copy < 0 ? static_cast<int>(-copy) : error_;
        fd_.reset(copy < 0 ? -1 : static_cast<int>(copy));
        if (fd_.ok()) {
            ::pthread_sigmask(SIG_BLOCK, &set, &before_);
        }
    }

    SignalSource(const SignalSource&) = delete;
    SignalSource(SignalSource&&) = delete;
    auto operator=(const SignalSource&) -> SignalSource& = delete;
    auto operator=(SignalSource&&) -> SignalSource& = delete;

    ~SignalSource() {
        if (fd_.ok()) {
            ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
        }
    }

    [[nodiscard]] auto fd() const noexcept -> BorrowedFd { return fd_.borrow(); }

    /// Why there is none, an errno.
    [[nodiscard]] auto error() const noexcept -> int { return error_; }

    /// The next one's number, or 0.
    [[nodiscard]] auto take() const noexcept -> int {
        signalfd_siginfo info{};
        return ::read(fd_.get(), &info, sizeof info) == sizeof info
                   ? static_cast<int>(info.ssi_signo)
                   : 0;
    }

  private:
    static constexpr int last_signal = 64;

    [[nodiscard]] static constexpr auto is_taken(int number) noexcept -> bool {
        return number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGTERM ||
               number == SIGWINCH || number == SIGTSTP || number == SIGCONT;
    }

    OwnedFd fd_;
    int error_ = 0;
    sigset_t before_{};
};

/// Whether whoever started this had it ignored, as nohup(1) does.
[[nodiscard]] inline auto is_ignored(int number) noexcept -> bool {
    struct sigaction action {};

    return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

/// A descriptor that does not block, until this ends.
class NonBlocking {
  public:
    explicit NonBlocking(BorrowedFd fd) noexcept
        : fd_{fd}, before_{call(SYS_fcntl, fd.get(), F_GETFL, 0)} {
        (void)call(SYS_fcntl, fd_.get(), F_SETFL, before_ | O_NONBLOCK);
    }

    NonBlocking(const NonBlocking&) = delete;
    NonBlocking(NonBlocking&&) = delete;
    auto operator=(const NonBlocking&) -> NonBlocking& = delete;
    auto operator=(NonBlocking&&) -> NonBlocking& = delete;

    ~NonBlocking() { (void)call(SYS_fcntl, fd_.get(), F_SETFL, before_); }

  private:
    BorrowedFd fd_;
    long before_;
};

/// A standard descriptor, unless it was closed and the console has its number now.
[[nodiscard]] inline auto standard_beside(const Console& console, int number) noexcept
    -> BorrowedFd {
    const bool taken = console.master.fd().get() == number || console.peer.fd().get() == number;
    return taken ? BorrowedFd{} : BorrowedFd{number};
}

/// The first standard descriptor that is a terminal.
[[nodiscard]] inline auto outer_terminal(const Console& console) noexcept -> BorrowedFd {
    for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        const BorrowedFd standard = standard_beside(console, number);
        if (is_terminal(standard)) {
            return standard;
        }
    }
    return {};
}

/// A terminal, opened again so that a write to it does not block: with the descriptor itself, that
/// would be changed for everybody who has it. None if it is none, or can't be opened.
[[nodiscard]] inline auto open_again(BorrowedFd terminal) noexcept -> OwnedFd {
    if (!is_terminal(terminal)) {
        return {};
    }
    const auto proc = open_proc();
    constexpr int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY;
    return OwnedFd{proc ? static_cast<int>(open_at(proc->get(), path_of(terminal).c_str(), flags))
                        : -1};
}

class Relay {
  public:
    Relay(Console& console, const PidFd& child, const SignalSource& signals) noexcept
        : console_{console}, child_{child}, signals_{signals} {}

    /// Relays until the child ends, then returns 0, or until a signal is to end the caller, then
    /// returns it.
    [[nodiscard]] auto run() -> int {
        const NonBlocking master{console_.master.fd()};
        resume();
        int signal = 0;
        for (bool child_ended = false; signal == 0 && !child_ended;) {
            std::array<pollfd, 6> events{{{signals_.fd().get(), POLLIN, 0},
                                          {child_.fd().get(), POLLIN, 0},
                                          in_.wants_to_read(),
                                          in_.wants_to_write(),
                                          out_.wants_to_read(),
                                          out_.wants_to_write()}};
            ::poll(events.data(), events.size(), patience());
            if (threads_) {
                copy_size();
            }
            child_ended = events[1].revents != 0;
            signal = events[0].revents != 0 ? take_signal() : 0;
            in_.move(events[2], events[3]);
            out_.move(events[4], events[5]);
            signal = signal == 0 ? end_of_flow() : signal;
        }
        signal = signal == 0 ? drain() : signal;
        raw_.reset();
        return signal;
    }

    /// Why nothing can be written any more, an errno, or 0; also where that is like a signal.
    [[nodiscard]] auto error() const noexcept -> int {
        return out_.is_broken_pipe() ? 0 : out_.error();
    }

  private:
    /// How long poll(2) may wait. Of a program with several threads another one may be asked for
    /// SIGWINCH, which the kernel drops then: the size is looked at, now and then.
    [[nodiscard]] auto patience() const -> int {
        constexpr int now_and_then = 250;
        const int wanted = in_.patience();
        return threads_ && (wanted < 0 || wanted > now_and_then) ? now_and_then : wanted;
    }

    /// Writes what the child has left, to the last byte, unless a signal comes meanwhile. What
    /// others go on to write on its terminal, which keeps much less, is not waited for.
    [[nodiscard]] auto drain() -> int {
        constexpr std::size_t most = std::size_t{64} * 1024;
        for (std::size_t done = 0; !out_.rest().empty() || (done < most && out_.take());) {
            const std::size_t before = out_.rest().size();
            std::array<pollfd, 2> events{{{signals_.fd().get(), POLLIN, 0}, out_.wants_to_write()}};
            ::poll(events.data(), events.size(), -1);
            const int signal = events[0].revents != 0 ? take_signal() : 0;
            if (signal != 0) {
                return signal;
            }
            out_.move({-1, 0, 0}, events[1]);
            done += before - out_.rest().size();
            if (out_.broken()) {
                return SIGPIPE;
            }
        }
        return 0;
    }

    /// The signal that the end of a flow is like, or 0.
    [[nodiscard]] auto end_of_flow() -> int {
        if (out_.broken()) {
            return SIGPIPE;
        }
        if (!in_.ended()) {
            return 0;
        }
        if (in_.by_a_user()) {
            return SIGHUP;
        }
        in_.type_end_of_file();
        return 0;
    }

    /// Acts on a signal. Returns it if it is one that ends the program, else 0.
    [[nodiscard]] auto take_signal() -> int {
        const int number = signals_.take();
        switch (number) {
        case 0:
        case SIGCHLD:
        case SIGURG:
            return 0;
        case SIGWINCH:
            copy_size();
            return 0;
        case SIGTSTP:
            if (is_ignored(number)) {
                return 0;
            }
            raw_.reset();
            (void)::raise(SIGSTOP);
            return 0;
        case SIGCONT:
            resume();
            return 0;
        default:
            return is_ignored(number) ? 0 : number;
        }
    }

    /// Takes the terminal: at the start, and after a stop, as the shell has taken it meanwhile.
    void resume() {
        raw_.reset();
        if (auto raw = RawMode::enter(standard_beside(console_, STDIN_FILENO))) {
            raw_.emplace(*std::move(raw));
        }
        copy_size();
    }

    void copy_size() const {
        if (const auto size = window_size(outer_terminal(console_))) {
            (void)set_window_size(console_.master.fd(), *size);
        }
    }

    Console& console_;
    const PidFd& child_;
    const SignalSource& signals_;
    bool threads_ = has_threads();
    std::optional<RawMode> raw_;
    Typing in_{standard_beside(console_, STDIN_FILENO), console_};
    OwnedFd terminal_ = open_again(standard_beside(console_, STDOUT_FILENO));
    Flow out_{console_.master.fd(),
              terminal_.ok() ? terminal_.borrow() : standard_beside(console_, STDOUT_FILENO)};
};

} // namespace detail

/// Makes a console like the terminal that the caller's standard descriptors are, and gives it its
/// size, before a child looks at it. Where standard input is none, nothing that comes from there is
/// echoed; where standard output is none, no carriage return is added. termios(3).
inline void prepare_console(const Console& console) {
    const BorrowedFd peer = console.peer.fd();
    termios mode{};
    if (::tcgetattr(detail::standard_beside(console, STDIN_FILENO).get(), &mode) != 0) {
        (void)::tcgetattr(peer.get(), &mode);
        mode.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    }
    if (!is_terminal(detail::standard_beside(console, STDOUT_FILENO))) {
        mode.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    }
    (void)::tcsetattr(peer.get(), TCSANOW, &mode);
    if (const auto size = window_size(detail::outer_terminal(console))) {
        (void)set_window_size(peer, *size);
    }
}

/// How a relay ended.
struct Relayed {
    ExitStatus status; ///< the child's
    int signal = 0;    ///< what was to end the caller, or 0: the child ended by itself
};

/// Relays the console of a child, which the plan gave it, to the caller's standard input and
/// output, until the child ends, or a signal is to end the caller: one that it got, SIGHUP where
/// its terminal was closed, SIGPIPE where nobody reads its output any more. Then the child's
/// terminal is hung up, so that a shell can save its history and an editor its file, and after
/// `patience` the child is killed. Either way it has been waited for. What to do of the signal is
/// the caller's.
///
/// Meanwhile a terminal on standard input is raw; SIGWINCH passes the window's size on (in a
/// program with several threads, which may miss it, a quarter of a second later at most); SIGTSTP
/// stops the caller with its terminal as it was, and SIGCONT takes it again; what comes from a file
/// or a pipe is typed so that lines of any length arrive, and its end. Keep the peer open. The
/// calling thread has these signals blocked, SIGHUP, SIGINT, SIGQUIT and SIGTERM, and all that the
/// program has no handler for, and takes those of the process that no other thread takes; other
/// handlers run. Its mask and the terminal are as before when it returns. Errors: those of
/// signalfd(2), and of write(2) to standard output (ENOSPC), after which the child has ended; those
/// of PidFd::wait(); of PidFd::send_signal() for a child that has become another user's, and
/// deadline_passed for one that SIGKILL does not reach, or whose end a tracer keeps: it is left.
[[nodiscard]] inline auto relay(Console& console, const PidFd& child,
                                Duration patience = Duration::milliseconds(1000))
    -> Result<Relayed> {
    const detail::SignalSource signals;
    if (!signals.fd().ok()) {
        return detail::fail(Step::wait, signals.error(), "signalfd");
    }
    detail::Relay relay{console, child, signals};
    const int signal = relay.run();
    Result<ExitStatus> ended = detail::fail(Step::wait, Reason::deadline_passed);
    Result<void> sent;
    if (signal != 0) {
        console.master.release().reset();
        ended = child.wait(patience);
        const bool late = !ended && ended.error().reason == Reason::deadline_passed;
        sent = late ? child.send_signal(SIGKILL) : sent;
    }
    if (!ended && ended.error().reason == Reason::deadline_passed) {
        ended = child.wait(detail::killed_soon);
    }
    if (!ended) {
        return Unexpected{sent ? ended.error() : sent.error()};
    }
    if (relay.error() != 0) {
        return detail::fail(Step::write, relay.error(), "standard output");
    }
    return Relayed{*ended, signal};
}

} // namespace nsjoin

#endif // NSJOIN_RELAY_HPP
