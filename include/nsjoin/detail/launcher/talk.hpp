// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_TALK_HPP
#define NSJOIN_DETAIL_LAUNCHER_TALK_HPP

#include <nsjoin/detail/launcher/start.hpp>
#include <nsjoin/detail/wire/children.hpp>

#include <array>
#include <poll.h>
#include <utility>

namespace nsjoin::detail {

/// What a caller waits for: the end of one request.
class LauncherTalk {
  public:
    LauncherTalk(OwnedFd channel, ino_t other_end, LauncherConnection& launcher,
                 Duration limit) noexcept
        : channel_{std::move(channel)},
          other_end_{other_end},
          launcher_{launcher},
          taking_{patience} {
        if (limit.count() > 0) { // the joiner keeps the plan's deadline; this is for its own death
            deadline_ = Deadline{Duration::nanoseconds(limit.count() + grace.count())};
        }
    }

    [[nodiscard]] auto run() -> Result<PidFd> {
        Result<PidFd> child = fail(Step::start_program, Reason::process_died, "the launcher");
        while (step(child)) {
        }
        if (child) {
            launcher_.leave(std::move(joiner_));
            return child;
        }
        channel_.reset(); // whoever takes the request now, does nothing
        if (!taken_ && child.error().reason == Reason::deadline_passed) {
            launcher_.give_up();
        }
        end_all(child.error().reason == Reason::process_died);
        return child;
    }

  private:
    /// How long it may take until somebody is at work, and what a joiner has beyond its deadline.
    static constexpr Duration patience = Duration::seconds(10);
    static constexpr Duration grace = Duration::seconds(1);

    /// Whether there is more to wait for.
    [[nodiscard]] auto step(Result<PidFd>& child) -> bool {
        std::array<pollfd, 2> entries{pollfd{channel_.get(), POLLIN, 0},
                                      pollfd{joiner_.fd().get(), POLLIN, 0}};
        const PollTimeout left{soonest(deadline_.left(), taken_ ? forever : taking_.left())};
        const long ready =
            call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
        if (ready == 0) {
            child = taken_ ? fail(Step::report, Reason::deadline_passed)
                           : fail(Step::start_program, Reason::deadline_passed, "the launcher");
            return false;
        }
        if (ready < 0 && ready != -EINTR) {
            child = fail(Step::report, static_cast<int>(-ready));
        }
        if (ready < 0) {
            return ready == -EINTR;
        }
        // One that ends has told before: what came between the two looks is there now.
        return take(child, entries[0].revents == 0);
    }

    static constexpr Duration forever = Duration::nanoseconds(-1);

    [[nodiscard]] static auto soonest(Duration a, Duration b) noexcept -> Duration {
        return a.count() < 0 || (b.count() >= 0 && b.count() < a.count()) ? b : a;
    }

    /// Takes what came. False at the end.
    [[nodiscard]] auto take(Result<PidFd>& child, bool ended) -> bool {
        LauncherReply reply;
        DescriptorMessage message{&reply, sizeof reply};
        const long size = call_again(SYS_recvmsg, channel_.get(), message.header(),
                                     MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        OwnedFd descriptor;
        if (size > 0) {
            (void)message.take({&descriptor, 1});
        }
        if (size != sizeof reply) {
            return size == -EAGAIN && !ended;
        }
        return take(child, reply, PidFd{std::move(descriptor), reply.pid});
    }

    [[nodiscard]] auto take(Result<PidFd>& child, const LauncherReply& reply, PidFd process)
        -> bool {
        using What = LauncherReply::What;
        switch (reply.what) {
        case What::taken:
            taken_ = true;
            know_joiner(reply.joiner);
            return true;
        case What::child:
            child_ = std::move(process);
            return true;
        case What::executed:
            child = std::move(process);
            return false;
        default:
            if (process.pid() > 0) {
                child_ = std::move(process);
            }
            child = Unexpected{reply.error};
            return false;
        }
    }

    /// It is not waited for yet, so that its number is its own.
    void know_joiner(pid_t pid) {
        joiner_ = launcher_.take_joiner(pid);
        if (joiner_.pid() == 0) {
            auto opened = PidFd::open(pid);
            joiner_ = opened ? *std::move(opened) : std::move(joiner_);
        }
    }

    /// Leaves no process. A joiner that died may have made a child that nobody knows yet.
    void end_all(bool untold) {
        for (PidFd* const process : {&joiner_, &child_}) {
            if (process->fd().ok()) {
                (void)process->send_signal(SIGKILL);
                (void)process->wait();
            }
        }
        if (untold) {
            end_untold(other_end_);
        }
    }

    OwnedFd channel_;
    ino_t other_end_;
    LauncherConnection& launcher_;
    Deadline deadline_;
    Deadline taking_;
    bool taken_ = false;
    PidFd joiner_{OwnedFd{}, 0};
    PidFd child_{OwnedFd{}, 0};
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_TALK_HPP
