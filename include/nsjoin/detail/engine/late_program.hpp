// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_LATE_PROGRAM_HPP
#define NSJOIN_DETAIL_ENGINE_LATE_PROGRAM_HPP

#include <nsjoin/detail/engine/execute.hpp>

// How a child that join_and_clone() has returned in becomes a program, or fails, and how the caller
// learns it: over the channel that the report came through.

namespace nsjoin::inline v0_1::detail {

/// Makes the pipe as for a program of a plan; a caller that listens no more needs none.
[[nodiscard]] inline auto offer_late_errors(Attempt& attempt) noexcept -> Result<void> {
    if (!attempt.child_end.ok()) {
        return {};
    }
    auto pipe = Pipe::open();
    if (!pipe) {
        return Unexpected{pipe.error()};
    }
    const Result<void> sent = send_descriptor(attempt.child_end, pipe->read_end);
    if (sent) {
        attempt.kept.errors = pipe->write_end.release();
    } else if (sent.error().code != EPIPE) {
        return Unexpected{sent.error()};
    }
    attempt.child_end.reset();
    return {};
}

/// The signals of the command, and the word before it; a caller that has gone meanwhile needs none.
[[nodiscard]] inline auto set_late_signals(Attempt& attempt) noexcept -> Result<void> {
    const Result<void> done = set_signals(attempt);
    if (done || done.error().code != EPIPE || attempt.kept.errors < 0) {
        return done;
    }
    const KernelSignalSet broken_pipe = signal_bit(SIGPIPE); // pending, as it is blocked
    const timespec at_once{};
    (void)call(SYS_rt_sigtimedwait, &broken_pipe, nullptr, &at_once, sizeof broken_pipe);
    OwnedFd{attempt.kept.errors}.reset();
    attempt.kept.errors = -1;
    return set_signals(attempt);
}

[[nodiscard]] inline auto perform_late(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    switch (attempt.schedule.list[place].step) {
    case Step::check_plan:
        return check_command(*attempt.run.command);
    case Step::offer_errors:
        return offer_late_errors(attempt);
    case Step::set_signals:
        return set_late_signals(attempt);
    case Step::set_no_new_privileges:
        return outcome(Step::set_no_new_privileges,
                       call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    default:
        return perform_command(attempt, place);
    }
}

/// What is left of a program's plan when the rest is done.
[[nodiscard]] inline auto late_schedule(StepSet said) noexcept -> Schedule {
    said = said | Step::check_plan | Step::offer_errors | Step::set_signals | Step::execute;
    Schedule late;
    for (const Step step :
         {Step::check_plan, Step::offer_errors, Step::pass_descriptors, Step::set_limits,
          Step::set_no_new_privileges, Step::set_signals, Step::execute}) {
        if (said.contains(step)) {
            late.add({step, Process::child});
        }
    }
    return late;
}

/// Tells the caller why there is no program, if it listens, and ends. What can't be told is the
/// exit code, an errno.
[[noreturn]] inline void end_late(const Attempt& attempt, const Error& error) noexcept {
    constexpr int code_of_shell = 127;
    const Message message{true, {}, error};
    long told = 0;
    if (attempt.kept.errors >= 0) {
        told = write_last_word(attempt.kept.errors, message);
    } else if (attempt.child_end.ok()) {
        told = call_again(SYS_sendto, attempt.child_end.get(), &message, sizeof message,
                          MSG_NOSIGNAL, nullptr, 0);
    }
    exit_now(told < 0 && told != -EPIPE ? static_cast<int>(-told) : code_of_shell);
}

[[noreturn]] inline void execute_late(OwnedFd channel, const Command& command) noexcept {
    const Draft nothing;
    Run run{nothing, outline_of(nothing, command), perform_late};
    run.command = &command;
    run.executable = command.program.file().get();
    Attempt attempt{run, late_schedule(run.outline.said)};
    attempt.kept.executable = run.executable;
    attempt.child_end = std::move(channel);
    attempt.mask = block_signals(); // no handler of the caller's runs on the way to the program
    for (std::size_t place = 0;; ++place) { // the last does not return but with an error
        const Result<void> done = perform_late(attempt, place);
        if (!done) {
            end_late(attempt, done.error());
        }
    }
}

/// Tells the caller that all is done. 0, or why that can't be told, an errno.
inline auto report_late(BorrowedFd channel) noexcept -> int {
    const Message message;
    const long told =
        call_again(SYS_sendto, channel.get(), &message, sizeof message, MSG_NOSIGNAL, nullptr, 0);
    return told < 0 ? static_cast<int>(-told) : 0;
}

[[noreturn]] inline void fail_late(BorrowedFd channel, const Error& error) noexcept {
    const Message message{true, {}, error};
    const long told =
        call_again(SYS_sendto, channel.get(), &message, sizeof message, MSG_NOSIGNAL, nullptr, 0);
    exit_now(told < 0 ? static_cast<int>(-told) : 1);
}

/// The error for a child that is gone, or has closed its end, without a word. One that lives on is
/// ended: nobody could learn any more what becomes of it. One that ends closes its end before it
/// has ended, and gets the time for that.
[[nodiscard]] inline auto without_a_word(const Attempt& attempt) noexcept -> Unexpected {
    constexpr Duration moment = Duration::milliseconds(100);
    Result<ExitStatus> status = attempt.child.wait(moment);
    if (!status && status.error().reason == Reason::deadline_passed) {
        (void)attempt.child.send_signal(SIGKILL);
        return fail(Step::execute, Reason::end_of_file,
                    "the child closed the channel without a word");
    }
    return died(Step::execute, "the child", status);
}

/// What the child says first: an error; that a program is to come, and then the pipe is in
/// `attempt`; or that it goes on by itself, and then there is none.
[[nodiscard]] inline auto take_late_word(Attempt& attempt) noexcept -> Result<void> {
    if (const Result<void> waited = await_either(attempt, attempt.caller_end, attempt.child.fd());
        !waited) {
        return waited;
    }
    Message message;
    const auto look = [&] {
        return call_again(SYS_recvfrom, attempt.caller_end.get(), &message, sizeof message,
                          MSG_DONTWAIT | MSG_PEEK, nullptr, nullptr);
    };
    long length = look();
    length = length == -ECONNRESET ? look() : length; // that something was unread comes first
    const bool none = length == -ECONNRESET || (length == -EAGAIN && !attempt.child.alive());
    if (length < 0 && !none) { // what follows would wait for a child that may well go on
        return outcome(Step::report, length);
    }
    if (length == 1) {
        return take_errors(attempt);
    }
    if (length == sizeof message) {
        return message.failed ? Result<void>{Unexpected{message.error}} : Result<void>{};
    }
    return without_a_word(attempt);
}

[[nodiscard]] inline auto await_late_program(OwnedFd channel, PidFd child, Duration limit) noexcept
    -> Result<PidFd> {
    Draft nothing;
    // One that is not waited for at all has a limit as well.
    nothing.deadline = Duration::nanoseconds(limit.count() < 0 ? 0 : limit.count() | 1);
    Run run{nothing, {}, perform_late};
    if (limit.count() >= 0) {
        run.deadline = Deadline{limit};
    }
    Attempt attempt{run, {}};
    attempt.caller_end = std::move(channel);
    attempt.child = std::move(child);
    Result<void> done = take_late_word(attempt);
    if (done && attempt.errors.ok()) {
        done = await_program(attempt);
    }
    if (!done) {
        abandon(attempt, done.error());
        return Unexpected{done.error()};
    }
    return std::move(attempt.child);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_LATE_PROGRAM_HPP
