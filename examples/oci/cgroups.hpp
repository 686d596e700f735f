// SPDX-License-Identifier: Apache-2.0
// The container's directory in each hierarchy of cgroups, and its limits. cgroups(7).
#ifndef EXAMPLES_OCI_CGROUPS_HPP
#define EXAMPLES_OCI_CGROUPS_HPP

#include "support.hpp"

#include <array>
#include <csignal>
#include <filesystem>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace oci {

struct Hierarchy {
    std::string mount;
    std::set<std::string, std::less<>> controllers;
    bool v2 = false;
};

/// Those that are mounted, v2 first.
inline auto hierarchies() -> std::vector<Hierarchy> {
    std::vector<Hierarchy> list;
    std::set<std::string> seen;
    std::istringstream table{read_file("/proc/self/mountinfo")};
    for (std::string line; std::getline(table, line);) {
        std::istringstream words{line};
        std::string skip;
        std::string device;
        std::string mount;
        std::string type;
        std::string options;
        words >> skip >> skip >> device >> skip >> mount;
        while (words >> skip && skip != "-") {
        }
        words >> type >> skip >> options;

        struct stat about {};

        const bool seen_there = stat(mount.c_str(), &about) == 0 &&
                                device == std::to_string(major(about.st_dev)) + ":" +
                                              std::to_string(minor(about.st_dev));
        if (!type.starts_with("cgroup") || !seen_there || !seen.insert(device).second) {
            continue; // no cgroups, or covered by another mount, or known already
        }
        Hierarchy found{mount, {}, type == "cgroup2"};
        std::istringstream names{found.v2 ? read_file(mount + "/cgroup.controllers") : options};
        for (std::string name; std::getline(names, name, found.v2 ? ' ' : ',');) {
            found.controllers.insert(name.substr(0, name.find('\n')));
        }
        list.insert(found.v2 ? list.begin() : list.end(), found);
    }
    return list;
}

/// A v1 cpuset takes nobody before it has processors and memory; a v2 directory has controllers
/// where its parent says so.
inline void prepare_directory(const Hierarchy& hierarchy, const std::string& directory) {
    const std::string parent = std::filesystem::path{directory}.parent_path();
    for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
        if (!hierarchy.v2 && hierarchy.controllers.contains("cpuset") &&
            read_file(directory + file) == "\n") {
            write_file(directory + file, read_file(parent + file));
        }
    }
    for (const std::string& controller : hierarchy.controllers) {
        if (hierarchy.v2 && !access((parent + "/cgroup.subtree_control").c_str(), W_OK)) {
            try {
                write_file(parent + "/cgroup.subtree_control", "+" + controller);
            } catch (const Failure&) { // one that is needed is missed when its limit is written
            }
        }
    }
}

/// Makes the directory, and those above it; whether the caller may. One that is there already is
/// somebody else's, and what is in it.
inline auto make_directory(const Hierarchy& hierarchy, const std::string& path) -> bool {
    for (std::size_t end = 0; end != std::string::npos;) {
        end = path.find('/', end + 1);
        const std::string directory = hierarchy.mount + path.substr(0, end);
        if (mkdir(directory.c_str(), 0755) == 0) {
            prepare_directory(hierarchy, directory);
        } else if (errno == EACCES || errno == EPERM || errno == EROFS) {
            return false;
        } else if (errno != EEXIST || end == std::string::npos) {
            throw Failure{"make the cgroup " + directory, errno};
        }
    }
    return true;
}

struct Limit {
    const char* value;
    const char* controller;
    const char* v1_file;
    const char* v2_file;
};

inline constexpr std::array<Limit, 6> limits{{
    {"pids/limit", "pids", "pids.max", "pids.max"},
    {"memory/limit", "memory", "memory.limit_in_bytes", "memory.max"},
    {"memory/reservation", "memory", "memory.soft_limit_in_bytes", "memory.low"},
    {"cpu/cpus", "cpuset", "cpuset.cpus", "cpuset.cpus"},
    {"cpu/mems", "cpuset", "cpuset.mems", "cpuset.mems"},
    {"cpu/shares", "cpu", "cpu.shares", "cpu.weight"},
}};

inline auto limit_text(const Limit& limit, const json& value, bool v2) -> std::string {
    if (value.is_string()) {
        return value;
    }
    auto number = value.get<std::int64_t>();
    if (v2 && limit.v2_file == std::string_view{"cpu.weight"}) {
        number = 1 + (number - 2) * 9999 / 262142;
    }
    const bool pids = limit.controller == std::string_view{"pids"};
    return number > 0 ? std::to_string(number) : pids || v2 ? "max" : "-1";
}

inline auto is_limited(const json& value) -> bool {
    return value.is_string() ? !value.get<std::string>().empty()
                             : value.is_number() && value.get<std::int64_t>() > 0;
}

