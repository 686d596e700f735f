// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_NAMESPACE_FD_HPP
#define NSJOIN_NAMESPACE_FD_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/fd.hpp>
#include <nsjoin/kind.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <sys/mount.h>
#include <sys/stat.h>
#include <utility>

namespace nsjoin {

/// Which namespace it is: as long as it lives, no other one has the same two numbers. The inode is
/// the number in `net:[4026531840]`. Comparable. See namespaces(7).
struct NamespaceId {
    dev_t device = 0;
    ino_t inode = 0;

    [[nodiscard]] friend constexpr auto operator==(NamespaceId, NamespaceId) noexcept
        -> bool = default;
};

template <Kind K>
class NamespaceFd;

namespace detail {

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
    if (at == std::string_view::npos ||
        std::from_chars(text.data() + at + label.size(), text.data() + text.size(), pid).ec !=
            std::errc{}) {
        return fail(Step::open_namespace, length < 0 ? static_cast<int>(-length) : EBADF,
                    path.c_str());
    }
    return {};
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
    if (!lies_on(fd, nsfs_magic)) {
        return fail(Step::open_namespace, Reason::not_a_namespace, subject);
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
    const long result = call(SYS_mount, source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr);
    if (result < 0) {
        return fail(Step::pin_namespace, static_cast<int>(-result));
    }
    return {};
}

} // namespace detail

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
        if (!detail::lies_on(*found, detail::nsfs_magic)) {
            return detail::fail(Step::open_namespace, Reason::not_a_namespace, path);
        }
        auto fd = detail::reopen(Step::open_namespace, *found, O_RDONLY, path);
        if (!fd) {
            return Unexpected{fd.error()};
        }
        return verified(*std::move(fd), path);
    }

    static auto open(std::nullptr_t) -> Result<AnyNamespaceFd> = delete;

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
    /// EPERM; EINVAL for a mount namespace that is not newer than the caller's; ENOTDIR if `path`
    /// is a directory; those of open(2); not_procfs. They name the path.
    [[nodiscard]] auto pin(const char* path) const noexcept -> Result<void> {
        const long made = detail::call_again(SYS_openat, AT_FDCWD, path,
                                             O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);
        if (made < 0 && made != -EEXIST) {
            return detail::fail(Step::pin_namespace, static_cast<int>(-made), path);
        }
        auto file = made >= 0 ? Result<OwnedFd>{OwnedFd{static_cast<int>(made)}}
                              : detail::open_owned(Step::pin_namespace, AT_FDCWD, path, O_PATH);
        if (!file) {
            return Unexpected{file.error()};
        }
        auto result = detail::bind_namespace(fd_, *file);
        if (!result) {
            if (made >= 0) {
                (void)detail::call(SYS_unlinkat, AT_FDCWD, path, 0);
            }
            if (result.error().step == Step::pin_namespace) {
                result.error().subject = Subject{path};
            }
        }
        return result;
    }

    /// Undoes pin(): unmounts the namespace from `path`, and removes the file. The namespace lives
    /// on if a process or a descriptor holds it. umount2(2) MNT_DETACH, unlink(2). Follows no
    /// symbolic link at the end of the path. Errors: not_a_namespace if none is mounted there,
    /// which leaves all as it is; EPERM; EBUSY if something was mounted there before, which is
    /// then what is left. They name the path.
    [[nodiscard]] static auto unpin(const char* path) noexcept -> Result<void> {
        const auto found =
            detail::open_owned(Step::unpin_namespace, AT_FDCWD, path, O_PATH | O_NOFOLLOW);
        if (!found) {
            return Unexpected{found.error()};
        }
        if (!detail::lies_on(*found, detail::nsfs_magic)) {
            return detail::fail(Step::unpin_namespace, Reason::not_a_namespace, path);
        }
        long result = detail::call(SYS_umount2, path, MNT_DETACH | UMOUNT_NOFOLLOW);
        if (result == 0) {
            result = detail::call(SYS_unlinkat, AT_FDCWD, path, 0);
        }
        if (result < 0) {
            return detail::fail(Step::unpin_namespace, static_cast<int>(-result), path);
        }
        return {};
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
            return detail::fail(Step::open_namespace, Reason::process_gone, subject.view());
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

/// A namespace of kind K, held open. Owns a descriptor with close-on-exec. Move-only. Serves
/// wherever a `const AnyNamespaceFd&` does.
///
///     auto network = nsjoin::NamespaceFd<nsjoin::Kind::net>::open("/run/netns/blue");
///     if (!network) { … }
template <Kind K>
class [[nodiscard]] NamespaceFd {
  public:
    /// The namespace which the target is in: see AnyNamespaceFd::open.
    [[nodiscard]] static auto open(const PidFd& target) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(K, target), {});
    }

    /// The namespace which process `pid` is in: see AnyNamespaceFd::open.
    [[nodiscard]] static auto open(pid_t pid) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(K, pid), {});
    }

    /// The namespace at `path`: see AnyNamespaceFd::open. Errors: also wrong_kind, which names the
    /// kind that it is.
    [[nodiscard]] static auto open(const char* path) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::open(path), path);
    }

    static auto open(std::nullptr_t) -> Result<NamespaceFd> = delete;

    /// Takes a descriptor from elsewhere, and closes it if it is no namespace of the kind: see
    /// AnyNamespaceFd::adopt. Errors: also wrong_kind.
    [[nodiscard]] static auto adopt(OwnedFd fd) noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::adopt(std::move(fd)), {});
    }

    /// The namespace which the calling thread is in: see AnyNamespaceFd::own.
    [[nodiscard]] static auto own() noexcept -> Result<NamespaceFd> {
        return typed(AnyNamespaceFd::own(K), {});
    }

    /// The namespace that the target's later children will be in: see
    /// AnyNamespaceFd::open_for_children.
    [[nodiscard]] static auto open_for_children(const PidFd& target) noexcept -> Result<NamespaceFd>

    requires(K == Kind::pid || K == Kind::time) {
        return typed(AnyNamespaceFd::open_for_children(K, target), {});
    }

    /// The namespace that the calling thread's later children will be in: see
    /// AnyNamespaceFd::own_for_children.
    [[nodiscard]] static auto own_for_children() noexcept -> Result<NamespaceFd>

    requires(K == Kind::pid || K == Kind::time) {
        return typed(AnyNamespaceFd::own_for_children(K), {});
    }

    [[nodiscard]] static constexpr auto kind() noexcept -> Kind { return K; }

    [[nodiscard]] auto fd() const& noexcept -> BorrowedFd { return any_.fd(); }

    auto fd() && -> BorrowedFd = delete;

    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] auto release() noexcept -> OwnedFd { return any_.release(); }

    /// The same namespace, its kind known at run time.
    [[nodiscard]] auto any() && noexcept -> AnyNamespaceFd { return std::move(any_); }

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same, untyped
    [[nodiscard]] operator const AnyNamespaceFd&() const& noexcept { return any_; }

    operator const AnyNamespaceFd&() && = delete; // NOLINT(google-explicit-constructor,hicpp-*)

    /// Which namespace it is: see AnyNamespaceFd::id.
    [[nodiscard]] auto id() const noexcept -> Result<NamespaceId> { return any_.id(); }

    /// The user namespace that owns this one: see AnyNamespaceFd::owner.
    [[nodiscard]] auto owner() const noexcept -> Result<NamespaceFd<Kind::user>> {
        return any_.owner();
    }

    /// The parent, which only pid and user namespaces have: see AnyNamespaceFd::parent.
    [[nodiscard]] auto parent() const noexcept -> Result<NamespaceFd>

    requires(K == Kind::pid || K == Kind::user) { return typed(any_.parent(), {}); }

    /// The uid of whoever made the user namespace: see AnyNamespaceFd::owner_uid.
    [[nodiscard]] auto owner_uid() const noexcept -> Result<uid_t>

    requires(K == Kind::user) { return any_.owner_uid(); }

    /// Keeps the namespace alive under a name: see AnyNamespaceFd::pin and unpin.
    [[nodiscard]] auto pin(const char* path) const noexcept -> Result<void> {
        return any_.pin(path);
    }

  private:
    friend class AnyNamespaceFd;

    explicit NamespaceFd(AnyNamespaceFd any) noexcept : any_{std::move(any)} {}

    [[nodiscard]] static auto typed(Result<AnyNamespaceFd> any, std::string_view path) noexcept
        -> Result<NamespaceFd> {
        if (!any) {
            return Unexpected{any.error()};
        }
        if (any->kind() != K) {
            return detail::wrong_kind(Subject{path}, any->kind());
        }
        return NamespaceFd{*std::move(any)};
    }

    AnyNamespaceFd any_;
};

template <Kind K>
auto AnyNamespaceFd::as() && noexcept -> Result<NamespaceFd<K>> {
    if (kind_ != K) {
        return detail::wrong_kind({}, kind_);
    }
    return NamespaceFd<K>{std::move(*this)};
}

inline auto AnyNamespaceFd::owner() const noexcept -> Result<NamespaceFd<Kind::user>> {
    return NamespaceFd<Kind::user>::typed(related(detail::ns_get_userns, Kind::user), {});
}

/// Whether the two are one and the same namespace. fstat(2).
[[nodiscard]] inline auto is_same(const AnyNamespaceFd& a, const AnyNamespaceFd& b) noexcept
    -> Result<bool> {
    const auto first = a.id();
    const auto second = b.id();
    if (!first || !second) {
        return Unexpected{first ? second.error() : first.error()};
    }
    return *first == *second;
}

} // namespace nsjoin

#endif // NSJOIN_NAMESPACE_FD_HPP
