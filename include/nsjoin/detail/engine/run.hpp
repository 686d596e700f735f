// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_RUN_HPP
#define NSJOIN_DETAIL_ENGINE_RUN_HPP

#include <nsjoin/detail/engine/join_calls.hpp>
#include <nsjoin/detail/kernel/clock.hpp>
#include <nsjoin/detail/kernel/clone.hpp>
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

/// What is compiled for the plans of a scope: all, where a process can't run on the caller's
/// memory, as who only joins does it there.
[[nodiscard]] constexpr auto compiled_for(Scope scope) noexcept -> Scope {
    return has_vfork ? scope : Scope::everything;
}

/// What is read of a plan. What the plans of a scope can't say is a constant, so that the compiler
/// leaves out what would do it.
template <Scope S>
struct PartsOf {
    using Type = const Draft&;
};

struct JoiningParts {
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): a view of it
    JoiningParts(const Draft& whole) noexcept : draft{whole} {}

    const Draft& draft;
    const std::optional<Credentials>& credentials = draft.credentials;
    const bool& keep_ids = draft.keep_ids;
    const bool& keep_capabilities = draft.keep_capabilities;
    const bool& new_session = draft.new_session;

    static constexpr KindSet created{};
    static constexpr std::optional<NewUser> maps{};
    static constexpr std::optional<TimeOffsets> time_offsets{};
    static constexpr MountSources mount_sources{};
    static constexpr BorrowedFd console{};
    static constexpr BorrowedFd root{};
    static constexpr BorrowedFd working_directory{};
    static constexpr BorrowedFd cgroup{};
    static constexpr std::optional<int> oom_score_adj{};
    static constexpr ProcessName name{};
    static constexpr int death_signal = 0;
    static constexpr ChildOf child_of = ChildOf::caller;
    static constexpr Duration deadline{};

    [[nodiscard]] auto joined() const noexcept -> KindSet { return draft.joined() - Kind::time; }

    [[nodiscard]] auto source(Kind kind) const noexcept -> const JoinSource& {
        return draft.source(kind);
    }

    [[nodiscard]] operator const Draft&() const noexcept { return draft; } // NOLINT(*-explicit-*)
};

template <>
struct PartsOf<Scope::joining> {
    using Type = JoiningParts;
};

/// Who does what, for one attempt.
template <Scope S>
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

template <>
struct Route<Scope::joining> {
    Joiner joiner = Joiner::none;
    bool user_changes = false;
    static constexpr bool time_by_joiner = false;
    static constexpr bool become_root = false;
    static constexpr bool wait_for_caller = false;
    static constexpr bool oom_by_caller = false;
    static constexpr bool offsets_by_caller = false;
    static constexpr KindSet by_clone{};
    static constexpr KindSet by_unshare{};
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
    /// Gets, if not null, the child when all is joined, before the child is through.
    Result<void> (*announce)(void* announcer, const PidFd& child) noexcept = nullptr;
    void* announcer = nullptr;
};

/// What a run comes to: in the child nothing, in the caller the child.
struct Outcome {
    int pidfd = -1; ///< the caller's to own
    pid_t pid = 0;
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

template <Scope S>
struct Run {
    explicit Run(const Draft& draft) noexcept : plan{draft} {}

    typename PartsOf<S>::Type plan;
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
    Route<S> route;
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
    Outcome outcome; ///< after success
    /// By a caller that joins by itself: a second attempt is not dumpable, and could not.
    bool oom_is_set = false;
    bool flag_was_cleared = false; ///< the dumpable flag, by another thread
};

template <typename Parts>
[[nodiscard]] auto needs_proc(const Parts& plan) noexcept -> bool {
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
    return Unexpected{error};
}

/// cgroup.procs of the plan's cgroup, for hierarchies and kernels that clone3 can't place into.
template <Scope S>
[[nodiscard]] auto open_cgroup_procs(Run<S>& run) noexcept -> Result<void> {
    Result<OwnedFd> procs =
        open_owned(Step::open_cgroup, run.plan.cgroup.get(), "cgroup.procs", O_WRONLY);
    if (!procs) {
        return Unexpected{procs.error()};
    }
    run.cgroup_procs = *std::move(procs);
    run.into_cgroup = false;
    return {};
}

/// Finds out whether a process is to be born in the plan's cgroup by clone3(2), not to write itself
/// there.
[[nodiscard]] inline auto look_at_cgroup(const Draft& plan, bool& born_in) noexcept
    -> Result<void> {
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
    born_in = magic == cgroup2_super_magic && !joins_itself;
    return {};
}

template <Scope S>
[[nodiscard]] auto open_cgroup(Run<S>& run) noexcept -> Result<void> {
    Result<void> looked = look_at_cgroup(run.plan, run.into_cgroup);
    return !looked || run.into_cgroup ? looked : open_cgroup_procs(run);
}

template <Scope S>
[[nodiscard]] auto make_channel(Run<S>& run) noexcept -> Result<void> {
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
template <Scope S>
[[nodiscard]] auto check_before_run(const Draft& plan) noexcept -> Result<void> {
    Result<void> done;
    if constexpr (S == Scope::everything) {
        done = check_values(plan);
        done = done ? check_parent(plan) : done;
    } else {
        done = check_ids(plan);
    }
    return done ? check_pending_pid(plan) : done;
}

/// Opens and checks what the plan names.
template <Scope S>
[[nodiscard]] auto open_inputs(Run<S>& run) noexcept -> Result<void> {
    const auto& plan = run.plan;
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
            return Unexpected{proc.error()};
        }
        run.own_proc.reset(proc->release());
        run.proc = run.own_proc.borrow();
    }
    if (plan.console.ok()) {
        done = check_console(plan.console);
    }
    if constexpr (S == Scope::everything) {
        done = done && plan.cgroup.ok() ? open_cgroup(run) : done;
    }
    return done;
}

template <Scope S>
[[nodiscard]] auto choose_joiner(const Run<S>& run) noexcept -> Joiner {
    const auto& plan = run.plan;
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
    if constexpr (S == Scope::joining) {
        return Joiner::shares_memory;
    }
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

/// Decides who creates, and who writes what the kernel wants written.
inline void choose_creators(Run<Scope::everything>& run, bool root_inside) noexcept {
    const Draft& plan = run.plan;
    Route<Scope::everything>& route = run.route;
    const bool creates_user = plan.created.contains(Kind::user);
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
}

/// Decides, from the kinds that will be joined, who does what.
template <Scope S>
void choose_route(Run<S>& run) noexcept {
    const auto& plan = run.plan;
    const bool root_inside = run.joining.contains(Kind::user) ||
                             (plan.maps && plan.maps->uids.maps(0) && plan.maps->gids.maps(0));
    run.route.joiner = choose_joiner(run);
    run.route.user_changes = (run.joining | plan.created).contains(Kind::user);
    if constexpr (S == Scope::everything) {
        choose_creators(run, root_inside);
    }
    run.ids = nullptr;
    if (plan.credentials) {
        run.ids = &*plan.credentials;
    } else if (run.route.user_changes && root_inside && !plan.keep_ids) {
        run.ids = &run.root_ids;
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_RUN_HPP
