// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CAPABILITIES_HPP
#define NSJOIN_CAPABILITIES_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace nsjoin::inline v0_1 {

/// A capability, by its number. capabilities(7).
enum class Capability : std::uint8_t {
    chown,
    dac_override,
    dac_read_search,
    fowner,
    fsetid,
    kill,
    setgid,
    setuid,
    setpcap,
    linux_immutable,
    net_bind_service,
    net_broadcast,
    net_admin,
    net_raw,
    ipc_lock,
    ipc_owner,
    sys_module,
    sys_rawio,
    sys_chroot,
    sys_ptrace,
    sys_pacct,
    sys_admin,
    sys_boot,
    sys_nice,
    sys_resource,
    sys_time,
    sys_tty_config,
    mknod,
    lease,
    audit_write,
    audit_control,
    setfcap,
    mac_override,
    mac_admin,
    syslog,
    wake_alarm,
    block_suspend,
    audit_read,
    perfmon,            ///< Linux 5.8
    bpf,                ///< Linux 5.8
    checkpoint_restore, ///< Linux 5.9
};

namespace detail {

inline constexpr const char* capability_names =
    "cap_chown\0cap_dac_override\0cap_dac_read_search\0cap_fowner\0cap_fsetid\0cap_kill\0"
    "cap_setgid\0cap_setuid\0cap_setpcap\0cap_linux_immutable\0cap_net_bind_service\0"
    "cap_net_broadcast\0cap_net_admin\0cap_net_raw\0cap_ipc_lock\0cap_ipc_owner\0"
    "cap_sys_module\0cap_sys_rawio\0cap_sys_chroot\0cap_sys_ptrace\0cap_sys_pacct\0"
    "cap_sys_admin\0cap_sys_boot\0cap_sys_nice\0cap_sys_resource\0cap_sys_time\0"
    "cap_sys_tty_config\0cap_mknod\0cap_lease\0cap_audit_write\0cap_audit_control\0"
    "cap_setfcap\0cap_mac_override\0cap_mac_admin\0cap_syslog\0cap_wake_alarm\0"
    "cap_block_suspend\0cap_audit_read\0cap_perfmon\0cap_bpf\0cap_checkpoint_restore\0";

} // namespace detail

/// Its name, as "cap_sys_admin"; "a newer one" for one that this library does not know.
[[nodiscard]] constexpr auto name_of(Capability capability) noexcept -> std::string_view {
    if (capability > Capability::checkpoint_restore) {
        return "a newer one";
    }
    const char* text = detail::capability_names;
    for (auto number = static_cast<unsigned>(capability); number != 0; --number) {
        text += std::string_view{text}.size() + 1; // NOLINT(*-pointer-arithmetic)
    }
    return text;
}

namespace detail {

/// Whether two names are the same but for the case of ASCII's letters.
[[nodiscard]] constexpr auto same_name(std::string_view a, std::string_view b) noexcept -> bool {
    constexpr auto small = [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (small(a[i]) != small(b[i])) {
            return false;
        }
    }
    return true;
}

} // namespace detail

/// The capability that is called so, in any case, with or without "cap_": "CAP_SYS_ADMIN" as OCI
/// has it, "sys_admin" as Docker does. Written into `capability`. Returns false, and leaves
/// `capability` alone, for any other name.
[[nodiscard]] constexpr auto capability_from_name(std::string_view name,
                                                  Capability& capability) noexcept -> bool {
    constexpr std::size_t prefix = 4;
    for (std::uint8_t i = 0; i <= static_cast<std::uint8_t>(Capability::checkpoint_restore); ++i) {
        const std::string_view known = name_of(Capability{i});
        if (detail::same_name(name, known) ||
            detail::same_name(name, detail::after(known, prefix))) {
            capability = Capability{i};
            return true;
        }
    }
    return false;
}

/// A set of capabilities: a value, usable in constant expressions.
class CapabilitySet {
  public:
    constexpr CapabilitySet() noexcept = default;

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): a set of one
    constexpr CapabilitySet(Capability capability) noexcept
        : bits_{std::uint64_t{1} << static_cast<unsigned>(capability)} {}

    /// As capset(2) and /proc/PID/status number them: bit 0 is CAP_CHOWN.
    [[nodiscard]] static constexpr auto from_bits(std::uint64_t bits) noexcept -> CapabilitySet {
        CapabilitySet set;
        set.bits_ = bits;
        return set;
    }

    [[nodiscard]] constexpr auto bits() const noexcept -> std::uint64_t { return bits_; }

    [[nodiscard]] constexpr auto empty() const noexcept -> bool { return bits_ == 0; }

    /// Whether each of the other set is in this one.
    [[nodiscard]] constexpr auto contains(CapabilitySet other) const noexcept -> bool {
        return (other.bits_ & ~bits_) == 0;
    }

    /// The first of a set that has one.
    [[nodiscard]] constexpr auto first() const noexcept -> Capability {
        return static_cast<Capability>(std::countr_zero(bits_));
    }

    [[nodiscard]] friend constexpr auto operator|(CapabilitySet a, CapabilitySet b) noexcept
        -> CapabilitySet {
        return from_bits(a.bits_ | b.bits_);
    }

    [[nodiscard]] friend constexpr auto operator&(CapabilitySet a, CapabilitySet b) noexcept
        -> CapabilitySet {
        return from_bits(a.bits_ & b.bits_);
    }

    [[nodiscard]] friend constexpr auto operator-(CapabilitySet a, CapabilitySet b) noexcept
        -> CapabilitySet {
        return from_bits(a.bits_ & ~b.bits_);
    }

    [[nodiscard]] friend constexpr auto operator==(CapabilitySet, CapabilitySet) noexcept
        -> bool = default;

  private:
    std::uint64_t bits_ = 0;
};

