// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/spawn.hpp>

#include "spawn_support.hpp"

#include <nsjoin/console.hpp>

#include <memory>
#include <sys/stat.h>

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Program;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

constexpr auto seven_kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                           Kind::uts, Kind::cgroup>;

/// Every namespace of the shell, a line each.
constexpr const char* list_spaces =
    "cd /proc/self/ns; for n in user mnt pid net ipc uts cgroup "
    "time; do t=$(readlink /proc/$$/ns/$n); echo ${t:-$(readlink $n)}; done";

auto lines_of(const support::Spaces& spaces) -> std::string {
    std::string text;
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        text += spaces.at(row.kind) + "\n";
    }
    return text;
}

/// A plan for each way in which processes are made, and what each needs.
auto all_routes(const nsjoin::PidFd& target) -> std::vector<nsjoin::Plan> {
    const auto long_time = std::chrono::seconds{20};
    return {
        nsjoin::JoinPlan{},
        nsjoin::JoinPlan{}.deadline(long_time),
        nsjoin::JoinPlan{}.join(target, seven_kinds),
        nsjoin::JoinPlan{}.join(target, nsjoin::kinds<Kind::net, Kind::uts>),
        nsjoin::JoinPlan{}.join(target, nsjoin::kinds<Kind::user, Kind::net>),
        nsjoin::JoinPlan{}.join(target, nsjoin::all_kinds),
        nsjoin::JoinPlan{}.join(target, nsjoin::kinds<Kind::time>),
        nsjoin::JoinPlan{}.join(target, seven_kinds).deadline(long_time),
        nsjoin::JoinPlan{}.join(target, nsjoin::kinds<Kind::net>).create<Kind::pid, Kind::ipc>(),
        nsjoin::JoinPlan{}.join(target, nsjoin::kinds<Kind::net>).create<Kind::mount, Kind::ipc>(),
        nsjoin::JoinPlan{}.create<Kind::net, Kind::mount, Kind::uts, Kind::pid, Kind::cgroup>(),
        nsjoin::JoinPlan{}.create<Kind::time>().oom_score_adj(500),
        nsjoin::JoinPlan{}.create(support::own_root()).create<Kind::net, Kind::mount>(),
        nsjoin::JoinPlan{}
            .join(target, nsjoin::kinds<Kind::net, Kind::ipc>)
            .create(support::own_root())
            .create<Kind::mount, Kind::pid>()
            .oom_score_adj(700),
    };
}

/// Runs each route; the program's exit code must come back, and the caller be as before.
auto all_routes_work(const nsjoin::PidFd& target, bool status_is_told = true) -> int {
    const support::CallerState state;
    std::size_t number = 0;
    for (const nsjoin::Plan& plan : all_routes(target)) {
        auto output = support::shell(plan, "echo here; exit 43");
        if (!status_is_told && output.error && output.error->reason == Reason::already_reaped) {
            output.error.reset();
            output.code = 43;
        }
        std::fprintf(output.code == 43 ? stdout : stderr, "route %zu\n", number++);
        CHILD_CHECK(!output.error || support::wrote(output, ""));
        CHILD_CHECK(output.code == 43);
        CHILD_CHECK(output.text == "here\n");
    }
    CHILD_CHECK(state.holds());
    return 0;
}

/// A file of that name in the directory, removed at the end.
class TestFile {
  public:
    TestFile(const support::TemporaryDirectory& directory, const std::string& name,
             std::string_view text, mode_t mode)
        : path_{directory.file(name)} {
        (void)support::write_script(path_, text);
        ::chmod(path_.c_str(), mode);
    }

    TestFile(const TestFile&) = delete;
    TestFile(TestFile&&) = delete;
    auto operator=(const TestFile&) -> TestFile& = delete;
    auto operator=(TestFile&&) -> TestFile& = delete;

    ~TestFile() { ::unlink(path_.c_str()); }

    [[nodiscard]] auto path() const -> const char* { return path_.c_str(); }

  private:
    std::string path_;
};

constexpr mode_t executable_mode = 0755;

/// /dev/null, with or without close-on-exec.
auto open_null(int flags) -> nsjoin::OwnedFd {
    return nsjoin::OwnedFd{::open("/dev/null", O_RDWR | flags)};
}

/// A memfd with that text in it, at its beginning.
auto memory_file(std::string_view text) -> nsjoin::OwnedFd {
    nsjoin::OwnedFd file{static_cast<int>(::syscall(SYS_memfd_create, "nsjoin-test", 1U))};
    (void)!::write(file.get(), text.data(), text.size());
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
}

/// Whether those lines about signals are what the program wrote of its status.
auto signals_are(const support::Output& output, std::string_view lines) -> bool {
    const std::size_t begin = output.text.find("SigBlk:");
    const std::size_t end = output.text.find("CapInh:");
    if (begin == std::string::npos || end == std::string::npos) {
        return support::wrote(output, lines);
    }
    return support::wrote({output.error, output.code, output.text.substr(begin, end - begin)},
                          lines);
}

/// Both ways to run: on the caller's memory, and in a copy of it.
auto both_ways() -> std::vector<nsjoin::Plan> {
    return {nsjoin::JoinPlan{}, nsjoin::JoinPlan{}.deadline(std::chrono::seconds{20})};
}

} // namespace

TEST_CASE("a program runs in all namespaces of the target, seven or eight") {
    const support::NothingLeft nothing_left;
    for (const KindSet kinds : {KindSet{seven_kinds}, KindSet{nsjoin::all_kinds}}) {
        const support::Container container{kinds};
        REQUIRE(container.ok());
        const auto target = nsjoin::PidFd::open(container.pid());
        REQUIRE(target);
        const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
        const support::CallerState state;
        // In the container's /proc, which is the caller's, a shell does not find itself by its pid.
        const auto output = support::shell(plan, list_spaces);
        CHECK(support::wrote(output, lines_of(support::spaces_of(container.pid()))));
        CHECK(support::wrote(support::shell(plan, "id -u; id -g"), "0\n0\n"));
        CHECK(support::wrote(support::shell(plan, "test $$ -lt 200 && echo pid"), "pid\n"));
        CHECK(state.holds());
    }
}

