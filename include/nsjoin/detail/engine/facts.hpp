// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_FACTS_HPP
#define NSJOIN_DETAIL_ENGINE_FACTS_HPP

#include <nsjoin/credentials.hpp>
#include <nsjoin/detail/kernel/clone.hpp>
#include <nsjoin/error.hpp>
#include <nsjoin/kind.hpp>

#include <cerrno>
#include <cstdint>

namespace nsjoin::inline v0_1::detail {

/// How what is joined is joined.
enum class JoinBy : std::uint8_t {
    one_call,   ///< one setns(2) of the target's pidfd, nothing looked up before
    target,     ///< one for the kinds of a target that differ from the caller's
    descriptor, ///< one for each namespace: before Linux 5.8, or where a filter forbids the others
};

/// What the caller asked the kernel about a plan before there is another process, and what an
/// attempt has taught it. A value, usable in constant expressions.
struct Facts {
    JoinBy join_by = JoinBy::one_call;
    KindSet same{};       ///< the joined kinds that the caller is in already
    KindSet after_user{}; ///< those that only the joined user namespace gives the rights over
    KindSet untold{};     ///< those that the kernel does not tell that of
    bool clone3 = true;
    bool clear_sighand = true;   ///< clone3(2) resets handlers
    bool into_cgroup = false;    ///< clone3(2) places a process into the plan's cgroup
    bool vfork = has_vfork;      ///< a process can run on the caller's memory
    bool deny_setgroups = false; ///< the kernel takes the gid map only when setgroups is denied
    bool first_of_pids = false;  ///< the caller is pid 1 of its pid namespace
    bool drops_outside = false;  ///< the caller may drop groups, before anything is joined
    Denied setgroups = Denied::unknown; ///< in the user namespace that the child ends up in
    bool many_threads = false;          ///< or it is not known that there is one
    bool pending_pid = false; ///< the caller has put its children into another pid namespace
    StepSet done{};           ///< what a caller that joins by itself has done before
};

/// Whether the errno of a clone may be about the cgroup that the process was to be born in: it is
/// no directory of a v2 hierarchy, or the process may not be there.
[[nodiscard]] constexpr auto is_about_cgroup(int code) noexcept -> bool {
    return code == EBADF || code == EBUSY || code == ENODEV || code == ENOENT;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_FACTS_HPP
