// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/supervisor.hpp>

#include "embed_support.hpp"
#include "engine_support.hpp"
#include "tracer.hpp"

#include <nsjoin/explain.hpp>

#include <array>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <utility>

using nsjoin::Dialect;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;
using support::exits_with_7;
using support::probe_options;
using support::supervised;

TEST_CASE("supervise: the child is the caller's own, in every dialect") {
    const support::NothingLeft nothing_left;
    const support::Container container{Kind::net | Kind::ipc | Kind::uts};
    const auto target = nsjoin::PidFd::open(container.pid());
    for (const Dialect dialect :
         {Dialect::environment, Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        CAPTURE(nsjoin::facts(dialect).name.data());
        const auto options = probe_options(dialect);
        CHECK(
            exits_with_7(supervised(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds), options)));
        if (dialect != Dialect::environment) {
            CHECK(exits_with_7(
                supervised(nsjoin::JoinPlan{}
                               .create(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                               .create<Kind::mount, Kind::pid>(),
                           options)));
        }
    }
}

TEST_CASE("supervise: a mount source has the number that the plan gives it, whichever that is") {
    const support::NothingLeft nothing_left;
    auto options = probe_options(Dialect::runc_1_1);
    options.environment->emplace_back("PROBE_HOLDS=");
    bool logged = false;
    static bool* const log = &logged;
    options.log_level = nsjoin::LogLevel::debug;
    options.log = [](nsjoin::LogLevel /*level*/, std::string_view text) {
        *log = *log || text.find("=> nsexec container setup") != std::string_view::npos;
    };
    for (int number = 3; number < 20; ++number) {
        CAPTURE(number);
        const std::array<nsjoin::MountSource, 1> sources{{{"/etc/passwd", number}}};
        nsjoin::Draft draft;
        draft.created = Kind::user | Kind::mount;
        draft.maps.emplace(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}});
        draft.mount_sources.list = sources;
        const auto plan = nsjoin::Plan::from(draft);
        REQUIRE(plan);
        options.environment->back() = "PROBE_HOLDS=" + std::to_string(number) + " /etc/passwd";
        logged = false;
        CHECK(exits_with_7(supervised(*plan, options)));
        CHECK(logged);
    }
}

TEST_CASE("supervise: an error is the one that the caller itself would get") {
    const support::NothingLeft nothing_left;
    const support::Container container{Kind::net | Kind::user};
    const auto same = [](const nsjoin::Plan& plan) {
        const auto embedded = supervised(plan, probe_options(Dialect::runc_1_2));
        const auto here = support::clone(plan);
        if (here && here->is_child()) {
            ::_exit(0);
        }
        CHILD_CHECK(!embedded);
        CHILD_CHECK(!here);
        if (embedded.error() != here.error()) {
            std::fprintf(stderr, "%s\n%s\n", nsjoin::explain(embedded.error()).c_str(),
                         nsjoin::explain(here.error()).c_str());
        }
        CHILD_CHECK(embedded.error() == here.error());
        return 0;
    };
    CHECK(support::as_user(1000, [&] {
              return same(nsjoin::JoinPlan{}.create<Kind::net>().as({.uid = 0, .gid = 0}));
          }) == 0);
    CHECK(support::as_user(1000, [&] {
              const auto own_net = nsjoin::NamespaceFd<Kind::net>::own();
              (void)own_net;
              return same(nsjoin::JoinPlan{}
                              .create(nsjoin::NewUser{.uids = {{0, 0, 5}}, .gids = {{0, 0, 5}}})
                              .as({.uid = 0, .gid = 0}));
          }) == 0);
    CHECK(support::run_in_child([&] {
              return same(nsjoin::JoinPlan{}.create<Kind::time>().time_offsets(
                  {std::chrono::hours{-24 * 365 * 200}, std::chrono::nanoseconds{0}}));
          }) == 0);
}

