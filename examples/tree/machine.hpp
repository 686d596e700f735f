// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXAMPLES_TREE_MACHINE_HPP
#define NSJOIN_EXAMPLES_TREE_MACHINE_HPP

#include <nsjoin/all_namespaces.hpp>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

// The namespaces of this machine, and what is to be said of their processes.

namespace tree {

using Namespace = nsjoin::FoundNamespace;
using nsjoin::Kind;

/// The number in `net:[4026531840]`.
using Number = std::uint64_t;

struct Machine {
    std::map<Number, Namespace> spaces;
};

[[nodiscard]] inline auto look() -> nsjoin::Result<Machine> {
    auto found = nsjoin::all_namespaces();
    if (!found) {
        return nsjoin::Unexpected{found.error()};
    }
    Machine machine;
    for (Namespace& space : *found) {
        const Number number = space.number;
        machine.spaces.emplace(number, std::move(space));
    }
    return machine;
}

/// The process that came first, or 0.
[[nodiscard]] inline auto first_of(const Namespace& space) -> pid_t {
    const auto& all = space.processes;
    return all.empty() ? 0 : *std::min_element(all.begin(), all.end());
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
