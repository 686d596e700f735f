// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join_here.hpp>

#include "engine_support.hpp"

#include <atomic>
#include <filesystem>
#include <sys/prctl.h>
#include <thread>

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

using NetHome = nsjoin::Home<Kind::net>;

/// The calling thread's own namespace.
auto own_link(std::string_view name) -> std::string {
    return support::namespace_link("thread-self", name);
}

/// A namespace of the test and its name.
struct Space {
    nsjoin::NamespaceFd<Kind::net> fd;
    std::string link;
};

/// New network namespaces, made one after the other by a thread that ends.
auto make_spaces(std::size_t count) -> std::vector<Space> {
    std::vector<Space> spaces;
    std::thread maker{[&] {
        while (spaces.size() < count && ::unshare(CLONE_NEWNET) == 0) {
            auto fd = nsjoin::NamespaceFd<Kind::net>::own();
            if (!fd) {
                return;
            }
            spaces.push_back({*std::move(fd), own_link("net")});
        }
    }};
    maker.join();
    return spaces;
}

/// For a child: many descriptors may be open.
auto allow_descriptors(rlim_t count) -> bool {
    const rlimit limit{count, count};
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/// Visits the namespace, looks, and comes back; whether all three went well.
auto visits(const NetHome& home, const Space& space, const std::string& own) -> bool {
    const auto visit = nsjoin::join_here(home, space.fd);
    return visit && own_link("net") == space.link && own != space.link;
}

} // namespace

