// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_RUN_HPP
#define NSJOIN_DETAIL_ENGINE_RUN_HPP

#include <nsjoin/detail/engine/dumpable.hpp>
#include <nsjoin/detail/engine/namespaces.hpp>
#include <nsjoin/detail/engine/schedule.hpp>
#include <nsjoin/detail/kernel/clock.hpp>

#include <cstring>
#include <new>
#include <optional>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

// One execution of a plan, and one attempt at it.

/// Where a libc has them (glibc 2.35): the thread's area of restartable sequences.
// NOLINTBEGIN(*-reserved-identifier,readability-identifier-naming): they are the libc's
extern "C" {
[[gnu::weak]] extern const std::ptrdiff_t __rseq_offset;
[[gnu::weak]] extern const unsigned __rseq_size;
}

// NOLINTEND(*-reserved-identifier,readability-identifier-naming)

namespace nsjoin::inline v0_1 {
struct Command;
}

namespace nsjoin::inline v0_1::detail {

/// What a process that the caller shares memory with tells it.
struct Handover {
    pid_t child = 0;
    int child_pidfd = -1;
    bool failed = false;
    bool finished = false; ///< the joiner came to its end
    Step step = Step::make_joiner;
    Error error;
};

/// Memory for a Handover that a process with memory of its own shares with this one.
class SharedHandover {
  public:
    SharedHandover() noexcept
        : page_{::mmap(nullptr, sizeof(Handover), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0)},
          error_{page_ == MAP_FAILED ? errno : 0} {} // NOLINT(*-cast,performance-no-int-to-ptr)

    ~SharedHandover() {
        if (page_ != MAP_FAILED) { // NOLINT(*-cast,performance-no-int-to-ptr)
            (void)::munmap(page_, sizeof(Handover));
        }
    }

    SharedHandover(const SharedHandover&) = delete;
    SharedHandover(SharedHandover&&) = delete;
    auto operator=(const SharedHandover&) -> SharedHandover& = delete;
    auto operator=(SharedHandover&&) -> SharedHandover& = delete;

    /// Why there is none, an errno.
    [[nodiscard]] auto error() const noexcept -> int { return error_; }

    /// A Handover in its first state, or null if there was no memory.
    [[nodiscard]] auto get() noexcept -> Handover* {
        return page_ == MAP_FAILED ? nullptr // NOLINT(*-cast,performance-no-int-to-ptr)
                                   : ::new (page_) Handover{};
    }

