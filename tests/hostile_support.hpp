// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_HOSTILE_SUPPORT_HPP
#define NSJOIN_TESTS_HOSTILE_SUPPORT_HPP

#include "spawn_support.hpp"

#include <nsjoin/join.hpp>
#include <nsjoin/launcher.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

// A container that attacks whatever comes into its pid namespace, in a tight loop, and the host's
// program, which is to be as before.

namespace hostile {

using nsjoin::Kind;
using nsjoin::Program;
using nsjoin::Reason;

inline constexpr std::uint64_t good_marker = 0x600D'600D'600D'600D;

/// What the attacker writes over. It is a copy of this program, and knows where this lies.
inline volatile std::uint64_t marker = good_marker;

/// What the attacker tells, in memory that it shares with the test.
struct Tally {
    std::atomic<unsigned> seen{0};    ///< processes
    std::atomic<unsigned> written{0}; ///< to, by whatever the attack is
};

/// Tries the attack on a process; whether it worked. errno is ESRCH if there is none.
using Attack = bool (*)(pid_t victim);

/// Writes the victim's memory. Needs CAP_SYS_PTRACE where the victim is not dumpable.
inline auto write_memory(pid_t victim) -> bool {
    std::uint64_t poison = 0xBAD;
    const iovec from{&poison, sizeof poison};
    const iovec to{const_cast<std::uint64_t*>(&marker), sizeof poison};
    return ::process_vm_writev(victim, &from, 1, &to, 1, 0) == sizeof poison;
}

/// Changes the flags of its memory, by a file that belongs to uid 0 if it is not dumpable.
inline auto write_filter(pid_t victim) -> bool {
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

/// The number of the host's secret file, and how long it is.
inline constexpr int secret = 77;
inline constexpr off_t secret_size = 7;

/// The last pid that this process's pid namespace has given. proc_loadavg(5).
inline auto last_pid() -> pid_t {
    const std::string text = support::slurp("/proc/loadavg");
    const std::size_t space = text.rfind(' ');
    return space == std::string::npos ? 0 : std::atoi(text.c_str() + space + 1);
}

/// Pids follow each other: the next is waited for, and attacked until it has gone. Some may have
/// come and gone meanwhile; where many have, the last shows it.
[[noreturn]] inline void attack_for_ever(Attack attack, Tally& tally) {
    unsigned in_vain = 0;
    for (pid_t next = 2;;) {
        if (++in_vain % 64 == 0) {
            next = std::max(next, last_pid());
        }
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
            in_vain = seen ? 0 : in_vain;
        }
    }
}

/// Leaves this process these capabilities alone, and no way to others.
inline auto keep_only(std::uint32_t capabilities) -> bool {
    nsjoin::detail::CapHeader header;
    std::array<nsjoin::detail::CapData, 2> data{};
    data[0].effective = capabilities;
    data[0].permitted = capabilities;
    return ::syscall(SYS_capset, &header, data.data()) == 0 &&
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/// Whether attacker and victim can run at the same time; says that it is skipped if not.
inline auto several_processors() -> bool {
    cpu_set_t allowed{};
    const bool there =
        ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 1;
    if (!there) {
        support::skip("an attack in the midst of a call needs two processors");
    }
    return there;
}

/// Keeps the calling thread, and what it starts, off one processor, which the attacker has then;
/// over a scope. Where both share one, neither is ever in the midst of a call of the other's.
class ApartFromAttacker {
  public:
    ApartFromAttacker() {
        CPU_ZERO(&before_);
        (void)::sched_getaffinity(0, sizeof before_, &before_);
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            last_ = CPU_ISSET(cpu, &before_) ? cpu : last_;
        }
        cpu_set_t others = before_;
        CPU_CLR(last_, &others);
        (void)::sched_setaffinity(0, sizeof others, &others); // refused where there is only one
    }

    ApartFromAttacker(const ApartFromAttacker&) = delete;
    ApartFromAttacker(ApartFromAttacker&&) = delete;
    auto operator=(const ApartFromAttacker&) -> ApartFromAttacker& = delete;
    auto operator=(ApartFromAttacker&&) -> ApartFromAttacker& = delete;

    ~ApartFromAttacker() { (void)::sched_setaffinity(0, sizeof before_, &before_); }

    /// Called by the attacker.
    void take() const {
        cpu_set_t own;
        CPU_ZERO(&own);
        CPU_SET(last_, &own);
        (void)::sched_setaffinity(0, sizeof own, &own);
    }

  private:
    cpu_set_t before_{};
    int last_ = 0;
};

/// What a container may do.
struct Rights {
    std::uint32_t capabilities = 0; ///< alone, without a user namespace of its own
    bool rootless = false;          ///< all of them, as root of a user namespace of the caller's
};

/// The kinds that a container with these rights has of its own.
inline auto own_kinds(Rights rights) -> nsjoin::KindSet {
    const nsjoin::KindSet both = Kind::pid | Kind::mount;
    return rights.rootless ? both | Kind::user : both;
}

/// The first process of a container, which attacks. Ends with this object.
class Attacker {
  public:
    Attacker(Attack attack, Rights rights)
        : tally_{::new (::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Tally{}} {
        nsjoin::detail::CloneArgs args;
        args.flags = own_kinds(rights).clone_flags();
        args.exit_signal = SIGCHLD;
        std::fflush(nullptr);
        std::array<int, 2> mapped{};
        std::array<int, 2> ready{};
        (void)!::pipe2(mapped.data(), O_CLOEXEC);
        (void)!::pipe2(ready.data(), O_CLOEXEC);
        pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid_ == 0) {
            support::default_signals();
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            apart_.take();
            char word = 0;
            ::close(mapped[1]);
            if (::read(mapped[0], &word, 1) != 0 || !support::own_mounts() ||
                ::mount("proc", "/proc", "proc", 0, nullptr) != 0 ||
                !(rights.rootless || keep_only(rights.capabilities))) {
                ::_exit(1);
            }
            ::signal(SIGCHLD, SIG_IGN); // those whose parent has ended are gone at once
            (void)!::write(ready[1], "x", 1);
            attack_for_ever(attack, *tally_);
        }
        ::close(ready[1]);
        ::close(mapped[0]);
        if (rights.rootless) {
            const std::string proc = "/proc/" + std::to_string(pid_);
            support::spill(proc + "/setgroups", "deny");
            support::spill(proc + "/uid_map", "0 " + std::to_string(::geteuid()) + " 1");
            support::spill(proc + "/gid_map", "0 " + std::to_string(::getegid()) + " 1");
        }
        ::close(mapped[1]);
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
    ApartFromAttacker apart_;
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
        status = flags(); // the table of descriptors may have grown
    }

