// SPDX-License-Identifier: Apache-2.0
// enter: runs a command in the namespaces of a process, as nsenter(1) does.
//
// Everything that is named out here (namespaces, directories, the cgroup, the environment) is
// opened first; then the library joins and makes a child inside; the child changes its directories,
// takes its ids and becomes the command. The caller stays outside, and ends as the command ends.
#include "support/ambient.hpp"
#include "support/enter_options.hpp"
#include "support/options.hpp"
#include "support/target.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <grp.h>
#include <optional>
#include <sched.h>
#include <string>
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

[[nodiscard]] auto open_file(Kind kind, const char* file) -> AnyNamespaceFd {
    auto space = take(AnyNamespaceFd::open(file));
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

/// Whether the command ends up in another user namespace, where its ids mean something else.
[[nodiscard]] auto changes_user(Spaces& spaces, const std::optional<Target>& target) -> bool {
    if (!spaces.kinds().contains(Kind::user)) {
        return false;
    }
    const AnyNamespaceFd own = take(AnyNamespaceFd::own(Kind::user));
    if (spaces.at(Kind::user)) {
        return !take(nsjoin::is_same(own, *spaces.at(Kind::user)));
    }
    return !take(nsjoin::is_same(own, take(AnyNamespaceFd::open(Kind::user, target->pidfd()))));
}

// ── What the child does, once inside ────────────────────────────────────────────────────────────

struct Inside {
    std::optional<AnyNamespaceFd> children_pid{}; ///< the pid namespace of the command's children
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
        return children_pid || root.ok() || directory.ok() || directory_inside != nullptr ||
               follow_uid.ok() || follow_gid.ok();
    }
};

void join_for_children(const Inside& inside) {
    if (inside.children_pid && setns(inside.children_pid->fd().get(), CLONE_NEWPID) != 0) {
        die(describe("join pid", "for the command's children", errno,
                     errno == EPERM ? "needs CAP_SYS_ADMIN over the namespace's owner, and with "
                                      "--no-fork in the user namespace that was joined"
                                    : ""));
    }
}

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

[[noreturn]] void run_inside(Inside& inside, const nsjoin::PidFd& caller, char** command) {
    if (inside.comes_before_ids()) {
        join_for_children(inside);
        change_directories(inside);
        take_ids(inside);
        die_with(caller);
    }
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
    if (options.no_fork && spaces.kinds().contains(Kind::pid)) {
        if (target) {
            (void)spaces.open(Kind::pid, *target);
        }
        inside.children_pid = std::exchange(spaces.at(Kind::pid), std::nullopt);
    }
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
    const bool user_changes = changes_user(spaces, target);
    inside.follow_uid = options.uid.follow ? target->proc() : nsjoin::BorrowedFd{};
    inside.follow_gid = options.gid.follow ? target->proc() : nsjoin::BorrowedFd{};
    inside.ids = choose_ids(options, user_changes);
    inside.keep_capabilities = options.keep_capabilities && user_changes;
    return inside;
}

[[nodiscard]] auto make_plan(const Spaces& spaces, const std::optional<Target>& target,
                             const Inside& inside, nsjoin::BorrowedFd cgroup) -> nsjoin::Plan {
    nsjoin::Draft draft;
    for (const auto& space : spaces.opened) {
        if (space) {
            draft.join(*space);
        }
    }
    if (target) {
        draft.join(target->pidfd(), spaces.of_target);
    }
    if (inside.comes_before_ids()) {
        draft.keep_ids = true;
    } else {
        draft.credentials = inside.ids;
    }
    draft.keep_capabilities = true; // nsenter leaves them as they are
    draft.cgroup = cgroup;
    draft.death_signal = SIGKILL;
    return take(nsjoin::Plan::from(std::move(draft)));
}

// ── In words ────────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] auto in_words(const std::optional<std::uint32_t>& id, nsjoin::BorrowedFd follow)
    -> std::string {
    return follow.ok() ? "the target's" : id ? std::to_string(*id) : "as it is";
}

/// The plan, and what comes on top of it.
void print_plan(const nsjoin::Plan& plan, const Inside& inside, char** command) {
    std::fputs(nsjoin::explain(plan).c_str(), stdout);
    std::puts("then enter's child by itself:");
    const auto say = [](bool done, const std::string& what) {
        if (done) {
            std::printf("  - %s\n", what.c_str());
        }
    };
    say(inside.children_pid.has_value(), "join pid, for the command's children  [setns]");
    say(inside.root.ok(), "change the root directory  [chroot]");
    say(inside.directory.ok() || inside.directory_inside != nullptr,
        "change the working directory  [fchdir]");
    say(inside.comes_before_ids(), "set the uid: " + in_words(inside.ids.uid, inside.follow_uid) +
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

[[nodiscard]] auto run(const EnterOptions& options) -> int {
    std::optional<Target> target;
    if (options.target != 0) {
        target.emplace(options.target, options.target_inode);
    }
    Spaces spaces = find_spaces(options, target);
    Inside inside = prepare_inside(options, target, spaces);
    const OwnedFd cgroup = options.join_cgroup ? examples::open_cgroup(*target) : OwnedFd{};
    const nsjoin::Plan plan = make_plan(spaces, target, inside, cgroup);
    if (options.explain) {
        print_plan(plan, inside, options.command);
        return EXIT_SUCCESS;
    }
    if (options.environment) {
        take_environment(*target);
    }
    if (!inside.ids.groups.kept()) {
        // Where setgroups is denied inside, they have to be dropped out here.
        (void)setgroups(0, nullptr);
    }
    const nsjoin::PidFd caller = take(nsjoin::PidFd::open(getpid()));
    const examples::Signals signals;
    auto side = take(nsjoin::join_and_clone(plan));
    if (side.is_child()) {
        signals.restore();
        run_inside(inside, caller, options.command);
    }
    examples::end_as(take(signals.attend(side.child())));
}

} // namespace

auto main(int argc, char** argv) -> int {
    const EnterOptions options = examples::parse_enter_options(argc, argv);
    if (options.help) {
        std::fputs(examples::enter_usage, stdout);
        return EXIT_SUCCESS;
    }
    if (options.version) {
        std::puts("enter (nsjoin) 0.1.0");
        return EXIT_SUCCESS;
    }
    return run(options);
}
