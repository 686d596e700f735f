// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/launcher.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <string>
#include <sys/time.h>
#include <thread>
#include <vector>

// How a launcher's caller waits where those that would serve it are held up.

// Also where this file is all of a program's tests (tests/mutants).
NSJOIN_LAUNCHER();

namespace {

using nsjoin::Kind;
using nsjoin::Launcher;
using nsjoin::Program;
using nsjoin::Reason;
using nsjoin::Step;
using support::ends_well;

const std::array<const char*, 2> true_words{"true", nullptr};
const nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

/// Stops the joiners that wait, and with them the launcher itself or not. When this returns, none
/// can take a request any more.
auto stop_joiners(const Launcher& launcher, bool itself) -> bool {
    std::vector<pid_t> stopped;
    const bool there = support::eventually([&] {
        stopped.clear();
        for (const pid_t child : support::children()) {
            if (itself || child != launcher.pid()) {
                stopped.push_back(child);
            }
        }
        return stopped.size() >= (itself ? 3U : 2U);
    });
    for (const pid_t process : stopped) {
        ::kill(process, SIGSTOP);
    }
    return there && support::eventually([&] {
               return std::all_of(stopped.begin(), stopped.end(), [](pid_t process) {
                   return support::state_and_parent(process).first == 'T';
               });
           });
}

auto seconds_since(std::chrono::steady_clock::time_point start) -> double {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A request that is longer than a socket keeps.
struct LongCommand {
    std::string word = std::string(100'000, 'x');
    std::vector<const char*> words{"true",       word.c_str(), word.c_str(),
                                   word.c_str(), word.c_str(), nullptr};
    nsjoin::Command command{.program = Program::at("/bin/true"), .arguments = words.data()};
};

} // namespace

TEST_CASE("a signal every few milliseconds keeps no call from being served by another joiner") {
    CHECK(support::run_in_child([] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              CHILD_CHECK(stop_joiners(*launcher, false));
              ::signal(SIGALRM, [](int) {});
              const itimerval often{{0, 3000}, {0, 3000}};
              ::setitimer(ITIMER_REAL, &often, nullptr);
              const auto start = std::chrono::steady_clock::now();
              auto child = launcher->exec(nsjoin::JoinPlan{}, run_true);
              const itimerval never{};
              ::setitimer(ITIMER_REAL, &never, nullptr);
              CHILD_CHECK(seconds_since(start) < 8);
              CHILD_CHECK(ends_well(std::move(child)));
              return 0;
          }) == 0);
}

TEST_CASE("a request that nobody takes is given up at the deadline, however long it is") {
    for (const bool is_long : {false, true}) {
        CHECK(support::run_in_child([&] {
                  const support::NothingLeft nothing_left;
                  {
                      auto launcher = Launcher::start();
                      CHILD_CHECK(launcher);
                      CHILD_CHECK(stop_joiners(*launcher, true));
                      const LongCommand something;
                      const nsjoin::Command& command = is_long ? something.command : run_true;
                      const auto plan = nsjoin::JoinPlan{}.deadline(std::chrono::milliseconds{300});
                      const auto start = std::chrono::steady_clock::now();
                      const auto child = launcher->exec(plan, command);
                      CHILD_CHECK(seconds_since(start) < 8);
                      CHILD_CHECK(
                          support::fails_with(child, Step::start_program, Reason::deadline_passed));
                      CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, command)));
                  }
                  CHILD_CHECK(nothing_left.holds());
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a long request is served by another joiner where those that wait are held up") {
    CHECK(support::run_in_child([] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              CHILD_CHECK(stop_joiners(*launcher, false));
              const LongCommand something;
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, something.command)));
              return 0;
          }) == 0);
}

