// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_START_HPP
#define NSJOIN_DETAIL_LAUNCHER_START_HPP

#include <nsjoin/detail/launcher/channel.hpp>
#include <nsjoin/detail/wire/program_start.hpp>

#include <string>
#include <unistd.h>
#include <vector>

// How a caller starts a launcher.

namespace nsjoin::detail {

/// What a dynamic linker needs; nothing else of the caller's is to lie in a launcher's memory.
[[nodiscard]] inline auto launcher_environment(int socket) -> std::vector<std::string> {
    std::vector<std::string> variables;
    for (std::string& variable : own_environment()) {
        if (variable.rfind("LD_", 0) == 0) {
            variables.push_back(std::move(variable));
        }
    }
    variables.push_back(std::string{launcher_variable} + "=" + std::to_string(socket));
    return variables;
}

/// A launcher that runs, and the socket to it. Ends with this object.
class LauncherConnection {
  public:
    LauncherConnection(PidFd process, OwnedFd socket) noexcept
        : process_{std::move(process)},
          socket_{std::move(socket)},
          owner_{::getpid()},
          session_{::getsid(0)} {}

    LauncherConnection(const LauncherConnection&) = delete;
    LauncherConnection(LauncherConnection&&) = delete;
    auto operator=(const LauncherConnection&) -> LauncherConnection& = delete;
    auto operator=(LauncherConnection&&) -> LauncherConnection& = delete;

    /// A copy of the process that owns it leaves it alone.
    ~LauncherConnection() {
        socket_.reset();
        if (owner_ == ::getpid()) {
            (void)process_.send_signal(SIGKILL);
            (void)process_.wait();
        }
    }

    [[nodiscard]] auto socket() const noexcept -> BorrowedFd { return socket_; }

    [[nodiscard]] auto process() const noexcept -> const PidFd& { return process_; }

    /// Whether what it starts is this process's child, and in its session.
    [[nodiscard]] auto serves_this_process() const noexcept -> bool {
        return owner_ == ::getpid() && session_ == ::getsid(0) && process_.alive();
    }

  private:
    PidFd process_;
    OwnedFd socket_;
    pid_t owner_;
    pid_t session_;
};

/// Waits for a launcher's first word.
[[nodiscard]] inline auto await_hello(const PidFd& process, BorrowedFd socket,
                                      const std::string& program, Duration limit) noexcept
    -> Result<void> {
    const Deadline deadline{limit};
    for (;;) {
        std::array<pollfd, 2> entries{pollfd{socket.get(), POLLIN, 0},
                                      pollfd{process.fd().get(), POLLIN, 0}};
        const PollTimeout left{deadline.left()};
        const long ready =
            call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
        if (ready == 0) {
            return fail(Step::start_program, Reason::deadline_passed, program);
        }
        if (ready < 0 && ready != -EINTR) {
            return fail(Step::start_program, static_cast<int>(-ready), program);
        }
        if (ready > 0) {
            break;
        }
    }
    LauncherHello hello{0, 0};
    const long size = call_again(SYS_recvfrom, socket.get(), &hello, sizeof hello, MSG_DONTWAIT,
                                 nullptr, nullptr);
    if (size == sizeof hello && hello == LauncherHello{}) {
        return {};
    }
    return size > 0
               ? fail(Step::start_program, Reason::bad_message, "a launcher of another version")
               : fail(Step::start_program, Reason::process_died, program);
}

/// Starts the program, sealed where that can be had.
[[nodiscard]] inline auto start_launcher_program(const SupervisorOptions& options, int socket)
    -> Result<PidFd> {
    const OwnedFd sealed = open_sealed(options.program.c_str());
    ProgramStart start;
    start.inherit(BorrowedFd{socket}, socket);
    const std::vector<std::string> variables = launcher_environment(socket);
    if (sealed.ok()) {
        auto started =
            start.run(options, SmallPath{"/proc/self/fd/"}.append(sealed.get()).c_str(), variables);
        if (started) {
            return started;
        }
    }
    return start.run(options, options.program.c_str(), variables);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_START_HPP
