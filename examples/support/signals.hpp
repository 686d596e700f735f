// SPDX-License-Identifier: Apache-2.0
// The signals of create.
#ifndef EXAMPLES_SUPPORT_SIGNALS_HPP
#define EXAMPLES_SUPPORT_SIGNALS_HPP

#include "options.hpp"

#include <csignal>
#include <optional>

namespace examples {

/// What create does with signals. They are blocked from before the clone on, so that none comes too
/// early for it.
class CreateSignals {
  public:
    /// Without `fork`, every signal is meant for the command. With it, create waits on through
    /// SIGINT and SIGTERM, or with `forward` passes these on; any other one ends it.
    CreateSignals(bool fork, bool forward) : forward_{forward} {
        // An ignored SIGCHLD is not sent at all, and there would be nothing to wait for. The
        // command has it so, too, as from unshare(1).
        (void)std::signal(SIGCHLD, SIG_DFL);
        if (!fork) {
            all_.emplace();
            return;
        }
        for (const int number : {SIGINT, SIGTERM, SIGCHLD}) {
            sigaddset(&few_, number);
        }
        sigprocmask(SIG_BLOCK, &few_, &before_);
    }

    /// In the child: as they were.
    void restore() const {
        if (all_) {
            all_->restore();
        } else {
            sigprocmask(SIG_SETMASK, &before_, nullptr);
        }
    }

    /// Waits until the child ends.
    [[nodiscard]] auto wait(const nsjoin::PidFd& child) const
        -> nsjoin::Result<nsjoin::ExitStatus> {
        if (all_) {
            return all_->attend(child);
        }
        while (child.alive()) {
            siginfo_t info{};
            const int number = sigwaitinfo(&few_, &info);
            // What the terminal sends, the command gets from it.
            if (forward_ && (number == SIGINT || number == SIGTERM) && info.si_code <= 0) {
                (void)child.send_signal(number);
            }
        }
        return child.wait();
    }

  private:
    bool forward_;
    std::optional<Signals> all_{}; ///< without --fork
    sigset_t few_{};
    sigset_t before_{};
};

} // namespace examples

#endif // EXAMPLES_SUPPORT_SIGNALS_HPP
