// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_SYSCALL_HPP
#define NSJOIN_DETAIL_KERNEL_SYSCALL_HPP

#include <nsjoin/detail/kernel/numbers.hpp>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif

// The system calls that the libc wraps wrongly for us (set*id, which signals every thread), not at
// all (clone3), or only in new versions. Each returns what the kernel does: a value, or -errno.

namespace nsjoin::inline v0_1::detail {

/// Makes a system call; returns its value or -errno. Leaves errno as the libc's wrapper does.
template <typename... Args>
[[nodiscard]] inline auto call(long number, Args... args) noexcept -> long {
    // NOLINTNEXTLINE(*-vararg): syscall(2) is variadic
    const long result = ::syscall(number, args...);
    return result == -1 ? -static_cast<long>(errno) : result;
}

/// As call(), made again as long as a signal interrupts it.
template <typename... Args>
[[nodiscard]] inline auto call_again(long number, Args... args) noexcept -> long {
    long result = 0;
    do {
        result = call(number, args...);
    } while (result == -EINTR);
    return result;
}

/// Whether an errno is what the kernel says of a call or a request that it lacks, or a seccomp
/// filter of one that it forbids: it is to be done otherwise, where there is another way.
[[nodiscard]] constexpr auto may_be_missing(int code) noexcept -> bool {
    return code == ENOSYS || code == EPERM || code == EACCES || code == EINVAL || code == E2BIG ||
           code == EOPNOTSUPP;
}

/// Keeps errno over a scope: for destructors, and for code that runs on another process's memory.
class ErrnoKeeper {
  public:
    ErrnoKeeper() noexcept : saved_{errno} {}

    ~ErrnoKeeper() { errno = saved_; }

    ErrnoKeeper(const ErrnoKeeper&) = delete;
    ErrnoKeeper(ErrnoKeeper&&) = delete;
    auto operator=(const ErrnoKeeper&) -> ErrnoKeeper& = delete;
    auto operator=(ErrnoKeeper&&) -> ErrnoKeeper& = delete;

  private:
    int saved_;
};

/// close(2), once: on Linux the descriptor is gone even when EINTR comes back.
inline void close_once(int fd) noexcept {
    (void)call(SYS_close, fd);
}

[[nodiscard]] inline auto open_at(int dir, const char* path, int flags) noexcept -> long {
    return call_again(SYS_openat, dir, path, flags | O_CLOEXEC, 0);
}

/// Blocks every signal, the libc's own included, and returns the mask that was.
[[nodiscard]] inline auto block_signals() noexcept -> KernelSignalSet {
    const KernelSignalSet all = ~KernelSignalSet{0};
    KernelSignalSet before = 0;
    (void)call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    return before;
}

inline void restore_signals(KernelSignalSet mask) noexcept {
    (void)call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
}

[[noreturn]] inline void exit_now(int code) noexcept {
    for (;;) {
        (void)call(SYS_exit_group, code);
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_SYSCALL_HPP
