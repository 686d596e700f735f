// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/launcher.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <sched.h>
#include <sys/mount.h>

// How a child furnishes its namespaces and itself: names, loopback, mounts, root and directory,
// umask, processors, priority, capabilities. Each by all the ways to have a child.

using nsjoin::Capabilities;
using nsjoin::Capability;
using nsjoin::CapabilitySet;
using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

/// A shell in the child of join_and_clone().
auto shell_in_clone(const nsjoin::Plan& plan, const char* script) -> support::Output {
    support::TestPipe pipe;
    std::fflush(nullptr);
    auto side = support::clone(plan);
    if (!side) {
        return {side.error(), -1, {}};
    }
    if (side->is_child()) {
        ::dup2(pipe.writer(), STDOUT_FILENO);
        ::execl("/bin/sh", "sh", "-c", script, nullptr);
        ::_exit(127);
    }
    pipe.close_writer();
    support::Output output;
    output.text = support::read_all(pipe.reader());
    const auto status = side->child().wait(std::chrono::seconds{20});
    output.code = status ? status->exit_code() : -1;
    return output;
}

/// Whether a shell of the plan writes that, by each way to have one.
auto writes(const nsjoin::Plan& plan, const char* script, std::string_view text) -> bool {
    static auto launcher = nsjoin::Launcher::start();
    const auto by_launcher = [&plan](const nsjoin::Command& command) {
        return launcher->exec(plan, command);
    };
    nsjoin::Draft late = plan.parts();
    late.deadline = std::chrono::seconds{20}; // in a copy
    const auto copy = nsjoin::Plan::from(late);
    return copy && support::wrote(support::shell(plan, script), text) &&
           support::wrote(support::shell(*copy, script), text) &&
           support::wrote(shell_in_clone(plan, script), text) &&
           support::wrote(support::shell(support::Execute{by_launcher}, script), text);
}

/// Whether the plan fails so, by each way.
auto fails(const nsjoin::Plan& plan, Step step, Reason reason, int code = 0) -> bool {
    return support::failed_with(support::shell(plan, ":"), step, reason, code) &&
           support::failed_with(shell_in_clone(plan, ":"), step, reason, code);
}

constexpr auto number_of(long call) -> std::uint32_t {
    return static_cast<std::uint32_t>(call);
}

constexpr const char* show_sets =
    "while read name value; do case $name in Cap*) printf '%s %s\\n' $name $value;; esac; done "
    "</proc/self/status";

/// The five sets as /proc/PID/status has them.
auto lines_of(const Capabilities& sets) -> std::string {
    std::string text;
    for (const auto& [name, set] :
         {std::pair{"CapInh", sets.inheritable}, std::pair{"CapPrm", sets.permitted},
          std::pair{"CapEff", sets.effective}, std::pair{"CapBnd", sets.bounding},
          std::pair{"CapAmb", sets.ambient}}) {
        std::array<char, 64> line{};
        (void)std::snprintf(line.data(), line.size(), "%s: %016llx\n", name,
                            static_cast<unsigned long long>(set.bits()));
        text += line.data();
    }
    return text;
}

} // namespace

// ── Namespaces ──────────────────────────────────────────────────────────────────────────────────

