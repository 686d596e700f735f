// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/spawn.hpp>

#include "spawn_support.hpp"
#include "supervisor.hpp"
#include "tracer.hpp"

#include <atomic>
#include <memory>
#include <sys/stat.h>
#include <thread>

// What join_and_exec() must not do: cost more than it says, allocate, leave anything behind,
// disturb other threads, let a container's processes at what is not theirs.

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Program;
using nsjoin::Reason;
using nsjoin::Step;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NSJOIN_TEST_SANITIZED 1 // NOLINT(cppcoreguidelines-macro-usage)
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NSJOIN_TEST_SANITIZED 1 // NOLINT(cppcoreguidelines-macro-usage)
#endif
#ifdef NSJOIN_TEST_SANITIZED
constexpr bool is_sanitized = true; // which makes system calls, and keeps frames of who is killed
#else
constexpr bool is_sanitized = false;
#endif
#if defined(__GLIBC__) && !defined(NSJOIN_TEST_SANITIZED)
#define NSJOIN_TEST_COUNTS_ALLOCATIONS // NOLINT(cppcoreguidelines-macro-usage)

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

void count_allocation() {
    if (counting.load(std::memory_order_relaxed)) {
        ++allocations;
    }
}

} // namespace

// NOLINTBEGIN: the libc's own names
extern "C" {
auto __libc_malloc(std::size_t size) -> void*;
auto __libc_calloc(std::size_t count, std::size_t size) -> void*;
auto __libc_realloc(void* memory, std::size_t size) -> void*;

auto malloc(std::size_t size) noexcept -> void* {
    count_allocation();
    return __libc_malloc(size);
}

auto calloc(std::size_t count, std::size_t size) noexcept -> void* {
    count_allocation();
    return __libc_calloc(count, size);
}

auto realloc(void* memory, std::size_t size) noexcept -> void* {
    count_allocation();
    return __libc_realloc(memory, size);
}
}
// NOLINTEND
#endif

namespace {

constexpr auto seven_kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                           Kind::uts, Kind::cgroup>;

constexpr std::array<const char*, 2> true_words{"true", nullptr};
constexpr nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

/// The same, which inherits what has no close-on-exec: two system calls less.
constexpr nsjoin::Command inheriting{
    .program = Program::at("/bin/true"), .arguments = true_words, .close_others = false};

/// How many system calls all processes make, from the beginning of a run to the execution of the
/// program and to the return in the caller. A call of getppid marks the boundaries.
struct Count {
    int caller = 0;
    int others = 0;
};

auto count_calls(const std::function<bool()>& execute) -> Count {
    const support::Traced run = support::Tracer{}.run(
        [&] {
            bool good = execute(); // what a process does in its first run only is not counted
            (void)::syscall(SYS_getppid);
            good = execute() && good;
            return good ? 0 : 1;
        },
        static_cast<std::size_t>(-1));
    Count count;
    std::set<pid_t> executed;
    int marks = 0;
    for (const support::Stop& stop : run.stops) {
        if (!stop.entry) {
            continue;
        }
        const bool main = stop.pid == run.stops.front().pid;
        marks += main && stop.number == SYS_getppid ? 1 : 0;
        if (marks != 2 || stop.number == SYS_getppid) { // ends_well() makes the first
            continue;
        }
        count.caller += main ? 1 : 0;
        count.others += !main && !executed.contains(stop.pid) ? 1 : 0;
        if (stop.number == SYS_execve) {
            executed.insert(stop.pid);
        }
    }
    return run.exit_code == 0 ? count : Count{};
}

/// Waits for the program, after a mark.
auto ends_well(const nsjoin::Result<nsjoin::PidFd>& child) -> bool {
    (void)::syscall(SYS_getppid);
    const auto status = child ? child->wait() : nsjoin::Unexpected{child.error()};
    return status && status->exit_code() == 0;
}

/// Executes as an embedder would. 0 if all is as it should be: after an error nothing is left.
auto embed(const nsjoin::Plan& plan, const nsjoin::Command& command = run_true) -> int {
    const auto descriptors = support::open_descriptors();
    {
        const auto child = support::exec(plan, command);
        if (child) {
            CHILD_CHECK(child->wait());
        }
    }
    CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
    CHILD_CHECK(errno == ECHILD);
    CHILD_CHECK(support::open_descriptors() == descriptors);
    CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
    return 0;
}

auto kill_everywhere(const std::function<int()>& body) -> int {
    if (is_sanitized) {
        support::skip("a sanitizer knows nothing of frames that a killed process leaves");
        return 0;
    }
    return support::kill_everywhere(body);
}

std::atomic<pid_t> owner{0};
std::atomic<int> handled{0};
std::atomic<int> handled_elsewhere{0};

/// Counts on memory that every process of the caller's sees.
void count_handler(int) {
    const int saved = errno;
    ++(::syscall(SYS_getpid) == owner ? handled : handled_elsewhere);
    errno = saved;
}

/// Signals to this process and to every other one of its group, each 100 us, until its end. By
/// default they are ignored, so that only a handler notices.
class Storm {
  public:
    Storm()
        : sender_{[] {
              ::setpgid(0, 0);
              while (::kill(-owner, SIGWINCH) == 0) {
                  ::usleep(100);
              }
              return 0;
          }} {
        struct sigaction action {};

        action.sa_handler = count_handler;
        action.sa_flags = SA_RESTART;
        ::sigaction(SIGWINCH, &action, nullptr);
    }

