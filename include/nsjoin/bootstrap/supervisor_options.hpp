// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_SUPERVISOR_OPTIONS_HPP
#define NSJOIN_BOOTSTRAP_SUPERVISOR_OPTIONS_HPP

#include <nsjoin/bootstrap/dialect.hpp>
#include <nsjoin/bootstrap/log_level.hpp>
#include <nsjoin/duration.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nsjoin::inline v0_1 {

/// How an embedding program is started.
struct SupervisorOptions {
    Dialect dialect = Dialect::runc_1_2;         ///< the one that its constructor speaks
    std::string program = "/proc/self/exe";      ///< its path
    std::vector<std::string> arguments{"embed"}; ///< all of them, its name the first
    LogLevel log_level = LogLevel::warning;      ///< the least important that is wanted
    Duration deadline{};                         ///< until the child is ready; zero: none

    /// "NAME=value" each. If nothing is said, the caller's. The dialects' own are set anew.
    std::optional<std::vector<std::string>> environment{};

    /// Start the program sealed, so that it need not execute itself again for that, which is half
    /// of the time that it takes. To be set as the program's own option of that name; if nothing is
    /// said, as the dialect has it. Where it can't be done (before Linux 5.12, without
    /// CAP_SYS_ADMIN, for a script, or a program that is set-user-ID or has capabilities), the
    /// program is started by its path, and seals itself.
    std::optional<bool> seal{};

    void (*log)(LogLevel level, std::string_view text) = nullptr; ///< gets each line, if not null
};

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_SUPERVISOR_OPTIONS_HPP
