// SPDX-License-Identifier: Apache-2.0
// What create is asked for: its options, as unshare(1) has them.
#ifndef EXAMPLES_SUPPORT_CREATE_OPTIONS_HPP
#define EXAMPLES_SUPPORT_CREATE_OPTIONS_HPP

#include "environment.hpp"
#include "id_ranges.hpp"
#include "signal_names.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <getopt.h>
#include <grp.h>
#include <optional>
#include <pwd.h>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace examples {

inline constexpr unsigned long private_mounts = MS_REC | MS_PRIVATE;
inline constexpr const char* binfmt_directory = "/proc/sys/fs/binfmt_misc";

/// Whose a user namespace is.
struct Owner {
    uid_t uid = 0;
    gid_t gid = 0;
};

struct Options {
    nsjoin::KindSet created{};
    std::array<const char*, nsjoin::kind_count> pins{}; ///< by kind: the file, or null
    bool fork = false;
    bool forward_signals = false;
    int death_signal = 0;

    std::optional<std::uint32_t> map_user{};
    std::optional<std::uint32_t> map_group{};
    std::vector<IdBlock> user_blocks{};
    std::vector<IdBlock> group_blocks{};
    nsjoin::Setgroups setgroups = nsjoin::Setgroups::automatic;
    std::optional<Owner> owner{};
    uid_t caller_uid = geteuid();
    gid_t caller_gid = getegid();
    bool keep_capabilities = false;
    std::optional<KeptVariables> variables{}; ///< if the environment is cleared

    unsigned long propagation = private_mounts; ///< mount(2) flags; 0: unchanged
    const char* proc = nullptr;
    const char* binfmt = nullptr;
    const char* interpreter = nullptr;
    const char* root = nullptr;
    const char* directory = nullptr;

    std::optional<uid_t> uid{};
    std::optional<gid_t> gid{};
    std::optional<std::chrono::seconds> monotonic{};
    std::optional<std::chrono::seconds> boottime{};

    bool explain = false;
    bool help = false;
    bool version = false;
    char** command = nullptr; ///< up to a null; nothing: a shell
};

/// Ends the program with a line about what it was asked for.
[[noreturn]] inline void refuse(const std::string& why) {
    complain(why);
    point_to_help();
    std::exit(EXIT_FAILURE);
}

template <typename T>
[[nodiscard]] auto must_have(OrWhy<T> value) -> T {
    if (const Why* const why = std::get_if<Why>(&value); why != nullptr) {
        refuse(why->line);
    }
    return std::get<T>(std::move(value));
}

// ── Values ──────────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] inline auto parse_id(const std::string& option, const char* text) -> std::uint32_t {
    const auto id = parse_number(text, last_id);
    if (!id) {
        refuse(option + " " + text + ": give a number from 0 to 4294967294");
    }
    return static_cast<std::uint32_t>(*id);
}

[[nodiscard]] inline auto parse_user(const char* text) -> std::uint32_t {
    const passwd* entry = getpwnam(text);
    return entry != nullptr ? entry->pw_uid : parse_id("--map-user: no such user:", text);
}

[[nodiscard]] inline auto parse_group(const char* text) -> std::uint32_t {
    const group* entry = getgrnam(text);
    return entry != nullptr ? entry->gr_gid : parse_id("--map-group: no such group:", text);
}

[[nodiscard]] inline auto parse_owner(const char* text) -> Owner {
    const auto parts = split(text, ':');
    if (parts.size() != 2) {
        refuse(std::string{"--owner "} + text + ": give UID:GID");
    }
    return {parse_id("--owner", std::string{parts[0]}.c_str()),
            parse_id("--owner", std::string{parts[1]}.c_str())};
}

/// Whole seconds, with or without a sign. As many as a time namespace could ever take.
[[nodiscard]] inline auto parse_offset(const std::string& option, const char* text)
    -> std::chrono::seconds {
    constexpr long long most = 9'000'000'000; // of nanoseconds, 64 bits hold a little more
    const std::string_view digits{text + (*text == '+' ? 1 : 0)};
    long long seconds = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
    if (error != std::errc{} || end != digits.data() + digits.size() || seconds > most ||
        seconds < -most) {
        refuse(option + " " + text + ": give whole seconds, at most " + std::to_string(most));
    }
    return std::chrono::seconds{seconds};
}

