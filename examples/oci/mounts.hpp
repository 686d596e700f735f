// SPDX-License-Identifier: Apache-2.0
// What is mounted in the container's root, and its devices.
#ifndef EXAMPLES_OCI_MOUNTS_HPP
#define EXAMPLES_OCI_MOUNTS_HPP

#include "cgroups.hpp"
#include "rootfs.hpp"

#include <filesystem>
#include <optional>
#include <sys/fsuid.h>
#include <sys/sysmacros.h>

namespace oci {

struct MountOption {
    const char* name;
    unsigned long flag; ///< of mount(2)
    mount_attr change;  ///< the same for mount_setattr(2)
};

inline constexpr std::array<MountOption, 16> known_options{{
    {"defaults", 0, {0, 0, 0, 0}},
    {"ro", MS_RDONLY, {MOUNT_ATTR_RDONLY, 0, 0, 0}},
    {"rw", 0, {0, MOUNT_ATTR_RDONLY, 0, 0}},
    {"nosuid", MS_NOSUID, {MOUNT_ATTR_NOSUID, 0, 0, 0}},
    {"suid", 0, {0, MOUNT_ATTR_NOSUID, 0, 0}},
    {"nodev", MS_NODEV, {MOUNT_ATTR_NODEV, 0, 0, 0}},
    {"dev", 0, {0, MOUNT_ATTR_NODEV, 0, 0}},
    {"noexec", MS_NOEXEC, {MOUNT_ATTR_NOEXEC, 0, 0, 0}},
    {"exec", 0, {0, MOUNT_ATTR_NOEXEC, 0, 0}},
    {"noatime", MS_NOATIME, {MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, 0, 0}},
    {"relatime", MS_RELATIME, {MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME, 0, 0}},
    {"strictatime", MS_STRICTATIME, {MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, 0, 0}},
    {"private", 0, {0, 0, MS_PRIVATE, 0}},
    {"slave", 0, {0, 0, MS_SLAVE, 0}},
    {"shared", 0, {0, 0, MS_SHARED, 0}},
    {"unbindable", 0, {0, 0, MS_UNBINDABLE, 0}},
}};

/// The options of a mount. With an r before it, one goes for what is mounted below too.
struct MountOptions {
    explicit MountOptions(const json& options) {
        for (const std::string option : options) {
            bind = bind || option == "bind" || option == "rbind";
            below = below || option == "rbind";
            copy_up = copy_up || option == "tmpcopyup";
            if (!take(option) && !option.ends_with("bind") && option != "tmpcopyup") {
                data += (data.empty() ? "" : ",") + option;
            }
        }
    }

    auto take(const std::string& option) -> bool {
        for (const MountOption& row : known_options) {
            const bool recursive = option == std::string{"r"} + row.name;
            if (option == row.name || recursive) {
                flags |= row.flag;
                change.attr_set |= row.change.attr_set;
                change.attr_clr |= row.change.attr_clr;
                propagation = row.change.propagation != 0 ? row.change.propagation : propagation;
                change_below = change_below || recursive;
                return true;
            }
        }
        return false;
    }

    bool bind = false, below = false, copy_up = false, change_below = false;
    unsigned long flags = 0;
    mount_attr change{};
    std::uint64_t propagation = 0;
    std::string data;
};

/// A mount of the configuration, the tree of its source cloned: with the caller's rights still.
struct Mount {
    explicit Mount(const json& entry)
        : destination{entry.at("destination")},
          type{get<std::string>(entry, "type")},
          source{get<std::string>(entry, "source", type)},
          options{at(entry, "options")} {
        if (options.bind || type == "bind") {
            tree = clone_mount(AT_FDCWD, source.c_str(), options.below);
        }
    }

