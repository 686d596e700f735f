// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <thread>

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;

// What a join does, and the bugs that others had in it, by their numbers.

namespace {

auto plan_of(const nsjoin::PidFd& target, KindSet kinds) -> nsjoin::Plan {
    nsjoin::Draft draft;
    draft.join(target, kinds);
    return *nsjoin::Plan::from(draft);
}

/// Runs the plan, and checks that the child is in the target's namespaces of the kinds and in the
/// caller's of the others.
auto enters(const nsjoin::Plan& plan, pid_t target, KindSet kinds) -> int {
    const support::CallerState state;
    const auto own = support::spaces_of("self");
    const auto wanted = support::spaces_of(target);
    const auto ran = support::run(plan, [&] {
        CHILD_CHECK(support::is_in(wanted, kinds));
        CHILD_CHECK(support::is_in(own, KindSet{nsjoin::all_kinds} - kinds));
        return 0;
    });
    CHILD_CHECK(support::went_well(ran));
    CHILD_CHECK(state.holds());
    return 0;
}

} // namespace

TEST_CASE("each kind alone, by pidfd and by descriptor") {
    const support::Container container{nsjoin::all_kinds};
    REQUIRE(container.ok());
    for (const Kind kind : KindSet{nsjoin::all_kinds}) {
        const int code = support::run_in_child([&] {
            const auto target = nsjoin::PidFd::open(container.pid());
            CHILD_CHECK(enters(plan_of(*target, kind), container.pid(), kind) == 0);
            const auto space = nsjoin::AnyNamespaceFd::open(kind, *target);
            CHILD_CHECK(space);
            nsjoin::Draft draft;
            draft.join(*space);
            return enters(*nsjoin::Plan::from(draft), container.pid(), kind);
        });
        INFO(std::string{nsjoin::facts(kind).name});
        CHECK(code == 0);
    }
}

