// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_STEP_TEXTS_HPP
#define NSJOIN_DETAIL_KERNEL_STEP_TEXTS_HPP

#include <nsjoin/detail/kernel/target.hpp>

namespace nsjoin::inline v0_1::detail {

// Texts in the order of the enum, each ended by a NUL: a table of texts has a relocation each,
// which costs a program three times as much as the text, and an includer's compiler more than all
// else here.
// clang-format off

/// What errors and explanations call the steps.
inline constexpr const char* step_names =
    "check the plan\0"                                            // check_plan
    "open /proc\0"                                                // open_proc
    "pin the target\0"                                            // open_target
    "check the console\0"                                         // check_console
    "open the cgroup\0"                                           // open_cgroup
    "pin the caller\0"                                            // pin_caller
    "make the report channel\0"                                   // make_channel
    "make the opener of mount sources\0"                          // make_opener
    "make the joiner\0"                                           // make_joiner
    "enter the cgroup\0"                                          // enter_cgroup
    "set oom_score_adj\0"                                         // set_oom_score_adj
    "set the scheduling priority\0"                               // set_priority
    "open timens_offsets\0"                                       // open_time_offsets
    "clear the dumpable flag\0"                                   // clear_dumpable
    "drop the groups\0"                                               // drop_groups
    "join user\0"                                                 // join_user
    "join mnt\0"                                                  // join_mount
    "join pid\0"                                                  // join_pid
    "join net\0"                                                  // join_net
    "join ipc\0"                                                  // join_ipc
    "join uts\0"                                                  // join_uts
    "join cgroup\0"                                               // join_cgroup
    "join time\0"                                                 // join_time
    "make the child\0"                                            // make_child
    "create user\0"                                               // create_user
    "create pid\0"                                                // create_pid
    "write uid_map\0"                                             // write_uid_map
    "write setgroups\0"                                           // write_setgroups
    "write gid_map\0"                                             // write_gid_map
    "wait for the caller's word\0"                                // await_maps
    "become root of the user namespace\0"                         // become_root
    "create net\0"                                                // create_net
    "create ipc\0"                                                // create_ipc
    "create uts\0"                                                // create_uts
    "create cgroup\0"                                             // create_cgroup
    "create mnt\0"                                                // create_mount
    "create time\0"                                               // create_time
    "write timens_offsets\0"                                      // write_time_offsets
    "enter the new time namespace\0"                              // enter_time
    "set the propagation of the mounts\0"                         // set_propagation
    "set the host name\0"                                         // set_host_name
    "set the domain name\0"                                       // set_domain_name
    "bring up the loopback interface\0"                           // bring_up_loopback
    "open the mount sources\0"                                    // open_mount_sources
    "take the mount sources\0"                                    // take_mount_sources
    "call the plan's function\0"                                  // call_inside
    "take a descriptor table of its own\0"                        // own_descriptors
    "start a session\0"                                           // new_session
    "make the console the controlling terminal\0"                 // set_console
    "change the root directory\0"                                 // set_root
    "change the root mount\0"                                     // pivot_root
    "mount /proc\0"                                               // mount_proc
    "detach the old root\0"                                       // detach_old_root
    "change the working directory\0"                              // set_working_directory
    "set the process name\0"                                      // set_name
    "set the umask\0"                                             // set_umask
    "set the CPU affinity\0"                                      // set_cpu_affinity
    "clear the inheritable capabilities\0"                        // clear_inheritable
    "limit the capability bounding set\0"                         // limit_capabilities
    "set the supplementary groups\0"                              // set_groups
    "set the gid\0"                                               // set_gid
    "set the uid\0"                                               // set_uid
    "verify the ids\0"                                            // verify_ids
    "start a session keyring\0"                                   // new_session_keyring
    "set the capabilities\0"                                      // set_capabilities
    "set no_new_privs\0"                                          // set_no_new_privileges
    "set the parent-death signal\0"                               // set_death_signal
    "call the plan's last function\0"                             // call_last
    "report to the caller\0"                                      // report
    "make the pipe that tells of the execution\0"                 // offer_errors
    "pass the descriptors\0"                                      // pass_descriptors
    "set the limits\0"                                            // set_limits
    "set the signals\0"                                           // set_signals
    "install the seccomp filter\0"                                // install_filter
    "execute the program\0"                                       // execute
    "open a pidfd\0"                                              // open_pidfd
    "send a signal\0"                                             // send_signal
    "wait for a process\0"                                        // wait
    "open a namespace\0"                                          // open_namespace
    "ask about a namespace\0"                                     // read_namespace
    "pin a namespace\0"                                           // pin_namespace
    "unpin a namespace\0"                                         // unpin_namespace
    "make a pipe or socket pair\0"                                // make_pipe
    "duplicate a descriptor\0"                                    // duplicate
    "read\0"                                                      // read
    "write\0"                                                     // write
    "send a descriptor\0"                                         // send_descriptor
    "receive a descriptor\0"                                      // receive_descriptor
    "open a pseudoterminal\0"                                     // open_pty
    "open the pseudoterminal's peer\0"                            // open_peer
    "set the terminal's mode\0"                                   // terminal_mode
    "read or set the window size\0"                               // window_size
    "read the process's ids\0"                                    // read_credentials
    "read the subordinate ids\0"                                  // read_subordinate_ids
    "read the bootstrap message\0"                                // read_bootstrap
    "seal the executable\0"                                       // seal_executable
    "start the embedding program\0"                               // start_program
    "join with this thread\0"                                     // join_here
    "go back to the thread's own namespace\0"                     // go_back
    ;

/// The system calls behind them.
inline constexpr const char* step_systems =
    "none\0"                                                      // check_plan
    "openat, fstatfs, readlinkat\0"                               // open_proc
    "none\0"                                                      // open_target
    "ioctl(TCGETS)\0"                                             // check_console
    "fstatfs, openat(cgroup.procs)\0"                             // open_cgroup
    "pidfd_open\0"                                                // pin_caller
    "socketpair\0"                                                // make_channel
    "socketpair, setsockopt, clone3\0"                    // make_opener
    "clone\0"                                                     // make_joiner
    "write(cgroup.procs)\0"                                       // enter_cgroup
    "openat, write(/proc/self/oom_score_adj)\0"                   // set_oom_score_adj
    "setpriority\0"                                               // set_priority
    "openat(/proc/self/timens_offsets)\0"                         // open_time_offsets
    "prctl(PR_SET_DUMPABLE)\0"                                    // clear_dumpable
    "setgroups\0"                                                     // drop_groups
    "setns\0"                                                     // join_user
    "setns\0"                                                     // join_mount
    "setns\0"                                                     // join_pid
    "setns\0"                                                     // join_net
    "setns\0"                                                     // join_ipc
    "setns\0"                                                     // join_uts
    "setns\0"                                                     // join_cgroup
    "setns\0"                                                     // join_time
    "clone3\0"                                                    // make_child
    "clone3(CLONE_NEWUSER)\0"                                     // create_user
    "clone3(CLONE_NEWPID)\0"                                      // create_pid
    "openat, ppoll, write(/proc/PID/uid_map)\0"                   // write_uid_map
    "openat, ppoll, write(/proc/PID/setgroups)\0"                 // write_setgroups
    "openat, ppoll, write(/proc/PID/gid_map)\0"                   // write_gid_map
    "ppoll, recvfrom\0"                                           // await_maps
    "setresgid, setresuid\0"                                      // become_root
    "unshare\0"                                                   // create_net
    "unshare\0"                                                   // create_ipc
    "unshare\0"                                                   // create_uts
    "unshare\0"                                                   // create_cgroup
    "unshare\0"                                                   // create_mount
    "unshare\0"                                                   // create_time
    "write(/proc/self/timens_offsets)\0"                          // write_time_offsets
    "openat, setns\0"                                             // enter_time
    "mount(MS_REC)\0"                                             // set_propagation
    "sethostname\0"                                               // set_host_name
    "setdomainname\0"                                             // set_domain_name
    "socket, ioctl(SIOCGIFFLAGS), ioctl(SIOCSIFFLAGS)\0"          // bring_up_loopback
    "prctl, recvmsg, openat, setns, openat, sendmsg(SCM_RIGHTS)\0" // open_mount_sources
    "sendto, recvfrom, recvmsg(SCM_RIGHTS), dup3\0"               // take_mount_sources
    "whatever it calls\0"                                         // call_inside
    "close_range(CLOSE_RANGE_UNSHARE) or unshare(CLONE_FILES)\0"  // own_descriptors
    "setsid\0"                                                    // new_session
    "ioctl(TIOCSCTTY), dup3\0"                                    // set_console
    "fchdir, chroot\0"                                            // set_root
    "chdir, getcwd, open_tree, move_mount, fchdir, pivot_root\0"          // pivot_root
    "mount(proc)\0"                                               // mount_proc
    "umount2(MNT_DETACH), chdir\0"                                // detach_old_root
    "fchdir, getcwd\0"                                            // set_working_directory
    "prctl(PR_SET_NAME)\0"                                        // set_name
    "umask\0"                                                     // set_umask
    "sched_setaffinity\0"                                         // set_cpu_affinity
    "capget, capset\0"                                            // clear_inheritable
    "prctl(PR_CAPBSET_READ), prctl(PR_CAPBSET_DROP)\0"// limit_capabilities
    "setgroups, getgroups\0"                                          // set_groups
    "setresgid\0"                                                 // set_gid
    "setresuid\0"                                                 // set_uid
    "getresgid, getresuid, getgroups\0"                           // verify_ids
    "keyctl(KEYCTL_JOIN_SESSION_KEYRING)\0"                       // new_session_keyring
    "prctl(PR_CAPBSET_READ), capget, capset, prctl(PR_CAP_AMBIENT), capget, prctl\0"              // set_capabilities
    "prctl(PR_SET_NO_NEW_PRIVS)\0"                                // set_no_new_privileges
    "prctl(PR_SET_PDEATHSIG)\0"                                   // set_death_signal
    "whatever it calls\0"                                         // call_last
    "sendto\0"                                                    // report
    "pipe2, sendmsg(SCM_RIGHTS)\0"                                // offer_errors
    "fcntl, dup3, close_range\0"                                  // pass_descriptors
    "prlimit64\0"                                                 // set_limits
    "rt_sigaction, rt_sigprocmask\0"                              // set_signals
    "seccomp(SECCOMP_SET_MODE_FILTER)\0"                          // install_filter
    "execve or execveat\0"                                        // execute
    "pidfd_open\0"                                                // open_pidfd
    "pidfd_send_signal\0"                                         // send_signal
    "waitid\0"                                                    // wait
    "open\0"                                                      // open_namespace
    "ioctl\0"                                                     // read_namespace
    "mount(MS_BIND)\0"                                            // pin_namespace
    "umount2\0"                                                   // unpin_namespace
    "pipe2\0"                                                     // make_pipe
    "fcntl(F_DUPFD_CLOEXEC)\0"                                    // duplicate
    "read\0"                                                      // read
    "write\0"                                                     // write
    "sendmsg(SCM_RIGHTS)\0"                                       // send_descriptor
    "recvmsg(SCM_RIGHTS)\0"                                       // receive_descriptor
    "open(/dev/ptmx)\0"                                           // open_pty
    "ioctl(TIOCGPTPEER)\0"                                        // open_peer
    "ioctl(TCSETS)\0"                                             // terminal_mode
    "ioctl(TIOCSWINSZ)\0"                                         // window_size
    "getgroups\0"                                                 // read_credentials
    "openat, read\0"                                              // read_subordinate_ids
    "read\0"                                                      // read_bootstrap
    "memfd_create, execveat\0"                                    // seal_executable
    "execve\0"                                                    // start_program
    "setns\0"                                                     // join_here
    "setns\0"                                                     // go_back
    ;

// clang-format on

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_STEP_TEXTS_HPP
