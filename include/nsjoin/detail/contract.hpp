// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_CONTRACT_HPP
#define NSJOIN_DETAIL_CONTRACT_HPP

#include <cstdlib>

namespace nsjoin::detail {

/// GSL's Expects for the rooms below the constructor: ends the program if the precondition is
/// broken, without std::terminate, which a program linked as C or Go does not have.
constexpr void expect(bool precondition) noexcept {
    if (!precondition) {
        std::abort();
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_CONTRACT_HPP
