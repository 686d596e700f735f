// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_RELAY_TYPING_HPP
#define NSJOIN_DETAIL_RELAY_TYPING_HPP

#include <nsjoin/console.hpp>
#include <nsjoin/detail/relay/flow.hpp>

#include <algorithm>
#include <cstddef>
#include <poll.h>
#include <span>
#include <termios.h>
#include <unistd.h>

// How a relay types what its standard input says.

namespace nsjoin::inline v0_1::detail {

/// The line that a terminal keeps while it is edited, as far as it was typed. The kernel keeps 4095
/// bytes of it, and drops what is more. The key for the end of the file makes the reader have what
/// is there, and is no end then; n_tty.c.
class UnendedLine {
  public:
    /// A longer line is handed over in pieces; what is left to 4095 is for keys.
    static constexpr std::size_t most = 4000;

    struct Fit {
        std::size_t count; ///< how many bytes may be typed
        bool full;         ///< after them, the line has to be handed over
    };

    /// One byte at least, so that the line is not empty, whoever took from it what was typed
    /// before.
    [[nodiscard]] auto fit(std::span<const char> bytes, const termios& mode) const -> Fit {
        UnendedLine after = *this;
        for (std::size_t count = 1; count <= bytes.size(); ++count) {
            after.type(bytes.subspan(count - 1, 1), mode);
            if (after.is_full(mode)) {
                return {count, true};
            }
        }
        return {bytes.size(), false};
    }

    void type(std::span<const char> bytes, const termios& mode) {
        for (const char c : bytes) {
            const bool quoted = static_cast<cc_t>(last_) == mode.c_cc[VLNEXT];
            length_ = c == '\n' && !quoted ? 0 : length_ + 1;
            last_ = c;
        }
    }

    /// Only after a byte that is no key, and so is in the line: on an empty one, the key for the
    /// end of the file is that.
    [[nodiscard]] auto is_full(const termios& mode) const -> bool {
        return length_ >= most && mode.c_cc[VEOF] != _POSIX_VDISABLE && !is_key(last_, mode);
    }

  private:
    [[nodiscard]] static auto is_key(char c, const termios& mode) -> bool {
        const std::span keys{mode.c_cc};
        const bool set = std::find(keys.begin(), keys.end(), static_cast<cc_t>(c)) != keys.end();
        return c == '\n' || c == '\r' || (set && static_cast<cc_t>(c) != _POSIX_VDISABLE);
    }

    std::size_t length_ = 0; ///< or less: keys count, and what was taken without an end
    char last_ = '\n';
};

/// Types into a terminal what comes from a descriptor. From a terminal, as it comes; from anything
/// else, so that all of it arrives, and its end.
class Typing {
  public:
    Typing(BorrowedFd from, const Console& console)
        : flow_{from, console.master.fd()},
          master_{console.master.fd()},
          peer_{console.peer.fd()},
          by_a_user_{is_terminal(from)} {}

    [[nodiscard]] auto wants_to_read() const -> pollfd { return flow_.wants_to_read(); }

    [[nodiscard]] auto wants_to_write() const -> pollfd {
        return pause_ == 0 ? flow_.wants_to_write() : pollfd{-1, 0, 0};
    }

    /// How long poll(2) may wait: no event tells that a reader has taken what was typed.
    [[nodiscard]] auto patience() const -> int {
        return pause_ != 0 ? pause_ : flow_.ended() ? 100 : -1;
    }

    void move(const pollfd& from, const pollfd& to) {
        if (from.revents != 0) {
            flow_.take();
        }
        if (to.revents != 0 || pause_ != 0) {
            give();
        }
    }

    /// Nothing more will come, and all that came is typed.
    [[nodiscard]] auto ended() const -> bool { return flow_.ended() && flow_.rest().empty(); }

    [[nodiscard]] auto by_a_user() const -> bool { return by_a_user_; }

    /// A terminal knows no end of file but the key for it, and that only where a line is edited, by
    /// the kernel or by the program that reads. It is typed when all before has been read, and
    /// again for each reader: a program that changes the terminal's mode loses what was typed.
    void type_end_of_file() {
        const termios mode = mode_now();
        if (!is_unread() && (mode.c_lflag & (ICANON | ISIG)) != 0) {
            (void)type_end_key(mode);
        }
    }

  private:
    void give() {
        if (by_a_user_) {
            flow_.give();
            return;
        }
        const bool unread = is_unread();
        const termios mode = mode_now();
        const bool edited = (mode.c_lflag & ICANON) != 0;
        const auto [count, full] =
            edited ? line_.fit(flow_.rest(), mode) : UnendedLine::Fit{UnendedLine::most, false};
        // A program that changes the mode finds what is unread in the other one: the key is a byte
        // then, or the line too long. So no more than the terminal keeps is on its way.
        if ((full || !edited) && unread) {
            pause_ = std::clamp(2 * pause_, 1, 32);
            return;
        }
        pause_ = 0;
        // Counted in either mode, for it may have changed since it was asked for.
        line_.type(flow_.give(count), mode);
        if (edited && line_.is_full(mode) && type_end_key(mode)) {
            line_ = {};
        }
    }

    [[nodiscard]] auto type_end_key(const termios& mode) const -> bool {
        return ::write(master_.get(), &mode.c_cc[VEOF], 1) == 1;
    }

    [[nodiscard]] auto is_unread() const -> bool {
        pollfd unread{peer_.get(), POLLIN, 0};
        return poll(&unread, 1, 0) != 0;
    }

    [[nodiscard]] auto mode_now() const -> termios {
        termios mode{};
        tcgetattr(peer_.get(), &mode);
        return mode;
    }

    Flow flow_;
    BorrowedFd master_;
    BorrowedFd peer_;
    bool by_a_user_;
    UnendedLine line_{};
    int pause_ = 0; ///< in milliseconds; not 0 while the reader has to read first
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_RELAY_TYPING_HPP
