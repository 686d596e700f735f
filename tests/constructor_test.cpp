// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/constructor.hpp>

#include "embed_support.hpp"
#include "engine_support.hpp"
#include "tracer.hpp"

#include <nsjoin/console.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/supervisor.hpp>

#include <thread>

using nsjoin::Dialect;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;
using support::Embedding;
using support::HandSupervisor;
using support::Wire;

namespace {

constexpr std::uint32_t new_net = 0x40000000;
constexpr std::uint32_t new_pid = 0x20000000;
constexpr std::uint32_t new_user = 0x10000000;
constexpr std::uint32_t new_mount = 0x00020000;

auto has(const std::string& text, std::string_view part) -> bool {
    if (text.find(part) != std::string::npos) {
        return true;
    }
    std::fprintf(stderr, "no <%.*s> in:\n%s\n", static_cast<int>(part.size()), part.data(),
                 text.c_str());
    return false;
}

auto probe(Dialect dialect) -> HandSupervisor {
    HandSupervisor supervisor;
    supervisor.environment = {"PROBE_SEAL=no",
                              "PROBE_DIALECT=" + std::string{nsjoin::facts(dialect).name}};
    return supervisor;
}

auto ended_well(const Embedding& ran) -> bool {
    if (!ran.stalled && ran.joiner == 0 && ran.child == 7) {
        return true;
    }
    std::fprintf(stderr, "joiner %d, child %d, stalled %d, reply <%s>\n%s%s", ran.joiner, ran.child,
                 static_cast<int>(ran.stalled), ran.reply.c_str(), ran.log.c_str(),
                 ran.output.c_str());
    return false;
}

/// Ended with a fatal line that says this, and without a child.
auto refused(const Embedding& ran, std::string_view says) -> bool {
    return !ran.stalled && ran.joiner == 1 && ran.pid == 0 &&
           has(ran.log, "\"level\":\"fatal\", \"msg\": \"nsexec") && has(ran.log, says);
}

auto simple(std::uint32_t flags) -> std::string {
    return Wire{}.word(27281, flags).bytes();
}

auto own(const char* kind) -> std::string {
    return support::namespace_link("self", kind);
}

/// Options for tests/embed_probe.
auto probe_options(Dialect dialect) -> nsjoin::SupervisorOptions {
    nsjoin::SupervisorOptions options;
    options.dialect = dialect;
    options.program = support::built("embed_probe");
    options.arguments = {"probe"};
    options.environment = {"PROBE_SEAL=no", "PROBE_QUIET=1",
                           "PROBE_DIALECT=" + std::string{nsjoin::facts(dialect).name}};
    return options;
}

/// As supervise(), waits for the child too: its exit code, or the error.
auto supervised(const nsjoin::Plan& plan, const nsjoin::SupervisorOptions& options)
    -> nsjoin::Result<int> {
    const auto embedded = nsjoin::supervise(plan, options);
    if (!embedded) {
        return nsjoin::Unexpected{embedded.error()};
    }
    const auto status = embedded->child.wait(std::chrono::seconds{10});
    if (!status) {
        return nsjoin::Unexpected{status.error()};
    }
    return status->exit_code();
}

auto exits_with_7(const nsjoin::Result<int>& code) -> bool {
    if (!code) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(code.error()).c_str());
    }
    return code && *code == 7;
}

} // namespace

TEST_CASE("numbers in the environment are decimal, with nothing before or after") {
    const support::NothingLeft nothing_left;
    const std::vector<std::string> bad{
        "03",          "3x",         " 3",         "-1",  "3 ", "+3",  "0x3", "3.0", "00",
        "99999999999", "4294967346", "2147483648", "abc", "-0", "\t3", "3\n", "5e1", "１"};
    for (const std::string name : {"_LIBCONTAINER_INITPIPE", "_LIBCONTAINER_LOGPIPE"}) {
        for (const std::string& value : bad) {
            CAPTURE(name);
            CAPTURE(value);
            auto supervisor = probe(Dialect::runc_1_2);
            const bool is_log = name == "_LIBCONTAINER_LOGPIPE";
            (is_log ? supervisor.has_log : supervisor.has_pipe) = false;
            supervisor.environment.push_back(name + "=" + value);
            const Embedding ran = supervisor.run([](int) {});
            CHECK(ran.joiner == 1);
            CHECK(!ran.stalled);
            CHECK(has(is_log ? ran.output : ran.log, name + ": is no descriptor number"));
        }
        auto supervisor = probe(Dialect::runc_1_2);
        const bool is_log = name == "_LIBCONTAINER_LOGPIPE";
        (is_log ? supervisor.has_log : supervisor.has_pipe) = false;
        supervisor.environment.push_back(name + "=77");
        const Embedding ran = supervisor.run([](int) {});
        CHECK(ran.joiner == 1);
        CHECK(has(is_log ? ran.output : ran.log, name + "=77): EBADF"));
    }
    for (const std::string value : {"x", "-1", " 5", "5x"}) {
        auto supervisor = probe(Dialect::runc_1_2);
        supervisor.environment.push_back("_LIBCONTAINER_LOGLEVEL=" + value);
        CHECK(has(supervisor.run([](int) {}).output, "_LIBCONTAINER_LOGLEVEL: is no level"));
    }
    for (const std::string value : {"0", "-1", "1x", " 1", "01", "99999999999"}) {
        auto supervisor = probe(Dialect::environment);
        supervisor.environment.push_back("_LIBCONTAINER_INITPID=" + value);
        CHECK(refused(supervisor.run([](int) {}), "_LIBCONTAINER_INITPID: is no pid"));
    }
}

TEST_CASE("a variable that is empty is as if it were not set") {
    const support::NothingLeft nothing_left;
    const auto as_ordinary = [](const Embedding& ran) {
        return !ran.stalled && ran.joiner == 7 && ran.reply.empty() && ran.log.empty() &&
               has(ran.output, own("net"));
    };
    auto no_pipe = probe(Dialect::runc_1_2);
    no_pipe.has_pipe = false;
    no_pipe.environment.emplace_back("_LIBCONTAINER_INITPIPE=");
    CHECK(as_ordinary(no_pipe.run(simple(new_net))));
    auto no_target = probe(Dialect::environment);
    no_target.environment.emplace_back("_LIBCONTAINER_INITPID=");
    CHECK(as_ordinary(no_target.run([](int) {})));

    const support::Container container{Kind::net};
    auto no_reply = probe(Dialect::environment);
    no_reply.has_pipe = false;
    no_reply.environment.push_back("_LIBCONTAINER_INITPID=" + std::to_string(container.pid()));
    no_reply.environment.emplace_back("_LIBCONTAINER_INITPIPE=");
    CHECK(refused(no_reply.run([](int) {}), "_LIBCONTAINER_INITPIPE: is not set"));
    auto no_console = probe(Dialect::environment);
    no_console.environment.push_back("_LIBCONTAINER_INITPID=" + std::to_string(container.pid()));
    no_console.environment.emplace_back("_LIBCONTAINER_CONSOLE_PATH=");
    CHECK(ended_well(no_console.run([](int) {})));

    auto no_log = probe(Dialect::runc_1_2);
    no_log.has_log = false;
    no_log.environment.emplace_back("_LIBCONTAINER_LOGPIPE=");
    CHECK(has(no_log.run(Wire{}.text(27282, "net:/a").bytes()).output, "FATAL: nsexec["));
    auto no_level = probe(Dialect::runc_1_2);
    no_level.environment.emplace_back("_LIBCONTAINER_LOGLEVEL=");
    CHECK(has(no_level.run(simple(new_net)).log, "\"level\":\"debug\""));
    auto no_mounts = probe(Dialect::runc_1_1);
    no_mounts.environment.emplace_back("_LIBCONTAINER_MOUNT_FDS=");
    CHECK(ended_well(no_mounts.run(simple(new_net))));
}

