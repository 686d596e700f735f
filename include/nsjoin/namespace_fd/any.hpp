// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_NAMESPACE_FD_ANY_HPP
#define NSJOIN_NAMESPACE_FD_ANY_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/namespace_entry.hpp>
#include <nsjoin/fd.hpp>
#include <nsjoin/kind.hpp>
#include <nsjoin/pid_fd.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <string_view>
#include <sys/mount.h>
#include <sys/stat.h>
#include <utility>

// To be included by <nsjoin/namespace_fd.hpp>, which defines what here has a kind in its type.

namespace nsjoin::inline v0_1 {

/// Which namespace it is: as long as it lives, no other one has the same two numbers. The inode is
/// the number in `net:[4026531840]`. Comparable. See namespaces(7).
struct NamespaceId {
    dev_t device = 0;
    ino_t inode = 0;

    [[nodiscard]] friend constexpr auto operator==(NamespaceId, NamespaceId) noexcept
        -> bool = default;
};

/// The name of a namespace that no other one gets before the next boot. By it, it is found again
/// without /proc, by who is in it or has rights over it. Comparable. Linux 6.18.
struct NamespaceHandle {
    std::uint64_t id = 0;    ///< ioctl_nsfs(2) NS_GET_ID
    std::uint32_t type = 0;  ///< the kind's CLONE_NEW* flag
    std::uint32_t inode = 0; ///< the number in `net:[4026531840]`

    [[nodiscard]] friend constexpr auto operator==(NamespaceHandle, NamespaceHandle) noexcept
        -> bool = default;
};

template <Kind K>
class NamespaceFd;

/// A namespace, held open, of a kind that is known when the program runs; NamespaceFd is its twin
/// for a kind that is known when the program is compiled. Owns a descriptor with close-on-exec.
/// Move-only. The namespace lives as long as the descriptor does. See namespaces(7).
class [[nodiscard]] AnyNamespaceFd {
  public:
    /// The namespace of that kind which the target is in.
    /// ioctl_pidfd(2) PIDFD_GET_*_NAMESPACE (Linux 6.11); before, or where a filter denies it,
    /// open(2) of /proc/PID/ns/NAME and a second look at the pidfd, so that a reused pid is never
    /// taken for the target.
    /// Errors: process_gone; no_such_kind; not_procfs; EACCES without the right to read the target
    /// as ptrace(2) has it (PTRACE_MODE_READ_FSCREDS); ENOENT if /proc does not show it.
    [[nodiscard]] static auto open(Kind kind, const PidFd& target) noexcept
        -> Result<AnyNamespaceFd> {
        return open_entry(detail::NamespaceEntry::active(kind), target);
    }

    /// As above, of process `pid`. Errors: also those of PidFd::open.
    [[nodiscard]] static auto open(Kind kind, pid_t pid) noexcept -> Result<AnyNamespaceFd> {
        const auto target = PidFd::open(pid);
        if (!target) {
            return Unexpected{target.error()};
        }
        return open(kind, *target);
    }

    /// The namespace at `path`, of whichever kind: /proc/PID/ns/NAME, or where one is pinned.
    /// open(2), ioctl_nsfs(2) NS_GET_NSTYPE (Linux 4.11; before, only paths in /proc will do).
    /// A path to anything else has no effect: not even a FIFO or a device is opened.
    /// Errors: not_a_namespace; no_such_kind for one that this library does not know; not_procfs;
    /// those of open(2). They name the path.
    [[nodiscard]] static auto open(const char* path) noexcept -> Result<AnyNamespaceFd> {
        // Even O_RDONLY|O_NONBLOCK wakes a FIFO's writer and calls a device's driver; O_PATH calls
        // nobody. What is looked at is then opened again by descriptor, so it can't be swapped.
        const auto found = detail::open_owned(Step::open_namespace, AT_FDCWD, path, O_PATH);
        if (!found) {
            return Unexpected{found.error()};
        }
        if (const auto is = detail::check_file_system(
                Step::open_namespace, *found, detail::nsfs_magic, Reason::not_a_namespace, path);
            !is) {
            return Unexpected{is.error()};
        }
        auto fd = detail::reopen(Step::open_namespace, *found, O_RDONLY, path);
        if (!fd) {
            return Unexpected{fd.error()};
        }
        return verified(*std::move(fd), path);
    }

