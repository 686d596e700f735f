// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/pid_fd.hpp>

#include "supervisor.hpp"

#include <nsjoin/explain.hpp>

#include <array>
#include <chrono>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <thread>
#include <type_traits>
#include <vector>

using nsjoin::ExitStatus;
using nsjoin::PidFd;
using nsjoin::Reason;
using nsjoin::Step;
using support::fails_with;
using namespace std::chrono_literals;

namespace {

static_assert(!std::is_copy_constructible_v<PidFd> && std::is_nothrow_move_constructible_v<PidFd>);

template <typename T>
concept LendsFd = requires(T&& value) {
    static_cast<T&&>(value).fd();
};

static_assert(LendsFd<PidFd&> && !LendsFd<PidFd>);

static_assert(ExitStatus{7 << 8}.exited() && ExitStatus{7 << 8}.exit_code() == 7);
static_assert(ExitStatus{SIGKILL}.signal() == SIGKILL && !ExitStatus{SIGKILL}.exited());
static_assert(ExitStatus{SIGSEGV | 0x80}.exit_code() == 128 + SIGSEGV); // with a core dump

/// A child that ends with the code, after the pause.
auto child(int code, std::chrono::milliseconds pause = 0ms) -> pid_t {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::usleep(static_cast<useconds_t>(pause.count() * 1000));
        ::_exit(code);
    }
    return pid;
}

TEST_CASE("a pidfd pins a process and closes on exec") {
    const support::NothingLeft check;
    const auto self = PidFd::open(::getpid());
    REQUIRE(self);
    CHECK(self->pid() == ::getpid());
    CHECK(self->alive());
    CHECK(support::closes_on_exec(self->fd().get()));
    CHECK(self->send_signal(0));
}

TEST_CASE("what a child used comes with its status, once") {
    const support::NothingLeft check;
    const pid_t pid = ::fork();
    if (pid == 0) {
        std::vector<char> memory(std::size_t{64} << 20U, 'x');
        volatile unsigned long long sum = 0;
        const auto end = std::chrono::steady_clock::now() + 100ms;
        while (std::chrono::steady_clock::now() < end) {
            sum = sum + static_cast<unsigned char>(memory[sum % memory.size()]);
        }
        ::_exit(9);
    }
    const auto process = PidFd::open(pid);
    REQUIRE(process);
    CHECK(fails_with(process->wait_usage(1ms), Step::wait, Reason::deadline_passed));
    const auto ended = process->wait_usage();
    REQUIRE(ended);
    CHECK(ended->status.exit_code() == 9);
    CHECK(ended->usage.ru_maxrss > 64L * 1024);
    CHECK(ended->usage.ru_utime.tv_sec * 1'000'000 + ended->usage.ru_utime.tv_usec > 20'000);
    CHECK(fails_with(process->wait_usage(), Step::wait, Reason::already_reaped));
    const auto idle = PidFd::open(child(0));
    REQUIRE(idle);
    const auto less = idle->wait_usage();
    REQUIRE(less);
    CHECK(less->usage.ru_utime.tv_sec * 1'000'000 + less->usage.ru_utime.tv_usec < 20'000);
    const auto self = PidFd::open(::getpid());
    REQUIRE(self);
    CHECK(fails_with(self->wait_usage(1ms), Step::wait, Reason::deadline_passed));
}

TEST_CASE("opening what is no process") {
    const support::NothingLeft check;
    CHECK(fails_with(PidFd::open(0), Step::open_pidfd, Reason::system, EINVAL));
    CHECK(fails_with(PidFd::open(-7), Step::open_pidfd, Reason::system, EINVAL));
    const pid_t gone = child(0);
    support::wait_for(gone);
    const auto result = PidFd::open(gone);
    REQUIRE(fails_with(result, Step::open_pidfd, Reason::system, ESRCH));
    CHECK(result.error().subject.view() == "pid " + std::to_string(gone));
    std::thread{[] { // EINVAL, or on newer kernels ENOENT: either way it says what is wrong
        const auto thread = PidFd::open(::gettid());
        CHECK_FALSE(thread);
        CHECK(nsjoin::explain(thread.error()).find("not of a thread") != std::string::npos);
    }}
        .join();
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_syscall(SYS_pidfd_open, ENOSYS));
              CHILD_CHECK(fails_with(PidFd::open(1), Step::open_pidfd, Reason::system, ENOSYS));
              return 0;
          }) == 0);
}

