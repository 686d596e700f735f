// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_SUBORDINATE_IDS_HPP
#define NSJOIN_SUBORDINATE_IDS_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/id_map.hpp>

#include <array>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <pwd.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace nsjoin::inline v0_1 {

/// Ids one after the other.
struct IdRange {
    std::uint32_t first = 0;
    std::uint32_t count = 0;

    [[nodiscard]] friend constexpr auto operator==(IdRange, IdRange) noexcept -> bool = default;
};

namespace detail {

/// All of a file. Error: of the system call.
[[nodiscard]] inline auto read_file(Step step, const char* path) -> Result<std::string> {
    const auto file = open_owned(step, AT_FDCWD, path, O_RDONLY);
    if (!file) {
        return Unexpected{file.error()};
    }
    std::string text;
    std::array<char, 4096> part{};
    for (;;) {
        const long length = call_again(SYS_read, file->get(), part.data(), part.size());
        if (length < 0) {
            return fail(step, static_cast<int>(-length), path);
        }
        if (length == 0) {
            return text;
        }
        text.append(part.data(), static_cast<std::size_t>(length));
    }
}

/// The user's name by passwd(5) or what else the system asks for it; empty if it has none.
[[nodiscard]] inline auto name_of_user(uid_t uid) -> Result<std::string> {
    std::vector<char> buffer(1024);
    for (;;) {
        passwd entry{};
        passwd* found = nullptr;
        const int failed = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
        if (failed == EMFILE || failed == ENFILE || failed == ENOMEM || failed == EIO) {
            return fail(Step::read_subordinate_ids, failed, "the user's name");
        }
        if (failed != ERANGE) {
            return found != nullptr ? std::string{found->pw_name} : std::string{};
        }
        buffer.resize(buffer.size() * 2);
    }
}

/// The decimal number that the text is, as the programs that read these files take it.
[[nodiscard]] inline auto parse_id(std::string_view text, std::uint64_t& value) noexcept -> bool {
    value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, static_cast<unsigned>(c - '0'), &value)) {
            return false;
        }
    }
    return !text.empty();
}

/// Who gives subordinate ids, by nsswitch.conf(5), if it is not the files.
[[nodiscard]] inline auto other_source(std::string_view nsswitch) -> std::string {
    while (!nsswitch.empty()) {
        const std::string_view line = take_until(nsswitch, '\n');
        if (!line.starts_with("subid:")) {
            continue;
        }
        std::string_view rest = line.substr(6);
        rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
        const std::string source{rest.substr(0, rest.find_first_of(" \t#"))};
        return source == "files" ? std::string{} : source;
    }
    return {};
}

/// One line's range, if it is the user's. Errors: bad_value for a range that no id can be of.
[[nodiscard]] inline auto range_of_line(std::string_view line, std::string_view name, uid_t uid,
                                        IdRange& range) -> Result<bool> {
    const std::string_view whole = line;
    const std::string_view owner = take_until(line, ':');
    const std::string_view first_text = take_until(line, ':');
    std::uint64_t number = 0;
    const bool by_number = parse_id(owner, number) && number == uid;
    if (owner.empty() || !(owner == name || by_number)) {
        return false;
    }
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    if (!parse_id(first_text, first) || !parse_id(line, count) || count == 0) {
        return false; // as the other readers of the file do
    }
    constexpr std::uint64_t end = 0xFFFF'FFFF; // no id
    if (first >= end || count > end - first) {
        return fail(Step::read_subordinate_ids, Reason::map_overflow, whole);
    }
    range = {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count)};
    return true;
}

