// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_PROGRAM_START_HPP
#define NSJOIN_DETAIL_WIRE_PROGRAM_START_HPP

#include <nsjoin/bootstrap/message_of_plan.hpp>
#include <nsjoin/bootstrap/supervisor_options.hpp>
#include <nsjoin/detail/wire/children.hpp>
#include <nsjoin/detail/wire/seal.hpp>
#include <nsjoin/pid_fd.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

// How a supervisor starts an embedding program.

namespace nsjoin::inline v0_1::detail {

/// Moves the descriptor to a number that is neither a standard stream's nor that of a mount source:
/// the program is to find it there.
[[nodiscard]] inline auto move_clear(OwnedFd& fd, const MountSources& sources) -> Result<void> {
    const auto taken = [&] {
        bool found = fd.get() <= STDERR_FILENO;
        for (const MountSource& source : sources.list) {
            found = found || source.number == fd.get();
        }
        return found;
    };
    while (taken()) {
        const long moved = call(SYS_fcntl, fd.get(), F_DUPFD_CLOEXEC, fd.get() + 1);
        if (moved < 0) {
            return fail(Step::duplicate, static_cast<int>(-moved));
        }
        fd.reset(static_cast<int>(moved));
    }
    return {};
}

/// posix_spawn(3) of the program, with the descriptors that it is to inherit.
class ProgramStart {
  public:
    ProgramStart() { ok_ = ::posix_spawn_file_actions_init(&actions_) == 0; }

    ~ProgramStart() {
        if (ok_) {
            (void)::posix_spawn_file_actions_destroy(&actions_);
        }
    }

    ProgramStart(const ProgramStart&) = delete;
    ProgramStart(ProgramStart&&) = delete;
    auto operator=(const ProgramStart&) -> ProgramStart& = delete;
    auto operator=(ProgramStart&&) -> ProgramStart& = delete;

    /// The program finds `fd` under `number`.
    void inherit(BorrowedFd fd, int number) {
        ok_ = ok_ && ::posix_spawn_file_actions_adddup2(&actions_, fd.get(), number) == 0;
    }

    [[nodiscard]] auto run(const SupervisorOptions& options, const char* path,
                           const std::vector<std::string>& environment) -> Result<PidFd> {
        pid_t pid = 0;
        const std::vector<char*> arguments = pointers(options.arguments);
        const std::vector<char*> variables = pointers(environment);
        const int code =
            ok_ ? ::posix_spawn(&pid, path, &actions_, nullptr, arguments.data(), variables.data())
                : ENOMEM;
        if (code != 0) {
            return fail(Step::start_program, code, options.program);
        }
        auto program = PidFd::open(pid);
        if (!program) { // it is not waited for yet, so that the number is its own
            (void)call(SYS_kill, pid, SIGKILL);
            (void)call_again(SYS_wait4, pid, nullptr, wait_all, nullptr);
        }
        return program;
    }

  private:
    static auto pointers(const std::vector<std::string>& texts) -> std::vector<char*> {
        std::vector<char*> result;
        result.reserve(texts.size() + 1);
        for (const std::string& text : texts) {
            result.push_back(const_cast<char*>(text.c_str())); // NOLINT(*-const-cast): execve's way
        }
        result.push_back(nullptr);
        return result;
    }

