// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_JOINER_HPP
#define NSJOIN_DETAIL_LAUNCHER_JOINER_HPP

#include <nsjoin/detail/engine/execute.hpp>
#include <nsjoin/detail/launcher/channel.hpp>
#include <nsjoin/detail/launcher/request.hpp>

#include <cstdlib>
#include <cstring>
#include <sys/prctl.h>
#include <utility>

// What becomes of one request: a joiner waits for it, joins, makes the program's process as the
// caller's own child, and ends.

namespace nsjoin::inline v0_1::detail {

/// The joiner of one request: a copy of the launcher, and the caller's own child. The program's
/// process runs on its memory, which is nobody else's, and which it never uses again.
class LauncherJoiner {
  public:
    LauncherJoiner(OwnedFd socket, const LauncherState& own) noexcept
        : socket_{std::move(socket)}, own_{own} {}

    [[noreturn]] void run() noexcept {
        (void)call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        rehearse();
        await_request();
        Result<PidFd> child = execute();
        LauncherReply reply;
        if (child) {
            reply.what = LauncherReply::What::executed;
            reply.pid = child->pid();
            (void)say(reply, child->fd());
        } else {
            reply.error = child.error();
            (void)say(reply, {});
        }
        (void)call(SYS_shutdown, channel_.get(), SHUT_WR); // the caller wakes up
        (void)call(SYS_sched_yield); // the program may wait for this processor
        exit_now(0);
    }

  private:
    /// Goes the way of a request up to where others would hear of it, while nobody waits: the
    /// memory that this takes is there then.
    void rehearse() noexcept {
        ReceivedRequest nothing;
        (void)carry_out(nothing, [](const Run&) noexcept -> Result<void> {
            return fail(Step::check_plan, Reason::end_of_file);
        });
    }

    /// Until somebody asks. Who asked may have given up meanwhile: nothing is done then.
    void await_request() noexcept {
        Result<OwnedFd> channel = receive_descriptor(socket_);
        if (!channel) {
            exit_now(0);
        }
        channel_ = *std::move(channel);
        (void)call(SYS_prctl, PR_SET_PDEATHSIG, 0UL, 0, 0, 0);
        socket_.reset();
        LauncherReply reply;
        reply.what = LauncherReply::What::taken;
        if (say(reply, {}) < 0) {
            exit_now(0);
        }
    }

    [[nodiscard]] auto execute() noexcept -> Result<PidFd> {
        ReceivedRequest request;
        const Result<void> done = request.receive(channel_);
        if (!done) {
            return Unexpected{done.error()};
        }
        return carry_out(request, nullptr);
    }

    using Before = Result<void> (*)(const Run&) noexcept;

    /// `before`, if not null, refuses: then nothing is done that anybody could see.
    [[nodiscard]] [[gnu::noinline]] auto carry_out(ReceivedRequest& request, Before before) noexcept
        -> Result<PidFd> {
        Reader archive{request.message(), request.descriptors()};
        CallerState state;
        Draft plan;
        plan_fields(archive, plan);
        state_fields(archive, state);
        Command command = read_command(archive);
        std::array<ResourceLimit, limit_count + most_limits> limits{};
        Result<void> done;
        if (before == nullptr) {
            done = archive.good() ? take_state(state, own_.ignored)
                                  : Result<void>{ReceivedRequest::broken_request()};
        }
        done = done ? add_limits(state, command, limits) : done;
        if (!done) {
            return Unexpected{done.error()};
        }
        if (!command.signal_mask) {
            command.signal_mask = from_kernel(state.mask);
        }
        return perform(plan, command, state, before);
    }

    [[nodiscard]] auto perform(Draft& plan, const Command& command, const CallerState& state,
                               Before before) noexcept -> Result<PidFd> {
        // Helpers are looked for where the caller looks for them.
        std::array<char*, 2> environment{
            const_cast<char*>(state.path.data()), // NOLINT(*-const-cast)
            nullptr};
        ::environ = environment.data();
        plan.child_of = ChildOf::callers_parent;
        plan.lends_memory = true;
        if (before == nullptr && plan.joined().empty()) {
            // Whoever may not write another's id maps writes those of its own kind.
            (void)call(SYS_prctl, PR_SET_DUMPABLE, 1UL, 0, 0, 0);
        }
        Run run{plan, outline_of(plan, command), detail::perform<anything()>};
        run.options.born = born;
        run.options.announcer = this;
        return execute_run(run, command, before);
    }

    static constexpr std::size_t most_limits = 64;

    /// What differs from this process's, and the command's after them.
    [[nodiscard]] auto add_limits(const CallerState& state, Command& command,
                                  std::span<ResourceLimit> all) const noexcept -> Result<void> {
        std::size_t count = 0;
        for (std::size_t i = 0; i < limit_count; ++i) {
            if (own_.limits[i].rlim_cur != state.limits[i].rlim_cur ||
                own_.limits[i].rlim_max != state.limits[i].rlim_max) {
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

    /// Before it does anything: whatever becomes of this process, the caller knows its child. One
    /// that the caller does not hear of ends.
    [[nodiscard]] static auto born(void* self, BorrowedFd pidfd) noexcept -> Result<void> {
        LauncherReply reply;
        reply.what = LauncherReply::What::child;
        return outcome(Step::report, static_cast<LauncherJoiner*>(self)->say(reply, pidfd));
    }

    /// -errno if it did not arrive.
    [[nodiscard]] auto say(LauncherReply& reply, BorrowedFd descriptor) const noexcept -> long {
        reply.joiner = own_pid_;
        const std::span<const BorrowedFd> list{&descriptor, descriptor.ok() ? 1U : 0U};
        return send_record(channel_, &reply, sizeof reply, list);
    }

    OwnedFd socket_;
    LauncherState own_;
    OwnedFd channel_;
    pid_t own_pid_ = ::getpid(); ///< of this process, also in its child
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_JOINER_HPP