    static auto open(std::nullptr_t) -> Result<AnyNamespaceFd> = delete;

    /// The namespace of that name. open_by_handle_at(2) FD_NSFS_ROOT, Linux 6.18. Errors: ESTALE if
    /// it is gone, or the caller may not see it; EBADF before Linux 6.18.
    [[nodiscard]] static auto open(const NamespaceHandle& handle) noexcept
        -> Result<AnyNamespaceFd> {
        detail::FileHandle file{.id = handle.id, .type = handle.type, .inode = handle.inode};
        Subject subject{"namespace id "};
        subject.append(static_cast<std::int64_t>(handle.id));
        const long fd = detail::call_again(SYS_open_by_handle_at, detail::nsfs_root, &file,
                                           O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return detail::fail(Step::open_namespace, static_cast<int>(-fd), subject.view());
        }
        return verified(OwnedFd{static_cast<int>(fd)}, subject.view());
    }

    /// Takes a descriptor from elsewhere, and closes it if it is no namespace. Its close-on-exec
    /// flag stays as it is. Errors: not_a_namespace, no_such_kind; EBADF for one with O_PATH.
    [[nodiscard]] static auto adopt(OwnedFd fd) noexcept -> Result<AnyNamespaceFd> {
        Subject subject{"descriptor "};
        subject.append(std::int64_t{fd.get()});
        return verified(std::move(fd), subject.view());
    }

    /// The namespace of that kind which the calling thread is in: its process's, unless the thread
    /// alone was moved. open(2) of /proc/thread-self/ns/NAME. Errors: no_such_kind, not_procfs,
    /// those of open(2).
    [[nodiscard]] static auto own(Kind kind) noexcept -> Result<AnyNamespaceFd> {
        return own_entry(detail::NamespaceEntry::active(kind));
    }

    /// The namespace, pid or time, that the target's later children will be in; otherwise as
    /// open(). Errors: also bad_value for any other kind; ENOENT, on the way by /proc, if no
    /// process was ever in that pid namespace.
    [[nodiscard]] static auto open_for_children(Kind kind, const PidFd& target) noexcept
        -> Result<AnyNamespaceFd> {
        if (facts(kind).children_name.empty()) {
            return detail::fail(Step::open_namespace, Reason::bad_value, facts(kind).name);
        }
        return open_entry(detail::NamespaceEntry::for_children(kind), target);
    }

    /// The namespace, pid or time, that the calling thread's later children will be in; otherwise
    /// as own(). Errors: as open_for_children().
    [[nodiscard]] static auto own_for_children(Kind kind) noexcept -> Result<AnyNamespaceFd> {
        if (facts(kind).children_name.empty()) {
            return detail::fail(Step::open_namespace, Reason::bad_value, facts(kind).name);
        }
        return own_entry(detail::NamespaceEntry::for_children(kind));
    }

    [[nodiscard]] auto kind() const noexcept -> Kind { return kind_; }

    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd { return fd_.borrow(); }

    auto fd() && -> BorrowedFd = delete;

    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] auto release() noexcept -> OwnedFd { return std::move(fd_); }

    /// The same namespace, with its kind in its type. Errors: wrong_kind, which leaves it here.
    template <Kind K>
    [[nodiscard]] auto as() && noexcept -> Result<NamespaceFd<K>>;

    /// Which namespace it is. fstat(2).
    [[nodiscard]] auto id() const noexcept -> Result<NamespaceId> {
        struct stat facts {};

        if (::fstat(fd_.get(), &facts) != 0) {
            return error(Step::read_namespace, errno);
        }
        return NamespaceId{facts.st_dev, facts.st_ino};
    }

