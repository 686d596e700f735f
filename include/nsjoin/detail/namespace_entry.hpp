// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_NAMESPACE_ENTRY_HPP
#define NSJOIN_DETAIL_NAMESPACE_ENTRY_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/fd.hpp>
#include <nsjoin/kind.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <string_view>
#include <sys/mount.h>

// How a namespace is found in /proc, and what the kernel says of a descriptor that may be one.

namespace nsjoin::inline v0_1::detail {

inline constexpr std::int32_t nsfs_handle = 241; ///< FILEID_NSFS
inline constexpr int nsfs_root = -10003;         ///< FD_NSFS_ROOT

/// struct file_handle with what nsfs puts into it.
struct FileHandle {
    std::uint32_t bytes = 16;
    std::int32_t kind = nsfs_handle;
    std::uint64_t id = 0;
    std::uint32_t type = 0;
    std::uint32_t inode = 0;
};

static_assert(sizeof(FileHandle) == 24);

/// One of the entries in /proc/PID/ns, and the number of the pidfd's ioctl for the same.
struct NamespaceEntry {
    Kind kind;
    std::string_view name;
    unsigned request;

    [[nodiscard]] static constexpr auto active(Kind kind) noexcept -> NamespaceEntry {
        return {kind, facts(kind).name, facts(kind).pidfd_ioctl};
    }

