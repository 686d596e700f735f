// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_SOAK_DISTURBANCE_HPP
#define NSJOIN_TESTS_SOAK_DISTURBANCE_HPP

#include "targets.hpp"

#include <atomic>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <thread>
#include <vector>

// What happens meanwhile: processes are killed and stopped, descriptors run out, calls fail; and
// who notices that a descriptor of theirs was closed by somebody else.

namespace soak {

/// What was seen that must not be; any thread adds to it, and a handler to the number.
struct Violations {
    void add(const std::string& text) {
        const std::lock_guard lock{mutex};
        if (list.size() < 50) {
            std::fprintf(stderr, "FAIL %s\n", text.c_str());
        }
        list.push_back(text);
    }

    std::mutex mutex;
    std::vector<std::string> list;
};

/// Kills and stops children that are no targets, lets targets die, and descriptors run out.
class Mayhem {
  public:
    Mayhem(Targets& targets, std::atomic<bool>& over, std::uint64_t seed)
        : targets_{targets}, over_{over}, random_{seed} {
        ::getrlimit(RLIMIT_NOFILE, &usual_);
    }

    void run() {
        while (!over_) {
            switch (below(random_, 8)) {
            case 0:
                targets_.replace(random_);
                break;
            case 1:
                lower_limit();
                break;
            case 2:
            case 3:
                disturb(SIGSTOP);
                break;
            default:
                disturb(SIGKILL);
            }
            ::usleep(static_cast<useconds_t>(below(random_, 4000)));
        }
    }

    std::atomic<pid_t> launcher{0}; ///< which is ended less often than others
    std::size_t kills = 0;
    std::size_t stops = 0;
    std::size_t limits = 0;

  private:
    void lower_limit() {
        rlimit low = usual_;
        low.rlim_cur = support::open_descriptors().size() + below(random_, 24);
        if (low.rlim_cur < usual_.rlim_cur && ::setrlimit(RLIMIT_NOFILE, &low) == 0) {
            ::usleep(static_cast<useconds_t>(below(random_, 2000)));
            ::setrlimit(RLIMIT_NOFILE, &usual_);
            ++limits;
        }
    }

    /// To one that is surely a child of this process now: the number alone could be another's.
    void disturb(int signal) {
        const auto all = support::children();
        if (all.empty()) {
            return;
        }
        const pid_t pid =
            *std::next(all.begin(), static_cast<std::ptrdiff_t>(below(random_, all.size())));
        if (targets_.has(pid) || (pid == launcher && !one_of(random_, 50))) {
            return;
        }
        const auto child = nsjoin::PidFd::open(pid);
        if (!child || support::state_and_parent(pid).second != ::getpid() || targets_.has(pid)) {
            return;
        }
        if (child->send_signal(signal)) {
            ++(signal == SIGKILL ? kills : stops);
        }
        if (signal == SIGSTOP) {
            ::usleep(static_cast<useconds_t>(below(random_, 3000)));
            (void)child->send_signal(SIGCONT);
        }
    }

    Targets& targets_;
    std::atomic<bool>& over_;
    Random random_;
    rlimit usual_{};
};

/// Opens descriptors, and sees whether they are still the same a little later.
inline void guard_descriptors(std::atomic<bool>& over, Violations& violations, std::uint64_t seed) {
    struct Owned {
        int fd = -1;
        std::uint64_t value = 0;
    };

    std::array<Owned, 16> all{};
    Random random{seed};
    const auto give_up = [&](Owned& one) {
        std::uint64_t value = 0;
        if (one.fd < 0) {
            return;
        }
        if (::read(one.fd, &value, sizeof value) != sizeof value || value != one.value) {
            violations.add("descriptor " + std::to_string(one.fd) +
                           " of another thread is not what it was");
        }
        if (::close(one.fd) != 0) {
            violations.add("descriptor " + std::to_string(one.fd) +
                           " of another thread was closed");
        }
        one.fd = -1;
    };
    while (!over) {
        Owned& one = all[below(random, all.size())];
        give_up(one);
        one.value = 1 + below(random, 1U << 30U);
        one.fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (one.fd >= 0 && ::write(one.fd, &one.value, sizeof one.value) != sizeof one.value) {
            violations.add("an eventfd could not be written");
        }
        ::usleep(static_cast<useconds_t>(below(random, 200)));
    }
    std::for_each(all.begin(), all.end(), give_up);
}

/// The errors that a call fails with at random, in a thread that asks for it and in its children.
inline constexpr std::array injected_errors{ENOMEM, EPERM, EAGAIN, ENOSYS, EMFILE, EACCES, EINTR};
inline constexpr std::array injected_calls{
    SYS_clone3,    SYS_clone,   SYS_setns,      SYS_unshare,    SYS_openat,     SYS_sendto,
    SYS_recvfrom,  SYS_sendmsg, SYS_recvmsg,    SYS_pidfd_open, SYS_setresuid,  SYS_setresgid,
    SYS_setgroups, SYS_prctl,   SYS_socketpair, SYS_pipe2,      SYS_readlinkat, SYS_ppoll};

/// The calling thread's calls, and those of the processes that it makes, are asked about through
/// the descriptor; -1 if that can't be had.
inline auto ask_about_calls() -> int {
    constexpr std::size_t count = injected_calls.size();
    std::array<sock_filter, count + 3> code{};
    code[0] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    for (std::size_t i = 0; i < count; ++i) {
        code[i + 1] =
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(injected_calls[i]),
                     static_cast<std::uint8_t>(count - i), 0);
    }
    code[count + 1] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[count + 2] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    // Where a signal would begin the question anew, a storm of them leaves no time for the answer.
    constexpr unsigned wait_killable = 1U << 5U;
    return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                      SECCOMP_FILTER_FLAG_NEW_LISTENER | wait_killable, &program));
}

/// Answers: one of some hundred calls fails. Returns when nobody is left who could ask.
inline void answer(int listener, std::atomic<bool>& over, std::uint64_t seed,
                   std::atomic<std::size_t>& injected) {
    Random random{seed};
    while (true) {
        pollfd entry{listener, POLLIN, 0};
        if (::poll(&entry, 1, 100) <= 0) {
            if (over) {
                break;
            }
            continue;
        }
        seccomp_notif question{};
        if ((entry.revents & POLLIN) == 0) {
            break;
        }
        if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) != 0) {
            continue;
        }
        seccomp_notif_resp response{question.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (one_of(random, 150)) {
            response.flags = 0;
            response.error = -injected_errors[below(random, injected_errors.size())];
            ++injected;
        }
        (void)::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    }
    ::close(listener);
}

} // namespace soak

#endif // NSJOIN_TESTS_SOAK_DISTURBANCE_HPP
