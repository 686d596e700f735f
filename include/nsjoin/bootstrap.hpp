// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_HPP
#define NSJOIN_BOOTSTRAP_HPP

#include <nsjoin/detail/engine/join_calls.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>
#include <utility>

namespace nsjoin {

/// How a supervisor tells an embedding program what to do. A row of tables, not a program.
enum class Dialect : std::uint8_t {
    /// Environment variables only: the target's pid, a descriptor for the reply, a console's path.
    environment,
    runc_2016, ///< a netlink message: bare namespace paths, id maps, a console's path
    runc_1_1,  ///< runc 1.1: typed paths, oom_score_adj, mapping programs, mount sources
    runc_1_2,  ///< runc 1.2.0 and later: as 1.1, with time offsets in the place of mount sources
};

/// A namespace to join, by path.
struct NamespacePath {
    std::optional<Kind> kind{}; ///< nothing where the dialect does not say it
    std::string_view path{};    ///< absolute

    [[nodiscard]] friend constexpr auto operator==(const NamespacePath&,
                                                   const NamespacePath&) noexcept -> bool = default;
};

/// What a bootstrap message says, its form checked, its paths not opened. A value; its texts are
/// views into the message, or into whatever an encoder is given.
struct BootstrapMessage {
    KindSet created{};
    std::array<NamespacePath, kind_count> joins{}; ///< the first join_count are used
    std::size_t join_count = 0;
    std::string_view console{}; ///< the path of a terminal, or empty
    std::optional<IdMap> uids{};
    std::optional<IdMap> gids{};
    bool setgroups_allowed = false;
    std::optional<int> oom_score_adj{};
    bool rootless = false;            ///< the supervisor has no privileges outside
    std::string_view newuidmap{};     ///< the path of newuidmap(1); empty: it is not used
    std::string_view newgidmap{};     ///< the path of newgidmap(1); empty: it is not used
    std::string_view mount_sources{}; ///< paths, each ended by NUL, an empty one for no path
    std::optional<TimeOffsets> time_offsets{};

    [[nodiscard]] auto namespaces() const noexcept -> std::span<const NamespacePath> {
        return {joins.data(), join_count};
    }

