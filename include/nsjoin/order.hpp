// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_ORDER_HPP
#define NSJOIN_ORDER_HPP

#include <nsjoin/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace nsjoin {

/// What a joined user namespace does to the rights over the other namespaces of a plan.
enum class UserRights : std::uint8_t {
    granted, ///< joining it gives them: it is joined before those (rootless)
    taken,   ///< joining it takes them away: it is joined after those (privileged)
};

/// `before` comes before `after`, and why. `since` is the first kernel in which it matters.
struct Constraint {
    Step before;
    Step after;
    std::string_view why;
    KernelVersion since{3, 8};
};

namespace detail {

inline constexpr std::string_view why_checked_first =
    "what can be known wrong is refused before the first system call";
inline constexpr std::string_view why_pinned =
    "a pid can be reused, its descriptor can't; and paths change their meaning in a joined mount "
    "namespace";
inline constexpr std::string_view why_terminal_outside =
    "a terminal is verified outside: inside, its name means what the target wants (CVE-2025-52565)";
inline constexpr std::string_view why_cgroup_outside =
    "the host's cgroup file system may not be mounted inside";
inline constexpr std::string_view why_inherited = "the child inherits its end";
inline constexpr std::string_view why_not_the_caller =
    "it changes that process alone: the caller stays as it was";
inline constexpr std::string_view why_not_dumpable =
    "a process inside must not ptrace the joiner while it holds rights outside (CVE-2016-9962)";
inline constexpr std::string_view why_for_the_child =
    "it is for the child: the caller stays where it is";
inline constexpr std::string_view why_owned = "the new user namespace is to own it";
inline constexpr std::string_view why_ids_first =
    "what the kernel makes for a new namespace belongs to the ids of who creates it";
inline constexpr std::string_view why_mount_last =
    "the mount namespace moves root and working directory: what can fail fails before it";
inline constexpr std::string_view why_born_inside =
    "only children born afterwards are in the joined namespaces";
inline constexpr std::string_view why_privileged =
    "it needs a right that the change of ids gives up";
inline constexpr std::string_view why_cgroup_root =
    "the root of a new cgroup namespace is the cgroup that its creator is in";

} // namespace detail

