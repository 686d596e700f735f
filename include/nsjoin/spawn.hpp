// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_SPAWN_HPP
#define NSJOIN_SPAWN_HPP

#include <nsjoin/detail/engine/execute.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/plan.hpp>

#include <utility>

namespace nsjoin::inline v0_1 {

/// Joins, creates, and executes a program in all of it: to posix_spawn(3) what join_and_clone() is
/// to fork(2). Returns the program's process, the caller's child, when it has been executed; or the
/// error of the step that failed, that of execve(2) included, and then nothing is left.
///
/// From any thread. The signal mask, the handlers and the other threads' descriptors are as before,
/// no handler runs in another process, and no lock is taken. No process in between raises a
/// SIGCHLD, nor is seen by a wait for all children (but one with __WALL or __WCLONE).
///
/// Where the target's processes can't reach it, the program's process runs on the caller's memory
/// until it is executed, and the calling thread alone is suspended meanwhile: nothing is copied, so
/// that it takes as long in a program of any size. Where they can, because a pid or user namespace
/// or a cgroup is joined, or ids are taken in what is joined, it runs on a copy, which takes longer
/// the more memory the caller has; a Launcher (launcher.hpp) spares that, and has nothing of the
/// caller's memory to be read. JoinPlan::lend_memory_to_target() spares it too, for who trusts the
/// target. A copy is also made to join or create a time namespace, for id maps, oom_score_adj, a
/// deadline and mount sources. explain() of the plan and the command says which it is.
///
/// While a process runs on the caller's memory, the calling process is not dumpable, and a signal
/// to the whole process group acts on it by default: one that stops it holds the calling thread up
/// until it is continued. In a copy, the caller's signals are open while it waits.
///
/// If a user namespace is joined, and a mount namespace of the same target, the program starts at
/// the root of that mount namespace, though it may be the caller's own.
///
/// Who controls the mount namespace can make any file in it a script of /proc/self/exe, and so have
/// the caller's own executable started in there (CVE-2019-5736): where root inside is root outside,
/// start it by a Launcher, which is sealed, run from a sealed copy, or give Program::open_file().
///
/// A joined pid namespace is refused (pending_pid) to a caller that has made another one for its
/// children; if no child is in that one yet, it is lost, as a process is needed to find out.
/// PreparedPlan::prepare() looks before.
///
/// System calls: those of join_and_clone(), and execve(2). Linux 5.3.
[[nodiscard]] inline auto join_and_exec(const Plan& plan, const Command& command) noexcept
    -> Result<PidFd> {
    return detail::execute_plan(plan.parts(), command, detail::perform<detail::anything()>);
}

/// The same with a plan of the compiler's: what such a plan can't say is not compiled, and one that
/// makes the child a sibling does not compile.
template <unsigned Joined, unsigned Created, unsigned Said>
[[nodiscard]] auto join_and_exec(const JoinPlan<Joined, Created, Said>& plan,
                                 const Command& command) noexcept -> Result<PidFd> {
    static_assert((Said & detail::said_parent) == 0,
                  "nsjoin: a program's process is the caller's own child: leave child_of() out");
    return detail::execute_plan(plan.parts(), command,
                                detail::perform<JoinPlan<Joined, Created, Said>::possible>);
}

/// A plan whose namespaces are opened and looked at once, to be run many times: by an agent that
/// executes a command in the same container every second. Owns those descriptors; borrows what the
/// plan borrows, the target's pidfd too, so that a process that gets its pid later is never joined.
///
/// Several threads may run it at once. A move, and what the plan borrows, are theirs to order.
///
/// What differs from the caller's namespaces, and who owns what, is as it was found: prepare anew
/// if the caller moves to other namespaces or loses rights.
class [[nodiscard]] PreparedPlan {
  public:
    /// Checks and looks. Errors: those of join_and_exec() before it makes a process.
    [[nodiscard]] static auto prepare(Plan plan) noexcept -> Result<PreparedPlan> {
        PreparedPlan prepared{std::move(plan)};
        const Draft& parts = prepared.plan_.parts();
        Result<void> done = detail::check_for_program(parts);
        done = done ? detail::check_values(parts) : done;
        if (done && would_be_init(parts)) {
            done = detail::fail(Step::check_plan, Reason::pending_pid);
        }
        if (done) {
            done = detail::ask(parts, detail::outline_of(parts), prepared.facts_, prepared.opened_);
        }
        if (done && !parts.joined().empty()) {
            done = detail::look_at_spaces(parts, prepared.opened_, prepared.facts_);
        }
        if (!done) {
            return Unexpected{done.error()};
        }
        return prepared;
    }

    [[nodiscard]] auto plan() const noexcept -> const Plan& { return plan_; }

    /// As join_and_exec() of the plan. Errors: also process_gone if a target has ended.
    [[nodiscard]] auto exec(const Command& command) const noexcept -> Result<PidFd> {
        const detail::ErrnoKeeper keep_errno;
        const Result<void> checked = detail::check_command(command);
        if (!checked) {
            return Unexpected{checked.error()};
        }
        detail::Run run{plan_.parts(), detail::outline_of(plan_.parts(), command),
                        detail::perform<detail::anything()>};
        run.facts = facts_;
        run.opened = &opened_;
        return detail::execute_run(run, command, targets_live);
    }

    /// As join_and_clone() of the plan. Errors: also process_gone if a target has ended.
    [[nodiscard]] auto clone() const noexcept -> Result<Side> {
        detail::Run run{plan_.parts(), detail::outline_of(plan_.parts()),
                        detail::perform<detail::anything()>};
        run.facts = facts_;
        run.opened = &opened_;
        return detail::to_side(detail::run_asked(run, targets_live));
    }

  private:
    explicit PreparedPlan(Plan plan) noexcept : plan_{std::move(plan)} {}

    /// Whether the first process would be the init of a pid namespace that the caller has made for
    /// its children, and end it.
    [[nodiscard]] static auto would_be_init(const Draft& plan) noexcept -> bool {
        const bool two =
            !plan.joined().empty() && (plan.joined() | plan.created).contains(Kind::pid);
        return two && detail::has_pending_pid() && !detail::children_have_init();
    }

    /// A namespace's descriptor outlives its target; a pidfd the kernel checks itself.
    [[nodiscard]] static auto targets_live(const detail::Run& run) noexcept -> Result<void> {
        for (const Kind kind : run.plan.joined() - run.facts.same) {
            const JoinSource& source = run.plan.source(kind);
            const bool by_descriptor =
                run.facts.join_by == detail::JoinBy::descriptor || run.facts.untold.contains(kind);
            const bool looks = by_descriptor && source.from == JoinSource::From::target;
            const long ended = looks ? detail::has_ended(source.fd) : 0;
            if (ended != 0) {
                auto gone = ended < 0 ? detail::fail(Step::open_target, static_cast<int>(-ended))
                                      : detail::fail(Step::open_target, Reason::process_gone);
                gone.error().subject.append("pid ").append(std::int64_t{source.target_pid});
                return gone;
            }
        }
        return {};
    }

    Plan plan_;
    detail::Facts facts_;
    detail::OpenedSpaces opened_;
};

} // namespace nsjoin

#endif // NSJOIN_SPAWN_HPP
