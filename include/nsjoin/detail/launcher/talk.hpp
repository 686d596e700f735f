// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_TALK_HPP
#define NSJOIN_DETAIL_LAUNCHER_TALK_HPP

#include <nsjoin/detail/launcher/caller_state.hpp>
#include <nsjoin/detail/launcher/start.hpp>
#include <nsjoin/detail/launcher/written_plan.hpp>
#include <nsjoin/detail/wire/children.hpp>

#include <array>
#include <poll.h>
#include <utility>

namespace nsjoin::inline v0_1::detail {

/// Descriptors' numbers for what a request will bring: a process that is at work already could not
/// be known without one. fcntl(2) F_DUPFD_CLOEXEC.
struct LauncherReserve {
    std::array<OwnedFd, 3> numbers; ///< for the joiner, the child, and the child again

    [[nodiscard]] auto take(BorrowedFd any) noexcept -> Result<void> {
        for (OwnedFd& number : numbers) {
            auto copy = OwnedFd::duplicate(any);
            if (!copy) {
                return Unexpected{copy.error()};
            }
            number = *std::move(copy);
        }
        return {};
    }

    void give_one() noexcept {
        for (OwnedFd& number : numbers) {
            if (number.ok()) {
                number.reset();
                return;
            }
        }
    }
};

/// With what is received there comes who has sent it. setsockopt(2), SO_PASSCRED.
[[nodiscard]] inline auto pass_sender(BorrowedFd socket) noexcept -> Result<void> {
    const int yes = 1;
    return outcome(Step::make_pipe,
                   call(SYS_setsockopt, socket.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes));
}

/// What a caller waits for: the end of one request.
class LauncherTalk {
  public:
    LauncherTalk(OwnedFd channel, LauncherReserve reserve, LauncherConnection& launcher,
                 Duration limit) noexcept
        : channel_{std::move(channel)},
          reserve_{std::move(reserve)},
          launcher_{launcher},
          taking_{patience} {
        if (limit.count() > 0) { // the joiner keeps the plan's deadline; this is for its own death
            deadline_ = Deadline{Duration::nanoseconds(limit.count() + grace.count())};
        }
    }

    /// Whether somebody is at work, or was: it is said before anything is done.
    [[nodiscard]] auto taken() const noexcept -> bool { return taken_; }

    /// Sends the request. Of a long one nobody may take the rest: it is waited for as for all else,
    /// and run() says why it ended. `Planned` is a Draft, or a WrittenPlan.
    template <typename Planned>
    [[nodiscard]] auto say(const CallerState& state, const Planned& plan, const Command& command)
        -> Result<void> {
        const Result<void> done = send_whole(
            [this](std::span<std::byte> bytes, std::span<const BorrowedFd> descriptors) {
                return send(bytes, descriptors);
            },
            state, plan, command);
        if (!done) { // who has the first part of it waits for the rest
            (void)call(SYS_shutdown, channel_.get(), SHUT_WR);
        }
        return done;
    }

    /// Waits until the program is executed, or can't be.
    [[nodiscard]] auto run() -> Result<PidFd> {
        while (!over_) {
            step(0);
        }
        Result<PidFd> child = std::move(result_);
        if (child) {
            launcher_.leave(std::move(joiner_));
            return child;
        }
        // Whoever says something now is not heard, and ends; what was said before is heard.
        (void)call(SYS_shutdown, channel_.get(), SHUT_RD);
        Result<PidFd> late = fail(Step::report, Reason::end_of_file);
        while (take(late, true)) {
        }
        if (!taken_ && child.error().reason == Reason::deadline_passed) {
            launcher_.give_up();
        }
        const bool unknown = child_.pid() == 0;
        end(std::move(joiner_));
        end(std::move(child_));
        if (late) {
            end(*std::move(late));
        }
        if (!heard_) { // a child may have ended before it could tell of itself
            launcher_.reap_untold();
        } else if (unknown) {
            launcher_.suspect();
        }
        return child;
    }

