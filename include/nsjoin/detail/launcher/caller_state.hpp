// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_CALLER_STATE_HPP
#define NSJOIN_DETAIL_LAUNCHER_CALLER_STATE_HPP

#include <nsjoin/detail/engine/program.hpp>
#include <nsjoin/detail/launcher/archive.hpp>

#include <array>
#include <csignal>
#include <cstdint>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

// What a program inherits of the process that starts it, as the caller has it at the call: a
// launcher has what the caller had when it started that.

namespace nsjoin::inline v0_1::detail {

inline constexpr std::size_t limit_count = 16; ///< RLIMIT_NLIMITS, the same since Linux 2.6.25
inline constexpr int last_signal = 64;

struct CallerState {
    std::array<BorrowedFd, 3> standard{}; ///< none where it is closed, or will be on exec
    BorrowedFd directory;
    std::int32_t umask = -1; ///< or -1: unknown
    pid_t group = 0;
    std::int32_t priority = 0;   ///< as getpriority(2) returns it: 20 - nice
    KernelSignalSet ignored = 0; ///< signals
    KernelSignalSet mask = 0;
    std::array<rlimit, limit_count> limits{};
    std::string_view path; ///< the variable PATH, "PATH=…"
};

template <typename Archive, typename State>
void state_fields(Archive& archive, State& state) noexcept {
    for (auto& fd : state.standard) {
        archive.fd(fd);
    }
    archive.fd(state.directory);
    archive.value(state.umask);
    archive.value(state.group);
    archive.value(state.priority);
    archive.value(state.ignored);
    archive.value(state.mask);
    archive.value(state.limits);
    archive.text(state.path);
}

[[nodiscard]] inline auto signal_is_ignored(int number) noexcept -> bool {
    KernelSigaction now{};
    return call(SYS_rt_sigaction, number, nullptr, now.data(), 8UL) == 0 && now[0] == 1;
}

[[nodiscard]] inline auto ignored_signals() noexcept -> KernelSignalSet {
    KernelSignalSet set = 0;
    for (int number = 1; number <= last_signal; ++number) {
        set |= signal_is_ignored(number) ? signal_bit(number) : 0;
    }
    return set;
}

[[nodiscard]] inline auto read_limits(std::array<rlimit, limit_count>& limits) noexcept
    -> Result<void> {
    Result<void> done;
    for (std::size_t i = 0; i < limit_count && done; ++i) {
        done = outcome(Step::set_limits, call(SYS_prlimit64, 0, i, nullptr, &limits[i]));
    }
    return done;
}

/// The umask and the ignored signals, of /proc/PID/status: a call each costs more, and umask(2)
/// changes what it tells. Linux 4.7.
[[nodiscard]] inline auto read_status(CallerState& state, BorrowedFd status) noexcept
    -> Result<void> {
    constexpr std::uint64_t unknown = ~std::uint64_t{0};
    std::array<char, 2048> text; // NOLINT(*-member-init)
    const long length = call_again(SYS_pread64, status.get(), text.data(), text.size(), 0L);
    if (length < 0 && status.ok()) {
        return fail(Step::set_umask, static_cast<int>(-length), "/proc/self/status");
    }
    const std::string_view all{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
    const std::uint64_t umask = number_in_status(all, "\nUmask:\t", 8, unknown);
    state.umask = umask == unknown ? -1 : static_cast<std::int32_t>(umask);
    const std::uint64_t ignored = number_in_status(all, "\nSigIgn:\t", 16, unknown);
    state.ignored = ignored == unknown ? ignored_signals() : ignored;
    return {};
}

/// Which of the standard descriptors a program would have. With close-on-exec one is no program's:
/// perhaps the socket of the launcher itself.
[[nodiscard]] inline auto ask_for_standard(CallerState& state) noexcept -> Result<void> {
    for (int number = 0; number <= STDERR_FILENO; ++number) {
        const long flags = call(SYS_fcntl, number, F_GETFD, 0);
        if (flags < 0 && flags != -EBADF) {
            return outcome(Step::pass_descriptors, flags);
        }
        if (flags == 0) {
            state.standard[static_cast<std::size_t>(number)] = BorrowedFd{number};
        }
    }
    return {};
}

/// The calling thread's working directory, also one that its ids may not search: open_tree(2),
/// Linux 5.2, opens that without a path.
[[nodiscard]] inline auto open_directory() noexcept -> Result<OwnedFd> {
    auto opened = open_owned(Step::set_working_directory, AT_FDCWD, ".", O_PATH | O_DIRECTORY);
    if (!opened && opened.error().code == EACCES) {
        const long there = call(open_tree_number, AT_FDCWD, "", AT_EMPTY_PATH | O_CLOEXEC);
        if (there >= 0) {
            return OwnedFd{static_cast<int>(there)};
        }
    }
    return opened;
}

/// Asks the kernel for the calling thread's. `status` is its /proc/PID/status; `directory` gets its
/// working directory, and owns it.
[[nodiscard]] inline auto ask_for_state(CallerState& state, BorrowedFd status,
                                        OwnedFd& directory) noexcept -> Result<void> {
    if (Result<void> asked = ask_for_standard(state); !asked) {
        return asked;
    }
    auto opened = open_directory();
    if (!opened) {
        return Unexpected{opened.error()};
    }
    directory = *std::move(opened);
    state.directory = directory;
    Result<void> done = read_status(state, status);
    const long group = call(SYS_getpgid, 0);
    state.group = static_cast<pid_t>(group);
    const long priority = call(SYS_getpriority, PRIO_PROCESS, 0);
    state.priority = static_cast<std::int32_t>(priority);
    (void)call(SYS_rt_sigprocmask, SIG_SETMASK, nullptr, &state.mask, sizeof state.mask);
    done = done ? outcome(Step::start_program, group) : done;
    done = done ? outcome(Step::set_priority, priority) : done;
    done = done ? read_limits(state.limits) : done;
    if (!done) {
        return done;
    }
    constexpr std::string_view name = "PATH=";
    const char* const path = ::getenv("PATH"); // NOLINT(concurrency-mt-unsafe): only read
    state.path = path == nullptr ? name : path - name.size(); // NOLINT(*-pointer-arithmetic)
    return {};
}

[[nodiscard]] inline auto take_standard(const CallerState& state) noexcept -> Result<void> {
    for (int number = 0; number <= STDERR_FILENO; ++number) {
        const BorrowedFd fd = state.standard[static_cast<std::size_t>(number)];
        if (!fd.ok()) {
            close_once(number);
            continue;
        }
        const long taken = call_again(SYS_dup3, fd.get(), number, 0);
        if (taken < 0) {
            return fail(Step::pass_descriptors, static_cast<int>(-taken));
        }
    }
    return {};
}

/// Ignores what the caller ignores, and nothing else.
inline void take_ignored(KernelSignalSet wanted, KernelSignalSet now) noexcept {
    for (int number = 1; number <= last_signal; ++number) {
        const bool ignored = (wanted & signal_bit(number)) != 0;
        if (ignored != ((now & signal_bit(number)) != 0)) {
            const KernelSigaction action{ignored ? 1U : 0U, 0, 0, 0};
            (void)call(SYS_rt_sigaction, number, action.data(), nullptr, 8UL);
        }
    }
}

/// Goes to the caller's working directory. A process may stand in one that its ids may not search,
/// and so not enter again: there a launcher that was started in it is already. fchdir(2).
[[nodiscard]] inline auto take_directory(BorrowedFd directory) noexcept -> Result<void> {
    const long taken = call(SYS_fchdir, directory.get());

    struct stat own {};

    struct stat wanted {};

    if (taken == -EACCES && ::fstatat(AT_FDCWD, "", &own, AT_EMPTY_PATH) == 0 &&
        ::fstat(directory.get(), &wanted) == 0 && own.st_dev == wanted.st_dev &&
        own.st_ino == wanted.st_ino) {
        return {};
    }
    return outcome(Step::set_working_directory, taken);
}

/// What a launcher knows of itself, and its joiners with it.
struct LauncherState {
    KernelSignalSet ignored = 0;
    std::array<rlimit, limit_count> limits{};
};

/// Makes this process like the caller, but for its limits and signal mask, which the program takes
/// itself. `ignored` are the signals that it ignores now.
[[nodiscard]] inline auto take_state(const CallerState& state, KernelSignalSet ignored) noexcept
    -> Result<void> {
    Result<void> done = take_standard(state);
    if (done && ::getpgid(0) != state.group) {
        done = outcome(Step::start_program, call(SYS_setpgid, 0, state.group));
    }
    if (done && call(SYS_getpriority, PRIO_PROCESS, 0) != state.priority) {
        done = outcome(Step::start_program,
                       call(SYS_setpriority, PRIO_PROCESS, 0, 20 - state.priority));
    }
    if (done) {
        done = take_directory(state.directory);
    }
    if (state.umask >= 0) {
        (void)call(SYS_umask, state.umask);
    }
    take_ignored(state.ignored, ignored);
    return done;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_CALLER_STATE_HPP
