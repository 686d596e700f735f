// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_DIALECT_HPP
#define NSJOIN_BOOTSTRAP_DIALECT_HPP

#include <nsjoin/id_map.hpp>
#include <nsjoin/kind.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

// The dialects as tables: a decoder and an encoder read them, and no dialect has code of its own.

namespace nsjoin::inline v0_1 {

/// How a supervisor tells an embedding program what to do. A row of tables, not a program.
enum class Dialect : std::uint8_t {
    /// Environment variables only: the target's pid, a descriptor for the reply, a console's path.
    environment,
    runc_2016, ///< a netlink message: bare namespace paths, id maps, a console's path
    runc_1_1,  ///< runc 1.1: typed paths, oom_score_adj, mapping programs, mount sources
    runc_1_2,  ///< runc 1.2.0 and later: as 1.1, with time offsets in the place of mount sources
};

namespace detail {

/// What an attribute sets in a message.
enum class Field : std::uint8_t {
    clone_flags,
    console,
    paths,
    uid_map,
    gid_map,
    setgroups,
    oom_score_adj,
    rootless,
    newuidmap,
    newgidmap,
    mount_sources,
    time_offsets,
};

enum class Shape : std::uint8_t {
    number,    ///< 32 bits
    byte_flag, ///< one byte, 0 or 1
    word_flag, ///< 32 bits, 0 or 1
    text,
};

struct AttributeFacts {
    Field field;
    std::uint16_t type;
    Shape shape;
    std::uint16_t capacity; ///< the most bytes that a payload has, a final NUL not counted
    std::string_view name;
};

inline constexpr std::size_t path_capacity = 4095;
inline constexpr std::uint16_t paths_capacity = kind_count * (path_capacity + 8);
inline constexpr std::uint16_t map_capacity = id_map_capacity * 33;
inline constexpr std::uint16_t mounts_capacity = 65530;

// clang-format off
inline constexpr std::array runc_2016_attributes{
    AttributeFacts{Field::clone_flags,   27281, Shape::number,    4,               "clone flags"},
    AttributeFacts{Field::console,       27282, Shape::text,      path_capacity,   "console path"},
    AttributeFacts{Field::paths,         27283, Shape::text,      paths_capacity,  "namespace paths"},
    AttributeFacts{Field::uid_map,       27284, Shape::text,      map_capacity,    "uid map"},
    AttributeFacts{Field::gid_map,       27285, Shape::text,      map_capacity,    "gid map"},
    AttributeFacts{Field::setgroups,     27286, Shape::byte_flag, 1,               "setgroups"},
};
inline constexpr std::array runc_1_1_attributes{
    AttributeFacts{Field::clone_flags,   27281, Shape::number,    4,               "clone flags"},
    AttributeFacts{Field::paths,         27282, Shape::text,      paths_capacity,  "namespace paths"},
    AttributeFacts{Field::uid_map,       27283, Shape::text,      map_capacity,    "uid map"},
    AttributeFacts{Field::gid_map,       27284, Shape::text,      map_capacity,    "gid map"},
    AttributeFacts{Field::setgroups,     27285, Shape::word_flag, 4,               "setgroups"},
    AttributeFacts{Field::oom_score_adj, 27286, Shape::text,      8,               "oom_score_adj"},
    AttributeFacts{Field::rootless,      27287, Shape::word_flag, 4,               "rootless"},
    AttributeFacts{Field::newuidmap,     27288, Shape::text,      path_capacity,   "newuidmap path"},
    AttributeFacts{Field::newgidmap,     27289, Shape::text,      path_capacity,   "newgidmap path"},
    AttributeFacts{Field::mount_sources, 27290, Shape::text,      mounts_capacity, "mount sources"},
};
inline constexpr std::array runc_1_2_attributes{
    AttributeFacts{Field::clone_flags,   27281, Shape::number,    4,               "clone flags"},
    AttributeFacts{Field::paths,         27282, Shape::text,      paths_capacity,  "namespace paths"},
    AttributeFacts{Field::uid_map,       27283, Shape::text,      map_capacity,    "uid map"},
    AttributeFacts{Field::gid_map,       27284, Shape::text,      map_capacity,    "gid map"},
    AttributeFacts{Field::setgroups,     27285, Shape::word_flag, 4,               "setgroups"},
    AttributeFacts{Field::oom_score_adj, 27286, Shape::text,      8,               "oom_score_adj"},
    AttributeFacts{Field::rootless,      27287, Shape::word_flag, 4,               "rootless"},
    AttributeFacts{Field::newuidmap,     27288, Shape::text,      path_capacity,   "newuidmap path"},
    AttributeFacts{Field::newgidmap,     27289, Shape::text,      path_capacity,   "newgidmap path"},
    AttributeFacts{Field::time_offsets,  27290, Shape::text,      128,             "time offsets"},
};

// clang-format on

/// What is known of a dialect beside its attributes.
struct DialectFacts {
    Dialect dialect;
    std::string_view name;
    std::span<const AttributeFacts> attributes{};
    bool typed_paths = false;   ///< "net:/run/netns/blue", not only the path
    bool announces = false;     ///< sends one NUL byte before it reads the message
    bool two_pids = false;      ///< replies with the pids of two stages
    bool names = false;         ///< names its processes
    bool seals = false;         ///< seals the executable, if not asked otherwise
    bool logs_affinity = false; ///< says on which processors it may run
};

inline constexpr std::array dialect_table{
    DialectFacts{.dialect = Dialect::environment, .name = "environment"},
    DialectFacts{
        .dialect = Dialect::runc_2016, .name = "runc-2016", .attributes = runc_2016_attributes},
    DialectFacts{.dialect = Dialect::runc_1_1,
                 .name = "runc-1.1",
                 .attributes = runc_1_1_attributes,
                 .typed_paths = true,
                 .announces = true,
                 .two_pids = true,
                 .names = true,
                 .seals = true},
    DialectFacts{.dialect = Dialect::runc_1_2,
                 .name = "runc-1.2",
                 .attributes = runc_1_2_attributes,
                 .typed_paths = true,
                 .two_pids = true,
                 .names = true,
                 .logs_affinity = true},
};

} // namespace detail

/// The row of a dialect.
[[nodiscard]] constexpr auto facts(Dialect dialect) noexcept -> const detail::DialectFacts& {
    return detail::dialect_table[static_cast<std::size_t>(dialect)];
}

namespace detail {

inline constexpr std::size_t wire_header_size = 16;
inline constexpr std::size_t attribute_header_size = 4;
inline constexpr std::uint16_t init_message = 62000;
inline constexpr std::uint16_t error_message = 2; // NLMSG_ERROR

[[nodiscard]] constexpr auto align4(std::size_t size) noexcept -> std::size_t {
    return (size + 3) & ~std::size_t{3};
}

} // namespace detail

/// The most bytes that a message of the dialect has: each attribute once, each full.
[[nodiscard]] constexpr auto message_capacity(Dialect dialect) noexcept -> std::size_t {
    std::size_t size = detail::wire_header_size;
    for (const detail::AttributeFacts& attribute : facts(dialect).attributes) {
        size += detail::align4(detail::attribute_header_size + attribute.capacity + 1U);
    }
    return size;
}

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_DIALECT_HPP