  private:
    support::Process sender_;
};

/// Makes this process the first of a group.
void lead_group() {
    ::setpgid(0, 0);
    owner = ::getpid();
}

/// Opens, uses and closes descriptors; how many were not its own any more.
auto use_descriptors(const std::atomic<bool>& stop) -> int {
    int bad = 0;
    while (!stop) {
        std::array<int, 2> ends{-1, -1};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
            return bad + 1;
        }
        char c = 'x';
        bad += ::write(ends[1], &c, 1) == 1 && ::read(ends[0], &c, 1) == 1 ? 0 : 1;
        bad += ::close(ends[0]) == 0 && ::close(ends[1]) == 0 ? 0 : 1;
    }
    return bad;
}

/// Executes again and again until the time is up; how many runs did not come out right.
auto run_until(std::chrono::steady_clock::time_point end, const nsjoin::Plan& plan,
               std::atomic<int>& runs) -> int {
    const std::array<const char*, 4> words{"sh", "-c", "exit 7", nullptr};
    const nsjoin::Command command{.program = Program::at("/bin/sh"), .arguments = words};
    int bad = 0;
    while (std::chrono::steady_clock::now() < end) {
        const auto child = support::exec(plan, command);
        if (!child) {
            std::fprintf(stderr, "%s\n", nsjoin::explain(child.error()).c_str());
            return bad + 1;
        }
        const auto status = child->wait();
        bad += status && status->exit_code() == 7 ? 0 : 1;
        ++runs;
    }
    return bad;
}

/// Maps of the first 65536 ids onto themselves.
auto all_ids() -> nsjoin::NewUser {
    const nsjoin::IdExtent ids{.inside = 0, .outside = 0, .count = 65536};
    return {.uids = *nsjoin::IdMap::from(std::array{ids}),
            .gids = *nsjoin::IdMap::from(std::array{ids})};
}

/// The fewest of three countings: a signal to a traced process makes it begin a call anew.
auto fewest_calls(const std::function<bool()>& run) -> Count {
    Count fewest = count_calls(run);
    for (int i = 0; i < 2; ++i) {
        const Count again = count_calls(run);
        fewest = again.caller + again.others < fewest.caller + fewest.others ? again : fewest;
    }
    return fewest;
}