TEST_CASE("a program that got rights by its execution does nothing that its caller asks") {
    const auto run = [](mode_t mode, const char* capabilities) {
        return support::run_in_child([=] {
            // Where set-user-ID counts, whatever the mounts of this machine say.
            CHILD_CHECK(support::own_mounts());
            CHILD_CHECK(::mount("rights", "/mnt", "tmpfs", 0, "mode=755") == 0);
            const std::string program = "/mnt/probe";
            const std::string copy = "cp " + support::built("embed_probe") + " " + program;
            CHILD_CHECK(std::system(copy.c_str()) == 0);
            CHILD_CHECK(::chmod(program.c_str(), mode) == 0);
            if (capabilities != nullptr) {
                const std::string command = std::string{"setcap "} + capabilities + " " + program;
                CHILD_CHECK(std::system(command.c_str()) == 0);
            }
            const bool secure = mode != 0755 || capabilities != nullptr;
            return support::as_user(1000, [&] {
                for (const Dialect dialect : {Dialect::environment, Dialect::runc_2016,
                                              Dialect::runc_1_1, Dialect::runc_1_2}) {
                    const support::Container container{Kind::user | Kind::mount};
                    auto supervisor = probe(dialect);
                    supervisor.program = program;
                    supervisor.environment.push_back("_LIBCONTAINER_INITPID=" +
                                                     std::to_string(container.pid()));
                    const Embedding ran = supervisor.run(simple(new_user));
                    if (!secure) { // it obeys, as far as it has the rights
                        CHILD_CHECK(!ran.log.empty() || !ran.reply.empty());
                        continue;
                    }
                    CHILD_CHECK(ran.joiner == 7);
                    CHILD_CHECK(ran.reply.empty());
                    CHILD_CHECK(ran.log.empty());
                    CHILD_CHECK(has(ran.output, own("user") + "\n" + own("mnt")));
                }
                return 0;
            });
        });
    };
    CHECK(run(0755, nullptr) == 0);
    CHECK(run(04755, nullptr) == 0);
    CHECK(run(02755, nullptr) == 0);
    CHECK(run(0755, "cap_sys_admin+ep") == 0);
}

TEST_CASE("without the variable nothing happens, and no system call is made") {
    const auto calls = [](const char* how) {
        support::TestPipe pipe;
        const int code = support::run_in_child([&] {
            const auto traced = support::Tracer{}.run(
                [&] {
                    const std::string program = support::built("embed_probe");
                    std::string name = "probe";
                    std::string quiet = "PROBE_QUIET=1";
                    std::string variable = how;
                    std::array<char*, 2> arguments{name.data(), nullptr};
                    std::array<char*, 3> variables{quiet.data(), variable.data(), nullptr};
                    return ::execve(program.c_str(), arguments.data(), variables.data());
                },
                static_cast<std::size_t>(-1));
            (void)pipe.put(static_cast<int>(traced.stops.size()));
            return traced.exit_code;
        });
        int stops = 0;
        CHECK(code == 7);
        CHECK(pipe.get(stops));
        return stops;
    };
    const int without = calls("PROBE_IN_MAIN=none");
    CHECK(without > 10);
    CHECK(calls("PROBE_NOTHING=here") == without);
}

TEST_CASE("dialects create namespaces and name the child") {
    const support::NothingLeft nothing_left;
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        CAPTURE(nsjoin::facts(dialect).name.data());
        const Embedding ran = probe(dialect).run(simple(new_net | new_pid));
        CHECK(ended_well(ran));
        CHECK(has(ran.output, "pid 1 sid 1 uid 0 gid 0"));
        CHECK(ran.output.find(own("net")) == std::string::npos);
        CHECK(has(ran.output, own("mnt")));
        CHECK(has(ran.output, "argument <>\nargument <two words>"));
        CHECK(has(ran.output,
                  dialect == Dialect::runc_2016 ? "name embed_probe" : "name runc:[2:INIT]"));
        const std::string start(dialect == Dialect::runc_1_1 ? 1 : 0, '\0');
        const std::string pid = std::to_string(ran.pid);
        CHECK(ran.reply ==
              start + (dialect == Dialect::runc_2016
                           ? "{ \"pid\" : " + pid + " }\n"
                           : "{\"stage1_pid\":2147483647,\"stage2_pid\":" + pid + "}\n"));
    }
}

