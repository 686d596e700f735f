// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_CHILDREN_HPP
#define NSJOIN_DETAIL_WIRE_CHILDREN_HPP

#include <nsjoin/bootstrap/message.hpp>
#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/clock.hpp>
#include <nsjoin/detail/wire/birth_mark.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <dirent.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Which of a supervisor's children are those of the program that it started. A child that it has is
// not its own to end or to wait for: it may be another library's, or one whose parent has ended.

namespace nsjoin::inline v0_1::detail {

/// Adds the children that a thread's file in /proc names, as far as the kernel shows them
/// (CONFIG_PROC_CHILDREN), by their numbers in that /proc.
inline void add_children(BorrowedFd proc, const char* path, std::vector<pid_t>& children) {
    const OwnedFd file{static_cast<int>(open_at(proc.get(), path, O_RDONLY))};
    std::string text;
    std::array<char, 4096> part{};
    long count = 0;
    while (file.ok() && (count = call_again(SYS_read, file.get(), part.data(), part.size())) > 0) {
        text.append(part.data(), static_cast<std::size_t>(count));
    }
    std::string_view rest = text;
    while (!rest.empty()) {
        pid_t pid = 0;
        if (parse_number(take_until(rest, ' '), pid)) {
            children.push_back(pid);
        }
    }
}

/// The children of this process, found among all processes: where the kernel does not name them
/// (without CONFIG_PROC_CHILDREN).
[[nodiscard]] inline auto scan_for_children(BorrowedFd proc) -> std::vector<pid_t> {
    std::vector<pid_t> children;
    const long opened = open_at(proc.get(), ".", O_RDONLY | O_DIRECTORY);
    DIR* const directory = opened < 0 ? nullptr : ::fdopendir(static_cast<int>(opened));
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of its own
    while (const dirent* entry = directory != nullptr ? ::readdir(directory) : nullptr) {
        pid_t pid = 0;
        if (!parse_number(&entry->d_name[0], pid)) {
            continue;
        }
        const SmallPath path = SmallPath{""}.append(pid).append("/stat");
        const OwnedFd file{static_cast<int>(open_at(proc.get(), path.c_str(), O_RDONLY))};
        std::array<char, 512> text{};
        const long length = call_again(SYS_read, file.get(), text.data(), text.size());
        std::string_view rest{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
        const std::size_t end = rest.rfind(") "); // of the name, which may be anything
        rest = end == std::string_view::npos ? "" : after(rest, end + 4); // and of the state
        pid_t parent = 0;
        if (parse_number(take_until(rest, ' '), parent) && parent == ::getpid()) {
            children.push_back(pid);
        }
    }
    if (directory != nullptr) {
        (void)::closedir(directory);
    }
    return children;
}

/// Whether the kernel names the children of a thread.
[[nodiscard]] inline auto names_children(BorrowedFd proc) noexcept -> bool {
    return has_entry(proc, "thread-self/children");
}

/// The children of the calling thread.
[[nodiscard]] inline auto thread_children(BorrowedFd proc) -> std::vector<pid_t> {
    std::vector<pid_t> children;
    add_children(proc, "thread-self/children", children);
    return children;
}

/// The children of all threads of this process.
[[nodiscard]] inline auto process_children(BorrowedFd proc) -> std::vector<pid_t> {
    if (!names_children(proc)) {
        return scan_for_children(proc);
    }
    std::vector<pid_t> children;
    const long opened = open_at(proc.get(), "self/task", O_RDONLY | O_DIRECTORY);
    DIR* const directory = opened < 0 ? nullptr : ::fdopendir(static_cast<int>(opened));
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of its own
    while (const dirent* entry = directory != nullptr ? ::readdir(directory) : nullptr) {
        pid_t thread = 0;
        if (parse_number(&entry->d_name[0], thread)) {
            const SmallPath path = SmallPath{"self/task/"}.append(thread).append("/children");
            add_children(proc, path.c_str(), children);
        }
    }
    if (directory != nullptr) {
        (void)::closedir(directory);
    }
    return children;
}

/// Whether the process has the socket open, as far as the caller may look.
[[nodiscard]] inline auto holds_socket(BorrowedFd proc, pid_t pid, ino_t socket) -> bool {
    const std::string wanted = "socket:[" + std::to_string(socket) + "]";
    const SmallPath path = SmallPath{""}.append(pid).append("/fd");
    const long opened = open_at(proc.get(), path.c_str(), O_RDONLY | O_DIRECTORY);
    DIR* const directory = opened < 0 ? nullptr : ::fdopendir(static_cast<int>(opened));
    bool found = false;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of its own
    while (const dirent* entry = directory != nullptr ? ::readdir(directory) : nullptr) {
        std::array<char, 64> link{};
        const ssize_t length =
            ::readlinkat(::dirfd(directory), &entry->d_name[0], link.data(), link.size() - 1);
        found = found || (length > 0 && wanted == link.data());
    }
    if (directory != nullptr) {
        (void)::closedir(directory);
    }
    return found;
}

/// Ends a process that is proven the caller's own, and waits for it; whether that is done. One that
/// the caller has no right to end (a set-user-ID program, say), or that SIGKILL does not reach, has
/// a moment to end by itself.
inline auto end_own(const PidFd& process) noexcept -> bool {
    (void)process.send_signal(SIGKILL);
    return process.wait(killed_soon).has_value();
}

/// Ends those children, and waits for them, that `is_ours`, a function of their number in that
/// /proc, says are ours.
template <typename List, typename IsOurs>
void end_those(BorrowedFd proc, const List& list, const IsOurs& is_ours) {
    // The kernel may skip one when its neighbour is waited for meanwhile.
    for (bool again = true; again;) {
        again = false;
        for (const pid_t pid : list(proc)) {
            const auto child = PidFd::open(pid);
            if (child && is_ours(pid)) {
                again = end_own(*child) || again;
            }
        }
    }
}

/// Ends the processes that a program, which has ended, made as children of the calling thread
/// without telling of them. One that lives has the program's socket, one that has ended the mark of
/// its birth. Any other is somebody else's, and stays as it is.
inline void end_untold(ino_t socket) {
    // In another /proc the numbers are others.
    if (const auto proc = open_own_proc(::getpid())) {
        const bool named = names_children(*proc);
        const auto list = [named](BorrowedFd where) {
            return named ? thread_children(where) : scan_for_children(where);
        };
        // Of another thread's children a copy may have the socket; the mark it has not.
        end_those(*proc, list, [&](pid_t pid) {
            return has_birth_mark(*proc, pid, socket) ||
                   (named && holds_socket(*proc, pid, socket));
        });
    }
}

/// The same of the children of all threads, by the mark alone: the socket may have been copied into
/// a process that another thread has forked meanwhile.
inline void end_marked(ino_t socket) {
    if (const auto proc = open_own_proc(::getpid())) {
        end_those(*proc, process_children,
                  [&](pid_t pid) { return has_birth_mark(*proc, pid, socket); });
    }
}

[[nodiscard]] inline auto is_among(const std::vector<pid_t>& pids, pid_t pid) noexcept -> bool {
    for (const pid_t each : pids) {
        if (each == pid) {
            return true;
        }
    }
    return false;
}

/// Takes the statuses of those of the marked children that are there now, but for `known` ones, and
/// end untold. Until each of them has ended, or is a program, but no longer than a moment: another
/// call's may be among them.
inline void reap_marked(ino_t socket, const std::vector<pid_t>& known) {
    const auto proc = open_own_proc(::getpid());
    std::vector<pid_t> left = proc ? process_children(*proc) : std::vector<pid_t>{};
    const timespec moment{0, 1'000'000};
    const auto is_done = [&](pid_t pid) {
        constexpr int by_pid = 1; // P_PID
        siginfo_t info{};
        // Only of one that has ended the mark is the last.
        const long asked =
            call(SYS_waitid, by_pid, pid, &info, WEXITED | WNOHANG | WNOWAIT | wait_all, nullptr);
        const bool marked = has_birth_mark(*proc, pid, socket);
        if (asked == 0 && info.si_signo != 0 && marked) {
            (void)call(SYS_waitid, by_pid, pid, &info, WEXITED | WNOHANG | wait_all, nullptr);
        }
        return asked != 0 || info.si_signo != 0 || !marked;
    };
    std::erase_if(left, [&](pid_t pid) { return is_among(known, pid); });
    for (const Deadline deadline{Duration::milliseconds(100)}; !left.empty();) {
        std::erase_if(left, is_done);
        if (left.empty() || deadline.left().count() == 0) {
            return;
        }
        (void)call(SYS_nanosleep, &moment, nullptr);
    }
}

/// Those that the calling thread has now; none where /proc does not show it.
[[nodiscard]] inline auto thread_children() -> std::vector<pid_t> {
    const auto proc = open_own_proc(::getpid());
    return proc ? thread_children(*proc) : std::vector<pid_t>{};
}

/// Pins a process that is the caller's child, and none of those `before`: what a message names may
/// be anybody's. `told` is the pidfd that came with the pid, if there was one. One that has ended
/// is nobody's to be harmed: it was the caller's, who has its children reaped as they end.
[[nodiscard]] inline auto open_child(pid_t pid, OwnedFd told,
                                     const std::vector<pid_t>& before) noexcept -> Result<PidFd> {
    auto child = told.ok() ? Result<PidFd>{PidFd{std::move(told), pid}} : PidFd::open(pid);
    if (!child) {
        return child;
    }
    siginfo_t info{};
    const long is_child = call(SYS_waitid, p_pidfd, child->fd().get(), &info,
                               WEXITED | WNOHANG | WNOWAIT | wait_all, nullptr);
    pollfd entry{child->fd().get(), POLLIN, 0};
    const timespec at_once{};
    if (is_among(before, pid)) {
        return broken("reply", "names a process that was there before");
    }
    if (is_child < 0 &&
        (is_child != -ECHILD || call(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL) != 1)) {
        return broken("reply", "names a process that is no child of the supervisor");
    }
    return child;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_CHILDREN_HPP
