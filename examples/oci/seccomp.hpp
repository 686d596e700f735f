// SPDX-License-Identifier: Apache-2.0
// The filter of system calls, compiled by libseccomp.
#ifndef EXAMPLES_OCI_SECCOMP_HPP
#define EXAMPLES_OCI_SECCOMP_HPP

#include "support.hpp"

#include <linux/filter.h>
#include <map>
#include <memory>
#include <seccomp.h>
#include <sys/mman.h>

namespace oci {

inline auto filter_action(const json& from, const char* key, const char* code) -> std::uint32_t {
    const auto name = from.at(key).get<std::string>();
    const auto value = get<std::uint16_t>(from, code, EPERM);
    const std::map<std::string, std::uint32_t> actions{
        {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
        {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
        {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
        {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
        {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(value)},
        {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(value)},
        {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
        {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    };
    const auto found = actions.find(name);
    return found != actions.end() ? found->second : throw Failure{"no seccomp action " + name};
}

inline auto filter_condition(const json& argument) -> scmp_arg_cmp {
    const std::map<std::string, scmp_compare> operators{
        {"SCMP_CMP_NE", SCMP_CMP_NE},
        {"SCMP_CMP_LT", SCMP_CMP_LT},
        {"SCMP_CMP_LE", SCMP_CMP_LE},
        {"SCMP_CMP_EQ", SCMP_CMP_EQ},
        {"SCMP_CMP_GE", SCMP_CMP_GE},
        {"SCMP_CMP_GT", SCMP_CMP_GT},
        {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
    };
    return {argument.at("index"), operators.at(argument.at("op")), argument.at("value"),
            get<std::uint64_t>(argument, "valueTwo")};
}

/// A name that this libseccomp does not know is no system call of this machine.
inline void add_rule(scmp_filter_ctx filter, std::uint32_t fallback, const json& rule) {
    const std::uint32_t action = filter_action(rule, "action", "errnoRet");
    std::vector<scmp_arg_cmp> conditions;
    for (const json& argument : at(rule, "args")) {
        conditions.push_back(filter_condition(argument));
    }
    for (const std::string name : rule.at("names")) {
        const int number = seccomp_syscall_resolve_name(name.c_str());
        if (number == __NR_SCMP_ERROR || action == fallback) {
            continue;
        }
        const auto count = static_cast<unsigned>(conditions.size());
        const int added = seccomp_rule_add_array(filter, action, number, count, conditions.data());
        if (added != 0 && added != -EDOM) {
            throw Failure{"a seccomp rule for " + name, -added};
        }
    }
}

/// The program of linux.seccomp; empty if there is none.
inline auto compile_filter(const json& config) -> std::vector<sock_filter> {
    const json& seccomp = at(config, "linux/seccomp");
    if (seccomp.is_null()) {
        return {};
    }
    const std::uint32_t fallback = filter_action(seccomp, "defaultAction", "defaultErrnoRet");
    const std::unique_ptr<void, void (*)(void*)> filter{seccomp_init(fallback), seccomp_release};
    (void)seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (std::string name : at(seccomp, "architectures")) {
        name = name.substr(std::string_view{"SCMP_ARCH_"}.size());
        std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c | 0x20; });
        const std::uint32_t architecture = seccomp_arch_resolve_name(name.c_str());
        const int added = seccomp_arch_add(filter.get(), architecture);
        if (added != 0 && added != -EEXIST) {
            throw Failure{"the seccomp architecture " + name, -added};
        }
    }
    for (const json& rule : at(seccomp, "syscalls")) {
        add_rule(filter.get(), fallback, rule);
    }
    const nsjoin::OwnedFd file{check(memfd_create("filter", MFD_CLOEXEC), "memfd_create")};
    if (const int error = seccomp_export_bpf(filter.get(), file.get()); error != 0) {
        throw Failure{"compile the seccomp filter", -error};
    }
    (void)check(lseek(file.get(), 0, SEEK_SET), "lseek");
    const std::string bytes = read_all(file);
    std::vector<sock_filter> code(bytes.size() / sizeof(sock_filter));
    std::memcpy(code.data(), bytes.data(), bytes.size());
    return code;
}

} // namespace oci

#endif // EXAMPLES_OCI_SECCOMP_HPP