    [[nodiscard]] friend auto operator==(const BootstrapMessage&, const BootstrapMessage&) noexcept
        -> bool = default;
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

/// The longest message of the dialect: each attribute once, each full.
[[nodiscard]] constexpr auto message_capacity(Dialect dialect) noexcept -> std::size_t {
    std::size_t size = wire_header_size;
    for (const AttributeFacts& attribute : facts(dialect).attributes) {
        size += align4(attribute_header_size + attribute.capacity + 1U);
    }
    return size;
}

[[nodiscard]] inline auto broken(std::string_view what, std::string_view why,
                                 Reason reason = Reason::bad_message) noexcept -> Unexpected {
    auto error = fail(Step::read_bootstrap, reason, what);
    error.error().subject.append(": ").append(why);
    return error;
}

/// The same, about a line or an item of a list, from 1.
[[nodiscard]] inline auto broken(std::string_view what, std::string_view part, std::size_t number,
                                 std::string_view why) noexcept -> Unexpected {
    auto error = fail(Step::read_bootstrap, Reason::bad_message, what);
    error.error().subject.append(": ").append(part).append(" ");
    error.error().subject.append(static_cast<std::int64_t>(number)).append(" ").append(why);
    return error;
}

template <typename Number>
[[nodiscard]] inline auto load(std::span<const std::byte> bytes, std::size_t at) noexcept
    -> Number {
    Number number{};
    std::memcpy(&number, bytes.data() + at, sizeof number);
    return number;
}

/// The length that a header of 16 bytes announces, itself included.
[[nodiscard]] inline auto check_header(Dialect dialect, std::span<const std::byte> header) noexcept
    -> Result<std::size_t> {
    const auto type = load<std::uint16_t>(header, 4);
    if (type == error_message) {
        return broken("message", "the supervisor gave up (NLMSG_ERROR)");
    }
    if (type != init_message) {
        return broken("message", "is of another type than 62000");
    }
    const std::size_t length = load<std::uint32_t>(header, 0);
    if (length < wire_header_size) {
        return broken("message", "is shorter than its own header");
    }
    if (length > message_capacity(dialect)) {
        return broken("message", "is longer than all attributes together can be");
    }
    return length;
}

[[nodiscard]] inline auto check_path(std::string_view what, std::string_view path) noexcept
    -> Result<void> {
    if (path.empty()) {
        return broken(what, "is empty");
    }
    if (path.front() != '/') {
        return broken(what, "is not absolute");
    }
    if (path.size() > path_capacity) {
        return broken(what, "is longer than 4095 bytes");
    }
    return {};
}

/// The items of a comma-separated list of paths.
[[nodiscard]] inline auto parse_paths(const DialectFacts& dialect, std::string_view what,
                                      std::string_view text, BootstrapMessage& message) noexcept
    -> Result<void> {
    KindSet kinds;
    bool more = true;
    while (more) {
        const std::size_t number = message.join_count + 1;
        if (number > kind_count) {
            return broken(what, "has more than eight");
        }
        more = text.find(',') != std::string_view::npos;
        std::string_view path = take_until(text, ',');
        NamespacePath& join = message.joins[message.join_count];
        if (dialect.typed_paths) {
            Kind kind{};
            if (path.find(':') == std::string_view::npos) {
                return broken(what, "item", number, "has no type before it (a comma in a path?)");
            }
            const std::string_view type = take_until(path, ':');
            if (!kind_from_name(type, kind) || type != nsjoin::facts(kind).name) {
                return broken(what, "item", number, "has an unknown type");
            }
            if (kinds.contains(kind)) {
                return broken(what, "item", number, "has the type of an earlier one");
            }
            kinds = kinds | kind;
            join.kind = kind;
        }
        if (path.empty() || path.front() != '/') {
            return broken(what, "item", number, "is no absolute path (a comma in a path?)");
        }
        if (path.size() > path_capacity) {
            return broken(what, "item", number, "is longer than 4095 bytes");
        }
        join.path = path;
        ++message.join_count;
    }
    return {};
}

/// Takes the next word of a line, which blanks end, and the blanks before it.
[[nodiscard]] constexpr auto take_word(std::string_view& line) noexcept -> std::string_view {
    while (!line.empty() && line.front() == ' ') {
        line.remove_prefix(1);
    }
    return take_until(line, ' ');
}

/// A line of exactly three words that are numbers.
[[nodiscard]] inline auto parse_extent(std::string_view line, IdExtent& extent) noexcept -> bool {
    const bool numbers = parse_number(take_word(line), extent.inside) &&
                         parse_number(take_word(line), extent.outside) &&
                         parse_number(take_word(line), extent.count);
    return numbers && take_word(line).empty();
}

/// The lines of uid_map or gid_map. user_namespaces(7).
[[nodiscard]] inline auto parse_map(std::string_view what, std::string_view text,
                                    std::optional<IdMap>& map) noexcept -> Result<void> {
    if (text.empty()) {
        return broken(what, "is empty");
    }
    if (text.back() != '\n') {
        return broken(what, "has no newline at its end");
    }
    std::array<IdExtent, id_map_capacity> extents{};
    std::size_t count = 0;
    while (!text.empty()) {
        if (count == extents.size()) {
            return broken(what, "has more than 340 lines");
        }
        if (!parse_extent(take_until(text, '\n'), extents[count])) {
            return broken(what, "line", count + 1, "is not INSIDE OUTSIDE COUNT");
        }
        ++count;
    }
    const auto checked = IdMap::from(std::span{extents.data(), count});
    if (!checked) {
        Error error{Step::read_bootstrap, checked.error().reason, 0, Subject{what}};
        error.subject.append(": ").append(checked.error().subject.view());
        return Unexpected{error};
    }
    map.emplace(*checked);
    return {};
}

[[nodiscard]] inline auto parse_offset(std::string_view line, TimeOffsets& offsets,
                                       unsigned& seen) noexcept -> bool {
    const std::string_view clock = take_word(line);
    const bool is_boottime = clock == "boottime";
    const unsigned bit = is_boottime ? 2U : 1U;
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
    // What 64 bits of nanoseconds hold.
    constexpr std::int64_t most = INT64_MAX / 1'000'000'000 - 1;
    if ((!is_boottime && clock != "monotonic") || (seen & bit) != 0 ||
        !parse_number(take_word(line), seconds) || !parse_number(take_word(line), nanoseconds) ||
        !take_word(line).empty() || seconds > most || seconds < -most || nanoseconds < 0 ||
        nanoseconds > 999'999'999) {
        return false;
    }
    seen |= bit;
    (is_boottime ? offsets.boottime : offsets.monotonic) =
        Duration::nanoseconds(seconds * nanoseconds_per_second + nanoseconds);
    return true;
}

/// The lines of timens_offsets. time_namespaces(7).
[[nodiscard]] inline auto parse_offsets(std::string_view what, std::string_view text,
                                        std::optional<TimeOffsets>& offsets) noexcept
    -> Result<void> {
    if (text.empty()) {
        return broken(what, "is empty");
    }
    TimeOffsets parsed;
    unsigned seen = 0;
    for (std::size_t number = 1; !text.empty(); ++number) {
        if (!parse_offset(take_until(text, '\n'), parsed, seen)) {
            return broken(what, "line", number,
                          "is not monotonic or boottime, SECONDS NANOSECONDS");
        }
    }
    offsets = parsed;
    return {};
}

/// An attribute as it lies in a message.
struct Attribute {
    const AttributeFacts* facts = nullptr;
    std::span<const std::byte> payload;