TEST_CASE("supervise: programs that are not what they should be") {
    const support::NothingLeft nothing_left;
    const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
    auto options = probe_options(Dialect::runc_1_2);
    options.program = "/bin/true";
    CHECK(
        support::fails_with(supervised(plan, options), Step::start_program, Reason::process_died));
    options.program = "/nowhere";
    CHECK(support::fails_with(supervised(plan, options), Step::start_program, Reason::system,
                              ENOENT));
    options.program = "/bin/sleep";
    options.arguments = {"sleep", "100"};
    options.deadline = std::chrono::milliseconds{200};
    CHECK(support::fails_with(supervised(plan, options), Step::start_program,
                              Reason::deadline_passed));
    // One that speaks another dialect: its child is not left behind.
    options = probe_options(Dialect::runc_2016);
    options.environment = {"PROBE_SEAL=no", "PROBE_DIALECT=runc-1.2", "PROBE_HANG=1"};
    CHECK(!supervised(plan, options));
    options = probe_options(Dialect::runc_1_2);
    const auto root = nsjoin::OwnedFd{::open("/", O_PATH | O_CLOEXEC)};
    CHECK(support::fails_with(supervised(nsjoin::JoinPlan{}.root(root), options),
                              Step::start_program, Reason::bad_message));
    CHECK(support::fails_with(supervised(plan, probe_options(Dialect::environment)),
                              Step::start_program, Reason::bad_message));
    const nsjoin::NewUser half{.uids = {{0, 0, 1}}, .gids = nsjoin::IdMap::none()};
    CHECK(support::fails_with(supervised(nsjoin::JoinPlan{}.create(half), options),
                              Step::start_program, Reason::bad_message));
}

TEST_CASE("supervise: a reply that names somebody else's process harms nobody") {
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory directory;
    const std::string script = directory.file("liar");
    REQUIRE(::close(::open(script.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755)) == 0);
    auto options = probe_options(Dialect::runc_1_2);
    options.program = script;
    const auto replies = [&](pid_t pid) {
        return support::spill(
            script, "#!/bin/bash\nprintf '{\"stage1_pid\":1,\"stage2_pid\":" + std::to_string(pid) +
                        "}\\n' >&\"$_LIBCONTAINER_INITPIPE\"\n");
    };
    const support::Container elder{nsjoin::KindSet{}}; // a child that was there before
    for (const pid_t pid : {1, elder.pid()}) {
        REQUIRE(replies(pid));
        CHECK(support::fails_with(supervised(nsjoin::JoinPlan{}.create<Kind::net>(), options),
                                  Step::read_bootstrap, Reason::bad_message));
    }
    const char state = support::state_and_parent(elder.pid()).first;
    CHECK((state == 'S' || state == 'R')); // it may be on its way to its sleep
    ::unlink(script.c_str());
}

namespace {

/// A process of somebody else's, whose parent, a child of the caller, ends when a byte comes into
/// `start`; then it ends too, with code 42. It holds `over` open until then.
auto make_orphan(const std::array<int, 2>& start, const std::array<int, 2>& over) -> pid_t {
    const support::TestPipe told;
    const pid_t parent = ::fork();
    if (parent != 0) {
        int pid = -1;
        (void)told.get(pid);
        return pid;
    }
    const pid_t self = ::getpid();
    const pid_t orphan = ::fork();
    ::close(start[1]);
    if (orphan != 0) {
        char byte = 0;
        (void)told.put(orphan);
        ::close(over[1]);
        (void)!::read(start[0], &byte, 1);
        ::_exit(0);
    }
    while (::getppid() == self) {
        ::usleep(1000);
    }
    ::_exit(42);
}

} // namespace

TEST_CASE("supervise: in a subreaper, a failure takes the status of nobody else's process") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
              std::array<int, 2> start{};
              std::array<int, 2> over{};
              CHILD_CHECK(::pipe(start.data()) == 0);
              CHILD_CHECK(::pipe(over.data()) == 0);
              const pid_t orphan = make_orphan(start, over);
              CHILD_CHECK(orphan > 0);
              CHILD_CHECK(::fcntl(over[1], F_SETFD, FD_CLOEXEC) == 0);
              ::close(std::exchange(over[1], ::open("/dev/null", O_WRONLY | O_CLOEXEC)));
              auto options = probe_options(Dialect::runc_1_2);
              options.program = "/bin/bash";
              // It fails when the orphan has become the supervisor's, and has ended.
              options.arguments = {"bash", "-c",
                                   "echo >&" + std::to_string(start[1]) + "; read -u " +
                                       std::to_string(over[0]) + "; sleep 0.2; exit 1"};
              const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
              CHILD_CHECK(support::fails_with(supervised(plan, options), Step::start_program,
                                              Reason::process_died, 1 << 8));
              CHILD_CHECK(support::wait_for(orphan) == 42);
              return 0;
          }) == 0);
}

