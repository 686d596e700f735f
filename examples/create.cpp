// SPDX-License-Identifier: Apache-2.0
// create: runs a command in new namespaces, as unshare(1) does.
//
// The library makes the namespaces and a child in them, which keeps its ids. With --fork the child
// is to be the command, and the caller, who stays outside, passes signals and the exit code on.
// Else the caller goes where that child is (support/in_place.hpp), and is to be the command itself.
// Whoever is sets up its mounts and directories, and only then takes its ids (support/furnish.hpp);
// namespaces are pinned at files from outside (support/pins.hpp).
#include "support/create_options.hpp"
#include "support/furnish.hpp"
#include "support/in_place.hpp"
#include "support/pins.hpp"
#include "support/signals.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/version.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <grp.h>
#include <optional>
#include <string>
#include <sys/prctl.h>
#include <unistd.h>
#include <vector>

namespace {

using examples::Options;
using nsjoin::Kind;

constexpr const char* usage = R"(usage: create [OPTION...] [COMMAND [ARGUMENT...]]

Runs a command, or else a shell, in new namespaces: what unshare(1) of util-linux 2.42 does, with the
same options.

New namespaces; with =FILE (long form only) it is kept there, for nsenter(1) or enter, until umount:
  -m, --mount[=FILE]   mounts             -u, --uts[=FILE]     host name
  -i, --ipc[=FILE]     System V IPC       -n, --net[=FILE]     network
  -p, --pid[=FILE]     process ids        -U, --user[=FILE]    user and group ids
  -C, --cgroup[=FILE]  cgroup root        -T, --time[=FILE]    monotonic and boot clocks

The user namespace; each of these but the last two implies --user:
  -r, --map-root-user                 the caller is root in it
  -c, --map-current-user              the caller keeps uid and gid
  --map-user UID|NAME                 the caller has this uid
  --map-group GID|NAME                the caller has this gid; denies setgroups
  --map-users INSIDE:OUTSIDE:COUNT    a block of uids; also auto (the caller's line in /etc/subuid,
                                      from 0 on), subids (the same, unchanged), all (every one)
  --map-groups INSIDE:OUTSIDE:COUNT   a block of gids; also auto, subids, all
  --map-auto, --map-subids            both: auto, or subids
  --owner UID:GID                     whom the namespace belongs to; the command has these ids, and
                                      no other groups (util-linux 2.42)
  --setgroups allow|deny              whether groups can be changed in it
  --keep-caps                         the command keeps the capabilities in it

Mounts and directories:
  --propagation MODE      of all mounts: private (if nothing is said), shared, slave, unchanged
  --mount-proc[=DIR]      mount proc at /proc or DIR; implies --mount
  --mount-binfmt[=DIR]    mount binfmt_misc; implies --mount and --user, and without DIR in a new
                          pid namespace --mount-proc
  -l, --load-interp TEXT  register an interpreter, as binfmt_misc has it; implies --mount-binfmt
  -R, --root DIR          change the root directory
  -w, --wd DIR            change the working directory, inside the root

The process:
  -f, --fork               the command is a child: it is pid 1 of a new pid namespace
  --kill-child[=SIGNAL]    it gets SIGKILL, or SIGNAL, when create ends; implies --fork
  --forward-signals        it gets the SIGTERM and SIGINT that create gets; implies --fork (2.42)
  --clear-env              it gets no variable of the environment (2.42)
  --whitelist-env LIST     it gets these alone, separated by commas (2.42)
  -S, --setuid UID         take this uid
  -G, --setgid GID         take this gid, and no other groups
  --monotonic SECONDS      set the clock forward, or back; goes with --time
  --boottime SECONDS       the same for the boot clock

  --explain                print the plan, and do nothing
  -h, --help               print this
  -V, --version            print the version

The exit code is the command's; 127 if there is no such command, 126 if it can't be run, 1 for any
other failure. If a signal ends the command, it ends create too.

Without --fork, create becomes the command, which has its pid and its signals; and --pid is then for
the command's children, of which the first is pid 1.

What differs from unshare(1): a file for a namespace is made if there is none; if the command can't be
started, nothing stays pinned. --user=FILE works too, as in util-linux 2.42.
)";

// ── The plan ────────────────────────────────────────────────────────────────────────────────────

