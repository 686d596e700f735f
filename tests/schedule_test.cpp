// SPDX-License-Identifier: Apache-2.0
#include "schedule_words.hpp"

#include <doctest/doctest.h>

// What is done for which plan: each case is a plan, what the caller knows, and the tasks of each
// process in their order. All of it is checked by the compiler.

namespace {

using namespace words; // NOLINT(*-using-namespace): the words that it is written in
using enum nsjoin::Kind;
using enum nsjoin::Step;

// ── A copy of the caller ─────────────────────────────────────────────────────────────────────────

// Nothing: the child is a copy, and reports.
static_assert(differs_at(plan(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// Other ids: groups and gid before the uid, which takes the rights to both.
static_assert(differs_at(plan().ids(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// A uid alone.
static_assert(differs_at(plan().uid(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Inheritable capabilities are kept only where the plan says so.
static_assert(differs_at(plan().keeps_capabilities(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)), child(report),
                         caller(hear(report))) == nowhere);

// A death signal comes behind the change of ids that would clear it.
static_assert(differs_at(plan().ids().death_signal(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, set_groups, set_gid, set_uid, verify_ids,
                               set_death_signal, report),
                         caller(hear(report))) == nowhere);

// The terminal is verified first, and taken last, as it takes 0, 1 and 2.
static_assert(differs_at(plan().console().root().working_directory().name(), facts(),
                         caller(none(check_plan), check_console, make_channel, clone3(make_child)),
                         child(new_session, set_root, set_working_directory, set_console, set_name,
                               clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// oom_score_adj: the child sets its own.
static_assert(differs_at(plan().oom(), facts(),
                         caller(none(check_plan), open_proc, make_channel, clone3(make_child)),
                         child(set_oom_score_adj, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// A deadline changes nothing of a copy.
static_assert(differs_at(plan().deadline(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// The caller's parent's child: nothing is joined, so the caller stays as it is.
static_assert(differs_at(plan().childs_parent_is_callers(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// ── What a child furnishes ───────────────────────────────────────────────────────────────────────

// Names and the loopback interface, while the rights are there.
static_assert(
    differs_at(
        plan().creates(uts | net).says(set_host_name | set_domain_name | bring_up_loopback).ids(),
        facts(),
        caller(none(check_plan), make_channel, clone3(make_child),
               with_clone(create_net, net | uts)),
        child(set_host_name, set_domain_name, bring_up_loopback, clear_inheritable, set_groups,
              set_gid, set_uid, verify_ids, report),
        caller(hear(report))) == nowhere);

// A program's process opens nothing in the caller's descriptor table.
static_assert(differs_at(plan().program().creates(net).says(own_descriptors | bring_up_loopback),
                         facts(),
                         caller(none(check_plan), clone3(make_child), with_clone(create_net, net)),
                         child(own_descriptors, bring_up_loopback, clear_inheritable, execute)) ==
              nowhere);

// Not to ask whether setgroups is denied either.
static_assert(differs_at(plan().program().lends().joins(net, target(1)).ids(),
                         facts().setgroups(nsjoin::detail::Denied::ask),
                         caller(none(check_plan), open_proc, none(open_target), clear_dumpable,
                                clone3(make_child)),
                         child(setns_pidfd(net), own_descriptors, clear_inheritable, set_groups,
                               set_gid, set_uid, verify_ids, execute)) == nowhere);

// In a user namespace of its own, when the ids are mapped.
static_assert(differs_at(plan().creates(user | net).maps().says(bring_up_loopback), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_gid_map, tell(await_maps)),
                         child(await_maps, become_root, unshare(create_net, net), bring_up_loopback,
                               set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// In a joined UTS namespace, by the child: the joiner has ended.
static_assert(differs_at(plan().joins(pid | uts, target(1)).says(set_host_name), facts(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_pidfd(pid | uts), clone3(make_child)),
                         child(set_host_name, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// The old root is there until /proc is mounted, and gone before the working directory is changed.
static_assert(differs_at(plan()
                             .creates(mount | pid)
                             .propagation()
                             .says(pivot_root | detach_old_root | mount_proc)
                             .working_directory()
                             .console(),
                         facts(),
                         caller(none(check_plan), check_console, make_channel, clone3(make_child),
                                with_clone(create_pid, mount | pid)),
                         child(set_propagation, new_session, pivot_root, mount_proc,
                               detach_old_root, set_working_directory, set_console,
                               clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// A plan's functions: one when the namespaces are complete and the root is still the old one, one
// when all else is done.
static_assert(
    differs_at(plan()
                   .creates(mount | net | uts)
                   .propagation()
                   .says(set_host_name | bring_up_loopback | call_inside | pivot_root |
                         detach_old_root | mount_proc | call_last | limit_capabilities | set_umask)
                   .ids(),
               facts(),
               caller(none(check_plan), make_channel, clone3(make_child),
                      with_clone(create_net, mount | net | uts)),
               child(set_propagation, set_host_name, bring_up_loopback, call_inside, pivot_root,
                     mount_proc, detach_old_root, set_umask, clear_inheritable, limit_capabilities,
                     set_groups, set_gid, set_uid, verify_ids, call_last, report),
               caller(hear(report))) == nowhere);

// In another root directory, whose /proc it is then.
static_assert(differs_at(plan().creates(mount).says(mount_proc).root(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(create_mount, mount)),
                         child(set_root, mount_proc, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// The umask and the processors: in the cgroup, which has some of them.
static_assert(differs_at(plan().cgroup().says(set_umask | set_cpu_affinity), facts(),
                         caller(none(check_plan), open_cgroup, make_channel, clone3(make_child)),
                         child(write_procs(), set_umask, set_cpu_affinity, clear_inheritable,
                               report),
                         caller(hear(report))) == nowhere);

// The priority, by whoever has the caller's rights still.
static_assert(differs_at(plan().says(set_priority), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(set_priority, clear_inheritable, report),
                         caller(hear(report))) == nowhere);
static_assert(differs_at(plan().joins(seven, target(1)).says(set_priority), facts(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(set_priority, setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Capabilities: the bounding set with the rights that the ids take, the others with those ids; no
// rights are given by a program then, and the death signal comes behind all of it.
static_assert(differs_at(plan()
                             .ids()
                             .says(limit_capabilities | set_capabilities | set_no_new_privileges)
                             .death_signal(),
                         facts(), caller(none(check_plan), make_channel, clone3(make_child)),
                         child(limit_capabilities, set_groups, set_gid, set_uid, verify_ids,
                               set_capabilities, set_no_new_privileges, set_death_signal, report),
                         caller(hear(report))) == nowhere);

// The same of a program, on the caller's memory.
static_assert(differs_at(plan().program().ids().says(limit_capabilities | set_capabilities),
                         facts(), caller(none(check_plan), clear_dumpable, clone3(make_child)),
                         child(limit_capabilities, set_groups, set_gid, set_uid, verify_ids,
                               set_capabilities, execute)) == nowhere);

// In a user namespace of its own, which gives all of them.
static_assert(differs_at(plan().creates(user).maps().says(limit_capabilities | set_capabilities),
                         facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_gid_map, tell(await_maps)),
                         child(await_maps, limit_capabilities, set_groups, set_gid, set_uid,
                               verify_ids, set_capabilities, report),
                         caller(hear(report))) == nowhere);

// A filter without no_new_privs: while there is CAP_SYS_ADMIN, and when all else is done for that.
static_assert(
    differs_at(plan().creates(mount | net).says(bring_up_loopback | install_filter).root().ids(),
               facts(),
               caller(none(check_plan), make_channel, clone3(make_child),
                      with_clone(create_net, mount | net)),
               child(bring_up_loopback, set_root, clear_inheritable, install_filter, set_groups,
                     set_gid, set_uid, verify_ids, report),
               caller(hear(report))) == nowhere);

// With it: last of all.
static_assert(
    differs_at(plan().says(install_filter | set_no_new_privileges | set_umask).ids().death_signal(),
               facts(), caller(none(check_plan), make_channel, clone3(make_child)),
               child(set_umask, clear_inheritable, set_groups, set_gid, set_uid, verify_ids,
                     set_no_new_privileges, set_death_signal, install_filter, report),
               caller(hear(report))) == nowhere);
static_assert(differs_at(plan()
                             .program()
                             .descriptors()
                             .says(install_filter | set_no_new_privileges | set_limits)
                             .says(set_signals),
                         facts(), caller(none(check_plan), clone3(make_child)),
                         child(own_descriptors, clear_inheritable, set_no_new_privileges,
                               pass_descriptors, set_limits, set_signals, install_filter,
                               execute)) == nowhere);
static_assert(differs_at(plan().program().deadline().says(install_filter | set_no_new_privileges),
                         facts(), caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, set_no_new_privileges, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, install_filter, execute),
                         caller(hear(execute))) == nowhere);

// ── Joins ────────────────────────────────────────────────────────────────────────────────────────

// One kind by the target's pidfd: the child joins by itself.
static_assert(differs_at(plan().joins(net, target(1)), facts(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net), clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// In another user namespace the child gets a session keyring of its own, when it has its ids.
static_assert(differs_at(plan().joins(seven, target(1)).keyring(), facts(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, new_session_keyring,
                               report),
                         caller(hear(report))) == nowhere);

// In the same one only if the plan asks for it.
static_assert(differs_at(plan().keyring(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);
static_assert(differs_at(plan().keyring(nsjoin::SessionKeyring::fresh), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, new_session_keyring, report),
                         caller(hear(report))) == nowhere);

// The mounts' propagation is said before the root changes, and before a source is opened.
static_assert(differs_at(plan().creates(mount).propagation().root(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(create_mount, mount)),
                         child(set_propagation, set_root, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// A working directory that is refused is tried again with the ids that the plan names.
static_assert(differs_at(plan().working_directory().ids().name(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(may_wait(set_working_directory), set_name, clear_inheritable,
                               set_groups, set_gid, set_uid, verify_ids,
                               again(set_working_directory), report),
                         caller(hear(report))) == nowhere);

// Seven kinds: a joiner on the caller's memory, so the caller clears the flag; the child is its
// sibling.
static_assert(differs_at(plan().joins(seven, target(1)), facts(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// All eight: who shares memory can't join a time namespace. The joiner is a copy, and the child
// waits until the caller has a pidfd of it.
static_assert(differs_at(plan().joins(eight, target(1)), facts(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone3(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(eight), clone3(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// By descriptors of namespaces: one setns(2) each.
static_assert(differs_at(plan().joins(pid | net | uts, descriptor), facts().looked(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_space(pid), setns_space(net), setns_space(uts),
                                clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// One setns(2) for each of two targets; the one that moves the root comes last.
static_assert(
    differs_at(plan().joins(net | ipc, target(1)).joins(mount | uts, target(2)), facts().looked(),
               caller(none(check_plan), none(open_target), make_channel, clone3(make_child)),
               child(clear_dumpable, setns_pidfd(net | ipc), setns_pidfd(uts, mount | uts),
                     clear_inheritable, report),
               caller(hear(report))) == nowhere);

// The user namespace by descriptor: what the caller has the rights over comes before it.
static_assert(
    differs_at(plan().joins(user, descriptor).joins(net | ipc, target(1)), facts().looked(),
               caller(none(check_plan), none(open_target), make_channel, clone3(make_child)),
               child(clear_dumpable, setns_pidfd(net | ipc), setns_space(user), set_groups, set_gid,
                     set_uid, verify_ids, report),
               caller(hear(report))) == nowhere);

// Unprivileged: the user namespace gives the rights over what comes from elsewhere.
static_assert(differs_at(plan().joins(user, target(1)).joins(mount | net, target(2)),
                         facts().looked().after_user(user | mount | net),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(user), setns_pidfd(net, mount | net),
                               set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Unprivileged, all of one target: one call, in which all rights count together.
static_assert(differs_at(plan().joins(user | mount | net, target(1)),
                         facts().looked().after_user(user | mount | net),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(user | mount | net), set_groups, set_gid,
                               set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Nobody knows who owns it: tried before the user namespace, and again after it.
static_assert(differs_at(plan().joins(user | mount | net, descriptor), facts().looked().untold(net),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, may_wait(setns_space(net)), setns_space(mount),
                               setns_space(user), setns_space(net), set_groups, set_gid, set_uid,
                               verify_ids, report),
                         caller(hear(report))) == nowhere);

// Nobody knows, but there is no user namespace to wait for.
static_assert(differs_at(plan().joins(mount | net, descriptor), facts().looked().untold(net),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_space(net), setns_space(mount),
                               clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// What the caller is in already is left out; nothing is left that needs a joiner.
static_assert(differs_at(plan().joins(seven, target(1)), facts().looked().same(user | mount | pid),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net | ipc | uts | cgroup),
                               clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// All of it: nothing is joined.
static_assert(differs_at(plan().joins(net | uts, target(1)), facts().looked().same(net | uts),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// A joined user namespace makes the child root.
static_assert(differs_at(plan().joins(user | net, target(1)), facts(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(user | net), set_groups, set_gid,
                               set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Unless it keeps its ids.
static_assert(
    differs_at(plan().joins(user, target(1)).keeps_ids(), facts(),
               caller(none(check_plan), none(open_target), make_channel, clone3(make_child)),
               child(clear_dumpable, setns_pidfd(user), report), caller(hear(report))) == nowhere);

// Or takes others.
static_assert(differs_at(plan().joins(seven, target(1)).ids(), facts(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Or a uid alone.
static_assert(differs_at(plan().joins(user, target(1)).uid(), facts(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(user), set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Joins without a user namespace, and other ids.
static_assert(differs_at(plan().joins(net, target(1)).ids(), facts(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net), clear_inheritable, set_groups,
                               set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// A deadline: the caller can't be suspended while it watches the clock.
static_assert(differs_at(plan().joins(seven, target(1)).deadline(), facts(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone3(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(seven), clone3(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// oom_score_adj: by the child that joins, before it is not dumpable.
static_assert(differs_at(plan().joins(net, target(1)).oom(), facts(),
                         caller(none(check_plan), open_proc, none(open_target), make_channel,
                                clone3(make_child)),
                         child(set_oom_score_adj, clear_dumpable, setns_pidfd(net),
                               clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// oom_score_adj: by the joiner, which needs memory of its own for it.
static_assert(differs_at(plan().joins(pid, target(1)).oom(), facts(),
                         caller(none(check_plan), open_proc, none(open_target), pin_caller,
                                make_channel, clone3(make_joiner)),
                         joiner(set_oom_score_adj, clear_dumpable, setns_pidfd(pid),
                                clone3(make_child)),
                         caller(tell(await_maps)), child(await_maps, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// ── Creates ──────────────────────────────────────────────────────────────────────────────────────

// A user namespace without maps: by the clone.
static_assert(differs_at(plan().creates(user), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(create_user, user)),
                         child(report), caller(hear(report))) == nowhere);

// A mount namespace.
static_assert(differs_at(plan().creates(mount), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(create_mount, mount)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// A pid namespace.
static_assert(differs_at(plan().creates(pid), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(create_pid, pid)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// net, ipc and uts.
static_assert(differs_at(plan().creates(net | ipc | uts), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(create_net, net | ipc | uts)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// A cgroup namespace: by unshare(2), when the child is in its cgroup.
static_assert(differs_at(plan().creates(cgroup), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(unshare(create_cgroup, cgroup), clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// A time namespace: by unshare(2), and entered.
static_assert(differs_at(plan().creates(time), facts(),
                         caller(none(check_plan), open_proc, make_channel, clone3(make_child)),
                         child(unshare(create_time, time), enter_time, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// All but a user namespace.
static_assert(differs_at(plan().creates(eight - user), facts(),
                         caller(none(check_plan), open_proc, make_channel, clone3(make_child),
                                with_clone(create_pid, mount | pid | net | ipc | uts)),
                         child(unshare(create_cgroup, cgroup | time), enter_time, clear_inheritable,
                               report),
                         caller(hear(report))) == nowhere);

// A user namespace with maps: the other kinds are root's, who is mapped by then.
static_assert(differs_at(plan().creates(user | net).maps(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_gid_map, tell(await_maps)),
                         child(await_maps, become_root, unshare(create_net, net), set_groups,
                               set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Maps without id 0: nobody becomes root.
static_assert(differs_at(plan().creates(user | net).maps_without_root(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_gid_map, tell(await_maps)),
                         child(await_maps, unshare(create_net, net), report),
                         caller(hear(report))) == nowhere);

// Maps without gids.
static_assert(differs_at(plan().creates(user).maps_of_uids(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                tell(await_maps)),
                         child(await_maps, report), caller(hear(report))) == nowhere);

// A single gid without CAP_SETGID: setgroups is denied between the maps.
static_assert(differs_at(plan().creates(user).maps(), facts().deny_setgroups(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_setgroups, write_gid_map, tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Maps, and ids that the plan says.
static_assert(differs_at(plan().creates(user).maps().ids(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_gid_map, tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// oom_score_adj: the child of a new user namespace can't, so the caller does.
static_assert(differs_at(plan().creates(user).maps().oom(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user),
                                of_the_child(set_oom_score_adj), write_uid_map, write_gid_map,
                                tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// The same without maps: the child waits all the same.
static_assert(differs_at(plan().creates(user).oom(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user),
                                of_the_child(set_oom_score_adj), tell(await_maps)),
                         child(await_maps, report), caller(hear(report))) == nowhere);

// Time offsets: by the child, who is the first in there.
static_assert(differs_at(plan().creates(time).offsets(), facts(),
                         caller(none(check_plan), open_proc, make_channel, clone3(make_child)),
                         child(open_time_offsets, unshare(create_time, time), write_time_offsets,
                               enter_time, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// Time offsets in a new user namespace: opened before it becomes root.
static_assert(differs_at(plan().creates(user | time).maps().offsets(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user)),
                         child(open_time_offsets),
                         caller(write_uid_map, write_gid_map, tell(await_maps)),
                         child(await_maps, become_root, unshare(create_time, time),
                               write_time_offsets, enter_time, set_groups, set_gid, set_uid,
                               verify_ids, report),
                         caller(hear(report))) == nowhere);

// Mount sources: the opener follows the child into its mount namespace.
static_assert(
    differs_at(plan().creates(user | mount).maps().sources(), facts(),
               caller(none(check_plan), open_proc, pin_caller, make_channel, clone3(make_opener),
                      clone3(make_child), with_clone(create_user, user), write_uid_map,
                      write_gid_map, tell(await_maps)),
               child(await_maps, become_root, unshare(create_mount, mount)),
               opener(open_mount_sources),
               child(take_mount_sources, set_groups, set_gid, set_uid, verify_ids, report),
               caller(hear(report))) == nowhere);

// ── Joins and creates ────────────────────────────────────────────────────────────────────────────

// The child joins, and creates by one unshare(2).
static_assert(differs_at(plan().joins(net, target(1)).creates(mount | ipc), facts(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net), unshare(create_ipc, mount | ipc),
                               clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// A new user namespace: the joiner makes the child in it.
static_assert(differs_at(plan().joins(net, target(1)).creates(user | mount).maps(), facts(),
                         caller(none(check_plan), open_proc, none(open_target), pin_caller,
                                make_channel, clear_dumpable, clone(make_joiner)),
                         joiner(setns_pidfd(net), clone3(make_child),
                                with_clone(create_user, user)),
                         caller(write_uid_map, write_gid_map, tell(await_maps)),
                         child(await_maps, become_root, unshare(create_mount, mount), set_groups,
                               set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// A joined user namespace owns what the child creates when it is its root.
static_assert(
    differs_at(plan().joins(user, target(1)).creates(ipc | uts), facts(),
               caller(none(check_plan), none(open_target), make_channel, clone3(make_child)),
               child(clear_dumpable, setns_pidfd(user), become_root, unshare(create_ipc, ipc | uts),
                     set_groups, set_gid, set_uid, verify_ids, report),
               caller(hear(report))) == nowhere);

// Time: the joiner creates it, and its child is in it.
static_assert(differs_at(plan().joins(net, target(1)).creates(time).offsets(), facts(),
                         caller(none(check_plan), open_proc, none(open_target), pin_caller,
                                make_channel, clone3(make_joiner)),
                         joiner(open_time_offsets, clear_dumpable, setns_pidfd(net),
                                unshare(create_time, time), write_time_offsets, clone3(make_child)),
                         caller(tell(await_maps)), child(await_maps, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// Time in a new user namespace: the child creates it, the caller opens the file.
static_assert(
    differs_at(
        plan().joins(net, target(1)).creates(user | time).maps().offsets(), facts(),
        caller(none(check_plan), open_proc, none(open_target), pin_caller, make_channel,
               clone3(make_joiner)),
        joiner(clear_dumpable, setns_pidfd(net), clone3(make_child), with_clone(create_user, user)),
        caller(of_the_child(open_time_offsets), write_uid_map, write_gid_map, tell(await_maps)),
        child(await_maps, become_root, unshare(create_time, time), write_time_offsets, enter_time,
              set_groups, set_gid, set_uid, verify_ids, report),
        caller(hear(report))) == nowhere);

// Time and pid behind a joined user namespace.
static_assert(differs_at(plan().joins(user | net, target(1)).creates(pid | time).offsets(), facts(),
                         caller(none(check_plan), open_proc, none(open_target), pin_caller,
                                make_channel, clone3(make_joiner)),
                         joiner(open_time_offsets, clear_dumpable, setns_pidfd(user | net),
                                unshare(create_time, time), write_time_offsets, clone3(make_child),
                                with_clone(create_pid, pid)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// The caller's parent's child: the caller itself joins, and stays.
static_assert(
    differs_at(plan().childs_parent_is_callers().joins(seven, target(1)).creates(uts).oom(),
               facts(),
               caller(none(check_plan), open_proc, none(open_target), make_channel,
                      set_oom_score_adj, clear_dumpable, setns_pidfd(seven), clone3(make_child)),
               child(become_root, unshare(create_uts, uts), set_groups, set_gid, set_uid,
                     verify_ids, report),
               caller(hear(report))) == nowhere);

// The same with time offsets.
static_assert(
    differs_at(plan().childs_parent_is_callers().joins(net, target(1)).creates(time).offsets(),
               facts(),
               caller(none(check_plan), open_proc, none(open_target), make_channel,
                      open_time_offsets, clear_dumpable, setns_pidfd(net),
                      unshare(create_time, time), write_time_offsets, clone3(make_child)),
               child(clear_inheritable, report), caller(hear(report))) == nowhere);

// The same a second time: what it has done before is not done again.
static_assert(
    differs_at(plan().childs_parent_is_callers().joins(user | net, target(1)).cgroup().oom(),
               facts().no_setns_of_pidfd().done(set_oom_score_adj | enter_cgroup),
               caller(none(check_plan), open_proc, none(open_target), open_cgroup, make_channel,
                      clear_dumpable, setns_opened(net), setns_opened(user), clone3(make_child)),
               child(set_groups, set_gid, set_uid, verify_ids, report),
               caller(hear(report))) == nowhere);

// ── Groups ───────────────────────────────────────────────────────────────────────────────────────

// Who was started by root drops groups before the user namespace is joined, where it may be denied.
static_assert(differs_at(plan().joins(seven, target(1)), facts().drops_outside(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(drop_groups, setns_pidfd(seven), clone3(make_child)),
                         child(set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// A child that joins by itself does.
static_assert(differs_at(plan().joins(user | net, target(1)), facts().drops_outside(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, drop_groups, setns_pidfd(user | net), set_gid,
                               set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Where no user namespace is joined, they are dropped in the place of ids.
static_assert(differs_at(plan().joins(net, target(1)).ids(), facts().drops_outside(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net), clear_inheritable, set_groups,
                               set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Where it is denied, and nobody may before, they stay.
static_assert(
    differs_at(plan().joins(user | net, target(1)), facts().setgroups(nsjoin::detail::Denied::yes),
               caller(none(check_plan), none(open_target), make_channel, clone3(make_child)),
               child(clear_dumpable, setns_pidfd(user | net), set_gid, set_uid, verify_ids, report),
               caller(hear(report))) == nowhere);

// Where nobody could say, the child has to read it, by the caller's /proc.
static_assert(differs_at(plan().joins(user | net, target(1)),
                         facts().setgroups(nsjoin::detail::Denied::ask),
                         caller(none(check_plan), open_proc, none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(user | net), set_groups, set_gid,
                               set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// ── A cgroup ─────────────────────────────────────────────────────────────────────────────────────

// The child is born in it.
static_assert(differs_at(plan().cgroup(), facts().into_cgroup(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(enter_cgroup)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// It enters it: cgroup v1.
static_assert(differs_at(plan().cgroup(), facts(),
                         caller(none(check_plan), open_cgroup, make_channel, clone3(make_child)),
                         child(write_procs(), clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// clone3(2) is missing, and with it CLONE_INTO_CGROUP.
static_assert(differs_at(plan().cgroup(), facts().into_cgroup().no_clone3(),
                         caller(none(check_plan), open_cgroup, make_channel, clone(make_child)),
                         child(write_procs(), clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// The joiner is born in it, with memory of its own.
static_assert(differs_at(plan().cgroup().joins(seven, target(1)), facts().into_cgroup(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone3(make_joiner), with_clone(enter_cgroup)),
                         joiner(clear_dumpable, setns_pidfd(seven), clone3(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// The joiner enters it before it joins.
static_assert(differs_at(plan().cgroup().joins(seven, target(1)), facts(),
                         caller(none(check_plan), none(open_target), open_cgroup, pin_caller,
                                make_channel, clone3(make_joiner)),
                         joiner(write_procs(), clear_dumpable, setns_pidfd(seven),
                                clone3(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// The target is trusted with the caller's memory: it is born in it, on that.
static_assert(differs_at(plan().cgroup().lends().joins(seven, target(1)), facts().into_cgroup(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone3(make_joiner), with_clone(enter_cgroup)),
                         joiner(setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// It is the root of the new cgroup namespace.
static_assert(differs_at(plan().cgroup().creates(cgroup | net), facts(),
                         caller(none(check_plan), open_cgroup, make_channel, clone3(make_child),
                                with_clone(create_net, net)),
                         child(write_procs(), unshare(create_cgroup, cgroup), clear_inheritable,
                               report),
                         caller(hear(report))) == nowhere);

// A caller that joins by itself enters it: it can't try a clone twice.
static_assert(differs_at(plan().childs_parent_is_callers().cgroup().joins(net, target(1)),
                         facts().into_cgroup(),
                         caller(none(check_plan), none(open_target), open_cgroup, make_channel,
                                write_procs(), clear_dumpable, setns_pidfd(net),
                                clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// ── Programs ─────────────────────────────────────────────────────────────────────────────────────

// On the caller's memory, nothing is reported: execve(2) lets the caller go on.
static_assert(differs_at(plan().program(), facts(), caller(none(check_plan), clone3(make_child)),
                         child(clear_inheritable, execute)) == nowhere);

// With other ids: a change of ids clears the caller's flag.
static_assert(differs_at(plan().program().ids(), facts(),
                         caller(none(check_plan), clear_dumpable, clone3(make_child)),
                         child(clear_inheritable, set_groups, set_gid, set_uid, verify_ids,
                               execute)) == nowhere);

// With a death signal: who has no channel looks at a pidfd.
static_assert(differs_at(plan().program().death_signal(), facts(),
                         caller(none(check_plan), pin_caller, clone3(make_child)),
                         child(clear_inheritable, set_death_signal, execute)) == nowhere);

// One kind: one process.
static_assert(differs_at(plan().program().joins(net, target(1)), facts(),
                         caller(none(check_plan), none(open_target), clear_dumpable,
                                clone3(make_child)),
                         child(setns_pidfd(net), clear_inheritable, execute)) == nowhere);

// Seven kinds: the target's processes see the child, so it is a copy; the joiner, which they don't
// see, is on the caller's memory. Who enters another user namespace verifies nothing, root is all
// that there is.
static_assert(differs_at(plan().program().joins(seven, target(1)), facts(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, report), caller(hear(report)),
                         child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// A user namespace whose processes see the caller's pids: nothing is on its memory.
static_assert(differs_at(plan().program().joins(user | net, target(1)).creates(pid), facts(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone3(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(user | net), clone3(make_child),
                                with_clone(create_pid, pid)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// A cgroup: who governs it decides over the memory of those in it.
static_assert(differs_at(plan().program().cgroup(), facts().into_cgroup(),
                         caller(none(check_plan), make_channel, clone3(make_child),
                                with_clone(enter_cgroup)),
                         child(clear_inheritable, report), caller(hear(report)),
                         child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// Ids in a namespace that was joined: the target's processes may signal who has theirs.
static_assert(differs_at(plan().program().joins(net, target(1)).ids(), facts(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net), clear_inheritable, set_groups,
                               set_gid, set_uid, verify_ids, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// The target is trusted: two processes on the caller's memory.
static_assert(differs_at(plan().program().lends().joins(seven, target(1)), facts(),
                         caller(none(check_plan), none(open_target), clear_dumpable,
                                clone3(make_joiner)),
                         joiner(setns_pidfd(seven), clone(make_child)),
                         child(set_groups, set_gid, set_uid, execute)) == nowhere);

// A time namespace: the process is a copy, whose handlers are its own to reset.
static_assert(differs_at(plan().program().joins(time, target(1)), facts(),
                         caller(none(check_plan), none(open_target), clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(time), clear_inheritable, set_signals,
                               execute)) == nowhere);

// All eight: the program's process runs on the joiner's memory, which is a copy.
static_assert(differs_at(plan().program().lends().joins(eight, target(1)), facts(),
                         caller(none(check_plan), none(open_target), clone3(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(eight), clone(make_child)),
                         child(set_groups, set_gid, set_uid, set_signals, execute)) == nowhere);

// A launcher's joiner joins all of them by itself, time too, and the child runs on its memory.
static_assert(
    differs_at(plan().program().lends().childs_parent_is_callers().joins(eight, target(1)), facts(),
               caller(none(check_plan), none(open_target), clear_dumpable, setns_pidfd(eight),
                      clone3(make_child)),
               child(set_groups, set_gid, set_uid, execute)) == nowhere);

// A deadline: in a copy, which tells the caller through a pipe.
static_assert(differs_at(plan().program().deadline(), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, report), caller(hear(report)),
                         child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// A deadline and seven kinds.
static_assert(differs_at(plan().program().joins(seven, target(1)).deadline(), facts(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone3(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(seven), clone3(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// A new user namespace without maps needs no copy.
static_assert(differs_at(plan().program().creates(user | net), facts(),
                         caller(none(check_plan), clone3(make_child),
                                with_clone(create_user, user)),
                         child(unshare(create_net, net), execute)) == nowhere);

// Id maps: in a copy, which waits for them.
static_assert(differs_at(plan().program().creates(user).maps(), facts(),
                         caller(none(check_plan), open_proc, pin_caller, make_channel,
                                clone3(make_child), with_clone(create_user, user), write_uid_map,
                                write_gid_map, tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// Mount sources.
static_assert(differs_at(plan().program().creates(mount).sources(), facts(),
                         caller(none(check_plan), open_proc, make_channel, clone3(make_opener),
                                clone3(make_child), with_clone(create_mount, mount)),
                         opener(open_mount_sources),
                         child(take_mount_sources, clear_inheritable, report), caller(hear(report)),
                         child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// Functions of the plan's: they run in a copy.
static_assert(differs_at(plan().program().root().says(call_inside | call_last), facts(),
                         caller(none(check_plan), make_channel, clone3(make_child)),
                         child(call_inside, set_root, clear_inheritable, call_last, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// All that a command says, on the caller's memory: a descriptor table of its own comes before
// the console.
static_assert(differs_at(plan()
                             .program()
                             .console()
                             .descriptors()
                             .says(set_limits | set_no_new_privileges)
                             .says(set_signals),
                         facts(), caller(none(check_plan), check_console, clone3(make_child)),
                         child(own_descriptors, new_session, set_console, clear_inheritable,
                               set_no_new_privileges, pass_descriptors, set_limits, set_signals,
                               execute)) == nowhere);

// The same in a copy, whose table is its own.
static_assert(differs_at(plan()
                             .program()
                             .deadline()
                             .descriptors()
                             .says(set_limits | set_no_new_privileges)
                             .says(set_signals),
                         facts(), caller(none(check_plan), make_channel, clone3(make_child)),
                         child(clear_inheritable, set_no_new_privileges, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(pass_descriptors, set_limits, set_signals, execute),
                         caller(hear(execute))) == nowhere);

// In a cgroup, born there.
static_assert(differs_at(plan().program().lends().cgroup().joins(net, target(1)),
                         facts().into_cgroup(),
                         caller(none(check_plan), none(open_target), clear_dumpable,
                                clone3(make_child), with_clone(enter_cgroup)),
                         child(setns_pidfd(net), clear_inheritable, execute)) == nowhere);

// ── What kernels and filters lack ────────────────────────────────────────────────────────────────

// No clone3(2): clone(2).
static_assert(differs_at(plan().creates(pid | net), facts().no_clone3(),
                         caller(none(check_plan), make_channel, clone(make_child),
                                with_clone(create_pid, pid | net)),
                         child(clear_inheritable, report), caller(hear(report))) == nowhere);

// No clone3(2), two copies.
static_assert(differs_at(plan().joins(eight, target(1)), facts().no_clone3(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(eight), clone(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// No clone3(2), a program: signals are blocked meanwhile, and unblocked in it.
static_assert(
    differs_at(plan().program().joins(net, target(1)), facts().no_clone3(),
               caller(none(check_plan), none(open_target), clear_dumpable, clone(make_child)),
               child(setns_pidfd(net), clear_inheritable, set_signals, execute)) == nowhere);

// No clone3(2), mount sources.
static_assert(differs_at(plan().creates(mount).sources(), facts().no_clone3(),
                         caller(none(check_plan), open_proc, make_channel, clone(make_opener),
                                clone(make_child), with_clone(create_mount, mount)),
                         opener(open_mount_sources),
                         child(take_mount_sources, clear_inheritable, report),
                         caller(hear(report))) == nowhere);

// No CLONE_CLEAR_SIGHAND.
static_assert(
    differs_at(plan().program().lends().joins(seven, target(1)), facts().no_clear_sighand(),
               caller(none(check_plan), none(open_target), clear_dumpable, clone(make_joiner)),
               joiner(setns_pidfd(seven), clone(make_child)),
               child(set_groups, set_gid, set_uid, set_signals, execute)) == nowhere);

// No CLONE_CLEAR_SIGHAND, but CLONE_INTO_CGROUP.
static_assert(differs_at(plan().program().lends().cgroup().joins(net, target(1)),
                         facts().into_cgroup().no_clear_sighand(),
                         caller(none(check_plan), none(open_target), clear_dumpable,
                                clone3(make_child), with_clone(enter_cgroup)),
                         child(setns_pidfd(net), clear_inheritable, set_signals, execute)) ==
              nowhere);

// One call is refused: one for the kinds that differ.
static_assert(differs_at(plan().joins(seven, target(1)), facts().looked(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_pidfd(seven), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// So is a pidfd: a descriptor for each kind, opened before.
static_assert(differs_at(plan().joins(seven, target(1)), facts().no_setns_of_pidfd(),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_opened(pid), setns_opened(net), setns_opened(ipc),
                                setns_opened(uts), setns_opened(cgroup), setns_opened(mount),
                                setns_opened(user), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// Unprivileged, by descriptors: the user namespace comes first.
static_assert(differs_at(plan().joins(seven, target(1)),
                         facts().no_setns_of_pidfd().after_user(seven),
                         caller(none(check_plan), none(open_target), make_channel, clear_dumpable,
                                clone(make_joiner)),
                         joiner(setns_opened(user), setns_opened(pid), setns_opened(net),
                                setns_opened(ipc), setns_opened(uts), setns_opened(cgroup),
                                setns_opened(mount), clone3(make_child)),
                         child(set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// No process on the caller's memory.
static_assert(differs_at(plan().joins(seven, target(1)), facts().no_vfork(),
                         caller(none(check_plan), none(open_target), pin_caller, make_channel,
                                clone3(make_joiner)),
                         joiner(clear_dumpable, setns_pidfd(seven), clone3(make_child)),
                         caller(tell(await_maps)),
                         child(await_maps, set_groups, set_gid, set_uid, verify_ids, report),
                         caller(hear(report))) == nowhere);

// No process on the caller's memory, a program.
static_assert(differs_at(plan().program().joins(net, target(1)), facts().no_vfork(),
                         caller(none(check_plan), none(open_target), make_channel,
                                clone3(make_child)),
                         child(clear_dumpable, setns_pidfd(net), clear_inheritable, report),
                         caller(hear(report)), child(offer_errors), caller(hear(offer_errors)),
                         child(set_signals, execute), caller(hear(execute))) == nowhere);

// ── What is refused ──────────────────────────────────────────────────────────────────────────────

/// Why there is no schedule; Reason::system if there is one.
constexpr auto refusal(PlanWords plan, FactWords known) -> nsjoin::Reason {
    const auto made = nsjoin::detail::schedule(plan.outline, known.facts);
    return made.refused != nsjoin::Reason::system && made.count != 0
               ? nsjoin::Reason::bad_value // never said of this
               : made.refused;
}

constexpr PlanWords of_parent = plan().childs_parent_is_callers();

// Pid 1 has no parent that another child could be of.
static_assert(refusal(of_parent, facts().first_of_pids()) == nsjoin::Reason::init_has_no_sibling);
static_assert(refusal(plan(), facts().first_of_pids()) == nsjoin::Reason::system);

// A caller that joins by itself must be alone in its process.
static_assert(refusal(of_parent.joins(net, target(1)), facts().many_threads()) ==
              nsjoin::Reason::many_threads);
static_assert(refusal(of_parent, facts().many_threads()) == nsjoin::Reason::system);
static_assert(refusal(plan().joins(net, target(1)), facts().many_threads()) ==
              nsjoin::Reason::system);

// Whoever joins would be the init of the caller's new pid namespace, and its end that one's.
static_assert(refusal(plan().joins(net, target(1)), facts().pending_pid()) ==
              nsjoin::Reason::pending_pid);
static_assert(refusal(plan().creates(net), facts().pending_pid()) == nsjoin::Reason::system);
static_assert(refusal(of_parent.joins(net, target(1)), facts().pending_pid()) ==
              nsjoin::Reason::system);

// ── The processes ────────────────────────────────────────────────────────────────────────────────

using nsjoin::detail::ProcessFacts;

constexpr auto process(PlanWords plan, FactWords known, Process which) -> ProcessFacts {
    return nsjoin::detail::schedule(plan.outline, known.facts).process(which);
}

// The caller is always there, on its own memory.
static_assert(process(plan(), facts(), Process::caller) ==
              ProcessFacts{.there = true, .memory = Memory::own});

// A copy that joins nothing.
static_assert(process(plan(), facts(), Process::child) == ProcessFacts{.there = true});
static_assert(!process(plan(), facts(), Process::joiner).there);
static_assert(!process(plan(), facts(), Process::opener).there);

// A joiner on the caller's memory, and its child, which others in the pid namespace see.
static_assert(process(plan().joins(seven, target(1)), facts(), Process::joiner) ==
              ProcessFacts{.there = true, .memory = Memory::callers, .not_dumpable = true});
static_assert(process(plan().joins(seven, target(1)), facts(), Process::child) ==
              ProcessFacts{.there = true,
                           .maker = Process::joiner,
                           .sibling = true,
                           .not_dumpable = true,
                           .exposed = true});

// A joiner that is a copy makes a copy.
static_assert(process(plan().joins(eight, target(1)), facts(), Process::joiner).memory ==
              Memory::copy);
static_assert(process(plan().joins(eight, target(1)), facts(), Process::child).memory ==
              Memory::copy);

// A program's process: on the memory of whoever makes it.
static_assert(process(plan().program(), facts(), Process::child) ==
              ProcessFacts{.there = true, .memory = Memory::callers, .clear_sighand = true});
static_assert(process(plan().program().joins(seven, target(1)), facts(), Process::joiner).memory ==
              Memory::callers);
static_assert(process(plan().program().joins(seven, target(1)), facts(), Process::child).memory ==
              Memory::copy);
static_assert(process(plan().program().lends().joins(seven, target(1)), facts(), Process::child)
                  .memory == Memory::callers);
static_assert(process(plan().program().lends().joins(eight, target(1)), facts(), Process::child)
                  .memory == Memory::joiners);
static_assert(process(plan().program().joins(time, target(1)), facts(), Process::child).memory ==
              Memory::copy);
static_assert(process(plan().program().deadline(), facts(), Process::child).memory == Memory::copy);

// The handlers are reset as the first process is made; the second one has what that has.
static_assert(process(plan().program().lends().joins(seven, target(1)), facts(), Process::joiner)
                  .clear_sighand);
static_assert(!process(plan().program().lends().joins(seven, target(1)), facts(), Process::child)
                   .clear_sighand);

// One kind, by the child itself: nobody in there sees it.
static_assert(process(plan().joins(net, target(1)), facts(), Process::child) ==
              ProcessFacts{.there = true, .not_dumpable = true});

// In a joined pid namespace others see the child; the joiner is not in there.
static_assert(process(plan().joins(pid, target(1)), facts(), Process::child).exposed);
static_assert(!process(plan().joins(pid, target(1)), facts(), Process::joiner).exposed);

// With ids of the target's, others can signal it.
static_assert(process(plan().joins(net, target(1)).ids(), facts(), Process::child).exposed);
static_assert(!process(plan().ids(), facts(), Process::child).exposed);

// Who governs the cgroup decides over the memory of those in it.
static_assert(process(plan().cgroup().joins(pid, target(1)), facts(), Process::joiner).exposed);
static_assert(process(plan().cgroup().joins(pid, target(1)), facts(), Process::joiner).in_cgroup);
static_assert(process(plan().cgroup(), facts(), Process::child).exposed);

// The opener has the caller's rights, and is not to be ptraced.
static_assert(process(plan().creates(mount).sources(), facts(), Process::opener) ==
              ProcessFacts{.there = true, .not_dumpable = true});

// A caller that joins by itself makes the child its sibling.
static_assert(process(of_parent.joins(net, target(1)), facts(), Process::child) ==
              ProcessFacts{.there = true, .sibling = true, .not_dumpable = true});

// ── The table by itself ──────────────────────────────────────────────────────────────────────────

using nsjoin::When;

/// What the constraints that hold under some circumstances say, through other steps too: the order
/// of the enum, which decides where they say nothing, has no part in it.
class Table {
  public:
    explicit constexpr Table(When circumstances) {
        const auto sorted = nsjoin::detail::sort_steps(nsjoin::detail::plan_waits, circumstances);
        for (const nsjoin::Constraint& c : nsjoin::constraints) {
            direct_[index(c.after)] |= holds(c.when, circumstances) ? bit(c.before) : 0;
        }
        for (const Step step : sorted.steps) {
            before_[index(step)] = direct_[index(step)];
            for (std::size_t i = 0; i < before_.size(); ++i) {
                before_[index(step)] |= (direct_[index(step)] >> i & 1U) != 0 ? before_[i] : 0;
            }
        }
    }

    /// Whether each comes before the next.
    template <typename... Steps>
    [[nodiscard]] constexpr auto says(Steps... steps) const -> bool {
        const std::array list{steps...};
        for (std::size_t i = 0; i + 1 < list.size(); ++i) {
            if ((before_[index(list[i + 1])] & bit(list[i])) == 0) {
                return false;
            }
        }
        return true;
    }

  private:
    static constexpr auto index(Step step) -> std::size_t { return static_cast<std::size_t>(step); }

    static constexpr auto bit(Step step) -> nsjoin::detail::StepBits {
        return nsjoin::detail::StepBits{1} << index(step);
    }

    std::array<nsjoin::detail::StepBits, nsjoin::plan_step_count> direct_{};
    std::array<nsjoin::detail::StepBits, nsjoin::plan_step_count> before_{};
};

constexpr When any_first = When::rights_taken | When::own_memory | When::oom_by_first |
                           When::offsets_by_first | When::time_by_child;
constexpr Table with_joiner{any_first | When::joiner_first};
constexpr Table with_child{any_first | When::child_first};

// Whoever is first enters the cgroup, and joins; its child is in all of it.
static_assert(with_joiner.says(make_joiner, enter_cgroup, make_child));
static_assert(with_joiner.says(make_joiner, set_oom_score_adj, clear_dumpable, join_pid,
                               make_child));
static_assert(with_child.says(make_child, enter_cgroup, join_cgroup));
static_assert(with_child.says(make_child, set_oom_score_adj, clear_dumpable, join_net));
static_assert(with_child.says(make_child, open_time_offsets, clear_dumpable, join_user));

// What can be refused is refused before anything is created.
static_assert(with_child.says(join_user, create_net) && with_child.says(join_mount, create_uts));

// A time namespace of the first process's making takes only children.
constexpr Table time_by_first{When::rights_taken | When::joiner_first | When::own_memory |
                              When::oom_by_first | When::offsets_by_first | When::time_by_first};
static_assert(time_by_first.says(open_time_offsets, clear_dumpable, join_user, create_time,
                                 write_time_offsets, make_child));
static_assert(time_by_first.says(join_mount, create_time, make_child));

// What the caller does for a child that waits is done before the child goes on.
constexpr Table by_caller{When::rights_taken | When::child_first | When::own_memory |
                          When::oom_by_caller | When::offsets_by_caller | When::time_by_child};
static_assert(by_caller.says(make_child, set_oom_score_adj, await_maps, become_root));
static_assert(by_caller.says(make_child, open_time_offsets, await_maps, become_root, create_time,
                             write_time_offsets, enter_time));
static_assert(!by_caller.says(open_time_offsets, clear_dumpable));

// The flag is the caller's where the memory is.
constexpr Table on_callers_memory{When::rights_taken | When::joiner_first | When::callers_memory |
                                  When::oom_by_first | When::offsets_by_first |
                                  When::time_by_child};
static_assert(on_callers_memory.says(clear_dumpable, make_joiner, join_user, make_child));
static_assert(!on_callers_memory.says(set_oom_score_adj, clear_dumpable));

// Mount sources are opened in the new mount namespace, and taken before the root changes.
static_assert(with_child.says(make_opener, make_child, create_mount, open_mount_sources,
                              take_mount_sources, set_root));

/// The place of the task that joins the kind.
constexpr auto place_of_join(PlanWords plan, FactWords known, Kind kind) -> std::size_t {
    const auto made = nsjoin::detail::schedule(plan.outline, known.facts);
    for (std::size_t i = 0; i < made.count; ++i) {
        if (is_join(made.tasks()[i].step) && made.tasks()[i].kinds.contains(kind)) {
            return i;
        }
    }
    return nowhere;
}

constexpr PlanWords two_targets = plan().joins(mount | net, target(1)).joins(ipc | uts, target(2));

/// Whether both kinds of the other target are joined before the root moves.
constexpr auto mount_is_last() -> bool {
    const std::size_t last = place_of_join(two_targets, facts().looked(), mount);
    return place_of_join(two_targets, facts().looked(), ipc) < last &&
           place_of_join(two_targets, facts().looked(), uts) < last;
}

} // namespace

// The compiler has compared the rest.
TEST_CASE("two targets: the mount namespace is joined last, whatever comes from its target") {
    CHECK(mount_is_last());
}
