// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"
#include "tracer.hpp"

#include <nsjoin/launcher.hpp>

#include <atomic>
#include <chrono>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <vector>

// The tests' own program is its launcher.
NSJOIN_LAUNCHER();

namespace {

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Launcher;
using nsjoin::Program;
using nsjoin::Reason;
using nsjoin::Step;
using support::ends_well;

constexpr auto seven_kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                           Kind::uts, Kind::cgroup>;

const std::array<const char*, 2> true_words{"true", nullptr};
const nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

/// That a launcher keeps: two, and one more whenever a caller was held up.
constexpr int most_joiners = 10;

auto by_launcher(Launcher& launcher, const nsjoin::Plan& plan = nsjoin::JoinPlan{})
    -> support::Execute {
    return [&launcher, plan](const nsjoin::Command& command) {
        return launcher.exec(plan, command);
    };
}

/// Of a program that was faster than who would have stopped it.
void end(nsjoin::Result<nsjoin::PidFd> child) {
    if (child) {
        (void)child->send_signal(SIGKILL);
        (void)child->wait();
    }
}

/// The namespaces of a process, as its /proc names them, a line each.
auto spaces_of(pid_t pid) -> std::string {
    std::string all;
    for (const char* const name : {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}) {
        const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + name;
        std::array<char, 64> link{};
        (void)!::readlink(path.c_str(), link.data(), link.size() - 1);
        all += std::string{link.data()} + "\n";
    }
    return all;
}

/// The first process of a pid namespace, which stops every other one that it sees. Its pid.
auto hostile_container() -> pid_t {
    nsjoin::detail::CloneArgs args;
    args.flags = KindSet{Kind::pid}.clone_flags();
    args.exit_signal = SIGCHLD;
    std::fflush(nullptr);
    const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) {
        support::default_signals();
        ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;) {
            ::kill(-1, SIGSTOP);
        }
    }
    return pid;
}

/// Whether a process that is not dumpable, as a launcher, may ask of which process its pidfd is.
auto reads_own_fdinfo() -> bool {
    return support::run_in_child([] {
               ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
               return ::access("/proc/self/fdinfo/0", R_OK) == 0 ? 0 : 1;
           }) == 0;
}

auto memory_of(pid_t pid, std::string_view what) -> long {
    std::ifstream file{"/proc/" + std::to_string(pid) + "/smaps_rollup"};
    std::string word;
    while (file >> word) {
        if (word == what) {
            long size = 0;
            file >> size;
            return size;
        }
    }
    return -1;
}

} // namespace

TEST_CASE("a launcher starts a program, which is the caller's own child") {
    const support::NothingLeft nothing_left;
    auto launcher = Launcher::start();
    REQUIRE(launcher);
    std::array<char, 64> executable{};
    const std::string exe = "/proc/" + std::to_string(launcher->pid()) + "/exe";
    (void)!::readlink(exe.c_str(), executable.data(), executable.size() - 1);
    if (::geteuid() == 0) { // on a mount that is in no namespace, or in memory
        const std::string_view name{executable.data()};
        CHECK((name == "/" || name.rfind("/memfd:", 0) == 0));
    }
    const auto output = support::shell(by_launcher(*launcher), "echo $PPID");
    CHECK(support::wrote(output, std::to_string(::getpid()) + "\n"));
    CHECK(support::wrote(support::shell(by_launcher(*launcher), "exit 0"), ""));
    CHECK(support::shell(by_launcher(*launcher), "exit 7").code == 7);
    CHECK(support::shell(by_launcher(*launcher), "kill -9 $$").code == 128 + SIGKILL);
    auto child = launcher->exec(nsjoin::JoinPlan{}, run_true);
    REQUIRE(child);
    CHECK(support::closes_on_exec(child->fd().get()));
    CHECK(ends_well(std::move(child)));
}

TEST_CASE("without the mount that seals it, a launcher runs from a copy in memory") {
    CHECK(support::run_in_child([] {
              constexpr long open_tree = 428;
              CHILD_CHECK(support::deny_syscall(open_tree, ENOSYS));
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const std::string exe = "/proc/" + std::to_string(launcher->pid()) + "/exe";
              std::array<char, 64> name{};
              CHILD_CHECK(::readlink(exe.c_str(), name.data(), name.size() - 1) > 0 ||
                          ::geteuid() != 0); // it is not dumpable
              CHILD_CHECK(::geteuid() != 0 || std::string_view{name.data()}.starts_with("/memfd:"));
              return support::wrote(support::shell(by_launcher(*launcher), "echo $PPID"),
                                    std::to_string(::getpid()) + "\n")
                         ? 0
                         : 1;
          }) == 0);
}

