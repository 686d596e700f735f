// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/namespace_fd.hpp>

#include "support.hpp"

#include <string>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <type_traits>

using nsjoin::AnyNamespaceFd;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::NamespaceFd;
using nsjoin::OwnedFd;
using nsjoin::PidFd;
using nsjoin::Reason;
using nsjoin::Step;
using support::fails_with;

namespace {

using NetFd = NamespaceFd<Kind::net>;
using PidNsFd = NamespaceFd<Kind::pid>;
using UserFd = NamespaceFd<Kind::user>;

static_assert(!std::is_copy_constructible_v<AnyNamespaceFd>);
static_assert(!std::is_copy_constructible_v<NetFd>);
static_assert(std::is_nothrow_move_constructible_v<NetFd>);
static_assert(!std::is_constructible_v<NetFd, OwnedFd> && !std::is_constructible_v<NetFd, int>);
static_assert(!std::is_convertible_v<AnyNamespaceFd, NetFd>);
static_assert(!std::is_convertible_v<UserFd, NetFd> && !std::is_assignable_v<NetFd&, UserFd>);
static_assert(std::is_convertible_v<NetFd&, const AnyNamespaceFd&>);
static_assert(!std::is_convertible_v<NetFd, const AnyNamespaceFd&>);

template <typename T>
concept LendsFd = requires(T&& value) {
    static_cast<T&&>(value).fd();
};

template <typename T>
concept HasParent = requires(const T& value) {
    value.parent();
};

template <typename T>
concept HasOwnerUid = requires(const T& value) {
    value.owner_uid();
};

template <typename T>
concept HasForChildren = requires {
    T::own_for_children();
};
template <typename T>
concept OpensNull = requires {
    T::open(nullptr);
};

template <typename T>
concept Retypes = requires(T&& value) {
    static_cast<T&&>(value).template as<Kind::net>();
};

static_assert(LendsFd<NetFd&> && !LendsFd<NetFd>);
static_assert(LendsFd<AnyNamespaceFd&> && !LendsFd<AnyNamespaceFd>);
static_assert(HasParent<PidNsFd> && HasParent<UserFd> && !HasParent<NetFd>);
static_assert(HasOwnerUid<UserFd> && !HasOwnerUid<PidNsFd>);
static_assert(HasForChildren<PidNsFd> && HasForChildren<NamespaceFd<Kind::time>>);
static_assert(!HasForChildren<UserFd>);
static_assert(!OpensNull<NetFd> && !OpensNull<AnyNamespaceFd>);
static_assert(Retypes<AnyNamespaceFd> && !Retypes<AnyNamespaceFd&>);

auto inode_of(const std::string& path) -> ino_t {
    struct stat facts {};

    return ::stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
}

auto entry(pid_t pid, std::string_view name) -> std::string {
    return "/proc/" + std::to_string(pid) + "/ns/" + std::string{name};
}

auto inode_of(const AnyNamespaceFd& space) -> ino_t {
    const auto id = space.id();
    return id ? id->inode : 0;
}

/// Whether the eight namespaces of the target are opened rightly, with close-on-exec.
auto opens_all_of(const PidFd& target) -> bool {
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        const auto space = AnyNamespaceFd::open(row.kind, target);
        if (!space || space->kind() != row.kind || !support::closes_on_exec(space->fd().get()) ||
            inode_of(*space) != inode_of(entry(target.pid(), row.name))) {
            return false;
        }
    }
    return true;
}

TEST_CASE("the namespaces of a process, by its pidfd") {
    const support::NothingLeft check;
    const support::Container container{nsjoin::all_kinds};
    REQUIRE(container.ok());
    const auto target = PidFd::open(container.pid());
    REQUIRE(target);
    CHECK(opens_all_of(*target));

    const auto net = NetFd::open(container.pid());
    REQUIRE(net);
    CHECK(net->kind() == Kind::net);
    CHECK(inode_of(*net) == inode_of(entry(container.pid(), "net")));
    CHECK(inode_of(*net) != inode_of("/proc/self/ns/net"));
}

