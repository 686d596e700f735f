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
// own: the launcher gets one end, makes a joiner and leaves the rest to that, so that it serves the
// next at once.

namespace nsjoin::detail {

/// The variable that tells a program that it is a launcher, and on which socket.
inline constexpr const char* launcher_variable = "_NSJOIN_LAUNCHER";

/// What a launcher says when it is ready.
struct LauncherHello {
    std::uint32_t magic = 0x4c4a534e;
    std::uint32_t version = 1;

    [[nodiscard]] friend constexpr auto operator==(const LauncherHello&,
                                                   const LauncherHello&) noexcept -> bool = default;
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
        joiner,   ///< the pidfd of the process that joins comes with it
        child,    ///< that of the child, which is not through yet
        executed, ///< that of the child, which is the program now
        failed,   ///< that of a child that was ended, or none
    };

    What what = What::failed;
    pid_t pid = 0;
    pid_t joiner = 0; ///< whose word it is, or of whom it is
    Error error;
};

/// Sends a record, and descriptors with it. Waits until there is room. sendmsg(2).
[[nodiscard]] inline auto send_record(BorrowedFd socket, void* bytes, std::size_t size,
                                      std::span<const BorrowedFd> descriptors) noexcept -> long {
    DescriptorMessage message{bytes, size};
    if (descriptors.empty()) {
        message.put_none();
    } else {
        message.put(descriptors);
    }
    return again(socket, POLLOUT,
                 [&] { return call(SYS_sendmsg, socket.get(), message.header(), MSG_NOSIGNAL); });
}

/// Sends all of a request: the header, and the bytes behind it.
[[nodiscard]] inline auto send_request(BorrowedFd socket, std::span<std::byte> bytes,
                                       std::span<const BorrowedFd> descriptors) noexcept
    -> Result<void> {
    while (!bytes.empty() || !descriptors.empty()) {
        const std::size_t size = bytes.size() < record_capacity ? bytes.size() : record_capacity;
        const std::size_t count =
            descriptors.size() < max_descriptors ? descriptors.size() : max_descriptors;
        std::byte none{};
        const long sent = send_record(socket, size == 0 ? &none : bytes.data(),
                                      size == 0 ? 1 : size, descriptors.first(count));
        if (sent < 0) {
            return fail(Step::start_program, static_cast<int>(-sent), "ask the launcher");
        }
        bytes = bytes.subspan(size);
        descriptors = descriptors.subspan(count);
    }
    return {};
}

/// A request as it came.
struct ReceivedRequest {
    Array<std::byte> bytes;
    std::array<OwnedFd, most_in_request> descriptors;
    std::size_t count = 0; ///< of descriptors

    [[nodiscard]] auto receive(BorrowedFd socket) noexcept -> Result<void> {
        RequestHeader header;
        std::size_t done = 0;
        Array<std::byte> record{record_capacity};
        for (bool first = true; first || done < header.bytes || count < header.descriptors;
             first = false) {
            DescriptorMessage message{record.view().data(), record_capacity};
            const long size =
                call_again(SYS_recvmsg, socket.get(), message.header(), MSG_CMSG_CLOEXEC);
            const std::span<OwnedFd> room = std::span{descriptors}.subspan(count);
            const std::size_t came = size < 0 ? 0 : message.take(room);
            count += came;
            if (size <= 0 || message.cut() || came > room.size()) {
                return fail(Step::receive_descriptor, size < 0 ? static_cast<int>(-size) : EMFILE);
            }
            const std::byte* from = record.view().data();
            auto left = static_cast<std::size_t>(size);
            if (first) {
                if (left < sizeof header) {
                    return broken_request();
                }
                std::memcpy(&header, from, sizeof header);
                from += sizeof header; // NOLINT(*-pointer-arithmetic)
                left -= sizeof header;
                bytes = Array<std::byte>{header.bytes};
            }
            if (done < header.bytes) {
                if (left > header.bytes - done) {
                    return broken_request();
                }
                std::memcpy(bytes.view().data() + done, from, left); // NOLINT(*-pointer-arithmetic)
                done += left;
            }
        }
        return {};
    }

    [[nodiscard]] static auto broken_request() noexcept -> Unexpected {
        return fail(Step::read_bootstrap, Reason::bad_message, "a request of another program");
    }
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_CHANNEL_HPP