TEST_CASE("the child is what the caller was told: pid, parent, exit code, signal") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::net | Kind::mount};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto plan = plan_of(*target, Kind::net | Kind::mount);
        const pid_t caller = ::getpid();
        support::TestPipe pipe;
        auto side = support::clone(plan);
        CHILD_CHECK(side);
        if (side->is_child()) {
            (void)pipe.put(::getppid() == caller ? ::getpid() : -1);
            ::pause();
        }
        pid_t told = 0;
        CHILD_CHECK(pipe.get(told));
        CHILD_CHECK(told == side->child().pid());
        CHILD_CHECK(support::closes_on_exec(side->child().fd().get()));
        CHILD_CHECK(side->child().send_signal(SIGUSR1));
        const auto status = side->child().wait();
        CHILD_CHECK(status && status->signal() == SIGUSR1 && !status->exited());
        CHILD_CHECK(support::run(plan, [] { return 42; }).code == 42);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("the child's libc knows its own ids, and can start threads and join again") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::net | Kind::ipc};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto ran = support::run(plan_of(*target, Kind::net), [&] {
            CHILD_CHECK(::gettid() == ::getpid());
            CHILD_CHECK(::syscall(SYS_gettid) == ::gettid());
            CHILD_CHECK(std::raise(0) == 0);
            bool ran_thread = false;
            std::thread{[&] {
                ran_thread = ::gettid() != ::getpid();
            }}.join();
            CHILD_CHECK(ran_thread);
            CHILD_CHECK(support::run_in_child([] { return ::gettid() == ::getpid() ? 3 : 4; }) ==
                        3);
            return enters(plan_of(*target, Kind::ipc), container.pid(), Kind::ipc | Kind::net);
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("the end of the child's first thread is told to a thread that joins it") {
    const support::Container container{Kind::net | Kind::ipc};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    for (const nsjoin::Plan& plan :
         {nsjoin::Plan{nsjoin::JoinPlan{}}, plan_of(*target, Kind::net)}) {
        CHECK(support::went_well(support::run(plan, [] {
            std::thread{[first = ::pthread_self()] {
                ::_exit(::pthread_join(first, nullptr));
            }}.detach();
            ::alarm(20);
            return static_cast<int>(::syscall(SYS_exit, 0)); // of the thread
        })));
    }
}

TEST_CASE("a robust mutex that the child leaves locked tells who takes it next") {
    void* const page = ::mmap(nullptr, sizeof(pthread_mutex_t), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED); // NOLINT(*-cast,performance-no-int-to-ptr)
    auto* const mutex = static_cast<pthread_mutex_t*>(page);
    pthread_mutexattr_t how{};
    REQUIRE(::pthread_mutexattr_init(&how) == 0);
    REQUIRE(::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0);
    REQUIRE(::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0);
    const support::Container container{Kind::net | Kind::ipc};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    for (const nsjoin::Plan& plan :
         {nsjoin::Plan{nsjoin::JoinPlan{}}, plan_of(*target, Kind::net)}) {
        REQUIRE(::pthread_mutex_init(mutex, &how) == 0);
        CHECK(support::went_well(
            support::run(plan, [mutex] { return ::pthread_mutex_lock(mutex); })));
        CHECK(::pthread_mutex_trylock(mutex) == EOWNERDEAD);
        CHECK(::pthread_mutex_consistent(mutex) == 0);
        CHECK(::pthread_mutex_unlock(mutex) == 0);
    }
    ::munmap(page, sizeof(pthread_mutex_t));
}

TEST_CASE("errno is the caller's own, whatever a run comes to") {
    support::Container container{Kind::net | Kind::ipc};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const auto plan = plan_of(*target, Kind::net | Kind::ipc);
    const auto errno_after = [&plan] {
        errno = EXDEV;
        const auto side = nsjoin::join_and_clone(plan);
        const int now = errno;
        if (side && side->is_child()) {
            ::_exit(now == EXDEV ? 0 : 1);
        }
        CHECK((!side || side->child().wait()->exit_code() == 0));
        return now;
    };
    CHECK(errno_after() == EXDEV);
    container.end();
    CHECK(errno_after() == EXDEV);
}

TEST_CASE("a plan runs again and again, and is not changed by it") {
    const int code = support::run_in_child([] {
        const support::Container container{KindSet{nsjoin::all_kinds} - Kind::time};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto plan = plan_of(*target, nsjoin::all_kinds);
        const nsjoin::Plan copy = plan;
        const support::CallerState state;
        for (int i = 0; i < 100; ++i) {
            CHILD_CHECK(support::run(plan, [] { return 0; }).ok());
        }
        CHILD_CHECK(plan == copy);
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("an empty plan forks") {
    const int code =
        support::run_in_child([] { return enters(nsjoin::JoinPlan{}, ::getpid(), KindSet{}); });
    CHECK(code == 0);
}

TEST_CASE("the child gets the caller's descriptors, and none of the library's") {
    const int code = support::run_in_child([] {
        const support::Container container{nsjoin::all_kinds};
        const auto target = nsjoin::PidFd::open(container.pid());
        for (const KindSet kinds : {KindSet{nsjoin::all_kinds}, KindSet{Kind::net},
                                    KindSet{nsjoin::all_kinds} - Kind::time}) {
            const auto before = support::open_descriptors();
            const auto ran = support::run(plan_of(*target, kinds), [&] {
                CHILD_CHECK(support::open_descriptors() == before);
                return 0;
            });
            CHILD_CHECK(support::went_well(ran));
        }
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("caller and child have the signal mask that the caller had") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::net | Kind::ipc};
        const auto target = nsjoin::PidFd::open(container.pid());
        sigset_t set{};
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGUSR2);
        ::sigprocmask(SIG_SETMASK, &set, nullptr);
        const std::string mask = support::status_line("self", "SigBlk");
        const auto ran = support::run(plan_of(*target, Kind::net), [&] {
            return support::status_line("self", "SigBlk") == mask ? 0 : 1;
        });
        CHILD_CHECK(support::went_well(ran));
        CHILD_CHECK(support::status_line("self", "SigBlk") == mask);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("only what differs is joined: the own mount namespace leaves cwd as it is") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::net | Kind::ipc};
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto ran = support::run(plan_of(*target, Kind::net | Kind::mount), [] {
            std::array<char, 100> name{};
            CHILD_CHECK(::getcwd(name.data(), name.size()) != nullptr);
            CHILD_CHECK(std::string_view{name.data()} == "/tmp");
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("only what differs is joined: the own mount namespace leaves the chroot as it is") {
    const support::TemporaryDirectory root;
    for (const bool proc : {true, false}) {
        CAPTURE(proc);
        if (!proc && !support::has_pidfd_ioctls()) {
            support::skip("what differs, seen from a root without /proc: Linux 6.11");
            return;
        }
        const int code = support::run_in_child([&root, proc] {
            const char* const place = root.path().c_str();
            CHILD_CHECK(support::own_mounts());
            CHILD_CHECK(::mount("none", place, "tmpfs", 0, nullptr) == 0);
            CHILD_CHECK(::mkdir(root.file("proc").c_str(), 0755) == 0);
            CHILD_CHECK(::mkdir(root.file("here").c_str(), 0755) == 0);
            CHILD_CHECK(!proc ||
                        ::mount("proc", root.file("proc").c_str(), "proc", 0, nullptr) == 0);
            const support::Container container{Kind::user | Kind::net};
            const auto target = nsjoin::PidFd::open(container.pid());
            CHILD_CHECK(::chroot(place) == 0 && ::chdir("/") == 0);
            for (const KindSet kinds : {KindSet{Kind::net} | Kind::mount,
                                        KindSet{Kind::net} | Kind::mount | Kind::user}) {
                const auto ran = support::run(plan_of(*target, kinds),
                                              [] { return ::access("/here", F_OK) == 0 ? 0 : 1; });
                CHILD_CHECK(support::went_well(ran));
            }
            return 0;
        });
        CHECK(code == 0);
    }
}

TEST_CASE("a joined mount namespace moves root and cwd of the child only") {
    const int code = support::run_in_child([] {
        const support::Target target{[] {
            return support::own_mounts() && ::mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) == 0 &&
                   ::mkdir("/mnt/only-here", 0755) == 0;
        }};
        CHILD_CHECK(target.ok());
        CHILD_CHECK(::chdir("/tmp") == 0);
        const auto fd = nsjoin::PidFd::open(target.pid());
        const support::CallerState state;
        const auto ran = support::run(plan_of(*fd, Kind::mount), [] {
            CHILD_CHECK(::access("/mnt/only-here", F_OK) == 0);
            CHILD_CHECK(::access("only-here", F_OK) != 0);
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        CHILD_CHECK(state.holds());
        CHILD_CHECK(::access("/mnt/only-here", F_OK) != 0);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("joining one's own namespaces of every kind is nothing") {
    const int code = support::run_in_child([] {
        const auto self = nsjoin::PidFd::open(::getpid());
        CHILD_CHECK(enters(plan_of(*self, nsjoin::all_kinds), ::getpid(), KindSet{}) == 0);
        CHILD_CHECK(nsjoin::explain(plan_of(*self, nsjoin::all_kinds))
                        .find("join nothing (the caller is already in: user") == 0);
        std::vector<nsjoin::AnyNamespaceFd> own;
        nsjoin::Draft draft;
        own.reserve(nsjoin::kind_count);
        for (const Kind kind : KindSet{nsjoin::all_kinds}) {
            own.push_back(*nsjoin::AnyNamespaceFd::own(kind));
            draft.join(own.back());
        }
        return enters(*nsjoin::Plan::from(draft), ::getpid(), KindSet{});
    });
    CHECK(code == 0);
}

TEST_CASE("a shared user namespace does not keep the rest from being joined") {
    const int code = support::run_in_child([] {
        const KindSet others = KindSet{nsjoin::all_kinds} - Kind::user;
        const support::Container container{others};
        const auto target = nsjoin::PidFd::open(container.pid());
        return enters(plan_of(*target, nsjoin::all_kinds), container.pid(), others);
    });
    CHECK(code == 0);
}

TEST_CASE("a pending time namespace of the caller: what counts is where the children go") {
    const int code = support::run_in_child([] {
        const support::Container other{Kind::time | Kind::net};
        CHILD_CHECK(::unshare(CLONE_NEWTIME) == 0);
        const auto target = nsjoin::PidFd::open(other.pid());
        const auto wanted = support::spaces_of(other.pid());
        const KindSet kinds = Kind::time | Kind::net;
        CHILD_CHECK(support::went_well(support::run(
            plan_of(*target, kinds), [&] { return support::is_in(wanted, kinds) ? 0 : 1; })));
        // The caller's own time namespace is not the one that its children would be in.
        const auto own = support::spaces_of("self");
        const auto self = nsjoin::PidFd::open(::getpid());
        const auto ran = support::run(plan_of(*self, Kind::time),
                                      [&] { return support::is_in(own, Kind::time) ? 0 : 1; });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("a pending pid namespace of the caller: refused, and it stays usable") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::net | Kind::pid};
        const auto target = nsjoin::PidFd::open(container.pid());
        CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
        for (const KindSet kinds : {KindSet{Kind::net}, Kind::net | Kind::pid}) {
            const auto side = nsjoin::join_and_clone(plan_of(*target, kinds));
            CHILD_CHECK(!side && side.error().reason == nsjoin::Reason::pending_pid);
        }
        // A namespace whose init has ended takes no more processes.
        CHILD_CHECK(support::run_in_child([] { return ::getpid() == 1 ? 5 : 6; }) == 5);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("runc#4390: root joins a network that its user namespace does not own") {
    const int code = support::run_in_child([] {
        const support::Target target{[] {
            return ::unshare(CLONE_NEWNET) == 0 && support::new_user() &&
                   ::unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID) == 0;
        }};
        CHILD_CHECK(target.ok());
        const auto fd = nsjoin::PidFd::open(target.pid());
        const KindSet kinds = KindSet{Kind::user} | Kind::mount | Kind::ipc | Kind::uts | Kind::net;
        CHILD_CHECK(enters(plan_of(*fd, kinds), target.pid(), kinds) == 0);
        CHILD_CHECK(support::deny_setns_of_several(EINVAL));
        return enters(plan_of(*fd, kinds), target.pid(), kinds);
    });
    CHECK(code == 0);
}

TEST_CASE("runc#4466: the child is root of a user namespace that it joins, also for new files") {
    const int code = support::as_user(1000, [] {
        const support::Container container{KindSet{nsjoin::all_kinds} - Kind::time};
        CHILD_CHECK(container.ok());
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto ran = support::run(plan_of(*target, nsjoin::all_kinds), [] {
            CHILD_CHECK(::getuid() == 0 && ::geteuid() == 0 && ::getgid() == 0);
            CHILD_CHECK(support::status_line("self", "Uid") == "0\t0\t0\t0");
            CHILD_CHECK(support::status_line("self", "Gid") == "0\t0\t0\t0");
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("runc#4466: a created ipc namespace's message queues belong to the joined root") {
    const int code = support::as_user(1000, [] {
        const support::Container container{Kind::user | Kind::mount};
        CHILD_CHECK(container.ok());
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto plan = nsjoin::JoinPlan{}
                              .join(*target, nsjoin::kinds<Kind::user, Kind::mount>)
                              .create<Kind::ipc>();
        const auto ran = support::run(plan, [] {
            CHILD_CHECK(::mount("mqueue", "/mnt", "mqueue", 0, nullptr) == 0);
            struct stat about {};
            CHILD_CHECK(::stat("/mnt", &about) == 0);
            CHILD_CHECK(about.st_uid == 0 && about.st_gid == 0);
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("runc#960: user and pid of one container, net of another") {
    const int code = support::run_in_child([] {
        const support::Container one{KindSet{Kind::user} | Kind::pid | Kind::mount};
        const support::Container two{Kind::net | Kind::user};
        const auto a = nsjoin::PidFd::open(one.pid());
        const auto b = nsjoin::PidFd::open(two.pid());
        auto wanted = support::spaces_of(one.pid());
        wanted[Kind::net] = support::namespace_link(std::to_string(two.pid()), "net");
        const KindSet kinds = KindSet{Kind::user} | Kind::pid | Kind::net;
        const auto plan = nsjoin::JoinPlan{}
                              .join(*a, nsjoin::kinds<Kind::user, Kind::pid>)
                              .join(*b, nsjoin::kinds<Kind::net>);
        const auto ran = support::run(plan, [&] { return support::is_in(wanted, kinds) ? 0 : 1; });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("crun#1264: uid 1000 joins while the container's init is still the runtime's program") {
    const int code = support::as_user(1000, [] {
        for (int i = 0; i < 50; ++i) {
            const support::Container container{KindSet{nsjoin::all_kinds} - Kind::time};
            CHILD_CHECK(container.ok());
            const auto target = nsjoin::PidFd::open(container.pid());
            const auto ran = support::run(plan_of(*target, nsjoin::all_kinds), [] { return 0; });
            CHILD_CHECK(support::went_well(ran));
        }
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("crun#1264: a target that is not dumpable is refused cleanly to uid 1000") {
    const int code = support::as_user(1000, [] {
        const support::Target target{[] {
            return support::new_user() && ::unshare(CLONE_NEWNET) == 0 &&
                   ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
        }};
        CHILD_CHECK(target.ok());
        const auto fd = nsjoin::PidFd::open(target.pid());
        const support::CallerState state;
        const auto ran = support::run(plan_of(*fd, Kind::user | Kind::net), [] { return 0; });
        CHILD_CHECK(ran.error && (ran.error->code == EPERM || ran.error->code == EACCES));
        CHILD_CHECK(nsjoin::explain(*ran.error).find("ptrace") != std::string::npos);
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("lxc#4443: a shared network without the one call") {
    const int code = support::run_in_child([] {
        const KindSet kinds = KindSet{nsjoin::all_kinds} - Kind::net - Kind::time;
        const support::Container container{kinds};
        CHILD_CHECK(support::deny_setns_of_several(ENOSYS));
        const auto target = nsjoin::PidFd::open(container.pid());
        return enters(plan_of(*target, nsjoin::all_kinds), container.pid(), kinds);
    });
    CHECK(code == 0);
}

TEST_CASE("youki#185: the child is in the joined pid namespace, and its children too") {
    const int code = support::run_in_child([] {
        const support::Container container{Kind::pid | Kind::mount};
        const auto target = nsjoin::PidFd::open(container.pid());
        const auto wanted = support::spaces_of(container.pid());
        const auto ran = support::run(plan_of(*target, Kind::pid | Kind::mount), [&] {
            CHILD_CHECK(::getpid() == 2);
            CHILD_CHECK(support::is_in(wanted, Kind::pid));
            CHILD_CHECK(support::run_in_child([] { return ::getpid() == 3 ? 0 : 1; }) == 0);
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("youki#674: a target whose mount namespace has no usable /proc") {
    const int code = support::run_in_child([] {
        const KindSet kinds = KindSet{Kind::mount} | Kind::net | Kind::ipc | Kind::uts | Kind::user;
        const support::Target target{[] {
            return support::new_user() && support::own_mounts() &&
                   ::unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0 &&
                   ::mount("none", "/proc", "tmpfs", 0, nullptr) == 0;
        }};
        CHILD_CHECK(target.ok());
        const auto fd = nsjoin::PidFd::open(target.pid());
        const auto wanted = nsjoin::NamespaceFd<Kind::net>::open(*fd);
        const auto check = [&] {
            CHILD_CHECK(::access("/proc/self", F_OK) != 0);
            const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
            const int net = ::ioctl(socket, 0x894C /* SIOCGSKNS */);
            struct stat own {};
            struct stat other {};
            CHILD_CHECK(::fstat(net, &own) == 0 && ::fstat(wanted->fd().get(), &other) == 0);
            CHILD_CHECK(own.st_ino == other.st_ino);
            return 0;
        };
        CHILD_CHECK(support::went_well(support::run(plan_of(*fd, kinds), check)));
        CHILD_CHECK(support::deny_setns_of_several(EINVAL));
        CHILD_CHECK(support::went_well(support::run(plan_of(*fd, kinds), check)));
        return 0;
    });
    CHECK(code == 0);
}