TEST_CASE("without the pidfd's ioctls: by /proc") {
    const support::Container container{nsjoin::all_kinds};
    REQUIRE(container.ok());
    for (const int error : {ENOTTY, EINVAL, EPERM, ENOSYS}) {
        CAPTURE(error);
        CHECK(support::run_in_child([&] {
                  const support::NothingLeft check;
                  CHILD_CHECK(support::deny_pidfd_ioctls(error));
                  const auto target = PidFd::open(container.pid());
                  CHILD_CHECK(target);
                  CHILD_CHECK(opens_all_of(*target));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("by /proc, the pid is that of the pid namespace which /proc shows") {
    const support::Container container{Kind::net};
    REQUIRE(container.ok());
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY));
              auto opened = PidFd::open(container.pid());
              CHILD_CHECK(opened);
              const PidFd numbered_elsewhere{opened->release(), 1};
              const auto net = NetFd::open(numbered_elsewhere);
              CHILD_CHECK(net);
              CHILD_CHECK(inode_of(*net) == inode_of(entry(container.pid(), "net")));
              return 0;
          }) == 0);
}

TEST_CASE("a process that is gone, by either way") {
    support::Container container{Kind::net};
    REQUIRE(container.ok());
    const auto target = PidFd::open(container.pid());
    REQUIRE(target);
    const auto refused = [&](Kind kind) {
        const support::NothingLeft check;
        const auto result = AnyNamespaceFd::open(kind, *target);
        return check.holds() && fails_with(result, Step::open_namespace, Reason::process_gone) &&
               result.error().subject.view() ==
                   std::string{facts(kind).name} + " of pid " + std::to_string(target->pid());
    };
    const auto by_proc = [&](Kind kind) {
        return support::run_in_child([&] {
            CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY));
            CHILD_CHECK(refused(kind));
            return 0;
        });
    };
    container.kill(); // a zombie still has an entry in /proc, and its user namespace can be opened
    CHECK(inode_of(entry(container.pid(), "user")) != 0);
    CHECK(refused(Kind::net));
    CHECK(by_proc(Kind::net) == 0);
    CHECK(by_proc(Kind::user) == 0);
    const pid_t pid = container.pid();
    container.end();
    CHECK(refused(Kind::net));
    CHECK(by_proc(Kind::net) == 0);
    CHECK(fails_with(NetFd::open(pid), Step::open_pidfd, Reason::system, ESRCH));
}

TEST_CASE("a reused pid is never taken for the target") {
    support::Container first{Kind::net};
    REQUIRE(first.ok());
    const pid_t pid = first.pid();
    const auto target = PidFd::open(pid);
    REQUIRE(target);
    first.end();
    const support::Container second{Kind::net, pid};
    if (!second.ok()) {
        support::skip("another process took the pid, or clone3 can't choose one");
        return;
    }
    CHECK(fails_with(NetFd::open(*target), Step::open_namespace, Reason::process_gone));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY));
              CHILD_CHECK(
                  fails_with(NetFd::open(*target), Step::open_namespace, Reason::process_gone));
              return 0;
          }) == 0);
}

TEST_CASE("without the right to look at the target") {
    const support::Container container{Kind::net};
    REQUIRE(container.ok());
    for (const bool by_proc : {false, true}) {
        CAPTURE(by_proc);
        CHECK(support::as_user(65534, [&] {
                  const support::NothingLeft check;
                  CHILD_CHECK(!by_proc || support::deny_pidfd_ioctls(ENOTTY));
                  CHILD_CHECK(fails_with(NetFd::open(container.pid()), Step::open_namespace,
                                         Reason::system, EACCES));
                  CHILD_CHECK(check.holds());
                  return 0;
              }) == 0);
    }
}

