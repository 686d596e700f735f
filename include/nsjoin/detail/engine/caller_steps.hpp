// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_CALLER_STEPS_HPP
#define NSJOIN_DETAIL_ENGINE_CALLER_STEPS_HPP

#include <nsjoin/detail/engine/id_maps.hpp>
#include <nsjoin/detail/engine/steps.hpp>

#include <sys/vfs.h>

// What the caller does, a function a step, beside making processes.

namespace nsjoin::inline v0_1::detail {

[[nodiscard]] inline auto check_console(BorrowedFd console) noexcept -> Result<void> {
    std::array<std::uint32_t, 16> settings{}; // struct termios of the kernel: at most 44 bytes
    const long result = call(SYS_ioctl, console.get(), 0x5401 /* TCGETS */, settings.data());
    if (result == 0) {
        return {};
    }
    Error error{Step::check_console, result == -ENOTTY ? Reason::not_a_terminal : Reason::system,
                static_cast<std::int32_t>(-result), Subject{"descriptor "}};
    error.subject.append(std::int64_t{console.get()});
    return Unexpected{error};
}

/// /proc, unless it was opened before. One of an outer pid namespace will do, in which processes
/// have other numbers, but for an opener of mount sources, who knows the child by its number.
[[nodiscard]] inline auto open_proc_of(Run& run) noexcept -> Result<void> {
    if (run.proc.ok()) {
        return {};
    }
    Result<OwnedFd> proc = open_proc();
    const long ours = proc ? proc_calls_us(proc->get(), ::getpid()) : 1;
    if (ours != 1) {
        run.numbers_differ = true;
        if (!run.plan.mount_sources.list.empty() || !has_entry(*proc, "self/stat")) {
            return foreign_proc(ours);
        }
    }
    if (!proc) {
        proc.error().step = Step::open_proc;
        return Unexpected{proc.error()};
    }
    run.own_proc.reset(proc->release());
    run.proc = run.own_proc.borrow();
    return {};
}

/// Whether a cgroup of a v1 freezer is frozen, by itself or by one above: what enters it can't be
/// ended any more.
[[nodiscard]] inline auto is_frozen(BorrowedFd cgroup) noexcept -> bool {
    const OwnedFd file{static_cast<int>(open_at(cgroup.get(), "freezer.state", O_RDONLY))};
    std::array<char, 16> state{};
    const long length =
        file.ok() ? call_again(SYS_read, file.get(), state.data(), state.size()) : -1;
    return length > 0 && state.front() == 'F'; // FROZEN or FREEZING, not THAWED
}

/// cgroup.procs of a cgroup, for hierarchies and kernels that clone3 can't place into. Errors:
/// not_a_cgroup; frozen; those of fstatfs(2) and open(2).
[[nodiscard]] inline auto open_procs(BorrowedFd cgroup) noexcept -> Result<OwnedFd> {
    struct statfs about {};

    if (::fstatfs(cgroup.get(), &about) != 0) {
        return fail(Step::open_cgroup, errno);
    }
    const auto magic = static_cast<std::uint64_t>(about.f_type);
    if (magic != cgroup_super_magic && magic != cgroup2_super_magic) {
        return fail(Step::open_cgroup, Reason::not_a_cgroup);
    }
    if (magic == cgroup_super_magic && is_frozen(cgroup)) {
        return fail(Step::open_cgroup, Reason::frozen);
    }
    return open_owned(Step::open_cgroup, cgroup.get(), "cgroup.procs", O_WRONLY);
}

/// Whether the hierarchy of the last one is that of an earlier one: a process is in one cgroup of
/// each.
[[nodiscard]] inline auto is_of_earlier(std::span<const BorrowedFd> cgroups) noexcept -> bool {
    struct stat last {};

    struct stat other {};

    if (::fstat(cgroups.back().get(), &last) != 0) {
        return false; // to open it will say why
    }
    for (const BorrowedFd earlier : cgroups.first(cgroups.size() - 1)) {
        if (::fstat(earlier.get(), &other) == 0 && other.st_dev == last.st_dev) {
            return true;
        }
    }
    return false;
}

/// Opens those of the plan's cgroups that no clone enters.
[[nodiscard]] inline auto open_cgroup(Attempt& attempt) noexcept -> Result<void> {
    const Draft& plan = attempt.run.plan;
    std::array<BorrowedFd, most_cgroups> all{plan.cgroup};
    std::size_t count = 1;
    for (const BorrowedFd more : plan.more_cgroups) {
        all[count] = more;
        count += more.ok() ? 1U : 0U;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (i != 0 && is_of_earlier(std::span{all}.first(i + 1))) {
            Subject subject{"two of one hierarchy, descriptor "};
            subject.append(std::int64_t{all[i].get()});
            return fail(Step::open_cgroup, Reason::bad_value, subject.view());
        }
        if (i == 0 && attempt.schedule.born_in_cgroup()) {
            continue;
        }
        Result<OwnedFd> procs = open_procs(all[i]);
        if (!procs) {
            return Unexpected{procs.error()};
        }
        attempt.cgroup_procs[i] = *std::move(procs);
    }
    return {};
}

[[nodiscard]] inline auto pin_caller(Attempt& attempt) noexcept -> Result<void> {
    const long self = call(SYS_pidfd_open, ::getpid(), 0U);
    attempt.caller_pidfd.reset(static_cast<int>(self < 0 ? -1 : self));
    return outcome(Step::pin_caller, self);
}

[[nodiscard]] inline auto make_channel(Attempt& attempt) noexcept -> Result<void> {
    std::array<int, 2> ends{-1, -1};
    const long result =
        call(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data());
    if (result != 0) {
        return outcome(Step::make_channel, result);
    }
    attempt.caller_end.reset(ends[0]);
    attempt.child_end.reset(ends[1]);
    return {};
}

/// Opens the file of the child's time offsets, which it could not open by itself.
[[nodiscard]] inline auto open_childs_offsets(Attempt& attempt) noexcept -> Result<void> {
    Result<OwnedFd> offsets = open_child_file(Step::open_time_offsets, attempt, "timens_offsets");
    if (!offsets) {
        return Unexpected{offsets.error()};
    }
    attempt.run.time_offsets = *std::move(offsets);
    return {};
}

/// Tells the child to go on, and gives it the file of its time offsets where it could not open it.
[[nodiscard]] inline auto tell_to_go_on(const Attempt& attempt) noexcept -> Result<void> {
    long sent = 0;
    if (attempt.schedule.roles.offsets_by_caller) {
        const Result<void> given =
            send_descriptor(attempt.caller_end.borrow(), attempt.run.time_offsets.borrow());
        sent = given ? 0 : -given.error().code;
    } else {
        const Message go;
        sent = call_again(SYS_sendto, attempt.caller_end.get(), &go, sizeof go, MSG_NOSIGNAL,
                          nullptr, 0);
    }
    if (sent == -EPIPE) { // of a child that has ended, the report tells more; another one now ends
        (void)call(SYS_shutdown, attempt.caller_end.get(), SHUT_WR);
        return {};
    }
    return outcome(Step::await_maps, sent);
}

/// Waits until the child is through. Whoever asked for it hears of the child first, but of one that
/// still has to join.
[[nodiscard]] inline auto hear_report(Attempt& attempt) noexcept -> Result<void> {
    const RunOptions& options = attempt.run.options;
    Result<void> done;
    if (options.announce != nullptr && !attempt.schedule.roles.child_is_first()) {
        done = options.announce(options.announcer, attempt.child);
    }
    return done ? await_record(attempt) : done;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_CALLER_STEPS_HPP
