// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_KIND_HPP
#define NSJOIN_KIND_HPP

#include <nsjoin/detail/kernel/target.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nsjoin::inline v0_1 {

/// A kind of Linux namespace. See namespaces(7).
enum class Kind : std::uint8_t { user, mount, pid, net, ipc, uts, cgroup, time };

/// How many kinds there are.
inline constexpr std::size_t kind_count = 8;

/// Which processes a setns(2) or unshare(2) of a kind moves.
enum class Moves : std::uint8_t {
    caller,   ///< the calling thread itself, at once
    children, ///< only the children that the caller makes later
    /// setns: the caller at once; unshare: its later children, and the caller itself when it execs
    /// (Linux 6.2) or enters /proc/self/ns/time_for_children.
    caller_or_children,
};

/// What the kernel demands of whoever joins a namespace of a kind, beside CAP_SYS_ADMIN over the
/// namespace's owner and over the caller's own user namespace. A set: combine with |.
enum class Demands : std::uint8_t {
    nothing = 0,
    chroot_right = 1U << 0U,  ///< CAP_SYS_CHROOT in the caller's own user namespace, else EPERM
    one_thread = 1U << 1U,    ///< no second thread in the calling process, else EINVAL or EUSERS
    unshared_fs = 1U << 2U,   ///< root and working directory shared with nobody, else EINVAL
    unshared_mm = 1U << 3U,   ///< memory shared with no other process (no vfork child), else EUSERS
    another_user = 1U << 4U,  ///< not the user namespace that the caller is in already, else EINVAL
    descendant_pid = 1U << 5U ///< the caller's active pid namespace or a descendant, else EINVAL
};

