// SPDX-License-Identifier: Apache-2.0
// The process that enter goes to: its pidfd, and what /proc tells of it.
#ifndef EXAMPLES_SUPPORT_TARGET_HPP
#define EXAMPLES_SUPPORT_TARGET_HPP

#include "options.hpp"

#include <nsjoin/fd.hpp>
#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace examples {

/// Opens a directory that is only to be gone to, or dies.
[[nodiscard]] inline auto open_directory(int base, const char* path, std::string_view what)
    -> nsjoin::OwnedFd {
    nsjoin::OwnedFd directory{openat(base, path, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory.ok()) {
        die(describe("open", what, errno));
    }
    return directory;
}

[[nodiscard]] inline auto has_magic(nsjoin::BorrowedFd fd, std::uint64_t magic) -> bool {
    struct statfs about {};

    return fstatfs(fd.get(), &about) == 0 && static_cast<std::uint64_t>(about.f_type) == magic;
}

/// Reads all of a file, or dies.
[[nodiscard]] inline auto read_all(const nsjoin::OwnedFd& file, const std::string& name)
    -> std::string {
    std::string text;
    std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t length = file.ok() ? read(file.get(), buffer.data(), buffer.size()) : -1;
        if (length < 0) {
            die(describe("read", name, errno,
                         errno == EACCES ? "needs the right to ptrace the target" : ""));
        }
        if (length == 0) {
            return text;
        }
        text.append(buffer.data(), static_cast<std::size_t>(length));
    }
}

/// The pidfd of a process, or of a thread, which has namespaces of its own (Linux 6.9).
[[nodiscard]] inline auto pin_target(pid_t pid) -> nsjoin::Result<nsjoin::PidFd> {
    auto process = nsjoin::PidFd::open(pid);
    if (process || pid <= 0) {
        return process;
    }
    constexpr unsigned pidfd_thread = O_EXCL; // PIDFD_THREAD
    nsjoin::OwnedFd thread{static_cast<int>(syscall(SYS_pidfd_open, pid, pidfd_thread))};
    return thread.ok() ? nsjoin::PidFd{std::move(thread), pid} : std::move(process);
}

class Target {
  public:
    /// Pins the process, or dies. With `inode`, makes sure that it is the one that was meant.
    explicit Target(pid_t pid, std::optional<std::uint64_t> inode) : pidfd_{take(pin_target(pid))} {
        struct stat about {};

        if (inode && (fstat(pidfd_.fd().get(), &about) != 0 || about.st_ino != *inode)) {
            die(name() + " is not the process that was meant: the inode of its pidfd is " +
                std::to_string(about.st_ino) + ", not " + std::to_string(*inode));
        }
    }

    [[nodiscard]] auto pidfd() const -> const nsjoin::PidFd& { return pidfd_; }

    [[nodiscard]] auto name() const -> std::string { return "pid " + std::to_string(pidfd_.pid()); }

    /// Its directory in /proc, with O_PATH.
    [[nodiscard]] auto proc() -> nsjoin::BorrowedFd {
        if (!proc_.ok()) {
            proc_ = open_proc();
        }
        return proc_;
    }

    /// Its root or working directory: "root" or "cwd".
    [[nodiscard]] auto directory(const char* entry) -> nsjoin::OwnedFd {
        return open_directory(proc().get(), entry, std::string{entry} + " of " + name());
    }

    [[nodiscard]] auto file(const char* entry) -> std::string {
        const nsjoin::OwnedFd file{openat(proc().get(), entry, O_RDONLY | O_CLOEXEC)};
        return read_all(file, std::string{entry} + " of " + name());
    }

    /// The network namespace of one of its sockets.
    [[nodiscard]] auto network_of_socket(int fd) const -> nsjoin::AnyNamespaceFd {
        const std::string what = "descriptor " + std::to_string(fd) + " of " + name();
        const nsjoin::OwnedFd socket{
            static_cast<int>(syscall(SYS_pidfd_getfd, pidfd_.fd().get(), fd, 0U))};
        if (!socket.ok()) {
            die(describe("copy", what, errno,
                         errno == EBADF   ? "the target has no such descriptor"
                         : errno == EPERM ? "needs the right to ptrace the target"
                                          : ""));
        }
        nsjoin::OwnedFd space{ioctl(socket.get(), SIOCGSKNS)};
        if (!space.ok()) {
            die(describe("find the network namespace", what, errno,
                         errno == ENOTTY  ? "it is no socket"
                         : errno == EPERM ? "needs CAP_NET_ADMIN over that network namespace"
                                          : ""));
        }
        return take(nsjoin::AnyNamespaceFd::adopt(std::move(space)));
    }

  private:
    [[nodiscard]] auto open_proc() const -> nsjoin::OwnedFd {
        const nsjoin::OwnedFd all = open_directory(AT_FDCWD, "/proc", "/proc");
        std::array<char, 16> self{};
        const ssize_t length = readlinkat(all.get(), "self", self.data(), self.size());
        const std::string_view seen{self.data(), static_cast<std::size_t>(length < 0 ? 0 : length)};
        if (!has_magic(all, PROC_SUPER_MAGIC) || seen != std::to_string(getpid())) {
            die("/proc is not that of this pid namespace, so it does not show the target: mount "
                "proc there");
        }
        nsjoin::OwnedFd its =
            open_directory(all.get(), std::to_string(pidfd_.pid()).c_str(), name());
        // Only a process that lives now had its pid, and its alone, while the name was looked up.
        if (!pidfd_.alive()) {
            die(name() + " has ended meanwhile");
        }
        return its;
    }

