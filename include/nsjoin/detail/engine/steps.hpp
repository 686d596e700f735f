// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_STEPS_HPP
#define NSJOIN_DETAIL_ENGINE_STEPS_HPP

#include <nsjoin/controlling_terminal.hpp>
#include <nsjoin/detail/engine/processes.hpp>
#include <nsjoin/pipe.hpp>

#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>

// What the joiner and the child do, a function a step. All of it runs between clone and return:
// system calls only, no allocation, no lock, nothing of the libc that keeps state.

namespace nsjoin::inline v0_1::detail {

/// Writes all of `text` at once, as the files of /proc want it. Of a kernel or filter that takes
/// less, EIO.
[[nodiscard]] inline auto write_once(int fd, std::string_view text) noexcept -> long {
    const long written = call_again(SYS_write, fd, text.data(), text.size());
    return written < 0 || static_cast<std::size_t>(written) == text.size() ? written : -EIO;
}

// ── The first process ───────────────────────────────────────────────────────────────────────────

[[nodiscard]] inline auto enter_cgroup(const Attempt& attempt) noexcept -> Result<void> {
    for (const OwnedFd& procs : attempt.cgroup_procs) {
        const long result = procs.ok() ? write_once(procs.get(), "0") : 0;
        if (result < 0) {
            return outcome(Step::enter_cgroup, result);
        }
    }
    return {};
}

/// The child's number in /proc, or 0.
[[nodiscard]] inline auto number_in_proc(const Attempt& attempt) noexcept -> pid_t {
    int number = attempt.child.pid();
    if (attempt.run.numbers_differ && !find_in_proc(attempt.run.proc, attempt.child.fd(), number)) {
        return 0;
    }
    return number > 0 ? number : 0;
}

/// By the process itself, or by the caller in the child's directory of /proc.
[[nodiscard]] inline auto set_oom_score_adj(const Attempt& attempt, const Task& task) noexcept
    -> Result<void> {
    Subject path;
    if (task.call == Call::of_the_child) {
        path.append(std::int64_t{number_in_proc(attempt)});
    } else {
        path.append("self");
    }
    path.append("/oom_score_adj");
    Subject text;
    text.append(std::int64_t{*attempt.run.plan.oom_score_adj});
    const long fd = open_at(attempt.run.proc.get(), path.c_str(), O_WRONLY);
    if (fd < 0) {
        return fail(task.step, static_cast<int>(-fd), text.view());
    }
    const OwnedFd file{static_cast<int>(fd)};
    const long written = write_once(file.get(), text.view());
    if (written < 0) {
        return fail(task.step, static_cast<int>(-written), text.view());
    }
    return {};
}

[[nodiscard]] inline auto open_own_offsets(Attempt& attempt) noexcept -> Result<void> {
    const long fd = open_at(attempt.run.proc.get(), "self/timens_offsets", O_WRONLY);
    if (fd < 0) {
        return outcome(Step::open_time_offsets, fd);
    }
    attempt.run.time_offsets.reset(static_cast<int>(fd));
    return {};
}

/// One line a clock, as time_namespaces(7) has it: name, seconds, nanoseconds from 0 to 10^9 - 1.
inline void append_offset(Subject& text, std::string_view clock, Duration offset) noexcept {
    const SecondsAndRest parts = split(offset);
    text.append(clock).append(parts.seconds).append(" ").append(parts.nanoseconds).append("\n");
}

[[nodiscard]] inline auto write_time_offsets(const Attempt& attempt) noexcept -> Result<void> {
    const TimeOffsets& offsets = *attempt.run.plan.time_offsets;
    Subject text;
    append_offset(text, "monotonic ", offsets.monotonic);
    append_offset(text, "boottime ", offsets.boottime);
    return outcome(Step::write_time_offsets,
                   write_once(attempt.run.time_offsets.get(), text.view()));
}

/// On the caller's memory the flag is the caller's, who has it back when the attempt ends.
[[nodiscard]] inline auto clear_dumpable(Attempt& attempt, const Task& task) noexcept
    -> Result<void> {
    if (attempt.schedule.roles.first == Memory::callers) {
        return outcome(task.step, attempt.not_dumpable.emplace().failed());
    }
    return outcome(task.step, call(SYS_prctl, PR_SET_DUMPABLE, 0UL, 0, 0, 0));
}

/// One setns(2). What could not be joined before the user namespace, though the kernel could not
/// say so, has a task behind it too.
[[nodiscard]] inline auto join(Attempt& attempt, const Task& task) noexcept -> Result<void> {
    if (attempt.joined.contains(task.kinds)) {
        return {};
    }
    // A mount namespace moves root and working directory, also of who shares them.
    if (attempt.schedule.roles.caller_joins && attempt.joined.empty()) {
        const long unshared = call(SYS_unshare, clone_fs);
        if (unshared < 0) {
            return outcome(task.step, unshared);
        }
    }
    const int fd = attempt.run.descriptor(task.slot);
    const long result = call(SYS_setns, fd, task.kinds.clone_flags());
    if (result == 0) {
        attempt.joined = attempt.joined | task.kinds;
    } else if (!task.may_wait || result != -EPERM) {
        return outcome(task.step, result);
    }
    return {};
}

// ── The namespaces of the child ─────────────────────────────────────────────────────────────────

/// Enters the time namespace that this process created: unshare makes it only for its children.
[[nodiscard]] inline auto enter_time(const Attempt& attempt) noexcept -> Result<void> {
    const long fd = open_at(attempt.run.proc.get(), "self/ns/time_for_children", O_RDONLY);
    if (fd < 0) {
        return outcome(Step::enter_time, fd);
    }
    const OwnedFd space{static_cast<int>(fd)};
    return outcome(Step::enter_time, call(SYS_setns, space.get(), facts(Kind::time).clone_flag));
}

/// Takes the caller's word to go on, and with it the file of the time offsets if it opened that.
[[nodiscard]] inline auto receive_go(Attempt& attempt) noexcept -> Result<void> {
    long result = 0;
    if (attempt.schedule.roles.offsets_by_caller) {
        Result<OwnedFd> offsets = receive_descriptor(attempt.child_end.borrow());
        result = offsets ? 1 : -static_cast<long>(offsets.error().code);
        if (offsets) {
            attempt.run.time_offsets = *std::move(offsets);
        }
    } else {
        Message message;
        result = call_again(SYS_recvfrom, attempt.child_end.get(), &message, sizeof message, 0,
                            nullptr, nullptr);
    }
    return result == 0 ? fail(Step::await_maps, Reason::process_gone, "the caller")
                       : outcome(Step::await_maps, result);
}

/// Waits until the caller says that the id maps are written. Ends when the caller does: the end
/// of the channel may be held open by somebody that the caller forked.
[[nodiscard]] inline auto await_caller(Attempt& attempt) noexcept -> Result<void> {
    std::array<pollfd, 2> entries{pollfd{attempt.child_end.get(), POLLIN, 0},
                                  pollfd{attempt.caller_pidfd.get(), POLLIN, 0}};
    const long ready = call_again(SYS_ppoll, entries.data(), entries.size(), nullptr, nullptr, 0UL);
    if (ready < 0) {
        return outcome(Step::await_maps, ready);
    }
    return entries[0].revents == 0 ? fail(Step::await_maps, Reason::process_gone, "the caller")
                                   : receive_go(attempt);
}

[[nodiscard]] inline auto become_root() noexcept -> Result<void> {
    Result<void> done = set_gid(0);
    if (done) {
        done = set_uid(0);
    }
    if (!done) {
        Error error = done.error();
        error.step = Step::become_root;
        return Unexpected{error};
    }
    return {};
}

/// Of all mounts there are, in the root that the namespace came with. mount(2).
[[nodiscard]] inline auto set_propagation(Propagation mode) noexcept -> Result<void> {
    const unsigned long flag = mode == Propagation::shared  ? MS_SHARED
                               : mode == Propagation::slave ? MS_SLAVE
                                                            : MS_PRIVATE;
    return outcome(Step::set_propagation, call(SYS_mount, "none", "/", "", MS_REC | flag, nullptr));
}

// ── The process of the child ────────────────────────────────────────────────────────────────────

/// Refuses a working directory that is outside of the root: from it, everything outside could be
/// reached (CVE-2024-21626). The kernel names such a one "(unreachable)…".
[[nodiscard]] inline auto refuse_outside(Step step) noexcept -> Result<void> {
    std::array<char, 4096> name{};
    const long length = call(SYS_getcwd, name.data(), name.size());
    const bool too_long = length == -ENAMETOOLONG || length == -ERANGE;
    if (too_long || (length > 0 && name.front() != '/')) {
        return fail(step, Reason::outside_root);
    }
    return length < 0 ? outcome(step, length) : Result<void>{};
}

/// Goes into the directory of a path, which may be a link in a container: one of /proc could lead
/// to what a descriptor has open outside.
[[nodiscard]] inline auto go_to(Step step, std::string_view path) noexcept -> Result<void> {
    const long changed = call(SYS_chdir, PathText{path}.c_str());
    return changed == 0 ? refuse_outside(step) : fail(step, static_cast<int>(-changed), path);
}

[[nodiscard]] inline auto set_root(const Draft& plan) noexcept -> Result<void> {
    Result<void> there = plan.root_path
                             ? go_to(Step::set_root, *plan.root_path)
                             : outcome(Step::set_root, call(SYS_fchdir, plan.root.get()));
    return there ? outcome(Step::set_root, call(SYS_chroot, ".")) : there;
}

[[nodiscard]] inline auto set_working_directory(const Draft& plan) noexcept -> Result<void> {
    constexpr Step step = Step::set_working_directory;
    if (plan.working_directory_path) {
        return go_to(step, *plan.working_directory_path);
    }
    const long changed = call(SYS_fchdir, plan.working_directory.get());
    return changed == 0 ? refuse_outside(step) : outcome(step, changed);
}

/// With the ids that may search it: those before the last, or the last.
[[nodiscard]] inline auto change_directory(Attempt& attempt, const Task& task) noexcept
    -> Result<void> {
    if (task.call == Call::again && !attempt.directory_refused) {
        return {};
    }
    const Draft& plan = attempt.run.plan;
    Result<void> done = set_working_directory(plan);
    // A console may have taken its number when the last ids are there.
    const bool stays = plan.working_directory_path || !plan.console.ok() ||
                       plan.working_directory.get() > STDERR_FILENO;
    if (!done && task.may_wait && stays && done.error().code == EACCES) {
        attempt.directory_refused = true;
        return {};
    }
    return done;
}

/// An anonymous one. Unless it was asked for, a kernel without keyrings will do, and a filter that
/// refuses keyctl(2): it keeps the program inside from the caller's keys as well.
[[nodiscard]] inline auto start_session_keyring(SessionKeyring which) noexcept -> Result<void> {
    constexpr long join_session_keyring = 1; // KEYCTL_JOIN_SESSION_KEYRING
    const long result = call(SYS_keyctl, join_session_keyring, nullptr);
    const bool no_keyrings = result == -ENOSYS || result == -EPERM || result == -EACCES;
    return which == SessionKeyring::automatic && no_keyrings
               ? Result<void>{}
               : outcome(Step::new_session_keyring, result < 0 ? result : 0);
}

/// Leaves no inheritable capability, and with them no ambient one (CVE-2022-29162).
[[nodiscard]] inline auto clear_inheritable() noexcept -> Result<void> {
    CapHeader header;
    std::array<CapData, 2> data{};
    long result = call(SYS_capget, &header, data.data());
    if (result == 0 && (data[0].inheritable | data[1].inheritable) != 0) {
        data[0].inheritable = 0;
        data[1].inheritable = 0;
        result = call(SYS_capset, &header, data.data());
    }
    return outcome(Step::clear_inheritable, result);
}

/// After a change of ids the kernel lets others trace the process as fs.suid_dumpable says: one
/// that was kept from that stays so.
[[nodiscard]] inline auto keep_not_dumpable(const Attempt& attempt, Result<void> done) noexcept
    -> Result<void> {
    if (!done || !attempt.schedule.process(Process::child).not_dumpable) {
        return done;
    }
    return outcome(Step::clear_dumpable, call(SYS_prctl, PR_SET_DUMPABLE, 0UL, 0, 0, 0));
}

/// The ids of the plan, each in its step.
[[nodiscard]] inline auto take_id(const Attempt& attempt, const Task& task) noexcept
    -> Result<void> {
    const Credentials& ids = *attempt.run.plan.credentials;
    const SetgroupsDenied denied{attempt.run.facts.setgroups, attempt.run.proc};
    switch (task.step) {
    case Step::set_groups:
        // Who enters another user namespace has every capability in it.
        return set_groups(ids.groups, attempt.schedule.roles.user_changes, denied);
    case Step::set_gid:
        return keep_not_dumpable(attempt, set_gid(*ids.gid));
    case Step::set_uid:
        return keep_not_dumpable(attempt, set_uid(*ids.uid));
    default:
        if (!attempt.run.plan.keep_capabilities && !attempt.run.plan.capabilities) {
            if (const Result<void> given_up = give_up_capabilities(ids); !given_up) {
                return given_up;
            }
        }
        return verify_ids(ids, denied);
    }
}

/// Those of root without groups, in another user namespace.
[[nodiscard]] inline auto take_root_id(const Attempt& attempt, const Task& task) noexcept
    -> Result<void> {
    const SetgroupsDenied denied{attempt.run.facts.setgroups, attempt.run.proc};
    switch (task.step) {
    case Step::set_groups:
        return drop_groups_inside(denied);
    case Step::set_gid:
        return keep_not_dumpable(attempt, set_gid(0));
    case Step::set_uid:
        return keep_not_dumpable(attempt, set_uid(0));
    default:
        return verify_root_inside(denied);
    }
}

/// A caller that died before the signal was set sends none. Where there is a channel, it shows
/// there.
[[nodiscard]] inline auto set_death_signal(const Attempt& attempt) noexcept -> Result<void> {
    constexpr Step step = Step::set_death_signal;
    const long result = call(SYS_prctl, PR_SET_PDEATHSIG, attempt.run.plan.death_signal, 0, 0, 0);
    if (result < 0 || !attempt.schedule.roles.shares) {
        return outcome(step, result);
    }
    const long ended = has_ended(attempt.caller_pidfd);
    return ended > 0 ? fail(step, Reason::process_gone, "the caller") : outcome(step, ended);
}

/// Says that all is done. A caller that does not hear it any more has no child: it ends.
[[nodiscard]] inline auto report(Attempt& attempt) noexcept -> Result<void> {
    const Message message;
    const long sent = call_again(SYS_sendto, attempt.child_end.get(), &message, sizeof message,
                                 MSG_NOSIGNAL, nullptr, 0);
    if (sent < 0) {
        exit_now(static_cast<int>(-sent)); // all that it can say
    }
    if (attempt.run.plan.console.ok()) {
        attempt.run.standard.leave();
    }
    if (!attempt.run.outline.program && !attempt.run.options.keep_channel) {
        attempt.child_end.reset();
    }
    return {};
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_STEPS_HPP