    /// The payload as text, without the one final NUL that it may have.
    [[nodiscard]] auto text() const noexcept -> std::string_view {
        // NOLINTNEXTLINE(*-reinterpret-cast): bytes of a text
        std::string_view text{reinterpret_cast<const char*>(payload.data()), payload.size()};
        if (!text.empty() && text.back() == '\0') {
            text.remove_suffix(1);
        }
        return text;
    }

    /// Precondition: the shape was checked.
    [[nodiscard]] auto number() const noexcept -> std::uint32_t {
        return payload.size() == 1 ? load<std::uint8_t>(payload, 0)
                                   : load<std::uint32_t>(payload, 0);
    }
};

/// Checks what the attribute's shape demands.
[[nodiscard]] inline auto check_attribute(const Attribute& attribute) noexcept -> Result<void> {
    const AttributeFacts& row = *attribute.facts;
    if (row.shape == Shape::text) {
        const std::string_view text = attribute.text();
        if (text.size() > row.capacity) {
            return broken(row.name, "is too long");
        }
        if (row.field != Field::mount_sources && text.find('\0') != std::string_view::npos) {
            return broken(row.name, "has a NUL in it");
        }
        return {};
    }
    if (attribute.payload.size() != row.capacity) {
        return broken(row.name,
                      row.shape == Shape::byte_flag ? "is not one byte" : "is not four bytes");
    }
    if (row.shape != Shape::number && attribute.number() > 1) {
        return broken(row.name, "is neither 0 nor 1");
    }
    return {};
}

/// Puts what the attribute says into the message.
[[nodiscard]] inline auto take_attribute(const DialectFacts& dialect, const Attribute& attribute,
                                         BootstrapMessage& message) noexcept -> Result<void> {
    const std::string_view name = attribute.facts->name;
    const auto take_path = [&](std::string_view& path) {
        path = attribute.text();
        return check_path(name, path);
    };
    switch (attribute.facts->field) {
    case Field::clone_flags:
        message.created = KindSet::from_clone_flags(attribute.number());
        return message.created.clone_flags() == attribute.number()
                   ? Result<void>{}
                   : broken(name, "has a flag that is no namespace's");
    case Field::console:
        return take_path(message.console);
    case Field::paths:
        return parse_paths(dialect, name, attribute.text(), message);
    case Field::uid_map:
        return parse_map(name, attribute.text(), message.uids);
    case Field::gid_map:
        return parse_map(name, attribute.text(), message.gids);
    case Field::setgroups:
        message.setgroups_allowed = attribute.number() == 1;
        return {};
    case Field::oom_score_adj:
        if (int value = 0; parse_number(attribute.text(), value)) {
            message.oom_score_adj = value;
            return {};
        }
        return broken(name, "is no decimal number");
    case Field::rootless:
        message.rootless = attribute.number() == 1;
        return {};
    case Field::newuidmap:
        return take_path(message.newuidmap);
    case Field::newgidmap:
        return take_path(message.newgidmap);
    case Field::mount_sources:
        message.mount_sources = attribute.text();
        return {};
    case Field::time_offsets:
        return parse_offsets(name, attribute.text(), message.time_offsets);
    }
    return {};
}

/// Takes the next attribute off the front of `rest`. Precondition: there is something.
[[nodiscard]] inline auto next_attribute(const DialectFacts& dialect,
                                         std::span<const std::byte>& rest) noexcept
    -> Result<Attribute> {
    if (rest.size() < attribute_header_size) {
        return broken("message", "ends inside of an attribute's header");
    }
    const std::size_t length = load<std::uint16_t>(rest, 0);
    const auto type = load<std::uint16_t>(rest, 2);
    Attribute attribute;
    for (const AttributeFacts& row : dialect.attributes) {
        attribute.facts = row.type == type ? &row : attribute.facts;
    }
    if (attribute.facts == nullptr) {
        Subject subject{"attribute "};
        subject.append(std::int64_t{type});
        return broken(subject.view(), "is unknown to the dialect");
    }
    if (length < attribute_header_size) {
        return broken(attribute.facts->name, "has a length under 4");
    }
    if (length > rest.size()) {
        return broken(attribute.facts->name, "goes past the end of the message");
    }
    attribute.payload = rest.subspan(attribute_header_size, length - attribute_header_size);
    const std::size_t padded = align4(length);
    rest = rest.subspan(padded < rest.size() ? padded : rest.size());
    return attribute;
}

/// What no attribute breaks alone.
[[nodiscard]] inline auto check_together(const BootstrapMessage& message) noexcept -> Result<void> {
    if (message.uids.has_value() != message.gids.has_value()) {
        return message.uids ? broken("gid map", "is missing, and the uid map is there")
                            : broken("uid map", "is missing, and the gid map is there");
    }
    return {};
}

} // namespace detail

/// Reads a message of a netlink dialect: the form of every part is checked, nothing of what it
/// says is believed, and nothing is opened. Pure: no system call, no allocation. The result's
/// texts are views into `bytes`. Errors, all of Step::read_bootstrap, with the attribute's name
/// and what is wrong with it: bad_message, or for the lines of an id map what IdMap::from says.
[[nodiscard]] inline auto decode(Dialect dialect, std::span<const std::byte> bytes) noexcept
    -> Result<BootstrapMessage> {
    if (bytes.size() < detail::wire_header_size) {
        return detail::broken("message", "ends inside of its header");
    }
    const Result<std::size_t> length = detail::check_header(dialect, bytes);
    if (!length) {
        return Unexpected{length.error()};
    }
    if (*length != bytes.size()) {
        return detail::broken("message", *length > bytes.size() ? "is shorter than its header says"
                                                                : "is longer than its header says");
    }
    BootstrapMessage message;
    std::uint32_t seen = 0;
    std::span<const std::byte> rest = bytes.subspan(detail::wire_header_size);
    while (!rest.empty()) {
        const Result<detail::Attribute> attribute = detail::next_attribute(facts(dialect), rest);
        if (!attribute) {
            return Unexpected{attribute.error()};
        }
        const std::uint32_t bit = 1U << static_cast<unsigned>(attribute->facts->field);
        Result<void> done = (seen & bit) != 0
                                ? detail::broken(attribute->facts->name, "is there twice")
                                : detail::check_attribute(*attribute);
        if (done) {
            done = detail::take_attribute(facts(dialect), *attribute, message);
        }
        if (!done) {
            return Unexpected{done.error()};
        }
        seen |= bit;
    }
    const Result<void> whole = detail::check_together(message);
    if (!whole) {
        return Unexpected{whole.error()};
    }
    return message;
}

namespace detail {

[[nodiscard]] inline auto cannot_say(std::string_view what, std::string_view why) noexcept
    -> Unexpected {
    auto error = broken(what, why);
    error.error().step = Step::start_program;
    return error;
}

/// Writes attributes one after the other into memory of a fixed size.
class WireWriter {
  public:
    explicit WireWriter(std::span<std::byte> into) noexcept : into_{into} {
        skip(wire_header_size);
    }

