// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_SCHEDULE_HPP
#define NSJOIN_DETAIL_ENGINE_SCHEDULE_HPP

#include <nsjoin/detail/engine/roles.hpp>
#include <nsjoin/error.hpp>
#include <nsjoin/order.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

// A plan becomes data: which processes there are, what each does, in which order and by which
// system call. Pure: no system call, no allocation.

namespace nsjoin::detail {

/// By which system call a task is done, where its step alone does not say it.
enum class Call : std::uint8_t {
    usual, ///< as facts(step) says
    none,  ///< it is done already
    clone3,
    clone,
    with_clone,   ///< by the clone that makes the process
    setns_pidfd,  ///< setns(2) of a target's pidfd
    setns_space,  ///< setns(2) of a namespace's descriptor
    write_procs,  ///< write(2) to cgroup.procs
    tell,         ///< the caller's end of what the child waits for
    hear,         ///< the caller's end of what the child tells
    of_the_child, ///< in the child's directory of /proc
};

/// The descriptor that a task needs: of a kind's source as the plan has it, or of the namespace
/// that was opened of a target. A value.
struct Slot {
    std::int8_t number = -1;

    [[nodiscard]] static constexpr auto of_plan(Kind kind) noexcept -> Slot {
        return {static_cast<std::int8_t>(kind)};
    }

    [[nodiscard]] static constexpr auto opened(Kind kind) noexcept -> Slot {
        return {static_cast<std::int8_t>(static_cast<std::size_t>(kind) + kind_count)};
    }

    [[nodiscard]] constexpr auto is_opened() const noexcept -> bool {
        return number >= static_cast<std::int8_t>(kind_count);
    }

    [[nodiscard]] constexpr auto kind() const noexcept -> Kind {
        return static_cast<Kind>(static_cast<std::size_t>(number) % kind_count);
    }

    [[nodiscard]] friend constexpr auto operator==(Slot, Slot) noexcept -> bool = default;
};

/// One line of a schedule.
struct Task {
    Step step = Step::check_plan;
    Process process = Process::caller;
    Call call = Call::usual;
    KindSet kinds{}; ///< that it joins or creates
    Slot slot{};
    /// The kernel could not say whether the rights are there: EPERM means that the kinds are joined
    /// by a later task, when the user namespace is.
    bool may_wait = false;

    [[nodiscard]] friend constexpr auto operator==(const Task&, const Task&) noexcept
        -> bool = default;
};

/// One process of a schedule.
struct ProcessFacts {
    bool there = false;
    Process maker = Process::caller;
    Memory memory = Memory::copy;
    bool sibling = false;       ///< its parent is its maker's parent: CLONE_PARENT
    bool in_cgroup = false;     ///< it is born in the plan's cgroup, or enters it
    bool clear_sighand = false; ///< its handlers are reset as it is made
    bool not_dumpable = false;  ///< before it is where others could reach it
    /// Others that are not trusted can see it, signal it, or decide over its memory: it is in a pid
    /// namespace that was joined, has ids of the target's, or is in the plan's cgroup.
    bool exposed = false;

    [[nodiscard]] friend constexpr auto operator==(const ProcessFacts&,
                                                   const ProcessFacts&) noexcept -> bool = default;
};

/// What happens, for one attempt.
struct Schedule {
    static constexpr std::size_t capacity = plan_step_count + kind_count + 4;

    std::array<Task, capacity> list{};
    std::size_t count = 0;
    std::array<ProcessFacts, process_count> processes{};
    Roles roles{};
    /// Why there is none, or Reason::system.
    Reason refused = Reason::system;

    [[nodiscard]] constexpr auto tasks() const noexcept -> std::span<const Task> {
        return {list.data(), count};
    }

    [[nodiscard]] constexpr auto process(Process which) const noexcept -> const ProcessFacts& {
        return processes[static_cast<std::size_t>(which)];
    }

    constexpr void add(const Task& task) noexcept { list[count++] = task; }
};

static_assert(std::is_trivially_copyable_v<Schedule>);

/// Makes the tasks that join: what the caller has the rights over, then the user namespace, then
/// what that gives the rights over.
class JoinTasks {
  public:
    /// `order` has the steps that join, in their order.
    constexpr JoinTasks(const Outline& plan, const Facts& facts, std::span<const Step> order,
                        Schedule& schedule) noexcept
        : plan_{plan},
          facts_{facts},
          order_{order},
          schedule_{schedule},
          joining_{schedule.roles.joining} {}

