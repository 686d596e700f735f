// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DURATION_HPP
#define NSJOIN_DURATION_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <concepts>
#include <cstdint>
#include <limits>

namespace nsjoin::inline v0_1 {

/// A std::chrono::duration that counts in whole units, known by its shape: its header takes half as
/// long to compile as all of nsjoin, and who has such a value has included it.
template <typename Span>
concept ChronoDuration = std::integral<typename Span::rep> && requires(const Span& span) {
    { span.count() } -> std::convertible_to<std::int64_t>;
    { Span::period::num } -> std::convertible_to<std::int64_t>;
    { Span::period::den } -> std::convertible_to<std::int64_t>;
};

/// A span of time in nanoseconds. Made from every std::chrono::duration of whole units; one that is
/// out of range (292 years) becomes the nearest that is not. A value, comparable.
class Duration {
  public:
    /// None: 0.
    constexpr Duration() noexcept = default;

    template <ChronoDuration Span>
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same span
    constexpr Duration(const Span& span) noexcept
        : count_{scaled(static_cast<std::int64_t>(span.count()), Span::period::num,
                        Span::period::den)} {}

    [[nodiscard]] static constexpr auto nanoseconds(std::int64_t count) noexcept -> Duration {
        Duration result;
        result.count_ = count;
        return result;
    }

    [[nodiscard]] static constexpr auto milliseconds(std::int64_t count) noexcept -> Duration {
        return nanoseconds(scaled(count, 1, 1000));
    }

    [[nodiscard]] static constexpr auto seconds(std::int64_t count) noexcept -> Duration {
        return nanoseconds(scaled(count, 1, 1));
    }

    /// How many nanoseconds.
    [[nodiscard]] constexpr auto count() const noexcept -> std::int64_t { return count_; }

    [[nodiscard]] friend constexpr auto operator==(Duration, Duration) noexcept -> bool = default;

    [[nodiscard]] friend constexpr auto operator<(Duration a, Duration b) noexcept -> bool {
        return a.count_ < b.count_;
    }

  private:
    static constexpr std::int64_t per_second = 1'000'000'000;

    /// `count` units of num/den seconds, in nanoseconds, rounded towards zero.
    [[nodiscard]] static constexpr auto scaled(std::int64_t count, std::int64_t num,
                                               std::int64_t den) noexcept -> std::int64_t {
        if (den > per_second) {
            return count / (den / per_second) * num;
        }
        std::int64_t result = 0;
        if (__builtin_mul_overflow(count, per_second / den * num, &result)) {
            return count < 0 ? std::numeric_limits<std::int64_t>::min()
                             : std::numeric_limits<std::int64_t>::max();
        }
        return result;
    }

    std::int64_t count_ = 0;
};

} // namespace nsjoin

#endif // NSJOIN_DURATION_HPP