inline void limit_processor(const json& cpu, const std::string& directory, bool v2) {
    const auto quota = get<std::int64_t>(cpu, "quota", -1);
    const auto period = std::to_string(get<std::int64_t>(cpu, "period", 100'000));
    if (v2) {
        write_file(directory + "/cpu.max",
                   (quota > 0 ? std::to_string(quota) : "max") + " " + period);
    } else {
        write_file(directory + "/cpu.cfs_period_us", period);
        write_file(directory + "/cpu.cfs_quota_us", std::to_string(quota));
    }
}

/// Of v1 only: v2 has programs of BPF for it. What a container always has is allowed again.
inline void limit_devices(const json& rules, const std::string& directory) {
    for (const json& rule : rules) {
        const auto number = [&rule](const char* key) {
            const auto value = get<std::int64_t>(rule, key, -1);
            return value < 0 ? std::string{"*"} : std::to_string(value);
        };
        write_file(directory + (rule.at("allow") ? "/devices.allow" : "/devices.deny"),
                   get<std::string>(rule, "type", "a") + " " + number("major") + ":" +
                       number("minor") + " " + get<std::string>(rule, "access", "rwm"));
    }
    for (const char* always : {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm",
                               "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"}) {
        write_file(directory + "/devices.allow", always);
    }
}

/// Writes into the directory what the configuration limits.
inline void limit_directory(const json& resources, const Hierarchy& hierarchy,
                            const std::string& directory) {
    for (const Limit& limit : limits) {
        const json& value = at(resources, limit.value);
        if (!value.is_null() && value != 0 && hierarchy.controllers.contains(limit.controller)) {
            write_file(directory + "/" + (hierarchy.v2 ? limit.v2_file : limit.v1_file),
                       limit_text(limit, value, hierarchy.v2));
        }
    }
    if (at(resources, "cpu").contains("quota") && hierarchy.controllers.contains("cpu")) {
        limit_processor(at(resources, "cpu"), directory, hierarchy.v2);
    }
    if (at(resources, "devices").is_array() && hierarchy.controllers.contains("devices")) {
        limit_devices(at(resources, "devices"), directory);
    }
}

/// Makes the container's directory in each hierarchy that the caller may make one in, with what the
/// configuration limits. Without a path there is none. What is made is known also if it throws.
inline void make_cgroups(const json& config, Words& made) {
    std::string path;
    for (const auto& part : std::filesystem::path{get<std::string>(config, "linux/cgroupsPath")}) {
        if (part == "..") {
            throw Failure{"cgroupsPath leads up"};
        }
        path += part == "/" || part == "." || part.empty() ? "" : "/" + part.string();
    }
    const json& resources = at(config, "linux/resources");
    std::set<std::string, std::less<>> there;
    for (const Hierarchy& hierarchy : path.empty() ? std::vector<Hierarchy>{} : hierarchies()) {
        if (!make_directory(hierarchy, path)) {
            continue;
        }
        const std::string& directory = made.emplace_back(hierarchy.mount + path);
        there.insert(hierarchy.controllers.begin(), hierarchy.controllers.end());
        limit_directory(resources, hierarchy, directory);
    }
    for (const Limit& limit : limits) {
        if (is_limited(at(resources, limit.value)) && !there.contains(limit.controller)) {
            throw Failure{std::string{"there is no cgroup for the limit "} + limit.value};
        }
    }
}

/// The processes in the directory and those below it.
inline auto members(const std::string& directory) -> std::vector<pid_t> {
    std::vector<pid_t> list;
    std::error_code gone;
    for (const auto& entry : std::filesystem::recursive_directory_iterator{directory, gone}) {
        if (entry.path().filename() == "cgroup.procs") {
            std::istringstream numbers{read_file(entry.path())};
            for (pid_t pid = 0; numbers >> pid;) {
                list.push_back(pid);
            }
        }
    }
    return list;
}

/// Ends who is left in there, and removes the directories, which takes the kernel a moment.
inline void remove_cgroups(const Words& directories) {
    for (const std::string& directory : directories) {
        for (int attempt = 0; attempt < 200; ++attempt) {
            for (const pid_t pid : members(directory)) {
                (void)kill(pid, SIGKILL);
            }
            Words below{directory};
            std::error_code gone;
            for (const auto& entry :
                 std::filesystem::recursive_directory_iterator{directory, gone}) {
                if (entry.is_directory()) {
                    below.push_back(entry.path());
                }
            }
            std::sort(below.rbegin(), below.rend());
            for (const std::string& each : below) {
                (void)rmdir(each.c_str());
            }
            if (access(directory.c_str(), F_OK) != 0) {
                break;
            }
            (void)usleep(10'000);
        }
    }
}

} // namespace oci

#endif // EXAMPLES_OCI_CGROUPS_HPP
