// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_RUN_HPP
#define NSJOIN_DETAIL_RUN_HPP

#include <nsjoin/detail/clock.hpp>
#include <nsjoin/detail/clone.hpp>
#include <nsjoin/detail/join_calls.hpp>
#include <nsjoin/plan.hpp>

#include <cstring>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

// One execution of a plan: what is decided and opened before there is another process.

namespace nsjoin::detail {

/// Who joins.
enum class Joiner : std::uint8_t {
    none,          ///< nothing is joined: the caller makes the child
    shares_memory, ///< a process on the caller's memory, which is suspended meanwhile: cheap
    own_memory,    ///< a copy of the caller: what a process on its memory can't do, or a deadline
    child_itself,  ///< the child: nothing that is joined or created needs another process
    caller_itself, ///< ChildOf::callers_parent
};

/// Whether the child is the first process, and does the steps of that too.
[[nodiscard]] constexpr auto child_is_first(Joiner joiner) noexcept -> bool {
    return joiner == Joiner::none || joiner == Joiner::child_itself;
}

/// Who does what, for one attempt.
struct Route {
    Joiner joiner = Joiner::none;
    bool user_changes = false; ///< the child ends up in another user namespace
    bool time_by_joiner = false;
    bool become_root = false;
    bool wait_for_caller = false;
    /// The child is born in a new user namespace, where it can't lower its oom_score_adj any more.
    bool oom_by_caller = false;
    /// The child creates the time namespace, and can't open the file of its offsets any more.
    bool offsets_by_caller = false;
    KindSet by_clone;   ///< created by the clone that makes the child
    KindSet by_unshare; ///< created by the child, when it has its ids
};

/// What the joiner tells the caller: on memory that both see.
struct Handover {
    pid_t child = 0;
    int child_pidfd = -1;
    bool failed = false;
    bool finished = false; ///< the joiner came to its end
    Step step = Step::make_joiner;
    Error error;
};

/// What the child sends the caller, and the caller the child: one record each.
struct Message {
    bool failed = false;
    Error error;
};

/// What the libc keeps in the kernel about a thread, so that the child's can be set right.
struct ThreadRecord {
    pid_t* tid_address = nullptr; ///< where the libc keeps the thread's id
    void* robust_list = nullptr;
    std::size_t robust_size = 0;
};

/// The process that opens the mount sources.
struct Opener {
    OwnedFd child_end; ///< the child's end of a socket to it
    OwnedFd pidfd;
    pid_t pid = 0;
};

/// What a constructor says beside the plan.
struct RunOptions {
    /// The libc's record of the thread's id stays the caller's in the child.
    bool keep_thread_id = false;
    /// What open_own_proc() gave before, if anything.
    BorrowedFd proc{};
    /// Gets, if not null, the child's pid when all is joined, before the child is through.
    Result<void> (*announce)(void* announcer, pid_t child) noexcept = nullptr;
    void* announcer = nullptr;
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

struct Run {
    explicit Run(const Draft& draft) noexcept : plan{draft} {}

    const Draft& plan;
    RunOptions options;
    Deadline deadline;

    StandardNumbers standard;
    std::array<OwnedFd, 3> copies; ///< of what is passed on, where a console takes its number
    OwnedFd own_proc;
    BorrowedFd proc;
    OwnedFd cgroup_procs;
    OwnedFd caller_end;
    OwnedFd child_end;
    OwnedFd caller_pidfd;
    bool into_cgroup = false;
    ThreadRecord thread;
    KernelSignalSet signals = 0;

    Candidates candidates;
    JoinCalls calls;
    KindSet joining; ///< the kinds that the calls join
    Route route;
    const Credentials root_ids{.uid = 0, .gid = 0, .groups = {}};
    const Credentials* ids = nullptr; ///< what the child takes at last, or nothing

