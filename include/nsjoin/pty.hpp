// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PTY_HPP
#define NSJOIN_PTY_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/fd.hpp>

#include <cstdint>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <utility>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

namespace nsjoin::inline v0_1 {

namespace detail {

[[nodiscard]] inline auto terminal_error(Step step, long result,
                                         std::string_view subject = {}) noexcept -> Unexpected {
    if (result == -ENOTTY) {
        return fail(step, Reason::not_a_terminal, subject);
    }
    return fail(step, static_cast<int>(-result), subject);
}

/// tcgetattr(3) as the other calls here: 0 or -errno.
[[nodiscard]] inline auto get_mode(BorrowedFd terminal, termios& mode) noexcept -> long {
    return ::tcgetattr(terminal.get(), &mode) == 0 ? 0 : -static_cast<long>(errno);
}

[[nodiscard]] inline auto set_mode(BorrowedFd terminal, const termios& mode) noexcept -> long {
    long result = 0;
    do {
        // Not TCSADRAIN: it waits for as long as the other side does not read.
        result = ::tcsetattr(terminal.get(), TCSANOW, &mode) == 0 ? 0 : -static_cast<long>(errno);
    } while (result == -EINTR);
    return result;
}

// major() and minor() of <sys/sysmacros.h> are macros, which would be every includer's as well.

[[nodiscard]] constexpr auto device_major(std::uint64_t device) noexcept -> std::uint64_t {
    return (device >> 32U & 0xFFFF'F000U) | (device >> 8U & 0xFFFU);
}

[[nodiscard]] constexpr auto device_minor(std::uint64_t device) noexcept -> std::uint64_t {
    return (device >> 12U & 0xFFFF'FF00U) | (device & 0xFFU);
}

/// Whether the open file, which may be one with O_PATH, is the ptmx of a devpts. pts(4).
[[nodiscard]] inline auto is_ptmx(BorrowedFd file) noexcept -> bool {
    struct stat facts {};

    return lies_on(file, devpts_super_magic) && ::fstat(file.get(), &facts) == 0 &&
           S_ISCHR(facts.st_mode) && device_major(facts.st_rdev) == 5 &&
           device_minor(facts.st_rdev) == 2;
}

} // namespace detail

/// Whether the descriptor is a terminal. isatty(3).
[[nodiscard]] inline auto is_terminal(BorrowedFd fd) noexcept -> bool {
    const detail::ErrnoKeeper keep_errno;
    termios mode{};
    return detail::get_mode(fd, mode) == 0;
}

/// The size of a terminal's window, in characters, and in pixels where somebody cares; 0 where
/// nobody said. ioctl_tty(2).
struct WindowSize {
    std::uint16_t rows = 0;
    std::uint16_t columns = 0;
    std::uint16_t x_pixels = 0;
    std::uint16_t y_pixels = 0;

    [[nodiscard]] friend constexpr auto operator==(WindowSize, WindowSize) noexcept
        -> bool = default;
};

/// The window size of a terminal, master or peer: the two have one. ioctl_tty(2) TIOCGWINSZ.
/// Errors: not_a_terminal, EBADF.
[[nodiscard]] inline auto window_size(BorrowedFd terminal) noexcept -> Result<WindowSize> {
    winsize size{};
    const long result = detail::call(SYS_ioctl, terminal.get(), TIOCGWINSZ, &size);
    if (result < 0) {
        return detail::terminal_error(Step::window_size, result);
    }
    return WindowSize{size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel};
}

/// Sets it; if it differs, the terminal's foreground processes get SIGWINCH.
/// ioctl_tty(2) TIOCSWINSZ. Errors: not_a_terminal, EBADF.
[[nodiscard]] inline auto set_window_size(BorrowedFd terminal, WindowSize size) noexcept
    -> Result<void> {
    const winsize raw{size.rows, size.columns, size.x_pixels, size.y_pixels};
    const long result = detail::call(SYS_ioctl, terminal.get(), TIOCSWINSZ, &raw);
    if (result < 0) {
        return detail::terminal_error(Step::window_size, result);
    }
    return {};
}

/// The inner side of a pseudoterminal, which a shell takes for its terminal. Owns a descriptor with
/// close-on-exec. Move-only. pty(7).
class [[nodiscard]] PtyPeer {
  public:
    /// Takes a descriptor from elsewhere, and closes it if it is no terminal. It may be any
    /// terminal; its close-on-exec flag stays as it is. Errors: not_a_terminal, EBADF.
    [[nodiscard]] static auto adopt(OwnedFd fd) noexcept -> Result<PtyPeer> {
        termios mode{};
        const long result = detail::get_mode(fd, mode);
        if (result < 0) {
            return detail::terminal_error(Step::open_peer, result);
        }
        return PtyPeer{std::move(fd)};
    }

    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd { return fd_.borrow(); }

    auto fd() && -> BorrowedFd = delete;

    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] auto release() noexcept -> OwnedFd { return std::move(fd_); }

  private:
    friend class PtyMaster;

    explicit PtyPeer(OwnedFd fd) noexcept : fd_{std::move(fd)} {}

    OwnedFd fd_;
};

/// The outer side of a pseudoterminal, which a terminal emulator or a runtime holds. Owns a
/// descriptor with close-on-exec. Move-only. When it is closed, the peer is hung up. pty(7).
class [[nodiscard]] PtyMaster {
  public:
    /// Makes a pseudoterminal of the caller's devpts, unlocked. It becomes nobody's controlling
    /// terminal. open(2) of /dev/ptmx, ioctl_tty(2) TIOCGPTN, TIOCSPTLCK.
    /// Errors: not_a_terminal if /dev/ptmx is something else; ENOSPC if there are too many.
    [[nodiscard]] static auto open() noexcept -> Result<PtyMaster> {
        constexpr const char* path = "/dev/ptmx";
        auto fd = detail::open_owned(Step::open_pty, AT_FDCWD, path, O_RDWR | O_NOCTTY);
        if (!fd) {
            return Unexpected{fd.error()};
        }
        return verified(*std::move(fd), path);
    }

