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

/// As a shell has it, the code for a program that is not there is another one.
inline auto complain(const nsjoin::Error& error) -> int {
    const int code = complain(nsjoin::explain(error));
    return error.reason == nsjoin::Reason::no_helper ? 127 : code;
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

/// How to get help, beside a line about what is wrong.
inline void point_to_help() {
    std::fprintf(stderr, "Try '%s --help'.\n", program_invocation_short_name);
}

/// The exit code of a program that was asked for no more than words: whether they were written.
[[nodiscard]] inline auto end_of_words() -> int {
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        return complain(describe("write", "standard output", errno));
    }
    return EXIT_SUCCESS;
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

/// Becomes `command`, which a null ends; without one, a login shell: $SHELL, or else /bin/sh.
/// Returns the program's name if it can't be run, and errno says why.
[[nodiscard]] inline auto try_to_execute(char** command) -> const char* {
    if (*command != nullptr) {
        execvp(*command, command);
        return *command;
    }
    const char* shell = std::getenv("SHELL");
    const char* program = shell != nullptr && *shell != '\0' ? shell : "/bin/sh";
    const char* slash = std::strrchr(program, '/');
    const std::string name = std::string{"-"} + (slash != nullptr ? slash + 1 : program);
    execl(program, name.c_str(), nullptr);
    return program;
}

/// Ends the process as a shell does when a program can't be run: with 127 if there is none, else
/// with 126.
[[noreturn]] inline void die_of_executing(const char* program, int code) {
    complain(describe("run", program, code,
                      code == ENOENT   ? "neither PATH nor the root directory inside has such a "
                                         "program, or its interpreter"
                      : code == EACCES ? "it is no program, or the ids inside may not execute it"
                                       : ""));
    _exit(code == ENOENT ? 127 : 126);
}

[[noreturn]] inline void execute(char** command) {
    const char* const program = try_to_execute(command);
    die_of_executing(program, errno);
}

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