    void begin(std::uint16_t type) noexcept {
        start_ = size_;
        type_ = type;
        skip(attribute_header_size);
    }

    void bytes(const void* data, std::size_t count) noexcept {
        if (count > into_.size() - size_) {
            full_ = true;
            return;
        }
        if (count != 0) { // memcpy takes no null, not even for nothing
            std::memcpy(into_.data() + size_, data, count);
            size_ += count;
        }
    }

    void text(std::string_view text) noexcept { bytes(text.data(), text.size()); }

    void number(std::int64_t number) noexcept {
        Subject digits;
        text(digits.append(number).view());
    }

    /// Ends the attribute; a text also with a NUL, as Go's encoder does it. False if it is longer
    /// than the dialect lets it be (CVE-2021-43784 was a length that wrapped).
    [[nodiscard]] auto end(const AttributeFacts& row) noexcept -> bool {
        if (size_ - start_ - attribute_header_size > row.capacity) {
            return false;
        }
        if (row.shape == Shape::text) {
            bytes("", 1);
        }
        put(start_, static_cast<std::uint16_t>(size_ - start_));
        put(start_ + 2, type_);
        // Nothing pads a flag of one byte.
        skip(row.shape == Shape::byte_flag ? 0 : align4(size_) - size_);
        return true;
    }

    /// The size of the whole message, whose header is written; 0 if there was no room for it.
    [[nodiscard]] auto finish() noexcept -> std::size_t {
        if (full_) {
            return 0;
        }
        put(0, static_cast<std::uint32_t>(size_));
        put(4, init_message);
        put(6, std::uint16_t{1}); // NLM_F_REQUEST
        put(8, std::uint64_t{0});
        return size_;
    }

  private:
    void skip(std::size_t count) noexcept {
        constexpr std::array<char, wire_header_size> zeros{};
        bytes(zeros.data(), count);
    }

    template <typename Number>
    void put(std::size_t at, Number number) noexcept {
        if (!full_) {
            std::memcpy(into_.data() + at, &number, sizeof number);
        }
    }

