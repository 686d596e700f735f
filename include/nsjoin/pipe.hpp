// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PIPE_HPP
#define NSJOIN_PIPE_HPP

#include <nsjoin/detail/kernel/quiet_signal.hpp>
#include <nsjoin/fd.hpp>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <poll.h>
#include <span>
#include <string_view>
#include <sys/socket.h>
#include <utility>

namespace nsjoin::inline v0_1 {

/// A pipe: what is written into one end is read from the other. Owns both, with close-on-exec.
struct Pipe {
    OwnedFd read_end;
    OwnedFd write_end;

    /// Makes a pipe. pipe2(2). Errors: EMFILE, ENFILE.
    [[nodiscard]] static auto open() noexcept -> Result<Pipe> {
        std::array<int, 2> ends{-1, -1};
        const long result = detail::call(SYS_pipe2, ends.data(), O_CLOEXEC);
        if (result < 0) {
            return detail::fail(Step::make_pipe, static_cast<int>(-result));
        }
        return Pipe{OwnedFd{ends[0]}, OwnedFd{ends[1]}};
    }
};

/// Whether a socket keeps messages apart.
enum class SocketKind : std::uint8_t {
    stream,    ///< bytes only
    seqpacket, ///< one read is one message; what of it does not fit is lost
};

/// Two connected sockets of the AF_UNIX family, which carry descriptors too. Owns both, with
/// close-on-exec. See unix(7).
struct SocketPair {
    OwnedFd first;
    OwnedFd second;

    /// Makes a pair. socketpair(2). Errors: EMFILE, ENFILE.
    [[nodiscard]] static auto open(SocketKind kind) noexcept -> Result<SocketPair> {
        const int type = kind == SocketKind::stream ? SOCK_STREAM : SOCK_SEQPACKET;
        std::array<int, 2> ends{-1, -1};
        const long result =
            detail::call(SYS_socketpair, AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data());
        if (result < 0) {
            return detail::fail(Step::make_pipe, static_cast<int>(-result));
        }
        return SocketPair{OwnedFd{ends[0]}, OwnedFd{ends[1]}};
    }
};

/// How many descriptors one message carries at most: SCM_MAX_FD of unix(7).
inline constexpr std::size_t max_descriptors = 253;

namespace detail {

/// Waits until a descriptor that said EAGAIN is ready. A failure shows at the next try.
inline void await(BorrowedFd fd, short events) noexcept {
    pollfd entry{fd.get(), events, 0};
    (void)call(SYS_ppoll, &entry, 1UL, nullptr, nullptr, 0UL);
}

/// Runs `attempt` until it neither is interrupted nor would block.
template <typename Attempt>
[[nodiscard]] auto again(BorrowedFd fd, short events, Attempt attempt) noexcept -> long {
    for (;;) {
        const long result = attempt();
        if (result == -EAGAIN) {
            await(fd, events);
        } else if (result != -EINTR) {
            return result;
        }
    }
}

/// write(2) that raises no SIGPIPE, for what is no socket and so has no MSG_NOSIGNAL. A SIGPIPE
/// that was pending before stays so.
[[nodiscard]] inline auto write_quietly(BorrowedFd fd, std::span<const std::byte> bytes) noexcept
    -> long {
    const QuietSignal quiet{SIGPIPE};
    const long result = call(SYS_write, fd.get(), bytes.data(), bytes.size());
    if (result == -EPIPE) {
        quiet.take();
    }
    return result;
}

[[nodiscard]] inline auto write_once(BorrowedFd fd, std::span<const std::byte> bytes) noexcept
    -> long {
    const long sent =
        call(SYS_sendto, fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL, nullptr, 0);
    return sent == -ENOTSOCK ? write_quietly(fd, bytes) : sent;
}

/// "12 of 64 bytes"
[[nodiscard]] inline auto progress(std::size_t done, std::size_t wanted) noexcept -> Subject {
    Subject subject;
    subject.append(static_cast<std::int64_t>(done)).append(" of ");
    return subject.append(static_cast<std::int64_t>(wanted)).append(" bytes");
}

} // namespace detail

/// Reads what is there, at most `buffer.size()` bytes, and returns how many; 0 is the end of file.
/// Waits for the first, even where the descriptor is set not to block; goes on after a signal.
/// read(2). Errors: those of read(2).
[[nodiscard]] inline auto read_some(BorrowedFd fd, std::span<std::byte> buffer) noexcept
    -> Result<std::size_t> {
    const long count = detail::again(
        fd, POLLIN, [&] { return detail::call(SYS_read, fd.get(), buffer.data(), buffer.size()); });
    if (count < 0) {
        return detail::fail(Step::read, static_cast<int>(-count));
    }
    return static_cast<std::size_t>(count);
}

/// Fills all of `buffer`; otherwise as read_some(). For bytes in a stream, not for messages.
/// Errors: end_of_file if the other side closed before; the subject says how much had come.
[[nodiscard]] inline auto read_all(BorrowedFd fd, std::span<std::byte> buffer) noexcept
    -> Result<void> {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const auto count = read_some(fd, buffer.subspan(done));
        if (count && *count != 0) {
            done += *count;
            continue;
        }
        const Subject subject = detail::progress(done, buffer.size());
        if (count) {
            return detail::fail(Step::read, Reason::end_of_file, subject.view());
        }
        return detail::fail(Step::read, count.error().code, subject.view());
    }
    return {};
}

