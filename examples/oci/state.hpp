// SPDX-License-Identifier: Apache-2.0
// What is known of a container between two commands: a directory with state.json, and a FIFO for as
// long as it has not been started.
#ifndef EXAMPLES_OCI_STATE_HPP
#define EXAMPLES_OCI_STATE_HPP

#include "support.hpp"

#include <nsjoin/pid_fd.hpp>

#include <filesystem>
#include <optional>
#include <sstream>
#include <sys/stat.h>

namespace oci {

/// When the process began: with its pid, which process it is. proc_pid_stat(5).
inline auto start_time(pid_t pid) -> std::string {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    std::istringstream words{stat.substr(stat.rfind(')') + 1)};
    std::string word;
    for (int field = 3; field <= 22; ++field) {
        words >> word;
    }
    return word;
}

class State {
  public:
    State(const std::string& root, const std::string& id) : directory_{root + "/" + id} {
        constexpr const char* valid = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_+-.";
        if (id.empty() || id.find_first_not_of(valid) != std::string::npos || id[0] == '.') {
            throw Failure{"a container's id has letters, digits and _+-., not \"" + id + "\""};
        }
    }

    void make() const {
        std::filesystem::create_directories(std::filesystem::path{directory_}.parent_path());
        (void)check(mkdir(directory_.c_str(), 0700), "make the container " + directory_);
        (void)check(mkfifo(fifo().c_str(), 0600), "make " + fifo());
    }

    void load() { facts = json::parse(read_file(directory_ + "/state.json")); }

    void save() const {
        write_file(directory_ + "/new", facts.dump(), O_CREAT);
        (void)check(rename((directory_ + "/new").c_str(), (directory_ + "/state.json").c_str()),
                    "save the state");
    }

    void remove() const noexcept {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    [[nodiscard]] auto exists() const -> bool { return access(directory_.c_str(), F_OK) == 0; }

    [[nodiscard]] auto fifo() const -> std::string { return directory_ + "/start"; }

    /// The container's first process, if it lives.
    [[nodiscard]] auto init() const -> std::optional<nsjoin::PidFd> {
        const auto pid = get<pid_t>(facts, "pid");
        auto process = nsjoin::PidFd::open(pid);
        if (!process || !process->alive() || start_time(pid) != get<std::string>(facts, "start")) {
            return std::nullopt;
        }
        return *std::move(process);
    }

    [[nodiscard]] auto status() const -> const char* {
        return !init() ? "stopped" : access(fifo().c_str(), F_OK) == 0 ? "created" : "running";
    }

    /// What hooks and the command state tell.
    [[nodiscard]] auto told(const char* status) const -> std::string {
        json all = facts;
        all["status"] = status;
        for (const char* own : {"start", "cgroups"}) {
            all.erase(own);
        }
        return all.dump(2);
    }

    json facts;

  private:
    std::string directory_;
};

} // namespace oci

#endif // EXAMPLES_OCI_STATE_HPP