    std::span<std::byte> into_;
    std::size_t size_ = 0;
    std::size_t start_ = 0;
    std::uint16_t type_ = 0;
    bool full_ = false;
};

/// Whether the message says something that this field carries.
[[nodiscard]] inline auto says(const BootstrapMessage& message, Field field) noexcept -> bool {
    switch (field) {
    case Field::clone_flags:
        return true;
    case Field::console:
        return !message.console.empty();
    case Field::paths:
        return message.join_count != 0;
    case Field::uid_map:
        return message.uids.has_value();
    case Field::gid_map:
        return message.gids.has_value();
    case Field::setgroups:
        return message.setgroups_allowed;
    case Field::oom_score_adj:
        return message.oom_score_adj.has_value();
    case Field::rootless:
        return message.rootless;
    case Field::newuidmap:
        return !message.newuidmap.empty();
    case Field::newgidmap:
        return !message.newgidmap.empty();
    case Field::mount_sources:
        return !message.mount_sources.empty();
    case Field::time_offsets:
        return message.time_offsets.has_value();
    }
    return false;
}

inline void put_map(WireWriter& writer, const IdMap& map) noexcept {
    for (const IdExtent& e : map.extents()) {
        writer.number(e.inside);
        writer.text(" ");
        writer.number(e.outside);
        writer.text(" ");
        writer.number(e.count);
        writer.text("\n");
    }
}

inline void put_offset(WireWriter& writer, std::string_view clock, Duration offset) noexcept {
    const SecondsAndRest parts = split(offset);
    writer.text(clock);
    writer.number(parts.seconds);
    writer.text(" ");
    writer.number(parts.nanoseconds);
    writer.text("\n");
}

/// Writes the list of paths. An item that would be read as something else is an error.
[[nodiscard]] inline auto put_paths(WireWriter& writer, const DialectFacts& dialect,
                                    const BootstrapMessage& message) noexcept -> Result<void> {
    std::string_view separator;
    for (const NamespacePath& join : message.namespaces()) {
        const Result<void> good = check_path("namespace paths: a path", join.path);
        if (!good || join.path.find(',') != std::string_view::npos ||
            join.path.find('\0') != std::string_view::npos) {
            return cannot_say("namespace paths", "a path is not absolute, or has a comma in it");
        }
        if (join.kind.has_value() != dialect.typed_paths) {
            return cannot_say("namespace paths", "types go with a dialect that has them");
        }
        writer.text(separator);
        separator = ",";
        if (join.kind) {
            writer.text(facts(*join.kind).name);
            writer.text(":");
        }
        writer.text(join.path);
    }
    return {};
}

/// Writes the payload of one attribute.
[[nodiscard]] inline auto put_payload(WireWriter& writer, const DialectFacts& dialect,
                                      const AttributeFacts& row,
                                      const BootstrapMessage& message) noexcept -> Result<void> {
    const auto flag = [&](bool set) {
        const std::uint32_t word = set ? 1 : 0;
        const std::uint8_t byte = set ? 1 : 0;
        row.shape == Shape::byte_flag ? writer.bytes(&byte, 1) : writer.bytes(&word, sizeof word);
    };
    const std::uint32_t flags = message.created.clone_flags();
    switch (row.field) {
    case Field::clone_flags:
        writer.bytes(&flags, sizeof flags);
        break;
    case Field::console:
        writer.text(message.console);
        break;
    case Field::paths:
        return put_paths(writer, dialect, message);
    case Field::uid_map:
        put_map(writer, *message.uids);
        break;
    case Field::gid_map:
        put_map(writer, *message.gids);
        break;
    case Field::setgroups:
        flag(message.setgroups_allowed);
        break;
    case Field::oom_score_adj:
        writer.number(*message.oom_score_adj);
        break;
    case Field::rootless:
        flag(message.rootless);
        break;
    case Field::newuidmap:
        writer.text(message.newuidmap);
        break;
    case Field::newgidmap:
        writer.text(message.newgidmap);
        break;
    case Field::mount_sources:
        writer.text(message.mount_sources);
        break;
    case Field::time_offsets:
        put_offset(writer, "monotonic ", message.time_offsets->monotonic);
        put_offset(writer, "boottime ", message.time_offsets->boottime);
        break;
    }
    return {};
}

/// What of the message the dialect has no attribute for, or an empty name.
[[nodiscard]] inline auto unsayable(Dialect dialect, const BootstrapMessage& message) noexcept
    -> std::string_view {
    constexpr std::array<const std::span<const AttributeFacts>, 3> tables{
        runc_2016_attributes, runc_1_1_attributes, runc_1_2_attributes};
    for (const std::span<const AttributeFacts> table : tables) {
        for (const AttributeFacts& wanted : table) {
            bool there = !says(message, wanted.field);
            for (const AttributeFacts& row : facts(dialect).attributes) {
                there = there || row.field == wanted.field;
            }
            if (!there) {
                return wanted.name;
            }
        }
    }
    return {};
}

} // namespace detail

/// The most bytes that a message of the dialect has.
[[nodiscard]] constexpr auto message_capacity(Dialect dialect) noexcept -> std::size_t {
    return detail::message_capacity(dialect);
}

/// Writes a message of a netlink dialect into `into`, for which message_capacity() bytes always
/// suffice, and returns its size. decode() gives the same message again. Pure. Errors, all of
/// Step::start_program: bad_message for what the dialect can't say, with its name; ENOBUFS if
/// `into` is too small.
[[nodiscard]] inline auto encode(Dialect dialect, const BootstrapMessage& message,
                                 std::span<std::byte> into) noexcept -> Result<std::size_t> {
    const std::string_view missing = detail::unsayable(dialect, message);
    if (!missing.empty()) {
        return detail::cannot_say(missing, "the dialect has no attribute for it");
    }
    if (into.size() < detail::wire_header_size) {
        return detail::fail(Step::start_program, ENOBUFS);
    }
    detail::WireWriter writer{into};
    for (const detail::AttributeFacts& row : facts(dialect).attributes) {
        if (!detail::says(message, row.field)) {
            continue;
        }
        writer.begin(row.type);
        const Result<void> put = detail::put_payload(writer, facts(dialect), row, message);
        if (!put) {
            return Unexpected{put.error()};
        }
        if (!writer.end(row)) {
            return detail::cannot_say(row.name, "is too long");
        }
    }
    const std::size_t size = writer.finish();
    if (size == 0) {
        return detail::fail(Step::start_program, ENOBUFS);
    }
    return size;
}

namespace detail {

/// Whole pages: new needs the C++ run-time library, and the first malloc(3) of a process twice the
/// system calls.
template <typename T>
class Array {
  public:
    Array() noexcept = default;

