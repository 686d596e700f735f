// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONSTRAINTS_INSIDE_HPP
#define NSJOIN_CONSTRAINTS_INSIDE_HPP

#include <nsjoin/constraints/constraint.hpp>

#include <array>

// Why the steps by which a child furnishes its namespaces and itself come where they do.

namespace nsjoin::inline v0_1::detail {

inline constexpr const char* why_its_own = "the caller's own stays as it is";
inline constexpr const char* why_there_first = "it is done to the namespace that is there then";
inline constexpr const char* why_paths_of_old_root =
    "the path is that of the root that the mount namespace came with";
inline constexpr const char* why_not_shown =
    "no mount of the child's shows outside of its namespace";
inline constexpr const char* why_may_forbid = "the filter may forbid it";
inline constexpr const char* why_all_done = "the child returns only when everything is done";

inline constexpr const char* why_complete = "the plan's function finds the namespaces complete";
inline constexpr const char* why_after_all = "the plan's last function finds all else done";

inline constexpr std::array inside_constraints{
    Constraint{Step::make_joiner, Step::set_priority, why_not_the_caller},
    Constraint{Step::make_child, Step::set_priority, why_not_the_caller, {3, 8}, When::child_first},
    Constraint{Step::set_priority,
               Step::make_child,
               "the child is born with it",
               {3, 8},
               When::joiner_first},
    Constraint{Step::set_priority, Step::join_user,
               "raising it needs CAP_SYS_NICE in the initial user namespace"},
    Constraint{Step::make_child, Step::set_host_name, why_its_own},
    Constraint{Step::create_uts, Step::set_host_name, why_there_first},
    Constraint{Step::join_uts, Step::set_host_name, why_there_first},
    Constraint{Step::set_host_name, Step::set_groups, why_privileged},
    Constraint{Step::make_child, Step::set_domain_name, why_its_own},
    Constraint{Step::create_uts, Step::set_domain_name, why_there_first},
    Constraint{Step::join_uts, Step::set_domain_name, why_there_first},
    Constraint{Step::set_domain_name, Step::set_groups, why_privileged},
    Constraint{Step::make_child, Step::bring_up_loopback, why_its_own},
    Constraint{Step::create_net, Step::bring_up_loopback, why_there_first},
    Constraint{Step::bring_up_loopback, Step::set_groups, why_privileged},
    Constraint{Step::own_descriptors, Step::bring_up_loopback, why_shared_table},
    Constraint{Step::own_descriptors, Step::pivot_root, why_shared_table},
    Constraint{Step::own_descriptors, Step::set_groups, why_shared_table},
    Constraint{Step::create_mount, Step::pivot_root, why_there_first},
    Constraint{Step::set_propagation, Step::pivot_root, why_not_shown},
    Constraint{Step::take_mount_sources, Step::pivot_root, why_paths_of_old_root},
    Constraint{Step::create_mount, Step::mount_proc, why_there_first},
    Constraint{Step::create_pid, Step::mount_proc, "it shows the pid namespace of who mounts it"},
    Constraint{Step::set_propagation, Step::mount_proc, why_not_shown},
    Constraint{Step::take_mount_sources, Step::mount_proc, why_paths_of_old_root},
    Constraint{Step::set_root, Step::mount_proc, "its path is looked up in the new root"},
    Constraint{Step::pivot_root, Step::mount_proc, "its path is looked up in the new root"},
    Constraint{Step::mount_proc, Step::detach_old_root,
               "in a user namespace the kernel mounts a /proc only where one is seen already"},
    Constraint{Step::mount_proc, Step::set_groups, why_privileged},
    Constraint{Step::pivot_root, Step::detach_old_root, "it lies over the new root until then"},
    Constraint{Step::detach_old_root, Step::set_working_directory,
               "the working directory must be inside the root (CVE-2024-21626)"},
    Constraint{Step::detach_old_root, Step::set_groups, why_privileged},
    Constraint{Step::make_child, Step::set_umask, why_its_own},
    Constraint{Step::set_umask, Step::report, why_all_done},
    Constraint{Step::make_child, Step::set_cpu_affinity, why_its_own},
    Constraint{Step::enter_cgroup, Step::set_cpu_affinity,
               "of the processors, those of the cgroup can be had"},
    Constraint{Step::set_cpu_affinity, Step::report, why_all_done},
    Constraint{Step::make_child, Step::limit_capabilities, why_its_own},
    Constraint{Step::join_user, Step::limit_capabilities,
               "a user namespace that is entered gives all of them"},
    Constraint{Step::create_user, Step::limit_capabilities,
               "a user namespace that is entered gives all of them"},
    Constraint{Step::limit_capabilities, Step::set_groups, why_privileged},
    Constraint{Step::make_child, Step::set_capabilities, why_its_own},
    Constraint{Step::limit_capabilities, Step::set_capabilities,
               "those that are left are compared with what is wanted at last"},
    Constraint{Step::verify_ids, Step::set_capabilities,
               "a change of ids needs some of them, and takes others"},
    Constraint{Step::set_capabilities, Step::set_death_signal,
               "a change of capabilities may clear the death signal"},
    Constraint{Step::set_capabilities, Step::report, why_all_done},
    Constraint{Step::make_child, Step::set_no_new_privileges, why_its_own},
    Constraint{Step::set_no_new_privileges, Step::report, why_all_done},
    Constraint{Step::make_child, Step::install_filter, why_its_own},
    Constraint{Step::set_host_name, Step::install_filter, why_may_forbid},
    Constraint{Step::set_domain_name, Step::install_filter, why_may_forbid},
    Constraint{Step::bring_up_loopback, Step::install_filter, why_may_forbid},
    Constraint{Step::set_root, Step::install_filter, why_may_forbid},
    Constraint{Step::mount_proc, Step::install_filter, why_may_forbid},
    Constraint{Step::detach_old_root, Step::install_filter, why_may_forbid},
    Constraint{Step::set_console, Step::install_filter, why_may_forbid},
    Constraint{Step::limit_capabilities, Step::install_filter, why_may_forbid},
    Constraint{Step::install_filter,
               Step::set_groups,
               "without no_new_privs it needs CAP_SYS_ADMIN, which the ids may take",
               {3, 8},
               When::filter_before_ids},
    Constraint{Step::set_umask, Step::install_filter, why_may_forbid, {3, 8}, When::filter_last},
    Constraint{
        Step::set_cpu_affinity, Step::install_filter, why_may_forbid, {3, 8}, When::filter_last},
    Constraint{
        Step::set_capabilities, Step::install_filter, why_may_forbid, {3, 8}, When::filter_last},
    Constraint{
        Step::new_session_keyring, Step::install_filter, why_may_forbid, {3, 8}, When::filter_last},
    Constraint{
        Step::set_death_signal, Step::install_filter, why_may_forbid, {3, 8}, When::filter_last},
    Constraint{Step::set_no_new_privileges,
               Step::install_filter,
               "with it, it needs no right that the ids took",
               {3, 8},
               When::filter_last},
    Constraint{Step::set_signals,
               Step::install_filter,
               why_may_forbid,
               {3, 8},
               When::filter_last | When::for_program},
    Constraint{Step::install_filter, Step::execute, "the program has it from its first call"},
    Constraint{Step::install_filter, Step::report, why_all_done, {3, 8}, When::for_caller},
    Constraint{Step::install_filter,
               Step::report,
               why_all_done,
               {3, 8},
               When::for_program | When::filter_before_ids},
    Constraint{Step::make_child, Step::call_inside, why_its_own},
    Constraint{Step::enter_time, Step::call_inside, why_complete},
    Constraint{Step::create_net, Step::call_inside, why_complete},
    Constraint{Step::create_ipc, Step::call_inside, why_complete},
    Constraint{Step::create_uts, Step::call_inside, why_complete},
    Constraint{Step::create_cgroup, Step::call_inside, why_complete},
    Constraint{Step::create_mount, Step::call_inside, why_complete},
    Constraint{Step::set_propagation, Step::call_inside, why_complete},
    Constraint{Step::set_host_name, Step::call_inside, why_complete},
    Constraint{Step::set_domain_name, Step::call_inside, why_complete},
    Constraint{Step::bring_up_loopback, Step::call_inside, why_complete},
    Constraint{Step::take_mount_sources, Step::call_inside, why_complete},
    Constraint{Step::call_inside, Step::pivot_root,
               "what it mounts may come from the root that is left"},
    Constraint{Step::call_inside, Step::set_root,
               "what it mounts may come from the root that is left"},
    Constraint{Step::call_inside, Step::limit_capabilities, why_privileged},
    Constraint{Step::call_inside, Step::set_groups, why_privileged},
    Constraint{Step::call_inside, Step::install_filter, why_may_forbid},
    Constraint{Step::call_inside, Step::call_last, why_after_all},
    Constraint{Step::set_working_directory, Step::call_last, why_after_all},
    Constraint{Step::detach_old_root, Step::call_last, why_after_all},
    Constraint{Step::mount_proc, Step::call_last, why_after_all},
    Constraint{Step::set_console, Step::call_last, why_after_all},
    Constraint{Step::set_name, Step::call_last, why_after_all},
    Constraint{Step::set_umask, Step::call_last, why_after_all},
    Constraint{Step::set_cpu_affinity, Step::call_last, why_after_all},
    Constraint{Step::clear_inheritable, Step::call_last, why_after_all},
    Constraint{Step::verify_ids, Step::call_last, why_after_all},
    Constraint{Step::new_session_keyring, Step::call_last, why_after_all},
    Constraint{Step::set_capabilities, Step::call_last, why_after_all},
    Constraint{Step::set_no_new_privileges, Step::call_last, why_after_all},
    Constraint{Step::set_death_signal, Step::call_last, why_after_all},
    Constraint{Step::call_last, Step::install_filter, why_may_forbid, {3, 8}, When::filter_last},
    Constraint{Step::call_last, Step::report, why_all_done},
};

} // namespace nsjoin::detail

#endif // NSJOIN_CONSTRAINTS_INSIDE_HPP
