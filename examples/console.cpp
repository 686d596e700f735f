// SPDX-License-Identifier: Apache-2.0
//
// console: runs a command, or a shell, as root of new namespaces, on a terminal of its own, and
// relays that terminal to the one it was started on.
//
// Three processes: this one relays; pid 1 of the new pid namespace mounts /proc and reaps; the
// command is pid 1's child, and leads the session of the terminal.
#include "support/flow.hpp"
#include "support/options.hpp"
#include "support/typing.hpp"

#include <nsjoin/console.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <getopt.h>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace {

using examples::complain;
using examples::describe;
using nsjoin::BorrowedFd;
using nsjoin::Kind;

constexpr const char* usage = R"(usage: console [OPTION...] [COMMAND [ARGUMENT...]]

Runs COMMAND, or a login shell, as root of new user, mount, pid, net, ipc, uts
and cgroup namespaces, on a terminal of its own. Exits as COMMAND does.

  --hostname NAME  the host name inside; "console" without this
  --host-proc      leave /proc as it is, where the kernel does not let a new one be mounted
  --explain        say what would be done, step by step, and do nothing
  -h, --help       print this
)";

// ── What the user asks for ──────────────────────────────────────────────────────────────────────

struct Options {
    const char* hostname = "console";
    bool host_proc = false;
    bool explain = false;
    bool help = false;
    char** command = nullptr; ///< ended by a null pointer; empty for a shell
};

/// Returns nothing after an error, which getopt has printed.
[[nodiscard]] auto parse(int argc, char** argv) -> std::optional<Options> {
    static constexpr std::array<option, 5> known{{
        {"hostname", required_argument, nullptr, 'n'},
        {"host-proc", no_argument, nullptr, 'p'},
        {"explain", no_argument, nullptr, 'e'},
        {"help", no_argument, nullptr, 'h'},
        {nullptr, 0, nullptr, 0},
    }};
    Options options;
    for (int c = 0; (c = getopt_long(argc, argv, "+h", known.data(), nullptr)) != -1;) {
        switch (c) {
        case 'n':
            options.hostname = optarg;
            break;
        case 'p':
            options.host_proc = true;
            break;
        case 'e':
            options.explain = true;
            break;
        case 'h':
            options.help = true;
            break;
        default:
            return std::nullopt;
        }
    }
    options.command = argv + optind;
    return options;
}

// ── Inside ──────────────────────────────────────────────────────────────────────────────────────

/// Ends the process if `result` is not 0. Where the errno does not say it, `denied` says why EPERM.
void must(int result, const char* what, const char* object, const char* denied = "") {
    if (result != 0) {
        complain(describe(what, object, errno, errno == EPERM ? denied : ""));
        _exit(EXIT_FAILURE);
    }
}

/// Mounts here stay here: in the mount namespace of a new user namespace, all that is copied from
/// the old one is a slave of it. mount_namespaces(7).
void furnish(const Options& options) {
    must(sethostname(options.hostname, std::strlen(options.hostname)), "set the host name",
         options.hostname);
    if (!options.host_proc) {
        must(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr), "mount",
             "/proc", "parts of the old /proc are covered, as in a container: try --host-proc");
    }
}

/// The kernel tells the leader of a terminal's session that it was hung up, and the jobs of the
/// foreground when the leader has ended. The terminal must be nobody's.
void lead_session() {
    must(setsid() < 0 ? -1 : 0, "make a session", "");
    must(ioctl(STDIN_FILENO, TIOCSCTTY, 0), "take the terminal", "");
}

[[nodiscard]] auto is_hung_up() -> bool {
    pollfd terminal{STDIN_FILENO, 0, 0};
    return poll(&terminal, 1, 0) > 0 && (terminal.revents & POLLHUP) != 0;
}

/// Reaps, and ends as the command does. After a hang-up waits for its jobs too, for they hear of it
/// only now; the relay ends what takes too long.
[[noreturn]] void reap_until_end_of(pid_t command) {
    int code = EXIT_FAILURE;
    for (int status = 0;;) {
        const pid_t ended = wait(&status);
        if (ended == command) {
            code = nsjoin::ExitStatus{status}.exit_code();
        }
        if (ended < 0 || (ended == command && !is_hung_up())) {
            _exit(code);
        }
    }
}