    /// Precondition: the kind has such an entry.
    [[nodiscard]] static constexpr auto for_children(Kind kind) noexcept -> NamespaceEntry {
        // PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE and its twin for time follow the plain ones.
        return {kind, facts(kind).children_name, facts(kind).pidfd_ioctl + 1U};
    }
};

static_assert(NamespaceEntry::for_children(Kind::pid).request == 6);
static_assert(NamespaceEntry::for_children(Kind::time).request == 8);

/// The pid of the pidfd's process in the pid namespace that /proc shows, which is not always the
/// one in which the pidfd was opened. -1 if the process was waited for, 0 if it is not seen there.
[[nodiscard]] inline auto find_in_proc(BorrowedFd proc, BorrowedFd pidfd, int& pid) noexcept
    -> Result<void> {
    const SmallPath path = SmallPath{"thread-self/fdinfo/"}.append(pidfd.get());
    const auto file = open_owned(Step::open_namespace, proc.get(), path.c_str(), O_RDONLY);
    if (!file) {
        return Unexpected{file.error()};
    }
    std::array<char, 512> buffer{};
    const long length = call_again(SYS_read, file->get(), buffer.data(), buffer.size());
    const std::string_view text{buffer.data(), static_cast<std::size_t>(length < 0 ? 0 : length)};
    constexpr std::string_view label = "\nPid:\t";
    const std::size_t at = text.find(label);
    std::string_view rest = after(text, at == std::string_view::npos ? at : at + label.size());
    if (!parse_number(take_until(rest, '\n'), pid)) {
        return fail(Step::open_namespace, length < 0 ? static_cast<int>(-length) : EBADF,
                    path.c_str());
    }
    return {};
}

/// Whether the process with that pid is one whose first thread has ended: /proc/PID/ns is empty
/// then, as if the kernel had none of the kinds. It may have ended as a whole by then: see
/// PidFd::alive.
[[nodiscard]] inline auto first_thread_ended(BorrowedFd proc, int pid) noexcept -> bool {
    const SmallPath path = SmallPath{""}.append(pid).append("/stat");
    const auto file = open_owned(Step::open_namespace, proc.get(), path.c_str(), O_RDONLY);
    if (!file) {
        return false;
    }
    std::array<char, 512> buffer{};
    const long length = call_again(SYS_read, file->get(), buffer.data(), buffer.size());
    const std::string_view text{buffer.data(), static_cast<std::size_t>(length < 0 ? 0 : length)};
    // The name before the state may have any characters, the numbers behind it have none of these.
    const std::size_t at = text.rfind(") ");
    return at != std::string_view::npos && first(after(text, at), 3) == ") Z";
}

/// Whether the running kernel has no such entry in any process's ns directory.
[[nodiscard]] inline auto kernel_lacks(BorrowedFd proc, std::string_view name) noexcept -> bool {
    SmallPath entry{"thread-self/ns"};
    return has_entry(proc, entry.c_str()) &&
           !has_entry(proc, entry.append("/").append(name).c_str());
}

[[nodiscard]] inline auto namespace_subject(std::string_view name, pid_t pid) noexcept -> Subject {
    return Subject{name}.append(" of pid ").append(std::int64_t{pid});
}

/// The kind by the name in /proc/self/fd, for kernels before 4.11. A namespace that is opened by
/// the path where it is pinned shows that path there, so its kind stays unknown.
[[nodiscard]] inline auto kind_from_link(BorrowedFd fd, std::string_view subject,
                                         Kind& kind) noexcept -> Result<void> {
    const auto proc = open_proc();
    if (!proc) {
        return Unexpected{proc.error()};
    }
    std::array<char, 64> buffer{};
    const long length =
        call(SYS_readlinkat, proc->get(), path_of(fd).c_str(), buffer.data(), buffer.size());
    const std::string_view link{buffer.data(), static_cast<std::size_t>(length < 0 ? 0 : length)};
    if (!kind_from_name(first(link, link.find(":[")), kind)) {
        return fail(Step::open_namespace, ENOTTY, subject);
    }
    return {};
}

/// Finds the kind of the namespace that the descriptor stands for, if it is one.
[[nodiscard]] inline auto find_kind(BorrowedFd fd, std::string_view subject, Kind& kind) noexcept
    -> Result<void> {
    if (const Result<void> is = check_file_system(Step::open_namespace, fd, nsfs_magic,
                                                  Reason::not_a_namespace, subject);
        !is) {
        return is;
    }
    const long flag = call(SYS_ioctl, fd.get(), ns_get_nstype);
    if (is_unknown_request(flag)) {
        return kind_from_link(fd, subject, kind);
    }
    if (flag < 0) {
        return fail(Step::open_namespace, static_cast<int>(-flag), subject);
    }
    const KindSet kinds = KindSet::from_clone_flags(static_cast<std::uint64_t>(flag));
    if (kinds.empty()) {
        return fail(Step::open_namespace, Reason::no_such_kind, subject);
    }
    kind = *kinds.begin();
    return {};
}

[[nodiscard]] inline auto wrong_kind(Subject subject, Kind found) noexcept -> Unexpected {
    subject.append(subject.view().empty() ? "a " : ": a ").append(facts(found).name);
    subject.append(" namespace");
    return Unexpected{Error{Step::open_namespace, Reason::wrong_kind, 0, subject}};
}

/// Mounts the namespace over the file that `mount_point` (O_PATH) stands for.
[[nodiscard]] inline auto bind_namespace(BorrowedFd space, BorrowedFd mount_point) noexcept
    -> Result<void> {
    const auto proc = open_proc(); // the paths below mean something only if /proc is the kernel's
    if (!proc) {
        return Unexpected{proc.error()};
    }
    const SmallPath source = SmallPath{"/proc/"}.append(path_of(space).c_str());
    const SmallPath target = SmallPath{"/proc/"}.append(path_of(mount_point).c_str());
    const long result = call(SYS_mount, source.c_str(), target.c_str(), "", MS_BIND, nullptr);
    if (result < 0) {
        return fail(Step::pin_namespace, static_cast<int>(-result));
    }
    return {};
}

/// Mounts the namespace over the file `path`, which is made if there is none, and removed again if
/// that fails. Says whether it was made. A symbolic link is not followed, as who undoes it does
/// not.
[[nodiscard]] inline auto pin_namespace(BorrowedFd space, const char* path) noexcept
    -> Result<bool> {
    const long made =
        call_again(SYS_openat, AT_FDCWD, path, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);
    if (made < 0 && made != -EEXIST) {
        return fail(Step::pin_namespace, static_cast<int>(-made), path);
    }
    auto file = made >= 0 ? Result<OwnedFd>{OwnedFd{static_cast<int>(made)}}
                          : open_owned(Step::pin_namespace, AT_FDCWD, path, O_PATH | O_NOFOLLOW);
    if (!file) {
        return Unexpected{file.error()};
    }

    struct stat about {};

    if (::fstat(file->get(), &about) == 0 && S_ISLNK(about.st_mode)) {
        return fail(Step::pin_namespace, ELOOP, path);
    }
    if (lies_on(*file, nsfs_magic)) {
        return fail(Step::pin_namespace, EEXIST, path);
    }
    auto result = bind_namespace(space, *file);
    if (!result) {
        if (made >= 0) {
            (void)call(SYS_unlinkat, AT_FDCWD, path, 0);
        }
        if (result.error().step == Step::pin_namespace) {
            result.error().subject = Subject{path};
        }
        return Unexpected{result.error()};
    }
    return made >= 0;
}

/// Undoes that: takes the mount away, and the file if it is said to.
[[nodiscard]] inline auto unpin_namespace(const char* path, bool file_too) noexcept
    -> Result<void> {
    const auto found = open_owned(Step::unpin_namespace, AT_FDCWD, path, O_PATH | O_NOFOLLOW);
    if (!found) {
        return Unexpected{found.error()};
    }
    if (const auto is = check_file_system(Step::unpin_namespace, *found, nsfs_magic,
                                          Reason::not_a_namespace, path);
        !is) {
        return is;
    }
    long result = call(SYS_umount2, path, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (result == 0 && file_too) {
        result = call(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    return result < 0 ? fail(Step::unpin_namespace, static_cast<int>(-result), path)
                      : Result<void>{};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_NAMESPACE_ENTRY_HPP
