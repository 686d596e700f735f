// SPDX-License-Identifier: Apache-2.0
// Capabilities that pass exec.
#ifndef EXAMPLES_SUPPORT_AMBIENT_HPP
#define EXAMPLES_SUPPORT_AMBIENT_HPP

#include "options.hpp"

#include <array>
#include <cerrno>
#include <linux/capability.h>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace examples {

/// Makes the permitted capabilities inheritable and ambient, or dies. Without that, exec leaves
/// them only to uid 0. capabilities(7).
inline void keep_capabilities_over_exec() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    if (syscall(SYS_capget, &header, data.data()) != 0) {
        die(describe("read the capabilities", "", errno));
    }
    for (auto& word : data) {
        word.inheritable = word.permitted;
    }
    if (syscall(SYS_capset, &header, data.data()) != 0) {
        die(describe("make the capabilities inheritable", "", errno));
    }
    for (unsigned capability = 0; capability < 32 * data.size(); ++capability) {
        const bool has = (data[capability / 32].permitted >> (capability % 32) & 1U) != 0;
        if (has && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
            die(describe("make a capability ambient", std::to_string(capability), errno,
                         errno == EPERM ? "the securebits forbid it" : ""));
        }
    }
}

} // namespace examples

#endif // EXAMPLES_SUPPORT_AMBIENT_HPP
