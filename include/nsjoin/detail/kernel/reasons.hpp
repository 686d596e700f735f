// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_REASONS_HPP
#define NSJOIN_DETAIL_KERNEL_REASONS_HPP

#include <nsjoin/detail/kernel/errno_names.hpp>
#include <nsjoin/error.hpp>

#include <cerrno>
#include <cstdint>
#include <string_view>
#include <sys/wait.h>

// The words of errors.

namespace nsjoin::inline v0_1::detail {

/// How a process ended, by its wait status: nothing, if that is unknown_status.
[[nodiscard]] inline auto how_it_ended(int wait_status) noexcept -> Subject {
    Subject text;
    if (wait_status == unknown_status) {
        return text;
    }
    const bool exited = WIFEXITED(wait_status);
    text.append(exited ? " (exit code " : " (signal ");
    return text.append(std::int64_t{exited ? WEXITSTATUS(wait_status) : WTERMSIG(wait_status)})
        .append(")");
}

/// The reason, and what to do.
[[nodiscard]] constexpr auto reason_text(Reason reason) noexcept -> std::string_view {
    switch (reason) {
    case Reason::system:
        return {};
    case Reason::joined_twice:
        return "the plan joins this kind twice: a process is in one namespace of each kind";
    case Reason::joined_and_created:
        return "the plan joins this kind and creates it: take one of the two out";
    case Reason::maps_without_user:
        return "the plan has id maps but creates no user namespace: create one";
    case Reason::offsets_without_time:
        return "the plan has time offsets but creates no time namespace: create one";
    case Reason::no_such_kind:
        return "the running kernel has no namespaces of this kind";
    case Reason::not_a_namespace:
        return "it is no namespace: name a file in /proc/PID/ns, or one that a namespace is "
               "mounted on";
    case Reason::wrong_kind:
        return "it is a namespace, but not of the kind that was asked for";
    case Reason::map_empty:
        return "an id map needs at least one line";
    case Reason::map_zero_count:
        return "the line maps no id: its count must be 1 or more";
    case Reason::map_overflow:
        return "the line goes past the last id, 4294967294";
    case Reason::map_overlap:
        return "the lines share ids: each id may stand in one line only, inside and outside";
    case Reason::map_too_long:
        return "the kernel takes at most 340 lines in an id map";
    case Reason::id_not_mapped:
        return "the id is not mapped in the user namespace: add it to the map, or take another id";
    case Reason::ids_differ:
        return "the process has another id than it took: a seccomp filter that feigns success";
    case Reason::no_capability:
        return "the process has no such capability to keep: Capabilities::of() tells what there is";
    case Reason::capabilities_differ:
        return "the kernel says that the process has other capabilities than it took";
    case Reason::groups_denied:
        return "setgroups is denied in the user namespace: keep or drop the groups, or allow it";
    case Reason::not_a_terminal:
        return "the console is no terminal: give the peer of a pseudoterminal";
    case Reason::not_procfs:
        return "mount the kernel's proc file system of this pid namespace at /proc";
    case Reason::not_a_cgroup:
        return "the descriptor is no directory of a cgroup file system";
    case Reason::frozen:
        return "the cgroup is frozen, and would freeze the child before it is through, out of the "
               "reach even of SIGKILL: thaw it first (freezer.state)";
    case Reason::refused_by_policy:
        return "the rights that this needs are there: a seccomp filter or a security module "
               "(AppArmor, SELinux) refuses the system call";
    case Reason::first_thread_ended:
        return "the process's first thread has ended, and with it what the process is joined by: "
               "join another of its threads, of /proc/PID/task, by a pidfd with PIDFD_THREAD "
               "(Linux 6.9)";
    case Reason::process_gone:
        return "the process has ended";
    case Reason::process_died:
        return "the process died before it was through";
    case Reason::helper_failed:
        return "the program refused: see the ranges in /etc/subuid and /etc/subgid, and that the "
               "caller has a name in /etc/passwd";
    case Reason::helper_powerless:
        return "the program has no rights to write the map with: it needs its set-user-ID bit or "
               "the file capability (setcap cap_setuid=ep, or cap_setgid=ep), on a mount without "
               "nosuid, and a caller without no_new_privs";
    case Reason::no_helper:
        return "the kernel does not let the caller write this map by itself, and the program that "
               "could is not in PATH: install it (package uidmap), or map only the caller's own id";
    case Reason::deadline_passed:
        return "the deadline passed first";
    case Reason::end_of_file:
        return "the other side closed before all was there";
    case Reason::init_has_no_sibling:
        return "the caller is pid 1 of its pid namespace, and its parent is outside: make the "
               "child the caller's own (ChildOf::caller)";
    case Reason::pending_pid:
        return "the caller has put its children into another pid namespace (unshare or setns of "
               "pid), where the joiner would become init and end it: join before that, or in a "
               "child";
    case Reason::many_threads:
        return "the caller itself would have to join, and has several threads: call before they "
               "are started, or let a child join: join_and_exec(), or join_and_clone() of a plan "
               "with ChildOf::caller";
    case Reason::outside_root:
        return "the working directory is outside the root directory, or its path is longer than "
               "4095 bytes";
    case Reason::already_reaped:
        return "somebody else waited for the process and took its status: a SIGCHLD handler that "
               "waits for all, or SIGCHLD ignored";
    case Reason::bad_value:
        return "the value is out of its range";
    case Reason::no_way_back:
        return "there is no way back into it: the Home lacks this kind, or it is a user namespace; "
               "open a Home with the kind, or use join_and_exec() or join_and_clone()";
    case Reason::not_root_inside:
        return "the id maps have no id 0 that the child could become: name other ids, or keep them";
    case Reason::bad_message:
        return "the supervisor's message breaks the rules of its dialect";
    case Reason::no_subordinate_ids:
        return "the user has no range there: usermod --add-subuids and --add-subgids add one; or "
               "map "
               "the own ids alone";
    case Reason::inside_failed:
        return "it is what the plan's own function says";
    case Reason::no_launcher:
        return "the program has no launcher in it: NSJOIN_LAUNCHER(); stands in none of its files, "
               "or in a library that is loaded later";
    case Reason::not_dumpable:
        return "the child is not dumpable, as the caller is not or as it joins, so that its files "
               "in /proc belong to the root that there was when the caller's program was executed: "
               "execute the program again where it is now, and create from there";
    }
    return {};
}

/// What an errno means for a step, and what to do; empty where nothing more can be said.
// NOLINTNEXTLINE(*-cognitive-complexity): a list
[[nodiscard]] constexpr auto hint(Step step, int code) noexcept -> std::string_view {
    const bool join = step >= Step::join_user && step <= Step::join_time;
    const bool create = step == Step::create_user || step == Step::create_pid ||
                        (step >= Step::create_net && step <= Step::create_time);
    if (join && code == EPERM) {
        return step == Step::join_mount
                   ? "needs CAP_SYS_ADMIN over the namespace's owner, and CAP_SYS_CHROOT and "
                     "CAP_SYS_ADMIN in the caller's user namespace: join the target's user "
                     "namespace too, or run as root"
                   : "needs CAP_SYS_ADMIN over the namespace's owner and in the caller's user "
                     "namespace: join the target's user namespace too, or run as root";
    }
    if (join && code == EINVAL) {
        return step == Step::join_pid ? "only a descendant of the caller's own pid namespace can "
                                        "be joined"
                                      : "the descriptor is no namespace of this kind, or the "
                                        "kernel has none";
    }
    if (create && code == EPERM) {
        return step == Step::create_user
                   ? "the host forbids user namespaces to this caller (sysctl, seccomp, AppArmor), "
                     "or the caller is in a chroot"
                   : "needs CAP_SYS_ADMIN: create a user namespace too, or run as root";
    }
    if (create && (code == ENOSPC || code == EUSERS)) {
        const bool nests = step == Step::create_user || step == Step::create_pid;
        return nests ? "the limit of such namespaces is reached (see /proc/sys/user, here and in "
                       "the user namespaces around), or 32 of them are nested already"
                     : "the limit of such namespaces is reached: see /proc/sys/user, here and in "
                       "the user namespaces around";
    }
    if (create && (code == EINVAL || code == ENOSYS)) {
        return "the running kernel has no namespaces of this kind, or a seccomp filter hides them";
    }
    switch (step) {
    case Step::open_pidfd:
        return code == ESRCH ? "there is no such process"
               : code == EINVAL || code == ENOENT
                   ? "a pid is a positive number, of a process and not of a thread"
               : code == ENOSYS ? "pidfds need Linux 5.3"
                                : "";
    case Step::open_namespace:
        return code == EACCES || code == EPERM
                   ? "needs the right to ptrace the process (the same uid and no lost "
                     "capabilities, or CAP_SYS_PTRACE over its user namespace): run this as root, "
                     "or as its user; a path's directories have to be searchable"
               : code == ENOENT ? "there is no such file"
               : code == ESTALE ? "it is gone, or the caller may not see it; by its id alone it is "
                                  "found since Linux 6.19"
                                : "";
    case Step::set_oom_score_adj:
        return code == EACCES ? "lowering it needs CAP_SYS_RESOURCE in the initial user namespace"
                              : "";
    case Step::write_uid_map:
    case Step::write_gid_map:
        return code == EPERM    ? "needs CAP_SETUID or CAP_SETGID in the parent user namespace, or "
                                  "a single line that maps the caller's own id"
               : code == EINVAL ? "the kernel takes a page of text (4095 bytes) at most"
                                : "";
    case Step::write_setgroups:
        return code == EPERM ? "it is denied in the parent user namespace already" : "";
    case Step::write_time_offsets:
        return code == ERANGE ? "an offset may make no clock negative, nor bring it near its end"
                              : "";
    case Step::set_propagation:
        return code == EINVAL ? "the root directory is no mount point, as in a chroot: say that "
                                "the propagation is to stay unchanged"
                              : "";
    case Step::set_host_name:
    case Step::set_domain_name:
        return code == EPERM ? "needs CAP_SYS_ADMIN over the UTS namespace's owner" : "";
    case Step::bring_up_loopback:
        return code == EPERM ? "needs CAP_NET_ADMIN over the network namespace's owner" : "";
    case Step::pivot_root:
        return code == EINVAL  ? "the new root or the old one lies on a shared mount, or the old "
                                 "one is no mount point, as in a chroot or an initramfs"
               : code == EPERM ? "needs CAP_SYS_ADMIN: create a user namespace too, or run as root"
                               : "";
    case Step::mount_proc:
        return code == EPERM ? "a user namespace mounts one only if it owns the pid namespace, and "
                               "where no part of a /proc that is there is covered"
               : code == ENOENT || code == ENOTDIR ? "the new root needs an empty directory for it"
                                                   : "";
    case Step::set_cpu_affinity:
        return code == EINVAL ? "the host has none of these processors, or the cgroup's cpuset does"
                              : "";
    case Step::set_priority:
        return code == EACCES || code == EPERM
                   ? "a higher priority needs CAP_SYS_NICE in the initial user namespace, or "
                     "RLIMIT_NICE"
                   : "";
    case Step::install_filter:
        return code == EACCES   ? "needs no_new_privs, or CAP_SYS_ADMIN in the user namespace"
               : code == EINVAL ? "it is no program of a filter, or the kernel has none"
                                : "";
    case Step::limit_capabilities:
        return code == EPERM ? "needs CAP_SETPCAP, and securebits that are not locked" : "";
    case Step::set_capabilities:
        return code == EPERM ? "an inheritable capability is neither permitted nor in the bounding "
                               "set, or securebits forbid ambient ones"
                             : "";
    case Step::new_session_keyring:
        return code == EDQUOT   ? "the user has as many keys as it may: see "
                                  "/proc/sys/kernel/keys/maxkeys, or keep the caller's keyring"
               : code == ENOSYS ? "the running kernel has no keyrings"
                                : "";
    case Step::set_console:
        return code == EPERM ? "the terminal is the controlling one of another session" : "";
    case Step::enter_cgroup:
        return code == EACCES || code == EPERM
                   ? "needs the right to write cgroup.procs of the cgroup and of the common "
                     "ancestor"
               : code == EBUSY || code == EOPNOTSUPP
                   ? "the cgroup has domain controllers enabled or is threaded: take a leaf"
                   : "";
    case Step::set_groups:
    case Step::set_gid:
    case Step::set_uid:
        return code == EPERM ? "needs CAP_SETUID or CAP_SETGID in the user namespace" : "";
    case Step::unpin_namespace:
        return code == EPERM    ? "needs CAP_SYS_ADMIN over the caller's mount namespace"
               : code == EINVAL ? "nothing is pinned there"
               : code == EBUSY  ? "somebody has the file open"
                                : "";
    case Step::pin_namespace:
        return code == EPERM ? "needs CAP_SYS_ADMIN over the caller's mount namespace"
               : code == EEXIST
                   ? "a namespace is pinned there already: unpin that first, or take another name"
               : code == ENOTDIR ? "it is a directory, or a part of the path is none: name a file"
               : code == EINVAL ? "a mount namespace can be pinned only in one that is older, on a "
                                  "mount that is not shared"
                                : "";
    case Step::set_root:
    case Step::set_working_directory:
        return code == ENOTDIR ? "it is no directory"
               : code == EPERM ? "needs CAP_SYS_CHROOT in the user namespace"
                               : "";
    case Step::execute:
        return code == ENOENT   ? "there is no such file in the mount namespace and root of the "
                                  "child, or its interpreter is missing there"
               : code == EACCES ? "the file is not executable for the child's ids, or the mount is "
                                  "noexec"
               : code == ENOEXEC ? "it is a program for another processor, or none: a script "
                                   "needs a #! line"
                                 : "";
    case Step::go_back:
        return code == EPERM ? "needs CAP_SYS_ADMIN over the namespace's owner: who could not come "
                               "back does not leave"
                             : "";
    case Step::set_limits:
        return code == EINVAL ? "there is no such resource, or the soft limit is above the hard one"
               : code == EPERM ? "to raise a hard limit needs CAP_SYS_RESOURCE in the initial user "
                                 "namespace"
                               : "";
    case Step::send_signal:
        return code == ESRCH    ? "the process has ended"
               : code == EINVAL ? "there is no such signal"
               : code == EPERM  ? "needs the process's uid, or CAP_KILL over its user namespace"
                                : "";
    case Step::read_bootstrap:
        return code == EBADF ? "the supervisor has passed no such descriptor" : "";
    case Step::start_program:
        return code == ENOENT ? "there is no such file: give its path, PATH is not searched" : "";
    case Step::take_mount_sources:
        return code == ENOENT ? "there is no such file in the new mount namespace" : "";
    case Step::join_here:
        return code == EPERM ? "needs CAP_SYS_ADMIN over the namespace's owner and in the caller's "
                               "user namespace"
                             : "";
    case Step::pass_descriptors:
        return code == EBADF    ? "a passed descriptor is not open"
               : code == EMFILE ? "the limit of descriptors is reached: see RLIMIT_NOFILE"
                                : "";
    case Step::make_child:
    case Step::make_joiner:
        return code == EAGAIN ? "the limit of processes is reached: see RLIMIT_NPROC and the pids "
                                "cgroup"
               : code == ENOMEM ? "out of memory, or the pid namespace's init has ended"
                                : "";
    default:
        return {};
    }
}

/// What an errno means whatever the step.
[[nodiscard]] constexpr auto general_hint(int code) noexcept -> std::string_view {
    switch (code) {
    case EBADF:
        return "the descriptor is not open: a plan and a command only borrow theirs, which stay "
               "open until the call has returned";
    case ENOTDIR:
        return "a part of the path is no directory";
    case EMFILE:
        return "the process has as many descriptors as it may: see RLIMIT_NOFILE";
    case ENFILE:
        return "the system has as many open files as it may: see /proc/sys/fs/file-max";
    case EROFS:
        return "the file system is mounted read-only";
    case ENOENT:
        return "there is no such file, or no directory for it";
    case ENOMEM:
        return "out of memory";
    case EACCES:
        return "the caller's ids may not do that with the file, or search its directory";
    default:
        return {};
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_REASONS_HPP