TEST_CASE("a kernel that lacks the kind, as the ioctl says it") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_pidfd_ioctls(EOPNOTSUPP));
              CHILD_CHECK(fails_with(NamespaceFd<Kind::time>::open(::getpid()),
                                     Step::open_namespace, Reason::no_such_kind));
              return 0;
          }) == 0);
}

TEST_CASE("a kernel that lacks the kind, as /proc shows it") {
    const support::Container container{KindSet{}};
    REQUIRE(container.ok());
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY));
              CHILD_CHECK(support::own_mounts());
              const auto hide = [](const std::string& path) {
                  return ::mount("none", path.c_str(), "tmpfs", 0, nullptr) == 0;
              };
              const auto self = std::to_string(::getpid());
              CHILD_CHECK(hide("/proc/" + std::to_string(container.pid()) + "/ns"));
              // The kernel has the kind, the target only does not show it.
              CHILD_CHECK(fails_with(NetFd::open(container.pid()), Step::open_namespace,
                                     Reason::system, ENOENT));
              CHILD_CHECK(hide("/proc/" + self + "/task/" + self + "/ns"));
              const support::NothingLeft check;
              CHILD_CHECK(fails_with(NetFd::open(container.pid()), Step::open_namespace,
                                     Reason::no_such_kind));
              CHILD_CHECK(fails_with(NetFd::own(), Step::open_namespace, Reason::no_such_kind));
              CHILD_CHECK(check.holds());
              return 0;
          }) == 0);
}

TEST_CASE("a /proc that is not the kernel's is not asked") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY));
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const std::string path = directory.file("never-made");
              const auto net = NetFd::own();
              CHILD_CHECK(net);
              CHILD_CHECK(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
              CHILD_CHECK(fails_with(NetFd::open(::getpid()), Step::open_proc, Reason::not_procfs));
              CHILD_CHECK(fails_with(NetFd::own(), Step::open_proc, Reason::not_procfs));
              CHILD_CHECK(fails_with(net->pin(path.c_str()), Step::open_proc, Reason::not_procfs));
              CHILD_CHECK(::access(path.c_str(), F_OK) != 0);
              return 0;
          }) == 0);
}

TEST_CASE("another file in the place of the entry in /proc") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const auto self = std::to_string(::getpid());
              const std::string ns = "/proc/" + self + "/task/" + self + "/ns";
              CHILD_CHECK(::mount("none", ns.c_str(), "tmpfs", 0, nullptr) == 0);
              CHILD_CHECK(::symlink("/proc/self/ns/uts", (ns + "/net").c_str()) == 0);
              CHILD_CHECK(::symlink("/etc/hostname", (ns + "/ipc").c_str()) == 0);
              const support::NothingLeft check;
              CHILD_CHECK(fails_with(NetFd::own(), Step::open_namespace, Reason::wrong_kind));
              CHILD_CHECK(fails_with(AnyNamespaceFd::own(Kind::net), Step::open_namespace,
                                     Reason::wrong_kind));
              CHILD_CHECK(fails_with(NamespaceFd<Kind::ipc>::own(), Step::open_namespace,
                                     Reason::not_a_namespace));
              CHILD_CHECK(check.holds());
              return 0;
          }) == 0);
}

TEST_CASE("one's own namespaces") {
    const support::NothingLeft check;
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        const auto space = AnyNamespaceFd::own(row.kind);
        REQUIRE(space);
        CHECK(space->kind() == row.kind);
        CHECK(inode_of(*space) == inode_of(entry(::getpid(), row.name)));
        CHECK(support::closes_on_exec(space->fd().get()));
    }
    CHECK(NetFd::own());
}

