// SPDX-License-Identifier: Apache-2.0
// The container's root before it is one. What lies in it is not trusted: every path is looked up
// with it as the root, so that no link leads out, and mounted on by descriptor.
#ifndef EXAMPLES_OCI_ROOTFS_HPP
#define EXAMPLES_OCI_ROOTFS_HPP

#include "support.hpp"

#include <array>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace oci {

/// A copy of a mount, or of the mounts below too, which is not attached yet. A user namespace may
/// not take one of them alone where others cover it.
inline auto clone_mount(int directory, const char* path, bool below) -> nsjoin::OwnedFd {
    const unsigned flags =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path == '\0' ? AT_EMPTY_PATH : 0);
    long tree = below ? -1 : syscall(SYS_open_tree, directory, path, flags);
    if (tree < 0 && (below || errno == EINVAL)) {
        tree = syscall(SYS_open_tree, directory, path, flags | AT_RECURSIVE);
    }
    return nsjoin::OwnedFd{check(tree, std::string{"bind "} + path)};
}

inline void attach_mount(const nsjoin::OwnedFd& tree, const nsjoin::OwnedFd& where) {
    (void)check(syscall(SYS_move_mount, tree.get(), "", where.get(), "",
                        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
                "attach a mount");
}

inline void change_mount(const nsjoin::OwnedFd& mount, const mount_attr& change, bool below) {
    (void)check(syscall(SYS_mount_setattr, mount.get(), "",
                        AT_EMPTY_PATH | (below ? AT_RECURSIVE : 0), &change, sizeof change),
                "change a mount");
}

inline auto path_of(const nsjoin::OwnedFd& file) -> std::string {
    return "/proc/self/fd/" + std::to_string(file.get());
}

inline auto is_directory(const nsjoin::OwnedFd& file) -> bool {
    struct stat about {};

    return fstat(file.get(), &about) == 0 && S_ISDIR(about.st_mode);
}

class Rootfs {
  public:
    /// Makes the directory a mount of its own, which nothing spreads from or to.
    explicit Rootfs(const std::string& path) : root_{clone_mount(AT_FDCWD, path.c_str(), true)} {
        attach_mount(root_, open_file(path, O_PATH | O_DIRECTORY));
        change_mount(
            root_, {.attr_set = 0, .attr_clr = 0, .propagation = MS_PRIVATE, .userns_fd = 0}, true);
    }

    /// The file; none if it is not there.
    [[nodiscard]] auto find(const std::string& path, std::uint64_t flags = O_PATH) const
        -> nsjoin::OwnedFd {
        const open_how how{flags | O_CLOEXEC, 0, RESOLVE_IN_ROOT};
        const long file = syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how);
        if (file < 0 && errno != ENOENT && errno != ENOTDIR) {
            throw Failure{"open " + path + " in the root", errno};
        }
        return nsjoin::OwnedFd{static_cast<int>(file)};
    }

    /// The directory, made where it is missing with those above it.
    // NOLINTNEXTLINE(misc-no-recursion): as deep as the path
    auto directory(const std::string& path) const -> nsjoin::OwnedFd {
        nsjoin::OwnedFd found = find(path);
        if (found.ok() || path.find_first_not_of('/') == std::string::npos) {
            return found;
        }
        const auto [parent, name] = split(path);
        if (mkdirat(parent.get(), name.c_str(), 0755) != 0 && errno != EEXIST) {
            throw Failure{"make the directory " + path, errno};
        }
        found = find(path);
        return found.ok() ? std::move(found) : throw Failure{"make the directory " + path, ENOTDIR};
    }

    /// The file, made empty where it is missing.
    auto file(const std::string& path) const -> nsjoin::OwnedFd {
        nsjoin::OwnedFd found = find(path);
        if (!found.ok()) {
            const auto [parent, name] = split(path);
            if (mknodat(parent.get(), name.c_str(), S_IFREG | 0644, 0) != 0) {
                throw Failure{"make the file " + path, errno};
            }
            found = find(path);
        }
        return found;
    }

    /// The directory that it is to lie in, and its name there.
    // NOLINTNEXTLINE(misc-no-recursion): the same
    [[nodiscard]] auto split(std::string path) const -> std::pair<nsjoin::OwnedFd, std::string> {
        path.erase(path.find_last_not_of('/') + 1);
        const std::size_t slash = path.rfind('/');
        return {directory(slash == std::string::npos ? "/" : path.substr(0, slash + 1)),
                path.substr(slash + 1)};
    }

    /// Puts the host's file there.
    void bind_file(const std::string& source, const std::string& path) const {
        attach_mount(clone_mount(AT_FDCWD, source.c_str(), false), file(path));
    }

    /// Covers it so that nothing of it is seen.
    void mask(const std::string& path) const {
        const nsjoin::OwnedFd found = find(path);
        if (found.ok() && is_directory(found)) {
            (void)check(mount("tmpfs", path_of(found).c_str(), "tmpfs", MS_RDONLY, "size=0k"),
                        "mask " + path);
        } else if (found.ok()) {
            attach_mount(clone_mount(AT_FDCWD, "/dev/null", false), found);
        }
    }

    void make_read_only(const std::string& path) const {
        const nsjoin::OwnedFd found = find(path);
        if (found.ok()) {
            const nsjoin::OwnedFd tree = clone_mount(found.get(), "", true);
            change_mount(tree, read_only, true);
            attach_mount(tree, found);
        }
    }

    void make_read_only() const { change_mount(root_, read_only, false); }

  private:
    static constexpr mount_attr read_only{
        .attr_set = MOUNT_ATTR_RDONLY, .attr_clr = 0, .propagation = 0, .userns_fd = 0};

    nsjoin::OwnedFd root_;
};

} // namespace oci

#endif // EXAMPLES_OCI_ROOTFS_HPP
