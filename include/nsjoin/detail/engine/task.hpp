// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_TASK_HPP
#define NSJOIN_DETAIL_ENGINE_TASK_HPP

#include <nsjoin/detail/engine/roles.hpp>
#include <nsjoin/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

// What a schedule is made of: processes, and the tasks of each, in their order.

namespace nsjoin::inline v0_1::detail {

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
    again,        ///< as usual, if it was refused before
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
    /// It is not known whether the rights are there: EPERM means that the kinds are joined by a
    /// later task, when the user namespace is; EACCES that the working directory is changed by a
    /// later one, when the last ids are taken.
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
    static constexpr std::size_t capacity = plan_step_count + kind_count + 6;

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

    /// Whether a clone places the first process into the plan's first cgroup.
    [[nodiscard]] constexpr auto born_in_cgroup() const noexcept -> bool {
        for (const Task& task : tasks()) {
            if (task.step == Step::enter_cgroup && task.call == Call::with_clone) {
                return true;
            }
        }
        return false;
    }

    constexpr void add(const Task& task) noexcept { list[count++] = task; }
};

static_assert(std::is_trivially_copyable_v<Schedule>);

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_TASK_HPP