TEST_CASE("runc 1.2 and later: nothing comes before the reply, which is read as JSON") {
    const support::NothingLeft nothing_left;
    const auto first_byte = [](Dialect dialect, bool sends) {
        char first = 'x';
        const Embedding ran = probe(dialect).run([&](int socket) {
            const std::string message = simple(new_net);
            if (sends) {
                (void)!::send(socket, message.data(), message.size(), 0);
            } else {
                ::shutdown(socket, SHUT_WR); // it ends without a reply
            }
            pollfd entry{socket, POLLIN, 0};
            CHECK(::poll(&entry, 1, 10'000) == 1);
            if (::recv(socket, &first, 1, MSG_PEEK) == 0) {
                first = 'e';
            }
        });
        CHECK(ran.joiner == (sends ? 0 : 1));
        return first;
    };
    CHECK(first_byte(Dialect::runc_1_2, true) == '{');
    CHECK(first_byte(Dialect::runc_1_2, false) == 'e');
    CHECK(first_byte(Dialect::runc_1_1, true) == '\0');
    CHECK(first_byte(Dialect::runc_1_1, false) == '\0');
    CHECK(first_byte(Dialect::runc_2016, true) == '{');
}

TEST_CASE("runc 1.2 and later: the second log line says on which processors it may run") {
    const support::NothingLeft nothing_left;
    const auto log_on = [](const cpu_set_t& processors, Dialect dialect, const char* level) {
        std::string log;
        cpu_set_t before{};
        REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
        REQUIRE(::sched_setaffinity(0, sizeof processors, &processors) == 0);
        auto supervisor = probe(dialect);
        supervisor.environment.push_back(std::string{"_LIBCONTAINER_LOGLEVEL="} + level);
        const Embedding ran = supervisor.run(simple(new_net));
        CHECK(::sched_setaffinity(0, sizeof before, &before) == 0);
        CHECK(ended_well(ran));
        return ran.log;
    };
    cpu_set_t all{};
    REQUIRE(::sched_getaffinity(0, sizeof all, &all) == 0);
    std::uint64_t mask = 0;
    for (unsigned cpu = 0; cpu < 64; ++cpu) {
        mask |= CPU_ISSET(cpu, &all) ? std::uint64_t{1} << cpu : 0;
    }
    const auto line = [](std::uint64_t bits) {
        std::array<char, 64> text{};
        (void)std::snprintf(text.data(), text.size(), "]: affinity: 0x%llx\"}\n",
                            static_cast<unsigned long long>(bits));
        return std::string{text.data()};
    };
    const std::string log = log_on(all, Dialect::runc_1_2, "5");
    const std::string second = log.substr(log.find('\n') + 1);
    CHECK(has(log.substr(0, log.find('\n')), "=> nsexec container setup"));
    CHECK(has(second.substr(0, second.find('\n') + 1), line(mask)));
    for (unsigned cpu = 0; cpu < 64; ++cpu) {
        if (CPU_ISSET(cpu, &all)) {
            cpu_set_t one{};
            CPU_SET(cpu, &one);
            CHECK(has(log_on(one, Dialect::runc_1_2, "6"), line(std::uint64_t{1} << cpu)));
        }
    }
    CHECK(log_on(all, Dialect::runc_1_2, "4").empty());
    CHECK(log_on(all, Dialect::runc_1_1, "5").find("affinity") == std::string::npos);
}

TEST_CASE("no wait hangs on the pid of the stage that there is none of") {
    CHECK(support::run_in_child([] {
              // A child of another kind is there, which no wait may find.
              const support::Container other{nsjoin::KindSet{}};
              const auto stage1 = static_cast<pid_t>(nsjoin::detail::no_such_pid);
              CHILD_CHECK(::waitpid(stage1, nullptr, 0) == -1 && errno == ECHILD);
              siginfo_t info{};
              CHILD_CHECK(::waitid(P_PID, static_cast<id_t>(stage1), &info, WEXITED) == -1);
              CHILD_CHECK(errno == ECHILD);
              CHILD_CHECK(::kill(stage1, 0) == -1 && errno == ESRCH);
              CHILD_CHECK(!nsjoin::PidFd::open(stage1));
              const long limit =
                  std::strtol(support::slurp("/proc/sys/kernel/pid_max").c_str(), nullptr, 10);
              CHILD_CHECK(limit < stage1);
              return 0;
          }) == 0);
}

TEST_CASE("dialects join by path") {
    const support::NothingLeft nothing_left;
    const support::Container container{Kind::net | Kind::ipc | Kind::uts};
    const std::string ns = "/proc/" + std::to_string(container.pid()) + "/ns/";
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        CAPTURE(nsjoin::facts(dialect).name.data());
        const bool old = dialect == Dialect::runc_2016;
        const std::string paths = old ? ns + "uts," + ns + "net," + ns + "ipc"
                                      : "uts:" + ns + "uts,net:" + ns + "net,ipc:" + ns + "ipc";
        const std::string message = Wire{}.text(old ? 27283 : 27282, paths).bytes();
        const Embedding ran = probe(dialect).run(message);
        CHECK(ended_well(ran));
        for (const char* kind : {"net", "ipc", "uts"}) {
            CHECK(has(ran.output, support::namespace_link(std::to_string(container.pid()), kind)));
        }
        CHECK(has(ran.output, own("user")));
        CHECK(has(ran.output, "dumpable 0")); // CVE-2016-9962
    }
    const auto joins = [](const std::string& paths) {
        return probe(Dialect::runc_1_1).run(Wire{}.text(27282, paths).bytes());
    };
    CHECK(refused(joins("net:" + ns + "ipc"), "it is a namespace, but not of the kind"));
    CHECK(refused(joins("net:/etc/passwd"), "(/etc/passwd): it is no namespace"));
    CHECK(refused(joins("net:/nowhere"), "(/nowhere): ENOENT"));
    CHECK(refused(probe(Dialect::runc_1_1)
                      .run(Wire{}.word(27281, new_net).text(27282, "net:" + ns + "net").bytes()),
                  "joins this kind and creates it"));
    // Who is in it already is not passed over: the child would run in the host's user namespace.
    CHECK(refused(joins("user:" + ns + "user,net:" + ns + "net"),
                  "the caller is in that user namespace, which can't be joined again: name "
                  "another, or none: " +
                      ns + "user"));
    CHECK(refused(probe(Dialect::runc_2016).run(Wire{}.text(27283, ns + "user").bytes()),
                  "the caller is in that user namespace"));
    CHECK(
        refused(probe(Dialect::runc_2016).run(Wire{}.text(27283, ns + "net," + ns + "net").bytes()),
                "joins this kind twice"));
}

TEST_CASE("paths of one process, of several, in another spelling, or without the one call") {
    const support::NothingLeft nothing_left;
    const support::Container container{Kind::net | Kind::ipc | Kind::uts};
    const support::Container other{Kind::net | Kind::ipc | Kind::uts};
    const auto ns = [](const support::Container& of) {
        return "/proc/" + std::to_string(of.pid()) + "/ns/";
    };
    const auto joins = [](const std::string& paths) {
        return probe(Dialect::runc_1_1).run(Wire{}.text(27282, paths).text(27286, "321").bytes());
    };
    const auto is_in = [](const Embedding& ran, const support::Container& of, const char* kind) {
        return has(ran.output, support::namespace_link(std::to_string(of.pid()), kind));
    };
    const Embedding both = joins("uts:" + ns(container) + "uts,net:" + ns(other) + "net");
    CHECK(ended_well(both));
    CHECK((is_in(both, container, "uts") && is_in(both, other, "net")));
    const Embedding spelt = joins("uts:/proc/../" + ns(container) + "uts,net:" + ns(other) + "net");
    CHECK(ended_well(spelt));
    CHECK((is_in(spelt, container, "uts") && is_in(spelt, other, "net")));
    // What only children are in is another namespace than the process's own.
    const Embedding children =
        joins("uts:" + ns(container) + "uts,pid:" + ns(other) + "pid_for_children");
    CHECK(ended_well(children));
    CHECK(is_in(children, container, "uts"));
    CHECK(refused(joins("uts:/proc/" + std::string(40, '9') + "/ns/uts"), "ENOENT"));
    CHECK(refused(joins("uts:/proc/0/ns/uts"), "ENOENT"));
    CHECK(refused(joins("uts:" + ns(container) + "uts/"), "ENOTDIR"));
    for (const int code : {EINVAL, EPERM, ENOSYS}) {
        CAPTURE(code);
        CHECK(support::run_in_child([&] {
                  CHILD_CHECK(support::deny_setns_of_several(code));
                  const Embedding ran =
                      joins("uts:" + ns(container) + "uts,net:" + ns(container) + "net");
                  CHILD_CHECK(ended_well(ran));
                  CHILD_CHECK(is_in(ran, container, "uts") && is_in(ran, container, "net"));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("user namespaces: maps, ids, groups") {
    const support::NothingLeft nothing_left;
    const auto maps = [](Wire wire, unsigned uids) {
        return wire.text(uids, "0 100000 1000\n").text(uids + 1, "0 200000 1000\n");
    };
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        CAPTURE(nsjoin::facts(dialect).name.data());
        const unsigned uids = dialect == Dialect::runc_2016 ? 27284 : 27283;
        const Embedding ran =
            probe(dialect).run(maps(Wire{}.word(27281, new_user | new_net), uids).bytes());
        CHECK(ended_well(ran));
        CHECK(has(ran.output, "uid 0 gid 0"));
        CHECK(ran.output.find(own("user")) == std::string::npos);
    }
    // Groups are dropped if asked for, and the supervisor has the privilege outside.
    for (const std::uint32_t rootless : {0U, 1U}) {
        for (const std::uint32_t allowed : {0U, 1U}) {
            CHECK(support::run_in_child([&] {
                      const std::array<gid_t, 2> groups{5, 6};
                      CHILD_CHECK(::setgroups(groups.size(), groups.data()) == 0);
                      const Embedding ran =
                          probe(Dialect::runc_1_2)
                              .run(Wire{}.word(27285, allowed).word(27287, rootless).bytes());
                      CHILD_CHECK(ended_well(ran));
                      const bool dropped = allowed == 1 && rootless == 0;
                      CHILD_CHECK(has(ran.output, dropped ? "groups 0" : "groups 2"));
                      return 0;
                  }) == 0);
        }
    }
}

TEST_CASE("a mapping program is taken from the message, and from nowhere else") {
    const support::TemporaryDirectory directory;
    REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
    const std::string used = directory.file("newuidmap");
    REQUIRE(::close(::open(used.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755)) == 0);
    REQUIRE(support::spill(used, "#!/bin/bash\nexit 3\n"));
    const auto with = [&](Dialect dialect, const char* program) {
        const int code = support::as_user(1000, [&] {
            const bool old = dialect == Dialect::runc_2016;
            const unsigned uids = old ? 27284 : 27283;
            Wire message = Wire{}
                               .word(27281, new_user)
                               .text(uids, "0 100000 1000\n")
                               .text(uids + 1, "0 100000 1000\n");
            if (!old) {
                message.word(27287, 1);
            }
            if (program != nullptr) {
                message.text(27288, program);
            }
            auto supervisor = probe(dialect);
            supervisor.environment.push_back("PATH=" + directory.path());
            const Embedding ran = supervisor.run(message.bytes());
            if (ran.joiner != 1) {
                return 1;
            }
            return ran.log.find("the program refused") != std::string::npos         ? 10
                   : ran.log.find("that could is not in PATH") != std::string::npos ? 11
                   : ran.log.find("write uid_map: EPERM") != std::string::npos      ? 12
                                                                                    : 13;
        });
        return code;
    };
    CHECK(with(Dialect::runc_1_1, "/bin/false") == 10);
    CHECK(with(Dialect::runc_1_1, used.c_str()) == 10);
    CHECK(with(Dialect::runc_1_1, "/nowhere/newuidmap") == 11);
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_1, Dialect::runc_1_2}) {
        CHECK(with(dialect, nullptr) == 12);
    }
    ::unlink(used.c_str());
}

TEST_CASE("oom_score_adj and time offsets") {
    const support::NothingLeft nothing_left;
    auto supervisor = probe(Dialect::runc_1_2);
    supervisor.environment.push_back("PROBE_WAIT=1");
    std::string seen;
    std::string offsets;
    const Embedding ran = supervisor.run([&](int socket) {
        const std::string message = Wire{}
                                        .word(27281, 0x80)
                                        .text(27286, "321")
                                        .text(27290, "monotonic 1000 5\nboottime 2000 0\n")
                                        .bytes();
        (void)!::send(socket, message.data(), message.size(), 0);
        std::array<char, 256> reply{};
        // The reply, left there for run().
        CHECK(support::eventually([&] {
            return ::recv(socket, reply.data(), reply.size(), MSG_PEEK | MSG_DONTWAIT) > 10;
        }));
        const std::string text{reply.data()};
        const std::string proc =
            "/proc/" + text.substr(text.rfind(':') + 1, text.find('}') - text.rfind(':') - 1);
        CHECK(support::eventually([&] {
            seen = support::slurp(proc + "/oom_score_adj");
            offsets = support::slurp(proc + "/timens_offsets");
            return !offsets.empty();
        }));
    });
    CHECK(ended_well(ran));
    CHECK(seen == "321\n");
    CHECK(has(offsets, "1000         5"));
    CHECK(has(offsets, "2000         0"));
    CHECK(refused(probe(Dialect::runc_1_2).run(Wire{}.text(27286, "1001").bytes()),
                  "oom_score_adj is -1000 to 1000, not 1001"));
    CHECK(refused(probe(Dialect::runc_1_2).run(Wire{}.text(27290, "monotonic 1 0\n").bytes()),
                  "time offsets but creates no time namespace"));
}

TEST_CASE("mount sources are opened inside, by who has the rights outside") {
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory directory;
    const std::string secret = directory.file("secret");
    REQUIRE(::mkdir(secret.c_str(), 0700) == 0); // root's own: the child's root is 100000 outside
    const auto message = [](const std::string& sources) {
        return Wire{}
            .word(27281, new_user | new_mount)
            .text(27283, "0 100000 1000\n")
            .text(27284, "0 100000 1000\n")
            .text(27290, sources)
            .bytes();
    };
    const auto run = [&](const std::string& sources, const std::string& numbers) {
        auto supervisor = probe(Dialect::runc_1_1);
        supervisor.environment.push_back("_LIBCONTAINER_MOUNT_FDS=" + numbers);
        supervisor.environment.emplace_back("PROBE_LINKS=60 61 62");
        supervisor.environment.emplace_back("PROBE_OPEN=1");
        return supervisor.run(message(sources));
    };
    const std::string nul(1, '\0');
    const Embedding ran = run(secret + nul + nul + "/etc/passwd" + nul, "[60, -1,62]");
    CHECK(ended_well(ran));
    CHECK(has(ran.output, "60 is " + secret + " cloexec\n"));
    CHECK(has(ran.output, "61 is "));
    CHECK(has(ran.output, "62 is /etc/passwd cloexec\n"));
    // Nothing of the library's is open beside them.
    auto plain = probe(Dialect::runc_1_1);
    plain.environment.emplace_back("PROBE_OPEN=1");
    const std::string before = plain.run(simple(0)).output;
    std::string open = before.substr(before.find("open:"));
    REQUIRE(open.find(" 50 51") != std::string::npos);
    open.insert(open.find(" 50 51") + 6, " 60 62");
    CHECK(has(ran.output, open));
    CHECK(refused(run(secret + nul + "/nowhere" + nul, "[60,61]"), "(/nowhere): ENOENT"));
    const std::string empty = "mount sources: mount 2 has a descriptor, and no path";
    const std::string unwanted = "mount sources: mount 2 has a path, and no descriptor";
    CHECK(refused(run(secret + nul, "[60,61]"), empty));
    CHECK(refused(run(secret + nul + secret + nul, "[60]"), unwanted));
    CHECK(refused(run(secret + nul + secret + nul, "[60,-1]"), unwanted));
    // As many as there are paths, but each is for the mount in its place.
    CHECK(refused(run(secret + nul + nul + "/etc/passwd" + nul, "[60,62,-1]"), empty));
    CHECK(refused(run(secret + nul + "/etc/passwd" + nul + nul, "[60,-1,62]"), unwanted));
    CHECK(ended_well(run(secret + nul + nul, "[60, -1]")));
    CHECK(ended_well(run(secret + nul, "[60,-1,-1]")));
    CHECK(ended_well(run(nul + nul, "[ -1,-1 ]")));
    CHECK(refused(run("relative" + nul, "[60]"), "is not absolute"));
    for (const std::string numbers :
         {"60", "[60", "60]", "[x]", "[-2]", "[60,,61]", "[60.5]", "[99999999999]", "{}", "[[60]]",
          "[\"60\"]", "[60,]", "[,60]", "[060]", "[-0]", "[+60]", "[-01]", "[6 0]"}) {
        CAPTURE(numbers);
        CHECK(refused(run(secret + nul, numbers), "_LIBCONTAINER_MOUNT_FDS"));
    }
    CHECK(refused(run(secret + nul, "[50]"), "is the init pipe or the log pipe"));
    CHECK(refused(run(secret + nul, "[51]"), "is the init pipe or the log pipe"));
    CHECK(refused(run(secret + nul, "[60,60]"), "is there twice"));
    CHECK(refused(run(secret + nul, "[1000000000]"), "past the limit"));
    CHECK(
        refused(probe(Dialect::runc_1_1).run(Wire{}.text(27290, "/etc").bytes()), "mount sources"));
    ::rmdir(secret.c_str());
}

TEST_CASE("the dialect of variables: every namespace of a process, and a console") {
    const support::NothingLeft nothing_left;
    const support::Container container{Kind::net | Kind::ipc | Kind::uts};
    auto supervisor = probe(Dialect::environment);
    supervisor.environment.push_back("_LIBCONTAINER_INITPID=" + std::to_string(container.pid()));
    Embedding ran = supervisor.run([](int) {});
    CHECK(ended_well(ran));
    CHECK(ran.reply == "{ \"pid\" : " + std::to_string(ran.pid) + " }\n");
    CHECK(has(ran.output, support::namespace_link(std::to_string(container.pid()), "net")));

    const auto console = nsjoin::Console::open();
    REQUIRE(console);
    const std::string path =
        "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(console->peer.fd().get());
    supervisor.environment.push_back("_LIBCONTAINER_CONSOLE_PATH=" + path);
    for (const bool has_standard : {true, false}) {
        CAPTURE(has_standard);
        supervisor.has_standard = has_standard;
        ran = supervisor.run([](int) {});
        CHECK(ended_well(ran));
        CHECK(ran.output.empty());
        std::string shown(4096, '\0');
        const ssize_t length = ::read(console->master.fd().get(), shown.data(), shown.size());
        shown.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
        CHECK(has(shown, "sid " + std::to_string(ran.pid)));
    }
    supervisor.has_standard = true;

    for (const std::string bad : {"relative", "/nowhere", "/etc/passwd", "/dev/null"}) {
        CAPTURE(bad);
        supervisor.environment.back() = "_LIBCONTAINER_CONSOLE_PATH=" + bad;
        CHECK(refused(supervisor.run([](int) {}),
                      bad == "/etc/passwd" || bad == "/dev/null" ? "the console is no terminal"
                      : bad == "/nowhere"                        ? "ENOENT"
                                                                 : "_LIBCONTAINER_CONSOLE_PATH"));
    }
    auto gone = probe(Dialect::environment);
    gone.environment.emplace_back("_LIBCONTAINER_INITPID=4194303");
    CHECK(refused(gone.run([](int) {}), "pid 4194303): ESRCH"));
    gone.has_pipe = false;
    CHECK(refused(gone.run([](int) {}), "_LIBCONTAINER_INITPIPE: is not set"));
}

TEST_CASE("an error of the child, whose pid is told already") {
    const support::Container container{Kind::net | Kind::ipc};
    const auto console = nsjoin::Console::open();
    REQUIRE(console);
    const pid_t holder = ::fork();
    if (holder == 0) {
        ::setsid();
        ::_exit(::ioctl(console->peer.fd().get(), TIOCSCTTY, 0) == 0 ? ::pause() : 1);
    }
    REQUIRE(support::eventually([&] { return ::tcgetsid(console->master.fd().get()) == holder; }));

    auto supervisor = probe(Dialect::environment);
    supervisor.environment.push_back("_LIBCONTAINER_INITPID=" + std::to_string(container.pid()));
    supervisor.environment.push_back("_LIBCONTAINER_CONSOLE_PATH=/proc/" +
                                     std::to_string(::getpid()) + "/fd/" +
                                     std::to_string(console->peer.fd().get()));
    const Embedding ran = supervisor.run([](int) {});
    CHECK(ran.pid > 0);
    CHECK(ran.joiner == 1);
    // It ends by itself as soon as it has reported; the joiner ends it when it has read that.
    CHECK((ran.child == 1 || ran.child == 128 + SIGKILL));
    CHECK(has(ran.log, "make the console the controlling terminal"));
    CHECK(ran.output.empty());

    const auto target = nsjoin::PidFd::open(container.pid());
    const auto plan =
        nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds).console(console->peer.fd());
    {
        const support::NothingLeft nothing_left;
        CHECK(support::fails_with(supervised(plan, probe_options(Dialect::runc_2016)),
                                  Step::set_console, Reason::system, EPERM));
    }
    ::kill(holder, SIGKILL);
    support::wait_for(holder);
}

TEST_CASE("a supervisor that closes, stalls, or sends one byte at a time") {
    const support::NothingLeft nothing_left;
    const std::string message = simple(new_net);
    for (std::size_t size = 0; size < message.size(); ++size) {
        CAPTURE(size);
        const Embedding ran = probe(Dialect::runc_1_2).run([&](int socket) {
            (void)!::send(socket, message.data(), size, MSG_NOSIGNAL);
            ::shutdown(socket, SHUT_WR);
        });
        CHECK(refused(ran, "the other side closed before all was there"));
    }
    const Embedding slow = probe(Dialect::runc_1_2).run([&](int socket) {
        for (const char& byte : message) {
            (void)!::send(socket, &byte, 1, 0);
            ::usleep(2000);
        }
    });
    CHECK(ended_well(slow));
    for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{20}}) {
        auto stalling = probe(Dialect::runc_1_2);
        stalling.environment.emplace_back("PROBE_DEADLINE=1");
        const Embedding ran =
            stalling.run([&](int socket) { (void)!::send(socket, message.data(), size, 0); });
        CHECK(refused(ran, "the deadline passed first"));
    }
    // Gone altogether: nobody to reply to, and no signal of a broken pipe ends the joiner.
    const Embedding deaf = probe(Dialect::runc_1_2).run([&](int socket) {
        (void)!::send(socket, message.data(), message.size(), 0);
        ::shutdown(socket, SHUT_RD);
        ::shutdown(socket, SHUT_WR);
    });
    CHECK(deaf.joiner != 128 + SIGPIPE);
    CHECK(!deaf.stalled);
}

