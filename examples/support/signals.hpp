// SPDX-License-Identifier: Apache-2.0
// The signals of the command's parent.
#ifndef EXAMPLES_SUPPORT_SIGNALS_HPP
#define EXAMPLES_SUPPORT_SIGNALS_HPP

#include "options.hpp"

#include <csignal>

namespace examples {

/// What the command's parent does with signals. They are blocked from before the clone on, so that
/// none comes too early for it.
class Signals {
  public:
    /// Without `fork`, every signal is meant for the command. With it, the parent waits on through
    /// SIGINT and SIGTERM, or with `forward` passes these on; any other one ends it.
    Signals(bool fork, bool forward) : fork_{fork}, forward_{forward} {
        sigfillset(&handled_);
        if (fork) {
            sigemptyset(&handled_);
            for (const int number : {SIGINT, SIGTERM, SIGCHLD}) {
                sigaddset(&handled_, number);
            }
        }
        // An ignored SIGCHLD is not sent at all, and there would be nothing to wait for.
        on_child_ = std::signal(SIGCHLD, SIG_DFL);
        sigprocmask(SIG_BLOCK, &handled_, &before_);
    }

    /// In the child: as they were.
    void restore() const {
        (void)std::signal(SIGCHLD, on_child_);
        sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

    /// Waits until the child ends.
    [[nodiscard]] auto wait(const nsjoin::PidFd& child) const
        -> nsjoin::Result<nsjoin::ExitStatus> {
        if (!fork_) {
            return attend(child);
        }
        while (child.alive()) {
            siginfo_t info{};
            const int number = sigwaitinfo(&handled_, &info);
            // What the terminal sends, the command gets from it.
            if (forward_ && (number == SIGINT || number == SIGTERM) && info.si_code <= 0) {
                (void)child.send_signal(number);
            }
        }
        return child.wait();
    }

  private:
    bool fork_;
    bool forward_;
    sigset_t handled_{};
    sigset_t before_{};
    void (*on_child_)(int) = SIG_DFL;
};

} // namespace examples

#endif // EXAMPLES_SUPPORT_SIGNALS_HPP