    /// Its name for open(). name_to_handle_at(2), Linux 6.18. Error: EOPNOTSUPP before.
    [[nodiscard]] auto handle() const noexcept -> Result<NamespaceHandle> {
        constexpr unsigned empty_path = 0x1000; // AT_EMPTY_PATH
        detail::FileHandle file;
        int mount = 0;
        const long result =
            detail::call(SYS_name_to_handle_at, fd_.get(), "", &file, &mount, empty_path);
        if (result < 0 || file.kind != detail::nsfs_handle) {
            return error(Step::read_namespace, result < 0 ? static_cast<int>(-result) : EOPNOTSUPP);
        }
        return NamespaceHandle{file.id, file.type, file.inode};
    }

    /// The user namespace that owns this one, whose capabilities count here; for a user namespace
    /// its parent. ioctl_nsfs(2) NS_GET_USERNS, Linux 4.9. Errors: EPERM if that is neither the
    /// caller's user namespace nor a descendant of it; ENOTTY before Linux 4.9.
    [[nodiscard]] auto owner() const noexcept -> Result<NamespaceFd<Kind::user>>;

    /// The parent of a pid or user namespace. ioctl_nsfs(2) NS_GET_PARENT, Linux 4.9.
    /// Errors: EINVAL for any other kind; EPERM if the parent is outside the caller's own
    /// namespace of the kind, or there is none; ENOTTY before Linux 4.9.
    [[nodiscard]] auto parent() const noexcept -> Result<AnyNamespaceFd> {
        return related(detail::ns_get_parent, kind_);
    }

    /// The uid, as the caller's user namespace numbers it, of whoever made a user namespace.
    /// ioctl_nsfs(2) NS_GET_OWNER_UID, Linux 4.11. Errors: EINVAL for any other kind; ENOTTY
    /// before Linux 4.11.
    [[nodiscard]] auto owner_uid() const noexcept -> Result<uid_t> {
        uid_t uid = 0;
        const long result = detail::call(SYS_ioctl, fd_.get(), detail::ns_get_owner_uid, &uid);
        if (result < 0) {
            return error(Step::read_namespace, static_cast<int>(-result));
        }
        return uid;
    }

    /// Keeps the namespace alive under a name, without a process: mounts it over the file `path`,
    /// which is made (mode 0444 less the umask) if there is none, and removed again if the mount
    /// fails. mount(2) MS_BIND. Needs CAP_SYS_ADMIN over the caller's mount namespace. Errors:
    /// EPERM; EEXIST if one is pinned there already; EINVAL for a mount namespace that is not newer
    /// than the caller's; ENOTDIR if `path` is a directory, ELOOP if it is a symbolic link; those
    /// of open(2); not_procfs. They name the path.
    [[nodiscard]] auto pin(const char* path) const noexcept -> Result<void> {
        const auto pinned = detail::pin_namespace(fd_, path);
        return pinned ? Result<void>{} : Unexpected{pinned.error()};
    }

    /// Undoes pin(): unmounts the namespace from `path`, and removes the file. The namespace lives
    /// on if a process or a descriptor holds it. umount2(2) MNT_DETACH, unlink(2). Follows no
    /// symbolic link at the end of the path. Errors: not_a_namespace if none is mounted there,
    /// which leaves all as it is; EPERM; EBUSY if something was mounted there before, which is
    /// then what is left. They name the path.
    [[nodiscard]] static auto unpin(const char* path) noexcept -> Result<void> {
        return detail::unpin_namespace(path, true);
    }

  private:
    template <Kind K>
    friend class NamespaceFd;

    AnyNamespaceFd(OwnedFd fd, Kind kind) noexcept : fd_{std::move(fd)}, kind_{kind} {}

