// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/fd.hpp>

#include "support.hpp"

#include <sys/resource.h>
#include <type_traits>

using nsjoin::BorrowedFd;
using nsjoin::OwnedFd;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

static_assert(!std::is_copy_constructible_v<OwnedFd> && !std::is_copy_assignable_v<OwnedFd>);
static_assert(std::is_nothrow_move_constructible_v<OwnedFd>);
static_assert(!std::is_convertible_v<int, OwnedFd> && !std::is_convertible_v<OwnedFd, int>);
static_assert(!std::is_convertible_v<int, BorrowedFd>);
static_assert(std::is_convertible_v<OwnedFd&, BorrowedFd>);
static_assert(!std::is_convertible_v<OwnedFd, BorrowedFd>);
static_assert(std::is_trivially_copyable_v<BorrowedFd> && sizeof(BorrowedFd) == sizeof(int));
static_assert(sizeof(OwnedFd) == sizeof(int));

template <typename T>
concept CanNot = requires(T value) {
    !value;
};

template <typename T>
concept CanBorrow = requires(T&& value) {
    static_cast<T&&>(value).borrow();
};

template <typename T>
concept CanClose = requires(const T& value) {
    close(value);
};

static_assert(!CanNot<OwnedFd> && !CanNot<BorrowedFd>);
static_assert(CanBorrow<OwnedFd&> && !CanBorrow<OwnedFd>);
static_assert(!CanClose<OwnedFd>);

auto some_fd() -> int {
    return ::open("/dev/null", O_RDWR | O_CLOEXEC);
}

auto is_open(int fd) -> bool {
    return ::fcntl(fd, F_GETFD) >= 0;
}

TEST_CASE("an owned descriptor is closed once, at the end of its scope") {
    const support::NothingLeft check;
    int number = -1;
    {
        const OwnedFd fd{some_fd()};
        number = fd.get();
        CHECK(fd.ok());
        CHECK(is_open(number));
    }
    CHECK_FALSE(is_open(number));
}

TEST_CASE("moving moves the ownership") {
    const support::NothingLeft check;
    OwnedFd first{some_fd()};
    const int number = first.get();
    OwnedFd second{std::move(first)};
    CHECK_FALSE(first.ok()); // NOLINT(bugprone-use-after-move): that is the promise
    CHECK(second.get() == number);

    OwnedFd third{some_fd()};
    const int closed = third.get();
    third = std::move(second);
    CHECK(third.get() == number);
    CHECK_FALSE(is_open(closed));

    OwnedFd& itself = third;
    third = std::move(itself);
    CHECK(third.get() == number);
    CHECK(is_open(number));
}

TEST_CASE("release gives away, reset closes") {
    const support::NothingLeft check;
    OwnedFd fd{some_fd()};
    const int number = fd.release();
    CHECK_FALSE(fd.ok());
    CHECK(is_open(number));
    fd.reset(number);
    CHECK(fd.get() == number);
    fd.reset();
    CHECK_FALSE(is_open(number));
    fd.reset();
}

TEST_CASE("owning one descriptor twice is a broken precondition") {
    CHECK(support::run_in_child([] {
              OwnedFd fd{some_fd()};
              fd.reset(fd.get());
              return 0;
          }) == 128 + SIGABRT);
}

TEST_CASE("the destructor keeps errno, also where close fails") {
    const int number = some_fd();
    errno = EXDEV;
    { const OwnedFd fd{number}; }
    CHECK(errno == EXDEV);
    { const OwnedFd already_closed{number}; }
    CHECK(errno == EXDEV);
}

TEST_CASE("close is not tried again when a signal interrupts it") {
    CHECK(support::run_in_child([] {
              OwnedFd fd{some_fd()};
              CHILD_CHECK(support::deny_syscall(SYS_close, EINTR));
              fd.reset(); // a loop would not end here
              return 0;
          }) == 0);
}

TEST_CASE("a duplicate is another descriptor, with close-on-exec") {
    const support::NothingLeft check;
    const OwnedFd fd{::dup(STDIN_FILENO)};
    CHECK_FALSE(support::closes_on_exec(fd.get()));
    const auto copy = OwnedFd::duplicate(fd);
    REQUIRE(copy);
    CHECK(copy->get() != fd.get());
    CHECK(support::closes_on_exec(copy->get()));
    CHECK(support::fails_with(OwnedFd::duplicate(BorrowedFd{}), Step::duplicate, Reason::system,
                              EBADF));
}

TEST_CASE("no descriptor left: an error, and nothing lost") {
    CHECK(support::run_in_child([] {
              const rlimit none{0, 0};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
              CHILD_CHECK(support::fails_with(OwnedFd::duplicate(BorrowedFd{0}), Step::duplicate,
                                              Reason::system, EINVAL));
              return 0;
          }) == 0);
}

TEST_CASE("the default borrowed descriptor is none") {
    CHECK_FALSE(BorrowedFd{}.ok());
    CHECK(BorrowedFd{} == BorrowedFd{-1});
    CHECK(BorrowedFd{3} != BorrowedFd{4});
}

TEST_CASE("open_owned names the path") {
    const auto fd = nsjoin::detail::open_owned(Step::read, AT_FDCWD, "/does/not/exist", O_RDONLY);
    REQUIRE(support::fails_with(fd, Step::read, Reason::system, ENOENT));
    CHECK(fd.error().subject.view() == "/does/not/exist");
}

} // namespace
