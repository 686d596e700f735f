// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_SPAWN_HPP
#define NSJOIN_SPAWN_HPP

#include <nsjoin/detail/engine.hpp>
#include <nsjoin/detail/program.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/plan.hpp>

#include <optional>
#include <string>
#include <utility>

namespace nsjoin {

namespace detail {

/// Whether the process of a pidfd has ended.
[[nodiscard]] inline auto has_ended(BorrowedFd pidfd) noexcept -> bool {
    pollfd entry{pidfd.get(), POLLIN, 0};
    const timespec at_once{};
    return call(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL) != 0;
}

/// A run that ends in a program, on the caller's memory.
struct Starter {
    Run& run;
    const Command& command;
    /// The program's process is another one than the first: only its children are in a pid
    /// namespace that it joined or created.
    bool two = false;
    std::optional<KernelSignalSet> restored{}; ///< the mask, if signals are blocked
};

/// Whether a process on the caller's memory can do all of it: the caller, which is suspended, has
/// nothing to do meanwhile, and no time namespace or file of the process's own in /proc is needed.
[[nodiscard]] inline auto fits_this_memory(const Run& run) noexcept -> bool {
    const Draft& plan = run.plan;
    return has_vfork && run.route.joiner != Joiner::own_memory && !run.route.wait_for_caller &&
           !plan.oom_score_adj && !plan.created.contains(Kind::time) &&
           plan.deadline.count() == 0 && plan.mount_sources.list.empty();
}

/// Lets a failed process tell why, on the memory that the caller sees.
[[noreturn]] inline void fail_and_exit(Run& run, const Error& error) noexcept {
    run.handover->error = error;
    run.handover->failed = true;
    exit_now(127);
}

/// The child, to the program or its end.
inline void run_program(Starter& starter) noexcept {
    Run& run = starter.run;
    Kept kept{starter.command.executable.get()};
    Result<void> done = own_table(run, starter.command, kept);
    if (done) {
        done = do_child_steps(run);
    }
    // A caller that died before the death signal was set sends none.
    if (done && run.plan.death_signal != 0 && has_ended(run.caller_pidfd)) {
        done = fail(Step::set_death_signal, Reason::process_gone, "the caller");
    }
    if (done) {
        done = become_program(run, starter.command, kept, starter.restored);
    }
    fail_and_exit(run, done.error());
}

/// Makes the program's process as a sibling, in the namespaces that the first one joined.
[[nodiscard]] inline auto make_program_process(Starter& starter) noexcept -> Result<void> {
    Run& run = starter.run;
    run.handover->step = Step::make_child;
    CloneArgs args;
    args.flags = clone_parent | clone_files | clone_pidfd | run.route.by_clone.clone_flags();
    args.pidfd = reinterpret_cast<std::uint64_t>(&run.handover->child_pidfd); // NOLINT(*-cast)
    args.parent_tid = reinterpret_cast<std::uint64_t>(&run.handover->child);  // NOLINT(*-cast)
    long pid = -ENOSYS;
    if (!starter.restored) {
        args.flags |= clone_parent_settid | clone_clear_sighand;
        pid = run_on_this_memory(run_program, starter, args);
    }
    if (pid == -ENOSYS || pid == -EPERM) {
        args.flags &= ~(clone_parent_settid | clone_clear_sighand);
        pid = run_on_this_memory(run_program, starter, args);
    }
    if (pid < 0) {
        return tl::unexpected<Error>{clone_error(run.route.by_clone, pid)};
    }
    run.handover->child = static_cast<pid_t>(pid);
    return {};
}

/// The first process: joins, and becomes the program or makes its process.
inline void start_program(Starter& starter) noexcept {
    Run& run = starter.run;
    Result<void> done = do_first_steps(run);
    if (done && !starter.two) {
        run_program(starter);
    }
    if (done) {
        done = make_program_process(starter);
    }
    if (!done) {
        fail_and_exit(run, done.error());
    }
    run.handover->finished = true;
    exit_now(0);
}

/// Makes the first process. Its end raises no signal and is seen by nobody else (it has no exit
/// signal until it executes); its handlers are reset by the kernel, or, where clone3 can't do that
/// (before Linux 5.5, a seccomp filter), all signals are blocked meanwhile.
[[nodiscard]] inline auto make_first(Starter& starter, CloneArgs args) noexcept -> long {
    args.flags |= clone_clear_sighand;
    long pid = run_on_this_memory(start_program, starter, args);
    const bool by_clone3_only = (args.flags & clone_into_cgroup) != 0;
    if ((pid == -ENOSYS || pid == -EPERM || pid == -EINVAL) && !by_clone3_only) {
        args.flags &= ~(clone_clear_sighand | clone_parent_settid);
        const KernelSignalSet mask = block_signals();
        starter.restored = mask;
        pid = run_on_this_memory(start_program, starter, args);
        restore_signals(mask);
    }
    return pid;
}

/// What became of the processes.
[[nodiscard]] inline auto take_program(Run& run, bool two, pid_t first, OwnedFd first_fd) noexcept
    -> Result<Outcome> {
    Handover& handover = *run.handover;
    if (!two) {
        handover.child = first;
        handover.child_pidfd = first_fd.release();
    } else {
        int status = 0;
        (void)call_again(SYS_wait4, first, &status, wait_all, nullptr);
        if (!handover.failed && !handover.finished && handover.child_pidfd < 0) {
            return died(handover.step, "the joiner", ExitStatus{status});
        }
    }
    if (handover.failed) {
        const PidFd failed{OwnedFd{handover.child_pidfd}, handover.child};
        if (handover.child_pidfd >= 0) {
            (void)failed.wait();
        }
        return tl::unexpected<Error>{handover.error};
    }
    return Outcome{handover.child_pidfd, handover.child};
}

/// Runs the plan and the program once, on the caller's memory.
[[nodiscard]] inline auto execute_here(Run& run, const Command& command) noexcept
    -> Result<Outcome> {
    run.own_handover = Handover{};
    run.handover = &run.own_handover;
    Starter starter{run, command};
    const bool joins = run.route.joiner != Joiner::none;
    starter.two = joins && (run.joining | run.plan.created).contains(Kind::pid);
    if (joins && !starter.two) {
        run.route.by_unshare = run.plan.created;
        run.route.by_clone = {};
    }
    int number = -1;
    CloneArgs args;
    args.flags = clone_files;
    if (!starter.two) {
        args.flags |= clone_pidfd | (joins ? 0 : run.route.by_clone.clone_flags());
        args.pidfd = reinterpret_cast<std::uint64_t>(&number); // NOLINT(*-reinterpret-cast)
    }
    place_into_cgroup(run, args);
    std::optional<NotDumpable> not_dumpable;
    if (joins && not_dumpable.emplace().failed() != 0) {
        return fail(Step::clear_dumpable, static_cast<int>(-not_dumpable->failed()));
    }
    const long pid = make_first(starter, args);
    if (pid < 0 && run.into_cgroup) {
        return fail(Step::enter_cgroup, static_cast<int>(-pid));
    }
    if (pid < 0) {
        return tl::unexpected<Error>{clone_error(joins ? KindSet{} : run.route.by_clone, pid)};
    }
    return take_program(run, starter.two, static_cast<pid_t>(pid), OwnedFd{number});
}

/// The child of execute_in_copy(), to the program or its end.
[[noreturn]] inline void execute_child(const Run& run, const Command& command, int errors,
                                       KernelSignalSet mask) noexcept {
    Kept kept{command.executable.get(), errors};
    Result<void> done = own_table(run, command, kept);
    if (done) {
        done = become_program(run, command, kept, mask);
    }
    const Error error = done.error();
    (void)call_again(SYS_write, kept.errors, &error, sizeof error);
    exit_now(127);
}

/// Waits until the program is executed: the pipe is closed by that, or brings the error.
[[nodiscard]] inline auto await_program(const Run& run, BorrowedFd errors) noexcept
    -> Result<void> {
    long ready = -EINTR;
    while (ready == -EINTR) {
        pollfd entry{errors.get(), POLLIN, 0};
        const PollTimeout left{run.deadline.left()};
        ready = call(SYS_ppoll, &entry, 1UL, left.get(), nullptr, 0UL);
    }
    if (ready == 0) {
        return fail(Step::execute, Reason::deadline_passed);
    }
    Error error;
    if (call_again(SYS_read, errors.get(), &error, sizeof error) == sizeof error) {
        return tl::unexpected<Error>{error};
    }
    return {};
}

/// Runs the plan and the program once, in a copy of the caller.
[[nodiscard]] inline auto execute_in_copy(Run& run, const Command& command) noexcept
    -> Result<Outcome> {
    auto pipe = Pipe::open();
    if (!pipe) {
        return tl::unexpected<Error>{pipe.error()};
    }
    const Result<void> ready = prepare_child(run);
    if (!ready) {
        return tl::unexpected<Error>{ready.error()};
    }
    run.signals = block_signals();
    Result<Outcome> result = run_once(run);
    if (run.in_child) {
        execute_child(run, command, pipe->write_end.get(), run.signals);
    }
    pipe->write_end.reset();
    if (result) {
        const Result<void> executed = await_program(run, pipe->read_end);
        if (!executed) {
            const PidFd child{OwnedFd{result->pidfd}, result->pid};
            (void)child.send_signal(SIGKILL);
            (void)child.wait();
            result = tl::unexpected<Error>{executed.error()};
        }
    }
    restore_signals(run.signals);
    return result;
}

[[nodiscard]] inline auto execute_once(Run& run, const Command& command) noexcept
    -> Result<Outcome> {
    return fits_this_memory(run) ? execute_here(run, command) : execute_in_copy(run, command);
}

/// What both ways of a command need opened.
[[nodiscard]] inline auto open_for_command(Run& run) noexcept -> Result<void> {
    run.executes = true;
    Result<void> done = open_inputs(run);
    if (done && run.plan.death_signal != 0) {
        const long self = call(SYS_pidfd_open, ::getpid(), 0U);
        run.caller_pidfd.reset(static_cast<int>(self < 0 ? -1 : self));
        done = outcome(Step::open_pidfd, self);
    }
    return done;
}

[[nodiscard]] inline auto check_for_command(const Draft& plan) noexcept -> Result<void> {
    if (plan.child_of != ChildOf::caller) {
        return fail(Step::check_plan, Reason::bad_value,
                    "a program's process is the caller's own child, never its parent's");
    }
    return check_before_run(plan);
}

/// The program's process as the caller holds it, or the error with the name of the namespace.
[[nodiscard]] inline auto to_child(const Draft& plan, Result<Outcome> result) noexcept
    -> Result<PidFd> {
    if (!result) {
        name_namespace(plan, result.error());
        return tl::unexpected<Error>{result.error()};
    }
    return PidFd{OwnedFd{result->pidfd}, result->pid};
}

} // namespace detail

/// Joins, creates, and executes a program in all of it: to posix_spawn(3) what join_and_clone() is
/// to fork(2). Returns the program's process, the caller's child, when it has been executed; or the
/// error of the step that failed, that of execve(2) included, and then nothing is left.
///
/// From any thread of a program of any size: no memory is copied, no page table, no lock is taken,
/// no handler runs in another process, the signal mask and the other threads' descriptors are as
/// before. The calling thread alone is suspended meanwhile. The process that joins in between
/// raises no SIGCHLD and can be seen by no wait of the program's. While it is there the calling
/// process is not dumpable.
///
/// A copy of the memory is made, and signals are blocked, where the plan needs what a process on
/// the caller's memory can't do: to join or create a time namespace, id maps, oom_score_adj, a
/// deadline, mount sources. explain() of the plan and the command says which it is.
///
/// The ids are taken, not asked for again: the program's process never has rights of the caller's
/// to give back. System calls: those of join_and_clone(), and execve(2). Linux 5.3.
[[nodiscard]] inline auto join_and_exec(const Plan& plan, const Command& command) noexcept
    -> Result<PidFd> {
    const detail::ErrnoKeeper keep_errno;
    detail::Run run{plan.parts()};
    Result<void> done = detail::check_command(command);
    if (done) {
        done = detail::check_for_command(run.plan);
    }
    if (done) {
        done = detail::open_for_command(run);
    }
    if (!done) {
        return tl::unexpected<Error>{done.error()};
    }
    const auto once = [&command](detail::Run& r) noexcept {
        return execute_once(r, command);
    };
    return detail::to_child(run.plan, detail::attempts(run, once));
}

/// The plan in words, as explain(plan), with what join_and_exec() does otherwise: whose memory the
/// processes run on and why, and the program. Allocates.
[[nodiscard]] inline auto explain(const Plan& plan, const Command& command) -> std::string {
    detail::Run run{plan.parts()};
    (void)detail::decide(run);
    std::string text = detail::fits_this_memory(run)
                           ? "on the caller's memory (CLONE_VM | CLONE_VFORK), nothing is copied\n"
                           : "in a copy of the caller's memory: a time namespace, id maps, "
                             "oom_score_adj, a deadline or mount sources need a process with "
                             "memory of its own\n";
    text.append(explain(plan)).append("then the child: execute ");
    text.append(command.executable.ok() ? "the open program" : command.path);
    return text.append(command.executable.ok() ? "  [execveat]\n" : "  [execve]\n");
}

/// A plan whose namespaces are opened and looked at once, to be run many times: by an agent that
/// executes a command in the same container every second. Owns those descriptors; borrows what the
/// plan borrows, the target's pidfd too, so that a process that gets its pid later is never joined.
///
/// What differs from the caller's namespaces, and who owns what, is as it was found: prepare anew
/// if the caller moves to other namespaces or loses rights.
class [[nodiscard]] PreparedPlan {
  public:
    /// Checks and looks. Errors: those of join_and_exec() before it makes a process.
    [[nodiscard]] static auto prepare(Plan plan) noexcept -> Result<PreparedPlan> {
        PreparedPlan prepared{std::move(plan)};
        Result<void> done = detail::check_for_command(prepared.plan_.parts());
        if (done) {
            done = prepared.candidates_.look(prepared.plan_.parts());
        }
        if (!done) {
            return tl::unexpected<Error>{done.error()};
        }
        return prepared;
    }

