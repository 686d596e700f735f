// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/pipe.hpp>

#include "support.hpp"

#include <array>
#include <fcntl.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <type_traits>
#include <vector>

using nsjoin::BorrowedFd;
using nsjoin::OwnedFd;
using nsjoin::Pipe;
using nsjoin::Reason;
using nsjoin::SocketKind;
using nsjoin::SocketPair;
using nsjoin::Step;
using support::fails_with;

namespace {

static_assert(!std::is_copy_constructible_v<Pipe> && !std::is_copy_constructible_v<SocketPair>);
static_assert(std::is_nothrow_move_constructible_v<Pipe>);

template <typename T>
concept SendsFrom = requires(T fd, BorrowedFd to) {
    nsjoin::send_descriptor(to, T{});
};

static_assert(SendsFrom<BorrowedFd> && !SendsFrom<OwnedFd>);

auto bytes(std::string_view text) -> std::vector<std::byte> {
    const auto view = std::as_bytes(std::span{text.data(), text.size()});
    return {view.begin(), view.end()};
}

void set_nonblocking(BorrowedFd fd) {
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

auto inode_of(BorrowedFd fd) -> ino_t {
    struct stat facts {};

    return ::fstat(fd.get(), &facts) == 0 ? facts.st_ino : 0;
}

TEST_CASE("a pipe and socket pairs, with close-on-exec") {
    const support::NothingLeft check;
    const auto pipe = Pipe::open();
    REQUIRE(pipe);
    const auto stream = SocketPair::open(SocketKind::stream);
    REQUIRE(stream);
    const auto packets = SocketPair::open(SocketKind::seqpacket);
    REQUIRE(packets);
    for (const OwnedFd* fd : {&pipe->read_end, &pipe->write_end, &stream->first, &stream->second,
                              &packets->first, &packets->second}) {
        CHECK(support::closes_on_exec(fd->get()));
    }
    int type = 0;
    socklen_t size = sizeof type;
    CHECK(::getsockopt(packets->first.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0);
    CHECK(type == SOCK_SEQPACKET);
}

TEST_CASE("no descriptor left") {
    CHECK(support::run_in_child([] {
              const auto next = ::dup(0);
              ::close(next);
              const rlimit one_more{static_cast<rlim_t>(next) + 1, 4096};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &one_more) == 0);
              CHILD_CHECK(fails_with(Pipe::open(), Step::make_pipe, Reason::system, EMFILE));
              CHILD_CHECK(fails_with(SocketPair::open(SocketKind::stream), Step::make_pipe,
                                     Reason::system, EMFILE));
              CHILD_CHECK(::dup(0) == next); // that one is still free
              return 0;
          }) == 0);
}

TEST_CASE("what is written is read, whole") {
    const auto pipe = Pipe::open();
    REQUIRE(pipe);
    REQUIRE(write_all(pipe->write_end, bytes("namespace")));
    std::vector<std::byte> buffer(9);
    REQUIRE(read_all(pipe->read_end, buffer));
    CHECK(buffer == bytes("namespace"));
    CHECK(write_all(pipe->write_end, {}));
    CHECK(read_all(pipe->read_end, {}));
}

TEST_CASE("read_some takes what is there, then the end of file") {
    auto pipe = Pipe::open();
    REQUIRE(pipe);
    REQUIRE(write_all(pipe->write_end, bytes("net")));
    std::vector<std::byte> buffer(9);
    CHECK(read_some(pipe->read_end, buffer).value() == 3);
    pipe->write_end.reset();
    CHECK(read_some(pipe->read_end, buffer).value() == 0);
}

TEST_CASE("closed too early: how much had come") {
    auto pipe = Pipe::open();
    REQUIRE(pipe);
    REQUIRE(write_all(pipe->write_end, bytes("net")));
    pipe->write_end.reset();
    std::vector<std::byte> buffer(9);
    const auto result = read_all(pipe->read_end, buffer);
    REQUIRE(fails_with(result, Step::read, Reason::end_of_file));
    CHECK(result.error().subject.view() == "3 of 9 bytes");
}

TEST_CASE("errors of the system") {
    std::vector<std::byte> buffer(1);
    CHECK(fails_with(read_some(BorrowedFd{}, buffer), Step::read, Reason::system, EBADF));
    const auto read = read_all(BorrowedFd{}, buffer);
    CHECK(fails_with(read, Step::read, Reason::system, EBADF));
    CHECK(read.error().subject.view() == "0 of 1 bytes");
    CHECK(fails_with(write_all(BorrowedFd{}, buffer), Step::write, Reason::system, EBADF));
}

TEST_CASE("nobody reads any more: EPIPE, and no SIGPIPE") {
    CHECK(support::run_in_child([] {
              ::signal(SIGPIPE, SIG_DFL);
              auto pipe = Pipe::open();
              pipe->read_end.reset();
              const auto failed = write_all(pipe->write_end, bytes("net"));
              CHILD_CHECK(fails_with(failed, Step::write, Reason::system, EPIPE));
              CHILD_CHECK(failed.error().subject.view() == "0 of 3 bytes");
              for (const SocketKind kind : {SocketKind::stream, SocketKind::seqpacket}) {
                  auto pair = SocketPair::open(kind);
                  pair->second.reset();
                  CHILD_CHECK(fails_with(write_all(pair->first, bytes("net")), Step::write,
                                         Reason::system, EPIPE));
                  CHILD_CHECK(fails_with(send_descriptor(pair->first, BorrowedFd{0}),
                                         Step::send_descriptor, Reason::system, EPIPE));
              }
              sigset_t mask{};
              ::sigprocmask(SIG_SETMASK, nullptr, &mask);
              CHILD_CHECK(::sigismember(&mask, SIGPIPE) == 0);
              return 0;
          }) == 0);
}

TEST_CASE("a SIGPIPE that was pending stays pending") {
    CHECK(support::run_in_child([] {
              sigset_t pipe_only{};
              ::sigemptyset(&pipe_only);
              ::sigaddset(&pipe_only, SIGPIPE);
              ::sigprocmask(SIG_BLOCK, &pipe_only, nullptr);
              ::raise(SIGPIPE);
              auto pipe = Pipe::open();
              pipe->read_end.reset();
              CHILD_CHECK(fails_with(write_all(pipe->write_end, bytes("net")), Step::write,
                                     Reason::system, EPIPE));
              sigset_t pending{};
              ::sigpending(&pending);
              CHILD_CHECK(::sigismember(&pending, SIGPIPE) == 1);
              return 0;
          }) == 0);
}

/// Writes much more than fits, slowly read by a child; under interruptions, and whether or not the
/// descriptors block.
template <typename Ends>
auto carries_much(Ends ends, bool nonblocking) -> int {
    constexpr std::size_t much = 1U << 20U;
    auto& [to_read, to_write] = ends;
    if (nonblocking) {
        set_nonblocking(to_read);
        set_nonblocking(to_write);
    }
    const std::vector<std::byte> sent(much, std::byte{0x5a});
    support::interrupt_often();
    const pid_t reader = ::fork();
    if (reader == 0) {
        to_write.reset();
        support::interrupt_often();
        ::usleep(50'000); // the pipe fills up
        std::vector<std::byte> received(much);
        const auto result = nsjoin::read_all(to_read, received);
        ::_exit(result && received == sent ? 0 : 1);
    }
    to_read.reset();
    ::usleep(0);
    CHILD_CHECK(nsjoin::write_all(to_write, sent));
    CHILD_CHECK(support::wait_for(reader) == 0);
    return 0;
}

TEST_CASE("short writes, full pipes and signals") {
    for (const bool nonblocking : {false, true}) {
        CAPTURE(nonblocking);
        CHECK(support::run_in_child([&] { return carries_much(*Pipe::open(), nonblocking); }) == 0);
        CHECK(support::run_in_child([&] {
                  return carries_much(*SocketPair::open(SocketKind::stream), nonblocking);
              }) == 0);
    }
}

TEST_CASE("a reader waits through signals for a slow writer") {
    CHECK(support::run_in_child([] {
              auto pipe = Pipe::open();
              const pid_t writer = ::fork();
              if (writer == 0) {
                  ::usleep(80'000);
                  ::_exit(write_all(pipe->write_end, bytes("net")) ? 0 : 1);
              }
              support::interrupt_often();
              std::vector<std::byte> buffer(3);
              CHILD_CHECK(read_all(pipe->read_end, buffer));
              CHILD_CHECK(buffer == bytes("net"));
              CHILD_CHECK(support::wait_for(writer) == 0);
              return 0;
          }) == 0);
}

TEST_CASE("a descriptor crosses, and is the receiver's") {
    const support::NothingLeft check;
    for (const SocketKind kind : {SocketKind::stream, SocketKind::seqpacket}) {
        const auto pair = SocketPair::open(kind);
        REQUIRE(pair);
        const auto pipe = Pipe::open();
        REQUIRE(pipe);
        REQUIRE(send_descriptor(pair->first, pipe->read_end));
        const auto received = receive_descriptor(pair->second);
        REQUIRE(received);
        CHECK(received->get() != pipe->read_end.get());
        CHECK(inode_of(*received) == inode_of(pipe->read_end));
        CHECK(support::closes_on_exec(received->get()));
    }
}

TEST_CASE("a descriptor crosses with a text, as to the console socket of runc") {
    const support::NothingLeft check;
    const auto pipe = Pipe::open();
    REQUIRE(pipe);
    std::array<char, 64> buffer{};
    for (const SocketKind kind : {SocketKind::stream, SocketKind::seqpacket}) {
        const auto pair = SocketPair::open(kind);
        REQUIRE(pair);
        REQUIRE(send_descriptor(pair->first, pipe->read_end, "/dev/pts/7"));
        const auto received = receive_descriptor(pair->second, buffer);
        REQUIRE(received);
        CHECK(received->text == "/dev/pts/7");
        CHECK(inode_of(received->descriptor) == inode_of(pipe->read_end));
        CHECK(support::closes_on_exec(received->descriptor.get()));
        CHECK(fails_with(send_descriptor(pair->first, pipe->read_end, ""), Step::send_descriptor,
                         Reason::bad_value));
        // A text that has no room: a message is refused, of a stream the rest is still there.
        REQUIRE(send_descriptor(pair->first, pipe->read_end, std::string(65, 'x')));
        const auto cut = receive_descriptor(pair->second, buffer);
        if (kind == SocketKind::seqpacket) {
            CHECK(fails_with(cut, Step::receive_descriptor, Reason::system, EMSGSIZE));
        } else {
            REQUIRE(cut);
            CHECK(cut->text.size() == 64);
            CHECK(nsjoin::read_some(pair->second, std::as_writable_bytes(std::span{buffer})) == 1U);
        }
        REQUIRE(nsjoin::write_all(pair->first, std::as_bytes(std::span{"text", 4})));
        CHECK(fails_with(receive_descriptor(pair->second, buffer), Step::receive_descriptor,
                         Reason::bad_value));
    }
}

TEST_CASE("a text that a stream takes in parts arrives whole") {
    const support::NothingLeft check;
    const auto pair = SocketPair::open(SocketKind::stream);
    const auto pipe = Pipe::open();
    REQUIRE((pair && pipe));
    const int small = 4608;
    REQUIRE(::setsockopt(pair->first.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    const int flags = ::fcntl(pair->first.get(), F_GETFL);
    REQUIRE(::fcntl(pair->first.get(), F_SETFL, flags | O_NONBLOCK) == 0);
    const std::string text(200'000, 't');
    bool sent = false;
    std::thread sender{[&] {
        sent = send_descriptor(pair->first, pipe->read_end, text).has_value();
    }};
    std::vector<char> buffer(text.size());
    const auto received = receive_descriptor(pair->second, buffer);
    REQUIRE(received);
    std::vector<std::byte> rest(text.size() - received->text.size());
    CHECK(nsjoin::read_all(pair->second, rest));
    sender.join();
    CHECK(sent);
    CHECK(received->text.size() < text.size());
    CHECK(inode_of(received->descriptor) == inode_of(pipe->read_end));
}

TEST_CASE("several descriptors, in their order, up to the kernel's bound") {
    const support::NothingLeft check;
    const auto pair = SocketPair::open(SocketKind::stream);
    const auto pipe = Pipe::open();
    std::vector<BorrowedFd> many(nsjoin::max_descriptors, pipe->read_end);
    many.back() = pipe->write_end;
    REQUIRE(send_descriptors(pair->first, many));
    std::vector<OwnedFd> room(nsjoin::max_descriptors);
    CHECK(receive_descriptors(pair->second, room).value() == nsjoin::max_descriptors);
    CHECK((::fcntl(room.front().get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
    CHECK((::fcntl(room.back().get(), F_GETFL) & O_ACCMODE) == O_WRONLY);

    many.push_back(pipe->read_end);
    const auto failed = send_descriptors(pair->first, many);
    CHECK(fails_with(failed, Step::send_descriptor, Reason::bad_value));
    CHECK(failed.error().subject.view() == "1 to 253 descriptors, not 254");
    CHECK(fails_with(send_descriptors(pair->first, {}), Step::send_descriptor, Reason::bad_value));
}

TEST_CASE("more descriptors than there is room for: an error, and all are closed") {
    const support::NothingLeft check;
    const auto pair = SocketPair::open(SocketKind::seqpacket);
    const std::vector<BorrowedFd> three(3, pair->first);
    REQUIRE(send_descriptors(pair->first, three));
    std::vector<OwnedFd> room(2);
    const auto failed = receive_descriptors(pair->second, room);
    CHECK(fails_with(failed, Step::receive_descriptor, Reason::bad_value));
    CHECK(failed.error().subject.view() == "3 came, room for 2");
    CHECK_FALSE(room.front().ok());

    REQUIRE(send_descriptors(pair->first, three));
    CHECK(
        fails_with(receive_descriptor(pair->second), Step::receive_descriptor, Reason::bad_value));
}

TEST_CASE("no descriptor came, or nothing at all") {
    const support::NothingLeft check;
    auto pair = SocketPair::open(SocketKind::stream);
    REQUIRE(write_all(pair->first, bytes("x")));
    CHECK(
        fails_with(receive_descriptor(pair->second), Step::receive_descriptor, Reason::bad_value));
    pair->first.reset();
    CHECK(fails_with(receive_descriptor(pair->second), Step::receive_descriptor,
                     Reason::end_of_file));
    const auto pipe = Pipe::open();
    CHECK(fails_with(receive_descriptor(pipe->read_end), Step::receive_descriptor, Reason::system,
                     ENOTSOCK));
    CHECK(fails_with(send_descriptor(pipe->write_end, pipe->read_end), Step::send_descriptor,
                     Reason::system, ENOTSOCK));
    CHECK(fails_with(send_descriptor(pair->second, BorrowedFd{}), Step::send_descriptor,
                     Reason::system, EBADF));
}

TEST_CASE("descriptors that the kernel had to drop: an error, and the rest is closed") {
    CHECK(support::run_in_child([] {
              const auto pair = SocketPair::open(SocketKind::stream);
              const std::vector<BorrowedFd> three(3, pair->first);
              CHILD_CHECK(send_descriptors(pair->first, three));
              const support::NothingLeft check;
              const int next = ::dup(0);
              ::close(next);
              const rlimit before{1024, 4096};
              const rlimit one_more{static_cast<rlim_t>(next) + 1, 4096};
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &one_more) == 0);
              std::vector<OwnedFd> room(3);
              CHILD_CHECK(fails_with(receive_descriptors(pair->second, room),
                                     Step::receive_descriptor, Reason::system, EMFILE));
              CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &before) == 0);
              CHILD_CHECK(check.holds());
              return 0;
          }) == 0);
}

TEST_CASE("credentials that come along are no descriptors") {
    const support::NothingLeft check;
    const auto pair = SocketPair::open(SocketKind::stream);
    const int on = 1;
    REQUIRE(::setsockopt(pair->second.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    REQUIRE(send_descriptors(pair->first,
                             std::vector<BorrowedFd>(nsjoin::max_descriptors, pair->first)));
    std::vector<OwnedFd> room(nsjoin::max_descriptors);
    CHECK(receive_descriptors(pair->second, room).value() == nsjoin::max_descriptors);
}

TEST_CASE("a receiver waits through signals, blocking or not") {
    for (const bool nonblocking : {false, true}) {
        CAPTURE(nonblocking);
        CHECK(support::run_in_child([&] {
                  const auto pair = SocketPair::open(SocketKind::seqpacket);
                  if (nonblocking) {
                      set_nonblocking(pair->second);
                  }
                  const pid_t sender = ::fork();
                  if (sender == 0) {
                      ::usleep(80'000);
                      ::_exit(send_descriptor(pair->first, BorrowedFd{0}) ? 0 : 1);
                  }
                  support::interrupt_often();
                  CHILD_CHECK(receive_descriptor(pair->second));
                  CHILD_CHECK(support::wait_for(sender) == 0);
                  return 0;
              }) == 0);
    }
}

} // namespace
