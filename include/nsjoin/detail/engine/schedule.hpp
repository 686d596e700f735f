// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_SCHEDULE_HPP
#define NSJOIN_DETAIL_ENGINE_SCHEDULE_HPP

#include <nsjoin/detail/engine/join_tasks.hpp>
#include <nsjoin/order.hpp>

#include <cstddef>
#include <span>

// A plan becomes data: which processes there are, what each does, in which order and by which
// system call. Pure: no system call, no allocation.

namespace nsjoin::inline v0_1::detail {

/// Makes a schedule of a plan, task by task.
class Scheduler {
  public:
    constexpr Scheduler(const Outline& plan, const Facts& facts) noexcept
        : plan_{plan}, facts_{facts}, roles_{schedule_.roles} {
        roles_ = decide_roles(plan, facts);
    }

    [[nodiscard]] constexpr auto run() noexcept -> Schedule {
        schedule_.refused = refusal();
        if (schedule_.refused != Reason::system) {
            return schedule_;
        }
        describe_processes();
        const StepSet there = steps_there();
        const auto sorted = sort_steps(plan_waits, circumstances(roles_));
        const std::span<const Step> order{sorted.steps};
        bool joined = false;
        bool created = false;
        for (std::size_t i = 0; i < order.size(); ++i) {
            const Step step = order[i];
            if (is_join(step)) {
                if (!joined) {
                    JoinTasks{plan_, facts_, order.subspan(i), schedule_}.add_all();
                }
                joined = true;
            } else if (is_create(step)) {
                created = add_created(step, created) || created;
            } else if (there.contains(step)) {
                add(step);
            }
        }
        return schedule_;
    }

  private:
    [[nodiscard]] constexpr auto says(Step step) const noexcept -> bool {
        return plan_.said.contains(step);
    }

    /// Whether a caller that joins by itself has done it in an attempt before.
    [[nodiscard]] constexpr auto done(Step step) const noexcept -> bool {
        return roles_.caller_joins && facts_.done.contains(step);
    }

    [[nodiscard]] constexpr auto joins() const noexcept -> bool { return !roles_.joining.empty(); }

    [[nodiscard]] constexpr auto refusal() const noexcept -> Reason {
        if (plan_.callers_parent && facts_.first_of_pids) {
            return Reason::init_has_no_sibling;
        }
        if (plan_.callers_parent && !plan_.joined.empty() && facts_.many_threads) {
            return Reason::many_threads;
        }
        return !plan_.callers_parent && !plan_.joined.empty() && facts_.pending_pid
                   ? Reason::pending_pid
                   : Reason::system;
    }

    /// Whether clone3(2) places the first process into the cgroup. A caller that joins by itself
    /// can't try twice, so it takes the way that needs no second try.
    [[nodiscard]] constexpr auto born_in_cgroup() const noexcept -> bool {
        return says(Step::enter_cgroup) && facts_.into_cgroup && facts_.clone3 &&
               !roles_.caller_joins;
    }

    [[nodiscard]] constexpr auto takes_ids() const noexcept -> bool {
        return detail::takes_ids(plan_, roles_);
    }

    [[nodiscard]] constexpr auto drops() const noexcept -> bool {
        return says(Step::drop_groups) || roles_.becomes_root;
    }

    /// Whether groups are dropped before the user namespace is joined. Where that denies to drop
    /// them, and nobody may before, they stay.
    [[nodiscard]] constexpr auto drops_outside() const noexcept -> bool {
        return facts_.drops_outside && roles_.joining.contains(Kind::user) && drops();
    }

    [[nodiscard]] constexpr auto needs_proc() const noexcept -> bool {
        return facts_.setgroups == Denied::ask || says(Step::await_maps) ||
               says(Step::set_oom_score_adj) || says(Step::take_mount_sources) ||
               plan_.created.contains(Kind::time);
    }

    [[nodiscard]] constexpr auto clears_dumpable() const noexcept -> bool {
        return joins() ||
               (roles_.first == Memory::callers && (takes_ids() || says(Step::enter_cgroup)));
    }

    /// Whether the ids that the plan names are those that may search the working directory.
    [[nodiscard]] constexpr auto directory_may_wait() const noexcept -> bool {
        return says(Step::set_working_directory) && takes_ids() && !roles_.becomes_root;
    }

    [[nodiscard]] constexpr auto starts_keyring() const noexcept -> bool {
        return plan_.session_keyring == SessionKeyring::fresh ||
               (plan_.session_keyring == SessionKeyring::automatic && roles_.user_changes);
    }