TEST_CASE("supervise: in a subreaper, a child that fails is waited for, and nobody else is") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
              const pid_t parent = ::fork();
              if (parent == 0) {
                  if (::fork() == 0) {
                      ::alarm(60); // if nobody ends it
                      ::_exit(::pause());
                  }
                  ::_exit(0);
              }
              CHILD_CHECK(support::wait_for(parent) == 0);
              const std::set<pid_t> before = support::children();
              CHILD_CHECK(before.size() == 1);
              // A step of the child fails, of which the reply tells nothing.
              const auto plan =
                  nsjoin::JoinPlan{}
                      .create(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                      .create<Kind::time>()
                      .time_offsets(
                          {std::chrono::hours{-24 * 365 * 200}, std::chrono::nanoseconds{0}})
                      .build();
              CHILD_CHECK(!supervised(plan, probe_options(Dialect::runc_1_2)));
              CHILD_CHECK(support::children() == before);
              ::kill(*before.begin(), SIGKILL);
              CHILD_CHECK(support::wait_for(*before.begin()) == 128 + SIGKILL);
              return 0;
          }) == 0);
}

TEST_CASE("supervise: the program has the caller's variables, if not told which") {
    const auto run = [](std::optional<std::vector<std::string>> environment, const char* name) {
        return support::run_in_child([&] {
            auto options = probe_options(Dialect::runc_1_2);
            options.environment = std::move(environment);
            ::setenv("PROBE_NAME", name, 1);
            ::setenv("_LIBCONTAINER_INITPIPE", "99", 1);
            const auto code = supervised(nsjoin::JoinPlan{}.create<Kind::net>(), options);
            return code ? *code : 1;
        });
    };
    CHECK(run(std::nullopt, "runc:[2:INIT]") == 7);
    CHECK(run(std::nullopt, "another") == 8);
    CHECK(run(std::vector<std::string>{"PROBE_NAME=runc:[2:INIT]"}, "another") == 7);
    CHECK(run(std::vector<std::string>{"PROBE_QUIET=1"}, "another") == 7);
}

TEST_CASE("supervise: the program inside has the limits of the supervisor") {
    auto options = probe_options(Dialect::runc_1_2);
    options.environment = {"PROBE_SEAL=no", "PROBE_DIALECT=runc-1.2", "PROBE_WAIT=1",
                           "PROBE_SILENT=1"};
    const auto embedded = nsjoin::supervise(nsjoin::JoinPlan{}.create<Kind::net>(), options);
    REQUIRE(embedded);
    CHECK(support::closes_on_exec(embedded->child.fd().get()));
    CHECK(support::closes_on_exec(embedded->pipe.get()));
    const std::string limits = "/proc/" + std::to_string(embedded->child.pid()) + "/limits";
    CHECK(support::eventually( // when main runs
        [&] { return support::slurp(limits) == support::slurp("/proc/self/limits"); }));
    (void)!::send(embedded->pipe.get(), "x", 1, MSG_NOSIGNAL);
    CHECK(embedded->child.wait());
}

TEST_CASE("supervise: setgroups is as the plan says") {
    const support::NothingLeft nothing_left;
    auto options = probe_options(Dialect::runc_1_2);
    options.environment = {"PROBE_SEAL=no", "PROBE_DIALECT=runc-1.2", "PROBE_WAIT=1",
                           "PROBE_SILENT=1"};
    for (const auto& [policy, says] : {std::pair{nsjoin::Setgroups::allow, "allow\n"},
                                       std::pair{nsjoin::Setgroups::deny, "deny\n"}}) {
        const nsjoin::NewUser user{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}, .setgroups = policy};
        const auto embedded = nsjoin::supervise(nsjoin::JoinPlan{}.create(user), options);
        REQUIRE(embedded);
        CHECK(support::slurp("/proc/" + std::to_string(embedded->child.pid()) + "/setgroups") ==
              says);
        (void)!::send(embedded->pipe.get(), "x", 1, MSG_NOSIGNAL);
        CHECK(embedded->child.wait());
    }
}

