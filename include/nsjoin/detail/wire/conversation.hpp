// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_CONVERSATION_HPP
#define NSJOIN_DETAIL_WIRE_CONVERSATION_HPP

#include <nsjoin/bootstrap/supervisor_options.hpp>
#include <nsjoin/detail/kernel/clock.hpp>
#include <nsjoin/detail/wire/log_reader.hpp>
#include <nsjoin/detail/wire/reply.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <poll.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace nsjoin::inline v0_1::detail {

/// The talk with an embedding program that was started.
class Conversation {
  public:
    Conversation(const SupervisorOptions& options, const PidFd& joiner, BorrowedFd pipe,
                 LogReader& log, std::vector<std::byte> message)
        : options_{options}, joiner_{joiner}, pipe_{pipe}, log_{log}, message_{std::move(message)} {
        if (options.deadline.count() > 0) {
            deadline_ = Deadline{options.deadline};
        }
    }

    /// Until the child's pid is there, and the joiner has ended well.
    [[nodiscard]] auto run() -> Result<pid_t> {
        while (reply_.find('\n') == std::string::npos && !closed_) {
            const Result<void> done = step();
            if (!done) {
                return Unexpected{done.error()};
            }
        }
        const Result<ExitStatus> status = joiner_.wait(deadline_.left());
        log_.drain();
        const pid_t pid = reply_pid();
        if (status && status->wait_status() == 0 && pid > 0) {
            return pid;
        }
        if (log_.error() || !status) {
            return Unexpected{log_.error() ? *log_.error() : status.error()};
        }
        return Unexpected{Error{Step::start_program, Reason::process_died, status->wait_status(),
                                Subject{options_.program}}};
    }

    /// What the program, which has ended, had said before: the child is known by that.
    void hear_rest() {
        for (int tries = 0; tries < 3 && reply_.find('\n') == std::string::npos; ++tries) {
            (void)read_reply();
        }
    }

    /// The pid that the reply names; 0 if there is none.
    [[nodiscard]] auto reply_pid() const noexcept -> pid_t {
        return pid_of_reply(options_.dialect, reply_);
    }

    /// The pidfd that came with the reply, if one did.
    [[nodiscard]] auto take_child() noexcept -> OwnedFd { return std::move(child_); }

  private:
    static constexpr std::size_t line_capacity = 64UL * 1024;

    [[nodiscard]] auto step() -> Result<void> {
        const bool sending = sent_ != message_.size();
        std::array<pollfd, 3> entries{
            pollfd{pipe_.get(), static_cast<short>(POLLIN | (sending ? POLLOUT : 0)), 0},
            pollfd{log_.pipe().get(), POLLIN, 0}, pollfd{joiner_.fd().get(), POLLIN, 0}};
        const PollTimeout left{deadline_.left()};
        const long ready =
            call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
        if (ready == 0) {
            return fail(Step::start_program, Reason::deadline_passed, options_.program);
        }
        if (ready < 0) {
            return ready == -EINTR ? Result<void>{}
                                   : fail(Step::start_program, static_cast<int>(-ready));
        }
        if ((entries[1].revents & (POLLIN | POLLHUP)) != 0) {
            log_.read();
        }
        Result<void> done = (entries[0].revents & POLLOUT) != 0 ? send_some() : Result<void>{};
        const bool ended = (entries[2].revents & POLLIN) != 0;
        if (done && (ended || (entries[0].revents & (POLLIN | POLLHUP)) != 0)) {
            done = read_reply(); // of one that has ended, what came between the two looks
            closed_ = closed_ || ended;
        }
        return done;
    }

    [[nodiscard]] auto send_some() -> Result<void> {
        // NOLINTNEXTLINE(*-pointer-arithmetic)
        const long count = call(SYS_sendto, pipe_.get(), message_.data() + sent_,
                                message_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT, nullptr, 0);
        if (count > 0) {
            sent_ += static_cast<std::size_t>(count);
        } else if (count == -EPIPE || count == -ECONNRESET) {
            sent_ = message_.size();                        // why it reads no more, its log tells
            (void)call(SYS_shutdown, pipe_.get(), SHUT_WR); // nobody waits for the rest
        } else if (count != -EAGAIN && count != -EINTR) {
            return fail(Step::start_program, static_cast<int>(-count), "send the message");
        }
        return {};
    }

    /// Takes the reply's line off the stream, and not a byte of what the child says after it.
    [[nodiscard]] auto read_reply() -> Result<void> {
        std::array<char, 256> part{};
        long count = call(SYS_recvfrom, pipe_.get(), part.data(), part.size(),
                          MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr);
        if (count == -EAGAIN || count == -EINTR) {
            return {};
        }
        if (count == 0 || count == -ECONNRESET) {
            closed_ = true;
            return {};
        }
        if (count < 0) {
            return fail(Step::start_program, static_cast<int>(-count), "receive the reply");
        }
        const std::string_view seen{part.data(), static_cast<std::size_t>(count)};
        const std::size_t end = seen.find('\n');
        const std::size_t wanted = end == std::string_view::npos ? seen.size() : end + 1;
        count = receive_with_descriptor(pipe_, std::span{part}.first(wanted), child_);
        if (count < 0) { // a seccomp filter: the reply itself is enough
            count = call(SYS_recvfrom, pipe_.get(), part.data(), wanted, MSG_DONTWAIT, nullptr,
                         nullptr);
        }
        reply_.append(part.data(), static_cast<std::size_t>(count > 0 ? count : 0));
        closed_ = closed_ || reply_.size() > line_capacity;
        return {};
    }

    const SupervisorOptions& options_;
    const PidFd& joiner_;
    BorrowedFd pipe_;
    LogReader& log_;
    std::vector<std::byte> message_;
    Deadline deadline_;
    std::size_t sent_ = 0;
    std::string reply_;
    OwnedFd child_;
    bool closed_ = false;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_CONVERSATION_HPP
