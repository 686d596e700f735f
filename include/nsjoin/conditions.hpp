// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONDITIONS_HPP
#define NSJOIN_CONDITIONS_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <cstdint>

namespace nsjoin::inline v0_1 {

/// What a joined user namespace does to the rights over the other namespaces of a plan.
enum class UserRights : std::uint8_t {
    granted, ///< joining it gives them: it is joined before those (rootless)
    taken,   ///< joining it takes them away: it is joined after those (privileged)
};

/// When a constraint holds: in every plan, or under each of these conditions. A set: combine with
/// |. Of each pair, one holds.
enum class When : std::uint32_t {
    always = 0,
    rights_granted = 1U << 0U, ///< UserRights::granted
    rights_taken = 1U << 1U,   ///< UserRights::taken
    joiner_first = 1U << 2U,   ///< the child is made when all is joined
    child_first = 1U << 3U,    ///< the child is the first process, and joins by itself
    own_memory = 1U << 4U,     ///< the first process has memory of its own
    callers_memory = 1U << 5U, ///< the first process runs on the caller's memory
    time_by_child = 1U << 6U,  ///< the child creates the time namespace, and enters it
    time_by_first = 1U << 7U,  ///< the first process does, and its child is in it
    oom_by_first = 1U << 8U,   ///< the first process sets its own oom_score_adj
    oom_by_caller = 1U << 9U,
    offsets_by_first = 1U << 10U, ///< the first process opens its own timens_offsets
    offsets_by_caller = 1U << 11U,
    mount_alone = 1U << 12U, ///< the mount namespace is joined by a call without the user namespace
    mount_with_user = 1U << 13U, ///< by that of the user namespace, whose rights count for it
    for_program = 1U << 14U,     ///< the child becomes a program
    for_caller = 1U << 15U,      ///< the child goes on in the caller's code
    filter_last = 1U << 16U,     ///< nobody needs a right for a seccomp filter who has no_new_privs
    filter_before_ids = 1U << 17U,
};

[[nodiscard]] constexpr auto operator|(When a, When b) noexcept -> When {
    return static_cast<When>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

/// Whether a constraint that says `when` holds under `circumstances`.
[[nodiscard]] constexpr auto holds(When when, When circumstances) noexcept -> bool {
    return (static_cast<unsigned>(when) & ~static_cast<unsigned>(circumstances)) == 0;
}

/// The circumstances in which a joiner with memory of its own does all that the first process does.
[[nodiscard]] constexpr auto circumstances(UserRights rights) noexcept -> When {
    return (rights == UserRights::granted ? When::rights_granted : When::rights_taken) |
           When::joiner_first | When::own_memory | When::time_by_child | When::oom_by_first |
           When::offsets_by_first | When::mount_alone | When::for_caller | When::filter_last;
}

} // namespace nsjoin

#endif // NSJOIN_CONDITIONS_HPP