TEST_CASE("a thread looks into a thousand network namespaces, and is at home again") {
    CHECK(support::run_in_child([] {
              constexpr std::size_t count = 1000;
              CHILD_CHECK(allow_descriptors(4096));
              const support::CallerState state;
              {
                  const std::vector<Space> spaces = make_spaces(count);
                  CHILD_CHECK(spaces.size() == count);
                  const std::string own = own_link("net");
                  const auto home = NetHome::open();
                  CHILD_CHECK(home);
                  std::set<std::string> seen;
                  for (const Space& space : spaces) {
                      CHILD_CHECK(visits(*home, space, own));
                      CHILD_CHECK(own_link("net") == own);
                      seen.insert(space.link);
                  }
                  CHILD_CHECK(seen.size() == count);
              }
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a hundred threads at once, each in a namespace of its own") {
    CHECK(support::run_in_child([] {
              constexpr std::size_t count = 100;
              CHILD_CHECK(allow_descriptors(4096));
              const support::CallerState state;
              {
                  const std::vector<Space> spaces = make_spaces(count);
                  CHILD_CHECK(spaces.size() == count);
                  const std::string own = own_link("net");
                  std::atomic<std::size_t> inside{0};
                  std::atomic<std::size_t> good{0};
                  std::vector<std::thread> threads;
                  for (std::size_t i = 0; i < count; ++i) {
                      threads.emplace_back([&, i] {
                          const auto home = NetHome::open();
                          bool right = home.has_value();
                          for (std::size_t round = 0; right && round < 20; ++round) {
                              const Space& space = spaces[(i + round) % count];
                              auto visit = nsjoin::join_here(*home, space.fd);
                              right = visit && own_link("net") == space.link;
                              if (round == 0) { // all are away at the same time
                                  ++inside;
                                  right = support::eventually([&] { return inside == count; }) &&
                                          right && own_link("net") == space.link;
                              }
                              right = right && visit->end() && own_link("net") == own;
                          }
                          good += right ? 1U : 0U;
                      });
                  }
                  CHILD_CHECK(support::eventually([&] { return inside == count; }));
                  CHILD_CHECK(own_link("net") == own); // this thread stayed
                  for (std::thread& thread : threads) {
                      thread.join();
                  }
                  CHILD_CHECK(good == count);
              }
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("all four kinds of a target by one call; other threads, root and directory stay") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              const support::CallerState state;
              const support::Spaces before = support::spaces_of("thread-self");
              const support::Spaces wanted = support::spaces_of(container.pid());
              const auto four = Kind::net | Kind::ipc | Kind::uts | Kind::cgroup;
              bool good = false;
              std::thread visitor{[&] {
                  const auto home =
                      nsjoin::Home<Kind::net, Kind::ipc, Kind::uts, Kind::cgroup>::open();
                  if (!home) {
                      return;
                  }
                  {
                      const auto visit = nsjoin::join_here(*home, *target);
                      const support::Spaces now = support::spaces_of("thread-self");
                      good =
                          visit && support::differing(now, before) == four &&
                          support::differing(now, wanted) == (KindSet{nsjoin::all_kinds} - four) &&
                          support::spaces_of("self") == before &&
                          support::slurp("/proc/thread-self/mountinfo") ==
                              support::slurp("/proc/self/mountinfo");
                  }
                  good = good && support::spaces_of("thread-self") == before;
              }};
              visitor.join();
              CHILD_CHECK(good);
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a visit is moved, ended early, and begun inside another one") {
    CHECK(support::run_in_child([] {
              const std::vector<Space> spaces = make_spaces(2);
              CHILD_CHECK(spaces.size() == 2);
              const std::string own = own_link("net");
              const auto home = NetHome::open();
              CHILD_CHECK(home);
              {
                  auto visit = nsjoin::join_here(*home, spaces[0].fd);
                  CHILD_CHECK(visit);
                  {
                      const nsjoin::Visit<Kind::net> moved{*std::move(visit)};
                      CHILD_CHECK(own_link("net") == spaces[0].link);
                  }
                  CHILD_CHECK(own_link("net") == own);
              }
              auto visit = nsjoin::join_here(*home, spaces[0].fd);
              CHILD_CHECK(visit->end());
              CHILD_CHECK(own_link("net") == own);
              CHILD_CHECK(visit->end()); // nothing more to do
              {
                  const auto outer = nsjoin::join_here(*home, spaces[0].fd);
                  {
                      const auto inner = nsjoin::join_here(*home, spaces[1].fd);
                      CHILD_CHECK(own_link("net") == spaces[1].link);
                  }
                  CHILD_CHECK(own_link("net") == own);
              }
              CHILD_CHECK(own_link("net") == own);
              return 0;
          }) == 0);
}

TEST_CASE("a process with one thread visits mount, pid and time too, and comes back to its root") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::chdir("/usr") == 0);
              const support::CallerState state;
              const support::Spaces before = support::spaces_of("self");
              const support::Spaces wanted = support::spaces_of(container.pid());
              const std::string mounts = support::slurp("/proc/self/mountinfo");
              {
                  const auto home =
                      nsjoin::Home<Kind::mount, Kind::pid, Kind::time, Kind::net>::open();
                  CHILD_CHECK(home);
                  for (int round = 0; round < 3; ++round) {
                      const auto visit = nsjoin::join_here(*home, *target);
                      CHILD_CHECK(visit);
                      const int inside = support::run_in_child([&] {
                          const auto joined = Kind::mount | Kind::pid | Kind::time | Kind::net;
                          return support::differing(support::spaces_of("self"), wanted) ==
                                         (KindSet{nsjoin::all_kinds} - joined)
                                     ? 0
                                     : 1;
                      });
                      CHILD_CHECK(inside == 0);
                  }
              }
              CHILD_CHECK(support::spaces_of("self") == before);
              CHILD_CHECK(support::slurp("/proc/self/mountinfo") == mounts);
              CHILD_CHECK(std::filesystem::current_path() == "/usr");
              CHILD_CHECK(support::run_in_child(
                              [&] { return support::spaces_of("self") == before ? 0 : 1; }) == 0);
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("with several threads, mount and time are refused, and pid is the calling thread's") {
    const support::Container container{Kind::mount | Kind::pid | Kind::net};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              const auto home = nsjoin::Home<Kind::mount, Kind::net>::open();
              CHILD_CHECK(home);
              const std::string mounts = support::slurp("/proc/self/mountinfo");
              std::atomic<bool> end{false};
              std::thread other{[&] {
                  while (!end) {
                      std::this_thread::yield();
                  }
              }};
              // setns(pidfd, mnt | net) would move the root of the other thread as well.
              const bool refused =
                  support::fails_with(nsjoin::join_here(*home, *target), Step::join_here,
                                      Reason::many_threads) &&
                  support::fails_with(nsjoin::Home<Kind::time>::open(), Step::join_here,
                                      Reason::many_threads) &&
                  support::fails_with(nsjoin::join_for_good(*target, nsjoin::kinds<Kind::net>),
                                      Step::join_here, Reason::many_threads);
              const std::string wanted =
                  support::namespace_link(std::to_string(container.pid()), "pid");
              bool moved = false;
              std::thread{[&] {
                  const auto pids = nsjoin::Home<Kind::pid>::open();
                  if (!pids) {
                      return;
                  }
                  {
                      const auto visit = nsjoin::join_here(*pids, *target);
                      moved = visit && own_link("pid_for_children") == wanted &&
                              support::namespace_link("self", "pid_for_children") != wanted;
                  }
                  moved = moved && own_link("pid_for_children") == own_link("pid");
              }}.join();
              end = true;
              other.join();
              CHILD_CHECK(refused);
              CHILD_CHECK(moved);
              CHILD_CHECK(support::slurp("/proc/self/mountinfo") == mounts);
              return 0;
          }) == 0);
}

TEST_CASE("for good: all kinds by one call, as root inside, and not dumpable") {
    const auto inside = [](const nsjoin::PidFd& target, const support::Spaces& wanted) {
        CHILD_CHECK(nsjoin::join_for_good(target, nsjoin::all_kinds));
        CHILD_CHECK(::getuid() == 0);
        CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
        return support::run_in_child([&] {
            const support::Spaces now = support::spaces_of("self");
            return support::differing(now, wanted).empty() && ::getppid() == 0 ? 0 : 1;
        });
    };
    const auto join = [&inside](KindSet kinds) {
        const support::Container container{kinds};
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(target);
        const support::Spaces wanted = support::spaces_of(container.pid());
        return support::run_in_child([&] { return inside(*target, wanted); });
    };
    CHECK(join(nsjoin::all_kinds) == 0);
    // Its user namespace is the caller's own, which the kernel refuses to join.
    CHECK(join(KindSet{nsjoin::all_kinds} - Kind::user) == 0);
    CHECK(support::as_user(1000, [&] { return join(nsjoin::all_kinds); }) == 0);
}

TEST_CASE("for good: after an error all is as before") {
    CHECK(support::run_in_child([] {
              const support::Container container{nsjoin::all_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              return support::as_user(1000, [&] {
                  const support::CallerState state;
                  const auto refused = nsjoin::join_for_good(*target, nsjoin::all_kinds);
                  CHILD_CHECK(!refused);
                  CHILD_CHECK(refused.error().code == EPERM);
                  CHILD_CHECK(explain(refused.error()).find("pid ") != std::string::npos);
                  CHILD_CHECK(state.holds());
                  return 0;
              });
          }) == 0);
}

TEST_CASE("a kind that the home lacks is refused, with the reason") {
    const auto home = nsjoin::Home<Kind::net, Kind::uts>::open();
    REQUIRE(home);
    const support::Spaces before = support::spaces_of("thread-self");
    for (const Kind kind : nsjoin::all_kinds.set) {
        const auto space = nsjoin::AnyNamespaceFd::own(kind);
        REQUIRE(space);
        const auto visit = nsjoin::join_here(*home, *space);
        if (kind == Kind::net || kind == Kind::uts) {
            CHECK(visit);
        } else {
            CHECK(support::fails_with(visit, Step::join_here, Reason::no_way_back));
        }
    }
    CHECK(support::spaces_of("thread-self") == before);
}

TEST_CASE("errors: no rights, a target that is gone; the thread stays where it is") {
    const support::Container container{Kind::net | Kind::uts};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const auto space = nsjoin::NamespaceFd<Kind::net>::open(*target);
    REQUIRE(space);
    CHECK(support::run_in_child([&] {
              const std::string own = own_link("net");
              const auto home = NetHome::open();
              CHILD_CHECK(home);
              CHILD_CHECK(support::become_user());
              CHILD_CHECK(support::fails_with(nsjoin::join_here(*home, *space), Step::join_here,
                                              Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::join_here(*home, *target), Step::join_here,
                                              Reason::system, EPERM));
              CHILD_CHECK(own_link("net") == own);
              return 0;
          }) == 0);
    const auto home = NetHome::open();
    REQUIRE(home);
    const support::Container dying{KindSet{Kind::net}};
    const auto dead = nsjoin::PidFd::open(dying.pid());
    REQUIRE(dead);
    dying.kill();
    CHECK(support::fails_with(nsjoin::join_here(*home, *dead), Step::join_here,
                              Reason::process_gone, ESRCH));
}

TEST_CASE("who could not come back does not leave") {
    CHECK(support::as_user(1000, [] {
              // Rights over namespaces of its own, and none over the host's network, where it is.
              CHILD_CHECK(support::new_user());
              const support::Container container{KindSet{Kind::net}};
              const auto space = nsjoin::NamespaceFd<Kind::net>::open(container.pid());
              CHILD_CHECK(space);
              CHILD_CHECK(
                  support::fails_with(NetHome::open(), Step::go_back, Reason::system, EPERM));
              return 0;
          }) == 0);
}

TEST_CASE("a way back that fails is an error of end(), and else ends the program") {
    const auto away_without_return = [](bool asks) {
        return support::run_in_child([asks] {
            const rlimit no_core{};
            ::setrlimit(RLIMIT_CORE, &no_core);
            const std::vector<Space> spaces = make_spaces(1);
            const auto home = NetHome::open();
            CHILD_CHECK(home);
            auto visit = nsjoin::join_here(*home, spaces.at(0).fd);
            CHILD_CHECK(visit);
            CHILD_CHECK(support::deny_syscall(SYS_setns, EPERM));
            if (asks) {
                CHILD_CHECK(
                    support::fails_with(visit->end(), Step::go_back, Reason::system, EPERM));
                CHILD_CHECK(own_link("net") == spaces[0].link);
            }
            return 0;
        });
    };
    CHECK(away_without_return(true) == 0);
    CHECK(away_without_return(false) == 128 + SIGABRT);
}

TEST_CASE("a visit that ends in another thread ends the program") {
    CHECK(support::run_in_child([] {
              const rlimit no_core{};
              ::setrlimit(RLIMIT_CORE, &no_core);
              const std::vector<Space> spaces = make_spaces(1);
              const auto home = NetHome::open();
              CHILD_CHECK(home);
              auto visit = nsjoin::join_here(*home, spaces.at(0).fd);
              CHILD_CHECK(visit);
              std::thread{[moved = *std::move(visit)]() mutable {
                  (void)moved.end();
              }}.join();
              return 0;
          }) == 128 + SIGABRT);
}

namespace {

/// Makes unshare(2) fail from now on: with that flag, or whatever it is to unshare.
auto deny_unshare(int error, std::uint32_t flag = ~std::uint32_t{0}) -> bool {
    const auto verdict = SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
    return support::install_filter(std::array<sock_filter, 6>{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 3),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flag, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, verdict),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    });
}

/// A second thread, as long as this lives; then its working directory is known.
class SecondThread {
  public:
    SecondThread()
        : thread_{[this] {
              while (!end_) {
                  std::this_thread::yield();
              }
              directory_ = std::filesystem::current_path();
          }} {}

    SecondThread(const SecondThread&) = delete;
    SecondThread(SecondThread&&) = delete;
    auto operator=(const SecondThread&) -> SecondThread& = delete;
    auto operator=(SecondThread&&) -> SecondThread& = delete;

    ~SecondThread() { (void)directory(); }

    [[nodiscard]] auto directory() -> std::string {
        end_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
        return directory_;
    }

  private:
    std::atomic<bool> end_{false};
    std::string directory_;
    std::thread thread_;
};

/// Puts an empty file system over /proc, in a mount namespace of the calling process's own.
auto cover_proc() -> bool {
    return support::own_mounts() && ::mount("none", "/proc", "tmpfs", 0, nullptr) == 0;
}

} // namespace

TEST_CASE("threads: where a filter answers for unshare(2), two are not taken for one") {
    const support::Container container{Kind::mount | Kind::net};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    for (const int error : {EPERM, EACCES, ENOSYS}) {
        CHECK(support::run_in_child([&] {
                  CHILD_CHECK(::chdir("/usr") == 0);
                  const auto home = nsjoin::Home<Kind::mount, Kind::net>::open();
                  CHILD_CHECK(home);
                  SecondThread second;
                  CHILD_CHECK(deny_unshare(error));
                  const support::Spaces before = support::spaces_of("self");
                  CHILD_CHECK(nsjoin::detail::has_threads());
                  CHILD_CHECK(support::fails_with(nsjoin::join_here(*home, *target),
                                                  Step::join_here, Reason::many_threads));
                  CHILD_CHECK(support::fails_with(nsjoin::Home<Kind::time>::open(), Step::join_here,
                                                  Reason::many_threads));
                  CHILD_CHECK(support::fails_with(
                      nsjoin::join_for_good(*target, nsjoin::kinds<Kind::mount, Kind::net>),
                      Step::join_here, Reason::many_threads));
                  CHILD_CHECK(support::spaces_of("self") == before);
                  CHILD_CHECK(second.directory() == "/usr");
                  return 0;
              }) == 0);
    }
}

TEST_CASE("threads: where a filter answers for unshare(2), /proc tells of one thread") {
    const support::Container container{Kind::mount | Kind::net};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(deny_unshare(EPERM));
              CHILD_CHECK(!nsjoin::detail::has_threads());
              CHILD_CHECK(nsjoin::join_for_good(*target, nsjoin::kinds<Kind::net>));
              return 0;
          }) == 0);
    // A process with those ids that is not dumpable: its files in /proc are root's.
    CHECK(support::as_user(1000, [] {
              ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
              CHILD_CHECK(deny_unshare(EPERM));
              return nsjoin::detail::has_threads() ? 1 : 0;
          }) == 0);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(cover_proc());
              CHILD_CHECK(!nsjoin::detail::has_threads());
              CHILD_CHECK(deny_unshare(EPERM));
              CHILD_CHECK(nsjoin::detail::has_threads());
              CHILD_CHECK(
                  support::fails_with(nsjoin::join_for_good(*target, nsjoin::kinds<Kind::net>),
                                      Step::join_here, Reason::many_threads));
              return 0;
          }) == 0);
}

