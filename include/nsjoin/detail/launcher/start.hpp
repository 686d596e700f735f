// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_START_HPP
#define NSJOIN_DETAIL_LAUNCHER_START_HPP

#include <nsjoin/detail/engine/execute.hpp>
#include <nsjoin/detail/launcher/channel.hpp>
#include <nsjoin/detail/wire/children.hpp>
#include <nsjoin/detail/wire/program_start.hpp>

#include <atomic>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

// How a caller starts a launcher.

namespace nsjoin::inline v0_1::detail {

/// The number under which a launcher finds its socket.
inline constexpr int launcher_socket = 3;

/// What a dynamic linker needs; nothing else of the caller's is to lie in a launcher's memory.
[[nodiscard]] inline auto launcher_environment() -> std::vector<std::string> {
    std::vector<std::string> variables;
    for (std::string& variable : own_environment()) {
        if (variable.rfind("LD_", 0) == 0) {
            variables.push_back(std::move(variable));
        }
    }
    variables.emplace_back("LD_BIND_NOW=1"); // once, not in each joiner
    variables.push_back(std::string{launcher_variable} + "=" + std::to_string(launcher_socket));
    return variables;
}

/// Asks for the status of a child: by its descriptor, or where no number was free for one by its
/// pid, which is its own until it is waited for. waitid(2).
[[nodiscard]] inline auto wait_for_child(const PidFd& child, siginfo_t& info, int how) noexcept
    -> long {
    constexpr int by_pid = 1; // P_PID
    return child.fd().ok()
               ? call(SYS_waitid, p_pidfd, child.fd().get(), &info, WEXITED | wait_all | how,
                      nullptr)
               : call(SYS_waitid, by_pid, child.pid(), &info, WEXITED | wait_all | how, nullptr);
}

/// Whether it is a child of the caller's that nobody has waited for.
[[nodiscard]] inline auto is_child(const PidFd& process) noexcept -> bool {
    siginfo_t info{};
    return wait_for_child(process, info, WNOHANG | WNOWAIT) == 0;
}

/// Ends a child and waits for it, but no longer than a second: one in a frozen cgroup does not end.
[[nodiscard]] inline auto end_soon(const PidFd& child) noexcept -> bool {
    if (child.fd().ok()) {
        (void)child.send_signal(SIGKILL);
        return child.wait(Duration::seconds(1)).has_value();
    }
    if (is_child(child)) {
        (void)call(SYS_kill, child.pid(), SIGKILL);
    }
    siginfo_t info{};
    const Deadline deadline{Duration::seconds(1)};
    const timespec moment{0, 1'000'000};
    long asked = wait_for_child(child, info, WNOHANG);
    while (asked == 0 && info.si_signo == 0 && deadline.left().count() > 0) {
        (void)call(SYS_nanosleep, &moment, nullptr);
        asked = wait_for_child(child, info, WNOHANG);
    }
    return asked != 0 || info.si_signo != 0;
}

/// A launcher that runs, and the socket to it. Ends with this object.
class LauncherConnection {
  public:
    /// `other_end` is the inode of the launcher's end of the socket.
    LauncherConnection(PidFd process, OwnedFd socket, OwnedFd wanted, ino_t other_end) noexcept
        : process_{std::move(process)},
          socket_{std::move(socket)},
          wanted_{std::move(wanted)},
          other_end_{other_end},
          owner_{::getpid()},
          session_{::getsid(0)} {}

    LauncherConnection(const LauncherConnection&) = delete;
    LauncherConnection(LauncherConnection&&) = delete;
    auto operator=(const LauncherConnection&) -> LauncherConnection& = delete;
    auto operator=(LauncherConnection&&) -> LauncherConnection& = delete;

    /// A copy of the process that owns it leaves it alone.
    ~LauncherConnection() {
        if (owner_ != ::getpid()) {
            return;
        }
        (void)call(SYS_shutdown, socket_.get(), SHUT_WR); // it ends its joiners, and itself
        auto status = process_.wait(Duration::seconds(1));
        if (!status) {
            (void)process_.send_signal(SIGKILL);
            status = process_.wait(Duration::seconds(10)); // but of one in a frozen cgroup
        }
        hear_of_joiners();
        for (const auto* const list : {&joiners_, &ending_}) {
            for (const PidFd& joiner : *list) {
                (void)end_soon(joiner);
            }
        }
        if (killed_ || !status || status->wait_status() != 0) {
            socket_.reset(); // there may be no other numbers to look around with
            wanted_.reset();
            (void)process_.release();
            end_marked(other_end_);
        }
    }

