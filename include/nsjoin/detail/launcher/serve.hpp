// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_SERVE_HPP
#define NSJOIN_DETAIL_LAUNCHER_SERVE_HPP

#include <nsjoin/detail/engine/execute.hpp>
#include <nsjoin/detail/launcher/channel.hpp>
#include <nsjoin/detail/launcher/request.hpp>

#include <poll.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <utility>

// What a launcher does: it makes a joiner for each request, which joins by itself, makes the
// program's process as the caller's own child, and ends.

namespace nsjoin::detail {

/// The joiner of one request: a copy of the launcher, and the caller's own child.
class LauncherJoiner {
  public:
    LauncherJoiner(OwnedFd channel, KernelSignalSet ignored) noexcept
        : channel_{std::move(channel)}, ignored_{ignored} {}

    [[noreturn]] void run() noexcept {
        Result<PidFd> child = execute();
        LauncherReply reply;
        if (child) {
            reply.what = LauncherReply::What::executed;
            reply.pid = child->pid();
            say(reply, child->fd());
        } else {
            reply.error = child.error();
            reply.pid = left_.pid();
            say(reply, left_.fd());
        }
        exit_now(0);
    }

  private:
    [[nodiscard]] auto execute() noexcept -> Result<PidFd> {
        ReceivedRequest request;
        Result<void> done = request.receive(channel_);
        if (!done) {
            return Unexpected{done.error()};
        }
        Reader archive{request.bytes.view(), std::span{request.descriptors}.first(request.count)};
        CallerState state;
        Draft plan;
        state_fields(archive, state);
        plan_fields(archive, plan);
        Command command = read_command(archive);
        if (!archive.good()) {
            return ReceivedRequest::broken_request();
        }
        done = take_state(state, ignored_);
        if (!done) {
            return Unexpected{done.error()};
        }
        std::array<ResourceLimit, limit_count + 64> limits{};
        done = add_limits(state, command, limits);
        if (!done) {
            return Unexpected{done.error()};
        }
        if (!command.signal_mask) {
            command.signal_mask = from_kernel(state.mask);
        }
        use_path(state.path);
        plan.child_of = ChildOf::callers_parent;
        plan.lends_memory = true; // this memory is nobody's but the child's, and ends with this
        if (plan.joined().empty()) {
            // Whoever may not write another's id maps writes those of its own kind.
            (void)call(SYS_prctl, PR_SET_DUMPABLE, 1UL, 0, 0, 0);
        }
        Run run{plan, outline_of(plan, command), perform<anything()>};
        run.options.announce = announce;
        run.options.announcer = this;
        Result<PidFd> child = execute_run(run, command, nullptr);
        left_ = std::move(run.left);
        return child;
    }

    /// What differs from this process's, and the command's after them.
    [[nodiscard]] static auto add_limits(const CallerState& state, Command& command,
                                         std::span<ResourceLimit> all) noexcept -> Result<void> {
        std::array<rlimit, limit_count> own{};
        read_limits(own);
        std::size_t count = 0;
        for (std::size_t i = 0; i < limit_count; ++i) {
            if (own[i].rlim_cur != state.limits[i].rlim_cur ||
                own[i].rlim_max != state.limits[i].rlim_max) {
                all[count++] = {static_cast<int>(i), state.limits[i]};
            }
        }
        if (command.limits.size() > all.size() - count) {
            return fail(Step::check_plan, Reason::bad_value, "more than 64 limits are set");
        }
        for (const ResourceLimit& limit : command.limits) {
            all[count++] = limit;
        }
        command.limits = all.first(count);
        return {};
    }

    /// Helpers are looked for where the caller looks for them.
    static void use_path(std::string_view path) noexcept {
        (void)::setenv("PATH", path.data(), 1); // NOLINT(concurrency-mt-unsafe): no other thread
    }

    [[nodiscard]] static auto announce(void* self, const PidFd& child) noexcept -> Result<void> {
        LauncherReply reply;
        reply.what = LauncherReply::What::child;
        reply.pid = child.pid();
        static_cast<LauncherJoiner*>(self)->say(reply, child.fd());
        return {};
    }

