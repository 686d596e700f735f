// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_CALLS_HPP
#define NSJOIN_TESTS_FAULTS_CALLS_HPP

#include <array>
#include <cerrno>
#include <initializer_list>
#include <string>
#include <string_view>
#include <sys/syscall.h>
#include <vector>

// The system calls that the library makes: names, the errors that their man pages list, and those
// that no fault is put into, with the reason.

namespace faults {

/// How a call may come back with a part of what was asked for.
enum class Part { none, in, out };

struct CallFacts {
    long number;
    std::string_view name;
    std::vector<int> errors; ///< of its man page, beside the common ones
    Part part = Part::none;
};

/// Those that any call may fail with: by a filter, a lack of memory or descriptors, or a signal.
inline constexpr std::array<int, 10> common_errors{EINTR,  ENOSYS, EPERM,  EACCES, ENOMEM,
                                                   EMFILE, ENFILE, EAGAIN, EIO,    ENOSPC};

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

/// A call that is not listed gets the common errors.
inline auto call_table() -> const std::vector<CallFacts>& {
    static const std::vector<CallFacts> table{
        {SYS_capget, "capget", {EFAULT, EINVAL, ESRCH}},
        {SYS_capset, "capset", {EFAULT, EINVAL, ESRCH}},
        {SYS_chdir, "chdir", {ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR}},
        {SYS_chroot, "chroot", {ELOOP, ENOENT, ENOTDIR}},
        {SYS_clone, "clone", {EINVAL, EUSERS}},
        {SYS_clone3, "clone3", {EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EUSERS}},
        {SYS_close_range, "close_range", {EINVAL}},
        {SYS_connect, "connect", {ECONNREFUSED, ENOENT}},
        {SYS_dup, "dup", {EBADF}},
#ifdef SYS_dup2
        {SYS_dup2, "dup2", {EBADF, EBUSY}},
#endif
        {SYS_dup3, "dup3", {EBADF, EBUSY, EINVAL}},
        {SYS_execve, "execve", {E2BIG, EINVAL, EISDIR, ELOOP, ENOENT, ENOEXEC, ENOTDIR, ETXTBSY}},
        {SYS_execveat, "execveat", {E2BIG, EBADF, EINVAL, ENOENT, ENOEXEC, ETXTBSY}},
        {SYS_fchdir, "fchdir", {EBADF, ENOTDIR}},
        {SYS_fchmod, "fchmod", {EBADF, EROFS}},
        {SYS_fcntl, "fcntl", {EBADF, EINVAL}},
        {SYS_fstat, "fstat", {EBADF, EOVERFLOW}},
        {SYS_fstatfs, "fstatfs", {EBADF, EOVERFLOW}},
        {SYS_ftruncate, "ftruncate", {EFBIG, EINVAL}},
        {SYS_futex, "futex", {}},
        {SYS_getcwd, "getcwd", {EINVAL, ENOENT, ERANGE}},
        {SYS_getdents64, "getdents64", {EBADF, EINVAL, ENOENT, ENOTDIR}},
        {SYS_getpriority, "getpriority", {EINVAL, ESRCH}},
        {SYS_getpgid, "getpgid", {ESRCH}},
        {SYS_getgroups, "getgroups", {EFAULT, EINVAL}},
        {SYS_getrandom, "getrandom", {EFAULT}},
        {SYS_getresgid, "getresgid", {EFAULT}},
        {SYS_getresuid, "getresuid", {EFAULT}},
        {SYS_getsockopt, "getsockopt", {EBADF, ENOPROTOOPT, ENOTSOCK}},
        {SYS_ioctl, "ioctl", {EBADF, EINVAL, ENOTTY}},
        {SYS_keyctl, "keyctl", {EDQUOT, EKEYREVOKED, ENOKEY}},
        {SYS_kill, "kill", {EINVAL, ESRCH}},
        {SYS_lseek, "lseek", {EINVAL}},
        {SYS_madvise, "madvise", {EINVAL}},
        {SYS_setpgid, "setpgid", {EINVAL, ESRCH}},
        {SYS_memfd_create, "memfd_create", {EFAULT, EINVAL}},
        {SYS_mmap, "mmap", {EBADF, EINVAL}},
        {SYS_mount, "mount", {EBUSY, EINVAL, ENODEV, ENOENT, ENOTDIR}},
        {SYS_mount_setattr, "mount_setattr", {EBUSY, EINVAL}},
        {SYS_move_mount, "move_mount", {EBUSY, EINVAL, ENOENT}},
        {SYS_newfstatat, "newfstatat", {EBADF, ELOOP, ENOENT, ENOTDIR}},
        {SYS_open_tree, "open_tree", {EBADF, EINVAL, ENOENT}},
        {SYS_openat,
         "openat",
         {EBADF, EBUSY, EEXIST, EISDIR, ELOOP, ENODEV, ENOENT, ENOTDIR, ENXIO, EROFS, ESRCH}},
        {SYS_pidfd_open, "pidfd_open", {EINVAL, ENODEV, ESRCH}},
        {SYS_pidfd_send_signal, "pidfd_send_signal", {EBADF, EINVAL, ESRCH}},
        {SYS_pipe2, "pipe2", {EFAULT}},
        {SYS_pivot_root, "pivot_root", {EBUSY, EINVAL, ENOTDIR}},
        {SYS_ppoll, "ppoll", {EFAULT, EINVAL}},
        {SYS_prctl, "prctl", {EFAULT, EINVAL}},
        {SYS_pread64, "pread64", {EBADF, EISDIR}, Part::in},
        {SYS_prlimit64, "prlimit64", {EFAULT, EINVAL, ESRCH}},
        {SYS_pwrite64, "pwrite64", {EBADF, EFBIG}, Part::out},
        {SYS_read, "read", {EBADF, EINVAL, EISDIR, ESRCH}, Part::in},
        {SYS_readlinkat, "readlinkat", {EINVAL, ELOOP, ENOENT, ENOTDIR}},
        {SYS_recvfrom, "recvfrom", {EBADF, ECONNREFUSED, ECONNRESET, ENOTCONN}, Part::in},
        {SYS_recvmsg, "recvmsg", {EBADF, ECONNREFUSED, ECONNRESET, ENOTCONN}},
        {SYS_rt_sigaction, "rt_sigaction", {EFAULT, EINVAL}},
        {SYS_sched_getaffinity, "sched_getaffinity", {EFAULT, EINVAL, ESRCH}},
        {SYS_sched_setaffinity, "sched_setaffinity", {EFAULT, EINVAL, ESRCH}},
        {SYS_seccomp, "seccomp", {EFAULT, EINVAL, ESRCH}},
        {SYS_sendfile, "sendfile", {EBADF, EINVAL, EOVERFLOW}},
        {SYS_sendmsg, "sendmsg", {EBADF, ECONNRESET, ENOBUFS, ENOTCONN, EPIPE, ETOOMANYREFS}},
        {SYS_sendto, "sendto", {EBADF, ECONNRESET, ENOBUFS, ENOTCONN, EPIPE}, Part::out},
        {SYS_setdomainname, "setdomainname", {EFAULT, EINVAL}},
        {SYS_setgroups, "setgroups", {EINVAL}},
        {SYS_sethostname, "sethostname", {EFAULT, EINVAL}},
        {SYS_setns, "setns", {EBADF, EINVAL, ESRCH, EUSERS}},
        {SYS_setpriority, "setpriority", {EINVAL, ESRCH}},
        {SYS_setresgid, "setresgid", {EINVAL}},
        {SYS_setresuid, "setresuid", {EINVAL}},
        {SYS_setsid, "setsid", {}},
        {SYS_setsockopt, "setsockopt", {EBADF, EINVAL, ENOPROTOOPT}},
        {SYS_shutdown, "shutdown", {EBADF, ENOTCONN}},
        {SYS_socket, "socket", {EAFNOSUPPORT, EINVAL, ENOBUFS, EPROTONOSUPPORT}},
        {SYS_socketpair, "socketpair", {EAFNOSUPPORT, EOPNOTSUPP, EPROTONOSUPPORT}},
        {SYS_statx, "statx", {EBADF, ENOENT}},
        {SYS_tgkill, "tgkill", {EINVAL, ESRCH}},
        {SYS_umount2, "umount2", {EBUSY, EINVAL, ENOENT}},
        {SYS_unshare, "unshare", {EINVAL, EUSERS}},
        {SYS_write, "write", {EBADF, EDQUOT, EFBIG, EINVAL, EPIPE, ERANGE, ESRCH}, Part::out},
    };
    return table;
}

inline auto facts_of(long number) -> const CallFacts* {
    for (const CallFacts& row : call_table()) {
        if (row.number == number) {
            return &row;
        }
    }
    return nullptr;
}

struct OutOfScope {
    long number;
    std::string_view name;
    std::string_view reason;
};

/// Calls into which no error is put. Processes are killed at them all the same.
// NOLINTNEXTLINE(*-avoid-c-arrays)
inline constexpr OutOfScope out_of_scope[]{
    {SYS_brk, "brk", "the libc's, before main and in malloc"},
    {SYS_clock_gettime, "clock_gettime", "cannot fail with a clock that there is"},
    {SYS_close, "close", "the descriptor is closed whatever it says"},
    {SYS_exit, "exit", "does not return"},
    {SYS_exit_group, "exit_group", "does not return"},
    {SYS_getegid, "getegid", "never fails, says its page"},
    {SYS_geteuid, "geteuid", "never fails, says its page"},
    {SYS_getgid, "getgid", "never fails, says its page"},
    {SYS_getpid, "getpid", "never fails, says its page"},
    {SYS_getppid, "getppid", "never fails, says its page"},
    {SYS_gettid, "gettid", "never fails, says its page"},
    {SYS_getuid, "getuid", "never fails, says its page"},
    {SYS_mprotect, "mprotect", "the libc's, before main"},
    {SYS_munmap, "munmap", "what it undoes can't be undone otherwise"},
    {SYS_restart_syscall, "restart_syscall", "the kernel's own"},
    {SYS_rseq, "rseq", "the libc's; a process without it runs on"},
    {SYS_rt_sigprocmask, "rt_sigprocmask", "a caller without it could not block a signal at all"},
    {SYS_rt_sigreturn, "rt_sigreturn", "the kernel's own"},
    {SYS_set_robust_list, "set_robust_list", "cannot fail with its one size"},
    {SYS_set_tid_address, "set_tid_address", "always succeeds, says its page"},
    {SYS_umask, "umask", "always succeeds, says its page"},
    {SYS_wait4, "wait4", "a caller that can't wait has no way to leave no zombie"},
    {SYS_waitid, "waitid", "a caller that can't wait has no way to leave no zombie"},
#ifdef SYS_arch_prctl
    {SYS_arch_prctl, "arch_prctl", "the libc's, before main"},
#endif
};

inline auto is_out_of_scope(long number) -> bool {
    for (const OutOfScope& row : out_of_scope) {
        if (row.number == number) {
            return true;
        }
    }
    return false;
}

inline auto name_of(long number) -> std::string {
    if (const CallFacts* row = facts_of(number); row != nullptr) {
        return std::string{row->name};
    }
    for (const OutOfScope& row : out_of_scope) {
        if (row.number == number) {
            return std::string{row.name};
        }
    }
    return "call " + std::to_string(number);
}

/// The errors that are put into a call.
inline auto errors_of(long number) -> std::vector<int> {
    std::vector<int> errors{common_errors.begin(), common_errors.end()};
    if (const CallFacts* row = facts_of(number); row != nullptr) {
        errors.insert(errors.end(), row->errors.begin(), row->errors.end());
    }
    return errors;
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_CALLS_HPP
