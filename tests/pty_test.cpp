// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/console.hpp>
#include <nsjoin/pty.hpp>

#include "support.hpp"

#include <array>
#include <cerrno>
#include <string>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <type_traits>

using nsjoin::BorrowedFd;
using nsjoin::OwnedFd;
using nsjoin::PtyMaster;
using nsjoin::PtyPeer;
using nsjoin::RawMode;
using nsjoin::Reason;
using nsjoin::Step;
using nsjoin::WindowSize;
using support::fails_with;

namespace {

static_assert(!std::is_copy_constructible_v<PtyMaster> && !std::is_copy_constructible_v<PtyPeer>);
static_assert(!std::is_copy_constructible_v<RawMode> && !std::is_copy_assignable_v<RawMode>);
static_assert(std::is_nothrow_move_constructible_v<RawMode>);
static_assert(!std::is_constructible_v<PtyMaster, OwnedFd>);
static_assert(!std::is_constructible_v<PtyPeer, OwnedFd>);

template <typename T>
concept LendsFd = requires(T&& value) {
    static_cast<T&&>(value).fd();
};

template <typename T>
concept EntersRaw = requires(T&& value) {
    RawMode::enter(static_cast<T&&>(value));
};

static_assert(LendsFd<PtyMaster&> && !LendsFd<PtyMaster>);
static_assert(LendsFd<PtyPeer&> && !LendsFd<PtyPeer>);
static_assert(EntersRaw<BorrowedFd> && EntersRaw<OwnedFd&> && !EntersRaw<OwnedFd>);

auto opened(const char* path, int flags = O_RDWR | O_NOCTTY) -> OwnedFd {
    return OwnedFd{::open(path, flags | O_CLOEXEC)};
}

/// Whether a byte goes from the peer to the master.
auto connected(const PtyMaster& master, const PtyPeer& peer) -> bool {
    char byte = '\0';
    return ::write(peer.fd().get(), "n", 1) == 1 && ::read(master.fd().get(), &byte, 1) == 1 &&
           byte == 'n';
}

/// Mounts a new devpts; in a mount namespace of the child's own.
auto mount_devpts(const char* where) -> bool {
    return ::mount("devpts", where, "devpts", 0, "newinstance,ptmxmode=0666,mode=0620") == 0;
}

TEST_CASE("a master and its peer, with close-on-exec, connected") {
    const support::NothingLeft check;
    const auto master = PtyMaster::open();
    REQUIRE(master);
    const auto peer = master->open_peer();
    REQUIRE(peer);
    CHECK(support::closes_on_exec(master->fd().get()));
    CHECK(support::closes_on_exec(peer->fd().get()));
    CHECK(is_terminal(peer->fd()));
    CHECK(connected(*master, *peer));
    CHECK(::access(("/dev/pts/" + std::to_string(master->index())).c_str(), F_OK) == 0);
}

TEST_CASE("it becomes nobody's controlling terminal") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::setsid() > 0);
              const auto master = PtyMaster::open();
              const auto peer = master->open_peer();
              CHILD_CHECK(peer);
              CHILD_CHECK(!opened("/dev/tty").ok());
              CHILD_CHECK(support::deny_ioctl(TIOCGPTPEER, ENOTTY));
              CHILD_CHECK(master->open_peer());
              CHILD_CHECK(!opened("/dev/tty").ok());
              return 0;
          }) == 0);
}

TEST_CASE("without TIOCGPTPEER: by the path, verified") {
    for (const int error : {ENOTTY, EINVAL, EPERM, ENOSYS}) {
        CAPTURE(error);
        CHECK(support::run_in_child([&] {
                  const support::NothingLeft check;
                  CHILD_CHECK(support::deny_ioctl(TIOCGPTPEER, error));
                  const auto master = PtyMaster::open();
                  const auto other = PtyMaster::open();
                  CHILD_CHECK(master && other);
                  const auto peer = master->open_peer();
                  CHILD_CHECK(peer && connected(*master, *peer));
                  CHILD_CHECK(support::closes_on_exec(peer->fd().get()));
                  return 0;
              }) == 0);
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_ioctl(TIOCGPTPEER, EIO));
              CHILD_CHECK(
                  fails_with(PtyMaster::open()->open_peer(), Step::open_peer, Reason::system, EIO));
              return 0;
          }) == 0);
}

