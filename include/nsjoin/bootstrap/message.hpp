// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_MESSAGE_HPP
#define NSJOIN_BOOTSTRAP_MESSAGE_HPP

#include <nsjoin/bootstrap/dialect.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace nsjoin::inline v0_1 {

/// A namespace to join, by path.
struct NamespacePath {
    std::optional<Kind> kind{}; ///< nothing where the dialect does not say it
    std::string_view path{};    ///< absolute

    [[nodiscard]] friend constexpr auto operator==(const NamespacePath&,
                                                   const NamespacePath&) noexcept -> bool = default;
};

/// What a bootstrap message says, its form checked, its paths not opened. A value; its texts are
/// views into the message, or into whatever an encoder is given.
struct BootstrapMessage {
    KindSet created{};
    std::array<NamespacePath, kind_count> joins{}; ///< the first join_count are used
    std::size_t join_count = 0;
    std::string_view console{}; ///< the path of a terminal, or empty
    std::optional<IdMap> uids{};
    std::optional<IdMap> gids{};
    bool setgroups_allowed = false;
    std::optional<int> oom_score_adj{};
    bool rootless = false;            ///< the supervisor has no privileges outside
    std::string_view newuidmap{};     ///< the path of newuidmap(1); empty: it is not used
    std::string_view newgidmap{};     ///< the path of newgidmap(1); empty: it is not used
    std::string_view mount_sources{}; ///< paths, each ended by NUL, an empty one for no path
    std::optional<TimeOffsets> time_offsets{};

    [[nodiscard]] auto namespaces() const noexcept -> std::span<const NamespacePath> {
        return {joins.data(), join_count};
    }

    [[nodiscard]] friend auto operator==(const BootstrapMessage&, const BootstrapMessage&) noexcept
        -> bool = default;
};

namespace detail {

[[nodiscard]] inline auto broken(std::string_view what, std::string_view why,
                                 Reason reason = Reason::bad_message) noexcept -> Unexpected {
    auto error = fail(Step::read_bootstrap, reason, what);
    error.error().subject.append(": ").append(why);
    return error;
}

/// The same, about a line or an item of a list, from 1.
[[nodiscard]] inline auto broken(std::string_view what, std::string_view part, std::size_t number,
                                 std::string_view why) noexcept -> Unexpected {
    auto error = fail(Step::read_bootstrap, Reason::bad_message, what);
    error.error().subject.append(": ").append(part).append(" ");
    error.error().subject.append(static_cast<std::int64_t>(number)).append(" ").append(why);
    return error;
}

[[nodiscard]] inline auto check_path(std::string_view what, std::string_view path) noexcept
    -> Result<void> {
    if (path.empty()) {
        return broken(what, "is empty");
    }
    if (path.front() != '/') {
        return broken(what, "is not absolute");
    }
    if (path.size() > path_capacity) {
        return broken(what, "is longer than 4095 bytes");
    }
    return {};
}

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_MESSAGE_HPP
