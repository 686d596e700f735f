// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/console.hpp>
#include <nsjoin/join.hpp>

#include "supervisor.hpp"

#include <sys/ptrace.h>
#include <sys/uio.h>

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;

// What others had a CVE for.

namespace {

constexpr auto six_kinds =
    nsjoin::kinds<Kind::user, Kind::mount, Kind::net, Kind::ipc, Kind::uts, Kind::pid>;

/// A container of uid `uid`, which is 0 inside.
auto enter_as(uid_t uid) -> bool {
    return support::become_user(uid) && support::new_user() &&
           ::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
}

constexpr std::array<const char*, 8> attacks{"open fd/0",      "open root",       "open exe",
                                             "open cwd",       "open mem",        "PTRACE_SEIZE",
                                             "pidfd_getfd(0)", "process_vm_readv"};

auto opens(const std::string& path, int flags) -> bool {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
    if (fd >= 0) {
        ::close(fd);
    }
    return fd >= 0;
}

auto steals_descriptor(pid_t pid) -> bool {
    constexpr long pidfd_getfd = 438;
    const auto target = nsjoin::PidFd::open(pid);
    return target && ::syscall(pidfd_getfd, target->fd().get(), 0, 0U) >= 0;
}

auto reads_memory(pid_t pid) -> bool {
    char c = '\0';
    static const char here = 'x';
    const iovec local{&c, 1};
    const iovec remote{const_cast<char*>(&here), 1};
    return ::process_vm_readv(pid, &local, 1, &remote, 1, 0) == 1;
}

/// Attaches, and lets go again: a traced process could not be waited for by its parent.
auto seizes(pid_t pid) -> bool {
    if (::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) != 0) {
        return false;
    }
    ::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr);
    (void)support::eventually([pid] { return ::waitpid(pid, nullptr, WNOHANG | __WALL) == pid; },
                              std::chrono::milliseconds{200});
    ::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
    return true;
}

/// Tries everything on a process; the bit of each attack that works.
auto attack(pid_t pid) -> unsigned {
    const std::string proc = "/proc/" + std::to_string(pid) + "/";
    const std::array<bool, attacks.size()> worked{
        opens(proc + "fd/0", O_PATH),  opens(proc + "root", O_PATH),
        opens(proc + "exe", O_RDONLY), opens(proc + "cwd", O_PATH),
        opens(proc + "mem", O_RDWR),   seizes(pid),
        steals_descriptor(pid),        reads_memory(pid),
    };
    unsigned bits = 0;
    for (std::size_t i = 0; i < worked.size(); ++i) {
        bits |= worked[i] ? 1U << i : 0U;
    }
    return bits;
}

/// The root of a container's user namespace, who sees the pids of the host.
class Attacker {
  public:
    explicit Attacker(pid_t container)
        : process_{[this, container] {
              const auto target = nsjoin::PidFd::open(container);
              const auto user = nsjoin::NamespaceFd<Kind::user>::open(*target);
              if (::setns(user->fd().get(), CLONE_NEWUSER) != 0 || ::setresgid(0, 0, 0) != 0 ||
                  ::setresuid(0, 0, 0) != 0) {
                  return 1;
              }
              pid_t victim = 0;
              while (orders_.get(victim) && answers_.put(attack(victim))) {
              }
              return 0;
          }} {}

    [[nodiscard]] auto tries(pid_t victim) const -> unsigned {
        unsigned bits = ~0U;
        return orders_.put(victim) && answers_.get(bits) ? bits : ~0U;
    }

  private:
    support::TestPipe orders_;
    support::TestPipe answers_;
    support::Process process_;
};

/// What an attacker came to.
struct Attacked {
    int exit_code = -1;
    int tries = 0;     ///< on processes that have begun to join
    unsigned bits = 0; ///< of the attacks that worked, at any time
};

/// Runs the plan and attacks, at each system call, every process that it makes, from
/// its first setns on; the child's own calls after the return included.
auto attacked(const Attacker& attacker, const nsjoin::Plan& plan) -> Attacked {
    Attacked result;
    bool joins = false;
    support::Supervisor supervisor;
    result.exit_code = supervisor.run(
        [&] {
            const auto ran = support::run(plan, [] {
                ::getppid();
                return 0;
            });
            return support::went_well(ran) ? 0 : 1;
        },
        [&](const support::Held& held) {
            if (joins && !held.is_main) {
                ++result.tries;
                result.bits |= attacker.tries(held.pid);
            }
            joins = joins || (held.number == SYS_setns && !held.is_main);
            return 0;
        });
    return result;
}