    /// The steps of the schedule, but for those that join and create.
    [[nodiscard]] constexpr auto steps_there() const noexcept -> StepSet {
        const bool written = says(Step::enter_cgroup) && (!born_in_cgroup() || plan_.more_cgroups);
        const bool offsets = says(Step::write_time_offsets);
        const bool sources = says(Step::take_mount_sources);
        StepSet there = plan_.said | Step::check_plan | Step::make_child;
        const auto set = [&there](Step step, bool is_in) {
            there.set(step, is_in);
        };
        set(Step::open_proc, needs_proc());
        set(Step::open_target, !plan_.joined.empty());
        set(Step::check_console, says(Step::set_console));
        set(Step::open_cgroup, written);
        set(Step::enter_cgroup, written && !done(Step::enter_cgroup));
        set(Step::pin_caller, roles_.waits || (says(Step::set_death_signal) && roles_.shares));
        set(Step::make_channel, !roles_.shares);
        set(Step::report, !roles_.shares);
        set(Step::make_opener, sources);
        set(Step::open_mount_sources, sources);
        set(Step::make_joiner, roles_.joiner);
        set(Step::set_oom_score_adj,
            says(Step::set_oom_score_adj) && !done(Step::set_oom_score_adj));
        set(Step::open_time_offsets, offsets && !done(Step::open_time_offsets));
        set(Step::clear_dumpable, clears_dumpable());
        set(Step::write_setgroups, says(Step::await_maps) && facts_.deny_setgroups);
        set(Step::await_maps, roles_.waits);
        set(Step::become_root, roles_.root_before_creating);
        set(Step::enter_time, roles_.by_unshare.contains(Kind::time));
        // Who has to ask whether setgroups is denied opens a file of /proc.
        const bool opens = says(Step::own_descriptors) || facts_.setgroups == Denied::ask;
        set(Step::own_descriptors, opens && roles_.shares);
        // In another user namespace the kernel has emptied the set.
        set(Step::clear_inheritable,
            !plan_.keep_capabilities && !roles_.user_changes && !says(Step::set_capabilities));
        set(Step::drop_groups, drops_outside());
        set(Step::set_groups,
            drops() ? !drops_outside() && facts_.setgroups != Denied::yes : says(Step::set_groups));
        set(Step::set_gid, says(Step::set_gid) || roles_.becomes_root);
        set(Step::set_uid, says(Step::set_uid) || roles_.becomes_root);
        // Root that is not taken leaves less than was to be had.
        set(Step::verify_ids, takes_ids() && !(plan_.program && roles_.becomes_root));
        set(Step::new_session_keyring, starts_keyring());
        set(Step::offer_errors, plan_.program && !roles_.shares);
        // Where they are blocked meanwhile, they are to be unblocked.
        set(Step::set_signals, plan_.program && (says(Step::set_signals) || !clears_sighand()));
        set(Step::execute, plan_.program);
        return there;
    }

    [[nodiscard]] constexpr auto clears_sighand() const noexcept -> bool {
        return roles_.shares && roles_.first == Memory::callers && facts_.clear_sighand &&
               facts_.clone3;
    }

    [[nodiscard]] constexpr auto maker_of_child() const noexcept -> Process {
        return roles_.joiner ? Process::joiner : Process::caller;
    }

    /// Which process does a step, on its own part of it.
    [[nodiscard]] constexpr auto process_of(Step step) const noexcept -> Process {
        const bool by_caller = (step == Step::clear_dumpable && roles_.first == Memory::callers) ||
                               (step == Step::set_oom_score_adj && roles_.oom_by_caller) ||
                               (step == Step::open_time_offsets && roles_.offsets_by_caller);
        if (by_caller) {
            return Process::caller;
        }
        if (step == Step::make_child) {
            return maker_of_child();
        }
        const bool by_first = step == Step::write_time_offsets && roles_.time_by_first;
        const Actor actor = by_first ? Actor::first : nsjoin::facts(step).actor;
        return actor == Actor::caller   ? Process::caller
               : actor == Actor::opener ? Process::opener
               : actor == Actor::first  ? roles_.first_process()
                                        : Process::child;
    }

    /// The clone that makes a process.
    [[nodiscard]] constexpr auto clone_for(Process made) const noexcept -> Call {
        const ProcessFacts& process = schedule_.process(made);
        const bool by_caller = process.maker == Process::caller;
        const bool born_in = by_caller && born_in_cgroup();
        const bool needs_clone3 = born_in || process.clear_sighand;
        const bool shares_memory = process.memory != Memory::copy;
        return needs_clone3 || (!shares_memory && facts_.clone3) ? Call::clone3 : Call::clone;
    }

