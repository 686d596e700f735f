// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_DRAFT_HPP
#define NSJOIN_PLAN_DRAFT_HPP

#include <nsjoin/capabilities.hpp>
#include <nsjoin/credentials.hpp>
#include <nsjoin/duration.hpp>
#include <nsjoin/id_map.hpp>
#include <nsjoin/namespace_set.hpp>
#include <nsjoin/pid_fd.hpp>
#include <nsjoin/plan/inside.hpp>
#include <nsjoin/plan/values.hpp>

#include <array>
#include <linux/filter.h>
#include <optional>
#include <span>
#include <string_view>

namespace nsjoin::inline v0_1 {

/// Offsets of a new time namespace's clocks against those of the initial one; see
/// time_namespaces(7). Linux 5.6. The kernel refuses (ERANGE) one that makes a clock negative or
/// brings it near its end.
struct TimeOffsets {
    Duration monotonic{};
    Duration boottime{};

    [[nodiscard]] friend constexpr auto operator==(TimeOffsets, TimeOffsets) noexcept
        -> bool = default;
};

/// Whose child the child is.
enum class ChildOf : std::uint8_t {
    caller, ///< the caller's, as after fork(2)
    /// The caller's parent's (CLONE_PARENT): for a constructor, whose process ends when the child
    /// goes on. Where the plan joins, the caller itself joins and stays there.
    callers_parent,
};

/// The propagation of all mounts of a new mount namespace. mount_namespaces(7).
enum class Propagation : std::uint8_t {
    // NOLINTNEXTLINE(readability-identifier-naming): a keyword otherwise
    private_,  ///< mounts made inside do not show outside, nor the other way round
    slave,     ///< what is mounted outside shows inside, not the other way round
    shared,    ///< mounts made inside show in copies, and outside where they were shared before
    unchanged, ///< as they were: on most hosts that is shared
};

/// The session keyring of the child. session-keyring(7).
enum class SessionKeyring : std::uint8_t {
    automatic, ///< a new one where the user namespace changes, if the kernel has keyrings
    fresh,     ///< a new one
    keep,      ///< the caller's, with the keys in it
};

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

/// A borrowed program of a seccomp filter, of at most 4096 instructions.
struct SeccompFilter {
    std::span<const sock_filter> code{};

    [[nodiscard]] friend constexpr auto operator==(const SeccompFilter& a,
                                                   const SeccompFilter& b) noexcept -> bool {
        return a.code.data() == b.code.data() && a.code.size() == b.code.size();
    }
};

/// Borrowed mount sources.
struct MountSources {
    std::span<const MountSource> list{};

    [[nodiscard]] friend constexpr auto operator==(const MountSources& a,
                                                   const MountSources& b) noexcept -> bool {
        return detail::equal(a.list, b.list);
    }
};

/// How many cgroups a plan has at most: there are fewer hierarchies than that.
inline constexpr std::size_t most_cgroups = 16;

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
    /// Keep inheritable and ambient capabilities, and those that a child which takes another uid
    /// than 0 still has; else it has none (CVE-2022-29162).
    bool keep_capabilities = false;

    bool new_session = false; ///< setsid(2)
    SessionKeyring session_keyring = SessionKeyring::automatic;
    Propagation propagation = Propagation::private_; ///< of a new mount namespace's mounts
    BorrowedFd console{}; ///< the child's controlling terminal and its 0, 1 and 2
    BorrowedFd root{};    ///< a directory: chroot(2)
    std::optional<std::string_view> root_path{}; ///< the same by a path, which is looked up inside
    std::optional<std::string_view> new_root{};  ///< the path of what becomes the root mount
    std::optional<std::string_view> proc{};      ///< where a new /proc is mounted
    BorrowedFd working_directory{};              ///< a directory, inside the root
    std::optional<std::string_view>
        working_directory_path{}; ///< the same by a path, which is looked up inside
    BorrowedFd cgroup{};          ///< a directory of a cgroup v1 or v2 file system
    /// Those of other hierarchies, without a gap; enter() fills them in.
    std::array<BorrowedFd, most_cgroups - 1> more_cgroups{};
    bool too_many_cgroups = false; ///< enter() found no room
    bool not_open = false;         ///< something that was to be borrowed was no open descriptor
    std::optional<int> oom_score_adj{};         ///< -1000 to 1000; proc_pid_oom_score_adj(5)
    ProcessName name{};                         ///< empty: as it is
    HostName host_name{};                       ///< of the UTS namespace; empty: as it is
    HostName domain_name{};                     ///< the same
    bool loopback_up = false;                   ///< the new network namespace's interface lo is up
    std::optional<std::uint16_t> umask{};       ///< 0 to 0777
    std::optional<CpuSet> cpu_affinity{};       ///< the processors that the child may run on
    std::optional<int> priority{};              ///< the nice value, -20 to 19
    std::optional<Capabilities> capabilities{}; ///< the child's, in the place of what ids leave
    std::optional<SeccompFilter> filter{};      ///< seccomp(2)
    bool no_new_privileges = false;             ///< PR_SET_NO_NEW_PRIVS(2const)
    int death_signal = 0;                       ///< PR_SET_PDEATHSIG(2const), or 0
    InsideFunction inside{}; ///< called at Moment::namespaces_ready; see JoinPlan::inside()
    InsideFunction last{};   ///< called at Moment::last
    ChildOf child_of = ChildOf::caller;
    /// See JoinPlan::lend_memory_to_target().
    bool lends_memory = false;
    /// How long the steps may take at most; zero: as long as they do.
    Duration deadline{};

    /// The child's cgroup, once for each hierarchy. Borrowed.
    auto enter(BorrowedFd directory) noexcept -> Draft& {
        not_open = not_open || !directory.ok();
        if (!cgroup.ok()) {
            cgroup = directory;
            return *this;
        }
        for (BorrowedFd& place : more_cgroups) {
            if (!place.ok()) {
                place = directory;
                return *this;
            }
        }
        too_many_cgroups = true;
        return *this;
    }

    /// Joins the namespace.
    auto join(const AnyNamespaceFd& space) -> Draft& {
        return join_from(space.kind(), {JoinSource::From::namespace_fd, space.fd(), 0});
    }

    void join(const AnyNamespaceFd&&) = delete; // nsjoin: keep it in a variable

    /// Joins all of the set.
    auto join(const AnyNamespaceSet& spaces) -> Draft& {
        for (const Kind kind : spaces.kinds()) {
            join_from(kind, {JoinSource::From::namespace_fd, spaces.fd(kind), 0});
        }
        return *this;
    }

    void join(const AnyNamespaceSet&&) = delete; // nsjoin: keep it in a variable

    /// Joins those namespaces of the target that differ from the caller's.
    auto join(const PidFd& target, KindSet wanted) -> Draft& {
        for (const Kind kind : wanted) {
            join_from(kind, {JoinSource::From::target, target.fd(), target.pid()});
        }
        return *this;
    }

    void join(const PidFd&&, KindSet) = delete; // nsjoin: keep it in a variable

    /// The child calls the function at that moment: see JoinPlan::inside(). Borrowed.
    template <detail::CalledInside F>
    auto call(Moment moment, F& function) -> Draft& {
        (moment == Moment::last ? last : inside) = InsideFunction{function};
        return *this;
    }

    template <detail::CalledInside F>

    requires(!std::is_lvalue_reference_v<F>) void call(Moment, F&&) =
        delete; // nsjoin: keep it in a variable

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

} // namespace nsjoin

#endif // NSJOIN_PLAN_DRAFT_HPP
