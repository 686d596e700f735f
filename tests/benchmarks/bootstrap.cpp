// SPDX-License-Identifier: Apache-2.0
#include "jobs.hpp"

#include <nsjoin/detail/wire/seal.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

// A supervisor of runc 1.1's protocol, for programs with its nsexec.c and with our constructor.

namespace bench {
namespace {

using nsjoin::Kind;
using nsjoin::KindSet;

/// A message of the protocol: a netlink header and attributes.
class Message {
  public:
    Message() { bytes_.resize(header_size); }

    void add(std::uint16_t type, std::string_view payload) {
        append(static_cast<std::uint16_t>(4 + payload.size()));
        append(type);
        bytes_.insert(bytes_.end(), payload.begin(), payload.end());
        bytes_.resize((bytes_.size() + 3) / 4 * 4);
    }

    void add(std::uint16_t type, std::uint32_t value) {
        std::array<char, sizeof value> payload{};
        std::memcpy(payload.data(), &value, sizeof value);
        add(type, {payload.data(), payload.size()});
    }

    [[nodiscard]] auto finish() -> const std::vector<char>& {
        const auto length = static_cast<std::uint32_t>(bytes_.size());
        const std::uint16_t type = 62000;
        const std::uint16_t request = 1;
        std::memcpy(bytes_.data(), &length, sizeof length);
        std::memcpy(bytes_.data() + 4, &type, sizeof type);
        std::memcpy(bytes_.data() + 6, &request, sizeof request);
        return bytes_;
    }

  private:
    static constexpr std::size_t header_size = 16;

    void append(std::uint16_t value) {
        std::array<char, sizeof value> raw{};
        std::memcpy(raw.data(), &value, sizeof value);
        bytes_.insert(bytes_.end(), raw.begin(), raw.end());
    }

    std::vector<char> bytes_;
};

/// What `runc exec` sends: the target's namespaces by path, the user namespace first.
auto exec_message(KindSet kinds) -> std::vector<char> {
    std::string paths;
    for (const Kind kind : kinds) {
        const std::string name{nsjoin::facts(kind).name};
        paths += (paths.empty() ? "" : ",") + name + ":/proc/" + std::to_string(scene.target) +
                 "/ns/" + name;
    }
    constexpr std::uint16_t clone_flags = 27281;
    constexpr std::uint16_t ns_paths = 27282;
    constexpr std::uint16_t setgroups = 27285;
    constexpr std::uint16_t oom_score_adj = 27286;
    constexpr std::uint16_t rootless = 27287;
    Message message;
    message.add(clone_flags, 0);
    message.add(ns_paths, std::string_view{paths.c_str(), paths.size() + 1});
    message.add(setgroups, 0);
    message.add(oom_score_adj, std::string_view{"0", 2});
    message.add(rootless, 0);
    return message.finish();
}

/// Reads until a line ends: the reply, and maybe a byte of an earlier stage before it.
auto read_line(int fd) -> std::string {
    std::string text;
    std::array<char, 256> part{};
    ssize_t count = 0;
    while (text.find('\n') == std::string::npos &&
           (count = ::read(fd, part.data(), part.size())) > 0) {
        text.append(part.data(), static_cast<std::size_t>(count));
    }
    return text;
}

auto number_after(const std::string& text, std::string_view label) -> pid_t {
    const std::size_t at = text.find(label);
    return at == std::string::npos
               ? -1
               : static_cast<pid_t>(std::strtol(text.c_str() + at + label.size(), nullptr, 10));
}

/// The program as it is to be executed; not open: by its path.
auto opened(const std::string& program, From from) -> nsjoin::OwnedFd {
    if (from == From::mount) {
        return nsjoin::detail::open_sealed(program.c_str());
    }
    if (from == From::memory) {
        const nsjoin::OwnedFd file{::open(program.c_str(), O_RDONLY | O_CLOEXEC)};
        auto copy = nsjoin::detail::sealed_copy(file);
        return copy ? *std::move(copy) : nsjoin::OwnedFd{};
    }
    return {};
}

/// Starts the program with the pipe as its descriptor 3.
auto start(const std::string& program, From from, int pipe) -> pid_t {
    const nsjoin::OwnedFd sealed = opened(program, from);
    if (from != From::path && !sealed.ok()) {
        return -1;
    }
    const std::string path =
        sealed.ok() ? "/proc/self/fd/" + std::to_string(sealed.get()) : program;
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe, 3);
    std::array<char*, 2> words{const_cast<char*>(program.c_str()), nullptr}; // NOLINT(*-const-cast)
    std::string pipe_variable{"_LIBCONTAINER_INITPIPE=3"};
    std::array<char*, 2> environment{pipe_variable.data(), nullptr};
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, path.c_str(), &actions, nullptr, words.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    return error == 0 ? pid : -1;
}

/// Waits for the byte that says that the program is past its own start, and a little longer, until
/// it waits for the message.
void await_start(int pipe) {
    pollfd entry{pipe, POLLIN, 0};
    (void)::poll(&entry, 1, 1000);
    ::usleep(200);
}

/// Waits for the processes that an answer names; whether all ended well.
auto ended_well(pid_t pid, const std::string& answer) -> bool {
    bool good = true;
    for (const pid_t each :
         {pid, number_after(answer, "\"stage1_pid\":"), number_after(answer, "\"stage2_pid\":")}) {
        int status = 0;
        if (each > 0 && ::waitpid(each, &status, 0) == each) {
            good = good && status == 0;
        }
    }
    return good;
}

} // namespace

auto bootstrap(const std::string& program, Start how, KindSet kinds) -> Nanoseconds {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return failed;
    }
    // Else the program's 3 would be the very descriptor, and stay close-on-exec, or that of the
    // program itself.
    const int other = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
    const std::vector<char> message = exec_message(kinds);
    pid_t pid = -1;
    std::string answer;
    const auto begin = [&] {
        pid = start(program, how.from, other);
        ::close(ends[1]);
        ::close(other);
    };
    const auto ask = [&] {
        const auto length = static_cast<ssize_t>(message.size());
        if (pid < 0 || ::write(ends[0], message.data(), message.size()) != length) {
            return false;
        }
        answer = read_line(ends[0]);
        return !answer.empty();
    };
    if (!how.whole) {
        begin();
    }
    if (how.waiting) {
        await_start(ends[0]);
    }
    const Nanoseconds result = timed([&] {
        if (how.whole) {
            begin();
        }
        return ask();
    });
    const bool good = ended_well(pid, answer) && result >= 0;
    ::close(ends[0]);
    return good ? result : failed;
}

} // namespace bench