TEST_CASE("the host and the domain have the names that the plan says, and the caller's stay") {
    const std::string before = support::slurp("/proc/sys/kernel/hostname");
    const auto named = JoinPlan{}.create<Kind::uts>().host_name("inside").domain_name("here");
    const char* const script = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname";
    CHECK(writes(named, script, "inside\nhere\n"));
    CHECK(writes(named.create<Kind::pid, Kind::mount>(), script, "inside\nhere\n"));
    CHECK(writes(named.create(support::own_root()), script, "inside\nhere\n"));
    CHECK(support::slurp("/proc/sys/kernel/hostname") == before);
    SUBCASE("in a joined one") {
        const support::Container container{Kind::uts};
        const auto target = nsjoin::PidFd::open(container.pid());
        REQUIRE((container.ok() && target));
        CHECK(writes(JoinPlan{}.join(*target, nsjoin::kinds<Kind::uts>).host_name("there"),
                     "uname -n", "there\n"));
        CHECK(support::slurp("/proc/sys/kernel/hostname") == before);
    }
    SUBCASE("not without the right") {
        CHECK(support::run_in_child([] {
                  const auto uts = nsjoin::NamespaceFd<Kind::uts>::open(::getpid());
                  CHILD_CHECK(uts);
                  const auto plan = JoinPlan{}
                                        .create(support::own_root())
                                        .create<Kind::net>()
                                        .join(*uts)
                                        .host_name("stolen");
                  CHILD_CHECK(fails(plan, Step::set_host_name, Reason::system, EPERM));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("the loopback interface is up") {
    const auto up = [](const nsjoin::Plan& plan) {
        return support::run(plan, [] {
            const nsjoin::OwnedFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
            ifreq request{};
            std::strcpy(request.ifr_name, "lo"); // NOLINT
            return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 &&
                           (request.ifr_flags & IFF_UP) != 0
                       ? 0
                       : 1;
        });
    };
    CHECK(up(JoinPlan{}.create<Kind::net>()).code == 1);
    CHECK(support::went_well(up(JoinPlan{}.create<Kind::net>().loopback_up())));
    const auto rootless = JoinPlan{}.create(support::own_root()).create<Kind::net>().loopback_up();
    CHECK(support::went_well(up(rootless)));
    // Without a mount of /proc or /sys of its own: it is the kernel that is asked.
    CHECK(writes(rootless,
                 "python3 -c 'import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); "
                 "s.listen(); socket.create_connection(s.getsockname()); print(\"connected\")'",
                 "connected\n"));
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::become_user());
              const auto user = JoinPlan{}.create(support::own_root());
              CHILD_CHECK(support::wrote(
                  support::shell(user.create<Kind::net>().loopback_up(),
                                 "read -r first </proc/net/if_inet6; echo ${first:+up}"),
                  "up\n"));
              return 0;
          }) == 0);
}

// ── Mounts and directories ──────────────────────────────────────────────────────────────────────

TEST_CASE("a new root mount leaves nothing of the old one") {
    support::RootFileSystem files;
    REQUIRE(files.ok());
    const char* const script =
        "cd /; echo *; pwd; while read -r a b c d where rest; do echo $where; done "
        "</proc/self/mountinfo; echo $$";
    const auto plan =
        JoinPlan{}.create<Kind::mount, Kind::pid>().pivot_root(files.path()).mount_proc();
    CHECK(writes(plan, script, "bin proc tmp volume\n/\n/\n/proc\n1\n"));
    CHECK(
        writes(plan.create(support::own_root()), script, "bin proc tmp volume\n/\n/\n/proc\n1\n"));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::become_user());
              CHILD_CHECK(writes(plan.create(support::own_root()), script,
                                 "bin proc tmp volume\n/\n/\n/proc\n1\n"));
              return 0;
          }) == 0);
    CHECK(writes(plan.working_directory("/volume"), "pwd; cd ..; pwd", "/volume\n/\n"));
    // It starts at the root if nothing is said, wherever the caller is.
    CHECK(writes(JoinPlan{}.create<Kind::mount>().pivot_root(files.path()), "pwd", "/\n"));
    // A copy of the root that there is.
    CHECK(writes(JoinPlan{}.create<Kind::mount>().pivot_root("/"), "[ -d /proc/self ] && pwd",
                 "/\n"));
    CHECK(fails(JoinPlan{}.create<Kind::mount>().pivot_root("/nowhere"), Step::pivot_root,
                Reason::system, ENOENT));
    CHECK(fails(plan.working_directory("/nowhere"), Step::set_working_directory, Reason::system,
                ENOENT));
}

TEST_CASE("a link in the new root leads nowhere else") {
    support::RootFileSystem files;
    files.link("/proc/self/fd/9", "/leak");
    files.link("../../../../etc", "/up");
    REQUIRE(files.ok());
    const nsjoin::OwnedFd host{::open("/", O_PATH | O_DIRECTORY)};
    REQUIRE(::dup2(host.get(), 9) == 9);
    const auto plan =
        JoinPlan{}.create<Kind::mount, Kind::pid>().pivot_root(files.path()).mount_proc();
    CHECK(
        fails(plan.working_directory("/leak"), Step::set_working_directory, Reason::outside_root));
    CHECK(
        fails(plan.working_directory("/up"), Step::set_working_directory, Reason::system, ENOENT));
    // chroot(2) by a path that a container made.
    const auto chroots = JoinPlan{}.create<Kind::mount>();
    CHECK(writes(chroots.root(files.path()), "pwd; cd /; echo *",
                 "/\nbin leak proc tmp up volume\n"));
    CHECK(support::run_in_child([&] {
              // A root that was left, which descriptor 9 still has.
              CHILD_CHECK(::chroot(files.path().c_str()) == 0 && ::chdir("/") == 0);
              CHILD_CHECK(::mount("proc", "/proc", "proc", 0, nullptr) == 0);
              const auto leaks = support::shell(JoinPlan{}.root("/leak"), ":");
              (void)::umount2("/proc", MNT_DETACH);
              CHILD_CHECK(support::failed_with(leaks, Step::set_root, Reason::outside_root));
              return 0;
          }) == 0);
    ::close(9);
}

