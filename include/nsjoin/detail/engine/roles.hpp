// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_ROLES_HPP
#define NSJOIN_DETAIL_ENGINE_ROLES_HPP

#include <nsjoin/detail/engine/facts.hpp>
#include <nsjoin/detail/engine/outline.hpp>
#include <nsjoin/order.hpp>

#include <cstdint>

// Which processes a plan needs, and which of them does what: the first half of its schedule.

namespace nsjoin::inline v0_1::detail {

enum class Process : std::uint8_t { caller, opener, joiner, child };

inline constexpr std::size_t process_count = 4;

/// The memory that a process runs on.
enum class Memory : std::uint8_t {
    own,     ///< the caller on its own
    callers, ///< the caller's itself, which is suspended meanwhile: CLONE_VM | CLONE_VFORK
    copy,    ///< a copy of its maker's
    joiners, ///< that of the joiner, which is a copy, and is suspended meanwhile
};

/// Who does what, for one plan under some facts.
struct Roles {
    KindSet joining{};         ///< the kinds that differ from the caller's, or may
    bool joiner = false;       ///< there is one
    bool caller_joins = false; ///< the caller does, and stays there
    bool shares = false; ///< the program's process runs on its maker's memory until it is executed
    Memory first = Memory::copy; ///< the memory of the first process that the caller makes
    bool user_changes = false;   ///< the child ends up in another user namespace
    bool becomes_root = false;   ///< the child ends up as 0:0, as the plan says no other ids
    bool root_before_creating = false;
    bool time_by_first = false;
    bool oom_by_caller = false;
    bool offsets_by_caller = false;
    bool mount_with_user = false; ///< joined by one call
    bool waits = false;           ///< the child waits for the caller's word
    bool program = false;         ///< the child becomes a program
    bool filter_last = false;     ///< a seccomp filter needs no right that the ids take
    KindSet by_clone{};           ///< created by the clone that makes the child
    KindSet by_unshare{};         ///< created by the child, by one unshare

    /// Whether the child is the first process, and does what that does.
    [[nodiscard]] constexpr auto child_is_first() const noexcept -> bool {
        return !joiner && !caller_joins;
    }