auto names_of(unsigned bits) -> std::string {
    std::string text;
    for (std::size_t i = 0; i < attacks.size(); ++i) {
        text += (bits >> i & 1U) != 0 ? std::string{attacks[i]} + ", " : "";
    }
    return text;
}

/// As uid `uid`, joins `target` in several ways, attacked by its root.
auto withstands(uid_t uid, pid_t target_pid, const Attacker& attacker) -> int {
    return support::run_in_child([&] {
        CHILD_CHECK(uid == 0 || support::become_user(uid));
        const auto target = nsjoin::PidFd::open(target_pid);
        const auto kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::net, Kind::ipc>;
        const auto short_way = nsjoin::JoinPlan{}.join(*target, kinds);
        const std::vector<nsjoin::Plan> plans{
            short_way,
            short_way.create<Kind::uts, Kind::pid>().as({.uid = 0, .gid = 0}),
            short_way.deadline(std::chrono::seconds{20}),
            short_way.create<Kind::time>().time_offsets({std::chrono::seconds{9}, {}}),
            short_way.oom_score_adj(600),
            short_way.keep_ids(),
        };
        for (const nsjoin::Plan& plan : plans) {
            const Attacked result = attacked(attacker, plan);
            const std::string names = names_of(result.bits);
            if (!names.empty()) {
                std::fprintf(stderr, "the container's root could: %s\n", names.c_str());
            }
            CHILD_CHECK(result.exit_code == 0);
            CHILD_CHECK(result.tries > 3);
            CHILD_CHECK(names.empty());
        }
        return 0;
    });
}

} // namespace

TEST_CASE("CVE-2016-9962: the attacks of these tests work on a careless joiner") {
    const support::Target target{[] {
        return enter_as(1000);
    }};
    REQUIRE(target.ok());
    const Attacker attacker{target.pid()};
    const support::Target careless{[&] {
        const auto fd = nsjoin::PidFd::open(target.pid());
        return support::become_user() && ::setns(fd->fd().get(), CLONE_NEWUSER) == 0 &&
               ::setresuid(0, 0, 0) == 0;
    }};
    REQUIRE(careless.ok());
    const std::string names = names_of(attacker.tries(careless.pid()));
    CHECK(names == "open fd/0, open root, open exe, open cwd, open mem, PTRACE_SEIZE, "
                   "pidfd_getfd(0), process_vm_readv, ");
}

TEST_CASE("CVE-2016-9962: who joins can't be reached from inside, at any system call: as root") {
    const support::Target target{[] {
        return enter_as(1000);
    }};
    REQUIRE(target.ok());
    const Attacker attacker{target.pid()};
    CHECK(withstands(0, target.pid(), attacker) == 0);
}

TEST_CASE("CVE-2016-9962: who joins can't be reached from inside, at any system call: rootless") {
    const support::Target target{[] {
        return enter_as(1000);
    }};
    REQUIRE(target.ok());
    const Attacker attacker{target.pid()};
    CHECK(withstands(1000, target.pid(), attacker) == 0);
}

TEST_CASE("CVE-2016-9962: who joins can't be reached from inside: the container's root is root") {
    const support::Target target{[] {
        return enter_as(0);
    }};
    REQUIRE(target.ok());
    const Attacker attacker{target.pid()};
    CHECK(withstands(0, target.pid(), attacker) == 0);
}