TEST_CASE("every way to run: the caller is an ordinary process, as before afterwards") {
    CHECK(support::run_in_child([] {
              const support::Container container{nsjoin::all_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              return all_routes_work(*target);
          }) == 0);
}

TEST_CASE("every way to run: the caller is pid 1") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::unshare(CLONE_NEWPID | CLONE_NEWNS) == 0);
              return support::run_in_child([] {
                  CHILD_CHECK(::getpid() == 1);
                  CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
                  CHILD_CHECK(::mount("proc", "/proc", "proc", 0, nullptr) == 0);
                  const support::Container container{nsjoin::all_kinds};
                  const auto target = nsjoin::PidFd::open(container.pid());
                  CHILD_CHECK(target);
                  return all_routes_work(*target);
              });
          }) == 0);
}

TEST_CASE("every way to run: SIGCHLD is ignored, or a handler reaps every child") {
    const auto reap_all = [](int) {
        const int saved = errno;
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        errno = saved;
    };
    const bool status_is_told = support::keeps_taken_status();
    if (!status_is_told) {
        support::skip(support::no_taken_status);
    }
    for (void (*const handler)(int) :
         {static_cast<void (*)(int)>(SIG_IGN), static_cast<void (*)(int)>(reap_all)}) {
        CHECK(support::run_in_child([handler, status_is_told] {
                  const support::Container container{nsjoin::all_kinds};
                  const auto target = nsjoin::PidFd::open(container.pid());
                  CHILD_CHECK(target);
                  std::signal(SIGCHLD, handler);
                  const int result = all_routes_work(*target, status_is_told);
                  std::signal(SIGCHLD, SIG_DFL);
                  return result;
              }) == 0);
    }
}