TEST_CASE("by the path, another file in the peer's place is refused") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              CHILD_CHECK(support::deny_ioctl(TIOCGPTPEER, ENOTTY));
              const auto master = PtyMaster::open();
              const auto other = PtyMaster::open();
              CHILD_CHECK(master && other);
              const std::string path = "/dev/pts/" + std::to_string(master->index());
              const std::string wrong = "/dev/pts/" + std::to_string(other->index());
              const support::NothingLeft check;
              const auto refuses = [&](const char* source) {
                  if (::mount(source, path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
                      return false;
                  }
                  const auto peer = master->open_peer();
                  ::umount(path.c_str());
                  return fails_with(peer, Step::open_peer, Reason::not_a_terminal) &&
                         peer.error().subject.view() == path;
              };
              CHILD_CHECK(refuses("/dev/null"));
              CHILD_CHECK(refuses("/etc/hostname"));
              CHILD_CHECK(refuses(wrong.c_str()));
              CHILD_CHECK(refuses("/dev/pts/ptmx"));
              // The right number, in a file system where anybody may have made it.
              const support::TemporaryDirectory directory;
              const std::string node = directory.file("node");
              CHILD_CHECK(::mknod(node.c_str(), S_IFCHR | 0666, makedev(136, master->index())) ==
                          0);
              CHILD_CHECK(refuses(node.c_str()));
              ::unlink(node.c_str());
              CHILD_CHECK(check.holds());
              CHILD_CHECK(master->open_peer());
              return 0;
          }) == 0);
}

TEST_CASE("by the path, a peer of that number in another devpts is refused") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              CHILD_CHECK(mount_devpts(directory.path().c_str()));
              CHILD_CHECK(mount_devpts("/dev/pts"));
              CHILD_CHECK(support::deny_ioctl(TIOCGPTPEER, ENOTTY));
              {
                  const OwnedFd first = opened(directory.path().c_str(), O_PATH);
                  const OwnedFd second = opened("/dev/pts", O_PATH);
                  const auto master = PtyMaster::open_in(first);
                  const auto namesake = PtyMaster::open_in(second);
                  CHILD_CHECK(master && namesake && master->index() == namesake->index());
                  CHILD_CHECK(namesake->open_peer());
                  CHILD_CHECK(
                      fails_with(master->open_peer(), Step::open_peer, Reason::not_a_terminal));
              }
              ::umount2("/dev/pts", MNT_DETACH);
              ::umount2(directory.path().c_str(), MNT_DETACH);
              return 0;
          }) == 0);
}

TEST_CASE("by the path, without a /proc to go by") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              CHILD_CHECK(support::deny_ioctl(TIOCGPTPEER, ENOTTY));
              CHILD_CHECK(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
              const auto master = PtyMaster::open();
              CHILD_CHECK(master);
              CHILD_CHECK(fails_with(master->open_peer(), Step::open_proc, Reason::not_procfs));
              return 0;
          }) == 0);
}

TEST_CASE("a master in a container's devpts") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              CHILD_CHECK(mount_devpts(directory.path().c_str()));
              {
                  const support::NothingLeft check;
                  const OwnedFd inside = opened(directory.path().c_str(), O_PATH);
                  const auto master = PtyMaster::open_in(inside);
                  CHILD_CHECK(master && support::closes_on_exec(master->fd().get()));
                  CHILD_CHECK(
                      ::access(directory.file(std::to_string(master->index())).c_str(), F_OK) == 0);
                  const auto peer = master->open_peer();
                  CHILD_CHECK(peer && connected(*master, *peer));

                  const std::string ptmx = directory.file("ptmx");
                  CHILD_CHECK(::mount("/dev/null", ptmx.c_str(), nullptr, MS_BIND, nullptr) == 0);
                  CHILD_CHECK(fails_with(PtyMaster::open_in(inside), Step::open_pty,
                                         Reason::not_a_terminal));
              }
              ::umount2(directory.path().c_str(), MNT_DETACH);
              return 0;
          }) == 0);
    const support::NothingLeft check;
    const OwnedFd elsewhere = opened("/dev", O_PATH);
    CHECK(fails_with(PtyMaster::open_in(elsewhere), Step::open_pty, Reason::bad_value));
    CHECK(fails_with(PtyMaster::open_in(BorrowedFd{}), Step::open_pty, Reason::bad_value));
}