TEST_CASE("a launcher's program has the mounts, keys and directory that the plan says") {
    CHECK(
        support::run_in_child([] {
            constexpr long session = -3; // KEY_SPEC_SESSION_KEYRING
            (void)::syscall(SYS_keyctl, 1L, nullptr);
            const bool keys =
                ::syscall(SYS_add_key, "user", "nsjoin-launcher", "x", 1UL, session) >= 0;
            const support::TemporaryDirectory place;
            CHILD_CHECK(support::own_mounts());
            CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0);
            auto launcher = Launcher::start();
            CHILD_CHECK(launcher);
            const auto run = [&](const nsjoin::Plan& plan, const std::string& script) {
                return support::shell(by_launcher(*launcher, plan), script.c_str());
            };
            const auto own = nsjoin::JoinPlan{}.create<Kind::mount>();
            const std::string mount = "mount -t tmpfs none " + place.path();
            const auto shows = [&place] {
                return support::slurp("/proc/self/mountinfo").find(place.path()) !=
                       std::string::npos;
            };
            CHILD_CHECK(support::wrote(run(own, mount), "") && !shows());
            CHILD_CHECK(
                support::wrote(run(own.propagation(nsjoin::Propagation::unchanged), mount), ""));
            CHILD_CHECK(shows());
            ::umount2(place.path().c_str(), MNT_DETACH);

            const std::string look = // KEYCTL_SEARCH
                "python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(" +
                std::to_string(SYS_keyctl) + ", 10, -3, b\"user\", b\"nsjoin-launcher\", 0) >= 0)'";
            const auto user = nsjoin::JoinPlan{}.create(support::own_root());
            if (keys) {
                CHILD_CHECK(support::wrote(run(user, look), "False\n"));
                CHILD_CHECK(support::wrote(
                    run(user.session_keyring(nsjoin::SessionKeyring::keep), look), "True\n"));
            }
            const std::string directory = place.path() + "/of-1001";
            CHILD_CHECK(::chmod(place.path().c_str(), 0755) == 0 &&
                        ::mkdir(directory.c_str(), 0700) == 0 &&
                        ::chown(directory.c_str(), 1001, 1001) == 0);
            const nsjoin::OwnedFd late{::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
            const nsjoin::NewUser two{.uids = {{0, 0, 1}, {1001, 1001, 1}}, .gids = {{0, 0, 1}}};
            CHILD_CHECK(
                support::wrote(run(nsjoin::JoinPlan{}.create(two).working_directory(late).as(
                                       {.uid = 1001, .gid = 0, .groups = {}}),
                                   "pwd"),
                               directory + "\n"));
            return 0;
        }) == 0);
}

TEST_CASE("a launcher's program is in what the plan joins and creates") {
    auto launcher = Launcher::start();
    REQUIRE(launcher);
    const char* const list =
        "cd /proc/self/ns; for kind in cgroup ipc mnt net pid user uts; do readlink $kind; done";
    SUBCASE("seven kinds, each of which gives something up") {
        const support::Container container{seven_kinds};
        const auto target = nsjoin::PidFd::open(container.pid());
        REQUIRE(target);
        const auto plan = nsjoin::JoinPlan{}.join(*target, seven_kinds);
        for (int i = 0; i < 10; ++i) {
            CHECK(support::wrote(support::shell(by_launcher(*launcher, plan), list),
                                 spaces_of(container.pid())));
        }
    }
    SUBCASE("all of them, time too, without a copy of the caller") {
        const support::Container container{nsjoin::all_kinds};
        const auto target = nsjoin::PidFd::open(container.pid());
        REQUIRE(target);
        const auto plan = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
        CHECK(support::wrote(support::shell(by_launcher(*launcher, plan), list),
                             spaces_of(container.pid())));
    }
    SUBCASE("created, with id maps, ids, a root and a name") {
        const std::array<nsjoin::IdExtent, 1> ids{{{0, 0, 65536}}};
        const auto plan = nsjoin::JoinPlan{}
                              .create(nsjoin::NewUser{.uids = *nsjoin::IdMap::from(ids),
                                                      .gids = *nsjoin::IdMap::from(ids)})
                              .create<Kind::mount, Kind::pid, Kind::net>()
                              .as({.uid = 7, .gid = 8, .groups = {9, 10}});
        CHECK(support::wrote(
            support::shell(by_launcher(*launcher, plan), "id -u; id -g; id -G; echo $$"),
            "7\n8\n8 9 10\n1\n"));
    }
    SUBCASE("a cgroup, a time offset, an oom_score_adj and a deadline") {
        const auto plan = nsjoin::JoinPlan{}
                              .create<Kind::time, Kind::uts>()
                              .time_offsets({.boottime = std::chrono::hours{2400}})
                              .oom_score_adj(500)
                              .deadline(std::chrono::seconds{20});
        const auto output =
            support::shell(by_launcher(*launcher, plan), "cat /proc/self/oom_score_adj; "
                                                         "cut -d. -f1 /proc/uptime");
        CHECK(output.code == 0);
        CHECK(output.text.rfind("500\n", 0) == 0);
        CHECK(std::stol(output.text.substr(4)) >= 2400L * 3600);
    }
}

