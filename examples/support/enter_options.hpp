// SPDX-License-Identifier: Apache-2.0
// What enter is asked for: its options, as nsenter(1) has them.
#ifndef EXAMPLES_SUPPORT_ENTER_OPTIONS_HPP
#define EXAMPLES_SUPPORT_ENTER_OPTIONS_HPP

#include "options.hpp"

#include <nsjoin/kind.hpp>

#include <array>
#include <climits>
#include <cstdint>
#include <getopt.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace examples {

inline constexpr const char* enter_usage = R"(usage: enter [OPTION...] [COMMAND [ARGUMENT...]]

Runs COMMAND, or a login shell, in namespaces of another process, or in those that files stand for.
Options and behaviour are those of nsenter(1).

  -t, --target PID[:INODE]  whose namespaces, directories and environment are meant; with the inode
                            of its pidfd, a process that got the same pid later is refused
  -a, --all                 all namespaces of the target that differ from the caller's
  -m, --mount[=FILE]        its mount namespace, or the one that FILE stands for
  -u, --uts[=FILE]          its uts namespace (host name)
  -i, --ipc[=FILE]          its ipc namespace
  -n, --net[=FILE]          its network namespace
  -N, --net-socket FD       the network namespace of the target's socket FD
  -p, --pid[=FILE]          its pid namespace
  -C, --cgroup[=FILE]       its cgroup namespace
  -U, --user[=FILE]         its user namespace; COMMAND gets uid 0, gid 0 and no groups there
      --user-parent         the parent of that user namespace; without --user, the user namespace
                            that owns the first of the others
  -T, --time[=FILE]         its time namespace
  -S, --setuid UID|follow   run as UID, or as the target does
  -G, --setgid GID|follow   the same with the gid; drops the supplementary groups
      --preserve-credentials  keep uid, gid and groups also in another user namespace
      --keep-caps           with --user: COMMAND keeps the capabilities that it has there
  -r, --root[=DIR]          change the root directory: to the target's, or to DIR out here
  -w, --wd[=DIR]            change the working directory: to the target's, or to DIR out here
  -W, --wdns=DIR            change the working directory: to DIR inside
  -e, --env                 take over the target's environment
  -F, --no-fork             with --pid: only COMMAND's children are in the pid namespace
  -c, --join-cgroup         enter the target's cgroup (version 2)
  -Z, --follow-context      nothing without SELinux, and not supported with it
      --explain             say what would be done, step by step, and do nothing
  -h, --help                print this
  -V, --version             print the version

FILE may be :ID, for the namespace of that id (ioctl_nsfs(2) NS_GET_ID; Linux 6.19, util-linux 2.42).

enter becomes COMMAND, which has its pid and its signals, as long as it enters no pid namespace, or with
--no-fork. Else COMMAND is its child, in the same session and process group, and enter waits for it
and ends as it does: with the same exit code, or by the same signal. It stops when COMMAND is stopped,
and continues it when continued. Signals that enter is sent are passed on to COMMAND, and if enter is
killed, so is COMMAND; only SIGSTOP, which nobody can pass on, stops enter alone.

The exit code is COMMAND's; 127 if there is no such command, 126 if it can't be run, 1 for any other
failure.
)";

/// The option of one kind.
struct NamespaceOption {
    bool given = false;
    const char* file = nullptr; ///< null: the target's
};

struct IdOption {
    bool follow = false; ///< the target's
    std::optional<std::uint32_t> number{};

    [[nodiscard]] auto given() const -> bool { return follow || number; }
};

struct DirectoryOption {
    bool given = false;
    const char* path = nullptr; ///< null: the target's
};

struct EnterOptions {
    pid_t target = 0;
    std::optional<std::uint64_t> target_inode{};
    bool all = false;
    std::array<NamespaceOption, nsjoin::kind_count> namespaces{}; ///< by kind
    std::optional<int> net_socket{};
    bool user_parent = false;
    IdOption uid{};
    IdOption gid{};
    bool preserve_credentials = false;
    bool keep_capabilities = false;
    DirectoryOption root{};
    DirectoryOption directory{};
    const char* directory_inside = nullptr;
    bool environment = false;
    bool no_fork = false;
    bool join_cgroup = false;
    bool explain = false;
    bool help = false;
    bool version = false;
    char** command = nullptr; ///< up to a null; nothing: a shell

