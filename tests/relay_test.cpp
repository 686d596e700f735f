// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/relay.hpp>

#include "engine_support.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <termios.h>
#include <thread>
#include <unistd.h>

// The relay by itself, where its caller has no terminal, or one that the test holds. Users at a
// terminal: tests/console_test.sh.

using nsjoin::Console;
using nsjoin::OwnedFd;
using nsjoin::PidFd;

namespace {

/// A shell whose terminal is the console.
auto shell_at(const Console& console, const std::string& script) -> nsjoin::Result<PidFd> {
    const pid_t pid = ::fork();
    if (pid == 0) {
        support::default_signals();
        ::setsid();
        if (nsjoin::take_console(console.peer.fd())) {
            ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
        }
        ::_exit(99);
    }
    return PidFd::open(pid);
}

struct Said {
    std::string output;
    int code = -1; ///< the shell's
};

/// What a shell at a console says and gets, if the relay's caller has files in the place of a
/// terminal. `late`: the relay begins when the shell has ended.
auto relayed(const std::string& script, const std::string& input, bool late = false) -> Said {
    const OwnedFd in{::memfd_create("in", MFD_CLOEXEC)};
    const OwnedFd out{::memfd_create("out", MFD_CLOEXEC)};
    CHECK(::pwrite(in.get(), input.data(), input.size(), 0) == static_cast<ssize_t>(input.size()));
    const int code = support::run_in_child([&] {
        ::alarm(30);
        CHILD_CHECK(::dup2(in.get(), STDIN_FILENO) == STDIN_FILENO);
        CHILD_CHECK(::dup2(out.get(), STDOUT_FILENO) == STDOUT_FILENO);
        auto console = Console::open();
        CHILD_CHECK(console);
        nsjoin::prepare_console(*console);
        const auto child = shell_at(*console, script);
        CHILD_CHECK(child);
        pollfd ended{child->fd().get(), POLLIN, 0};
        CHILD_CHECK(!late || ::poll(&ended, 1, 10'000) == 1);
        const auto result = nsjoin::relay(*console, *child);
        CHILD_CHECK(result);
        return result->signal != 0 ? 100 : result->status.exit_code();
    });
    Said said{std::string(1'000'000, '\0'), code};
    const ssize_t length = ::pread(out.get(), said.output.data(), said.output.size(), 0);
    said.output.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return said;
}

/// Runs the relay of a shell with that terminal as its caller's; what is to be true afterwards.
template <typename Check>
auto relay_at(const Console& outer, const std::string& script, const Check& check) -> int {
    return support::run_in_child([&] {
        for (int number = 0; number <= 1; ++number) {
            CHILD_CHECK(::dup2(outer.peer.fd().get(), number) == number);
        }
        sigset_t blocked{};
        ::sigaddset(&blocked, SIGTERM);
        ::sigaddset(&blocked, SIGUSR1);
        ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
        auto console = Console::open();
        CHILD_CHECK(console);
        nsjoin::prepare_console(*console);
        const auto child = shell_at(*console, script);
        CHILD_CHECK(child);
        return check(*console, *child);
    });
}

} // namespace

TEST_CASE("what goes through a relay: all that is typed, its end, and all that is said") {
    std::string lines;
    for (int i = 0; i < 30'000; ++i) {
        lines += "line " + std::to_string(i) + "\n";
    }
    // The reader is late, so that the terminal is full meanwhile.
    const Said said = relayed("sleep 0.3; cat; echo end; exit 7", lines);
    CHECK(said.code == 7);
    CHECK(said.output.size() == lines.size() + 4);
    CHECK((said.output == lines + "end\n"));
}

TEST_CASE("a long line goes through a relay, longer than the kernel keeps one") {
    const std::string line = std::string(20'000, 'x') + "\nrest\n";
    const Said said = relayed("exec cat", line);
    CHECK(said.code == 0);
    CHECK((said.output == line));
}

TEST_CASE("what the child said last goes through a relay, though it has ended") {
    const Said said = relayed("echo last words; exit 3", "", true);
    CHECK(said.code == 3);
    CHECK(said.output == "last words\n");
}

TEST_CASE("a relay's caller is after it as before: mask, terminal, and flags of the master") {
    const auto outer = Console::open();
    REQUIRE(outer);
    CHECK(relay_at(*outer, "exit 5", [](Console& console, const PidFd& child) {
              sigset_t before{};
              sigset_t after{};
              termios mode{};
              termios now{};
              ::sigprocmask(SIG_SETMASK, nullptr, &before);
              CHILD_CHECK(::tcgetattr(STDIN_FILENO, &mode) == 0);
              const int flags = ::fcntl(console.master.fd().get(), F_GETFL);
              const auto result = nsjoin::relay(console, child);
              CHILD_CHECK(result && result->status.exit_code() == 5 && result->signal == 0);
              ::sigprocmask(SIG_SETMASK, nullptr, &after);
              CHILD_CHECK(std::memcmp(&before, &after, 8) == 0); // the kernel's 64 signals
              CHILD_CHECK(::tcgetattr(STDIN_FILENO, &now) == 0);
              CHILD_CHECK(now.c_lflag == mode.c_lflag && now.c_oflag == mode.c_oflag);
              CHILD_CHECK(::fcntl(console.master.fd().get(), F_GETFL) == flags);
              return 0;
          }) == 0);
}

TEST_CASE(
    "the terminal inside has the size of the one outside, from the first and when it changes") {
    const auto outer = Console::open();
    REQUIRE(outer);
    REQUIRE(nsjoin::set_window_size(outer->master.fd(), {24, 80, 0, 0}));
    const std::string until = "n=0; until [ \"$(stty size)\" = \"$1\" ]; do sleep 0.05; "
                              "n=$((n + 1)); [ $n -lt 100 ] || exit 8; done; ";
    const std::string change =
        "stty rows 41 cols 133 </dev/pts/" + std::to_string(outer->master.index()) + "; ";
    CHECK(relay_at(*outer,
                   "set -- '24 80'; " + until + change + "kill -WINCH $PPID; set -- '41 133'; " +
                       until + "exit 7",
                   [](Console& console, const PidFd& child) {
                       const auto result = nsjoin::relay(console, child);
                       CHILD_CHECK(result && result->signal == 0);
                       return result->status.exit_code();
                   }) == 7);
}

TEST_CASE("a signal ends a relay, and the child, which ignores that its terminal is gone") {
    const auto outer = Console::open();
    REQUIRE(outer);
    CHECK(relay_at(*outer,
                   "trap '' HUP; kill -TERM $PPID; n=0; while [ $n -lt 100 ]; do sleep 0.1; "
                   "n=$((n + 1)); done",
                   [](Console& console, const PidFd& child) {
                       const auto result =
                           nsjoin::relay(console, child, nsjoin::Duration::milliseconds(200));
                       CHILD_CHECK(result && result->signal == SIGTERM);
                       CHILD_CHECK(result->status.signal() == SIGKILL);
                       return 0;
                   }) == 0);
}

TEST_CASE("a signal that is ignored ends no relay") {
    const auto outer = Console::open();
    REQUIRE(outer);
    CHECK(relay_at(*outer, "kill -USR1 $PPID; sleep 0.3; exit 7",
                   [](Console& console, const PidFd& child) {
                       ::signal(SIGUSR1, SIG_IGN);
                       const auto result = nsjoin::relay(console, child);
                       CHILD_CHECK(result && result->signal == 0);
                       return result->status.exit_code();
                   }) == 7);
}

TEST_CASE("a signal ends a relay also where nobody reads what it writes") {
    const auto outer = Console::open(); // from whose master nobody reads
    REQUIRE(outer);
    CHECK(relay_at(*outer, "(sleep 0.5; kill -TERM $PPID) & exec yes",
                   [](Console& console, const PidFd& child) {
                       ::alarm(20);
                       const auto result =
                           nsjoin::relay(console, child, nsjoin::Duration::milliseconds(200));
                       CHILD_CHECK(result && result->signal == SIGTERM);
                       return 0;
                   }) == 0);
}

TEST_CASE("a relay ends with the child, whoever writes on to its terminal") {
    CHECK(support::run_in_child([] {
              ::alarm(30);
              support::TestPipe slow;
              CHILD_CHECK(::dup2(slow.writer(), STDOUT_FILENO) == STDOUT_FILENO);
              slow.close_writer();
              std::thread reader{[&] {
                  std::array<char, 4096> bytes{};
                  while (::read(slow.reader(), bytes.data(), bytes.size()) > 0) {
                      ::usleep(2000);
                  }
              }};
              auto console = Console::open();
              CHILD_CHECK(console);
              const auto child =
                  shell_at(*console, "trap '' HUP; yes & echo $! >&2; sleep 0.3; exit 3");
              CHILD_CHECK(child);
              const auto result = nsjoin::relay(*console, *child);
              CHILD_CHECK(result && result->signal == 0);
              console->master.release().reset(); // `yes` gets an error
              ::close(STDOUT_FILENO);
              reader.join();
              return result->status.exit_code();
          }) == 3);
}

TEST_CASE("a handler of the program's runs during a relay, and ends it only where it would end") {
    static std::atomic<int> ran{0};
    for (const int number : {SIGUSR1, SIGTERM}) {
        const auto outer = Console::open();
        REQUIRE(outer);
        const std::string script = "kill -" + std::to_string(number) + " $PPID; sleep 0.5; exit 7";
        CHECK(relay_at(*outer, script, [&](Console& console, const PidFd& child) {
                  sigset_t none{};
                  ::sigprocmask(SIG_SETMASK, &none, nullptr);
                  ran = 0;
                  ::signal(number, [](int) { ++ran; });
                  const auto result = nsjoin::relay(console, child);
                  CHILD_CHECK(result);
                  CHILD_CHECK(result->signal == (number == SIGTERM ? SIGTERM : 0));
                  CHILD_CHECK(number == SIGTERM || (ran == 1 && result->status.exit_code() == 7));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a child that has become another user's is left, and the error says so") {
    if (::geteuid() != 0) {
        support::skip("a child of another user's: needs root");
        return;
    }
    const auto outer = Console::open();
    REQUIRE(outer);
    CHECK(relay_at(*outer,
                   "trap '' HUP TERM; kill -TERM $PPID; n=0; "
                   "while [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done",
                   [](Console& console, const PidFd& child) {
                       CHILD_CHECK(::setresgid(1000, 1000, 1000) == 0);
                       CHILD_CHECK(::setresuid(1000, 1000, 1000) == 0);
                       ::alarm(20);
                       const auto result =
                           nsjoin::relay(console, child, nsjoin::Duration::milliseconds(200));
                       CHILD_CHECK(!result && result.error().code == EPERM);
                       return 0;
                   }) == 0);
}

TEST_CASE("the window's size reaches the child of a relay in a thread as well") {
    const auto outer = Console::open();
    REQUIRE(outer);
    REQUIRE(nsjoin::set_window_size(outer->master.fd(), {24, 80, 0, 0}));
    const std::string script =
        "stty rows 41 cols 133 </dev/pts/" + std::to_string(outer->master.index()) +
        "; n=0; until [ \"$(stty size)\" = '41 133' ]; do sleep 0.05; n=$((n + 1)); "
        "[ $n -lt 100 ] || exit 8; done; exit 7";
    CHECK(relay_at(*outer, script, [](Console& console, const PidFd& child) {
              int code = -1;
              std::thread relaying{[&] {
                  const auto result = nsjoin::relay(console, child);
                  code = result ? result->status.exit_code() : -2;
              }};
              relaying.join();
              return code;
          }) == 7);
}
