// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_STAGE_HPP
#define NSJOIN_TESTS_FAULTS_STAGE_HPP

#include "audit.hpp"

#include <nsjoin/join.hpp>
#include <nsjoin/pid_fd.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>

// What a scenario's caller does around the library's calls.

namespace faults {

/// What the harness gives to a scenario.
struct Given {
    pid_t target = 0;
    Report* report = nullptr;
    int report_fd = -1;
    std::string report_path; ///< of the same, for a program that has no descriptor of it
    std::string probe;       ///< paths of the two programs
    std::string embed;
    int descriptors = -1; ///< the limit that is lowered to so many above those that are open
    int processes = -1;   ///< the user's limit of processes above what it has
    std::string root;     ///< a directory that can become one
    std::string cgroup;
};

inline Report* handler_report = nullptr; // NOLINT(*-non-const-global-variables)
inline pid_t handler_owner = 0;          // NOLINT(*-non-const-global-variables)

inline void count_signal(int /*number*/) {
    const int saved = errno;
    const auto pid = static_cast<pid_t>(::syscall(SYS_getpid));
    if (pid == handler_owner) {
        ++handler_report->handled;
    } else {
        handler_report->handled_elsewhere = pid;
    }
    errno = saved;
}

class Stage {
  public:
    explicit Stage(const Given& given) : given_{given} {
        handler_report = given.report;
        handler_owner = ::getpid();

        struct sigaction action {};

        action.sa_handler = count_signal; // no SA_RESTART: calls come back with EINTR
        ::sigaction(SIGUSR1, &action, nullptr);
        action.sa_handler = SIG_DFL;
        ::sigaction(SIGALRM, &action, nullptr);
    }

    [[nodiscard]] auto given() const -> const Given& { return given_; }

    /// What the caller is like now is what it is to be like at the end.
    void remember() {
        if (!before_) {
            before_.emplace();
        }
    }

    /// Lets itself be traced from here on, so that those are traced whom it makes.
    void trace() {
        if (!traced_) {
            traced_ = true;
            ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            ::raise(SIGSTOP);
        }
    }

    /// The library is called next.
    void begin() {
        remember();
        trace();
        lower_limits();
        mark(mark_begin);
    }

    /// For the child of join_and_clone(), which has its own copy of the handler.
    void is_child() {
        const int own = handler_owner;
        handler_owner = ::getpid();
        if (own != handler_owner && handler_report->handled_elsewhere == handler_owner) {
            handler_report->handled_elsewhere = 0;
        }
    }

    /// The same: says what it is like, and ends.
    [[noreturn]] void in_child() {
        mark(mark_out);
        is_child();
        Text text{&given_.report->child[0], child_size};
        describe_child(text);
        ::_exit(0);
    }

    /// The library has returned; `end` ends what is still the caller's.
    void end(const nsjoin::Result<nsjoin::PidFd>& child) {
        mark(mark_end);
        if (!child) {
            failed(child.error());
            return;
        }
        end_of(*child);
    }

    /// The same of a child that there is.
    void end_of(const nsjoin::PidFd& child) {
        succeeded();
        auto status = child.wait(std::chrono::seconds{2});
        if (!status) { // stopped when the library was through with it, or waited for by others
            (void)child.send_signal(SIGKILL);
            status = child.wait(std::chrono::seconds{2});
        }
        given_.report->child_status = status ? status->exit_code() : -1;
        pollfd entry{child.fd().get(), POLLIN, 0}; // its status may be somebody else's to take
        while (::poll(&entry, 1, 8000) < 0 && errno == EINTR) {
        }
    }

    void failed(const nsjoin::Error& error) {
        mark(mark_end);
        restore_limits();
        given_.report->error = error;
        given_.report->outcome = Outcome::error;
    }

    void succeeded() {
        mark(mark_end);
        restore_limits();
        given_.report->outcome = Outcome::success;
        given_.report->child_status = 0;
    }

    /// Where the caller itself is what comes of it.
    void describe_itself() {
        Text text{&given_.report->child[0], child_size};
        describe_child(text);
    }

    /// Compares the caller with what it was.
    void audit() {
        restore_limits();
        std::string changes = before_->changes();
        (void)has_no_child(changes);
        Text{&given_.report->changes[0], sizeof given_.report->changes}.add(changes);
    }

  private:
    void lower_limits() {
        if (given_.descriptors >= 0) {
            lower(RLIMIT_NOFILE, static_cast<rlim_t>(given_.descriptors));
        }
        if (given_.processes >= 0) {
            lower(RLIMIT_NPROC, static_cast<rlim_t>(given_.processes));
        }
    }

    void lower(int resource, rlim_t value) {
        resource_ = resource;
        ::getrlimit(static_cast<__rlimit_resource>(resource), &limit_);
        const rlimit lowered{value, limit_.rlim_max};
        ::setrlimit(static_cast<__rlimit_resource>(resource), &lowered);
    }

    void restore_limits() const {
        if (resource_ >= 0) {
            ::setrlimit(static_cast<__rlimit_resource>(resource_), &limit_);
        }
    }

    const Given& given_;
    std::optional<CallerState> before_;
    bool traced_ = false;
    int resource_ = -1;
    rlimit limit_{};
};

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_STAGE_HPP
