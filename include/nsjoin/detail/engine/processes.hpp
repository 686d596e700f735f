// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_PROCESSES_HPP
#define NSJOIN_DETAIL_ENGINE_PROCESSES_HPP

#include <nsjoin/detail/engine/clone_error.hpp>
#include <nsjoin/detail/engine/run.hpp>

#include <csignal>
#include <poll.h>
#include <sys/socket.h>

// How processes are made, walk their tasks, hand over and end.

namespace nsjoin::inline v0_1::detail {

// ── A process walks its tasks ───────────────────────────────────────────────────────────────────

/// Whether the caller sees what the process writes into the hand-over.
[[nodiscard]] inline auto tells_by_memory(const Attempt& attempt, Process self) noexcept -> bool {
    return self == Process::joiner || (self == Process::child && attempt.schedule.roles.shares);
}

/// Lets a process that failed tell why: on memory that the caller sees, or through what leads to
/// it.
[[noreturn]] inline void fail_and_exit(Attempt& attempt, Process self,
                                       const Error& error) noexcept {
    constexpr int code_of_shell = 127;
    const Message message{true, {}, error};
    if (self == Process::opener) {
        (void)call_again(SYS_sendto, attempt.opener.own_end.get(), &message, sizeof message,
                         MSG_NOSIGNAL, nullptr, 0);
    } else if (tells_by_memory(attempt, self)) {
        attempt.handover->error = error;
        attempt.handover->failed = true;
    } else if (attempt.kept.errors >= 0) {
        const long told = write_last_word(attempt.kept.errors, message);
        exit_now(told < 0 ? static_cast<int>(-told) : code_of_shell);
    } else {
        const long told = call_again(SYS_sendto, attempt.child_end.get(), &message, sizeof message,
                                     MSG_NOSIGNAL, nullptr, 0);
        exit_now(told < 0 ? static_cast<int>(-told) : 1);
    }
    exit_now(attempt.schedule.roles.shares ? code_of_shell : 0);
}

/// Performs the tasks of process `self` from `next` on. A process that fails and is not the caller
/// ends here. Where a process with memory of its own is made in between, this returns in it too,
/// when it has performed its own; `attempt.in_child` tells.
[[nodiscard]] inline auto walk(Attempt& attempt, Process self, std::size_t next) noexcept
    -> Result<void> {
    for (; next < attempt.schedule.count; ++next) {
        const Task& task = attempt.schedule.list[next];
        if (task.process != self || task.call == Call::with_clone || task.call == Call::none) {
            continue;
        }
        if (tells_by_memory(attempt, self)) {
            attempt.handover->step = task.step;
        }
        Result<void> done = attempt.run.perform(attempt, next);
        if (attempt.in_child && self != Process::child) {
            if (task.step != Step::make_child) {
                return done; // the joiner's child, which has walked already
            }
            self = Process::child;
        }
        if (!done && self != Process::caller) {
            fail_and_exit(attempt, self, done.error());
        }
        if (!done) {
            return done;
        }
    }
    return {};
}

/// Where a new process begins.
struct Entry {
    Attempt& attempt;
    Process self = Process::child;
    std::size_t next = 0;
    const int* pidfd = nullptr; ///< of a child that tells of itself as it is born
};

/// The whole life of a process that the caller makes. Returns in a child with memory of its own
/// only.
inline void live(Entry& entry) noexcept {
    if (entry.pidfd != nullptr) {
        const auto told = entry.attempt.run.options.tell_birth(BorrowedFd{*entry.pidfd});
        if (!told) {
            fail_and_exit(entry.attempt, entry.self, told.error());
        }
    }
    (void)walk(entry.attempt, entry.self, entry.next);
    if (entry.attempt.in_child) {
        return;
    }
    entry.attempt.handover->finished = true;
    exit_now(0);
}

// ── How a process is made ───────────────────────────────────────────────────────────────────────

/// The flags and the rest that the schedule says of a process.
[[nodiscard]] inline auto clone_args(const Attempt& attempt, Process made) noexcept -> CloneArgs {
    const Schedule& schedule = attempt.schedule;
    const ProcessFacts& process = schedule.process(made);
    const bool shares = schedule.roles.shares;
    const bool by_caller = process.maker == Process::caller;
    CloneArgs args;
    args.flags |= process.sibling ? clone_parent : 0;
    args.flags |= process.clear_sighand ? clone_clear_sighand : 0;
    args.flags |= process.memory == Memory::callers || shares ? clone_files : 0;
    args.flags |= shares ? clone_vfork : 0;
    args.flags |= made == Process::child ? schedule.roles.by_clone.clone_flags() : 0U;
    // The exit signal of a sibling is that of the process that makes it. One that is to execute a
    // program has none until then: its end is seen by nobody else, and raises no signal.
    args.exit_signal = process.sibling || attempt.run.outline.program ? 0 : SIGCHLD;
    if (by_caller && schedule.born_in_cgroup()) {
        args.flags |= clone_into_cgroup;
        args.cgroup = static_cast<std::uint64_t>(attempt.run.plan.cgroup.get());
    }
    return args;
}

inline void ask_for_pidfd(CloneArgs& args, int& number) noexcept {
    args.flags |= clone_pidfd;
    args.pidfd = reinterpret_cast<std::uint64_t>(&number); // NOLINT(*-reinterpret-cast)
}

/// A process with memory of its own, by the call that the task names.
[[nodiscard]] inline auto clone_by(Call by, const CloneArgs& args) noexcept -> long {
    return by == Call::clone3 ? clone3_process(args) : clone_process(args);
}

/// clone_by() for a process that needs its own files in /proc, or whose files the caller writes:
/// they depend on the dumpable flag, which another thread may have cleared just now.
[[nodiscard]] inline auto clone_copy(Attempt& attempt, Call by, const CloneArgs& args) noexcept
    -> long {
    const DumpableLock lock{dumpable_state()};
    attempt.flag_was_cleared = lock.cleared();
    const long pid = clone_by(by, args);
    if (pid == 0 && attempt.flag_was_cleared) {
        (void)call(SYS_prctl, PR_SET_DUMPABLE, 1UL, 0, 0, 0);
        const Message ready;
        (void)call_again(SYS_sendto, attempt.child_end.get(), &ready, sizeof ready, MSG_NOSIGNAL,
                         nullptr, 0);
    }
    return pid;
}

/// In the caller, when there is nobody on its memory any more: its signals are its own again, while
/// it waits.
inline void open_signals(Attempt& attempt) noexcept {
    if (attempt.mask) {
        restore_signals(*attempt.mask);
        attempt.mask.reset();
    }
}

/// Takes a record of the child's that is there: 1, or 0 if it is none, or -errno. Of a child that
/// has ended with something unread, the kernel tells that first, and then what it said before.
[[nodiscard]] inline auto take_record(const Attempt& attempt, Message& message) noexcept -> long {
    const auto receive = [&] {
        return call_again(SYS_recvfrom, attempt.caller_end.get(), &message, sizeof message,
                          MSG_DONTWAIT, nullptr, nullptr);
    };
    long length = receive();
    length = length == -ECONNRESET ? receive() : length;
    return length < 0 ? length : static_cast<long>(length == sizeof message);
}

/// What the child said before anybody ended it is why it failed, and why the caller could do
/// nothing for it any more.
inline void hear_last_word(const Attempt& attempt, Error& error) noexcept {
    Message message;
    if (attempt.child.pid() > 0 && take_record(attempt, message) > 0 && message.failed) {
        error = message.error;
    }
}

/// Waits for a record of the child's.
[[nodiscard]] inline auto await_record(const Attempt& attempt) noexcept -> Result<void> {
    std::array<pollfd, 2> entries{pollfd{attempt.caller_end.get(), POLLIN, 0},
                                  pollfd{attempt.child.fd().get(), POLLIN, 0}};
    long ready = -EINTR;
    while (ready == -EINTR) {
        const PollTimeout left{attempt.run.deadline.left()};
        ready = call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
    }
    if (ready == 0) {
        return fail(Step::report, Reason::deadline_passed);
    }
    if (ready < 0) { // by a filter: what follows would wait for a child that may well go on
        return outcome(Step::report, ready);
    }
    Message message;
    const long taken = take_record(attempt, message);
    const bool none = taken == -EAGAIN || taken == -ECONNRESET;
    if (taken < 0 && (!none || entries[1].revents == 0)) { // the same
        return outcome(Step::report, taken);
    }
    if (taken <= 0) {
        return ended_untold(Step::report, attempt);
    }
    if (message.failed) {
        return Unexpected{message.error};
    }
    return {};
}

/// The child's files in /proc are there for the caller when it has set its dumpable flag again,
/// which another thread had cleared as it was made.
[[nodiscard]] inline auto await_flag(Attempt& attempt) noexcept -> Result<void> {
    if (!attempt.flag_was_cleared) {
        return {};
    }
    attempt.flag_was_cleared = false;
    return await_record(attempt);
}

/// What the joiner, which has ended, left behind.
[[nodiscard]] inline auto take_handover(const Attempt& attempt,
                                        const Result<ExitStatus>& joiner) noexcept -> Result<void> {
    if (attempt.handover->failed) {
        return Unexpected{attempt.handover->error};
    }
    if (!attempt.handover->finished) {
        return died(attempt.handover->step, "the joiner", joiner);
    }
    return {};
}

/// Gets a pidfd of the child whose own is in the table of a joiner that has ended. The child waits
/// for a word of the caller, so its pid is still its own; on failure it is ended.
[[nodiscard]] inline auto pin_child(Attempt& attempt) noexcept -> Result<void> {
    Handover& handover = *attempt.handover;
    handover.child_pidfd = -1;
    if (handover.child <= 0) {
        return {};
    }
    const long pidfd = call(SYS_pidfd_open, handover.child, 0U);
    if (pidfd < 0) {
        attempt.child_end.reset();
        if (call(SYS_shutdown, attempt.caller_end.get(), SHUT_RDWR) < 0) {
            attempt.caller_end.reset(); // which a copy of the caller may hold open
        }
        (void)call_again(SYS_wait4, handover.child, nullptr, wait_all, nullptr);
        handover.child = 0;
        return outcome(Step::open_pidfd, pidfd);
    }
    handover.child_pidfd = static_cast<int>(pidfd);
    // Unless it was killed, and somebody else waited for it.
    siginfo_t info{};
    const long own = call(SYS_waitid, p_pidfd, handover.child_pidfd, &info,
                          WEXITED | WNOHANG | WNOWAIT | wait_all, nullptr);
    if (own < 0) {
        handover.child = 0;
        return fail(Step::make_child, Reason::already_reaped, "the child");
    }
    return {};
}

/// Makes a joiner with memory of its own, and waits until it has made the child. Returns in the
/// caller and in the child.
[[nodiscard]] inline auto make_joiner_copy(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    attempt.handover = attempt.shared.emplace().get();
    if (attempt.handover == nullptr) {
        attempt.handover = &attempt.own_handover;
        return fail(Step::make_joiner, attempt.shared->error());
    }
    int pidfd = -1;
    CloneArgs args = clone_args(attempt, Process::joiner);
    ask_for_pidfd(args, pidfd);
    const long pid = clone_copy(attempt, attempt.schedule.list[place].call, args);
    if (pid < 0) {
        return failed_clone(attempt, place, pid);
    }
    if (pid == 0) {
        Entry entry{attempt, Process::joiner, place + 1};
        live(entry);
        return {};
    }
    open_signals(attempt);
    const PidFd joiner{OwnedFd{pidfd}, static_cast<pid_t>(pid)};
    Result<ExitStatus> status = joiner.wait(attempt.run.deadline.left());
    const bool late = !status && status.error().reason == Reason::deadline_passed;
    if (late) {
        (void)joiner.send_signal(SIGKILL);
        status = joiner.wait(killed_soon);
    }
    const Result<void> pinned = pin_child(attempt);
    attempt.hold_child();
    if (late) {
        return fail(attempt.handover->step, Reason::deadline_passed);
    }
    Result<void> taken = take_handover(attempt, status);
    taken = taken ? pinned : taken;
    return taken ? await_flag(attempt) : taken;
}

/// Makes a joiner on the caller's memory, which has made the child when this returns: in the caller
/// and in the child.
[[nodiscard]] inline auto make_joiner_here(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    int pidfd = -1;
    CloneArgs args = clone_args(attempt, Process::joiner);
    ask_for_pidfd(args, pidfd);
    Entry entry{attempt, Process::joiner, place + 1};
    const long pid = run_on_this_memory(live, entry, args);
    if (pid < 0) {
        return failed_clone(attempt, place, pid);
    }
    const PidFd joiner{OwnedFd{pidfd}, static_cast<pid_t>(pid)}; // the child has it too, to close
    if (attempt.in_child) {
        attempt.not_dumpable->stay();
        return {};
    }
    open_signals(attempt);
    const Result<ExitStatus> status = joiner.wait();
    attempt.hold_child();
    return take_handover(attempt, status);
}

/// In a child with memory of its own: it tells of itself, as its maker may be killed before it
/// could. pidfd_open(2).
[[nodiscard]] inline auto tell_of_birth(const RunOptions& options) noexcept -> Result<void> {
    if (options.born == nullptr) {
        return {};
    }
    const long opened = call(SYS_pidfd_open, ::getpid(), 0U);
    const OwnedFd self{static_cast<int>(opened)};
    return self.ok() ? options.tell_birth(self) : outcome(Step::report, opened);
}

/// Makes the child, a copy of its maker. Returns in both.
[[nodiscard]] inline auto make_child_copy(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    const Task& task = attempt.schedule.list[place];
    Handover& handover = *attempt.handover;
    CloneArgs args = clone_args(attempt, Process::child);
    ask_for_pidfd(args, handover.child_pidfd);
    args.flags |= clone_parent_settid;
    args.parent_tid = reinterpret_cast<std::uint64_t>(&handover.child); // NOLINT(*-cast)
    const ThreadRecord& thread = attempt.run.thread;
    if (thread.tid_address != nullptr) {
        args.flags |= clone_child_settid | clone_child_cleartid;
        args.child_tid = reinterpret_cast<std::uint64_t>(thread.tid_address); // NOLINT(*-cast)
    }
    const bool by_caller = task.process == Process::caller;
    const long pid = by_caller ? clone_copy(attempt, task.call, args) : clone_by(task.call, args);
    if (pid < 0) {
        // The kernel may have written both before it gave up: they are nobody's, or others'.
        handover.child_pidfd = -1;
        handover.child = 0;
        return failed_clone(attempt, place, pid);
    }
    if (pid == 0) {
        attempt.in_child = true;
        attempt.caller_end.reset();
        keep_thread_record(thread);
        if (!by_caller && attempt.schedule.roles.first == Memory::callers) {
            register_rseq(thread);
        }
        return tell_of_birth(attempt.run.options);
    }
    if (by_caller) {
        open_signals(attempt);
        attempt.hold_child();
        return await_flag(attempt);
    }
    return {};
}

/// Ends what was started of the child, so that nothing is left. One that even SIGKILL does not
/// reach (in a frozen cgroup, where the caller has a deadline, or with ids that the caller may not
/// signal) is left to end by itself, and the error says so.
inline void abandon(Attempt& attempt, Error& error) noexcept {
    if (attempt.child.pid() <= 0) {
        return;
    }
    (void)call(SYS_shutdown, attempt.caller_end.get(), SHUT_RDWR);
    const Result<void> sent = attempt.child.send_signal(SIGKILL);
    const bool limited = attempt.run.plan.deadline.count() > 0 || !sent;
    const auto ended = attempt.child.wait(limited ? killed_soon : PidFd::forever);
    if (!ended && ended.error().reason == Reason::deadline_passed) {
        error.subject = out_of_reach(attempt.child.pid());
    } else {
        (void)attempt.run.options.tell_birth(attempt.child.fd());
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_PROCESSES_HPP
