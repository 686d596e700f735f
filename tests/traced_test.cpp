// SPDX-License-Identifier: Apache-2.0
#include "embed_support.hpp"
#include "spawn_support.hpp"

#include <nsjoin/create_namespaces.hpp>
#include <nsjoin/open_side.hpp>
#include <nsjoin/relay.hpp>
#include <nsjoin/supervisor.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <set>
#include <string>
#include <sys/ptrace.h>
#include <sys/stat.h>

// Who traces a process keeps its end from its parent: none of ours waits for that without an end.

namespace {

using nsjoin::Duration;
using nsjoin::Kind;
using nsjoin::Reason;

/// A pid namespace in the caller's user namespace, whose first process traces each other one that
/// comes in, and waits for none.
class SeizingContainer {
  public:
    SeizingContainer() {
        nsjoin::detail::CloneArgs args;
        args.flags = nsjoin::KindSet{Kind::pid}.clone_flags();
        args.exit_signal = SIGCHLD;
        std::fflush(nullptr);
        pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid_ == 0) {
            support::default_signals();
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            seize_all();
        }
    }

    SeizingContainer(const SeizingContainer&) = delete;
    SeizingContainer(SeizingContainer&&) = delete;
    auto operator=(const SeizingContainer&) -> SeizingContainer& = delete;
    auto operator=(SeizingContainer&&) -> SeizingContainer& = delete;

    /// It ends when those are waited for that it kept, and were left.
    ~SeizingContainer() {
        ::kill(pid_, SIGKILL);
        while (::waitpid(-1, nullptr, __WALL) > 0) {
        }
    }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

  private:
    [[noreturn]] static void seize_all() {
        std::set<pid_t> seen;
        for (;;) {
            for (pid_t other = 2; other < 100; ++other) {
                if (!seen.contains(other) && ::ptrace(PTRACE_SEIZE, other, nullptr, nullptr) == 0) {
                    ::ptrace(PTRACE_INTERRUPT, other, nullptr, nullptr);
                    seen.insert(other);
                }
            }
        }
    }

    pid_t pid_ = -1;
};

auto may_trace() -> bool {
    if (::geteuid() != 0) {
        support::skip("who is no parent may not trace here: needs root");
        return false;
    }
    return true;
}

class Stopwatch {
  public:
    [[nodiscard]] auto seconds() const -> double {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

constexpr double soon = 9; ///< seconds: two waits for who got SIGKILL, on a busy machine

} // namespace

TEST_CASE("a container that traces who comes in holds up no supervise() past its deadline") {
    if (!may_trace()) {
        return;
    }
    CHECK(support::run_in_child([] {
              ::alarm(60);
              const SeizingContainer container;
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const auto plan = nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid>).build();
              auto options = support::probe_options(nsjoin::Dialect::runc_1_2);
              options.deadline = Duration::milliseconds(500);
              for (int i = 0; i < 2; ++i) {
                  const Stopwatch watch;
                  const auto ours = nsjoin::supervise(plan, options);
                  CHILD_CHECK(ours || watch.seconds() < soon);
                  if (ours) {
                      (void)ours->child.send_signal(SIGKILL);
                      (void)ours->child.wait(Duration::seconds(1));
                  }
              }
              return 0;
          }) == 0);
}

TEST_CASE("a container that traces who comes in holds up no create_namespaces()") {
    if (!may_trace()) {
        return;
    }
    CHECK(support::run_in_child([] {
              ::alarm(60);
              const SeizingContainer container;
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const auto plan = nsjoin::JoinPlan{}
                                    .join(*target, nsjoin::kinds<Kind::pid>)
                                    .create<Kind::uts>()
                                    .deadline(Duration::milliseconds(300));
              for (int i = 0; i < 4; ++i) {
                  const Stopwatch watch;
                  (void)nsjoin::create_namespaces(plan);
                  CHILD_CHECK(watch.seconds() < soon);
              }
              return 0;
          }) == 0);
}

TEST_CASE("a tracer holds up no relay() of a child that has ended, or is to end") {
    if (!may_trace()) {
        return;
    }
    for (const bool by_itself : {true, false}) {
        CHECK(support::run_in_child([&] {
                  ::alarm(60);
                  auto console = nsjoin::Console::open();
                  CHILD_CHECK(console);
                  const std::array<const char*, 4> words{
                      "sh", "-c",
                      by_itself ? "exec sleep 0.5" // a signal would stop it
                                : "(sleep 0.5; kill -TERM $PPID) & exec sleep 100",
                      nullptr};
                  const auto child = nsjoin::join_and_exec(
                      nsjoin::JoinPlan{}.console(console->peer.fd()),
                      {.program = nsjoin::Program::at("/bin/sh"), .arguments = words});
                  CHILD_CHECK(child);
                  const pid_t tracer = ::fork();
                  if (tracer == 0) {
                      support::default_signals();
                      ::ptrace(PTRACE_SEIZE, child->pid(), nullptr, nullptr);
                      ::sleep(50);
                      ::_exit(0);
                  }
                  const Stopwatch watch;
                  const auto result = nsjoin::relay(*console, *child, Duration::milliseconds(200));
                  CHILD_CHECK(watch.seconds() < soon);
                  CHILD_CHECK(!result && result.error().reason == Reason::deadline_passed);
                  ::kill(tracer, SIGKILL);
                  support::wait_for(tracer);
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a child that has become another user's holds up no await_program()") {
    if (::geteuid() != 0) {
        support::skip("a set-user-ID program: needs root");
        return;
    }
    const support::TemporaryDirectory place;
    REQUIRE(::chmod(place.path().c_str(), 0755) == 0);
    const std::string program = place.path() + "/sleep";
    REQUIRE(::system(("cp /bin/sleep " + program).c_str()) == 0); // NOLINT(*-mt-unsafe)
    REQUIRE(::chmod(program.c_str(), 04755) == 0);
    CHECK(support::as_user(1000, [&] {
              ::alarm(60);
              auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}, nsjoin::keep_channel);
              CHILD_CHECK(side);
              if (side->is_child()) {
                  ::execl(program.c_str(), "sleep", "12", nullptr);
                  ::_exit(1);
              }
              const Stopwatch watch;
              const auto child = side->await_program();
              CHILD_CHECK(!child);
              CHILD_CHECK(watch.seconds() < soon);
              return 0;
          }) == 0);
}
