// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_SPAWN_SUPPORT_HPP
#define NSJOIN_TESTS_SPAWN_SUPPORT_HPP

#include "engine_support.hpp"

#include <nsjoin/spawn.hpp>

// What the tests of join_and_exec() share.

namespace support {

/// join_and_exec() by what this run of the tests is for.
inline auto exec(const nsjoin::Plan& plan, const nsjoin::Command& command)
    -> nsjoin::Result<nsjoin::PidFd> {
    return runs_as_joining(plan) ? nsjoin::detail::execute_plan(
                                       plan.parts(), command, nsjoin::detail::perform<only_joining>)
                                 : nsjoin::join_and_exec(plan, command);
}

/// What a program came to, as the caller sees it.
struct Output {
    std::optional<nsjoin::Error> error;
    int code = -1;    ///< as ExitStatus::exit_code() has it
    std::string text; ///< what it wrote
};

/// A function that executes a command.
using Execute = std::function<nsjoin::Result<nsjoin::PidFd>(const nsjoin::Command&)>;

/// All that comes out of the pipe, to its end.
inline auto read_all(int fd) -> std::string {
    std::string text;
    std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t length = ::read(fd, buffer.data(), buffer.size());
        if (length < 0 && errno == EINTR) {
            continue;
        }
        if (length <= 0) {
            return text;
        }
        text.append(buffer.data(), static_cast<std::size_t>(length));
    }
}

/// Executes the command with its standard output into a pipe, beside what it passes itself.
inline auto output_of(const Execute& execute, nsjoin::Command command) -> Output {
    TestPipe pipe;
    std::vector<nsjoin::PassedFd> passed{command.descriptors.begin(), command.descriptors.end()};
    passed.push_back({nsjoin::BorrowedFd{pipe.writer()}, STDOUT_FILENO});
    command.descriptors = passed;
    auto child = execute(command);
    if (!child) {
        return {child.error(), -1, {}};
    }
    pipe.close_writer();
    Output output;
    output.text = read_all(pipe.reader());
    const auto status = child->wait(std::chrono::seconds{20});
    if (!status) {
        (void)child->send_signal(SIGKILL);
        (void)child->wait();
        return {status.error(), -1, output.text};
    }
    output.code = status->exit_code();
    return output;
}

/// Executes the plan's command once.
inline auto by_plan(const nsjoin::Plan& plan) -> Execute {
    return [plan](const nsjoin::Command& command) {
        return support::exec(plan, command);
    };
}

using Change = std::function<void(nsjoin::Command&)>;

inline void change_nothing(nsjoin::Command& command) {
    (void)command;
}

/// Lets a shell run the script.
inline auto shell(const Execute& execute, const char* script, const Change& change = change_nothing)
    -> Output {
    const std::array<const char*, 4> words{"sh", "-c", script, nullptr};
    nsjoin::Command command{.program = nsjoin::Program::at("/bin/sh"), .arguments = words};
    change(command);
    return output_of(execute, command);
}

inline auto shell(const nsjoin::Plan& plan, const char* script,
                  const Change& change = change_nothing) -> Output {
    return shell(by_plan(plan), script, change);
}

/// Whether the program wrote that and ended with 0; says what else it did.
[[nodiscard]] inline auto wrote(const Output& output, std::string_view text) -> bool {
    if (!output.error && output.code == 0 && output.text == text) {
        return true;
    }
    std::fprintf(stderr, "exit code %d, wrote \"%s\"%s%s\n", output.code, output.text.c_str(),
                 output.error ? ", error: " : "",
                 output.error ? nsjoin::explain(*output.error).c_str() : "");
    return false;
}

/// Whether it failed with that step, reason and errno; says how else it ended.
[[nodiscard]] inline auto failed_with(const Output& output, nsjoin::Step step,
                                      nsjoin::Reason reason, int code = 0) -> bool {
    return failed_with(Ran{output.error, output.code}, step, reason, code);
}

/// Whether there is a program, and its exit code is 0.
inline auto ends_well(nsjoin::Result<nsjoin::PidFd> child) -> bool {
    if (!child) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(child.error()).c_str());
        return false;
    }
    const auto status = child->wait(std::chrono::seconds{20});
    return status && status->exit_code() == 0;
}

} // namespace support

#endif // NSJOIN_TESTS_SPAWN_SUPPORT_HPP
