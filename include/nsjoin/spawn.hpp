// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_SPAWN_HPP
#define NSJOIN_SPAWN_HPP

#include <nsjoin/detail/engine/engine.hpp>
#include <nsjoin/detail/engine/program.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <sched.h>
#include <string>
#include <utility>

namespace nsjoin {

namespace detail {

/// Whether the process of a pidfd has ended.
[[nodiscard]] inline auto has_ended(BorrowedFd pidfd) noexcept -> bool {
    pollfd entry{pidfd.get(), POLLIN, 0};
    const timespec at_once{};
    return call(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL) != 0;
}

/// What the program's process runs on where it is not the first one. Should the first one be
/// killed, the caller goes on, and with it the stack that the first one ran on.
struct ProgramStack {
    static constexpr std::size_t size = std::size_t{32} * 1024;
    alignas(16) std::array<std::byte, size> bytes; // NOLINT(*-member-init): nobody reads it first
};

/// A run that ends in a program, on the caller's memory.
template <Scope S>
struct Starter {
    Run<S>& run;
    const Command& command;
    ProgramStack& stack;
    /// The program's process is another one than the first: only its children are in a pid
    /// namespace that it joined or created.
    bool two = false;
    std::optional<KernelSignalSet> restored{}; ///< the mask, if signals are blocked
};

/// Whether a process on the caller's memory can do all of it: the caller, which is suspended, has
/// nothing to do meanwhile, and no time namespace or file of the process's own in /proc is needed.
template <Scope S>
[[nodiscard]] auto fits_this_memory(const Run<S>& run) noexcept -> bool {
    const auto& plan = run.plan;
    return has_vfork && run.route.joiner != Joiner::own_memory && !run.route.wait_for_caller &&
           !plan.oom_score_adj && !plan.created.contains(Kind::time) &&
           plan.deadline.count() == 0 && plan.mount_sources.list.empty();
}

/// Whether one copy of the caller's memory will do, that of the joiner, on which the program's
/// process then runs too: to join a time namespace. The caller is suspended as well.
template <Scope S>
[[nodiscard]] auto fits_joiners_memory(const Run<S>& run) noexcept -> bool {
    const auto& plan = run.plan;
    return has_vfork && run.route.joiner == Joiner::own_memory && !plan.maps &&
           !plan.oom_score_adj && !plan.created.contains(Kind::time) &&
           plan.deadline.count() == 0 && plan.mount_sources.list.empty();
}

/// Lets a failed process tell why, on the memory that the caller sees.
template <Scope S>
[[noreturn]] void fail_and_exit(Run<S>& run, const Error& error) noexcept {
    run.handover->error = error;
    run.handover->failed = true;
    exit_now(127);
}

/// The child, to the program or its end.
template <Scope S>
[[noreturn]] void run_program(Starter<S>& starter) noexcept {
    Run<S>& run = starter.run;
    Kept kept{number_of(run, starter.command.program.file())};
    run.handover->step = Step::pass_descriptors;
    Result<void> done = own_table(run, starter.command, kept);
    if (done) {
        done = do_child_steps(run);
    }
    // A caller that died before the death signal was set sends none.
    if (done && run.plan.death_signal != 0 && has_ended(run.caller_pidfd)) {
        done = fail(Step::set_death_signal, Reason::process_gone, "the caller");
    }
    if (done) {
        run.handover->step = Step::execute;
        done = become_program(run, starter.command, kept, starter.restored);
    }
    fail_and_exit(run, done.error());
}

/// Makes the program's process as a sibling, in the namespaces that the first one joined. By the
/// libc, as posix_spawn(3) does: it starts on a stack of its own. It has no handlers, because the
/// first one has none. clone(2).
template <Scope S>
[[nodiscard]] auto make_program_process(Starter<S>& starter) noexcept -> Result<void> {
    Run<S>& run = starter.run;
    run.handover->step = Step::make_child;
    const std::uint64_t flags = clone_vm | clone_vfork | clone_parent | clone_files | clone_pidfd |
                                run.route.by_clone.clone_flags();
    const auto body = [](void* context) -> int {
        run_program(*static_cast<Starter<S>*>(context));
    };
    std::byte* const top = starter.stack.bytes.data() + ProgramStack::size;
    int* const pidfd = &run.handover->child_pidfd;
    // NOLINTNEXTLINE(*-vararg): clone(2) is variadic
    const int pid = ::clone(body, top, static_cast<int>(flags), &starter, pidfd);
    if (pid < 0) {
        run.handover->child_pidfd = -1; // the kernel may have written a number before it gave up
        return Unexpected{clone_error(run.route.by_clone, -errno)};
    }
    run.handover->child = pid;
    return {};
}

/// The first process: joins, and becomes the program or makes its process.
template <Scope S>
void start_program(Starter<S>& starter) noexcept {
    Run<S>& run = starter.run;
    Result<void> done = do_first_steps(run);
    if (done && !starter.two) {
        run_program(starter);
    }
    if (done) {
        done = make_program_process(starter);
    }
    if (!done) {
        fail_and_exit(run, done.error());
    }
    run.handover->finished = true;
    exit_now(0);
}

/// Makes the first process. Its end raises no signal and is seen by nobody else (it has no exit
/// signal until it executes); its handlers are reset by the kernel, or, where clone3 can't do that
/// (before Linux 5.5, a seccomp filter), all signals are blocked meanwhile.
template <Scope S>
[[nodiscard]] auto make_first(Starter<S>& starter, CloneArgs args) noexcept -> long {
    args.flags |= clone_clear_sighand;
    long pid = run_on_this_memory(start_program<S>, starter, args);
    const bool by_clone3_only = (args.flags & clone_into_cgroup) != 0;
    if ((pid == -ENOSYS || pid == -EPERM || pid == -EINVAL) && !by_clone3_only) {
        args.flags &= ~clone_clear_sighand;
        const KernelSignalSet mask = block_signals();
        starter.restored = mask;
        pid = run_on_this_memory(start_program<S>, starter, args);
        restore_signals(mask);
    }
    return pid;
}

/// Takes the pidfd that a first process left which was killed: it may have been in the middle of
/// making the child, so that there is a number and no descriptor.
[[nodiscard]] inline auto left_pidfd(int number) noexcept -> OwnedFd {
    siginfo_t info{};
    const long result =
        call(SYS_waitid, p_pidfd, number, &info, WEXITED | WNOHANG | WNOWAIT | wait_all, nullptr);
    return OwnedFd{number >= 0 && result == 0 ? number : -1};
}

/// What became of the processes, all of which run on other memory now, or ended.
template <Scope S>
[[nodiscard]] auto take_program(Run<S>& run, bool two, pid_t first, OwnedFd first_fd) noexcept
    -> Result<void> {
    Handover& handover = *run.handover;
    ExitStatus first_status{0};
    if (two) {
        int status = 0;
        (void)call_again(SYS_wait4, first, &status, wait_all, nullptr);
        first_status = ExitStatus{status};
        first_fd = handover.failed || handover.finished ? OwnedFd{handover.child_pidfd}
                                                        : left_pidfd(handover.child_pidfd);
    } else {
        handover.child = first;
    }
    const bool through = two ? handover.finished : true;
    if (!handover.failed && through && handover.step == Step::execute) {
        run.outcome = {first_fd.release(), handover.child};
        return {};
    }
    Result<ExitStatus> status = first_status;
    if (first_fd.ok()) {
        const PidFd child{std::move(first_fd), handover.child};
        (void)child.send_signal(SIGKILL);
        status = child.wait();
    }
    if (handover.failed) {
        return Unexpected{handover.error};
    }
    return through ? died(handover.step, "the child", status)
                   : died(handover.step, "the joiner", first_status);
}

/// Why the first process could not be made.
template <Scope S>
[[nodiscard]] auto first_error(const Run<S>& run, long code) noexcept -> Error {
    if (run.into_cgroup) {
        return fail(Step::enter_cgroup, static_cast<int>(-code)).error();
    }
    const bool joins = run.route.joiner != Joiner::none;
    return clone_error(joins ? KindSet{} : run.route.by_clone, code);
}

/// Decides which process becomes the program's: whether that is another one than the first.
template <Scope S>
[[nodiscard]] auto takes_two(Run<S>& run) noexcept -> bool {
    const bool joins = run.route.joiner != Joiner::none;
    const bool two = joins && (run.joining | run.plan.created).contains(Kind::pid);
    run.one_process = joins && !two;
    if constexpr (S == Scope::everything) {
        if (run.one_process) {
            run.route.by_unshare = run.plan.created;
            run.route.by_clone = {};
        }
    }
    return two;
}

/// Runs the plan and the program once, on the caller's memory.
template <Scope S>
[[nodiscard]] auto execute_here(Run<S>& run, const Command& command) noexcept -> Result<void> {
    run.own_handover = Handover{};
    run.handover = &run.own_handover;
    ProgramStack stack; // NOLINT(*-member-init)
    Starter<S> starter{run, command, stack};
    starter.two = takes_two(run);
    const bool joins = run.route.joiner != Joiner::none;
    int number = -1;
    CloneArgs args;
    args.flags = clone_files;
    if (!starter.two) {
        args.flags |= clone_pidfd | (joins ? 0 : run.route.by_clone.clone_flags());
        args.pidfd = reinterpret_cast<std::uint64_t>(&number); // NOLINT(*-reinterpret-cast)
    }
    place_into_cgroup(run, args);
    // A change of ids clears the flag of the memory too, which is the caller's.
    std::optional<NotDumpable> not_dumpable;
    if ((joins || run.ids != nullptr) && not_dumpable.emplace().failed() != 0) {
        return fail(Step::clear_dumpable, static_cast<int>(-not_dumpable->failed()));
    }
    const long pid = make_first(starter, args);
    if (pid < 0) {
        return Unexpected{first_error(run, pid)};
    }
    return take_program(run, starter.two, static_cast<pid_t>(pid), OwnedFd{number});
}

/// Runs the plan and the program once, on the memory of a joiner, which is a copy of the caller.
template <Scope S>
[[nodiscard]] auto execute_on_joiner(Run<S>& run, const Command& command) noexcept -> Result<void> {
    SharedHandover shared;
    run.handover = shared.get();
    if (run.handover == nullptr) {
        run.handover = &run.own_handover;
        return fail(Step::make_joiner, ENOMEM);
    }
    run.route.wait_for_caller = false;
    ProgramStack stack; // NOLINT(*-member-init)
    Starter<S> starter{run, command, stack};
    starter.two = takes_two(run);
    int number = -1;
    CloneArgs args;
    args.flags = clone_files | clone_vfork | clone_pidfd;
    args.pidfd = reinterpret_cast<std::uint64_t>(&number); // NOLINT(*-reinterpret-cast)
    place_into_cgroup(run, args);
    const KernelSignalSet mask = block_signals();
    starter.restored = mask;
    const long pid = clone_process(args);
    if (pid == 0) {
        start_program(starter);
    }
    restore_signals(mask);
    OwnedFd first_fd{number};
    Result<void> result =
        pid < 0 ? Unexpected{first_error(run, pid)}
                : take_program(run, starter.two, static_cast<pid_t>(pid), std::move(first_fd));
    run.handover = &run.own_handover;
    return result;
}

/// Makes the pipe that tells the caller of the execution: in the child, because a copy of the
/// caller that another thread makes would hold its end open. Returns the end to write to.
template <Scope S>
[[nodiscard]] auto offer_errors(Run<S>& run) noexcept -> int {
    auto pipe = Pipe::open();
    if (!pipe || !send_descriptor(run.child_end, pipe->read_end)) {
        exit_now(127);
    }
    run.child_end.reset();
    return pipe->write_end.release();
}

/// The child of execute_in_copy(), to the program or its end.
template <Scope S>
[[noreturn]] void execute_child(Run<S>& run, const Command& command,
                                KernelSignalSet mask) noexcept {
    Kept kept{number_of(run, command.program.file()), offer_errors(run)};
    const Result<void> done = become_program(run, command, kept, mask);
    const Message message{true, done.error()};
    (void)call_again(SYS_write, kept.errors, &message, sizeof message);
    exit_now(127);
}

/// Waits for one of the two; false if the deadline passes first.
template <Scope S>
[[nodiscard]] auto await_either(const Run<S>& run, BorrowedFd a, BorrowedFd b) noexcept -> bool {
    long ready = -EINTR;
    while (ready == -EINTR) {
        std::array<pollfd, 2> entries{pollfd{a.get(), POLLIN, 0}, pollfd{b.get(), POLLIN, 0}};
        const PollTimeout left{run.deadline.left()};
        ready = call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
    }
    return ready != 0;
}

/// Takes the pipe of the child, if it lives long enough to send it.
template <Scope S>
[[nodiscard]] auto take_errors(const Run<S>& run, const PidFd& child) noexcept -> Result<OwnedFd> {
    if (!await_either(run, run.caller_end, child.fd())) {
        return fail(Step::execute, Reason::deadline_passed);
    }
    pollfd entry{run.caller_end.get(), POLLIN, 0};
    const timespec at_once{};
    if (call(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL) != 1) {
        return died(Step::execute, "the child", child.wait());
    }
    Result<OwnedFd> errors = receive_descriptor(run.caller_end);
    return errors ? std::move(errors) : died(Step::execute, "the child", child.wait());
}

/// Waits until the program is executed: the pipe is closed by that, or brings the error.
template <Scope S>
[[nodiscard]] auto await_program(const Run<S>& run, const PidFd& child) noexcept -> Result<void> {
    const Result<OwnedFd> errors = take_errors(run, child);
    if (!errors) {
        return Unexpected{errors.error()};
    }
    for (bool announced = false;; announced = true) {
        if (!await_either(run, *errors, {})) {
            return fail(Step::execute, Reason::deadline_passed);
        }
        Message message;
        const long length = call_again(SYS_read, errors->get(), &message, sizeof message);
        if (length != sizeof message) {
            return announced ? Result<void>{} : died(Step::execute, "the child", child.wait());
        }
        if (message.failed) {
            return Unexpected{message.error};
        }
    }
}

/// Runs the plan and the program once, in a copy of the caller.
template <Scope S>
[[nodiscard]] auto execute_in_copy(Run<S>& run, const Command& command) noexcept -> Result<void> {
    run.thread = read_thread_record();
    run.signals = block_signals();
    Result<void> done = run_once(run);
    if (run.in_child) {
        execute_child(run, command, run.signals);
    }
    if (done) {
        PidFd child{OwnedFd{run.outcome.pidfd}, run.outcome.pid};
        done = await_program(run, child);
        if (!done) {
            abandon(run, child);
        } else {
            (void)child.release().release(); // it is in the outcome
        }
    }
    restore_signals(run.signals);
    return done;
}

template <Scope S>
[[nodiscard]] auto execute_once(Run<S>& run, const Command& command) noexcept -> Result<void> {
    if constexpr (S == Scope::everything) {
        if (!fits_this_memory(run)) {
            return fits_joiners_memory(run) ? execute_on_joiner(run, command)
                                            : execute_in_copy(run, command);
        }
    }
    return execute_here(run, command);
}

/// What both ways of a command need opened.
template <Scope S>
[[nodiscard]] auto open_for_command(Run<S>& run, const Command& command) noexcept -> Result<void> {
    run.executes = true;
    Result<void> done = copy_from_console(run, command);
    done = done ? open_inputs(run) : done;
    if (done && run.plan.death_signal != 0) {
        const long self = call(SYS_pidfd_open, ::getpid(), 0U);
        run.caller_pidfd.reset(static_cast<int>(self < 0 ? -1 : self));
        done = outcome(Step::open_pidfd, self);
    }
    return done;
}

/// Refuses to join where the first process would be the init of a pid namespace that the caller has
/// made for its children, and end it. The entry of one that nobody is in yet can't be followed.
[[nodiscard]] inline auto check_pending_init(const Draft& plan) noexcept -> Result<void> {
    struct stat about {};

    const bool two = !plan.joined().empty() && (plan.joined() | plan.created).contains(Kind::pid);
    if (!two || ::stat("/proc/thread-self/ns/pid_for_children", &about) == 0) {
        return {};
    }
    return check_pending_pid(plan);
}

template <Scope S = Scope::everything>
[[nodiscard]] auto check_for_command(const Draft& plan) noexcept -> Result<void> {
    if constexpr (S == Scope::joining) {
        return check_ids(plan);
    }
    if (plan.child_of != ChildOf::caller) {
        return fail(Step::check_plan, Reason::bad_value,
                    "a program's process is the caller's own child, never its parent's");
    }
    return check_values(plan);
}

/// The program's process as the caller holds it, or the error with the name of the namespace.
template <Scope S>
[[nodiscard]] auto to_child(const Run<S>& run, Result<void> done) noexcept -> Result<PidFd> {
    if (!done) {
        Error& error = done.error();
        name_namespace(run.plan, error);
        const bool no_init = error.step == Step::make_child && error.code == ENOMEM;
        if (no_init || (is_join(error.step) && error.code == EINVAL)) {
            const Result<void> pending = check_pending_pid(run.plan);
            error = pending ? error : pending.error();
        }
        return Unexpected{error};
    }
    return PidFd{OwnedFd{run.outcome.pidfd}, run.outcome.pid};
}

template <Scope S>
[[nodiscard]] auto execute_plan(const Draft& plan, const Command& command) noexcept
    -> Result<PidFd> {
    const ErrnoKeeper keep_errno;
    Run<S> run{plan};
    Result<void> done = check_command(command);
    if (done) {
        done = check_for_command<S>(plan);
    }
    if (done) {
        done = open_for_command(run, command);
    }
    if (!done) {
        return Unexpected{done.error()};
    }
    const auto once = [&command](Run<S>& r) noexcept {
        return execute_once(r, command);
    };
    return to_child(run, attempts(run, once));
}

} // namespace detail

/// Joins, creates, and executes a program in all of it: to posix_spawn(3) what join_and_clone() is
/// to fork(2). Returns the program's process, the caller's child, when it has been executed; or the
/// error of the step that failed, that of execve(2) included, and then nothing is left.
///
/// From any thread of a program of any size: no memory is copied, no page table, no lock is taken,
/// no handler runs in another process, the signal mask and the other threads' descriptors are as
/// before. The calling thread alone is suspended meanwhile. The process that joins in between
/// raises no SIGCHLD and is seen by no wait for all children (but one with __WALL or __WCLONE).
/// While it is there the calling process is not dumpable. A signal to the whole process group acts
/// on it by default: one that stops it holds the calling thread up until it is continued.
///
/// If a user namespace is joined, and a mount namespace of the same target, the program starts at
/// the root of that mount namespace, though it may be the caller's own.
///
/// Who controls the mount namespace can make any file in it a script of /proc/self/exe, and so have
/// the caller's own executable started in there (CVE-2019-5736): where root inside is root outside,
/// run from a sealed copy, or give Program::open_file().
///
/// Where the plan needs what a process on the caller's memory can't do, signals are blocked and the
/// memory is copied: once to join a time namespace; for each process to create one, and for id
/// maps, oom_score_adj, a deadline and mount sources. explain() of the plan and the command says
/// which.
///
/// A joined pid namespace is refused (pending_pid) to a caller that has made another one for its
/// children; if no child is in that one yet, it is lost, as a process is needed to find out.
/// PreparedPlan::prepare() looks before.
///
/// System calls: those of join_and_clone(), and execve(2). Linux 5.3.
template <Scope S = Scope::everything>
[[nodiscard]] auto join_and_exec(const Plan& plan, const Command& command) noexcept
    -> Result<PidFd> {
    detail::check_scope_of_plan<S>();
    return detail::execute_plan<S>(plan.parts(), command);
}

/// The same with a plan of the compiler's: what such a plan can't say is not compiled, and one that
/// makes the child a sibling does not compile.
template <unsigned Joined, unsigned Created, unsigned Said>
[[nodiscard]] auto join_and_exec(const JoinPlan<Joined, Created, Said>& plan,
                                 const Command& command) noexcept -> Result<PidFd> {
    static_assert((Said & detail::said_parent) == 0,
                  "nsjoin: a program's process is the caller's own child: leave child_of() out");
    constexpr Scope scope = JoinPlan<Joined, Created, Said>::scope;
    return detail::execute_plan<detail::compiled_for(scope)>(plan.parts(), command);
}

namespace detail {

/// The steps that make the child the program, a line each.
[[nodiscard]] inline auto explain_command(const Command& command) -> std::string {
    std::string text;
    const auto append = [&text](bool has, Step step, std::string_view what) {
        if (has) {
            append_entry(text, "   +  child: ", std::string{facts(step).name}.append(what),
                         facts(step).system, {});
        }
    };
    append(command.close_others || !command.descriptors.empty(), Step::pass_descriptors, "");
    append(!command.limits.empty(), Step::set_limits, "");
    append(command.no_new_privileges, Step::set_no_new_privileges, "");
    append(command.signal_mask || command.default_signals, Step::set_signals, "");
    const char* const path = command.program.path();
    append(true, Step::execute, path != nullptr ? std::string{" "} + path : " that is open");
    return text;
}

} // namespace detail

/// The plan in words, as explain(plan), but as join_and_exec() runs it: on whose memory the
/// processes run and why, and how the child becomes the program. Allocates.
template <Scope S = Scope::everything>
[[nodiscard]] auto explain(const Plan& plan, const Command& command) -> std::string {
    detail::Run<S> run{plan.parts()};
    run.executes = true;
    const Result<void> looked = detail::decide(run);
    const bool here = detail::fits_this_memory(run);
    const bool on_joiner = detail::fits_joiners_memory(run);
    if (here || on_joiner) {
        run.reports = false;
        run.route.wait_for_caller = false;
        (void)detail::takes_two(run);
    }
    std::string text =
        here        ? "on the caller's memory (CLONE_VM | CLONE_VFORK), nothing is copied\n"
        : on_joiner ? "on one copy of the caller's memory: who shares memory can't join a time "
                      "namespace\n"
                    : "in a copy of the caller's memory: a new time namespace, id maps, "
                      "oom_score_adj, a deadline or mount sources need a process with memory of "
                      "its own\n";
    return text.append(detail::explain_run(run, looked)).append(detail::explain_command(command));
}

/// A plan whose namespaces are opened and looked at once, to be run many times: by an agent that
/// executes a command in the same container every second. Owns those descriptors; borrows what the
/// plan borrows, the target's pidfd too, so that a process that gets its pid later is never joined.
///
/// What differs from the caller's namespaces, and who owns what, is as it was found: prepare anew
/// if the caller moves to other namespaces or loses rights.
class [[nodiscard]] PreparedPlan {
  public:
    /// Checks and looks. Errors: those of join_and_exec() before it makes a process.
    [[nodiscard]] static auto prepare(Plan plan) noexcept -> Result<PreparedPlan> {
        PreparedPlan prepared{std::move(plan)};
        Result<void> done = detail::check_for_command(prepared.plan_.parts());
        if (done) {
            done = detail::check_pending_init(prepared.plan_.parts());
        }
        if (done) {
            done = prepared.candidates_.look(prepared.plan_.parts());
        }
        if (!done) {
            return Unexpected{done.error()};
        }
        return prepared;
    }

