// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_REPLY_HPP
#define NSJOIN_DETAIL_WIRE_REPLY_HPP

#include <nsjoin/bootstrap/dialect.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/pipe.hpp>

#include <charconv>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <sys/socket.h>

// How a constructor tells its supervisor of the child: a line of JSON, and a pidfd beside it.

namespace nsjoin::inline v0_1::detail {

/// A pid that no process ever has (the kernel's limit is 2^22), for the stage that there is none
/// of: a supervisor's wait for it fails at once, and finds no other child. 0 would stand for the
/// process group, -1 for any child.
inline constexpr std::int64_t no_such_pid = INT_MAX;

/// The reply with the child's pid.
[[nodiscard]] inline auto reply(Dialect dialect, pid_t child) noexcept -> FixedText<96> {
    FixedText<96> text;
    if (facts(dialect).two_pids) {
        text.append("{\"stage1_pid\":").append(no_such_pid).append(",\"stage2_pid\":");
        text.append(std::int64_t{child}).append("}\n");
    } else {
        text.append("{ \"pid\" : ").append(std::int64_t{child}).append(" }\n");
    }
    return text;
}

/// The number that the reply has under `key`; 0 if there is none.
[[nodiscard]] inline auto json_number(std::string_view text, std::string_view key) noexcept
    -> pid_t {
    std::size_t at = text.find(key);
    if (at == std::string_view::npos) {
        return 0;
    }
    at += key.size();
    while (at < text.size() && (text[at] == '"' || text[at] == ' ' || text[at] == ':')) {
        ++at;
    }
    pid_t number = 0;
    (void)std::from_chars(text.data() + at, text.data() + text.size(), number);
    return number;
}

/// The child's pid, as the reply has it; 0 if it has none.
[[nodiscard]] inline auto pid_of_reply(Dialect dialect, std::string_view text) noexcept -> pid_t {
    return json_number(text, facts(dialect).two_pids ? "\"stage2_pid\"" : "\"pid\"");
}

/// Sends text, and a descriptor with it, if the pipe is a socket; returns how much of the text was
/// sent. A receiver that makes no room for a descriptor gets none. sendmsg(2), unix(7).
[[nodiscard]] inline auto send_with_descriptor(BorrowedFd pipe, std::string_view text,
                                               BorrowedFd descriptor) noexcept -> long {
    // NOLINTNEXTLINE(*-const-cast): only read
    DescriptorMessage message{const_cast<char*>(text.data()), text.size()};
    message.put(std::span{&descriptor, 1});
    return call_again(SYS_sendmsg, pipe.get(), message.header(), MSG_NOSIGNAL);
}

/// Reads what is there of a stream, and a descriptor if one comes along. recvmsg(2).
[[nodiscard]] inline auto receive_with_descriptor(BorrowedFd socket, std::span<char> into,
                                                  OwnedFd& descriptor) noexcept -> long {
    DescriptorMessage message{into.data(), into.size()};
    const long count =
        call(SYS_recvmsg, socket.get(), message.header(), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    OwnedFd came;
    if (count > 0 && message.take(std::span{&came, 1}) != 0) {
        descriptor = std::move(came);
    }
    return count;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_REPLY_HPP
