// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_DUMPABLE_HPP
#define NSJOIN_DETAIL_DUMPABLE_HPP

#include <nsjoin/detail/syscall.hpp>

#include <atomic>
#include <sys/prctl.h>

namespace nsjoin::detail {

/// How many threads of this process need it to be not dumpable, and what it was before.
struct DumpableState {
    std::atomic<pid_t> lock{0}; ///< the process that holds it, or 0
    pid_t process = 0;          ///< whose count this is: a forked copy starts anew
    unsigned holders = 0;
    bool was_dumpable = false;
};

inline DumpableState dumpable_state;

/// The lock of the state, over a scope. A lock of a process that forked is held by nobody in the
/// copy, so another process's number in it counts as free.
class DumpableLock {
  public:
    /// `self`: the pid of the calling process.
    explicit DumpableLock(pid_t self) noexcept : self_{self} {
        for (;;) {
            pid_t holder = 0;
            if (dumpable_state.lock.compare_exchange_strong(holder, self_) ||
                (holder != self_ && dumpable_state.lock.compare_exchange_strong(holder, self_))) {
                break;
            }
            (void)call(SYS_sched_yield);
        }
        if (dumpable_state.process != self_) {
            dumpable_state.process = self_;
            dumpable_state.holders = 0;
        }
    }

    ~DumpableLock() { dumpable_state.lock.store(0); }

    DumpableLock(const DumpableLock&) = delete;
    DumpableLock(DumpableLock&&) = delete;
    auto operator=(const DumpableLock&) -> DumpableLock& = delete;
    auto operator=(DumpableLock&&) -> DumpableLock& = delete;

    /// For a child: what it inherited is not its own, even where its pid is the same number in
    /// another pid namespace.
    static void forget() noexcept {
        dumpable_state.lock.store(0);
        dumpable_state.process = 0;
    }

    /// Whether another thread has cleared the flag for a while: a copy of the process made now
    /// lacks it too.
    [[nodiscard]] static auto cleared() noexcept -> bool {
        return dumpable_state.holders != 0 && dumpable_state.was_dumpable;
    }

  private:
    pid_t self_;
};

/// Keeps this process from being dumpable over a scope: a process that runs on its memory is about
/// to be where others could ptrace it. The flag belongs to the memory, so that threads that do this
/// at once have to count. prctl(2) PR_SET_DUMPABLE.
class NotDumpable {
  public:
    explicit NotDumpable(pid_t self) noexcept : self_{self} {
        const DumpableLock lock{self_};
        if (dumpable_state.holders == 0) {
            const long before = call(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
            dumpable_state.was_dumpable = before == 1;
            failed_ = before == 1 ? call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) : before;
        }
        held_ = failed_ >= 0;
        dumpable_state.holders += held_ ? 1 : 0;
    }

    ~NotDumpable() {
        if (!held_) {
            return;
        }
        const DumpableLock lock{self_};
        // A change of credentials in the other process has cleared the flag of the shared memory
        // too, so it is set again and not only left alone.
        if (--dumpable_state.holders == 0 && dumpable_state.was_dumpable) {
            // Once more if it fails: nothing else gives the flag back.
            if (call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
                (void)call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
            }
        }
    }

    NotDumpable(const NotDumpable&) = delete;
    NotDumpable(NotDumpable&&) = delete;
    auto operator=(const NotDumpable&) -> NotDumpable& = delete;
    auto operator=(NotDumpable&&) -> NotDumpable& = delete;

    /// Why the flag could not be cleared, negative; else 0 or more.
    [[nodiscard]] auto failed() const noexcept -> long { return failed_ < 0 ? failed_ : 0; }

    /// For a child that got a copy of this object: it stays not dumpable.
    void stay() noexcept { held_ = false; }

  private:
    pid_t self_;
    bool held_ = false;
    long failed_ = 0;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_DUMPABLE_HPP