/// Writes all of `bytes`; waits where the descriptor is full, even if it is set not to block; goes
/// on after a signal. Never raises SIGPIPE. To a seqpacket socket it is one message.
/// send(2) MSG_NOSIGNAL, or write(2) with SIGPIPE blocked for the thread.
/// Errors: EPIPE if nobody can read it any more; EMSGSIZE; the subject says how much was written.
[[nodiscard]] inline auto write_all(BorrowedFd fd, std::span<const std::byte> bytes) noexcept
    -> Result<void> {
    std::size_t done = 0;
    while (done < bytes.size()) {
        const long count =
            detail::again(fd, POLLOUT, [&] { return detail::write_once(fd, bytes.subspan(done)); });
        if (count < 0) {
            return detail::fail(Step::write, static_cast<int>(-count),
                                detail::progress(done, bytes.size()).view());
        }
        done += static_cast<std::size_t>(count);
    }
    return {};
}

namespace detail {

/// One message with room for descriptors.
class DescriptorMessage {
  public:
    /// Of one byte, because a stream socket carries no descriptor without one.
    DescriptorMessage() noexcept {
        header_.msg_iov = &payload_;
        header_.msg_iovlen = 1;
        header_.msg_control = control_.data();
        header_.msg_controllen = static_cast<Length>(control_.size());
    }

    /// Of these bytes, which are read or written.
    DescriptorMessage(void* bytes, std::size_t size) noexcept : DescriptorMessage{} {
        payload_ = {bytes, size};
    }

    DescriptorMessage(const DescriptorMessage&) = delete;
    DescriptorMessage(DescriptorMessage&&) = delete;
    auto operator=(const DescriptorMessage&) -> DescriptorMessage& = delete;
    auto operator=(DescriptorMessage&&) -> DescriptorMessage& = delete;
    ~DescriptorMessage() = default;

    /// Precondition: 1 to max_descriptors of them.
    void put(std::span<const BorrowedFd> descriptors) noexcept {
        const std::size_t size = descriptors.size() * sizeof(int);
        header_.msg_controllen = static_cast<Length>(CMSG_SPACE(size));
        cmsghdr* part = CMSG_FIRSTHDR(&header_);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = static_cast<Length>(CMSG_LEN(size));
        unsigned char* to = CMSG_DATA(part);
        for (const BorrowedFd fd : descriptors) {
            const int number = fd.get();
            std::memcpy(to, &number, sizeof number);
            to += sizeof number; // NOLINT(*-pointer-arithmetic)
        }
    }

    /// The bytes alone.
    void put_none() noexcept { header_.msg_controllen = 0; }

