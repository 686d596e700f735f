// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_INJECTION_HPP
#define NSJOIN_TESTS_FAULTS_INJECTION_HPP

#include "state.hpp"

#include <array>
#include <string>
#include <sys/socket.h>
#include <vector>

// What is disturbed, and how.

namespace faults {

/// What is done to a run.
enum class Act : unsigned char { none, fail, part, kill, stop, signal, descriptors, processes };

/// One disturbance: plain data, that lies in memory which several harness processes share.
struct Injection {
    Act act = Act::none;
    bool at_exit = false;
    long number = 0;               ///< of the system call
    int value = 0;                 ///< the errno, the length, or the limit
    unsigned ordinal = 0;          ///< which of this process's calls of that number
    std::array<char, 24> path{};   ///< of the process at the call
    std::array<char, 24> victim{}; ///< of the one that is killed; "target" is the target's init
    unsigned second = 0;           ///< so many calls later another one fails, if not 0
    int second_value = 0;
};

/// A system call that an undisturbed run has made.
struct Call {
    std::string path;
    unsigned ordinal = 0;
    long number = 0;
    long result = 0;
    bool by_stream = false;         ///< the kernel may take or give a part of it
    bool executed = false;          ///< by a program that was executed since
    std::vector<std::string> alive; ///< who was there at its entry
};

/// How a followed run ended.
struct End {
    bool done = false; ///< the disturbance was reached
    bool second_done = false;
    bool late = false;
    int status = -1; ///< of the caller, as waitpid(2) has it
    bool target_ended = false;
    std::string left;
};

inline void copy_path(const std::string& from, std::array<char, 24>& to) {
    Text{to.data(), to.size()}.add(from);
}

/// Whether the descriptor is one of which a part can be read or written: no socket of messages.
inline auto is_stream(pid_t pid, int fd) -> bool {
    std::array<char, 256> link{};
    const std::string number = std::to_string(fd);
    const std::string process = "/proc/" + std::to_string(pid) + "/fd/";
    const std::string_view what = link_of({process, number}, link);
    if (!what.starts_with("socket:")) {
        return what != "?";
    }
    const int of_process = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
    constexpr long pidfd_getfd = 438;
    const int copy = static_cast<int>(::syscall(pidfd_getfd, of_process, fd, 0U));
    int type = 0;
    socklen_t size = sizeof type;
    ::getsockopt(copy, SOL_SOCKET, SO_TYPE, &type, &size);
    ::close(copy);
    ::close(of_process);
    return type == SOCK_STREAM;
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_INJECTION_HPP