    [[nodiscard]] static auto open_entry(const detail::NamespaceEntry& entry,
                                         const PidFd& target) noexcept -> Result<AnyNamespaceFd> {
        const long fd = detail::call(SYS_ioctl, target.fd().get(),
                                     detail::pidfd_get_namespace | entry.request, 0);
        if (fd >= 0) {
            return AnyNamespaceFd{OwnedFd{static_cast<int>(fd)}, entry.kind};
        }
        if (detail::is_unknown_request(fd)) {
            return open_by_name(entry, target);
        }
        const auto subject = detail::namespace_subject(entry.name, target.pid());
        if (fd == -ESRCH) {
            return detail::fail(Step::open_namespace, detail::why_gone(target.fd(), target.pid()),
                                subject.view());
        }
        if (fd == -EOPNOTSUPP) {
            return detail::fail(Step::open_namespace, Reason::no_such_kind, subject.view());
        }
        return detail::fail(Step::open_namespace, static_cast<int>(-fd), subject.view());
    }

    [[nodiscard]] static auto open_by_name(const detail::NamespaceEntry& entry,
                                           const PidFd& target) noexcept -> Result<AnyNamespaceFd> {
        const auto proc = detail::open_proc();
        if (!proc) {
            return Unexpected{proc.error()};
        }
        int pid = 0;
        if (const auto found = detail::find_in_proc(*proc, target.fd(), pid); !found) {
            return Unexpected{found.error()};
        }
        auto path = detail::SmallPath{""}.append(pid).append("/ns/").append(entry.name);
        auto space = open_proc_entry(*proc, path.c_str(), entry,
                                     detail::namespace_subject(entry.name, target.pid()));
        if (!space && space.error().code == ENOENT && detail::first_thread_ended(*proc, pid)) {
            space = detail::fail(Step::open_namespace, Reason::first_thread_ended,
                                 space.error().subject.view());
        }
        // Only a process that lives now had its pid, and its alone, while the name was looked up.
        if (!target.alive()) {
            return detail::fail(Step::open_namespace, Reason::process_gone,
                                detail::namespace_subject(entry.name, target.pid()).view());
        }
        return space;
    }

    [[nodiscard]] static auto own_entry(const detail::NamespaceEntry& entry) noexcept
        -> Result<AnyNamespaceFd> {
        const auto proc = detail::open_proc();
        if (!proc) {
            return Unexpected{proc.error()};
        }
        const auto path = detail::SmallPath{"thread-self/ns/"}.append(entry.name);
        return open_proc_entry(*proc, path.c_str(), entry,
                               Subject{"the caller's "}.append(entry.name));
    }

    [[nodiscard]] static auto open_proc_entry(BorrowedFd proc, const char* path,
                                              const detail::NamespaceEntry& entry,
                                              const Subject& subject) noexcept
        -> Result<AnyNamespaceFd> {
        auto fd = detail::open_owned(Step::open_namespace, proc.get(), path, O_RDONLY);
        if (!fd) {
            fd.error().subject = subject;
            if (fd.error().code == ENOENT && detail::kernel_lacks(proc, entry.name)) {
                return detail::fail(Step::open_namespace, Reason::no_such_kind, subject.view());
            }
            return Unexpected{fd.error()};
        }
        auto space = verified(*std::move(fd), subject.view());
        if (space && space->kind_ != entry.kind) {
            return detail::wrong_kind(subject, space->kind_);
        }
        return space;
    }

    [[nodiscard]] static auto verified(OwnedFd fd, std::string_view subject) noexcept
        -> Result<AnyNamespaceFd> {
        Kind kind{};
        if (const auto found = detail::find_kind(fd, subject, kind); !found) {
            return Unexpected{found.error()};
        }
        return AnyNamespaceFd{std::move(fd), kind};
    }

    [[nodiscard]] auto related(unsigned long request, Kind kind) const noexcept
        -> Result<AnyNamespaceFd> {
        const long fd = detail::call(SYS_ioctl, fd_.get(), request);
        if (fd < 0) {
            return error(Step::read_namespace, static_cast<int>(-fd));
        }
        return AnyNamespaceFd{OwnedFd{static_cast<int>(fd)}, kind};
    }

    [[nodiscard]] auto error(Step step, int code) const noexcept -> Unexpected {
        return detail::fail(step, code, facts(kind_).name);
    }

    OwnedFd fd_;
    Kind kind_;
};

} // namespace nsjoin

#endif // NSJOIN_NAMESPACE_FD_ANY_HPP