    /// Who does what only the first process can do.
    [[nodiscard]] constexpr auto first_process() const noexcept -> Process {
        return joiner ? Process::joiner : caller_joins ? Process::caller : Process::child;
    }
};

/// Whether the child calls a function of the caller's, which has to find memory of its own.
[[nodiscard]] constexpr auto calls_inside(const Outline& plan) noexcept -> bool {
    return plan.said.contains(Step::call_inside) || plan.said.contains(Step::call_last);
}

/// Whether nothing is left for the caller to do while a program's process is on its way, so that it
/// may be suspended meanwhile.
[[nodiscard]] constexpr auto may_be_suspended(const Outline& plan) noexcept -> bool {
    return !plan.said.contains(Step::await_maps) && !plan.said.contains(Step::set_oom_score_adj) &&
           !plan.created.contains(Kind::time) && !plan.deadline &&
           !plan.said.contains(Step::take_mount_sources) && !calls_inside(plan);
}

/// Whether a process on the caller's memory can't do it: it can't join a time namespace, shares the
/// dumpable flag that its own files in /proc depend on, and stops the clock of a caller with a
/// deadline.
[[nodiscard]] constexpr auto wants_own_memory(const Outline& plan, KindSet joining) noexcept
    -> bool {
    return joining.contains(Kind::time) || plan.said.contains(Step::set_oom_score_adj) ||
           plan.created.contains(Kind::time) || plan.deadline;
}

/// Whether the first process can be reached by others that are not trusted: they share the plan's
/// cgroup with it, and so decide over its memory (memory.oom.group) and freeze it; or it has joined
/// their user namespace, and they may see its pid, as theirs may be the caller's pid namespace.
[[nodiscard]] constexpr auto exposes_first(const Outline& plan, KindSet joining) noexcept -> bool {
    const bool unseen = joining.contains(Kind::pid) && plan.same_target(Kind::user, Kind::pid);
    return plan.said.contains(Step::enter_cgroup) || (joining.contains(Kind::user) && !unseen);
}

/// Whether the child takes an id or groups.
[[nodiscard]] constexpr auto takes_ids(const Outline& plan, const Roles& roles) noexcept -> bool {
    return roles.becomes_root || plan.said.contains(Step::set_groups) ||
           plan.said.contains(Step::set_gid) || plan.said.contains(Step::set_uid);
}

/// Whether the child can be reached so, or because it is in a pid namespace that was joined, or has
/// the ids that processes of the target have.
[[nodiscard]] constexpr auto exposes_child(const Outline& plan, const Roles& roles) noexcept
    -> bool {
    return exposes_first(plan, roles.joining) || roles.joining.contains(Kind::pid) ||
           (!roles.joining.empty() && takes_ids(plan, roles));
}

/// Decides who creates.
constexpr void decide_creators(const Outline& plan, Roles& roles) noexcept {
    const bool joins = !roles.joining.empty();
    if (roles.child_is_first() && joins) {
        roles.by_unshare = plan.created; // when it has joined
    } else {
        roles.by_clone = roles.user_changes ? plan.created & (Kind::user | Kind::pid)
                                            : plan.created - (Kind::cgroup | Kind::time);
        roles.by_unshare = plan.created - roles.by_clone;
    }
    roles.time_by_first =
        joins && plan.created.contains(Kind::time) && !plan.created.contains(Kind::user);
    if (roles.time_by_first) {
        roles.by_unshare = roles.by_unshare - Kind::time;
    }
}

/// Decides who does what. Pure.
[[nodiscard]] constexpr auto decide_roles(const Outline& plan, const Facts& facts) noexcept
    -> Roles {
    Roles roles;
    roles.joining = plan.joined - facts.same;
    roles.program = plan.program;
    roles.filter_last = plan.said.contains(Step::set_no_new_privileges);
    roles.user_changes = (roles.joining | plan.created).contains(Kind::user);
    const bool root_inside = roles.joining.contains(Kind::user) || plan.root_mapped;
    const bool root = roles.user_changes && root_inside && !plan.keep_ids;
    roles.becomes_root = root && !plan.ids;
    const bool joins = !roles.joining.empty();
    const bool safe_first = plan.lends_memory || !exposes_first(plan, roles.joining);
    const bool safe_child = plan.lends_memory || !exposes_child(plan, roles);
    const bool wants_own = !facts.vfork || wants_own_memory(plan, roles.joining) || !safe_first;
    roles.shares = plan.program && facts.vfork && may_be_suspended(plan) && safe_child;
    // In these, only children are, or the child is made with them.
    const bool needs_child = (roles.joining | plan.created).contains(Kind::pid) ||
                             (!roles.shares && plan.created.intersects(Kind::user | Kind::time));
    roles.caller_joins = joins && plan.callers_parent;
    roles.joiner = joins && !roles.caller_joins && needs_child;
    if (roles.shares) {
        const bool joins_time = roles.joining.contains(Kind::time) && !roles.caller_joins;
        roles.first = joins_time ? Memory::copy : Memory::callers;
    } else if (roles.joiner && !wants_own) {
        roles.first = Memory::callers;
    }
    roles.mount_with_user = facts.join_by != JoinBy::descriptor &&
                            roles.joining.contains(Kind::user | Kind::mount) &&
                            plan.same_target(Kind::user, Kind::mount);
    decide_creators(plan, roles);
    roles.root_before_creating = root && !roles.by_unshare.empty();
    roles.oom_by_caller =
        plan.said.contains(Step::set_oom_score_adj) && plan.created.contains(Kind::user) && !joins;
    roles.offsets_by_caller =
        plan.said.contains(Step::write_time_offsets) && joins && !roles.time_by_first;
    // A joiner's pidfd of the child is gone with the joiner: while the child waits, the caller
    // opens another.
    const bool repin = roles.joiner && roles.first == Memory::copy && !roles.shares;
    roles.waits = plan.said.contains(Step::await_maps) || roles.oom_by_caller ||
                  roles.offsets_by_caller || repin;
    return roles;
}

/// The circumstances that the constraints ask for.
[[nodiscard]] constexpr auto circumstances(const Roles& roles) noexcept -> When {
    return When::rights_taken | (roles.child_is_first() ? When::child_first : When::joiner_first) |
           (roles.first == Memory::callers ? When::callers_memory : When::own_memory) |
           (roles.time_by_first ? When::time_by_first : When::time_by_child) |
           (roles.oom_by_caller ? When::oom_by_caller : When::oom_by_first) |
           (roles.offsets_by_caller ? When::offsets_by_caller : When::offsets_by_first) |
           (roles.mount_with_user ? When::mount_with_user : When::mount_alone) |
           (roles.program ? When::for_program : When::for_caller) |
           (roles.filter_last ? When::filter_last : When::filter_before_ids);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_ROLES_HPP