TEST_CASE("a dozen calls that are held up hold up no other, and their joiners do not stay") {
    const support::TemporaryDirectory place;
    REQUIRE(::chmod(place.path().c_str(), 0777) == 0);
    const std::string helper = place.path() + "/newuidmap";
    const std::string go = place.path() + "/go";
    REQUIRE(support::write_script(helper, "#!/bin/sh\nuntil [ -e " + go +
                                              " ]; do sleep 0.1; done\nexit 1\n"));
    CHECK(support::as_user(1000, [&] {
              const support::NothingLeft nothing_left;
              {
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const pid_t first = launcher->pid();
                  nsjoin::Draft draft;
                  draft.created = Kind::user;
                  draft.maps.emplace(nsjoin::NewUser{{{0, 0, 5}}, {{0, 0, 5}}});
                  draft.newuidmap = helper;
                  const auto held_up = nsjoin::Plan::from(draft);
                  CHILD_CHECK(held_up);
                  std::vector<std::thread> callers;
                  for (int i = 0; i < 12; ++i) {
                      callers.emplace_back([&] { (void)launcher->exec(*held_up, run_true); });
                  }
                  const bool all = support::eventually([] {
                      return support::children().size() >= 13; // and the launcher
                  });
                  const auto nothing = nsjoin::JoinPlan{};
                  const bool served = ends_well(launcher->exec(nothing, run_true));
                  CHILD_CHECK(support::write_script(go, ""));
                  for (std::thread& caller : callers) {
                      caller.join();
                  }
                  CHILD_CHECK(all);
                  CHILD_CHECK(served);
                  CHILD_CHECK(launcher->pid() == first);
                  CHILD_CHECK(support::eventually([&] {
                      return ends_well(launcher->exec(nothing, run_true)) &&
                             support::children().size() <= 6;
                  }));
              }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a program's process group is the caller's, also one that its pid namespace lacks") {
    if (::geteuid() != 0) {
        support::skip("a pid namespace of the test's: needs root");
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              return support::run_in_child([] {
                  CHILD_CHECK(::getpid() == 1 && ::getpgid(0) == 0);
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const nsjoin::Plan nothing = nsjoin::JoinPlan{};
                  std::array<const char*, 3> sleep_words{"sleep", "100", nullptr};
                  const nsjoin::Command command{.program = Program::at("/bin/sleep"),
                                                .arguments = sleep_words};
                  for (const bool by_launcher : {false, true}) {
                      auto child = by_launcher ? launcher->exec(nothing, command)
                                               : nsjoin::join_and_exec(nothing, command);
                      CHILD_CHECK(child);
                      CHILD_CHECK(::getpgid(child->pid()) == 0);
                      CHILD_CHECK(child->send_signal(SIGKILL));
                      CHILD_CHECK(child->wait());
                  }
                  return 0;
              });
          }) == 0);
}

namespace {

std::atomic<bool> is_in_log{false};
std::atomic<bool> may_leave_log{false};
pid_t logging_process = 0;

/// Holds up who says something, in the process whose launcher it was.
void hold_up(nsjoin::LogLevel /*level*/, std::string_view /*text*/) {
    if (::getpid() == logging_process) {
        is_in_log = true;
        while (!may_leave_log) {
            ::usleep(1000);
        }
    }
}

} // namespace

TEST_CASE("a copy of the process starts a launcher whatever a thread is doing that it lacks") {
    CHECK(support::run_in_child([] {
              logging_process = ::getpid();
              is_in_log = false;
              may_leave_log = false;
              auto launcher = Launcher::start({.log = hold_up});
              CHILD_CHECK(launcher);
              CHILD_CHECK(::kill(launcher->pid(), SIGKILL) == 0);
              std::thread starts_another{[&] {
                  while (!is_in_log) {
                      auto child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                      (void)ends_well(std::move(child));
                  }
              }};
              CHILD_CHECK(support::eventually([] { return is_in_log.load(); }));
              const pid_t copy = ::fork();
              if (copy == 0) {
                  ::alarm(20);
                  const bool good = ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)) &&
                                    ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true));
                  ::_exit(good && launcher->pid() > 0 ? 0 : 1);
              }
              const int status = support::wait_for(copy);
              may_leave_log = true;
              starts_another.join();
              CHILD_CHECK(status == 0);
              return 0;
          }) == 0);
}
