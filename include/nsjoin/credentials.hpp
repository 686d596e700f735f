// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CREDENTIALS_HPP
#define NSJOIN_CREDENTIALS_HPP

#include <nsjoin/detail/kernel/proc.hpp>
#include <nsjoin/fd.hpp>
#include <nsjoin/groups.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <utility>

namespace nsjoin::inline v0_1 {

/// The ids of a process, as its user namespace numbers them. An id that is not named stays.
struct Credentials {
    std::optional<uid_t> uid{}; ///< real, effective and saved uid
    std::optional<gid_t> gid{}; ///< real, effective and saved gid
    Groups groups{};

    [[nodiscard]] friend auto operator==(const Credentials&, const Credentials&) noexcept
        -> bool = default;
};

namespace detail {

[[nodiscard]] inline auto id_error(Step step, long code, std::string_view what,
                                   std::int64_t id) noexcept -> Unexpected {
    // The kernel says EINVAL for an id that the user namespace's maps do not have.
    const Reason reason = code == -EINVAL ? Reason::id_not_mapped
                          : code == 0     ? Reason::ids_differ
                                          : Reason::system;
    Error error{step, reason, static_cast<std::int32_t>(-code), Subject{what}};
    error.subject.append(id);
    return Unexpected{error};
}

/// Whether the calling thread has `capability` in its own user namespace, effective. capget(2).
[[nodiscard]] inline auto has_capability(unsigned capability) noexcept -> bool {
    CapHeader header;
    std::array<CapData, 2> data{};
    return call(SYS_capget, &header, data.data()) == 0 &&
           (data[capability / 32].effective >> (capability % 32) & 1U) != 0;
}

[[nodiscard]] inline auto check_group_count(Step step, const Groups& groups) noexcept
    -> Result<void> {
    if (groups.ids().size() <= Groups::most) {
        return {};
    }
    Subject subject{"a process has at most 65536 groups, not "};
    subject.append(static_cast<std::int64_t>(groups.ids().size()));
    return Unexpected{Error{step, Reason::bad_value, 0, subject}};
}

/// Whether the calling thread's user namespace denies setgroups(2), or where that stands.
enum class Denied : std::uint8_t {
    ask,     ///< in what is at /proc: after a mount namespace was joined, that may show anything
    unknown, ///< nowhere: ENODATA
    yes,
    no,
};

struct SetgroupsDenied {
    Denied denied = Denied::ask;
    BorrowedFd proc{}; ///< if open, the /proc to ask: from before a mount namespace was joined
};

/// Whether it is denied. Errors, as of `step`: not_procfs; those of open(2) and read(2); ENODATA.
[[nodiscard]] inline auto setgroups_is_denied(Step step, const SetgroupsDenied& where) noexcept
    -> Result<bool> {
    if (where.denied != Denied::ask) {
        return where.denied == Denied::unknown
                   ? Result<bool>{fail(step, ENODATA, "whether it is denied")}
                   : Result<bool>{where.denied == Denied::yes};
    }
    const long here = where.proc.ok() ? -1 : open_proc_directory();
    const OwnedFd opened{here < 0 ? -1 : static_cast<int>(here)};
    const int proc = where.proc.ok() ? where.proc.get() : opened.get();
    const long denied = proc < 0 ? here : proc_denies_setgroups(proc);
    if (denied == -ENODEV) {
        return fail(step, Reason::not_procfs, "/proc");
    }
    if (denied < 0) {
        return fail(step, static_cast<int>(-denied), "/proc/thread-self/setgroups");
    }
    return denied == 1;
}

/// What is to be done where setgroups(2) was refused (EPERM) to a process that has CAP_SETGID: if
/// the user namespace denies it, groups that are to be dropped may stay.
[[nodiscard]] inline auto judge_refused_groups(bool dropped, const SetgroupsDenied& where) noexcept
    -> Result<void> {
    const Result<bool> denied = setgroups_is_denied(Step::set_groups, where);
    if (!denied) {
        return Unexpected{denied.error()};
    }
    if (!*denied) {
        return fail(Step::set_groups, EPERM, "the user namespace does not deny it");
    }
    return dropped ? Result<void>{} : fail(Step::set_groups, Reason::groups_denied);
}

/// Sets or drops the groups. `entitled`: the process surely has CAP_SETGID.
[[nodiscard]] inline auto set_groups(const Groups& groups, bool entitled = false,
                                     const SetgroupsDenied& where = {}) noexcept -> Result<void> {
    if (groups.kept()) {
        return {};
    }
    if (const Result<void> few = check_group_count(Step::set_groups, groups); !few) {
        return few;
    }
    const long result = call(SYS_setgroups, groups.ids().size(), groups.ids().data());
    if (result == 0) {
        return {};
    }
    if (result == -EPERM && (entitled || has_capability(cap_setgid))) {
        return judge_refused_groups(groups.dropped(), where);
    }
    if (result == -EINVAL && !groups.ids().empty()) {
        return id_error(Step::set_groups, result, "one of the groups, the first is gid ",
                        groups.ids().front());
    }
    return fail(Step::set_groups, static_cast<int>(-result));
}

[[nodiscard]] inline auto set_gid(gid_t gid) noexcept -> Result<void> {
    const long result = call(SYS_setresgid, gid, gid, gid);
    return result == 0 ? Result<void>{} : id_error(Step::set_gid, result, "gid ", gid);
}

[[nodiscard]] inline auto set_uid(uid_t uid) noexcept -> Result<void> {
    const long result = call(SYS_setresuid, uid, uid, uid);
    return result == 0 ? Result<void>{} : id_error(Step::set_uid, result, "uid ", uid);
}

/// Keeps a process that is not dumpable as it is over a change of ids, after which the kernel gives
/// it what fs.suid_dumpable says, which may let others trace it. prctl(2).
class StaysNotDumpable {
  public:
    StaysNotDumpable() noexcept : before_{call(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0)} {}

