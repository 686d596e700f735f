// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONTROLLING_TERMINAL_HPP
#define NSJOIN_CONTROLLING_TERMINAL_HPP

#include <nsjoin/fd.hpp>

#include <sys/ioctl.h>

namespace nsjoin::inline v0_1 {

/// Makes `terminal` the controlling terminal of the calling process, which must lead a session
/// that has none, and its standard input, output and error. ioctl_tty(2) TIOCSCTTY, dup(2).
/// Async-signal-safe. Errors: EPERM if the terminal is another session's, or the process leads no
/// session or has a terminal.
[[nodiscard]] inline auto take_console(BorrowedFd terminal) noexcept -> Result<void> {
    long result = detail::call(SYS_ioctl, terminal.get(), TIOCSCTTY, 0);
    for (int standard = 0; result >= 0 && standard <= 2; ++standard) {
        // dup3 refuses two equal numbers; that descriptor then has to lose its close-on-exec flag.
        result = terminal.get() == standard
                     ? detail::call(SYS_fcntl, standard, F_SETFD, 0)
                     : detail::call_again(SYS_dup3, terminal.get(), standard, 0);
    }
    if (result < 0) {
        return detail::fail(Step::set_console, static_cast<int>(-result));
    }
    return {};
}

} // namespace nsjoin

#endif // NSJOIN_CONTROLLING_TERMINAL_HPP