TEST_CASE("a /proc is that of the child's pid namespace") {
    const auto plan = JoinPlan{}.create<Kind::mount, Kind::pid>().mount_proc();
    CHECK(writes(plan,
                 "cd /proc; set -- [0-9]*; echo $1 $$; grep -c ' /proc proc ' "
                 "/proc/mounts >/dev/null; echo $?",
                 "1 1\n0\n"));
    CHECK(writes(plan.create(support::own_root()), "cd /proc; set -- [0-9]*; echo $1 $$", "1 1\n"));
    CHECK(fails(JoinPlan{}.create<Kind::mount>().mount_proc("/nowhere"), Step::mount_proc,
                Reason::system, ENOENT));
    // Of a pid namespace that the user namespace does not own.
    const auto other = JoinPlan{}.create(support::own_root()).create<Kind::mount>().mount_proc();
    CHECK(fails(other, Step::mount_proc, Reason::system, EPERM));
    const auto error = support::shell(other, ":").error;
    REQUIRE(error);
    CHECK(nsjoin::explain(*error).find("owns the pid namespace") != std::string::npos);
}

TEST_CASE("a working directory by path is looked up inside, and again with the last ids") {
    const support::TemporaryDirectory place;
    const std::string directory = place.path() + "/of-1001";
    REQUIRE((::chmod(place.path().c_str(), 0755) == 0 && ::mkdir(directory.c_str(), 0700) == 0 &&
             ::chown(directory.c_str(), 1001, 1001) == 0));
    CHECK(writes(JoinPlan{}.working_directory(directory), "pwd -P", directory + "\n"));
    const nsjoin::NewUser two{.uids = {{0, 0, 1}, {1001, 1001, 1}}, .gids = {{0, 0, 1}}};
    CHECK(writes(JoinPlan{}.create(two).working_directory(directory).as(
                     {.uid = 1001, .gid = 0, .groups = {}}),
                 "pwd -P", directory + "\n"));
}

// ── The process ─────────────────────────────────────────────────────────────────────────────────

TEST_CASE("the child has the umask, processors and priority that the plan says") {
    CHECK(writes(JoinPlan{}.umask(0027), "umask", "0027\n"));
    CHECK(writes(JoinPlan{}.umask(0), "umask", "0000\n"));
    cpu_set_t allowed{};
    REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    unsigned last = 0;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        last = CPU_ISSET(cpu, &allowed) ? cpu : last;
    }
    const char* const cpus = "while read -r name value; do case $name in Cpus_allowed_list:) echo "
                             "$value;; esac; done </proc/self/status";
    CHECK(writes(JoinPlan{}.cpu_affinity(nsjoin::CpuSet{}.with(last)), cpus,
                 std::to_string(last) + "\n"));
    CHECK(fails(JoinPlan{}.cpu_affinity(nsjoin::CpuSet{}.with(1023)), Step::set_cpu_affinity,
                Reason::system, EINVAL));
    CHECK(writes(JoinPlan{}.priority(7), "nice", "7\n"));
    CHECK(writes(JoinPlan{}.priority(7).create<Kind::pid>(), "nice", "7\n"));
    CHECK(writes(JoinPlan{}.priority(-3), "nice", "-3\n"));
    CHECK(::getpriority(PRIO_PROCESS, 0) == 0);
    const support::Container container{Kind::user | Kind::pid | Kind::mount};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE((container.ok() && target));
    const auto joins = JoinPlan{}.join(*target, nsjoin::kinds<Kind::user, Kind::pid, Kind::mount>);
    CHECK(writes(joins.priority(-3), "nice", "-3\n")); // raised before the user namespace is joined
    CHECK(fails(JoinPlan{}.create(support::own_root()).priority(-3), Step::set_priority,
                Reason::system, EACCES));
    CHECK(::getpriority(PRIO_PROCESS, 0) == 0);
}