TEST_CASE("those of later children") {
    CHECK(support::run_in_child([] {
              const auto before = inode_of("/proc/self/ns/pid");
              CHILD_CHECK(::unshare(CLONE_NEWPID) == 0);
              const support::NothingLeft check;
              // No process was in it yet, and so /proc does not show it, but for newer kernels'.
              if (const auto empty = PidNsFd::own_for_children()) {
                  CHILD_CHECK(inode_of(*empty) != before);
              } else {
                  CHILD_CHECK(fails_with(empty, Step::open_namespace, Reason::system, ENOENT));
              }
              CHILD_CHECK(check.holds());
              const support::Container init{KindSet{}};
              const auto inside = inode_of(entry(::getpid(), "pid_for_children"));
              CHILD_CHECK(inside != before);
              const auto own = PidNsFd::own_for_children();
              CHILD_CHECK(own && inode_of(*own) == inside);
              const auto self = PidFd::open(::getpid());
              CHILD_CHECK(self);
              const auto opened = PidNsFd::open_for_children(*self);
              CHILD_CHECK(opened && inode_of(*opened) == inside);
              CHILD_CHECK(PidNsFd::open(*self)->id()->inode == before);
              CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY));
              const auto by_proc = PidNsFd::open_for_children(*self);
              CHILD_CHECK(by_proc && inode_of(*by_proc) == inside);
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::unshare(0x80 /* CLONE_NEWTIME */) == 0);
              const auto later = NamespaceFd<Kind::time>::own_for_children();
              const auto now = NamespaceFd<Kind::time>::own();
              CHILD_CHECK(later && now);
              const auto same = is_same(*later, *now);
              CHILD_CHECK(same && !*same);
              const auto self = PidFd::open(::getpid());
              const auto opened = NamespaceFd<Kind::time>::open_for_children(*self);
              CHILD_CHECK(opened && inode_of(*opened) == inode_of(*later));
              return 0;
          }) == 0);
    const auto self = PidFd::open(::getpid());
    REQUIRE(self);
    CHECK(fails_with(AnyNamespaceFd::open_for_children(Kind::net, *self), Step::open_namespace,
                     Reason::bad_value));
    CHECK(fails_with(AnyNamespaceFd::own_for_children(Kind::net), Step::open_namespace,
                     Reason::bad_value));
}

TEST_CASE("by path: the kind is found out, or checked") {
    const support::NothingLeft check;
    const auto any = AnyNamespaceFd::open("/proc/self/ns/uts");
    REQUIRE(any);
    CHECK(any->kind() == Kind::uts);
    CHECK(support::closes_on_exec(any->fd().get()));
    CHECK(NamespaceFd<Kind::uts>::open("/proc/self/ns/uts"));
    const auto wrong = NetFd::open("/proc/self/ns/uts");
    REQUIRE(fails_with(wrong, Step::open_namespace, Reason::wrong_kind));
    CHECK(wrong.error().subject.view() == "/proc/self/ns/uts: a uts namespace");
    CHECK(fails_with(AnyNamespaceFd::open("/does/not/exist"), Step::open_namespace, Reason::system,
                     ENOENT));
}

