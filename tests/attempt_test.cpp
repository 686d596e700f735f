// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>
#include <nsjoin/spawn.hpp>

#include "spawn_support.hpp"

#include <atomic>
#include <csignal>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

// What an attempt leaves behind when it fails: nothing, for other threads and for the next attempt.

using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::Program;
using nsjoin::Step;

namespace {

constexpr std::array<const char*, 2> words{"true", nullptr};
constexpr nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = words};

/// A second thread that opens files and looks whether each is still there when it closes it.
class Opener {
  public:
    Opener()
        : thread_{[this] {
              open_and_close();
          }} {}

    Opener(const Opener&) = delete;
    Opener(Opener&&) = delete;
    auto operator=(const Opener&) -> Opener& = delete;
    auto operator=(Opener&&) -> Opener& = delete;

    ~Opener() { (void)lost(); }

    /// Ends it; how many of its files were closed by somebody else.
    auto lost() -> long {
        stop_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
        return lost_;
    }

  private:
    void open_and_close() {
        while (!stop_) {
            const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
            for (int i = 0; i < 20; ++i) {
                ::sched_yield();
            }
            lost_ += file >= 0 && ::close(file) != 0 ? 1 : 0;
        }
    }

    std::atomic<bool> stop_{false};
    long lost_ = 0;
    std::thread thread_;
};

/// Puts the process into the cgroup, with no room for another: a clone then fails late, with
/// EAGAIN, when the number of a pidfd is written already.
auto leave_no_room(const support::Cgroup& pids) -> bool {
    return support::spill(pids.path() + "/cgroup.procs", "0") &&
           support::spill(pids.path() + "/pids.max", "2");
}

std::atomic<pid_t>* elsewhere = nullptr; // NOLINT(*-non-const-global-variables): for a handler
pid_t own_pid = 0;                       // NOLINT(*-non-const-global-variables)

void note_process(int /*signal*/) {
    if (::syscall(SYS_getpid) != own_pid) {
        elsewhere->store(1);
    }
}

/// A process that sends SIGUSR1 to all of this process's group, which is a new one, as a terminal
/// does with SIGINT. The handler notes in memory that all see whether it ran elsewhere.
auto storm() -> pid_t {
    void* const page = ::mmap(nullptr, sizeof(std::atomic<pid_t>), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    elsewhere = ::new (page) std::atomic<pid_t>{0};
    own_pid = ::getpid();

    struct sigaction action {};

    action.sa_handler = note_process;
    action.sa_flags = SA_RESTART;
    if (::setpgid(0, 0) != 0 || ::sigaction(SIGUSR1, &action, nullptr) != 0) {
        return -1;
    }
    const pid_t sender = ::fork();
    if (sender == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::signal(SIGUSR1, SIG_IGN);
        for (;;) {
            ::kill(0, SIGUSR1);
            ::usleep(20);
        }
    }
    return sender;
}

} // namespace

TEST_CASE("a clone that fails late: no descriptor of another thread is closed") {
    const support::Cgroup pids{"/sys/fs/cgroup/pids"};
    if (!pids.ok()) {
        support::skip("no cgroup can be made at " + pids.path());
        return;
    }
    for (const bool program : {false, true}) {
        CAPTURE(program);
        CHECK(support::run_in_child([program, &pids] {
                  Opener opener;
                  CHILD_CHECK(leave_no_room(pids));
                  const auto plan = JoinPlan{}.create<Kind::uts>();
                  for (int i = 0; i < 6000; ++i) {
                      if (program) {
                          CHILD_CHECK(!nsjoin::join_and_exec(plan, run_true));
                          continue;
                      }
                      const auto side = nsjoin::join_and_clone(plan);
                      CHILD_CHECK(support::fails_with(side, Step::make_child,
                                                      nsjoin::Reason::system, EAGAIN));
                  }
                  CHILD_CHECK(opener.lost() == 0);
                  return 0;
              }) == 0);
    }
}

namespace {

/// From now on the system call fails where a bit of `mask` is not in its argument.
[[nodiscard]] auto demand_bits(long number, std::size_t index, std::uint32_t mask) -> bool {
    return support::deny_if(
        number,
        std::array<sock_filter, 2>{
            sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, support::argument(index)),
            sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 1, 0),
        },
        ENOTUNIQ);
}

/// From now on no system call that this library knows makes a descriptor without close-on-exec.
[[nodiscard]] auto demand_close_on_exec() -> bool {
    return demand_bits(SYS_openat, 2, O_CLOEXEC) && demand_bits(SYS_pipe2, 1, O_CLOEXEC) &&
           demand_bits(SYS_socket, 1, SOCK_CLOEXEC) &&
           demand_bits(SYS_socketpair, 1, SOCK_CLOEXEC) &&
           demand_bits(SYS_recvmsg, 2, MSG_CMSG_CLOEXEC) &&
           demand_bits(SYS_epoll_create1, 0, EPOLL_CLOEXEC) &&
           support::deny_value(SYS_fcntl, 1, F_DUPFD, ENOTUNIQ) &&
           support::deny_syscall(SYS_dup, ENOTUNIQ);
}

} // namespace

