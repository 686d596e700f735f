// SPDX-License-Identifier: Apache-2.0
// What create does inside, between the namespaces and exec: mounts, root and directory, then the
// ids and capabilities. It comes in that order because each step needs the rights that the next one
// gives up.
#ifndef EXAMPLES_SUPPORT_FURNISH_HPP
#define EXAMPLES_SUPPORT_FURNISH_HPP

#include "ambient.hpp"
#include "create_options.hpp"

#include <nsjoin/credentials.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <linux/capability.h>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace examples {

/// Writes all of `text` at once, as the files of the kernel want it. Returns 0 or an errno.
[[nodiscard]] inline auto write_file(const std::string& path, std::string_view text) -> int {
    const nsjoin::OwnedFd file{open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    return file.ok() && write(file.get(), text.data(), text.size()) >= 0 ? 0 : errno;
}

// ── Mounts ──────────────────────────────────────────────────────────────────────────────────────

inline void set_propagation(const Options& options) {
    if (options.created.contains(nsjoin::Kind::mount) && options.propagation != 0 &&
        mount("none", "/", nullptr, options.propagation, nullptr) != 0) {
        die(describe("set the propagation of all mounts", "/", errno,
                     errno == EINVAL
                         ? "the root directory is no mount point: the caller is in a chroot;"
                           " say --propagation unchanged"
                         : ""));
    }
}

/// Makes a mount's own propagation private, so that what is mounted over it shows nowhere else.
inline void isolate_mount_point(const Options& options, const char* where) {
    if (options.root != nullptr || options.propagation == private_mounts) {
        return;
    }
    // EINVAL: nothing is mounted there yet.
    if (mount("none", where, nullptr, private_mounts, nullptr) != 0 && errno != EINVAL) {
        die(describe("make the mount private", where, errno));
    }
}

inline void mount_proc(const Options& options) {
    if (options.proc == nullptr) {
        return;
    }
    isolate_mount_point(options, options.proc);
    if (mount("proc", options.proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
        die(describe("mount proc", options.proc, errno,
                     errno == EPERM
                         ? "a user namespace may mount it only if it owns the pid namespace "
                           "(--pid --fork) and no part of the caller's /proc is covered"
                         : ""));
    }
}

/// Registers the interpreter: one for all of the user namespace, through whichever mount.
inline void load_interpreter(const Options& options, const char* mount_point) {
    const std::string path = std::string{mount_point} + "/register";
    if (const int code = write_file(path, options.interpreter); code != 0) {
        die(describe("load the interpreter", options.interpreter, code,
                     code == EINVAL ? "say it as :NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS"
                                    : ""));
    }
}

inline void mount_binfmt_at(const char* where) {
    if (mount("binfmt_misc", where, "binfmt_misc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) !=
        0) {
        die(describe("mount binfmt_misc", where, errno,
                     errno == EPERM ? "a user namespace may mount it since Linux 6.7" : ""));
    }
}

/// Whether the interpreter has to be loaded before the root changes: the kernel opens one with flag
/// F when it is registered, so that it can lie outside of the new root.
[[nodiscard]] inline auto loads_outside(const Options& options) -> bool {
    const std::string_view text{options.interpreter != nullptr ? options.interpreter : ""};
    const std::size_t flags = text.rfind(':');
    return options.root != nullptr && flags != std::string_view::npos &&
           text.find('F', flags) != std::string_view::npos;
}

/// The mount stays: with the last one of the user namespace the interpreter would go.
inline void load_outer_interpreter(const Options& options) {
    if (loads_outside(options)) {
        mount_binfmt_at(binfmt_directory);
        load_interpreter(options, binfmt_directory);
    }
}

inline void mount_binfmt(const Options& options) {
    if (options.binfmt == nullptr) {
        return;
    }
    isolate_mount_point(options, options.binfmt);
    mount_binfmt_at(options.binfmt);
    if (options.interpreter != nullptr && !loads_outside(options)) {
        load_interpreter(options, options.binfmt);
    }
}

// ── Directories ─────────────────────────────────────────────────────────────────────────────────

/// By name and inside: a descriptor from outside would lie in the mount namespace there.
inline void change_directories(const Options& options) {
    if (options.root != nullptr) {
        if (chroot(options.root) != 0) {
            die(describe("change the root directory", options.root, errno,
                         errno == EPERM ? "needs CAP_SYS_CHROOT: be root, or add --map-root-user"
                                        : ""));
        }
        if (chdir("/") != 0) {
            die(describe("change the working directory", "/", errno));
        }
    }
    if (options.directory != nullptr && chdir(options.directory) != 0) {
        die(describe("change the working directory", options.directory, errno));
    }
}

// ── Ids and capabilities ────────────────────────────────────────────────────────────────────────

inline void take_ids(const Options& options) {
    nsjoin::Credentials ids{
        .uid = options.uid, .gid = options.gid, .groups = nsjoin::Groups::keep()};
    if (options.gid) {
        // None by name: where setgroups is denied, that is an error, and not passed over.
        ids.groups = nsjoin::Groups{std::vector<gid_t>{}};
    }
    // unshare leaves them as they are.
    if (const auto done = nsjoin::become(ids, {}, nsjoin::KeepCapabilities::yes); !done) {
        die(done.error());
    }
}

/// Makes the permitted capabilities effective. capabilities(7).
inline void raise_capabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> words{};
    bool done = syscall(SYS_capget, &header, words.data()) == 0;
    for (auto& word : words) {
        word.effective = word.permitted;
    }
    done = done && syscall(SYS_capset, &header, words.data()) == 0;
    if (!done) {
        die(describe("make the capabilities effective", "", errno));
    }
}

/// Sets the signal for the caller's death. Late, because the kernel forgets it when ids change. If
/// the caller has died by now, there is nobody to run for.
inline void arm_death_signal(int number, const nsjoin::PidFd& caller) {
    if (number == 0) {
        return;
    }
    if (prctl(PR_SET_PDEATHSIG, number) != 0) {
        die(describe("set the signal for the caller's death", std::to_string(number), errno));
    }
    if (!caller.alive()) {
        _exit(EXIT_FAILURE);
    }
}

/// Everything above, in its order.
inline void furnish(const Options& options, const nsjoin::PidFd& caller) {
    set_propagation(options);
    load_outer_interpreter(options);
    change_directories(options);
    mount_proc(options);
    mount_binfmt(options);
    take_ids(options);
    if (options.keep_capabilities && options.created.contains(nsjoin::Kind::user)) {
        keep_capabilities_over_exec();
    }
    if (options.variables) {
        options.variables->leave_alone();
    }
    arm_death_signal(options.death_signal, caller);
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_FURNISH_HPP
