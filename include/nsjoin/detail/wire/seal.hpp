// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_SEAL_HPP
#define NSJOIN_DETAIL_WIRE_SEAL_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/pages.hpp>
#include <nsjoin/detail/kernel/quiet_signal.hpp>
#include <nsjoin/detail/kernel/text.hpp>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <utility>

// Keeps the host's executable from being overwritten through /proc/PID/exe by a process inside of
// what is joined (CVE-2019-5736): the program goes on from a place where nobody can write it. That
// is a read-only mount of the executable that is in no mount namespace, or, where none can be made
// (before Linux 5.12, without CAP_SYS_ADMIN), a sealed copy in memory.
//
// Why nobody can write through the mount. It belongs to an anonymous mount namespace only as long
// as the descriptor of open_tree(2) is open, which execve(2) closes before the program's first
// instruction, and before anything is joined. From then on it is in no namespace at all, and the
// kernel changes, clones, binds and moves only mounts that are in one: mount(2), mount_setattr(2),
// open_tree(2) and move_mount(2) all refuse it, whatever the capabilities. /proc/PID/exe opens on
// that mount for whoever asks, so opening for write, truncating, changing mode, owner or extended
// attributes give EROFS, and a hard link EXDEV. The way to the file's other names is that of the
// host's mounts, which a container has or has not, sealed or not: who may open files by handle
// (CAP_DAC_READ_SEARCH in the host's user namespace, and a mount of the same file system) opens
// every file of the host. What the mount does not do, and the copy does: keep the file's pages in
// memory, its locks and its leases apart from those of the program inside.

