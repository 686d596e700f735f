// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_CLOCK_HPP
#define NSJOIN_DETAIL_KERNEL_CLOCK_HPP

#include <nsjoin/duration.hpp>

#include <ctime>

namespace nsjoin::inline v0_1::detail {

inline constexpr std::int64_t nanoseconds_per_second = 1'000'000'000;

/// A span as the kernel's files and timespec have it.
struct SecondsAndRest {
    std::int64_t seconds;
    std::int64_t nanoseconds; ///< 0 to 10^9 - 1
};

[[nodiscard]] constexpr auto split(Duration span) noexcept -> SecondsAndRest {
    const std::int64_t rest = span.count() % nanoseconds_per_second;
    const std::int64_t borrowed = rest < 0 ? 1 : 0;
    return {span.count() / nanoseconds_per_second - borrowed,
            rest + borrowed * nanoseconds_per_second};
}

/// CLOCK_MONOTONIC, in nanoseconds. clock_gettime(2).
[[nodiscard]] inline auto monotonic_now() noexcept -> std::int64_t {
    timespec now{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * nanoseconds_per_second + now.tv_nsec;
}

/// A moment at which waiting ends, or none.
class Deadline {
  public:
    /// None.
    Deadline() noexcept = default;

    /// In `span` from now; if that is negative, or past the clock's last moment, none.
    explicit Deadline(Duration span) noexcept
        : none_{span.count() < 0 || __builtin_add_overflow(monotonic_now(), span.count(), &end_)} {}

    /// The time that is left; 0 if it has passed, -1 ns if there is none.
    [[nodiscard]] auto left() const noexcept -> Duration {
        if (none_) {
            return Duration::nanoseconds(-1);
        }
        const std::int64_t left = end_ - monotonic_now();
        return Duration::nanoseconds(left < 0 ? 0 : left);
    }

  private:
    std::int64_t end_ = 0;
    bool none_ = true;
};

/// The time-out of ppoll(2) for a wait of `left`; negative means no end.
class PollTimeout {
  public:
    explicit PollTimeout(Duration left) noexcept
        : forever_{left.count() < 0},
          span_{static_cast<std::time_t>(split(left).seconds),
                static_cast<long>(split(left).nanoseconds)} {}

    [[nodiscard]] auto get() const noexcept -> const timespec* {
        return forever_ ? nullptr : &span_;
    }

  private:
    bool forever_;
    timespec span_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_CLOCK_HPP
