// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_NAMESPACES_HPP
#define NSJOIN_DETAIL_ENGINE_NAMESPACES_HPP

#include <nsjoin/detail/engine/facts.hpp>
#include <nsjoin/plan.hpp>

#include <sys/ioctl.h>
#include <sys/stat.h>

// What the caller asks the kernel about the namespaces that a plan joins.

namespace nsjoin::inline v0_1::detail {

/// stat(2) of a namespace of the calling thread: by its entry in /proc, or in a chroot without one
/// by ioctl_pidfd(2) (Linux 6.11). Whether that went well.
[[nodiscard]] inline auto stat_own(Kind kind, std::string_view name, struct stat& about) noexcept
    -> bool {
    Subject path{"/proc/thread-self/ns/"};
    if (::stat(path.append(name).c_str(), &about) == 0) {
        return true;
    }
    const OwnedFd self{static_cast<int>(call(SYS_pidfd_open, ::getpid(), 0U))};
    const unsigned number =
        nsjoin::facts(kind).pidfd_ioctl + (name == nsjoin::facts(kind).name ? 0U : 1U);
    const OwnedFd space{
        static_cast<int>(call(SYS_ioctl, self.get(), pidfd_get_namespace | number, 0))};
    return ::fstat(space.get(), &about) == 0;
}

/// Whether the descriptor is the caller's own namespace of the kind.
[[nodiscard]] inline auto is_own(Kind kind, int fd) noexcept -> bool {
    // The kernel shows the parent of a user namespace that is below the caller's, and of no other;
    // to ask that costs a fifth of a look into /proc.
    if (kind == Kind::user &&
        OwnedFd{static_cast<int>(call(SYS_ioctl, fd, ns_get_parent, 0))}.ok()) {
        return false;
    }
    // Where a kind moves only children, it is the children's namespace that counts.
    const std::string_view name = nsjoin::facts(kind).children_name.empty()
                                      ? nsjoin::facts(kind).name
                                      : nsjoin::facts(kind).children_name;

    struct stat own {};

    struct stat other {};

    return stat_own(kind, name, own) && ::fstat(fd, &other) == 0 && own.st_ino == other.st_ino &&
           own.st_dev == other.st_dev;
}

/// Whether the caller has the rights that joining a namespace of the kind takes, over its own.
[[nodiscard]] inline auto has_rights_to_join(Kind kind) noexcept -> bool {
    return has_capability(cap_sys_admin) &&
           (!has(nsjoin::facts(kind).demands, Demands::chroot_right) ||
            has_capability(cap_sys_chroot));
}

/// Whether the caller's rights reach the namespace. The kernel names the owner only if it is the
/// caller's user namespace or a descendant, and a capability in a user namespace is one in all its
/// descendants. user_namespaces(7). Where it does not, it may be an old kernel, a filter, or an
/// owner outside.
[[nodiscard]] inline auto is_known_to_be_reached(int space) noexcept -> bool {
    return OwnedFd{static_cast<int>(call(SYS_ioctl, space, ns_get_userns, 0))}.ok();
}

/// Opens a namespace of a borrowed target. Errors: those of AnyNamespaceFd::open.
[[nodiscard]] inline auto open_target_namespace(const JoinSource& source, Kind kind) noexcept
    -> Result<OwnedFd> {
    PidFd target{OwnedFd{source.fd.get()}, source.target_pid};
    auto opened = AnyNamespaceFd::open(kind, target);
    (void)target.release().release(); // it is somebody else's
    if (!opened) {
        return Unexpected{opened.error()};
    }
    return opened->release();
}

/// Whether the namespace that is to be joined is the caller's (for time, that of its children).
[[nodiscard]] inline auto source_is_own(const JoinSource& source, Kind kind) noexcept -> bool {
    if (source.from == JoinSource::From::namespace_fd) {
        return is_own(kind, source.fd.get());
    }
    const auto opened = open_target_namespace(source, kind);
    // A kernel without namespaces of the kind has none that differs.
    return opened ? is_own(kind, opened->get()) : opened.error().reason == Reason::no_such_kind;
}

/// The target that all joined kinds come from, or nothing if they come from several places.
[[nodiscard]] inline auto single_target(const Draft& plan) noexcept -> BorrowedFd {
    BorrowedFd target;
    for (const Kind kind : plan.joined()) {
        const JoinSource& source = plan.source(kind);
        if (source.from != JoinSource::From::target || (target.ok() && target != source.fd)) {
            return {};
        }
        target = source.fd;
    }
    return target;
}

/// The namespaces of targets that a plan joins, opened, by kind.
using OpenedSpaces = std::array<OwnedFd, kind_count>;

/// Opens the target's namespaces and asks about all that the plan joins: which are the caller's
/// own, and which the caller has the rights over. Errors: those of opening them.
[[nodiscard]] inline auto look_at_spaces(const Draft& plan, OpenedSpaces& opened,
                                         Facts& facts) noexcept -> Result<void> {
    facts.same = facts.after_user = facts.untold = {};
    for (const Kind kind : plan.joined()) {
        const JoinSource& source = plan.source(kind);
        int space = source.fd.get();
        if (source.from == JoinSource::From::target) {
            auto found = open_target_namespace(source, kind);
            if (!found && found.error().reason == Reason::no_such_kind) {
                facts.same = facts.same | kind; // nobody differs
                continue;
            }
            if (!found) {
                return Unexpected{found.error()};
            }
            OwnedFd& place = opened[static_cast<std::size_t>(kind)];
            place = *std::move(found);
            space = place.get();
        }
        if (is_own(kind, space)) {
            facts.same = facts.same | kind;
        } else if (!has_rights_to_join(kind)) {
            facts.after_user = facts.after_user | kind;
        } else if (!is_known_to_be_reached(space)) {
            facts.untold = facts.untold | kind;
        }
    }
    facts.join_by = JoinBy::target;
    return {};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_NAMESPACES_HPP
