// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_JOIN_PLAN_HPP
#define NSJOIN_PLAN_JOIN_PLAN_HPP

#include <nsjoin/plan/possible.hpp>
#include <nsjoin/plan/refusals.hpp>

#include <concepts>
#include <utility>

namespace nsjoin::inline v0_1 {

/// Builds a plan whose kinds are known when the program is compiled, so that the rules about them
/// are the compiler's to check: what breaks one does not compile, and the message says why. Each
/// call returns a new builder; the old one stays as it was. Converts to a Plan.
///
///     auto plan = nsjoin::JoinPlan{}
///         .join(blue_network)                        // a NamespaceFd<Kind::net>
///         .create(nsjoin::NewUser{.uids = {{0, uid, 1}}, .gids = {{0, gid, 1}}})
///         .create<Kind::mount, Kind::pid>()
///         .console(peer.fd());
///
/// The calls commute, but for those that speak of a namespace of the plan, as map_ids(): they
/// follow the call that creates or joins it. In which order things are done is never said here: it
/// follows from order.hpp.
template <unsigned Joined = 0, unsigned Created = 0, unsigned Said = 0>
class [[nodiscard]] JoinPlan : private detail::Refusals {
  public:
    using detail::Refusals::cgroup;
    using detail::Refusals::console;
    using detail::Refusals::create;
    using detail::Refusals::inside;
    using detail::Refusals::join;
    using detail::Refusals::mount_proc;
    using detail::Refusals::pivot_root;
    using detail::Refusals::root;
    using detail::Refusals::working_directory;

    /// A plan that does nothing.
    JoinPlan() noexcept requires(Joined == 0 && Created == 0 && Said == 0) = default;
    template <unsigned J, unsigned C, unsigned S>
    void operator=(const JoinPlan<J, C, S>&) = delete; // nsjoin: another type: use a Draft

    /// Joins a namespace. It is borrowed: keep it open.
    template <Kind K>
    [[nodiscard]] auto join(const NamespaceFd<K>& space) const {
        return join_checked<Kinds<K>>([&space](Draft& draft) { draft.join(space); });
    }

    template <Kind K>
    void join(const NamespaceFd<K>&&) const = delete; // nsjoin: keep it in a variable

    /// As join(space), saying the kind: a descriptor of another kind does not compile.
    template <Kind Wanted, Kind Given>

    requires(Wanted != Given) [[nodiscard]] auto join(const NamespaceFd<Given>& space) const {
        static_assert(Wanted == Given,
                      "nsjoin: this namespace descriptor is of another kind than the one named");
        return join(space);
    }

    /// Joins those namespaces of the target, of the kinds named, that differ from the caller's: by
    /// one setns(2) where the kernel has it (Linux 5.8). The target is borrowed: keep it.
    template <Kind... Ks>
    [[nodiscard]] auto join(const PidFd& target, Kinds<Ks...> wanted) const {
        return join_checked<Kinds<Ks...>>([&](Draft& draft) { draft.join(target, wanted); });
    }

    template <Kind... Ks>
    void join(const PidFd&&, Kinds<Ks...>) const = delete; // nsjoin: keep the PidFd in a variable

    /// Joins all namespaces of the set. It is borrowed: keep it.
    template <Kind... Ks>
    [[nodiscard]] auto join(const NamespaceSet<Ks...>& spaces) const {
        return join_checked<Kinds<Ks...>>([&spaces](Draft& draft) { draft.join(spaces); });
    }

    template <Kind... Ks>
    void join(const NamespaceSet<Ks...>&&) const = delete; // nsjoin: keep the set in a variable