    nsjoin::PidFd pidfd_;
    nsjoin::OwnedFd proc_;
};

/// The environment in the form of /proc/PID/environ, as the libc wants it. What is no assignment
/// (a process may have written there) is left out. Points into `text`.
[[nodiscard]] inline auto split_environment(std::string& text) -> std::vector<char*> {
    std::vector<char*> entries;
    for (std::size_t at = 0; at < text.size(); at = text.find('\0', at) + 1) {
        char* entry = &text[at];
        const char* equals = std::strchr(entry, '=');
        if (equals != nullptr && equals != entry) {
            entries.push_back(entry);
        }
        if (text.find('\0', at) == std::string::npos) {
            break;
        }
    }
    entries.push_back(nullptr);
    return entries;
}

/// Whether a file of a cgroup lists the process.
[[nodiscard]] inline auto lists(nsjoin::BorrowedFd cgroup, const char* entry, pid_t pid) -> bool {
    std::ifstream file{"/proc/self/fd/" + std::to_string(cgroup.get()) + "/" + entry};
    pid_t listed = 0;
    while (file >> listed && listed != pid) {
    }
    return file && listed == pid;
}

/// The directory, or dies. The path is as seen from the root of the caller's cgroup namespace,
/// while the mount may have another root, and then an other cgroup of that name.
[[nodiscard]] inline auto open_its_cgroup(const Target& target, const std::string& mount,
                                          const std::string& path) -> nsjoin::OwnedFd {
    nsjoin::OwnedFd cgroup{open((mount + path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const pid_t pid = target.pidfd().pid();
    // A threaded cgroup tells of its threads only.
    if (!cgroup.ok() ||
        (!lists(cgroup, "cgroup.procs", pid) && !lists(cgroup, "cgroup.threads", pid))) {
        die("--join-cgroup: " + target.name() + " is not in " + mount + path +
            ": the cgroup2 file system there is mounted from another root than that of this cgroup "
            "namespace, or the target has moved");
    }
    return cgroup;
}

/// The directory of the target's cgroup in the version 2 hierarchy, wherever that is mounted, or
/// dies.
[[nodiscard]] inline auto open_cgroup(Target& target) -> nsjoin::OwnedFd {
    const std::string cgroups = "\n" + target.file("cgroup");
    constexpr std::string_view label = "\n0::";
    const std::size_t at = cgroups.find(label);
    if (at == std::string::npos) {
        die(target.name() + " is in no cgroup of version 2, so there is none to join");
    }
    const std::size_t begin = at + label.size();
    const std::string path = cgroups.substr(begin, cgroups.find('\n', begin) - begin);
    for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        const nsjoin::OwnedFd top{open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (top.ok() && has_magic(top, CGROUP2_SUPER_MAGIC)) {
            return open_its_cgroup(target, mount, path);
        }
    }
    die("--join-cgroup: the cgroup2 file system is mounted neither at /sys/fs/cgroup nor at "
        "/sys/fs/cgroup/unified");
}

/// Moves this process into the cgroup.
inline void enter_cgroup(nsjoin::BorrowedFd cgroup) {
    const nsjoin::OwnedFd file{openat(cgroup.get(), "cgroup.procs", O_WRONLY | O_CLOEXEC)};
    if (!file.ok() || write(file.get(), "0", 1) != 1) {
        const bool denied = errno == EACCES || errno == EPERM;
        die(describe("enter the cgroup", "", errno,
                     denied ? "needs the right to write its cgroup.procs, and that of "
                              "the ancestor it shares with the caller's"
                     : errno == EOPNOTSUPP ? "it is a threaded cgroup, or one with controllers for "
                                             "cgroups below it, which takes no process"
                                           : ""));
    }
}

/// An effective id of the target, "Uid" or "Gid", as the calling process's user namespace numbers
/// it. From the status file, for the owner of the directory is root where a process is not
/// dumpable. `proc` is the target's directory.
[[nodiscard]] inline auto effective_id(nsjoin::BorrowedFd proc, std::string_view which)
    -> std::uint32_t {
    const nsjoin::OwnedFd file{openat(proc.get(), "status", O_RDONLY | O_CLOEXEC)};
    const std::string text = read_all(file, "status of the target");
    const std::string label = "\n" + std::string{which} + ":\t";
    const std::size_t real = text.find(label);
    const std::size_t begin =
        real == std::string::npos ? real : text.find('\t', real + label.size());
    const std::size_t end = begin == std::string::npos ? begin : text.find('\t', begin + 1);
    const auto id =
        end == std::string::npos
            ? std::nullopt
            : parse_number(std::string_view{text}.substr(begin + 1, end - begin - 1), last_id);
    if (!id) {
        die("the status of the target has no line " + std::string{which});
    }
    return static_cast<std::uint32_t>(*id);
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_TARGET_HPP
