// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_AUDIT_HPP
#define NSJOIN_TESTS_FAULTS_AUDIT_HPP

#include "state.hpp"

#include <nsjoin/error.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <linux/keyctl.h>
#include <string>
#include <sys/wait.h>
#include <vector>

// What the caller finds of itself, and what it tells the harness.

namespace faults {

/// What a run came to, as the caller sees it.
enum class Outcome { none, success, error };

/// Lies in a file that the harness, the caller and the children map or write.
// NOLINTNEXTLINE(*-member-init): shared memory, which the harness sets
struct Report {
    Outcome outcome;
    nsjoin::Error error;
    int child_status; ///< as ExitStatus has it: the code, or 128 and the signal
    int handled;      ///< how often the handler ran in the caller
    int handled_elsewhere;
    char changes[3072]; // NOLINT(*-avoid-c-arrays): shared between programs
    alignas(child_offset) char child[child_size]; // NOLINT(*-avoid-c-arrays)
};

static_assert(offsetof(Report, child) == child_offset);

/// All of the calling process that the library has to leave as it is, threads and all.
class CallerState {
  public:
    CallerState() : text_{read()} {}

    [[nodiscard]] auto text() const -> const std::string& { return text_; }

    /// A line for each difference from what it was.
    [[nodiscard]] auto changes() const -> std::string {
        const std::string now = read();
        if (now == text_) {
            return {};
        }
        return missing(text_, now, "was ") + missing(now, text_, "is ");
    }

  private:
    /// The lines of `all` that `other` has not.
    static auto missing(const std::string& all, const std::string& other, const char* word)
        -> std::string {
        std::string lines;
        for (std::size_t at = 0; at < all.size();) {
            const std::size_t end = all.find('\n', at) + 1;
            const std::string line = all.substr(at, end - at);
            if (other.find(line) == std::string::npos) {
                lines += word + line;
            }
            at = end;
        }
        return lines;
    }

    static auto read() -> std::string {
        std::vector<char> bytes(131'072);
        Text text{bytes.data(), bytes.size()};
        add_process(text);
        add_hash(text, "mounts", "/proc/self/mountinfo");
        add_hash(text, "limits", "/proc/self/limits");
        add_hash(text, "coredump_filter", "/proc/self/coredump_filter");
        text.line("session keyring",
                  ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
        text.line("session", ::getsid(0)).line("group", ::getpgrp());
        add_descriptors(text, "/proc/self", true);
        for (const int thread : threads()) {
            const std::string path = "/proc/self/task/" + std::to_string(thread);
            text.line("thread", thread);
            add_status(text, path);
            add_namespaces(text, path);
            if (thread != ::getpid()) {
                add_descriptors(text, path, false);
            }
        }
        return std::string{text.view()};
    }

    static auto threads() -> std::vector<int> {
        std::vector<int> all;
        DIR* const directory = ::opendir("/proc/self/task");
        while (const dirent* entry = directory == nullptr ? nullptr : ::readdir(directory)) {
            if (entry->d_name[0] != '.') {
                all.push_back(std::atoi(&entry->d_name[0]));
            }
        }
        if (directory != nullptr) {
            ::closedir(directory);
        }
        return all;
    }

    std::string text_;
};

/// Whether the calling process has no child; a dead one that nobody has waited for is one. A tracer
/// takes an end before the caller does, and needs a moment for it.
inline auto has_no_child(std::string& changes) -> bool {
    for (int tries = 0; tries < 400; ++tries) {
        siginfo_t info{};
        const int flags = WEXITED | WNOHANG | WNOWAIT | __WALL;
        if (::waitid(P_ALL, 0, &info, flags) != 0) {
            return errno == ECHILD;
        }
        if (info.si_pid != 0) {
            changes += "a dead child is left: pid " + std::to_string(info.si_pid) + "\n";
            return false;
        }
        ::usleep(1000);
    }
    changes += "a living child is left\n";
    return false;
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_AUDIT_HPP
