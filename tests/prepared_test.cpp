// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/launcher.hpp>

#include <atomic>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <type_traits>
#include <vector>

// Plans that are kept for a launcher: Launcher::prepare().

namespace {

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Launcher;
using nsjoin::Program;
using nsjoin::Reason;
using nsjoin::Step;
using support::ends_well;

static_assert(!std::is_copy_constructible_v<Launcher::Prepared>);
static_assert(std::is_nothrow_move_constructible_v<Launcher::Prepared>);

constexpr auto two_kinds = nsjoin::kinds<Kind::net, Kind::uts>;

const std::array<const char*, 2> true_words{"true", nullptr};
const nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

auto by(const Launcher::Prepared& prepared) -> support::Execute {
    return [&prepared](const nsjoin::Command& command) {
        return prepared.exec(command);
    };
}

/// What readlink says of a namespace of that process, and a newline.
auto space_of(pid_t pid, const char* name) -> std::string {
    const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + name;
    std::array<char, 64> link{};
    (void)!::readlink(path.c_str(), link.data(), link.size() - 1);
    return std::string{link.data()} + "\n";
}

constexpr const char* show_net = "readlink /proc/self/ns/net";

/// Prepares to join the container, and gives up all that it took to do so.
auto prepared_for(const Launcher& launcher, const support::Container& container)
    -> nsjoin::Result<Launcher::Prepared> {
    const auto target = nsjoin::PidFd::open(container.pid());
    return launcher.prepare(nsjoin::JoinPlan{}.join(*target, two_kinds));
}

} // namespace