    /// Creates namespaces of those kinds, inside the created or joined user namespace if there is
    /// one. A user namespace stays unmapped if map_ids() does not follow.
    template <Kind... Ks>
    [[nodiscard]] auto create() const {
        constexpr unsigned bits = Kinds<Ks...>::set.bits();
        static_assert(sizeof...(Ks) != 0, "nsjoin: name the kinds to create");
        static_assert((Created & bits) == 0 && Kinds<Ks...>::set.size() == sizeof...(Ks),
                      "nsjoin: the plan creates a kind twice");
        static_assert((Joined & bits) == 0,
                      "nsjoin: the plan joins a kind and creates it: a process is in one namespace "
                      "of each kind");
        return next<Joined, Created | bits, Said>(
            [](Draft& draft) { draft.created = draft.created | Kinds<Ks...>::set; });
    }

    /// Creates a user namespace with these maps. user_namespaces(7).
    [[nodiscard]] auto create(NewUser user) const {
        return create<Kind::user>().map_ids(std::move(user));
    }

    /// The maps of the user namespace that the plan creates.
    [[nodiscard]] auto map_ids(NewUser user) const {
        static_assert((Created & KindSet{Kind::user}.bits()) != 0,
                      "nsjoin: id maps need a new user namespace: create(NewUser{...})");
        return say<detail::said_maps>([&user](Draft& draft) { draft.maps = std::move(user); });
    }

    /// The clock offsets of the time namespace that the plan creates. Linux 5.6.
    [[nodiscard]] auto time_offsets(TimeOffsets offsets) const {
        static_assert((Created & KindSet{Kind::time}.bits()) != 0,
                      "nsjoin: time offsets need a new time namespace: create<Kind::time>() first");
        return say<detail::said_offsets>([offsets](Draft& draft) { draft.time_offsets = offsets; });
    }

    /// The ids that the child takes at last. Without this, it becomes 0:0 without groups where a
    /// user namespace is joined, or created with a map that has id 0; else it keeps its own.
    [[nodiscard]] auto as(Credentials credentials) const {
        return say<detail::said_ids>(
            [&credentials](Draft& draft) { draft.credentials = std::move(credentials); });
    }

    /// The child keeps its ids, also in another user namespace.
    [[nodiscard]] auto keep_ids() const {
        return say<detail::said_ids>([](Draft& draft) { draft.keep_ids = true; });
    }

    /// The child keeps its inheritable and ambient capabilities, and what it has left of others
    /// where it takes another uid than 0. Without this, it has none of those.
    [[nodiscard]] auto keep_capabilities() const {
        return next<Joined, Created, Said>([](Draft& draft) { draft.keep_capabilities = true; });
    }

    /// The propagation of all mounts in the mount namespace that the plan creates; without this,
    /// they are private. mount(2), MS_REC. Errors: EINVAL for a caller in a chroot, whose root is
    /// no mount point: say Propagation::unchanged.
    [[nodiscard]] auto propagation(Propagation mode) const {
        static_assert((Created & KindSet{Kind::mount}.bits()) != 0,
                      "nsjoin: a propagation needs a new mount namespace: create<Kind::mount>() "
                      "first");
        return say<detail::said_propagation>([mode](Draft& draft) { draft.propagation = mode; });
    }

    /// Whether the child has a session keyring of its own; without this, it has where the user
    /// namespace changes. keyctl(2), KEYCTL_JOIN_SESSION_KEYRING. Errors: EDQUOT; with
    /// SessionKeyring::fresh, ENOSYS and EPERM.
    [[nodiscard]] auto session_keyring(SessionKeyring which) const {
        return say<detail::said_keyring>([which](Draft& draft) { draft.session_keyring = which; });
    }

    /// The child leads a new session. setsid(2).
    [[nodiscard]] auto new_session() const {
        return next<Joined, Created, Said>([](Draft& draft) { draft.new_session = true; });
    }

    /// The child's controlling terminal, in a session of its own, and its standard input, output
    /// and error. Borrowed: keep it open until the call has returned in the caller.
    [[nodiscard]] auto console(BorrowedFd terminal) const {
        return say<detail::said_console>([terminal](Draft& draft) {
            draft.new_session = true;
            draft.console = borrowed(draft, terminal);
        });
    }

