// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/create_namespaces.hpp>
#include <nsjoin/launcher.hpp>

#include "spawn_support.hpp"

#include <doctest/doctest.h>

#include <sys/mount.h>

// Namespaces without a child: created, found, pinned, and joined by several children.

using nsjoin::AnyNamespaceSet;
using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::NamespaceSet;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

constexpr KindSet without_pid = KindSet{nsjoin::all_kinds} - Kind::pid;

/// The namespace's inode, or 0.
auto inode(nsjoin::BorrowedFd fd) -> ino_t {
    struct stat about {};

    return ::fstat(fd.get(), &about) == 0 ? about.st_ino : 0;
}

auto own_inode(std::string_view name) -> ino_t {
    struct stat about {};

    const std::string path = "/proc/self/ns/" + std::string{name};
    return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

/// All that a set can have, furnished.
auto all_of_them() {
    return JoinPlan{}
        .create(support::own_root())
        .create<Kind::mount, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup, Kind::time>()
        .time_offsets({std::chrono::seconds{100}, std::chrono::seconds{100}})
        .host_name("pod")
        .loopback_up();
}

} // namespace

TEST_CASE("namespaces are created without a child, and several children join them") {
    const support::NothingLeft nothing_left;
    const support::CallerState state;
    {
        const auto gone = nsjoin::create_namespaces(all_of_them());
        REQUIRE(gone);
    }
    CHECK(state.changes() == "");
    const auto pod = nsjoin::create_namespaces(all_of_them());
    REQUIRE(pod);
    CHECK(pod->kinds() == without_pid);
    const AnyNamespaceSet& any = *pod;
    for (const Kind kind : without_pid) {
        CHECK(support::closes_on_exec(any.fd(kind).get()));
        CHECK(inode(any.fd(kind)) != own_inode(nsjoin::facts(kind).name));
    }
    const auto plan = JoinPlan{}.join(*pod).create<Kind::pid>();
    const char* script = "hostname; echo $$; cat /sys/class/net/lo/operstate >/dev/null && "
                         "readlink /proc/self/ns/net";
    const std::string inside =
        "pod\n1\nnet:[" + std::to_string(inode(pod->fd<Kind::net>())) + "]\n";
    CHECK(support::wrote(support::shell(plan, script), inside));
    CHECK(support::wrote(support::shell(plan, script), inside));
    const auto launcher = nsjoin::Launcher::start();
    REQUIRE(launcher);
    const auto prepared = launcher->prepare(plan);
    REQUIRE(prepared);
    CHECK(support::wrote(support::shell(support::Execute{[&](const nsjoin::Command& command) {
                                            return prepared->exec(command);
                                        }},
                                        script),
                         inside));
}

TEST_CASE("a user makes a set, and joins it") {
    CHECK(support::as_user(1000, [] {
              const auto pod = nsjoin::create_namespaces(all_of_them());
              CHILD_CHECK(pod);
              const std::array<const char*, 4> words{"sh", "-c", "test $(hostname) = pod", nullptr};
              const auto child = nsjoin::join_and_exec(
                  JoinPlan{}.join(*pod),
                  {.program = nsjoin::Program::at("/bin/sh"), .arguments = words});
              CHILD_CHECK(child);
              return child->wait()->exit_code();
          }) == 0);
}

TEST_CASE("what is created in a set is furnished, and belongs to its user namespace") {
    const auto pod = nsjoin::create_namespaces(all_of_them());
    REQUIRE(pod);
    const auto user = nsjoin::AnyNamespaceFd::adopt(
        nsjoin::OwnedFd{::fcntl(pod->fd<Kind::user>().get(), F_DUPFD_CLOEXEC, 0)});
    const auto net = nsjoin::NamespaceFd<Kind::net>::adopt(
        nsjoin::OwnedFd{::fcntl(pod->fd<Kind::net>().get(), F_DUPFD_CLOEXEC, 0)});
    REQUIRE(user);
    REQUIRE(net);
    const auto owner = net->owner();
    REQUIRE(owner);
    CHECK(*owner->id() == *user->id());
    const auto uptime = support::shell(nsjoin::Plan{JoinPlan{}.join(*pod)}, "cat /proc/uptime");

    struct timespec now {};

    REQUIRE(::clock_gettime(CLOCK_BOOTTIME, &now) == 0);
    CHECK(std::atof(uptime.text.c_str()) >= static_cast<double>(now.tv_sec) + 99);
}

