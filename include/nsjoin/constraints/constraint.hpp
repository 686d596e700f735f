// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONSTRAINTS_CONSTRAINT_HPP
#define NSJOIN_CONSTRAINTS_CONSTRAINT_HPP

#include <nsjoin/conditions.hpp>
#include <nsjoin/step.hpp>

namespace nsjoin::inline v0_1 {

/// `before` comes before `after`, and why. `since` is the first kernel in which it matters.
struct Constraint {
    Step before = Step::check_plan;
    Step after = Step::check_plan;
    const char* why = "";
    KernelVersion since{3, 8};
    When when = When::always;
};

namespace detail {

inline constexpr const char* why_checked_first =
    "what can be known wrong is refused before the first system call";
inline constexpr const char* why_pinned =
    "a pid can be reused, its descriptor can't; and paths change their meaning in a joined mount "
    "namespace";
inline constexpr const char* why_terminal_outside =
    "a terminal is verified outside: inside, its name means what the target wants (CVE-2025-52565)";
inline constexpr const char* why_cgroup_outside =
    "the host's cgroup file system may not be mounted inside";
inline constexpr const char* why_inherited = "the child inherits its end";
inline constexpr const char* why_not_the_caller =
    "it changes that process alone: the caller stays as it was";
inline constexpr const char* why_not_dumpable =
    "a process inside must not ptrace the joiner while it holds rights outside (CVE-2016-9962)";
inline constexpr const char* why_for_the_child =
    "it is for the child: the caller stays where it is";
inline constexpr const char* why_owned = "the new user namespace is to own it";
inline constexpr const char* why_ids_first =
    "what the kernel makes for a new namespace belongs to the ids of who creates it";
inline constexpr const char* why_groups_outside =
    "groups of the host's are not taken inside, where setgroups may be denied";
inline constexpr const char* why_mount_last =
    "the mount namespace moves root and working directory: what can fail fails before it";
inline constexpr const char* why_born_inside =
    "only children born afterwards are in the joined namespaces";
inline constexpr const char* why_privileged = "it needs a right that the change of ids gives up";
inline constexpr const char* why_cgroup_root =
    "the root of a new cgroup namespace is the cgroup that its creator is in";
inline constexpr const char* why_pinned_caller =
    "who waits for the caller's word sees by it that there will be none";
inline constexpr const char* why_opener_outside =
    "the opener has the rights and namespaces that the caller has";
inline constexpr const char* why_callers_flag =
    "the process runs on the caller's memory, whose flag it is: a change of ids clears it too";
inline constexpr const char* why_refused_first =
    "what is joined can be refused: then nothing was created";
inline constexpr const char* why_closes =
    "it closes the descriptors that only the steps before it need";
inline constexpr const char* why_shared_table = "the table may be the caller's until then";
inline constexpr const char* why_program_last = "what the command says is done when the plan is";

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_CONSTRAINTS_CONSTRAINT_HPP