[[nodiscard]] inline auto parse_death_signal(const char* text) -> int {
    const auto number = parse_signal(text);
    if (!number) {
        refuse(std::string{"--kill-child="} + text + ": there is no such signal");
    }
    return *number;
}

[[nodiscard]] inline auto parse_propagation(const char* text) -> unsigned long {
    constexpr std::array<std::pair<std::string_view, unsigned long>, 4> words{
        {{"private", private_mounts},
         {"shared", MS_REC | MS_SHARED},
         {"slave", MS_REC | MS_SLAVE},
         {"unchanged", 0}}};
    for (const auto& [word, flags] : words) {
        if (word == text) {
            return flags;
        }
    }
    refuse(std::string{"--propagation "} + text + ": give private, shared, slave or unchanged");
}

[[nodiscard]] inline auto parse_setgroups(std::string_view text) -> nsjoin::Setgroups {
    if (text == "allow") {
        return nsjoin::Setgroups::allow;
    }
    if (text == "deny") {
        return nsjoin::Setgroups::deny;
    }
    refuse("--setgroups " + std::string{text} + ": give allow or deny");
}

// ── The command line ────────────────────────────────────────────────────────────────────────────

enum LongOption : int { // NOLINT(*-use-enum-class): getopt_long(3) deals in int
    opt_mount_proc = 256,
    opt_mount_binfmt,
    opt_map_user,
    opt_map_users,
    opt_map_group,
    opt_map_groups,
    opt_map_auto,
    opt_map_subids,
    opt_owner,
    opt_propagation,
    opt_setgroups,
    opt_kill_child,
    opt_forward_signals,
    opt_keep_caps,
    opt_clear_env,
    opt_whitelist_env,
    opt_monotonic,
    opt_boottime,
    opt_explain,
};

inline constexpr std::array known_options{
    option{"mount", optional_argument, nullptr, 'm'},
    option{"uts", optional_argument, nullptr, 'u'},
    option{"ipc", optional_argument, nullptr, 'i'},
    option{"net", optional_argument, nullptr, 'n'},
    option{"pid", optional_argument, nullptr, 'p'},
    option{"user", optional_argument, nullptr, 'U'},
    option{"cgroup", optional_argument, nullptr, 'C'},
    option{"time", optional_argument, nullptr, 'T'},
    option{"fork", no_argument, nullptr, 'f'},
    option{"kill-child", optional_argument, nullptr, opt_kill_child},
    option{"forward-signals", no_argument, nullptr, opt_forward_signals},
    option{"mount-proc", optional_argument, nullptr, opt_mount_proc},
    option{"mount-binfmt", optional_argument, nullptr, opt_mount_binfmt},
    option{"load-interp", required_argument, nullptr, 'l'},
    option{"propagation", required_argument, nullptr, opt_propagation},
    option{"root", required_argument, nullptr, 'R'},
    option{"wd", required_argument, nullptr, 'w'},
    option{"map-user", required_argument, nullptr, opt_map_user},
    option{"map-users", required_argument, nullptr, opt_map_users},
    option{"map-group", required_argument, nullptr, opt_map_group},
    option{"map-groups", required_argument, nullptr, opt_map_groups},
    option{"map-auto", no_argument, nullptr, opt_map_auto},
    option{"map-subids", no_argument, nullptr, opt_map_subids},
    option{"map-root-user", no_argument, nullptr, 'r'},
    option{"map-current-user", no_argument, nullptr, 'c'},
    option{"owner", required_argument, nullptr, opt_owner},
    option{"setgroups", required_argument, nullptr, opt_setgroups},
    option{"setuid", required_argument, nullptr, 'S'},
    option{"setgid", required_argument, nullptr, 'G'},
    option{"keep-caps", no_argument, nullptr, opt_keep_caps},
    option{"clear-env", no_argument, nullptr, opt_clear_env},
    option{"whitelist-env", required_argument, nullptr, opt_whitelist_env},
    option{"monotonic", required_argument, nullptr, opt_monotonic},
    option{"boottime", required_argument, nullptr, opt_boottime},
    option{"explain", no_argument, nullptr, opt_explain},
    option{"help", no_argument, nullptr, 'h'},
    option{"version", no_argument, nullptr, 'V'},
    option{nullptr, 0, nullptr, 0},
};