/// Whether a program in the target's seven kinds costs what is promised; prints it.
auto costs_fifteen(const nsjoin::PidFd& target) -> bool {
    const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(target, seven_kinds).lend_memory_to_target();
    return support::run_in_child([&] {
               const auto prepared = nsjoin::PreparedPlan::prepare(plan);
               CHILD_CHECK(prepared);
               const Count again =
                   fewest_calls([&] { return ends_well(prepared->exec(inheriting)); });
               std::printf("system calls, prepared: %d of the caller, %d of the others\n",
                           again.caller, again.others);
               CHILD_CHECK(again.caller == 5); // prctl, prctl, clone3, wait4, prctl
               CHILD_CHECK(again.others ==
                           10); // setns, clone, exit; set*id and prctl, keyctl, execve
               return 0;
           }) == 0 &&
           support::run_in_child([&] {
               const Count once =
                   fewest_calls([&] { return ends_well(support::exec(plan, inheriting)); });
               std::printf("system calls, join_and_exec(): %d of the caller, %d of the others\n",
                           once.caller, once.others);
               CHILD_CHECK(once.caller == 5);
               CHILD_CHECK(once.others == 10);
               return 0;
           }) == 0;
}

} // namespace

TEST_CASE(
    "a program in seven kinds costs at most fifteen system calls, of all processes together") {
    if (is_sanitized) {
        support::skip("sanitizers make system calls of their own");
        return;
    }
    // Its user namespace denies setgroups; that of the other one allows it.
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(costs_fifteen(*target));
    auto side = nsjoin::join_and_clone(
        nsjoin::JoinPlan{}
            .create(all_ids())
            .create<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup>());
    REQUIRE(side);
    if (side->is_child()) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;) {
            ::pause();
        }
    }
    const nsjoin::PidFd& allowing = side->child();
    const std::string proc = "/proc/" + std::to_string(allowing.pid());
    CHECK(support::slurp(proc + "/setgroups") == "allow\n");
    CHECK(costs_fifteen(allowing));
    CHECK(allowing.send_signal(SIGKILL));
    CHECK(allowing.wait());
}

TEST_CASE("a program in a network and a uts namespace needs no process before its own") {
    if (is_sanitized) {
        support::skip("sanitizers make system calls of their own");
        return;
    }
    const support::Container container{Kind::net | Kind::uts};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(support::run_in_child([&] {
              const auto plan =
                  nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::uts>);
              const auto prepared = nsjoin::PreparedPlan::prepare(plan);
              CHILD_CHECK(prepared);
              const Count count =
                  count_calls([&] { return ends_well(prepared->exec(inheriting)); });
              CHILD_CHECK(count.caller == 4); // prctl, prctl, clone3, prctl
              CHILD_CHECK(count.others == 3); // setns, capget, execve
              return 0;
          }) == 0);
}

TEST_CASE("nothing is allocated") {
#ifdef NSJOIN_TEST_COUNTS_ALLOCATIONS
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const std::array<nsjoin::PassedFd, 2> passed{
        {{nsjoin::BorrowedFd{0}, 1}, {nsjoin::BorrowedFd{1}, 0}}};
    nsjoin::Command command = run_true;
    command.program = Program::in_path("true", "/nowhere:/bin");
    command.descriptors = passed;
    command.close_others = true;
    const std::vector<nsjoin::Plan> plans{
        nsjoin::JoinPlan{}.join(*target, seven_kinds),
        nsjoin::JoinPlan{}.create<Kind::net, Kind::pid>().as({.uid = 1, .gid = 1, .groups = {}}),
        nsjoin::JoinPlan{}.join(*target, seven_kinds).deadline(std::chrono::seconds{20}),
    };
    for (const nsjoin::Plan& plan : plans) {
        allocations = 0;
        counting = true;
        // What the caller and the processes on its memory do; a copy's own counts end with it.
        auto child = support::exec(plan, command);
        counting = false;
        CHECK(allocations == 0);
        REQUIRE(child);
        CHECK(child->wait()->exit_code() == 0);
    }
    counting = true;
    const std::vector<int> one(1);
    counting = false;
    CHECK(allocations == 1);
    CHECK(one.size() == 1);
#else
    support::skip("allocations are counted with glibc and without sanitizers only");
#endif
}