    [[nodiscard]] constexpr auto call_of(Step step) const noexcept -> Call {
        switch (step) {
        case Step::check_plan:
        case Step::open_target:
            return Call::none;
        case Step::make_opener:
            return facts_.clone3 ? Call::clone3 : Call::clone;
        case Step::make_joiner:
            return clone_for(Process::joiner);
        case Step::make_child:
            return clone_for(Process::child);
        case Step::enter_cgroup:
            return Call::write_procs;
        case Step::set_oom_score_adj:
            return roles_.oom_by_caller ? Call::of_the_child : Call::usual;
        case Step::open_time_offsets:
            return roles_.offsets_by_caller ? Call::of_the_child : Call::usual;
        default:
            return Call::usual;
        }
    }

    /// Adds a step, with what belongs to it: a process is made with what its clone does for it, and
    /// what passes between the child and the caller has two ends.
    constexpr void add(Step step) noexcept {
        if (step == Step::await_maps) {
            schedule_.add({step, Process::caller, Call::tell});
        }
        schedule_.add({step, process_of(step), call_of(step)});
        if (!roles_.shares &&
            (step == Step::report || step == Step::offer_errors || step == Step::execute)) {
            schedule_.add({step, Process::caller, Call::hear});
        }
        if (step == Step::set_working_directory) {
            schedule_.list[schedule_.count - 1].may_wait = directory_may_wait();
        }
        if (step == Step::verify_ids && directory_may_wait()) {
            schedule_.add({Step::set_working_directory, Process::child, Call::again});
        }
        const bool makes_first = step == (roles_.joiner ? Step::make_joiner : Step::make_child);
        if (makes_first && born_in_cgroup()) {
            schedule_.add({Step::enter_cgroup, Process::caller, Call::with_clone});
        }
        if (step == Step::make_child && !roles_.by_clone.empty()) {
            const Step first = first_of(roles_.by_clone);
            schedule_.add({first, maker_of_child(), Call::with_clone, roles_.by_clone});
        }
    }

    /// The step of the set that is done first.
    [[nodiscard]] static constexpr auto first_of(KindSet kinds) noexcept -> Step {
        Step first = Step::create_time;
        for (const Kind kind : kinds) {
            first = create_step(kind) < first ? create_step(kind) : first;
        }
        return first;
    }

    /// Adds what the child creates, all by one call, at the first of them. Whether it did.
    constexpr auto add_created(Step step, bool already) noexcept -> bool {
        if (step == Step::create_time && roles_.time_by_first) {
            schedule_.add({step, roles_.first_process(), Call::usual, Kind::time});
            return false;
        }
        if (already || roles_.by_unshare.empty() || step != first_of(roles_.by_unshare)) {
            return false;
        }
        schedule_.add({step, Process::child, Call::usual, roles_.by_unshare});
        return true;
    }

    constexpr void describe_processes() noexcept {
        const bool cgroup = says(Step::enter_cgroup);
        const auto at = [this](Process which) -> ProcessFacts& {
            return schedule_.processes[static_cast<std::size_t>(which)];
        };
        at(Process::caller).there = true;
        at(Process::caller).memory = Memory::own;
        at(Process::opener).there = says(Step::take_mount_sources);
        at(Process::opener).not_dumpable = true;
        if (roles_.joiner) {
            ProcessFacts& joiner = at(Process::joiner);
            joiner.there = true;
            joiner.memory = roles_.first;
            joiner.in_cgroup = cgroup;
            joiner.clear_sighand = clears_sighand();
            joiner.not_dumpable = true;
            joiner.exposed = exposes_first(plan_, roles_.joining);
        }
        ProcessFacts& child = at(Process::child);
        child.there = true;
        child.maker = maker_of_child();
        child.memory = !roles_.shares                    ? Memory::copy
                       : !roles_.joiner                  ? roles_.first
                       : roles_.first == Memory::callers ? Memory::callers
                                                         : Memory::joiners;
        child.sibling = roles_.joiner || plan_.callers_parent;
        child.in_cgroup = cgroup;
        child.clear_sighand = !roles_.joiner && clears_sighand();
        child.not_dumpable = clears_dumpable();
        child.exposed = exposes_child(plan_, roles_);
    }

    const Outline& plan_;
    const Facts& facts_;
    Schedule schedule_{};
    Roles& roles_;
};

/// The schedule of a plan under what is known of the kernel and of the caller. Pure.
[[nodiscard]] constexpr auto schedule(const Outline& plan, const Facts& facts) noexcept
    -> Schedule {
    return Scheduler{plan, facts}.run();
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_SCHEDULE_HPP