TEST_CASE("a plan of run time creates a set as well; its kinds then are its type") {
    const support::NothingLeft nothing_left;
    nsjoin::Draft draft;
    draft.maps = support::own_root();
    draft.created = nsjoin::kinds<Kind::user, Kind::net, Kind::uts>;
    const auto plan = nsjoin::Plan::from(draft);
    REQUIRE(plan);
    auto any = nsjoin::create_namespaces(*plan);
    REQUIRE(any);
    CHECK(any->kinds() == draft.created);
    const ino_t net = inode(any->fd(Kind::net));
    auto lacks = std::move(*any).as<Kind::net, Kind::ipc>();
    CHECK(support::fails_with(lacks, Step::open_namespace, Reason::wrong_kind));
    const auto typed = std::move(*any).as<Kind::uts, Kind::net>();
    REQUIRE(typed);
    CHECK(inode(typed->fd<Kind::net>()) == net);
    const auto other_order = nsjoin::create_namespaces(
        JoinPlan{}.create(support::own_root()).create<Kind::net, Kind::ipc>());
    REQUIRE(other_order);
    static_assert(std::is_convertible_v<NamespaceSet<Kind::net, Kind::ipc>,
                                        NamespaceSet<Kind::ipc, Kind::net>>);
    static_assert(
        !std::is_convertible_v<NamespaceSet<Kind::net, Kind::ipc>, NamespaceSet<Kind::net>>);
}

TEST_CASE("what a set can't be is refused before there is a process") {
    const auto refused = [](nsjoin::Draft draft) {
        draft.maps = draft.created.contains(Kind::user) ? draft.maps : std::nullopt;
        const auto plan = nsjoin::Plan::from(draft);
        return plan && support::fails_with(nsjoin::create_namespaces(*plan), Step::check_plan,
                                           Reason::bad_value);
    };
    nsjoin::Draft none;
    CHECK(refused(none));
    nsjoin::Draft pid;
    pid.created = nsjoin::kinds<Kind::pid, Kind::net>;
    CHECK(refused(pid));
    nsjoin::Draft process;
    process.created = Kind::net;
    process.umask = 0;
    CHECK(refused(process));
}

TEST_CASE("a failure in the middle leaves nothing, and says where it was") {
    const support::NothingLeft nothing_left;
    const auto fails = []() noexcept -> nsjoin::Result<void> {
        return nsjoin::failed_inside("no", EROFS);
    };
    CHECK(support::fails_with(
        nsjoin::create_namespaces(all_of_them().inside<nsjoin::Moment::last>(fails)),
        Step::call_last, Reason::inside_failed, EROFS));
    CHECK(support::run_in_child([] {
              if (!support::deny_syscall(SYS_unshare, EPERM)) {
                  return 1;
              }
              const auto denied = nsjoin::create_namespaces(
                  JoinPlan{}.create(support::own_root()).create<Kind::cgroup>());
              return !denied && denied.error().step == Step::create_cgroup ? 0 : 2;
          }) == 0);
}

TEST_CASE("the namespaces of a process are a set") {
    const support::Container container{nsjoin::kinds<Kind::net, Kind::uts>};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const auto set = NamespaceSet<Kind::net, Kind::uts, Kind::ipc>::open(*target);
    REQUIRE(set);
    CHECK(inode(set->fd<Kind::ipc>()) == own_inode("ipc"));
    CHECK(inode(set->fd<Kind::net>()) != own_inode("net"));
    CHECK(support::fails_with(AnyNamespaceSet::open("/nowhere"), Step::open_namespace,
                              Reason::system, ENOENT));
}