inline void add(Options& options, nsjoin::KindSet kinds) {
    options.created = options.created | kinds;
}

/// An option for a kind of namespace, with the file to pin it at. Returns whether it was one.
[[nodiscard]] inline auto take_kind(Options& options, int letter, const char* file) -> bool {
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        if (row.option == letter) {
            add(options, row.kind);
            if (file != nullptr) {
                options.pins[static_cast<std::size_t>(row.kind)] = file;
            }
            return true;
        }
    }
    return false;
}

inline void map_both(Options& options, IdBlock::From from) {
    options.user_blocks.push_back({from, {}});
    options.group_blocks.push_back({from, {}});
}

/// An option about ids inside a new user namespace.
[[nodiscard]] inline auto take_map(Options& options, int letter, const char* value) -> bool {
    switch (letter) {
    case opt_map_user:
        options.map_user = parse_user(value);
        break;
    case opt_map_group:
        options.map_group = parse_group(value);
        break;
    case opt_map_users:
        options.user_blocks.push_back(must_have(parse_block(uid_sort, value)));
        break;
    case opt_map_groups:
        options.group_blocks.push_back(must_have(parse_block(gid_sort, value)));
        break;
    case opt_map_auto:
        map_both(options, IdBlock::From::automatic);
        break;
    case opt_map_subids:
        map_both(options, IdBlock::From::subids);
        break;
    case 'r':
        options.map_user = 0;
        options.map_group = 0;
        break;
    case 'c':
        options.map_user = options.caller_uid;
        options.map_group = options.caller_gid;
        break;
    case opt_owner:
        options.owner = parse_owner(value);
        break;
    default:
        return false;
    }
    add(options, nsjoin::Kind::user);
    return true;
}

/// An option about mounts and directories.
[[nodiscard]] inline auto take_mount(Options& options, int letter, const char* value) -> bool {
    switch (letter) {
    case opt_mount_proc:
        options.proc = value != nullptr ? value : "/proc";
        add(options, nsjoin::Kind::mount);
        return true;
    case 'l':
        options.interpreter = value;
        options.binfmt = options.binfmt != nullptr ? options.binfmt : binfmt_directory;
        add(options, nsjoin::Kind::mount | nsjoin::Kind::user);
        return true;
    case opt_mount_binfmt:
        options.binfmt = value != nullptr ? value : binfmt_directory;
        add(options, nsjoin::Kind::mount | nsjoin::Kind::user);
        return true;
    case opt_propagation:
        options.propagation = parse_propagation(value);
        return true;
    case 'R':
        options.root = value;
        return true;
    case 'w':
        options.directory = value;
        return true;
    default:
        return false;
    }
}

/// An option about the process.
[[nodiscard]] inline auto take_process(Options& options, int letter, const char* value) -> bool {
    switch (letter) {
    case 'f':
        options.fork = true;
        return true;
    case opt_kill_child:
        options.death_signal = value != nullptr ? parse_death_signal(value) : SIGKILL;
        options.fork = true;
        return true;
    case opt_forward_signals:
        options.forward_signals = true;
        options.fork = true;
        return true;
    case opt_setgroups:
        options.setgroups = parse_setgroups(value);
        return true;
    case 'S':
        options.uid = parse_id("--setuid", value);
        return true;
    case 'G':
        options.gid = parse_id("--setgid", value);
        return true;
    case opt_clear_env:
    case opt_whitelist_env:
        options.variables = options.variables ? std::move(options.variables) : KeptVariables{};
        options.variables->add(value != nullptr ? value : "");
        return true;
    case opt_keep_caps:
        options.keep_capabilities = true;
        return true;
    case opt_monotonic:
        options.monotonic = parse_offset("--monotonic", value);
        return true;
    case opt_boottime:
        options.boottime = parse_offset("--boottime", value);
        return true;
    default:
        return false;
    }
}

/// An option that asks for no more than words.
[[nodiscard]] inline auto take_words(Options& options, int letter) -> bool {
    options.explain = options.explain || letter == opt_explain;
    options.help = options.help || letter == 'h';
    options.version = options.version || letter == 'V';
    return letter == opt_explain || letter == 'h' || letter == 'V';
}