    /// Makes one in the devpts file system whose root directory that is (it may be O_PATH): a
    /// container's, say. Otherwise as open(). Errors: also bad_value if it is no devpts; EACCES
    /// where that is mounted with ptmxmode=000; not_procfs.
    [[nodiscard]] static auto open_in(BorrowedFd devpts_dir) noexcept -> Result<PtyMaster> {
        if (!detail::lies_on(devpts_dir, detail::devpts_super_magic)) {
            return detail::fail(Step::open_pty, Reason::bad_value, "the directory is no devpts");
        }
        // What a container has mounted in its place must not be opened: that alone may do
        // something.
        const auto found =
            detail::open_owned(Step::open_pty, devpts_dir.get(), "ptmx", O_PATH | O_NOFOLLOW);
        if (!found) {
            return Unexpected{found.error()};
        }
        if (!detail::is_ptmx(*found)) {
            return detail::fail(Step::open_pty, Reason::not_a_terminal, "ptmx");
        }
        auto fd = detail::reopen(Step::open_pty, *found, O_RDWR | O_NOCTTY, "ptmx");
        if (!fd) {
            return Unexpected{fd.error()};
        }
        return verified(*std::move(fd), "ptmx");
    }

    /// Takes a master from elsewhere, unlocks it, and closes it if it is none. Its close-on-exec
    /// flag stays as it is. Errors: not_a_terminal, EBADF.
    [[nodiscard]] static auto adopt(OwnedFd fd) noexcept -> Result<PtyMaster> {
        return verified(std::move(fd), {});
    }

    /// Opens the peer; it becomes nobody's controlling terminal. ioctl_tty(2) TIOCGPTPEER (Linux
    /// 4.13), which no path can deceive; before, or where a filter denies it, open(2) of
    /// /dev/pts/N, after that is verified to be peer N of a devpts, the master's own where the
    /// master was opened in one.
    /// Errors: not_a_terminal if /dev/pts/N is something else; not_procfs; those of open(2).
    [[nodiscard]] auto open_peer() const noexcept -> Result<PtyPeer> {
        const long fd =
            detail::call(SYS_ioctl, fd_.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0) {
            return PtyPeer{OwnedFd{static_cast<int>(fd)}};
        }
        if (detail::is_unknown_request(fd)) {
            return open_peer_by_name();
        }
        return detail::fail(Step::open_peer, static_cast<int>(-fd));
    }

    /// The number N of its peer, /dev/pts/N in the devpts that it is of.
    [[nodiscard]] auto index() const noexcept -> unsigned { return index_; }

    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd { return fd_.borrow(); }

    auto fd() && -> BorrowedFd = delete;

    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] auto release() noexcept -> OwnedFd { return std::move(fd_); }

  private:
    PtyMaster(OwnedFd fd, unsigned index) noexcept : fd_{std::move(fd)}, index_{index} {}

    [[nodiscard]] static auto verified(OwnedFd fd, std::string_view subject) noexcept
        -> Result<PtyMaster> {
        unsigned index = 0;
        long result = detail::call(SYS_ioctl, fd.get(), TIOCGPTN, &index);
        if (result >= 0) {
            const int unlocked = 0;
            result = detail::call(SYS_ioctl, fd.get(), TIOCSPTLCK, &unlocked);
        }
        if (result < 0) {
            return detail::terminal_error(Step::open_pty, result, subject);
        }
        return PtyMaster{std::move(fd), index};
    }