    Handover own_handover;
    Handover* handover = &own_handover;
    OwnedFd time_offsets; ///< the first process's own /proc/self/timens_offsets
    Opener opener;
    bool executes = false;    ///< the child becomes another program at once
    bool reports = true;      ///< how it went comes through a channel, not on shared memory
    bool one_process = false; ///< the joiner becomes the child itself
    bool in_child = false;
    /// By a caller that joins by itself: a second attempt is not dumpable, and could not.
    bool oom_is_set = false;
    bool flag_was_cleared = false; ///< the dumpable flag, by another thread
};

[[nodiscard]] inline auto needs_proc(const Draft& plan) noexcept -> bool {
    return plan.maps || plan.oom_score_adj || plan.created.contains(Kind::time) ||
           !plan.mount_sources.list.empty();
}

[[nodiscard]] inline auto check_console(BorrowedFd console) noexcept -> Result<void> {
    std::array<std::uint32_t, 16> settings{}; // struct termios of the kernel: at most 44 bytes
    const long result = call(SYS_ioctl, console.get(), 0x5401 /* TCGETS */, settings.data());
    if (result == 0) {
        return {};
    }
    Error error{Step::check_console, result == -ENOTTY ? Reason::not_a_terminal : Reason::system,
                static_cast<std::int32_t>(-result), Subject{"descriptor "}};
    error.subject.append(std::int64_t{console.get()});
    return tl::unexpected<Error>{error};
}

/// cgroup.procs of the plan's cgroup, for hierarchies and kernels that clone3 can't place into.
[[nodiscard]] inline auto open_cgroup_procs(Run& run) noexcept -> Result<void> {
    Result<OwnedFd> procs =
        open_owned(Step::open_cgroup, run.plan.cgroup.get(), "cgroup.procs", O_WRONLY);
    if (!procs) {
        return tl::unexpected<Error>{procs.error()};
    }
    run.cgroup_procs = *std::move(procs);
    run.into_cgroup = false;
    return {};
}

/// Whether a process is to be born in the plan's cgroup by clone3(2), not to write itself there.
[[nodiscard]] inline auto is_born_in_cgroup(const Draft& plan) noexcept -> Result<bool> {
    struct statfs about {};

    if (::fstatfs(plan.cgroup.get(), &about) != 0) {
        return fail(Step::open_cgroup, errno);
    }
    const auto magic = static_cast<std::uint64_t>(about.f_type);
    if (magic != cgroup_super_magic && magic != cgroup2_super_magic) {
        return fail(Step::open_cgroup, Reason::not_a_cgroup);
    }
    // A caller that joins by itself can't try twice, so it takes the way that needs no second try.
    const bool joins_itself = plan.child_of == ChildOf::callers_parent && !plan.joined().empty();
    return magic == cgroup2_super_magic && !joins_itself;
}

[[nodiscard]] inline auto open_cgroup(Run& run) noexcept -> Result<void> {
    const Result<bool> born = is_born_in_cgroup(run.plan);
    if (!born) {
        return tl::unexpected<Error>{born.error()};
    }
    run.into_cgroup = *born;
    return *born ? Result<void>{} : open_cgroup_procs(run);
}

[[nodiscard]] inline auto make_channel(Run& run) noexcept -> Result<void> {
    std::array<int, 2> ends{-1, -1};
    const long result =
        call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data());
    if (result != 0) {
        return fail(Step::make_channel, static_cast<int>(-result));
    }
    run.caller_end.reset(ends[0]);
    run.child_end.reset(ends[1]);
    return {};
}

/// Reads where the libc keeps the thread's id and robust mutexes. Only the address that really
/// holds the id is used: musl registers another one there.
[[nodiscard]] inline auto read_thread_record() noexcept -> ThreadRecord {
    ThreadRecord record;
    pid_t* address = nullptr;
    if (call(SYS_prctl, PR_GET_TID_ADDRESS, &address, 0, 0, 0) == 0 && address != nullptr &&
        *address == call(SYS_gettid)) {
        record.tid_address = address;
    }
    (void)call(SYS_get_robust_list, 0, &record.robust_list, &record.robust_size);
    return record;
}

/// Whether the process has several threads: unshare(2) refuses CLONE_THREAD then, and else does
/// nothing for it.
[[nodiscard]] inline auto has_threads() noexcept -> bool {
    return call(SYS_unshare, clone_thread) == -EINVAL;
}

/// Refuses to join where the joiner, which ends soon, would be born into a pid namespace of its
/// own: its end would be that of the namespace. pid_namespaces(7).
[[nodiscard]] inline auto check_pending_pid(const Draft& plan) noexcept -> Result<void> {
    struct stat own {};

    struct stat of_children {};

    if (plan.joined().empty() || plan.child_of == ChildOf::callers_parent ||
        !stat_own(Kind::pid, "pid", own)) {
        return {};
    }
    // The entry of a namespace that nobody is in yet can't be followed.
    if (stat_own(Kind::pid, "pid_for_children", of_children) && own.st_ino == of_children.st_ino) {
        return {};
    }
    return fail(Step::check_plan, Reason::pending_pid);
}

[[nodiscard]] inline auto check_parent(const Draft& plan) noexcept -> Result<void> {
    if (plan.child_of == ChildOf::caller) {
        return {};
    }
    if (::getpid() == 1) {
        return fail(Step::check_plan, Reason::init_has_no_sibling);
    }
    if (!plan.joined().empty() && has_threads()) {
        return fail(Step::check_plan, Reason::many_threads);
    }
    return {};
}

/// What can be found wrong with the plan here and now, without opening anything.
[[nodiscard]] inline auto check_before_run(const Draft& plan) noexcept -> Result<void> {
    Result<void> done = check_values(plan);
    if (done) {
        done = check_parent(plan);
    }
    return done ? check_pending_pid(plan) : done;
}

/// Opens and checks what the plan names.
[[nodiscard]] inline auto open_inputs(Run& run) noexcept -> Result<void> {
    const Draft& plan = run.plan;
    if (plan.deadline.count() > 0) {
        run.deadline = Deadline{plan.deadline};
    }
    Result<void> done;
    if (plan.console.ok()) {
        done = run.standard.take();
        if (!done) {
            return done;
        }
    }
    run.proc = run.options.proc;
    if (needs_proc(plan) && !run.proc.ok()) {
        Result<OwnedFd> proc = open_own_proc(::getpid());
        if (!proc) {
            return tl::unexpected<Error>{proc.error()};
        }
        run.own_proc = *std::move(proc);
        run.proc = run.own_proc.borrow();
    }
    if (plan.console.ok()) {
        done = check_console(plan.console);
    }
    if (done && plan.cgroup.ok()) {
        done = open_cgroup(run);
    }
    return done;
}

[[nodiscard]] inline auto choose_joiner(const Run& run) noexcept -> Joiner {
    const Draft& plan = run.plan;
    if (run.calls.count == 0) {
        return Joiner::none;
    }
    if (plan.child_of == ChildOf::callers_parent) {
        return Joiner::caller_itself;
    }
    // Of these, only children are in it, or the child is made with it.
    const bool needs_child = (run.joining | plan.created).contains(Kind::pid) ||
                             plan.created.intersects(Kind::user | Kind::time);
    if (!needs_child && !run.executes) {
        return Joiner::child_itself;
    }
    // A process on the caller's memory can't join a time namespace, shares the dumpable flag that
    // its own /proc files depend on, and stops the clock of a caller with a deadline.
    const bool own_memory = !has_vfork || run.joining.contains(Kind::time) || plan.oom_score_adj ||
                            plan.created.contains(Kind::time) || plan.deadline.count() != 0;
    return own_memory ? Joiner::own_memory : Joiner::shares_memory;
}

/// Whether setgroups has to be denied: asked for, or because the kernel takes a single gid from a
/// caller without CAP_SETGID only then (CVE-2014-8989).
[[nodiscard]] inline auto must_deny_setgroups(const NewUser& user) noexcept -> bool {
    if (user.setgroups != Setgroups::automatic) {
        return user.setgroups == Setgroups::deny;
    }
    const std::span<const IdExtent> gids = user.gids.extents();
    return gids.size() == 1 && gids.front().count == 1 && gids.front().outside == ::getegid() &&
           !has_capability(cap_setgid);
}

/// Decides, from the kinds that will be joined, who does what.
inline void choose_route(Run& run) noexcept {
    const Draft& plan = run.plan;
    Route& route = run.route;
    const bool creates_user = plan.created.contains(Kind::user);
    const bool root_inside = run.joining.contains(Kind::user) ||
                             (plan.maps && plan.maps->uids.maps(0) && plan.maps->gids.maps(0));
    route.joiner = choose_joiner(run);
    route.user_changes = creates_user || run.joining.contains(Kind::user);
    route.by_clone = route.user_changes ? plan.created & (Kind::user | Kind::pid)
                                        : plan.created - (Kind::cgroup | Kind::time);
    if (route.joiner == Joiner::child_itself) {
        route.by_clone = {};
    }
    route.by_unshare = plan.created - route.by_clone;
    route.time_by_joiner =
        route.joiner != Joiner::none && plan.created.contains(Kind::time) && !creates_user;
    if (route.time_by_joiner) {
        route.by_unshare = route.by_unshare - Kind::time;
    }
    route.become_root =
        route.user_changes && root_inside && !plan.keep_ids && !route.by_unshare.empty();
    route.oom_by_caller = plan.oom_score_adj && creates_user && route.joiner == Joiner::none;
    route.offsets_by_caller =
        plan.time_offsets && route.joiner != Joiner::none && !route.time_by_joiner;
    route.wait_for_caller = plan.maps.has_value() || route.oom_by_caller ||
                            route.offsets_by_caller || route.joiner == Joiner::own_memory;
    run.ids = nullptr;
    if (plan.credentials) {
        run.ids = &*plan.credentials;
    } else if (route.user_changes && root_inside && !plan.keep_ids) {
        run.ids = &run.root_ids;
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_RUN_HPP
