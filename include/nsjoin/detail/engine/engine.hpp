// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_ENGINE_HPP
#define NSJOIN_DETAIL_ENGINE_ENGINE_HPP

#include <nsjoin/detail/engine/dumpable.hpp>
#include <nsjoin/detail/engine/map_writer.hpp>
#include <nsjoin/detail/engine/steps.hpp>

#include <new>
#include <optional>

// The caller's side of a run: makes the processes, hands over, waits, and cleans up after failures.

namespace nsjoin::detail {

/// Memory that a process made by a plain clone shares with this one.
class SharedHandover {
  public:
    SharedHandover() noexcept
        : page_{::mmap(nullptr, sizeof(Handover), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0)} {}

    ~SharedHandover() {
        if (page_ != MAP_FAILED) { // NOLINT(*-cast,performance-no-int-to-ptr)
            (void)::munmap(page_, sizeof(Handover));
        }
    }

    SharedHandover(const SharedHandover&) = delete;
    SharedHandover(SharedHandover&&) = delete;
    auto operator=(const SharedHandover&) -> SharedHandover& = delete;
    auto operator=(SharedHandover&&) -> SharedHandover& = delete;

    /// A Handover in its first state, or null if there was no memory.
    [[nodiscard]] auto get() noexcept -> Handover* {
        return page_ == MAP_FAILED ? nullptr // NOLINT(*-cast,performance-no-int-to-ptr)
                                   : ::new (page_) Handover{};
    }

