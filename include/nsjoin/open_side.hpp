// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_OPEN_SIDE_HPP
#define NSJOIN_OPEN_SIDE_HPP

#include <nsjoin/detail/engine/late_program.hpp>
#include <nsjoin/join.hpp>

#include <gsl/assert>

#include <utility>

namespace nsjoin::inline v0_1 {

/// To be given to join_and_clone(), for a channel between the two sides that stays open.
struct KeepChannel {};

inline constexpr KeepChannel keep_channel{};

/// A side of join_and_clone() with a channel to the other one: what the child still has to do after
/// the call, and the program that it becomes, can fail, and the caller learns why. Owns its end of
/// the channel, a socket with close-on-exec. Move-only.
///
///     auto side = nsjoin::join_and_clone(plan, nsjoin::keep_channel);
///     if (side && side->is_child()) {
///         if (!mount_everything()) {
///             side->fail(nsjoin::failed_inside("mount everything", errno).error());
///         }
///         side->execute({.program = nsjoin::Program::at("/bin/sh"), .arguments = words});
///     }
///     auto child = side ? side->await_program() : …;
class [[nodiscard]] OpenSide {
  public:
    OpenSide(Side side, OwnedFd channel) noexcept
        : side_{std::move(side)}, channel_{std::move(channel)} {}

    [[nodiscard]] auto is_child() const noexcept -> bool { return side_.is_child(); }

    /// See Side::child().
    [[nodiscard]] auto child() & noexcept -> PidFd& { return side_.child(); }

    [[nodiscard]] auto child() const& noexcept -> const PidFd& { return side_.child(); }

    void child() && = delete;

    /// The child becomes a program, as by join_and_exec(); what of that fails, is what the caller's
    /// await_program() returns, and the child ends with code 127, or with an errno if even that
    /// can't be told. Where the caller does not wait for it, or has ended, the program is executed
    /// all the same. Async-signal-safe.
    /// Precondition: this is the child's side. execve(2) and what the command says.
    [[noreturn]] void execute(const Command& command) noexcept {
        Expects(is_child());
        detail::execute_late(std::move(channel_), command);
    }

    /// The child ends with code 1, and the error is what the caller's await_program() returns.
    /// Async-signal-safe. Precondition: this is the child's side.
    [[noreturn]] void fail(const Error& error) noexcept {
        Expects(is_child());
        detail::fail_late(channel_, error);
    }

    /// The child goes on without a program, and is what the caller's await_program() returns.
    /// Async-signal-safe. Precondition: this is the child's side. Error: EPIPE if the caller does
    /// not listen any more; after any other the caller ends the child, of which it hears nothing.
    [[nodiscard]] auto report() noexcept -> Result<void> {
        Expects(is_child());
        const int untold = detail::report_late(channel_);
        if (untold != 0) {
            return detail::fail(Step::report, untold);
        }
        channel_.reset();
        return {};
    }

    /// Waits for the word of the child: until it has executed a program, or reports. Returns it; or
    /// why it failed, and then nothing is left. Precondition: this is the caller's side, the first
    /// time. Errors: the child's; process_died if it ended without a word; end_of_file if its side
    /// is gone without one, as in an execve(2) of its own, and deadline_passed: in both the child
    /// is ended.
    [[nodiscard]] auto await_program(Duration limit = PidFd::forever) noexcept -> Result<PidFd> {
        Expects(!is_child());
        Expects(channel_.ok());
        return detail::await_late_program(std::move(channel_), std::move(side_.child()), limit);
    }

  private:
    Side side_;
    OwnedFd channel_;
};

namespace detail {

[[nodiscard]] inline auto to_open_side(const Draft& plan, Perform perform,
                                       RunOptions options = {}) noexcept -> Result<OpenSide> {
    options.keep_channel = true;
    const Result<Outcome> result = run_plan(plan, perform, options);
    if (!result) {
        return Unexpected{result.error()};
    }
    OwnedFd channel{result->channel};
    if (result->pid == 0) {
        return OpenSide{Side{}, std::move(channel)};
    }
    return OpenSide{Side{PidFd{OwnedFd{result->pidfd}, result->pid}}, std::move(channel)};
}

} // namespace detail

/// As join_and_clone(plan), with a channel between both sides that stays open.
[[nodiscard]] inline auto join_and_clone(const Plan& plan, KeepChannel /*keep*/) noexcept
    -> Result<OpenSide> {
    return detail::to_open_side(plan.parts(), detail::perform<detail::anything()>);
}

/// The same with a plan of the compiler's: what such a plan can't say is not compiled.
template <unsigned Joined, unsigned Created, unsigned Said>
[[nodiscard]] auto join_and_clone(const JoinPlan<Joined, Created, Said>& plan,
                                  KeepChannel /*keep*/) noexcept -> Result<OpenSide> {
    return detail::to_open_side(plan.parts(),
                                detail::perform<JoinPlan<Joined, Created, Said>::possible>);
}

} // namespace nsjoin

#endif // NSJOIN_OPEN_SIDE_HPP
