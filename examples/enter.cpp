// SPDX-License-Identifier: Apache-2.0
// enter: runs a command in the namespaces of a process, as nsenter(1) does.
//
// Everything that is named out here (namespaces, directories, the cgroup, the environment) is
// opened first. A pid namespace takes children only: then the library joins and makes a child
// inside, which is to be the command, and the caller stays outside and ends as the command ends.
// Else the child is no more than the rehearsal, and the caller joins by itself
// (support/in_place.hpp). Whoever is inside changes its directories, takes its ids and becomes the
// command.
#include "support/ambient.hpp"
#include "support/enter_options.hpp"
#include "support/in_place.hpp"
#include "support/options.hpp"
#include "support/signals.hpp"
#include "support/target.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/version.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <grp.h>
#include <optional>
#include <string>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using examples::describe;
using examples::die;
using examples::EnterOptions;
using examples::take;
using examples::Target;
using nsjoin::AnyNamespaceFd;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::OwnedFd;

// ── Which namespaces ────────────────────────────────────────────────────────────────────────────

/// The namespaces to join: those that are open, by kind, and the other ones, which are the
/// target's.
struct Spaces {
    std::array<std::optional<AnyNamespaceFd>, nsjoin::kind_count> opened{};
    KindSet of_target{};

    [[nodiscard]] auto at(Kind kind) -> std::optional<AnyNamespaceFd>& {
        return opened[static_cast<std::size_t>(kind)];
    }

    void put(AnyNamespaceFd space) {
        const Kind kind = space.kind();
        of_target = of_target - kind;
        at(kind).emplace(std::move(space));
    }

    [[nodiscard]] auto kinds() -> KindSet {
        KindSet set = of_target;
        for (const Kind kind : nsjoin::all_kinds.set) {
            set = at(kind) ? set | kind : set;
        }
        return set;
    }

    /// Opens the one of that kind, if it is not open yet.
    [[nodiscard]] auto open(Kind kind, const Target& target) -> const AnyNamespaceFd& {
        if (!at(kind)) {
            put(take(AnyNamespaceFd::open(kind, target.pidfd())));
        }
        return *at(kind);
    }
};

/// What a file stands for; ":ID" is a namespace itself, as it is named till the next boot.
[[nodiscard]] auto open_file(Kind kind, const char* file) -> AnyNamespaceFd {
    const std::string_view text{file};
    const bool is_id = text.substr(0, 1) == ":";
    const auto id = is_id ? examples::parse_number(text.substr(1), UINT64_MAX) : std::nullopt;
    if (is_id && !id) {
        die("--" + std::string{nsjoin::facts(kind).long_name} + "=" + file +
            ": give the id of a namespace behind the colon (ioctl_nsfs(2) NS_GET_ID), or ./" +
            file + " for a file of that name");
    }
    auto space = take(id ? AnyNamespaceFd::open(nsjoin::NamespaceHandle{.id = *id})
                         : AnyNamespaceFd::open(file));
    if (space.kind() != kind) {
        nsjoin::Subject subject{file};
        subject.append(": a ").append(nsjoin::facts(space.kind()).long_name).append(" namespace");
        die(nsjoin::Error{nsjoin::Step::open_namespace, nsjoin::Reason::wrong_kind, 0, subject});
    }
    return space;
}

/// The parent of the user namespace; without one, the owner of the first of the others.
void put_parent(Spaces& spaces, const std::optional<Target>& target) {
    KindSet kinds = spaces.kinds();
    if (kinds.empty() && !target) {
        die("--user-parent: name the namespace whose parent is meant, --user=FILE or --target PID");
    }
    const Kind child = kinds.empty() ? Kind::user : *kinds.begin();
    const AnyNamespaceFd& space = target ? spaces.open(child, *target) : *spaces.at(child);
    auto parent = space.owner();
    if (!parent) {
        die(describe("open the parent user namespace of", nsjoin::facts(child).name,
                     parent.error().code,
                     parent.error().code == EPERM
                         ? "it is neither the caller's user namespace nor a descendant of it"
                         : ""));
    }
    spaces.put(std::move(*parent).any());
}

