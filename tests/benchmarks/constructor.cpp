// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/constructor.hpp>

// A program that runs our constructor before main.

NSJOIN_CONSTRUCTOR(.dialect = nsjoin::Dialect::runc_1_1, .seal = true);

auto main() -> int {
    return 0;
}