    std::string destination;
    std::string type;
    std::string source;
    MountOptions options;
    nsjoin::OwnedFd tree;
};

/// The mount; the one just made if it is not one of a tree.
inline void finish(const Mount& mount, const nsjoin::OwnedFd& top) {
    if (mount.options.propagation != 0) {
        const mount_attr change{0, 0, mount.options.propagation, 0};
        change_mount(top, change, mount.options.change_below);
    }
}

inline void mount_tree(const Rootfs& root, const Mount& mount) {
    if (mount.options.change.attr_set != 0 || mount.options.change.attr_clr != 0) {
        change_mount(mount.tree, mount.options.change, mount.options.change_below);
    }
    attach_mount(mount.tree, is_directory(mount.tree) ? root.directory(mount.destination)
                                                      : root.file(mount.destination));
    finish(mount, mount.tree);
}

inline void mount_new(const Rootfs& root, const Mount& mount, const char* type) {
    const MountOptions& options = mount.options;
    const nsjoin::OwnedFd under = root.directory(mount.destination);
    const unsigned long late = options.copy_up ? MS_RDONLY : 0;
    (void)check(::mount(mount.source.c_str(), path_of(under).c_str(), type, options.flags & ~late,
                        options.data.c_str()),
                "mount " + mount.type + " on " + mount.destination);
    const nsjoin::OwnedFd top = root.find(mount.destination);
    if (options.copy_up) {
        std::filesystem::copy(path_of(under) + "/.", path_of(top) + "/.",
                              std::filesystem::copy_options::recursive |
                                  std::filesystem::copy_options::copy_symlinks);
        const mount_attr change{options.change.attr_set, 0, 0, 0};
        change_mount(top, change, false);
    }
    finish(mount, top);
}

/// The container's own directories of v1, below a tmpfs as on a host; or what there is, where it
/// has none.
inline void mount_cgroups_v1(const Rootfs& root, const Mount& mount, const Words& own) {
    Mount base{json{{"destination", mount.destination},
                    {"source", "/sys/fs/cgroup"},
                    {"type", "tmpfs"},
                    {"options", {"mode=755", "nosuid", "nodev", "noexec"}}}};
    mount_new(root, base, "tmpfs");
    for (const Hierarchy& hierarchy : hierarchies()) {
        std::string source = hierarchy.mount;
        for (const std::string& directory : own) {
            source = directory.starts_with(hierarchy.mount + "/") ? directory : source;
        }
        const auto name = std::filesystem::path{hierarchy.mount}.filename().string();
        const Mount one{json{{"destination", mount.destination + "/" + name},
                             {"source", source},
                             {"options", {"rbind", "nosuid", "nodev", "noexec"}}}};
        mount_tree(root, one);
        change_mount(one.tree, mount.options.change, true);
    }
    change_mount(root.find(mount.destination), mount.options.change, false);
}

inline void mount_cgroups(const Rootfs& root, const Mount& mount, const Words& own) {
    const auto all = hierarchies();
    if (all.size() != 1 || !all.front().v2) {
        mount_cgroups_v1(root, mount, own);
        return;
    }
    try {
        mount_new(root, mount, "cgroup2");
    } catch (const Failure&) { // without a cgroup namespace of its own, a user namespace may not
        const Mount host{json{{"destination", mount.destination},
                              {"source", all.front().mount},
                              {"options", {"rbind", "nosuid", "nodev", "noexec", "ro"}}}};
        mount_tree(root, host);
    }
}

/// A node; or the host's, where the container may make none.
inline void make_device(const Rootfs& root, const json& device) {
    const auto path = device.at("path").get<std::string>();
    const auto [parent, name] = root.split(path);
    const auto type = get<std::string>(device, "type", "c");
    const auto mode = get<mode_t>(device, "fileMode", 0666);
    const mode_t kind = type == "b" ? S_IFBLK : type == "p" ? S_IFIFO : S_IFCHR;
    const dev_t number = makedev(get<unsigned>(device, "major"), get<unsigned>(device, "minor"));
    if (mknodat(parent.get(), name.c_str(), kind | (mode & 07777), number) == 0) {
        (void)fchownat(parent.get(), name.c_str(), get<uid_t>(device, "uid"),
                       get<gid_t>(device, "gid"), AT_SYMLINK_NOFOLLOW);
    } else if (errno == EPERM) {
        root.bind_file(path, path);
    } else if (errno != EEXIST) {
        throw Failure{"make the device " + path, errno};
    }
}

inline void make_devices(const Rootfs& root, const json& config) {
    constexpr std::array<std::pair<const char*, int>, 6> always{{{"null", 0x103},
                                                                 {"zero", 0x105},
                                                                 {"full", 0x107},
                                                                 {"random", 0x108},
                                                                 {"urandom", 0x109},
                                                                 {"tty", 0x500}}};
    for (const json& device : at(config, "linux/devices")) {
        make_device(root, device);
    }
    for (const auto& [name, number] : always) {
        make_device(root, {{"path", std::string{"/dev/"} + name},
                           {"major", number >> 8},
                           {"minor", number & 0xff}});
    }
    constexpr std::array<std::pair<const char*, const char*>, 5> links{
        {{"/proc/self/fd", "fd"},
         {"/proc/self/fd/0", "stdin"},
         {"/proc/self/fd/1", "stdout"},
         {"/proc/self/fd/2", "stderr"},
         {"pts/ptmx", "ptmx"}}};
    const nsjoin::OwnedFd dev = root.directory("/dev");
    for (const auto& [target, name] : links) {
        (void)symlinkat(target, dev.get(), name); // what the configuration has there stays
    }
}

/// Everything in the root that comes before the hooks and the terminal. Sources are opened as who
/// the caller is, and files made as the user namespace's root, which they have to have an owner in.
inline auto furnish(const json& config, const Words& cgroups) -> Rootfs {
    (void)umask(0);
    Rootfs root{at(config, "root/path").get<std::string>()};
    std::vector<Mount> mounts;
    for (const json& entry : at(config, "mounts")) {
        mounts.emplace_back(entry);
    }
    (void)setfsgid(0);
    (void)setfsuid(0);
    for (const Mount& mount : mounts) {
        if (mount.tree.ok()) {
            mount_tree(root, mount);
        } else if (mount.type == "cgroup") {
            mount_cgroups(root, mount, cgroups);
        } else {
            mount_new(root, mount, mount.type.c_str());
        }
    }
    make_devices(root, config);
    (void)root.directory(config.at("process").at("cwd"));
    return root;
}

/// Whether it is of a namespace that the container has of its own. namespaces(7).
inline auto is_own_sysctl(const json& config, std::string_view name) -> bool {
    const auto has = [&config](const char* type) {
        const json& spaces = at(config, "linux/namespaces");
        return std::any_of(spaces.begin(), spaces.end(),
                           [type](const json& space) { return at(space, "type") == type; });
    };
    const bool of_ipc = name.starts_with("fs.mqueue.") || name.starts_with("kernel.msg") ||
                        name.starts_with("kernel.shm") || name == "kernel.sem";
    return (name.starts_with("net.") && has("network")) || (of_ipc && has("ipc")) ||
           (name == "kernel.domainname" && has("uts"));
}

/// What is last, as it takes away.
inline void restrict(const Rootfs& root, const json& config) {
    for (const auto& [name, value] : at(config, "linux/sysctl").items()) {
        std::string path = "/proc/sys/" + name;
        std::replace(path.begin(), path.end(), '.', '/');
        if (!is_own_sysctl(config, name)) {
            throw Failure{name + " is not in a namespace of the container's own"};
        }
        const nsjoin::OwnedFd file = root.find(path, O_WRONLY);
        (void)check(file.get(), "set " + name);
        const auto text = value.get<std::string>();
        (void)check(write(file.get(), text.data(), text.size()), "set " + name);
    }
    for (const std::string path : at(config, "linux/readonlyPaths")) {
        root.make_read_only(path);
    }
    for (const std::string path : at(config, "linux/maskedPaths")) {
        root.mask(path);
    }
    if (get<bool>(config, "root/readonly")) {
        root.make_read_only();
    }
}

} // namespace oci

#endif // EXAMPLES_OCI_MOUNTS_HPP
