// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_CLONE_ERROR_HPP
#define NSJOIN_DETAIL_ENGINE_CLONE_ERROR_HPP

#include <nsjoin/detail/engine/ask.hpp>
#include <nsjoin/detail/engine/run.hpp>

// Which task of a clone failed, where one call makes a process, places it and creates its
// namespaces.

namespace nsjoin::inline v0_1::detail {

/// Unshares the kinds in one call. When that fails, one by one, to learn which one it was: the
/// process ends anyway.
[[nodiscard]] inline auto unshare_kinds(KindSet kinds) noexcept -> Result<void> {
    const long result = call(SYS_unshare, kinds.clone_flags());
    if (result == 0) {
        return {};
    }
    for (const Kind kind : kinds) {
        const long one = call(SYS_unshare, facts(kind).clone_flag);
        if (one < 0) {
            return outcome(create_step(kind), one);
        }
    }
    return outcome(create_step(*kinds.begin()), result);
}

/// Which of the kinds the kernel refuses to create, as a copy of this process is told that asks. No
/// handler runs in it, and nobody else hears of its end: it has no exit signal.
[[nodiscard]] inline auto find_refused(KindSet kinds) noexcept -> Result<void> {
    SharedHandover shared;
    Handover* const answer = shared.get();
    const KernelSignalSet mask = block_signals();
    const long pid = answer == nullptr ? -ENOMEM : call(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL);
    if (pid == 0) {
        const Result<void> done = unshare_kinds(kinds);
        if (!done) {
            answer->error = done.error();
            answer->failed = true;
        }
        exit_now(0);
    }
    restore_signals(mask);
    if (pid > 0) {
        (void)call_again(SYS_wait4, pid, nullptr, wait_all, nullptr);
    }
    return pid > 0 && answer->failed ? Unexpected{answer->error} : Result<void>{};
}

/// Whether it may be about a namespace: the rights over it, or the limit of such.
[[nodiscard]] constexpr auto is_about_namespaces(int code) noexcept -> bool {
    return code == EPERM || code == EINVAL || code == ENOSPC || code == EUSERS || code == ENOSYS;
}

/// The error of a clone that failed for good, of the task that it could not do: to place the
/// process, to create a namespace, or to make it at all.
[[nodiscard]] inline auto clone_error(const Attempt& attempt, Step step, int code) noexcept
    -> Unexpected {
    KindSet kinds;
    for (const Task& task : attempt.schedule.tasks()) {
        if (task.call == Call::with_clone) {
            kinds = step == Step::make_child ? kinds | task.kinds : kinds;
        }
    }
    if (!kinds.empty() && is_about_namespaces(code)) {
        const Result<void> found = find_refused(kinds);
        if (!found) {
            return Unexpected{found.error()};
        }
    }
    return fail(step, code);
}

/// The error of a clone: the bare one if there is another way to try.
[[nodiscard]] inline auto failed_clone(const Attempt& attempt, std::size_t place,
                                       long result) noexcept -> Unexpected {
    const Task& task = attempt.schedule.list[place];
    const int code = static_cast<int>(-result);
    Facts facts = attempt.run.facts;
    return learn_from_clone(attempt.schedule, task, code, facts)
               ? fail(task.step, code)
               : clone_error(attempt, task.step, code);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_CLONE_ERROR_HPP