    void say(LauncherReply& reply, BorrowedFd descriptor) const noexcept {
        reply.joiner = ::getpid();
        const std::span<const BorrowedFd> list{&descriptor, descriptor.ok() ? 1U : 0U};
        (void)send_record(channel_, &reply, sizeof reply, list);
    }

    OwnedFd channel_;
    KernelSignalSet ignored_;
    PidFd left_{OwnedFd{}, 0}; ///< a child that failed
};

/// A launcher, from its start to its end.
class LauncherProcess {
  public:
    explicit LauncherProcess(int socket) noexcept : socket_{socket} {}

    [[noreturn]] void run() noexcept {
        settle();
        LauncherHello hello;
        if (send_record(socket_, &hello, sizeof hello, {}) != sizeof hello) {
            exit_now(1);
        }
        while (await_request()) {
            serve();
        }
        exit_now(0);
    }

  private:
    /// Keeps nothing of what it inherited: no descriptor, directory, terminal's signal or core.
    void settle() noexcept {
        (void)block_signals();
        (void)call(SYS_prctl, PR_SET_DUMPABLE, 0UL, 0, 0, 0);
        (void)call(SYS_prctl, PR_SET_NAME, "nsjoin-launcher", 0, 0, 0);
        owner_.reset(static_cast<int>(call(SYS_pidfd_open, ::getppid(), 0U)));
        for (const int kept : {owner_.get(), socket_.get()}) {
            (void)call(SYS_fcntl, kept, F_SETFD, FD_CLOEXEC);
        }
        const auto low = static_cast<unsigned>(std::min(owner_.get(), socket_.get()));
        const auto high = static_cast<unsigned>(std::max(owner_.get(), socket_.get()));
        close_between(STDERR_FILENO + 1, low - 1);
        close_between(low + 1, high - 1);
        close_between(high + 1, every_descriptor);
        for (int number = 0; number <= STDERR_FILENO; ++number) {
            const OwnedFd nothing{static_cast<int>(call(SYS_epoll_create1, O_CLOEXEC))};
            (void)call_again(SYS_dup3, nothing.get(), number, O_CLOEXEC);
        }
        (void)call(SYS_chdir, "/");
        (void)call(SYS_setpgid, 0, 0);
        ignored_ = ignored_signals();
    }

    /// Until somebody asks; false if nobody can any more.
    [[nodiscard]] auto await_request() const noexcept -> bool {
        std::array<pollfd, 2> entries{pollfd{socket_.get(), POLLIN, 0},
                                      pollfd{owner_.get(), POLLIN, 0}};
        const long ready =
            call_again(SYS_ppoll, entries.data(), entries.size(), nullptr, nullptr, 0UL);
        return ready > 0 && entries[1].revents == 0 && (entries[0].revents & POLLIN) != 0;
    }

    void serve() noexcept {
        Result<OwnedFd> channel = receive_descriptor(socket_);
        if (!channel) {
            if (channel.error().reason == Reason::end_of_file) {
                exit_now(0);
            }
            return; // its channel is closed, which tells
        }
        int pidfd = -1;
        CloneArgs args;
        args.flags = clone_parent;
        args.exit_signal = 0; // that of this process
        ask_for_pidfd(args, pidfd);
        long pid = clone3_process(args);
        if (may_be_missing(static_cast<int>(-pid))) {
            pid = clone_process(args);
        }
        if (pid == 0) {
            socket_.reset();
            owner_.reset();
            LauncherJoiner{*std::move(channel), ignored_}.run();
        }
        LauncherReply reply;
        if (pid < 0) {
            reply.error = fail(Step::make_joiner, static_cast<int>(-pid)).error();
            (void)send_record(*channel, &reply, sizeof reply, {});
            return;
        }
        const OwnedFd joiner{pidfd};
        reply.what = LauncherReply::What::joiner;
        reply.pid = static_cast<pid_t>(pid);
        reply.joiner = reply.pid;
        const BorrowedFd told = joiner;
        (void)send_record(*channel, &reply, sizeof reply, {&told, 1});
    }

    OwnedFd socket_;
    OwnedFd owner_;
    KernelSignalSet ignored_ = 0;
};

[[gnu::noinline]] inline void run_launcher(int socket) noexcept {
    LauncherProcess{socket}.run();
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_SERVE_HPP
