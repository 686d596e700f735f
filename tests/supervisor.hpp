// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_SUPERVISOR_HPP
#define NSJOIN_TESTS_SUPERVISOR_HPP

#include "engine_support.hpp"

#include <poll.h>
#include <sys/ioctl.h>

// Runs a function in a forked process and holds it, and all that it makes, at the entry of every
// system call (SECCOMP_RET_USER_NOTIF). No tracer is attached, so that another process can try.

namespace support {

/// A process at the entry of a system call.
struct Held {
    pid_t pid = 0;
    long number = 0;
    bool is_main = false; ///< it is the function's own process, and no other that it made
};

class Supervisor {
  public:
    /// Returns 0 to let the call go on, or the errno with which it is to fail.
    using Decide = std::function<int(const Held&)>;

    /// Runs `body`; returns its exit code, or -1 if something was still there after `limit`.
    [[nodiscard]] auto run(const std::function<int()>& body, const Decide& decide,
                           std::chrono::milliseconds limit = std::chrono::seconds{10}) -> int {
        TestPipe pipe;
        std::fflush(nullptr);
        main_ = ::fork();
        if (main_ == 0) {
            default_signals();
            ::_exit(install(pipe) ? body() : 126);
        }
        if (!take_listener(pipe)) {
            ::kill(main_, SIGKILL);
            return wait_for(main_);
        }
        const auto end = std::chrono::steady_clock::now() + limit;
        while (std::chrono::steady_clock::now() < end) {
            if (!serve(decide)) {
                break;
            }
        }
        ::close(listener_);
        return finish();
    }

  private:
    /// Tells first which number the listener will have: afterwards every call waits for it.
    static auto install(const TestPipe& pipe) -> bool {
        const int number = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        std::array<sock_filter, 1> code{
            sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)};
        const sock_fprog program{1, code.data()};
        if (!pipe.put(number) || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            ::close(number) != 0) {
            return false;
        }
        const long listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                        SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        return listener == number && ::close(number) == 0;
    }

    auto take_listener(const TestPipe& pipe) -> bool {
        int number = -1;
        if (!pipe.get(number)) {
            return false;
        }
        const auto target = nsjoin::PidFd::open(main_);
        return eventually([&] {
            constexpr long pidfd_getfd = 438;
            const std::string link = "/proc/" + std::to_string(main_) + "/fd/";
            std::array<char, 64> name{};
            (void)::readlink((link + std::to_string(number)).c_str(), name.data(), name.size() - 1);
            if (std::string_view{name.data()} != "anon_inode:seccomp notify") {
                return false;
            }
            listener_ = static_cast<int>(::syscall(pidfd_getfd, target->fd().get(), number, 0U));
            return listener_ >= 0;
        });
    }

    /// Answers one call; false when nobody is left to make one.
    auto serve(const Decide& decide) -> bool {
        pollfd entry{listener_, POLLIN, 0};
        if (::poll(&entry, 1, 20) > 0 && (entry.revents & POLLIN) == 0) {
            return false;
        }
        if ((entry.revents & POLLIN) == 0) {
            return true;
        }
        seccomp_notif call{};
        if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
            return true;
        }
        const auto pid = static_cast<pid_t>(call.pid);
        const int error = decide({pid, call.data.nr, pid == main_});
        seccomp_notif_resp answer{};
        answer.id = call.id;
        answer.error = -error;
        answer.flags = error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
        (void)::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        return true;
    }

    /// The listener is closed: calls of whoever is left fail with ENOSYS.
    auto finish() const -> int {
        int status = 0;
        if (eventually([&] { return ::waitpid(main_, &status, WNOHANG) == main_; },
                       std::chrono::milliseconds{200})) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        ::kill(main_, SIGKILL);
        wait_for(main_);
        return -1;
    }

    pid_t main_ = -1;
    int listener_ = -1;
};

} // namespace support

#endif // NSJOIN_TESTS_SUPERVISOR_HPP
