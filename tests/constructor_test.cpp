// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/constructor.hpp>

#include "embed_support.hpp"
#include "engine_support.hpp"
#include "tracer.hpp"

#include <nsjoin/console.hpp>
#include <nsjoin/supervisor.hpp>

using nsjoin::Dialect;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;
using support::Embedding;
using support::ended_well;
using support::flag_mount;
using support::flag_net;
using support::flag_pid;
using support::flag_user;
using support::has;
using support::own_link;
using support::probe;
using support::probe_options;
using support::refused;
using support::simple;
using support::supervised;
using support::Wire;

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
               has(ran.output, own_link("net"));
    };
    auto no_pipe = probe(Dialect::runc_1_2);
    no_pipe.has_pipe = false;
    no_pipe.environment.emplace_back("_LIBCONTAINER_INITPIPE=");
    CHECK(as_ordinary(no_pipe.run(simple(flag_net))));
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
    CHECK(has(no_level.run(simple(flag_net)).log, "\"level\":\"debug\""));
    auto no_mounts = probe(Dialect::runc_1_1);
    no_mounts.environment.emplace_back("_LIBCONTAINER_MOUNT_FDS=");
    CHECK(ended_well(no_mounts.run(simple(flag_net))));
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
                    const Embedding ran = supervisor.run(simple(flag_user));
                    if (!secure) { // it obeys, as far as it has the rights
                        CHILD_CHECK(!ran.log.empty() || !ran.reply.empty());
                        continue;
                    }
                    CHILD_CHECK(ran.joiner == 7);
                    CHILD_CHECK(ran.reply.empty());
                    CHILD_CHECK(ran.log.empty());
                    CHILD_CHECK(has(ran.output, own_link("user") + "\n" + own_link("mnt")));
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
        const Embedding ran = probe(dialect).run(simple(flag_net | flag_pid));
        CHECK(ended_well(ran));
        CHECK(has(ran.output, "pid 1 sid 1 uid 0 gid 0"));
        CHECK(ran.output.find(own_link("net")) == std::string::npos);
        CHECK(has(ran.output, own_link("mnt")));
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
            const std::string message = simple(flag_net);
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
        const Embedding ran = supervisor.run(simple(flag_net));
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
        CHECK(has(ran.output, own_link("user")));
        CHECK(has(ran.output, "dumpable 0")); // CVE-2016-9962
    }
    const auto joins = [](const std::string& paths) {
        return probe(Dialect::runc_1_1).run(Wire{}.text(27282, paths).bytes());
    };
    CHECK(refused(joins("net:" + ns + "ipc"), "it is a namespace, but not of the kind"));
    CHECK(refused(joins("net:/etc/passwd"), "(/etc/passwd): it is no namespace"));
    CHECK(refused(joins("net:/nowhere"), "(/nowhere): ENOENT"));
    CHECK(refused(probe(Dialect::runc_1_1)
                      .run(Wire{}.word(27281, flag_net).text(27282, "net:" + ns + "net").bytes()),
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
            probe(dialect).run(maps(Wire{}.word(27281, flag_user | flag_net), uids).bytes());
        CHECK(ended_well(ran));
        CHECK(has(ran.output, "uid 0 gid 0"));
        CHECK(ran.output.find(own_link("user")) == std::string::npos);
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
                               .word(27281, flag_user)
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
            .word(27281, flag_user | flag_mount)
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
    auto ordinary = probe(Dialect::runc_1_1);
    ordinary.environment.emplace_back("PROBE_OPEN=1");
    ordinary.environment.emplace_back("PROBE_IN_MAIN=none");
    CHECK(has(ordinary.run([](int) {}).output, open));
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
    const auto list_of = [](int count) {
        std::string list = "[-1";
        for (int i = 1; i < count; ++i) {
            list += ",-1";
        }
        return list + "]";
    };
    CHECK(ended_well(run(nul, list_of(4096))));
    CHECK(refused(run(nul, list_of(4097)), "has more than 4096 items"));
    // A dialect without mount sources does not look at them.
    for (const Dialect dialect : {Dialect::runc_2016, Dialect::runc_1_2}) {
        auto without = probe(dialect);
        without.environment.emplace_back("_LIBCONTAINER_MOUNT_FDS=[x]");
        CHECK(ended_well(without.run(simple(0))));
    }
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
    const std::string message = simple(flag_net);
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
    const Embedding ran = supervisor.run(simple(flag_net));
    CHECK(ended_well(ran));
    CHECK(ran.output.find("before\nhook\npid ") == 0);
}

TEST_CASE("a process with threads, and pid 1, are refused") {
    const support::NothingLeft nothing_left;
    // A thread that a constructor starts later is no harm.
    auto early = probe(Dialect::runc_1_2);
    early.environment.emplace_back("PROBE_THREAD=1");
    CHECK(ended_well(early.run(simple(flag_net))));
    // One that is there before.
    auto late = probe(Dialect::runc_1_2);
    late.environment.emplace_back("PROBE_IN_MAIN=no");
    late.environment.emplace_back("PROBE_LATE=1");
    CHECK(refused(late.run(simple(flag_net)), "has several threads"));
    // In one of 200 threads of main.
    auto many = probe(Dialect::runc_1_2);
    many.environment.emplace_back("PROBE_IN_MAIN=threads");
    CHECK(refused(many.run(simple(flag_net)), "has several threads"));
    // Called by main itself.
    auto main = probe(Dialect::runc_1_2);
    main.environment.emplace_back("PROBE_IN_MAIN=yes");
    CHECK(ended_well(main.run(simple(flag_net))));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              const Embedding ran = probe(Dialect::runc_1_2).run(simple(flag_net));
              CHILD_CHECK(refused(ran, "is pid 1 of its pid namespace"));
              return 0;
          }) == 0);
}
