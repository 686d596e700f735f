// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_STEP_HPP
#define NSJOIN_STEP_HPP

#include <nsjoin/detail/kernel/step_texts.hpp>
#include <nsjoin/kind.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nsjoin::inline v0_1 {

/// One kind of thing that the library does. The first part are the steps of a plan, which order.hpp
/// puts in order; the rest are what a handle does on its own. An Error names the step that failed.
enum class Step : std::uint16_t { // with a Reason four bytes, so that no Error has a gap
    check_plan,
    open_proc,
    open_target,
    check_console,
    open_cgroup,
    pin_caller,
    make_channel,
    make_opener,
    make_joiner,
    enter_cgroup,
    set_oom_score_adj,
    set_priority,
    open_time_offsets,
    clear_dumpable,
    drop_groups,
    join_user,
    join_mount,
    join_pid,
    join_net,
    join_ipc,
    join_uts,
    join_cgroup,
    join_time,
    make_child,
    create_user,
    create_pid,
    write_uid_map,
    write_setgroups,
    write_gid_map,
    await_maps,
    become_root,
    create_net,
    create_ipc,
    create_uts,
    create_cgroup,
    create_mount,
    create_time,
    write_time_offsets,
    enter_time,
    set_propagation,
    set_host_name,
    set_domain_name,
    bring_up_loopback,
    open_mount_sources,
    take_mount_sources,
    call_inside,
    own_descriptors,
    new_session,
    set_console,
    set_root,
    pivot_root,
    mount_proc,
    detach_old_root,
    set_working_directory,
    set_name,
    set_umask,
    set_cpu_affinity,
    clear_inheritable,
    limit_capabilities,
    set_groups,
    set_gid,
    set_uid,
    verify_ids,
    new_session_keyring,
    set_capabilities,
    set_no_new_privileges,
    set_death_signal,
    call_last,
    report,
    offer_errors,
    pass_descriptors,
    set_limits,
    set_signals,
    install_filter,
    execute,

    open_pidfd,
    send_signal,
    wait,
    open_namespace,
    read_namespace,
    pin_namespace,
    unpin_namespace,
    make_pipe,
    duplicate,
    read,
    write,
    send_descriptor,
    receive_descriptor,
    open_pty,
    open_peer,
    terminal_mode,
    window_size,
    read_credentials,
    read_subordinate_ids,
    read_bootstrap,
    seal_executable,
    start_program,
    join_here,
    go_back,
};

/// How many steps a plan can have: those from check_plan to execute.
inline constexpr std::size_t plan_step_count = static_cast<std::size_t>(Step::execute) + 1;

/// Which process does a step.
enum class Actor : std::uint8_t {
    caller, ///< the process that calls the library
    first,  ///< the joiner; where none is needed, the child
    child,  ///< the child
    opener, ///< the process that opens the mount sources
};

/// What is known of a step beside its place in the order.
struct StepFacts {
    Step step;
    Actor actor;
    std::string_view name;   ///< as errors and explanations print it
    std::string_view system; ///< the system call behind it
};

namespace detail {

/// The text with that number, from 0.
[[nodiscard]] constexpr auto text_of(const char* texts, Step step) noexcept -> std::string_view {
    for (auto number = static_cast<unsigned>(step); number != 0; --number) {
        texts += std::string_view{texts}.size() + 1; // NOLINT(*-pointer-arithmetic)
    }
    return texts;
}

/// Which process does a step, by where it stands in the enum.
[[nodiscard]] constexpr auto actor_of(Step step) noexcept -> Actor {
    const bool by_caller = step <= Step::make_joiner || step > Step::execute ||
                           (step >= Step::write_uid_map && step <= Step::write_gid_map);
    return by_caller                          ? Actor::caller
           : step <= Step::create_pid         ? Actor::first
           : step == Step::open_mount_sources ? Actor::opener
                                              : Actor::child;
}

} // namespace detail

/// What is known of a step.
[[nodiscard]] constexpr auto facts(Step step) noexcept -> StepFacts {
    return {step, detail::actor_of(step), detail::text_of(detail::step_names, step),
            detail::text_of(detail::step_systems, step)};
}

