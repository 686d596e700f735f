// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_MESSAGE_READER_HPP
#define NSJOIN_DETAIL_WIRE_MESSAGE_READER_HPP

#include <nsjoin/bootstrap/decode.hpp>
#include <nsjoin/detail/kernel/clock.hpp>
#include <nsjoin/detail/kernel/pages.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <poll.h>
#include <span>

namespace nsjoin::inline v0_1::detail {

/// Fills `buffer` from a stream. Every wait ends: with the writer's death, or the deadline.
[[nodiscard]] inline auto read_before(const Deadline& deadline, BorrowedFd fd,
                                      std::span<std::byte> buffer) noexcept -> Result<void> {
    std::size_t done = 0;
    bool wait = deadline.left().count() >= 0; // else read(2) does it
    while (done < buffer.size()) {
        pollfd entry{fd.get(), POLLIN, 0};
        const PollTimeout left{deadline.left()};
        const long ready = wait ? call(SYS_ppoll, &entry, 1UL, left.get(), nullptr, 0UL) : 1;
        if (ready == 0) {
            return fail(Step::read_bootstrap, Reason::deadline_passed,
                        progress(done, buffer.size()).view());
        }
        const long count =
            ready < 0 ? ready
                      : call(SYS_read, fd.get(), buffer.data() + done, buffer.size() - done);
        wait = wait || count == -EAGAIN;
        if (count == -EINTR || count == -EAGAIN) {
            continue;
        }
        if (count < 0) {
            return fail(Step::read_bootstrap, static_cast<int>(-count));
        }
        if (count == 0) {
            return fail(Step::read_bootstrap, Reason::end_of_file,
                        progress(done, buffer.size()).view());
        }
        done += static_cast<std::size_t>(count);
    }
    return {};
}

/// One message of a stream; nothing is allocated before its length is checked.
[[nodiscard]] inline auto read_message(Dialect dialect, const Deadline& deadline,
                                       BorrowedFd pipe) noexcept -> Result<Array<std::byte>> {
    std::array<std::byte, wire_header_size> header{};
    Result<void> done = read_before(deadline, pipe, header);
    if (!done) {
        return Unexpected{done.error()};
    }
    const Result<std::size_t> length = check_header(dialect, header);
    if (!length) {
        return Unexpected{length.error()};
    }
    Array<std::byte> bytes{*length};
    std::memcpy(bytes.view().data(), header.data(), header.size());
    done = read_before(deadline, pipe, bytes.view().subspan(header.size()));
    if (!done) {
        return Unexpected{done.error()};
    }
    return bytes;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_MESSAGE_READER_HPP