TEST_CASE("a child that fails before it hears of the caller says why, however late that looks") {
    const std::array plans{
        nsjoin::Plan{JoinPlan{}.create(support::own_root()).priority(-3)},
        nsjoin::Plan{JoinPlan{}
                         .create(support::own_root())
                         .create<Kind::time>()
                         .time_offsets({})
                         .priority(-3)},
    };
    for (int i = 0; i < 60; ++i) {
        for (const nsjoin::Plan& plan : plans) {
            CAPTURE(i);
            CHECK(support::failed_with(support::run(plan, [] { return 0; }), Step::set_priority,
                                       Reason::system, EACCES));
        }
    }
}

TEST_CASE("nothing that the child executes gives it rights") {
    const char* const script = "while read -r name value; do case $name in NoNewPrivs:) echo "
                               "$value;; esac; done </proc/self/status";
    CHECK(writes(JoinPlan{}, script, "0\n"));
    CHECK(writes(JoinPlan{}.no_new_privileges(), script, "1\n"));
    CHECK(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
}

TEST_CASE("the child has the capabilities that the plan says") {
    const auto self = nsjoin::PidFd::open(::getpid());
    REQUIRE(self);
    const auto own = Capabilities::of(*self);
    REQUIRE(own);
    const CapabilitySet few = Capability::chown | Capability::net_bind_service;
    const auto none = JoinPlan{}.capabilities({});
    CHECK(writes(none, show_sets, lines_of({})));
    // Root gets all of the bounding set when it executes something.
    CHECK(writes(JoinPlan{}.capabilities(Capabilities::limited_to(few)), show_sets,
                 lines_of(Capabilities::limited_to(few))));
    CHECK(writes(
        JoinPlan{}.capabilities({.bounding = own->bounding, .permitted = few}), show_sets,
        lines_of(
            {.bounding = own->bounding, .permitted = own->bounding, .effective = own->bounding})));
    // Another user keeps ambient ones, and no others.
    const nsjoin::Credentials user{.uid = 1000, .gid = 1000, .groups = {}};
    CHECK(writes(JoinPlan{}.as(user).capabilities(Capabilities::kept_by_programs(few)), show_sets,
                 lines_of(Capabilities::kept_by_programs(few))));
    CHECK(writes(JoinPlan{}.as(user).capabilities(Capabilities::limited_to(few)), show_sets,
                 lines_of({.bounding = few})));
    // In a user namespace of its own, all of them can be had.
    const auto all = CapabilitySet::from_bits((std::uint64_t{1} << 41U) - 1);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::become_user());
              const auto inside = JoinPlan{}.create(support::own_root());
              CHILD_CHECK(writes(inside.capabilities(Capabilities::limited_to(few)), show_sets,
                                 lines_of(Capabilities::limited_to(few))));
              const auto kept = Capabilities::kept_by_programs(few);
              CHILD_CHECK(writes(inside.capabilities(kept), show_sets, lines_of(kept)));
              return 0;
          }) == 0);
    // A child that goes on by itself loses them with its next change of ids, as ever.
    CHECK(support::run(JoinPlan{}.as(user).capabilities(Capabilities::limited_to(few)), [] {
              return ::prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0);
          }).code == 0);
    const auto after = Capabilities::of(*self);
    CHECK((after && *after == *own));
    // What is not there can't be kept.
    const CapabilitySet missing = all - own->bounding;
    if (!missing.empty()) {
        const auto wants = JoinPlan{}.capabilities({.bounding = missing});
        CHECK(fails(wants, Step::limit_capabilities, Reason::no_capability));
        const auto error = support::shell(wants, ":").error;
        REQUIRE(error);
        CHECK(nsjoin::explain(*error).find(name_of(missing.first())) != std::string::npos);
    }
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::become_user());
              CHILD_CHECK(
                  fails(JoinPlan{}.capabilities({.bounding = own->bounding, .permitted = few}),
                        Step::set_capabilities, Reason::no_capability));
              CHILD_CHECK(fails(JoinPlan{}.capabilities({}), Step::limit_capabilities,
                                Reason::system, EPERM));
              return 0;
          }) == 0);
}

