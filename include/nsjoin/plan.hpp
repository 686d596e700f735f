// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_HPP
#define NSJOIN_PLAN_HPP

#include <nsjoin/credentials.hpp>
#include <nsjoin/duration.hpp>
#include <nsjoin/id_map.hpp>
#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/order.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <concepts>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace nsjoin {

/// Offsets of a new time namespace's clocks against those of the initial one; see
/// time_namespaces(7). Linux 5.6. The kernel refuses (ERANGE) one that makes a clock negative or
/// brings it near its end.
struct TimeOffsets {
    Duration monotonic{};
    Duration boottime{};

    [[nodiscard]] friend constexpr auto operator==(TimeOffsets, TimeOffsets) noexcept
        -> bool = default;
};

/// The name of a process, as top(1) shows it: at most 15 bytes, without NUL. PR_SET_NAME(2const).
class ProcessName {
  public:
    static constexpr std::size_t capacity = 15;

    /// No name.
    constexpr ProcessName() noexcept = default;

    /// A literal; one that is too long, or has a NUL in it, does not compile.
    template <std::size_t Size>
    // NOLINTNEXTLINE(*-explicit-*,*-avoid-c-arrays): a literal is what it says
    consteval ProcessName(const char (&text)[Size]) noexcept {
        static_assert(Size <= capacity + 1, "nsjoin: a process name has at most 15 bytes");
        const std::string_view all{&text[0], Size};
        if (all.find('\0') != Size - 1) {
            a_process_name_ends_with_its_only_nul();
        }
        assign(all.substr(0, Size - 1));
    }

    /// A name that is known only at run time. Error: bad_value.
    [[nodiscard]] static constexpr auto from(std::string_view text) noexcept
        -> Result<ProcessName> {
        if (text.size() > capacity || text.find('\0') != std::string_view::npos) {
            Subject subject{"a process name has at most 15 bytes and no NUL, not "};
            subject.append(static_cast<std::int64_t>(text.size())).append(" bytes");
            return Unexpected{Error{Step::check_plan, Reason::bad_value, 0, subject}};
        }
        ProcessName name;
        name.assign(text);
        return name;
    }

    [[nodiscard]] constexpr auto empty() const noexcept -> bool { return text_.front() == '\0'; }

    [[nodiscard]] constexpr auto c_str() const noexcept -> const char* { return text_.data(); }

    [[nodiscard]] friend constexpr auto operator==(const ProcessName&, const ProcessName&) noexcept
        -> bool = default;

  private:
    static void a_process_name_ends_with_its_only_nul() noexcept; // what the compiler then names

    constexpr void assign(std::string_view text) noexcept {
        for (std::size_t i = 0; i < text.size(); ++i) {
            text_[i] = text[i];
        }
    }

    std::array<char, capacity + 1> text_{};
};

/// Whose child the child is.
enum class ChildOf : std::uint8_t {
    caller, ///< the caller's, as after fork(2)
    /// The caller's parent's (CLONE_PARENT): for a constructor, whose process ends when the child
    /// goes on. Where the plan joins, the caller itself joins and stays there.
    callers_parent,
};

/// Which plans a function is compiled for. A JoinPlan's type says it.
enum class Scope : std::uint8_t {
    joining,    ///< those that join other kinds than time, and say nothing else but ids
    everything, ///< all; what a function is compiled for if nothing is said
};

namespace detail {

template <Scope S>
constexpr void check_scope_of_plan() noexcept {
    static_assert(
        S == Scope::everything,
        "nsjoin: a Plan may say anything: only the type of a JoinPlan says what it leaves "
        "out");
}

} // namespace detail

/// Where a joined namespace comes from.
struct JoinSource {
    enum class From : std::uint8_t { nowhere, namespace_fd, target };

    From from = From::nowhere;
    BorrowedFd fd;        ///< the namespace's descriptor, or the target's pidfd
    pid_t target_pid = 0; ///< the target, as the caller's pid namespace numbers it, or 0

    [[nodiscard]] friend constexpr auto operator==(const JoinSource&, const JoinSource&) noexcept
        -> bool = default;
};

/// A path that is opened (O_PATH) inside the child's new mount namespace, but by a process with the
/// caller's rights outside of it: what a bind mount's source needs where the child's user namespace
/// may not reach it. The child finds it open under `number`, with close-on-exec.
struct MountSource {
    std::string_view path{}; ///< absolute
    int number = -1;

