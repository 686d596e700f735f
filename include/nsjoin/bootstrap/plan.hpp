// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_PLAN_HPP
#define NSJOIN_BOOTSTRAP_PLAN_HPP

#include <nsjoin/bootstrap/message.hpp>
#include <nsjoin/detail/engine/namespaces.hpp>
#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/pages.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace nsjoin::inline v0_1 {

namespace detail {

/// Opens a terminal by path. Only a character device is opened at all: what else a path leads to
/// (a FIFO, say) must not notice. open(2) O_PATH, then O_RDWR of the very same file.
[[nodiscard]] inline auto open_console(std::string_view path) noexcept -> Result<OwnedFd> {
    const PathText name{path};
    const auto found = open_owned(Step::check_console, AT_FDCWD, name.c_str(), O_PATH);
    if (!found) {
        return Unexpected{found.error()};
    }

    struct stat about {};

    if (::fstat(found->get(), &about) != 0) {
        return fail(Step::check_console, errno, path);
    }
    if ((about.st_mode & S_IFMT) != S_IFCHR) {
        return fail(Step::check_console, Reason::not_a_terminal, path);
    }
    return reopen(Step::check_console, *found, O_RDWR | O_NOCTTY, path);
}

/// setns(2) refuses the caller's own user namespace. Were it passed over, a child that was to be
/// kept out of the host's user namespace would run in it.
[[nodiscard]] inline auto own_user_namespace(std::string_view path) noexcept -> Unexpected {
    auto error = broken("namespace paths",
                        "the caller is in that user namespace, which can't be joined again: name "
                        "another, or none");
    error.error().subject.append(": ").append(path);
    return error;
}

/// The process of a path of the form /proc/PID/ns/KIND, of the kind that the message says if it
/// says one; 0 for any other path.
[[nodiscard]] inline auto process_of(const NamespacePath& join, Kind& kind) noexcept -> pid_t {
    constexpr std::string_view proc = "/proc/";
    if (first(join.path, proc.size()) != proc) {
        return 0;
    }
    std::string_view rest = after(join.path, proc.size());
    const std::string_view number = take_until(rest, '/');
    pid_t pid = 0;
    const bool good = parse_number(number, pid) && pid > 0 && number.front() != '0' &&
                      take_until(rest, '/') == "ns" && kind_from_name(rest, kind) &&
                      rest == facts(kind).name && join.kind.value_or(kind) == kind;
    return good ? pid : 0;
}

/// The one process whose namespaces all the paths name; 0 if there is none.
[[nodiscard]] inline auto process_of(std::span<const NamespacePath> joins) noexcept -> pid_t {
    pid_t common = 0;
    for (const NamespacePath& join : joins) {
        Kind kind{};
        const pid_t pid = process_of(join, kind);
        if (pid == 0 || (common != 0 && pid != common)) {
            return 0;
        }
        common = pid;
    }
    return common;
}

} // namespace detail

/// A plan that came over a wire, and what it borrows: the descriptors of the namespaces, the
/// console, the texts. Move-only.
class [[nodiscard]] Bootstrap {
  public:
    /// Opens what the message names, and checks the plan. `bytes` is the memory that the message's
    /// texts are views into; it is kept as long as the plan. `mount_numbers` are the descriptors
    /// that the child is to find the message's mount sources under, one a path, -1 for an empty
    /// one; `proc` is the /proc of the caller's pid namespace, if it is open already. Errors: those
    /// of opening the namespaces and the console, with the path; wrong_kind; bad_message for a path
    /// of the caller's own user namespace; those of Plan::from.
    [[nodiscard]] static auto open(Dialect dialect, const BootstrapMessage& message,
                                   detail::Array<std::byte> bytes = {},
                                   std::span<const int> mount_numbers = {},
                                   BorrowedFd proc = {}) noexcept -> Result<Bootstrap> {
        Holdings held;
        held.bytes = std::move(bytes);
        Draft draft = values(dialect, message);
        Result<void> done = join_paths(message, proc, held, draft);
        if (done && !message.console.empty()) {
            done = take_console(message, held, draft);
        }
        if (done) {
            done = take_mounts(message, mount_numbers, held, draft);
        }
        if (!done) {
            return Unexpected{done.error()};
        }
        return checked(std::move(draft), std::move(held));
    }

    /// What the dialect `environment` says: joins every namespace of process `target` that differs
    /// from the caller's; `console` is a path, or empty. Errors: those of PidFd::open and of
    /// opening the console.
    [[nodiscard]] static auto open(pid_t target, std::string_view console) noexcept
        -> Result<Bootstrap> {
        BootstrapMessage message;
        message.console = console;
        Holdings held;
        Draft draft = values(Dialect::environment, message);
        auto pinned = PidFd::open(target);
        if (!pinned) {
            return Unexpected{pinned.error()};
        }
        draft.join(*pinned, all_kinds);
        held.target = pinned->release(); // the plan has its number
        if (!console.empty()) {
            const Result<void> done = take_console(message, held, draft);
            if (!done) {
                return Unexpected{done.error()};
            }
        }
        return checked(std::move(draft), std::move(held));
    }

    /// The plan, which borrows from this object.
    [[nodiscard]] auto plan() const& noexcept -> const Plan& { return plan_; }

    auto plan() && -> const Plan& = delete;

  private:
    struct Holdings {
        detail::Array<std::byte> bytes;
        std::array<OwnedFd, kind_count> spaces;
        OwnedFd target;
        OwnedFd console;
        detail::Array<MountSource> mounts;
    };

