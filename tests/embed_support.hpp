// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_EMBED_SUPPORT_HPP
#define NSJOIN_TESTS_EMBED_SUPPORT_HPP

#include "engine_support.hpp"

#include <nsjoin/bootstrap.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/supervisor.hpp>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>
#include <vector>

// What the tests of the bootstrap share: messages made by hand, and a supervisor made by hand.

namespace support {

/// A folder that every user can reach, with a copy of embed_probe, for as long as its process
/// lives: the tree may lie in a home that only its owner can reach, and some tests run as uid 1000.
class OpenFolder {
  public:
    OpenFolder() : path_{std::filesystem::temp_directory_path() / "nsjoin_built.XXXXXX"} {
        std::error_code failed;
        const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
        if (::mkdtemp(path_.data()) != nullptr && ::chmod(path_.c_str(), 0755) == 0) {
            std::filesystem::copy_file(self.parent_path() / "embed_probe", path_ + "/embed_probe",
                                       failed);
        }
    }

    ~OpenFolder() {
        if (::getpid() == owner_) { // not in a copy of this process
            std::error_code ignored;
            std::filesystem::remove_all(path_, ignored);
        }
    }

    OpenFolder(const OpenFolder&) = delete;
    OpenFolder(OpenFolder&&) = delete;
    auto operator=(const OpenFolder&) -> OpenFolder& = delete;
    auto operator=(OpenFolder&&) -> OpenFolder& = delete;

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

  private:
    std::string path_;
    pid_t owner_ = ::getpid();
};

inline const OpenFolder open_folder; // made by the process that ends last, not by a child

/// The program `name` that is built beside this one.
inline auto built(const std::string& name) -> std::string {
    return open_folder.path() + "/" + name;
}

/// A message in the bytes of the wire, by hand: it can be as wrong as one likes.
class Wire {
  public:
    explicit Wire(std::uint16_t type = 62000) : type_{type} {}

    /// An attribute with that payload, and a length that may be a lie.
    auto raw(unsigned type, std::string payload, int length = -1) -> Wire& {
        put16(length < 0 ? static_cast<unsigned>(payload.size()) + 4
                         : static_cast<unsigned>(length));
        put16(type);
        body_ += payload;
        return *this;
    }

    auto text(unsigned type, const std::string& text) -> Wire& {
        return raw(type, text + '\0').pad();
    }

    auto word(unsigned type, std::uint32_t value) -> Wire& {
        std::string bytes(4, '\0');
        std::memcpy(bytes.data(), &value, 4);
        return raw(type, bytes);
    }

    auto pad() -> Wire& {
        body_.append((4 - body_.size() % 4) % 4, '\0');
        return *this;
    }

    /// The whole message; `length` and `cut` may make its header a lie.
    [[nodiscard]] auto bytes(int length = -1) const -> std::string {
        std::string all(16, '\0');
        const auto size = static_cast<std::uint32_t>(length < 0 ? body_.size() + 16
                                                                : static_cast<std::size_t>(length));
        std::memcpy(all.data(), &size, 4);
        std::memcpy(all.data() + 4, &type_, 2);
        return all + body_;
    }

  private:
    void put16(unsigned value) {
        const auto word = static_cast<std::uint16_t>(value);
        body_.append(reinterpret_cast<const char*>(&word), 2);
    }

    std::uint16_t type_;
    std::string body_;
};

inline auto as_bytes(const std::string& text) -> std::span<const std::byte> {
    return std::as_bytes(std::span{text.data(), text.size()});
}

/// What came of an embedding program.
struct Embedding {
    int joiner = -1; ///< the exit code of the process that was started
    int child = -1;  ///< that of the child, if there was one
    pid_t pid = 0;   ///< of the child
    bool stalled = false;
    std::string reply;
    std::string log;
    std::string output; ///< of standard output and error
};

/// Starts tests/embed_probe, as a supervisor does, and talks to it.
class HandSupervisor {
  public:
    std::vector<std::string> environment;
    bool has_pipe = true;
    bool has_log = true;
    bool has_standard = true; ///< descriptors 0, 1 and 2
    std::string program = built("embed_probe");

    /// `talk` gets the socket; the reply is read afterwards.
    auto run(const std::function<void(int)>& talk) -> Embedding {
        std::array<int, 2> socket{};
        std::array<int, 2> log{};
        std::array<int, 2> output{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket.data()) == 0);
        REQUIRE(::pipe2(log.data(), O_CLOEXEC) == 0);
        REQUIRE(::pipe2(output.data(), O_CLOEXEC) == 0);
        std::fflush(nullptr);
        const std::set<pid_t> before = children();
        const pid_t joiner = ::fork();
        if (joiner == 0) {
            default_signals();
            start(socket[1], log[1], output[1]);
        }
        for (const int fd : {socket[1], log[1], output[1]}) {
            ::close(fd);
        }
        Embedding result;
        talk(socket[0]);
        result.stalled = !drain(socket[0], result.reply, true);
        result.pid = child_of(result.reply);
        (void)!::send(socket[0], "x", 1, MSG_NOSIGNAL);
        ::close(socket[0]);
        result.stalled = !drain(output[0], result.output, false) || result.stalled;
        result.stalled = !drain(log[0], result.log, false) || result.stalled;
        if (result.stalled) {
            ::kill(joiner, SIGKILL);
            if (result.pid > 0) {
                ::kill(result.pid, SIGKILL);
            }
        }
        result.joiner = wait_for(joiner);
        result.child = result.pid > 0 ? wait_for(result.pid) : -1;
        // A child that failed before it was told of has ended, but is ours all the same.
        for (const pid_t pid : children()) {
            if (before.count(pid) == 0) {
                CHECK(state_and_parent(pid).first == 'Z');
                wait_for(pid);
            }
        }
        ::close(log[0]);
        ::close(output[0]);
        return result;
    }

