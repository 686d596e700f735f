// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_DECODE_HPP
#define NSJOIN_BOOTSTRAP_DECODE_HPP

#include <nsjoin/bootstrap/message.hpp>
#include <nsjoin/detail/kernel/text.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace nsjoin::inline v0_1 {

namespace detail {

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

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_DECODE_HPP
