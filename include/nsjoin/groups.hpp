// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_GROUPS_HPP
#define NSJOIN_GROUPS_HPP

#include <nsjoin/detail/kernel/contract.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <span>
#include <sys/types.h>
#include <utility>

namespace nsjoin::inline v0_1 {

namespace detail {

/// Owned ids, in memory of malloc(3): std::vector needs the C++ run-time library, which a program
/// linked as C does not have. Running out of memory ends the program.
class GidList { // NOLINT(*-special-member-functions): assigns from either
  public:
    GidList() noexcept = default;

    explicit GidList(std::span<const gid_t> ids) noexcept : size_{ids.size()} {
        if (size_ != 0) {
            ids_ = static_cast<gid_t*>(std::calloc(size_, sizeof(gid_t))); // NOLINT(*-malloc)
            expect(ids_ != nullptr, "out of memory");
            std::memcpy(ids_, ids.data(), ids.size_bytes());
        }
    }

    GidList(const GidList& other) noexcept : GidList{other.view()} {}

    GidList(GidList&& other) noexcept
        : ids_{std::exchange(other.ids_, nullptr)}, size_{std::exchange(other.size_, 0)} {}

    auto operator=(GidList other) noexcept -> GidList& {
        std::swap(ids_, other.ids_);
        std::swap(size_, other.size_);
        return *this;
    }

    ~GidList() { std::free(ids_); } // NOLINT(*-malloc,*.Malloc)

    [[nodiscard]] auto view() const noexcept -> std::span<const gid_t> { return {ids_, size_}; }

    [[nodiscard]] friend auto operator==(const GidList& a, const GidList& b) noexcept -> bool {
        return a.size_ == b.size_ &&
               (a.size_ == 0 || std::memcmp(a.ids_, b.ids_, a.view().size_bytes()) == 0);
    }

  private:
    gid_t* ids_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace detail

/// What becomes of the supplementary groups.
class Groups {
  public:
    /// The most that a process can have, NGROUPS_MAX. Linux 2.6.4.
    static constexpr std::size_t most = 65'536;

    /// No group is left; where the user namespace denies setgroups(2), those that there are stay.
    Groups() noexcept = default;

    /// Exactly these.
    Groups(std::initializer_list<gid_t> ids) noexcept
        : Groups{std::span<const gid_t>{ids.begin(), ids.size()}} {}

    /// Exactly these, copied; at most `most`. setgroups(2).
    explicit Groups(std::span<const gid_t> ids) noexcept : policy_{Policy::set}, ids_{ids} {}

    /// As they are.
    [[nodiscard]] static auto keep() noexcept -> Groups {
        Groups groups;
        groups.policy_ = Policy::keep;
        return groups;
    }

    [[nodiscard]] auto kept() const noexcept -> bool { return policy_ == Policy::keep; }

    [[nodiscard]] auto dropped() const noexcept -> bool { return policy_ == Policy::drop; }

    [[nodiscard]] auto ids() const noexcept -> std::span<const gid_t> { return ids_.view(); }

    [[nodiscard]] friend auto operator==(const Groups&, const Groups&) noexcept -> bool = default;

  private:
    enum class Policy : std::uint8_t { drop, keep, set };

    Policy policy_ = Policy::drop;
    detail::GidList ids_;
};

} // namespace nsjoin

#endif // NSJOIN_GROUPS_HPP
