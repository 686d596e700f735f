// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_DESCRIPTORS_HPP
#define NSJOIN_DETAIL_ENGINE_DESCRIPTORS_HPP

#include <nsjoin/command.hpp>
#include <nsjoin/detail/engine/caller_steps.hpp>

#include <cstddef>

// Which descriptors a program gets, and under which numbers.

namespace nsjoin::inline v0_1::detail {

inline constexpr unsigned close_range_unshare = 1U << 1U;
inline constexpr unsigned every_descriptor = ~0U;

#ifdef SYS_openat2
inline constexpr long openat2_number = SYS_openat2;
#else
inline constexpr long openat2_number = 437;
#endif

#ifdef SYS_close_range
inline constexpr long close_range_number = SYS_close_range;
#else
inline constexpr long close_range_number = 436;
#endif

/// How many descriptors a command passes at most.
inline constexpr std::size_t max_passed = 256;

[[nodiscard]] inline auto count_passed_as(const Command& command, int number) noexcept -> int {
    int count = 0;
    for (const PassedFd& passed : command.descriptors) {
        count += passed.to == number ? 1 : 0;
    }
    return count;
}

[[nodiscard]] inline auto is_passed_from(const Command& command, int number) noexcept -> bool {
    for (const PassedFd& passed : command.descriptors) {
        if (passed.from.get() == number) {
            return true;
        }
    }
    return command.program.file().get() == number;
}

/// Copies what the command names where a console will be.
[[nodiscard]] inline auto copy_from_console(Run& run, const Command& command) noexcept
    -> Result<void> {
    for (int number = 0; run.plan.console.ok() && number <= STDERR_FILENO; ++number) {
        if (!is_passed_from(command, number)) {
            continue;
        }
        const long copy = call(SYS_fcntl, number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (copy < 0) {
            return outcome(Step::pass_descriptors, copy);
        }
        run.copies[static_cast<std::size_t>(number)].reset(static_cast<int>(copy));
    }
    return {};
}

/// The number under which the command's descriptor is found, whatever the console has taken.
[[nodiscard]] inline auto number_of(const Run& run, BorrowedFd fd) noexcept -> int {
    if (!fd.ok() || fd.get() > STDERR_FILENO) {
        return fd.get();
    }
    const OwnedFd& copy = run.copies[static_cast<std::size_t>(fd.get())];
    return copy.ok() ? copy.get() : fd.get();
}

/// One more than the highest descriptor that the plan or the command names.
[[nodiscard]] inline auto above_all(const Attempt& attempt) noexcept -> int {
    const Run& run = attempt.run;
    const Draft& plan = run.plan;
    int highest = STDERR_FILENO;
    const auto consider = [&highest](int number) {
        highest = number > highest ? number : highest;
    };
    for (const int number :
         {attempt.kept.executable, attempt.kept.errors, attempt.caller_pidfd.get(),
          plan.console.get(), plan.root.get(), plan.working_directory.get()}) {
        consider(number);
    }
    for (const OwnedFd& procs : attempt.cgroup_procs) {
        consider(procs.get());
    }
    for (const PassedFd& passed : run.command->descriptors) {
        consider(number_of(run, passed.from));
        consider(passed.to);
    }
    return highest + 1;
}

/// Gives the process, which may share the caller's, a descriptor table of its own, with no more in
/// it than needed: to copy all of a big one would be the dearest part of it all. Where nothing
/// changes in it, execve(2) copies it.
[[nodiscard]] inline auto own_descriptors(const Attempt& attempt) noexcept -> Result<void> {
    long result = -ENOSYS;
    if (attempt.run.command->close_others) {
        result =
            call(close_range_number, above_all(attempt), every_descriptor, close_range_unshare);
    }
    if (result < 0) {
        result = call(SYS_unshare, clone_files);
    }
    return outcome(Step::own_descriptors, result);
}

[[nodiscard]] inline auto pass_as(int from, int to) noexcept -> long {
    return from == to ? call(SYS_fcntl, to, F_SETFD, 0) : call_again(SYS_dup3, from, to, 0);
}

/// Puts the descriptors under their numbers. What is kept and in the way is moved.
[[nodiscard]] inline auto place_descriptors(Attempt& attempt) noexcept -> long {
    const Run& run = attempt.run;
    const Command& command = *run.command;
    Kept& kept = attempt.kept;
    const int above = above_all(attempt);
    const auto& list = command.descriptors;
    const auto is_taken = [&command](int number) {
        return count_passed_as(command, number) != 0;
    };
    for (int* const number : {&kept.executable, &kept.errors}) {
        if (*number >= 0 && is_taken(*number)) {
            const long moved = call(SYS_fcntl, *number, F_DUPFD_CLOEXEC, above);
            if (moved < 0) {
                return moved;
            }
            *number = static_cast<int>(moved);
        }
    }
    // Where one comes from a number that another one takes, all are moved out of the way first.
    bool crossed = false;
    for (const PassedFd& passed : list) {
        const int number = number_of(run, passed.from);
        crossed = crossed || (number != passed.to && is_taken(number));
    }
    std::array<int, max_passed> from{};
    for (std::size_t i = 0; i < list.size(); ++i) {
        const int number = number_of(run, list[i].from);
        const long moved = crossed ? call(SYS_fcntl, number, F_DUPFD_CLOEXEC, above) : number;
        if (moved < 0) {
            return moved;
        }
        from[i] = static_cast<int>(moved);
    }
    long result = 0;
    for (std::size_t i = 0; i < list.size() && result >= 0; ++i) {
        result = pass_as(from[i], list[i].to);
    }
    return result;
}

/// The calling process's list of descriptors in /proc, or -1 where that can't be believed. Nothing
/// that is mounted over a part of it is followed (openat2(2), Linux 5.6).
[[nodiscard]] inline auto open_own_list() noexcept -> OwnedFd {
    struct {
        std::uint64_t flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
        std::uint64_t mode = 0;
        std::uint64_t resolve = 1; // RESOLVE_NO_XDEV
    } how;

    const OwnedFd proc{static_cast<int>(open_proc_directory())};
    if (!proc.ok() || !lies_on(proc.get(), proc_super_magic)) {
        return OwnedFd{};
    }
    constexpr const char* path = "thread-self/fd";
    long list = call_again(openat2_number, proc.get(), path, &how, sizeof how);
    list = list < 0 && list != -EXDEV ? open_at(proc.get(), path, O_RDONLY | O_DIRECTORY) : list;
    return OwnedFd{static_cast<int>(list < 0 ? -1 : list)};
}

/// Closes those of `first` to `last` that /proc lists, whatever the limit is now. False if it can't
/// be believed.
[[nodiscard]] inline auto close_listed(unsigned first, unsigned last) noexcept -> bool {
    const OwnedFd list = open_own_list();
    alignas(std::uint64_t) std::array<char, 1024> entries{};
    bool lists_itself = false; // else it is another process's
    long length = list.ok() && lies_on(list.get(), proc_super_magic)
                      ? call(SYS_getdents64, list.get(), entries.data(), entries.size())
                      : -1;
    if (length < 0) {
        return false;
    }
    while (length > 0) {
        for (long at = 0; at < length;) {
            std::uint16_t size = 0; // of a struct linux_dirent64, whose name begins at 19
            std::memcpy(&size, &entries[static_cast<std::size_t>(at) + 16], sizeof size);
            unsigned fd = 0;
            const char* name = &entries[static_cast<std::size_t>(at) + 19];
            for (; *name >= '0' && *name <= '9'; ++name) { // NOLINT(*-pointer-arithmetic)
                fd = 10 * fd + static_cast<unsigned>(*name - '0');
            }
            lists_itself = lists_itself || fd == static_cast<unsigned>(list.get());
            if (fd >= first && fd <= last && fd != static_cast<unsigned>(list.get())) {
                close_once(static_cast<int>(fd));
            }
            at += size;
        }
        length = call(SYS_getdents64, list.get(), entries.data(), entries.size());
    }
    return length == 0 && lists_itself;
}

/// Closes `first` to `last`. close_range(2), or where that is missing one by one: a limit that was
/// lowered says nothing of what is open, so those that /proc lists, or as many as there can be.
inline void close_between(unsigned first, unsigned last) noexcept {
    if (first > last || call(close_range_number, first, last, 0U) == 0 ||
        close_listed(first, last)) {
        return;
    }
    constexpr unsigned most = 1U << 20U; // fs.nr_open, unless the host has raised it
    for (unsigned fd = first; fd <= last && fd < most; ++fd) {
        close_once(static_cast<int>(fd));
    }
}

/// Closes all but 0, 1, 2, the passed descriptors and what is kept.
inline void close_others(const Command& command, const Kept& kept) noexcept {
    auto first = static_cast<unsigned>(STDERR_FILENO + 1);
    for (;;) {
        unsigned next = every_descriptor;
        const auto consider = [&](int fd) {
            if (fd >= 0 && static_cast<unsigned>(fd) >= first) {
                next = static_cast<unsigned>(fd) < next ? static_cast<unsigned>(fd) : next;
            }
        };
        consider(kept.executable);
        consider(kept.errors);
        for (const PassedFd& passed : command.descriptors) {
            consider(passed.to);
        }
        if (next == every_descriptor) {
            close_between(first, every_descriptor);
            return;
        }
        if (next > first) {
            close_between(first, next - 1);
        }
        first = next + 1;
    }
}

/// Puts the descriptors of the command in their places, and closes the others if it says so.
[[nodiscard]] inline auto pass_descriptors(Attempt& attempt) noexcept -> Result<void> {
    const long passed = place_descriptors(attempt);
    if (passed >= 0 && attempt.run.command->close_others) {
        close_others(*attempt.run.command, attempt.kept);
    }
    return outcome(Step::pass_descriptors, passed);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_DESCRIPTORS_HPP