    [[nodiscard]] auto socket() const noexcept -> BorrowedFd { return socket_; }

    [[nodiscard]] auto process() const noexcept -> const PidFd& { return process_; }

    /// Whether what it starts is this process's child, and in its session.
    [[nodiscard]] auto serves_this_process() const noexcept -> bool {
        return !given_up_ && owner_ == ::getpid() && session_ == ::getsid(0) && process_.alive();
    }

    /// One of those that waited.
    [[nodiscard]] auto take_joiner(pid_t pid) -> PidFd {
        const std::lock_guard lock{mutex_};
        hear_of_joiners();
        reap(joiners_); // of one that was faster than the word of it, this is another pidfd
        for (PidFd& joiner : joiners_) {
            if (joiner.pid() == pid) {
                PidFd found = std::move(joiner);
                joiner = std::move(joiners_.back());
                joiners_.pop_back();
                return found;
            }
        }
        return PidFd{OwnedFd{}, 0};
    }

    /// One that has done its work, and ends: its status is taken when it is there, by the next call
    /// at the latest, so that nobody waits for memory to be taken apart.
    void leave(PidFd joiner) {
        const std::lock_guard lock{mutex_};
        reap(ending_);
        ending_.push_back(std::move(joiner));
    }

    /// Nobody takes a request: all joiners may be at work, or held up.
    void want_joiner() const noexcept {
        const std::uint64_t one = 1;
        (void)call(SYS_write, wanted_.get(), &one, sizeof one);
    }

    /// A joiner may have made a child that nobody was told of.
    void suspect() noexcept { killed_ = true; }

    /// The same of one that has died: the child ends when it can't tell.
    void reap_untold() {
        suspect();
        std::vector<pid_t> known{process_.pid()};
        {
            const std::lock_guard lock{mutex_};
            hear_of_joiners();
            for (const auto* const list : {&joiners_, &ending_}) {
                for (const PidFd& joiner : *list) {
                    known.push_back(joiner.pid());
                }
            }
        }
        reap_marked(other_end_, known);
    }

    /// It does not answer: the next call is to find another one.
    void give_up() noexcept {
        given_up_ = true;
        (void)process_.send_signal(SIGKILL);
    }

  private:
    /// Takes the statuses of those that have ended, and forgets them.
    static void reap(std::vector<PidFd>& list) {
        std::size_t kept = 0;
        for (PidFd& each : list) {
            siginfo_t info{};
            const long own = wait_for_child(each, info, WNOHANG);
            if (own == 0 && info.si_signo == 0) { // it has not ended
                list[kept++] = std::move(each);
            }
        }
        list.erase(list.begin() + static_cast<std::ptrdiff_t>(kept), list.end());
    }

