// SPDX-License-Identifier: Apache-2.0
// The process of a configuration: what it says of a plan and of a command.
#ifndef EXAMPLES_OCI_PROCESS_HPP
#define EXAMPLES_OCI_PROCESS_HPP

#include "rootfs.hpp"

#include <nsjoin/console.hpp>
#include <nsjoin/pipe.hpp>
#include <nsjoin/plan/draft.hpp>
#include <nsjoin/spawn.hpp>

#include <array>
#include <sstream>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace oci {

inline auto capability_set(const json& names) -> nsjoin::CapabilitySet {
    nsjoin::CapabilitySet set;
    for (const std::string name : names) {
        nsjoin::Capability capability{};
        set = nsjoin::capability_from_name(name, capability) ? set | capability : set;
    }
    return set;
}

inline void say_process(nsjoin::Draft& draft, const json& process, const std::string& directory) {
    std::vector<gid_t> groups;
    for (const json& group : at(process, "user/additionalGids")) {
        groups.push_back(integer<gid_t>(group, "additionalGids"));
    }
    draft.credentials = {.uid = get<uid_t>(process, "user/uid"),
                         .gid = get<gid_t>(process, "user/gid"),
                         .groups = groups.empty() ? nsjoin::Groups{} : nsjoin::Groups{groups}};
    if (const json& sets = at(process, "capabilities"); !sets.is_null()) {
        const auto set = [&sets](const char* name) {
            return capability_set(at(sets, name));
        };
        const auto permitted = set("permitted");
        const auto inheritable = set("inheritable");
        draft.capabilities = {set("bounding"), permitted, set("effective"), inheritable,
                              set("ambient") & permitted & inheritable};
    }
    draft.no_new_privileges = get<bool>(process, "noNewPrivileges");
    draft.umask = get<std::uint16_t>(process, "user/umask", 022);
    if (process.contains("oomScoreAdj")) {
        draft.oom_score_adj = get<int>(process, "oomScoreAdj");
    }
    draft.working_directory_path = directory;
    draft.new_session = true;
}

/// In the runtime, from whom they are inherited: a command's own are set when the capabilities are
/// gone, and in a user namespace of the container's no right raises them.
inline void set_limits(const json& process) {
    constexpr std::array<const char*, 16> names{
        "CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
        "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};
    for (const json& limit : at(process, "rlimits")) {
        const auto type = limit.at("type").get<std::string>();
        const rlimit value{integer<rlim_t>(limit.at("soft"), type),
                           integer<rlim_t>(limit.at("hard"), type)};
        std::size_t number = 0;
        while (number < names.size() && type != std::string{"RLIMIT_"} + names[number]) {
            ++number;
        }
        if (number == names.size()) {
            throw Failure{"there is no limit " + type};
        }
        (void)check(setrlimit(static_cast<__rlimit_resource>(number), &value), "set " + type);
    }
}

/// The command of a process, with the descriptors from 3 on that are to stay.
class ProcessCommand {
  public:
    ProcessCommand(const json& process, int preserved)
        : words_{process.at("args").get<Words>()}, variables_{oci::get<Words>(process, "env")} {
        if (words_.empty()) {
            throw Failure{"process.args is empty"};
        }
        for (int number = 3; number < 3 + preserved; ++number) {
            passed_.push_back({nsjoin::BorrowedFd{number}, number});
        }
        for (const std::string& variable : variables_) {
            path_ = variable.starts_with("PATH=") ? variable.substr(5) : path_;
        }
    }

    [[nodiscard]] auto command() const -> nsjoin::Command {
        return {.program = nsjoin::Program::in_path(words_.front().c_str(), path_),
                .arguments = arguments_.data(),
                .environment = nsjoin::WordList{environment_.data()},
                .descriptors = passed_,
                .signal_mask = sigset_t{}};
    }

    /// Throws if there is no such program: what a caller is to learn before the process is started.
    void look() const {
        const std::string& name = words_.front();
        std::istringstream list{name.find('/') == std::string::npos ? path_ : ""};
        int error =
            name.find('/') != std::string::npos && access(name.c_str(), X_OK) == 0 ? 0 : errno;
        for (std::string directory; std::getline(list, directory, ':');) {
            const std::string file = std::string{directory}.append("/").append(name);

            struct stat about {};

            if (access(file.c_str(), X_OK) == 0 && stat(file.c_str(), &about) == 0 &&
                S_ISREG(about.st_mode)) {
                return;
            }
            error = errno == EACCES ? EACCES : ENOENT;
        }
        if (error != 0) {
            throw Failure{"executable file not found in $PATH: " + name, error};
        }
    }

  private:
    Words words_;
    Words variables_;
    std::string path_ = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    std::vector<const char*> arguments_ = pointers(words_);
    std::vector<const char*> environment_ = pointers(variables_);
    std::vector<nsjoin::PassedFd> passed_;
};

/// The terminal of a process: made inside, sent to the console socket, and taken at last.
class Terminal {
  public:
    Terminal(const json& process, const std::string& path)
        : process_{process}, wanted_{get<bool>(process, "terminal")} {
        if (!wanted_) {
            return;
        }
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        if (path.empty() || path.size() >= sizeof address.sun_path) {
            throw Failure{"a terminal needs a --console-socket"};
        }
        path.copy(address.sun_path, path.size());
        socket_.reset(check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
        (void)check(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), // NOLINT
                            sizeof address),
                    "connect to " + path);
    }

    void make(const nsjoin::OwnedFd& devpts, const Rootfs* root) {
        if (!wanted_) {
            return;
        }
        auto console = need(nsjoin::Console::open_in(devpts));
        (void)check(fchown(console.peer.fd().get(), get<uid_t>(process_, "user/uid"),
                           static_cast<gid_t>(-1)),
                    "own the terminal");
        if (const json& size = at(process_, "consoleSize"); !size.is_null()) {
            need(nsjoin::set_window_size(console.master.fd(),
                                         {size.at("height"), size.at("width")}));
        }
        need(nsjoin::send_descriptor(socket_, console.master.fd(), "/dev/ptmx"));
        peer_ = console.peer.release();
        if (root != nullptr) {
            root->bind_file(path_of(peer_), "/dev/console");
        }
    }

    void take() const {
        if (wanted_) {
            need(nsjoin::take_console(peer_));
        }
    }

  private:
    const json& process_;
    bool wanted_;
    nsjoin::OwnedFd socket_;
    nsjoin::OwnedFd peer_;
};

} // namespace oci

#endif // EXAMPLES_OCI_PROCESS_HPP