    [[nodiscard]] auto open_peer_by_name() const noexcept -> Result<PtyPeer> {
        const auto path = detail::SmallPath{"/dev/pts/"}.append(static_cast<int>(index_));
        const auto found =
            detail::open_owned(Step::open_peer, AT_FDCWD, path.c_str(), O_PATH | O_NOFOLLOW);
        if (!found) {
            return Unexpected{found.error()};
        }
        if (!is_peer(*found)) {
            return detail::fail(Step::open_peer, Reason::not_a_terminal, path.c_str());
        }
        auto fd = detail::reopen(Step::open_peer, *found, O_RDWR | O_NOCTTY, path.c_str());
        if (!fd) {
            return Unexpected{fd.error()};
        }
        return PtyPeer{*std::move(fd)};
    }

    [[nodiscard]] auto is_peer(BorrowedFd candidate) const noexcept -> bool {
        struct stat facts {};

        struct stat own {};

        if (!detail::lies_on(candidate, detail::devpts_super_magic) ||
            ::fstat(candidate.get(), &facts) != 0 || ::fstat(fd_.get(), &own) != 0) {
            return false;
        }
        // A master from a device node outside of any devpts doesn't say which one it is of.
        const bool known = detail::lies_on(fd_, detail::devpts_super_magic);
        return S_ISCHR(facts.st_mode) && is_peer_number(facts.st_rdev) &&
               (!known || facts.st_dev == own.st_dev);
    }

    /// Majors 136 to 143 are the peers', 256 each where the minor has 8 bits.
    [[nodiscard]] auto is_peer_number(dev_t device) const noexcept -> bool {
        constexpr unsigned first_major = 136;
        constexpr unsigned last_major = 143;
        const auto major_number = detail::device_major(device);
        return major_number >= first_major && major_number <= last_major &&
               (major_number - first_major) * 256 + detail::device_minor(device) == index_;
    }

    OwnedFd fd_;
    unsigned index_;
};

/// A terminal in raw mode (each byte goes through as it is, without echo or signals) for as long as
/// this object lives; then it is as it was before. Move-only. Borrows the descriptor: it must
/// outlive this object. tcgetattr(3), cfmakeraw(3), tcsetattr(3).
///
///     auto raw = nsjoin::RawMode::enter(terminal);
///     if (!raw) { … }
class [[nodiscard]] RawMode {
  public:
    /// Puts the terminal in raw mode at once; output under way is not waited for. In a background
    /// process the kernel may stop the caller (SIGTTOU). Errors: not_a_terminal, EBADF, EIO.
    [[nodiscard]] static auto enter(BorrowedFd terminal) noexcept -> Result<RawMode> {
        termios before{};
        long result = detail::get_mode(terminal, before);
        if (result == 0) {
            termios raw = before;
            ::cfmakeraw(&raw);
            result = detail::set_mode(terminal, raw);
        }
        if (result < 0) {
            return detail::terminal_error(Step::terminal_mode, result);
        }
        return RawMode{terminal, before};
    }

    static auto enter(const OwnedFd&& terminal) -> Result<RawMode> = delete;

    RawMode(RawMode&& other) noexcept
        : terminal_{std::exchange(other.terminal_, BorrowedFd{})}, before_{other.before_} {}

    auto operator=(RawMode&& other) noexcept -> RawMode& {
        if (this != &other) {
            restore_quietly();
            terminal_ = std::exchange(other.terminal_, BorrowedFd{});
            before_ = other.before_;
        }
        return *this;
    }

    RawMode(const RawMode&) = delete;
    auto operator=(const RawMode&) -> RawMode& = delete;

    /// Restores the mode, if restore() did not; keeps errno.
    ~RawMode() { restore_quietly(); }

    /// Restores the mode now. A second call does nothing. Errors: EIO if the terminal was hung up;
    /// after one the destructor tries again.
    [[nodiscard]] auto restore() noexcept -> Result<void> {
        if (!terminal_.ok()) {
            return {};
        }
        const long result = detail::set_mode(terminal_, before_);
        if (result < 0) {
            return detail::terminal_error(Step::terminal_mode, result);
        }
        terminal_ = BorrowedFd{};
        return {};
    }

  private:
    RawMode(BorrowedFd terminal, const termios& before) noexcept
        : terminal_{terminal}, before_{before} {}

    void restore_quietly() noexcept {
        const detail::ErrnoKeeper keep_errno;
        (void)restore();
    }

    BorrowedFd terminal_;
    termios before_;
};

} // namespace nsjoin

#endif // NSJOIN_PTY_HPP