TEST_CASE("a path to something else has no effect") {
    const support::NothingLeft check;
    const support::TemporaryDirectory directory;
    const auto not_one = [](const std::string& path) {
        const auto result = AnyNamespaceFd::open(path.c_str());
        return fails_with(result, Step::open_namespace, Reason::not_a_namespace) &&
               result.error().subject.view() == path;
    };
    CHECK(not_one(directory.path()));
    CHECK(not_one("/proc/self/status"));
    CHECK(not_one("/dev/null"));

    const std::string fifo = directory.file("fifo");
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(support::run_in_child([&] {
              ::alarm(5);
              CHILD_CHECK(not_one(fifo));
              return 0;
          }) == 0);
    // Nor does a writer that waits for a reader take the look for one.
    const pid_t writer = ::fork();
    if (writer == 0) {
        ::_exit(::open(fifo.c_str(), O_WRONLY | O_CLOEXEC) >= 0 ? 0 : 1);
    }
    while (support::state_and_parent(writer).first != 'S') {
        ::usleep(1000);
    }
    CHECK(not_one(fifo));
    ::usleep(20'000);
    CHECK(support::state_and_parent(writer).first == 'S');
    ::kill(writer, SIGKILL);
    support::wait_for(writer);
    ::unlink(fifo.c_str());

    // A device without a driver: whoever opens it gets ENXIO.
    const std::string device = directory.file("device");
    if (::mknod(device.c_str(), S_IFCHR | 0600, makedev(240, 255)) == 0) {
        CHECK(not_one(device));
        ::unlink(device.c_str());
    } else {
        support::skip("no right to make a device node");
    }
}

TEST_CASE("adopted descriptors are verified, and closed if they are something else") {
    const support::NothingLeft check;
    const auto opened = [](const char* path, int flags) {
        return OwnedFd{::open(path, flags | O_CLOEXEC)};
    };
    CHECK(NetFd::adopt(opened("/proc/self/ns/net", O_RDONLY)));
    const auto any = AnyNamespaceFd::adopt(opened("/proc/self/ns/ipc", O_RDONLY));
    REQUIRE(any);
    CHECK(any->kind() == Kind::ipc);
    CHECK(fails_with(NetFd::adopt(opened("/proc/self/ns/ipc", O_RDONLY)), Step::open_namespace,
                     Reason::wrong_kind));
    CHECK(fails_with(NetFd::adopt(opened("/dev/null", O_RDONLY)), Step::open_namespace,
                     Reason::not_a_namespace));
    CHECK(fails_with(NetFd::adopt(opened("/proc/self/ns/net", O_PATH)), Step::open_namespace,
                     Reason::system, EBADF));
    CHECK(fails_with(NetFd::adopt(OwnedFd{}), Step::open_namespace, Reason::not_a_namespace));
}

TEST_CASE("a kernel without NS_GET_NSTYPE: the kind by the name in /proc/self/fd") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_ioctl(nsjoin::detail::ns_get_nstype, ENOTTY));
              for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
                  const auto space = AnyNamespaceFd::open(entry(::getpid(), row.name).c_str());
                  CHILD_CHECK(space && space->kind() == row.kind);
              }
              CHILD_CHECK(fails_with(NetFd::open("/proc/self/ns/uts"), Step::open_namespace,
                                     Reason::wrong_kind));
              CHILD_CHECK(fails_with(NetFd::open("/dev/null"), Step::open_namespace,
                                     Reason::not_a_namespace));
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const std::string path = directory.file("net");
              const auto net = NetFd::own();
              CHILD_CHECK(net && net->pin(path.c_str()));
              CHILD_CHECK(support::deny_ioctl(nsjoin::detail::ns_get_nstype, ENOTTY));
              const support::NothingLeft check;
              CHILD_CHECK(fails_with(NetFd::open(path.c_str()), Step::open_namespace,
                                     Reason::system, ENOTTY));
              CHILD_CHECK(check.holds());
              CHILD_CHECK(AnyNamespaceFd::unpin(path.c_str()));
              return 0;
          }) == 0);
}

TEST_CASE("no descriptor left") {
    const bool has_ioctls = support::has_pidfd_ioctls();
    CHECK(support::run_in_child([has_ioctls] {
              const support::NothingLeft check;
              const auto self = PidFd::open(::getpid());
              const rlimit few{static_cast<rlim_t>(self->fd().get()) + 1, 4096};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
              // Without an ioctl for it, the way goes by /proc.
              CHILD_CHECK(fails_with(NetFd::open(*self),
                                     has_ioctls ? Step::open_namespace : Step::open_proc,
                                     Reason::system, EMFILE));
              CHILD_CHECK(fails_with(NetFd::open("/proc/self/ns/net"), Step::open_namespace,
                                     Reason::system, EMFILE));
              CHILD_CHECK(fails_with(NetFd::own(), Step::open_proc, Reason::system, EMFILE));
              return 0;
          }) == 0);
}

