// SPDX-License-Identifier: Apache-2.0
#include "hostile_support.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <sys/resource.h>

// A container that has no user namespace of its own, and less rights than most have.

namespace {

using namespace hostile;

/// The kernel sets that of every process on the same memory, but for one that holds its maker up.
auto write_oom_score(pid_t victim) -> bool {
    const std::string path = "/proc/" + std::to_string(victim) + "/oom_score_adj";
    const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        errno = errno == ENOENT ? ESRCH : errno;
        return false;
    }
    const bool done = ::write(file, "777", 3) == 3;
    ::close(file);
    return done;
}

auto lower_priority(pid_t victim) -> bool {
    return ::setpriority(PRIO_PROCESS, static_cast<id_t>(victim), 19) == 0;
}

/// Takes the host's secret file out of the victim, and changes it.
auto take_descriptor(pid_t victim) -> bool {
    const int process = static_cast<int>(::syscall(SYS_pidfd_open, victim, 0U));
    if (process < 0) {
        return false;
    }
    const int taken = static_cast<int>(::syscall(SYS_pidfd_getfd, process, secret, 0U));
    const bool done = taken >= 0 && ::ftruncate(taken, 3) == 0;
    ::close(process);
    if (taken >= 0) {
        ::close(taken);
    }
    errno = 0;
    return done;
}

auto stop(pid_t victim) -> bool {
    return ::kill(victim, SIGSTOP) == 0;
}

} // namespace

TEST_CASE("the attacks work on memory that was lent") {
    if (!several_processors()) {
        return;
    }
    for (const auto& [attack, capabilities] :
         {std::pair{Attack{write_memory}, ptrace_alone}, std::pair{Attack{write_filter}, 0U}}) {
        CHECK(support::run_in_child([&, attack = attack, capabilities = capabilities] {
                  const Attacker attacker{attack, {capabilities}};
                  CHILD_CHECK(attacker.ok());
                  const auto target = nsjoin::PidFd::open(attacker.pid());
                  CHILD_CHECK(target);
                  const Host host;
                  bool changed = false;
                  for (int i = 0; i < 50'000 && !changed; ++i) {
                      const auto plan =
                          nsjoin::JoinPlan{}.join(*target, joined).lend_memory_to_target();
                      finish(nsjoin::join_and_exec(plan, run_true));
                      changed = !host.is_as_before();
                  }
                  CHILD_CHECK(changed);
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a container with CAP_SYS_PTRACE alone writes nothing of the host's program") {
    for (const Way& way : ways) {
        CHECK(withstands(way, write_memory, {ptrace_alone}, share(way.starts)) == 0);
    }
}

TEST_CASE("a container's uid 0 without a capability changes no flag of the host's program") {
    for (const Way& way : ways) {
        CHECK(withstands(way, write_filter, {0}, share(way.starts)) == 0);
    }
}

TEST_CASE("nor what the kernel notes of the memory, nor its priority") {
    for (const Way& way : ways) {
        CHECK(withstands(way, write_oom_score, {0}, share(way.starts)) == 0);
        CHECK(withstands(way, lower_priority, {0}, share(way.starts)) == 0);
    }
}

TEST_CASE("a container with CAP_SYS_PTRACE takes no descriptor of a launcher's caller") {
    CHECK(withstands(ways[0], take_descriptor, {ptrace_alone}, share(ways[0].starts)) == 0);
}

TEST_CASE("it takes one out of a copy of the caller") {
    CHECK(support::run_in_child([] {
              const Attacker attacker{take_descriptor, {ptrace_alone}};
              CHILD_CHECK(attacker.ok());
              const auto target = nsjoin::PidFd::open(attacker.pid());
              CHILD_CHECK(target);
              const Host host;
              for (int i = 0; i < 5'000 && host.is_as_before(); ++i) {
                  auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(*target, joined));
                  if (side && side->is_child()) {
                      ::usleep(1000);
                      ::_exit(0);
                  }
                  if (side) {
                      finish(std::move(side->child()));
                  }
              }
              CHILD_CHECK(!host.is_as_before()); // what the launcher is for
              return 0;
          }) == 0);
}

TEST_CASE("a container that stops all that it sees holds nobody up past the deadline") {
    for (const bool by_launcher : {true, false}) {
        CHECK(support::run_in_child([&] {
                  auto launcher = nsjoin::Launcher::start();
                  CHILD_CHECK(launcher);
                  const Attacker attacker{stop, {kill_alone}};
                  CHILD_CHECK(attacker.ok());
                  const auto target = nsjoin::PidFd::open(attacker.pid());
                  CHILD_CHECK(target);
                  const auto plan = nsjoin::JoinPlan{}
                                        .join(*target, joined)
                                        .deadline(std::chrono::milliseconds{100});
                  const Host host;
                  for (int i = 0; i < 20; ++i) {
                      const auto begin = std::chrono::steady_clock::now();
                      auto child = by_launcher ? launcher->exec(plan, run_true)
                                               : nsjoin::join_and_exec(plan, run_true);
                      const auto took = std::chrono::steady_clock::now() - begin;
                      CHILD_CHECK(child || child.error().reason == Reason::deadline_passed);
                      CHILD_CHECK(took < std::chrono::seconds{1});
                      finish(std::move(child));
                  }
                  CHILD_CHECK(attacker.tally().written > 0);
                  CHILD_CHECK(host.is_as_before());
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a caller that waits for a stopped child can be ended") {
    const Attacker container{[](pid_t) { return false; }, {0}};
    REQUIRE(container.ok());
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    for (const bool clone : {true, false}) {
        CAPTURE(clone);
        const support::TestPipe stopping;
        const pid_t caller = ::fork();
        if (caller == 0) {
            support::default_signals();
            const auto stop_here = [&]() noexcept -> nsjoin::Result<void> {
                (void)stopping.put('s');
                ::raise(SIGSTOP);
                return {};
            };
            const auto plan = nsjoin::JoinPlan{}
                                  .join(*target, joined)
                                  .inside<nsjoin::Moment::namespaces_ready>(stop_here)
                                  .death_signal(SIGKILL);
            if (clone) {
                (void)nsjoin::join_and_clone(plan);
            } else {
                (void)nsjoin::join_and_exec(plan, run_true);
            }
            ::_exit(7);
        }
        char byte = 0;
        REQUIRE(stopping.get(byte));
        ::usleep(50'000);
        REQUIRE(::waitpid(caller, nullptr, WNOHANG) == 0);
        ::kill(caller, SIGTERM);
        CHECK(support::wait_for(caller) == 128 + SIGTERM);
    }
}