TEST_CASE("the child has the filter that the plan says, from its first call on") {
    // mkdir(2) and mkdirat(2), which no step makes, fail with EDOM.
    const std::array<sock_filter, 5> code{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(SYS_mkdirat), 1, 0),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(SYS_getcpu), 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const char* const script = "while read -r name value; do case $name in Seccomp:|NoNewPrivs:) "
                               "echo $value;; esac; done </proc/self/status; "
                               "python3 -c '\n"
                               "import os\n"
                               "try: os.mkdir(\"x\", dir_fd=os.open(\"/tmp\", 0))\n"
                               "except OSError as e: print(e.errno)'";
    const auto plan = JoinPlan{}.filter(code);
    const std::string denied = std::to_string(EDOM) + "\n";
    CHECK(writes(plan, script, "0\n2\n" + denied));
    CHECK(writes(plan.no_new_privileges(), script, "1\n2\n" + denied));
    const nsjoin::Credentials user{.uid = 1000, .gid = 1000, .groups = {}};
    CHECK(writes(plan.as(user), script, "0\n2\n" + denied));
    CHECK(writes(plan.as(user).no_new_privileges().capabilities({}), script, "1\n2\n" + denied));
    CHECK(writes(plan.create(support::own_root()).create<Kind::uts>().host_name("inside"), script,
                 "0\n2\n" + denied));
    CHECK(::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::become_user());
              CHILD_CHECK(fails(plan, Step::install_filter, Reason::system, EACCES));
              CHILD_CHECK(writes(plan.no_new_privileges(), script, "1\n2\n" + denied));
              return 0;
          }) == 0);
    const std::array<sock_filter, 1> broken{sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
    CHECK(fails(JoinPlan{}.filter(broken).no_new_privileges(), Step::install_filter, Reason::system,
                EINVAL));
    const std::vector<sock_filter> long_one(4097, code[4]);
    CHECK(fails(JoinPlan{}.filter(long_one), Step::check_plan, Reason::bad_value));
}

TEST_CASE("the last filter has to allow what the documentation names, and no more") {
    std::vector<sock_filter> code{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const long call : {SYS_sendto, SYS_close, SYS_rt_sigprocmask, SYS_exit_group}) {
        code.push_back(sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(call), 0, 1));
        code.push_back(sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    code.push_back(sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    const auto plan = JoinPlan{}.filter(code).no_new_privileges();
    for (const nsjoin::Plan& each :
         {nsjoin::Plan{plan}, nsjoin::Plan{plan.create<Kind::pid>()},
          nsjoin::Plan{plan.as({.uid = 1000, .gid = 1000, .groups = {}}).capabilities({})}}) {
        auto side = nsjoin::join_and_clone(each);
        REQUIRE(side);
        if (side->is_child()) {
            (void)::syscall(SYS_exit_group, 7);
        }
        const auto status = side->child().wait(std::chrono::seconds{20});
        REQUIRE(status);
        CHECK(status->exit_code() == 7);
    }
}

TEST_CASE("a program that the filter forbids to execute is an error") {
    const std::array<sock_filter, 4> code{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(SYS_execve), 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const auto plan = JoinPlan{}.filter(code).no_new_privileges();
    CHECK(support::failed_with(support::shell(plan, ":"), Step::execute, Reason::system, EDOM));
    CHECK(support::failed_with(support::shell(plan.deadline(std::chrono::seconds{20}), ":"),
                               Step::execute, Reason::system, EDOM));
}

TEST_CASE("a filter that answers in the kernel's place is found out") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_syscall(SYS_capset, 0));
              CHILD_CHECK(
                  support::failed_with(support::run(JoinPlan{}.capabilities({}), [] { return 0; }),
                                       Step::set_capabilities, Reason::capabilities_differ));
              return 0;
          }) == 0);
    // What can't be asked is no answer.
    constexpr unsigned read = 23; // PR_CAPBSET_READ
    for (const int code : {EPERM, ENOSYS, EINVAL}) {
        CHECK(support::run_in_child([code] {
                  CHILD_CHECK(support::deny_value(SYS_prctl, 0, read, code));
                  CHILD_CHECK(support::failed_with(
                      support::run(JoinPlan{}.capabilities({}), [] { return 0; }),
                      Step::limit_capabilities, Reason::system, code));
                  return 0;
              }) == 0);
    }
    constexpr unsigned ambient = 47; // PR_CAP_AMBIENT
    CHECK(support::run_in_child([] {
              const auto kept = Capabilities::kept_by_programs(Capability::chown);
              CHILD_CHECK(support::deny_value(SYS_prctl, 0, ambient, 0));
              CHILD_CHECK(support::failed_with(
                  support::run(JoinPlan{}.capabilities(kept), [] { return 0; }),
                  Step::set_capabilities, Reason::capabilities_differ));
              return 0;
          }) == 0);
    constexpr unsigned drop = 24; // PR_CAPBSET_DROP
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_value(SYS_prctl, 0, drop, 0));
              CHILD_CHECK(
                  support::failed_with(support::run(JoinPlan{}.capabilities({}), [] { return 0; }),
                                       Step::set_capabilities, Reason::capabilities_differ));
              return 0;
          }) == 0);
}