    [[nodiscard]] friend constexpr auto operator==(const MountSource&, const MountSource&) noexcept
        -> bool = default;
};

/// Borrowed mount sources.
struct MountSources {
    std::span<const MountSource> list{};

    [[nodiscard]] friend constexpr auto operator==(const MountSources& a,
                                                   const MountSources& b) noexcept -> bool {
        return detail::equal(a.list, b.list);
    }
};

/// A plan that is not checked yet: what command-line flags or a message say, as it comes. Borrows
/// its descriptors. Plan::from checks it.
struct Draft {
    /// What is joined, by kind; join() fills it in.
    std::array<JoinSource, kind_count> joins{};
    /// The kinds that join() was asked to join a second time.
    KindSet joined_twice{};
    /// The kinds that are created. With `user` and no maps, the user namespace stays unmapped.
    KindSet created{};
    std::optional<NewUser> maps{};
    std::optional<TimeOffsets> time_offsets{};
    /// Borrowed absolute paths of newuidmap(1) and newgidmap(1). Not set: they are looked for in
    /// PATH. Empty: none is used, and a map that the caller may not write by itself fails.
    std::optional<std::string_view> newuidmap{};
    std::optional<std::string_view> newgidmap{};
    MountSources mount_sources{}; ///< with a new mount namespace only

    /// The ids that the child takes at last. If empty, it becomes 0:0 without groups where a user
    /// namespace is joined, or created with a map that has id 0; else it keeps its own.
    std::optional<Credentials> credentials{};
    /// Keep the ids also where a user namespace is joined or created.
    bool keep_ids = false;
    /// Keep inheritable and ambient capabilities; else the child has none (CVE-2022-29162).
    bool keep_capabilities = false;

    bool new_session = false;           ///< setsid(2)
    BorrowedFd console{};               ///< the child's controlling terminal and its 0, 1 and 2
    BorrowedFd root{};                  ///< a directory: chroot(2)
    BorrowedFd working_directory{};     ///< a directory, inside the root
    BorrowedFd cgroup{};                ///< a directory of a cgroup v1 or v2 file system
    std::optional<int> oom_score_adj{}; ///< -1000 to 1000; proc_pid_oom_score_adj(5)
    ProcessName name{};                 ///< empty: as it is
    int death_signal = 0;               ///< PR_SET_PDEATHSIG(2const), or 0
    ChildOf child_of = ChildOf::caller;
    /// How long the steps may take at most; zero: as long as they do.
    Duration deadline{};

    /// Joins the namespace.
    auto join(const AnyNamespaceFd& space) -> Draft& {
        return join_from(space.kind(), {JoinSource::From::namespace_fd, space.fd(), 0});
    }

    void join(const AnyNamespaceFd&&) = delete; // nsjoin: keep it in a variable

    /// Joins those namespaces of the target that differ from the caller's.
    auto join(const PidFd& target, KindSet wanted) -> Draft& {
        for (const Kind kind : wanted) {
            join_from(kind, {JoinSource::From::target, target.fd(), target.pid()});
        }
        return *this;
    }

    void join(const PidFd&&, KindSet) = delete; // nsjoin: keep it in a variable

    /// The kinds that are joined.
    [[nodiscard]] auto joined() const noexcept -> KindSet {
        KindSet set;
        for (const KindFacts& row : kind_table) {
            if (source(row.kind).from != JoinSource::From::nowhere) {
                set = set | row.kind;
            }
        }
        return set;
    }

    [[nodiscard]] auto source(Kind kind) const noexcept -> const JoinSource& {
        return joins[static_cast<std::size_t>(kind)];
    }

    [[nodiscard]] friend auto operator==(const Draft&, const Draft&) noexcept -> bool = default;

  private:
    auto join_from(Kind kind, const JoinSource& where) -> Draft& {
        JoinSource& slot = joins[static_cast<std::size_t>(kind)];
        if (slot.from != JoinSource::From::nowhere) {
            joined_twice = joined_twice | kind;
        }
        slot = where;
        return *this;
    }
};