TEST_CASE("threads: a covered part of /proc, or one of another pid namespace, is not believed") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const std::string ours = "/proc/" + std::to_string(::getpid()) + "/task";
              CHILD_CHECK(::mount("none", ours.c_str(), "tmpfs", 0, nullptr) == 0);
              CHILD_CHECK(deny_unshare(EPERM));
              return nsjoin::detail::has_threads() ? 0 : 1;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              return support::run_in_child([] { // pid 1, of which /proc says another number
                  CHILD_CHECK(deny_unshare(EPERM));
                  return nsjoin::detail::has_threads() ? 0 : 1;
              });
          }) == 0);
}

TEST_CASE("a root and directory that can't be made the thread's own are not moved") {
    const support::Container container{Kind::mount | Kind::net};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::chdir("/usr") == 0);
              const auto home = nsjoin::Home<Kind::mount, Kind::net>::open();
              CHILD_CHECK(home);
              CHILD_CHECK(deny_unshare(EPERM, CLONE_FS));
              const support::CallerState state;
              const support::Spaces before = support::spaces_of("self");
              CHILD_CHECK(support::fails_with(nsjoin::join_here(*home, *target), Step::join_here,
                                              Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(
                  nsjoin::join_for_good(*target, nsjoin::kinds<Kind::mount, Kind::net>),
                  Step::join_here, Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::Home<Kind::mount>::open(), Step::join_here,
                                              Reason::system, EPERM));
              CHILD_CHECK(support::spaces_of("self") == before);
              CHILD_CHECK(std::filesystem::current_path() == "/usr");
              CHILD_CHECK(state.holds());
              CHILD_CHECK(nsjoin::join_for_good(*target, nsjoin::kinds<Kind::net>));
              return 0;
          }) == 0);
}

