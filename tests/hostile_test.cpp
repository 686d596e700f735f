// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/join.hpp>
#include <nsjoin/launcher.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

// A container that attacks whatever comes into its pid namespace, in a tight loop. It has no user
// namespace of its own, and less rights than most have. The host's program is to be as before.

namespace {

using nsjoin::Kind;
using nsjoin::Program;
using nsjoin::Reason;

constexpr std::uint64_t good_marker = 0x600D'600D'600D'600D;

/// What the attacker writes over. It is a copy of this program, and knows where this lies.
volatile std::uint64_t marker = good_marker;

/// What the attacker tells, in memory that it shares with the test.
struct Tally {
    std::atomic<unsigned> seen{0};    ///< processes
    std::atomic<unsigned> written{0}; ///< to, by whatever the attack is
};

/// Tries the attack on a process; whether it worked. errno is ESRCH if there is none.
using Attack = bool (*)(pid_t victim);

/// Writes the victim's memory. Needs CAP_SYS_PTRACE where the victim is not dumpable.
auto write_memory(pid_t victim) -> bool {
    std::uint64_t poison = 0xBAD;
    const iovec from{&poison, sizeof poison};
    const iovec to{const_cast<std::uint64_t*>(&marker), sizeof poison};
    return ::process_vm_writev(victim, &from, 1, &to, 1, 0) == sizeof poison;
}

/// Changes the flags of its memory, by a file that belongs to uid 0 if it is not dumpable.
auto write_filter(pid_t victim) -> bool {
    const std::string path = "/proc/" + std::to_string(victim) + "/coredump_filter";
    const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        errno = errno == ENOENT ? ESRCH : errno;
        return false;
    }
    const bool done = ::write(file, "0x7f", 4) == 4;
    ::close(file);
    return done;
}

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

/// The number of the host's secret file, and how long it is.
constexpr int secret = 77;
constexpr off_t secret_size = 7;

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

/// Pids follow each other: the next is waited for, and attacked until it has gone. Some may have
/// come and gone meanwhile.
[[noreturn]] void attack_for_ever(Attack attack, Tally& tally) {
    for (pid_t next = 2;;) {
        for (pid_t victim = next; victim < next + 64; ++victim) {
            bool seen = false;
            bool written = false;
            for (int tries = 0; tries < 20'000; ++tries) {
                errno = 0;
                const bool done = attack(victim);
                if (!done && errno == ESRCH) {
                    break;
                }
                seen = true;
                written = written || done;
            }
            tally.seen += seen ? 1U : 0U;
            tally.written += written ? 1U : 0U;
            next = seen ? victim + 1 : next;
        }
    }
}