namespace detail {

[[nodiscard]] inline auto check_shape(const Draft& draft) noexcept -> Result<void> {
    const auto broken = [](Reason reason, KindSet kinds) {
        Subject subject;
        for (const Kind kind : kinds) {
            subject.append(subject.view().empty() ? "" : ", ").append(facts(kind).name);
        }
        return Unexpected{Error{Step::check_plan, reason, 0, subject}};
    };
    if (!draft.joined_twice.empty()) {
        return broken(Reason::joined_twice, draft.joined_twice);
    }
    if (draft.joined().intersects(draft.created)) {
        return broken(Reason::joined_and_created, draft.joined() & draft.created);
    }
    if (draft.maps && !draft.created.contains(Kind::user)) {
        return broken(Reason::maps_without_user, Kind::user);
    }
    if (draft.time_offsets && !draft.created.contains(Kind::time)) {
        return broken(Reason::offsets_without_time, Kind::time);
    }
    return {};
}

[[nodiscard]] inline auto check_mapped(const NewUser& maps, const Credentials& ids) noexcept
    -> Result<void> {
    if (ids.uid && !maps.uids.maps(*ids.uid)) {
        return id_error(Step::check_plan, -EINVAL, "uid ", *ids.uid);
    }
    if (ids.gid && !maps.gids.maps(*ids.gid)) {
        return id_error(Step::check_plan, -EINVAL, "gid ", *ids.gid);
    }
    for (const gid_t gid : ids.groups.ids()) {
        if (!maps.gids.maps(gid)) {
            return id_error(Step::check_plan, -EINVAL, "supplementary gid ", gid);
        }
    }
    if (!ids.groups.kept() && !ids.groups.dropped() && maps.setgroups == Setgroups::deny) {
        return fail(Step::check_plan, Reason::groups_denied);
    }
    return {};
}

[[nodiscard]] inline auto check_mount_sources(const Draft& draft) noexcept -> Result<void> {
    const std::span<const MountSource> list = draft.mount_sources.list;
    const auto refused = [](std::string_view why, std::string_view path) {
        return fail(Step::check_plan, Reason::bad_value, Subject{why}.append(path).view());
    };
    if (!list.empty() && !draft.created.contains(Kind::mount)) {
        return refused("mount sources without a new mount namespace", {});
    }
    for (auto source = list.begin(); source != list.end(); ++source) {
        if (!source->path.starts_with('/')) {
            return refused("a mount source is an absolute path, not ", source->path);
        }
        if (source->path.find('\0') != std::string_view::npos) {
            return refused("a path has no NUL: the mount source ", source->path.data());
        }
        if (source->number < 0) {
            return refused("no descriptor's number is given for the mount source ", source->path);
        }
        for (auto other = list.begin(); other != source; ++other) {
            if (other->number == source->number) {
                return refused("another one has the descriptor's number of the mount source ",
                               source->path);
            }
        }
    }
    return {};
}

[[nodiscard]] inline auto out_of_range(std::string_view what, std::int64_t value) noexcept
    -> Unexpected {
    Subject subject{what};
    subject.append(value);
    return Unexpected{Error{Step::check_plan, Reason::bad_value, 0, subject}};
}

[[nodiscard]] inline auto check_ids(const Draft& draft) noexcept -> Result<void> {
    constexpr std::uint32_t no_change = 0xFFFF'FFFF; // what setresuid(2) takes it for
    if (!draft.credentials) {
        return {};
    }
    if (draft.credentials->uid == no_change) {
        return out_of_range("no user has uid ", no_change);
    }
    if (draft.credentials->gid == no_change) {
        return out_of_range("no group has gid ", no_change);
    }
    return check_group_count(Step::check_plan, draft.credentials->groups);
}

[[nodiscard]] inline auto check_values(const Draft& draft) noexcept -> Result<void> {
    if (draft.oom_score_adj && (*draft.oom_score_adj < -1000 || *draft.oom_score_adj > 1000)) {
        return out_of_range("oom_score_adj is -1000 to 1000, not ", *draft.oom_score_adj);
    }
    if (draft.death_signal < 0 || draft.death_signal > 64) {
        return out_of_range("a signal is 1 to 64, not ", draft.death_signal);
    }
    if (draft.deadline.count() < 0) {
        return out_of_range("a deadline is 0 ns or more, not ", draft.deadline.count());
    }
    if (const Result<void> sources = check_mount_sources(draft); !sources) {
        return sources;
    }
    Result<void> ids = check_ids(draft);
    if (ids && draft.credentials && draft.maps) {
        ids = check_mapped(*draft.maps, *draft.credentials);
    }
    return ids;
}

struct PlanAccess;

} // namespace detail