TEST_CASE("another process that shares root and directory keeps them") {
    const support::Container container{KindSet{Kind::mount}};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::chdir("/usr") == 0);
              const long other = ::syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
              if (other == 0) {
                  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                  ::pause();
                  ::_exit(0);
              }
              const auto home = nsjoin::Home<Kind::mount>::open();
              CHILD_CHECK(home);
              CHILD_CHECK(::chdir("/") == 0);
              CHILD_CHECK(nsjoin::join_here(*home, *target));
              const std::string link = "/proc/" + std::to_string(other) + "/cwd";
              CHILD_CHECK(std::filesystem::read_symlink(link) == "/usr");
              ::kill(static_cast<pid_t>(other), SIGKILL);
              support::wait_for(static_cast<pid_t>(other));
              return 0;
          }) == 0);
}

TEST_CASE("a Home that can't be opened leaves root and directory where they are") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::chdir("/usr") == 0);
              CHILD_CHECK(support::deny_syscall(SYS_chroot, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::Home<Kind::mount>::open(), Step::go_back,
                                              Reason::system, EPERM));
              CHILD_CHECK(std::filesystem::current_path() == "/usr");
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::chroot("/usr") == 0 && ::chdir("/bin") == 0);
              CHILD_CHECK(support::deny_syscall(SYS_chroot, EPERM));
              CHILD_CHECK(!nsjoin::Home<Kind::mount>::open());
              CHILD_CHECK(std::filesystem::current_path() == "/bin");
              return ::access("/usr", F_OK) == 0 ? 1 : 0;
          }) == 0);
}

TEST_CASE("a time namespace that could not be looked at is not called another one") {
    for (rlim_t more = 0; more < 4; ++more) {
        CHECK(support::run_in_child([more] {
                  for (const int number : support::open_descriptors()) {
                      if (number > STDERR_FILENO) {
                          ::close(number);
                      }
                  }
                  CHILD_CHECK(allow_descriptors(STDERR_FILENO + 1 + more));
                  const auto home = nsjoin::Home<Kind::time>::open();
                  return home || home.error().code == EMFILE ? 0 : 1;
              }) == 0);
    }
}