/// The offsets that the caller's clocks have, which a new time namespace starts with: a clock that
/// no option names keeps its own.
[[nodiscard]] auto offsets(const Options& options) -> std::optional<nsjoin::TimeOffsets> {
    if (!options.monotonic && !options.boottime) {
        return std::nullopt;
    }
    nsjoin::TimeOffsets now;
    std::ifstream file{"/proc/self/timens_offsets"};
    std::string clock;
    for (long long seconds = 0, nanoseconds = 0; file >> clock >> seconds >> nanoseconds;) {
        (clock == "monotonic" ? now.monotonic : now.boottime) =
            std::chrono::seconds{seconds} + std::chrono::nanoseconds{nanoseconds};
    }
    return nsjoin::TimeOffsets{options.monotonic ? *options.monotonic : now.monotonic,
                               options.boottime ? *options.boottime : now.boottime};
}

/// What is created by whoever becomes the command itself: without --fork, the mount namespace, so
/// that root and working directory stay what they are, and the pid namespace of its children.
[[nodiscard]] auto created_here(const Options& options) -> nsjoin::KindSet {
    return options.fork ? nsjoin::KindSet{} : options.created & (Kind::mount | Kind::pid);
}

[[nodiscard]] auto make_draft(const Options& options) -> nsjoin::Draft {
    nsjoin::Draft draft;
    draft.created = options.created - created_here(options);
    draft.maps = examples::plan_ids(options);
    draft.time_offsets = offsets(options);
    // The child has privileged work to do before it takes its ids; and unshare(1), too, leaves the
    // inheritable capabilities as they are.
    draft.keep_ids = true;
    draft.keep_capabilities = true;
    draft.session_keyring = nsjoin::SessionKeyring::keep;
    if (draft.created.contains(Kind::mount)) {
        draft.propagation = nsjoin::Propagation::unchanged; // it is furnish() that sets it
    }
    if (!options.fork) {
        draft.death_signal = SIGKILL; // the child is of use only as long as create wants it
    }
    return draft;
}

/// A line about what comes on top of the library's plan.
void say(const char* who, const char* text, const std::string& what = {}) {
    std::printf("  - %s: %s%s\n", who, text, what.c_str());
}

/// How create itself comes into the namespaces, without --fork.
void explain_move(const Options& options) {
    if (const nsjoin::KindSet kinds = options.created - created_here(options); !kinds.empty()) {
        std::string names;
        for (const Kind kind : kinds) {
            names.append(names.empty() ? "" : ", ").append(nsjoin::facts(kind).name);
        }
        say("create", "join the child's ", names + "  [setns]");
        say("create", "end the child, which did nothing in there  [pidfd_send_signal]");
    }
    if (options.created.contains(Kind::mount)) {
        say("create", "create mnt  [unshare]");
    }
    if (options.created.contains(Kind::pid)) {
        say("create", "create pid, for the command's children  [unshare]");
    }
}

/// What furnish() does.
void explain_inside(const Options& options, const char* who) {
    if (options.created.contains(Kind::mount) && options.propagation != 0) {
        say(who, "set the propagation of all mounts  [mount]");
    }
    if (options.root != nullptr) {
        say(who, "change the root directory to ", options.root);
    }
    if (options.directory != nullptr) {
        say(who, "change the working directory to ", options.directory);
    }
    if (options.proc != nullptr) {
        say(who, "mount proc at ", options.proc);
    }
    if (options.binfmt != nullptr) {
        say(who, "mount binfmt_misc at ", options.binfmt);
    }
    if (options.interpreter != nullptr) {
        say(who, "load the interpreter ", options.interpreter);
    }
    if (options.gid) {
        say(who, "drop the groups and set the gid ", std::to_string(*options.gid));
    }
    if (options.uid) {
        say(who, "set the uid ", std::to_string(*options.uid));
    }
}

/// What comes on top of the library's plan.
void explain_rest(const Options& options) {
    const char* const who = options.fork ? "child" : "create";
    std::puts("what create does beside that:");
    if (options.owner) {
        say("create",
            options.fork ? "has the ids of the owner, and no groups, while the child is made: "
                         : "takes the ids of the owner, and no groups, for good, before: ",
            std::to_string(options.owner->uid) + ":" + std::to_string(options.owner->gid));
    }
    if (!options.fork) {
        explain_move(options);
    }
    explain_inside(options, who);
    for (const Kind kind : options.created) {
        if (const char* file = options.pins[static_cast<std::size_t>(kind)]; file != nullptr) {
            say(options.fork ? "create" : "a process outside", "pin ",
                std::string{nsjoin::facts(kind).name} + " at " + file);
        }
    }
    if (options.variables) {
        say(who, "clear the environment");
    }
    say(who, options.fork ? "run " : "become ",
        *options.command != nullptr ? *options.command : "a shell");
}

// ── The run ─────────────────────────────────────────────────────────────────────────────────────