  private:
    /// How long it may take until somebody is at work, and what a joiner has beyond its deadline.
    static constexpr Duration patience = Duration::seconds(10);
    static constexpr Duration grace = Duration::seconds(1);
    /// In which most requests are through; in as long again somebody is at work on others.
    static constexpr Duration moment = Duration::milliseconds(10);

    /// Sends a record as soon as there is room for it.
    [[nodiscard]] auto send(std::span<std::byte> bytes, std::span<const BorrowedFd> descriptors)
        -> Result<void> {
        for (;;) {
            const long sent = send_record_now(channel_, bytes.data(), bytes.size(), descriptors);
            if (sent >= 0) {
                return {};
            }
            if (sent != -EAGAIN) {
                return fail(Step::start_program, static_cast<int>(-sent), "ask the launcher");
            }
            step(POLLOUT);
            if (over_) {
                return result_ ? broken("reply", "came before the request")
                               : Result<void>{Unexpected{result_.error()}};
            }
        }
    }

    /// Waits once, until something comes, or with POLLOUT until there is room. Who is at work would
    /// be held up by each word that wakes the caller: at first it waits for the end alone.
    void step(short also) {
        const auto news = static_cast<short>((quiet_ ? POLLRDHUP : POLLIN) | also);
        std::array<pollfd, 2> entries{pollfd{channel_.get(), news, 0},
                                      pollfd{joiner_.fd().get(), POLLIN, 0}};
        const Duration end = soonest(deadline_.left(), taken_ ? forever : taking_.left());
        const PollTimeout left{taken_ ? end : soonest(end, moment_.left())};
        const long ready =
            call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
        if (ready == 0) {
            wait_on(end);
        } else if (ready < 0 && ready != -EINTR) {
            over_ = true;
            result_ = fail(Step::report, static_cast<int>(-ready));
        } else if (const int heard = entries[0].revents & ~POLLOUT;
                   heard != 0 || entries[1].revents != 0) {
            // One that ends has told before: what came between the two looks is there now.
            over_ = !take(result_, quiet_ || heard == 0);
            quiet_ = false;
        }
    }

    /// When nothing came: `left` is how long it may take.
    void wait_on(Duration left) {
        moment_ = Deadline{moment};
        if (quiet_) {
            quiet_ = false;
        } else if (!taken_ && left.count() > 0) {
            launcher_.want_joiner();
        } else {
            over_ = true;
            result_ = taken_ ? fail(Step::report, Reason::deadline_passed)
                             : fail(Step::start_program, Reason::deadline_passed, "the launcher");
        }
    }

    static constexpr Duration forever = Duration::nanoseconds(-1);

    [[nodiscard]] static auto soonest(Duration a, Duration b) noexcept -> Duration {
        return a.count() < 0 || (b.count() >= 0 && b.count() < a.count()) ? b : a;
    }