    Host(const Host&) = delete;
    Host(Host&&) = delete;
    auto operator=(const Host&) -> Host& = delete;
    auto operator=(Host&&) -> Host& = delete;

    ~Host() { ::close(secret); }

    std::string oom_score = support::slurp("/proc/self/oom_score_adj");
    int priority = ::getpriority(PRIO_PROCESS, 0);
    std::string filter = support::slurp("/proc/self/coredump_filter");
    std::string status;
    int dumpable = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);

    [[nodiscard]] auto is_as_before() const -> bool {
        const bool good = marker == good_marker &&
                          support::slurp("/proc/self/coredump_filter") == filter &&
                          ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == dumpable && flags() == status &&
                          support::slurp("/proc/self/oom_score_adj") == oom_score &&
                          ::getpriority(PRIO_PROCESS, 0) == priority &&
                          ::lseek(secret, 0, SEEK_END) == secret_size;
        if (!good) {
            std::fprintf(
                stderr, "oom_score_adj %s, priority %d, marker %lx, filter %s%s\nbefore:%s\n",
                support::slurp("/proc/self/oom_score_adj").c_str(), ::getpriority(PRIO_PROCESS, 0),
                static_cast<unsigned long>(marker), // NOLINT
                support::slurp("/proc/self/coredump_filter").c_str(), flags().c_str(),
                status.c_str());
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

inline const std::array<const char*, 2> true_words{"true", nullptr};
inline const nsjoin::Command run_true{.program = Program::at("/bin/true"), .arguments = true_words};

inline void finish(nsjoin::Result<nsjoin::PidFd> child) {
    if (child) {
        if (!child->wait(std::chrono::milliseconds{200})) { // stopped
            (void)child->send_signal(SIGKILL);
            (void)child->wait();
        }
    }
}

/// A way to start a program in there, which gets a target.
struct Way {
    const char* name;
    int starts;
    std::function<void(const nsjoin::PidFd&, nsjoin::Launcher&)> start;
};

template <typename Kinds>
auto ways_into(Kinds kinds) -> std::array<Way, 3> {
    return {{{"launcher", 20'000,
              [kinds](const nsjoin::PidFd& target, nsjoin::Launcher& launcher) {
                  finish(launcher.exec(nsjoin::JoinPlan{}.join(target, kinds), run_true));
              }},
             {"join_and_exec()", 2'000,
              [kinds](const nsjoin::PidFd& target, nsjoin::Launcher&) {
                  finish(nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(target, kinds), run_true));
              }},
             {"join_and_clone()", 2'000, [kinds](const nsjoin::PidFd& target, nsjoin::Launcher&) {
                  auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.join(target, kinds));
                  if (side && side->is_child()) {
                      ::_exit(0);
                  }
                  if (side) {
                      finish(std::move(side->child()));
                  }
              }}}};
}