TEST_CASE("the caller's dumpable flag stays, also where only ids change") {
    for (const bool dumpable : {true, false}) {
        CHECK(support::run_in_child([dumpable] {
                  const support::Container container{seven_kinds};
                  const auto target = nsjoin::PidFd::open(container.pid());
                  CHILD_CHECK(target);
                  ::prctl(PR_SET_DUMPABLE, dumpable ? 1 : 0, 0, 0, 0);
                  const std::vector<nsjoin::Plan> plans{
                      nsjoin::JoinPlan{}.as({.uid = 1000, .gid = 1000}),
                      nsjoin::JoinPlan{}.create<Kind::net>().as({.uid = 1000, .gid = 1000}),
                      nsjoin::JoinPlan{}.create<Kind::user>(),
                      nsjoin::JoinPlan{}.join(*target, seven_kinds),
                      nsjoin::JoinPlan{}
                          .join(*target, nsjoin::kinds<Kind::net>)
                          .as({.uid = 1000, .gid = 1000}),
                  };
                  for (const nsjoin::Plan& plan : plans) {
                      CHILD_CHECK(support::exec(plan, run_true)->wait()->exit_code() == 0);
                      CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == (dumpable ? 1 : 0));
                      nsjoin::Command failing = run_true;
                      failing.program = Program::at("/nowhere");
                      CHILD_CHECK(!support::exec(plan, failing));
                      CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == (dumpable ? 1 : 0));
                  }
                  return 0;
              }) == 0);
    }
}

TEST_CASE("sixteen threads execute while others open descriptors and signals storm") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const support::Container second{nsjoin::all_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              const auto slow = nsjoin::PidFd::open(second.pid());
              CHILD_CHECK(target);
              CHILD_CHECK(slow);
              const support::CallerState state;
              const std::vector<nsjoin::Plan> plans{
                  nsjoin::JoinPlan{}.join(*target, seven_kinds),
                  nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::ipc>),
                  nsjoin::JoinPlan{}.create<Kind::net, Kind::pid>(),
                  nsjoin::JoinPlan{}.join(*slow, nsjoin::all_kinds),
              };
              std::atomic<bool> stop{false};
              std::atomic<int> bad{0};
              std::atomic<int> runs{0};
              std::vector<std::thread> users;
              std::vector<std::thread> threads;
              lead_group();
              auto storm = std::make_unique<Storm>();
              for (int i = 0; i < 4; ++i) {
                  users.emplace_back([&] { bad += use_descriptors(stop); });
              }
              const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{3};
              for (std::size_t i = 0; i < 16; ++i) {
                  threads.emplace_back(
                      [&, i] { bad += run_until(end, plans[i % plans.size()], runs); });
              }
              for (std::thread& thread : threads) {
                  thread.join();
              }
              stop = true;
              for (std::thread& thread : users) {
                  thread.join();
              }
              storm.reset();
              std::signal(SIGWINCH, SIG_DFL);
              std::printf("%d runs, %d signals\n", runs.load(), handled.load());
              CHILD_CHECK(bad == 0);
              CHILD_CHECK(runs > 32);
              CHILD_CHECK(handled > 100);
              CHILD_CHECK(handled_elsewhere == 0);
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("without clone3 no handler runs in another process either") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              CHILD_CHECK(support::deny_syscall(SYS_clone3, ENOSYS));
              lead_group();
              const Storm storm;
              std::atomic<int> runs{0};
              const auto plan = nsjoin::JoinPlan{}.join(*target, seven_kinds);
              for (int tries = 0; tries < 20 && (runs <= 10 || handled <= 100); ++tries) {
                  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{1};
                  CHILD_CHECK(run_until(end, plan, runs) == 0);
              }
              CHILD_CHECK(runs > 10);
              CHILD_CHECK(handled > 100);
              CHILD_CHECK(handled_elsewhere == 0);
              return 0;
          }) == 0);
}

