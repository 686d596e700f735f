// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_PROGRAM_HPP
#define NSJOIN_DETAIL_ENGINE_PROGRAM_HPP

#include <nsjoin/detail/engine/descriptors.hpp>
#include <nsjoin/detail/kernel/handlers.hpp>
#include <nsjoin/detail/kernel/text.hpp>

// How a child becomes the program of a Command. All of it runs between clone and exec, perhaps on
// the caller's memory: system calls only, nothing of the caller's is written.

/// Of AddressSanitizer's run-time library, where the program has it: forgets the frames of a stack
/// that nobody will return through.
extern "C" [[gnu::weak]] void __asan_handle_no_return(); // NOLINT

namespace nsjoin::inline v0_1::detail {

/// What can be found wrong with a command before there is a process.
[[nodiscard]] inline auto check_command(const Command& command) noexcept -> Result<void> {
    const auto wrong = [](std::string_view what) {
        return fail(Step::check_plan, Reason::bad_value, what);
    };
    if (command.program.path() == nullptr && !command.program.file().ok()) {
        return wrong("the program is no open file");
    }
    if (*command.arguments.get() == nullptr) {
        return wrong("the command has no argument 0");
    }
    if (command.descriptors.size() > max_passed) {
        return wrong("more than 256 descriptors are passed");
    }
    for (const PassedFd& passed : command.descriptors) {
        if (!passed.from.ok() || passed.to < 0) {
            return wrong("a passed descriptor is negative");
        }
        if (count_passed_as(command, passed.to) != 1) {
            Subject subject{"two descriptors are passed as "};
            return wrong(subject.append(std::int64_t{passed.to}).view());
        }
    }
    return {};
}

/// The outline of a plan and the program that its child becomes.
[[nodiscard]] inline auto outline_of(const Draft& plan, const Command& command) noexcept
    -> Outline {
    Outline outline = outline_of(plan);
    outline.program = true;
    StepSet& said = outline.said;
    const bool passes = !command.descriptors.empty();
    const bool opens = plan.console.ok() || plan.loopback_up || plan.new_root;
    said.set(Step::own_descriptors, command.close_others || passes || opens);
    said.set(Step::pass_descriptors, command.close_others || passes);
    said.set(Step::set_limits, !command.limits.empty());
    said.set(Step::set_no_new_privileges, plan.no_new_privileges || command.no_new_privileges);
    said.set(Step::set_signals, command.signal_mask || command.default_signals);
    return outline;
}

[[nodiscard]] constexpr auto signal_bit(int number) noexcept -> KernelSignalSet {
    return KernelSignalSet{1} << static_cast<unsigned>(number - 1);
}

[[nodiscard]] inline auto to_kernel(const sigset_t& set) noexcept -> KernelSignalSet {
    KernelSignalSet words = 0;
    static_assert(sizeof set >= sizeof words);
    std::memcpy(&words, &set, sizeof words);
    return words;
}

/// Tells a caller on other memory that only the program is to come now.
[[nodiscard]] inline auto announce_program(int errors) noexcept -> Result<void> {
    const Message message;
    return outcome(Step::execute, call_again(SYS_write, errors, &message, sizeof message));
}

/// The signals of the command, or those that were blocked meanwhile. From here on a signal can end
/// the process as it would end the program: a caller on other memory is told before.
[[nodiscard]] inline auto set_signals(const Attempt& attempt) noexcept -> Result<void> {
    const Command& command = *attempt.run.command;
    const std::optional<KernelSignalSet>& restored = attempt.mask;
    if (attempt.kept.errors >= 0) {
        Result<void> told = announce_program(attempt.kept.errors);
        if (!told) {
            return told;
        }
    }
    if (command.default_signals) {
        const KernelSignalSet wanted =
            to_kernel(*command.default_signals) & ~(signal_bit(SIGKILL) | signal_bit(SIGSTOP));
        constexpr int last = 64;
        for (int number = 1; number <= last; ++number) {
            const KernelSigaction by_default{};
            if ((wanted & signal_bit(number)) != 0) {
                (void)call(SYS_rt_sigaction, number, by_default.data(), nullptr, 8UL);
            }
        }
    }
    if (restored) {
        reset_handlers();
    }
    if (command.signal_mask || restored) {
        const KernelSignalSet mask =
            command.signal_mask ? to_kernel(*command.signal_mask) : *restored;
        return outcome(Step::set_signals,
                       call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask));
    }
    return {};
}

[[nodiscard]] inline auto set_limits(const Command& command) noexcept -> Result<void> {
    for (const ResourceLimit& limit : command.limits) {
        const long result = call(SYS_prlimit64, 0, limit.resource, &limit.value, nullptr);
        if (result < 0) {
            Subject subject{"resource "};
            subject.append(std::int64_t{limit.resource});
            return fail(Step::set_limits, static_cast<int>(-result), subject.view());
        }
    }
    return {};
}

/// The errno of a search goes on to the next directory with these.
[[nodiscard]] constexpr auto is_elsewhere(long result) noexcept -> bool {
    return result == -ENOENT || result == -ENOTDIR || result == -EACCES;
}

