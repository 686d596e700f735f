// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_MOUNT_SOURCES_HPP
#define NSJOIN_DETAIL_ENGINE_MOUNT_SOURCES_HPP

#include <nsjoin/detail/engine/run.hpp>
#include <nsjoin/pipe.hpp>

#include <cstring>
#include <sys/socket.h>

// How the child gets mount sources that its user namespace may not reach: the opener, a process
// that has the caller's rights as they were before anything was joined, follows the child into its
// new mount namespace and opens them there.

namespace nsjoin::detail {

/// struct ucred, which a libc shows only where it is asked for.
struct SenderIds {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

[[nodiscard]] inline auto source_error(long result, std::string_view what) noexcept -> Unexpected {
    return fail(Step::take_mount_sources, static_cast<int>(-result), what);
}

/// Waits for a byte and says who sent it, in this process's own pid namespace. 0: nobody will.
[[nodiscard]] inline auto receive_sender(BorrowedFd socket) noexcept -> pid_t {
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
    const cmsghdr* const part = length == 1 ? CMSG_FIRSTHDR(&header) : nullptr;
    if (part == nullptr || part->cmsg_level != SOL_SOCKET || part->cmsg_type != credentials) {
        return 0;
    }
    SenderIds ids;
    std::memcpy(&ids, CMSG_DATA(part), sizeof ids);
    return ids.pid;
}

/// Opens the sources in the mount namespace of the process that asks, and sends each.
template <Scope S>
[[nodiscard]] auto serve_sources(const Run<S>& run, BorrowedFd socket) noexcept -> Result<void> {
    const pid_t child = receive_sender(socket);
    if (child <= 0) {
        return {}; // the child is gone
    }
    Subject entry;
    entry.append(std::int64_t{child}).append("/ns/mnt");
    const OwnedFd space{static_cast<int>(open_at(run.proc.get(), entry.c_str(), O_RDONLY))};
    const long moved = call(SYS_setns, space.get(), facts(Kind::mount).clone_flag);
    if (moved < 0) {
        return source_error(moved, "setns to the child's mount namespace");
    }
    for (const MountSource& source : run.plan.mount_sources.list) {
        std::array<char, 4096> path{};
        expect(source.path.size() < path.size(), "a mount source is longer than a path can be");
        std::memcpy(path.data(), source.path.data(), source.path.size());
        const OwnedFd file{static_cast<int>(open_at(AT_FDCWD, path.data(), O_PATH))};
        if (!file.ok()) {
            return source_error(-errno, source.path);
        }
        if (!send_descriptor(socket, file)) {
            return {}; // the child is gone
        }
    }
    return {};
}

/// Makes the opener, which waits for the child. clone3(2).
template <Scope S>
[[nodiscard]] auto start_opener(Run<S>& run) noexcept -> Result<void> {
    auto pair = SocketPair::open(SocketKind::seqpacket);
    const int yes = 1;
    if (!pair || ::setsockopt(pair->second.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0) {
        return source_error(-errno, "socketpair");
    }
    int pidfd = -1;
    CloneArgs args;
    args.flags = clone_pidfd;
    args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd); // NOLINT(*-reinterpret-cast)
    const long pid = clone_process(args);
    if (pid < 0) {
        return source_error(pid, "clone");
    }
    if (pid == 0) {
        pair->first.reset();
        (void)call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
        const Result<void> done = serve_sources(run, pair->second);
        if (!done) {
            const Message message{true, done.error()};
            (void)call_again(SYS_sendto, pair->second.get(), &message, sizeof message, MSG_NOSIGNAL,
                             nullptr, 0);
        }
        exit_now(0);
    }
    run.opener.pidfd.reset(pidfd);
    run.opener.pid = static_cast<pid_t>(pid);
    run.opener.child_end = std::move(pair->first);
    return {};
}

/// Ends the opener, if there is one: in the caller, when the child has what it wants or is gone.
template <Scope S>
void end_opener(Run<S>& run) noexcept {
    run.opener.child_end.reset();
    if (run.opener.pid > 0) {
        const PidFd opener{std::move(run.opener.pidfd), run.opener.pid};
        (void)opener.send_signal(SIGKILL);
        (void)opener.wait();
        run.opener.pid = 0;
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
    if (!file) {
        return fail(Step::take_mount_sources, Reason::process_gone, source.path);
    }
    const long placed = file->get() == source.number
                            ? source.number
                            : call_again(SYS_dup3, file->get(), source.number, O_CLOEXEC);
    if (placed < 0) {
        return source_error(placed, source.path);
    }
    return {};
}

/// In the child: asks the opener for the sources, takes them, and leaves the opener.
template <Scope S>
[[nodiscard]] auto take_sources(Run<S>& run) noexcept -> Result<void> {
    const char byte = 0;
    (void)call_again(SYS_sendto, run.opener.child_end.get(), &byte, sizeof byte, MSG_NOSIGNAL,
                     nullptr, 0);
    for (const MountSource& source : run.plan.mount_sources.list) {
        Result<void> done = take_source(run.opener.child_end, source);
        if (!done) {
            return done;
        }
    }
    run.opener.child_end.reset();
    return {};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_MOUNT_SOURCES_HPP
