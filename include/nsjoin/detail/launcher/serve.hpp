// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_SERVE_HPP
#define NSJOIN_DETAIL_LAUNCHER_SERVE_HPP

#include <nsjoin/detail/launcher/joiner.hpp>
#include <nsjoin/detail/wire/birth_mark.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <utility>

// What a launcher does: it keeps joiners ready, each of which waits for one request.

namespace nsjoin::inline v0_1::detail {

/// A launcher, from its start to its end.
class LauncherProcess {
  public:
    explicit LauncherProcess(int socket) noexcept : socket_{socket} {}

    [[noreturn]] void run() noexcept {
        settle();
        LauncherHello hello;
        const BorrowedFd wanted = wanted_;
        if (send_record(socket_, &hello, sizeof hello, {&wanted, 1}) != sizeof hello) {
            exit_now(1);
        }
        for (;;) {
            const int refused = make_joiners();
            await_work(refused);
        }
    }

  private:
    /// How many joiners there are, waiting or at work: one that is taken is made up for when it
    /// ends, so that the next finds the other. Where they are held up there are more, as many as
    /// threads of the caller's wait for them, until they end.
    static constexpr std::size_t fewest = 2;
    static constexpr std::size_t most = 64;

    /// Keeps nothing of what it inherited: no descriptor, directory, terminal's signal or core.
    void settle() noexcept {
        (void)block_signals();
        (void)call(SYS_prctl, PR_SET_DUMPABLE, 0UL, 0, 0, 0);
        (void)call(SYS_prctl, PR_SET_NAME, "nsjoin-launcher", 0, 0, 0);
        const auto socket = static_cast<unsigned>(socket_.get());
        (void)call(SYS_fcntl, socket_.get(), F_SETFD, FD_CLOEXEC);
        close_between(STDERR_FILENO + 1, socket - 1);
        close_between(socket + 1, every_descriptor);
        for (int number = 0; number <= STDERR_FILENO; ++number) {
            OwnedFd nothing{static_cast<int>(call(SYS_epoll_create1, O_CLOEXEC))};
            if (nothing.get() == number) { // it was closed
                (void)nothing.release();
            } else {
                (void)call_again(SYS_dup3, nothing.get(), number, O_CLOEXEC);
            }
        }
        keep_reserve();
        owner_.reset(static_cast<int>(call(SYS_pidfd_open, ::getppid(), 0U)));
        wanted_.reset(static_cast<int>(call(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK)));
        if (!owner_.ok() || !wanted_.ok()) {
            exit_now(1);
        }
        if (call(SYS_chdir, ".") == 0) { // else there would be no way back to it
            (void)call(SYS_chdir, "/");
        }
        if (call(SYS_getpgid, 0) != 0) { // else there would be no way back to it
            (void)call(SYS_setpgid, 0, 0);
        }
        (void)dumpable_state(); // made once, for all joiners
        mark_.put(socket_);     // a program's limits are its caller's again
        own_.ignored = ignored_signals();
        (void)read_limits(own_.limits); // else the caller's are set one by one
    }

    /// Why there is none at all, or 0.
    [[nodiscard]] auto make_joiners() noexcept -> int {
        std::size_t there = 0;
        for (const OwnedFd& joiner : joiners_) {
            there += joiner.ok() ? 1U : 0U;
        }
        int refused = 0;
        for (OwnedFd& slot : joiners_) {
            if (there < enough_ && !slot.ok() && refused == 0) {
                const long failed = make_joiner(slot);
                refused = failed < 0 ? static_cast<int>(-failed) : 0;
                there += failed < 0 ? 0U : 1U;
            }
        }
        return there != 0 ? 0 : refused;
    }

