// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_NAMESPACE_SET_HPP
#define NSJOIN_NAMESPACE_SET_HPP

#include <nsjoin/namespace_set/any.hpp>

#include <gsl/assert>

#include <utility>

namespace nsjoin::inline v0_1 {

/// Namespaces of the kinds Ks, held open: each of them is there. Owns a descriptor with
/// close-on-exec for each. Move-only. Serves wherever a
/// `const AnyNamespaceSet&` does.
///
///     auto pod = nsjoin::create_namespaces(
///         nsjoin::JoinPlan{}.create<Kind::net, Kind::ipc, Kind::uts>().loopback_up());
///     …
///     auto one = launcher.exec(nsjoin::JoinPlan{}.join(*pod).create<Kind::mount>(), command);
template <Kind... Ks>
class [[nodiscard]] NamespaceSet {
  public:
    static constexpr KindSet set = Kinds<Ks...>::set;
    static_assert(sizeof...(Ks) != 0 && set.size() == sizeof...(Ks),
                  "nsjoin: a set names each of its kinds once");

    /// The same kinds in another order.
    template <Kind... Others>

    requires(Kinds<Others...>::set == Kinds<Ks...>::set)
        // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): it is the same
        NamespaceSet(NamespaceSet<Others...>&& other)
    noexcept : any_{std::move(other).any()} {}

    /// Those namespaces of the target: see AnyNamespaceSet::open.
    [[nodiscard]] static auto open(const PidFd& target) noexcept -> Result<NamespaceSet> {
        return typed(AnyNamespaceSet::open(target, set));
    }

    /// Those that are pinned in the directory: see AnyNamespaceSet::open. Errors: also wrong_kind,
    /// which names the first that is not there.
    [[nodiscard]] static auto open(const char* directory) noexcept -> Result<NamespaceSet> {
        return typed(AnyNamespaceSet::open(directory));
    }

    static auto open(std::nullptr_t) -> Result<NamespaceSet> = delete;

    [[nodiscard]] static constexpr auto kinds() noexcept -> KindSet { return set; }

    /// The namespace's descriptor. One of a kind that is not in the set does not compile.
    template <Kind K>
    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd {
        static_assert(set.contains(K), "nsjoin: the set has no namespace of this kind");
        return any_.fd(K);
    }

    template <Kind K>
    auto fd() && -> BorrowedFd = delete;

    /// Keeps them alive in a directory: see AnyNamespaceSet::pin, and unpin.
    [[nodiscard]] auto pin(const char* directory) const noexcept -> Result<void> {
        return any_.pin(directory);
    }

    /// The same set, its kinds known at run time.
    [[nodiscard]] auto any() && noexcept -> AnyNamespaceSet { return std::move(any_); }

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same, untyped
    [[nodiscard]] operator const AnyNamespaceSet&() const& noexcept { return any_; }

    operator const AnyNamespaceSet&() && = delete; // NOLINT(google-explicit-constructor,hicpp-*)

  private:
    friend class AnyNamespaceSet;

    explicit NamespaceSet(AnyNamespaceSet any) noexcept : any_{std::move(any)} {}

    [[nodiscard]] static auto typed(Result<AnyNamespaceSet> any) noexcept -> Result<NamespaceSet> {
        if (!any) {
            return Unexpected{any.error()};
        }
        return (*std::move(any)).template as<Ks...>();
    }

    AnyNamespaceSet any_;
};

template <Kind... Ks>
auto AnyNamespaceSet::as() && noexcept -> Result<NamespaceSet<Ks...>> {
    for (const Kind kind : Kinds<Ks...>::set) {
        if (!fd(kind).ok()) {
            return detail::fail(Step::open_namespace, Reason::wrong_kind,
                                Subject{"the set has no "}.append(facts(kind).name).view());
        }
    }
    for (const Kind kind : kinds_ - Kinds<Ks...>::set) {
        release(kind).reset();
    }
    return NamespaceSet<Ks...>{std::move(*this)};
}

} // namespace nsjoin

#endif // NSJOIN_NAMESPACE_SET_HPP
