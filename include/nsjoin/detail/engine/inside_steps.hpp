// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_INSIDE_STEPS_HPP
#define NSJOIN_DETAIL_ENGINE_INSIDE_STEPS_HPP

#include <nsjoin/detail/engine/steps.hpp>

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

// How a child furnishes its namespaces and itself, a function a step. System calls only, as in
// steps.hpp.

namespace nsjoin::inline v0_1::detail {

/// A function of the plan's own, whose error names the time at which it was called.
[[nodiscard]] inline auto call_inside(Step step, const InsideFunction& function) noexcept
    -> Result<void> {
    Result<void> done = function();
    if (!done && done.error().reason == Reason::inside_failed) {
        done.error().step = step;
    }
    return done;
}

/// sethostname(2) or setdomainname(2).
[[nodiscard]] inline auto set_system_name(Step step, long number, const HostName& name) noexcept
    -> Result<void> {
    const std::string_view text{name.c_str()};
    return outcome(step, call(number, text.data(), text.size()));
}

/// netdevice(7). A socket of whatever family will do, and there may be no IPv4.
[[nodiscard]] inline auto bring_up_loopback() noexcept -> Result<void> {
    constexpr Step step = Step::bring_up_loopback;
    const long made = call(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (made < 0) {
        return outcome(step, made);
    }
    const OwnedFd socket{static_cast<int>(made)};

    struct ifreq request {};

    request.ifr_name[0] = 'l'; // NOLINT(*-union-access)
    request.ifr_name[1] = 'o'; // NOLINT(*-union-access)
    long result = call(SYS_ioctl, socket.get(), SIOCGIFFLAGS, &request);
    if (result == 0) {
        request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP); // NOLINT(*-union-*)
        result = call(SYS_ioctl, socket.get(), SIOCSIFFLAGS, &request);
    }
    return outcome(step, result);
}

// ── Mounts ──────────────────────────────────────────────────────────────────────────────────────

inline constexpr long move_mount_number = 429; ///< the same on every architecture of ours

/// Makes the directory a mount, if only of itself, and that the root; the old root lies over it
/// then, until it is detached. By descriptors, so that nobody can put another directory into the
/// place of the one that was looked at. open_tree(2), move_mount(2), Linux 5.2; pivot_root(2).
[[nodiscard]] inline auto change_root_mount(std::string_view path) noexcept -> Result<void> {
    constexpr Step step = Step::pivot_root;
    constexpr unsigned clone_tree = 0x8001U | O_CLOEXEC; // OPEN_TREE_CLONE, AT_RECURSIVE
    constexpr unsigned from_empty_path = 4;              // MOVE_MOUNT_F_EMPTY_PATH
    const Result<void> there = go_to(step, path);
    if (!there) {
        return there;
    }
    long result = call(open_tree_number, AT_FDCWD, ".", clone_tree);
    const OwnedFd tree{result < 0 ? -1 : static_cast<int>(result)};
    if (tree.ok()) {
        result = call(move_mount_number, tree.get(), "", AT_FDCWD, ".", from_empty_path);
        result = result == 0 ? call(SYS_fchdir, tree.get()) : result;
        result = result == 0 ? call(SYS_pivot_root, ".", ".") : result;
    }
    return result == 0 ? there : fail(step, static_cast<int>(-result), path);
}

/// mount(2).
[[nodiscard]] inline auto mount_proc(std::string_view path) noexcept -> Result<void> {
    constexpr unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    const long result = call(SYS_mount, "proc", PathText{path}.c_str(), "proc", flags, nullptr);
    return result == 0 ? Result<void>{} : fail(Step::mount_proc, static_cast<int>(-result), path);
}

/// umount2(2).
[[nodiscard]] inline auto detach_old_root() noexcept -> Result<void> {
    long result = call(SYS_umount2, ".", MNT_DETACH);
    result = result == 0 ? call(SYS_chdir, "/") : result;
    return outcome(Step::detach_old_root, result);
}

// ── The process ─────────────────────────────────────────────────────────────────────────────────

[[nodiscard]] inline auto set_cpu_affinity(const CpuSet& cpus) noexcept -> Result<void> {
    const auto& words = cpus.words();
    const long result =
        call(SYS_sched_setaffinity, 0, words.size() * sizeof words.front(), words.data());
    return outcome(Step::set_cpu_affinity, result < 0 ? result : 0);
}

/// Of the calling thread alone. setpriority(2).
[[nodiscard]] inline auto set_priority(int nice) noexcept -> Result<void> {
    return outcome(Step::set_priority, call(SYS_setpriority, PRIO_PROCESS, 0, nice));
}

[[nodiscard]] inline auto install_filter(const SeccompFilter& filter) noexcept -> Result<void> {
    constexpr unsigned set_mode_filter = 1; // SECCOMP_SET_MODE_FILTER
    const sock_fprog program{static_cast<unsigned short>(filter.code.size()),
                             const_cast<sock_filter*>(filter.code.data())}; // NOLINT(*-const-cast)
    return outcome(Step::install_filter, call(SYS_seccomp, set_mode_filter, 0U, &program));
}

// ── Capabilities ────────────────────────────────────────────────────────────────────────────────

/// The error of a capability that is to be kept, and is not there.
[[nodiscard]] inline auto no_capability(Step step, std::string_view set,
                                        CapabilitySet missing) noexcept -> Unexpected {
    Subject subject{set};
    subject.append(" ").append(name_of(missing.first()));
    return fail(step, Reason::no_capability, subject.view());
}

/// A set of capabilities, and all that the kernel knows.
struct KnownSet {
    CapabilitySet set{};
    CapabilitySet known{};
};

/// One of the sets that are asked for bit by bit: `ask` returns 1, 0 or -errno. EINVAL is the end
/// of what the kernel knows, which a filter can't make come sooner than for any kernel of ours.
template <typename Ask>
[[nodiscard]] auto read_set(Step step, const Ask& ask) noexcept -> Result<KnownSet> {
    constexpr auto last_of_all = static_cast<unsigned>(Capability::audit_read);
    KnownSet result;
    for (unsigned number = 0; number < 64; ++number) {
        const long in = ask(number);
        if (in < 0) {
            return in == -EINVAL && number > last_of_all
                       ? Result<KnownSet>{result}
                       : Result<KnownSet>{fail(step, static_cast<int>(-in))};
        }
        const auto one = static_cast<Capability>(number);
        result.known = result.known | one;
        result.set = in == 1 ? result.set | one : result.set;
    }
    return result;
}

/// PR_CAPBSET_READ(2const).
[[nodiscard]] inline auto bounding_set(Step step) noexcept -> Result<KnownSet> {
    return read_set(
        step, [](unsigned number) { return call(SYS_prctl, PR_CAPBSET_READ, number, 0, 0, 0); });
}

/// Whether a change of ids would take the capabilities, so that it is told to leave them.
[[nodiscard]] inline auto keeps_over_ids(const Draft& plan) noexcept -> bool {
    const auto& ids = plan.credentials;
    return ids && ids->uid && *ids->uid != 0;
}

/// PR_SET_KEEPCAPS(2const).
[[nodiscard]] inline auto keep_over_ids(Step step, bool keeps) noexcept -> Result<void> {
    return outcome(step, call(SYS_prctl, PR_SET_KEEPCAPS, keeps ? 1 : 0, 0, 0, 0));
}

/// Takes out of the bounding set what is not wanted, and lets a change of ids leave the rest.
[[nodiscard]] inline auto limit_capabilities(const Draft& plan) noexcept -> Result<void> {
    constexpr Step step = Step::limit_capabilities;
    if (keeps_over_ids(plan)) {
        if (const Result<void> kept = keep_over_ids(step, true); !kept) {
            return kept;
        }
    }
    const Result<KnownSet> now = bounding_set(step);
    if (!now) {
        return Unexpected{now.error()};
    }
    const CapabilitySet wanted = plan.capabilities->bounding;
    if (const CapabilitySet missing = (wanted & now->known) - now->set; !missing.empty()) {
        return no_capability(step, "bounding", missing);
    }
    for (CapabilitySet rest = now->set - wanted; !rest.empty(); rest = rest - rest.first()) {
        const auto number = static_cast<unsigned>(rest.first());
        const long dropped = call(SYS_prctl, PR_CAPBSET_DROP, number, 0, 0, 0);
        if (dropped < 0) {
            return fail(step, static_cast<int>(-dropped), name_of(rest.first()));
        }
    }
    return {};
}

[[nodiscard]] inline auto low_half(CapabilitySet set) noexcept -> std::uint32_t {
    return static_cast<std::uint32_t>(set.bits());
}

[[nodiscard]] inline auto high_half(CapabilitySet set) noexcept -> std::uint32_t {
    return static_cast<std::uint32_t>(set.bits() >> 32U);
}

/// Permitted, effective and inheritable ones, of which the kernel has not to know all. capset(2).
[[nodiscard]] inline auto take_capabilities(const Capabilities& wanted,
                                            CapabilitySet known) noexcept -> Result<void> {
    constexpr Step step = Step::set_capabilities;
    CapHeader header;
    std::array<CapData, 2> data{};
    long result = call(SYS_capget, &header, data.data());
    const CapabilitySet permitted = CapabilitySet::from_bits(
        data[0].permitted | (static_cast<std::uint64_t>(data[1].permitted) << 32U));
    if (const CapabilitySet missing = (wanted.permitted & known) - permitted;
        result == 0 && !missing.empty()) {
        return no_capability(step, "permitted", missing);
    }
    data = {CapData{low_half(wanted.effective), low_half(wanted.permitted),
                    low_half(wanted.inheritable)},
            CapData{high_half(wanted.effective), high_half(wanted.permitted),
                    high_half(wanted.inheritable)}};
    result = result == 0 ? call(SYS_capset, &header, data.data()) : result;
    return outcome(step, result);
}

inline constexpr int prctl_ambient = 47; // PR_CAP_AMBIENT

/// PR_CAP_AMBIENT(2const).
[[nodiscard]] inline auto take_ambient(CapabilitySet wanted) noexcept -> Result<void> {
    constexpr Step step = Step::set_capabilities;
    constexpr int raise = 2;
    constexpr int clear_all = 4;
    const long cleared = call(SYS_prctl, prctl_ambient, clear_all, 0, 0, 0);
    if (cleared < 0) {
        return outcome(step, cleared);
    }
    for (CapabilitySet rest = wanted; !rest.empty(); rest = rest - rest.first()) {
        const long raised =
            call(SYS_prctl, prctl_ambient, raise, static_cast<unsigned>(rest.first()), 0, 0);
        if (raised < 0) {
            return fail(step, static_cast<int>(-raised), name_of(rest.first()));
        }
    }
    return {};
}

/// Compares what the kernel says with what is wanted: a filter may have answered in its place.
[[nodiscard]] inline auto verify_capabilities(const Capabilities& wanted,
                                              CapabilitySet known) noexcept -> Result<void> {
    constexpr Step step = Step::set_capabilities;
    constexpr int is_set = 1;
    CapHeader header;
    std::array<CapData, 2> data{};
    const long result = call(SYS_capget, &header, data.data());
    if (result < 0) {
        return outcome(step, result);
    }
    const Result<KnownSet> ambient = read_set(
        step, [](unsigned number) { return call(SYS_prctl, prctl_ambient, is_set, number, 0, 0); });
    if (!ambient) {
        return Unexpected{ambient.error()};
    }
    const auto same = [known](CapabilitySet set, std::uint32_t low, std::uint32_t high) {
        return (set & known).bits() == (low | (static_cast<std::uint64_t>(high) << 32U));
    };
    const char* const differs =
        !same(wanted.permitted, data[0].permitted, data[1].permitted)         ? "permitted"
        : !same(wanted.effective, data[0].effective, data[1].effective)       ? "effective"
        : !same(wanted.inheritable, data[0].inheritable, data[1].inheritable) ? "inheritable"
        : (wanted.ambient & known) != ambient->set                            ? "ambient"
                                                                              : nullptr;
    return differs == nullptr ? Result<void>{} : fail(step, Reason::capabilities_differ, differs);
}

[[nodiscard]] inline auto set_capabilities(const Draft& plan) noexcept -> Result<void> {
    constexpr Step step = Step::set_capabilities;
    const Capabilities& wanted = *plan.capabilities;
    const Result<KnownSet> now = bounding_set(step);
    if (!now) {
        return Unexpected{now.error()};
    }
    if (now->set != (wanted.bounding & now->known)) {
        return fail(step, Reason::capabilities_differ, "bounding");
    }
    Result<void> done = take_capabilities(wanted, now->known);
    done = done ? take_ambient(wanted.ambient & now->known) : done;
    if (done && keeps_over_ids(plan)) { // as a child that goes on by itself does not expect it
        done = keep_over_ids(step, false);
    }
    return done ? verify_capabilities(wanted, now->known) : done;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_INSIDE_STEPS_HPP