    [[nodiscard]] auto again() const noexcept -> Result<void> {
        const long cleared = before_ == 1 ? 0 : call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
        return cleared == 0 ? Result<void>{}
                            : fail(Step::clear_dumpable, static_cast<int>(-cleared));
    }

  private:
    long before_;
};

/// Where the first id of the sorted list is that is not below `gid`.
[[nodiscard]] inline auto lower_bound(std::span<const gid_t> list, gid_t gid) noexcept
    -> std::size_t {
    std::size_t low = 0;
    for (std::size_t high = list.size(); low < high;) {
        const std::size_t middle = low + (high - low) / 2;
        (list[middle] < gid ? low : high) = list[middle] < gid ? middle + 1 : middle;
    }
    return low;
}

/// Whether the kernel's list, which is sorted, has each of the ids as often as `wanted`, which has
/// the same size. `used` counts, where a gid begins in the list, how many of it were found.
[[nodiscard]] inline auto same_groups(std::span<const gid_t> list, std::span<gid_t> used,
                                      std::span<const gid_t> wanted) noexcept -> bool {
    for (const gid_t gid : wanted) {
        const std::size_t first = lower_bound(list, gid);
        if (first == list.size() || first + used[first] >= list.size() ||
            list[first + used[first]] != gid) {
            return false;
        }
        ++used[first];
    }
    return true;
}

[[nodiscard]] inline auto groups_differ() noexcept -> Unexpected {
    return fail(Step::verify_ids, Reason::ids_differ, "the groups");
}

/// Compares the groups with the wanted ones, of which there are some.
[[nodiscard]] inline auto verify_list(std::span<const gid_t> wanted) noexcept -> Result<void> {
    // No malloc: another thread may have held its lock when this process was made.
    const std::size_t size = 2 * wanted.size_bytes();
    void* const memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) { // NOLINT(*-cast,performance-no-int-to-ptr)
        return fail(Step::verify_ids, ENOMEM, "the groups");
    }
    const std::span<gid_t> both{static_cast<gid_t*>(memory), 2 * wanted.size()};
    const std::span<gid_t> list = both.first(wanted.size());
    const bool same =
        call(SYS_getgroups, list.size(), list.data()) == static_cast<long>(wanted.size()) &&
        same_groups(list, both.last(wanted.size()), wanted);
    (void)::munmap(memory, size);
    return same ? Result<void>{} : groups_differ();
}

/// Whether no groups are left, or the user namespace denies to drop them.
[[nodiscard]] inline auto verify_no_groups(const SetgroupsDenied& where) noexcept -> Result<void> {
    if (call(SYS_getgroups, 0, nullptr) == 0) {
        return {};
    }
    const Result<bool> denied = setgroups_is_denied(Step::verify_ids, where);
    if (!denied) {
        return Unexpected{denied.error()};
    }
    return *denied ? Result<void>{} : groups_differ();
}

/// Compares the groups with what they should be.
[[nodiscard]] inline auto verify_groups(const Groups& wanted,
                                        const SetgroupsDenied& where = {}) noexcept
    -> Result<void> {
    if (!wanted.ids().empty()) {
        return verify_list(wanted.ids());
    }
    if (wanted.kept()) {
        return {};
    }
    if (wanted.dropped()) {
        return verify_no_groups(where);
    }
    return call(SYS_getgroups, 0, nullptr) == 0 ? Result<void>{} : groups_differ();
}

/// Compares what the kernel says the ids are, real, effective and saved, with what they should be.
/// `number` is that of getresuid(2) or getresgid(2).
[[nodiscard]] inline auto verify_id(long number, std::string_view what, uid_t wanted) noexcept
    -> Result<void> {
    uid_t real = 0;
    uid_t effective = 0;
    uid_t saved = 0;
    const long result = call(number, &real, &effective, &saved);
    if (result != 0 || real != wanted || effective != wanted || saved != wanted) {
        return id_error(Step::verify_ids, result, what, wanted);
    }
    return {};
}

/// Compares the ids with what they should be.
[[nodiscard]] inline auto verify_ids(const Credentials& wanted,
                                     const SetgroupsDenied& where = {}) noexcept -> Result<void> {
    Result<void> same;
    if (wanted.gid) {
        same = verify_id(SYS_getresgid, "gid ", *wanted.gid);
    }
    if (same && wanted.uid) {
        same = verify_id(SYS_getresuid, "uid ", *wanted.uid);
    }
    return same ? verify_groups(wanted.groups, where) : same;
}

/// Leaves a user that is not root no capability. The kernel takes them away with root's id, but not
/// where securebits or PR_SET_KEEPCAPS that were inherited keep it from that, nor from one who had
/// them without being root. capset(2).
[[nodiscard]] inline auto give_up_capabilities(const Credentials& wanted) noexcept -> Result<void> {
    if (!wanted.uid || *wanted.uid == 0) {
        return {};
    }
    CapHeader header;
    const std::array<CapData, 2> none{};
    const long result = call(SYS_capset, &header, none.data());
    return result == 0 ? Result<void>{}
                       : fail(Step::verify_ids, static_cast<int>(-result), "the capabilities");
}

/// Drops the groups in a user namespace that the process has all rights in.
[[nodiscard]] inline auto drop_groups_inside(const SetgroupsDenied& where) noexcept
    -> Result<void> {
    const long dropped = call(SYS_setgroups, 0, nullptr);
    if (dropped == -EPERM) {
        return call(SYS_getgroups, 0, nullptr) == 0 ? Result<void>{}
                                                    : judge_refused_groups(true, where);
    }
    return dropped == 0 ? Result<void>{} : fail(Step::set_groups, static_cast<int>(-dropped));
}

/// Compares the ids with 0:0 without groups.
[[nodiscard]] inline auto verify_root_inside(const SetgroupsDenied& where) noexcept
    -> Result<void> {
    Result<void> same = verify_id(SYS_getresgid, "gid ", 0);
    same = same ? verify_id(SYS_getresuid, "uid ", 0) : same;
    return same ? verify_no_groups(where) : same;
}

/// become() of 0:0 without groups, in a user namespace that has just been joined, where the process
/// has all rights.
[[nodiscard]] inline auto become_root_inside(const SetgroupsDenied& where = {}) noexcept
    -> Result<void> {
    const StaysNotDumpable flag;
    Result<void> done = drop_groups_inside(where);
    done = done ? set_gid(0) : done;
    done = done ? set_uid(0) : done;
    done = done ? flag.again() : done;
    return done ? verify_root_inside(where) : done;
}

} // namespace detail