  private:
    void* page_;
};

/// Which of the created kinds the kernel refuses: asked of a process that ends afterwards.
struct Blame {
    KindSet kinds;
    Result<void> found;
};

inline void find_blame(Blame& blame) noexcept {
    blame.found = unshare_kinds(blame.kinds);
    exit_now(0);
}

/// The error of a clone3 that failed with `code`: of the kind that it could not create, if any.
[[nodiscard]] inline auto clone_error(KindSet kinds, long code) noexcept -> Error {
    const bool about_kinds =
        code == -EPERM || code == -EINVAL || code == -ENOSPC || code == -EUSERS || code == -ENOSYS;
    if (has_vfork && about_kinds && !kinds.empty()) {
        Blame blame{kinds, {}};
        // Without an exit signal nobody else hears of its end, or waits for it.
        const long pid = run_on_this_memory(find_blame, blame, CloneArgs{});
        if (pid > 0) {
            (void)call_again(SYS_wait4, pid, nullptr, wait_all, nullptr);
        }
        if (!blame.found) {
            return blame.found.error();
        }
    }
    return fail(Step::make_child, static_cast<int>(-code)).error();
}

/// clone_process() for a process that needs its own files in /proc, or whose files the caller
/// writes: they depend on the dumpable flag, which another thread may have cleared just now.
template <Scope S>
[[nodiscard]] auto clone_copy(Run<S>& run, const CloneArgs& args) noexcept -> long {
    const DumpableLock lock{dumpable_state()};
    run.flag_was_cleared = lock.cleared();
    const long pid = clone_process(args);
    if (pid == 0 && run.flag_was_cleared) {
        (void)set_dumpable(true);
        const Message ready;
        (void)call_again(SYS_sendto, run.child_end.get(), &ready, sizeof ready, MSG_NOSIGNAL,
                         nullptr, 0);
    }
    return pid;
}

/// The new process is to be born in the plan's cgroup, if clone3(2) can do that.
template <Scope S>
void place_into_cgroup(const Run<S>& run, CloneArgs& args) noexcept {
    if (run.plan.cgroup.ok() && run.into_cgroup) {
        args.flags |= clone_into_cgroup;
        args.cgroup = static_cast<std::uint64_t>(run.plan.cgroup.get());
    }
}

/// Makes the child. Sets run.in_child in it.
template <Scope S>
[[nodiscard]] auto make_child(Run<S>& run) noexcept -> Result<void> {
    const bool sibling = run.route.joiner == Joiner::own_memory ||
                         run.route.joiner == Joiner::shares_memory ||
                         run.plan.child_of == ChildOf::callers_parent;
    const bool first = child_is_first(run.route.joiner);
    const bool place = run.plan.cgroup.ok() && run.into_cgroup && first;
    run.handover->step = Step::make_child;
    CloneArgs args;
    args.flags = clone_pidfd | clone_parent_settid | run.route.by_clone.clone_flags();
    args.pidfd = reinterpret_cast<std::uint64_t>(&run.handover->child_pidfd); // NOLINT(*-cast)
    args.parent_tid = reinterpret_cast<std::uint64_t>(&run.handover->child);  // NOLINT(*-cast)
    if (run.thread.tid_address != nullptr) {
        args.flags |= clone_child_settid | clone_child_cleartid;
        args.child_tid = reinterpret_cast<std::uint64_t>(run.thread.tid_address); // NOLINT(*-cast)
    }
    // The exit signal of a sibling is that of the process that makes it: SIGCHLD in every case.
    args.flags |= sibling ? clone_parent : 0;
    args.exit_signal = sibling ? 0 : SIGCHLD;
    if (place) {
        place_into_cgroup(run, args);
    }
    const long pid = first ? clone_copy(run, args) : clone_process(args);
    if (pid < 0) {
        if (place) {
            return outcome(Step::enter_cgroup, pid);
        }
        return Unexpected{clone_error(run.route.by_clone, pid)};
    }
    run.in_child = pid == 0;
    return {};
}

/// The joiner: joins, makes the child, ends. Returns only in the child.
template <Scope S>
void join_and_make_child(Run<S>& run) noexcept {
    Result<void> done = do_first_steps(run);
    if (done) {
        done = make_child(run);
        if (run.in_child) {
            return;
        }
    }
    if (!done) {
        run.handover->error = done.error();
        run.handover->failed = true;
    }
    run.handover->finished = true;
    exit_now(0);
}

/// The rest of the child: its steps, and the report. Ends the process on failure.
template <Scope S>
void finish_child(Run<S>& run) noexcept {
    run.caller_end.reset();
    (void)call(SYS_set_robust_list, run.thread.robust_list, run.thread.robust_size);
    Result<void> done;
    if (child_is_first(run.route.joiner)) {
        done = do_first_steps(run);
    }
    if (done) {
        done = do_child_steps(run);
    }
    Message message;
    if (!done) {
        message = {true, done.error()};
    }
    const long sent = call_again(SYS_sendto, run.child_end.get(), &message, sizeof message,
                                 MSG_NOSIGNAL, nullptr, 0);
    if (!done || sent < 0) {
        exit_now(1);
    }
    if (run.plan.console.ok()) {
        run.standard.leave();
    }
    if (!run.executes) {
        run.child_end.reset();
    }
}

/// The error for a process that ended without a report.
[[nodiscard]] inline auto died(Step step, std::string_view who,
                               const Result<ExitStatus>& status) noexcept -> Unexpected {
    auto error = fail(step, Reason::process_died, who);
    error.error().code = status ? status->wait_status() : 0;
    return error;
}

/// What the joiner, which has ended, left behind.
template <Scope S>
[[nodiscard]] auto take_handover(Run<S>& run, const Result<ExitStatus>& joiner) noexcept
    -> Result<void> {
    if (run.handover->failed) {
        return Unexpected{run.handover->error};
    }
    if (!run.handover->finished) {
        return died(run.handover->step, "the joiner", joiner);
    }
    return {};
}

/// Joins on a process that shares the caller's memory. Returns in the caller and in the child.
template <Scope S>
[[nodiscard]] auto start_on_this_memory(Run<S>& run) noexcept -> Result<void> {
    int pidfd = -1;
    NotDumpable not_dumpable;
    if (not_dumpable.failed() != 0) {
        return outcome(Step::clear_dumpable, not_dumpable.failed());
    }
    CloneArgs args;
    args.flags = clone_files | clone_pidfd;
    args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd); // NOLINT(*-reinterpret-cast)
    args.exit_signal = SIGCHLD;
    place_into_cgroup(run, args);
    const long pid = run_on_this_memory(join_and_make_child<S>, run, args);
    if (pid < 0) {
        return outcome(run.into_cgroup ? Step::enter_cgroup : Step::make_joiner, pid);
    }
    OwnedFd joiner_fd{pidfd};
    if (run.in_child) {
        not_dumpable.stay();
        return {};
    }
    const PidFd joiner{std::move(joiner_fd), static_cast<pid_t>(pid)};
    return take_handover(run, joiner.wait());
}