[[nodiscard]] constexpr auto operator|(Demands a, Demands b) noexcept -> Demands {
    return static_cast<Demands>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

/// Whether `set` has every bit of `wanted`.
[[nodiscard]] constexpr auto has(Demands set, Demands wanted) noexcept -> bool {
    return (static_cast<unsigned>(set) & static_cast<unsigned>(wanted)) ==
           static_cast<unsigned>(wanted);
}

/// A Linux version, comparable: the first that has a feature.
struct KernelVersion {
    std::uint16_t major = 0;
    std::uint16_t minor = 0;

    [[nodiscard]] friend constexpr auto operator==(KernelVersion, KernelVersion) noexcept
        -> bool = default;

    [[nodiscard]] friend constexpr auto operator<(KernelVersion a, KernelVersion b) noexcept
        -> bool {
        return a.major != b.major ? a.major < b.major : a.minor < b.minor;
    }
};

/// The facts about one kind. See namespaces(7), setns(2), unshare(2), ioctl_nsfs(2) and
/// ioctl_pidfd(2).
struct KindFacts {
    Kind kind;
    std::uint32_t clone_flag;       ///< CLONE_NEW*, as clone3, unshare and setns take it
    std::string_view name;          ///< the entry in /proc/PID/ns
    std::string_view children_name; ///< the `_for_children` entry there, or empty
    std::string_view long_name;     ///< the word for it, as in the enum
    KernelVersion since;            ///< the first kernel with setns of this kind
    KernelVersion pidfd_since;      ///< the first kernel with setns(pidfd) of this kind
    Moves moves;
    Demands demands;
    std::uint8_t pidfd_ioctl; ///< number of PIDFD_GET_*_NAMESPACE (Linux 6.11), type 0xFF
    char option;              ///< the short option that nsenter(1) has for it
};

/// One row a kind, indexed by the kind.
inline constexpr std::array<KindFacts, kind_count> kind_table{{
    // clang-format off
    {Kind::user,   0x10000000U, "user",   "",                  "user",   {3, 8}, {5, 8}, Moves::caller,
     Demands::one_thread | Demands::unshared_fs | Demands::another_user,                    9, 'U'},
    {Kind::mount,  0x00020000U, "mnt",    "",                  "mount",  {3, 8}, {5, 8}, Moves::caller,
     Demands::chroot_right | Demands::unshared_fs,                                          3, 'm'},
    {Kind::pid,    0x20000000U, "pid",    "pid_for_children",  "pid",    {3, 8}, {5, 8}, Moves::children,
     Demands::descendant_pid,                                                               5, 'p'},
    {Kind::net,    0x40000000U, "net",    "",                  "net",    {3, 0}, {5, 8}, Moves::caller,
     Demands::nothing,                                                                      4, 'n'},
    {Kind::ipc,    0x08000000U, "ipc",    "",                  "ipc",    {3, 0}, {5, 8}, Moves::caller,
     Demands::nothing,                                                                      2, 'i'},
    {Kind::uts,    0x04000000U, "uts",    "",                  "uts",    {3, 0}, {5, 8}, Moves::caller,
     Demands::nothing,                                                                     10, 'u'},
    {Kind::cgroup, 0x02000000U, "cgroup", "",                  "cgroup", {4, 6}, {5, 8}, Moves::caller,
     Demands::nothing,                                                                      1, 'C'},
    {Kind::time,   0x00000080U, "time",   "time_for_children", "time",   {5, 6}, {5, 9}, Moves::caller_or_children,
     Demands::one_thread | Demands::unshared_mm,                                            7, 'T'},
    // clang-format on
}};

/// The row of a kind.
[[nodiscard]] constexpr auto facts(Kind kind) noexcept -> const KindFacts& {
    return kind_table[static_cast<std::size_t>(kind)];
}

/// A set of kinds: a value, usable in constant expressions.
class KindSet {
  public:
    /// The empty set.
    constexpr KindSet() noexcept = default;

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): a kind is a set of one
    constexpr KindSet(Kind kind) noexcept : bits_{bit(kind)} {}

    /// The set of the bits, bit n for the kind with enumerator n; other bits are dropped.
    [[nodiscard]] static constexpr auto from_bits(std::uint8_t bits) noexcept -> KindSet {
        KindSet set;
        set.bits_ = bits;
        return set;
    }

    /// The kinds of the CLONE_NEW* flags in `flags`; other flags are ignored.
    [[nodiscard]] static constexpr auto from_clone_flags(std::uint64_t flags) noexcept -> KindSet {
        KindSet set;
        for (const KindFacts& row : kind_table) {
            if ((flags & row.clone_flag) != 0) {
                set = set | row.kind;
            }
        }
        return set;
    }

    [[nodiscard]] constexpr auto bits() const noexcept -> std::uint8_t { return bits_; }

    [[nodiscard]] constexpr auto empty() const noexcept -> bool { return bits_ == 0; }

    [[nodiscard]] constexpr auto size() const noexcept -> std::size_t {
        return static_cast<std::size_t>(std::popcount(bits_));
    }

    /// Whether every kind of `other` is in this set.
    [[nodiscard]] constexpr auto contains(KindSet other) const noexcept -> bool {
        return (bits_ & other.bits_) == other.bits_;
    }

    /// Whether any kind is in both sets.
    [[nodiscard]] constexpr auto intersects(KindSet other) const noexcept -> bool {
        return (bits_ & other.bits_) != 0;
    }

    /// The CLONE_NEW* flags of the set, as setns(2) with a pidfd, clone3(2) and unshare(2) take
    /// them.
    [[nodiscard]] constexpr auto clone_flags() const noexcept -> std::uint32_t {
        std::uint32_t flags = 0;
        for (const Kind kind : *this) {
            flags |= facts(kind).clone_flag;
        }
        return flags;
    }

    [[nodiscard]] friend constexpr auto operator|(KindSet a, KindSet b) noexcept -> KindSet {
        return from_bits(static_cast<std::uint8_t>(a.bits_ | b.bits_));
    }

    [[nodiscard]] friend constexpr auto operator&(KindSet a, KindSet b) noexcept -> KindSet {
        return from_bits(static_cast<std::uint8_t>(a.bits_ & b.bits_));
    }

    /// The kinds of `a` that are not in `b`.
    [[nodiscard]] friend constexpr auto operator-(KindSet a, KindSet b) noexcept -> KindSet {
        return from_bits(static_cast<std::uint8_t>(a.bits_ & ~b.bits_));
    }

    [[nodiscard]] friend constexpr auto operator==(KindSet, KindSet) noexcept -> bool = default;

    /// Walks the kinds of a set in the order of the enum.
    class Iterator {
      public:
        constexpr explicit Iterator(std::uint8_t rest) noexcept : rest_{rest} {}

        [[nodiscard]] constexpr auto operator*() const noexcept -> Kind {
            return static_cast<Kind>(std::countr_zero(rest_));
        }

        constexpr auto operator++() noexcept -> Iterator& {
            rest_ = static_cast<std::uint8_t>(rest_ & (rest_ - 1U));
            return *this;
        }

        [[nodiscard]] friend constexpr auto operator==(Iterator, Iterator) noexcept
            -> bool = default;

      private:
        std::uint8_t rest_;
    };

    [[nodiscard]] constexpr auto begin() const noexcept -> Iterator { return Iterator{bits_}; }

    // NOLINTNEXTLINE(*-to-static): as begin()
    [[nodiscard]] constexpr auto end() const noexcept -> Iterator { return Iterator{0}; }

  private:
    [[nodiscard]] static constexpr auto bit(Kind kind) noexcept -> std::uint8_t {
        return static_cast<std::uint8_t>(1U << static_cast<unsigned>(kind));
    }

    std::uint8_t bits_ = 0;
};