/// All steps, one row each: to walk through, or by the step's number.
class StepTable {
  public:
    class Iterator {
      public:
        constexpr explicit Iterator(std::size_t number) noexcept : number_{number} {}

        [[nodiscard]] constexpr auto operator*() const noexcept -> StepFacts {
            return facts(static_cast<Step>(number_));
        }

        constexpr auto operator++() noexcept -> Iterator& {
            ++number_;
            return *this;
        }

        [[nodiscard]] friend constexpr auto operator==(Iterator, Iterator) noexcept
            -> bool = default;

      private:
        std::size_t number_;
    };

    [[nodiscard]] static constexpr auto size() noexcept -> std::size_t {
        return static_cast<std::size_t>(Step::go_back) + 1;
    }

    [[nodiscard]] constexpr auto operator[](std::size_t number) const noexcept -> StepFacts {
        return facts(static_cast<Step>(number));
    }

    [[nodiscard]] static constexpr auto begin() noexcept -> Iterator { return Iterator{0}; }

    [[nodiscard]] static constexpr auto end() noexcept -> Iterator { return Iterator{size()}; }
};

inline constexpr StepTable step_table{};

namespace detail {

__extension__ using StepBits = unsigned __int128; ///< a bit for each step of a plan

} // namespace detail

/// A set of a plan's steps: a value, usable in constant expressions and as a template argument.
class StepSet {
  public:
    constexpr StepSet() noexcept = default;

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): a step is a set of one
    constexpr StepSet(Step step) noexcept
        : bits{detail::StepBits{1} << static_cast<unsigned>(step)} {}

    [[nodiscard]] constexpr auto contains(Step step) const noexcept -> bool {
        return (bits >> static_cast<unsigned>(step) & 1U) != 0;
    }

    /// Puts the step in, or takes it out.
    constexpr void set(Step step, bool is_in = true) noexcept {
        bits = is_in ? bits | StepSet{step}.bits : bits & ~StepSet{step}.bits;
    }

    [[nodiscard]] friend constexpr auto operator|(StepSet a, StepSet b) noexcept -> StepSet {
        a.bits |= b.bits;
        return a;
    }

    [[nodiscard]] friend constexpr auto operator==(StepSet, StepSet) noexcept -> bool = default;

    detail::StepBits bits = 0; ///< public, as a template argument demands it
};

static_assert(plan_step_count <= 128);

[[nodiscard]] constexpr auto operator|(Step a, Step b) noexcept -> StepSet {
    return StepSet{a} | StepSet{b};
}

/// The step that joins a kind.
[[nodiscard]] constexpr auto join_step(Kind kind) noexcept -> Step {
    return static_cast<Step>(static_cast<unsigned>(Step::join_user) + static_cast<unsigned>(kind));
}

/// Whether the step joins a kind.
[[nodiscard]] constexpr auto is_join(Step step) noexcept -> bool {
    return step >= Step::join_user && step <= Step::join_time;
}

/// The kind that such a step joins.
[[nodiscard]] constexpr auto join_kind(Step step) noexcept -> Kind {
    return static_cast<Kind>(static_cast<unsigned>(step) - static_cast<unsigned>(Step::join_user));
}

/// The step that creates a kind.
[[nodiscard]] constexpr auto create_step(Kind kind) noexcept -> Step {
    constexpr std::array<Step, kind_count> steps{
        Step::create_user, Step::create_mount, Step::create_pid,    Step::create_net,
        Step::create_ipc,  Step::create_uts,   Step::create_cgroup, Step::create_time};
    return steps[static_cast<std::size_t>(kind)];
}

/// Whether the step creates a kind.
[[nodiscard]] constexpr auto is_create(Step step) noexcept -> bool {
    return step == Step::create_user || step == Step::create_pid ||
           (step >= Step::create_net && step <= Step::create_time);
}

} // namespace nsjoin

#endif // NSJOIN_STEP_HPP