/// Gets a pidfd of the child whose own is in the table of a joiner that has ended. The child waits
/// for a word of the caller, so its pid is still its own; on failure it is ended.
template <Scope S>
[[nodiscard]] auto pin_child(Run<S>& run) noexcept -> Result<void> {
    run.handover->child_pidfd = -1;
    if (run.handover->child <= 0) {
        return {};
    }
    const long pidfd = call(SYS_pidfd_open, run.handover->child, 0U);
    if (pidfd < 0) {
        run.child_end.reset();
        (void)call(SYS_shutdown, run.caller_end.get(), SHUT_RDWR);
        (void)call_again(SYS_wait4, run.handover->child, nullptr, wait_all, nullptr);
        run.handover->child = 0;
        return outcome(Step::open_pidfd, pidfd);
    }
    run.handover->child_pidfd = static_cast<int>(pidfd);
    // Unless it was killed, and somebody else waited for it.
    siginfo_t info{};
    const long own = call(SYS_waitid, p_pidfd, run.handover->child_pidfd, &info,
                          WEXITED | WNOHANG | WNOWAIT | wait_all, nullptr);
    if (own < 0) {
        run.handover->child = 0;
        return fail(Step::make_child, Reason::already_reaped, "the child");
    }
    return {};
}

/// Joins in a copy of the caller. Returns in the caller and in the child.
template <Scope S>
[[nodiscard]] auto start_in_copy(Run<S>& run) noexcept -> Result<void> {
    int pidfd = -1;
    CloneArgs args;
    args.flags = clone_pidfd;
    args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd); // NOLINT(*-reinterpret-cast)
    args.exit_signal = SIGCHLD;
    place_into_cgroup(run, args);
    const long pid = clone_copy(run, args);
    if (pid < 0) {
        return outcome(run.into_cgroup ? Step::enter_cgroup : Step::make_joiner, pid);
    }
    if (pid == 0) {
        join_and_make_child(run);
        return {};
    }
    const PidFd joiner{OwnedFd{pidfd}, static_cast<pid_t>(pid)};
    Result<ExitStatus> status = joiner.wait(run.deadline.left());
    const bool late = !status && status.error().reason == Reason::deadline_passed;
    if (late) {
        (void)joiner.send_signal(SIGKILL);
        status = joiner.wait();
    }
    const Result<void> pinned = pin_child(run);
    if (late) {
        return fail(run.handover->step, Reason::deadline_passed);
    }
    const Result<void> taken = take_handover(run, status);
    return taken ? pinned : taken;
}

template <Scope S>
[[nodiscard]] auto start(Run<S>& run) noexcept -> Result<void> {
    switch (run.route.joiner) {
    case Joiner::none:
    case Joiner::child_itself:
        return make_child(run);
    case Joiner::shares_memory:
        return start_on_this_memory(run);
    default:
        if constexpr (S == Scope::everything) {
            if (run.route.joiner == Joiner::own_memory) {
                return start_in_copy(run);
            }
            const Result<void> done = do_first_steps(run);
            return done ? make_child(run) : done;
        }
        return {};
    }
}

/// Waits for the child's report.
template <Scope S>
[[nodiscard]] auto await_report(const Run<S>& run, const PidFd& child) noexcept -> Result<void> {
    std::array<pollfd, 2> entries{pollfd{run.caller_end.get(), POLLIN, 0},
                                  pollfd{child.fd().get(), POLLIN, 0}};
    long ready = -EINTR;
    while (ready == -EINTR) {
        const PollTimeout left{run.deadline.left()};
        ready = call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
    }
    if (ready == 0) {
        return fail(Step::report, Reason::deadline_passed);
    }
    Message message;
    const long length = call_again(SYS_recvfrom, run.caller_end.get(), &message, sizeof message,
                                   MSG_DONTWAIT, nullptr, nullptr);
    if (length != sizeof message) {
        return died(Step::report, "the child", child.wait());
    }
    if (message.failed) {
        return Unexpected{message.error};
    }
    return {};
}

