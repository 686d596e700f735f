// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_ENGINE_HPP
#define NSJOIN_DETAIL_ENGINE_ENGINE_HPP

#include <nsjoin/detail/engine/perform.hpp>

// A run: asks, schedules, performs, and where that shows another way, schedules again.

namespace nsjoin::inline v0_1::detail {

/// Whether all signals are blocked meanwhile: no handler may run in a process that is on the
/// caller's memory, or is a copy of it. Where the kernel resets the handlers of the first process,
/// and the caller only waits for it, they need not be.
[[nodiscard]] inline auto blocks_signals(const Schedule& schedule) noexcept -> bool {
    const Process first = schedule.roles.joiner ? Process::joiner : Process::child;
    return !schedule.process(first).clear_sighand;
}

/// Performs a schedule. Returns in the caller and in the child. After an error nothing is left.
[[nodiscard]] inline auto perform_schedule(Run& run, const Schedule& schedule) noexcept
    -> Result<void> {
    Attempt attempt{run, schedule};
    attempt.kept.executable = run.executable;
    if (blocks_signals(schedule)) {
        attempt.mask = block_signals();
    }
    Result<void> done = walk(attempt, Process::caller, 0);
    if (run.options.keep_channel && done) {
        OwnedFd& end = attempt.in_child ? attempt.child_end : attempt.caller_end;
        run.outcome.channel = end.release();
    }
    if (!attempt.in_child) {
        if (!done) {
            hear_last_word(attempt, done.error());
            abandon(attempt, done.error());
        } else {
            const pid_t pid = attempt.child.pid();
            run.outcome.pidfd = attempt.child.release().release();
            run.outcome.pid = pid;
        }
        end_opener(attempt);
    }
    if (attempt.mask && !(attempt.in_child && run.options.child_stays_blocked)) {
        restore_signals(*attempt.mask);
    }
    return done;
}

/// Runs the plan the shortest way that the kernel lets it. `before`, if not null, is asked before
/// each attempt.
[[nodiscard]] inline auto
run_attempts(Run& run, Result<void> (*before)(const Run&) noexcept = nullptr) noexcept
    -> Result<void> {
    for (;;) {
        const Schedule now = schedule(run.outline, run.facts);
        if (now.refused != Reason::system) {
            return fail(Step::check_plan, now.refused);
        }
        Result<void> done = before != nullptr ? before(run) : Result<void>{};
        done = done ? perform_schedule(run, now) : done;
        if (done) {
            return done;
        }
        const Result<bool> learned = learn(run, now, done.error());
        if (!learned) {
            return Unexpected{learned.error()};
        }
        if (!*learned) {
            return done;
        }
    }
}

/// Whether the rights are there that creating or joining takes, so that something else refused it.
[[nodiscard]] inline auto was_entitled(const Run& run, Step step) noexcept -> bool {
    const KindSet created = run.plan.created;
    if (is_join(step)) {
        const Facts& facts = run.facts;
        return facts.join_by != JoinBy::one_call && has_rights_to_join(join_kind(step)) &&
               !(facts.after_user | facts.untold | facts.same).contains(join_kind(step));
    }
    // In a user namespace that it has created or joined, the child has every capability.
    const bool by_user = created.contains(Kind::user) || run.plan.joined().contains(Kind::user);
    const auto needs = [by_user](unsigned capability) {
        return by_user || has_capability(capability);
    };
    switch (step) {
    case Step::set_root:
        return needs(cap_sys_chroot);
    case Step::set_gid:
        return needs(cap_setgid);
    case Step::set_uid:
        return needs(cap_setuid);
    case Step::set_propagation:
        return needs(cap_sys_admin);
    default:
        return is_create(step) && step != Step::create_user &&
               (created.contains(Kind::user) ||
                (run.plan.joined().empty() && has_capability(cap_sys_admin)));
    }
}

/// Says of which namespace the error of a join is, and gives ESRCH and EPERM their meaning.
inline void name_cause(const Run& run, Error& error) noexcept {
    const Draft& plan = run.plan;
    if (error.reason == Reason::system && error.code == EPERM && was_entitled(run, error.step)) {
        error.reason = Reason::refused_by_policy;
    }
    if (!is_join(error.step)) {
        return;
    }
    const auto index =
        static_cast<std::size_t>(error.step) - static_cast<std::size_t>(Step::join_user);
    const JoinSource& source = plan.joins[index];
    if (source.from == JoinSource::From::target) {
        error.subject = Subject{"pid "};
        error.subject.append(std::int64_t{source.target_pid});
        error.reason = error.code == ESRCH ? why_gone(source.fd, source.target_pid) : error.reason;
    } else {
        struct stat about {};

        if (::fstat(source.fd.get(), &about) == 0) {
            error.subject = Subject{facts(static_cast<Kind>(index)).name};
            error.subject.append(":[").append(static_cast<std::int64_t>(about.st_ino)).append("]");
        }
    }
}

/// Asks what the first schedule depends on, and prepares what all attempts share.
[[nodiscard]] inline auto prepare_run(Run& run) noexcept -> Result<void> {
    const Draft& plan = run.plan;
    if (plan.deadline.count() > 0) {
        run.deadline = Deadline{plan.deadline};
    }
    run.proc = run.options.proc;
    return plan.console.ok() ? run.standard.take() : Result<void>{};
}

/// What can be known wrong is refused before the kernel is asked anything.
[[nodiscard]] inline auto check_plan(Run& run) noexcept -> Result<void> {
    Schedule only;
    only.add({Step::check_plan});
    Attempt attempt{run, only};
    return run.perform(attempt, 0);
}

/// What a child that goes on in the caller's code depends on.
inline void prepare_copy(Run& run) noexcept {
    run.thread = read_thread_record();
    if (run.options.keep_thread_id) {
        run.thread.tid_address = nullptr;
        run.thread.clear_address = nullptr;
    }
    run.facts.pending_pid =
        !run.outline.joined.empty() && !run.outline.callers_parent && has_pending_pid();
}

[[nodiscard]] inline auto come_to(const Run& run, Result<void> done) noexcept -> Result<Outcome> {
    if (!done) {
        name_cause(run, done.error());
        return Unexpected{done.error()};
    }
    return run.outcome;
}

/// Runs a plan. Returns in the caller with the child, and in the child with no pid.
[[nodiscard]] inline auto run_plan(const Draft& plan, Perform perform,
                                   const RunOptions& options = {}) noexcept -> Result<Outcome> {
    const ErrnoKeeper keep_errno; // a process on this memory has this thread's errno
    Run run{plan, outline_of(plan), perform};
    Result<void> done = check_plan(run);
    if (!done) {
        return Unexpected{done.error()};
    }
    run.options = options;
    prepare_copy(run);
    done = prepare_run(run);
    done = done ? ask(plan, run.outline, run.facts, run.own_opened) : done;
    return come_to(run, done ? run_attempts(run) : done);
}

/// Runs a plan about which the kernel was asked before.
[[nodiscard]] inline auto run_asked(Run& run, Result<void> (*before)(const Run&) noexcept) noexcept
    -> Result<Outcome> {
    const ErrnoKeeper keep_errno;
    prepare_copy(run);
    const Result<void> done = prepare_run(run);
    return come_to(run, done ? run_attempts(run, before) : done);
}

/// The same, for plans that may say anything.
[[nodiscard]] inline auto run_plan(const Draft& plan, const RunOptions& options) noexcept
    -> Result<Outcome> {
    return run_plan(plan, perform<anything()>, options);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_ENGINE_HPP
