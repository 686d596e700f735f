// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_HANDLERS_HPP
#define NSJOIN_DETAIL_KERNEL_HANDLERS_HPP

#include <nsjoin/detail/kernel/syscall.hpp>

#include <array>
#include <cstdint>

// Handlers of a process that is about to execute a program.

namespace nsjoin::inline v0_1::detail {

/// struct sigaction of the kernel, as all zero: SIG_DFL. Four words on every architecture of ours.
using KernelSigaction = std::array<std::uint64_t, 4>;

/// Resets every handler, so that none runs between unblocking the signals and execve(2).
inline void reset_handlers() noexcept {
    constexpr int last = 64;
    for (int number = 1; number <= last; ++number) {
        KernelSigaction now{};
        const long result = call(SYS_rt_sigaction, number, nullptr, now.data(), 8UL);
        if (result == 0 && now[0] > 1) { // neither SIG_DFL nor SIG_IGN
            const KernelSigaction by_default{};
            (void)call(SYS_rt_sigaction, number, by_default.data(), nullptr, 8UL);
        }
    }
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_HANDLERS_HPP