TEST_CASE("CVE-2016-8649: no descriptor of the host's directories goes into the child") {
    const int code = support::run_in_child([] {
        const support::Container container{KindSet{six_kinds}};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto before = support::open_descriptors();
        const auto plan = nsjoin::JoinPlan{}.join(*target, six_kinds).oom_score_adj(500);
        const auto ran = support::run(plan, [&] {
            CHILD_CHECK(support::open_descriptors() == before);
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

namespace {

/// Two directories of a new file system, in an own mount namespace: /mnt/inside and /mnt/out.
auto make_two_directories() -> bool {
    return support::own_mounts() && ::mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) == 0 &&
           ::mkdir("/mnt/inside", 0755) == 0 && ::mkdir("/mnt/inside/in", 0755) == 0 &&
           ::mkdir("/mnt/out", 0755) == 0;
}

auto directory(const char* path) -> nsjoin::OwnedFd {
    return nsjoin::OwnedFd{::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)};
}

/// The plan's root is /mnt/inside, its working directory `inside`.
auto run_with_directory(const nsjoin::OwnedFd& inside) -> support::Ran {
    const auto root = directory("/mnt/inside");
    return support::run(nsjoin::JoinPlan{}.root(root).working_directory(inside), [] {
        CHILD_CHECK(::access("/in", F_OK) == 0 && ::access("/mnt", F_OK) != 0);
        std::array<char, 4096> name{};
        CHILD_CHECK(::getcwd(name.data(), name.size()) != nullptr);
        CHILD_CHECK(std::string_view{name.data()} == "/in");
        return 0;
    });
}

} // namespace

TEST_CASE("CVE-2024-21626: a working directory inside the root is taken, one outside refused") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(make_two_directories());
        CHILD_CHECK(support::went_well(run_with_directory(directory("/mnt/inside/in"))));
        const support::CallerState state;
        for (const char* path : {"/mnt/out", "/mnt", "/", "/proc/self"}) {
            const auto ran = run_with_directory(directory(path));
            CHILD_CHECK(
                support::failed_with(ran, Step::set_working_directory, Reason::outside_root));
            CHILD_CHECK(support::is_clean(*ran.error));
        }
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2024-21626: outside is outside also where the path is too long to be named") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(make_two_directories());
        CHILD_CHECK(::chdir("/mnt/out") == 0);
        const std::string name(250, 'x');
        for (int i = 0; i < 20; ++i) {
            CHILD_CHECK(::mkdir(name.c_str(), 0755) == 0 && ::chdir(name.c_str()) == 0);
        }
        const auto deep = directory(".");
        CHILD_CHECK(::chdir("/") == 0);
        const auto root = directory("/mnt/inside");
        const auto ran =
            support::run(nsjoin::JoinPlan{}.root(root).working_directory(deep), [] { return 0; });
        CHILD_CHECK(support::failed_with(ran, Step::set_working_directory, Reason::outside_root));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2024-21626: a directory of the host is outside a joined mount namespace") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::user | Kind::mount};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto host = directory("/tmp");
        const auto ran = support::run(nsjoin::JoinPlan{}
                                          .join(*target, nsjoin::kinds<Kind::user, Kind::mount>)
                                          .working_directory(host),
                                      [] { return 0; });
        CHILD_CHECK(support::failed_with(ran, Step::set_working_directory, Reason::outside_root));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2024-21626: a removed working directory is refused") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(make_two_directories());
        const auto gone = directory("/mnt/inside/in");
        CHILD_CHECK(::rmdir("/mnt/inside/in") == 0);
        const auto root = directory("/mnt/inside");
        const auto ran =
            support::run(nsjoin::JoinPlan{}.root(root).working_directory(gone), [] { return 0; });
        CHILD_CHECK(support::failed_with(ran, Step::set_working_directory, Reason::system, ENOENT));
        return 0;
    });
    CHECK(code == 0);
}

namespace {

auto has_inheritable_and_ambient() -> bool {
    nsjoin::detail::CapHeader header;
    std::array<nsjoin::detail::CapData, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) {
        return false;
    }
    data[0].inheritable = data[0].permitted;
    return ::syscall(SYS_capset, &header, data.data()) == 0 &&
           ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, nsjoin::detail::cap_sys_chroot, 0, 0) == 0;
}

} // namespace

