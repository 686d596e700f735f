// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_FD_HPP
#define NSJOIN_FD_HPP

#include <nsjoin/detail/kernel/contract.hpp>
#include <nsjoin/detail/kernel/syscall.hpp>
#include <nsjoin/result.hpp>

#include <fcntl.h>
#include <utility>

namespace nsjoin::inline v0_1 {

class OwnedFd;

/// A descriptor that somebody else owns, as string_view is to string: it must not outlive the
/// owner. The default value is no descriptor.
class BorrowedFd {
  public:
    constexpr BorrowedFd() noexcept = default;

    /// Borrows descriptor `fd`; -1 is no descriptor.
    constexpr explicit BorrowedFd(int fd) noexcept : fd_{fd} {}

    /// The number, or -1.
    [[nodiscard]] constexpr auto get() const noexcept -> int { return fd_; }

    /// Whether there is a descriptor.
    [[nodiscard]] constexpr auto ok() const noexcept -> bool { return fd_ >= 0; }

    /// Deleted: `!fd` would mean "is 0", or "is none"; say `ok()`.
    auto operator!() const -> bool = delete;

    [[nodiscard]] friend constexpr auto operator==(BorrowedFd, BorrowedFd) noexcept
        -> bool = default;

  private:
    int fd_ = -1;
};

/// A descriptor that this object owns and closes: what others call unique_fd or ScopedFd.
/// Move-only. Its destructor keeps errno and calls close(2) once; on Linux the descriptor is gone
/// even when close is interrupted.
///
///     nsjoin::OwnedFd fd{::open("/etc/hosts", O_RDONLY | O_CLOEXEC)};
///     if (!fd.ok()) { … }
class [[nodiscard]] OwnedFd {
  public:
    constexpr OwnedFd() noexcept = default;

    /// Takes ownership of `fd`; -1 is no descriptor.
    constexpr explicit OwnedFd(int fd) noexcept : fd_{fd} {}

    OwnedFd(OwnedFd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}

    auto operator=(OwnedFd&& other) noexcept -> OwnedFd& {
        if (this != &other) {
            reset(std::exchange(other.fd_, -1));
        }
        return *this;
    }

    OwnedFd(const OwnedFd&) = delete;
    auto operator=(const OwnedFd&) -> OwnedFd& = delete;

    ~OwnedFd() { reset(); }

    /// The number, still owned here, or -1.
    [[nodiscard]] constexpr auto get() const noexcept -> int { return fd_; }

    [[nodiscard]] constexpr auto ok() const noexcept -> bool { return fd_ >= 0; }

    [[nodiscard]] constexpr auto borrow() const& noexcept -> BorrowedFd { return BorrowedFd{fd_}; }

    /// Deleted: the descriptor would be closed before the borrowed one is used.
    auto borrow() && -> BorrowedFd = delete;

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): owner to borrower
    [[nodiscard]] constexpr operator BorrowedFd() const& noexcept { return BorrowedFd{fd_}; }

    operator BorrowedFd() && = delete; // NOLINT(google-explicit-constructor,hicpp-*)

    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] auto release() noexcept -> int { return std::exchange(fd_, -1); }

    /// Closes what is owned, then owns `fd`.
    void reset(int fd = -1) noexcept {
        detail::expect(fd == -1 || fd != fd_, "a descriptor is owned twice");
        if (fd_ >= 0) {
            const detail::ErrnoKeeper keep_errno;
            detail::close_once(fd_);
        }
        fd_ = fd;
    }

    /// Deleted: `!fd` would mean "is 0", or "is none"; say `ok()`.
    auto operator!() const -> bool = delete;

    /// A second descriptor for the same open file, with close-on-exec, owned by the result.
    /// fcntl(2) F_DUPFD_CLOEXEC. Errors: EMFILE; EBADF if there is none.
    [[nodiscard]] static auto duplicate(BorrowedFd fd) noexcept -> Result<OwnedFd> {
        const long copy = detail::call(SYS_fcntl, fd.get(), F_DUPFD_CLOEXEC, 0);
        if (copy < 0) {
            return detail::fail(Step::duplicate, static_cast<int>(-copy));
        }
        return OwnedFd{static_cast<int>(copy)};
    }

  private:
    int fd_ = -1;
};

/// Deleted: an owned descriptor closes itself.
auto close(const OwnedFd&) -> int = delete;

namespace detail {

/// open(2) with O_CLOEXEC, as an owned descriptor; the error names `path`.
[[nodiscard]] inline auto open_owned(Step step, int dir, const char* path, int flags) noexcept
    -> Result<OwnedFd> {
    const long fd = open_at(dir, path, flags);
    if (fd < 0) {
        return fail(step, static_cast<int>(-fd), path);
    }
    return OwnedFd{static_cast<int>(fd)};
}

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_FD_HPP
