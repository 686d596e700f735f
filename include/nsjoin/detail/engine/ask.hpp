// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_ASK_HPP
#define NSJOIN_DETAIL_ENGINE_ASK_HPP

#include <nsjoin/detail/engine/run.hpp>
#include <nsjoin/detail/files.hpp>

#include <poll.h>
#include <sys/auxv.h>

// What the caller asks the kernel about a plan before there is another process, and what it learns
// from an attempt that failed.

namespace nsjoin::inline v0_1::detail {

/// Whether the caller has put its children into another pid namespace than its own: a joiner, which
/// ends soon, would be the first one there, and its end that of the namespace. pid_namespaces(7).
[[nodiscard]] inline auto has_pending_pid() noexcept -> bool {
    struct stat own {};

    struct stat of_children {};

    // The entry of a namespace that nobody is in yet can't be followed, but for newer kernels'.
    return stat_own(Kind::pid, "pid", own) &&
           !(stat_own(Kind::pid, "pid_for_children", of_children) &&
             own.st_ino == of_children.st_ino);
}

/// Whether somebody is in the pid namespace of the caller's children. Where nobody ever was, older
/// kernels do not let its entry be followed; newer ones do, and say which process is the first.
[[nodiscard]] inline auto children_have_init() noexcept -> bool {
    const OwnedFd space{
        static_cast<int>(open_at(AT_FDCWD, "/proc/thread-self/ns/pid_for_children", O_RDONLY))};
    return space.ok() && call(SYS_ioctl, space.get(), ns_get_pid_from_pidns, 1) != -ESRCH;
}

/// Whether setgroups has to be denied: asked for, or because the kernel takes a single gid from a
/// caller without CAP_SETGID only then (CVE-2014-8989).
[[nodiscard]] inline auto must_deny_setgroups(const NewUser& user) noexcept -> bool {
    if (user.setgroups != Setgroups::automatic) {
        return user.setgroups == Setgroups::deny;
    }
    const std::span<const IdExtent> gids = user.gids.extents();
    return gids.size() == 1 && gids.front().count == 1 && gids.front().outside == ::getegid() &&
           !has_capability(cap_setgid);
}

/// What a caller that joins by itself has to know before, as it can't try the clone twice.
/// clone3(2) of nothing is EINVAL where there is one.
inline void ask_for_sibling(const Outline& outline, Facts& facts) noexcept {
    facts.first_of_pids = ::getpid() == 1;
    facts.setgroups = Denied::ask;
    if (!outline.joined.empty()) {
        facts.many_threads = has_threads();
        facts.clone3 = call(SYS_clone3, nullptr, 0UL) == -EINVAL;
    }
}

/// What one call for all kinds of a target must leave out. To join one's own namespace is nothing,
/// but for these: a mount namespace moves root and working directory all the same, and a process on
/// the caller's memory can't join a time one. A program that enters another user namespace starts
/// at its mount namespace's root anyway.
inline void ask_for_one_call(const Draft& plan, const Outline& outline, Facts& facts) noexcept {
    const bool is_program = outline.program || outline.callers_parent;
    const bool to_root = is_program && outline.joined.contains(Kind::user);
    for (const Kind kind : outline.joined&(Kind::mount | Kind::time)) {
        if (!(to_root && kind == Kind::mount) && source_is_own(plan.source(kind), kind)) {
            facts.same = facts.same | kind;
        }
    }
}

/// What the file says of the user namespace of the target that it is joined from. Denied::ask: it
/// comes from elsewhere, or can't be read, so that the child has to read its own.
[[nodiscard]] inline auto ask_target_for_groups(const Draft& plan, const Outline& outline) noexcept
    -> Denied {
    const JoinSource& source = plan.source(Kind::user);
    const auto proc = open_own_proc(::getpid());
    if (!outline.by_target(Kind::user) || source.target_pid <= 0 || !proc) {
        return Denied::ask;
    }
    Subject path;
    path.append(std::int64_t{source.target_pid}).append("/setgroups");
    const OwnedFd file{static_cast<int>(open_at(proc->get(), path.c_str(), O_RDONLY))};
    const long denied = file.ok() ? file_denies_setgroups(file.get()) : -1;
    pollfd target{source.fd.get(), POLLIN, 0};
    const timespec at_once{};
    const bool alive = call(SYS_ppoll, &target, 1UL, &at_once, nullptr, 0UL) == 0;
    return denied < 0 || !alive ? Denied::ask : denied == 1 ? Denied::yes : Denied::no;
}

/// How groups can be dropped for a child that joins a user namespace. A caller that was started by
/// root may drop them outside, before anything is joined; else the namespace has to let it.
inline void ask_for_groups(const Draft& plan, const Outline& outline, Facts& facts) noexcept {
    const bool drops =
        !outline.keep_ids && (!outline.ids || outline.said.contains(Step::drop_groups));
    if (!outline.joined.contains(Kind::user) || !drops) {
        return;
    }
    facts.drops_outside = ::getauxval(AT_EUID) == 0;
    if (!facts.drops_outside && !outline.callers_parent) {
        facts.setgroups = ask_target_for_groups(plan, outline);
    }
}

/// Asks all that the first schedule depends on.
[[nodiscard]] inline auto ask(const Draft& plan, const Outline& outline, Facts& facts,
                              OpenedSpaces& opened) noexcept -> Result<void> {
    if (outline.callers_parent) {
        ask_for_sibling(outline, facts);
    }
    if (plan.maps) {
        facts.deny_setgroups = must_deny_setgroups(*plan.maps);
        facts.setgroups = facts.deny_setgroups ? Denied::yes : Denied::unknown;
    }
    ask_for_groups(plan, outline, facts);
    facts.into_cgroup = plan.cgroup.ok() && lies_on(plan.cgroup.get(), cgroup2_super_magic);
    if (outline.single_target()) {
        ask_for_one_call(plan, outline, facts);
        return {};
    }
    return outline.joined.empty() ? Result<void>{} : look_at_spaces(plan, opened, facts);
}

/// What a clone that failed teaches: that what only clone3(2) does has to be done otherwise. False
/// if there is no other way, so that the error is the plan's. Pure.
[[nodiscard]] constexpr auto learn_from_clone(const Schedule& schedule, Process made, Call by,
                                              int code, Facts& facts) noexcept -> bool {
    const ProcessFacts& process = schedule.process(made);
    const bool places = process.in_cgroup && process.maker == Process::caller &&
                        facts.into_cgroup && !schedule.roles.caller_joins;
    if (by != Call::clone3 || !(may_be_missing(code) || (places && is_about_cgroup(code)))) {
        return false;
    }
    if (places) {
        facts.into_cgroup = false;
    } else if (process.clear_sighand) {
        facts.clear_sighand = false;
    } else {
        facts.clone3 = false;
    }
    return true;
}

/// The same of a task that makes a process.
[[nodiscard]] constexpr auto learn_from_clone(const Schedule& schedule, const Task& task, int code,
                                              Facts& facts) noexcept -> bool {
    const Process made = task.step == Step::make_joiner   ? Process::joiner
                         : task.step == Step::make_opener ? Process::opener
                                                          : Process::child;
    return learn_from_clone(schedule, made, task.call, code, facts);
}

/// What a join that failed teaches: the kernel has no setns(2) with a pidfd, a filter forbids it,
/// or the kinds name a namespace that the caller is in or has no rights over. Whether there is
/// another way.
[[nodiscard]] inline auto learn_from_join(Run& run, const Schedule& schedule) noexcept
    -> Result<bool> {
    if (run.facts.join_by == JoinBy::one_call) {
        const Result<void> looked = look_at_spaces(run.plan, run.own_opened, run.facts);
        return looked ? Result<bool>{true} : Unexpected{looked.error()};
    }
    bool by_pidfd = false;
    for (const Task& task : schedule.tasks()) {
        by_pidfd = by_pidfd || task.call == Call::setns_pidfd;
    }
    run.facts.join_by = JoinBy::descriptor;
    return by_pidfd;
}

/// What refused groups teach: whether they may stay as they are, because the user namespace denies
/// to set them. Nobody asks before, as it is seldom so.
[[nodiscard]] inline auto learn_from_groups(Run& run, const Error& error) noexcept -> bool {
    if (error.step == Step::drop_groups) {
        run.facts.drops_outside = false;
        return error.code == EPERM;
    }
    if (error.code != ENODATA || run.facts.setgroups != Denied::unknown) {
        return false;
    }
    run.facts.setgroups = ask_target_for_groups(run.plan, run.outline);
    return true;
}

/// Whether the failure of an attempt shows another way, which `run.facts` then have. Errors: those
/// of asking about it.
[[nodiscard]] inline auto learn(Run& run, const Schedule& schedule, const Error& error) noexcept
    -> Result<bool> {
    for (const Task& task : schedule.tasks()) {
        // A caller that joins by itself does these no second time: it is not dumpable any more.
        if (task.process == Process::caller && task.step < error.step && !is_join(task.step)) {
            run.facts.done.set(task.step);
        }
    }
    if (error.step == Step::drop_groups || error.step == Step::set_groups ||
        error.step == Step::verify_ids) {
        return learn_from_groups(run, error);
    }
    if (error.reason != Reason::system) {
        return false;
    }
    if (is_join(error.step)) {
        return may_be_missing(error.code) ? learn_from_join(run, schedule) : Result<bool>{false};
    }
    for (const Task& task : schedule.tasks()) {
        if (task.step == error.step && task.call == Call::clone3) {
            return learn_from_clone(schedule, task, error.code, run.facts);
        }
    }
    return false;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_ASK_HPP