TEST_CASE("CVE-2022-29162: no inheritable or ambient capability, unless it is asked for") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::net | Kind::ipc};
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(has_inheritable_and_ambient());
        const support::CallerState state;
        const auto plan = nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>);
        CHILD_CHECK(support::went_well(support::run(plan, [] {
            CHILD_CHECK(support::status_line("self", "CapInh") == "0000000000000000");
            CHILD_CHECK(support::status_line("self", "CapAmb") == "0000000000000000");
            CHILD_CHECK(support::status_line("self", "CapEff") != "0000000000000000");
            return 0;
        })));
        CHILD_CHECK(support::went_well(support::run(plan.keep_capabilities(), [] {
            CHILD_CHECK(support::status_line("self", "CapInh") != "0000000000000000");
            CHILD_CHECK(support::status_line("self", "CapAmb") == "0000000000040000");
            return 0;
        })));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2019-16884, -19921: a /proc that is not the kernel's is not written") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(support::own_mounts());
        const auto plans = std::vector<nsjoin::Plan>{
            nsjoin::JoinPlan{}.create(support::own_root()),
            nsjoin::JoinPlan{}.oom_score_adj(500),
            nsjoin::JoinPlan{}.create<Kind::time>().time_offsets({std::chrono::seconds{1}, {}}),
        };
        CHILD_CHECK(::mount("tmpfs", "/proc", "tmpfs", 0, nullptr) == 0);
        CHILD_CHECK(::mkdir("/proc/self", 0755) == 0);
        for (const nsjoin::Plan& plan : plans) {
            const auto ran = support::run(plan, [] { return 0; });
            CHILD_CHECK(support::failed_with(ran, Step::open_proc, Reason::not_procfs));
            CHILD_CHECK(support::is_clean(*ran.error));
        }
        CHILD_CHECK(::umount2("/proc", MNT_DETACH) == 0);
        // One of an outer pid namespace shows the child, by another number.
        CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
        CHILD_CHECK(support::run_in_child([&] {
                        const std::string outside = support::slurp("/proc/self/uid_map");
                        CHILD_CHECK(support::went_well(support::run(plans[0], [&] {
                            const bool mapped = support::slurp("/proc/self/uid_map") != outside;
                            return mapped && ::geteuid() == 0 ? 0 : 1;
                        })));
                        CHILD_CHECK(support::went_well(support::run(plans[1], [] {
                            return support::slurp("/proc/self/oom_score_adj") == "500\n" ? 0 : 1;
                        })));
                        CHILD_CHECK(support::went_well(support::run(plans[2], [] {
                            return support::slurp("/proc/self/timens_offsets").find(" 1 ") !=
                                           std::string::npos
                                       ? 0
                                       : 1;
                        })));
                        // And now its own, which does not show those outside.
                        return ::mount("proc", "/proc", "proc", 0, nullptr);
                    }) == 0);
        for (const nsjoin::Plan& plan : plans) {
            const auto ran = support::run(plan, [] { return 0; });
            CHILD_CHECK(support::failed_with(ran, Step::open_proc, Reason::not_procfs));
        }
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2014-8989: setgroups is denied before the gid map of an unprivileged caller") {
    const int code = support::as_user(1000, [] {
        const auto ran = support::run(nsjoin::JoinPlan{}.create(support::own_root()), [] {
            CHILD_CHECK(support::slurp("/proc/self/setgroups") == "deny\n");
            CHILD_CHECK(::setgroups(0, nullptr) == -1 && errno == EPERM);
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2015-8709: nothing runs with an unmapped euid once it can be reached") {
    const support::Target target{[] {
        return enter_as(1000);
    }};
    REQUIRE(target.ok());
    const auto fd = nsjoin::PidFd::open(target.pid());
    const auto ran =
        support::run(nsjoin::JoinPlan{}.join(*fd, nsjoin::kinds<Kind::user, Kind::mount>), [] {
            CHILD_CHECK(support::status_line("self", "Uid") == "0\t0\t0\t0");
            CHILD_CHECK(support::status_line("self", "Gid") == "0\t0\t0\t0");
            CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
            return 0;
        });
    CHECK(support::went_well(ran));
}

TEST_CASE("CVE-2019-5736: the child's program can't be reached until it executes another") {
    const int code = support::run_in_child([] {
        const support::Target target{[] {
            return enter_as(1000);
        }};
        CHILD_CHECK(target.ok());
        const auto fd = nsjoin::PidFd::open(target.pid());
        const Attacker attacker{target.pid()};
        support::TestPipe pipe;
        auto side = nsjoin::join_and_clone(
            nsjoin::JoinPlan{}.join(*fd, nsjoin::kinds<Kind::user, Kind::mount>));
        CHILD_CHECK(side);
        if (side->is_child()) {
            char c = '\0';
            (void)pipe.get(c);
            ::execl("/bin/sleep", "sleep", "1000", nullptr);
            ::_exit(1);
        }
        const pid_t child = side->child().pid();
        CHILD_CHECK(attacker.tries(child) == 0);
        CHILD_CHECK(pipe.put('x'));
        // Then it is the container's own program, in the container.
        CHILD_CHECK(support::eventually([&] { return (attacker.tries(child) & 2U) != 0; }));
        CHILD_CHECK(side->child().send_signal(SIGKILL));
        CHILD_CHECK(side->child().wait());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("CVE-2017-5226: with a console or a session, the caller's terminal is out of reach") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(::setsid() > 0);
        const auto own = nsjoin::Console::open();
        CHILD_CHECK(own && ::ioctl(own->peer.fd().get(), TIOCSCTTY, 0) == 0);
        ::signal(SIGHUP, SIG_IGN); // when the terminal goes away at the end
        const auto other = nsjoin::Console::open();
        CHILD_CHECK(other);
        const auto cut_off = [&own] {
            CHILD_CHECK(::getsid(0) == ::getpid());
            char c = 'x';
            CHILD_CHECK(nsjoin::become({.uid = 1000, .gid = 1000}));
            CHILD_CHECK(::ioctl(own->peer.fd().get(), TIOCSTI, &c) == -1);
            return 0;
        };
        // Without a session of its own, the child types into the caller's terminal if it is let.
        CHILD_CHECK(support::went_well(support::run(nsjoin::JoinPlan{}, [&own] {
            char c = 'x';
            return ::ioctl(own->peer.fd().get(), TIOCSTI, &c);
        })));
        const auto console = nsjoin::JoinPlan{}.console(other->peer.fd());
        CHILD_CHECK(support::went_well(support::run(console, cut_off)));
        CHILD_CHECK(support::went_well(support::run(nsjoin::JoinPlan{}.new_session(), cut_off)));
        CHILD_CHECK(support::went_well(support::run(nsjoin::JoinPlan{}.new_session(), [] {
            CHILD_CHECK(::open("/dev/tty", O_RDWR | O_CLOEXEC) == -1 && errno == ENXIO);
            return 0;
        })));
        return 0;
    });
    CHECK(code == 0);
}

namespace {

/// The capabilities of the calling process, all sets in one.
auto capabilities_there() -> std::uint64_t {
    nsjoin::detail::CapHeader header;
    std::array<nsjoin::detail::CapData, 2> data{};
    (void)::syscall(SYS_capget, &header, data.data());
    std::uint64_t all = 0;
    for (const auto& part : data) {
        all = (all << 32U) | part.effective | part.permitted | part.inheritable;
    }
    return all;
}

auto has_some_left() -> int {
    return capabilities_there() != 0 ? 1 : 0;
}

/// What the child of the plan says, as its exit code.
template <typename Plan, typename Ask>
auto in_child_of(const Plan& plan, const Ask& ask) -> int {
    auto side = nsjoin::join_and_clone(plan);
    if (!side) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(side.error()).c_str());
        return -1;
    }
    if (side->is_child()) {
        ::_exit(ask());
    }
    const auto status = side->child().wait();
    return status ? status->exit_code() : -1;
}

} // namespace

TEST_CASE("who becomes another user has no capability, whatever securebits were inherited") {
    const auto other_user = nsjoin::JoinPlan{}.as({.uid = 1000, .gid = 1000});
    const auto has_some = has_some_left;
    const std::array<std::pair<int, unsigned long>, 2> ways{
        {{PR_SET_SECUREBITS, 1UL << 2U /* SECBIT_NO_SETUID_FIXUP */}, {PR_SET_KEEPCAPS, 1UL}}};
    for (const auto& [option, value] : ways) {
        CHECK(support::run_in_child([&, option = option, value = value] {
                  CHILD_CHECK(::prctl(option, value, 0, 0, 0) == 0);
                  CHILD_CHECK(in_child_of(other_user, has_some) == 0);
                  CHILD_CHECK(in_child_of(other_user.keep_capabilities(), has_some) == 1);
                  CHILD_CHECK(in_child_of(nsjoin::JoinPlan{}, has_some) == 1);
                  CHILD_CHECK(support::run_in_child([] {
                                  CHILD_CHECK(nsjoin::become({.uid = 1000, .gid = 1000}, {},
                                                             nsjoin::KeepCapabilities::yes));
                                  return has_some_left();
                              }) == 1);
                  CHILD_CHECK(nsjoin::become({.uid = 1000, .gid = 1000}));
                  CHILD_CHECK(capabilities_there() == 0);
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a change of ids does not let others trace the child, whatever fs.suid_dumpable says") {
    const std::string setting = "/proc/sys/fs/suid_dumpable";
    const std::string before = support::slurp(setting);
    if (!support::spill(setting, "1")) {
        support::skip("fs.suid_dumpable can't be set");
        return;
    }
    const support::Container container{Kind::net | Kind::pid};
    const auto target = nsjoin::PidFd::open(container.pid());
    const auto flag = [] {
        return ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    };
    const auto ids = nsjoin::Credentials{.uid = 1000, .gid = 1000};
    const int alone =
        in_child_of(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>).as(ids), flag);
    const int seen = in_child_of(
        nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::pid>).as(ids), flag);
    CHECK(support::spill(setting, before));
    CHECK(alone == 0);
    CHECK(seen == 0);
}