/// Everything that is to happen, as data that keeps the rules: no kind is joined twice or both
/// joined and created, maps and offsets go with the namespace that takes them, each value is in its
/// range. A value: it can be kept, copied, compared, explained and run again. It borrows its
/// descriptors, which must stay open as long as it is used.
class Plan {
  public:
    /// Checks a draft. Errors, all of Step::check_plan: joined_twice, joined_and_created,
    /// maps_without_user, offsets_without_time, id_not_mapped, groups_denied, bad_value.
    [[nodiscard]] static auto from(Draft draft) noexcept -> Result<Plan> {
        Result<void> checked = detail::check_shape(draft);
        if (checked) {
            checked = detail::check_values(draft);
        }
        if (!checked) {
            return Unexpected{checked.error()};
        }
        return Plan{std::move(draft)};
    }

    /// What the plan says.
    [[nodiscard]] auto parts() const noexcept -> const Draft& { return draft_; }

    [[nodiscard]] friend auto operator==(const Plan&, const Plan&) noexcept -> bool = default;

  private:
    friend struct detail::PlanAccess;

    explicit Plan(Draft draft) noexcept : draft_{std::move(draft)} {}

    Draft draft_;
};

namespace detail {

/// What a JoinPlan remembers in its type, beside the kinds: one bit a thing that was said.
enum Said : unsigned { // NOLINT(*-use-enum-class): bits of a template parameter
    said_ids = 1U << 0U,
    said_console = 1U << 1U,
    said_root = 1U << 2U,
    said_directory = 1U << 3U,
    said_cgroup = 1U << 4U,
    said_oom = 1U << 5U,
    said_name = 1U << 6U,
    said_death = 1U << 7U,
    said_deadline = 1U << 8U,
    said_parent = 1U << 9U,
    said_maps = 1U << 10U,
    said_offsets = 1U << 11U,
};

struct PlanAccess {
    [[nodiscard]] static auto plan(Draft draft) noexcept -> Plan { return Plan{std::move(draft)}; }
};

} // namespace detail

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
/// The calls commute, but for two: map_ids() follows the create<Kind::user>() that it maps, and
/// time_offsets() the create<Kind::time>(). In which order things are done is never said here: it
/// follows from order.hpp.
template <unsigned Joined = 0, unsigned Created = 0, unsigned Said = 0>
class [[nodiscard]] JoinPlan {
  public:
    /// A plan that does nothing.
    JoinPlan() noexcept requires(Joined == 0 && Created == 0 && Said == 0) = default;

    /// Joins a namespace. It is borrowed: keep it open.
    template <Kind K>
    [[nodiscard]] auto join(const NamespaceFd<K>& space) const {
        return join_checked<Kinds<K>>([&space](Draft& draft) { draft.join(space); });
    }

    template <Kind K>
    void join(const NamespaceFd<K>&&) const = delete; // nsjoin: keep it in a variable

    /// Does not compile: the namespace or target is not there if the Result is an error.
    template <typename T, typename... Rest>
    void join(const Result<T>& result, const Rest&... rest) const {
        static_assert(std::same_as<T, void>,
                      "nsjoin: this is a Result: look whether it is an error, then give *result");
        (void)result, ((void)rest, ...);
    }

    /// Does not compile: a pid can be another process's by now.
    template <std::integral Pid, typename... Rest>
    void join(Pid pid, const Rest&... rest) const {
        static_assert(std::same_as<Pid, void>,
                      "nsjoin: a plan joins a process that is pinned: PidFd::open(pid) first");
        (void)pid, ((void)rest, ...);
    }

    /// Does not compile: the type of a KindSet does not say the kinds.
    template <typename Set>

    requires(std::convertible_to<Set, KindSet> &&
             !requires { Set::set; }) void join(const PidFd& target, Set set) const {
        static_assert(std::same_as<Set, void>,
                      "nsjoin: name the kinds in the type: kinds<Kind::net, Kind::mount>; or use a "
                      "Draft");
        (void)target, (void)set;
    }

    /// As join(space), saying the kind: a descriptor of another kind does not compile.
    template <Kind Wanted, Kind Given>

