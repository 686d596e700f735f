// SPDX-License-Identifier: Apache-2.0
#include "hostile_support.hpp"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <termios.h>

// What a container can look at, trace and kill, root in one of a user namespace of its own too; and
// what a program that was started inside can do to the caller's terminal and keys.

namespace {

using namespace hostile;

/// Compares its memory with one's own: it needs the right to trace it.
auto compare(pid_t victim) -> bool {
    return ::syscall(SYS_kcmp, victim, ::getpid(), KCMP_VM, 0UL, 0UL) >= 0;
}

/// Counts what the victim does.
auto measure(pid_t victim) -> bool {
    perf_event_attr what{};
    what.type = PERF_TYPE_SOFTWARE;
    what.size = sizeof what;
    what.config = PERF_COUNT_SW_TASK_CLOCK;
    what.exclude_kernel = 1;
    what.exclude_hv = 1;
    const long file = ::syscall(SYS_perf_event_open, &what, victim, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (file >= 0) {
        ::close(static_cast<int>(file));
    }
    return file >= 0;
}

/// Reads the copy of this program's memory by ptrace(2). What is another program by then does not
/// count.
auto trace(pid_t victim) -> bool {
    int status = 0;
    // One that ended under it is kept from its parent until it is taken.
    while (::waitpid(-1, &status, __WALL | WNOHANG) > 0) {
    }
    if (::ptrace(PTRACE_ATTACH, victim, nullptr, nullptr) != 0) {
        return false;
    }
    bool read = false;
    if (::waitpid(victim, &status, __WALL) == victim && WIFSTOPPED(status)) {
        void* const place = const_cast<std::uint64_t*>(&marker);
        read = static_cast<std::uint64_t>(::ptrace(PTRACE_PEEKDATA, victim, place, nullptr)) ==
               good_marker;
        ::ptrace(PTRACE_DETACH, victim, nullptr, nullptr);
    }
    errno = 0;
    return read;
}

/// Changes the flags of memory that is a copy of this program's.
auto write_copys_filter(pid_t victim) -> bool {
    std::uint64_t word = 0;
    const iovec to{&word, sizeof word};
    const iovec from{const_cast<std::uint64_t*>(&marker), sizeof word};
    const bool done = write_filter(victim);
    return done && ::process_vm_readv(victim, &to, 1, &from, 1, 0) == sizeof word;
}

/// Sends every signal.
auto kill_by_all(pid_t victim) -> bool {
    bool sent = false;
    for (int number = 1; number <= SIGRTMAX; ++number) {
        sent = ::kill(victim, number) == 0 || sent;
    }
    return sent;
}

constexpr Rights rootless{.rootless = true};

/// How many starts the suite has: a few hundred.
auto some(const Way& way) -> int {
    return share(way.starts, way.starts >= 20'000 ? 50 : 10);
}

/// Starts this inside, and waits for its end; whether that was a good one.
using Inside = std::function<bool(const nsjoin::Plan&, const nsjoin::Command&)>;

auto ended_well(nsjoin::Result<nsjoin::PidFd> child) -> bool {
    const auto status = child ? child->wait() : nsjoin::Unexpected{child.error()};
    return status && status->exit_code() == 0;
}

auto starts_of_programs(nsjoin::Launcher& launcher) -> std::array<Inside, 3> {
    return {[&launcher](const nsjoin::Plan& plan, const nsjoin::Command& command) {
                return ended_well(launcher.exec(plan, command));
            },
            [](const nsjoin::Plan& plan, const nsjoin::Command& command) {
                return ended_well(nsjoin::join_and_exec(plan, command));
            },
            [](const nsjoin::Plan& plan, const nsjoin::Command& command) {
                auto side = nsjoin::join_and_clone(plan);
                if (side && side->is_child()) {
                    ::execv(command.program.path(),
                            const_cast<char* const*>(command.arguments.get())); // NOLINT
                    ::_exit(127);
                }
                return side && ended_well(std::move(side->child()));
            }};
}

/// Runs a script of Python's, which the container's root would have.
auto runs(const Inside& start, const nsjoin::Plan& plan, const std::string& script) -> bool {
    const std::array<const char*, 6> words{"env", "python3", "-S", "-c", script.c_str(), nullptr};
    return start(plan, {.program = Program::at("/usr/bin/env"), .arguments = words});
}

/// Makes a new terminal the one of a new session of this process, and its standard input.
auto own_terminal() -> nsjoin::OwnedFd {
    ::signal(SIGHUP, SIG_IGN); // which comes when the master is closed
    nsjoin::OwnedFd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    std::array<char, 64> name{};
    const bool open = ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0 &&
                      ::ptsname_r(master.get(), name.data(), name.size()) == 0;
    const nsjoin::OwnedFd peer{open ? ::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC) : -1};
    const bool own = ::setsid() > 0 && ::ioctl(peer.get(), TIOCSCTTY, 0) == 0 &&
                     ::dup2(peer.get(), STDIN_FILENO) == STDIN_FILENO;
    return own ? std::move(master) : nsjoin::OwnedFd{};
}

/// Whether somebody typed a line; it is forgotten.
auto typed() -> bool {
    int count = 0;
    const bool there = ::ioctl(STDIN_FILENO, FIONREAD, &count) == 0 && count > 0;
    ::tcflush(STDIN_FILENO, TCIFLUSH);
    return there;
}

} // namespace

TEST_CASE("without a capability, none of what is started can be compared or measured") {
    const auto all = [](Attack attack, const char* name) {
        errno = 0;
        if (!attack(::getpid())) {
            support::skip(std::string{name} +
                          ": this kernel has no such call for anyone: " + std::strerror(errno));
            return;
        }
        CHECK(works_by_hand(attack, {}));
        for (const Way& way : ways) {
            CHECK(withstands(way, attack, {}, some(way), true) == 0);
        }
    };
    SUBCASE("kcmp") {
        all(compare, "kcmp(2)");
    }
    SUBCASE("perf") {
        all(measure, "perf_event_open(2)");
    }
}

TEST_CASE("root of a rootless container reads and writes no copy of the host's program") {
    SUBCASE("process_vm_writev") {
        CHECK(works_by_hand(write_memory, rootless));
        for (const Way& way : rootless_ways) {
            CHECK(withstands(way, write_memory, rootless, some(way), true) == 0);
        }
    }
    SUBCASE("ptrace") {
        CHECK(works_by_hand(trace, rootless));
        for (const Way& way : rootless_ways) {
            CHECK(withstands(way, trace, rootless, some(way), true) == 0);
        }
    }
    SUBCASE("coredump_filter") {
        CHECK(works_by_hand(write_copys_filter, rootless));
        for (const Way& way : rootless_ways) {
            CHECK(withstands(way, write_copys_filter, rootless, some(way), true) == 0);
        }
    }
}

TEST_CASE("root of a rootless container that kills all it sees ends and holds up nobody else") {
    CHECK(works_by_hand(kill_by_all, rootless));
    for (const bool by_launcher : {true, false}) {
        CHECK(as_host(rootless, [by_launcher] {
                  auto launcher = nsjoin::Launcher::start();
                  CHILD_CHECK(launcher);
                  const Attacker attacker{kill_by_all, rootless};
                  CHILD_CHECK(attacker.ok());
                  const auto target = nsjoin::PidFd::open(attacker.pid());
                  CHILD_CHECK(target);
                  const auto plan = nsjoin::JoinPlan{}
                                        .join(*target, joined_rootless)
                                        .deadline(std::chrono::milliseconds{500});
                  const Host host;
                  int failed = 0;
                  const int starts = share(by_launcher ? 20'000 : 2'000, by_launcher ? 50 : 10);
                  for (int i = 0; i < starts || (attacker.tally().written == 0 && i < 20'000);
                       ++i) {
                      const auto begin = std::chrono::steady_clock::now();
                      auto child = by_launcher ? launcher->exec(plan, run_true)
                                               : nsjoin::join_and_exec(plan, run_true);
                      const auto took = std::chrono::steady_clock::now() - begin;
                      CHILD_CHECK(took < std::chrono::seconds{2});
                      failed += child ? 0 : 1;
                      finish(std::move(child));
                  }
                  std::printf("%d starts, %d killed before they were through, %u killed\n", starts,
                              failed, attacker.tally().written.load());
                  CHILD_CHECK(attacker.tally().written > 0);
                  CHILD_CHECK(host.is_as_before());
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a program inside with a session of its own types nothing into the caller's terminal") {
    const std::string script =
        "import fcntl, termios\n"
        "for code, what in (termios.TIOCSCTTY, 1), (termios.TIOCSTI, b'\\n'):\n"
        "    try: fcntl.ioctl(0, code, what)\n"
        "    except OSError: pass\n";
    CHECK(support::run_in_child([&] {
              const nsjoin::OwnedFd master = own_terminal();
              CHILD_CHECK(master.ok());
              // Who has CAP_SYS_ADMIN on the host types where dev.tty.legacy_tiocsti is 0, too.
              if (::ioctl(STDIN_FILENO, TIOCSTI, "\n") != 0 ||
                  support::slurp("/proc/sys/dev/tty/legacy_tiocsti") == "0\n") {
                  support::skip("a container's TIOCSTI: dev.tty.legacy_tiocsti, before Linux 6.2");
                  return 0;
              }
              CHILD_CHECK(typed());
              const support::Container container{Kind::user | Kind::pid};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              auto launcher = nsjoin::Launcher::start();
              CHILD_CHECK(launcher);
              const auto plan =
                  nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::user, Kind::pid>);
              for (const Inside& start : starts_of_programs(*launcher)) {
                  CHILD_CHECK(runs(start, plan, script) && typed()); // so that it can fail
                  for (int i = 0; i < 5; ++i) {
                      CHILD_CHECK(runs(start, plan.new_session(), script));
                      CHILD_CHECK(!typed());
                  }
              }
              return 0;
          }) == 0);
}

TEST_CASE("a program in another user namespace reads no key of the caller's session") {
    CHECK(support::run_in_child([] {
              constexpr long session = KEY_SPEC_SESSION_KEYRING;
              const bool joined_one =
                  ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) >= 0;
              const long key =
                  ::syscall(SYS_add_key, "user", "nsjoin-hostile", "secret", 6UL, session);
              if (!joined_one || key < 0) {
                  support::skip("this kernel keeps no keys");
                  return 0;
              }
              // By its number, which anybody may guess, and by its name.
              const std::string number = std::to_string(key);
              const std::string script = "import ctypes, sys\n"
                                         "call = ctypes.CDLL(None).syscall\n"
                                         "text = ctypes.create_string_buffer(16)\n"
                                         "read = call(" +
                                         std::to_string(SYS_keyctl) + ", 11, " + number +
                                         ", text, 16, 0) == 6 and text.value == b'secret'\n"
                                         "found = call(" +
                                         std::to_string(SYS_keyctl) +
                                         ", 10, -3, b'user', b'nsjoin-hostile', 0) >= 0\n"
                                         "linked = call(" +
                                         std::to_string(SYS_keyctl) + ", 8, " + number +
                                         ", -2) == 0\n"
                                         "sys.exit(0 if read or found or linked else 3)\n";
              const support::Container container{Kind::user | Kind::pid};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              auto launcher = nsjoin::Launcher::start();
              CHILD_CHECK(launcher);
              const auto plan =
                  nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::user, Kind::pid>);
              const auto kept = plan.session_keyring(nsjoin::SessionKeyring::keep);
              for (const Inside& start : starts_of_programs(*launcher)) {
                  CHILD_CHECK(runs(start, kept, script)); // so that it can fail
                  for (int i = 0; i < 5; ++i) {
                      CHILD_CHECK(!runs(start, plan, script));
                  }
              }
              return 0;
          }) == 0);
}