/// Pid 1 takes no signal that it has no handler for, neither ^C nor a hang-up, and inherits the
/// orphans of its namespace: so the command is a child of it, and gets the terminal. When pid 1
/// ends, the kernel ends the rest.
[[noreturn]] void be_init(const Options& options) {
    furnish(options);
    must(ioctl(STDIN_FILENO, TIOCNOTTY), "give up the terminal", "");
    const pid_t command = fork();
    must(command < 0 ? -1 : 0, "make the command's process", "");
    if (command == 0) {
        lead_session();
        examples::execute(options.command);
    }
    close_range(3, ~0U, 0);
    reap_until_end_of(command);
}

// ── Outside: the relay ──────────────────────────────────────────────────────────────────────────

/// Lets every signal come through a descriptor, so that none ends the program while its terminal
/// is raw. The kernel's own about faults stay as they are; so do those that stop a job for touching
/// the terminal in the background.
[[nodiscard]] auto open_signals() -> nsjoin::OwnedFd {
    sigset_t set;
    sigfillset(&set);
    for (const int number :
         {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGTTIN, SIGTTOU}) {
        sigdelset(&set, number);
    }
    nsjoin::OwnedFd signals{signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (signals.ok()) {
        sigprocmask(SIG_BLOCK, &set, nullptr);
    }
    return signals;
}

/// Whether whoever started this had it ignored, as nohup(1) does.
[[nodiscard]] auto is_ignored(int number) -> bool {
    struct sigaction action {};

    return sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

/// Ends this process as the signal would have.
void die_of(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    raise(number);
}

/// The first standard descriptor that is a terminal.
[[nodiscard]] auto outer_terminal() -> BorrowedFd {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (nsjoin::is_terminal(BorrowedFd{standard})) {
            return BorrowedFd{standard};
        }
    }
    return {};
}

class Relay {
  public:
    Relay(nsjoin::Console& console, const nsjoin::PidFd& child)
        : console_{console}, child_{child} {}

    /// Relays until the child ends, then returns 0, or until a signal ends this, then returns it.
    [[nodiscard]] auto run() -> int {
        const BorrowedFd master = console_.master.fd();
        fcntl(master.get(), F_SETFL, O_RDWR | O_NONBLOCK);
        resume();
        int signal = 0;
        for (bool child_ended = false; signal == 0 && !child_ended;) {
            std::array<pollfd, 6> events{{{signals_.get(), POLLIN, 0},
                                          {child_.fd().get(), POLLIN, 0},
                                          in_.wants_to_read(),
                                          in_.wants_to_write(),
                                          out_.wants_to_read(),
                                          out_.wants_to_write()}};
            poll(events.data(), events.size(), in_.patience());
            child_ended = events[1].revents != 0;
            signal = events[0].revents != 0 ? take_signal() : 0;
            in_.move(events[2], events[3]);
            out_.move(events[4], events[5]);
            signal = signal == 0 ? end_of_flow() : signal;
        }
        if (signal == 0) {
            out_.drain();
        }
        raw_.reset();
        return signal;
    }

  private:
    /// The signal that the end of a flow is like, or 0.
    [[nodiscard]] auto end_of_flow() -> int {
        if (out_.broken()) {
            return SIGPIPE;
        }
        if (!in_.ended()) {
            return 0;
        }
        if (in_.by_a_user()) {
            return SIGHUP;
        }
        in_.type_end_of_file();
        return 0;
    }

    /// Acts on a signal. Returns it if it is one that ends the program, else 0.
    [[nodiscard]] auto take_signal() -> int {
        signalfd_siginfo info{};
        if (::read(signals_.get(), &info, sizeof info) != sizeof info) {
            return 0;
        }
        const int number = static_cast<int>(info.ssi_signo);
        switch (number) {
        case SIGCHLD:
        case SIGURG:
            return 0;
        case SIGWINCH:
            copy_size();
            return 0;
        case SIGTSTP:
            raw_.reset();
            raise(SIGSTOP);
            return 0;
        case SIGCONT:
            resume();
            return 0;
        default:
            return is_ignored(number) ? 0 : number;
        }
    }

    /// Takes the terminal: at the start, and after a stop, as the shell has taken it meanwhile.
    void resume() {
        raw_.reset();
        if (auto raw = nsjoin::RawMode::enter(BorrowedFd{STDIN_FILENO})) {
            raw_.emplace(*std::move(raw));
        }
        copy_size();
    }

    void copy_size() {
        if (const auto size = nsjoin::window_size(outer_terminal())) {
            (void)nsjoin::set_window_size(console_.master.fd(), *size);
        }
    }

    nsjoin::Console& console_;
    const nsjoin::PidFd& child_;
    nsjoin::OwnedFd signals_ = open_signals();
    std::optional<nsjoin::RawMode> raw_;
    examples::Typing in_{BorrowedFd{STDIN_FILENO}, console_};
    examples::Flow out_{console_.master.fd(), BorrowedFd{STDOUT_FILENO}};
};

// ── Outside: before and after ───────────────────────────────────────────────────────────────────

/// A closed standard descriptor's number would be given to the next thing that is opened.
void open_standard_descriptors() {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (fcntl(standard, F_GETFD) < 0) {
            (void)!open("/dev/null", O_RDWR); // NOLINT(android-cloexec-*): a standard one
        }
    }
}