/// Tells the child to go on, and gives it the file of its time offsets where it could not open it.
template <Scope S>
[[nodiscard]] auto send_go(const Run<S>& run, const PidFd& child) noexcept -> Result<void> {
    long sent = 0;
    if (run.route.offsets_by_caller) {
        const Result<OwnedFd> offsets =
            open_child_file(Step::open_time_offsets, run, child, "timens_offsets");
        if (!offsets) {
            return Unexpected{offsets.error()};
        }
        const Result<void> given = send_descriptor(run.caller_end.borrow(), offsets->borrow());
        sent = given ? 0 : -given.error().code;
    } else {
        const Message go;
        sent =
            call_again(SYS_sendto, run.caller_end.get(), &go, sizeof go, MSG_NOSIGNAL, nullptr, 0);
    }
    // Of a child that has ended, the report tells more.
    return sent == -EPIPE ? Result<void>{} : outcome(Step::await_maps, sent);
}

/// Lets the child go on, and waits until it is through.
template <Scope S>
[[nodiscard]] auto finish_caller(Run<S>& run, const PidFd& child) noexcept -> Result<void> {
    Result<void> done;
    if (run.flag_was_cleared) {
        done = await_report(run, child); // that it has set the flag again
    }
    if (done && run.route.oom_by_caller) {
        Subject process;
        done = set_oom_score_adj(run, process.append(std::int64_t{child.pid()}).view());
    }
    if (done && run.plan.maps) {
        done = write_maps(run, child);
    }
    if (done && run.route.wait_for_caller) {
        done = send_go(run, child);
    }
    // A child that is the first process still has to join.
    if (done && run.options.announce != nullptr && !child_is_first(run.route.joiner)) {
        done = run.options.announce(run.options.announcer, child);
    }
    return done ? await_report(run, child) : done;
}

/// Ends what was started of the child, so that nothing is left.
template <Scope S>
void abandon(Run<S>& run, const PidFd& child) noexcept {
    (void)call(SYS_shutdown, run.caller_end.get(), SHUT_RDWR);
    (void)child.send_signal(SIGKILL);
    (void)child.wait();
}

/// Opens what only this route needs.
template <Scope S>
[[nodiscard]] auto open_for_route(Run<S>& run, std::optional<SharedHandover>& shared) noexcept
    -> Result<void> {
    run.own_handover = Handover{};
    run.handover = &run.own_handover;
    run.flag_was_cleared = false;
    if (!run.child_end.ok()) { // the first attempt, or the child of the last one has had it
        const Result<void> made = make_channel(run);
        if (!made) {
            return made;
        }
    }
    if (run.route.joiner == Joiner::own_memory) {
        Handover* const handover = shared.emplace().get();
        if (handover == nullptr) {
            return fail(Step::make_joiner, ENOMEM);
        }
        run.handover = handover;
    }
    if (run.route.wait_for_caller && !run.caller_pidfd.ok()) {
        const long self = call(SYS_pidfd_open, ::getpid(), 0U);
        if (self < 0) {
            return outcome(Step::open_pidfd, self);
        }
        run.caller_pidfd.reset(static_cast<int>(self));
    }
    return {};
}

/// Runs the plan once, with the calls and the route that are set.
template <Scope S>
[[nodiscard]] auto run_once(Run<S>& run) noexcept -> Result<void> {
    std::optional<SharedHandover> shared;
    Result<void> done = open_for_route(run, shared);
    if (done && !run.plan.mount_sources.list.empty()) {
        done = start_opener(run);
    }
    if (done) {
        done = start(run);
    }
    if (run.in_child) {
        finish_child(run);
        return {};
    }
    PidFd child{OwnedFd{run.handover->child_pidfd}, run.handover->child};
    if (done) {
        run.child_end.reset();
        done = finish_caller(run, child);
    }
    if (!done && child.pid() > 0) {
        abandon(run, child);
    }
    end_opener(run);
    if (done) {
        run.outcome = {child.release().release(), run.handover->child};
    }
    return done;
}

/// Runs the plan by `once`; where clone3 can't place into the cgroup, the process writes itself
/// there.
template <Scope S, typename Once>
[[nodiscard]] auto attempt(Run<S>& run, const Once& once) noexcept -> Result<void> {
    choose_route(run);
    Result<void> result = once(run);
    if constexpr (S == Scope::everything) {
        if (!result && run.into_cgroup && result.error().step == Step::enter_cgroup) {
            const int code = result.error().code;
            if (code == ENOSYS || code == EINVAL || code == E2BIG || code == EPERM) {
                const Result<void> opened = open_cgroup_procs(run);
                return opened ? once(run) : opened;
            }
        }
    }
    return result;
}