TEST_CASE(
    "the end of the program raises a SIGCHLD, that of the process before it and a failure none") {
    CHECK(support::run_in_child([] {
              static volatile std::sig_atomic_t seen = 0;
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(*target, seven_kinds);
              std::signal(SIGCHLD, [](int) { seen = seen + 1; });
              for (int i = 0; i < 10; ++i) {
                  CHILD_CHECK(support::shell(plan, "exit 3").code == 3);
                  CHILD_CHECK(support::eventually([i] { return seen == i + 1; }));
              }
              seen = 0;
              const std::array<const char*, 2> words{"none", nullptr};
              const auto failed = nsjoin::join_and_exec(
                  plan, {.program = Program::at("/nowhere"), .arguments = words});
              CHILD_CHECK(!failed);
              ::usleep(20'000);
              CHILD_CHECK(seen == 0);
              std::signal(SIGCHLD, SIG_DFL);
              return 0;
          }) == 0);
}

TEST_CASE("rootless: uid 1000 executes in its own container") {
    CHECK(support::as_user(1000, [] {
              const support::Container container{nsjoin::all_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const support::CallerState state;
              const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
              CHILD_CHECK(support::wrote(support::shell(plan, "id -u"), "0\n"));
              CHILD_CHECK(support::wrote(
                  support::shell(nsjoin::JoinPlan{}.create(support::own_root()), "id -u"), "0\n"));
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("what the plan says of the process") {
    const support::NothingLeft nothing_left;
    const nsjoin::OwnedFd tmp{::open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const support::CallerState state;

    SUBCASE("ids") {
        const auto plan = nsjoin::JoinPlan{}.as({.uid = 1000, .gid = 1001, .groups = {7, 8}});
        CHECK(
            support::wrote(support::shell(plan, "id -u; id -g; id -G"), "1000\n1001\n1001 7 8\n"));
    }
    SUBCASE("working directory") {
        const auto plan = nsjoin::JoinPlan{}.working_directory(tmp);
        CHECK(support::wrote(support::shell(plan, "pwd -P"), "/tmp\n"));
    }
    SUBCASE("session") {
        const char* const leads = "cut -d' ' -f6 /proc/$$/stat | grep -cx $$";
        CHECK(support::wrote(support::shell(nsjoin::JoinPlan{}.new_session(), leads), "1\n"));
        CHECK(support::shell(nsjoin::JoinPlan{}, leads).text == "0\n");
    }
    SUBCASE("session and oom_score_adj") {
        const auto plan = nsjoin::JoinPlan{}.new_session().oom_score_adj(321);
        const auto output = support::shell(
            plan, "cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && cat /proc/self/oom_score_adj");
        CHECK(support::wrote(output, "321\n"));
    }
    SUBCASE("time offsets") {
        const auto plan = nsjoin::JoinPlan{}.create<Kind::time>().time_offsets(
            {.monotonic = std::chrono::seconds{0}, .boottime = std::chrono::hours{100'000}});
        const auto output = support::shell(plan, "read up rest </proc/uptime; echo ${up%%.*}");
        CHECK(output.code == 0);
        CHECK(std::atol(output.text.c_str()) >= 360'000'000);
    }
    CHECK(state.holds());
}

TEST_CASE("a root: the program, its working directory and its files are looked up in there") {
    std::string text(std::size_t{16} * 1024 * 1024, '\0');
    const nsjoin::OwnedFd busybox{::open("/bin/busybox", O_RDONLY | O_CLOEXEC)};
    const ssize_t length = ::read(busybox.get(), text.data(), text.size());
    if (length <= 0) {
        support::skip("there is no /bin/busybox, a program that needs no other file");
        return;
    }
    text.resize(static_cast<std::size_t>(length));
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory directory;
    const TestFile tool{directory, "tool", text, executable_mode};
    REQUIRE(::mkdir(directory.file("inner").c_str(), executable_mode) == 0);
    {
        const nsjoin::OwnedFd top{::open(directory.path().c_str(), O_PATH | O_CLOEXEC)};
        const nsjoin::OwnedFd inner{::open(directory.file("inner").c_str(), O_PATH | O_CLOEXEC)};
        const support::Container container{Kind::net | Kind::pid};
        const auto target = nsjoin::PidFd::open(container.pid());
        REQUIRE(target);
        const std::array<const char*, 5> words{"busybox", "sh", "-c", "pwd; echo /*", nullptr};
        std::vector<nsjoin::Plan> plans = both_ways();
        plans.push_back(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>));
        plans.push_back(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::pid>));
        for (const nsjoin::Plan& plan : plans) {
            nsjoin::Draft draft = plan.parts();
            draft.root = top;
            const auto run = [&](const Program& program) {
                return support::output_of(support::by_plan(*nsjoin::Plan::from(draft)),
                                          {.program = program, .arguments = words});
            };
            CHECK(support::wrote(run(Program::at("/tool")), "/\n/inner /tool\n"));
            CHECK(support::failed_with(run(Program::at("/bin/sh")), Step::execute, Reason::system,
                                       ENOENT));
            CHECK(support::wrote(run(Program::in_path("tool", "/bin:/")), "/\n/inner /tool\n"));
            draft.working_directory = inner;
            CHECK(support::wrote(run(Program::at("../tool")), "/inner\n/inner /tool\n"));
            // From outside, where no path leads any more.
            CHECK(support::wrote(run(Program::open_file(busybox)), "/inner\n/inner /tool\n"));
        }
    }
    ::rmdir(directory.file("inner").c_str());
}

TEST_CASE("a console: the program's controlling terminal and standard descriptors") {
    const support::NothingLeft nothing_left;
    auto console = nsjoin::Console::open();
    REQUIRE(console);
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    for (const nsjoin::Plan& plan :
         {nsjoin::JoinPlan{}.join(*target, seven_kinds).console(console->peer.fd()).build(),
          nsjoin::JoinPlan{}
              .deadline(std::chrono::seconds{20})
              .console(console->peer.fd())
              .build()}) {
        const std::array<const char*, 4> words{
            "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && : >/dev/tty && exit 9", nullptr};
        const nsjoin::Command command{.program = Program::at("/bin/sh"), .arguments = words};
        const auto child = support::exec(plan, command);
        REQUIRE(child);
        const auto status = child->wait(std::chrono::seconds{20});
        REQUIRE(status);
        CHECK(status->exit_code() == 9);
    }
}

TEST_CASE("a cgroup: the program is born in it") {
    for (const char* const hierarchy : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        const support::Cgroup cgroup{hierarchy};
        if (!cgroup.ok() || ::access((cgroup.path() + "/cgroup.procs").c_str(), F_OK) != 0) {
            continue;
        }
        for (const bool clone3_places : {true, false}) {
            const std::string name = cgroup.path().substr(cgroup.path().rfind('/'));
            CHECK(support::run_in_child([&] {
                      CHILD_CHECK(clone3_places || support::deny_syscall(SYS_clone3, ENOSYS));
                      const auto plan = nsjoin::JoinPlan{}.cgroup(cgroup.fd());
                      const auto output = support::shell(plan, "cat /proc/self/cgroup");
                      CHILD_CHECK(output.code == 0);
                      CHILD_CHECK(output.text.find(name) != std::string::npos);
                      return 0;
                  }) == 0);
        }
        return;
    }
    support::skip("no cgroup file system is mounted where this user may write");
}

TEST_CASE("arguments and environment") {
    const support::NothingLeft nothing_left;
    for (const nsjoin::Plan& plan : both_ways()) {
        const std::array<const char*, 6> words{"zero", "-c", "echo \"$0|$1\"", "a b", "", nullptr};
        nsjoin::Command command{.program = Program::at("/bin/sh"), .arguments = words};
        CHECK(support::wrote(support::output_of(support::by_plan(plan), command), "a b|\n"));

        const std::array<const char*, 2> env_words{"env", nullptr};
        const std::array<const char*, 3> environment{"A=1", "B=two words", nullptr};
        command = {.program = Program::at("/usr/bin/env"), .arguments = env_words};
        command.environment = environment;
        CHECK(support::wrote(support::output_of(support::by_plan(plan), command),
                             "A=1\nB=two words\n"));
        ::setenv("NSJOIN_TEST_WORD", "inherited", 1);
        const auto inherited = support::shell(plan, "echo $NSJOIN_TEST_WORD");
        ::unsetenv("NSJOIN_TEST_WORD");
        CHECK(support::wrote(inherited, "inherited\n"));
        const std::array<const char*, 1> none{nullptr};
        command.environment = none;
        CHECK(support::wrote(support::output_of(support::by_plan(plan), command), ""));
    }
}

TEST_CASE("a program is looked for in a list of directories") {
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory first;
    const support::TemporaryDirectory second;
    const TestFile denied{first, "tool", "#!/bin/sh\necho first\n", 0644};
    const TestFile tool{second, "tool", "#!/bin/sh\necho second\n", executable_mode};
    const std::string both = "/nowhere:" + first.path() + ":" + second.path();
    const auto run = [](const char* name, std::string_view list) {
        const std::array<const char*, 2> words{"tool", nullptr};
        return support::output_of(support::by_plan(nsjoin::JoinPlan{}),
                                  {.program = Program::in_path(name, list), .arguments = words});
    };
    CHECK(support::wrote(run("tool", both), "second\n"));
    CHECK(support::wrote(run(tool.path(), "/nowhere"), "second\n"));
    CHECK(support::failed_with(run("tool", "/nowhere:" + first.path()), Step::execute,
                               Reason::system, EACCES));
    CHECK(support::failed_with(run("none", both), Step::execute, Reason::system, ENOENT));
    // Nothing is looked for in the working directory because a list is empty.
    const nsjoin::OwnedFd back{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    REQUIRE(::chdir(second.path().c_str()) == 0);
    const auto empty = run("tool", "");
    REQUIRE(::fchdir(back.get()) == 0);
    CHECK(support::failed_with(empty, Step::execute, Reason::system, ENOENT));
    const std::string long_name(5000, 'x');
    CHECK(run(long_name.c_str(), both).error);
}

TEST_CASE("a program that is open already") {
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory directory;
    const TestFile script{directory, "script", "#!/bin/sh\necho script\n", executable_mode};
    const nsjoin::OwnedFd echo{::open("/bin/echo", O_PATH | O_CLOEXEC)};
    REQUIRE(echo.ok());
    const std::array<const char*, 3> words{"echo", "open", nullptr};
    for (const nsjoin::Plan& plan : both_ways()) {
        nsjoin::Command command{.program = Program::open_file(echo), .arguments = words};
        CHECK(support::wrote(support::output_of(support::by_plan(plan), command), "open\n"));
        // A passed descriptor takes its number.
        const nsjoin::OwnedFd null = open_null(O_CLOEXEC);
        const std::array<nsjoin::PassedFd, 1> over{{{null, echo.get()}}};
        command.descriptors = over;
        command.close_others = true;
        CHECK(support::wrote(support::output_of(support::by_plan(plan), command), "open\n"));

        const nsjoin::OwnedFd closing{::open(script.path(), O_RDONLY | O_CLOEXEC)};
        const nsjoin::OwnedFd staying{::open(script.path(), O_RDONLY)}; // NOLINT(android-cloexec-*)
        CHECK(support::failed_with(
            support::output_of(support::by_plan(plan),
                               {.program = Program::open_file(closing), .arguments = words}),
            Step::execute, Reason::system, ENOENT));
        CHECK(support::wrote(
            support::output_of(support::by_plan(plan),
                               {.program = Program::open_file(staying), .arguments = words}),
            "script\n"));
    }
}

TEST_CASE("descriptors: passed under other numbers, crossed, onto themselves") {
    const support::NothingLeft nothing_left;
    const nsjoin::OwnedFd a = memory_file("a");
    const nsjoin::OwnedFd b = memory_file("b");
    const nsjoin::OwnedFd c = memory_file("c");
    const auto rewind = [&] {
        for (const nsjoin::OwnedFd* file : {&a, &b, &c}) {
            ::lseek(file->get(), 0, SEEK_SET);
        }
    };
    const auto read_from = [](int x, int y, int z) {
        std::string script;
        for (const int fd : {x, y, z}) {
            script += "cat /proc/self/fd/" + std::to_string(fd) + ";";
        }
        return script;
    };
    const int na = a.get();
    const int nb = b.get();
    const int nc = c.get();

    struct Case {
        std::vector<nsjoin::PassedFd> passed;
        std::array<int, 3> numbers;
        const char* expected;
    };

    const std::vector<Case> cases{
        {{{a, 50}, {b, 51}, {c, 52}}, {50, 51, 52}, "abc"},
        {{{a, nb}, {b, na}, {c, nc}}, {na, nb, nc}, "bac"},
        {{{a, nb}, {b, nc}, {c, na}}, {na, nb, nc}, "cab"},
        {{{a, nb}, {b, nc}, {c, 60}}, {nb, nc, 60}, "abc"},
        {{{c, nb}, {b, na}, {a, 60}}, {nb, na, 60}, "cba"},
        {{{a, na}, {a, nb}, {a, nc}}, {na, nb, nc}, "aaa"},
        {{{a, na}, {b, nb}, {c, nc}}, {na, nb, nc}, "abc"},
        {{{a, 200}, {b, 0}, {c, na}}, {200, 0, na}, "abc"},
    };
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    std::vector<nsjoin::Plan> plans = both_ways();
    plans.push_back(nsjoin::JoinPlan{}.join(*target, seven_kinds));
    const support::Container eight{nsjoin::all_kinds};
    const auto second = nsjoin::PidFd::open(eight.pid());
    REQUIRE(second);
    plans.push_back(nsjoin::JoinPlan{}.join(*second, nsjoin::all_kinds));
    const support::CallerState state;
    for (const nsjoin::Plan& plan : plans) {
        for (const Case& one : cases) {
            for (const bool close_others : {false, true}) {
                rewind();
                const std::string script =
                    read_from(one.numbers[0], one.numbers[1], one.numbers[2]);
                const auto output =
                    support::shell(plan, script.c_str(), [&](nsjoin::Command& command) {
                        command.descriptors = one.passed;
                        command.close_others = close_others;
                    });
                CHECK(support::wrote(output, one.expected));
            }
        }
    }
    CHECK(state.holds());
}

TEST_CASE("descriptors: 256 of them, in the reverse order of their own numbers") {
    const support::NothingLeft nothing_left;
    constexpr int first = 300;
    constexpr int count = 255; // and the standard output
    std::vector<nsjoin::OwnedFd> files;
    std::vector<nsjoin::PassedFd> passed;
    std::string script = "cat";
    std::string expected;
    for (int i = 0; i < count; ++i) {
        const nsjoin::OwnedFd file = memory_file(std::to_string(count - 1 - i) + " ");
        files.emplace_back(::fcntl(file.get(), F_DUPFD_CLOEXEC, first + i));
        REQUIRE(files.back().get() == first + i);
        passed.push_back({files.back(), first + count - 1 - i});
        script += " /proc/self/fd/" + std::to_string(first + i);
        expected += std::to_string(i) + " ";
    }
    for (const nsjoin::Plan& plan : both_ways()) {
        const auto output = support::shell(
            plan, script.c_str(), [&](nsjoin::Command& command) { command.descriptors = passed; });
        CHECK(support::wrote(output, expected));
    }
}

TEST_CASE("descriptors: the others are inherited or closed, with and without close_range") {
    const auto check = [] {
        const nsjoin::OwnedFd inherited{
            ::fcntl(open_null(0).get(), F_DUPFD, 40)};                     // NOLINT(*-cloexec-*)
        const nsjoin::OwnedFd far{::fcntl(inherited.get(), F_DUPFD, 500)}; // NOLINT(*-cloexec-*)
        const nsjoin::OwnedFd closing{::fcntl(inherited.get(), F_DUPFD_CLOEXEC, 70)};
        const std::string count = "set -- /proc/self/fd/*; shift 3; echo ${@##*/} | tr ' ' '\\n' | "
                                  "grep -c -e 40 -e 500 -e 70 -e 77";
        const std::array<nsjoin::PassedFd, 1> passed{{{inherited, 77}}};
        std::vector<nsjoin::Plan> plans = both_ways();
        for (const nsjoin::Plan& plan : plans) {
            const auto found = [&](bool passes, bool inherits) {
                const std::string all = count + " || true";
                return support::shell(plan, all.c_str(), [&](nsjoin::Command& command) {
                    command.close_others = inherits ? false : command.close_others;
                    if (passes) {
                        command.descriptors = passed;
                    }
                });
            };
            CHILD_CHECK(support::wrote(found(false, true), "2\n"));
            CHILD_CHECK(support::wrote(found(true, true), "3\n"));
            CHILD_CHECK(support::wrote(found(false, false), "0\n"));
            CHILD_CHECK(support::wrote(found(true, false), "1\n"));
        }
        CHILD_CHECK(::fcntl(closing.get(), F_GETFD) == FD_CLOEXEC);
        return 0;
    };
    CHECK(support::run_in_child(check) == 0);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_syscall(436 /* close_range */, ENOSYS));
              return check();
          }) == 0);
}

TEST_CASE("descriptors: 0, 1 and 2 of the caller may be closed") {
    CHECK(support::run_in_child([] {
              const support::Container container{nsjoin::all_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              auto console = nsjoin::Console::open();
              CHILD_CHECK(console);
              ::close(0);
              ::close(1);
              const std::array<const char*, 4> words{"sh", "-c", "test -t 0 && exit 7", nullptr};
              const nsjoin::Command command{.program = Program::at("/bin/sh"), .arguments = words};
              for (const nsjoin::Plan& plan :
                   {nsjoin::JoinPlan{}.join(*target, seven_kinds).build(),
                    nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds).build()}) {
                  nsjoin::Draft draft = plan.parts();
                  draft.new_session = true;
                  draft.console = console->peer.fd();
                  draft.death_signal = SIGTERM;
                  const auto child = nsjoin::join_and_exec(*nsjoin::Plan::from(draft), command);
                  CHILD_CHECK(child);
                  CHILD_CHECK(child->wait()->exit_code() == 7);
              }
              CHILD_CHECK(::fcntl(0, F_GETFD) == -1);
              CHILD_CHECK(::fcntl(1, F_GETFD) == -1);
              return 0;
          }) == 0);
}

TEST_CASE("descriptors: what is passed from 0, 1 and 2 is the caller's, not the console") {
    CHECK(
        support::run_in_child([] {
            auto console = nsjoin::Console::open();
            CHILD_CHECK(console);
            const nsjoin::OwnedFd errors{::fcntl(2, F_DUPFD_CLOEXEC, 20)};
            const std::array<const char*, 4> words{
                "sh", "-c",
                "read -r x <&5 && test \"$x\" = text && test -t 0 && test -t 2 && exit 7", nullptr};
            const std::array<nsjoin::PassedFd, 1> passed{{{nsjoin::BorrowedFd{1}, 5}}};
            for (const nsjoin::Plan& way : both_ways()) {
                for (const bool others : {false, true}) {
                    const nsjoin::OwnedFd text{memory_file("text\n")};
                    CHILD_CHECK(::dup2(text.get(), 1) == 1);
                    ::close(2);
                    CHILD_CHECK(::open("/bin/sh", O_RDONLY | O_CLOEXEC) == 2);
                    nsjoin::Draft draft = way.parts();
                    draft.console = console->peer.fd();
                    const auto child =
                        nsjoin::join_and_exec(*nsjoin::Plan::from(draft),
                                              {.program = Program::open_file(nsjoin::BorrowedFd{2}),
                                               .arguments = words,
                                               .descriptors = passed,
                                               .close_others = others});
                    ::dup2(errors.get(), 2);
                    CHILD_CHECK(child);
                    CHILD_CHECK(child->wait()->exit_code() == 7);
                }
            }
            return 0;
        }) == 0);
}

TEST_CASE("signals: handlers are reset, ignored ones stay or not, the mask is as asked") {
    for (const bool has_clone3 : {true, false}) {
        CHECK(support::run_in_child([has_clone3] {
                  CHILD_CHECK(has_clone3 || support::deny_syscall(SYS_clone3, ENOSYS));
                  std::signal(SIGUSR1, [](int) {});
                  std::signal(SIGHUP, SIG_IGN);
                  std::signal(SIGQUIT, SIG_IGN);
                  sigset_t mask{};
                  ::sigemptyset(&mask);
                  ::sigaddset(&mask, SIGUSR2);
                  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
                  const std::array<const char*, 3> words{"cat", "/proc/self/status", nullptr};
                  nsjoin::Command command{.program = Program::at("/bin/cat"), .arguments = words};
                  // SIGUSR2 is 12, SIGQUIT 3, SIGHUP 1, SIGTERM 15.
                  for (const nsjoin::Plan& plan : both_ways()) {
                      const auto execute = support::by_plan(plan);
                      command.signal_mask.reset();
                      command.default_signals.reset();
                      CHILD_CHECK(signals_are(support::output_of(execute, command),
                                              "SigBlk:\t0000000000000800\n"
                                              "SigIgn:\t0000000000000005\n"
                                              "SigCgt:\t0000000000000000\n"));
                      sigset_t wanted{};
                      ::sigemptyset(&wanted);
                      ::sigaddset(&wanted, SIGTERM);
                      command.signal_mask = wanted;
                      ::sigemptyset(&wanted);
                      ::sigaddset(&wanted, SIGQUIT);
                      command.default_signals = wanted;
                      CHILD_CHECK(signals_are(support::output_of(execute, command),
                                              "SigBlk:\t0000000000004000\n"
                                              "SigIgn:\t0000000000000001\n"
                                              "SigCgt:\t0000000000000000\n"));
                      ::sigfillset(&wanted);
                      command.default_signals = wanted;
                      CHILD_CHECK(signals_are(support::output_of(execute, command),
                                              "SigBlk:\t0000000000004000\n"
                                              "SigIgn:\t0000000000000000\n"
                                              "SigCgt:\t0000000000000000\n"));
                  }
                  return 0;
              }) == 0);
    }
}

TEST_CASE("limits and no_new_privs") {
    const support::NothingLeft nothing_left;
    const std::array<nsjoin::ResourceLimit, 2> limits{
        {{RLIMIT_NOFILE, {77, 88}}, {RLIMIT_CORE, {0, 0}}}};
    for (const nsjoin::Plan& plan : both_ways()) {
        const auto output = support::shell(
            plan, "ulimit -S -n; ulimit -H -n; grep -c 'NoNewPrivs:.*1' /proc/self/status",
            [&](nsjoin::Command& command) {
                command.limits = limits;
                command.no_new_privileges = true;
            });
        CHECK(support::wrote(output, "77\n88\n1\n"));
        CHECK(support::wrote(support::shell(plan, "grep NoNewPrivs: /proc/self/status"),
                             "NoNewPrivs:\t0\n"));
        const std::array<nsjoin::ResourceLimit, 1> none{{{9999, {1, 1}}}};
        CHECK(support::failed_with(
            support::shell(plan, "exit 0", [&](nsjoin::Command& c) { c.limits = none; }),
            Step::set_limits, Reason::system, EINVAL));
    }
}

TEST_CASE("everything at once, in seven and in eight kinds") {
    const support::NothingLeft nothing_left;
    for (const KindSet kinds : {KindSet{seven_kinds}, KindSet{nsjoin::all_kinds}}) {
        const support::Container container{kinds};
        const auto target = nsjoin::PidFd::open(container.pid());
        REQUIRE(target);
        const auto prepared =
            nsjoin::PreparedPlan::prepare(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
        REQUIRE(prepared);
        const nsjoin::OwnedFd file = memory_file("passed ");
        const nsjoin::OwnedFd tool{::open("/bin/sh", O_PATH | O_CLOEXEC)};
        const std::array<nsjoin::PassedFd, 2> passed{{{file, tool.get()}, {file, 0}}};
        const std::array<nsjoin::ResourceLimit, 1> limits{{{RLIMIT_NOFILE, {77, 88}}}};
        const std::array<const char*, 2> environment{"WORD=given", nullptr};
        sigset_t mask{};
        ::sigemptyset(&mask);
        ::sigaddset(&mask, SIGTERM);
        sigset_t pipe{};
        ::sigemptyset(&pipe);
        ::sigaddset(&pipe, SIGPIPE);
        const auto change = [&](nsjoin::Command& command) {
            command.program = Program::open_file(tool);
            command.environment = environment;
            command.descriptors = passed;
            command.close_others = true;
            command.signal_mask = mask;
            command.default_signals = pipe;
            command.limits = limits;
            command.no_new_privileges = true;
        };
        const support::CallerState state;
        const auto before = std::signal(SIGPIPE, SIG_IGN);
        const auto execute = [&](const nsjoin::Command& c) {
            return prepared->exec(c);
        };
        const auto output =
            support::shell(execute,
                           "/bin/cat /proc/self/fd/0; echo $WORD $(ulimit -S -n) $(ulimit -H -n); "
                           "/bin/grep NoNewPrivs /proc/self/status",
                           change);
        // Shells change the mask.
        const std::array<const char*, 3> words{"cat", "/proc/self/status", nullptr};
        nsjoin::Command command{.program = Program::at("cat"), .arguments = words};
        change(command);
        command.program = Program::in_path("cat", "/nowhere:/bin");
        const auto status = support::output_of(execute, command);
        std::signal(SIGPIPE, before);
        CHECK(support::wrote(output, "passed given 77 88\nNoNewPrivs:\t1\n"));
        CHECK(signals_are(status, "SigBlk:\t0000000000004000\n"
                                  "SigIgn:\t0000000000000000\n"
                                  "SigCgt:\t0000000000000000\n"));
        CHECK(state.holds());
    }
}

TEST_CASE("the death signal: the program ends with the caller") {
    const auto die_with_program = [](const nsjoin::Plan& plan, const support::TestPipe& alive) {
        const std::array<nsjoin::PassedFd, 1> passed{{{nsjoin::BorrowedFd{alive.writer()}, 9}}};
        const std::array<const char*, 3> words{"sleep", "60", nullptr};
        nsjoin::Draft draft = plan.parts();
        draft.death_signal = SIGKILL;
        const auto child = nsjoin::join_and_exec(
            *nsjoin::Plan::from(draft),
            {.program = Program::at("/bin/sleep"), .arguments = words, .descriptors = passed});
        CHILD_CHECK(child);
        CHILD_CHECK(child->alive());
        return 0;
    };
    CHECK(support::run_in_child([&] {
              ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); // of the programs
              const support::Container container{nsjoin::all_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              std::vector<nsjoin::Plan> plans = both_ways();
              plans.push_back(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>));
              plans.push_back(nsjoin::JoinPlan{}.join(*target, seven_kinds));
              plans.push_back(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
              for (const nsjoin::Plan& plan : plans) {
                  support::TestPipe alive;
                  CHILD_CHECK(
                      support::run_in_child([&] { return die_with_program(plan, alive); }) == 0);
                  alive.close_writer();
                  pollfd entry{alive.reader(), POLLIN, 0};
                  CHILD_CHECK(::poll(&entry, 1, 10'000) == 1);
                  support::reap_strays({container.pid()});
              }
              return 0;
          }) == 0);
}

TEST_CASE("errors: each step has its own, and nothing is left") {
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory directory;
    const TestFile denied{directory, "denied", "#!/bin/sh\n", 0644};
    const TestFile formless{directory, "formless", "echo no\n", executable_mode};
    const TestFile lost{directory, "lost", "#!/nowhere/sh\n", executable_mode};
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    std::vector<nsjoin::Plan> plans = both_ways();
    plans.push_back(nsjoin::JoinPlan{}.join(*target, seven_kinds));
    plans.push_back(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>));
    plans.push_back(nsjoin::JoinPlan{}.create(support::own_root()));
    const support::Container eight{nsjoin::all_kinds};
    const auto second = nsjoin::PidFd::open(eight.pid());
    REQUIRE(second);
    plans.push_back(nsjoin::JoinPlan{}.join(*second, nsjoin::all_kinds));
    plans.push_back(nsjoin::JoinPlan{}.join(*second, nsjoin::kinds<Kind::time>));
    const support::CallerState state;
    for (const nsjoin::Plan& plan : plans) {
        const std::array<const char*, 2> words{"x", nullptr};
        const auto run = [&](const char* path) {
            return support::exec(plan, {.program = Program::at(path), .arguments = words});
        };
        CHECK(support::fails_with(run("/nowhere"), Step::execute, Reason::system, ENOENT));
        CHECK(support::fails_with(run(""), Step::execute, Reason::system, ENOENT));
        CHECK(support::fails_with(run("/etc/passwd/x"), Step::execute, Reason::system, ENOTDIR));
        CHECK(support::fails_with(run(denied.path()), Step::execute, Reason::system, EACCES));
        CHECK(support::fails_with(run(formless.path()), Step::execute, Reason::system, ENOEXEC));
        CHECK(support::fails_with(run(lost.path()), Step::execute, Reason::system, ENOENT));
        const auto subject = run("/nowhere").error().subject;
        CHECK(subject.view() == "/nowhere");
        CHECK(nsjoin::explain(run("/nowhere").error()).find("ENOENT") != std::string::npos);

        nsjoin::Command command{.program = Program::at("/bin/true"), .arguments = words};
        const std::array<nsjoin::PassedFd, 1> closed{{{nsjoin::BorrowedFd{999}, 5}}};
        command.descriptors = closed;
        CHECK(support::fails_with(support::exec(plan, command), Step::pass_descriptors,
                                  Reason::system, EBADF));
        const std::array<nsjoin::PassedFd, 1> high{{{nsjoin::BorrowedFd{0}, 1 << 30}}};
        command.descriptors = high;
        CHECK(support::fails_with(support::exec(plan, command), Step::pass_descriptors,
                                  Reason::system, EBADF));
    }
    CHECK(state.holds());
}

TEST_CASE("errors: what is known wrong before there is a process") {
    const support::NothingLeft nothing_left;
    const std::array<const char*, 2> words{"x", nullptr};
    const nsjoin::Command good{.program = Program::at("/bin/true"), .arguments = words};
    const auto refused = [](const nsjoin::Plan& plan, const nsjoin::Command& command) {
        return support::fails_with(support::exec(plan, command), Step::check_plan,
                                   Reason::bad_value);
    };
    nsjoin::Command command = good;
    const std::array<nsjoin::PassedFd, 2> twice{
        {{nsjoin::BorrowedFd{0}, 7}, {nsjoin::BorrowedFd{1}, 7}}};
    command.descriptors = twice;
    CHECK(refused(nsjoin::JoinPlan{}, command));
    const std::array<nsjoin::PassedFd, 1> negative{{{nsjoin::BorrowedFd{0}, -1}}};
    command.descriptors = negative;
    CHECK(refused(nsjoin::JoinPlan{}, command));
    const std::array<nsjoin::PassedFd, 1> none{{{nsjoin::BorrowedFd{}, 4}}};
    command.descriptors = none;
    CHECK(refused(nsjoin::JoinPlan{}, command));
    std::vector<nsjoin::PassedFd> many;
    for (int i = 0; i < 257; ++i) {
        many.push_back({nsjoin::BorrowedFd{0}, 10 + i});
    }
    command.descriptors = many;
    CHECK(refused(nsjoin::JoinPlan{}, command));
    const std::array<const char*, 1> no_words{nullptr};
    command = good;
    command.arguments = no_words;
    CHECK(refused(nsjoin::JoinPlan{}, command));
    command = good;
    command.program = Program::open_file(nsjoin::BorrowedFd{});
    CHECK(refused(nsjoin::JoinPlan{}, command));
    nsjoin::Draft draft;
    draft.child_of = nsjoin::ChildOf::callers_parent;
    CHECK(refused(*nsjoin::Plan::from(draft), good));
    draft = {};
    draft.oom_score_adj = 2000;
    CHECK(!nsjoin::Plan::from(draft));
}

TEST_CASE("errors: no rights, a target that is gone, ids that are not there, a caller's limit") {
    const support::Container container{seven_kinds};
    auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const std::array<const char*, 2> words{"x", nullptr};
    const nsjoin::Command command{.program = Program::at("/bin/true"), .arguments = words};
    CHECK(support::as_user(1000, [&] {
              const support::NothingLeft nothing_left;
              const auto plan = nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>);
              const auto result = support::exec(plan, command);
              CHILD_CHECK(!result);
              CHILD_CHECK(result.error().code == EPERM || result.error().code == EACCES);
              CHILD_CHECK(support::is_clean(result.error()));
              const auto limited =
                  nsjoin::join_and_exec(nsjoin::JoinPlan{}.as({.uid = 0}), command);
              CHILD_CHECK(support::fails_with(limited, Step::set_groups, Reason::system, EPERM));
              CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
    const support::NothingLeft nothing_left;
    CHECK(support::fails_with(
        nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(*target, seven_kinds).as({.uid = 4242}),
                              command),
        Step::set_uid, Reason::id_not_mapped, EINVAL));
    const support::Container dying{seven_kinds};
    const auto dead = nsjoin::PidFd::open(dying.pid());
    REQUIRE(dead);
    dying.kill();
    CHECK(support::fails_with(
        nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(*dead, seven_kinds), command),
        Step::join_user, Reason::process_gone, ESRCH));
}

TEST_CASE("a pid namespace that waits for its first process is not used up") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(*target, seven_kinds);
              CHILD_CHECK(support::fails_with(nsjoin::PreparedPlan::prepare(plan), Step::check_plan,
                                              Reason::pending_pid));
              // A program without a process before it is its first one, as after fork(2).
              const nsjoin::Plan net = nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>);
              CHILD_CHECK(support::wrote(support::shell(net, "echo $$"), "1\n"));
              return 0;
          }) == 0);
}

TEST_CASE(
    "a pid namespace that waits for its first process: a program that joins another is told") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              const std::array<const char*, 2> words{"true", nullptr};
              const auto refused =
                  nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(*target, seven_kinds),
                                        {.program = Program::at("/bin/true"), .arguments = words});
              CHILD_CHECK(support::fails_with(refused, Step::check_plan, Reason::pending_pid));
              return 0;
          }) == 0);
}