TEST_CASE("log lines: levels and escapes") {
    const auto at_level = [](const std::string& level) {
        auto supervisor = probe(Dialect::runc_1_2);
        supervisor.environment.push_back("_LIBCONTAINER_LOGLEVEL=" + level);
        return supervisor.run(simple(0)).log;
    };
    CHECK(has(at_level("5"), "{\"level\":\"debug\", \"msg\": \"nsexec["));
    CHECK(has(at_level("6"), "{\"level\":\"debug\", \"msg\": \"nsexec-2["));
    CHECK(has(at_level(""), "{\"level\":\"debug\", \"msg\": \"nsexec-0["));
    CHECK(at_level("4").empty());
    CHECK(at_level("0").empty());
    // What runc's users look for.
    CHECK(has(at_level("5"), "]: ~> nsexec stage-0\""));
    CHECK(has(at_level("5"), "]: ~> nsexec stage-2\""));
    CHECK(has(at_level("5"), "]: <= nsexec container setup\""));
    const Embedding ran =
        probe(Dialect::runc_1_2).run(Wire{}.text(27282, "net:/a\"b\\c\nd\x01\xff").bytes());
    CHECK(has(ran.log, R"((/a\"b\\c\u000ad\u0001\u00ff): ENOENT)"));
    const auto text = nsjoin::detail::json_text(ran.log.substr(ran.log.find("fatal") - 10), "msg");
    REQUIRE(text);
    const auto error = nsjoin::detail::error_of_text(*text);
    REQUIRE(error);
    CHECK(error->subject.view() == "/a\"b\\c\nd\x01\xff");
    CHECK(error->code == ENOENT);
    // UTF-8 is left as it is; what is none stands byte by byte: too long, a surrogate, past the
    // last character, cut off.
    const std::string good =
        "\xc2\x80\xc3\xa9\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
    const auto logged = [](const std::string& name) {
        return probe(Dialect::runc_1_2).run(Wire{}.text(27282, "net:/" + name).bytes()).log;
    };
    CHECK(has(logged(good + "\x7f"), "(/" + good + "\\u007f): ENOENT"));
    CHECK(has(logged("\xc1\xbf"), R"((/\u00c1\u00bf): ENOENT)"));
    CHECK(has(logged("\xe0\x9f\xbf"), R"((/\u00e0\u009f\u00bf): ENOENT)"));
    CHECK(has(logged("\xed\xa0\x80"), R"((/\u00ed\u00a0\u0080): ENOENT)"));
    CHECK(has(logged("\xf0\x8f\xbf\xbf"), R"((/\u00f0\u008f\u00bf\u00bf): ENOENT)"));
    CHECK(has(logged("\xf4\x90\x80\x80"), R"((/\u00f4\u0090\u0080\u0080): ENOENT)"));
    CHECK(has(logged("\xe2\x82"), R"((/\u00e2\u0082): ENOENT)"));
    CHECK(has(logged("\x80"), R"((/\u0080): ENOENT)"));
    auto silent = probe(Dialect::runc_1_2);
    silent.has_log = false;
    const Embedding told = silent.run(Wire{}.text(27282, "net:/a").bytes());
    CHECK(told.joiner == 1);
    CHECK(has(told.output, "FATAL: nsexec["));
    CHECK(told.output.find("{nsjoin") == std::string::npos);
}

