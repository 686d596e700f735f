// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_CHANNEL_HPP
#define NSJOIN_DETAIL_LAUNCHER_CHANNEL_HPP

#include <nsjoin/detail/kernel/pages.hpp>
#include <nsjoin/detail/launcher/archive.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/socket.h>
#include <utility>

// How a caller, its launcher and the joiner of a request talk. Each request has a channel of its
// own, whose other end goes to the first joiner that waits: so no request waits for another.

namespace nsjoin::inline v0_1::detail {

/// The variable that tells a program that it is a launcher, and on which socket.
inline constexpr const char* launcher_variable = "_NSJOIN_LAUNCHER";

/// The exit code of a program that was started as a launcher, and would start one itself.
inline constexpr int code_without_launcher = 112;

/// What a launcher says when it is ready; with it comes the counter by which it is asked for
/// another joiner.
struct LauncherHello {
    std::uint32_t magic = 0x4c4a534e;
    std::uint32_t version = 1;

    [[nodiscard]] friend constexpr auto operator==(const LauncherHello&,
                                                   const LauncherHello&) noexcept -> bool = default;
};

/// A joiner that waits for a request; its pidfd comes with it.
struct LauncherSpare {
    pid_t pid = 0;
};

/// The first record of a request. What does not fit into one record comes in more of them.
struct RequestHeader {
    std::uint64_t bytes = 0;
    std::uint64_t descriptors = 0;
};

inline constexpr std::size_t record_capacity = 32UL * 1024;

/// What comes back, a record each.
struct LauncherReply {
    enum class What : std::uint32_t {
        taken,    ///< somebody is at work
        child,    ///< the pidfd of the child comes with it, which is not through yet
        executed, ///< the same, and it is the program now
        failed,   ///< it has ended, if there was one
    };

    What what = What::failed;
    pid_t pid = 0;
    pid_t joiner = 0; ///< whose word it is; none where there is no process
    Error error;
};

static_assert(std::has_unique_object_representations_v<LauncherReply>);

/// Sends a record, and descriptors with it, or says EAGAIN where there is no room. sendmsg(2).
[[nodiscard]] inline auto send_record_now(BorrowedFd socket, void* bytes, std::size_t size,
                                          std::span<const BorrowedFd> descriptors) noexcept
    -> long {
    DescriptorMessage message{bytes, size};
    if (descriptors.empty()) {
        message.put_none();
    } else {
        message.put(descriptors);
    }
    return call_again(SYS_sendmsg, socket.get(), message.header(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// The same, and waits until there is room.
[[nodiscard]] inline auto send_record(BorrowedFd socket, void* bytes, std::size_t size,
                                      std::span<const BorrowedFd> descriptors) noexcept -> long {
    return again(socket, POLLOUT,
                 [&] { return send_record_now(socket, bytes, size, descriptors); });
}

/// Sends all of a request, the header and the bytes behind it, record by record. `send` sends one.
template <typename Send>
[[nodiscard]] auto send_request(Send&& send, std::span<std::byte> bytes,
                                std::span<const BorrowedFd> descriptors) -> Result<void> {
    std::array<std::byte, 1> none{};
    Result<void> done;
    while (done && (!bytes.empty() || !descriptors.empty())) {
        const std::size_t size = bytes.size() < record_capacity ? bytes.size() : record_capacity;
        const std::size_t count =
            descriptors.size() < max_descriptors ? descriptors.size() : max_descriptors;
        done = send(size == 0 ? std::span<std::byte>{none} : bytes.first(size),
                    descriptors.first(count));
        bytes = bytes.subspan(size);
        descriptors = descriptors.subspan(count);
    }
    return done;
}

/// A request as it came.
// NOLINTNEXTLINE(*-member-init): a record is written before it is read
class ReceivedRequest {
  public:
    /// All of it. recvmsg(2).
    [[nodiscard]] auto receive(BorrowedFd socket) noexcept -> Result<void> {
        const Result<std::size_t> first = receive_record(socket, record_);
        if (!first) {
            return Unexpected{first.error()};
        }
        RequestHeader header;
        if (*first < sizeof header) {
            return broken_request();
        }
        std::memcpy(&header, record_.data(), sizeof header);
        const std::size_t come = *first - sizeof header;
        if (come > header.bytes) {
            return broken_request();
        }
        bytes_ = std::span{record_}.subspan(sizeof header, come);
        Result<void> done;
        if (come < header.bytes) {
            done = receive_rest(socket, header.bytes);
        }
        std::array<std::byte, 1> nothing{};
        while (done && count_ < header.descriptors) {
            const auto more = receive_record(socket, nothing);
            done = more ? done : Unexpected{more.error()};
        }
        return done;
    }

    [[nodiscard]] auto message() const noexcept -> std::span<std::byte> { return bytes_; }

    [[nodiscard]] auto descriptors() const noexcept -> std::span<const OwnedFd> {
        return std::span{descriptors_}.first(count_);
    }

    [[nodiscard]] static auto broken_request() noexcept -> Unexpected {
        return fail(Step::read_bootstrap, Reason::bad_message, "a request of another program");
    }

  private:
    /// How many bytes came, with as many descriptors.
    [[nodiscard]] auto receive_record(BorrowedFd socket, std::span<std::byte> into) noexcept
        -> Result<std::size_t> {
        DescriptorMessage message{into.data(), into.size()};
        const long size = call_again(SYS_recvmsg, socket.get(), message.header(), MSG_CMSG_CLOEXEC);
        if (size <= 0) {
            return size == 0 ? fail(Step::receive_descriptor, Reason::end_of_file)
                             : fail(Step::receive_descriptor, static_cast<int>(-size));
        }
        const std::span<OwnedFd> room = std::span{descriptors_}.subspan(count_);
        const std::size_t came = message.take(room);
        if (message.cut() || came > room.size()) {
            return fail(Step::receive_descriptor, EMFILE, "some were dropped (MSG_CTRUNC)");
        }
        count_ += came;
        return static_cast<std::size_t>(size);
    }

    [[nodiscard]] auto receive_rest(BorrowedFd socket, std::size_t size) noexcept -> Result<void> {
        long_ = Array<std::byte>{size};
        std::memcpy(long_.view().data(), bytes_.data(), bytes_.size());
        std::size_t done = bytes_.size();
        bytes_ = long_.view();
        while (done < size) {
            const auto more = receive_record(socket, bytes_.subspan(done));
            if (!more) {
                return Unexpected{more.error()};
            }
            done += *more;
        }
        return {};
    }

    alignas(16) std::array<std::byte, record_capacity> record_; // NOLINT(*-member-init)
    std::span<std::byte> bytes_;
    Array<std::byte> long_;
    std::array<OwnedFd, most_in_request> descriptors_;
    std::size_t count_ = 0;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_CHANNEL_HPP