/// A system call that does not come back if it works: the caller, on whose stack this may be, uses
/// it again.
template <typename... Args>
[[nodiscard]] auto call_the_last(long number, Args... args) noexcept -> long {
    if (__asan_handle_no_return != nullptr) {
        __asan_handle_no_return();
    }
    return call(number, args...);
}

/// Tries the directories of the list. Returns the error that says most.
[[nodiscard]] inline auto search_and_execute(const Command& command,
                                             const char* const* environment) noexcept -> long {
    const std::string_view name{command.program.path()};
    std::string_view rest = *command.program.search_list();
    long result = -ENOENT;
    bool denied = false;
    while (!rest.empty()) {
        const std::string_view directory = take_until(rest, ':');
        std::array<char, 4096> path{};
        if (directory.size() + name.size() + 2 > path.size()) {
            continue;
        }
        std::memcpy(path.data(), directory.data(), directory.size());
        std::size_t length = directory.size();
        if (length != 0) { // an empty one is the working directory
            path[length++] = '/';
        }
        std::memcpy(&path[length], name.data(), name.size());
        result = call_the_last(SYS_execve, path.data(), command.arguments.get(), environment);
        if (!is_elsewhere(result)) {
            return result;
        }
        denied = denied || result == -EACCES;
    }
    return denied ? -EACCES : result;
}

/// Returns only with an error.
[[nodiscard]] inline auto execute(const Command& command, int executable) noexcept -> Result<void> {
    const char* const* const arguments = command.arguments.get();
    const char* const* const environment =
        command.environment ? command.environment->get() : ::environ;
    const char* const path = command.program.path();
    long result = 0;
    if (executable >= 0) {
        result = call_the_last(SYS_execveat, executable, "", arguments, environment, AT_EMPTY_PATH);
    } else if (command.program.search_list()) {
        result = search_and_execute(command, environment);
    } else {
        result = call_the_last(SYS_execve, path, arguments, environment);
    }
    return fail(Step::execute, static_cast<int>(-result),
                executable >= 0 ? std::string_view{"the open file"} : std::string_view{path});
}

/// Makes the pipe that tells the caller of the execution: in the child, because a copy of the
/// caller that another thread makes would hold its end open.
[[nodiscard]] inline auto offer_errors(Attempt& attempt) noexcept -> Result<void> {
    auto pipe = Pipe::open();
    const Result<void> sent = pipe ? send_descriptor(attempt.child_end, pipe->read_end)
                                   : Result<void>{Unexpected{pipe.error()}};
    if (!sent) {
        exit_now(sent.error().code); // all that it can say
    }
    attempt.child_end.reset();
    attempt.kept.errors = pipe->write_end.release();
    return {};
}

// ── The caller ──────────────────────────────────────────────────────────────────────────────────

/// Waits for one of the two.
[[nodiscard]] inline auto await_either(const Attempt& attempt, BorrowedFd a, BorrowedFd b) noexcept
    -> Result<void> {
    long ready = -EINTR;
    while (ready == -EINTR) {
        std::array<pollfd, 2> entries{pollfd{a.get(), POLLIN, 0}, pollfd{b.get(), POLLIN, 0}};
        const PollTimeout left{attempt.run.deadline.left()};
        ready = call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
    }
    if (ready == 0) {
        return fail(Step::execute, Reason::deadline_passed);
    }
    return outcome(Step::execute, ready);
}

/// Takes the pipe of the child, if it lives long enough to send it.
[[nodiscard]] inline auto take_errors(Attempt& attempt) noexcept -> Result<void> {
    if (const Result<void> waited = await_either(attempt, attempt.caller_end, attempt.child.fd());
        !waited) {
        return waited;
    }
    pollfd entry{attempt.caller_end.get(), POLLIN, 0};
    const timespec at_once{};
    const long sent = call_again(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL);
    if (sent < 0) { // what follows would wait for a child that may well go on
        return outcome(Step::execute, sent);
    }
    Result<OwnedFd> errors = sent == 1 ? receive_descriptor(attempt.caller_end)
                                       : Result<OwnedFd>{fail(Step::offer_errors, ECHILD)};
    if (!errors && sent == 1 && errors.error().reason == Reason::system &&
        errors.error().code != ECONNRESET) {
        return fail(Step::execute, errors.error().code);
    }
    if (!errors) {
        return ended_untold(Step::execute, attempt);
    }
    attempt.errors = *std::move(errors);
    return {};
}

/// Waits until the program is executed: the pipe is closed by that, or brings the error.
[[nodiscard]] inline auto await_program(const Attempt& attempt) noexcept -> Result<void> {
    for (bool announced = false;; announced = true) {
        if (const Result<void> waited = await_either(attempt, attempt.errors, {}); !waited) {
            return waited;
        }
        Message message;
        const long length = call_again(SYS_read, attempt.errors.get(), &message, sizeof message);
        if (length < 0) {
            return outcome(Step::execute, length);
        }
        if (length != sizeof message) {
            return announced ? Result<void>{} : ended_untold(Step::execute, attempt);
        }
        if (message.failed) {
            return Unexpected{message.error};
        }
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_PROGRAM_HPP