TEST_CASE("what a program inherits is what the caller has at the call") {
    CHECK(support::run_in_child([] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const support::TemporaryDirectory place;
              CHILD_CHECK(::chdir(place.path().c_str()) == 0);
              ::umask(0137);
              ::signal(SIGUSR1, SIG_IGN);
              ::signal(SIGINT, SIG_IGN);
              sigset_t blocked{};
              ::sigemptyset(&blocked);
              ::sigaddset(&blocked, SIGUSR2);
              ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
              const rlimit few{57, 99};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
              const int nice = ::nice(3);
              ::setenv("FRUIT", "pear", 1);
              CHILD_CHECK(::setpgid(0, 0) == 0);
              const std::string expected = place.path() + "\n0137\n57\n99\n" +
                                           std::to_string(nice) + "\npear\n" +
                                           std::to_string(::getpid()) + "\n";
              const auto output = support::shell(
                  by_launcher(*launcher), "pwd; umask; ulimit -Sn; ulimit -Hn; nice; echo $FRUIT; "
                                          "read -r _ _ _ _ group _ </proc/self/stat; echo $group");
              CHILD_CHECK(support::wrote(output, expected));
              const std::array<const char*, 5> words{"grep", "-E", "^Sig(Blk|Ign)",
                                                     "/proc/self/status", nullptr};
              CHILD_CHECK(support::wrote(
                  support::output_of(by_launcher(*launcher),
                                     {.program = Program::at("/bin/grep"), .arguments = words}),
                  "SigBlk:\t0000000000000800\nSigIgn:\t0000000000000202\n"));
              return 0;
          }) == 0);
}

TEST_CASE("a caller may stand in a directory that its ids may not search") {
    const support::TemporaryDirectory home;
    const support::TemporaryDirectory other;
    REQUIRE((::chmod(home.path().c_str(), 0700) == 0 && ::chmod(other.path().c_str(), 0755) == 0));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::chdir(home.path().c_str()) == 0);
              CHILD_CHECK(support::become_user());
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const char* const script = "readlink /proc/self/cwd";
              const auto there = support::shell(by_launcher(*launcher), script);
              CHILD_CHECK(support::wrote(there, home.path() + "\n"));
              CHILD_CHECK(::chdir(other.path().c_str()) == 0);
              const auto moved = support::shell(by_launcher(*launcher), script);
              CHILD_CHECK(support::wrote(moved, other.path() + "\n"));
              return 0;
          }) == 0);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::chdir(other.path().c_str()) == 0);
              CHILD_CHECK(::chown(home.path().c_str(), 1000, 1000) == 0);
              CHILD_CHECK(support::become_user());
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              CHILD_CHECK(::chdir(home.path().c_str()) == 0 && ::chmod(".", 0) == 0);
              CHILD_CHECK(support::failed_with(support::shell(by_launcher(*launcher), ":"),
                                               Step::set_working_directory, Reason::system,
                                               EACCES));
              return 0;
          }) == 0);
    REQUIRE(::chmod(home.path().c_str(), 0700) == 0);
}

TEST_CASE("a closed standard descriptor stays closed, and nothing else is open") {
    CHECK(support::run_in_child([] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              support::TestPipe pipe;
              CHILD_CHECK(::open("/dev/null", O_RDONLY) > 2); // without close-on-exec
              const std::array<nsjoin::PassedFd, 1> passed{
                  {{nsjoin::BorrowedFd{pipe.writer()}, STDOUT_FILENO}}};
              const std::array<const char*, 3> words{"ls", "/proc/self/fd", nullptr};
              nsjoin::Command command{.program = Program::at("/bin/ls"), .arguments = words};
              command.descriptors = passed;
              ::close(0);
              auto child = launcher->exec(nsjoin::JoinPlan{}, command);
              CHILD_CHECK(ends_well(std::move(child)));
              pipe.close_writer();
              // Of ls's own, which opens the directory as 0.
              CHILD_CHECK(support::read_all(pipe.reader()) == "0\n1\n2\n");
              return 0;
          }) == 0);
}

TEST_CASE(
    "a launcher's own descriptor is no program's, though it has the number of a standard one") {
    CHECK(support::run_in_child([] {
              support::TestPipe pipe;
              ::close(STDIN_FILENO);
              ::close(STDERR_FILENO);
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              CHILD_CHECK(::fcntl(STDIN_FILENO, F_GETFD) == FD_CLOEXEC);
              const std::array<nsjoin::PassedFd, 1> passed{
                  {{nsjoin::BorrowedFd{pipe.writer()}, STDOUT_FILENO}}};
              const std::array<const char*, 3> words{"ls", "/proc/self/fd", nullptr};
              nsjoin::Command command{.program = Program::at("/bin/ls"), .arguments = words};
              command.descriptors = passed;
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, command)));
              pipe.close_writer();
              CHILD_CHECK(support::read_all(pipe.reader()) == "0\n1\n"); // ls's own is 0
              return 0;
          }) == 0);
}