TEST_CASE("hooks run before the join, and in the child") {
    auto supervisor = probe(Dialect::runc_1_2);
    supervisor.environment.emplace_back("PROBE_HOOKS=1");
    const Embedding ran = supervisor.run(simple(new_net));
    CHECK(ended_well(ran));
    CHECK(ran.output.find("before\nhook\npid ") == 0);
}

TEST_CASE("a process with threads, and pid 1, are refused") {
    const support::NothingLeft nothing_left;
    // A thread that a constructor starts later is no harm.
    auto early = probe(Dialect::runc_1_2);
    early.environment.emplace_back("PROBE_THREAD=1");
    CHECK(ended_well(early.run(simple(new_net))));
    // One that is there before.
    auto late = probe(Dialect::runc_1_2);
    late.environment.emplace_back("PROBE_IN_MAIN=no");
    late.environment.emplace_back("PROBE_LATE=1");
    CHECK(refused(late.run(simple(new_net)), "has several threads"));
    // In one of 200 threads of main.
    auto many = probe(Dialect::runc_1_2);
    many.environment.emplace_back("PROBE_IN_MAIN=threads");
    CHECK(refused(many.run(simple(new_net)), "has several threads"));
    // Called by main itself.
    auto main = probe(Dialect::runc_1_2);
    main.environment.emplace_back("PROBE_IN_MAIN=yes");
    CHECK(ended_well(main.run(simple(new_net))));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              const Embedding ran = probe(Dialect::runc_1_2).run(simple(new_net));
              CHILD_CHECK(refused(ran, "is pid 1 of its pid namespace"));
              return 0;
          }) == 0);
}

