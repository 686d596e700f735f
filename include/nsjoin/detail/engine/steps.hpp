// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_STEPS_HPP
#define NSJOIN_DETAIL_ENGINE_STEPS_HPP

#include <nsjoin/console.hpp>
#include <nsjoin/detail/engine/mount_sources.hpp>
#include <nsjoin/detail/engine/run.hpp>
#include <nsjoin/pipe.hpp>

// What the joiner and the child do. All of it runs between clone and return: system calls only, no
// allocation, no lock, nothing of the libc that keeps state.

namespace nsjoin::detail {

/// Turns what call() returned into a result of a step.
[[nodiscard]] inline auto outcome(Step step, long result) noexcept -> Result<void> {
    if (result < 0) {
        return fail(step, static_cast<int>(-result));
    }
    return {};
}

[[nodiscard]] inline auto set_dumpable(bool dumpable) noexcept -> long {
    return call(SYS_prctl, PR_SET_DUMPABLE, dumpable ? 1UL : 0UL, 0, 0, 0);
}

/// Writes all of `text` at once, as the files of /proc want it.
[[nodiscard]] inline auto write_once(int fd, std::string_view text) noexcept -> long {
    return call_again(SYS_write, fd, text.data(), text.size());
}

/// `process` is an entry of /proc: "self", or a pid.
template <Scope S>
[[nodiscard]] auto set_oom_score_adj(const Run<S>& run, std::string_view process) noexcept
    -> Result<void> {
    Subject path{process};
    path.append("/oom_score_adj");
    Subject text;
    text.append(std::int64_t{*run.plan.oom_score_adj});
    const long fd = open_at(run.proc.get(), path.c_str(), O_WRONLY);
    if (fd < 0) {
        return fail(Step::set_oom_score_adj, static_cast<int>(-fd), text.view());
    }
    const OwnedFd file{static_cast<int>(fd)};
    const long written = write_once(file.get(), text.view());
    if (written < 0) {
        return fail(Step::set_oom_score_adj, static_cast<int>(-written), text.view());
    }
    return {};
}

/// One line a clock, as time_namespaces(7) has it: name, seconds, nanoseconds from 0 to 10^9 - 1.
inline void append_offset(Subject& text, std::string_view clock, Duration offset) noexcept {
    const SecondsAndRest parts = split(offset);
    text.append(clock).append(parts.seconds).append(" ").append(parts.nanoseconds).append("\n");
}

template <Scope S>
[[nodiscard]] auto write_time_offsets(const Run<S>& run) noexcept -> Result<void> {
    Subject text;
    append_offset(text, "monotonic ", run.plan.time_offsets->monotonic);
    append_offset(text, "boottime ", run.plan.time_offsets->boottime);
    return outcome(Step::write_time_offsets, write_once(run.time_offsets.get(), text.view()));
}

/// Enters the time namespace that this process created: unshare makes it only for its children.
template <Scope S>
[[nodiscard]] auto enter_time(const Run<S>& run) noexcept -> Result<void> {
    const long fd = open_at(run.proc.get(), "self/ns/time_for_children", O_RDONLY);
    if (fd < 0) {
        return outcome(Step::enter_time, fd);
    }
    const OwnedFd space{static_cast<int>(fd)};
    return outcome(Step::enter_time, call(SYS_setns, space.get(), facts(Kind::time).clone_flag));
}

/// Unshares the kinds in one call. When that fails, one by one, to learn which one it was: the
/// process ends anyway.
[[nodiscard]] inline auto unshare_kinds(KindSet kinds) noexcept -> Result<void> {
    const long result = call(SYS_unshare, kinds.clone_flags());
    if (result == 0) {
        return {};
    }
    for (const Kind kind : kinds) {
        const long one = call(SYS_unshare, facts(kind).clone_flag);
        if (one < 0) {
            return outcome(create_step(kind), one);
        }
    }
    return outcome(create_step(*kinds.begin()), result);
}

/// Makes the calls, in their order.
[[nodiscard]] inline auto join_all(const JoinCalls& calls) noexcept -> Result<void> {
    KindSet joined;
    for (const JoinCall& join : calls.view()) {
        if (joined.contains(join.kinds)) {
            continue;
        }
        const long result = call(SYS_setns, join.fd, join.kinds.clone_flags());
        if (result == 0) {
            joined = joined | join.kinds;
        } else if (!join.may_wait || result != -EPERM) {
            return outcome(join_step(*join.kinds.begin()), result);
        }
    }
    return {};
}

/// A step of the first process, whichever that is.
template <Scope S>
[[nodiscard]] auto do_first_step(Run<S>& run, Step step) noexcept -> Result<void> {
    const auto& plan = run.plan;
    switch (step) {
    case Step::enter_cgroup:
        return run.cgroup_procs.ok() ? outcome(step, write_once(run.cgroup_procs.get(), "0"))
                                     : Result<void>{};
    case Step::set_oom_score_adj:
        if (plan.oom_score_adj && !run.route.oom_by_caller && !run.oom_is_set) {
            const Result<void> done = set_oom_score_adj(run, "self");
            run.oom_is_set = done && run.route.joiner == Joiner::caller_itself;
            return done;
        }
        return {};
    case Step::open_time_offsets:
        if (plan.time_offsets && !run.route.offsets_by_caller && !run.time_offsets.ok()) {
            const long fd = open_at(run.proc.get(), "self/timens_offsets", O_WRONLY);
            if (fd < 0) {
                return outcome(step, fd);
            }
            run.time_offsets.reset(static_cast<int>(fd));
        }
        return {};
    case Step::clear_dumpable:
        // On the caller's memory, the caller has done it already.
        return run.route.joiner == Joiner::none || run.route.joiner == Joiner::shares_memory
                   ? Result<void>{}
                   : outcome(step, set_dumpable(false));
    default:
        return {};
    }
}

[[nodiscard]] constexpr auto is_join(Step step) noexcept -> bool {
    return step >= Step::join_user && step <= Step::join_time;
}

/// The steps of the first process, up to the one that makes the child.
template <Scope S>
[[nodiscard]] auto do_first_steps(Run<S>& run) noexcept -> Result<void> {
    bool joined = false;
    for (const Step step : order(UserRights::taken)) {
        if (facts(step).actor != Actor::first) {
            continue;
        }
        if (step == Step::make_child) {
            break;
        }
        run.handover->step = step;
        Result<void> done;
        if (!is_join(step)) {
            done = do_first_step(run, step);
        } else if (!joined) {
            // The calls have an order of their own, made for this plan from the same constraints.
            joined = true;
            // A mount namespace moves root and working directory, also of who shares them.
            const bool own = run.route.joiner != Joiner::caller_itself;
            done = own ? Result<void>{} : outcome(step, call(SYS_unshare, clone_fs));
            done = done ? join_all(run.calls) : done;
        }
        if (!done) {
            return done;
        }
    }
    if (!run.route.time_by_joiner) {
        return {};
    }
    run.handover->step = Step::create_time;
    const Result<void> created = unshare_kinds(Kind::time);
    return created && run.plan.time_offsets ? write_time_offsets(run) : created;
}

/// Takes the caller's word to go on, and with it the file of the time offsets if it opened that.
template <Scope S>
[[nodiscard]] auto receive_go(Run<S>& run) noexcept -> bool {
    if (run.route.offsets_by_caller) {
        Result<OwnedFd> offsets = receive_descriptor(run.child_end.borrow());
        if (offsets) {
            run.time_offsets.reset(offsets->release());
        }
        return offsets.has_value();
    }
    Message message;
    return call_again(SYS_recvfrom, run.child_end.get(), &message, sizeof message, 0, nullptr,
                      nullptr) == sizeof message;
}

/// Waits until the caller says that the id maps are written. Ends when the caller does: the end
/// of the channel may be held open by somebody that the caller forked.
template <Scope S>
[[nodiscard]] auto await_caller(Run<S>& run) noexcept -> Result<void> {
    std::array<pollfd, 2> entries{pollfd{run.child_end.get(), POLLIN, 0},
                                  pollfd{run.caller_pidfd.get(), POLLIN, 0}};
    const long ready = call_again(SYS_ppoll, entries.data(), entries.size(), nullptr, nullptr, 0UL);
    if (ready < 0 || entries[0].revents == 0 || !receive_go(run)) {
        return fail(Step::await_maps, Reason::process_gone, "the caller");
    }
    return {};
}

template <Scope S>
[[nodiscard]] auto become_root(const Run<S>& run) noexcept -> Result<void> {
    Result<void> done = set_gid(*run.root_ids.gid);
    if (done) {
        done = set_uid(*run.root_ids.uid);
    }
    if (!done) {
        Error error = done.error();
        error.step = Step::become_root;
        return Unexpected{error};
    }
    return {};
}

[[nodiscard]] inline auto set_root(int directory) noexcept -> Result<void> {
    long result = call(SYS_fchdir, directory);
    if (result == 0) {
        result = call(SYS_chroot, ".");
    }
    return outcome(Step::set_root, result);
}

/// Changes the working directory, and refuses one that is outside of the root: from it, everything
/// outside could be reached (CVE-2024-21626). The kernel names such a one "(unreachable)…".
[[nodiscard]] inline auto set_working_directory(int directory) noexcept -> Result<void> {
    constexpr Step step = Step::set_working_directory;
    const long changed = call(SYS_fchdir, directory);
    if (changed != 0) {
        return outcome(step, changed);
    }
    std::array<char, 4096> name{};
    const long length = call(SYS_getcwd, name.data(), name.size());
    const bool too_long = length == -ENAMETOOLONG || length == -ERANGE;
    if (too_long || (length > 0 && name.front() != '/')) {
        return fail(step, Reason::outside_root);
    }
    if (length < 0) {
        return outcome(step, length);
    }
    return {};
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

/// The ids, each in its step.
template <Scope S>
[[nodiscard]] auto do_id_step(const Run<S>& run, Step step) noexcept -> Result<void> {
    if (run.ids == nullptr) {
        return {};
    }
    const Credentials& ids = *run.ids;
    switch (step) {
    case Step::set_groups:
        // Who enters another user namespace has every capability in it.
        return set_groups(ids.groups, run.route.user_changes);
    case Step::set_gid:
        return ids.gid ? set_gid(*ids.gid) : Result<void>{};
    case Step::set_uid:
        return ids.uid ? set_uid(*ids.uid) : Result<void>{};
    default:
        // Root of a user namespace that is not taken leaves less than was to be had.
        return run.executes && run.ids == &run.root_ids ? Result<void>{} : verify_ids(ids);
    }
}

template <Scope S>
[[nodiscard]] auto do_namespace_step(Run<S>& run, Step step) noexcept -> Result<void> {
    const bool own_time = run.route.by_unshare.contains(Kind::time);
    switch (step) {
    case Step::await_maps:
        return run.route.wait_for_caller ? await_caller(run) : Result<void>{};
    case Step::become_root:
        return run.route.become_root ? become_root(run) : Result<void>{};
    case Step::create_net: // the first of those that are unshared, all by one call
        return run.route.by_unshare.empty() ? Result<void>{} : unshare_kinds(run.route.by_unshare);
    case Step::write_time_offsets:
        return own_time && run.plan.time_offsets ? write_time_offsets(run) : Result<void>{};
    case Step::enter_time:
        return own_time ? enter_time(run) : Result<void>{};
    case Step::take_mount_sources:
        return run.plan.mount_sources.list.empty() ? Result<void>{} : take_sources(run);
    default:
        return {};
    }
}

template <Scope S>
[[nodiscard]] auto do_process_step(const Run<S>& run, Step step) noexcept -> Result<void> {
    const auto& plan = run.plan;
    switch (step) {
    case Step::new_session:
        return plan.new_session || plan.console.ok() ? outcome(step, call(SYS_setsid))
                                                     : Result<void>{};
    case Step::set_console:
        return plan.console.ok() ? take_console(plan.console) : Result<void>{};
    case Step::set_root:
        return plan.root.ok() ? set_root(plan.root.get()) : Result<void>{};
    case Step::set_working_directory:
        return plan.working_directory.ok() ? set_working_directory(plan.working_directory.get())
                                           : Result<void>{};
    case Step::set_name:
        return plan.name.empty()
                   ? Result<void>{}
                   : outcome(step, call(SYS_prctl, PR_SET_NAME, plan.name.c_str(), 0, 0, 0));
    case Step::clear_inheritable:
        // In another user namespace the kernel has emptied the set.
        return plan.keep_capabilities || run.route.user_changes ? Result<void>{}
                                                                : clear_inheritable();
    case Step::set_death_signal:
        return plan.death_signal == 0
                   ? Result<void>{}
                   : outcome(step, call(SYS_prctl, PR_SET_PDEATHSIG, plan.death_signal, 0, 0, 0));
    default:
        return {};
    }
}

/// The child's steps, in their order.
template <Scope S>
[[nodiscard]] auto do_child_steps(Run<S>& run) noexcept -> Result<void> {
    for (const Step step : order(UserRights::taken)) {
        if (facts(step).actor != Actor::child) {
            continue;
        }
        Result<void> done;
        if (step <= Step::take_mount_sources) {
            done = do_namespace_step(run, step);
        } else if (step >= Step::set_groups && step <= Step::verify_ids) {
            done = do_id_step(run, step);
        } else {
            done = do_process_step(run, step);
        }
        if (!done) {
            return done;
        }
    }
    return {};
}

static_assert(
    [] {
        for (const Step step : order(UserRights::taken)) {
            if (step >= Step::create_net && step <= Step::create_time) {
                return step == Step::create_net;
            }
        }
        return false;
    }(),
    "nsjoin: unshare is called at create_net, so that has to be the first of the created kinds");

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_STEPS_HPP
