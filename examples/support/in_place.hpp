// SPDX-License-Identifier: Apache-2.0
// How enter and create become the command where nothing asks for a child: the library makes one
// all the same, which has the hard part done to it (the id maps, the clocks, the fall-backs, the
// words for what is refused) and then only waits; and the calling process goes where that child is.
#ifndef EXAMPLES_SUPPORT_IN_PLACE_HPP
#define EXAMPLES_SUPPORT_IN_PLACE_HPP

#include "options.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>
#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <ctime>
#include <optional>
#include <sched.h>
#include <string>
#include <unistd.h>
#include <utility>

namespace examples {

/// Namespaces, by kind.
using OpenSpaces = std::array<std::optional<nsjoin::AnyNamespaceFd>, nsjoin::kind_count>;

/// Over a scope, hides the children that come and go from the command, which has SIGCHLD as the
/// caller had it: none is pending that was not, and it is ignored or blocked if it was.
class QuietChildren {
  public:
    QuietChildren() {
        struct sigaction action {};

        (void)sigaction(SIGCHLD, nullptr, &action);
        ignored_ = action.sa_handler == SIG_IGN;
        if (ignored_) {
            (void)std::signal(SIGCHLD, SIG_DFL); // ignored, it takes a child's status away
        }
        sigset_t pending;
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGCHLD) == 1;
        sigemptyset(&only_);
        sigaddset(&only_, SIGCHLD);
        sigprocmask(SIG_BLOCK, &only_, &before_);
    }

    QuietChildren(const QuietChildren&) = delete;
    QuietChildren(QuietChildren&&) = delete;
    auto operator=(const QuietChildren&) -> QuietChildren& = delete;
    auto operator=(QuietChildren&&) -> QuietChildren& = delete;

    ~QuietChildren() {
        const timespec at_once{};
        if (!was_pending_) {
            (void)sigtimedwait(&only_, nullptr, &at_once);
        }
        if (ignored_) {
            (void)std::signal(SIGCHLD, SIG_IGN);
        }
        sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

  private:
    sigset_t only_{};
    sigset_t before_{};
    bool ignored_ = false;
    bool was_pending_ = false;
};

/// Makes the child that the plan says, which waits for its end.
[[nodiscard]] inline auto make_holder(const nsjoin::Plan& plan) -> nsjoin::PidFd {
    nsjoin::Side side = take(nsjoin::join_and_clone(plan));
    while (side.is_child()) {
        (void)pause();
    }
    return std::move(side.child());
}

inline void end_holder(const nsjoin::PidFd& holder) {
    (void)holder.send_signal(SIGKILL);
    (void)holder.wait();
}

// ── Going there ─────────────────────────────────────────────────────────────────────────────────

[[noreturn]] inline void die_of_joining(nsjoin::Kind kind, int code) {
    die(nsjoin::Error{nsjoin::join_step(kind), nsjoin::Reason::system, code,
                      nsjoin::Subject{nsjoin::facts(kind).name}});
}

/// Joins them one by one: what the caller has the rights over, then the user namespace, then what
/// that gives the rights over.
inline void join_each(const OpenSpaces& spaces) {
    const auto at = [&spaces](nsjoin::Kind kind) -> const auto& {
        return spaces[static_cast<std::size_t>(kind)];
    };
    const auto joins = [&at](nsjoin::Kind kind) {
        return setns(at(kind)->fd().get(), static_cast<int>(nsjoin::facts(kind).clone_flag)) == 0;
    };
    const bool with_user = at(nsjoin::Kind::user).has_value();
    nsjoin::KindSet left;
    for (const nsjoin::Kind kind : nsjoin::all_kinds.set - nsjoin::Kind::user) {
        if (at(kind) && !joins(kind)) {
            left = left | kind;
        }
        if (left.contains(kind) && !with_user) {
            die_of_joining(kind, errno);
        }
    }
    for (const nsjoin::Kind kind : with_user ? left | nsjoin::Kind::user : left) {
        if (!joins(kind)) {
            die_of_joining(kind, errno);
        }
    }
}

/// setns(2) refuses a user namespace to a process that shares its root and working directory
/// (CLONE_FS). Where that can't be mended, setns will say so.
inline void own_directories() {
    (void)unshare(CLONE_FS);
}

/// Joins the namespaces of a process, of those kinds.
inline void join_process(const nsjoin::PidFd& process, nsjoin::KindSet kinds) {
    own_directories();
    if (setns(process.fd().get(), static_cast<int>(kinds.clone_flags())) == 0) {
        return;
    }
    OpenSpaces spaces; // before Linux 5.8
    for (const nsjoin::Kind kind : kinds) {
        spaces[static_cast<std::size_t>(kind)] = take(nsjoin::AnyNamespaceFd::open(kind, process));
    }
    join_each(spaces);
}

/// Moves this process into the namespaces that the plan makes, of which there are some.
inline void move_into(const nsjoin::Plan& plan, nsjoin::KindSet kinds) {
    const QuietChildren quiet;
    const nsjoin::PidFd holder = make_holder(plan);
    join_process(holder, kinds);
    end_holder(holder);
}

/// Lets the library do in a child what this process is to do by itself, and say why if it can't be
/// done.
inline void rehearse(const nsjoin::Plan& plan) {
    const QuietChildren quiet;
    end_holder(make_holder(plan));
}

// ── Creating there ──────────────────────────────────────────────────────────────────────────────

/// Creates a namespace for this process itself, whose mounts, root and working directory are its
/// own then, as unshare(1) has it.
inline void create_here(nsjoin::Kind kind) {
    if (unshare(static_cast<int>(nsjoin::facts(kind).clone_flag)) == 0) {
        return;
    }
    const int code = errno;
    nsjoin::Draft same;
    same.created = kind;
    rehearse(take(nsjoin::Plan::from(std::move(same))));
    die(describe("create", nsjoin::facts(kind).name, code));
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_IN_PLACE_HPP
