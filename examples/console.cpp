// SPDX-License-Identifier: Apache-2.0
//
// console: runs a command, or a shell, as root of new namespaces, on a terminal of its own, and
// relays that terminal to the one it was started on.
//
// Three processes: this one relays; pid 1 of the new pid namespace mounts /proc and reaps; the
// command is pid 1's child, and leads the session of the terminal.
#include "support/options.hpp"

#include <nsjoin/console.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/relay.hpp>

#include <array>
#include <cerrno>
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
#include <sys/wait.h>
#include <unistd.h>

namespace {

using examples::complain;
using examples::describe;
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

// ── Outside: before and after ───────────────────────────────────────────────────────────────────

/// A closed standard descriptor's number would be given to the next thing that is opened.
void open_standard_descriptors() {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (fcntl(standard, F_GETFD) < 0) {
            (void)!open("/dev/null", O_RDWR); // NOLINT(android-cloexec-*): a standard one
        }
    }
}

/// Ends this process as the signal would have.
void die_of(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    raise(number);
}

[[nodiscard]] auto make_plan(const nsjoin::Console& console) -> nsjoin::Plan {
    return nsjoin::JoinPlan{}
        .create(nsjoin::NewUser{.uids = {{.inside = 0, .outside = geteuid(), .count = 1}},
                                .gids = {{.inside = 0, .outside = getegid(), .count = 1}}})
        .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup>()
        .console(console.peer.fd())
        .death_signal(SIGKILL);
}

[[nodiscard]] auto attend(nsjoin::Console& console, const nsjoin::PidFd& child) -> int {
    const auto relayed = nsjoin::relay(console, child);
    if (!relayed) {
        return complain(relayed.error());
    }
    if (relayed->signal != 0) {
        die_of(relayed->signal);
        return 128 + relayed->signal;
    }
    return relayed->status.exit_code();
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
    nsjoin::prepare_console(*console);
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