TEST_CASE("from a kind known at run time to one in the type, and back") {
    const support::NothingLeft check;
    auto any = AnyNamespaceFd::own(Kind::net);
    REQUIRE(any);
    const auto inode = inode_of(*any);
    const auto wrong = std::move(*any).as<Kind::user>();
    REQUIRE(fails_with(wrong, Step::open_namespace, Reason::wrong_kind));
    CHECK(wrong.error().subject.view() == "a net namespace");
    CHECK(inode_of(*any) == inode); // still here
    auto net = std::move(*any).as<Kind::net>();
    REQUIRE(net);
    CHECK_FALSE(any->fd().ok()); // NOLINT(bugprone-use-after-move): moved out
    CHECK(fails_with(any->id(), Step::read_namespace, Reason::system, EBADF));
    const AnyNamespaceFd back = std::move(*net).any();
    CHECK(inode_of(back) == inode);
    CHECK(fails_with(is_same(*any, back), Step::read_namespace, Reason::system, EBADF));
}

TEST_CASE("released descriptors are the caller's") {
    const support::NothingLeft check;
    auto net = NetFd::own();
    REQUIRE(net);
    const OwnedFd fd = net->release();
    CHECK(fd.ok());
    CHECK_FALSE(net->fd().ok());
}

TEST_CASE("same or not") {
    const support::NothingLeft check;
    const support::Container container{Kind::net};
    const auto mine = NetFd::own();
    const auto again = NetFd::own();
    const auto other = NetFd::open(container.pid());
    REQUIRE(mine);
    REQUIRE(again);
    REQUIRE(other);
    CHECK(is_same(*mine, *again).value());
    CHECK_FALSE(is_same(*mine, *other).value());
    CHECK(*mine->id() == *again->id());
    auto gone = nsjoin::AnyNamespaceFd::own(Kind::net);
    REQUIRE(gone);
    { const nsjoin::OwnedFd closed = gone->release(); }
    CHECK(fails_with(is_same(*gone, *gone), Step::read_namespace, Reason::system, EBADF));
}

TEST_CASE("who owns a namespace") {
    const support::NothingLeft check;
    const support::Container container{Kind::user | Kind::net | Kind::pid};
    REQUIRE(container.ok());
    const auto net = NetFd::open(container.pid());
    const auto user = UserFd::open(container.pid());
    const auto pid = PidNsFd::open(container.pid());
    REQUIRE(net);
    REQUIRE(user);
    REQUIRE(pid);
    const auto owner = net->owner();
    REQUIRE(owner);
    CHECK(support::closes_on_exec(owner->fd().get()));
    CHECK(is_same(*owner, *user).value());
    CHECK(user->owner_uid().value() == ::geteuid());
    const auto parent = user->parent();
    REQUIRE(parent);
    CHECK(*parent->id() == *UserFd::own()->id());
    CHECK(*pid->parent()->id() == *PidNsFd::own()->id());
    CHECK(fails_with(parent->parent(), Step::read_namespace, Reason::system, EPERM));

    const AnyNamespaceFd& any = *net;
    CHECK(fails_with(any.parent(), Step::read_namespace, Reason::system, EINVAL));
    CHECK(fails_with(any.owner_uid(), Step::read_namespace, Reason::system, EINVAL));
}

TEST_CASE("the owner outside of one's own user namespace is not shown") {
    CHECK(support::run_in_child([] {
              const auto net = NetFd::own();
              CHILD_CHECK(::unshare(CLONE_NEWUSER) == 0);
              CHILD_CHECK(fails_with(net->owner(), Step::read_namespace, Reason::system, EPERM));
              return 0;
          }) == 0);
}