  private:
    void* page_;
    int error_;
};

/// What the child sends the caller, and the caller the child: one record each.
struct Message {
    bool failed = false;
    std::array<std::uint8_t, 3> gap{}; ///< nothing that lay there before leaves the process
    Error error;
};

static_assert(std::has_unique_object_representations_v<Message>);

/// Writes to the pipe that is closed by the execution, whose end without a word means success: so
/// once more if it fails. write(2); the result is that of the last try.
[[nodiscard]] inline auto write_last_word(int pipe, const Message& message) noexcept -> long {
    constexpr int most_tries = 3;
    long told = -1;
    for (int tries = 0; tries < most_tries && told < 0 && told != -EPIPE; ++tries) {
        told = call_again(SYS_write, pipe, &message, sizeof message);
    }
    return told;
}

/// What the libc keeps in the kernel about a thread, so that the child's can be set right.
struct ThreadRecord {
    pid_t* tid_address = nullptr;  ///< where the libc keeps the thread's id
    void* clear_address = nullptr; ///< where the kernel writes at the thread's end, if elsewhere
    void* robust_list = nullptr;
    std::size_t robust_size = 0;
    void* rseq = nullptr; ///< the area of restartable sequences
};

/// Registers the area that the libc has for restartable sequences, in a child that the kernel knows
/// none of: what a process on another's memory makes has lost it, and sched_getcpu(3) would give
/// the caller's processor for ever. rseq(2), Linux 4.18; where it is there already, an error.
inline void register_rseq(const ThreadRecord& thread) noexcept {
#if defined(__x86_64__)
    constexpr unsigned signature = 0x5305'3053;
#else
    constexpr unsigned signature = 0xd428'bc00;
#endif
    constexpr unsigned size = 32;
    if (thread.rseq != nullptr) {
        (void)call(SYS_rseq, thread.rseq, size, 0, signature);
    }
}

/// Tells the kernel, in the child, what the libc believes that it knows.
inline void keep_thread_record(const ThreadRecord& thread) noexcept {
    (void)call(SYS_set_robust_list, thread.robust_list, thread.robust_size);
    if (thread.clear_address != nullptr) {
        (void)call(SYS_set_tid_address, thread.clear_address);
    }
}

/// Where glibc keeps the thread's id: before the robust mutexes, as id, unused, robust_prev,
/// robust_head. Null if it does not stand there, or the list is no part of what the libc has about
/// the thread.
[[nodiscard]] inline auto id_before(void* robust_list) noexcept -> pid_t* {
    constexpr std::ptrdiff_t distance = 16;
    constexpr std::ptrdiff_t most = 4096; // from the thread pointer, before or behind
    if (robust_list == nullptr) {
        return nullptr;
    }
    auto* const list = static_cast<char*>(robust_list);
    const std::ptrdiff_t place = list - static_cast<char*>(__builtin_thread_pointer());
    if (place < -most || place > most) {
        return nullptr;
    }
    void* const id = list - distance; // NOLINT(*-pointer-arithmetic)
    return *static_cast<pid_t*>(id) == call(SYS_gettid) ? static_cast<pid_t*>(id) : nullptr;
}

/// Reads where the libc keeps the thread's id and robust mutexes. Only an address that really holds
/// the id is used: musl registers another one, and so does glibc since 2.43.
[[nodiscard]] inline auto read_thread_record() noexcept -> ThreadRecord {
    ThreadRecord record;
    pid_t* address = nullptr;
    (void)call(SYS_prctl, PR_GET_TID_ADDRESS, &address, 0, 0, 0);
    (void)call(SYS_get_robust_list, 0, &record.robust_list, &record.robust_size);
    if (address != nullptr && *address == call(SYS_gettid)) {
        record.tid_address = address;
    } else if (pid_t* const id = id_before(record.robust_list); id != nullptr) {
        record.tid_address = id;
        record.clear_address = address;
    }
    if (&__rseq_size != nullptr && &__rseq_offset != nullptr && __rseq_size != 0) {
        // NOLINTNEXTLINE(*-pointer-arithmetic): where the libc says
        record.rseq = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    }
    return record;
}

/// The process that opens the mount sources.
struct Opener {
    OwnedFd child_end; ///< the child's end of a socket to it
    OwnedFd own_end;
    OwnedFd pidfd;
    pid_t pid = 0;
};

/// What a constructor says beside the plan.
struct RunOptions {
    /// The libc's record of the thread's id stays the caller's in the child.
    bool keep_thread_id = false;
    /// What open_own_proc() gave before, if anything.
    BorrowedFd proc{};
    /// Gets, if not null, the child when all is joined, before the child is through.
    Result<void> (*announce)(void* announcer, const PidFd& child) noexcept = nullptr;
    void* announcer = nullptr; ///< what both get
    /// Gets, if not null, the child's pidfd as it is born: in the child itself, before its first
    /// task; and in its maker again if it fails, as it may have ended before. A child whose birth
    /// can't be told of fails.
    Result<void> (*born)(void* announcer, BorrowedFd pidfd) noexcept = nullptr;
    /// The channel between both sides stays open after success.
    bool keep_channel = false;
    /// All signals stay blocked in the child.
    bool child_stays_blocked = false;

    [[nodiscard]] auto tell_birth(BorrowedFd pidfd) const noexcept -> Result<void> {
        return born == nullptr ? Result<void>{} : born(announcer, pidfd);
    }
};

/// What a run comes to: in the child nothing, in the caller the child.
struct Outcome {
    int pidfd = -1; ///< the caller's to own
    pid_t pid = 0;
    int channel = -1; ///< this side's end, if it was to be kept: its own to own
};

/// Takes the numbers 0, 1 and 2 where they are free, so that nothing which is opened meanwhile gets
/// one that a console will be under.
class StandardNumbers {
  public:
    [[nodiscard]] auto take() noexcept -> Result<void> {
        for (int number = 0; number <= STDERR_FILENO; ++number) {
            if (call(SYS_fcntl, number, F_GETFD, 0) != -EBADF) {
                continue;
            }
            // Nothing can be read from one, nor written to it.
            const long placeholder = call(SYS_epoll_create1, O_CLOEXEC);
            if (placeholder < 0) {
                return fail(Step::make_channel, static_cast<int>(-placeholder));
            }
            taken_[static_cast<std::size_t>(number)].reset(static_cast<int>(placeholder));
        }
        return {};
    }

    /// The console is there now.
    void leave() noexcept {
        for (OwnedFd& placeholder : taken_) {
            if (placeholder.get() <= STDERR_FILENO) {
                (void)placeholder.release();
            }
        }
    }

    void give_back() noexcept {
        for (OwnedFd& placeholder : taken_) {
            placeholder.reset();
        }
    }