    [[nodiscard]] auto plan() const noexcept -> const Plan& { return plan_; }

    /// As join_and_exec() of the plan. Errors: also process_gone if a target has ended.
    [[nodiscard]] auto exec(const Command& command) const noexcept -> Result<PidFd> {
        const detail::ErrnoKeeper keep_errno;
        detail::Run run{plan_.parts()};
        Result<void> done = detail::check_command(command);
        if (done) {
            done = detail::open_for_command(run);
        }
        if (!done) {
            return tl::unexpected<Error>{done.error()};
        }
        const auto once = [&command](detail::Run& r) noexcept -> Result<detail::Outcome> {
            const Result<void> there = targets_live(r);
            return there ? execute_once(r, command) : tl::unexpected<Error>{there.error()};
        };
        return detail::to_child(run.plan, detail::attempt_ways(run, candidates_, once));
    }

  private:
    explicit PreparedPlan(Plan plan) noexcept : plan_{std::move(plan)} {}

    /// A namespace's descriptor outlives its target; a pidfd the kernel checks itself.
    [[nodiscard]] static auto targets_live(const detail::Run& run) noexcept -> Result<void> {
        for (const detail::JoinCall& join : run.calls.view()) {
            const JoinSource& source = run.plan.source(*join.kinds.begin());
            if (source.from == JoinSource::From::target && join.fd != source.fd.get()) {
                if (detail::has_ended(source.fd)) {
                    auto gone = detail::fail(Step::open_target, Reason::process_gone, "pid ");
                    gone.value().subject.append(std::int64_t{source.target_pid});
                    return gone;
                }
            }
        }
        return {};
    }

    Plan plan_;
    detail::Candidates candidates_;
};

} // namespace nsjoin

#endif // NSJOIN_SPAWN_HPP
