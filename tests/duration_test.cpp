// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/duration.hpp>

#include <nsjoin/detail/kernel/clock.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <limits>

using namespace std::chrono_literals;
using nsjoin::Duration;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();

/// A duration by its shape alone.
struct Fortnights {
    using rep = int;                      // NOLINT(readability-identifier-naming)
    using period = std::ratio<1'209'600>; // NOLINT(readability-identifier-naming)
    int value;

    [[nodiscard]] constexpr auto count() const noexcept -> int { return value; }
};

} // namespace

TEST_CASE("a duration is made from every std::chrono::duration of whole units") {
    static_assert(Duration{5ns}.count() == 5);
    static_assert(Duration{5us}.count() == 5'000);
    static_assert(Duration{-1500ms}.count() == -1'500'000'000);
    static_assert(Duration{2s} == Duration::seconds(2));
    static_assert(Duration{3min} == Duration::seconds(180));
    static_assert(Duration{1h} == Duration::milliseconds(3'600'000));
    static_assert(Duration{Fortnights{1}} == Duration::seconds(1'209'600));
    static_assert(Duration{std::chrono::duration<long, std::pico>{1999}}.count() == 1);
    static_assert(!std::is_constructible_v<Duration, std::chrono::duration<double>>);
    static_assert(!std::is_constructible_v<Duration, int>);
    static_assert(std::is_trivially_copyable_v<Duration>);
    CHECK(Duration{} == Duration{0s});
    CHECK(Duration{1ns} < Duration{1us});
}

TEST_CASE("a duration that is out of range becomes the nearest that is not") {
    static_assert(Duration{std::chrono::hours{24 * 365 * 300}}.count() == most);
    static_assert(Duration{-std::chrono::hours{24 * 365 * 300}}.count() == least);
    static_assert(Duration::seconds(most).count() == most);
    CHECK(Duration::milliseconds(least).count() == least);
}

TEST_CASE("a duration as the kernel has it: nanoseconds are never negative") {
    const auto parts = nsjoin::detail::split(Duration{-1500ms});
    CHECK(parts.seconds == -2);
    CHECK(parts.nanoseconds == 500'000'000);
    const auto whole = nsjoin::detail::split(Duration{-3s});
    CHECK(whole.seconds == -3);
    CHECK(whole.nanoseconds == 0);
    const auto positive = nsjoin::detail::split(Duration{2500ms});
    CHECK(positive.seconds == 2);
    CHECK(positive.nanoseconds == 500'000'000);
}

TEST_CASE("a deadline that is past the clock's end is none") {
    using nsjoin::detail::Deadline;
    CHECK(Deadline{}.left().count() < 0);
    CHECK(Deadline{Duration::nanoseconds(-1)}.left().count() < 0);
    CHECK(Deadline{Duration::nanoseconds(most)}.left().count() < 0);
    CHECK(Deadline{Duration{}}.left().count() == 0);
    const std::int64_t left = Deadline{1h}.left().count();
    CHECK(left > Duration{59min}.count());
    CHECK(left <= Duration{1h}.count());
}
