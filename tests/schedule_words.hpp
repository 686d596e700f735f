// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_SCHEDULE_WORDS_HPP
#define NSJOIN_TESTS_SCHEDULE_WORDS_HPP

#include <nsjoin/detail/engine/schedule.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

// Plans, facts and schedules in few words, for the tests of schedule().

namespace words {

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Step;
using nsjoin::StepSet;
using nsjoin::detail::Call;
using nsjoin::detail::Facts;
using nsjoin::detail::JoinBy;
using nsjoin::detail::Memory;
using nsjoin::detail::Outline;
using nsjoin::detail::Process;
using nsjoin::detail::Slot;
using nsjoin::detail::Task;

inline constexpr KindSet eight{nsjoin::all_kinds};
inline constexpr KindSet seven = eight - Kind::time;

/// Where a kind comes from: the target with that number, from 1, or a descriptor of its own.
enum class From : std::uint8_t { descriptor = 0 };

[[nodiscard]] constexpr auto target(unsigned number) -> From {
    return static_cast<From>(number);
}

inline constexpr From descriptor = From::descriptor;

/// What a plan says, a word each.
class PlanWords {
  public:
    [[nodiscard]] constexpr auto joins(KindSet kinds, From from) const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.joined = plan.outline.joined | kinds;
        for (const Kind kind : kinds) {
            plan.outline.targets[static_cast<std::size_t>(kind)] = static_cast<std::uint8_t>(from);
        }
        return plan;
    }

    [[nodiscard]] constexpr auto creates(KindSet kinds) const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.created = plan.outline.created | kinds;
        return plan;
    }

    [[nodiscard]] constexpr auto says(StepSet steps) const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.said = plan.outline.said | steps;
        return plan;
    }

    /// Maps of uids and gids, with id 0 in both.
    [[nodiscard]] constexpr auto maps() const -> PlanWords {
        PlanWords plan = maps_without_root();
        plan.outline.root_mapped = true;
        return plan;
    }

    [[nodiscard]] constexpr auto maps_without_root() const -> PlanWords {
        return says(Step::await_maps | Step::write_uid_map | Step::write_gid_map);
    }

    [[nodiscard]] constexpr auto maps_of_uids() const -> PlanWords {
        return says(Step::await_maps | Step::write_uid_map);
    }

    [[nodiscard]] constexpr auto ids() const -> PlanWords {
        PlanWords plan = says(Step::set_groups | Step::set_gid | Step::set_uid);
        plan.outline.ids = true;
        return plan;
    }

    [[nodiscard]] constexpr auto uid() const -> PlanWords {
        PlanWords plan = says(Step::set_uid);
        plan.outline.ids = true;
        return plan;
    }

    [[nodiscard]] constexpr auto keeps_ids() const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.keep_ids = true;
        return plan;
    }

    [[nodiscard]] constexpr auto keeps_capabilities() const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.keep_capabilities = true;
        return plan;
    }

    [[nodiscard]] constexpr auto childs_parent_is_callers() const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.callers_parent = true;
        return plan;
    }

    [[nodiscard]] constexpr auto deadline() const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.deadline = true;
        return plan;
    }

    /// The child becomes a program.
    [[nodiscard]] constexpr auto program() const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.program = true;
        return plan;
    }

    /// The target is trusted with the caller's memory.
    [[nodiscard]] constexpr auto lends() const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.lends_memory = true;
        return plan;
    }

    [[nodiscard]] constexpr auto descriptors() const -> PlanWords {
        return says(Step::own_descriptors | Step::pass_descriptors);
    }

    [[nodiscard]] constexpr auto cgroup() const -> PlanWords { return says(Step::enter_cgroup); }

    [[nodiscard]] constexpr auto oom() const -> PlanWords { return says(Step::set_oom_score_adj); }

    [[nodiscard]] constexpr auto offsets() const -> PlanWords {
        return says(Step::write_time_offsets);
    }

    [[nodiscard]] constexpr auto sources() const -> PlanWords {
        return says(Step::take_mount_sources);
    }

    [[nodiscard]] constexpr auto session() const -> PlanWords { return says(Step::new_session); }

    [[nodiscard]] constexpr auto console() const -> PlanWords {
        return says(Step::new_session | Step::set_console);
    }

    [[nodiscard]] constexpr auto root() const -> PlanWords { return says(Step::set_root); }

    [[nodiscard]] constexpr auto working_directory() const -> PlanWords {
        return says(Step::set_working_directory);
    }

    [[nodiscard]] constexpr auto name() const -> PlanWords { return says(Step::set_name); }

    [[nodiscard]] constexpr auto death_signal() const -> PlanWords {
        return says(Step::set_death_signal);
    }

    /// As a plan has it that does not speak of it.
    [[nodiscard]] constexpr auto
    keyring(nsjoin::SessionKeyring which = nsjoin::SessionKeyring::automatic) const -> PlanWords {
        PlanWords plan = *this;
        plan.outline.session_keyring = which;
        return plan;
    }

    /// Of a new mount namespace.
    [[nodiscard]] constexpr auto propagation() const -> PlanWords {
        return says(Step::set_propagation);
    }

    Outline outline{.session_keyring = nsjoin::SessionKeyring::keep};
};