TEST_CASE("wait brings the exit code, or the signal") {
    const support::NothingLeft check;
    auto target = PidFd::open(child(42));
    REQUIRE(target);
    auto status = target->wait();
    REQUIRE(status);
    CHECK(status->exited());
    CHECK(status->exit_code() == 42);
    CHECK_FALSE(target->alive());

    support::Container paused{nsjoin::KindSet{}};
    target = PidFd::open(paused.pid());
    REQUIRE(target);
    REQUIRE(target->send_signal(SIGTERM));
    status = target->wait();
    REQUIRE(status);
    CHECK(status->signal() == SIGTERM);
    CHECK(status->exit_code() == 128 + SIGTERM);
    CHECK(fails_with(target->send_signal(0), Step::send_signal, Reason::system, ESRCH));
}

TEST_CASE("a second wait is answered from the descriptor, or says that the status is lost") {
    const auto target = PidFd::open(child(42));
    REQUIRE(target);
    support::wait_for(target->pid());
    const auto status = target->wait();
    if (status) {
        CHECK(status->exit_code() == 42);
        // As the kernel answers who asks in the moment in which somebody else takes it.
        int asked = 0;
        const auto fails_once = [&asked](const support::Held& held) {
            return held.number == SYS_ioctl && asked++ == 0 ? ESRCH : 0;
        };
        const auto waits = [] {
            const auto ended = PidFd::open(child(42));
            support::wait_for(ended->pid());
            const auto seen = ended->wait();
            return seen && seen->exit_code() == 42 ? 0 : 1;
        };
        CHECK(support::Supervisor{}.run(waits, fails_once) == 0);
        CHECK(asked == 2);
    } else {
        support::skip(support::no_taken_status);
        CHECK(fails_with(status, Step::wait, Reason::already_reaped));
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_ioctl(nsjoin::detail::pidfd_get_info, ENOTTY));
              const auto lost = PidFd::open(child(42));
              CHILD_CHECK(lost);
              support::wait_for(lost->pid());
              CHILD_CHECK(fails_with(lost->wait(), Step::wait, Reason::already_reaped));
              return 0;
          }) == 0);
}

TEST_CASE("a deadline passes, and the child is still there to be waited for") {
    const support::NothingLeft check;
    support::Container paused{nsjoin::KindSet{}};
    const auto target = PidFd::open(paused.pid());
    REQUIRE(target);
    const auto start = std::chrono::steady_clock::now();
    CHECK(fails_with(target->wait(30ms), Step::wait, Reason::deadline_passed));
    CHECK(std::chrono::steady_clock::now() - start >= 30ms);
    CHECK(fails_with(target->wait(0ms), Step::wait, Reason::deadline_passed));
    CHECK(target->alive());
}

TEST_CASE("signals interrupt no wait and lengthen no deadline") {
    CHECK(support::run_in_child([] {
              const auto slow = PidFd::open(child(3, 120ms));
              CHILD_CHECK(slow);
              support::interrupt_often();
              const auto start = std::chrono::steady_clock::now();
              CHILD_CHECK(fails_with(slow->wait(50ms), Step::wait, Reason::deadline_passed));
              CHILD_CHECK(std::chrono::steady_clock::now() - start < 110ms);
              const auto status = slow->wait();
              CHILD_CHECK(status && status->exit_code() == 3);
              return 0;
          }) == 0);
}

TEST_CASE("a process that is nobody's child here can be seen to end, not waited for") {
    const auto init = PidFd::open(1);
    REQUIRE(init);
    CHECK(init->alive());
    CHECK(fails_with(init->wait(0ms), Step::wait, Reason::deadline_passed));
}

