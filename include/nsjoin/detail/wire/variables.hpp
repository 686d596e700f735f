// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_VARIABLES_HPP
#define NSJOIN_DETAIL_WIRE_VARIABLES_HPP

#include <nsjoin/bootstrap/message.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/detail/wire/log.hpp>

#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <sys/auxv.h>

// What a supervisor says in the environment.

namespace nsjoin::inline v0_1::detail {

/// A variable of the supervisor's. Null if it is not set, or empty, which is the same to every
/// supervisor of runc's; and in a program that got rights by its execution (set-user-ID,
/// capabilities of the file), whose environment is that of somebody with fewer. getauxval(3)
/// AT_SECURE.
[[nodiscard]] inline auto variable(const char* name) noexcept -> const char* {
    const char* const value = ::getenv(name); // NOLINT(concurrency-mt-unsafe): only read
    return value == nullptr || *value == '\0' || ::getauxval(AT_SECURE) != 0 ? nullptr : value;
}

/// A number that is decimal, with nothing before or after it, and no 0 too many.
[[nodiscard]] inline auto is_plain_number(std::string_view text, int& number) noexcept -> bool {
    const bool plain = !text.empty() && text.front() >= '0' && text.front() <= '9' &&
                       (text.front() != '0' || text.size() == 1);
    return plain && parse_number(text, number);
}

/// A descriptor's number in a variable.
[[nodiscard]] inline auto parse_descriptor(std::string_view name, std::string_view text) noexcept
    -> Result<BorrowedFd> {
    int number = -1;
    if (!is_plain_number(text, number)) {
        return broken(name, "is no descriptor number");
    }
    const long flags = call(SYS_fcntl, number, F_GETFD, 0);
    if (flags < 0) {
        auto error = fail(Step::read_bootstrap, static_cast<int>(-flags), name);
        error.error().subject.append("=").append(text);
        return error;
    }
    return BorrowedFd{number};
}

/// The log that the environment names.
[[nodiscard]] inline auto open_log() noexcept -> Result<Log> {
    constexpr const char* pipe_name = "_LIBCONTAINER_LOGPIPE";
    constexpr const char* level_name = "_LIBCONTAINER_LOGLEVEL";
    const char* const number = variable(pipe_name);
    if (number == nullptr) {
        return Log{};
    }
    const Result<BorrowedFd> pipe = parse_descriptor(pipe_name, number);
    if (!pipe) {
        return Unexpected{pipe.error()};
    }
    int level = static_cast<int>(LogLevel::debug);
    const char* const wanted = variable(level_name);
    if (wanted != nullptr && (!parse_number(wanted, level) || level < 0)) {
        return broken(level_name, "is no level");
    }
    return Log{*pipe, level};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_VARIABLES_HPP