/// Leaves this process these capabilities alone, and no way to others.
auto keep_only(std::uint32_t capabilities) -> bool {
    nsjoin::detail::CapHeader header;
    std::array<nsjoin::detail::CapData, 2> data{};
    data[0].effective = capabilities;
    data[0].permitted = capabilities;
    return ::syscall(SYS_capset, &header, data.data()) == 0 &&
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/// The first process of pid and mount namespaces, which attacks. Ends with this object.
class Attacker {
  public:
    Attacker(Attack attack, std::uint32_t capabilities)
        : tally_{::new (::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Tally{}} {
        nsjoin::detail::CloneArgs args;
        args.flags = (Kind::pid | Kind::mount).clone_flags();
        args.exit_signal = SIGCHLD;
        std::fflush(nullptr);
        std::array<int, 2> ready{};
        (void)!::pipe2(ready.data(), O_CLOEXEC);
        pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid_ == 0) {
            support::default_signals();
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            if (!support::own_mounts() || ::mount("proc", "/proc", "proc", 0, nullptr) != 0 ||
                !keep_only(capabilities)) {
                ::_exit(1);
            }
            ::signal(SIGCHLD, SIG_IGN); // those whose parent has ended are gone at once
            (void)!::write(ready[1], "x", 1);
            attack_for_ever(attack, *tally_);
        }
        ::close(ready[1]);
        char word = 0;
        ok_ = ::read(ready[0], &word, 1) == 1;
        ::close(ready[0]);
    }

    Attacker(const Attacker&) = delete;
    Attacker(Attacker&&) = delete;
    auto operator=(const Attacker&) -> Attacker& = delete;
    auto operator=(Attacker&&) -> Attacker& = delete;

    ~Attacker() {
        ::kill(pid_, SIGKILL);
        support::wait_for(pid_);
        ::munmap(tally_, sizeof(Tally));
    }

    [[nodiscard]] auto ok() const -> bool { return ok_; }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

    [[nodiscard]] auto tally() const -> const Tally& { return *tally_; }

  private:
    Tally* tally_;
    pid_t pid_ = -1;
    bool ok_ = false;
};

/// What an attack could change of this program.
struct Host {
    /// Has a secret file from here on.
    Host() {
        const int file = ::memfd_create("secret", MFD_CLOEXEC);
        (void)!::ftruncate(file, secret_size);
        ::dup3(file, secret, O_CLOEXEC);
        ::close(file);
    }

    Host(const Host&) = delete;
    Host(Host&&) = delete;
    auto operator=(const Host&) -> Host& = delete;
    auto operator=(Host&&) -> Host& = delete;

    ~Host() { ::close(secret); }

    std::string oom_score = support::slurp("/proc/self/oom_score_adj");
    int priority = ::getpriority(PRIO_PROCESS, 0);
    std::string filter = support::slurp("/proc/self/coredump_filter");
    std::string status = flags();
    int dumpable = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);

    [[nodiscard]] auto is_as_before() const -> bool {
        const bool good = marker == good_marker &&
                          support::slurp("/proc/self/coredump_filter") == filter &&
                          ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == dumpable && flags() == status &&
                          support::slurp("/proc/self/oom_score_adj") == oom_score &&
                          ::getpriority(PRIO_PROCESS, 0) == priority &&
                          ::lseek(secret, 0, SEEK_END) == secret_size;
        if (!good) {
            std::fprintf(stderr, "oom_score_adj %s, priority %d, marker %lx, filter %s",
                         support::slurp("/proc/self/oom_score_adj").c_str(),
                         ::getpriority(PRIO_PROCESS, 0),
                         static_cast<unsigned long>(marker), // NOLINT
                         support::slurp("/proc/self/coredump_filter").c_str());
        }
        return good;
    }

    static auto flags() -> std::string {
        const std::string text = support::slurp("/proc/self/status");
        std::string lines;
        for (const char* const key : {"\nState:", "\nTracerPid:", "\nSigBlk:", "\nSigIgn:",
                                      "\nCapEff:", "\nNoNewPrivs:", "\nFDSize:"}) {
            const std::size_t at = text.find(key);
            lines += text.substr(at, text.find('\n', at + 1) - at);
        }
        return lines;
    }
};

const std::array<const char*, 2> true_words{"true", nullptr};
const nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

void finish(nsjoin::Result<nsjoin::PidFd> child) {
    if (child) {
        if (!child->wait(std::chrono::milliseconds{200})) { // stopped
            (void)child->send_signal(SIGKILL);
            (void)child->wait();
        }
    }
}

constexpr auto joined = nsjoin::kinds<Kind::pid, Kind::mount>;

/// The ways to start a program in there, each of which gets a target.
struct Way {
    const char* name;
    int starts;
    std::function<void(const nsjoin::PidFd&, nsjoin::Launcher&)> start;
};

const std::array<Way, 3> ways{
    {{"launcher", 20'000,
      [](const nsjoin::PidFd& target, nsjoin::Launcher& launcher) {
          finish(launcher.exec(nsjoin::JoinPlan{}.join(target, joined), run_true));
      }},
     {"join_and_exec()", 2'000,
      [](const nsjoin::PidFd& target, nsjoin::Launcher&) {
          finish(nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(target, joined), run_true));
      }},
     {"join_and_clone()", 2'000, [](const nsjoin::PidFd& target, nsjoin::Launcher&) {
          auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(target, joined));
          if (side && side->is_child()) {
              ::_exit(0);
          }
          if (side) {
              finish(std::move(side->child()));
          }
      }}}};