[[nodiscard]] constexpr auto operator|(Capability a, Capability b) noexcept -> CapabilitySet {
    return CapabilitySet{a} | CapabilitySet{b};
}

/// The five sets of a thread. capabilities(7).
struct Capabilities {
    CapabilitySet bounding{}; ///< what a program may get at most: all that one with uid 0 has
    CapabilitySet permitted{};
    CapabilitySet effective{};   ///< of the permitted ones
    CapabilitySet inheritable{}; ///< what a program with file capabilities may keep
    CapabilitySet ambient{};     ///< what any program keeps; permitted and inheritable. Linux 4.3

    /// No more than these, and none that a program which is not root keeps.
    [[nodiscard]] static constexpr auto limited_to(CapabilitySet set) noexcept -> Capabilities {
        return {.bounding = set, .permitted = set, .effective = set};
    }

    /// These, which any program keeps that is executed with them.
    [[nodiscard]] static constexpr auto kept_by_programs(CapabilitySet set) noexcept
        -> Capabilities {
        return {set, set, set, set, set};
    }

    /// Those of a process, of its first thread, by /proc/PID/status. Errors: not_procfs, if /proc
    /// is not the kernel's or of another pid namespace; process_gone; ENODATA if the file does not
    /// say them; those of open(2) and read(2).
    [[nodiscard]] static auto of(const PidFd& process) noexcept -> Result<Capabilities> {
        constexpr Step step = Step::read_credentials;
        const auto proc = detail::open_own_proc(::getpid());
        if (!proc) {
            return Unexpected{proc.error()};
        }
        const detail::SmallPath path =
            detail::SmallPath{""}.append(static_cast<int>(process.pid())).append("/status");
        const auto file = detail::open_owned(step, proc->get(), path.c_str(), O_RDONLY);
        const Result<Capabilities> read =
            file ? read_status(*file) : Result<Capabilities>{Unexpected{file.error()}};
        // While it is there, the number is its own.
        return process.alive() ? read : detail::fail(step, Reason::process_gone);
    }

    [[nodiscard]] friend constexpr auto operator==(const Capabilities&,
                                                   const Capabilities&) noexcept -> bool = default;

  private:
    /// The lines of the sets follow each other, behind one that can be 700 KB of groups.
    [[nodiscard]] static auto read_status(BorrowedFd file) noexcept -> Result<Capabilities> {
        constexpr std::string_view first = "\nCapInh:\t";
        constexpr std::size_t all_lines = std::size_t{5} * 25;
        std::array<char, 4096> text; // NOLINT(*-member-init): no more is looked at than is read
        std::size_t size = 0;
        for (;;) {
            const long length =
                detail::call_again(SYS_read, file.get(), text.data() + size, text.size() - size);
            if (length < 0) {
                return detail::fail(Step::read_credentials, static_cast<int>(-length));
            }
            size += static_cast<std::size_t>(length);
            const std::string_view all{text.data(), size};
            const std::size_t at = all.find(first);
            const bool found = at != std::string_view::npos;
            if (length == 0 || (found && size - at > all_lines)) {
                return from_status(all);
            }
            // What may be the beginning of it goes on in what is read next.
            const std::size_t keep = found ? size - at : size < first.size() ? size : first.size();
            std::memmove(text.data(), text.data() + size - keep, keep);
            size = keep;
        }
    }

    [[nodiscard]] static auto from_status(std::string_view text) noexcept -> Result<Capabilities> {
        constexpr std::uint64_t not_said = ~std::uint64_t{0};
        bool all = true;
        const auto set = [text, &all](std::string_view key) {
            const std::uint64_t bits = detail::number_in_status(text, key, 16, not_said);
            all = all && bits != not_said;
            return CapabilitySet::from_bits(bits);
        };
        const Capabilities sets{set("\nCapBnd:\t"), set("\nCapPrm:\t"), set("\nCapEff:\t"),
                                set("\nCapInh:\t"), set("\nCapAmb:\t")};
        return all ? Result<Capabilities>{sets}
                   : detail::fail(Step::read_credentials, ENODATA, "/proc/PID/status");
    }
};

} // namespace nsjoin

#endif // NSJOIN_CAPABILITIES_HPP
