// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_NUMBERS_HPP
#define NSJOIN_DETAIL_KERNEL_NUMBERS_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <cstdint>

// The kernel's numbers and structures, as its own headers have them. They are spelled out here
// because the headers of a build machine are often older than the kernel that runs the program.

namespace nsjoin::inline v0_1::detail {

inline constexpr std::uint64_t clone_vm = 0x00000100;
inline constexpr std::uint64_t clone_fs = 0x00000200;
inline constexpr std::uint64_t clone_files = 0x00000400;
inline constexpr std::uint64_t clone_pidfd = 0x00001000;
inline constexpr std::uint64_t clone_vfork = 0x00004000;
inline constexpr std::uint64_t clone_parent = 0x00008000;
inline constexpr std::uint64_t clone_thread = 0x00010000;
inline constexpr std::uint64_t clone_parent_settid = 0x00100000;
inline constexpr std::uint64_t clone_child_cleartid = 0x00200000;
inline constexpr std::uint64_t clone_child_settid = 0x01000000;
inline constexpr std::uint64_t clone_clear_sighand = 0x100000000;
inline constexpr std::uint64_t clone_into_cgroup = 0x200000000;

inline constexpr long open_tree_number = 428; ///< the same on every architecture of ours

/// struct clone_args, the first 88 bytes (Linux 5.7).
struct CloneArgs {
    std::uint64_t flags = 0;
    std::uint64_t pidfd = 0;
    std::uint64_t child_tid = 0;
    std::uint64_t parent_tid = 0;
    std::uint64_t exit_signal = 0;
    std::uint64_t stack = 0;
    std::uint64_t stack_size = 0;
    std::uint64_t tls = 0;
    std::uint64_t set_tid = 0;
    std::uint64_t set_tid_size = 0;
    std::uint64_t cgroup = 0;
};

static_assert(sizeof(CloneArgs) == 88);

/// Its size without `cgroup` and `set_tid`, which Linux 5.3 takes.
inline constexpr std::uint64_t clone_args_size_5_3 = 64;

inline constexpr std::uint64_t proc_super_magic = 0x9fa0;
inline constexpr std::uint64_t nsfs_magic = 0x6e736673;
inline constexpr std::uint64_t cgroup_super_magic = 0x27e0eb;
inline constexpr std::uint64_t cgroup2_super_magic = 0x63677270;

inline constexpr unsigned long ns_get_userns = 0xb701;
inline constexpr unsigned long ns_get_parent = 0xb702;
inline constexpr unsigned long ns_get_nstype = 0xb703;
inline constexpr unsigned long ns_get_owner_uid = 0xb704;
inline constexpr unsigned long ns_get_pid_from_pidns = 0x8004b706; ///< Linux 6.11, as the next
inline constexpr unsigned long ns_get_tgid_from_pidns = 0x8004b707;
inline constexpr unsigned long ns_get_tgid_in_pidns = 0x8004b709;

/// PIDFD_GET_*_NAMESPACE: this, or'ed with the number in kind_table (Linux 6.11).
inline constexpr unsigned long pidfd_get_namespace = 0xff00;

/// PIDFD_GET_INFO (Linux 6.13; the exit code since 6.15).
inline constexpr unsigned long pidfd_get_info = 0xc040ff0b;
inline constexpr std::uint64_t pidfd_info_pid = 1U << 0U;
inline constexpr std::uint64_t pidfd_info_ids = 1U << 0U | 1U << 1U;
inline constexpr std::uint64_t pidfd_info_cgroup = 1U << 2U;
inline constexpr std::uint64_t pidfd_info_exit = 1U << 3U;

/// struct pidfd_info, the first 64 bytes.
struct PidfdInfo {
    std::uint64_t mask = 0;
    std::uint64_t cgroup_id = 0;
    std::uint32_t pid = 0;
    std::uint32_t tgid = 0;
    std::uint32_t ppid = 0;
    std::uint32_t ids[8] = {}; // NOLINT(*-avoid-c-arrays): the kernel's layout
    std::int32_t exit_code = 0;
};

static_assert(sizeof(PidfdInfo) == 64);

inline constexpr int capability_version_3 = 0x20080522;
inline constexpr unsigned cap_setgid = 6;
inline constexpr unsigned cap_setuid = 7;
inline constexpr unsigned cap_sys_chroot = 18;
inline constexpr unsigned cap_sys_admin = 21;

/// struct __user_cap_header_struct.
struct CapHeader {
    std::uint32_t version = capability_version_3;
    std::int32_t pid = 0;
};

/// struct __user_cap_data_struct: capget(2) and capset(2) take two, for 64 capabilities.
struct CapData {
    std::uint32_t effective = 0;
    std::uint32_t permitted = 0;
    std::uint32_t inheritable = 0;
};

/// The kernel's signal set: 64 signals, the libc's own included.
using KernelSignalSet = std::uint64_t;

/// P_PIDFD of waitid(2).
inline constexpr int p_pidfd = 3;
/// __WALL of waitid(2).
inline constexpr int wait_all = 0x40000000;

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_NUMBERS_HPP
