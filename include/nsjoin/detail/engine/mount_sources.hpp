// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_MOUNT_SOURCES_HPP
#define NSJOIN_DETAIL_ENGINE_MOUNT_SOURCES_HPP

#include <nsjoin/detail/engine/processes.hpp>
#include <nsjoin/pipe.hpp>

#include <cstring>
#include <sys/socket.h>

// How the child gets mount sources that its user namespace may not reach: the opener, a process
// that has the caller's rights as they were before anything was joined, follows the child into its
// new mount namespace and opens them there.

namespace nsjoin::inline v0_1::detail {

/// struct ucred, which a libc shows only where it is asked for.
struct SenderIds {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// Waits for a byte and says who sent it, in this process's own pid namespace. 0: nobody will;
/// negative: -errno.
[[nodiscard]] inline auto receive_sender(BorrowedFd socket) noexcept -> long {
    constexpr int credentials = 2; // SCM_CREDENTIALS
    char byte = 0;
    iovec payload{&byte, sizeof byte};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(SenderIds))> control{};
    msghdr header{};
    header.msg_iov = &payload;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const long length = call_again(SYS_recvmsg, socket.get(), &header, 0);
    if (length < 0) {
        return length;
    }
    const cmsghdr* const part = length == 1 ? CMSG_FIRSTHDR(&header) : nullptr;
    if (part == nullptr || part->cmsg_level != SOL_SOCKET || part->cmsg_type != credentials) {
        return 0;
    }
    SenderIds ids;
    std::memcpy(&ids, CMSG_DATA(part), sizeof ids);
    return ids.pid;
}

/// Opens the sources in the mount namespace of the process that asks, and sends each. Without an
/// error also where the child is gone.
[[nodiscard]] inline auto serve_sources(const Attempt& attempt) noexcept -> Result<void> {
    constexpr Step step = Step::open_mount_sources;
    const BorrowedFd socket = attempt.opener.own_end.borrow();
    const long child = receive_sender(socket);
    if (child <= 0) {
        return child == 0 ? Result<void>{} : fail(step, static_cast<int>(-child), "who asks");
    }
    Subject entry;
    entry.append(std::int64_t{child}).append("/ns/mnt");
    const long opened = open_at(attempt.run.proc.get(), entry.c_str(), O_RDONLY);
    if (opened < 0) {
        return fail(step, static_cast<int>(-opened), "the child's mount namespace");
    }
    const OwnedFd space{static_cast<int>(opened)};
    const long moved = call(SYS_setns, space.get(), facts(Kind::mount).clone_flag);
    if (moved < 0) {
        return fail(step, static_cast<int>(-moved), "setns to the child's mount namespace");
    }
    for (const MountSource& source : attempt.run.plan.mount_sources.list) {
        std::array<char, 4096> path{};
        expect(source.path.size() < path.size(), "a mount source is longer than a path can be");
        std::memcpy(path.data(), source.path.data(), source.path.size());
        const long found = open_at(AT_FDCWD, path.data(), O_PATH);
        if (found < 0) {
            return fail(step, static_cast<int>(-found), source.path);
        }
        const OwnedFd file{static_cast<int>(found)};
        if (const Result<void> sent = send_descriptor(socket, file); !sent) {
            return fail(step, sent.error().code, source.path); // a child that is gone hears nothing
        }
    }
    return {};
}

/// Makes the opener, which waits for the child.
[[nodiscard]] inline auto make_opener(Attempt& attempt, std::size_t place) noexcept
    -> Result<void> {
    auto pair = SocketPair::open(SocketKind::seqpacket);
    if (!pair) {
        return fail(Step::make_opener, pair.error().code, "socketpair");
    }
    const int yes = 1;
    const long passes =
        call(SYS_setsockopt, pair->second.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes);
    if (passes < 0) {
        return fail(Step::make_opener, static_cast<int>(-passes), "setsockopt");
    }
    attempt.opener.child_end = std::move(pair->first);
    attempt.opener.own_end = std::move(pair->second);
    int pidfd = -1;
    CloneArgs args;
    ask_for_pidfd(args, pidfd);
    const long pid = clone_by(attempt.schedule.list[place].call, args);
    if (pid < 0) {
        return failed_clone(attempt, place, pid);
    }
    if (pid == 0) {
        attempt.opener.child_end.reset();
        (void)call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
        Entry entry{attempt, Process::opener, place + 1};
        live(entry);
    }
    attempt.opener.own_end.reset();
    attempt.opener.pidfd.reset(pidfd);
    attempt.opener.pid = static_cast<pid_t>(pid);
    return {};
}

/// Ends the opener, if there is one: in the caller, when the child has what it wants or is gone.
inline void end_opener(Attempt& attempt) noexcept {
    attempt.opener.child_end.reset();
    if (attempt.opener.pid > 0) {
        const PidFd opener{std::move(attempt.opener.pidfd), attempt.opener.pid};
        (void)opener.send_signal(SIGKILL);
        (void)opener.wait();
        attempt.opener.pid = 0;
    }
}

/// In the child: puts one source where the plan wants it.
[[nodiscard]] inline auto take_source(BorrowedFd socket, const MountSource& source) noexcept
    -> Result<void> {
    Message message;
    const long length = call_again(SYS_recvfrom, socket.get(), &message, sizeof message, MSG_PEEK,
                                   nullptr, nullptr);
    if (length == sizeof message && message.failed) {
        return Unexpected{message.error};
    }
    const auto file = receive_descriptor(socket);
    if (!file && file.error().reason == Reason::end_of_file) {
        return fail(Step::take_mount_sources, Reason::process_gone, source.path);
    }
    if (!file) {
        Error error = file.error();
        error.step = Step::take_mount_sources;
        return Unexpected{error};
    }
    const long placed = file->get() == source.number
                            ? source.number
                            : call_again(SYS_dup3, file->get(), source.number, O_CLOEXEC);
    if (placed < 0) {
        return fail(Step::take_mount_sources, static_cast<int>(-placed), source.path);
    }
    return {};
}

/// In the child: asks the opener for the sources, takes them, and leaves the opener.
[[nodiscard]] inline auto take_sources(Attempt& attempt) noexcept -> Result<void> {
    const char byte = 0;
    const long asked = call_again(SYS_sendto, attempt.opener.child_end.get(), &byte, sizeof byte,
                                  MSG_NOSIGNAL, nullptr, 0);
    // What one that ended before had sent tells more. Of one that did not, it would be waited for.
    Message message;
    const bool told = asked == -EPIPE &&
                      call_again(SYS_recvfrom, attempt.opener.child_end.get(), &message,
                                 sizeof message, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr) >= 0;
    if (asked < 0 && !told) {
        return outcome(Step::take_mount_sources, asked);
    }
    for (const MountSource& source : attempt.run.plan.mount_sources.list) {
        Result<void> done = take_source(attempt.opener.child_end, source);
        if (!done) {
            return done;
        }
    }
    attempt.opener.child_end.reset();
    return {};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_MOUNT_SOURCES_HPP