[[nodiscard]] auto find_spaces(const EnterOptions& options, const std::optional<Target>& target)
    -> Spaces {
    Spaces spaces;
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        const examples::NamespaceOption& wanted = options.of(row.kind);
        if (wanted.file != nullptr) {
            spaces.put(open_file(row.kind, wanted.file));
        } else if (wanted.given) {
            (void)take(AnyNamespaceFd::own(row.kind)); // says if the kernel lacks the kind
            spaces.of_target = spaces.of_target | row.kind;
        } else if (options.all) {
            spaces.of_target = spaces.of_target | row.kind;
        }
    }
    if (options.user_parent) {
        put_parent(spaces, target);
    }
    if (options.net_socket) {
        spaces.put(target->network_of_socket(*options.net_socket));
    }
    if (spaces.kinds().empty()) {
        die("no namespace is named: say --all, or which (--mount, --net, ...); see --help");
    }
    return spaces;
}

/// Whether a namespace of that kind is to be joined, and is another one than the caller's.
[[nodiscard]] auto changes(Kind kind, Spaces& spaces, const std::optional<Target>& target) -> bool {
    if (!spaces.kinds().contains(kind)) {
        return false;
    }
    const AnyNamespaceFd own = take(AnyNamespaceFd::own(kind));
    if (spaces.at(kind)) {
        return !take(nsjoin::is_same(own, *spaces.at(kind)));
    }
    return !take(nsjoin::is_same(own, take(AnyNamespaceFd::open(kind, target->pidfd()))));
}

/// Whether this process is in the namespace, and so are its later children.
[[nodiscard]] auto is_here(const AnyNamespaceFd& space) -> bool {
    const auto same = [&space](const nsjoin::Result<AnyNamespaceFd>& own) {
        return own && take(nsjoin::is_same(*own, space));
    };
    return same(AnyNamespaceFd::own(space.kind())) &&
           (nsjoin::facts(space.kind()).children_name.empty() ||
            same(AnyNamespaceFd::own_for_children(space.kind())));
}

/// Takes the namespaces out, opened, that this process is to move to: setns(2) refuses a user
/// namespace to who is in it, and others to who has no rights, even if nothing would change.
[[nodiscard]] auto take_elsewhere(Spaces& spaces, const std::optional<Target>& target)
    -> examples::OpenSpaces {
    examples::OpenSpaces elsewhere;
    for (const Kind kind : spaces.kinds()) {
        if (!AnyNamespaceFd::own(kind)) {
            continue; // --all means those that the kernel has
        }
        if (target) {
            (void)spaces.open(kind, *target);
        }
        if (!is_here(*spaces.at(kind))) {
            elsewhere[static_cast<std::size_t>(kind)] =
                std::exchange(spaces.at(kind), std::nullopt);
        }
    }
    return elsewhere;
}

// ── What is done inside ─────────────────────────────────────────────────────────────────────────

struct Inside {
    OwnedFd root{};
    OwnedFd directory{};
    const char* directory_inside = nullptr;
    nsjoin::BorrowedFd follow_uid{}; ///< the target's directory in /proc: take the uid from there
    nsjoin::BorrowedFd follow_gid{};
    nsjoin::Credentials ids{};
    OwnedFd proc{open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)}; ///< the caller's
    bool keep_capabilities = false;

    /// Whether there is something to do before the ids change.
    [[nodiscard]] auto comes_before_ids() const -> bool {
        return root.ok() || directory.ok() || directory_inside != nullptr || follow_uid.ok() ||
               follow_gid.ok();
    }
};

/// As nsenter(1) has it: a working directory that was opened outside may be outside the root.
void change_directories(Inside& inside) {
    if (inside.root.ok()) {
        if (!inside.directory.ok() && inside.directory_inside == nullptr) {
            inside.directory = examples::open_directory(AT_FDCWD, ".", "the working directory");
        }
        if (fchdir(inside.root.get()) != 0 || chroot(".") != 0) {
            die(describe("change the root directory", "", errno,
                         errno == EPERM ? "needs CAP_SYS_CHROOT in the user namespace" : ""));
        }
    }
    if (inside.directory_inside != nullptr) {
        inside.directory =
            examples::open_directory(AT_FDCWD, inside.directory_inside, inside.directory_inside);
    }
    if (inside.directory.ok() && fchdir(inside.directory.get()) != 0) {
        die(describe("change the working directory", "", errno));
    }
}

void take_ids(Inside& inside) {
    if (inside.follow_uid.ok()) {
        inside.ids.uid = examples::effective_id(inside.follow_uid, "Uid");
    }
    if (inside.follow_gid.ok()) {
        inside.ids.gid = examples::effective_id(inside.follow_gid, "Gid");
    }
    // nsenter leaves them as they are.
    constexpr auto keep = nsjoin::KeepCapabilities::yes;
    if (const auto done = nsjoin::become(inside.ids, inside.proc, keep); !done) {
        die(done.error());
    }
}