TEST_CASE("a caller whose children go into another pid namespace is told so") {
    CHECK(support::run_in_child([] {
              const support::Container other{KindSet{Kind::pid}};
              const support::Container container{KindSet{Kind::pid}};
              const auto target = nsjoin::PidFd::open(container.pid());
              const auto space = nsjoin::NamespaceFd<Kind::pid>::open(other.pid());
              CHILD_CHECK(target);
              CHILD_CHECK(space);
              CHILD_CHECK(::setns(space->fd().get(), CLONE_NEWPID) == 0);
              const std::array<const char*, 2> words{"true", nullptr};
              const auto refused =
                  nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid>),
                                        {.program = Program::at("/bin/true"), .arguments = words});
              CHILD_CHECK(support::fails_with(refused, Step::check_plan, Reason::pending_pid));
              return 0;
          }) == 0);
}

TEST_CASE(
    "fall-backs: what a kernel lacks or a filter denies, the same result comes by another way") {
    const support::Container container{seven_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const std::vector<std::function<bool()>> lacks{
        [] { return support::deny_syscall(SYS_clone3, ENOSYS); },
        [] { return support::deny_syscall(SYS_clone3, EPERM); },
        [] { return support::deny_setns_of_several(EINVAL); },
        [] { return support::deny_setns_of_several(EPERM); },
        [] {
            return support::deny_setns_of_several(EINVAL) && support::deny_pidfd_ioctls(ENOTTY) &&
                   support::deny_syscall(SYS_clone3, ENOSYS);
        },
    };
    for (const auto& lack : lacks) {
        CHECK(support::run_in_child([&] {
                  const support::CallerState state;
                  CHILD_CHECK(lack());
                  const std::string expected = lines_of(support::spaces_of(container.pid()));
                  const nsjoin::Plan plan = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
                  CHILD_CHECK(support::wrote(support::shell(plan, list_spaces), expected));
                  {
                      const auto prepared = nsjoin::PreparedPlan::prepare(plan);
                      CHILD_CHECK(prepared);
                      const auto execute = [&](const nsjoin::Command& c) {
                          return prepared->exec(c);
                      };
                      CHILD_CHECK(support::wrote(support::shell(execute, list_spaces), expected));
                      CHILD_CHECK(support::wrote(support::shell(execute, "id -u"), "0\n"));
                  }
                  CHILD_CHECK(state.holds());
                  return 0;
              }) == 0);
    }
}

TEST_CASE("explain says whose memory it runs on, and the program") {
    const support::Container container{nsjoin::all_kinds};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const std::array<const char*, 2> words{"x", nullptr};
    const nsjoin::Command command{.program = Program::at("/bin/true"), .arguments = words};
    const auto seven = nsjoin::JoinPlan{}.join(*target, seven_kinds);
    const std::string here = nsjoin::explain(seven.lend_memory_to_target(), command);
    CHECK(here.rfind("on the caller's memory", 0) == 0);
    CHECK(here.find("execute the program /bin/true  [execve]") != std::string::npos);
    // Nothing is said of what it does not do.
    CHECK(here.find("socketpair") == std::string::npos);
    CHECK(here.find("verify") == std::string::npos);
    CHECK(here.find("clone(CLONE_VM | CLONE_VFORK | CLONE_PARENT)") != std::string::npos);
    const std::string single =
        nsjoin::explain(nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::net>), command);
    CHECK(single.rfind("on the caller's memory", 0) == 0);
    CHECK(single.find("CLONE_PARENT") == std::string::npos);
    const std::string copy = nsjoin::explain(
        nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds).lend_memory_to_target(), command);
    CHECK(copy.rfind("on one copy of the caller's memory", 0) == 0);
    const std::string safe = nsjoin::explain(seven, command);
    CHECK(safe.rfind("in a copy of the caller's memory: the target's processes could", 0) == 0);
    CHECK(safe.find("a Launcher starts programs without a copy") != std::string::npos);
    const std::string copies =
        nsjoin::explain(seven.deadline(std::chrono::seconds{1}).lend_memory_to_target(), command);
    CHECK(copies.rfind("in a copy of the caller's memory: a new time namespace", 0) == 0);
}

