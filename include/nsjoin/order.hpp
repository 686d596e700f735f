// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_ORDER_HPP
#define NSJOIN_ORDER_HPP

#include <nsjoin/constraints.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace nsjoin::inline v0_1 {

namespace detail {

/// The constraints as the sort reads them, which has no use for the reasons: for each of the first
/// N steps a set with a bit for each step that it waits for, and what holds only sometimes.
template <std::size_t N, std::size_t Count>
struct Waits {
    static_assert(N <= 128, "nsjoin: a set of steps has a bit for each");

    struct Sometimes {
        std::uint8_t before = 0;
        std::uint8_t after = 0;
        When when = When::always;
    };

    std::array<StepBits, N> always{};
    std::array<Sometimes, Count> sometimes{};
};

[[nodiscard]] constexpr auto step_bit(std::size_t step) noexcept -> StepBits {
    return StepBits{1} << step;
}

template <std::size_t N, const auto& Constraints>
[[nodiscard]] consteval auto waits_of() noexcept {
    constexpr std::size_t count = [] {
        std::size_t sum = 0;
        for (const Constraint& c : Constraints) {
            sum += c.when != When::always ? 1U : 0U;
        }
        return sum;
    }();
    Waits<N, count> result;
    std::size_t next = 0;
    for (const Constraint& c : Constraints) {
        if (c.when == When::always) {
            result.always[static_cast<std::size_t>(c.after)] |=
                step_bit(static_cast<std::size_t>(c.before));
        } else {
            result.sometimes[next++] = {static_cast<std::uint8_t>(c.before),
                                        static_cast<std::uint8_t>(c.after), c.when};
        }
    }
    return result;
}

template <std::size_t N>
struct Sorted {
    std::array<Step, N> steps{};
    bool contradiction = false;
};

/// Topological sort of the first N steps under the circumstances; among those that are free, the
/// one that stands first in the enum. `contradiction` tells that the constraints form a cycle.
template <std::size_t N, std::size_t Count>
[[nodiscard]] constexpr auto sort_steps(const Waits<N, Count>& waits, When circumstances) noexcept
    -> Sorted<N> {
    std::array<StepBits, N> waits_for = waits.always;
    for (const auto& c : waits.sometimes) {
        if (holds(c.when, circumstances)) {
            waits_for[c.after] |= step_bit(c.before);
        }
    }
    Sorted<N> result;
    StepBits done = 0;
    std::size_t first = 0; // all before it are done
    for (Step& place : result.steps) {
        while ((done & step_bit(first)) != 0) {
            ++first;
        }
        std::size_t pick = first;
        while (pick < N && ((done & step_bit(pick)) != 0 || (waits_for[pick] & ~done) != 0)) {
            ++pick;
        }
        if (pick == N) {
            result.contradiction = true;
            return result;
        }
        place = static_cast<Step>(pick);
        done |= step_bit(pick);
    }
    return result;
}

/// The order of the first N steps; constraints that contradict each other do not compile.
template <std::size_t N, const auto& Constraints, When Circumstances>
[[nodiscard]] consteval auto ordered() noexcept -> std::array<Step, N> {
    constexpr auto sorted = sort_steps(waits_of<N, Constraints>(), Circumstances);
    static_assert(!sorted.contradiction,
                  "nsjoin: the ordering constraints contradict each other: no order satisfies all");
    return sorted.steps;
}

inline constexpr auto plan_waits = waits_of<plan_step_count, constraints>();

} // namespace detail

/// Every step a plan can have, in the order in which they are done where a joiner does what the
/// first process does: the topological sort of the constraints.
[[nodiscard]] constexpr auto order(UserRights rights) noexcept
    -> std::array<Step, plan_step_count> {
    return detail::sort_steps(detail::plan_waits, circumstances(rights)).steps;
}

/// The kinds in the order in which they are joined.
[[nodiscard]] constexpr auto join_order(UserRights rights) noexcept
    -> std::array<Kind, kind_count> {
    std::array<Kind, kind_count> result{};
    std::size_t next = 0;
    for (const Step step : order(rights)) {
        if (is_join(step)) {
            result[next++] = join_kind(step);
        }
    }
    return result;
}

namespace detail {

static_assert(!sort_steps(plan_waits, circumstances(UserRights::taken)).contradiction,
              "nsjoin: the ordering constraints contradict each other: no order satisfies all");

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_ORDER_HPP