TEST_CASE("a console in a container's devpts") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              CHILD_CHECK(mount_devpts("/mnt"));
              const OwnedFd inside = opened("/mnt", O_PATH | O_DIRECTORY);
              const auto console = nsjoin::Console::open_in(inside);
              CHILD_CHECK(console);
              struct stat place {};
              struct stat peer {};
              CHILD_CHECK(::fstat(inside.get(), &place) == 0);
              CHILD_CHECK(::fstat(console->peer.fd().get(), &peer) == 0);
              CHILD_CHECK(place.st_dev == peer.st_dev);
              CHILD_CHECK(connected(console->master, console->peer));
              return 0;
          }) == 0);
}

TEST_CASE("something else in the place of a container's ptmx is not opened") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              const support::TemporaryDirectory directory;
              const std::string fifo = directory.file("fifo");
              const std::string devpts = directory.file("devpts");
              CHILD_CHECK(::mkdir(devpts.c_str(), 0755) == 0 && ::mkfifo(fifo.c_str(), 0600) == 0);
              CHILD_CHECK(
                  ::mount("none", devpts.c_str(), "devpts", 0, "newinstance,ptmxmode=666") == 0);
              CHILD_CHECK(::mount(fifo.c_str(), (devpts + "/ptmx").c_str(), nullptr, MS_BIND,
                                  nullptr) == 0);
              const OwnedFd inside{::open(devpts.c_str(), O_PATH | O_CLOEXEC)};
              const OwnedFd watch{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
              CHILD_CHECK(::inotify_add_watch(watch.get(), fifo.c_str(), IN_OPEN) >= 0);
              CHILD_CHECK(
                  fails_with(PtyMaster::open_in(inside), Step::open_pty, Reason::not_a_terminal));
              std::array<char, 512> events{};
              CHILD_CHECK(::read(watch.get(), events.data(), events.size()) < 0 && errno == EAGAIN);
              CHILD_CHECK(::umount2((devpts + "/ptmx").c_str(), MNT_DETACH) == 0);
              CHILD_CHECK(PtyMaster::open_in(inside));
              ::umount2(devpts.c_str(), MNT_DETACH);
              ::unlink(fifo.c_str());
              ::rmdir(devpts.c_str());
              return 0;
          }) == 0);
}

TEST_CASE("something else in the place of /dev/ptmx") {
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::own_mounts());
              CHILD_CHECK(::mount("/dev/null", "/dev/ptmx", nullptr, MS_BIND, nullptr) == 0);
              const support::NothingLeft check;
              const auto master = PtyMaster::open();
              CHILD_CHECK(fails_with(master, Step::open_pty, Reason::not_a_terminal));
              CHILD_CHECK(master.error().subject.view() == "/dev/ptmx");
              CHILD_CHECK(check.holds());
              return 0;
          }) == 0);
}

TEST_CASE("adopted descriptors are verified, and closed if they are something else") {
    const support::NothingLeft check;
    const auto master = PtyMaster::adopt(opened("/dev/ptmx")); // still locked
    REQUIRE(master);
    auto peer = master->open_peer();
    REQUIRE(peer);
    CHECK(
        fails_with(PtyMaster::adopt(opened("/dev/null")), Step::open_pty, Reason::not_a_terminal));
    CHECK(fails_with(PtyMaster::adopt(OwnedFd{}), Step::open_pty, Reason::system, EBADF));
    CHECK(fails_with(PtyMaster::adopt(peer->release()), Step::open_pty, Reason::not_a_terminal));

    peer = PtyPeer::adopt(master->open_peer()->release());
    REQUIRE(peer);
    CHECK(connected(*master, *peer));
    CHECK(fails_with(PtyPeer::adopt(opened("/dev/null")), Step::open_peer, Reason::not_a_terminal));
    CHECK(fails_with(PtyPeer::adopt(OwnedFd{}), Step::open_peer, Reason::system, EBADF));
}

TEST_CASE("no descriptor left") {
    CHECK(support::run_in_child([] {
              const auto master = PtyMaster::open();
              const rlimit few{static_cast<rlim_t>(master->fd().get()) + 1, 4096};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &few) == 0);
              CHILD_CHECK(fails_with(PtyMaster::open(), Step::open_pty, Reason::system, EMFILE));
              CHILD_CHECK(fails_with(master->open_peer(), Step::open_peer, Reason::system, EMFILE));
              return 0;
          }) == 0);
}