    constexpr void add_all() noexcept {
        if (joining_.empty()) {
            return;
        }
        if (facts_.join_by == JoinBy::one_call) {
            add(*joining_.begin(), joining_, true, false);
            return;
        }
        add_part(false);
        if (joining_.contains(Kind::user)) {
            add_user();
        }
        // Without a user namespace nothing will give the rights: let the kernel say what it has
        // against each.
        add_part(true);
    }

  private:
    constexpr void add(Kind first, KindSet kinds, bool by_pidfd, bool may_wait) noexcept {
        const bool opened = !by_pidfd && plan_.by_target(first);
        schedule_.add({join_step(first), schedule_.roles.first_process(),
                       by_pidfd ? Call::setns_pidfd : Call::setns_space, kinds,
                       opened ? Slot::opened(first) : Slot::of_plan(first), may_wait});
    }

    /// Whether the kind is joined by the very call that joins the user namespace.
    [[nodiscard]] constexpr auto with_user(Kind kind) const noexcept -> bool {
        return facts_.join_by == JoinBy::target && joining_.contains(Kind::user) &&
               plan_.same_target(kind, Kind::user);
    }

    constexpr void add_user() noexcept {
        KindSet kinds = Kind::user;
        for (const Kind kind : joining_) {
            kinds = with_user(kind) ? kinds | kind : kinds;
        }
        const bool by_pidfd = facts_.join_by == JoinBy::target && plan_.by_target(Kind::user);
        add(Kind::user, kinds, by_pidfd, false);
    }

    /// The kinds before the user namespace, or those after it: the rights move none but that one.
    constexpr void add_part(bool after) noexcept {
        const std::size_t begin = schedule_.count;
        for (const Step step : order_) {
            if (!is_join(step)) {
                continue;
            }
            const Kind kind = join_kind(step);
            if (!joining_.contains(kind) || kind == Kind::user || with_user(kind)) {
                continue;
            }
            const bool untold = facts_.untold.contains(kind);
            const bool twice = untold && joining_.contains(Kind::user);
            if (twice || (untold ? !after : facts_.after_user.contains(kind) == after)) {
                add_or_merge(begin, kind, twice && !after);
            }
        }
    }

    constexpr void add_or_merge(std::size_t begin, Kind kind, bool may_wait) noexcept {
        const bool by_pidfd =
            facts_.join_by == JoinBy::target && plan_.by_target(kind) && !may_wait;
        for (std::size_t i = begin; by_pidfd && i < schedule_.count; ++i) {
            Task& task = schedule_.list[i];
            if (task.call == Call::setns_pidfd && plan_.same_target(kind, task.slot.kind())) {
                task.kinds = task.kinds | kind;
                return;
            }
        }
        add(kind, kind, by_pidfd, may_wait);
    }

    const Outline& plan_;
    const Facts& facts_;
    std::span<const Step> order_;
    Schedule& schedule_;
    KindSet joining_;
};

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

    /// Whether the child changes an id or its groups at last.
    [[nodiscard]] constexpr auto takes_ids() const noexcept -> bool {
        return roles_.becomes_root || says(Step::set_groups) || says(Step::set_gid) ||
               says(Step::set_uid);
    }

    [[nodiscard]] constexpr auto needs_proc() const noexcept -> bool {
        return says(Step::await_maps) || says(Step::set_oom_score_adj) ||
               says(Step::take_mount_sources) || plan_.created.contains(Kind::time);
    }

    [[nodiscard]] constexpr auto clears_dumpable() const noexcept -> bool {
        return joins() || (roles_.first == Memory::callers && takes_ids());
    }

    /// The steps of the schedule, but for those that join and create.
    [[nodiscard]] constexpr auto steps_there() const noexcept -> StepSet {
        const bool written = says(Step::enter_cgroup) && !born_in_cgroup();
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
        set(Step::own_descriptors, says(Step::own_descriptors) && roles_.shares);
        // In another user namespace the kernel has emptied the set.
        set(Step::clear_inheritable, !plan_.keep_capabilities && !roles_.user_changes);
        set(Step::set_groups, says(Step::set_groups) || roles_.becomes_root);
        set(Step::set_gid, says(Step::set_gid) || roles_.becomes_root);
        set(Step::set_uid, says(Step::set_uid) || roles_.becomes_root);
        // Root that is not taken leaves less than was to be had.
        set(Step::verify_ids, takes_ids() && !(plan_.program && roles_.becomes_root));
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
            joiner.exposed = cgroup;
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
        child.exposed = cgroup || roles_.joining.contains(Kind::pid) || (joins() && takes_ids());
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
