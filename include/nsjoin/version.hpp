// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_VERSION_HPP
#define NSJOIN_VERSION_HPP

#include <nsjoin/detail/kernel/target.hpp>

// A macro, so that #if can ask: 10000 times the major version, 100 times the minor one, the patch.
#define NSJOIN_VERSION 100          // NOLINT(cppcoreguidelines-macro-usage,modernize-macro-to-enum)
#define NSJOIN_VERSION_TEXT "0.1.0" // NOLINT(cppcoreguidelines-macro-usage)

#endif // NSJOIN_VERSION_HPP