TEST_CASE("a set is pinned in a directory, found there again, and unpinned") {
    if (::geteuid() != 0) {
        support::skip("needs root, to mount");
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const std::string path = directory.file("pod");
              {
                  const auto pod = nsjoin::create_namespaces(
                      JoinPlan{}.create<Kind::net, Kind::uts, Kind::ipc>().host_name("pinned"));
                  CHILD_CHECK(pod);
                  CHILD_CHECK(pod->pin(path.c_str()));
                  CHILD_CHECK(support::fails_with(pod->pin(path.c_str()), Step::pin_namespace,
                                                  Reason::system, EEXIST));
              }
              const auto found = AnyNamespaceSet::open(path.c_str());
              CHILD_CHECK(found);
              CHILD_CHECK(found->kinds() ==
                          KindSet{nsjoin::kinds<Kind::net, Kind::uts, Kind::ipc>});
              nsjoin::Draft draft;
              draft.join(*found);
              const auto plan = nsjoin::Plan::from(draft);
              CHILD_CHECK(plan);
              CHILD_CHECK(support::wrote(support::shell(*plan, "hostname"), "pinned\n"));
              CHILD_CHECK(support::fails_with(NamespaceSet<Kind::user>::open(path.c_str()),
                                              Step::open_namespace, Reason::wrong_kind));
              CHILD_CHECK(AnyNamespaceSet::unpin(path.c_str()));
              CHILD_CHECK(::access(path.c_str(), F_OK) != 0);
              CHILD_CHECK(support::fails_with(AnyNamespaceSet::unpin(path.c_str()),
                                              Step::unpin_namespace, Reason::system, ENOENT));
              return 0;
          }) == 0);
}

TEST_CASE("what was there before stays where a set can't be pinned, and no link is followed") {
    if (::geteuid() != 0) {
        support::skip("needs root, to mount");
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const std::string path = directory.file("pod");
              const std::string victim = directory.file("victim");
              CHILD_CHECK(::mkdir(path.c_str(), 0755) == 0);
              CHILD_CHECK(::mkdir((path + "/uts").c_str(), 0755) == 0); // in the way
              CHILD_CHECK(support::write_script(path + "/net", "precious"));
              const auto pod = nsjoin::create_namespaces(JoinPlan{}.create<Kind::net, Kind::uts>());
              CHILD_CHECK(pod);
              CHILD_CHECK(!pod->pin(path.c_str()));
              CHILD_CHECK(support::slurp(path + "/net") == "precious");
              CHILD_CHECK(::unlink((path + "/net").c_str()) == 0);
              CHILD_CHECK(::rmdir((path + "/uts").c_str()) == 0);
              CHILD_CHECK(support::write_script(victim, "untouched"));
              CHILD_CHECK(::symlink(victim.c_str(), (path + "/net").c_str()) == 0);
              CHILD_CHECK(support::fails_with(pod->pin(path.c_str()), Step::pin_namespace,
                                              Reason::system, ELOOP));
              CHILD_CHECK(support::slurp(victim) == "untouched");
              CHILD_CHECK(::access((path + "/net").c_str(), F_OK) == 0);
              return 0;
          }) == 0);
}

TEST_CASE("a set that can't be pinned whole is not pinned at all") {
    if (::geteuid() != 0) {
        support::skip("needs root, to mount");
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const std::string path = directory.file("pod");
              CHILD_CHECK(::mkdir(path.c_str(), 0755) == 0);
              CHILD_CHECK(::mkdir((path + "/uts").c_str(), 0755) == 0); // in the way
              const auto pod = nsjoin::create_namespaces(JoinPlan{}.create<Kind::net, Kind::uts>());
              CHILD_CHECK(pod);
              CHILD_CHECK(!pod->pin(path.c_str()));
              CHILD_CHECK(::access((path + "/net").c_str(), F_OK) != 0);
              CHILD_CHECK(::rmdir((path + "/uts").c_str()) == 0);
              CHILD_CHECK(::rmdir(path.c_str()) == 0);
              return 0;
          }) == 0);
}

TEST_CASE("a prepared plan clones as well as it executes") {
    const support::NothingLeft nothing_left;
    support::Container container{nsjoin::kinds<Kind::net, Kind::uts, Kind::pid>};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    const auto prepared = nsjoin::PreparedPlan::prepare(
        JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::uts, Kind::pid>));
    REQUIRE(prepared);
    const std::string net = support::namespace_link(std::to_string(container.pid()), "net");
    for (int i = 0; i < 2; ++i) {
        auto side = prepared->clone();
        REQUIRE(side);
        if (side->is_child()) {
            ::_exit(support::namespace_link("thread-self", "net") == net && ::getpid() != 1 ? 0
                                                                                            : 1);
        }
        CHECK(side->child().wait()->exit_code() == 0);
    }
}
