// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_EXECUTE_HPP
#define NSJOIN_DETAIL_ENGINE_EXECUTE_HPP

#include <nsjoin/detail/engine/engine.hpp>
#include <nsjoin/detail/engine/program_process.hpp>

// A run whose child becomes a program.

namespace nsjoin::inline v0_1::detail {

/// Whether the plan may be one of a program.
[[nodiscard]] inline auto check_for_program(const Draft& plan) noexcept -> Result<void> {
    if (plan.child_of != ChildOf::caller) {
        return fail(Step::check_plan, Reason::bad_value,
                    "a program's process is the caller's own child, never its parent's");
    }
    return {};
}

/// What can be found wrong with a plan and a command before the first system call.
[[nodiscard]] inline auto check_for_command(const Draft& plan, const Command& command) noexcept
    -> Result<void> {
    const Result<void> done = check_command(command);
    return done ? check_for_program(plan) : done;
}

/// The error of a program's run, with the name of the namespace. A pid namespace that the caller
/// has made for its children, which is asked for only now, explains some; who joins by itself has
/// put them into another one as the plan says.
[[nodiscard]] inline auto explained(const Run& run, Error error) noexcept -> Unexpected {
    const Draft& plan = run.plan;
    name_cause(run, error);
    const bool no_init =
        error.code == ENOMEM && (error.step == Step::make_joiner || error.step == Step::make_child);
    if ((no_init || (is_join(error.step) && error.code == EINVAL)) && !plan.joined().empty() &&
        plan.child_of == ChildOf::caller && has_pending_pid()) {
        return fail(Step::check_plan, Reason::pending_pid);
    }
    return Unexpected{error};
}

/// Runs what is prepared, and the command. The stack of the program's process is in this frame.
[[nodiscard]] inline auto execute_run(Run& run, const Command& command,
                                      Result<void> (*before)(const Run&) noexcept) noexcept
    -> Result<PidFd> {
    const Result<void> checked = check_plan(run);
    if (!checked) {
        return Unexpected{checked.error()};
    }
    ProgramStack stack; // NOLINT(*-member-init)
    run.command = &command;
    run.perform_command = perform_command;
    run.stack = &stack;
    Result<void> done = copy_from_console(run, command);
    run.executable = number_of(run, command.program.file());
    done = done ? prepare_run(run) : done;
    if (done && before == nullptr) {
        done = ask(run.plan, run.outline, run.facts, run.own_opened);
    }
    done = done ? run_attempts(run, before) : done;
    if (!done) {
        return explained(run, done.error());
    }
    return PidFd{OwnedFd{run.outcome.pidfd}, run.outcome.pid};
}

[[nodiscard]] inline auto execute_plan(const Draft& plan, const Command& command,
                                       Perform perform) noexcept -> Result<PidFd> {
    const ErrnoKeeper keep_errno;
    const Result<void> checked = check_for_command(plan, command);
    if (!checked) {
        return Unexpected{checked.error()};
    }
    Run run{plan, outline_of(plan, command), perform};
    return execute_run(run, command, nullptr);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_EXECUTE_HPP
