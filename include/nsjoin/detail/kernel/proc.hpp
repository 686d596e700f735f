// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_PROC_HPP
#define NSJOIN_DETAIL_KERNEL_PROC_HPP

#include <nsjoin/detail/kernel/syscall.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>

// What /proc says of the calling process where a system call can't be believed, because a seccomp
// filter may have answered it. System calls only.

namespace nsjoin::inline v0_1::detail {

/// Whether the open file, which may be one with O_PATH, is on a file system with that magic number.
[[nodiscard]] inline auto lies_on(int fd, std::uint64_t magic) noexcept -> bool {
    struct statfs facts {};

    return call_again(SYS_fstatfs, fd, &facts) == 0 &&
           static_cast<std::uint32_t>(facts.f_type) == magic;
}

/// /proc with O_PATH, whatever it is, or -errno.
[[nodiscard]] inline auto open_proc_directory() noexcept -> long {
    return open_at(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY);
}

/// Whether that /proc calls the calling process by that number, 1 or 0: else it is of another pid
/// namespace. -errno if that can't be asked.
[[nodiscard]] inline auto proc_calls_us(int proc, pid_t pid) noexcept -> long {
    std::array<char, 16> text{};
    const long length = call(SYS_readlinkat, proc, "self", text.data(), text.size());
    if (length < 0) {
        return length == -ENOENT ? 0 : length; // a process that it does not know
    }
    long number = 0;
    for (long i = 0; i < length; ++i) {
        number = 10 * number + (text[static_cast<std::size_t>(i)] - '0');
    }
    return length > 0 && number == pid ? 1 : 0;
}

/// How many threads /proc says that the calling process has, or 0 where it can't be believed.
[[nodiscard]] inline auto threads_in_proc() noexcept -> std::uint64_t {
    const long proc = open_proc_directory();
    if (proc < 0) {
        return 0;
    }
    const int directory = static_cast<int>(proc);
    const int tasks = static_cast<int>(open_at(directory, "self/task", O_PATH | O_DIRECTORY));

    struct stat facts {};

    // A link a thread, beside the two that every directory has.
    const bool known = tasks >= 0 && lies_on(directory, proc_super_magic) &&
                       lies_on(tasks, proc_super_magic) &&
                       proc_calls_us(directory, static_cast<pid_t>(call(SYS_getpid))) == 1 &&
                       ::fstat(tasks, &facts) == 0 && facts.st_nlink > 2;
    if (tasks >= 0) {
        close_once(tasks);
    }
    close_once(directory);
    return known ? facts.st_nlink - 2 : 0;
}

/// The state of another process, a letter; NUL where /proc can't be believed. proc_pid_stat(5).
[[nodiscard]] inline auto state_in_proc(pid_t pid) noexcept -> char {
    const long proc = open_proc_directory();
    if (proc < 0) {
        return '\0';
    }
    const int directory = static_cast<int>(proc);
    std::array<char, 24> path{};
    std::size_t at = path.size() - sizeof "/stat";
    std::memcpy(&path[at], "/stat", sizeof "/stat");
    for (unsigned rest = pid > 0 ? static_cast<unsigned>(pid) : 0U; rest != 0; rest /= 10) {
        path[--at] = static_cast<char>('0' + rest % 10);
    }
    const bool known = pid > 0 && lies_on(directory, proc_super_magic) &&
                       proc_calls_us(directory, static_cast<pid_t>(call(SYS_getpid))) == 1;
    const int file = known ? static_cast<int>(open_at(directory, &path[at], O_RDONLY)) : -1;
    std::array<char, 96> text{}; // a name has 64 bytes at most
    const long length = file < 0 ? -1 : call_again(SYS_read, file, text.data(), text.size());
    if (file >= 0) {
        close_once(file);
    }
    close_once(directory);
    const std::string_view read{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
    const std::size_t end = read.rfind(") "); // of the name, which may be anything
    return end == std::string_view::npos || end + 2 >= read.size() ? '\0' : read[end + 2];
}

/// Whether a file `setgroups` of /proc says that its user namespace denies setgroups(2): 1 or 0;
/// -ENODEV if it is not the kernel's; else -errno. user_namespaces(7).
[[nodiscard]] inline auto file_denies_setgroups(int file) noexcept -> long {
    if (!lies_on(file, proc_super_magic)) {
        return -ENODEV;
    }
    std::array<char, 8> text{};
    const long length = call_again(SYS_pread64, file, text.data(), text.size(), 0);
    if (length < 0) {
        return length;
    }
    return std::string_view{text.data(), static_cast<std::size_t>(length)} == "deny\n" ? 1 : 0;
}

/// The same of the calling thread's user namespace, by that /proc. Needs no right.
[[nodiscard]] inline auto proc_denies_setgroups(int proc) noexcept -> long {
    if (!lies_on(proc, proc_super_magic)) {
        return -ENODEV;
    }
    const long file = open_at(proc, "thread-self/setgroups", O_RDONLY);
    if (file < 0) {
        return file;
    }
    const long denied = file_denies_setgroups(static_cast<int>(file));
    close_once(static_cast<int>(file));
    return denied;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_PROC_HPP