TEST_CASE("threads share a prepared plan") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const auto prepared =
                  nsjoin::PreparedPlan::prepare(nsjoin::JoinPlan{}.join(*target, seven_kinds));
              CHILD_CHECK(prepared);
              const support::CallerState state;
              std::atomic<int> good{0};
              std::vector<std::thread> threads;
              for (int i = 0; i < 8; ++i) {
                  threads.emplace_back([&] {
                      for (int run = 0; run < 20; ++run) {
                          const auto child = prepared->exec(run_true);
                          good += child && child->wait()->exit_code() == 0 ? 1 : 0;
                      }
                  });
              }
              for (std::thread& thread : threads) {
                  thread.join();
              }
              CHILD_CHECK(good == 8 * 20);
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("copies of the caller that other threads make do not hold up a run in a copy") {
    CHECK(support::run_in_child([] {
              std::atomic<bool> stop{false};
              std::thread forker{[&] {
                  while (!stop) {
                      if (::fork() == 0) {
                          ::usleep(20'000'000);
                          ::_exit(0);
                      }
                      ::usleep(500);
                  }
              }};
              const auto begin = std::chrono::steady_clock::now();
              bool good = true;
              for (int i = 0; i < 40; ++i) {
                  const auto child = nsjoin::join_and_exec(
                      nsjoin::JoinPlan{}.deadline(std::chrono::seconds{15}), run_true);
                  good = good && child && child->wait()->exit_code() == 0;
              }
              const auto took = std::chrono::steady_clock::now() - begin;
              stop = true;
              forker.join();
              support::reap_strays({});
              CHILD_CHECK(good);
              CHILD_CHECK(took < std::chrono::seconds{10});
              return 0;
          }) == 0);
}

TEST_CASE("a process is killed at any system call: seven kinds") {
    const support::Container container{seven_kinds};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}.join(*target, seven_kinds));
          }) == 0);
}

TEST_CASE("a process is killed at any system call: seven kinds, on the caller's memory") {
    const support::Container container{seven_kinds};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}.join(*target, seven_kinds).lend_memory_to_target());
          }) == 0);
}

TEST_CASE("a process is killed at any system call: a program that is not there") {
    const support::Container container{seven_kinds};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              nsjoin::Command command = run_true;
              command.program = Program::at("/nowhere");
              return embed(nsjoin::JoinPlan{}.join(*target, seven_kinds).lend_memory_to_target(),
                           command);
          }) == 0);
}

TEST_CASE("a process is killed at any system call: one process, on the caller's memory") {
    const support::Container container{KindSet{Kind::net}};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>));
          }) == 0);
}

TEST_CASE("a process is killed at any system call: all kinds, on the joiner's memory") {
    const support::Container container{nsjoin::all_kinds};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(
                  nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds).lend_memory_to_target());
          }) == 0);
}

TEST_CASE("a process is killed at any system call: in copies") {
    const support::Container container{seven_kinds};
    CHECK(kill_everywhere([&] {
              const auto target = nsjoin::PidFd::open(container.pid());
              return embed(
                  nsjoin::JoinPlan{}.join(*target, seven_kinds).deadline(std::chrono::seconds{5}));
          }) == 0);
}

TEST_CASE("a process is killed at any system call: it furnishes, on the caller's memory") {
    const support::RootFileSystem files;
    REQUIRE(files.ok());
    nsjoin::Command keeping = run_true; // whose descriptor table could stay the caller's
    keeping.close_others = false;
    for (const nsjoin::Command& command : {run_true, keeping}) {
        CHECK(kill_everywhere([&] {
                  return embed(nsjoin::JoinPlan{}
                                   .create<Kind::mount, Kind::net, Kind::uts>()
                                   .host_name("inside")
                                   .loopback_up()
                                   .pivot_root(files.path())
                                   .mount_proc()
                                   .umask(022),
                               command);
              }) == 0);
    }
}

