// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_SUPERVISOR_HPP
#define NSJOIN_SUPERVISOR_HPP

#include <nsjoin/bootstrap/encode.hpp>
#include <nsjoin/bootstrap/message_of_plan.hpp>
#include <nsjoin/bootstrap/supervisor_options.hpp>
#include <nsjoin/detail/wire/children.hpp>
#include <nsjoin/detail/wire/conversation.hpp>
#include <nsjoin/detail/wire/program_start.hpp>

#include <cstddef>
#include <unistd.h>
#include <utility>
#include <vector>

// The other side of constructor.hpp: starts an embedding program with a plan, and reads what it
// reports.

namespace nsjoin::inline v0_1 {

/// An embedding program inside of what the plan says.
struct Embedded {
    PidFd child;  ///< the caller's own child: wait for it
    OwnedFd pipe; ///< the stream to it, whose other end is _LIBCONTAINER_INITPIPE there
};

namespace detail {

/// What is sent to the program; nothing in the dialect of variables.
[[nodiscard]] inline auto encode_for(Dialect dialect, const BootstrapMessage& message)
    -> Result<std::vector<std::byte>> {
    std::vector<std::byte> bytes;
    if (dialect != Dialect::environment) {
        bytes.resize(message_capacity(dialect));
        const Result<std::size_t> size = encode(dialect, message, bytes);
        if (!size) {
            return Unexpected{size.error()};
        }
        bytes.resize(*size);
    }
    return bytes;
}

} // namespace detail

/// Starts an embedding program, which runs `plan` in its constructor (constructor.hpp), and returns
/// when its main function is about to run inside. The child is the caller's own: wait for it.
/// What fails there fails here, with the same Error. May be called by any thread. The plan's
/// deadline does not count, the options' does.
///
/// On failure nothing is left, and no other child of the caller is touched: not one of another
/// thread's, nor one that it got because it is a subreaper or pid 1. What is ended and waited for
/// is the program, the child whose pidfd came with its reply, and what is known by the pipe that it
/// has open or by the limit that the constructor sets for it (RLIMIT_LOCKS, until it is told of).
/// Of another constructor (runc's own), a child that ended untold is left for the caller's wait(2).
///
/// The program opens what the plan borrows through /proc/PID/fd of the caller: it must see the
/// caller's /proc, and may not have fewer rights.
///
/// posix_spawn(3). Allocates. Errors: bad_message for what the dialect can't say (a root
/// directory, a cgroup, …), with its name; those of the program's steps; process_died if it ended
/// without a word: because it has no constructor, say; deadline_passed.
[[nodiscard]] inline auto supervise(const Plan& plan, const SupervisorOptions& options)
    -> Result<Embedded> {
    const Draft& parts = plan.parts();
    detail::MessageOfPlan message;
    const Result<void> said = message.read(options.dialect, parts);
    if (!said) {
        return Unexpected{said.error()};
    }
    auto bytes = detail::encode_for(options.dialect, message.message);
    if (!bytes) {
        return Unexpected{bytes.error()};
    }
    const std::vector<pid_t> before = detail::thread_children();
    auto program = detail::start_program(options, parts, message);
    if (!program) {
        return Unexpected{program.error()};
    }
    detail::LogReader log{std::move(program->log), options.log};
    detail::Conversation talk{options, program->joiner, program->pipe, log, *std::move(bytes)};
    const Result<pid_t> pid = talk.run();
    bool ended = true;
    if (!pid) { // the end of the stream ends a program that no signal may
        (void)detail::call(SYS_shutdown, program->pipe.get(), SHUT_WR);
        ended = detail::end_own(program->joiner);
        talk.hear_rest();
    }
    OwnedFd told = talk.take_child();
    const bool proven = told.ok();
    auto child = detail::open_child(talk.reply_pid(), std::move(told), before);
    if (pid && child) {
        return Embedded{*std::move(child), std::move(program->pipe)};
    }
    program->pipe.reset();
    log.close();
    Error error = pid ? child.error() : pid.error();
    ended = pid ? detail::end_own(program->joiner) : ended;
    if (!ended) {
        error.subject = detail::out_of_reach(program->joiner.pid());
    }
    if (proven && child && !detail::end_own(*child)) {
        error.subject = detail::out_of_reach(child->pid());
    }
    detail::end_untold(program->program_end);
    return Unexpected{error};
}

} // namespace nsjoin

#endif // NSJOIN_SUPERVISOR_HPP