/// Whether who becomes another user than root keeps the capabilities that the kernel leaves it.
enum class KeepCapabilities : bool { no, yes };

/// Takes the ids: setgroups(2), then setresgid(2), then setresuid(2), then verifies them. For a
/// child that has something privileged to do before it gives its rights up. Moves only the calling
/// thread (the libc's wrappers would signal the others); async-signal-safe. A process that is not
/// dumpable stays so, whatever fs.suid_dumpable says; one that becomes another user than root has
/// no capability then, whatever securebits it has, unless it is to keep them.
///
/// `proc` is a descriptor of /proc, where it is read whether the user namespace denies
/// setgroups(2): after a mount namespace was joined, one from before. None: what is at /proc.
/// Borrowed.
///
/// Errors: id_not_mapped; groups_denied if groups are named where setgroups is denied; bad_value
/// for more groups than a process can have; ids_differ; EPERM, also where a seccomp filter refuses
/// setgroups and the user namespace does not; not_procfs, if /proc can't say whether it does.
[[nodiscard]] inline auto become(const Credentials& credentials, BorrowedFd proc = {},
                                 KeepCapabilities keep = KeepCapabilities::no) noexcept
    -> Result<void> {
    const detail::StaysNotDumpable flag;
    const detail::SetgroupsDenied where{detail::Denied::ask, proc};
    Result<void> done = detail::set_groups(credentials.groups, false, where);
    if (done && credentials.gid) {
        done = detail::set_gid(*credentials.gid);
    }
    if (done && credentials.uid) {
        done = detail::set_uid(*credentials.uid);
    }
    done = done ? flag.again() : done;
    if (done && keep == KeepCapabilities::no) {
        done = detail::give_up_capabilities(credentials);
    }
    return done ? detail::verify_ids(credentials, where) : done;
}

} // namespace nsjoin

#endif // NSJOIN_CREDENTIALS_HPP