  private:
    std::array<OwnedFd, 3> taken_;
};

/// Descriptors that a program's process needs to the end.
struct Kept {
    int executable = -1;
    int errors = -1; ///< where an error is written to, with close-on-exec
};

struct Attempt;

/// Performs the task with that place in an attempt's schedule.
using Perform = Result<void> (*)(Attempt& attempt, std::size_t place) noexcept;

struct ProgramStack;

/// One execution of a plan: what all its attempts have in common.
struct Run {
    Run(const Draft& draft, const Outline& said, Perform how) noexcept
        : plan{draft}, outline{said}, perform{how} {}

    const Draft& plan;
    Outline outline;
    Perform perform;
    RunOptions options;
    Perform perform_command = nullptr; ///< what only a plan with a command has
    const Command* command = nullptr;
    ProgramStack* stack = nullptr;
    int executable = -1; ///< the open file of the command, whatever number it has

    Facts facts;
    OpenedSpaces own_opened;
    const OpenedSpaces* opened = &own_opened;
    Deadline deadline;
    StandardNumbers standard;
    std::array<OwnedFd, 3> copies; ///< of what is passed on, where a console takes its number
    OwnedFd own_proc;
    BorrowedFd proc;             ///< the kernel's, which shows this process
    bool numbers_differ = false; ///< it is of an outer pid namespace
    OwnedFd time_offsets;        ///< the file of whoever creates the time namespace
    ThreadRecord thread;
    const Credentials root_ids{.uid = 0, .gid = 0, .groups = {}};
    Outcome outcome; ///< after success

    /// The descriptor that a task joins by.
    [[nodiscard]] auto descriptor(Slot slot) const noexcept -> int {
        return slot.is_opened() ? (*opened)[static_cast<std::size_t>(slot.kind())].get()
                                : plan.source(slot.kind()).fd.get();
    }
};

/// One attempt: a schedule, and all that is made to perform it. It ends with the attempt, so that
/// nothing of it reaches the next one.
struct Attempt {
    Attempt(Run& of, const Schedule& what) noexcept : run{of}, schedule{what} {}

    Run& run;
    Schedule schedule;
    Handover own_handover;
    Handover* handover = &own_handover;
    std::optional<SharedHandover> shared;
    std::optional<NotDumpable> not_dumpable;
    OwnedFd caller_end;
    OwnedFd child_end;
    OwnedFd caller_pidfd;
    std::array<OwnedFd, most_cgroups> cgroup_procs; ///< of those that are not entered by a clone
    OwnedFd errors;                                 ///< what tells the caller of the execution
    Opener opener;
    PidFd child{OwnedFd{}, 0};
    Kept kept;
    KindSet joined;                      ///< so far, by whoever joins
    std::optional<KernelSignalSet> mask; ///< what to restore, if signals are blocked
    bool in_child = false;
    bool directory_refused = false; ///< the working directory, to the ids before the last
    bool flag_was_cleared = false;  ///< the dumpable flag, by another thread

    std::size_t next_of_program = 0; ///< where a program's process begins that a joiner makes

    /// In the caller, when the child is made: takes what is known of it out of the hand-over, and
    /// closes the child's end, so that the end of the child is seen. The number of its pidfd counts
    /// only with its pid, which the kernel writes when the clone has succeeded.
    void hold_child() noexcept {
        const int number = handover->child > 0 ? handover->child_pidfd : -1;
        child = PidFd{OwnedFd{number}, handover->child};
        child_end.reset();
    }
};

/// Turns what call() returned into a result of a step.
[[nodiscard]] inline auto outcome(Step step, long result) noexcept -> Result<void> {
    if (result < 0) {
        return fail(step, static_cast<int>(-result));
    }
    return {};
}

/// The error for a process that ended without a report.
[[nodiscard]] inline auto died(Step step, std::string_view who,
                               const Result<ExitStatus>& status) noexcept -> Unexpected {
    Unexpected error = fail(step, Reason::process_died, who);
    error.error().code = status ? status->wait_status() : unknown_status;
    return error;
}

/// The error for a child that ended without a report, once it has ended. Its exit code says which
/// errno kept it from telling, unless it is that of a function of the plan's.
[[nodiscard]] inline auto ended_untold(Step step, const Attempt& attempt) noexcept -> Unexpected {
    constexpr int code_of_shell = 127;
    const Result<ExitStatus> status = attempt.child.wait();
    const int how = status ? status->wait_status() : 0;
    const int code = WIFEXITED(how) ? WEXITSTATUS(how) : 0;
    const bool own = code != 0 && code != code_of_shell && !calls_inside(attempt.run.outline);
    return own ? fail(step, code, "the child could not tell") : died(step, "the child", status);
}

/// 1 if the process of a pidfd has ended, else 0; or -errno.
[[nodiscard]] inline auto has_ended(BorrowedFd pidfd) noexcept -> long {
    pollfd entry{pidfd.get(), POLLIN, 0};
    const timespec at_once{};
    return call_again(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_RUN_HPP