    /// The child's root directory, which is its working directory too if working_directory() does
    /// not follow. Borrowed: keep it open until the call has returned in the caller. chroot(2).
    /// Errors: ENOTDIR; EPERM without CAP_SYS_CHROOT.
    [[nodiscard]] auto root(BorrowedFd directory) const {
        return say<detail::said_root>(
            [directory](Draft& draft) { draft.root = borrowed(draft, directory); });
    }

    /// The same by a path, which is borrowed, and looked up in the child's mount namespace. Errors
    /// besides: ENOENT; outside_root if a link leads out of what the child can see.
    [[nodiscard]] auto root(std::string_view path) const {
        return say<detail::said_root>([path](Draft& draft) { draft.root_path = path; });
    }

    /// The directory becomes the root mount of the new mount namespace, and the old root mount is
    /// detached, so that nothing of it is in reach. It need not be a mount point. The path is
    /// borrowed, and looked up as the mount namespace comes; it is the working directory too if
    /// working_directory() does not follow. pivot_root(2). Errors: ENOENT; EINVAL if a
    /// mount around it is shared.
    [[nodiscard]] auto pivot_root(std::string_view path) const {
        needs_new<Kind::mount>();
        return say<detail::said_new_root>([path](Draft& draft) { draft.new_root = path; });
    }

    /// A /proc of the child's pid namespace is mounted there, in the child's root, without set-id
    /// programs, devices and programs. The path is borrowed. mount(2). Errors: ENOENT; EPERM.
    [[nodiscard]] auto mount_proc(std::string_view path = "/proc") const {
        needs_new<Kind::mount>();
        return say<detail::said_proc>([path](Draft& draft) { draft.proc = path; });
    }

    /// The child's working directory. Borrowed, as root(). fchdir(2). Errors: ENOTDIR; EACCES;
    /// outside_root if it is not inside its root (CVE-2024-21626).
    [[nodiscard]] auto working_directory(BorrowedFd directory) const {
        return say<detail::said_directory>(
            [directory](Draft& draft) { draft.working_directory = borrowed(draft, directory); });
    }

    /// The same by a path, which is borrowed, and looked up in the child's root; from the directory
    /// that it has, if it is not absolute. Error besides: ENOENT.
    [[nodiscard]] auto working_directory(std::string_view path) const {
        return say<detail::said_directory>(
            [path](Draft& draft) { draft.working_directory_path = path; });
    }

    /// The host name of the UTS namespace that the plan creates or joins: also the caller's own, if
    /// the target is in that. sethostname(2). Error: EPERM.
    [[nodiscard]] auto host_name(HostName name) const {
        names_own_host();
        return say<detail::said_host_name>([name](Draft& draft) { draft.host_name = name; });
    }

    /// Its NIS domain name. setdomainname(2). Error: EPERM.
    [[nodiscard]] auto domain_name(HostName name) const {
        names_own_host();
        return say<detail::said_domain_name>([name](Draft& draft) { draft.domain_name = name; });
    }

    /// The interface lo of the new network namespace is up. netdevice(7).
    [[nodiscard]] auto loopback_up() const {
        needs_new<Kind::net>();
        return say<detail::said_loopback>([](Draft& draft) { draft.loopback_up = true; });
    }

    /// The child's umask, 0 to 0777. umask(2).
    [[nodiscard]] auto umask(std::uint16_t mode) const {
        return say<detail::said_umask>([mode](Draft& draft) { draft.umask = mode; });
    }

    /// The processors that the child may run on. sched_setaffinity(2). Error: EINVAL.
    [[nodiscard]] auto cpu_affinity(CpuSet cpus) const {
        return say<detail::said_cpus>([cpus](Draft& draft) { draft.cpu_affinity = cpus; });
    }