    /// All zero, as is what follows the last. Running out of memory ends the program.
    explicit Array(std::size_t size) noexcept : size_{size} {
        void* const pages =
            ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        expect(pages != MAP_FAILED, "out of memory"); // NOLINT(*-cast,performance-no-int-to-ptr)
        data_ = static_cast<T*>(pages);
    }

    Array(Array&& other) noexcept
        : data_{std::exchange(other.data_, nullptr)}, size_{std::exchange(other.size_, 0)} {}

    auto operator=(Array&& other) noexcept -> Array& {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }

    Array(const Array&) = delete;
    auto operator=(const Array&) -> Array& = delete;

    ~Array() {
        if (data_ != nullptr) {
            (void)::munmap(data_, bytes());
        }
    }

    [[nodiscard]] auto view() const noexcept -> std::span<T> { return {data_, size_}; }

  private:
    static_assert(std::is_trivially_copyable_v<T>);

    [[nodiscard]] auto bytes() const noexcept -> std::size_t { return (size_ + 1) * sizeof(T); }

    T* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A path of the message, ended by NUL for the kernel.
class PathText {
  public:
    /// Precondition: it is no longer than check_path() lets it be.
    explicit PathText(std::string_view path) noexcept {
        expect(path.size() < text_.size(), "a path is longer than it can be");
        std::memcpy(text_.data(), path.data(), path.size());
    }

    [[nodiscard]] auto c_str() const noexcept -> const char* { return text_.data(); }