TEST_CASE("a program that another thread starts meanwhile gets no descriptor of the run's") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const auto joins = JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::pid, Kind::uts>);
    const auto creates = JoinPlan{}
                             .create(support::own_root())
                             .create<Kind::mount, Kind::net, Kind::time>()
                             .time_offsets({std::chrono::seconds{100}, std::chrono::seconds{100}})
                             .oom_score_adj(500)
                             .loopback_up();
    const std::array plans{
        nsjoin::Plan{joins},
        nsjoin::Plan{joins.deadline(std::chrono::seconds{20})},
        nsjoin::Plan{joins.create<Kind::ipc>()},
        nsjoin::Plan{creates},
    };
    for (const nsjoin::Plan& plan : plans) {
        CHECK(support::run_in_child([&plan] {
                  CHILD_CHECK(demand_close_on_exec());
                  CHILD_CHECK(support::went_well(support::run(plan, [] { return 0; })));
                  const auto child = nsjoin::join_and_exec(plan, run_true);
                  if (!child) {
                      std::fprintf(stderr, "%s\n", nsjoin::explain(child.error()).c_str());
                  }
                  CHILD_CHECK(child);
                  return child->wait()->exit_code();
              }) == 0);
    }
}

TEST_CASE("what can't be created is found out where no handler of the caller's runs") {
    CHECK(support::as_user(1000, [] {
              const pid_t sender = storm();
              CHILD_CHECK(sender > 0);
              bool right = true;
              for (int i = 0; i < 1000 && right; ++i) {
                  const auto child =
                      nsjoin::join_and_exec(JoinPlan{}.create<Kind::net, Kind::uts>(), run_true);
                  right =
                      support::fails_with(child, Step::create_net, nsjoin::Reason::system, EPERM);
              }
              ::kill(sender, SIGKILL);
              ::waitpid(sender, nullptr, 0);
              CHILD_CHECK(right);
              CHILD_CHECK(elsewhere->load() == 0);
              return 0;
          }) == 0);
}

TEST_CASE("of a clone that creates, places and makes, the error names what was refused") {
    const support::Cgroup cgroup{"/sys/fs/cgroup/unified"};
    if (!cgroup.ok()) {
        support::skip("no cgroup can be made at " + cgroup.path());
        return;
    }
    CHECK(support::run_in_child([&cgroup] {
              CHILD_CHECK(::unshare(CLONE_NEWUSER) == 0);
              CHILD_CHECK(support::spill("/proc/self/uid_map", "0 0 1"));
              CHILD_CHECK(support::spill("/proc/sys/user/max_net_namespaces", "0"));
              const auto plan = JoinPlan{}.create<Kind::net>().cgroup(cgroup.fd());
              const support::CallerState state;
              const auto side = nsjoin::join_and_clone(plan);
              CHILD_CHECK(
                  support::fails_with(side, Step::create_net, nsjoin::Reason::system, ENOSPC));
              const auto child = nsjoin::join_and_exec(plan, run_true);
              CHILD_CHECK(
                  support::fails_with(child, Step::create_net, nsjoin::Reason::system, ENOSPC));
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              nsjoin::OwnedFd gone;
              {
                  const support::Cgroup other{"/sys/fs/cgroup/unified"};
                  CHILD_CHECK(other.ok());
                  gone = *nsjoin::OwnedFd::duplicate(other.fd());
              }
              const auto child =
                  nsjoin::join_and_exec(JoinPlan{}.create<Kind::uts>().cgroup(gone), run_true);
              CHILD_CHECK(!child);
              CHILD_CHECK(child.error().step == Step::enter_cgroup ||
                          child.error().step == Step::open_cgroup);
              return 0;
          }) == 0);
}

TEST_CASE("the report of an attempt is not that of another, while threads join") {
    if (::geteuid() != 0) {
        support::skip("joins of every kind need root");
        return;
    }
    CHECK(support::run_in_child([] {
              // It shares the caller's user namespace, so that the first attempt is refused.
              const support::Container container{Kind::net | Kind::pid | Kind::uts};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              constexpr auto kinds = nsjoin::kinds<Kind::user, Kind::net, Kind::pid, Kind::uts>;
              std::atomic<bool> stop{false};
              const auto join_net = [&] {
                  while (!stop) {
                      const auto child = nsjoin::join_and_exec(
                          JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>), run_true);
                      if (child) {
                          (void)child->wait();
                      }
                  }
              };
              std::thread first{join_net};
              std::thread second{join_net};
              int bad = 0;
              for (int i = 0; i < 400; ++i) {
                  const auto child = nsjoin::join_and_exec(
                      JoinPlan{}.join(*target, kinds).deadline(nsjoin::Duration::seconds(20)),
                      run_true);
                  const auto status = child ? child->wait() : nsjoin::Unexpected{child.error()};
                  bad += status && status->exit_code() == 0 ? 0 : 1;
              }
              stop = true;
              first.join();
              second.join();
              CHILD_CHECK(bad == 0);
              return 0;
          }) == 0);
}

TEST_CASE("a wait for the child that a filter refuses is an error, not a wait without an end") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_syscall(SYS_ppoll, EPERM));
              const auto side = nsjoin::join_and_clone(JoinPlan{}.create<Kind::uts>());
              if (side && side->is_child()) {
                  (void)::pause();
              }
              CHILD_CHECK(!side);
              CHILD_CHECK(side.error().step == Step::report);
              CHILD_CHECK(side.error().code == EPERM);
              CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
              return 0;
          }) == 0);
}