namespace nsjoin::inline v0_1::detail {

inline constexpr unsigned memfd_cloexec = 1;
inline constexpr unsigned memfd_allow_sealing = 2;
inline constexpr unsigned memfd_exec = 0x10; // Linux 6.3
inline constexpr int add_seals = 1033;       // F_ADD_SEALS
inline constexpr int get_seals = 1034;       // F_GET_SEALS
inline constexpr long all_seals = 0xf;       // SEAL, SHRINK, GROW, WRITE

// The same on every architecture of Linux 5.12, but for Alpha.
inline constexpr long sys_mount_setattr = 442;
inline constexpr unsigned open_tree_clone = 1;
inline constexpr std::uint64_t mount_attr_read_only = 1;
inline constexpr long statfs_read_only = 1; // ST_RDONLY
inline constexpr long statfs_no_exec = 8;   // ST_NOEXEC

inline constexpr const char* own_executable = "self/exe"; ///< in /proc

/// struct mount_attr.
struct MountAttributes {
    std::uint64_t set = 0;
    std::uint64_t clear = 0;
    std::uint64_t propagation = 0;
    std::uint64_t user_namespace = 0;
};

[[nodiscard]] inline auto seal_error(long result, std::string_view what) noexcept -> Unexpected {
    return fail(Step::seal_executable, static_cast<int>(-result), what);
}

[[nodiscard]] inline auto set_read_only(BorrowedFd mount) noexcept -> long {
    const MountAttributes attributes{.set = mount_attr_read_only};
    return call(sys_mount_setattr, mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes);
}

/// Whether the file is on a mount, or on a file system, with that flag.
[[nodiscard]] inline auto is_mounted(BorrowedFd file, long flag) noexcept -> bool {
    struct statfs about {};

    return ::fstatfs(file.get(), &about) == 0 && (about.f_flags & flag) != 0;
}

/// Whether the executable, to which `link` leads in /proc, is on a read-only mount that nobody can
/// make writable again. A read-only mount or file system that is in some mount namespace is none:
/// who has the rights there, the host's package manager say, makes it writable while a process
/// inside still has the file open.
[[nodiscard]] inline auto is_on_sealed_mount(BorrowedFd proc, const char* link,
                                             BorrowedFd executable) noexcept -> bool {
    // A file is at "/" only as the root of a mount that is not attached anywhere.
    std::array<char, 2> path{};
    const long length = call(SYS_readlinkat, proc.get(), link, path.data(), path.size());
    if (length != 1 || path.front() != '/' || !is_mounted(executable, statfs_read_only)) {
        return false;
    }
    // EINVAL: in no namespace. One whose descriptor somebody holds can still be changed; this does
    // not change it.
    return set_read_only(executable) == -EINVAL;
}

/// Whether the file, to which `link` leads in /proc, has no name any more. Some file systems count
/// no names of any file (FUSE), so that the kernel has to say it too.
[[nodiscard]] inline auto has_no_name(BorrowedFd proc, const char* link, BorrowedFd file) noexcept
    -> bool {
    struct stat about {};

    if (::fstat(file.get(), &about) != 0 || about.st_nlink != 0) {
        return false;
    }
    constexpr std::string_view ending = " (deleted)";
    std::array<char, PATH_MAX + ending.size()> text{};
    const long length = call(SYS_readlinkat, proc.get(), link, text.data(), text.size());
    const std::string_view path{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
    return path.size() > ending.size() && after(path, path.size() - ending.size()) == ending;
}

/// Whether the executable, to which `link` leads in /proc, is one that nobody can harm the host
/// through: sealed memory, a file that has no name any more, or a sealed mount. Read from the file
/// itself, because anybody can set a variable.
[[nodiscard]] inline auto is_sealed(BorrowedFd proc, const char* link,
                                    BorrowedFd executable) noexcept -> bool {
    const long seals = call(SYS_fcntl, executable.get(), get_seals);
    if (seals >= 0 && (seals & all_seals) == all_seals) {
        return true;
    }

    return has_no_name(proc, link, executable) || is_on_sealed_mount(proc, link, executable);
}

/// The file on a read-only mount of its own. The result is not open where the kernel or a filter
/// does not let it be made. open_tree(2), mount_setattr(2), Linux 5.12.
[[nodiscard]] inline auto make_sealed_mount(int directory, const char* path) noexcept -> OwnedFd {
    OwnedFd mount{static_cast<int>(
        call(open_tree_number, directory, path, open_tree_clone | unsigned{O_CLOEXEC}))};
    if (!mount.ok() || set_read_only(mount) != 0 || !is_mounted(mount, statfs_read_only)) {
        return {};
    }
    return mount;
}

/// Whether the kernel executes the file itself. Of a script, the interpreter opens it by name.
[[nodiscard]] inline auto is_elf(BorrowedFd file) noexcept -> bool {
    std::array<char, 4> magic{};
    return call_again(SYS_read, file.get(), magic.data(), magic.size()) > 0 &&
           std::string_view{magic.data(), magic.size()} == "\177ELF";
}

/// Whether executing the file changes ids or gives capabilities. From a mount that is in no
/// namespace it does neither: who is to lose its rights by that would keep them.
[[nodiscard]] inline auto changes_rights(BorrowedFd file, const struct stat& about) noexcept
    -> bool {
    return (about.st_mode & (S_ISUID | S_ISGID)) != 0 ||
           ::fgetxattr(file.get(), "security.capability", nullptr, 0) > 0;
}

/// The program, open on a sealed mount, for who starts it: executed by this descriptor, it finds
/// itself sealed, and need not execute itself again. The mount is in no namespace already. The
/// result is not open where that can't be had: the program is then to be executed by its path.
[[nodiscard]] inline auto open_sealed(const char* path) noexcept -> OwnedFd {
    const auto proc = open_proc();
    OwnedFd place = make_sealed_mount(AT_FDCWD, path);
    if (!place.ok()) { // as of one that is sealed
        place.reset(static_cast<int>(open_at(AT_FDCWD, path, O_PATH)));
    }

    struct stat about {};

    // What is no file must not notice that it was opened.
    if (!proc || ::fstat(place.get(), &about) != 0 || (about.st_mode & S_IFMT) != S_IFREG) {
        return {};
    }
    auto program = open_owned(Step::seal_executable, proc->get(), path_of(place).c_str(), O_RDONLY);
    place.reset();
    if (!program || !is_elf(*program) || changes_rights(*program, about) ||
        !is_on_sealed_mount(*proc, path_of(*program).c_str(), *program)) {
        return {};
    }
    return *std::move(program);
}

[[nodiscard]] inline auto make_memfd() noexcept -> long {
    constexpr unsigned flags = memfd_cloexec | memfd_allow_sealing;
    const long made = call(SYS_memfd_create, "nsjoin", flags | memfd_exec);
    return made == -EINVAL ? call(SYS_memfd_create, "nsjoin", flags) : made;
}

/// The kernel says EBUSY while it holds one of the pages itself, to move it, say; it has waited for
/// a seventh of a second by then.
[[nodiscard]] inline auto seal_memory(BorrowedFd memory) noexcept -> long {
    long done = -EBUSY;
    for (int attempt = 0; attempt < 10 && done == -EBUSY; ++attempt) {
        done = call(SYS_fcntl, memory.get(), add_seals, all_seals);
    }
    return done;
}

[[nodiscard]] inline auto copy_file(BorrowedFd from, BorrowedFd to) noexcept -> long {
    struct stat about {};

    if (::fstat(from.get(), &about) != 0) {
        return -errno;
    }
    const QuietSignal quiet{SIGXFSZ}; // of RLIMIT_FSIZE, which counts for a copy in memory too
    auto left = static_cast<std::size_t>(about.st_size);
    long offset = 0; // the file's own is past what an earlier copy took
    while (left != 0) {
        const long sent = call_again(SYS_sendfile, to.get(), from.get(), &offset, left);
        if (sent == -EFBIG) {
            quiet.take();
        }
        if (sent <= 0) {
            return sent == 0 ? -EIO : sent;
        }
        left -= static_cast<std::size_t>(sent);
    }
    return 0;
}

/// A file without a name, for kernels without memfd_create and for sysctls that forbid to execute
/// one. Only a descriptor that can't write may be open when it is executed.
[[nodiscard]] inline auto copy_to_nameless_file(BorrowedFd executable) noexcept -> Result<OwnedFd> {
    long result = -ENOENT;
    for (const char* directory : {"/dev/shm", "/tmp", "/var/tmp", "/run"}) {
        result = call_again(SYS_openat, AT_FDCWD, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0500);
        const OwnedFd file{static_cast<int>(result)};
        if (file.ok()) {
            result = is_mounted(file, statfs_no_exec) ? -EACCES : copy_file(executable, file);
        }
        if (result == 0) {
            return reopen(Step::seal_executable, file, O_RDONLY, directory);
        }
    }
    return seal_error(result, "no directory for a copy");
}

[[nodiscard]] inline auto sealed_copy(BorrowedFd executable) noexcept -> Result<OwnedFd> {
    const long made = make_memfd();
    if (made < 0) {
        return copy_to_nameless_file(executable);
    }
    OwnedFd memory{static_cast<int>(made)};
    long done = copy_file(executable, memory);
    if (done == 0) {
        done = seal_memory(memory);
    }
    if (done < 0) {
        return seal_error(done, "memfd");
    }
    return memory;
}

/// All of a file of /proc, which has no length; `failed` is 0, or the -errno after which more may
/// be missing. The result ends with a NUL that is not counted.
[[nodiscard]] inline auto read_whole(BorrowedFd file, std::size_t& length, long& failed) noexcept
    -> Array<char> {
    length = 0;
    Array<char> text{4096};
    for (;;) {
        if (length == text.view().size()) {
            Array<char> longer{2 * length};
            std::memcpy(longer.view().data(), text.view().data(), length);
            text = std::move(longer);
        }
        const long count = call_again(SYS_read, file.get(), text.view().data() + length,
                                      text.view().size() - length);
        if (count <= 0) {
            failed = count;
            return text;
        }
        length += static_cast<std::size_t>(count);
    }
}

/// The arguments that this process was started with: a constructor has none given by every libc.
class Arguments {
  public:
    /// Reads /proc/self/cmdline.
    explicit Arguments(BorrowedFd file) noexcept {
        std::size_t length = 0;
        text_ = read_whole(file, length, failed_);
        std::size_t count = 0;
        for (std::size_t i = 0; i < length; ++i) {
            count += text_.view()[i] == '\0' ? 1U : 0U;
        }
        pointers_ = Array<char*>{count + 1};
        char* next = text_.view().data();
        for (std::size_t i = 0; i < count; ++i) {
            pointers_.view()[i] = next;
            next += std::strlen(next) + 1; // NOLINT(*-pointer-arithmetic)
        }
    }

    [[nodiscard]] auto data() noexcept -> char** { return pointers_.view().data(); }

    [[nodiscard]] auto empty() noexcept -> bool { return pointers_.view().front() == nullptr; }

    /// 0, or the -errno after which some may be missing.
    [[nodiscard]] auto failed() const noexcept -> long { return failed_; }

  private:
    long failed_ = 0;
    Array<char> text_;
    Array<char*> pointers_;
};

/// Whether execveat(2) made the name up: of the descriptor's number, or of a file without a name.
[[nodiscard]] inline auto is_made_up(std::string_view name) noexcept -> bool {
    int number = 0;
    return parse_number(name, number) || first(name, 1) == "#" || first(name, 6) == "memfd:";
}

/// Gives the process a name of its own again: the base name that it was started by.
inline void restore_name(BorrowedFd proc) noexcept {
    std::array<char, 17> name{}; // 16 bytes of the kernel's
    if (call(SYS_prctl, PR_GET_NAME, name.data(), 0, 0, 0) != 0 || !is_made_up(name.data())) {
        return;
    }
    const auto line = open_owned(Step::seal_executable, proc.get(), "self/cmdline", O_RDONLY);
    if (!line) {
        return;
    }
    Arguments arguments{*line};
    std::string_view rest{arguments.empty() ? "" : *arguments.data()};
    const char* base = rest.data();
    while (!rest.empty()) {
        const std::string_view word = take_until(rest, '/');
        base = word.empty() ? base : word.data();
    }
    (void)call(SYS_prctl, PR_SET_NAME, base, 0, 0, 0);
}

[[nodiscard]] inline auto execute_again(BorrowedFd file, Arguments& arguments,
                                        char* const* environment) noexcept -> long {
    return call(SYS_execveat, file.get(), "", arguments.data(), environment, AT_EMPTY_PATH);
}

/// Makes sure that the program runs from where nobody can write it: executes it again from a
/// sealed mount, or from a sealed memfd, with the same arguments and environment, if it does not
/// yet. Returns only if it was so already, or with an error. execveat(2), memfd_create(2).
[[nodiscard]] inline auto seal_executable(char* const* environment) noexcept -> Result<void> {
    const auto proc = open_proc();
    if (!proc) {
        return Unexpected{proc.error()};
    }
    const auto executable =
        open_owned(Step::seal_executable, proc->get(), own_executable, O_RDONLY);
    if (!executable) {
        return Unexpected{executable.error()};
    }
    if (is_sealed(*proc, own_executable, *executable)) {
        restore_name(*proc);
        return {};
    }
    const auto line = open_owned(Step::seal_executable, proc->get(), "self/cmdline", O_RDONLY);
    if (!line) {
        return Unexpected{line.error()};
    }
    Arguments arguments{*line};
    if (arguments.failed() < 0 || arguments.empty()) {
        return seal_error(arguments.failed() < 0 ? arguments.failed() : -ENODATA,
                          "/proc/self/cmdline");
    }
    if (const OwnedFd mount = make_sealed_mount(proc->get(), own_executable); mount.ok()) {
        (void)execute_again(mount, arguments, environment); // else the copy
    }
    const auto copy = sealed_copy(*executable);
    if (!copy) {
        return Unexpected{copy.error()};
    }
    return seal_error(execute_again(*copy, arguments, environment), "execveat");
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_SEAL_HPP