TEST_CASE("pinned, a namespace outlives its processes; unpinned, nothing is left") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const support::NothingLeft check;
              const std::string path = directory.file("blue");
              support::Container container{Kind::net};
              ino_t inode = 0;
              {
                  const auto net = NetFd::open(container.pid());
                  CHILD_CHECK(net && net->pin(path.c_str()));
                  inode = inode_of(*net);
              }
              container.end();
              {
                  const auto again = NetFd::open(path.c_str());
                  CHILD_CHECK(again && inode_of(*again) == inode);
                  const auto wrong = UserFd::open(path.c_str());
                  CHILD_CHECK(fails_with(wrong, Step::open_namespace, Reason::wrong_kind));
                  CHILD_CHECK(wrong.error().subject.view() == path + ": a net namespace");
              }
              CHILD_CHECK(AnyNamespaceFd::unpin(path.c_str()));
              CHILD_CHECK(::access(path.c_str(), F_OK) != 0);
              CHILD_CHECK(check.holds());
              return 0;
          }) == 0);
}

TEST_CASE("pinning over a file that is there; what was made is removed if the mount fails") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const support::NothingLeft check;
              const std::string path = directory.file("there");
              { const OwnedFd file{::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)}; }
              const auto net = NetFd::own();
              CHILD_CHECK(net->pin(path.c_str()));
              CHILD_CHECK(AnyNamespaceFd::open(path.c_str()));
              CHILD_CHECK(
                  fails_with(net->pin(path.c_str()), Step::pin_namespace, Reason::system, EEXIST));
              // Once more over itself, as others do it.
              CHILD_CHECK(::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0);
              CHILD_CHECK(fails_with(AnyNamespaceFd::unpin(path.c_str()), Step::unpin_namespace,
                                     Reason::system, EBUSY));
              CHILD_CHECK(AnyNamespaceFd::unpin(path.c_str()));
              CHILD_CHECK(::access(path.c_str(), F_OK) != 0);

              // The kernel allows no loop: a mount namespace's own mounts can't hold it.
              const auto mount = NamespaceFd<Kind::mount>::own();
              auto failed = mount->pin(path.c_str());
              CHILD_CHECK(fails_with(failed, Step::pin_namespace, Reason::system, EINVAL));
              CHILD_CHECK(failed.error().subject.view() == path);
              CHILD_CHECK(::access(path.c_str(), F_OK) != 0);
              failed = net->pin(directory.path().c_str());
              CHILD_CHECK(fails_with(failed, Step::pin_namespace, Reason::system, ENOTDIR));
              failed = net->pin("/does/not/exist");
              CHILD_CHECK(fails_with(failed, Step::pin_namespace, Reason::system, ENOENT));
              CHILD_CHECK(failed.error().subject.view() == "/does/not/exist");
              return 0;
          }) == 0);
}

TEST_CASE("unpinning what is no pinned namespace leaves it alone") {
    const support::NothingLeft check;
    const support::TemporaryDirectory directory;
    const std::string path = directory.file("mine");
    { const OwnedFd file{::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)}; }
    const auto failed = AnyNamespaceFd::unpin(path.c_str());
    CHECK(fails_with(failed, Step::unpin_namespace, Reason::not_a_namespace));
    CHECK(::access(path.c_str(), F_OK) == 0);
    ::unlink(path.c_str());
    REQUIRE(::symlink("/proc/self/ns/net", path.c_str()) == 0);
    CHECK(fails_with(AnyNamespaceFd::unpin(path.c_str()), Step::unpin_namespace,
                     Reason::not_a_namespace));
    CHECK(inode_of(path) == inode_of("/proc/self/ns/net"));
    ::unlink(path.c_str());
    CHECK(fails_with(AnyNamespaceFd::unpin(path.c_str()), Step::unpin_namespace, Reason::system,
                     ENOENT));
}

TEST_CASE("pinning without the right to mount") {
    CHECK(support::as_user(65534, [] {
              const support::NothingLeft check;
              const support::TemporaryDirectory directory;
              const std::string path = directory.file("net");
              CHILD_CHECK(fails_with(NetFd::own()->pin(path.c_str()), Step::pin_namespace,
                                     Reason::system, EPERM));
              CHILD_CHECK(::access(path.c_str(), F_OK) != 0);
              CHILD_CHECK(check.holds());
              return 0;
          }) == 0);
}

} // namespace