TEST_CASE("errors are those of join_and_exec(), and nothing is left") {
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const support::NothingLeft nothing_left;
    auto launcher = Launcher::start();
    REQUIRE(launcher);
    const nsjoin::Plan inside = nsjoin::JoinPlan{}.join(*target, seven_kinds);
    nsjoin::Command missing = run_true;
    missing.program = Program::at("/nowhere");
    for (const nsjoin::Plan& plan : {nsjoin::Plan{nsjoin::JoinPlan{}}, inside}) {
        const auto here = nsjoin::join_and_exec(plan, missing);
        const auto there = launcher->exec(plan, missing);
        REQUIRE(!here);
        REQUIRE(!there);
        CHECK(there.error() == here.error());
    }
    const auto late = launcher->exec(
        nsjoin::JoinPlan{}.join(*target, seven_kinds).deadline(std::chrono::seconds{10}), missing);
    REQUIRE(!late);
    CHECK(late.error().step == Step::execute);
    CHECK(late.error().code == ENOENT);
    const nsjoin::BorrowedFd no_directory{0};
    const auto root = launcher->exec(nsjoin::JoinPlan{}.root(no_directory), run_true);
    REQUIRE(!root);
    CHECK(root.error().step == Step::set_root);
    CHECK(support::fails_with(launcher->exec(nsjoin::JoinPlan{}.umask(01000), run_true),
                              Step::check_plan, Reason::bad_value));
    const auto sibling = nsjoin::Plan::from([] {
        nsjoin::Draft draft;
        draft.child_of = nsjoin::ChildOf::callers_parent;
        return draft;
    }());
    REQUIRE(sibling);
    CHECK(!launcher->exec(*sibling, run_true));
}

TEST_CASE("who inherits all descriptors has those that it was given, and none of the launcher's") {
    CHECK(support::run_in_child([] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              support::TestPipe pipe;
              const std::array<nsjoin::PassedFd, 2> passed{
                  {{nsjoin::BorrowedFd{pipe.writer()}, STDOUT_FILENO},
                   {nsjoin::BorrowedFd{pipe.reader()}, 9}}};
              const std::array<const char*, 3> words{"ls", "/proc/self/fd", nullptr};
              nsjoin::Command command{.program = Program::at("/bin/ls"), .arguments = words};
              command.descriptors = passed;
              command.close_others = false;
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, command)));
              pipe.close_writer();
              CHILD_CHECK(support::read_all(pipe.reader()) == "0\n1\n2\n3\n9\n"); // ls's own is 3
              return 0;
          }) == 0);
}