TEST_CASE("the first process is killed while the program's is on the caller's memory") {
    const support::Container container{seven_kinds};
    for (const char* const path : {"/bin/true", "/nowhere"}) {
        pid_t first = 0;
        bool killed = false;
        support::Supervisor supervisor;
        const int code = supervisor.run(
            [&] {
                const auto target = nsjoin::PidFd::open(container.pid());
                CHILD_CHECK(target);
                nsjoin::Command command = run_true;
                command.program = Program::at(path);
                const auto result = nsjoin::join_and_exec(
                    nsjoin::JoinPlan{}.join(*target, seven_kinds).lend_memory_to_target(), command);
                CHILD_CHECK(!result);
                CHILD_CHECK(result.error().reason == Reason::process_died ||
                            result.error().code == ENOENT);
                CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
                CHILD_CHECK(errno == ECHILD);
                CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
                return 0;
            },
            [&](const support::Held& held) {
                if (held.number == SYS_setns && !held.is_main) {
                    first = held.pid;
                }
                if (held.number == SYS_execve && !killed && first != 0) {
                    killed = ::kill(first, SIGKILL) == 0;
                    ::usleep(50'000); // the caller goes on, the program's process does not yet
                }
                return 0;
            });
        CHECK(code == 0);
        CHECK(killed);
    }
}

TEST_CASE("a joiner that is killed died of the signal, or nobody knows of what") {
    const support::Container container{Kind::net | Kind::pid};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const auto own = nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::pid>);
    const auto killed = [](const nsjoin::Plan& plan, bool ignores) {
        return support::run_in_child([&] {
            ::signal(SIGCHLD, ignores ? SIG_IGN : SIG_DFL);
            CHILD_CHECK(support::install_filter(std::array<sock_filter, 4>{
                sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setns, 0, 1),
                sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            }));
            const auto child = support::exec(plan, run_true);
            CHILD_CHECK(!child && child.error().reason == Reason::process_died);
            const int code = child.error().code;
            // A lost status can be had from the pidfd since Linux 6.15.
            CHILD_CHECK((code & 0x7f) == SIGSYS || (ignores && code == -1));
            return 0;
        });
    };
    for (const nsjoin::Plan& plan :
         {nsjoin::Plan{own}, nsjoin::Plan{own.lend_memory_to_target()}}) {
        CHECK(killed(plan, false) == 0);
        CHECK(killed(plan, true) == 0);
    }
}

TEST_CASE("a deadline that passes at any step ends the run, and nothing is left") {
    const support::Container container{seven_kinds};
    for (const long slow : {long{SYS_setns}, long{SYS_setresuid}, long{SYS_execve}}) {
        bool held_up = false;
        support::Supervisor supervisor;
        const int code = supervisor.run(
            [&] {
                const auto target = nsjoin::PidFd::open(container.pid());
                CHILD_CHECK(target);
                const auto descriptors = support::open_descriptors();
                const auto result =
                    nsjoin::join_and_exec(nsjoin::JoinPlan{}
                                              .join(*target, seven_kinds)
                                              .deadline(std::chrono::milliseconds{300}),
                                          run_true);
                CHILD_CHECK(!result);
                CHILD_CHECK(result.error().reason == Reason::deadline_passed);
                CHILD_CHECK(support::is_clean(result.error()));
                CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
                CHILD_CHECK(errno == ECHILD);
                CHILD_CHECK(support::open_descriptors() == descriptors);
                CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
                return 0;
            },
            [&](const support::Held& held) {
                if (held.number == slow && !held.is_main && !held_up) {
                    held_up = ::kill(held.pid, SIGSTOP) == 0;
                    const auto goes_on = [&] { // it would execute the program first
                        const char state = support::state_and_parent(held.pid).first;
                        return state == 'R' || state == 'S';
                    };
                    while (held_up && goes_on()) {
                        ::usleep(1000);
                    }
                }
                return 0;
            });
        CHECK(code == 0);
        CHECK(held_up);
    }
}