/// A plan that keeps the caller's session keyring: where it does not, keyring() says so.
[[nodiscard]] constexpr auto plan() -> PlanWords {
    return {};
}

/// What the caller knows of the kernel and of itself, where it differs from Facts{}.
class FactWords {
  public:
    [[nodiscard]] constexpr auto by(JoinBy how) const -> FactWords {
        FactWords words = *this;
        words.facts.join_by = how;
        return words;
    }

    /// One setns(2) for the kinds of each target.
    [[nodiscard]] constexpr auto looked() const -> FactWords { return by(JoinBy::target); }

    /// One for each kind: before Linux 5.8, or under a filter.
    [[nodiscard]] constexpr auto no_setns_of_pidfd() const -> FactWords {
        return by(JoinBy::descriptor);
    }

    [[nodiscard]] constexpr auto same(KindSet kinds) const -> FactWords {
        FactWords words = *this;
        words.facts.same = kinds;
        return words;
    }

    [[nodiscard]] constexpr auto after_user(KindSet kinds) const -> FactWords {
        FactWords words = *this;
        words.facts.after_user = kinds;
        return words;
    }

    [[nodiscard]] constexpr auto untold(KindSet kinds) const -> FactWords {
        FactWords words = *this;
        words.facts.untold = kinds;
        return words;
    }

    /// The caller was started by root, and may drop groups outside.
    [[nodiscard]] constexpr auto drops_outside() const -> FactWords {
        FactWords words = *this;
        words.facts.drops_outside = true;
        return words;
    }

    [[nodiscard]] constexpr auto setgroups(nsjoin::detail::Denied denied) const -> FactWords {
        FactWords words = *this;
        words.facts.setgroups = denied;
        return words;
    }

    [[nodiscard]] constexpr auto no_clone3() const -> FactWords {
        FactWords words = *this;
        words.facts.clone3 = false;
        return words;
    }

    [[nodiscard]] constexpr auto no_clear_sighand() const -> FactWords {
        FactWords words = *this;
        words.facts.clear_sighand = false;
        return words;
    }

    [[nodiscard]] constexpr auto into_cgroup() const -> FactWords {
        FactWords words = *this;
        words.facts.into_cgroup = true;
        return words;
    }

    [[nodiscard]] constexpr auto no_vfork() const -> FactWords {
        FactWords words = *this;
        words.facts.vfork = false;
        return words;
    }

    [[nodiscard]] constexpr auto deny_setgroups() const -> FactWords {
        FactWords words = *this;
        words.facts.deny_setgroups = true;
        return words;
    }

    [[nodiscard]] constexpr auto first_of_pids() const -> FactWords {
        FactWords words = *this;
        words.facts.first_of_pids = true;
        return words;
    }

    [[nodiscard]] constexpr auto many_threads() const -> FactWords {
        FactWords words = *this;
        words.facts.many_threads = true;
        return words;
    }

    [[nodiscard]] constexpr auto pending_pid() const -> FactWords {
        FactWords words = *this;
        words.facts.pending_pid = true;
        return words;
    }

    [[nodiscard]] constexpr auto done(StepSet steps) const -> FactWords {
        FactWords words = *this;
        words.facts.done = steps;
        return words;
    }

    Facts facts{};
};

[[nodiscard]] constexpr auto facts() -> FactWords {
    FactWords words;
    words.facts.vfork = true; // whatever the machine is that this is compiled for
    return words;
}

/// A task of an expected schedule, but for its process. A step alone is done by the usual call.
struct Item {
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): a step is what is done
    constexpr Item(Step step) : task{step} {}

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions)
    constexpr Item(Task whole) : task{whole} {}

    Task task;
};