    /// Takes what came. False at the end.
    [[nodiscard]] auto take(Result<PidFd>& child, bool ended) -> bool {
        reserve_.give_one();
        LauncherReply reply;
        DescriptorMessage message{&reply, sizeof reply};
        const auto receive = [&] {
            return call_again(SYS_recvmsg, channel_.get(), message.header(),
                              MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        };
        long size = receive();
        if (size == -ECONNRESET) { // the other end was closed with a request unread
            size = receive();      // what it said before is there still
        }
        OwnedFd descriptor;
        if (size > 0) {
            (void)message.take({&descriptor, 1});
        }
        if (size < 0 && size != -EAGAIN && size != -ECONNRESET) {
            child = fail(Step::report, static_cast<int>(-size));
        }
        if (size != sizeof reply) {
            return size == -EAGAIN && !ended;
        }
        cut_ = cut_ || message.cut();
        // Of a child that tells of itself the kernel has the number, which is looked for by nothing
        // else: what a record names may be anybody's.
        const pid_t sender = message.sender();
        const bool by_itself = reply.what == LauncherReply::What::child && sender != reply.joiner;
        return take(child, reply,
                    by_itself ? with_descriptor(PidFd{std::move(descriptor), sender})
                              : PidFd{std::move(descriptor), reply.pid});
    }

    /// Where no number was free for its descriptor, another thread may have given one back.
    [[nodiscard]] static auto with_descriptor(PidFd process) noexcept -> PidFd {
        if (!process.fd().ok() && process.pid() > 0) {
            if (auto opened = PidFd::open(process.pid()); opened && is_child(*opened)) {
                return *std::move(opened);
            }
        }
        return process;
    }

    [[nodiscard]] auto take(Result<PidFd>& child, const LauncherReply& reply, PidFd process)
        -> bool {
        using What = LauncherReply::What;
        switch (reply.what) {
        case What::taken:
            taken_ = true;
            know_joiner(reply.joiner);
            return true;
        case What::child: // another one after an attempt that failed
            if (process.pid() != child_.pid()) {
                end(std::move(child_));
            }
            child_ = std::move(process);
            return true;
        case What::executed:
            child = verified(process.fd().ok() ? std::move(process)
                                               : with_descriptor(std::move(child_)));
            return false;
        default:
            heard_ = true;
            child = Unexpected{reply.error};
            return false;
        }
    }

    /// Whoever got hold of the child on its way may have sent another process: it is to be the
    /// caller's own child, and its number that of the descriptor. One that has ended and was waited
    /// for is nobody's to be harmed.
    [[nodiscard]] auto verified(PidFd process) -> Result<PidFd> {
        if (!process.fd().ok()) {
            const Subject subject = Subject{"pid "}.append(std::int64_t{process.pid()});
            child_ = std::move(process); // to be ended
            return cut_ ? fail(Step::report, EMFILE, subject.view())
                        : broken("reply", "has no descriptor of the child");
        }
        if (!is_child(process) && process.alive()) {
            return broken("reply", "names a process that is no child of the caller");
        }
        const pid_t pid = number_of_pidfd(process.fd());
        return pid > 0 ? PidFd{process.release(), pid} : std::move(process);
    }

    /// As this process's pid namespace numbers it; 0 if it can't be told. PIDFD_GET_INFO, Linux
    /// 6.13; before, /proc/PID/fdinfo.
    [[nodiscard]] static auto number_of_pidfd(BorrowedFd pidfd) noexcept -> pid_t {
        PidfdInfo info;
        info.mask = pidfd_info_pid;
        if (call(SYS_ioctl, pidfd.get(), pidfd_get_info, &info) == 0 &&
            (info.mask & pidfd_info_pid) != 0) {
            return static_cast<pid_t>(info.pid);
        }
        const auto proc = open_proc();
        const SmallPath path = SmallPath{"thread-self/fdinfo/"}.append(pidfd.get());
        const OwnedFd file{proc ? static_cast<int>(open_at(proc->get(), path.c_str(), O_RDONLY))
                                : -1};
        std::array<char, 512> text{};
        const long length = call_again(SYS_read, file.get(), text.data(), text.size());
        const std::string_view all{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
        const std::uint64_t number = number_in_status(all, "\nPid:\t", 10, 0);
        return number > max_pid ? 0 : static_cast<pid_t>(number); // "-1" if it has ended
    }

    static constexpr std::uint64_t max_pid = 1U << 22U;

    /// It is not waited for yet, so that its number is its own.
    void know_joiner(pid_t pid) {
        joiner_ = launcher_.take_joiner(pid);
        if (!joiner_.fd().ok()) {
            joiner_ = with_descriptor(PidFd{OwnedFd{}, pid});
        }
    }

    /// Of another process than a child, nobody could tell when it ends.
    void end(PidFd process) {
        if (is_child(process) && !end_soon(process)) {
            launcher_.leave(std::move(process));
        }
    }

    OwnedFd channel_;
    LauncherReserve reserve_;
    LauncherConnection& launcher_;
    Deadline deadline_;
    Deadline taking_;
    Deadline moment_{moment};
    Result<PidFd> result_ = launcher_died();
    bool over_ = false;
    bool quiet_ = true; ///< only the end is waited for
    bool taken_ = false;
    bool heard_ = false; ///< that it failed
    bool cut_ = false;   ///< a descriptor found no number free
    PidFd joiner_{OwnedFd{}, 0};
    PidFd child_{OwnedFd{}, 0};
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_TALK_HPP