TEST_CASE("a prepared plan needs nothing more of what it borrowed") {
    const support::Container container{two_kinds};
    const support::TemporaryDirectory place;
    const support::NothingLeft nothing_left;
    {
        auto launcher = Launcher::start();
        REQUIRE(launcher);
        std::optional<nsjoin::Result<Launcher::Prepared>> prepared;
        {
            const auto target = nsjoin::PidFd::open(container.pid());
            const auto uts = nsjoin::NamespaceFd<Kind::uts>::open("/proc/self/ns/uts"); // its own
            const nsjoin::OwnedFd directory{
                ::open(place.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
            REQUIRE(target);
            REQUIRE(uts);
            const nsjoin::Plan plan = nsjoin::JoinPlan{}
                                          .join(*target, nsjoin::kinds<Kind::net>)
                                          .join(*uts)
                                          .working_directory(directory)
                                          .oom_score_adj(321);
            prepared.emplace(launcher->prepare(plan));
        }
        REQUIRE(*prepared);
        // Their numbers are other files' now.
        const nsjoin::OwnedFd other{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        const std::string expected = space_of(container.pid(), "net") +
                                     space_of(::getpid(), "uts") + place.path() + "\n321\n";
        for (int i = 0; i < 5; ++i) {
            CHECK(support::wrote(support::shell(by(**prepared),
                                                "readlink /proc/self/ns/net /proc/self/ns/uts; "
                                                "pwd; cat /proc/self/oom_score_adj"),
                                 expected));
        }
        const auto moved = *std::move(*prepared);
        CHECK(support::wrote(support::shell(by(moved), "cat /proc/self/oom_score_adj"), "321\n"));
    }
}

TEST_CASE("a prepared plan has id maps, groups and long texts of its own") {
    auto launcher = Launcher::start();
    REQUIRE(launcher);
    std::optional<nsjoin::Result<Launcher::Prepared>> prepared;
    {
        const std::array<nsjoin::IdExtent, 1> ids{{{0, 0, 65536}}};
        std::string path = "/" + std::string(3000, '/') + "etc";
        std::vector<nsjoin::MountSource> sources{{path, 20}, {path, 21}, {path, 22}};
        nsjoin::Draft draft;
        draft.created = Kind::mount | Kind::pid | Kind::user;
        draft.maps =
            nsjoin::NewUser{.uids = *nsjoin::IdMap::from(ids), .gids = *nsjoin::IdMap::from(ids)};
        draft.mount_sources = {sources};
        draft.credentials = nsjoin::Credentials{.uid = 7, .gid = 8, .groups = {9, 10}};
        const auto plan = nsjoin::Plan::from(std::move(draft));
        REQUIRE(plan);
        prepared.emplace(launcher->prepare(*plan));
        path.assign(path.size(), 'x');
        sources.clear();
    }
    REQUIRE(*prepared);
    CHECK(
        support::wrote(support::shell(by(**prepared), "id -u; id -G; echo $$"), "7\n8 9 10\n1\n"));
}

TEST_CASE("several plans are prepared at once, and run from several threads") {
    CHECK(support::run_in_child([] {
              const support::NothingLeft nothing_left;
              {
                  std::vector<std::unique_ptr<support::Container>> containers;
                  std::vector<Launcher::Prepared> prepared;
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const std::size_t before = support::open_descriptors().size();
                  for (int i = 0; i < 4; ++i) {
                      containers.push_back(std::make_unique<support::Container>(two_kinds));
                      auto one = prepared_for(*launcher, *containers.back());
                      CHILD_CHECK(one);
                      prepared.push_back(*std::move(one));
                  }
                  CHILD_CHECK(support::open_descriptors().size() == before + 4);
                  std::atomic<int> good{0};
                  std::vector<std::thread> threads;
                  for (std::size_t i = 0; i < 8; ++i) {
                      threads.emplace_back([&, i] {
                          const std::size_t own = i % 4;
                          for (int run = 0; run < 10; ++run) {
                              const auto output = support::shell(by(prepared[own]), show_net);
                              good += output.text == space_of(containers[own]->pid(), "net");
                          }
                      });
                  }
                  for (std::thread& thread : threads) {
                      thread.join();
                  }
                  CHILD_CHECK(good == 80);
                  prepared.erase(prepared.begin());
                  CHILD_CHECK(ends_well(prepared.front().exec(run_true)));
              }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a prepared plan works with the launcher that follows, and in a copy of the caller") {
    CHECK(support::run_in_child([] {
              const support::Container container{two_kinds};
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const auto prepared = prepared_for(*launcher, container);
              CHILD_CHECK(prepared);
              const auto works = [&] {
                  return support::wrote(support::shell(by(*prepared), show_net),
                                        space_of(container.pid(), "net"));
              };
              CHILD_CHECK(works());
              const pid_t first = launcher->pid();
              CHILD_CHECK(::kill(first, SIGKILL) == 0);
              siginfo_t info{};
              CHILD_CHECK(::waitid(P_PID, static_cast<id_t>(first), &info, WEXITED | WNOWAIT) == 0);
              CHILD_CHECK(works());
              CHILD_CHECK(launcher->pid() != first);
              CHILD_CHECK(support::run_in_child([&] {
                              CHILD_CHECK(works());
                              return 0;
                          }) == 0);
              CHILD_CHECK(works());
              return 0;
          }) == 0);
}

TEST_CASE("a prepared plan has the errors of the plan") {
    std::optional<support::Container> container{std::in_place, two_kinds};
    auto launcher = Launcher::start();
    REQUIRE(launcher);
    const auto target = nsjoin::PidFd::open(container->pid());
    const auto elsewhere = nsjoin::PidFd::open(::getpid());
    REQUIRE(target);
    REQUIRE(elsewhere);
    const std::array<nsjoin::Plan, 2> plans{nsjoin::JoinPlan{}.join(*target, two_kinds),
                                            nsjoin::JoinPlan{}
                                                .join(*target, nsjoin::kinds<Kind::net>)
                                                .join(*elsewhere, nsjoin::kinds<Kind::ipc>)};
    nsjoin::Command missing = run_true;
    missing.program = Program::at("/nowhere");
    std::vector<Launcher::Prepared> prepared;
    for (const nsjoin::Plan& plan : plans) {
        auto one = launcher->prepare(plan);
        REQUIRE(one);
        CHECK(support::fails_with(one->exec(missing), Step::execute, Reason::system, ENOENT));
        CHECK(ends_well(one->exec(run_true)));
        prepared.push_back(*std::move(one));
    }
    container.reset();
    for (std::size_t i = 0; i < plans.size(); ++i) {
        const auto there = prepared[i].exec(run_true);
        const auto here = launcher->exec(plans[i], run_true);
        REQUIRE(!there);
        REQUIRE(!here);
        CHECK(there.error() == here.error());
    }
    const auto sibling = nsjoin::Plan::from([] {
        nsjoin::Draft draft;
        draft.child_of = nsjoin::ChildOf::callers_parent;
        return draft;
    }());
    REQUIRE(sibling);
    CHECK(support::fails_with(launcher->prepare(*sibling), Step::check_plan, Reason::bad_value));
    const nsjoin::BorrowedFd closed{10'000};
    CHECK(support::fails_with(launcher->prepare(nsjoin::JoinPlan{}.root(closed)), Step::duplicate,
                              Reason::system, EBADF));
}

TEST_CASE("a prepared plan may outlive its launcher, and says so then") {
    const support::NothingLeft nothing_left;
    std::optional<Launcher::Prepared> prepared;
    {
        auto launcher = Launcher::start();
        REQUIRE(launcher);
        prepared = *launcher->prepare(nsjoin::JoinPlan{});
        const Launcher moved = *std::move(launcher);
        CHECK(ends_well(prepared->exec(run_true)));
    }
    CHECK(nothing_left.holds());
    CHECK(support::fails_with(prepared->exec(run_true), Step::start_program, Reason::process_died,
                              -1));
}

TEST_CASE("a prepared plan's descriptors are no program's standard ones") {
    CHECK(support::run_in_child([] {
              const support::Container container{two_kinds};
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              support::TestPipe pipe;
              ::close(STDIN_FILENO);
              const auto prepared = prepared_for(*launcher, container);
              CHILD_CHECK(prepared);
              const std::array<nsjoin::PassedFd, 1> passed{
                  {{nsjoin::BorrowedFd{pipe.writer()}, STDOUT_FILENO}}};
              const std::array<const char*, 3> words{"ls", "/proc/self/fd", nullptr};
              nsjoin::Command command{.program = Program::at("/bin/ls"), .arguments = words};
              command.descriptors = passed;
              CHILD_CHECK(ends_well(prepared->exec(command)));
              pipe.close_writer();
              CHILD_CHECK(support::read_all(pipe.reader()) == "0\n1\n2\n"); // ls's own is 0
              CHILD_CHECK(::fcntl(STDIN_FILENO, F_GETFD) < 0);
              return 0;
          }) == 0);
}