    /// A copy of this process, and as its child the caller's own.
    [[nodiscard]] auto make_joiner(OwnedFd& slot) noexcept -> long {
        int pidfd = -1;
        CloneArgs args;
        args.flags = clone_parent;
        args.exit_signal = 0; // that of this process
        ask_for_pidfd(args, pidfd);
        long pid = clone3_process(args);
        if (pid < 0 && may_be_missing(static_cast<int>(-pid))) {
            pid = clone_process(args);
        }
        if (pid == 0) {
            reserve_.reset();
            owner_.reset();
            wanted_.reset();
            for (OwnedFd& other : joiners_) {
                other.reset();
            }
            LauncherJoiner{std::move(socket_), own_}.run();
        }
        if (pid < 0) {
            return pid;
        }
        slot.reset(pidfd);
        LauncherSpare spare{static_cast<pid_t>(pid)};
        const BorrowedFd told = slot;
        const long sent = send_record(socket_, &spare, sizeof spare, {&told, 1});
        untold_ = untold_ || sent != sizeof spare;
        return 0;
    }

    /// Until a joiner has ended, or a caller says that nobody takes its request. Ends with the
    /// caller, and where nobody can ask any more.
    void await_work(int refused) noexcept {
        const bool none = refused != 0;
        std::array<pollfd, 3 + most> entries{
            pollfd{socket_.get(), static_cast<short>(POLLRDHUP | (none ? POLLIN : 0)), 0},
            pollfd{owner_.get(), POLLIN, 0}, pollfd{wanted_.get(), POLLIN, 0}};
        std::size_t count = 3; // more than RLIMIT_NOFILE are refused, used or not
        for (const OwnedFd& joiner : joiners_) {
            if (joiner.ok()) {
                entries[count++] = {joiner.get(), POLLIN, 0};
            }
        }
        const long ready = call_again(SYS_ppoll, entries.data(), count, nullptr, nullptr, 0UL);
        if (ready < 0 || entries[1].revents != 0 ||
            (entries[0].revents & (POLLRDHUP | POLLHUP)) != 0) {
            end();
        }
        if (entries[2].revents != 0) {
            std::uint64_t times = 0;
            (void)call_again(SYS_read, wanted_.get(), &times, sizeof times);
            enough_ = enough_ < most ? enough_ + 1 : most;
        }
        for (const pollfd& entry : std::span{entries}.subspan(3, count - 3)) {
            for (OwnedFd& joiner : joiners_) {
                if (entry.revents != 0 && joiner.get() == entry.fd) {
                    joiner.reset();
                    enough_ = enough_ > fewest ? enough_ - 1 : fewest;
                }
            }
        }
        if (none && (entries[0].revents & POLLIN) != 0) {
            refuse(make_joiners());
        }
    }

    /// Tells somebody who asks that there is no process to do it.
    void refuse(int code) noexcept {
        if (code == 0) {
            return;
        }
        reserve_.reset();
        if (const Result<OwnedFd> channel = receive_descriptor(socket_); channel) {
            LauncherReply reply;
            reply.error = fail(Step::make_joiner, code).error();
            (void)send_record(*channel, &reply, sizeof reply, {});
        }
        keep_reserve();
    }

    /// A number for the channel of a caller who is to hear that there are no more.
    void keep_reserve() noexcept {
        reserve_.reset(static_cast<int>(call(SYS_epoll_create1, O_CLOEXEC)));
    }

    [[noreturn]] void end() noexcept {
        for (const OwnedFd& joiner : joiners_) {
            (void)call(SYS_pidfd_send_signal, joiner.get(), SIGKILL, nullptr, 0U);
        }
        exit_now(untold_ ? 1 : 0); // then the caller looks for those itself
    }

    OwnedFd socket_;
    OwnedFd reserve_;
    OwnedFd owner_;
    OwnedFd wanted_; ///< the caller wants another joiner: an eventfd(2)
    std::array<OwnedFd, most> joiners_;
    bool untold_ = false; ///< the caller does not know of a joiner
    std::size_t enough_ = fewest;
    LauncherState own_;
    BirthMark mark_; ///< by which a joiner is known that nobody was told of
};

[[gnu::noinline]] inline void run_launcher(int socket) noexcept {
    LauncherProcess{socket}.run();
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_SERVE_HPP