  private:
    std::array<char, path_capacity + 1> text_{};
};

/// Opens a terminal by path. Only a character device is opened at all: what else a path leads to
/// (a FIFO, say) must not notice. open(2) O_PATH, then O_RDWR of the very same file.
[[nodiscard]] inline auto open_console(std::string_view path) noexcept -> Result<OwnedFd> {
    const PathText name{path};
    const auto found = open_owned(Step::check_console, AT_FDCWD, name.c_str(), O_PATH);
    if (!found) {
        return Unexpected{found.error()};
    }

    struct stat about {};

    if (::fstat(found->get(), &about) != 0) {
        return fail(Step::check_console, errno, path);
    }
    if ((about.st_mode & S_IFMT) != S_IFCHR) {
        return fail(Step::check_console, Reason::not_a_terminal, path);
    }
    return reopen(Step::check_console, *found, O_RDWR | O_NOCTTY, path);
}

/// setns(2) refuses the caller's own user namespace. Were it passed over, a child that was to be
/// kept out of the host's user namespace would run in it.
[[nodiscard]] inline auto own_user_namespace(std::string_view path) noexcept -> Unexpected {
    auto error = broken("namespace paths",
                        "the caller is in that user namespace, which can't be joined again: name "
                        "another, or none");
    error.error().subject.append(": ").append(path);
    return error;
}

/// The process of a path of the form /proc/PID/ns/KIND, of the kind that the message says if it
/// says one; 0 for any other path.
[[nodiscard]] inline auto process_of(const NamespacePath& join, Kind& kind) noexcept -> pid_t {
    constexpr std::string_view proc = "/proc/";
    if (first(join.path, proc.size()) != proc) {
        return 0;
    }
    std::string_view rest = after(join.path, proc.size());
    const std::string_view number = take_until(rest, '/');
    pid_t pid = 0;
    const bool good = parse_number(number, pid) && pid > 0 && number.front() != '0' &&
                      take_until(rest, '/') == "ns" && kind_from_name(rest, kind) &&
                      rest == facts(kind).name && join.kind.value_or(kind) == kind;
    return good ? pid : 0;
}

/// The one process whose namespaces all the paths name; 0 if there is none.
[[nodiscard]] inline auto process_of(std::span<const NamespacePath> joins) noexcept -> pid_t {
    pid_t common = 0;
    for (const NamespacePath& join : joins) {
        Kind kind{};
        const pid_t pid = process_of(join, kind);
        if (pid == 0 || (common != 0 && pid != common)) {
            return 0;
        }
        common = pid;
    }
    return common;
}

} // namespace detail

/// A plan that came over a wire, and what it borrows: the descriptors of the namespaces, the
/// console, the texts. Move-only.
class [[nodiscard]] Bootstrap {
  public:
    /// Opens what the message names, and checks the plan. `bytes` is the memory that the message's
    /// texts are views into; it is kept as long as the plan. `mount_numbers` are the descriptors
    /// that the child is to find the message's mount sources under, one a path, -1 for an empty
    /// one; `proc` is the /proc of the caller's pid namespace, if it is open already. Errors: those
    /// of opening the namespaces and the console, with the path; wrong_kind; bad_message for a path
    /// of the caller's own user namespace; those of Plan::from.
    [[nodiscard]] static auto open(Dialect dialect, const BootstrapMessage& message,
                                   detail::Array<std::byte> bytes = {},
                                   std::span<const int> mount_numbers = {},
                                   BorrowedFd proc = {}) noexcept -> Result<Bootstrap> {
        Holdings held;
        held.bytes = std::move(bytes);
        Draft draft = values(dialect, message);
        Result<void> done = join_paths(message, proc, held, draft);
        if (done && !message.console.empty()) {
            done = take_console(message, held, draft);
        }
        if (done) {
            done = take_mounts(message, mount_numbers, held, draft);
        }
        if (!done) {
            return Unexpected{done.error()};
        }
        return checked(std::move(draft), std::move(held));
    }

    /// What the dialect `environment` says: joins every namespace of process `target` that differs
    /// from the caller's; `console` is a path, or empty. Errors: those of PidFd::open and of
    /// opening the console.
    [[nodiscard]] static auto open(pid_t target, std::string_view console) noexcept
        -> Result<Bootstrap> {
        BootstrapMessage message;
        message.console = console;
        Holdings held;
        Draft draft = values(Dialect::environment, message);
        auto pinned = PidFd::open(target);
        if (!pinned) {
            return Unexpected{pinned.error()};
        }
        draft.join(*pinned, all_kinds);
        held.target = pinned->release(); // the plan has its number
        if (!console.empty()) {
            const Result<void> done = take_console(message, held, draft);
            if (!done) {
                return Unexpected{done.error()};
            }
        }
        return checked(std::move(draft), std::move(held));
    }

    /// The plan, which borrows from this object.
    [[nodiscard]] auto plan() const& noexcept -> const Plan& { return plan_; }

    auto plan() && -> const Plan& = delete;

  private:
    struct Holdings {
        detail::Array<std::byte> bytes;
        std::array<OwnedFd, kind_count> spaces;
        OwnedFd target;
        OwnedFd console;
        detail::Array<MountSource> mounts;
    };

    Bootstrap(Plan plan, Holdings held) noexcept : held_{std::move(held)}, plan_{std::move(plan)} {}