TEST_CASE("a prepared plan runs as often as it is asked to, and finds the target gone") {
    const support::NothingLeft nothing_left;
    auto container = std::make_unique<support::Container>(seven_kinds);
    const pid_t pid = container->pid();
    const auto target = nsjoin::PidFd::open(pid);
    REQUIRE(target);
    const std::string expected = lines_of(support::spaces_of(pid));
    {
        const auto prepared =
            nsjoin::PreparedPlan::prepare(nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds));
        REQUIRE(prepared);
        const auto execute = [&](const nsjoin::Command& c) {
            return prepared->exec(c);
        };
        const support::CallerState state;
        for (int i = 0; i < 20; ++i) {
            CHECK(support::wrote(support::shell(execute, list_spaces), expected));
        }
        CHECK(state.holds());
        const std::array<const char*, 2> words{"x", nullptr};
        const nsjoin::Command command{.program = Program::at("/bin/true"), .arguments = words};

        container->kill(); // a zombie
        CHECK(support::fails_with(prepared->exec(command), Step::join_user, Reason::process_gone,
                                  ESRCH));
        container->end();
        CHECK(support::fails_with(prepared->exec(command), Step::join_user, Reason::process_gone,
                                  ESRCH));
        // Another container with the same pid is not the target.
        const support::Container other{Kind::user | Kind::net, pid};
        REQUIRE(other.pid() == pid);
        CHECK(support::fails_with(prepared->exec(command), Step::join_user, Reason::process_gone,
                                  ESRCH));
    }
    CHECK(!nsjoin::PreparedPlan::prepare(nsjoin::JoinPlan{}.join(*target, seven_kinds)));
}

TEST_CASE("a prepared plan by descriptors, which outlive the target, finds it gone too") {
    CHECK(support::run_in_child([] {
              const support::Container container{seven_kinds};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              CHILD_CHECK(support::deny_setns_of_several(EINVAL));
              const auto prepared =
                  nsjoin::PreparedPlan::prepare(nsjoin::JoinPlan{}.join(*target, seven_kinds));
              CHILD_CHECK(prepared);
              const auto execute = [&](const nsjoin::Command& c) {
                  return prepared->exec(c);
              };
              CHILD_CHECK(support::shell(execute, "exit 5").code == 5);
              container.kill();
              const auto gone = support::shell(execute, "exit 5");
              CHILD_CHECK(gone.error);
              CHILD_CHECK(gone.error->reason == Reason::process_gone);
              return 0;
          }) == 0);
}
