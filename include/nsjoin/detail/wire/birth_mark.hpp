// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_BIRTH_MARK_HPP
#define NSJOIN_DETAIL_WIRE_BIRTH_MARK_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/text.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <sys/stat.h>

// By what a supervisor knows a child that nobody told it of, and that has ended already. The joiner
// makes it with CLONE_PARENT, so that it is the supervisor's; but so may be any other process whose
// parent has ended. A process that has ended shows neither descriptors nor namespaces any more. Its
// limits it shows until it is waited for, clone(2) passes them on, and one of them, RLIMIT_LOCKS,
// has had no effect since Linux 2.4.25. So the joiner sets that to the number of the socket that it
// shares with its supervisor, and the child sets it back as soon as it has been told of.

namespace nsjoin::inline v0_1::detail {

inline constexpr int rlimit_locks = 10;

/// The limit that stands for the socket: its number, behind "nsjo", which nobody's limit begins by.
[[nodiscard]] constexpr auto mark_of(ino_t socket) noexcept -> std::uint64_t {
    return 0x6e73'6a6f'0000'0000U | (std::uint64_t{socket} & 0xffff'ffffU);
}

/// The mark on the calling process. What can't be marked goes without one: its supervisor then
/// leaves a child that died untold to whoever waits for it.
class BirthMark {
  public:
    /// Marks the process as one that has this socket. prlimit(2).
    void put(BorrowedFd socket) noexcept {
        struct stat about {};

        if (::fstat(socket.get(), &about) != 0 ||
            call(SYS_prlimit64, 0, rlimit_locks, nullptr, &before_) != 0) {
            return;
        }
        const Limit marked{mark_of(about.st_ino), before_.most};
        there_ = call(SYS_prlimit64, 0, rlimit_locks, &marked, nullptr) == 0;
    }

    /// The limit is as it was before.
    void remove() noexcept {
        if (there_) {
            (void)call(SYS_prlimit64, 0, rlimit_locks, &before_, nullptr);
            there_ = false;
        }
    }

  private:
    /// struct rlimit64.
    struct Limit {
        std::uint64_t now = 0;
        std::uint64_t most = 0;
    };

    Limit before_;
    bool there_ = false;
};

/// Whether the process, by its number in that /proc, has the mark of the socket; it may have ended.
[[nodiscard]] inline auto has_birth_mark(BorrowedFd proc, pid_t pid, ino_t socket) noexcept
    -> bool {
    const SmallPath path = SmallPath{""}.append(pid).append("/limits");
    const OwnedFd file{static_cast<int>(open_at(proc.get(), path.c_str(), O_RDONLY))};
    std::array<char, 4096> buffer{};
    const long length = call_again(SYS_read, file.get(), buffer.data(), buffer.size());
    const std::string_view text{buffer.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
    constexpr std::string_view label = "\nMax file locks ";
    const std::size_t at = text.find(label);
    std::string_view rest = after(text, at == std::string_view::npos ? text.size() : at);
    rest = after(rest, label.size());
    while (!rest.empty() && rest.front() == ' ') {
        rest.remove_prefix(1);
    }
    std::uint64_t soft = 0;
    return parse_number(take_until(rest, ' '), soft) && soft == mark_of(socket);
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_BIRTH_MARK_HPP
