// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/detail/wire/seal.hpp>

#include "embed_support.hpp"
#include "engine_support.hpp"

#include <nsjoin/supervisor.hpp>

#include <thread>

using nsjoin::Dialect;
using nsjoin::Kind;
using nsjoin::Reason;
using nsjoin::Step;
using support::Embedding;
using support::ended_well;
using support::exits_with_7;
using support::flag_net;
using support::HandSupervisor;
using support::has;
using support::probe;
using support::probe_options;
using support::refused;
using support::simple;
using support::supervised;

namespace {

/// The ways to seal, and that of none. `start`: by the supervisor, before the program is there.
enum class Seal : std::uint8_t { none, start, mount, memory, file };

/// Whether the way is one of this kernel's; says so if not.
auto is_there(Seal way) -> bool {
    if ((way == Seal::start || way == Seal::mount) && !support::has_mount_setattr()) {
        support::skip(support::no_sealed_mount);
        return false;
    }
    return true;
}

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
            const Embedding ran = supervisor.run(simple(flag_net));
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
                  CHILD_CHECK(refused(supervisor.run(simple(flag_net)), "EFBIG"));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("the executable is sealed once, with arguments and environment kept") {
    const support::NothingLeft nothing_left;
    for (const Seal way : {Seal::mount, Seal::memory, Seal::file}) {
        if (!is_there(way)) {
            continue;
        }
        CHECK(support::run_in_child([&] {
                  HandSupervisor plain = probe(Dialect::runc_1_1);
                  plain.environment.emplace_back("PROBE_OPEN=1");
                  const std::string unsealed = plain.run(simple(flag_net)).output;
                  CHILD_CHECK(has(unsealed, "open:"));
                  const std::string open = unsealed.substr(unsealed.find("open:"));
                  CHILD_CHECK(only(way));
                  for (const bool asked : {false, true}) {
                      HandSupervisor supervisor;
                      supervisor.environment = {"PROBE_DIALECT=runc-1.1"}; // where it is default
                      if (asked) {
                          supervisor.environment = {"PROBE_DIALECT=runc-1.2", "PROBE_SEAL=yes"};
                      }
                      supervisor.environment.emplace_back("PROBE_OPEN=1");
                      const Embedding ran = supervisor.run(simple(flag_net));
                      CHILD_CHECK(ended_well(ran));
                      CHILD_CHECK(has(ran.output, open));
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
                  const Embedding ran = supervisor.run(simple(flag_net));
                  CHILD_CHECK(ended_well(ran));
                  CHILD_CHECK(ran.output.find("name embed_probe\n") != std::string::npos ||
                              has(ran.output, "name probe\n"));
                  return 0;
              }) == 0);
    }
    CHECK(has(probe(Dialect::runc_1_1).run(simple(flag_net)).output,
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
        const Embedding ran = supervisor.run(simple(flag_net));
        CHILD_CHECK(ended_well(ran));
        CHILD_CHECK(has(ran.output, "exe /tmp/#"));
        return 0;
    };
    CHECK(support::run_in_child([&] { return beside(0, "size=16k"); }) == 0);
    CHECK(support::run_in_child([&] { return beside(MS_NOEXEC, "size=64m"); }) == 0);
}

TEST_CASE("a read-only mount that somebody can make writable is no seal") {
    const support::NothingLeft nothing_left;
    const bool has_mounts = is_there(Seal::mount);
    CHECK(
        support::run_in_child([has_mounts] {
            const std::string program = support::built("embed_probe");
            CHILD_CHECK(::unshare(CLONE_NEWNS) == 0);
            CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
            CHILD_CHECK(::mount(program.c_str(), program.c_str(), nullptr, MS_BIND, nullptr) == 0);
            CHILD_CHECK(::mount(nullptr, program.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY,
                                nullptr) == 0);
            HandSupervisor supervisor;
            supervisor.environment = {"PROBE_DIALECT=runc-1.1"};
            const Embedding ran = supervisor.run(simple(flag_net));
            CHILD_CHECK(ended_well(ran));
            CHILD_CHECK(has(ran.output, has_mounts ? "exe /\n" : "exe /memfd:nsjoin (deleted)\n"));
            return 0;
        }) == 0);
    if (!has_mounts) {
        return;
    }
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
    const std::string link = "self/fd/" + std::to_string(file.get());
    const auto sealed = [&] {
        return nsjoin::detail::is_on_sealed_mount(proc, link.c_str(), file);
    };
    CHECK(nsjoin::detail::set_read_only(file) == 0);
    CHECK(!sealed());
    held.reset();
    CHECK(nsjoin::detail::set_read_only(file) == -EINVAL);
    CHECK(sealed());
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
    int writer = -1;
    // The link is gone a moment before the kernel lets the file be written.
    (void)support::eventually([&] {
        writer = ::open(again.c_str(), O_WRONLY | O_CLOEXEC);
        return writer >= 0 || errno != ETXTBSY;
    });
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
    CHECK(run(Dialect::runc_1_1, false, "") == 70);
    CHECK(run(Dialect::runc_1_2, std::nullopt, "") == 70);
    if (is_there(Seal::start)) {
        CHECK(run(Dialect::runc_1_1, std::nullopt, "runc:[2:INIT]") == 7);
        CHECK(run(Dialect::runc_1_2, true, "runc:[2:INIT]") == 7);
        // A dialect that names none: the process has its own name, not that of a descriptor.
        CHECK(run(Dialect::runc_2016, true, "name-of-it") == 7);
    }
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
    const bool has_mounts = is_there(Seal::mount);
    CHECK(after("true") == has_mounts);
    CHECK(!after("chmod u+s"));
    CHECK(!after("chmod g+s"));
    CHECK(!after("setcap cap_net_raw+ep"));
    ::unlink(copy.c_str());
    if (!has_mounts) {
        return;
    }

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