/// The ids of the calling process, to come back to.
class CallerIds {
  public:
    CallerIds() : groups_(static_cast<std::size_t>(std::max(0, getgroups(0, nullptr)))) {
        if (getresuid(&uid_.real, &uid_.effective, &uid_.saved) != 0 ||
            getresgid(&gid_.real, &gid_.effective, &gid_.saved) != 0 ||
            getgroups(static_cast<int>(groups_.size()), groups_.data()) !=
                static_cast<int>(groups_.size())) {
            examples::die(examples::describe("read the caller's ids", "", errno));
        }
    }

    void take_back() const {
        if (setresuid(uid_.real, uid_.effective, uid_.saved) != 0 ||
            setresgid(gid_.real, gid_.effective, gid_.saved) != 0 ||
            setgroups(groups_.size(), groups_.data()) != 0 ||
            prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) {
            examples::die(examples::describe("take the caller's ids back", "", errno));
        }
    }

  private:
    struct Ids {
        unsigned real = 0;
        unsigned effective = 0;
        unsigned saved = 0;
    };

    Ids uid_;
    Ids gid_;
    std::vector<gid_t> groups_;
};

/// Takes the ids of the owner that a new user namespace is to have, all of them, and no groups. The
/// kernel notes whoever makes it, and the command has those ids for good: inside, the maps need not
/// have them, so that it could not take them there. The capabilities are kept, for the maps have to
/// be written, and with --fork the ids to be taken back.
void take_owner(const examples::Owner& owner) {
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setgroups(0, nullptr) != 0 ||
        setresgid(owner.gid, owner.gid, owner.gid) != 0 ||
        setresuid(owner.uid, owner.uid, owner.uid) != 0) {
        examples::die(examples::describe("take the ids of --owner", std::to_string(owner.uid),
                                         errno,
                                         errno == EPERM ? "needs CAP_SETUID and CAP_SETGID" : ""));
    }
    examples::raise_capabilities();
}

[[nodiscard]] auto join_as(const examples::Owner& owner, const nsjoin::Plan& plan)
    -> nsjoin::Result<nsjoin::Side> {
    const CallerIds caller;
    take_owner(owner);
    auto side = nsjoin::join_and_clone(plan);
    if (!side || !side->is_child()) {
        caller.take_back();
    }
    return side;
}

/// With --fork: runs the command as a child.
[[noreturn]] void run_child(const Options& options, const nsjoin::Plan& plan) {
    const nsjoin::PidFd self = examples::take(nsjoin::PidFd::open(getpid()));
    examples::Pins pins{options};
    const examples::CreateSignals signals{options.forward_signals};
    nsjoin::Side side = examples::take(options.owner ? join_as(*options.owner, plan)
                                                     : nsjoin::join_and_clone(plan));
    if (side.is_child()) {
        examples::furnish(options, self);
        signals.restore();
        pins.await();
        pins.run(options.command);
    }
    if (!pins.set(side.child())) {
        (void)side.child().wait();
        _exit(EXIT_FAILURE);
    }
    examples::end_as(examples::take(signals.wait(side.child())));
}

/// Without --fork: becomes the command.
[[noreturn]] void become_command(const Options& options, const nsjoin::Plan& plan) {
    const nsjoin::PidFd self = examples::take(nsjoin::PidFd::open(getpid()));
    examples::Pins pins{options};
    {
        const examples::QuietChildren quiet;
        pins.leave_helper(self);
    }
    if (options.owner) {
        take_owner(*options.owner);
    }
    const nsjoin::KindSet here = created_here(options);
    if (const nsjoin::KindSet there = options.created - here; !there.empty()) {
        examples::move_into(plan, there);
    }
    for (const Kind kind : here) {
        examples::create_here(kind);
    }
    examples::furnish(options, self);
    pins.await();
    pins.run(options.command);
}

} // namespace

auto main(int argc, char** argv) -> int {
    const Options options = examples::parse_create_options(argc, argv);
    if (options.help || options.version) {
        std::fputs(options.help ? usage : "create (nsjoin) " NSJOIN_VERSION_TEXT "\n", stdout);
        return examples::end_of_words();
    }
    const nsjoin::Plan plan = examples::take(nsjoin::Plan::from(make_draft(options)));
    if (options.explain) {
        std::fputs(nsjoin::explain(plan).c_str(), stdout);
        explain_rest(options);
        return examples::end_of_words();
    }
    // As unshare(1): ignored, it would take a child's status away, and it is default for the
    // command.
    (void)std::signal(SIGCHLD, SIG_DFL);
    if (options.fork) {
        run_child(options, plan);
    }
    become_command(options, plan);
}