TEST_CASE("supervise: what no dialect has words for is an error, and not left out") {
    using nsjoin::JoinPlan;
    using nsjoin::Plan;
    const nsjoin::OwnedFd directory{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const std::array<sock_filter, 1> code{{BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
    const auto mount = JoinPlan{}.create<Kind::mount>();
    const auto uts = JoinPlan{}.create<Kind::uts>();
    const std::array plans{
        std::pair{"root directory", Plan{JoinPlan{}.root(directory)}},
        std::pair{"root directory", Plan{JoinPlan{}.root("/")}},
        std::pair{"working directory", Plan{JoinPlan{}.working_directory(directory)}},
        std::pair{"working directory", Plan{JoinPlan{}.working_directory("/")}},
        std::pair{"root mount", Plan{mount.pivot_root("/srv")}},
        std::pair{"/proc", Plan{mount.mount_proc()}},
        std::pair{"host or domain name", Plan{uts.host_name("a")}},
        std::pair{"host or domain name", Plan{uts.domain_name("a")}},
        std::pair{"loopback", Plan{JoinPlan{}.create<Kind::net>().loopback_up()}},
        std::pair{"umask", Plan{JoinPlan{}.umask(0)}},
        std::pair{"CPU affinity", Plan{JoinPlan{}.cpu_affinity(nsjoin::CpuSet{}.with(0))}},
        std::pair{"CPU affinity or priority", Plan{JoinPlan{}.priority(0)}},
        std::pair{"capabilities", Plan{JoinPlan{}.capabilities({})}},
        std::pair{"seccomp filter", Plan{JoinPlan{}.filter(code)}},
        std::pair{"no_new_privs", Plan{JoinPlan{}.no_new_privileges()}},
        std::pair{"cgroup", Plan{JoinPlan{}.cgroup(directory)}},
        std::pair{"process name", Plan{JoinPlan{}.name("a")}},
        std::pair{"death signal", Plan{JoinPlan{}.death_signal(SIGTERM)}},
        std::pair{"propagation", Plan{mount.propagation(nsjoin::Propagation::slave)}},
        std::pair{"session keyring",
                  Plan{JoinPlan{}.session_keyring(nsjoin::SessionKeyring::fresh)}},
        std::pair{"kept capabilities", Plan{JoinPlan{}.keep_capabilities()}},
        std::pair{"kept ids", Plan{JoinPlan{}.keep_ids()}},
        std::pair{"ids other than 0", Plan{JoinPlan{}.as({.uid = 0, .gid = 5})}},
    };
    for (const auto& row : plans) {
        CAPTURE(row.first);
        nsjoin::detail::MessageOfPlan message;
        const auto said = message.read(Dialect::runc_1_2, row.second.parts());
        CHECK(support::fails_with(said, Step::start_program, Reason::bad_message));
        CHECK(said.error().subject.view().starts_with(row.first));
    }
}

TEST_CASE("supervise: who has no standard descriptors gives the program none") {
    const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
    for (const char* const number : {"0", "1", "2"}) {
        CHECK(support::run_in_child([&] {
                  auto options = probe_options(Dialect::runc_1_2);
                  options.environment->push_back("PROBE_HOLDS=" + std::string{number} + " ");
                  for (int standard = 0; standard <= 2; ++standard) {
                      ::close(standard);
                  }
                  const auto code = supervised(plan, options);
                  return code ? *code : 1;
              }) == 7);
    }
}

TEST_CASE("an error goes through a log line, whichever it is, and no other number does") {
    using nsjoin::detail::error_of_text;
    const auto text_of = [](const nsjoin::Error& error) {
        nsjoin::detail::LogText text;
        text.append("nsexec[1]: ");
        nsjoin::detail::append_record(text, error);
        return std::string{text.view()};
    };
    for (int reason = 0; reason <= static_cast<int>(nsjoin::detail::last_reason); ++reason) {
        CAPTURE(reason);
        const nsjoin::Error error{Step::go_back, static_cast<Reason>(reason), 5,
                                  nsjoin::Subject{"of (it)"}};
        const auto read = error_of_text(text_of(error));
        REQUIRE(read);
        CHECK(*read == error);
    }
    const std::string past = std::to_string(nsjoin::step_table.size());
    for (const std::string& numbers :
         {past + " 0 0 0", std::string{"4000000000 0 0 0"}, std::string{"0 200 0 0"},
          std::string{"0 0 0"}, std::string{"-1 0 0 0"}, std::string{"0 0 x 0"}}) {
        CAPTURE(numbers);
        CHECK(!error_of_text("nsexec[1]: it {nsjoin " + numbers + "}"));
    }
}

TEST_CASE("supervise: a message that can't be sent is an error, without a deadline too") {
    const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
    CHECK(support::run_in_child([&] {
              ::alarm(20);
              CHILD_CHECK(support::deny_syscall(SYS_sendto, ENOBUFS));
              CHILD_CHECK(support::fails_with(supervised(plan, probe_options(Dialect::runc_1_2)),
                                              Step::start_program, Reason::system, ENOBUFS));
              CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
              CHILD_CHECK(errno == ECHILD);
              return 0;
          }) == 0);
}

TEST_CASE("supervise: no system call that a filter denies makes it hang, or leaves a process") {
    const auto plan = nsjoin::JoinPlan{}
                          .create(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                          .create<Kind::mount, Kind::pid>()
                          .build();
    constexpr int clone3 = 435;
    for (const int number : {SYS_setns,
                             SYS_setsid,
                             SYS_setresuid,
                             SYS_setresgid,
                             SYS_setgroups,
                             SYS_unshare,
                             clone3,
                             SYS_socketpair,
                             SYS_prctl,
                             SYS_pidfd_open,
                             SYS_sendmsg,
                             SYS_recvmsg,
                             SYS_sendto,
                             SYS_recvfrom,
                             SYS_getpid,
                             SYS_readlinkat,
                             SYS_fstatfs,
                             SYS_ppoll,
                             SYS_pipe2,
                             SYS_getresuid,
                             SYS_getgroups,
                             SYS_fcntl,
                             SYS_pidfd_send_signal,
                             SYS_prlimit64}) {
        for (const int code : {EPERM, ENOSYS}) {
            CAPTURE(number);
            CAPTURE(code);
            CHECK(support::run_in_child([&] {
                      ::alarm(20);
                      CHILD_CHECK(support::deny_syscall(number, code));
                      const auto embedded =
                          nsjoin::supervise(plan, probe_options(Dialect::runc_1_1));
                      if (embedded) {
                          int status = 0;
                          CHILD_CHECK(::waitpid(embedded->child.pid(), &status, 0) > 0);
                          CHILD_CHECK(WEXITSTATUS(status) == 7);
                      }
                      CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
                      CHILD_CHECK(errno == ECHILD);
                      return 0;
                  }) == 0);
        }
    }
}

TEST_CASE("supervise: variables of who started the supervisor are not the program's") {
    const support::NothingLeft nothing_left;
    const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
    for (const char* const stale :
         {"_LIBCONTAINER_INITPIPE=99", "_LIBCONTAINER_LOGPIPE=99", "_LIBCONTAINER_LOGLEVEL=none",
          "_LIBCONTAINER_MOUNT_FDS=[99]", "_LIBCONTAINER_INITPID=1"}) {
        CAPTURE(stale);
        auto options = probe_options(Dialect::runc_1_1);
        options.environment->insert(options.environment->begin(), stale);
        CHECK(exits_with_7(supervised(plan, options)));
    }
    const support::Container container{Kind::net | Kind::ipc};
    const auto target = nsjoin::PidFd::open(container.pid());
    auto options = probe_options(Dialect::environment);
    options.environment->emplace_back("_LIBCONTAINER_CONSOLE_PATH=/dev/null");
    options.environment->insert(options.environment->begin(), "_LIBCONTAINER_INITPID=1");
    CHECK(exits_with_7(supervised(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds), options)));
}

TEST_CASE("supervise: in a process that ignores SIGCHLD, or reaps every child") {
    if (!support::keeps_taken_status()) {
        support::skip(support::no_taken_status);
        return;
    }
    const auto options = probe_options(Dialect::runc_1_1);
    const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
    for (const bool ignores : {true, false}) {
        CAPTURE(ignores);
        CHECK(support::run_in_child([&] {
                  struct sigaction action {};

                  action.sa_handler = SIG_IGN;
                  if (!ignores) {
                      action.sa_handler = [](int) {
                          const int code = errno;
                          while (::waitpid(-1, nullptr, WNOHANG) > 0) {
                          }
                          errno = code;
                      };
                  }
                  CHILD_CHECK(::sigaction(SIGCHLD, &action, nullptr) == 0);
                  for (int i = 0; i < 20; ++i) { // a child that ends at once
                      CHILD_CHECK(exits_with_7(supervised(plan, options)));
                  }
                  return 0;
              }) == 0);
    }
}

namespace {

/// Runs a supervisor that is killed, or whose program or child is, at one stop after the other.
auto kill_everywhere(const nsjoin::Plan& plan, const nsjoin::SupervisorOptions& options,
                     std::size_t stride) -> int {
    const auto body = [&] {
        const auto descriptors = support::open_descriptors();
        {
            auto embedded = nsjoin::supervise(plan, options);
            if (embedded) {
                CHILD_CHECK(embedded->child.wait());
            }
        }
        CHILD_CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
        CHILD_CHECK(errno == ECHILD);
        CHILD_CHECK(support::open_descriptors() == descriptors);
        return 0;
    };
    int bad = 0;
    std::size_t count = 0;
    for (bool more = true; more; count += stride) {
        const int code = support::run_in_child([&] {
            const support::Traced run = support::Tracer{}.run(body, count);
            if (run.stops.size() <= count) {
                return 99;
            }
            const bool main_killed = run.exit_code == 128 + SIGKILL;
            if (run.hung || (run.exit_code != 0 && !main_killed)) {
                std::fprintf(stderr, "killed at stop %zu (%s of system call %ld): %s, exit %d\n",
                             count, run.stops[count].entry ? "entry" : "exit",
                             run.stops[count].number,
                             run.hung ? "something is left" : "not cleaned up", run.exit_code);
                return 1;
            }
            return 0;
        });
        more = code != 99;
        bad += code == 0 || code == 99 ? 0 : 1;
    }
    MESSAGE("killed at " << count / stride << " stops of " << count);
    CHECK(count > 200);
    return bad;
}

} // namespace

TEST_CASE("supervisor, joiner or child is killed at any system call") {
    const support::Container container{Kind::net | Kind::ipc};
    const auto net = nsjoin::NamespaceFd<Kind::net>::open(container.pid());
    const auto plan = nsjoin::JoinPlan{}
                          .join(*net)
                          .create(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                          .create<Kind::mount>()
                          .build();
    CHECK(kill_everywhere(plan, probe_options(Dialect::runc_1_2), support::every(11, 1)) == 0);
    auto sealed = probe_options(Dialect::runc_1_1);
    sealed.environment->front() = "PROBE_SEAL=yes";
    CHECK(kill_everywhere(plan, sealed, support::every(23, 3)) == 0);
    // With the opener of mount sources, a process more.
    const std::array<nsjoin::MountSource, 2> sources{{{"/etc/passwd", 30}, {"/etc/group", 31}}};
    nsjoin::Draft draft;
    draft.created = Kind::user | Kind::mount | Kind::pid;
    draft.maps.emplace(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}});
    draft.mount_sources.list = sources;
    const auto opening = nsjoin::Plan::from(draft);
    REQUIRE(opening);
    CHECK(kill_everywhere(*opening, probe_options(Dialect::runc_1_1), support::every(23, 3)) == 0);
}
