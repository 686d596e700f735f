// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONSOLE_HPP
#define NSJOIN_CONSOLE_HPP

#include <nsjoin/controlling_terminal.hpp>
#include <nsjoin/pty.hpp>

namespace nsjoin::inline v0_1 {

/// A pseudoterminal pair: the master, which stays outside, and the peer, which becomes the console
/// of a child. pty(7).
struct Console {
    PtyMaster master;
    PtyPeer peer;

    /// Makes a pair. The peer comes from the master (TIOCGPTPEER), never from a path, so that
    /// nobody can put another file in its place. Errors: those of PtyMaster::open and open_peer.
    [[nodiscard]] static auto open() noexcept -> Result<Console> { return of(PtyMaster::open()); }

    /// Makes a pair in the devpts file system whose root directory that is: a container's, in which
    /// the terminal has its name. Errors: those of PtyMaster::open_in and open_peer.
    [[nodiscard]] static auto open_in(BorrowedFd devpts_dir) noexcept -> Result<Console> {
        return of(PtyMaster::open_in(devpts_dir));
    }

  private:
    [[nodiscard]] static auto of(Result<PtyMaster> master) noexcept -> Result<Console> {
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

} // namespace nsjoin

#endif // NSJOIN_CONSOLE_HPP
