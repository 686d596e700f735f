// SPDX-License-Identifier: Apache-2.0
// What enter and create share: values from the command line, error lines, running the command, and
// ending as it ends.
#ifndef EXAMPLES_SUPPORT_OPTIONS_HPP
#define EXAMPLES_SUPPORT_OPTIONS_HPP

#include <nsjoin/explain.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace examples {

// ── Error lines ─────────────────────────────────────────────────────────────────────────────────

/// Prints "PROGRAM: why" and returns EXIT_FAILURE.
inline auto complain(const std::string& why) -> int {
    std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
    return EXIT_FAILURE;
}

inline auto complain(const nsjoin::Error& error) -> int {
    return complain(nsjoin::explain(error));
}

/// Prints the line and ends the process, be it the caller or the child.
template <typename Why>
[[noreturn]] void die(const Why& why) {
    _exit(complain(why));
}

/// The value; without one, dies.
template <typename T>
[[nodiscard]] auto take(nsjoin::Result<T> result) -> T {
    if (!result) {
        die(result.error());
    }
    return *std::move(result);
}

/// "what (object): ERRNO: why and what mends it", in the form of nsjoin::explain(). Where `mend` is
/// empty, the errno says it.
[[nodiscard]] inline auto describe(std::string_view what, std::string_view object, int code,
                                   std::string_view mend = {}) -> std::string {
    const char* name = strerrorname_np(code);
    std::string line{what};
    line.append(object.empty() ? "" : " (").append(object).append(object.empty() ? "" : ")");
    line.append(": ").append(name != nullptr ? name : std::to_string(code)).append(": ");
    return line.append(mend.empty() ? std::string_view{std::strerror(code)} : mend);
}

// ── Values ──────────────────────────────────────────────────────────────────────────────────────

inline constexpr std::uint64_t last_id = 4'294'967'294; ///< the next one means "no change"

/// The number that all of `text` is: decimal digits, without sign or blank, at most `most`.
[[nodiscard]] inline auto parse_number(std::string_view text, std::uint64_t most)
    -> std::optional<std::uint64_t> {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end || number > most) {
        return std::nullopt;
    }
    return number;
}

// ── Running the command ─────────────────────────────────────────────────────────────────────────

/// Becomes `command`, which a null ends; without one, a login shell: $SHELL, or else /bin/sh. On
/// failure ends the process as a shell does: 127 if there is no such program, else 126.
[[noreturn]] inline void execute(char** command) {
    const char* program = *command;
    if (program != nullptr) {
        execvp(program, command);
    } else {
        const char* shell = std::getenv("SHELL");
        program = shell != nullptr && *shell != '\0' ? shell : "/bin/sh";
        const char* slash = std::strrchr(program, '/');
        const std::string name = std::string{"-"} + (slash != nullptr ? slash + 1 : program);
        execl(program, name.c_str(), nullptr);
    }
    const int code = errno;
    complain(describe("run", program, code,
                      code == ENOENT   ? "neither PATH nor the root directory inside has such a "
                                         "program, or its interpreter"
                      : code == EACCES ? "it is no program, or the ids inside may not execute it"
                                       : ""));
    _exit(code == ENOENT ? 127 : 126);
}

/// Whether the child was stopped by a signal, since it was last asked.
[[nodiscard]] inline auto has_stopped(const nsjoin::PidFd& child) -> bool {
    siginfo_t info{};
    return waitid(P_PIDFD, static_cast<id_t>(child.fd().get()), &info, WSTOPPED | WNOHANG) == 0 &&
           info.si_pid != 0;
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
    /// from the terminal reaches the child by itself.
    [[nodiscard]] auto attend(const nsjoin::PidFd& child) const
        -> nsjoin::Result<nsjoin::ExitStatus> {
        while (child.alive()) {
            if (has_stopped(child)) {
                (void)raise(SIGSTOP);
                (void)child.send_signal(SIGCONT);
                continue;
            }
            siginfo_t info{};
            const int number = sigwaitinfo(&all_, &info);
            const bool sent = number > 0 && info.si_code <= 0 && info.si_pid != child.pid();
            if (sent && number != SIGCHLD) {
                (void)child.send_signal(number);
            }
        }
        return child.wait();
    }

  private:
    sigset_t all_{};
    sigset_t before_{};
    bool ignored_ = false;
};

/// Ends this process as the child ended: with its exit code, or by the same signal.
[[noreturn]] inline void end_as(const nsjoin::ExitStatus& status) {
    if (!status.exited()) {
        const rlimit no_core{0, 0}; // the child's is the one to keep
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)std::signal(status.signal(), SIG_DFL);
        (void)raise(status.signal());
        sigset_t only;
        sigemptyset(&only);
        sigaddset(&only, status.signal());
        sigprocmask(SIG_UNBLOCK, &only, nullptr); // here it ends, for the signal was blocked
    }
    std::exit(status.exit_code());
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_OPTIONS_HPP