TEST_CASE("CVE-2016-9962: what is inside is not dumpable before it executes the program") {
    // The owner of a process's files in /proc tells: root's if it is not dumpable.
    int looks = 0;
    int dumpable = 0;
    std::set<pid_t> before; // the container
    bool was_dumpable = false;
    bool joined = false;
    bool executed = false;
    const auto files_of_user = [](pid_t pid) {
        struct stat about {};

        const std::string path = "/proc/" + std::to_string(pid) + "/environ";
        return ::stat(path.c_str(), &about) == 0 && about.st_uid == 1000;
    };
    support::Supervisor supervisor;
    const int code = supervisor.run(
        [&] {
            CHILD_CHECK(support::become_user());
            const support::Container own{seven_kinds};
            const auto target = nsjoin::PidFd::open(own.pid());
            CHILD_CHECK(target);
            ::usleep(100'000); // the container makes its last calls
            const auto child =
                nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(*target, seven_kinds), run_true);
            CHILD_CHECK(child);
            return child->wait()->exit_code();
        },
        [&](const support::Held& held) {
            was_dumpable = was_dumpable || (held.is_main && files_of_user(held.pid));
            joined = joined || (held.number == SYS_setns && !held.is_main);
            if (!joined) {
                before.insert(held.pid);
            } else if (!executed && !held.is_main && !before.contains(held.pid)) {
                ++looks;
                dumpable += files_of_user(held.pid) ? 1 : 0;
            }
            executed = executed || held.number == SYS_execve;
            return 0;
        });
    CHECK(code == 0);
    CHECK(was_dumpable);
    CHECK(looks >= 5);
    CHECK(dumpable == 0);
}

TEST_CASE("CVE-2022-29162, CVE-2024-21626, CVE-2014-8989: for a program as for a child") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const nsjoin::OwnedFd usr{::open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC)};
              const nsjoin::OwnedFd etc{::open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC)};
              const auto outside = nsjoin::join_and_exec(
                  nsjoin::JoinPlan{}.root(usr).working_directory(etc), run_true);
              CHILD_CHECK(
                  support::fails_with(outside, Step::set_working_directory, Reason::outside_root));
              const auto other = nsjoin::join_and_exec(
                  nsjoin::JoinPlan{}.join(*target, seven_kinds).working_directory(etc), run_true);
              CHILD_CHECK(
                  support::fails_with(other, Step::set_working_directory, Reason::outside_root));

              nsjoin::detail::CapHeader header;
              std::array<nsjoin::detail::CapData, 2> data{};
              CHILD_CHECK(::syscall(SYS_capget, &header, data.data()) == 0);
              data[0].inheritable = data[0].permitted;
              CHILD_CHECK(::syscall(SYS_capset, &header, data.data()) == 0);
              const auto inheritable = [](const nsjoin::Plan& plan) {
                  return support::shell(plan, "grep CapInh: /proc/self/status");
              };
              const std::string_view none = "CapInh:\t0000000000000000\n";
              CHILD_CHECK(support::wrote(inheritable(nsjoin::JoinPlan{}), none));
              CHILD_CHECK(support::wrote(
                  inheritable(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>)), none));
              CHILD_CHECK(
                  support::wrote(inheritable(nsjoin::JoinPlan{}.join(*target, seven_kinds)), none));
              CHILD_CHECK(inheritable(nsjoin::JoinPlan{}.keep_capabilities()).text != none);
              return 0;
          }) == 0);
}

TEST_CASE("a filter that feigns the change of ids is seen through before the program runs") {
    for (const long number : {SYS_setresuid, SYS_setresgid, SYS_setgroups}) {
        CAPTURE(number);
        CHECK(support::run_in_child([number] {
                  CHILD_CHECK(support::deny_syscall(static_cast<int>(number), 0));
                  const auto ran = nsjoin::join_and_exec(
                      nsjoin::JoinPlan{}.as({.uid = 1000, .gid = 1000, .groups = {5}}), run_true);
                  CHILD_CHECK(support::fails_with(ran, Step::verify_ids, Reason::ids_differ));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("the target is killed at any system call: the error is clean, or the program ended") {
    if (is_sanitized) {
        support::skip("a sanitizer knows nothing of frames that a killed process leaves");
        return;
    }
    const auto join = [](pid_t pid) {
        const auto target = nsjoin::PidFd::open(pid);
        return target ? embed(nsjoin::JoinPlan{}.join(*target, seven_kinds)) : 1;
    };
    CHECK(support::kill_target_everywhere<support::Container>(join, seven_kinds) == 0);
}