    /// The child's nice value, -20 to 19. setpriority(2). Error: EACCES for one below the caller's
    /// without CAP_SYS_NICE, and always in a user namespace that the child is born in.
    [[nodiscard]] auto priority(int nice) const {
        return say<detail::said_priority>([nice](Draft& draft) { draft.priority = nice; });
    }

    /// The child's capabilities, in the place of those that its ids would leave; verified. Those
    /// that the kernel does not know are left out. capabilities(7). Errors: no_capability for one
    /// that is not there to keep; capabilities_differ; EPERM for a smaller bounding set.
    [[nodiscard]] auto capabilities(Capabilities wanted) const {
        return say<detail::said_capabilities>(
            [wanted](Draft& draft) { draft.capabilities = wanted; });
    }

    /// The child's seccomp filter, which is borrowed. With no_new_privileges(), of the plan or of
    /// the command, it is the last that is done, and has to allow what is left: sendto(2), close(2)
    /// and rt_sigprocmask(2), or of a program write(2), execve(2) and exit_group(2). Without, the
    /// child needs CAP_SYS_ADMIN for it, and installs it before its ids. seccomp(2). Errors:
    /// EACCES; EINVAL.
    [[nodiscard]] auto filter(std::span<const sock_filter> code) const {
        return say<detail::said_filter>(
            [code](Draft& draft) { draft.filter = SeccompFilter{code}; });
    }

    /// A function of the caller's that the child calls: a callable without arguments that throws
    /// nothing and returns Result<void>; borrowed, so keep it in a variable. Its error (see
    /// failed_inside()) is that of the call, and nothing is left. It runs in a process with memory
    /// of its own, a copy of the caller's, with all signals blocked, and as signal-safety(7) has it
    /// where the caller has several threads. What it opens is the child's. Once for each moment.
    template <Moment At, detail::CalledInside F>
    [[nodiscard]] auto inside(F& function) const {
        constexpr bool ready = At == Moment::namespaces_ready;
        return say < ready
                   ? detail::said_inside
                   : detail::said_last > ([&function](Draft& draft) { draft.call(At, function); });
    }

    /// Nothing that the child executes gives it rights that it lacks. PR_SET_NO_NEW_PRIVS(2const).
    [[nodiscard]] auto no_new_privileges() const {
        return say<detail::said_no_new_privileges>(
            [](Draft& draft) { draft.no_new_privileges = true; });
    }

    /// The child's cgroup, once for each hierarchy, 16 at most: a directory of a v2 hierarchy,
    /// which is best named first (CLONE_INTO_CGROUP, Linux 5.7, or cgroup.procs), or of a v1
    /// hierarchy. All are entered before a cgroup namespace is created. cgroups(7).
    [[nodiscard]] auto cgroup(BorrowedFd directory) const {
        return next<Joined, Created, Said | detail::said_cgroup>(
            [directory](Draft& draft) { draft.enter(directory); });
    }

    /// The child's oom_score_adj, -1000 to 1000. proc_pid_oom_score_adj(5).
    [[nodiscard]] auto oom_score_adj(int value) const {
        return say<detail::said_oom>([value](Draft& draft) { draft.oom_score_adj = value; });
    }

    /// The child's name. PR_SET_NAME(2const).
    [[nodiscard]] auto name(ProcessName name) const {
        return say<detail::said_name>([name](Draft& draft) { draft.name = name; });
    }

    /// The signal that the child gets when the thread that calls join_and_clone() ends.
    /// PR_SET_PDEATHSIG(2const).
    [[nodiscard]] auto death_signal(int number) const {
        return say<detail::said_death>([number](Draft& draft) { draft.death_signal = number; });
    }

    /// How long all the steps may take; after that the call fails and nothing is left.
    [[nodiscard]] auto deadline(Duration limit) const {
        return say<detail::said_deadline>([limit](Draft& draft) { draft.deadline = limit; });
    }