    posix_spawn_file_actions_t actions_{};
    bool ok_ = false;
};

/// Whether the variable is one of those that the dialects use. Of two with one name, the program
/// would take the first.
[[nodiscard]] inline auto is_reserved(std::string_view variable) noexcept -> bool {
    constexpr std::array<std::string_view, 6> names{
        "_LIBCONTAINER_INITPIPE",     "_LIBCONTAINER_INITPID",  "_LIBCONTAINER_LOGPIPE",
        "_LIBCONTAINER_CONSOLE_PATH", "_LIBCONTAINER_LOGLEVEL", "_LIBCONTAINER_MOUNT_FDS"};
    const std::string_view name = take_until(variable, '=');
    for (const std::string_view reserved : names) {
        if (name == reserved) {
            return true;
        }
    }
    return false;
}

/// The variables that the caller has.
[[nodiscard]] inline auto own_environment() -> std::vector<std::string> {
    std::vector<std::string> variables;
    // NOLINTNEXTLINE(*-pointer-arithmetic)
    for (char** variable = ::environ; variable != nullptr && *variable != nullptr; ++variable) {
        variables.emplace_back(*variable);
    }
    return variables;
}

/// The variables of the dialect, beside those of the options.
[[nodiscard]] inline auto environment_of(const SupervisorOptions& options, const Draft& plan,
                                         const MessageOfPlan& message, int pipe, int log)
    -> std::vector<std::string> {
    std::vector<std::string> variables;
    for (const std::string& variable :
         options.environment ? *options.environment : own_environment()) {
        if (!is_reserved(variable)) { // those are of who started the supervisor
            variables.push_back(variable);
        }
    }
    variables.push_back("_LIBCONTAINER_INITPIPE=" + std::to_string(pipe));
    variables.push_back("_LIBCONTAINER_LOGPIPE=" + std::to_string(log));
    variables.push_back("_LIBCONTAINER_LOGLEVEL=" +
                        std::to_string(static_cast<int>(options.log_level)));
    if (options.dialect == Dialect::environment) {
        const JoinSource& target = plan.source(Kind::mount);
        variables.push_back("_LIBCONTAINER_INITPID=" + std::to_string(target.target_pid));
        if (!message.message.console.empty()) {
            variables.push_back("_LIBCONTAINER_CONSOLE_PATH=" +
                                std::string{message.message.console});
        }
    }
    if (!message.mount_numbers.empty()) {
        variables.push_back("_LIBCONTAINER_MOUNT_FDS=" + message.mount_numbers);
    }
    return variables;
}

/// A program that was started, and the supervisor's ends of what leads to it.
struct StartedProgram {
    PidFd joiner;
    OwnedFd pipe;      ///< the init pipe
    OwnedFd log;       ///< the end of the log pipe that is read
    ino_t program_end; ///< the inode of the program's end of the init pipe
};

/// Starts the program, its ends of the pipes with it. They are closed here when this returns.
[[nodiscard]] inline auto start_program(const SupervisorOptions& options, const Draft& plan,
                                        const MessageOfPlan& message) -> Result<StartedProgram> {
    auto pipe = SocketPair::open(SocketKind::stream);
    auto log = Pipe::open();
    if (!pipe || !log) {
        return Unexpected{pipe ? log.error() : pipe.error()};
    }
    OwnedFd sealed;
    if (options.seal.value_or(facts(options.dialect).seals)) {
        sealed = open_sealed(options.program.c_str());
    }
    for (OwnedFd* const fd : {&pipe->second, &log->write_end, &sealed}) {
        const Result<void> moved = fd->ok() ? move_clear(*fd, plan.mount_sources) : Result<void>{};
        if (!moved) {
            return Unexpected{moved.error()};
        }
    }

    struct stat about {};

    if (::fstat(pipe->second.get(), &about) != 0) { // what it leaves untold is known by that
        return fail(Step::start_program, errno, options.program);
    }
    ProgramStart start;
    start.inherit(pipe->second, pipe->second.get());
    start.inherit(log->write_end, log->write_end.get());
    const std::vector<std::string> variables =
        environment_of(options, plan, message, pipe->second.get(), log->write_end.get());
    auto by_descriptor =
        sealed.ok() ? start.run(options, SmallPath{"/proc/self/fd/"}.append(sealed.get()).c_str(),
                                variables)
                    : Result<PidFd>{fail(Step::start_program, ENOEXEC)};
    if (sealed.ok() && !by_descriptor) {
        end_untold(about.st_ino); // it may have run before it could be held
    }
    // By its path also where a security module wants to see one.
    auto joiner = by_descriptor ? std::move(by_descriptor)
                                : start.run(options, options.program.c_str(), variables);
    if (!joiner) {
        end_untold(about.st_ino);
        return Unexpected{joiner.error()};
    }
    return StartedProgram{*std::move(joiner), std::move(pipe->first), std::move(log->read_end),
                          about.st_ino};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_PROGRAM_START_HPP