/// Whether the host's program is as before after many starts, of which the attacker saw some.
auto withstands(const Way& way, Attack attack, std::uint32_t capabilities, int starts) -> int {
    return support::run_in_child([&] {
        auto launcher = nsjoin::Launcher::start();
        CHILD_CHECK(launcher);
        const Attacker attacker{attack, capabilities};
        CHILD_CHECK(attacker.ok());
        const auto target = nsjoin::PidFd::open(attacker.pid());
        CHILD_CHECK(target);
        way.start(*target, *launcher);
        const Host host;
        for (int i = 0; i < starts; ++i) {
            way.start(*target, *launcher);
        }
        std::printf("%s: %d starts, %u processes seen, %u written\n", way.name, starts,
                    attacker.tally().seen.load(), attacker.tally().written.load());
        CHILD_CHECK(host.is_as_before());
        CHILD_CHECK(attacker.tally().seen > 0);
        return 0;
    });
}

constexpr std::uint32_t kill_alone = 1U << 5U;    // CAP_KILL
constexpr std::uint32_t ptrace_alone = 1U << 19U; // CAP_SYS_PTRACE

/// As many as the test is to take, of those that the README says.
auto share(int starts) -> int {
    const char* const set = ::getenv("NSJOIN_TEST_HOSTILE"); // NOLINT(*-mt-unsafe)
    const int part = set == nullptr ? 10 : std::atoi(set);
    return starts / (part < 1 ? 1 : part);
}

} // namespace

TEST_CASE("the attacks work on memory that was lent") {
    for (const auto& [attack, capabilities] :
         {std::pair{Attack{write_memory}, ptrace_alone}, std::pair{Attack{write_filter}, 0U}}) {
        CHECK(support::run_in_child([&, attack = attack, capabilities = capabilities] {
                  const Attacker attacker{attack, capabilities};
                  CHILD_CHECK(attacker.ok());
                  const auto target = nsjoin::PidFd::open(attacker.pid());
                  CHILD_CHECK(target);
                  const Host host;
                  bool changed = false;
                  for (int i = 0; i < 5'000 && !changed; ++i) {
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
        CHECK(withstands(way, write_memory, ptrace_alone, share(way.starts)) == 0);
    }
}

TEST_CASE("a container's uid 0 without a capability changes no flag of the host's program") {
    for (const Way& way : ways) {
        CHECK(withstands(way, write_filter, 0, share(way.starts)) == 0);
    }
}

TEST_CASE("nor what the kernel notes of the memory, nor its priority") {
    for (const Way& way : ways) {
        CHECK(withstands(way, write_oom_score, 0, share(way.starts)) == 0);
        CHECK(withstands(way, lower_priority, 0, share(way.starts)) == 0);
    }
}

TEST_CASE("a container with CAP_SYS_PTRACE takes no descriptor of a launcher's caller") {
    CHECK(withstands(ways[0], take_descriptor, ptrace_alone, share(ways[0].starts)) == 0);
}

TEST_CASE("it takes one out of a copy of the caller") {
    CHECK(support::run_in_child([] {
              const Attacker attacker{take_descriptor, ptrace_alone};
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
                  const Attacker attacker{stop, kill_alone};
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
    const Attacker attacker{stop, kill_alone};
    REQUIRE(attacker.ok());
    const auto target = nsjoin::PidFd::open(attacker.pid());
    REQUIRE(target);
    for (const bool clone : {true, false}) {
        // Until one is held up; a faster one goes on, and is ended with its maker.
        bool held = false;
        for (int i = 0; i < 300 && !held; ++i) {
            support::TestPipe ready;
            const pid_t caller = ::fork();
            if (caller == 0) {
                support::default_signals();
                (void)ready.put('r');
                const auto plan = nsjoin::JoinPlan{}.join(*target, joined).death_signal(SIGKILL);
                if (clone) {
                    const auto side = nsjoin::join_and_clone(plan);
                    ::_exit(side && side->is_child() ? 0 : 7);
                }
                (void)nsjoin::join_and_exec(plan, run_true);
                ::_exit(7);
            }
            char byte = 0;
            REQUIRE(ready.get(byte));
            ::usleep(30'000);
            if (::waitpid(caller, nullptr, WNOHANG) == 0) {
                ::kill(caller, SIGTERM);
                held = support::wait_for(caller) == 128 + SIGTERM; // else it was slow, not held up
            }
        }
        CHECK(held);
    }
}