[[nodiscard]] constexpr auto none(Step step) -> Item {
    return Task{step, {}, Call::none};
}

[[nodiscard]] constexpr auto clone3(Step step) -> Item {
    return Task{step, {}, Call::clone3};
}

[[nodiscard]] constexpr auto clone(Step step) -> Item {
    return Task{step, {}, Call::clone};
}

/// Done by the clone that the task before it is.
[[nodiscard]] constexpr auto with_clone(Step step, KindSet kinds = {}) -> Item {
    return Task{step, {}, Call::with_clone, kinds};
}

[[nodiscard]] constexpr auto tell(Step step) -> Item {
    return Task{step, {}, Call::tell};
}

[[nodiscard]] constexpr auto hear(Step step) -> Item {
    return Task{step, {}, Call::hear};
}

/// In the child's directory of /proc.
[[nodiscard]] constexpr auto of_the_child(Step step) -> Item {
    return Task{step, {}, Call::of_the_child};
}

/// By a write to cgroup.procs.
[[nodiscard]] constexpr auto write_procs() -> Item {
    return Task{Step::enter_cgroup, {}, Call::write_procs};
}

[[nodiscard]] constexpr auto unshare(Step step, KindSet kinds) -> Item {
    return Task{step, {}, Call::usual, kinds};
}

/// Joins the kinds by one setns(2) of their target's pidfd.
[[nodiscard]] constexpr auto setns_pidfd(KindSet kinds) -> Item {
    const Kind first = *kinds.begin();
    return Task{join_step(first), {}, Call::setns_pidfd, kinds, Slot::of_plan(first)};
}

/// The same, where the first kind of them is not the first of the enum.
[[nodiscard]] constexpr auto setns_pidfd(Kind first, KindSet kinds) -> Item {
    return Task{join_step(first), {}, Call::setns_pidfd, kinds, Slot::of_plan(first)};
}

/// Joins a kind by the plan's own descriptor of it.
[[nodiscard]] constexpr auto setns_space(Kind kind) -> Item {
    return Task{join_step(kind), {}, Call::setns_space, kind, Slot::of_plan(kind)};
}

/// Joins a kind of a target by a descriptor that was opened of it.
[[nodiscard]] constexpr auto setns_opened(Kind kind) -> Item {
    return Task{join_step(kind), {}, Call::setns_space, kind, Slot::opened(kind)};
}

/// Done again, if it was refused before.
[[nodiscard]] constexpr auto again(Step step) -> Item {
    return Task{step, {}, Call::again};
}

/// The first of two tries.
[[nodiscard]] constexpr auto may_wait(Item item) -> Item {
    item.task.may_wait = true;
    return item;
}

/// Tasks of one process in a row.
struct Part {
    std::array<Task, 24> tasks{};
    std::size_t count = 0;
};

template <typename... Items>
[[nodiscard]] constexpr auto part(Process process, Items... items) -> Part {
    Part result;
    for (Item item : {Item{items}...}) {
        item.task.process = process;
        result.tasks[result.count++] = item.task;
    }
    return result;
}

template <typename... Items>
[[nodiscard]] constexpr auto caller(Items... items) -> Part {
    return part(Process::caller, items...);
}

template <typename... Items>
[[nodiscard]] constexpr auto opener(Items... items) -> Part {
    return part(Process::opener, items...);
}

template <typename... Items>
[[nodiscard]] constexpr auto joiner(Items... items) -> Part {
    return part(Process::joiner, items...);
}

template <typename... Items>
[[nodiscard]] constexpr auto child(Items... items) -> Part {
    return part(Process::child, items...);
}

inline constexpr std::size_t nowhere = ~std::size_t{0};

/// The place of the first task that is not as expected, or nowhere.
template <typename... Parts>
[[nodiscard]] constexpr auto differs_at(PlanWords plan, FactWords known, Parts... parts)
    -> std::size_t {
    const auto made = nsjoin::detail::schedule(plan.outline, known.facts);
    std::size_t place = 0;
    for (const Part& expected : {parts...}) {
        for (std::size_t i = 0; i < expected.count; ++i, ++place) {
            if (place >= made.count || !(made.tasks()[place] == expected.tasks[i])) {
                return place;
            }
        }
    }
    return place == made.count && made.refused == nsjoin::Reason::system ? nowhere : place;
}

} // namespace words

#endif // NSJOIN_TESTS_SCHEDULE_WORDS_HPP