    [[nodiscard]] auto of(nsjoin::Kind kind) -> NamespaceOption& {
        return namespaces[static_cast<std::size_t>(kind)];
    }

    [[nodiscard]] auto of(nsjoin::Kind kind) const -> const NamespaceOption& {
        return namespaces[static_cast<std::size_t>(kind)];
    }
};

// Options without a letter.
inline constexpr int opt_preserve = 256;
inline constexpr int opt_keep_caps = 257;
inline constexpr int opt_user_parent = 258;
inline constexpr int opt_explain_enter = 259;

inline constexpr std::array<option, 28> enter_long_options{{
    {"all", no_argument, nullptr, 'a'},
    {"target", required_argument, nullptr, 't'},
    {"mount", optional_argument, nullptr, 'm'},
    {"uts", optional_argument, nullptr, 'u'},
    {"ipc", optional_argument, nullptr, 'i'},
    {"net", optional_argument, nullptr, 'n'},
    {"net-socket", required_argument, nullptr, 'N'},
    {"pid", optional_argument, nullptr, 'p'},
    {"cgroup", optional_argument, nullptr, 'C'},
    {"user", optional_argument, nullptr, 'U'},
    {"user-parent", no_argument, nullptr, opt_user_parent},
    {"time", optional_argument, nullptr, 'T'},
    {"setuid", required_argument, nullptr, 'S'},
    {"setgid", required_argument, nullptr, 'G'},
    {"preserve-credentials", no_argument, nullptr, opt_preserve},
    {"keep-caps", no_argument, nullptr, opt_keep_caps},
    {"root", optional_argument, nullptr, 'r'},
    {"wd", optional_argument, nullptr, 'w'},
    {"wdns", optional_argument, nullptr, 'W'},
    {"env", no_argument, nullptr, 'e'},
    {"no-fork", no_argument, nullptr, 'F'},
    {"join-cgroup", no_argument, nullptr, 'c'},
    {"follow-context", no_argument, nullptr, 'Z'},
    {"explain", no_argument, nullptr, opt_explain_enter},
    {"help", no_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, 'V'},
    {nullptr, 0, nullptr, 0},
}};

// ── Values ──────────────────────────────────────────────────────────────────────────────────────

/// The value of an option; `-m=FILE` means the same as `-mFILE` and `--mount=FILE`.
[[nodiscard]] inline auto without_equals(const char* value) -> const char* {
    return value != nullptr && *value == '=' ? value + 1 : value;
}

inline void take_target(EnterOptions& options, std::string_view text) {
    if (options.target != 0) {
        die("--target: give it only once");
    }
    const std::size_t colon = text.find(':');
    const auto pid = parse_number(text.substr(0, colon), INT_MAX);
    if (!pid || *pid == 0) {
        die("--target " + std::string{text} + ": give a pid, 1 to 2147483647, or PID:INODE");
    }
    options.target = static_cast<pid_t>(*pid);
    if (colon == std::string_view::npos) {
        return;
    }
    options.target_inode = parse_number(text.substr(colon + 1), UINT64_MAX);
    if (!options.target_inode) {
        die("--target " + std::string{text} + ": the inode of a pidfd is a number");
    }
}

[[nodiscard]] inline auto parse_id(const char* name, const char* text) -> IdOption {
    if (std::string_view{text} == "follow") {
        return {.follow = true};
    }
    const auto id = parse_number(text, last_id);
    if (!id) {
        die(std::string{name} + " " + text + ": give a number, 0 to 4294967294, or \"follow\"");
    }
    return {.number = static_cast<std::uint32_t>(*id)};
}

[[nodiscard]] inline auto parse_descriptor(const char* text) -> int {
    const auto fd = parse_number(text, INT_MAX);
    if (!fd) {
        die(std::string{"--net-socket "} + text +
            ": give the number of a descriptor of the "
            "target's");
    }
    return static_cast<int>(*fd);
}

// ── Options ─────────────────────────────────────────────────────────────────────────────────────

