// SPDX-License-Identifier: Apache-2.0
// The names of signals, as unshare(1) takes them.
#ifndef EXAMPLES_SUPPORT_SIGNAL_NAMES_HPP
#define EXAMPLES_SUPPORT_SIGNAL_NAMES_HPP

#include "options.hpp"

#include <array>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace examples {

/// A real-time signal: RTMIN, RTMIN+N, RTMAX or RTMAX-N.
[[nodiscard]] inline auto parse_real_time(const char* name) -> std::optional<int> {
    const bool from_first = strncasecmp(name, "RTMIN", 5) == 0;
    if (!from_first && strncasecmp(name, "RTMAX", 5) != 0) {
        return std::nullopt;
    }
    const int base = from_first ? SIGRTMIN : SIGRTMAX;
    if (name[5] == '\0') {
        return base;
    }
    const auto distance = parse_number(name + 6, static_cast<std::uint64_t>(SIGRTMAX - SIGRTMIN));
    if (!distance || name[5] != (from_first ? '+' : '-')) {
        return std::nullopt;
    }
    return base + (from_first ? 1 : -1) * static_cast<int>(*distance);
}

/// A signal by name, with or without SIG, in either case; or by number.
[[nodiscard]] inline auto parse_signal(const char* text) -> std::optional<int> {
    constexpr std::array<std::pair<const char*, int>, 3> other_names{
        {{"IOT", SIGABRT}, {"CLD", SIGCHLD}, {"IO", SIGPOLL}}};
    const char* const name = text + (strncasecmp(text, "SIG", 3) == 0 ? 3 : 0);
    if (const auto number = parse_real_time(name)) {
        return *number;
    }
    for (const auto& [known, number] : other_names) {
        if (strcasecmp(known, name) == 0) {
            return number;
        }
    }
    for (int number = 1; number < NSIG; ++number) {
        const char* known = sigabbrev_np(number);
        if ((known != nullptr && strcasecmp(known, name) == 0) || text == std::to_string(number)) {
            return number;
        }
    }
    return std::nullopt;
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_SIGNAL_NAMES_HPP
