// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_PERFORM_HPP
#define NSJOIN_DETAIL_ENGINE_PERFORM_HPP

#include <nsjoin/detail/engine/caller_steps.hpp>
#include <nsjoin/detail/engine/inside_steps.hpp>
#include <nsjoin/detail/engine/mount_sources.hpp>

// One function that performs a task, whichever process it is in; what only a command has is
// performed by command.hpp, which a program that executes none leaves out.

namespace nsjoin::inline v0_1::detail {

/// What `how` returns if the plans that are compiled for can have the step; else it is left out.
template <bool Can, typename How>
[[nodiscard, gnu::always_inline]] inline auto only_if(const How& how) noexcept -> Result<void> {
    if constexpr (Can) {
        return how();
    } else {
        (void)how;
        return {};
    }
}

/// Whether there is something to check among what a child furnishes.
[[nodiscard]] constexpr auto furnishes(StepSet steps) noexcept -> bool {
    for (const Step step : {Step::set_host_name, Step::set_domain_name, Step::bring_up_loopback,
                            Step::set_root, Step::pivot_root, Step::mount_proc,
                            Step::set_working_directory, Step::set_umask, Step::set_cpu_affinity,
                            Step::set_priority, Step::set_capabilities, Step::install_filter}) {
        if (steps.contains(step)) {
            return true;
        }
    }
    return false;
}

/// What of a plan's values can be wrong that the plans can have which this is compiled for.
template <Possible May>
[[nodiscard]] auto check_plan_of(const Draft& plan) noexcept -> Result<void> {
    constexpr auto can = [](Step step) {
        return May.steps.contains(step);
    };
    constexpr bool borrows = can(Step::set_root) || can(Step::set_working_directory) ||
                             can(Step::set_console) || can(Step::enter_cgroup);
    constexpr bool has_values = May.ids || can(Step::set_oom_score_adj) ||
                                can(Step::set_death_signal) || can(Step::make_opener) ||
                                can(Step::enter_cgroup) || can(Step::await_maps) ||
                                can(Step::set_propagation);
    Result<void> good = only_if<borrows>([&] { return check_borrowed(plan); });
    good = good ? only_if<has_values>([&] { return check_most_values(plan); }) : good;
    return good ? only_if<furnishes(May.steps)>([&] { return check_furniture(plan); }) : good;
}

/// Performs the task with that place in the schedule, in the process whose it is. `Possible` are
/// the steps that the plans can have which this is compiled for: what they can't have is left out.
// NOLINTNEXTLINE(*-cognitive-complexity,*-function-size): a table
template <Possible May>
[[nodiscard]] auto perform(Attempt& attempt, std::size_t place) noexcept -> Result<void> {
    constexpr auto can = [](Step step) {
        return May.steps.contains(step);
    };
    const Task& task = attempt.schedule.list[place];
    const Draft& plan = attempt.run.plan;
    switch (task.step) {
    case Step::check_plan:
        return check_plan_of<May>(plan);
    case Step::open_proc:
        return only_if<can(Step::open_proc)>([&] { return open_proc_of(attempt.run); });
    case Step::check_console:
        return only_if<can(Step::check_console)>([&] { return check_console(plan.console); });
    case Step::open_cgroup:
        return only_if<can(Step::open_cgroup)>([&] { return open_cgroup(attempt); });
    case Step::pin_caller:
        return only_if<can(Step::pin_caller)>([&] { return pin_caller(attempt); });
    case Step::make_channel:
        return make_channel(attempt);
    case Step::make_opener:
        return only_if<can(Step::make_opener)>([&] { return make_opener(attempt, place); });
    case Step::make_child:
        return attempt.schedule.roles.shares ? attempt.run.perform_command(attempt, place)
                                             : make_child_copy(attempt, place);
    case Step::make_joiner:
        if (attempt.schedule.roles.shares) {
            return attempt.run.perform_command(attempt, place);
        }
        if constexpr (can(Step::await_maps)) { // for which a joiner with memory of its own waits
            if (attempt.schedule.roles.first == Memory::copy) {
                return make_joiner_copy(attempt, place);
            }
        }
        return make_joiner_here(attempt, place);
    case Step::enter_cgroup:
        return only_if<can(Step::enter_cgroup)>([&] { return enter_cgroup(attempt); });
    case Step::set_oom_score_adj:
        return only_if<can(Step::set_oom_score_adj)>(
            [&] { return set_oom_score_adj(attempt, task); });
    case Step::open_time_offsets:
        return only_if<can(Step::open_time_offsets)>([&] {
            return task.call == Call::of_the_child ? open_childs_offsets(attempt)
                                                   : open_own_offsets(attempt);
        });
    case Step::clear_dumpable:
        return clear_dumpable(attempt, task);
    case Step::drop_groups:
        return only_if<can(Step::set_uid)>(
            [&] { return outcome(task.step, call(SYS_setgroups, 0, nullptr)); });
    case Step::write_uid_map:
        return only_if<can(Step::write_uid_map)>(
            [&] { return write_map(task.step, attempt, "uid_map", "newuidmap", plan.maps->uids); });
    case Step::write_setgroups:
        return only_if<can(Step::write_setgroups)>(
            [&] { return write_child_file(task.step, attempt, "setgroups", "deny"); });
    case Step::write_gid_map:
        return only_if<can(Step::write_gid_map)>(
            [&] { return write_map(task.step, attempt, "gid_map", "newgidmap", plan.maps->gids); });
    case Step::await_maps:
        return only_if<can(Step::await_maps)>([&] {
            return task.call == Call::tell ? tell_to_go_on(attempt) : await_caller(attempt);
        });
    case Step::become_root:
        return only_if<can(Step::become_root)>(become_root);
    case Step::create_user:
    case Step::create_pid:
    case Step::create_net:
    case Step::create_ipc:
    case Step::create_uts:
    case Step::create_cgroup:
    case Step::create_mount:
    case Step::create_time:
        return only_if<can(Step::create_net)>([&] { return unshare_kinds(task.kinds); });
    case Step::write_time_offsets:
        return only_if<can(Step::write_time_offsets)>([&] { return write_time_offsets(attempt); });
    case Step::enter_time:
        return only_if<can(Step::enter_time)>([&] { return enter_time(attempt); });
    case Step::open_mount_sources:
        return only_if<can(Step::open_mount_sources)>([&] { return serve_sources(attempt); });
    case Step::take_mount_sources:
        return only_if<can(Step::take_mount_sources)>([&] { return take_sources(attempt); });
    case Step::call_inside:
        return only_if<can(Step::call_inside)>([&] { return call_inside(task.step, plan.inside); });
    case Step::call_last:
        return only_if<can(Step::call_last)>([&] { return call_inside(task.step, plan.last); });
    case Step::set_propagation:
        return only_if<can(Step::set_propagation)>(
            [&] { return set_propagation(plan.propagation); });
    case Step::new_session_keyring:
        return only_if<can(Step::new_session_keyring)>(
            [&] { return start_session_keyring(plan.session_keyring); });
    case Step::new_session:
        return outcome(task.step, call(SYS_setsid));
    case Step::set_console:
        return only_if<can(Step::set_console)>([&] { return take_console(plan.console); });
    case Step::set_root:
        return only_if<can(Step::set_root)>([&] { return set_root(plan); });
    case Step::set_host_name:
        return only_if<can(Step::set_host_name)>(
            [&] { return set_system_name(task.step, SYS_sethostname, plan.host_name); });
    case Step::set_domain_name:
        return only_if<can(Step::set_domain_name)>(
            [&] { return set_system_name(task.step, SYS_setdomainname, plan.domain_name); });
    case Step::bring_up_loopback:
        return only_if<can(Step::bring_up_loopback)>(bring_up_loopback);
    case Step::pivot_root:
        return only_if<can(Step::pivot_root)>([&] { return change_root_mount(*plan.new_root); });
    case Step::mount_proc:
        return only_if<can(Step::mount_proc)>([&] { return mount_proc(*plan.proc); });
    case Step::detach_old_root:
        return only_if<can(Step::detach_old_root)>(detach_old_root);
    case Step::set_umask:
        return only_if<can(Step::set_umask)>(
            [&] { return outcome(task.step, call(SYS_umask, *plan.umask)); });
    case Step::set_cpu_affinity:
        return only_if<can(Step::set_cpu_affinity)>(
            [&] { return set_cpu_affinity(*plan.cpu_affinity); });
    case Step::set_priority:
        return only_if<can(Step::set_priority)>([&] { return set_priority(*plan.priority); });
    case Step::limit_capabilities:
        return only_if<can(Step::limit_capabilities)>([&] { return limit_capabilities(plan); });
    case Step::set_capabilities:
        return only_if<can(Step::set_capabilities)>([&] { return set_capabilities(plan); });
    case Step::install_filter:
        return only_if<can(Step::install_filter)>([&] { return install_filter(*plan.filter); });
    case Step::set_no_new_privileges: // which a command may say too
        return outcome(task.step, call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case Step::set_working_directory:
        return only_if<can(Step::set_working_directory)>(
            [&] { return change_directory(attempt, task); });
    case Step::set_name:
        return only_if<can(Step::set_name)>([&] {
            return outcome(task.step, call(SYS_prctl, PR_SET_NAME, plan.name.c_str(), 0, 0, 0));
        });
    case Step::clear_inheritable:
        return clear_inheritable();
    case Step::set_groups:
    case Step::set_gid:
    case Step::set_uid:
    case Step::verify_ids:
        if (attempt.schedule.roles.becomes_root) {
            return only_if<can(Step::set_uid)>([&] { return take_root_id(attempt, task); });
        }
        return only_if<May.ids>([&] { return take_id(attempt, task); });
    case Step::set_death_signal:
        return only_if<can(Step::set_death_signal)>([&] { return set_death_signal(attempt); });
    case Step::report:
        return task.call == Call::hear ? hear_report(attempt) : report(attempt);
    case Step::own_descriptors:
    case Step::offer_errors:
    case Step::pass_descriptors:
    case Step::set_limits:
    case Step::set_signals:
    case Step::execute:
        return attempt.run.perform_command(attempt, place);
    default:
        return is_join(task.step) ? join(attempt, task) : Result<void>{};
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_PERFORM_HPP