/// The constraints that hold in every plan.
inline constexpr std::array constraints{
    Constraint{Step::check_plan, Step::open_proc, detail::why_checked_first},
    Constraint{Step::check_plan, Step::check_console, detail::why_checked_first},
    Constraint{Step::check_plan, Step::open_cgroup, detail::why_checked_first},
    Constraint{Step::check_plan, Step::make_channel, detail::why_checked_first},
    Constraint{Step::check_plan, Step::clear_dumpable, detail::why_checked_first},
    Constraint{Step::open_proc, Step::open_target,
               "the target's entries are read through this descriptor"},
    Constraint{Step::open_target, Step::make_joiner, detail::why_pinned},
    Constraint{Step::open_target, Step::make_child, detail::why_pinned},
    Constraint{Step::check_console, Step::make_joiner, detail::why_terminal_outside},
    Constraint{Step::check_console, Step::make_child, detail::why_terminal_outside},
    Constraint{Step::open_cgroup, Step::make_joiner, detail::why_cgroup_outside},
    Constraint{Step::open_cgroup, Step::make_child, detail::why_cgroup_outside},
    Constraint{Step::make_channel, Step::make_joiner, detail::why_inherited},
    Constraint{Step::make_channel, Step::make_child, detail::why_inherited},
    Constraint{Step::make_joiner, Step::enter_cgroup, detail::why_not_the_caller},
    Constraint{Step::make_joiner, Step::set_oom_score_adj, detail::why_not_the_caller},
    Constraint{Step::make_joiner,
               Step::open_time_offsets,
               "the file is that of the process that creates the time namespace",
               {5, 6}},
    Constraint{Step::make_joiner, Step::join_pid, detail::why_not_the_caller},
    Constraint{Step::make_joiner, Step::join_net, detail::why_not_the_caller},
    Constraint{Step::make_joiner, Step::join_ipc, detail::why_not_the_caller},
    Constraint{Step::make_joiner, Step::join_uts, detail::why_not_the_caller},
    Constraint{Step::make_joiner, Step::join_time, detail::why_not_the_caller},
    Constraint{Step::enter_cgroup,
               Step::join_user,
               "moving a process needs rights over the cgroup outside",
               {5, 7}},
    Constraint{Step::enter_cgroup,
               Step::join_cgroup,
               "a cgroup outside the joined cgroup namespace could not be entered from inside",
               {4, 6}},
    Constraint{Step::enter_cgroup, Step::make_child, "the child is born in the cgroup"},
    Constraint{Step::set_oom_score_adj, Step::clear_dumpable,
               "/proc/self of a process that is not dumpable belongs to root"},
    Constraint{Step::set_oom_score_adj, Step::create_user,
               "lowering it needs CAP_SYS_RESOURCE in the initial user namespace"},
    Constraint{Step::set_oom_score_adj, Step::join_user,
               "lowering it needs CAP_SYS_RESOURCE in the initial user namespace"},
    Constraint{Step::open_time_offsets,
               Step::clear_dumpable,
               "/proc/self of a process that is not dumpable belongs to root",
               {5, 6}},
    Constraint{Step::open_time_offsets,
               Step::become_root,
               "a change of ids clears the dumpable flag, and /proc/self belongs to root then",
               {5, 6}},
    Constraint{Step::clear_dumpable, Step::join_user, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_pid, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_net, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_ipc, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_uts, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_cgroup, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_time, detail::why_not_dumpable},
    Constraint{Step::clear_dumpable, Step::join_mount, detail::why_not_dumpable},
    Constraint{Step::join_pid, Step::join_mount, detail::why_mount_last},
    Constraint{Step::join_net, Step::join_mount, detail::why_mount_last},
    Constraint{Step::join_ipc, Step::join_mount, detail::why_mount_last},
    Constraint{Step::join_uts, Step::join_mount, detail::why_mount_last},
    Constraint{Step::join_cgroup, Step::join_mount, detail::why_mount_last},
    Constraint{Step::join_time, Step::join_mount, detail::why_mount_last},
    Constraint{Step::join_pid, Step::make_child, "a joined pid namespace takes only children"},
    Constraint{Step::join_user, Step::make_child, detail::why_born_inside},
    Constraint{Step::join_mount, Step::make_child, detail::why_born_inside},
    Constraint{Step::make_child, Step::create_user,
               "a user namespace is made for the child, by the same call"},
    Constraint{Step::create_user, Step::create_pid, detail::why_owned},
    Constraint{Step::make_child, Step::create_pid,
               "a new pid namespace is made for the child, by the same call"},
    Constraint{Step::create_user, Step::write_uid_map, "the maps are those of the new namespace"},
    Constraint{Step::write_uid_map, Step::write_setgroups,
               "both come before the gid map, in the order of user_namespaces(7)"},
    Constraint{Step::write_setgroups,
               Step::write_gid_map,
               "without CAP_SETGID outside, a gid map is taken only after setgroups is denied "
               "(CVE-2014-8989)",
               {3, 19}},
    Constraint{Step::write_gid_map, Step::await_maps, "the child goes on when both maps are there"},
    Constraint{Step::await_maps, Step::become_root, "an id that is not mapped can't be taken"},
    Constraint{Step::make_child, Step::become_root,
               "the child takes ids, the caller keeps its own"},
    Constraint{Step::make_child, Step::create_net, detail::why_for_the_child},
    Constraint{Step::make_child, Step::create_ipc, detail::why_for_the_child},
    Constraint{Step::make_child, Step::create_uts, detail::why_for_the_child},
    Constraint{Step::make_child, Step::create_cgroup, detail::why_for_the_child},
    Constraint{Step::make_child, Step::create_mount, detail::why_for_the_child},
    Constraint{Step::create_user, Step::create_net, detail::why_owned},
    Constraint{Step::create_user, Step::create_ipc, detail::why_owned},
    Constraint{Step::create_user, Step::create_uts, detail::why_owned},
    Constraint{Step::create_user, Step::create_cgroup, detail::why_owned},
    Constraint{Step::create_user, Step::create_mount, detail::why_owned},
    Constraint{Step::create_user, Step::create_time, detail::why_owned},
    Constraint{Step::become_root, Step::create_net, detail::why_ids_first},
    Constraint{Step::become_root, Step::create_ipc, detail::why_ids_first},
    Constraint{Step::become_root, Step::create_uts, detail::why_ids_first},
    Constraint{Step::become_root, Step::create_cgroup, detail::why_ids_first},
    Constraint{Step::become_root, Step::create_mount, detail::why_ids_first},
    Constraint{Step::become_root, Step::create_time, detail::why_ids_first},
    Constraint{Step::enter_cgroup, Step::create_cgroup, detail::why_cgroup_root, {4, 6}},
    Constraint{Step::create_time,
               Step::write_time_offsets,
               "the offsets are those of the new namespace",
               {5, 6}},
    Constraint{Step::open_time_offsets,
               Step::write_time_offsets,
               "they are written through a descriptor of the host's /proc",
               {5, 6}},
    Constraint{Step::write_time_offsets,
               Step::enter_time,
               "the first process in a time namespace fixes its offsets",
               {5, 6}},
    Constraint{Step::create_time,
               Step::enter_time,
               "unshare makes a time namespace only for later children",
               {5, 6}},
    Constraint{Step::create_pid, Step::set_groups, detail::why_privileged},
    Constraint{Step::create_net, Step::set_groups, detail::why_privileged},
    Constraint{Step::create_ipc, Step::set_groups, detail::why_privileged},
    Constraint{Step::create_uts, Step::set_groups, detail::why_privileged},
    Constraint{Step::create_cgroup, Step::set_groups, detail::why_privileged},
    Constraint{Step::create_mount, Step::take_mount_sources,
               "they are opened inside the new mount namespace"},
    Constraint{Step::take_mount_sources, Step::set_root,
               "their paths are those of the root that the mount namespace came with"},
    Constraint{Step::enter_time, Step::new_session, "the namespaces are complete first"},
    Constraint{Step::create_mount, Step::new_session, "the namespaces are complete first"},
    Constraint{Step::make_child, Step::new_session, "only the child leaves the caller's session"},
    Constraint{Step::new_session, Step::set_console,
               "only a session's leader without a terminal can take one (CVE-2017-5226)"},
    Constraint{Step::set_working_directory, Step::set_console,
               "the console takes 0, 1 and 2, which a directory of the plan may be"},
    Constraint{Step::set_root, Step::set_working_directory,
               "the working directory must be inside the root (CVE-2024-21626)"},
    Constraint{Step::set_root, Step::set_groups, detail::why_privileged},
    Constraint{Step::set_working_directory, Step::set_groups, detail::why_privileged},
    Constraint{Step::set_console, Step::set_groups, detail::why_privileged},
    Constraint{Step::make_child, Step::set_name, "the name is the child's alone"},
    Constraint{Step::make_child, Step::clear_inheritable,
               "the caller keeps its inheritable capabilities"},
    Constraint{Step::set_name, Step::set_groups, "the name tells what goes on"},
    Constraint{Step::clear_inheritable, Step::set_groups,
               "no inheritable capability reaches what the child executes (CVE-2022-29162)"},
    Constraint{Step::set_groups, Step::set_gid, detail::why_privileged},
    Constraint{Step::set_gid, Step::set_uid, detail::why_privileged},
    Constraint{Step::set_uid, Step::verify_ids, "an id that was not taken must not go unnoticed"},
    Constraint{Step::set_uid, Step::set_death_signal, "a change of ids clears the death signal"},
    Constraint{Step::set_death_signal, Step::report,
               "a caller that died before shows as a closed channel"},
    Constraint{Step::verify_ids, Step::report, "the child returns only when everything is done"},
};

