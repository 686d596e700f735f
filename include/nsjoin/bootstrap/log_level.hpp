// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_LOG_LEVEL_HPP
#define NSJOIN_BOOTSTRAP_LOG_LEVEL_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <cstdint>

namespace nsjoin::inline v0_1 {

/// How important a log line is, with the numbers of logrus.
enum class LogLevel : std::uint8_t { panic, fatal, error, warning, info, debug, trace };

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_LOG_LEVEL_HPP