    auto run(const std::string& message) -> Embedding {
        return run([&](int socket) {
            (void)!::send(socket, message.data(), message.size(), MSG_NOSIGNAL);
        });
    }

  private:
    [[noreturn]] void start(int socket, int log, int output) const {
        ::dup2(output, 1);
        ::dup2(output, 2);
        // Numbers above the ones in use, so that a test can name them.
        ::dup2(socket, 50);
        ::dup2(log, 51);
        std::vector<std::string> all = environment;
        if (has_pipe) {
            all.emplace_back("_LIBCONTAINER_INITPIPE=50");
        }
        if (has_log) {
            all.emplace_back("_LIBCONTAINER_LOGPIPE=51");
        }
        std::vector<char*> pointers;
        for (std::string& variable : all) {
            pointers.push_back(variable.data());
        }
        pointers.push_back(nullptr);
        std::array<char*, 4> arguments{};
        std::array<std::string, 3> words{"probe", "", "two words"};
        for (std::size_t i = 0; i < words.size(); ++i) {
            arguments[i] = words[i].data();
        }
        for (int fd = 0; fd <= 2 && !has_standard; ++fd) {
            ::close(fd);
        }
        ::execve(program.c_str(), arguments.data(), pointers.data());
        ::_exit(127);
    }

    /// Reads to the end of file, or of the line; false after ten seconds without one.
    static auto drain(int fd, std::string& into, bool line) -> bool {
        std::array<char, 4096> part{};
        for (;;) {
            pollfd entry{fd, POLLIN, 0};
            if (::poll(&entry, 1, 10'000) <= 0) {
                return false;
            }
            const ssize_t count = ::read(fd, part.data(), part.size());
            if (count <= 0) {
                return true;
            }
            into.append(part.data(), static_cast<std::size_t>(count));
            if (line && into.back() == '\n') {
                return true;
            }
        }
    }

    static auto child_of(const std::string& reply) -> pid_t {
        for (const std::string label : {"\"stage2_pid\":", "\"pid\" : "}) {
            const std::size_t at = reply.find(label);
            if (at != std::string::npos) {
                return static_cast<pid_t>(
                    std::strtol(reply.c_str() + at + label.size(), nullptr, 10));
            }
        }
        return 0;
    }
};

// Numbers of the wire: CLONE_NEW*.
inline constexpr std::uint32_t flag_net = 0x40000000;
inline constexpr std::uint32_t flag_pid = 0x20000000;
inline constexpr std::uint32_t flag_user = 0x10000000;
inline constexpr std::uint32_t flag_mount = 0x00020000;

inline auto has(const std::string& text, std::string_view part) -> bool {
    if (text.find(part) != std::string::npos) {
        return true;
    }
    std::fprintf(stderr, "no <%.*s> in:\n%s\n", static_cast<int>(part.size()), part.data(),
                 text.c_str());
    return false;
}

inline auto probe(nsjoin::Dialect dialect) -> HandSupervisor {
    HandSupervisor supervisor;
    supervisor.environment = {"PROBE_SEAL=no",
                              "PROBE_DIALECT=" + std::string{nsjoin::facts(dialect).name}};
    return supervisor;
}

inline auto ended_well(const Embedding& ran) -> bool {
    if (!ran.stalled && ran.joiner == 0 && ran.child == 7) {
        return true;
    }
    std::fprintf(stderr, "joiner %d, child %d, stalled %d, reply <%s>\n%s%s", ran.joiner, ran.child,
                 static_cast<int>(ran.stalled), ran.reply.c_str(), ran.log.c_str(),
                 ran.output.c_str());
    return false;
}

/// Ended with a fatal line that says this, and without a child.
inline auto refused(const Embedding& ran, std::string_view says) -> bool {
    return !ran.stalled && ran.joiner == 1 && ran.pid == 0 &&
           has(ran.log, "\"level\":\"fatal\", \"msg\": \"nsexec") && has(ran.log, says);
}

inline auto simple(std::uint32_t flags) -> std::string {
    return Wire{}.word(27281, flags).bytes();
}

inline auto own_link(const char* kind) -> std::string {
    return namespace_link("self", kind);
}

/// Options for tests/embed_probe.
inline auto probe_options(nsjoin::Dialect dialect) -> nsjoin::SupervisorOptions {
    nsjoin::SupervisorOptions options;
    options.dialect = dialect;
    options.program = built("embed_probe");
    options.arguments = {"probe"};
    options.environment = {"PROBE_SEAL=no", "PROBE_QUIET=1",
                           "PROBE_DIALECT=" + std::string{nsjoin::facts(dialect).name}};
    return options;
}

/// As supervise(), waits for the child too: its exit code, or the error.
inline auto supervised(const nsjoin::Plan& plan, const nsjoin::SupervisorOptions& options)
    -> nsjoin::Result<int> {
    const auto embedded = nsjoin::supervise(plan, options);
    if (!embedded) {
        return nsjoin::Unexpected{embedded.error()};
    }
    const auto status = embedded->child.wait(std::chrono::seconds{10});
    if (!status) {
        return nsjoin::Unexpected{status.error()};
    }
    return status->exit_code();
}

inline auto exits_with_7(const nsjoin::Result<int>& code) -> bool {
    if (!code) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(code.error()).c_str());
    }
    return code && *code == 7;
}

} // namespace support

#endif // NSJOIN_TESTS_EMBED_SUPPORT_HPP