    requires(Wanted != Given) [[nodiscard]] auto join(const NamespaceFd<Given>& space) const {
        static_assert(Wanted == Given,
                      "nsjoin: this namespace descriptor is of another kind than the one named");
        return join(space);
    }

    /// Does not compile: the type of an AnyNamespaceFd does not say its kind.
    template <typename Any>

    requires(std::same_as<Any, AnyNamespaceFd>) void join(const Any& space) const {
        static_assert(!std::same_as<Any, AnyNamespaceFd>,
                      "nsjoin: the kind of this namespace descriptor is known only at run time: "
                      "use a NamespaceFd of a kind, or a Draft");
        (void)space;
    }

    /// Joins those namespaces of the target, of the kinds named, that differ from the caller's: by
    /// one setns(2) where the kernel has it (Linux 5.8). The target is borrowed: keep it.
    template <Kind... Ks>
    [[nodiscard]] auto join(const PidFd& target, Kinds<Ks...> wanted) const {
        return join_checked<Kinds<Ks...>>([&](Draft& draft) { draft.join(target, wanted); });
    }

    template <Kind... Ks>
    void join(const PidFd&&, Kinds<Ks...>) const = delete; // nsjoin: keep the PidFd in a variable

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

    /// The child keeps its inheritable and ambient capabilities.
    [[nodiscard]] auto keep_capabilities() const {
        return next<Joined, Created, Said>([](Draft& draft) { draft.keep_capabilities = true; });
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
            draft.console = terminal;
        });
    }

    /// The child's root directory, which is its working directory too if working_directory() does
    /// not follow. Borrowed: keep it open until the call has returned in the caller. chroot(2).
    /// Errors: ENOTDIR; EPERM without CAP_SYS_CHROOT.
    [[nodiscard]] auto root(BorrowedFd directory) const {
        return say<detail::said_root>([directory](Draft& draft) { draft.root = directory; });
    }

    /// The child's working directory. Borrowed, as root(). fchdir(2). Errors: ENOTDIR; EACCES;
    /// outside_root if it is not inside its root (CVE-2024-21626).
    [[nodiscard]] auto working_directory(BorrowedFd directory) const {
        return say<detail::said_directory>(
            [directory](Draft& draft) { draft.working_directory = directory; });
    }

    /// The child's cgroup: a directory of a v2 hierarchy (CLONE_INTO_CGROUP, Linux 5.7, or
    /// cgroup.procs) or of a v1 hierarchy. cgroups(7).
    [[nodiscard]] auto cgroup(BorrowedFd directory) const {
        return say<detail::said_cgroup>([directory](Draft& draft) { draft.cgroup = directory; });
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

    /// Whose child the child is.
    [[nodiscard]] auto child_of(ChildOf parent) const {
        return say<detail::said_parent>([parent](Draft& draft) { draft.child_of = parent; });
    }

    /// Which plans a function has to be compiled for to run this one.
    static constexpr Scope scope = Created == 0 && (Joined & KindSet{Kind::time}.bits()) == 0 &&
                                           (Said & ~static_cast<unsigned>(detail::said_ids)) == 0
                                       ? Scope::joining
                                       : Scope::everything;

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

    explicit JoinPlan(Draft draft) noexcept : draft_{std::move(draft)} {}

    template <typename Ks, typename Change>
    [[nodiscard]] auto join_checked(const Change& change) const {
        constexpr unsigned bits = Ks::set.bits();
        static_assert((Joined & bits) == 0, "nsjoin: the plan joins this kind twice");
        static_assert((Created & bits) == 0,
                      "nsjoin: the plan joins a kind and creates it: a process is in one namespace "
                      "of each kind");
        return next<Joined | bits, Created, Said>(change);
    }

    template <unsigned What, typename Change>
    [[nodiscard]] auto say(const Change& change) const {
        static_assert((Said & What) == 0, "nsjoin: the plan says this already");
        return next<Joined, Created, Said | What>(change);
    }

    template <unsigned J, unsigned C, unsigned S, typename Change>
    [[nodiscard]] auto next(const Change& change) const {
        Draft draft = draft_;
        change(draft);
        return JoinPlan<J, C, S>{std::move(draft)};
    }

    Draft draft_;
};

JoinPlan()->JoinPlan<0, 0, 0>;

} // namespace nsjoin

#endif // NSJOIN_PLAN_HPP
