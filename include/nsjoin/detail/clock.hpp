// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_CLOCK_HPP
#define NSJOIN_DETAIL_CLOCK_HPP

#include <algorithm>
#include <chrono>
#include <ctime>

namespace nsjoin::detail {

/// CLOCK_MONOTONIC. clock_gettime(2); the clock of <chrono> needs the C++ run-time library.
[[nodiscard]] inline auto monotonic_now() noexcept -> std::chrono::nanoseconds {
    timespec now{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

/// A moment at which waiting ends, or none.
class Deadline {
  public:
    /// None.
    Deadline() noexcept = default;

    /// In `span` from now; if that is negative, none.
    explicit Deadline(std::chrono::milliseconds span) noexcept
        : none_{span < std::chrono::milliseconds{0}} {
        constexpr std::chrono::milliseconds century = std::chrono::hours{24 * 365 * 100};
        end_ = none_ ? end_ : monotonic_now() + std::min(span, century);
    }

    /// The time that is left, rounded up; 0 if it has passed, -1 if there is none.
    [[nodiscard]] auto left() const noexcept -> std::chrono::milliseconds {
        using std::chrono::milliseconds;
        if (none_) {
            return milliseconds{-1};
        }
        return std::max(milliseconds{0}, std::chrono::ceil<milliseconds>(end_ - monotonic_now()));
    }

  private:
    std::chrono::nanoseconds end_{0};
    bool none_ = true;
};

/// The time-out of ppoll(2) for a wait of `left`; negative means no end.
class PollTimeout {
  public:
    explicit PollTimeout(std::chrono::milliseconds left) noexcept
        : forever_{left < std::chrono::milliseconds{0}},
          span_{left.count() / 1000, (left.count() % 1000) * 1'000'000} {}

    [[nodiscard]] auto get() const noexcept -> const timespec* {
        return forever_ ? nullptr : &span_;
    }

  private:
    bool forever_;
    timespec span_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_CLOCK_HPP
