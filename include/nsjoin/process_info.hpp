// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PROCESS_INFO_HPP
#define NSJOIN_PROCESS_INFO_HPP

#include <nsjoin/detail/namespace_entry.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <cstdint>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/types.h>

namespace nsjoin::inline v0_1 {

/// What the kernel tells of a process: its numbers and ids as the caller's namespaces have them. A
/// value, true at the moment it was asked.
struct ProcessInfo {
    pid_t pid = 0;
    pid_t parent = 0; ///< 0 if it is in another pid namespace
    uid_t real_uid = 0;
    uid_t effective_uid = 0;
    uid_t saved_uid = 0;
    gid_t real_gid = 0;
    gid_t effective_gid = 0;
    gid_t saved_gid = 0;
    /// The inode number of its cgroup's directory of the v2 hierarchy; Linux 6.13.
    std::optional<std::uint64_t> cgroup_id{};

    /// That of a process, by its pidfd alone: ioctl_pidfd(2) PIDFD_GET_INFO (Linux 6.13); before,
    /// or where a filter denies it, /proc/PID/status and a second look at the pidfd. Errors:
    /// process_gone if it has ended and was waited for (on the way by /proc, if it has ended);
    /// not_procfs; EREMOTE for a process outside the caller's pid namespace; those of open(2) and
    /// read(2).
    [[nodiscard]] static auto of(const PidFd& process) noexcept -> Result<ProcessInfo> {
        detail::PidfdInfo info;
        info.mask = detail::pidfd_info_ids | detail::pidfd_info_cgroup;
        const long result =
            detail::call(SYS_ioctl, process.fd().get(), detail::pidfd_get_info, &info);
        if (result == 0 && (info.mask & detail::pidfd_info_ids) == detail::pidfd_info_ids) {
            return from(info);
        }
        if (result == -ESRCH || result == 0) {
            return detail::fail(Step::read_credentials,
                                detail::why_gone(process.fd(), process.pid()));
        }
        if (!detail::is_unknown_request(result)) {
            return detail::fail(Step::read_credentials, static_cast<int>(-result));
        }
        return by_proc(process);
    }

    [[nodiscard]] friend auto operator==(const ProcessInfo&, const ProcessInfo&) noexcept
        -> bool = default;

  private:
    [[nodiscard]] static auto from(const detail::PidfdInfo& info) noexcept -> ProcessInfo {
        ProcessInfo of{.pid = static_cast<pid_t>(info.tgid),
                       .parent = static_cast<pid_t>(info.ppid),
                       .real_uid = info.ids[0],
                       .effective_uid = info.ids[2],
                       .saved_uid = info.ids[4],
                       .real_gid = info.ids[1],
                       .effective_gid = info.ids[3],
                       .saved_gid = info.ids[5]};
        if ((info.mask & detail::pidfd_info_cgroup) != 0) {
            of.cgroup_id = info.cgroup_id;
        }
        return of;
    }

    [[nodiscard]] static auto by_proc(const PidFd& process) noexcept -> Result<ProcessInfo> {
        constexpr Step step = Step::read_credentials;
        const auto proc = detail::open_proc();
        if (!proc) {
            return Unexpected{proc.error()};
        }
        int pid = 0;
        if (const auto found = detail::find_in_proc(*proc, process.fd(), pid); !found) {
            return Unexpected{found.error()};
        }
        const auto path = detail::SmallPath{""}.append(pid).append("/status");
        const auto file = detail::open_owned(step, proc->get(), path.c_str(), O_RDONLY);
        std::array<char, 4096> text{};
        const long length =
            file ? detail::call_again(SYS_read, file->get(), text.data(), text.size()) : 0;
        if (!process.alive()) { // while it is there, the number is its own
            return detail::fail(step, Reason::process_gone);
        }
        if (!file) {
            return Unexpected{file.error()};
        }
        if (length < 0) {
            return detail::fail(step, static_cast<int>(-length));
        }
        return from_status({text.data(), static_cast<std::size_t>(length)}, pid);
    }

    [[nodiscard]] static auto from_status(std::string_view text, pid_t pid) noexcept
        -> Result<ProcessInfo> {
        ProcessInfo of;
        of.pid = pid;
        const auto number = [](std::string_view& rest, std::uint32_t& value) {
            std::uint64_t read = 0;
            const std::string_view word = detail::take_until(rest, '\t');
            for (const char c : word) {
                read = read * 10 + static_cast<unsigned>(c - '0');
            }
            value = static_cast<std::uint32_t>(read);
            return !word.empty();
        };
        const auto line = [text](std::string_view key) {
            const std::size_t at = text.find(key);
            std::string_view rest = at == std::string_view::npos
                                        ? std::string_view{}
                                        : detail::after(text, at + key.size());
            return detail::take_until(rest, '\n');
        };
        std::string_view parent = line("\nPPid:\t");
        std::string_view uids = line("\nUid:\t");
        std::string_view gids = line("\nGid:\t");
        std::uint32_t parent_pid = 0;
        const bool read = number(parent, parent_pid) && number(uids, of.real_uid) &&
                          number(uids, of.effective_uid) && number(uids, of.saved_uid) &&
                          number(gids, of.real_gid) && number(gids, of.effective_gid) &&
                          number(gids, of.saved_gid);
        of.parent = static_cast<pid_t>(parent_pid);
        return read ? Result<ProcessInfo>{of}
                    : Result<ProcessInfo>{detail::fail(Step::read_credentials, ENODATA)};
    }
};

} // namespace nsjoin

#endif // NSJOIN_PROCESS_INFO_HPP
