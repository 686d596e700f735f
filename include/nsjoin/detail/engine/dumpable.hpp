// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_DUMPABLE_HPP
#define NSJOIN_DETAIL_ENGINE_DUMPABLE_HPP

#include <nsjoin/detail/kernel/syscall.hpp>

#include <cerrno>
#include <new>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

// What all parts of a program share, whatever version of the library each has, as it is about the
// process: this layout stays.
namespace nsjoin::common {

/// How many threads of this process need it to be not dumpable, and what it was before.
struct DumpableState {
    bool locked = false; ///< atomic
    unsigned holders = 0;
    bool was_dumpable = false;
};

/// The same one of two libraries of a program, which may have hidden visibility.
// NOLINTNEXTLINE(*-non-const-global-variables): atomic
[[gnu::visibility("default")]] inline DumpableState* dumpable_page = nullptr;

} // namespace nsjoin::common

namespace nsjoin::inline v0_1::detail {

using common::dumpable_page;
using common::DumpableState;

// The compiler's own atomic operations: an includer's compiler spends more on <atomic> than on
// this.

/// The state of this process, made by the first that asks; null if there was no memory, and `why`
/// is the errno. The kernel empties it in every copy of the process (MADV_WIPEONFORK, Linux 4.14),
/// where nobody holds it.
[[nodiscard]] inline auto dumpable_state(int& why) noexcept -> DumpableState* {
    DumpableState* state = __atomic_load_n(&dumpable_page, __ATOMIC_ACQUIRE);
    if (state != nullptr) {
        return state;
    }
    constexpr std::size_t size = sizeof(DumpableState);
    void* const page =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) { // NOLINT(*-cast,performance-no-int-to-ptr)
        why = errno;
        return nullptr;
    }
    auto* const fresh = ::new (page) DumpableState{};
    const int wiped = ::madvise(page, size, MADV_WIPEONFORK);
    why = wiped == 0 ? 0 : errno;
    if (wiped == 0 && __atomic_compare_exchange_n(&dumpable_page, &state, fresh, false,
                                                  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return fresh;
    }
    (void)::munmap(page, size);
    return state; // another thread's, or none
}

[[nodiscard]] inline auto dumpable_state() noexcept -> DumpableState* {
    int why = 0;
    return dumpable_state(why);
}

/// The lock of the state, over a scope.
class DumpableLock {
  public:
    explicit DumpableLock(DumpableState* state) noexcept : state_{state} {
        while (state_ != nullptr && __atomic_exchange_n(&state_->locked, true, __ATOMIC_ACQUIRE)) {
            (void)call(SYS_sched_yield);
        }
    }

    ~DumpableLock() {
        if (state_ != nullptr) {
            __atomic_store_n(&state_->locked, false, __ATOMIC_RELEASE);
        }
    }

    DumpableLock(const DumpableLock&) = delete;
    DumpableLock(DumpableLock&&) = delete;
    auto operator=(const DumpableLock&) -> DumpableLock& = delete;
    auto operator=(DumpableLock&&) -> DumpableLock& = delete;

    /// Whether another thread has cleared the flag for a while: a copy of the process made now
    /// lacks it too.
    [[nodiscard]] auto cleared() const noexcept -> bool {
        return state_ != nullptr && state_->holders != 0 && state_->was_dumpable;
    }

  private:
    DumpableState* state_;
};

/// Keeps this process from being dumpable over a scope: a process that runs on its memory is about
/// to be where others could ptrace it. The flag belongs to the memory, so that threads that do this
/// at once have to count. prctl(2) PR_SET_DUMPABLE.
class NotDumpable {
  public:
    NotDumpable() noexcept {
        int why = 0;
        state_ = dumpable_state(why);
        if (state_ == nullptr) {
            failed_ = -why;
            return;
        }
        const DumpableLock lock{state_};
        if (state_->holders == 0) {
            const long before = call(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
            state_->was_dumpable = before == 1;
            failed_ = before == 1 ? call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) : before;
        }
        held_ = failed_ >= 0;
        state_->holders += held_ ? 1U : 0U;
    }

    ~NotDumpable() {
        if (!held_) {
            return;
        }
        const DumpableLock lock{state_};
        // A change of credentials in the other process has cleared the flag of the shared memory
        // too, so it is set again and not only left alone.
        if (--state_->holders == 0 && state_->was_dumpable) {
            // Again if it fails: nothing else gives the flag back.
            for (int tries = 0; tries < 3 && call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) < 0;) {
                ++tries;
            }
        }
    }

    NotDumpable(const NotDumpable&) = delete;
    NotDumpable(NotDumpable&&) = delete;
    auto operator=(const NotDumpable&) -> NotDumpable& = delete;
    auto operator=(NotDumpable&&) -> NotDumpable& = delete;

    /// Why the flag could not be cleared, negative; else 0.
    [[nodiscard]] auto failed() const noexcept -> long { return failed_ < 0 ? failed_ : 0; }

    /// For a child that got a copy of this object: it stays not dumpable.
    void stay() noexcept { held_ = false; }

  private:
    DumpableState* state_ = nullptr;
    bool held_ = false;
    long failed_ = 0;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_DUMPABLE_HPP