TEST_CASE("what is a terminal, with errno as it was") {
    const auto master = PtyMaster::open();
    REQUIRE(master);
    const OwnedFd null = opened("/dev/null");
    errno = EXDEV;
    CHECK(is_terminal(master->fd()));
    CHECK_FALSE(nsjoin::is_terminal(null));
    CHECK_FALSE(nsjoin::is_terminal(BorrowedFd{}));
    CHECK(errno == EXDEV);
}

TEST_CASE("the window size, one for both sides") {
    const auto master = PtyMaster::open();
    REQUIRE(master);
    const auto peer = master->open_peer();
    REQUIRE(peer);
    CHECK(window_size(peer->fd()).value() == WindowSize{});
    const WindowSize size{50, 132, 800, 600};
    REQUIRE(set_window_size(master->fd(), size));
    CHECK(window_size(peer->fd()).value() == size);
    CHECK(window_size(master->fd()).value() == size);
    winsize raw{};
    CHECK(::ioctl(peer->fd().get(), TIOCGWINSZ, &raw) == 0);
    CHECK(raw.ws_row == 50);
    CHECK(raw.ws_col == 132);
    CHECK(raw.ws_xpixel == 800);
    CHECK(raw.ws_ypixel == 600);

    const OwnedFd null = opened("/dev/null");
    CHECK(fails_with(nsjoin::window_size(null), Step::window_size, Reason::not_a_terminal));
    CHECK(fails_with(set_window_size(null, size), Step::window_size, Reason::not_a_terminal));
    CHECK(fails_with(nsjoin::window_size(BorrowedFd{}), Step::window_size, Reason::system, EBADF));
}

struct RawFixture {
    PtyMaster master = *PtyMaster::open();
    PtyPeer peer = *master.open_peer();

    [[nodiscard]] auto raw() const -> bool {
        termios mode{};
        ::tcgetattr(peer.fd().get(), &mode);
        return (mode.c_lflag & (ICANON | ECHO | ISIG)) == 0 && (mode.c_oflag & OPOST) == 0;
    }
};

TEST_CASE_FIXTURE(RawFixture, "raw for as long as the object lives") {
    REQUIRE_FALSE(raw());
    {
        const auto mode = RawMode::enter(peer.fd());
        REQUIRE(mode);
        CHECK(raw());
        errno = EXDEV;
    }
    CHECK(errno == EXDEV);
    CHECK_FALSE(raw());
}

TEST_CASE_FIXTURE(RawFixture, "restored by hand, once") {
    auto mode = RawMode::enter(peer.fd());
    REQUIRE(mode);
    REQUIRE(mode->restore());
    CHECK_FALSE(raw());
    const auto again = RawMode::enter(peer.fd());
    REQUIRE(again);
    CHECK(mode->restore()); // does nothing any more
    CHECK(raw());
}

TEST_CASE_FIXTURE(RawFixture, "moved, it is restored by the new owner") {
    auto mode = RawMode::enter(peer.fd());
    REQUIRE(mode);
    {
        const RawMode moved{*std::move(mode)};
        mode = RawMode::enter(master.fd()); // the same terminal, raw before and after
        REQUIRE(mode);
        CHECK(mode->restore());
        CHECK(raw());
    }
    CHECK_FALSE(raw());
    auto first = RawMode::enter(peer.fd());
    const RawFixture other;
    auto second = RawMode::enter(other.peer.fd());
    REQUIRE(first);
    REQUIRE(second);
    *first = *std::move(second);
    CHECK_FALSE(raw());
    CHECK(other.raw());
    CHECK(first->restore());
}

TEST_CASE("a terminal that was hung up, and what is none") {
    auto master = PtyMaster::open();
    REQUIRE(master);
    const auto peer = master->open_peer();
    REQUIRE(peer);
    auto mode = RawMode::enter(peer->fd());
    REQUIRE(mode);
    (void)master->release();
    CHECK(fails_with(mode->restore(), Step::terminal_mode, Reason::system, EIO));
    CHECK(fails_with(RawMode::enter(peer->fd()), Step::terminal_mode, Reason::system, EIO));
    const OwnedFd null = opened("/dev/null");
    CHECK(fails_with(RawMode::enter(null), Step::terminal_mode, Reason::not_a_terminal));
    CHECK(fails_with(RawMode::enter(BorrowedFd{}), Step::terminal_mode, Reason::system, EBADF));
}

} // namespace
