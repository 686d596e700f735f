// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_QUIET_SIGNAL_HPP
#define NSJOIN_DETAIL_KERNEL_QUIET_SIGNAL_HPP

#include <nsjoin/detail/kernel/syscall.hpp>

#include <csignal>
#include <ctime>

namespace nsjoin::inline v0_1::detail {

/// Holds back, over a scope, the signal that a system call raises for its thread where it also
/// fails (SIGPIPE, SIGXFSZ): the error says enough. One that was pending before stays so.
class QuietSignal {
  public:
    explicit QuietSignal(int number) noexcept : set_{KernelSignalSet{1} << (number - 1)} {
        (void)call(SYS_rt_sigpending, &pending_, sizeof pending_);
        (void)call(SYS_rt_sigprocmask, SIG_BLOCK, &set_, &mask_, sizeof mask_);
    }

    QuietSignal(const QuietSignal&) = delete;
    QuietSignal(QuietSignal&&) = delete;
    auto operator=(const QuietSignal&) -> QuietSignal& = delete;
    auto operator=(QuietSignal&&) -> QuietSignal& = delete;

    ~QuietSignal() { restore_signals(mask_); }

    /// Takes off the one that a call has raised.
    void take() const noexcept {
        const timespec at_once{};
        if ((pending_ & set_) == 0) {
            (void)call_again(SYS_rt_sigtimedwait, &set_, nullptr, &at_once, sizeof set_);
        }
    }

  private:
    KernelSignalSet set_;
    KernelSignalSet pending_ = 0;
    KernelSignalSet mask_ = 0;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_QUIET_SIGNAL_HPP