namespace detail {

/// The constraints that depend on what the user namespace does to the rights.
[[nodiscard]] constexpr auto rights_constraints(UserRights rights) noexcept
    -> std::array<Constraint, kind_count - 1> {
    std::array<Constraint, kind_count - 1> result{};
    std::size_t next = 0;
    for (const KindFacts& row : kind_table) {
        if (row.kind == Kind::user) {
            continue;
        }
        result[next++] =
            rights == UserRights::granted
                ? Constraint{Step::join_user, join_step(row.kind),
                             "the rights over it come with the joined user namespace"}
                : Constraint{join_step(row.kind), Step::join_user,
                             "the rights over it are lost with the user namespace that is left"};
    }
    return result;
}

template <std::size_t N>
struct Sorted {
    std::array<Step, N> steps{};
    bool contradiction = false;
};

/// Topological sort of the first N steps; among those that are free, the one that stands first in
/// the enum. `contradiction` tells that the constraints form a cycle.
template <std::size_t N>
[[nodiscard]] constexpr auto sort_steps(std::span<const Constraint> always,
                                        std::span<const Constraint> rights) noexcept -> Sorted<N> {
    static_assert(N <= 64, "nsjoin: a set of steps is one word");
    const auto bit = [](std::size_t step) {
        return std::uint64_t{1} << step;
    };
    std::array<std::uint64_t, N> waits_for{};
    for (const auto list : {always, rights}) {
        for (const Constraint& c : list) {
            waits_for[static_cast<std::size_t>(c.after)] |= bit(static_cast<std::size_t>(c.before));
        }
    }
    Sorted<N> result;
    std::uint64_t done = 0;
    for (Step& place : result.steps) {
        std::size_t pick = 0;
        while (pick < N && ((done & bit(pick)) != 0 || (waits_for[pick] & ~done) != 0)) {
            ++pick;
        }
        if (pick == N) {
            result.contradiction = true;
            return result;
        }
        place = static_cast<Step>(pick);
        done |= bit(pick);
    }
    return result;
}

/// The order of the steps under the constraints; constraints that contradict each other do not
/// compile.
template <std::size_t N, const auto& Always, UserRights Rights>
[[nodiscard]] consteval auto ordered() noexcept -> std::array<Step, N> {
    constexpr auto rights = rights_constraints(Rights);
    constexpr auto sorted = sort_steps<N>(Always, rights);
    static_assert(!sorted.contradiction,
                  "nsjoin: the ordering constraints contradict each other: no order satisfies all");
    return sorted.steps;
}

template <UserRights Rights>
inline constexpr std::array<Step, plan_step_count>
    order_of = ordered<plan_step_count, constraints, Rights>();

} // namespace detail

/// Every step a plan can have, in the order in which they are done: the topological sort, made by
/// the compiler, of the constraints.
[[nodiscard]] constexpr auto order(UserRights rights) noexcept
    -> const std::array<Step, plan_step_count>& {
    return rights == UserRights::granted ? detail::order_of<UserRights::granted>
                                         : detail::order_of<UserRights::taken>;
}

/// The kinds in the order in which they are joined.
[[nodiscard]] constexpr auto join_order(UserRights rights) noexcept
    -> std::array<Kind, kind_count> {
    std::array<Kind, kind_count> result{};
    std::size_t next = 0;
    for (const Step step : order(rights)) {
        for (const KindFacts& row : kind_table) {
            if (join_step(row.kind) == step) {
                result[next++] = row.kind;
            }
        }
    }
    return result;
}

namespace detail {

static_assert(join_order(UserRights::granted).front() == Kind::user);
static_assert(join_order(UserRights::taken).back() == Kind::user);
static_assert(join_order(UserRights::granted).back() == Kind::mount);

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_ORDER_HPP
