// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_ENCODE_HPP
#define NSJOIN_BOOTSTRAP_ENCODE_HPP

#include <nsjoin/bootstrap/message.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace nsjoin::inline v0_1 {

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

} // namespace nsjoin

#endif // NSJOIN_BOOTSTRAP_ENCODE_HPP
