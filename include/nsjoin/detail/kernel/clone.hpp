// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_CLONE_HPP
#define NSJOIN_DETAIL_KERNEL_CLONE_HPP

#include <nsjoin/detail/kernel/proc.hpp>
#include <nsjoin/detail/kernel/syscall.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>

// NOLINTNEXTLINE(*-reserved-identifier,readability-identifier-naming): it is the compiler's
extern "C" [[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* begin,
                                                            std::size_t size);

namespace nsjoin::inline v0_1::detail {

// Valgrind makes a copy of who is to run on this memory: a program that is to be run by it is
// compiled with NSJOIN_VALGRIND, in all of its files.
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(NSJOIN_VALGRIND)
inline constexpr bool has_vfork = true;
#else
inline constexpr bool has_vfork = false;
#endif

/// Whether the process has several threads, or may have: unshare(2) refuses CLONE_THREAD then
/// (EINVAL), and else does nothing for it. Where a filter answers in its place, /proc is asked;
/// what is not known counts as several.
[[nodiscard]] inline auto has_threads() noexcept -> bool {
    const long result = call(SYS_unshare, clone_thread);
    return result == -EINVAL || (result != 0 && threads_in_proc() != 1);
}

// A process made with CLONE_VM and without a stack of its own runs on this very stack while its
// parent is suspended. The system call must then be inlined: the libc's syscall() returns through
// a slot of the stack that the new process has overwritten by the time its parent needs it.
[[gnu::always_inline]] inline auto inlined_call(long number, std::uint64_t a, std::uint64_t b,
                                                std::uint64_t c) noexcept -> long {
#if defined(__x86_64__)
    long result = 0;
    asm volatile("syscall"
                 : "=a"(result)
                 : "0"(number), "D"(a), "S"(b), "d"(c)
                 : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register std::uint64_t x0 asm("x0") = a;
    register std::uint64_t x1 asm("x1") = b;
    register std::uint64_t x2 asm("x2") = c;
    register long x8 asm("x8") = number;
    asm volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
    return static_cast<long>(x0);
#else
    return call(number, a, b, c);
#endif
}

/// Makes a process as `args` say with its own memory. Returns the pid, 0 in the new process, or
/// -errno. clone3(2), Linux 5.3; with a cgroup Linux 5.7.
[[nodiscard]] inline auto clone3_process(const CloneArgs& args) noexcept -> long {
    const bool full = (args.flags & clone_into_cgroup) != 0;
    return call(SYS_clone3, &args, full ? sizeof args : clone_args_size_5_3);
}

/// The same by clone(2), which has no cgroup and resets no handlers.
[[nodiscard]] inline auto clone_process(const CloneArgs& args) noexcept -> long {
    const std::uint64_t flags = args.flags | args.exit_signal;
    // One word serves clone(2) for the pidfd and for the pid, so the pid is written by hand.
    const std::uint64_t wanted = flags & ~clone_parent_settid;
#if defined(__aarch64__)
    const long pid = call(SYS_clone, wanted, 0UL, args.pidfd, args.tls, args.child_tid);
#else
    const long pid = call(SYS_clone, wanted, 0UL, args.pidfd, args.child_tid, args.tls);
#endif
    if (pid > 0 && (flags & clone_parent_settid) != 0) {
        // NOLINTNEXTLINE(*-cast,*-int-to-ptr): as the kernel has it
        *reinterpret_cast<pid_t*>(args.parent_tid) = static_cast<pid_t>(pid);
    }
    return pid;
}

/// A process that was killed on this stack leaves the marks of AddressSanitizer, where the program
/// has that, which its frames had.
inline void forget_frames_below() noexcept {
    constexpr std::size_t most = std::size_t{128} * 1024;
    if (&__asan_unpoison_memory_region != nullptr) {
        const char* const here = static_cast<const char*>(__builtin_frame_address(0));
        __asan_unpoison_memory_region(here - most, most); // NOLINT(*-pointer-arithmetic)
    }
}

/// Makes a process on the memory of this one, and suspends the calling thread until it ends or
/// executes. `body` runs in it with `context`, and either does not return, or returns in a process
/// with memory of its own that it made. Of `args` it takes what clone(2) has, or with a flag that
/// only clone3(2) has, all; clone(2) writes no pid beside a pidfd. Returns the pid in the caller, 0
/// in that further process, or -errno. CLONE_VM | CLONE_VFORK.
template <typename Context>
[[gnu::noinline]] auto run_on_this_memory(void (*body)(Context&), Context& context,
                                          CloneArgs args) noexcept -> long {
    args.flags |= clone_vm | clone_vfork;
    const bool by_clone3 = (args.flags >> 32) != 0;
    const std::uint64_t flags = args.flags & ~clone_parent_settid;
    const std::uint64_t first =
        by_clone3 ? reinterpret_cast<std::uint64_t>(&args) // NOLINT(*-reinterpret-cast)
                  : flags | args.exit_signal;
    const long pid = inlined_call(by_clone3 ? SYS_clone3 : SYS_clone, first,
                                  by_clone3 ? sizeof args : 0, args.pidfd);
    if (pid == 0) {
        body(context);
    }
    forget_frames_below();
    return pid;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_CLONE_HPP