    /// Takes the descriptors that came: the first into `into`, which is all closed first; what
    /// finds no place there is closed. Returns how many came.
    [[nodiscard]] auto take(std::span<OwnedFd> into) noexcept -> std::size_t {
        std::size_t count = 0;
        for (cmsghdr* part = CMSG_FIRSTHDR(&header_); part != nullptr;
             part = CMSG_NXTHDR(&header_, part)) {
            if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
                continue;
            }
            const unsigned char* from = CMSG_DATA(part);
            const std::size_t in_part = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            // NOLINTNEXTLINE(*-pointer-arithmetic)
            for (std::size_t i = 0; i < in_part; ++i, ++count, from += sizeof(int)) {
                int number = -1;
                std::memcpy(&number, from, sizeof number);
                OwnedFd fd{number};
                if (count < into.size()) {
                    into[count] = std::move(fd);
                }
            }
        }
        return count;
    }

    /// The pid of who sent it, as this process numbers it; 0 where SO_PASSCRED is not set.
    [[nodiscard]] auto sender() noexcept -> pid_t {
        pid_t pid = 0;
        for (cmsghdr* part = CMSG_FIRSTHDR(&header_); part != nullptr;
             part = CMSG_NXTHDR(&header_, part)) {
            if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS) {
                std::memcpy(&pid, CMSG_DATA(part), sizeof pid); // of struct ucred, the first
            }
        }
        return pid;
    }

    [[nodiscard]] auto header() noexcept -> msghdr* { return &header_; }

    /// Whether the kernel had to drop a descriptor: the process has as many as it may.
    [[nodiscard]] auto cut() const noexcept -> bool {
        return (header_.msg_flags & MSG_CTRUNC) != 0;
    }

  private:
    using Length = decltype(msghdr::msg_controllen); // of another type in another libc

    // Room for what else a socket can be set to deliver with a message (credentials, a label).
    static constexpr std::size_t spare = 512;

    char byte_ = 0;
    iovec payload_{&byte_, sizeof byte_};
    msghdr header_{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(max_descriptors * sizeof(int)) + spare> control_{};
};

} // namespace detail

/// Sends copies of the descriptors, 1 to max_descriptors, over an AF_UNIX socket, in one message
/// with one byte. They stay the caller's. Waits as write_all() does and raises no SIGPIPE.
/// sendmsg(2) SCM_RIGHTS. Errors: bad_value for any other number of them; EBADF; EPIPE;
/// ETOOMANYREFS if too many are on their way; ENOTSOCK.
[[nodiscard]] inline auto send_descriptors(BorrowedFd socket,
                                           std::span<const BorrowedFd> descriptors) noexcept
    -> Result<void> {
    if (descriptors.empty() || descriptors.size() > max_descriptors) {
        Subject subject{"1 to 253 descriptors, not "};
        subject.append(static_cast<std::int64_t>(descriptors.size()));
        return detail::fail(Step::send_descriptor, Reason::bad_value, subject.view());
    }
    detail::DescriptorMessage message;
    message.put(descriptors);
    const long sent = detail::again(socket, POLLOUT, [&] {
        return detail::call(SYS_sendmsg, socket.get(), message.header(), MSG_NOSIGNAL);
    });
    if (sent < 0) {
        return detail::fail(Step::send_descriptor, static_cast<int>(-sent));
    }
    return {};
}

/// Sends a copy of one descriptor: see send_descriptors().
[[nodiscard]] inline auto send_descriptor(BorrowedFd socket, BorrowedFd descriptor) noexcept
    -> Result<void> {
    return send_descriptors(socket, std::span{&descriptor, 1});
}

/// Sends a copy of one descriptor with a text, which is not empty: as runc sends a terminal's
/// master to its console socket, with the terminal's name. Otherwise as send_descriptors(). Errors
/// also: bad_value for an empty text; EMSGSIZE for one that a socket of messages does not take.
[[nodiscard]] inline auto send_descriptor(BorrowedFd socket, BorrowedFd descriptor,
                                          std::string_view text) noexcept -> Result<void> {
    if (text.empty()) {
        return detail::fail(Step::send_descriptor, Reason::bad_value, "an empty text");
    }
    // NOLINTNEXTLINE(*-const-cast): it is read
    detail::DescriptorMessage message{const_cast<char*>(text.data()), text.size()};
    message.put(std::span{&descriptor, 1});
    const long sent = detail::again(socket, POLLOUT, [&] {
        return detail::call(SYS_sendmsg, socket.get(), message.header(), MSG_NOSIGNAL);
    });
    if (sent < 0) {
        return detail::fail(Step::send_descriptor, static_cast<int>(-sent));
    }
    return write_all(socket, std::as_bytes(std::span<const char>{text.data(), text.size()})
                                 .subspan(static_cast<std::size_t>(sent)));
}