[[nodiscard]] constexpr auto operator|(Kind a, Kind b) noexcept -> KindSet {
    return KindSet{a} | KindSet{b};
}

/// Kinds that are known when the program is compiled, so that the plan's rules about them are
/// checked by the compiler. Converts to a KindSet.
template <Kind... Ks>
struct Kinds {
    static constexpr KindSet set = (KindSet{} | ... | KindSet{Ks});

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same set, typed
    [[nodiscard]] constexpr operator KindSet() const noexcept { return set; }
};

/// `kinds<Kind::net, Kind::mount>`: those kinds, as a value that carries them in its type.
template <Kind... Ks>
inline constexpr Kinds<Ks...> kinds{};

/// Every kind.
inline constexpr auto all_kinds = kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                        Kind::uts, Kind::cgroup, Kind::time>;

/// The kind with an entry `name` in /proc/PID/ns ("mnt", "pid_for_children", …), written into
/// `kind`. Returns false, and leaves `kind` alone, for any other name.
[[nodiscard]] constexpr auto kind_from_name(std::string_view name, Kind& kind) noexcept -> bool {
    for (const KindFacts& row : kind_table) {
        if (name == row.name || (!row.children_name.empty() && name == row.children_name)) {
            kind = row.kind;
            return true;
        }
    }
    return false;
}

/// What the OCI runtime specification calls the kind: "mount", "network", "pid", ….
[[nodiscard]] constexpr auto oci_name(Kind kind) noexcept -> std::string_view {
    return kind == Kind::net ? "network" : facts(kind).long_name;
}

/// The kind that the OCI runtime specification calls so, written into `kind`. Returns false, and
/// leaves `kind` alone, for any other name.
[[nodiscard]] constexpr auto kind_from_oci_name(std::string_view name, Kind& kind) noexcept
    -> bool {
    for (const KindFacts& row : kind_table) {
        if (name == oci_name(row.kind)) {
            kind = row.kind;
            return true;
        }
    }
    return false;
}

namespace detail {

[[nodiscard]] constexpr auto kind_table_is_indexed_by_kind() noexcept -> bool {
    for (std::size_t i = 0; i < kind_table.size(); ++i) {
        if (static_cast<std::size_t>(kind_table[i].kind) != i) {
            return false;
        }
    }
    return true;
}

[[nodiscard]] constexpr auto kind_flags_are_distinct_bits() noexcept -> bool {
    std::uint32_t seen = 0;
    for (const KindFacts& row : kind_table) {
        if (!std::has_single_bit(row.clone_flag) || (seen & row.clone_flag) != 0) {
            return false;
        }
        seen |= row.clone_flag;
    }
    return true;
}

[[nodiscard]] constexpr auto only_children_have_a_second_entry() noexcept -> bool {
    for (const KindFacts& row : kind_table) {
        if ((row.moves != Moves::caller) == row.children_name.empty()) {
            return false;
        }
    }
    return true;
}

[[nodiscard]] constexpr auto versions_are_in_order() noexcept -> bool {
    for (const KindFacts& row : kind_table) {
        if (row.pidfd_since < row.since || row.name.empty() || row.option == '\0') {
            return false;
        }
    }
    return true;
}

static_assert(kind_table_is_indexed_by_kind());
static_assert(kind_flags_are_distinct_bits());
static_assert(only_children_have_a_second_entry());
static_assert(versions_are_in_order());
static_assert(has(facts(Kind::user).demands, Demands::another_user));
static_assert(has(facts(Kind::mount).demands, Demands::chroot_right | Demands::unshared_fs));
static_assert(has(facts(Kind::time).demands, Demands::unshared_mm));
static_assert(KindSet{all_kinds}.size() == kind_count);

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_KIND_HPP