namespace {

/// The ways to seal, and that of none. `start`: by the supervisor, before the program is there.
enum class Seal : std::uint8_t { none, start, mount, memory, file };

/// In this process, lets only that way be gone.
auto only(Seal way) -> bool {
    constexpr long open_tree = 428;
    if (way == Seal::none || way == Seal::start || way == Seal::mount) {
        return true;
    }
    return support::deny_syscall(open_tree, EPERM) &&
           (way == Seal::memory || support::deny_syscall(SYS_memfd_create, ENOSYS));
}

/// From now on the first `times` calls of fcntl(F_ADD_SEALS) of the children fail with EBUSY.
auto make_seals_busy(int times) -> bool {
    std::array<sock_filter, 6> code{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                             offsetof(seccomp_data, args) + sizeof(std::uint64_t)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nsjoin::detail::add_seals, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    const auto listener = static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                                     SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
    std::thread{[listener, times]() mutable {
        for (;; --times) {
            seccomp_notif asked{};
            seccomp_notif_resp answer{};
            if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) {
                return;
            }
            answer.id = asked.id;
            answer.error = times > 0 ? -EBUSY : 0;
            answer.flags = times > 0 ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
            (void)::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        }
    }}.detach();
    return listener >= 0;
}

} // namespace

TEST_CASE("a copy in memory that the kernel is busy with is sealed all the same") {
    const auto sealed_after = [](int times) {
        return support::run_in_child([times] {
            CHILD_CHECK(only(Seal::memory));
            CHILD_CHECK(make_seals_busy(times));
            HandSupervisor supervisor = probe(Dialect::runc_1_1);
            supervisor.environment.front() = "PROBE_SEAL=yes";
            const Embedding ran = supervisor.run(simple(new_net));
            if (times < 10) {
                CHILD_CHECK(ended_well(ran));
                CHILD_CHECK(has(ran.output, "exe /memfd:nsjoin (deleted)\n"));
            } else {
                CHILD_CHECK(refused(ran, "memfd): EBUSY"));
            }
            return 0;
        });
    };
    CHECK(sealed_after(0) == 0);
    CHECK(sealed_after(3) == 0);
    CHECK(sealed_after(100) == 0);
}