/// An option that names a namespace.
[[nodiscard]] inline auto take_namespace(EnterOptions& options, int letter, const char* value)
    -> bool {
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        if (letter == row.option) {
            NamespaceOption& wanted = options.of(row.kind);
            wanted.given = true;
            wanted.file = value != nullptr ? without_equals(value) : wanted.file;
            return true;
        }
    }
    switch (letter) {
    case 'a':
        options.all = true;
        return true;
    case 't':
        take_target(options, value);
        return true;
    case 'N':
        options.net_socket = parse_descriptor(value);
        return true;
    case opt_user_parent:
        options.user_parent = true;
        return true;
    default:
        return false;
    }
}

/// An option about ids and capabilities.
[[nodiscard]] inline auto take_identity(EnterOptions& options, int letter, const char* value)
    -> bool {
    switch (letter) {
    case 'S':
        options.uid = parse_id("--setuid", value);
        return true;
    case 'G':
        options.gid = parse_id("--setgid", value);
        return true;
    case opt_preserve:
        options.preserve_credentials = true;
        return true;
    case opt_keep_caps:
        options.keep_capabilities = true;
        return true;
    default:
        return false;
    }
}

/// An option about the rest of the process.
[[nodiscard]] inline auto take_surroundings(EnterOptions& options, int letter, const char* value)
    -> bool {
    switch (letter) {
    case 'r':
        options.root = {true, without_equals(value)};
        return true;
    case 'w':
        options.directory = {true, without_equals(value)};
        return true;
    case 'W':
        if (value == nullptr) {
            die("--wdns: give the directory with an equals sign, --wdns=DIR");
        }
        options.directory_inside = without_equals(value);
        return true;
    case 'e':
        options.environment = true;
        return true;
    case 'F':
        options.no_fork = true;
        return true;
    case 'c':
        options.join_cgroup = true;
        return true;
    case 'Z':
        if (access("/sys/fs/selinux/enforce", F_OK) == 0) {
            die("--follow-context: there is no support for SELinux; use runcon(1) inside");
        }
        return true; // where there is none, there is nothing to follow
    default:
        return false;
    }
}

/// An option that asks for no more than words.
[[nodiscard]] inline auto take_words(EnterOptions& options, int letter) -> bool {
    options.explain = options.explain || letter == opt_explain_enter;
    options.help = options.help || letter == 'h';
    options.version = options.version || letter == 'V';
    return letter == opt_explain_enter || letter == 'h' || letter == 'V';
}

/// What only a target can tell, and what can't be had together.
inline void check_together(const EnterOptions& options) {
    const bool target = options.target != 0;
    const auto needs_target = [target](bool wanted, const std::string& what, const char* else_) {
        if (wanted && !target) {
            die(what + " is about a process: add --target PID" + else_);
        }
    };
    needs_target(options.all, "--all", "");
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        const NamespaceOption& wanted = options.of(row.kind);
        needs_target(wanted.given && wanted.file == nullptr, "--" + std::string{row.long_name},
                     ", or name a file");
    }
    needs_target(options.net_socket.has_value(), "--net-socket", "");
    needs_target(options.uid.follow, "--setuid follow", ", or give a number");
    needs_target(options.gid.follow, "--setgid follow", ", or give a number");
    needs_target(options.root.given && options.root.path == nullptr, "--root",
                 ", or name a directory");
    needs_target(options.directory.given && options.directory.path == nullptr, "--wd",
                 ", or name a directory");
    needs_target(options.environment, "--env", "");
    needs_target(options.join_cgroup, "--join-cgroup", "");
    if (options.directory.given && options.directory_inside != nullptr) {
        die("--wd and --wdns: there is one working directory, so give one of the two");
    }
}

/// Reads the command line, or ends the program with a line about what is wrong with it.
[[nodiscard]] inline auto parse_enter_options(int argc, char** argv) -> EnterOptions {
    EnterOptions options;
    for (int letter = 0;
         (letter = getopt_long(argc, argv, "+ahVt:m::u::i::n::N:p::C::U::T::S:G:r::w::W::ecFZ",
                               enter_long_options.data(), nullptr)) != -1;) {
        const bool taken =
            take_namespace(options, letter, optarg) || take_identity(options, letter, optarg) ||
            take_surroundings(options, letter, optarg) || take_words(options, letter);
        if (!taken) {
            point_to_help();
            std::exit(EXIT_FAILURE);
        }
    }
    options.command = argv + optind;
    if (!options.help && !options.version) {
        check_together(options);
    }
    return options;
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_ENTER_OPTIONS_HPP