/// Whether there may be another way to join: the kernel has no setns with a pidfd, a filter forbids
/// it, or the flags name a namespace that the caller is in or has no rights over.
[[nodiscard]] inline auto may_join_otherwise(const Result<void>& result) noexcept -> bool {
    return !result && is_join(result.error().step) &&
           (result.error().code == EINVAL || result.error().code == EPERM ||
            result.error().code == ENOSYS);
}

/// Runs the plan with one call for all kinds of the one target that they come from.
template <Scope S, typename Once>
[[nodiscard]] auto attempt_one_call(Run<S>& run, BorrowedFd target, const Once& once) noexcept
    -> Result<void> {
    run.joining = run.plan.joined();
    // To join one's own namespace is nothing, but for these: a mount namespace moves root and
    // working directory all the same, and a process on the caller's memory can't join a time one.
    // A program that enters another user namespace starts at its mount namespace's root anyway.
    const bool is_program = run.executes || run.plan.child_of == ChildOf::callers_parent;
    const bool to_root = is_program && run.joining.contains(Kind::user);
    for (const Kind kind : run.joining&(Kind::mount | Kind::time)) {
        if (!(to_root && kind == Kind::mount) && source_is_own(run.plan.source(kind), kind)) {
            run.joining = run.joining - kind;
        }
    }
    if (!run.joining.empty()) {
        run.calls.add({target.get(), run.joining});
    }
    return attempt(run, once);
}

/// Runs the plan with the calls that follow from what is known of the namespaces.
template <Scope S, typename Once>
[[nodiscard]] auto attempt_ways(Run<S>& run, const Candidates& candidates,
                                const Once& once) noexcept -> Result<void> {
    run.joining = candidates.differing();
    Result<void> result;
    for (const Way way : {Way::differing, Way::by_descriptors}) {
        run.calls = candidates.calls(way);
        result = attempt(run, once);
        if (!may_join_otherwise(result)) {
            break;
        }
    }
    return result;
}

/// Runs the plan the shortest way that the kernel lets it.
template <Scope S, typename Once>
[[nodiscard]] auto attempts(Run<S>& run, const Once& once) noexcept -> Result<void> {
    if (run.plan.joined().empty()) {
        return attempt(run, once);
    }
    if (const BorrowedFd target = single_target(run.plan); target.ok()) {
        Result<void> result = attempt_one_call(run, target, once);
        if (!may_join_otherwise(result)) {
            return result;
        }
    }
    Result<void> looked = run.candidates.look(run.plan);
    return looked ? attempt_ways(run, run.candidates, once) : looked;
}

/// Says of which namespace the error of a join is, and gives ESRCH its meaning.
inline void name_namespace(const Draft& plan, Error& error) noexcept {
    if (!is_join(error.step)) {
        return;
    }
    const auto index =
        static_cast<std::size_t>(error.step) - static_cast<std::size_t>(Step::join_user);
    const JoinSource& source = plan.joins[index];
    if (source.from == JoinSource::From::target) {
        error.subject = Subject{"pid "};
        error.subject.append(std::int64_t{source.target_pid});
        error.reason = error.code == ESRCH ? Reason::process_gone : error.reason;
    } else {
        struct stat about {};

        if (::fstat(source.fd.get(), &about) == 0) {
            error.subject = Subject{facts(static_cast<Kind>(index)).name};
            error.subject.append(":[").append(static_cast<std::int64_t>(about.st_ino)).append("]");
        }
    }
}

/// Runs a plan. Returns in the caller with the child, and in the child with no pid.
template <Scope S = Scope::everything>
[[nodiscard]] auto run_plan(const Draft& plan, const RunOptions& options = {}) noexcept
    -> Result<Outcome> {
    const ErrnoKeeper keep_errno; // a process on this memory has this thread's errno
    Run<S> run{plan};
    run.options = options;
    Result<void> done = check_before_run<S>(plan);
    if (done) {
        done = open_inputs(run);
    }
    if (done) {
        run.thread = read_thread_record();
        if (options.keep_thread_id) {
            run.thread.tid_address = nullptr;
        }
        // Until the child is through, no handler may run: in the joiner it would be on our memory.
        run.signals = block_signals();
        done = attempts(run, run_once<S>);
        restore_signals(run.signals);
    }
    if (!done) {
        name_namespace(plan, done.error());
        return Unexpected{done.error()};
    }
    return run.outcome;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_ENGINE_HPP
