// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_PROGRAM_PROCESS_HPP
#define NSJOIN_DETAIL_ENGINE_PROGRAM_PROCESS_HPP

#include <nsjoin/detail/engine/program.hpp>

#include <sched.h>

// How a program's process is made that runs on its maker's memory until the program is executed.

namespace nsjoin::inline v0_1::detail {

/// What a program's process runs on where it is not the first one. Should the first one be
/// killed, the caller goes on, and with it the stack that the first one ran on.
struct ProgramStack {
    static constexpr std::size_t size = std::size_t{32} * 1024;
    alignas(16) std::array<std::byte, size> bytes; // NOLINT(*-member-init): nobody reads it first
};

/// Makes the program's process as a sibling, in the namespaces that the joiner is in. By the libc,
/// as posix_spawn(3) does: it starts on a stack of its own. It has no handlers, because the joiner
/// has none. clone(2).
[[nodiscard]] inline auto make_program_process(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    const CloneArgs args = clone_args(attempt, Process::child);
    const std::uint64_t flags = args.flags | clone_vm | clone_pidfd;
    attempt.next_of_program = place + 1;
    // Should the joiner be killed, the caller goes on: what this needs is in the caller's frames.
    const auto body = [](void* context) -> int {
        auto& whole = *static_cast<Attempt*>(context);
        (void)walk(whole, Process::child, whole.next_of_program);
        return 0;
    };
    std::byte* const top = attempt.run.stack->bytes.data() + ProgramStack::size;
    int* const pidfd = &attempt.handover->child_pidfd;
    // NOLINTNEXTLINE(*-vararg): clone(2) is variadic
    const int pid = ::clone(body, top, static_cast<int>(flags), &attempt, pidfd);
    if (pid < 0) {
        attempt.handover->child_pidfd =
            -1; // the kernel may have written a number before it gave up
        return failed_clone(attempt, place, -errno);
    }
    attempt.handover->child = pid;
    return {};
}

/// Takes the pidfd that a joiner left which was killed: it may have been in the middle of making
/// the child, so that there is a number and no descriptor.
[[nodiscard]] inline auto left_pidfd(int number) noexcept -> OwnedFd {
    siginfo_t info{};
    const long result =
        call(SYS_waitid, p_pidfd, number, &info, WEXITED | WNOHANG | WNOWAIT | wait_all, nullptr);
    return OwnedFd{number >= 0 && result == 0 ? number : -1};
}

/// What became of the processes, all of which run on other memory now, or ended.
[[nodiscard]] inline auto take_program(Attempt& attempt, pid_t first, OwnedFd first_fd) noexcept
    -> Result<void> {
    const bool two = attempt.schedule.roles.joiner;
    Handover& handover = *attempt.handover;
    ExitStatus first_status{unknown_status};
    if (two) {
        int status = unknown_status; // and stays so where somebody else has taken it
        (void)call_again(SYS_wait4, first, &status, wait_all, nullptr);
        first_status = ExitStatus{status};
        first_fd = handover.failed || handover.finished ? OwnedFd{handover.child_pidfd}
                                                        : left_pidfd(handover.child_pidfd);
    } else {
        handover.child = first;
    }
    const bool through = two ? handover.finished : true;
    if (!handover.failed && through && handover.step == Step::execute) {
        attempt.child = PidFd{std::move(first_fd), handover.child};
        return {};
    }
    Result<ExitStatus> status = first_status;
    if (first_fd.ok()) {
        const PidFd child{std::move(first_fd), handover.child};
        (void)child.send_signal(SIGKILL);
        status = child.wait();
        (void)attempt.run.options.tell_birth(child.fd());
    }
    if (handover.failed) {
        return Unexpected{handover.error};
    }
    return through ? died(handover.step, "the child", status)
                   : died(handover.step, "the joiner", first_status);
}

/// Makes the first process: on the caller's memory, or on a copy of it; the caller is suspended
/// either way. When this returns, the program is executed, or there is no process.
[[nodiscard]] inline auto make_suspending(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    const Task& task = attempt.schedule.list[place];
    const bool joiner = task.step == Step::make_joiner;
    const Process made = joiner ? Process::joiner : Process::child;
    const bool copy = attempt.schedule.roles.first == Memory::copy;
    if (copy) {
        attempt.handover = attempt.shared.emplace().get();
        if (attempt.handover == nullptr) {
            attempt.handover = &attempt.own_handover;
            return fail(task.step, attempt.shared->error());
        }
    }
    int number = -1;
    CloneArgs args = clone_args(attempt, made);
    if (!joiner) {
        ask_for_pidfd(args, number);
    }
    Entry entry{attempt, made, place + 1, joiner ? nullptr : &number};
    const long pid = copy ? clone_by(task.call, args) : run_on_this_memory(live, entry, args);
    if (copy && pid == 0) {
        live(entry);
    }
    if (pid < 0) {
        return failed_clone(attempt, place, pid);
    }
    return take_program(attempt, static_cast<pid_t>(pid), OwnedFd{number});
}

/// Performs the task with that place in the schedule, if only a plan with a command has it.
[[nodiscard]] inline auto perform_command(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    const Task& task = attempt.schedule.list[place];
    const Command& command = *attempt.run.command;
    switch (task.step) {
    case Step::make_joiner:
    case Step::make_child:
        return task.process == Process::joiner ? make_program_process(attempt, place)
                                               : make_suspending(attempt, place);
    case Step::own_descriptors:
        return own_descriptors(attempt);
    case Step::offer_errors:
        return task.call == Call::hear ? take_errors(attempt) : offer_errors(attempt);
    case Step::pass_descriptors:
        return pass_descriptors(attempt);
    case Step::set_limits:
        return set_limits(command);
    case Step::set_signals:
        return set_signals(attempt);
    default:
        return task.call == Call::hear ? await_program(attempt)
                                       : execute(command, attempt.kept.executable);
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_PROGRAM_PROCESS_HPP