/// Makes the inner terminal like the outer one, and gives it its size, before anyone looks at it.
/// Without a terminal nobody needs an echo of what he types, or carriage returns in what he reads.
void prepare(const nsjoin::Console& console) {
    const BorrowedFd peer = console.peer.fd();
    termios mode{};
    if (tcgetattr(STDIN_FILENO, &mode) != 0) {
        tcgetattr(peer.get(), &mode);
        mode.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    }
    if (!nsjoin::is_terminal(BorrowedFd{STDOUT_FILENO})) {
        mode.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    }
    tcsetattr(peer.get(), TCSANOW, &mode);
    if (const auto size = nsjoin::window_size(outer_terminal())) {
        (void)nsjoin::set_window_size(peer, *size);
    }
}

[[nodiscard]] auto make_plan(const nsjoin::Console& console) -> nsjoin::Plan {
    return nsjoin::JoinPlan{}
        .create(nsjoin::NewUser{.uids = {{.inside = 0, .outside = geteuid(), .count = 1}},
                                .gids = {{.inside = 0, .outside = getegid(), .count = 1}}})
        .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup>()
        .console(console.peer.fd())
        .death_signal(SIGKILL);
}

/// Hangs up, as a terminal does that is closed, so that a shell can save its history and an editor
/// its file; ends what does not care.
void hang_up(nsjoin::Console& console, const nsjoin::PidFd& child) {
    console.master.release().reset();
    if (!child.wait(std::chrono::seconds{1})) {
        (void)child.send_signal(SIGKILL);
        (void)child.wait();
    }
}

[[nodiscard]] auto attend(nsjoin::Console& console, const nsjoin::PidFd& child) -> int {
    const int signal = Relay{console, child}.run();
    if (signal != 0) {
        hang_up(console, child);
        die_of(signal);
        return 128 + signal;
    }
    const auto status = child.wait();
    return status ? status->exit_code() : complain(status.error());
}

} // namespace

auto main(int argc, char** argv) -> int {
    const auto options = parse(argc, argv);
    if (!options || options->help) {
        std::fputs(usage, options ? stdout : stderr);
        return options ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    open_standard_descriptors();
    std::signal(SIGCHLD, SIG_DFL); // ignored, it would take away how the child ends
    auto console = nsjoin::Console::open();
    if (!console) {
        return complain(console.error());
    }
    const nsjoin::Plan plan = make_plan(*console);
    if (options->explain) {
        std::fputs(nsjoin::explain(plan).c_str(), stdout);
        return EXIT_SUCCESS;
    }
    prepare(*console);
    auto side = nsjoin::join_and_clone(plan);
    if (!side) {
        return complain(side.error());
    }
    if (side->is_child()) {
        console->master.release().reset(); // as long as it is open here, nothing can hang up
        be_init(*options);
    }
    return attend(*console, side->child());
}
