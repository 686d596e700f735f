// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXAMPLES_TREE_MACHINE_HPP
#define NSJOIN_EXAMPLES_TREE_MACHINE_HPP

#include <nsjoin/namespace_fd.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <dirent.h>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

// The namespaces of this machine, as far as the caller may see them: those of its processes, those
// that a mount or an open descriptor keeps, and the owners and parents of all these.

namespace tree {

using nsjoin::AnyNamespaceFd;
using nsjoin::Kind;

/// The number in `net:[4026531840]`.
using Number = std::uint64_t;

struct Namespace {
    Kind kind{};
    Number number = 0;
    Number owner = 0;  ///< its user namespace, or of a user namespace the parent; 0: out of sight
    Number parent = 0; ///< of a pid namespace
    std::vector<pid_t> processes;
    std::vector<std::string> pins; ///< paths of mounts, and "PID/fd/N"

    /// The one that came first, or 0.
    [[nodiscard]] auto first() const -> pid_t {
        return processes.empty() ? 0 : *std::min_element(processes.begin(), processes.end());
    }
};

struct Machine {
    std::map<Number, Namespace> spaces;
};

/// The names in a directory.
inline auto names_in(const std::string& path) -> std::vector<std::string> {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(path.c_str()), ::closedir};
    while (const dirent* const entry = directory ? ::readdir(directory.get()) : nullptr) {
        names.emplace_back(static_cast<const char*>(entry->d_name));
    }
    return names;
}

inline auto to_number(std::string_view text) -> Number {
    Number number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size() ? number : 0;
}

/// What a link of /proc refers to, if that is a namespace: "net:[4026531840]".
inline auto number_at(const std::string& path) -> Number {
    std::array<char, 64> text{};
    const ssize_t length = ::readlink(path.c_str(), text.data(), text.size());
    const std::string_view link{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
    const std::size_t open = link.find(":[");
    return open == std::string_view::npos || link.back() != ']'
               ? 0
               : to_number(link.substr(open + 2, link.size() - open - 3));
}

/// Adds it, with its owners and parents; which one it is.
// NOLINTNEXTLINE(misc-no-recursion): namespaces nest 32 deep at most
inline auto add(Machine& machine, const AnyNamespaceFd& space) -> Number {
    const auto id = space.id();
    if (!id) {
        return 0;
    }
    const auto [place, is_new] = machine.spaces.try_emplace(id->inode);
    Namespace& one = place->second;
    if (is_new) {
        one.kind = space.kind();
        one.number = id->inode;
        if (auto owner = space.owner()) {
            one.owner = add(machine, std::move(*owner).any());
        }
        if (one.kind == Kind::pid) {
            const auto parent = space.parent();
            one.parent = parent ? add(machine, *parent) : 0;
        }
    }
    return one.number;
}

/// That of the link, which was read as `number`; null if it has gone.
inline auto find(Machine& machine, const std::string& path, Number number) -> Namespace* {
    auto place = machine.spaces.find(number);
    if (place == machine.spaces.end()) {
        const auto space = AnyNamespaceFd::open(path.c_str());
        place = machine.spaces.find(space ? add(machine, *space) : 0);
    }
    return place == machine.spaces.end() ? nullptr : &place->second;
}

inline void look_at_process(Machine& machine, pid_t pid) {
    const std::string proc = "/proc/" + std::to_string(pid);
    for (const Kind kind : nsjoin::all_kinds.set) {
        std::string path = proc + "/ns/";
        path += nsjoin::facts(kind).name;
        const Number number = number_at(path);
        if (Namespace* const space = number != 0 ? find(machine, path, number) : nullptr) {
            space->processes.push_back(pid);
        }
    }
    for (const std::string& name : names_in(proc + "/fd")) {
        std::string path = proc + "/fd/";
        path += name;
        const Number number = number_at(path);
        if (Namespace* const space = number != 0 ? find(machine, path, number) : nullptr) {
            space->pins.push_back(std::to_string(pid) + "/fd/" + name);
        }
    }
}

/// Those that are mounted in this mount namespace.
inline void look_at_mounts(Machine& machine) {
    std::ifstream mounts{"/proc/self/mountinfo"};
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words{line};
        std::string skipped;
        std::string root;
        std::string path;
        words >> skipped >> skipped >> skipped >> root >> path;
        if (root.find(":[") == std::string::npos) {
            continue;
        }
        const auto space = AnyNamespaceFd::open(path.c_str());
        const auto place = machine.spaces.find(space ? add(machine, *space) : 0);
        if (place != machine.spaces.end()) {
            place->second.pins.push_back(path);
        }
    }
}

[[nodiscard]] inline auto look() -> Machine {
    Machine machine;
    look_at_mounts(machine);
    for (const std::string& name : names_in("/proc")) {
        if (const Number pid = to_number(name); pid != 0) {
            look_at_process(machine, static_cast<pid_t>(pid));
        }
    }
    return machine;
}

/// The words of its command line, or its name; nothing if it has gone.
[[nodiscard]] inline auto command_of(pid_t pid) -> std::string {
    const std::string proc = "/proc/" + std::to_string(pid);
    std::ifstream words{proc + "/cmdline", std::ios::binary};
    std::string text{std::istreambuf_iterator<char>{words}, {}};
    while (!text.empty() && text.back() == '\0') {
        text.pop_back();
    }
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c >= '\0' && c < ' '; }, ' ');
    if (text.empty()) {
        std::ifstream name{proc + "/comm"};
        std::getline(name, text);
    }
    return text;
}

/// The process's uid, as the caller's user namespace has it.
[[nodiscard]] inline auto uid_of(pid_t pid) -> std::optional<uid_t> {
    struct stat about {};

    const std::string proc = "/proc/" + std::to_string(pid);
    return ::stat(proc.c_str(), &about) == 0 ? std::optional{about.st_uid} : std::nullopt;
}

} // namespace tree

#endif // NSJOIN_EXAMPLES_TREE_MACHINE_HPP