// ── What is refused before the first system call ────────────────────────────────────────────────

TEST_CASE("a draft that furnishes what it does not have is refused, with the reason") {
    const support::TemporaryDirectory place;
    const nsjoin::OwnedFd here{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const std::string long_path(4096, 'x');

    struct Row {
        const char* words;
        std::function<void(nsjoin::Draft&)> change;
    };

    const std::array rows{
        Row{"UTS namespace",
            [](nsjoin::Draft& d) {
                d.host_name = "x";
            }},
        Row{"UTS namespace",
            [](nsjoin::Draft& d) {
                d.domain_name = "x";
            }},
        Row{"network namespace",
            [](nsjoin::Draft& d) {
                d.loopback_up = true;
            }},
        Row{"mount namespace",
            [](nsjoin::Draft& d) {
                d.new_root = "/srv";
            }},
        Row{"mount namespace",
            [](nsjoin::Draft& d) {
                d.proc = "/proc";
            }},
        Row{"two root",
            [](nsjoin::Draft& d) {
                d.created = Kind::mount;
                d.new_root = "/srv";
                d.root_path = "/srv";
            }},
        Row{"two root",
            [&here](nsjoin::Draft& d) {
                d.root = here;
                d.root_path = "/srv";
            }},
        Row{"two working",
            [&here](nsjoin::Draft& d) {
                d.working_directory = here;
                d.working_directory_path = "/srv";
            }},
        // A text that is empty by mistake is no "nothing was said".
        Row{"1 to 4095",
            [](nsjoin::Draft& d) {
                d.root_path = "";
            }},
        Row{"1 to 4095",
            [](nsjoin::Draft& d) {
                d.working_directory_path = "";
            }},
        Row{"1 to 4095",
            [](nsjoin::Draft& d) {
                d.created = Kind::mount;
                d.new_root = "";
            }},
        Row{"1 to 4095",
            [](nsjoin::Draft& d) {
                d.created = Kind::mount;
                d.proc = "";
            }},
        Row{"1 to 4096",
            [](nsjoin::Draft& d) {
                d.filter = nsjoin::SeccompFilter{};
            }},
        Row{"4095",
            [&long_path](nsjoin::Draft& d) {
                d.root_path = long_path;
            }},
        Row{"NUL",
            [](nsjoin::Draft& d) {
                d.working_directory_path = {"/a\0b", 4};
            }},
        Row{"umask",
            [](nsjoin::Draft& d) {
                d.umask = 01000;
            }},
        Row{"nice",
            [](nsjoin::Draft& d) {
                d.priority = 20;
            }},
        Row{"nice",
            [](nsjoin::Draft& d) {
                d.priority = -21;
            }},
        Row{"processor",
            [](nsjoin::Draft& d) {
                d.cpu_affinity = nsjoin::CpuSet{};
            }},
        Row{"cap_chown",
            [](nsjoin::Draft& d) {
                d.capabilities = Capabilities{.effective = Capability::chown};
            }},
        Row{"cap_chown",
            [](nsjoin::Draft& d) {
                d.capabilities =
                    Capabilities{.permitted = Capability::chown, .ambient = Capability::chown};
            }},
    };
    for (const Row& row : rows) {
        CAPTURE(row.words);
        nsjoin::Draft draft;
        row.change(draft);
        const auto plan = nsjoin::Plan::from(draft);
        REQUIRE(!plan);
        CHECK(plan.error().reason == Reason::bad_value);
        CHECK(nsjoin::explain(plan.error()).find(row.words) != std::string::npos);
    }
    // A JoinPlan's values are checked by the call.
    CHECK(fails(JoinPlan{}.umask(01000), Step::check_plan, Reason::bad_value));
    CHECK(fails(JoinPlan{}.priority(20), Step::check_plan, Reason::bad_value));
    CHECK(fails(JoinPlan{}.root(long_path), Step::check_plan, Reason::bad_value));
    CHECK(fails(JoinPlan{}.root(""), Step::check_plan, Reason::bad_value));
    CHECK(fails(JoinPlan{}.create<Kind::mount>().pivot_root(""), Step::check_plan,
                Reason::bad_value));
    CHECK(fails(JoinPlan{}.filter({}), Step::check_plan, Reason::bad_value));
}

// ── Values ──────────────────────────────────────────────────────────────────────────────────────

TEST_CASE("sets of capabilities and processors, and names, are values") {
    static_assert((Capability::chown | Capability::kill).bits() == 0x21);
    static_assert(CapabilitySet{Capability::checkpoint_restore}.bits() == std::uint64_t{1} << 40U);
    static_assert((Capability::chown | Capability::kill).first() == Capability::chown);
    static_assert((Capability::chown | Capability::kill).contains(Capability::kill));
    static_assert(!CapabilitySet{Capability::kill}.contains(Capability::chown | Capability::kill));
    static_assert(name_of(Capability::chown) == "cap_chown");
    static_assert(name_of(Capability::sys_admin) == "cap_sys_admin");
    static_assert(name_of(Capability::checkpoint_restore) == "cap_checkpoint_restore");
    constexpr auto named = [](std::string_view name) { // chown is what is not written over
        Capability found = Capability::chown;
        return nsjoin::capability_from_name(name, found) == (found != Capability::chown)
                   ? found
                   : Capability::kill;
    };
    static_assert(named("CAP_SYS_ADMIN") == Capability::sys_admin);
    static_assert(named("sys_admin") == Capability::sys_admin);
    static_assert(named("Cap_Checkpoint_Restore") == Capability::checkpoint_restore);
    static_assert(named("bpf") == Capability::bpf);
    for (const std::string_view name : {"", "cap_", "SYS", "cap_cap_bpf", "all", "a newer one"}) {
        CHECK(named(name) == Capability::chown);
    }
    static_assert(name_of(static_cast<Capability>(41)) == "a newer one");
    static_assert(nsjoin::CpuSet{}.with(65).contains(65) && !nsjoin::CpuSet{}.with(65).contains(1));
    static_assert(nsjoin::CpuSet{}.empty() && !nsjoin::CpuSet{}.with(1023).empty());
    CHECK(nsjoin::HostName::from(std::string(64, 'x')));
    // Behind a line of half a megabyte.
    CHECK(support::run_in_child([] {
              const auto self = nsjoin::PidFd::open(::getpid());
              CHILD_CHECK(self);
              const auto before = Capabilities::of(*self);
              CHILD_CHECK(before);
              std::vector<gid_t> groups(65'536);
              std::iota(groups.begin(), groups.end(), 1'000'000);
              CHILD_CHECK(::setgroups(groups.size(), groups.data()) == 0);
              const auto after = Capabilities::of(*self);
              CHILD_CHECK(after);
              CHILD_CHECK(*after == *before && !after->bounding.empty());
              return 0;
          }) == 0);
    const auto error = nsjoin::HostName::from(std::string(65, 'x'));
    REQUIRE(!error);
    CHECK(nsjoin::explain(error.error()).find("64 bytes") != std::string::npos);
    const support::Process other{[] {
        ::pause();
        return 0;
    }};
    const auto process = nsjoin::PidFd::open(other.pid());
    REQUIRE(process);
    const auto sets = Capabilities::of(*process);
    REQUIRE(sets);
    CHECK(lines_of(*sets) == [&] {
        std::string text;
        for (const char* name : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
            text += std::string{name} + ": " +
                    support::status_line(std::to_string(other.pid()), name) + "\n";
        }
        return text;
    }());
}