    Bootstrap(Plan plan, Holdings held) noexcept : held_{std::move(held)}, plan_{std::move(plan)} {}

    /// What needs nothing opened.
    [[nodiscard]] static auto values(Dialect dialect, const BootstrapMessage& message) noexcept
        -> Draft {
        const detail::DialectFacts& row = facts(dialect);
        Draft draft;
        draft.created = message.created;
        if (message.uids && message.gids) {
            const Setgroups denied =
                message.rootless ? Setgroups::deny : Setgroups::automatic; // as the kernel wants it
            draft.maps.emplace(NewUser{*message.uids, *message.gids,
                                       message.setgroups_allowed ? Setgroups::allow : denied});
        }
        draft.time_offsets = message.time_offsets;
        draft.oom_score_adj = message.oom_score_adj;
        if (dialect != Dialect::environment) {
            // A supervisor that names none has none: its PATH is not this program's.
            draft.newuidmap = message.newuidmap;
            draft.newgidmap = message.newgidmap;
        }
        draft.new_session = true;
        // The embedding program's to say, as it has more to do with both.
        draft.propagation =
            draft.created.contains(Kind::mount) ? Propagation::unchanged : Propagation::private_;
        draft.session_keyring = SessionKeyring::keep;
        draft.child_of = ChildOf::callers_parent;
        if (row.names) {
            draft.name = ProcessName{"runc:[2:INIT]"};
        }
        if (dialect != Dialect::environment) {
            const bool drop = row.two_pids && !message.rootless && message.setgroups_allowed;
            draft.credentials.emplace(
                Credentials{.uid = 0, .gid = 0, .groups = drop ? Groups{} : Groups::keep()});
        }
        return draft;
    }

    /// Where all the paths are those of one process, joins from that: by one call, and nothing is
    /// opened. False if they are not, or if it can't be pinned.
    [[nodiscard]] static auto join_process(const BootstrapMessage& message, BorrowedFd proc,
                                           Holdings& held, Draft& draft) noexcept -> Result<bool> {
        const pid_t pid = detail::process_of(message.namespaces());
        // In another /proc the pids are others.
        if (pid == 0 || (!proc.ok() && !detail::open_own_proc(::getpid()))) {
            return false;
        }
        auto target = PidFd::open(pid);
        if (!target) {
            return false;
        }
        for (const NamespacePath& join : message.namespaces()) {
            Kind kind{};
            (void)detail::process_of(join, kind);
            draft.join(*target, kind);
            if (kind == Kind::user && detail::source_is_own(draft.source(kind), kind)) {
                return detail::own_user_namespace(join.path);
            }
        }
        held.target = target->release(); // the plan has its number
        return true;
    }

    [[nodiscard]] static auto join_paths(const BootstrapMessage& message, BorrowedFd proc,
                                         Holdings& held, Draft& draft) noexcept -> Result<void> {
        const Result<bool> joined = join_process(message, proc, held, draft);
        if (!joined || *joined) {
            return joined ? Result<void>{} : Unexpected{joined.error()};
        }
        std::size_t count = 0;
        for (const NamespacePath& join : message.namespaces()) {
            auto space = AnyNamespaceFd::open(detail::PathText{join.path}.c_str());
            if (!space) {
                return Unexpected{space.error()};
            }
            if (join.kind && *join.kind != space->kind()) {
                return detail::wrong_kind(Subject{join.path}, space->kind());
            }
            if (space->kind() == Kind::user && detail::is_own(Kind::user, space->fd().get())) {
                return detail::own_user_namespace(join.path);
            }
            draft.join(*space); // its number stays
            held.spaces[count++] = space->release();
        }
        return {};
    }

    [[nodiscard]] static auto take_console(const BootstrapMessage& message, Holdings& held,
                                           Draft& draft) noexcept -> Result<void> {
        auto console = detail::open_console(message.console);
        if (!console) {
            return Unexpected{console.error()};
        }
        held.console = *std::move(console);
        draft.console = held.console.borrow();
        return {};
    }

    /// The paths that are not empty, each with the number in its place.
    [[nodiscard]] static auto take_mounts(const BootstrapMessage& message,
                                          std::span<const int> numbers, Holdings& held,
                                          Draft& draft) noexcept -> Result<void> {
        if (numbers.empty() && message.mount_sources.empty()) {
            return {};
        }
        held.mounts = detail::Array<MountSource>{numbers.size()};
        std::size_t count = 0;
        std::string_view rest = message.mount_sources;
        for (std::size_t item = 0; item < numbers.size() || !rest.empty(); ++item) {
            const std::string_view path = detail::take_until(rest, '\0');
            const int number = item < numbers.size() ? numbers[item] : -1;
            if (path.empty() != (number < 0)) {
                return detail::broken("mount sources", "mount", item + 1,
                                      path.empty() ? "has a descriptor, and no path"
                                                   : "has a path, and no descriptor");
            }
            if (path.empty()) {
                continue;
            }
            const Result<void> good = detail::check_path("mount sources: a path", path);
            if (!good) {
                return good;
            }
            held.mounts.view()[count++] = MountSource{path, number};
        }
        draft.mount_sources = MountSources{held.mounts.view().first(count)};
        return {};
    }

    [[nodiscard]] static auto checked(Draft draft, Holdings held) noexcept -> Result<Bootstrap> {
        Result<Plan> plan = Plan::from(std::move(draft));
        if (!plan) {
            return Unexpected{plan.error()};
        }
        return Bootstrap{*std::move(plan), std::move(held)};
    }

    Holdings held_;
    Plan plan_;
};

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_PLAN_HPP