TEST_CASE("a copy that is larger than a file may be is an error, and not a signal") {
    const support::NothingLeft nothing_left;
    for (const Seal way : {Seal::memory, Seal::file}) {
        CHECK(support::run_in_child([way] {
                  CHILD_CHECK(only(way));
                  const rlimit small{4096, 4096};
                  CHILD_CHECK(::setrlimit(RLIMIT_FSIZE, &small) == 0);
                  HandSupervisor supervisor = probe(Dialect::runc_1_1);
                  supervisor.environment.front() = "PROBE_SEAL=yes";
                  CHILD_CHECK(refused(supervisor.run(simple(new_net)), "EFBIG"));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("the executable is sealed once, with arguments and environment kept") {
    const support::NothingLeft nothing_left;
    for (const Seal way : {Seal::mount, Seal::memory, Seal::file}) {
        CHECK(support::run_in_child([&] {
                  CHILD_CHECK(only(way));
                  for (const bool asked : {false, true}) {
                      HandSupervisor supervisor;
                      supervisor.environment = {"PROBE_DIALECT=runc-1.1"}; // where it is default
                      if (asked) {
                          supervisor.environment = {"PROBE_DIALECT=runc-1.2", "PROBE_SEAL=yes"};
                      }
                      const Embedding ran = supervisor.run(simple(new_net));
                      CHILD_CHECK(ended_well(ran));
                      CHILD_CHECK(has(ran.output, way == Seal::mount ? "exe /\n"
                                                  : way == Seal::memory
                                                      ? "exe /memfd:nsjoin (deleted)\n"
                                                      : " (deleted)\n"));
                      CHILD_CHECK(has(ran.output, "argument <probe>\nargument <>\nargument <two "
                                                  "words>\n"));
                      CHILD_CHECK(has(ran.output, "name runc:[2:INIT]"));
                  }
                  // A dialect without process names: no descriptor's number is left for one.
                  HandSupervisor supervisor;
                  supervisor.environment = {"PROBE_DIALECT=runc-2016", "PROBE_SEAL=yes"};
                  const Embedding ran = supervisor.run(simple(new_net));
                  CHILD_CHECK(ended_well(ran));
                  CHILD_CHECK(ran.output.find("name embed_probe\n") != std::string::npos ||
                              has(ran.output, "name probe\n"));
                  return 0;
              }) == 0);
    }
    CHECK(has(probe(Dialect::runc_1_1).run(simple(new_net)).output,
              "exe " + support::built("embed_probe")));
}

TEST_CASE("a copy is made where there is room for it, and where it can be executed") {
    const support::NothingLeft nothing_left;
    const auto beside = [](unsigned long flags, const char* size) {
        CHILD_CHECK(::unshare(CLONE_NEWNS) == 0);
        CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        CHILD_CHECK(::mount("small", "/dev/shm", "tmpfs", flags, size) == 0);
        CHILD_CHECK(only(Seal::file));
        HandSupervisor supervisor;
        supervisor.environment = {"PROBE_DIALECT=runc-1.1"};
        const Embedding ran = supervisor.run(simple(new_net));
        CHILD_CHECK(ended_well(ran));
        CHILD_CHECK(has(ran.output, "exe /tmp/#"));
        return 0;
    };
    CHECK(support::run_in_child([&] { return beside(0, "size=16k"); }) == 0);
    CHECK(support::run_in_child([&] { return beside(MS_NOEXEC, "size=64m"); }) == 0);
}

TEST_CASE("a read-only mount that somebody can make writable is no seal") {
    const support::NothingLeft nothing_left;
    CHECK(support::run_in_child([] {
              const std::string program = support::built("embed_probe");
              CHILD_CHECK(::unshare(CLONE_NEWNS) == 0);
              CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
              CHILD_CHECK(::mount(program.c_str(), program.c_str(), nullptr, MS_BIND, nullptr) ==
                          0);
              CHILD_CHECK(::mount(nullptr, program.c_str(), nullptr,
                                  MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0);
              HandSupervisor supervisor;
              supervisor.environment = {"PROBE_DIALECT=runc-1.1"};
              const Embedding ran = supervisor.run(simple(new_net));
              CHILD_CHECK(ended_well(ran));
              CHILD_CHECK(has(ran.output, "exe /\n"));
              return 0;
          }) == 0);
    // One that is in no place can be changed by whoever has the file open, as long as the
    // descriptor of open_tree(2) is; then never again. is_sealed() asks the same of the kernel.
    const nsjoin::OwnedFd proc{::open("/proc", O_PATH | O_CLOEXEC)};
    nsjoin::OwnedFd held = nsjoin::detail::make_sealed_mount(proc.get(), "self/exe");
    REQUIRE(held.ok());
    const auto open_again = [](const nsjoin::OwnedFd& file, int flags) {
        const std::string self = "/proc/self/fd/" + std::to_string(file.get());
        return nsjoin::OwnedFd{::open(self.c_str(), flags | O_CLOEXEC)};
    };
    const nsjoin::OwnedFd file = open_again(held, O_RDONLY);
    REQUIRE(file.ok());
    CHECK(nsjoin::detail::set_read_only(file) == 0);
    held.reset();
    CHECK(nsjoin::detail::set_read_only(file) == -EINVAL);
    CHECK(!open_again(file, O_WRONLY).ok());
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    CHECK(::chmod(path.c_str(), 0755) == -1);
    CHECK(errno == EROFS);
}

namespace {

/// What a container's root, with every capability and no user namespace of its own, can try to make
/// the mount of an open file writable, or get the file on another.
void make_writable(int file, const std::string& path) {
    constexpr long open_tree = 428;
    constexpr long move_mount = 429;
    constexpr long mount_setattr = 442;
    constexpr unsigned recursive = 0x8000; // AT_RECURSIVE
    const std::array<std::uint64_t, 4> writable{0, 1, 0, 0};
    const auto try_attributes = [&](long fd) {
        (void)::syscall(mount_setattr, fd, "", AT_EMPTY_PATH, writable.data(), sizeof writable);
        (void)::syscall(mount_setattr, fd, "", AT_EMPTY_PATH | recursive, writable.data(),
                        sizeof writable);
    };
    try_attributes(file);
    (void)::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND, nullptr);
    (void)::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT, nullptr);
    const support::TemporaryDirectory directory;
    const std::string place = directory.file("place");
    ::close(::open(place.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    for (const long from : {::syscall(open_tree, file, "", AT_EMPTY_PATH | 1),
                            ::syscall(open_tree, AT_FDCWD, path.c_str(), 0)}) {
        try_attributes(from);
        (void)::syscall(move_mount, from, "", AT_FDCWD, place.c_str(), 4 /* F_EMPTY_PATH */);
    }
    (void)::mount(path.c_str(), place.c_str(), nullptr, MS_BIND, nullptr);
    (void)::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT | MS_BIND, nullptr);
    (void)::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, directory.file("link").c_str(),
                   AT_SYMLINK_FOLLOW);
    (void)::chmod(path.c_str(), 0777);
    (void)::truncate(path.c_str(), 0);
    for (const char* const name : {"place", "link"}) {
        const nsjoin::OwnedFd writer{::open(directory.file(name).c_str(), O_WRONLY | O_CLOEXEC)};
        (void)!::write(writer.get(), "evil", 4);
    }
    while (::umount2(place.c_str(), MNT_DETACH) == 0) {
    }
    ::unlink(place.c_str());
    ::unlink(directory.file("link").c_str());
}

/// What a container's root does: inside of the container it opens the executable of process `pid`
/// (as numbered there), waits until that ended, and writes to the file that it still has open.
auto attack(const nsjoin::PidFd& container, const std::string& pid, const support::TestPipe& ready)
    -> nsjoin::Result<nsjoin::Side> {
    auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}
                                           .join(container, nsjoin::kinds<Kind::pid, Kind::net>)
                                           .create<Kind::mount>());
    if (!side || !side->is_child()) {
        return side;
    }
    (void)::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    (void)::mount("proc", "/proc", "proc", 0, nullptr);
    const int reader = ::open(("/proc/" + pid + "/exe").c_str(), O_RDONLY | O_CLOEXEC);
    make_writable(reader, "/proc/" + pid + "/exe");
    (void)ready.put(reader);
    const bool gone =
        support::eventually([&] { return ::access(("/proc/" + pid + "/exe").c_str(), F_OK) != 0; });
    const std::string again = "/proc/self/fd/" + std::to_string(reader);
    make_writable(reader, again);
    const int writer = ::open(again.c_str(), O_WRONLY | O_CLOEXEC);
    ::_exit(gone && writer >= 0 && ::write(writer, "#!/bin/evil\n", 12) == 12 ? 0 : 1);
}

/// In a child: whether what a container gets to write, of a program that joins it, is what that
/// way to seal lets it. Without one the attack works: that is what the test would see.
auto attacked(const std::string& program, Seal way) -> int {
    const std::string before = support::slurp(program);
    const support::Container container{Kind::pid | Kind::net};
    const auto target = nsjoin::PidFd::open(container.pid());
    CHILD_CHECK(target);
    CHILD_CHECK(only(way));
    auto options = probe_options(Dialect::runc_1_1);
    options.program = program;
    options.environment = {"PROBE_DIALECT=runc-1.1",
                           std::string{"PROBE_SEAL="} + (way == Seal::none ? "no" : "yes"),
                           "PROBE_WAIT=1", "PROBE_SILENT=1"};
    options.seal = way == Seal::start;
    const auto embedded = nsjoin::supervise(
        nsjoin::JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid, Kind::net>), options);
    CHILD_CHECK(embedded);
    const std::string pids = support::status_line(std::to_string(embedded->child.pid()), "NSpid");
    const support::TestPipe ready;
    const auto attacker = attack(*target, pids.substr(pids.rfind('\t') + 1), ready);
    CHILD_CHECK(attacker);
    int opened = -1;
    CHILD_CHECK(ready.get(opened));
    CHILD_CHECK(opened >= 0);
    (void)!::send(embedded->pipe.get(), "x", 1, MSG_NOSIGNAL);
    CHILD_CHECK(embedded->child.wait());
    const auto wrote = attacker->child().wait();
    CHILD_CHECK(wrote);
    CHILD_CHECK((support::slurp(program) != before) == (way == Seal::none));
    // A copy without a name can be written when it does not run any more, and harms nobody.
    CHILD_CHECK((wrote->exit_code() == 0) == (way == Seal::none || way == Seal::file));
    return 0;
}

} // namespace

TEST_CASE("CVE-2019-5736: the host's executable can't be overwritten through /proc/PID/exe") {
    const support::TemporaryDirectory directory;
    for (const Seal way : {Seal::start, Seal::mount, Seal::memory, Seal::file, Seal::none}) {
        CAPTURE(static_cast<int>(way));
        const std::string copy = directory.file("program");
        const std::string command = "cp " + support::built("embed_probe") + " " + copy;
        REQUIRE(std::system(command.c_str()) == 0);
        CHECK(support::run_in_child([&] { return attacked(copy, way); }) == 0);
        ::unlink(copy.c_str());
    }
}

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

TEST_CASE("supervise: a program that is started sealed does not execute itself again") {
    const support::NothingLeft nothing_left;
    const auto plan = nsjoin::JoinPlan{}.create<Kind::net>().build();
    const auto run = [&](Dialect dialect, std::optional<bool> seal, const char* name) {
        return support::run_in_child([&] {
            CHILD_CHECK(support::deny_syscall(SYS_execveat, EPERM));
            auto options = probe_options(dialect);
            options.environment->front() = "PROBE_SEAL=yes";
            options.environment->push_back(std::string{"PROBE_NAME="} + name);
            options.arguments = {"/some/where/name-of-it", "", "two words"};
            options.seal = seal;
            const auto code = supervised(plan, options);
            return code ? *code : code.error().step == Step::seal_executable ? 70 : 71;
        });
    };
    CHECK(run(Dialect::runc_1_1, std::nullopt, "runc:[2:INIT]") == 7);
    CHECK(run(Dialect::runc_1_1, false, "") == 70);
    CHECK(run(Dialect::runc_1_2, true, "runc:[2:INIT]") == 7);
    CHECK(run(Dialect::runc_1_2, std::nullopt, "") == 70);
    // A dialect that names none: the process has its own name, not that of a descriptor.
    CHECK(run(Dialect::runc_2016, true, "name-of-it") == 7);
    // Who may not make the mount starts the program all the same, and it seals itself.
    CHECK(support::as_user(1000, [&] {
              auto options = probe_options(Dialect::runc_1_1);
              options.environment->front() = "PROBE_SEAL=yes";
              return exits_with_7(supervised(nsjoin::JoinPlan{}
                                                 .create(nsjoin::NewUser{.uids = {{0, 1000, 1}},
                                                                         .gids = {{0, 1000, 1}}})
                                                 .build(),
                                             options))
                         ? 0
                         : 1;
          }) == 0);
}

TEST_CASE("what can't be started sealed is not opened, nor touched") {
    const support::NothingLeft nothing_left;
    const support::TemporaryDirectory directory;
    const auto opens = [](const std::string& path) {
        return nsjoin::detail::open_sealed(path.c_str()).ok();
    };
    const std::string script = directory.file("script");
    REQUIRE(::close(::open(script.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755)) == 0);
    CHECK(!opens(script)); // empty
    REQUIRE(support::spill(script, "#!/bin/bash\nexit 3\n"));
    CHECK(!opens(script));
    const std::string fifo = directory.file("fifo");
    REQUIRE(::mkfifo(fifo.c_str(), 0755) == 0);
    CHECK(!opens(fifo));
    CHECK(!opens(directory.path()));
    CHECK(!opens("/dev/null"));
    CHECK(!opens("/nowhere"));
    CHECK(!opens(""));
    auto options = probe_options(Dialect::runc_1_1);
    options.program = script;
    const auto code = supervised(nsjoin::JoinPlan{}.create<Kind::net>(), options);
    CHECK(support::fails_with(code, Step::start_program, Reason::process_died, 3 << 8));
    ::unlink(script.c_str());
    ::unlink(fifo.c_str());

    // One that changes its rights as it is executed would not, from there.
    const std::string copy = directory.file("copy");
    const auto after = [&](const std::string& command) {
        return std::system(("cp /bin/true " + copy + " && " + command + " " + copy).c_str()) == 0 &&
               opens(copy);
    };
    CHECK(after("true"));
    CHECK(!after("chmod u+s"));
    CHECK(!after("chmod g+s"));
    CHECK(!after("setcap cap_net_raw+ep"));
    ::unlink(copy.c_str());

    const nsjoin::OwnedFd program =
        nsjoin::detail::open_sealed(support::built("embed_probe").c_str());
    REQUIRE(program.ok());
    const std::string path = "/proc/self/fd/" + std::to_string(program.get());
    CHECK(nsjoin::detail::set_read_only(program) == -EINVAL);
    CHECK(::chmod(path.c_str(), 0755) == -1);
    CHECK(errno == EROFS);
    // As of a supervisor that is sealed itself, and starts /proc/self/exe.
    CHECK(opens(path));
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
    CHECK(support::state_and_parent(elder.pid()).first == 'S');
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
    CHECK(support::slurp("/proc/" + std::to_string(embedded->child.pid()) + "/limits") ==
          support::slurp("/proc/self/limits"));
    (void)!::send(embedded->pipe.get(), "x", 1, MSG_NOSIGNAL);
    CHECK(embedded->child.wait());
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
    for (const int number : {SYS_setns,      SYS_setsid,           SYS_setresuid,
                             SYS_setresgid,  SYS_setgroups,        SYS_unshare,
                             clone3,         SYS_socketpair,       SYS_prctl,
                             SYS_pidfd_open, SYS_sendmsg,          SYS_recvmsg,
                             SYS_sendto,     SYS_recvfrom,         SYS_getpid,
                             SYS_readlinkat, SYS_fstatfs,          SYS_ppoll,
                             SYS_pipe2,      SYS_getresuid,        SYS_getgroups,
                             SYS_fcntl,      SYS_pidfd_send_signal}) {
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
    const pid_t reaped = ::fork();
    if (reaped == 0) {
        ::_exit(0);
    }
    const auto dead = nsjoin::PidFd::open(reaped);
    REQUIRE(dead);
    support::wait_for(reaped);
    if (!dead->wait()) {
        support::skip("PIDFD_GET_INFO has no exit code before Linux 6.15");
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
    CHECK(kill_everywhere(plan, probe_options(Dialect::runc_1_2), 1) == 0);
    auto sealed = probe_options(Dialect::runc_1_1);
    sealed.environment->front() = "PROBE_SEAL=yes";
    CHECK(kill_everywhere(plan, sealed, 3) == 0);
    // With the opener of mount sources, a process more.
    const std::array<nsjoin::MountSource, 2> sources{{{"/etc/passwd", 30}, {"/etc/group", 31}}};
    nsjoin::Draft draft;
    draft.created = Kind::user | Kind::mount | Kind::pid;
    draft.maps.emplace(nsjoin::NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}});
    draft.mount_sources.list = sources;
    const auto opening = nsjoin::Plan::from(draft);
    REQUIRE(opening);
    CHECK(kill_everywhere(*opening, probe_options(Dialect::runc_1_1), 3) == 0);
}
