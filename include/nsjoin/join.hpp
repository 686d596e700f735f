// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_JOIN_HPP
#define NSJOIN_JOIN_HPP

#include <nsjoin/detail/engine/engine.hpp>
#include <nsjoin/plan.hpp>

#include <gsl/assert>

#include <concepts>
#include <optional>

namespace nsjoin::inline v0_1 {

/// On which side of join_and_clone() the code is: in the caller, with the child, or in the child.
class [[nodiscard]] Side {
  public:
    /// The child's side.
    Side() noexcept = default;

    /// The caller's side.
    explicit Side(PidFd child) noexcept : child_{std::move(child)} {}

    [[nodiscard]] auto is_child() const noexcept -> bool { return !child_; }

    /// The child, as the caller sees it: its pid, its pidfd; wait() for it. Precondition: this is
    /// the caller's side.
    [[nodiscard]] auto child() & noexcept -> PidFd& {
        Expects(child_);
        return *child_;
    }

    [[nodiscard]] auto child() const& noexcept -> const PidFd& {
        Expects(child_);
        return *child_;
    }

    void child() && = delete;

  private:
    std::optional<PidFd> child_;
};

namespace detail {

[[nodiscard]] inline auto to_side(const Result<Outcome>& result) noexcept -> Result<Side> {
    if (!result) {
        return Unexpected{result.error()};
    }
    if (result->pid == 0) {
        return Side{};
    }
    return Side{PidFd{OwnedFd{result->pidfd}, result->pid}};
}

[[nodiscard]] inline auto to_side(const Draft& plan, Perform perform) noexcept -> Result<Side> {
    return to_side(run_plan(plan, perform));
}

} // namespace detail

/// Joins, creates, and makes a child that is in all of it: what the plan says. Like fork(2), it
/// returns twice: in the caller when the child has done every step, and then in the child.
///
/// The caller's own namespaces, ids, directories, signals and descriptors stay as they are (but see
/// ChildOf::callers_parent). On failure nothing is left: no process, descriptor or mount.
///
/// The child is a copy of the calling thread, with the caller's descriptors and signal mask, and
/// SIGCHLD as its exit signal. If namespaces are joined, it is not dumpable until it executes
/// another program (PR_SET_DUMPABLE(2const)). No handler of pthread_atfork(3) runs: if the caller
/// has several threads, the child may call only what is async-signal-safe (signal-safety(7))
/// until it executes another program, as after fork(2) in such a process.
///
/// Needs about 16 KiB of the calling thread's stack, and 64 KiB with id maps.
///
/// A joiner between caller and child ends before the call returns and has been waited for; like any
/// child's, its end is announced by a SIGCHLD.
///
/// System calls: setns(2), clone3(2), unshare(2) and what the steps need; explain() lists them.
/// Linux 5.3; each newer call has a fall-back. Errors: the failed step, with what it was done to
/// and why.
[[nodiscard]] inline auto join_and_clone(const Plan& plan) noexcept -> Result<Side> {
    return detail::to_side(plan.parts(), detail::perform<detail::anything()>);
}

/// Does not compile: a draft's rules are not checked yet.
template <std::same_as<Draft> Unchecked>
void join_and_clone(const Unchecked& draft) {
    static_assert(std::same_as<Unchecked, void>,
                  "nsjoin: a Draft is not checked yet: Plan::from(draft), which may fail, first");
    (void)draft;
}

/// The same with a plan of the compiler's: what such a plan can't say is not compiled.
template <unsigned Joined, unsigned Created, unsigned Said>
[[nodiscard]] auto join_and_clone(const JoinPlan<Joined, Created, Said>& plan) noexcept
    -> Result<Side> {
    return detail::to_side(plan.parts(),
                           detail::perform<JoinPlan<Joined, Created, Said>::possible>);
}

} // namespace nsjoin

#endif // NSJOIN_JOIN_HPP
