// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_POSSIBLE_HPP
#define NSJOIN_PLAN_POSSIBLE_HPP

#include <nsjoin/detail/kernel/clone.hpp>
#include <nsjoin/plan/checked.hpp>
#include <nsjoin/step.hpp>

#include <cstddef>
#include <utility>

namespace nsjoin::inline v0_1::detail {

/// What a JoinPlan remembers in its type, beside the kinds: one bit a thing that was said.
enum Said : unsigned { // NOLINT(*-use-enum-class): bits of a template parameter
    said_ids = 1U << 0U,
    said_console = 1U << 1U,
    said_root = 1U << 2U,
    said_directory = 1U << 3U,
    said_cgroup = 1U << 4U,
    said_oom = 1U << 5U,
    said_name = 1U << 6U,
    said_death = 1U << 7U,
    said_deadline = 1U << 8U,
    said_parent = 1U << 9U,
    said_maps = 1U << 10U,
    said_offsets = 1U << 11U,
    said_propagation = 1U << 13U,
    said_keyring = 1U << 14U,
    said_apart = 1U << 12U, ///< user and pid namespaces are joined, by calls of their own
    said_host_name = 1U << 15U,
    said_domain_name = 1U << 16U,
    said_loopback = 1U << 17U,
    said_new_root = 1U << 18U,
    said_proc = 1U << 19U,
    said_umask = 1U << 20U,
    said_cpus = 1U << 21U,
    said_priority = 1U << 22U,
    said_capabilities = 1U << 23U,
    said_no_new_privileges = 1U << 24U,
    said_filter = 1U << 25U,
    said_inside = 1U << 26U,
    said_last = 1U << 27U,
};

/// What the plans can have that a function is compiled for, so that it leaves out the rest. Its
/// members are public, as it is a template argument.
struct Possible {
    StepSet steps;
    bool ids = true; ///< the plan says which ids the child takes
};

/// What the plans of a JoinPlan's type can have. `vfork`: a process can run on the caller's memory.
[[nodiscard]] constexpr auto possible(KindSet joined, KindSet created, unsigned said,
                                      bool vfork = has_vfork) noexcept -> Possible {
    const auto says = [said](unsigned what) {
        return (said & what) != 0;
    };
    StepSet steps = Step::check_plan | Step::open_target | Step::make_channel | Step::make_joiner |
                    Step::make_child | Step::clear_dumpable | Step::new_session |
                    Step::clear_inheritable | Step::report;
    const auto add = [&steps](bool can, StepSet more) {
        steps = can ? steps | more : steps;
    };
    for (const Kind kind : joined) {
        add(true, join_step(kind));
    }
    const bool user = (joined | created).contains(Kind::user);
    const bool time = created.contains(Kind::time);
    const bool own_files = says(said_maps) || says(said_oom) || time;
    add(!created.empty(), Step::create_net);
    add(created.contains(Kind::mount), Step::set_propagation);
    add(user || says(said_keyring), Step::new_session_keyring);
    add(user && !created.empty(), Step::become_root);
    add(user || says(said_ids),
        Step::set_groups | Step::set_gid | Step::set_uid | Step::verify_ids);
    add(own_files, Step::open_proc);
    // For these the joiner has memory of its own.
    const bool seen = says(said_apart) || !created.empty(); // may be, by the user namespace's
    const bool exposed = says(said_cgroup) || (joined.contains(Kind::user) && seen);
    add(own_files || joined.contains(Kind::time) || says(said_deadline) || exposed || !vfork,
        Step::await_maps | Step::pin_caller);
    add(says(said_maps), Step::write_uid_map | Step::write_setgroups | Step::write_gid_map);
    add(time, Step::open_time_offsets | Step::write_time_offsets | Step::enter_time);
    add(says(said_console), Step::check_console | Step::set_console);
    add(says(said_root), Step::set_root);
    add(says(said_directory), Step::set_working_directory);
    add(says(said_cgroup), Step::open_cgroup | Step::enter_cgroup);
    add(says(said_oom), Step::set_oom_score_adj);
    add(says(said_name), Step::set_name);
    add(says(said_death), Step::set_death_signal | Step::pin_caller);
    add(says(said_host_name), Step::set_host_name);
    add(says(said_domain_name), Step::set_domain_name);
    add(says(said_loopback), Step::bring_up_loopback);
    add(says(said_new_root), Step::pivot_root | Step::detach_old_root);
    add(says(said_proc), Step::mount_proc);
    add(says(said_umask), Step::set_umask);
    add(says(said_cpus), Step::set_cpu_affinity);
    add(says(said_priority), Step::set_priority);
    add(says(said_filter), Step::install_filter);
    add(says(said_inside), Step::call_inside);
    add(says(said_last), Step::call_last);
    add(says(said_capabilities), Step::limit_capabilities | Step::set_capabilities);
    return {steps, says(said_ids)};
}

/// For plans that may say anything.
[[nodiscard]] consteval auto anything() noexcept -> Possible {
    Possible all;
    for (std::size_t i = 0; i < plan_step_count; ++i) {
        all.steps.set(static_cast<Step>(i));
    }
    return all;
}

struct PlanAccess {
    [[nodiscard]] static auto plan(Draft draft) noexcept -> Plan { return Plan{std::move(draft)}; }
};

} // namespace nsjoin::detail

#endif // NSJOIN_PLAN_POSSIBLE_HPP
