// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_CONTRACT_HPP
#define NSJOIN_DETAIL_KERNEL_CONTRACT_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <cstdlib>
#include <string_view>
#include <unistd.h>

namespace nsjoin::inline v0_1::detail {

/// Ends the program, with a line on standard error that says what was broken, and of what.
[[noreturn, gnu::cold]] inline void give_up(std::string_view why, std::string_view what = {},
                                            std::string_view where = {}) noexcept {
    for (const std::string_view part :
         {std::string_view{"nsjoin: "}, why, what, where, std::string_view{"\n"}}) {
        if (::write(STDERR_FILENO, part.data(), part.size()) < 0) {
            break;
        }
    }
    std::abort();
}

/// GSL's Expects for the rooms below the constructor: ends the program if the precondition is
/// broken, without std::terminate, which a program linked as C or Go does not have. `rule` is what
/// it says then.
constexpr void expect(bool precondition, std::string_view rule) noexcept {
    if (!precondition) {
        give_up(rule);
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_CONTRACT_HPP