TEST_CASE("a wait for a process that is nobody's child here lasts until it has ended") {
    const support::NothingLeft check;
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const nsjoin::OwnedFd reader{ends[0]};
    const nsjoin::OwnedFd writer{ends[1]};
    const pid_t parent = ::fork();
    if (parent == 0) {
        const pid_t other = ::fork();
        if (other == 0) {
            ::sleep(1);
            ::_exit(4);
        }
        ::_exit(::write(writer.get(), &other, sizeof other) == sizeof other
                    ? support::wait_for(other)
                    : 1);
    }
    pid_t other = 0;
    REQUIRE(::read(reader.get(), &other, sizeof other) == sizeof other);
    const auto process = PidFd::open(other);
    REQUIRE(process);
    const auto status = process->wait();
    CHECK_FALSE(process->alive());
    CHECK((status ? status->exit_code() == 4 : status.error().step == Step::wait));
    CHECK(support::wait_for(parent) == 4);
}

TEST_CASE("a signal without the right to send it") {
    CHECK(support::as_user(65534, [] {
              const auto init = PidFd::open(1);
              CHILD_CHECK(init);
              CHILD_CHECK(
                  fails_with(init->send_signal(0), Step::send_signal, Reason::system, EPERM));
              CHILD_CHECK(init->alive());
              return 0;
          }) == 0);
}

TEST_CASE("a pidfd that was given away stands for no process") {
    auto init = PidFd::open(1);
    REQUIRE(init);
    const auto given = init->release();
    CHECK(given.ok());
    CHECK_FALSE(init->alive());
    CHECK(fails_with(init->send_signal(0), Step::send_signal, Reason::system, EBADF));
    CHECK(fails_with(init->wait(), Step::wait, Reason::system, EBADF));
    CHECK(fails_with(init->wait(std::chrono::seconds{1}), Step::wait, Reason::system, EBADF));
}

TEST_CASE("a tracer that keeps the end of a child to itself holds up no wait past its timeout") {
    support::Container child{nsjoin::KindSet{}};
    REQUIRE(child.ok());
    const auto pidfd = PidFd::open(child.pid());
    REQUIRE(pidfd);
    std::array<int, 2> ready{};
    REQUIRE(::pipe2(ready.data(), O_CLOEXEC) == 0);
    const pid_t tracer = ::fork();
    if (tracer == 0) {
        support::default_signals();
        const bool traces = ::ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr) == 0;
        (void)!::write(ready[1], traces ? "y" : "n", 1);
        for (;;) {
            ::pause();
        }
    }
    char word = 0;
    REQUIRE(::read(ready[0], &word, 1) == 1);
    ::close(ready[0]);
    ::close(ready[1]);
    REQUIRE(pidfd->send_signal(SIGKILL));
    if (word == 'y') {
        const auto begin = std::chrono::steady_clock::now();
        CHECK(fails_with(pidfd->wait(100ms), Step::wait, Reason::deadline_passed));
        CHECK(fails_with(pidfd->wait(0ms), Step::wait, Reason::deadline_passed));
        CHECK(std::chrono::steady_clock::now() - begin < 5s);
    } else {
        support::skip("who is no parent may not trace here");
    }
    ::kill(tracer, SIGKILL);
    support::wait_for(tracer);
    const auto status = pidfd->wait(10s);
    REQUIRE(status);
    CHECK(status->signal() == SIGKILL);
}

TEST_CASE("a reused pid does not deceive a pidfd") {
    support::Container first{nsjoin::KindSet{}};
    REQUIRE(first.ok());
    const pid_t pid = first.pid();
    const auto target = PidFd::open(pid);
    REQUIRE(target);
    first.end();
    const support::Container second{nsjoin::KindSet{}, pid};
    if (!second.ok()) {
        support::skip("another process took the pid, or clone3 can't choose one");
        return;
    }
    CHECK_FALSE(target->alive());
    CHECK(fails_with(target->send_signal(SIGKILL), Step::send_signal, Reason::system, ESRCH));
    CHECK(::kill(second.pid(), 0) == 0);
}

} // namespace