    /// Trusts the target: join_and_exec() may run processes on the caller's memory that the
    /// target's can reach, which spares a copy of it. A target in the caller's user namespace that
    /// has CAP_SYS_PTRACE can then read and write that memory, one with user id 0 changes flags of
    /// it in /proc; whoever may signal such a process stops the calling thread, and where the
    /// plan's cgroup is out of memory, the kernel may kill the caller with it (memory.oom.group).
    [[nodiscard]] auto lend_memory_to_target() const {
        return next<Joined, Created, Said>([](Draft& draft) { draft.lends_memory = true; });
    }

    /// Whose child the child is.
    [[nodiscard]] auto child_of(ChildOf parent) const {
        return say<detail::said_parent>([parent](Draft& draft) { draft.child_of = parent; });
    }

    /// What it can have: the rest is left out of the program that runs it.
    static constexpr detail::Possible possible =
        detail::possible(KindSet::from_bits(Joined), KindSet::from_bits(Created), Said);

    /// What the plan says.
    [[nodiscard]] auto parts() const& noexcept -> const Draft& { return draft_; }

    void parts() && = delete;

    /// The same, no longer checked by the compiler: to add what is known only at run time.
    [[nodiscard]] auto draft() const -> Draft { return draft_; }

    /// The plan. Its values (ids, ranges) are checked before the first system call.
    [[nodiscard]] auto build() const -> Plan { return detail::PlanAccess::plan(draft_); }

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): what it builds
    [[nodiscard]] operator Plan() const { return build(); }

  private:
    template <unsigned, unsigned, unsigned>
    friend class JoinPlan;

    // NOLINTNEXTLINE(modernize-pass-by-value): a draft is moved by copying most of it
    explicit JoinPlan(const Draft& draft) noexcept : draft_{draft} {}

    /// What is to be borrowed: one that is not open would be as if it had not been said.
    [[nodiscard]] static auto borrowed(Draft& draft, BorrowedFd fd) -> BorrowedFd {
        draft.not_open = draft.not_open || !fd.ok();
        return fd;
    }

    template <Kind K>
    static void needs_new() {
        static_assert((Created & KindSet{K}.bits()) != 0,
                      "nsjoin: this needs a new namespace: create<Kind::mount>() first for "
                      "pivot_root() and mount_proc(), create<Kind::net>() for loopback_up()");
    }

    static void names_own_host() {
        static_assert(((Joined | Created) & KindSet{Kind::uts}.bits()) != 0,
                      "nsjoin: a host or domain name needs a new or joined UTS namespace: "
                      "create<Kind::uts>() first");
    }

    template <typename Ks, typename Change>
    [[nodiscard]] auto join_checked(const Change& change) const {
        constexpr unsigned bits = Ks::set.bits();
        static_assert((Joined & bits) == 0, "nsjoin: the plan joins this kind twice");
        static_assert((Created & bits) == 0,
                      "nsjoin: the plan joins a kind and creates it: a process is in one namespace "
                      "of each kind");
        constexpr bool apart = Ks::set.contains(Kind::user) != Ks::set.contains(Kind::pid);
        return next<Joined | bits, Created, Said | (apart ? detail::said_apart : 0U)>(change);
    }

    template <unsigned What, typename Change>
    [[nodiscard]] auto say(const Change& change) const {
        static_assert((Said & What) == 0, "nsjoin: the plan says this already");
        return next<Joined, Created, Said | What>(change);
    }

    template <unsigned J, unsigned C, unsigned S, typename Change>
    [[nodiscard]] auto next(const Change& change) const {
        JoinPlan<J, C, S> result{draft_};
        change(result.draft_);
        return result;
    }

    Draft draft_;
};

JoinPlan()->JoinPlan<0, 0, 0>;

} // namespace nsjoin

#endif // NSJOIN_PLAN_JOIN_PLAN_HPP