/// The kernel forgets the signal for the caller's death when ids change.
void die_with(const nsjoin::PidFd& caller) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        die(describe("set the signal for the caller's death", "", errno));
    }
    if (!caller.alive()) {
        _exit(EXIT_FAILURE);
    }
}

[[noreturn]] void run_command(const Inside& inside, char** command) {
    if (inside.keep_capabilities) {
        examples::keep_capabilities_over_exec();
    }
    examples::execute(command);
}

// ── The plan ────────────────────────────────────────────────────────────────────────────────────

/// The ids of the command, as far as numbers say them.
[[nodiscard]] auto choose_ids(const EnterOptions& options, bool user_changes)
    -> nsjoin::Credentials {
    const bool by_default = user_changes && !options.preserve_credentials;
    nsjoin::Credentials ids{
        .uid = options.uid.number, .gid = options.gid.number, .groups = nsjoin::Groups::keep()};
    if (by_default && !options.uid.given()) {
        ids.uid = 0;
    }
    if (by_default && !options.gid.given()) {
        ids.gid = 0;
    }
    if (by_default) {
        ids.groups = nsjoin::Groups{};
    } else if (options.gid.given()) {
        // None by name: where setgroups is denied, that is an error, and not passed over.
        ids.groups = nsjoin::Groups{std::vector<gid_t>{}};
    }
    return ids;
}

[[nodiscard]] auto prepare_inside(const EnterOptions& options, std::optional<Target>& target,
                                  Spaces& spaces) -> Inside {
    Inside inside;
    const auto open = [&target](const examples::DirectoryOption& wanted, const char* entry) {
        if (!wanted.given) {
            return OwnedFd{};
        }
        return wanted.path != nullptr ? examples::open_directory(AT_FDCWD, wanted.path, wanted.path)
                                      : target->directory(entry);
    };
    inside.root = open(options.root, "root");
    inside.directory = open(options.directory, "cwd");
    inside.directory_inside = options.directory_inside;
    const bool user_changes = changes(Kind::user, spaces, target);
    inside.follow_uid = options.uid.follow ? target->proc() : nsjoin::BorrowedFd{};
    inside.follow_gid = options.gid.follow ? target->proc() : nsjoin::BorrowedFd{};
    inside.ids = choose_ids(options, user_changes);
    inside.keep_capabilities = options.keep_capabilities && user_changes;
    return inside;
}

/// What the child joins: what enter does, but for a pid namespace that is for children only.
[[nodiscard]] auto make_draft(const Spaces& spaces, const std::optional<Target>& target,
                              KindSet left_out) -> nsjoin::Draft {
    nsjoin::Draft draft;
    for (const auto& space : spaces.opened) {
        if (space && !left_out.contains(space->kind())) {
            draft.join(*space);
        }
    }
    if (target) {
        draft.join(target->pidfd(), spaces.of_target - left_out);
    }
    // nsenter leaves both as they are.
    draft.keep_capabilities = true;
    draft.session_keyring = nsjoin::SessionKeyring::keep;
    draft.death_signal = SIGKILL;
    return draft;
}

/// The plan of a child that is to be the command.
[[nodiscard]] auto plan_child(const Spaces& spaces, const std::optional<Target>& target,
                              const Inside& inside, nsjoin::BorrowedFd cgroup) -> nsjoin::Plan {
    nsjoin::Draft draft = make_draft(spaces, target, {});
    if (inside.comes_before_ids()) {
        draft.keep_ids = true;
    } else {
        draft.credentials = inside.ids;
    }
    draft.cgroup = cgroup;
    return take(nsjoin::Plan::from(std::move(draft)));
}

/// The plan of one that only shows what can be joined.
[[nodiscard]] auto plan_rehearsal(const Spaces& spaces, const std::optional<Target>& target)
    -> nsjoin::Plan {
    nsjoin::Draft draft = make_draft(spaces, target, Kind::pid);
    draft.keep_ids = true;
    return take(nsjoin::Plan::from(std::move(draft)));
}

// ── In words ────────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] auto in_words(const std::optional<std::uint32_t>& id, nsjoin::BorrowedFd follow)
    -> std::string {
    return follow.ok() ? "the target's" : id ? std::to_string(*id) : "as it is";
}

void say(bool done, const std::string& what) {
    if (done) {
        std::printf("  - %s\n", what.c_str());
    }
}