    [[nodiscard]] auto plan() const noexcept -> const Plan& { return plan_; }

    /// As join_and_exec() of the plan. Errors: also process_gone if a target has ended.
    template <Scope S = Scope::everything>
    [[nodiscard]] auto exec(const Command& command) const noexcept -> Result<PidFd> {
        detail::check_scope_of_plan<S>();
        const detail::ErrnoKeeper keep_errno;
        detail::Run<S> run{plan_.parts()};
        Result<void> done = detail::check_command(command);
        if (done) {
            done = detail::open_for_command(run, command);
        }
        if (!done) {
            return Unexpected{done.error()};
        }
        const auto once = [&command](detail::Run<S>& r) noexcept -> Result<void> {
            const Result<void> there = targets_live(r);
            return there ? execute_once(r, command) : there;
        };
        return detail::to_child(run, detail::attempt_ways(run, candidates_, once));
    }

  private:
    explicit PreparedPlan(Plan plan) noexcept : plan_{std::move(plan)} {}

    /// A namespace's descriptor outlives its target; a pidfd the kernel checks itself.
    template <Scope S>
    [[nodiscard]] static auto targets_live(const detail::Run<S>& run) noexcept -> Result<void> {
        for (const detail::JoinCall& join : run.calls.view()) {
            const JoinSource& source = run.plan.source(*join.kinds.begin());
            if (source.from == JoinSource::From::target && join.fd != source.fd.get()) {
                if (detail::has_ended(source.fd)) {
                    auto gone = detail::fail(Step::open_target, Reason::process_gone, "pid ");
                    gone.error().subject.append(std::int64_t{source.target_pid});
                    return gone;
                }
            }
        }
        return {};
    }

    Plan plan_;
    detail::Candidates candidates_;
};

} // namespace nsjoin

#endif // NSJOIN_SPAWN_HPP