TEST_CASE("a launcher holds nothing open that was its caller's") {
    CHECK(support::run_in_child([] {
              support::TestPipe pipe;
              CHILD_CHECK(::dup2(pipe.writer(), STDIN_FILENO) == STDIN_FILENO);
              const int other = ::dup(pipe.writer()); // without close-on-exec
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              ::close(STDIN_FILENO);
              ::close(other);
              pipe.close_writer();
              pollfd reader{pipe.reader(), POLLIN, 0};
              CHILD_CHECK(::poll(&reader, 1, 5'000) == 1); // nobody writes any more
              return 0;
          }) == 0);
}

TEST_CASE("a launcher of another version is told from one's own") {
    const auto pair = nsjoin::SocketPair::open(nsjoin::SocketKind::seqpacket);
    const auto self = nsjoin::PidFd::open(::getpid());
    REQUIRE(pair);
    REQUIRE(self);
    nsjoin::detail::LauncherHello newer;
    ++newer.version;
    const nsjoin::BorrowedFd any = pair->second;
    REQUIRE(nsjoin::detail::send_record(pair->second, &newer, sizeof newer, {&any, 1}) ==
            sizeof newer);
    CHECK(support::fails_with(
        nsjoin::detail::await_hello(*self, pair->first, "it", std::chrono::seconds{5}),
        Step::start_program, Reason::bad_message));
}

TEST_CASE("two megabytes of arguments and 250 descriptors travel") {
    const support::NothingLeft nothing_left;
    auto launcher = Launcher::start();
    REQUIRE(launcher);
    const std::string word(100'000, 'x');
    std::vector<const char*> words{"sh", "-c", "echo $#; cat /proc/self/fd/199", "sh"};
    for (int i = 0; i < 18; ++i) {
        words.push_back(word.c_str());
    }
    words.push_back(nullptr);
    std::vector<nsjoin::OwnedFd> files;
    std::vector<nsjoin::PassedFd> passed;
    for (int i = 0; i < 200; ++i) {
        auto pipe = nsjoin::Pipe::open();
        REQUIRE(pipe);
        if (i == 149) {
            REQUIRE(::write(pipe->write_end.get(), "through\n", 8) == 8);
        }
        passed.push_back({pipe->read_end, 50 + i});
        files.push_back(std::move(pipe->read_end));
    }
    nsjoin::Command command{.program = Program::at("/bin/sh"), .arguments = words.data()};
    command.descriptors = passed;
    CHECK(support::wrote(support::output_of(by_launcher(*launcher), command), "18\nthrough\n"));
}

TEST_CASE("threads do not wait for each other") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const support::NothingLeft nothing_left;
              {
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(*target, seven_kinds);
                  std::atomic<int> good{0};
                  std::vector<std::thread> threads;
                  for (int i = 0; i < 8; ++i) {
                      threads.emplace_back([&] {
                          for (int run = 0; run < 25; ++run) {
                              good += ends_well(launcher->exec(plan, run_true)) ? 1 : 0;
                          }
                      });
                  }
                  for (std::thread& thread : threads) {
                      thread.join();
                  }
                  CHILD_CHECK(good == 8 * 25);
              }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a launcher that ended is followed by another one, and one copy has its own") {
    CHECK(support::run_in_child([] {
              const support::NothingLeft nothing_left;
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const pid_t first = launcher->pid();
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              CHILD_CHECK(::kill(first, SIGKILL) == 0);
              siginfo_t info{};
              CHILD_CHECK(::waitid(P_PID, static_cast<id_t>(first), &info, WEXITED | WNOWAIT) == 0);
              for (int i = 0; i < 3; ++i) {
                  CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              }
              CHILD_CHECK(launcher->pid() != first);
              const pid_t second = launcher->pid();
              CHILD_CHECK(support::run_in_child([&] {
                              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
                              CHILD_CHECK(launcher->pid() != second);
                              return 0;
                          }) == 0);
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              CHILD_CHECK(launcher->pid() == second);
              *launcher = *Launcher::start();
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              { const auto end = std::move(*launcher); }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a launcher that dies as it is asked: the call fails by that, or another one serves it") {
    const nsjoin::JoinPlan plan{};
    for (int i = 0; i < 60; ++i) {
        auto launcher = Launcher::start();
        REQUIRE(launcher);
        const pid_t pid = launcher->pid();
        ::kill(pid, SIGKILL);
        for (const bool again : {false, true}) { // the second finds no trace of the first
            if (again) { // under load the signal takes its time, and the first call ends before
                siginfo_t info{};
                (void)::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
            }
            const auto child = launcher->exec(plan, run_true);
            CHECK((child || (!again && child.error().reason == Reason::process_died)));
            CHECK((child || child.error().code == -1)); // how it ended is nobody's to know
            CHECK((!child || child->wait()));
        }
    }
}

TEST_CASE("a launcher works under filters, each of which takes a system call away") {
    const support::Container container{seven_kinds};

    struct Filter {
        long number;
        int code;
    };

    for (const Filter filter :
         {Filter{SYS_clone3, ENOSYS}, Filter{SYS_clone3, EPERM}, Filter{SYS_clone3, EACCES},
          Filter{436 /* close_range */, ENOSYS}, Filter{0, 0}}) {
        CAPTURE(filter.number);
        CHECK(support::run_in_child([&] {
                  CHILD_CHECK(filter.number == 0
                                  ? support::deny_pidfd_ioctls(ENOTTY)
                                  : support::deny_syscall(filter.number, filter.code));
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const auto target = nsjoin::PidFd::open(container.pid());
                  CHILD_CHECK(target);
                  for (const nsjoin::Plan& plan :
                       {nsjoin::Plan{nsjoin::JoinPlan{}},
                        nsjoin::Plan{nsjoin::JoinPlan{}.join(*target, seven_kinds)}}) {
                      auto child = launcher->exec(plan, run_true);
                      CHILD_CHECK(child);
                      CHILD_CHECK(support::state_and_parent(child->pid()).second == ::getpid());
                      CHILD_CHECK(ends_well(std::move(child)));
                  }
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a launcher's caller may ignore SIGCHLD, or reap every child in a handler") {
    const auto reap_all = [](int) {
        const int saved = errno;
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        errno = saved;
    };
    for (const bool handled : {false, true}) {
        CHECK(support::run_in_child([&] {
                  ::signal(SIGCHLD, handled ? static_cast<void (*)(int)>(reap_all) : SIG_IGN);
                  const support::NothingLeft nothing_left;
                  {
                      auto launcher = Launcher::start();
                      CHILD_CHECK(launcher);
                      nsjoin::Command missing = run_true;
                      missing.program = Program::at("/nowhere");
                      for (int i = 0; i < 50; ++i) {
                          const auto child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                          CHILD_CHECK(child);
                          const auto status = child->wait(std::chrono::seconds{20});
                          CHILD_CHECK(status || status.error().reason == Reason::already_reaped);
                          const auto none = launcher->exec(nsjoin::JoinPlan{}, missing);
                          CHILD_CHECK(!none);
                          CHILD_CHECK(none.error().code == ENOENT);
                      }
                  }
                  CHILD_CHECK(nothing_left.holds());
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a launcher that is stopped is given up at the deadline, and another one started") {
    CHECK(support::run_in_child([] {
              const support::NothingLeft nothing_left;
              {
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const pid_t first = launcher->pid();
                  const auto plan = nsjoin::JoinPlan{}.deadline(std::chrono::milliseconds{500});
                  CHILD_CHECK(::kill(first, SIGSTOP) == 0);
                  int served = 0; // by the joiners that wait already
                  auto child = launcher->exec(plan, run_true);
                  for (; child && served < 20; ++served) {
                      CHILD_CHECK(ends_well(std::move(child)));
                      child = launcher->exec(plan, run_true);
                  }
                  CHILD_CHECK(served <= most_joiners);
                  CHILD_CHECK(child.error().reason == Reason::deadline_passed);
                  const auto patient = nsjoin::JoinPlan{}.deadline(std::chrono::seconds{20});
                  CHILD_CHECK(ends_well(launcher->exec(patient, run_true)));
                  CHILD_CHECK(launcher->pid() != first);
              }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a launcher without processes or descriptors to spare says so, and works again") {
    struct Lack {
        int resource;
        rlim_t value;
        int code;
    };

    for (const Lack lack : {Lack{RLIMIT_NPROC, 1, EAGAIN}, Lack{RLIMIT_NOFILE, 6, EMFILE}}) {
        CHECK(support::as_user(1234, [lack] {
                  const support::NothingLeft nothing_left;
                  {
                      auto launcher = Launcher::start();
                      CHILD_CHECK(launcher);
                      CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
                      const pid_t pid = launcher->pid();
                      const rlimit few{lack.value, 1000};
                      const rlimit enough{1000, 1000};
                      const auto limit = [&](const rlimit& value) {
                          return ::syscall(SYS_prlimit64, pid, lack.resource, &value, nullptr) == 0;
                      };
                      CHILD_CHECK(limit(few));
                      int served = 0; // by the joiners that wait already
                      auto child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                      for (; child && served < 20; ++served) {
                          CHILD_CHECK(ends_well(std::move(child)));
                          child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                      }
                      CHILD_CHECK(served <= most_joiners);
                      CHILD_CHECK(child.error().code == lack.code);
                      CHILD_CHECK(limit(enough));
                      // A joiner that was made meanwhile still has the limit, and serves once.
                      int refused = 0;
                      child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                      for (; !child && refused < most_joiners; ++refused) {
                          CHILD_CHECK(child.error().code == lack.code);
                          child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                      }
                      CHILD_CHECK(ends_well(std::move(child)));
                  }
                  return 0;
              }) == 0);
    }
}

TEST_CASE(
    "descriptors that run out while a launcher is at work: what it made is found by its pid") {
    CHECK(support::run_in_child([] {
              const support::NothingLeft nothing_left;
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              const auto all = support::children();
              const auto signal_all = [&all](int number) {
                  for (const pid_t pid : all) {
                      (void)::kill(pid, number);
                  }
              };
              signal_all(SIGSTOP);
              const std::array<const char*, 3> words{"sleep", "1000", nullptr};
              const nsjoin::Command sleep{.program = Program::at("/bin/sleep"), .arguments = words};
              std::optional<nsjoin::Result<nsjoin::PidFd>> child;
              std::atomic<pid_t> asks{0};
              std::thread asking{[&] {
                  asks = static_cast<pid_t>(::syscall(SYS_gettid));
                  child = launcher->exec(nsjoin::JoinPlan{}, sleep);
              }};
              const auto waits = std::to_string(SYS_ppoll) + " ";
              CHILD_CHECK(support::eventually([&] {
                  return asks != 0 &&
                         support::slurp("/proc/self/task/" + std::to_string(asks) + "/syscall")
                                 .rfind(waits, 0) == 0;
              }));
              rlimit usual{};
              CHILD_CHECK(::getrlimit(RLIMIT_NOFILE, &usual) == 0);
              const rlimit none{3, usual.rlim_max};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
              signal_all(SIGCONT);
              asking.join();
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &usual) == 0);
              CHILD_CHECK(!*child && child->error().code == EMFILE);
              for (const pid_t pid : support::children()) {
                  CHILD_CHECK(support::slurp("/proc/" + std::to_string(pid) + "/comm") !=
                              "sleep\n");
              }
              CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              { const Launcher ends = *std::move(launcher); }
              return nothing_left.holds() ? 0 : 1;
          }) == 0);
}

TEST_CASE("a caller without descriptors to spare is told so, and nothing is left") {
    CHECK(support::run_in_child([] {
              const rlimit few{64, 64};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
              int refused = 0;
              int done = 0;
              const support::NothingLeft nothing_left;
              for (int free = 0; free < 24; ++free) {
                  {
                      auto launcher = Launcher::start();
                      CHILD_CHECK(launcher);
                      CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
                      std::vector<nsjoin::OwnedFd> all;
                      for (int fd = 0; (fd = ::fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0;) {
                          all.emplace_back(fd);
                      }
                      all.resize(all.size() - static_cast<std::size_t>(free));
                      auto child = launcher->exec(nsjoin::JoinPlan{}, run_true);
                      refused += !child && child.error().code == EMFILE ? 1 : 0;
                      done += child ? 1 : 0;
                      all.clear();
                      end(std::move(child));
                  }
                  CHILD_CHECK(nothing_left.holds());
              }
              CHILD_CHECK(refused > 3);
              CHILD_CHECK(done > 3);
              CHILD_CHECK(refused + done == 24);
              return 0;
          }) == 0);
}

TEST_CASE("a launcher outlives the thread that started it") {
    const support::NothingLeft nothing_left;
    for (int i = 0; i < 50; ++i) {
        std::unique_ptr<Launcher> launcher;
        std::atomic<bool> started{false};
        std::thread thread{[&] {
            launcher = std::make_unique<Launcher>(*Launcher::start());
            started = true;
        }};
        while (!started) {
            std::this_thread::yield();
        }
        // With the thread, those end that wait for requests: perhaps with one in their hands.
        for (int k = 0; k < 4; ++k) {
            CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
        }
        thread.join();
        CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
    }
}

TEST_CASE("a launcher ends with its caller, though a copy of that has its socket") {
    const auto pipe = nsjoin::Pipe::open();
    REQUIRE(pipe);
    pid_t copy = -1;
    CHECK(support::run_in_child([&] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const pid_t sleeper = ::fork();
              if (sleeper == 0) {
                  ::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
                  ::usleep(3'000'000);
                  ::_exit(0);
              }
              const std::array<pid_t, 2> pids{launcher->pid(), sleeper};
              CHILD_CHECK(::write(pipe->write_end.get(), pids.data(), sizeof pids) == sizeof pids);
              ::kill(::getpid(), SIGKILL);
              return 0;
          }) == 128 + SIGKILL);
    std::array<pid_t, 2> pids{};
    REQUIRE(::read(pipe->read_end.get(), pids.data(), sizeof pids) == sizeof pids);
    copy = pids[1];
    bool gone = false;
    for (int i = 0; i < 200 && !gone; ++i) {
        const char state = support::state_and_parent(pids[0]).first;
        gone = state == 'Z' || state == 0 || ::kill(pids[0], 0) != 0;
        ::usleep(10'000);
    }
    CHECK(gone);
    ::kill(copy, SIGKILL);
}

TEST_CASE("a child that is stopped inside holds up its own call alone, until its deadline") {
    CHECK(support::run_in_child([] {
              const support::NothingLeft nothing_left;
              {
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  // Its first process stops every other one that it sees, over and over.
                  auto container = hostile_container();
                  CHILD_CHECK(container > 0);
                  const auto target = nsjoin::PidFd::open(container);
                  CHILD_CHECK(target);
                  const auto inside = nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid>);
                  std::atomic<int> stopped{0};
                  std::thread slow{[&] { // who stops them may be late, on a machine with other work
                      for (int i = 0; i < 5 || (i < 200 && stopped == 0); ++i) {
                          auto child = launcher->exec(
                              inside.deadline(std::chrono::milliseconds{300}), run_true);
                          stopped += !child && child.error().reason == Reason::deadline_passed;
                          end(std::move(child));
                      }
                  }};
                  std::atomic<bool> ended{false};
                  std::thread patient{[&] { // without a deadline, until the container ends
                      bool failed = false;
                      for (int i = 0; i < 200 && !failed; ++i) {
                          auto child = launcher->exec(inside, run_true);
                          failed = !child;
                          end(std::move(child));
                      }
                      ended = true;
                  }};
                  for (int i = 0; i < 50; ++i) {
                      CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
                  }
                  slow.join();
                  CHILD_CHECK(stopped > 0);
                  ::kill(container, SIGKILL);
                  patient.join();
                  CHILD_CHECK(ended);
                  support::wait_for(container);
                  CHILD_CHECK(ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)));
              }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a program without a launcher in it is told from one") {
    const support::NothingLeft nothing_left;
    const auto ended = Launcher::start({.program = "/bin/true"});
    REQUIRE(!ended);
    CHECK(ended.error().reason == Reason::process_died);
    CHECK(ended.error().code == 0);
    const auto failed = Launcher::start({.program = "/bin/false"});
    REQUIRE(!failed);
    CHECK(failed.error().code == 1 << 8);
    const auto missing = Launcher::start({.program = "/nowhere"});
    REQUIRE(!missing);
    CHECK(missing.error().code == ENOENT);
    const support::TemporaryDirectory place;
    const std::string script = place.path() + "/sleeps";
    std::ofstream{script} << "#!/bin/sh\nexec sleep 20\n";
    REQUIRE(::chmod(script.c_str(), 0700) == 0);
    const auto runs_on =
        Launcher::start({.program = script, .deadline = std::chrono::milliseconds{200}});
    REQUIRE(!runs_on);
    CHECK(runs_on.error().reason == Reason::deadline_passed);
}

TEST_CASE("a program that forgot its launcher starts no other, and its caller is told so") {
    const support::NothingLeft nothing_left;
    CHECK(support::run_in_child([] {
              ::setenv("_NSJOIN_LAUNCHER", "3", 1); // NOLINT(*-mt-unsafe): as it is started then
              return Launcher::start() ? 0 : 1;
          }) == 112);
    const support::TemporaryDirectory place;
    const std::string program = place.path() + "/forgetful";
    REQUIRE(support::write_script(program, "#!/bin/sh\nexit 112\n"));
    const auto launcher = Launcher::start({.program = program});
    CHECK(support::fails_with(launcher, Step::start_program, Reason::no_launcher));
}

TEST_CASE("an unprivileged caller creates and joins by a launcher") {
    CHECK(support::as_user(1000, [] {
              auto launcher = Launcher::start();
              CHILD_CHECK(launcher);
              const auto map = [](std::uint32_t outside) {
                  return *nsjoin::IdMap::single(0, outside);
              };
              const auto create = nsjoin::JoinPlan{}
                                      .create(nsjoin::NewUser{.uids = map(1000), .gids = map(1000)})
                                      .create<Kind::mount, Kind::pid, Kind::net>();
              CHILD_CHECK(support::wrote(
                  support::shell(by_launcher(*launcher, create), "id -u; echo $$"), "0\n1\n"));
              const support::Container container{Kind::user | Kind::mount | Kind::pid};
              CHILD_CHECK(container.ok());
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const auto join = nsjoin::JoinPlan{}.join(*target, seven_kinds);
              if (!reads_own_fdinfo()) {
                  support::skip("a rootless launcher sees what differs: Linux 5.14 (its fdinfo)");
                  return 0;
              }
              CHILD_CHECK(
                  support::wrote(support::shell(by_launcher(*launcher, join), "id -u"), "0\n"));
              return 0;
          }) == 0);
}

TEST_CASE("a launcher is small, and stays as it is over many starts") {
    CHECK(support::run_in_child([] {
              const support::NothingLeft nothing_left;
              {
                  auto launcher = Launcher::start();
                  CHILD_CHECK(launcher);
                  const auto start = [&](int count) {
                      int good = 0;
                      for (int i = 0; i < count; ++i) {
                          good += ends_well(launcher->exec(nsjoin::JoinPlan{}, run_true)) ? 1 : 0;
                      }
                      ::usleep(100'000); // until it has made up for the last joiner
                      return good == count;
                  };
                  const auto counts = [&] {
                      const std::string proc = "/proc/" + std::to_string(launcher->pid());
                      return std::array<std::size_t, 3>{
                          support::numbers_in((proc + "/fd").c_str()).size(),
                          support::open_descriptors().size(), support::children().size()};
                  };
                  CHILD_CHECK(start(100));
                  const auto expected = counts();
                  // Its share of what joiners have as well grows as they become fewer: "Pss:".
                  const long before = memory_of(launcher->pid(), "Anonymous:");
                  const int many = 100'000 / static_cast<int>(support::every(100, 100));
                  CHILD_CHECK(start(many));
                  const long after = memory_of(launcher->pid(), "Anonymous:");
                  std::printf("a launcher's own memory: %ld kB, after %d starts %ld kB\n", before,
                              many, after);
                  CHILD_CHECK(before > 0);
                  CHILD_CHECK(memory_of(launcher->pid(), "Pss:") <= 3072);
                  CHILD_CHECK(after <= before + 100);
                  // Ten joiners at most that wait, and ten that end and are waited for at the next
                  // call, with a pidfd each.
                  const auto now = counts();
                  for (std::size_t i = 0; i < expected.size(); ++i) {
                      CHILD_CHECK(now[i] <= expected[i] + 20);
                  }
              }
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}

namespace {

/// Starts a launcher and asks it twice. Whoever is killed meanwhile: the second is done if the
/// first was not, and nothing is left.
auto asks_twice(const nsjoin::Plan& plan) -> int {
    const support::NothingLeft nothing_left;
    {
        auto launcher = Launcher::start();
        if (launcher) {
            auto first = launcher->exec(plan, run_true);
            const bool failed = !first;
            end(std::move(first));
            auto second = launcher->exec(plan, run_true);
            CHILD_CHECK(second || !failed);
            end(std::move(second));
        }
    }
    CHILD_CHECK(nothing_left.holds());
    return 0;
}

} // namespace

TEST_CASE("a process is killed at any system call: a launcher, and what it starts") {
    const support::Container container{KindSet{Kind::pid} | Kind::net};
    // Most of them are the start of a program.
    const auto body = [&] {
        const auto target = nsjoin::PidFd::open(container.pid());
        return asks_twice(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid, Kind::net>));
    };
    CHECK(support::kill_everywhere(body, support::every(101, 17)) == 0);
}