/// What enter does by itself where it is to be the command.
void print_move(const examples::OpenSpaces& elsewhere, bool cgroup) {
    std::puts("that child only shows that it can be done, and is ended; then enter by itself:");
    say(cgroup, "enter the cgroup  [write]");
    for (const auto& space : elsewhere) {
        say(space && space->kind() != Kind::pid,
            space ? "join " + std::string{nsjoin::facts(space->kind()).name} + "  [setns]" : "");
    }
    say(elsewhere[static_cast<std::size_t>(Kind::pid)].has_value(),
        "join pid, for the command's children  [setns]");
}

/// What comes on top of the plan.
void print_inside(const Inside& inside, char** command) {
    say(inside.root.ok(), "change the root directory  [chroot]");
    say(inside.directory.ok() || inside.directory_inside != nullptr,
        "change the working directory  [fchdir]");
    say(inside.comes_before_ids() || inside.ids.uid || inside.ids.gid,
        "set the uid: " + in_words(inside.ids.uid, inside.follow_uid) +
            ", the gid: " + in_words(inside.ids.gid, inside.follow_gid));
    say(inside.keep_capabilities, "make the capabilities ambient  [prctl]");
    say(true, std::string{"run "} + (*command != nullptr ? *command : "a login shell"));
}

// ── All of it ───────────────────────────────────────────────────────────────────────────────────

/// The environment of the target becomes this process's own.
void take_environment(Target& target) {
    static std::string text = target.file("environ");
    static std::vector<char*> entries = examples::split_environment(text);
    environ = entries.data();
}

/// Joins by itself, and becomes the command.
[[noreturn]] void become_command(const nsjoin::Plan& rehearsal, Spaces& spaces,
                                 const std::optional<Target>& target, Inside& inside,
                                 nsjoin::BorrowedFd cgroup, char** command) {
    examples::rehearse(rehearsal);
    const examples::OpenSpaces elsewhere = take_elsewhere(spaces, target);
    if (cgroup.ok()) {
        examples::enter_cgroup(cgroup);
    }
    // Until it executes the command, nobody in there is to look into it (CVE-2016-9962).
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        die(describe("become undumpable", "", errno));
    }
    examples::own_directories();
    examples::join_each(elsewhere);
    change_directories(inside);
    take_ids(inside);
    run_command(inside, command);
}

/// Runs the command as a child, and ends as it does.
[[noreturn]] void run_child(const nsjoin::Plan& plan, Inside& inside, char** command) {
    const nsjoin::PidFd caller = take(nsjoin::PidFd::open(getpid()));
    const examples::Signals signals;
    auto side = take(nsjoin::join_and_clone(plan));
    if (side.is_child()) {
        signals.restore();
        if (inside.comes_before_ids()) {
            change_directories(inside);
            take_ids(inside);
            die_with(caller);
        }
        run_command(inside, command);
    }
    examples::end_as(take(signals.attend(side.child())));
}

[[nodiscard]] auto run(const EnterOptions& options) -> int {
    std::optional<Target> target;
    if (options.target != 0) {
        target.emplace(options.target, options.target_inode);
    }
    Spaces spaces = find_spaces(options, target);
    Inside inside = prepare_inside(options, target, spaces);
    const OwnedFd cgroup = options.join_cgroup ? examples::open_cgroup(*target) : OwnedFd{};
    const bool forks = !options.no_fork && changes(Kind::pid, spaces, target);
    const nsjoin::Plan plan =
        forks ? plan_child(spaces, target, inside, cgroup) : plan_rehearsal(spaces, target);
    if (options.explain) {
        std::fputs(nsjoin::explain(plan).c_str(), stdout);
        forks ? (void)std::puts("then enter's child by itself:")
              : print_move(take_elsewhere(spaces, target), cgroup.ok());
        print_inside(inside, options.command);
        return examples::end_of_words();
    }
    if (options.environment) {
        take_environment(*target);
    }
    if (!inside.ids.groups.kept()) {
        // Where setgroups is denied inside, they have to be dropped out here.
        (void)setgroups(0, nullptr);
    }
    if (forks) {
        run_child(plan, inside, options.command);
    }
    become_command(plan, spaces, target, inside, cgroup, options.command);
}

} // namespace

auto main(int argc, char** argv) -> int {
    const EnterOptions options = examples::parse_enter_options(argc, argv);
    if (options.help) {
        std::fputs(examples::enter_usage, stdout);
        return examples::end_of_words();
    }
    if (options.version) {
        std::puts("enter (nsjoin) " NSJOIN_VERSION_TEXT);
        return examples::end_of_words();
    }
    return run(options);
}