inline constexpr auto joined = nsjoin::kinds<Kind::pid, Kind::mount>;
inline constexpr auto joined_rootless = nsjoin::kinds<Kind::user, Kind::pid, Kind::mount>;

inline const std::array<Way, 3> ways = ways_into(joined);
inline const std::array<Way, 3> rootless_ways = ways_into(joined_rootless);

/// Runs `body`, as run_in_child() does, as who has containers of that kind.
template <typename Body>
auto as_host(Rights rights, Body body) -> int {
    return rights.rootless ? support::as_user(1000, body) : support::run_in_child(body);
}

/// Whether the host's program is as before after many starts, of which the attacker saw some.
/// `harmless`: nor did the attack work on what was started.
inline auto withstands(const Way& way, Attack attack, Rights rights, int starts,
                       bool harmless = false) -> int {
    return as_host(rights, [&] {
        auto launcher = nsjoin::Launcher::start();
        CHILD_CHECK(launcher);
        const Attacker attacker{attack, rights};
        CHILD_CHECK(attacker.ok());
        const auto target = nsjoin::PidFd::open(attacker.pid());
        CHILD_CHECK(target);
        way.start(*target, *launcher);
        const Host host;
        // On a busy processor the attacker has its turn late.
        for (int i = 0; i < starts || (attacker.tally().seen == 0 && i < 20'000); ++i) {
            way.start(*target, *launcher);
        }
        std::printf("%s: %d starts, %u processes seen, %u written\n", way.name, starts,
                    attacker.tally().seen.load(), attacker.tally().written.load());
        CHILD_CHECK(host.is_as_before());
        CHILD_CHECK(attacker.tally().seen > 0 || !several_processors());
        CHILD_CHECK(!harmless || attacker.tally().written == 0);
        return 0;
    });
}

/// Starts a copy of this program in there as one would without the library: it has no more rights
/// than the attacker, and no protection.
inline void start_by_hand(const nsjoin::PidFd& target, Rights rights) {
    std::fflush(nullptr);
    const pid_t joiner = ::fork();
    if (joiner == 0) {
        support::default_signals();
        const bool in =
            ::syscall(SYS_setns, target.fd().get(), own_kinds(rights).clone_flags()) == 0;
        const pid_t child = in ? ::fork() : -1;
        if (child == 0) {
            if (rights.rootless || keep_only(rights.capabilities)) {
                ::usleep(3000);
            }
            ::_exit(0);
        }
        support::wait_for(child);
        ::_exit(0);
    }
    support::wait_for(joiner);
}

/// Whether the attack works on that, so that a test of it can fail.
inline auto works_by_hand(Attack attack, Rights rights) -> bool {
    return as_host(rights, [&] {
               const Attacker attacker{attack, rights};
               CHILD_CHECK(attacker.ok());
               const auto target = nsjoin::PidFd::open(attacker.pid());
               CHILD_CHECK(target);
               for (int i = 0; i < 5'000 && attacker.tally().written == 0; ++i) {
                   start_by_hand(*target, rights);
               }
               CHILD_CHECK(attacker.tally().written > 0);
               return 0;
           }) == 0;
}

inline constexpr std::uint32_t kill_alone = 1U << 5U;    // CAP_KILL
inline constexpr std::uint32_t ptrace_alone = 1U << 19U; // CAP_SYS_PTRACE

/// As many as the test is to take.
inline auto share(int starts, int longer = 10) -> int {
    return starts / static_cast<int>(support::every(static_cast<std::size_t>(longer) * 4,
                                                    static_cast<std::size_t>(longer)));
}

} // namespace hostile

#endif // NSJOIN_TESTS_HOSTILE_SUPPORT_HPP
