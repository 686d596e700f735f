// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONSOLE_HPP
#define NSJOIN_CONSOLE_HPP

#include <nsjoin/pty.hpp>

namespace nsjoin {

/// A pseudoterminal pair: the master, which stays outside, and the peer, which becomes the console
/// of a child. pty(7).
struct Console {
    PtyMaster master;
    PtyPeer peer;

    /// Makes a pair. The peer comes from the master (TIOCGPTPEER), never from a path, so that
    /// nobody can put another file in its place. Errors: those of PtyMaster::open and open_peer.
    [[nodiscard]] static auto open() noexcept -> Result<Console> {
        Result<PtyMaster> master = PtyMaster::open();
        if (!master) {
            return Unexpected{master.error()};
        }
        Result<PtyPeer> peer = master->open_peer();
        if (!peer) {
            return Unexpected{peer.error()};
        }
        return Console{*std::move(master), *std::move(peer)};
    }
};

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

#endif // NSJOIN_CONSOLE_HPP
