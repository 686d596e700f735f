// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_NAMESPACE_FD_HPP
#define NSJOIN_NAMESPACE_FD_HPP

#include <nsjoin/fd.hpp>
#include <nsjoin/kind.hpp>
#include <nsjoin/namespace_fd/any.hpp>
#include <nsjoin/pid_fd.hpp>

#include <cstddef>
#include <string_view>
#include <utility>

namespace nsjoin::inline v0_1 {

/// A namespace of kind K, held open. Owns a descriptor with close-on-exec. Move-only. Serves
/// wherever a `const AnyNamespaceFd&` does.
///
///     auto network = nsjoin::NamespaceFd<nsjoin::Kind::net>::open("/run/netns/blue");
///     if (!network) { … }
template <Kind K>
class [[nodiscard]] NamespaceFd {
  public:
    /// The namespace which the target is in: see AnyNamespaceFd::open.
    [[nodiscard]] static auto open(const PidFd& target) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(K, target), {});
    }

    /// The namespace which process `pid` is in: see AnyNamespaceFd::open.
    [[nodiscard]] static auto open(pid_t pid) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(K, pid), {});
    }

    /// The namespace at `path`: see AnyNamespaceFd::open. Errors: also wrong_kind, which names the
    /// kind that it is.
    [[nodiscard]] static auto open(const char* path) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(path), path);
    }

    static auto open(std::nullptr_t) -> Result<NamespaceFd> = delete;

    /// The namespace of that name: see AnyNamespaceFd::open. Errors: also wrong_kind.
    [[nodiscard]] static auto open(const NamespaceHandle& handle) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(handle), {});
    }

    /// Takes a descriptor from elsewhere, and closes it if it is no namespace of the kind: see
    /// AnyNamespaceFd::adopt. Errors: also wrong_kind.
    [[nodiscard]] static auto adopt(OwnedFd fd) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::adopt(std::move(fd)), {});
    }

    /// The namespace which the calling thread is in: see AnyNamespaceFd::own.
    [[nodiscard]] static auto own() noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::own(K), {});
    }

    /// The namespace that the target's later children will be in: see
    /// AnyNamespaceFd::open_for_children.
    [[nodiscard]] static auto open_for_children(const PidFd& target) noexcept -> Result<NamespaceFd>

    requires(K == Kind::pid || K == Kind::time) {
        return typed(AnyNamespaceFd::open_for_children(K, target), {});
    }

    /// The namespace that the calling thread's later children will be in: see
    /// AnyNamespaceFd::own_for_children.
    [[nodiscard]] static auto own_for_children() noexcept -> Result<NamespaceFd>

    requires(K == Kind::pid || K == Kind::time) {
        return typed(AnyNamespaceFd::own_for_children(K), {});
    }

    [[nodiscard]] static constexpr auto kind() noexcept -> Kind { return K; }

    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd { return any_.fd(); }

    auto fd() && -> BorrowedFd = delete;

    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] auto release() noexcept -> OwnedFd { return any_.release(); }

    /// The same namespace, its kind known at run time.
    [[nodiscard]] auto any() && noexcept -> AnyNamespaceFd { return std::move(any_); }

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same, untyped
    [[nodiscard]] operator const AnyNamespaceFd&() const& noexcept { return any_; }

    operator const AnyNamespaceFd&() && = delete; // NOLINT(google-explicit-constructor,hicpp-*)

    /// Which namespace it is: see AnyNamespaceFd::id.
    [[nodiscard]] auto id() const noexcept -> Result<NamespaceId> { return any_.id(); }

    /// Its name for open(): see AnyNamespaceFd::handle.
    [[nodiscard]] auto handle() const noexcept -> Result<NamespaceHandle> { return any_.handle(); }

    /// The user namespace that owns this one: see AnyNamespaceFd::owner.
    [[nodiscard]] auto owner() const noexcept -> Result<NamespaceFd<Kind::user>> {
        return any_.owner();
    }

    /// The parent, which only pid and user namespaces have: see AnyNamespaceFd::parent.
    [[nodiscard]] auto parent() const noexcept -> Result<NamespaceFd>

    requires(K == Kind::pid || K == Kind::user) { return typed(any_.parent(), {}); }

    /// The uid of whoever made the user namespace: see AnyNamespaceFd::owner_uid.
    [[nodiscard]] auto owner_uid() const noexcept -> Result<uid_t>

    requires(K == Kind::user) { return any_.owner_uid(); }

    /// The number that a process has in this pid namespace, by that which it has in the caller's.
    /// ioctl_nsfs(2) NS_GET_TGID_IN_PIDNS, Linux 6.11. Errors: ESRCH if there is no such process,
    /// or it is not in there; ENOTTY before Linux 6.11.
    [[nodiscard]] auto number_inside(pid_t pid) const noexcept -> Result<pid_t>

    requires(K == Kind::pid) { return translated(detail::ns_get_tgid_in_pidns, pid); }

    /// The number that a process has in the caller's pid namespace, by that which it has in this
    /// one. ioctl_nsfs(2) NS_GET_TGID_FROM_PIDNS, Linux 6.11. Errors: as number_inside().
    [[nodiscard]] auto number_outside(pid_t pid) const noexcept -> Result<pid_t>

    requires(K == Kind::pid) { return translated(detail::ns_get_tgid_from_pidns, pid); }

    /// Keeps the namespace alive under a name: see AnyNamespaceFd::pin and unpin.
    [[nodiscard]] auto pin(const char* path) const noexcept -> Result<void> {
        return any_.pin(path);
    }

  private:
    friend class AnyNamespaceFd;

    [[nodiscard]] auto translated(unsigned long request, pid_t pid) const noexcept
        -> Result<pid_t> {
        const long number = detail::call(SYS_ioctl, fd().get(), request, pid);
        if (number < 0) {
            Subject subject{"pid "};
            subject.append(std::int64_t{pid});
            return detail::fail(Step::read_namespace, static_cast<int>(-number), subject.view());
        }
        return static_cast<pid_t>(number);
    }

    explicit NamespaceFd(AnyNamespaceFd any) noexcept : any_{std::move(any)} {}

    [[nodiscard]] static auto typed(Result<AnyNamespaceFd> any, std::string_view path) noexcept
        -> Result<NamespaceFd> {
        if (!any) {
            return Unexpected{any.error()};
        }
        if (any->kind() != K) {
            return detail::wrong_kind(Subject{path}, any->kind());
        }
        return NamespaceFd{*std::move(any)};
    }

    AnyNamespaceFd any_;
};

template <Kind K>
auto AnyNamespaceFd::as() && noexcept -> Result<NamespaceFd<K>> {
    if (kind_ != K) {
        return detail::wrong_kind({}, kind_);
    }
    return NamespaceFd<K>{std::move(*this)};
}

inline auto AnyNamespaceFd::owner() const noexcept -> Result<NamespaceFd<Kind::user>> {
    return NamespaceFd<Kind::user>::typed(related(detail::ns_get_userns, Kind::user), {});
}

/// Whether the two are one and the same namespace. fstat(2).
[[nodiscard]] inline auto is_same(const AnyNamespaceFd& a, const AnyNamespaceFd& b) noexcept
    -> Result<bool> {
    const auto first = a.id();
    const auto second = b.id();
    if (!first || !second) {
        return Unexpected{first ? second.error() : first.error()};
    }
    return *first == *second;
}

} // namespace nsjoin

#endif // NSJOIN_NAMESPACE_FD_HPP
