// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_ID_MAP_HPP
#define NSJOIN_ID_MAP_HPP

#include <nsjoin/detail/kernel/contract.hpp>
#include <nsjoin/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace nsjoin::inline v0_1 {

/// A line of uid_map or gid_map: ids `inside` to `inside + count - 1` of the user namespace stand
/// for `outside` to `outside + count - 1` of its parent. See user_namespaces(7).
struct IdExtent {
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    std::uint32_t count = 0;

    [[nodiscard]] friend constexpr auto operator==(const IdExtent&, const IdExtent&) noexcept
        -> bool = default;
};

/// How many lines the kernel takes (Linux 4.15; 5 before).
inline constexpr std::size_t id_map_capacity = 340;

namespace detail {

/// Whether the two have the same elements; <algorithm> takes long to compile.
template <typename Element>
[[nodiscard]] constexpr auto equal(std::span<const Element> a, std::span<const Element> b) noexcept
    -> bool {
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(a[i] == b[i])) {
            return false;
        }
    }
    return true;
}

/// Not constexpr: a broken map in a constant expression does not compile, and the compiler's
/// message shows this name. At run time it ends the program, as every broken precondition does.
inline void id_map_is_empty_or_has_an_empty_overlapping_or_overflowing_extent() noexcept {
    expect(false, "an id map is empty, or has an empty, overlapping or overflowing extent: "
                  "IdMap::from() says which");
}

[[nodiscard]] constexpr auto overlap(std::uint32_t a, std::uint32_t a_count, std::uint32_t b,
                                     std::uint32_t b_count) noexcept -> bool {
    return a < std::uint64_t{b} + b_count && b < std::uint64_t{a} + a_count;
}

/// The rule that the extents break, or Reason::system for none; `subject` says where.
[[nodiscard]] constexpr auto broken_rule(std::span<const IdExtent> extents,
                                         Subject& subject) noexcept -> Reason {
    // The id 2^32-1 means "no change" to setresuid(2), so no map may have it.
    constexpr std::uint64_t end = 0xFFFF'FFFF;
    if (extents.empty()) {
        return Reason::map_empty;
    }
    if (extents.size() > id_map_capacity) {
        subject.append(static_cast<std::int64_t>(extents.size())).append(" lines");
        return Reason::map_too_long;
    }
    for (std::size_t i = 0; i < extents.size(); ++i) {
        const IdExtent& e = extents[i];
        subject = Subject{"line "};
        subject.append(static_cast<std::int64_t>(i + 1)).append(" (");
        subject.append(std::int64_t{e.inside}).append(" ").append(std::int64_t{e.outside});
        subject.append(" ").append(std::int64_t{e.count}).append(")");
        if (e.count == 0) {
            return Reason::map_zero_count;
        }
        if (std::uint64_t{e.inside} + e.count > end || std::uint64_t{e.outside} + e.count > end) {
            return Reason::map_overflow;
        }
        for (std::size_t j = 0; j < i; ++j) {
            const IdExtent& f = extents[j];
            if (overlap(e.inside, e.count, f.inside, f.count) ||
                overlap(e.outside, e.count, f.outside, f.count)) {
                subject.append(" and line ").append(static_cast<std::int64_t>(j + 1));
                return Reason::map_overlap;
            }
        }
    }
    subject = Subject{};
    return Reason::system;
}

} // namespace detail

/// The uid or gid map of a user namespace: 1 to 340 extents, none empty, none past the last id, no
/// two that share an id inside or outside; or none(). A value; usable in constant expressions.
class IdMap {
  public:
    /// A map in the program's text. Precondition: no rule is broken; a constexpr map that breaks
    /// one does not compile, any other ends the program. Maps that come from outside go through
    /// from().
    constexpr IdMap(std::initializer_list<IdExtent> extents) {
        Subject subject;
        if (detail::broken_rule({extents.begin(), extents.size()}, subject) != Reason::system) {
            detail::id_map_is_empty_or_has_an_empty_overlapping_or_overflowing_extent();
        }
        assign({extents.begin(), extents.size()});
    }

    /// No map: the file of the user namespace stays unwritten, and no id of the sort is mapped.
    [[nodiscard]] static constexpr auto none() noexcept -> IdMap { return IdMap{}; }

    /// A map of one id: `inside` stands for `outside`.
    [[nodiscard]] static constexpr auto single(std::uint32_t inside, std::uint32_t outside) noexcept
        -> Result<IdMap> {
        const std::array<IdExtent, 1> extents{{{inside, outside, 1}}};
        return from(extents);
    }

    /// A map that is known only at run time. Errors: map_empty, map_too_long, map_zero_count,
    /// map_overflow, map_overlap; the subject names the line, from 1.
    [[nodiscard]] static constexpr auto from(std::span<const IdExtent> extents) noexcept
        -> Result<IdMap> {
        Subject subject;
        const Reason broken = detail::broken_rule(extents, subject);
        if (broken != Reason::system) {
            return Unexpected{Error{Step::check_plan, broken, 0, subject}};
        }
        IdMap map;
        map.assign(extents);
        return map;
    }

    /// Whether this is none().
    [[nodiscard]] constexpr auto empty() const noexcept -> bool { return size_ == 0; }

    [[nodiscard]] constexpr auto extents() const noexcept -> std::span<const IdExtent> {
        return {extents_.data(), size_};
    }

    /// Whether id `inside` of the user namespace is mapped.
    [[nodiscard]] constexpr auto maps(std::uint32_t inside) const noexcept -> bool {
        for (const IdExtent& e : extents()) {
            if (inside >= e.inside && inside - e.inside < e.count) {
                return true;
            }
        }
        return false;
    }

    constexpr IdMap(const IdMap& other) noexcept { assign(other.extents()); }

    constexpr auto operator=(const IdMap& other) noexcept -> IdMap& {
        if (this != &other) {
            assign(other.extents());
        }
        return *this;
    }

    constexpr ~IdMap() = default;

    [[nodiscard]] friend constexpr auto operator==(const IdMap& a, const IdMap& b) noexcept
        -> bool {
        return detail::equal(a.extents(), b.extents());
    }

  private:
    constexpr IdMap() noexcept = default;

    // Copies no more than the extents in use: a full map is 4 KiB.
    constexpr void assign(std::span<const IdExtent> extents) noexcept {
        size_ = extents.size();
        for (std::size_t i = 0; i < size_; ++i) {
            extents_[i] = extents[i];
        }
    }

    std::array<IdExtent, id_map_capacity> extents_{};
    std::size_t size_ = 0;
};

/// What setgroups(2) is to be in a new user namespace. See user_namespaces(7).
enum class Setgroups : std::uint8_t {
    /// Denied where the kernel asks for it (a single gid, mapped without CAP_SETGID), else allowed.
    automatic,
    allow,
    deny,
};

/// A new user namespace: its id maps, one of which may be IdMap::none(), and its setgroups policy.
struct NewUser {
    IdMap uids;
    IdMap gids;
    Setgroups setgroups = Setgroups::automatic;

    [[nodiscard]] friend auto operator==(const NewUser&, const NewUser&) noexcept -> bool = default;
};

} // namespace nsjoin

#endif // NSJOIN_ID_MAP_HPP