    /// What the launcher has said meanwhile.
    void hear_of_joiners() {
        for (;;) {
            LauncherSpare spare;
            DescriptorMessage message{&spare, sizeof spare};
            const long size = call_again(SYS_recvmsg, socket_.get(), message.header(),
                                         MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
            if (size != sizeof spare) {
                return;
            }
            OwnedFd pidfd; // none, if there was no number free for it
            (void)message.take({&pidfd, 1});
            joiners_.emplace_back(std::move(pidfd), spare.pid);
        }
    }

    PidFd process_;
    OwnedFd socket_;
    OwnedFd wanted_;
    ino_t other_end_;
    pid_t owner_;
    pid_t session_;
    std::atomic<bool> given_up_{false};
    std::atomic<bool> killed_{false};
    std::mutex mutex_;
    std::vector<PidFd> joiners_; ///< that wait, or ended so
    std::vector<PidFd> ending_;
};

/// The error of who asks a launcher that is not there any more.
[[nodiscard]] inline auto launcher_died() noexcept -> Unexpected {
    return Unexpected{
        Error{Step::start_program, Reason::process_died, unknown_status, Subject{"the launcher"}}};
}

/// The error for a program that ended, or closed its socket, without a first word.
[[nodiscard]] inline auto ended_at_start(const PidFd& process, const std::string& program) noexcept
    -> Unexpected {
    // Its socket is closed before it has ended.
    const Result<ExitStatus> status = process.wait(Duration::milliseconds(100));
    if (status && status->exited() && status->exit_code() == code_without_launcher) {
        return fail(Step::start_program, Reason::no_launcher, program);
    }
    return Unexpected{Error{Step::start_program, Reason::process_died,
                            status ? status->wait_status() : unknown_status, Subject{program}}};
}

/// Waits for a launcher's first word, and takes what comes with it.
[[nodiscard]] inline auto await_hello(const PidFd& process, BorrowedFd socket,
                                      const std::string& program, Duration limit) noexcept
    -> Result<OwnedFd> {
    const Deadline deadline{limit};
    for (long ready = 0; ready <= 0;) {
        std::array<pollfd, 2> entries{pollfd{socket.get(), POLLIN, 0},
                                      pollfd{process.fd().get(), POLLIN, 0}};
        const PollTimeout left{deadline.left()};
        ready = call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
        if (ready == 0) {
            return fail(Step::start_program, Reason::deadline_passed, program);
        }
        if (ready < 0 && ready != -EINTR) {
            return fail(Step::start_program, static_cast<int>(-ready), program);
        }
    }
    LauncherHello hello{0, 0};
    DescriptorMessage message{&hello, sizeof hello};
    const long size =
        call_again(SYS_recvmsg, socket.get(), message.header(), MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    OwnedFd wanted;
    if (size > 0) {
        (void)message.take({&wanted, 1});
    }
    if (size == sizeof hello && hello == LauncherHello{} && wanted.ok()) {
        return wanted;
    }
    if (size < 0 && size != -EAGAIN && size != -ECONNRESET) {
        return fail(Step::start_program, static_cast<int>(-size), program);
    }
    return size > 0
               ? fail(Step::start_program, Reason::bad_message, "a launcher of another version")
               : ended_at_start(process, program);
}

/// Executes the program, by its path or open, with nothing but the socket.
[[nodiscard]] inline auto execute_launcher(const Program& program, BorrowedFd socket)
    -> Result<PidFd> {
    constexpr std::array<const char*, 2> arguments{"nsjoin-launcher", nullptr};
    const std::vector<std::string> variables = launcher_environment();
    std::vector<const char*> environment;
    environment.reserve(variables.size() + 1);
    for (const std::string& variable : variables) {
        environment.push_back(variable.c_str());
    }
    environment.push_back(nullptr);
    const std::array<PassedFd, 1> passed{{{socket, launcher_socket}}};
    const Command command{.program = program,
                          .arguments = arguments,
                          .environment = WordList{environment.data()},
                          .descriptors = passed};
    const Draft nothing;
    return execute_plan(nothing, command, perform<possible({}, {}, 0)>);
}

/// The program in a sealed copy, which costs the memory of one: where it can't be on a mount of its
/// own (before Linux 5.12, without CAP_SYS_ADMIN), and one whom the caller lets act as itself,
/// inside of what is joined, could write the file. The result is not open for what open_sealed()
/// refuses.
[[nodiscard]] inline auto open_sealed_copy(const char* path) noexcept -> OwnedFd {
    const auto place = open_owned(Step::seal_executable, AT_FDCWD, path, O_PATH);

    struct stat about {};

    if (!place || ::fstat(place->get(), &about) != 0 || (about.st_mode & S_IFMT) != S_IFREG) {
        return {};
    }
    if (::geteuid() != 0 && ::geteuid() != about.st_uid) {
        return {};
    }
    const auto program = reopen(Step::seal_executable, *place, O_RDONLY, path);
    if (!program || !is_elf(*program) || changes_rights(*program, about)) {
        return {};
    }
    auto copy = sealed_copy(*program);
    return copy ? *std::move(copy) : OwnedFd{};
}

/// Starts the program, sealed where that can be had.
[[nodiscard]] inline auto start_launcher_program(const std::string& path, BorrowedFd socket)
    -> Result<PidFd> {
    OwnedFd sealed = open_sealed(path.c_str());
    if (!sealed.ok()) {
        sealed = open_sealed_copy(path.c_str());
    }
    if (sealed.ok()) {
        if (auto started = execute_launcher(Program::open_file(sealed), socket)) {
            return started;
        }
    }
    // By its path also where a security module wants to see one.
    return execute_launcher(Program::at(path.c_str()), socket);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_START_HPP