/// The ranges that a file gives a user.
[[nodiscard]] inline auto subordinate_ids(const char* path, uid_t uid)
    -> Result<std::vector<IdRange>> {
    constexpr Step step = Step::read_subordinate_ids;
    const auto nsswitch = read_file(step, "/etc/nsswitch.conf");
    if (const std::string source = nsswitch ? other_source(*nsswitch) : ""; !source.empty()) {
        return fail(step, Reason::no_subordinate_ids,
                    Subject{"nsswitch.conf has them from "}.append(source).view());
    }
    const auto text = read_file(step, path);
    if (!text) {
        return Unexpected{text.error()};
    }
    const auto looked_up = name_of_user(uid);
    if (!looked_up) {
        return Unexpected{looked_up.error()};
    }
    const std::string& name = *looked_up;
    std::vector<IdRange> ranges;
    for (std::string_view rest{*text}; !rest.empty();) {
        IdRange range;
        const Result<bool> own = range_of_line(take_until(rest, '\n'), name, uid, range);
        if (!own) {
            return Unexpected{own.error()};
        }
        if (*own) {
            ranges.push_back(range);
        }
    }
    if (ranges.empty()) {
        Subject subject{path};
        subject.append(" for ").append(name.empty() ? std::string_view{"uid "} : name);
        if (name.empty()) {
            subject.append(std::int64_t{uid});
        }
        return fail(step, Reason::no_subordinate_ids, subject.view());
    }
    return ranges;
}

/// The caller's own id as 0, and behind it the ranges, one after the other.
[[nodiscard]] inline auto map_of_ranges(std::uint32_t own, const std::vector<IdRange>& ranges)
    -> Result<IdMap> {
    std::vector<IdExtent> extents{{0, own, 1}};
    std::uint64_t inside = 1;
    for (const IdRange& range : ranges) {
        if (inside + range.count > 0xFFFF'FFFF) {
            break; // there is no number left for the others
        }
        extents.push_back({static_cast<std::uint32_t>(inside), range.first, range.count});
        inside += range.count;
    }
    return IdMap::from(extents);
}

} // namespace detail

/// The ranges of subordinate uids that a user has in /etc/subuid, in the order of the file: every
/// line with the user's name, or its number. A line that is not NAME:FIRST:COUNT, in plain decimal
/// numbers, is none. The name is looked up by getpwuid_r(3), which may load libraries: not in a
/// process that has joined a mount namespace.
/// Allocates. Errors: those of open(2) and read(2), with the path; no_subordinate_ids if there is
/// no such line, or nsswitch.conf(5) says that they come from elsewhere; map_overflow for a range
/// past the last id. subuid(5).
[[nodiscard]] inline auto subordinate_uids(uid_t owner = ::geteuid())
    -> Result<std::vector<IdRange>> {
    return detail::subordinate_ids("/etc/subuid", owner);
}

/// The ranges of subordinate gids of that user (not group), in /etc/subgid: otherwise as
/// subordinate_uids(). subgid(5).
[[nodiscard]] inline auto subordinate_gids(uid_t owner = ::geteuid())
    -> Result<std::vector<IdRange>> {
    return detail::subordinate_ids("/etc/subgid", owner);
}

/// The user namespace of a rootless container: 0 is the caller's own id, and from 1 on come all its
/// subordinate ids. A plan writes these maps by newuidmap(1) and newgidmap(1). Allocates. Errors:
/// those of subordinate_uids() and subordinate_gids(), and of IdMap::from() for ranges that overlap
/// each other or the own id, or that are more than 339.
[[nodiscard]] inline auto rootless_user() -> Result<NewUser> {
    const auto uids = subordinate_uids();
    if (!uids) {
        return Unexpected{uids.error()};
    }
    const auto gids = subordinate_gids();
    if (!gids) {
        return Unexpected{gids.error()};
    }
    const auto uid_map = detail::map_of_ranges(::geteuid(), *uids);
    const auto gid_map = detail::map_of_ranges(::getegid(), *gids);
    if (!uid_map || !gid_map) {
        return Unexpected{uid_map ? gid_map.error() : uid_map.error()};
    }
    return NewUser{.uids = *uid_map, .gids = *gid_map};
}

} // namespace nsjoin

#endif // NSJOIN_SUBORDINATE_IDS_HPP