/// Whether a single gid is mapped as anybody may do it: with setgroups denied. With --owner it is
/// written with rights, as a block is.
[[nodiscard]] inline auto maps_as_anybody(const Options& options) -> bool {
    return options.map_group && options.group_blocks.empty() && !options.owner;
}

/// What can't be had together.
inline void check_together(const Options& options) {
    using nsjoin::Kind;
    if (options.pins[static_cast<std::size_t>(Kind::pid)] != nullptr && !options.fork) {
        refuse("--pid=FILE needs --fork: a pid namespace can be pinned when it has its first "
               "process");
    }
    if (options.setgroups != nsjoin::Setgroups::automatic &&
        !options.created.contains(Kind::user)) {
        refuse("--setgroups is about a new user namespace: add --user");
    }
    if (options.setgroups == nsjoin::Setgroups::allow && maps_as_anybody(options)) {
        refuse("--setgroups allow does not go with a single mapped gid (--map-group, -r, -c): the "
               "kernel wants it denied there; map a block, --map-groups");
    }
    if ((options.monotonic || options.boottime) && !options.created.contains(Kind::time)) {
        refuse("--monotonic and --boottime set the clocks of a new time namespace: add --time");
    }
}

/// binfmt_misc has its usual place in proc. Where a user namespace may mount a new proc, it gets
/// one, for the old one shows other processes, and a new root may have none.
inline void complete(Options& options) {
    const bool usual_place = options.binfmt == binfmt_directory;
    if (usual_place && options.proc == nullptr && options.fork &&
        options.created.contains(nsjoin::Kind::pid)) {
        options.proc = "/proc";
    }
}

/// Reads the command line, or ends the program with a line about what is wrong with it.
[[nodiscard]] inline auto parse_create_options(int argc, char** argv) -> Options {
    Options options;
    argv[0] = program_invocation_short_name; // as getopt_long names the program
    for (int letter = 0; (letter = getopt_long(argc, argv, "+muinpUCTfrcR:w:S:G:l:hV",
                                               known_options.data(), nullptr)) != -1;) {
        const bool taken = take_kind(options, letter, optarg) ||
                           take_map(options, letter, optarg) ||
                           take_mount(options, letter, optarg) ||
                           take_process(options, letter, optarg) || take_words(options, letter);
        if (!taken) {
            point_to_help();
            std::exit(EXIT_FAILURE);
        }
    }
    options.command = argv + optind;
    if (!options.help && !options.version) {
        check_together(options);
        complete(options);
    }
    return options;
}

// ── The id maps ─────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] inline auto make_map(const IdSort& sort, const std::vector<nsjoin::IdExtent>& extents)
    -> nsjoin::IdMap {
    const auto map = nsjoin::IdMap::from(extents);
    if (!map) {
        refuse(std::string{"the map of "} + sort.option + " and " + sort.block_option + ": " +
               nsjoin::explain(map.error()));
    }
    return *map;
}

/// The id maps that the options ask for, checked: both, one, none with setgroups denied, or
/// nothing.
[[nodiscard]] inline auto plan_ids(const Options& options) -> std::optional<nsjoin::NewUser> {
    const auto single = [](const std::optional<std::uint32_t>& inside, std::uint32_t outside) {
        return inside ? std::optional{nsjoin::IdExtent{*inside, outside, 1}} : std::nullopt;
    };
    const auto users = must_have(
        make_extents(uid_sort, single(options.map_user, options.caller_uid), options.user_blocks));
    const auto groups = must_have(make_extents(
        gid_sort, single(options.map_group, options.caller_gid), options.group_blocks));
    const auto setgroups = maps_as_anybody(options) ? nsjoin::Setgroups::deny : options.setgroups;
    if (users.empty() && groups.empty() && setgroups != nsjoin::Setgroups::deny) {
        return std::nullopt;
    }
    return nsjoin::NewUser{users.empty() ? nsjoin::IdMap::none() : make_map(uid_sort, users),
                           groups.empty() ? nsjoin::IdMap::none() : make_map(gid_sort, groups),
                           setgroups};
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_CREATE_OPTIONS_HPP
