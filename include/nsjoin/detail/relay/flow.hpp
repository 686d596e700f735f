// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_RELAY_FLOW_HPP
#define NSJOIN_DETAIL_RELAY_FLOW_HPP

#include <nsjoin/fd.hpp>
#include <nsjoin/pipe.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <span>
#include <unistd.h>

// How a relay moves bytes.

namespace nsjoin::inline v0_1::detail {

/// Bytes on their way from one descriptor to another. Reads no more before all is written, so that
/// who is faster has to wait for who is slower.
class Flow {
  public:
    Flow(BorrowedFd from, BorrowedFd to) : from_{from}, to_{to}, ended_{!from.ok()} {}

    [[nodiscard]] auto wants_to_read() const -> pollfd {
        return {rest_.empty() && !ended_ ? from_.get() : -1, POLLIN, 0};
    }

    [[nodiscard]] auto wants_to_write() const -> pollfd {
        return {rest_.empty() ? -1 : to_.get(), POLLOUT, 0};
    }

    /// Reads what is there. Returns whether anything was.
    auto take() -> bool {
        const ssize_t count = ::read(from_.get(), bytes_.data(), bytes_.size());
        error_ = count > 0 && !to_.ok() ? EBADF : error_;
        if (count > 0) {
            rest_ = std::span{bytes_}.first(static_cast<std::size_t>(count));
        } else {
            ended_ = ended_ || count == 0 || (errno != EAGAIN && errno != EINTR);
        }
        return count > 0;
    }

    /// Writes of it what the other side takes, at most `most`. Returns what was written.
    auto give(std::size_t most = SIZE_MAX) -> std::span<const char> {
        const auto bytes = rest_.first(std::min(most, rest_.size()));
        const ssize_t count = ::write(to_.get(), bytes.data(), bytes.size());
        if (count < 0) {
            error_ = errno != EAGAIN && errno != EINTR ? errno : error_;
            return {};
        }
        rest_ = rest_.subspan(static_cast<std::size_t>(count));
        return bytes.first(static_cast<std::size_t>(count));
    }

    /// Acts on what poll(2) says of the two.
    void move(const pollfd& from, const pollfd& to) {
        if (from.revents != 0) {
            take();
        }
        if (to.revents != 0) {
            give();
        }
    }

    /// What was read and not written yet.
    [[nodiscard]] auto rest() const -> std::span<const char> { return rest_; }

    /// Nothing more will come.
    [[nodiscard]] auto ended() const -> bool { return ended_; }

    /// Nothing more can be written.
    [[nodiscard]] auto broken() const -> bool { return error_ != 0; }

    /// Why, an errno, or 0.
    [[nodiscard]] auto error() const -> int { return error_; }

    /// Whether it is as of a pipe that nobody reads: a terminal is gone, a descriptor closed.
    [[nodiscard]] auto is_broken_pipe() const -> bool {
        return error_ == EPIPE || error_ == EIO || error_ == EBADF;
    }

  private:
    BorrowedFd from_;
    BorrowedFd to_;
    std::array<char, 4096> bytes_{};
    std::span<char> rest_{};
    bool ended_;
    int error_ = 0;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_RELAY_FLOW_HPP
