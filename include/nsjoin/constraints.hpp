// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONSTRAINTS_HPP
#define NSJOIN_CONSTRAINTS_HPP

#include <nsjoin/constraints/constraint.hpp>
#include <nsjoin/constraints/inside.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nsjoin::inline v0_1 {

namespace detail {

inline constexpr std::array written_constraints{
    Constraint{Step::open_target, Step::make_joiner, why_pinned},
    Constraint{Step::open_target, Step::make_child, why_pinned},
    Constraint{Step::check_console, Step::make_joiner, why_terminal_outside},
    Constraint{Step::check_console, Step::make_child, why_terminal_outside},
    Constraint{Step::open_cgroup, Step::make_joiner, why_cgroup_outside},
    Constraint{Step::open_cgroup, Step::make_child, why_cgroup_outside},
    Constraint{Step::make_channel, Step::make_joiner, why_inherited},
    Constraint{Step::make_channel, Step::make_child, why_inherited},
    Constraint{Step::pin_caller, Step::make_joiner, why_pinned_caller},
    Constraint{Step::pin_caller, Step::make_child, why_pinned_caller},
    Constraint{Step::open_proc, Step::make_opener,
               "it finds the child's mount namespace through it"},
    Constraint{Step::make_opener, Step::make_joiner, why_opener_outside},
    Constraint{Step::make_opener, Step::make_child, why_opener_outside},
    Constraint{Step::make_joiner, Step::enter_cgroup, why_not_the_caller},
    Constraint{Step::make_joiner, Step::set_oom_score_adj, why_not_the_caller},
    Constraint{Step::make_joiner,
               Step::open_time_offsets,
               "the file is that of the process that creates the time namespace",
               {5, 6}},
    Constraint{Step::enter_cgroup,
               Step::join_user,
               "moving a process needs rights over the cgroup outside",
               {5, 7}},
    Constraint{Step::enter_cgroup,
               Step::join_cgroup,
               "a cgroup outside the joined cgroup namespace could not be entered from inside",
               {4, 6}},
    Constraint{Step::enter_cgroup,
               Step::make_child,
               "the child is born in the cgroup",
               {3, 8},
               When::joiner_first},
    Constraint{Step::set_oom_score_adj,
               Step::clear_dumpable,
               "/proc/self of a process that is not dumpable belongs to root",
               {3, 8},
               When::own_memory | When::oom_by_first},
    Constraint{Step::set_oom_score_adj,
               Step::create_user,
               "lowering it needs CAP_SYS_RESOURCE in the initial user namespace",
               {3, 8},
               When::oom_by_first},
    Constraint{Step::set_oom_score_adj,
               Step::join_user,
               "lowering it needs CAP_SYS_RESOURCE in the initial user namespace",
               {3, 8},
               When::oom_by_first},
    Constraint{Step::open_time_offsets,
               Step::clear_dumpable,
               "/proc/self of a process that is not dumpable belongs to root",
               {5, 6},
               When::own_memory | When::offsets_by_first},
    Constraint{Step::open_time_offsets,
               Step::become_root,
               "a change of ids clears the dumpable flag, and /proc/self belongs to root then",
               {5, 6},
               When::offsets_by_first},
    Constraint{Step::make_joiner,
               Step::clear_dumpable,
               why_not_the_caller,
               {3, 8},
               When::own_memory | When::joiner_first},
    Constraint{Step::make_child,
               Step::clear_dumpable,
               why_not_the_caller,
               {3, 8},
               When::own_memory | When::child_first},
    Constraint{
        Step::clear_dumpable, Step::make_joiner, why_callers_flag, {3, 8}, When::callers_memory},
    Constraint{
        Step::clear_dumpable, Step::make_child, why_callers_flag, {3, 8}, When::callers_memory},
    Constraint{Step::join_pid,
               Step::make_child,
               "a joined pid namespace takes only children",
               {3, 8},
               When::joiner_first},
    Constraint{Step::join_user, Step::make_child, why_born_inside, {3, 8}, When::joiner_first},
    Constraint{Step::join_mount, Step::make_child, why_born_inside, {3, 8}, When::joiner_first},
    Constraint{Step::make_child, Step::enter_cgroup, why_not_the_caller, {3, 8}, When::child_first},
    Constraint{Step::make_child,
               Step::set_oom_score_adj,
               why_not_the_caller,
               {3, 8},
               When::child_first | When::oom_by_first},
    Constraint{
        Step::make_child,
        Step::set_oom_score_adj,
        "in the new user namespace that it is born in, the child could not lower it any more",
        {3, 8},
        When::oom_by_caller},
    Constraint{Step::set_oom_score_adj,
               Step::await_maps,
               "the child goes on when it is set",
               {3, 8},
               When::oom_by_caller},
    Constraint{Step::make_child,
               Step::open_time_offsets,
               why_not_the_caller,
               {5, 6},
               When::child_first | When::offsets_by_first},
    Constraint{Step::make_child,
               Step::open_time_offsets,
               "the file is the child's, who is not dumpable and can't open it",
               {5, 6},
               When::offsets_by_caller},
    Constraint{Step::open_time_offsets,
               Step::await_maps,
               "the child gets the file with the caller's word",
               {5, 6},
               When::offsets_by_caller},
    Constraint{Step::join_user, Step::create_time, why_refused_first, {5, 6}, When::time_by_first},
    Constraint{Step::join_mount, Step::create_time, why_refused_first, {5, 6}, When::time_by_first},
    Constraint{
        Step::create_time, Step::make_child, "it takes only children", {5, 6}, When::time_by_first},
    Constraint{Step::write_time_offsets,
               Step::make_child,
               "the first process in a time namespace fixes its offsets",
               {5, 6},
               When::time_by_first},
    Constraint{Step::make_child, Step::create_user,
               "a user namespace is made for the child, by the same call"},
    Constraint{Step::create_user, Step::create_pid, why_owned},
    Constraint{Step::make_child, Step::create_pid,
               "a new pid namespace is made for the child, by the same call"},
    Constraint{Step::create_user, Step::write_uid_map, "the maps are those of the new namespace"},
    Constraint{Step::write_uid_map, Step::write_setgroups,
               "both come before the gid map, in the order of user_namespaces(7)"},
    Constraint{Step::write_setgroups,
               Step::write_gid_map,
               "without CAP_SETGID outside, a gid map is taken only after setgroups is denied "
               "(CVE-2014-8989)",
               {3, 19}},
    Constraint{Step::write_gid_map, Step::await_maps, "the child goes on when both maps are there"},
    Constraint{Step::make_child, Step::await_maps,
               "while it waits, the caller pins it and writes what only it can write"},
    Constraint{Step::await_maps, Step::become_root, "an id that is not mapped can't be taken"},
    Constraint{Step::make_child, Step::become_root,
               "the child takes ids, the caller keeps its own"},
    Constraint{Step::make_child, Step::create_net, why_for_the_child},
    Constraint{Step::make_child, Step::create_ipc, why_for_the_child},
    Constraint{Step::make_child, Step::create_uts, why_for_the_child},
    Constraint{Step::make_child, Step::create_cgroup, why_for_the_child},
    Constraint{Step::make_child, Step::create_mount, why_for_the_child},
    Constraint{Step::create_user, Step::create_net, why_owned},
    Constraint{Step::create_user, Step::create_ipc, why_owned},
    Constraint{Step::create_user, Step::create_uts, why_owned},
    Constraint{Step::create_user, Step::create_cgroup, why_owned},
    Constraint{Step::create_user, Step::create_mount, why_owned},
    Constraint{Step::create_user, Step::create_time, why_owned, {3, 8}, When::time_by_child},
    Constraint{Step::become_root, Step::create_net, why_ids_first},
    Constraint{Step::become_root, Step::create_ipc, why_ids_first},
    Constraint{Step::become_root, Step::create_uts, why_ids_first},
    Constraint{Step::become_root, Step::create_cgroup, why_ids_first},
    Constraint{Step::become_root, Step::create_mount, why_ids_first},
    Constraint{Step::become_root, Step::create_time, why_ids_first, {3, 8}, When::time_by_child},
    Constraint{Step::enter_cgroup, Step::create_cgroup, why_cgroup_root, {4, 6}},
    Constraint{Step::create_time,
               Step::write_time_offsets,
               "the offsets are those of the new namespace",
               {5, 6}},
    Constraint{Step::open_time_offsets,
               Step::write_time_offsets,
               "they are written through a descriptor of the host's /proc",
               {5, 6}},
    Constraint{Step::write_time_offsets,
               Step::enter_time,
               "the first process in a time namespace fixes its offsets",
               {5, 6}},
    Constraint{Step::create_time,
               Step::enter_time,
               "unshare makes a time namespace only for later children",
               {5, 6}},
    Constraint{Step::create_pid, Step::set_groups, why_privileged},
    Constraint{Step::create_net, Step::set_groups, why_privileged},
    Constraint{Step::create_ipc, Step::set_groups, why_privileged},
    Constraint{Step::create_uts, Step::set_groups, why_privileged},
    Constraint{Step::create_cgroup, Step::set_groups, why_privileged},
    Constraint{Step::create_mount, Step::set_propagation,
               "the new namespace has copies of the mounts, with the propagation of the old ones"},
    Constraint{Step::set_propagation, Step::open_mount_sources,
               "no mount of the child's shows outside of its namespace"},
    Constraint{Step::set_propagation, Step::take_mount_sources,
               "no mount of the child's shows outside of its namespace"},
    Constraint{Step::set_propagation, Step::set_root,
               "it is said of the root that the mount namespace came with"},
    Constraint{Step::set_propagation, Step::set_groups, why_privileged},
    Constraint{Step::set_propagation, Step::new_session, "the namespaces are complete first"},
    Constraint{Step::create_mount, Step::take_mount_sources,
               "they are opened inside the new mount namespace"},
    Constraint{Step::create_mount, Step::open_mount_sources,
               "they are opened inside the new mount namespace"},
    Constraint{Step::make_opener, Step::open_mount_sources,
               "it opens them with the rights that it was made with"},
    Constraint{Step::open_mount_sources, Step::take_mount_sources, "each is sent when it is open"},
    Constraint{Step::take_mount_sources, Step::set_root,
               "their paths are those of the root that the mount namespace came with"},
    Constraint{Step::make_child, Step::own_descriptors, "the caller keeps its table as it is"},
    Constraint{Step::enter_cgroup, Step::own_descriptors, why_closes},
    Constraint{Step::join_user, Step::own_descriptors, why_closes},
    Constraint{Step::join_mount, Step::own_descriptors, why_closes},
    Constraint{Step::own_descriptors, Step::set_console, why_shared_table},
    Constraint{Step::own_descriptors, Step::pass_descriptors, why_shared_table},
    Constraint{Step::enter_time, Step::new_session, "the namespaces are complete first"},
    Constraint{Step::create_mount, Step::new_session, "the namespaces are complete first"},
    Constraint{Step::make_child, Step::new_session, "only the child leaves the caller's session"},
    Constraint{Step::new_session, Step::set_console,
               "only a session's leader without a terminal can take one (CVE-2017-5226)"},
    Constraint{Step::set_working_directory, Step::set_console,
               "the console takes 0, 1 and 2, which a directory of the plan may be"},
    Constraint{Step::set_root, Step::set_working_directory,
               "the working directory must be inside the root (CVE-2024-21626)"},
    Constraint{Step::set_root, Step::set_groups, why_privileged},
    Constraint{Step::set_working_directory, Step::set_groups, why_privileged},
    Constraint{Step::set_console, Step::set_groups, why_privileged},
    Constraint{Step::make_child, Step::set_name, "the name is the child's alone"},
    Constraint{Step::make_child, Step::clear_inheritable,
               "the caller keeps its inheritable capabilities"},
    Constraint{Step::set_name, Step::set_groups, "the name tells what goes on"},
    Constraint{Step::clear_inheritable, Step::set_groups,
               "no inheritable capability reaches what the child executes (CVE-2022-29162)"},
    Constraint{Step::make_joiner, Step::drop_groups, why_not_the_caller},
    Constraint{Step::make_child, Step::drop_groups, why_not_the_caller, {3, 8}, When::child_first},
    Constraint{Step::set_groups, Step::set_gid, why_privileged},
    Constraint{Step::set_gid, Step::set_uid, why_privileged},
    Constraint{Step::set_uid, Step::verify_ids, "an id that was not taken must not go unnoticed"},
    Constraint{Step::verify_ids, Step::new_session_keyring,
               "the keyring belongs to the ids that the child has at last"},
    Constraint{Step::make_child, Step::new_session_keyring, "the caller keeps its own"},
    Constraint{Step::new_session_keyring, Step::report,
               "the child returns only when everything is done"},
    Constraint{Step::set_uid, Step::set_death_signal, "a change of ids clears the death signal"},
    Constraint{Step::set_death_signal, Step::report,
               "a caller that died before shows as a closed channel"},
    Constraint{Step::verify_ids, Step::report, "the child returns only when everything is done"},
    Constraint{Step::report, Step::offer_errors,
               "the report has the channel first, the pipe's end comes through it then"},
    Constraint{Step::offer_errors, Step::pass_descriptors,
               "its end is kept out of the way of those that are passed"},
    Constraint{Step::report, Step::pass_descriptors, why_program_last},
    Constraint{Step::pass_descriptors, Step::set_limits,
               "a lower limit of descriptors would forbid to place them"},
    Constraint{Step::set_limits, Step::set_signals,
               "no signal ends the program before it has all that the command says"},
    Constraint{Step::set_signals, Step::execute,
               "the program starts with the signals that the command says"},
};

/// What is so for each kind, and for each step of a command.
[[nodiscard]] consteval auto repeated_constraints() noexcept {
    std::array<Constraint, 4 * kind_count + 4 * (kind_count - 1) + kind_count - 2 + 4 + 8> result{};
    std::size_t next = 0;
    const auto add = [&](Step before, Step after, const char* why, When when = When::always) {
        result[next++] = {before, after, why, {3, 8}, when};
    };
    for (const KindFacts& row : kind_table) {
        const Step join = join_step(row.kind);
        add(Step::make_joiner, join, why_not_the_caller);
        add(Step::make_child, join, why_not_the_caller, When::child_first);
        add(Step::clear_dumpable, join, why_not_dumpable);
        add(Step::drop_groups, join, why_groups_outside);
        if (row.kind == Kind::user) {
            continue;
        }
        add(Step::join_user, join, "the rights over it come with the joined user namespace",
            When::rights_granted);
        add(join, Step::join_user,
            "the rights over it are lost with the user namespace that is left", When::rights_taken);
        add(Step::join_user, create_step(row.kind), why_refused_first, When::child_first);
        add(Step::join_mount, create_step(row.kind), why_refused_first, When::child_first);
        if (row.kind != Kind::mount) {
            add(join, Step::join_mount, why_mount_last, When::mount_alone);
        }
    }
    for (const Step step :
         {Step::open_proc, Step::open_target, Step::check_console, Step::open_cgroup,
          Step::pin_caller, Step::make_channel, Step::make_opener, Step::clear_dumpable}) {
        add(Step::check_plan, step, why_checked_first);
    }
    for (const Step step :
         {Step::pass_descriptors, Step::set_limits, Step::set_signals, Step::execute}) {
        add(Step::make_child, step, "it is for the program that the child becomes");
    }
    return result;
}

[[nodiscard]] consteval auto all_constraints() noexcept {
    constexpr auto repeated = repeated_constraints();
    std::array<Constraint, written_constraints.size() + inside_constraints.size() + repeated.size()>
        result{};
    std::size_t next = 0;
    for (const Constraint& c : written_constraints) {
        result[next++] = c;
    }
    for (const Constraint& c : inside_constraints) {
        result[next++] = c;
    }
    for (const Constraint& c : repeated) {
        result[next++] = c;
    }
    return result;
}

} // namespace detail

/// All constraints. From these, and nothing else, comes the order of what is done.
inline constexpr auto constraints = detail::all_constraints();

} // namespace nsjoin

#endif // NSJOIN_CONSTRAINTS_HPP
