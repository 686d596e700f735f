// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/version.hpp>

#include <string_view>

// The number and the text are of one version.

namespace {

constexpr auto number_of(std::string_view text) -> int {
    int number = 0;
    int part = 0;
    for (const char c : text) {
        number = c == '.' ? (number + part) * 100 : number;
        part = c == '.' ? 0 : part * 10 + (c - '0');
    }
    return number + part;
}

} // namespace

static_assert(number_of(NSJOIN_VERSION_TEXT) == NSJOIN_VERSION);
static_assert(number_of("1.23.4") == 12304);