    /// What needs nothing opened.
    [[nodiscard]] static auto values(Dialect dialect, const BootstrapMessage& message) noexcept
        -> Draft {
        const detail::DialectFacts& row = facts(dialect);
        Draft draft;
        draft.created = message.created;
        if (message.uids && message.gids) {
            const Setgroups denied =
                message.rootless ? Setgroups::deny : Setgroups::automatic; // as the kernel wants it
            draft.maps.emplace(NewUser{*message.uids, *message.gids,
                                       message.setgroups_allowed ? Setgroups::allow : denied});
        }
        draft.time_offsets = message.time_offsets;
        draft.oom_score_adj = message.oom_score_adj;
        if (dialect != Dialect::environment) {
            // A supervisor that names none has none: its PATH is not this program's.
            draft.newuidmap = message.newuidmap;
            draft.newgidmap = message.newgidmap;
        }
        draft.new_session = true;
        draft.child_of = ChildOf::callers_parent;
        if (row.names) {
            draft.name = ProcessName{"runc:[2:INIT]"};
        }
        if (dialect != Dialect::environment) {
            const bool drop = row.two_pids && !message.rootless && message.setgroups_allowed;
            draft.credentials.emplace(
                Credentials{.uid = 0, .gid = 0, .groups = drop ? Groups{} : Groups::keep()});
        }
        return draft;
    }

    /// Where all the paths are those of one process, joins from that: by one call, and nothing is
    /// opened. False if they are not, or if it can't be pinned.
    [[nodiscard]] static auto join_process(const BootstrapMessage& message, BorrowedFd proc,
                                           Holdings& held, Draft& draft) noexcept -> Result<bool> {
        const pid_t pid = detail::process_of(message.namespaces());
        // In another /proc the pids are others.
        if (pid == 0 || (!proc.ok() && !detail::open_own_proc(::getpid()))) {
            return false;
        }
        auto target = PidFd::open(pid);
        if (!target) {
            return false;
        }
        for (const NamespacePath& join : message.namespaces()) {
            Kind kind{};
            (void)detail::process_of(join, kind);
            draft.join(*target, kind);
            if (kind == Kind::user && detail::source_is_own(draft.source(kind), kind)) {
                return detail::own_user_namespace(join.path);
            }
        }
        held.target = target->release(); // the plan has its number
        return true;
    }

    [[nodiscard]] static auto join_paths(const BootstrapMessage& message, BorrowedFd proc,
                                         Holdings& held, Draft& draft) noexcept -> Result<void> {
        const Result<bool> joined = join_process(message, proc, held, draft);
        if (!joined || *joined) {
            return joined ? Result<void>{} : Unexpected{joined.error()};
        }
        std::size_t count = 0;
        for (const NamespacePath& join : message.namespaces()) {
            auto space = AnyNamespaceFd::open(detail::PathText{join.path}.c_str());
            if (!space) {
                return Unexpected{space.error()};
            }
            if (join.kind && *join.kind != space->kind()) {
                return detail::wrong_kind(Subject{join.path}, space->kind());
            }
            if (space->kind() == Kind::user && detail::is_own(Kind::user, space->fd().get())) {
                return detail::own_user_namespace(join.path);
            }
            draft.join(*space); // its number stays
            held.spaces[count++] = space->release();
        }
        return {};
    }

    [[nodiscard]] static auto take_console(const BootstrapMessage& message, Holdings& held,
                                           Draft& draft) noexcept -> Result<void> {
        auto console = detail::open_console(message.console);
        if (!console) {
            return Unexpected{console.error()};
        }
        held.console = *std::move(console);
        draft.console = held.console.borrow();
        return {};
    }

    /// The paths that are not empty, each with the number in its place.
    [[nodiscard]] static auto take_mounts(const BootstrapMessage& message,
                                          std::span<const int> numbers, Holdings& held,
                                          Draft& draft) noexcept -> Result<void> {
        if (numbers.empty() && message.mount_sources.empty()) {
            return {};
        }
        held.mounts = detail::Array<MountSource>{numbers.size()};
        std::size_t count = 0;
        std::string_view rest = message.mount_sources;
        for (std::size_t item = 0; item < numbers.size() || !rest.empty(); ++item) {
            const std::string_view path = detail::take_until(rest, '\0');
            const int number = item < numbers.size() ? numbers[item] : -1;
            if (path.empty() != (number < 0)) {
                return detail::broken("mount sources", "mount", item + 1,
                                      path.empty() ? "has a descriptor, and no path"
                                                   : "has a path, and no descriptor");
            }
            if (path.empty()) {
                continue;
            }
            const Result<void> good = detail::check_path("mount sources: a path", path);
            if (!good) {
                return good;
            }
            held.mounts.view()[count++] = MountSource{path, number};
        }
        draft.mount_sources = MountSources{held.mounts.view().first(count)};
        return {};
    }

    [[nodiscard]] static auto checked(Draft draft, Holdings held) noexcept -> Result<Bootstrap> {
        Result<Plan> plan = Plan::from(std::move(draft));
        if (!plan) {
            return Unexpected{plan.error()};
        }
        return Bootstrap{*std::move(plan), std::move(held)};
    }

    Holdings held_;
    Plan plan_;
};

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_HPP
