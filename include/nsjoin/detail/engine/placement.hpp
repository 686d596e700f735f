// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_PLACEMENT_HPP
#define NSJOIN_DETAIL_ENGINE_PLACEMENT_HPP

#include <nsjoin/detail/engine/schedule.hpp>

#include <cstddef>

namespace nsjoin::inline v0_1::detail {

/// What puts a task where it is: a constraint, and the place of the other task that it is about.
struct Placement {
    const Constraint* constraint = nullptr; ///< null: none between tasks that the schedule has
    std::size_t other = 0;
};

/// Whether the task does that step, of a kind of its own or by itself.
[[nodiscard]] constexpr auto does(const Task& task, Step step) noexcept -> bool {
    for (const Kind kind : task.kinds) {
        if (step == (is_join(task.step) ? join_step(kind) : create_step(kind))) {
            return true;
        }
    }
    return task.kinds.empty() && task.step == step;
}

/// The constraint that holds in the schedule and puts the one task before the other; null if there
/// is none.
[[nodiscard]] constexpr auto constraint_between(const Schedule& schedule, const Task& before,
                                                const Task& after) noexcept -> const Constraint* {
    for (const Constraint& c : constraints) {
        if (holds(c.when, circumstances(schedule.roles)) && does(before, c.before) &&
            does(after, c.after)) {
            return &c;
        }
    }
    return nullptr;
}

/// What puts the task there: the constraint with the nearest task before it, or else with the
/// nearest after it; that the plan is checked before everything comes last.
[[nodiscard]] constexpr auto placement_of(const Schedule& schedule, std::size_t place) noexcept
    -> Placement {
    const auto tasks = schedule.tasks();
    for (std::size_t other = place; other-- > 1;) {
        if (const auto* c = constraint_between(schedule, tasks[other], tasks[place])) {
            return {c, other};
        }
    }
    for (std::size_t other = place + 1; other < tasks.size(); ++other) {
        if (const auto* c = constraint_between(schedule, tasks[place], tasks[other])) {
            return {c, other};
        }
    }
    return {constraint_between(schedule, tasks[0], tasks[place]), 0};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_PLACEMENT_HPP