namespace detail {

/// Receives a message; how many descriptors came with it, and in `length` how many bytes.
[[nodiscard]] inline auto receive_message(BorrowedFd socket, DescriptorMessage& message,
                                          std::span<OwnedFd> into, std::size_t& length) noexcept
    -> Result<std::size_t> {
    const long received = again(socket, POLLIN, [&] {
        return call(SYS_recvmsg, socket.get(), message.header(), MSG_CMSG_CLOEXEC);
    });
    if (received < 0) {
        return fail(Step::receive_descriptor, static_cast<int>(-received));
    }
    length = static_cast<std::size_t>(received);
    const std::size_t count = message.take(into);
    if (count != 0 && count <= into.size() && !message.cut()) {
        return count;
    }
    for (OwnedFd& fd : into) {
        fd.reset();
    }
    if (message.cut()) {
        return fail(Step::receive_descriptor, EMFILE, "some were dropped (MSG_CTRUNC)");
    }
    if (received == 0) {
        return fail(Step::receive_descriptor, Reason::end_of_file);
    }
    Subject subject;
    subject.append(static_cast<std::int64_t>(count)).append(" came, room for ");
    subject.append(static_cast<std::int64_t>(into.size()));
    return fail(Step::receive_descriptor, Reason::bad_value, subject.view());
}

} // namespace detail

/// Receives one message of send_descriptors() and returns how many descriptors came, at least 1
/// and at most `into.size()`. They are the caller's, with close-on-exec, at the front of `into`;
/// what it held is closed. Waits as read_some() does. recvmsg(2) MSG_CMSG_CLOEXEC.
/// Errors, on each of which all that came is closed: end_of_file; bad_value if none came, or
/// more than have room; EMFILE if the process has as many descriptors as it may; ENOTSOCK.
[[nodiscard]] inline auto receive_descriptors(BorrowedFd socket, std::span<OwnedFd> into) noexcept
    -> Result<std::size_t> {
    detail::DescriptorMessage message;
    std::size_t length = 0;
    return detail::receive_message(socket, message, into, length);
}

/// Receives one descriptor, owned by the result: see receive_descriptors().
[[nodiscard]] inline auto receive_descriptor(BorrowedFd socket) noexcept -> Result<OwnedFd> {
    OwnedFd descriptor;
    const auto count = receive_descriptors(socket, std::span{&descriptor, 1});
    if (!count) {
        return Unexpected{count.error()};
    }
    return descriptor;
}

/// A descriptor that came with a text.
struct ReceivedDescriptor {
    OwnedFd descriptor;
    std::string_view text; ///< a part of the buffer that it was read into
};

/// Receives one descriptor and the text that came with it, which is read into `buffer`: of a stream
/// as much as is there, of a message all. Otherwise, and in its errors, as receive_descriptors();
/// EMSGSIZE if a message does not fit.
[[nodiscard]] inline auto receive_descriptor(BorrowedFd socket, std::span<char> buffer) noexcept
    -> Result<ReceivedDescriptor> {
    detail::DescriptorMessage message{buffer.data(), buffer.size()};
    ReceivedDescriptor received;
    std::size_t length = 0;
    const auto count =
        detail::receive_message(socket, message, std::span{&received.descriptor, 1}, length);
    if (!count) {
        return Unexpected{count.error()};
    }
    if ((message.header()->msg_flags & MSG_TRUNC) != 0) {
        return detail::fail(Step::receive_descriptor, EMSGSIZE, "the text was cut (MSG_TRUNC)");
    }
    received.text = std::string_view{buffer.data(), length};
    return received;
}

} // namespace nsjoin

#endif // NSJOIN_PIPE_HPP
