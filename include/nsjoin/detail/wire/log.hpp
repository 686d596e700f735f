// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_LOG_HPP
#define NSJOIN_DETAIL_WIRE_LOG_HPP

#include <nsjoin/bootstrap/log_level.hpp>
#include <nsjoin/detail/kernel/reasons.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unistd.h>

// What an embedding program tells its supervisor beside the reply: lines of JSON.

namespace nsjoin::inline v0_1::detail {

inline constexpr std::array<std::string_view, 7> log_level_names{
    "panic", "fatal", "error", "warning", "info", "debug", "trace"};

/// A log line's text is cut to this.
using LogText = FixedText<768>;

/// The error in words, on one line.
inline void append_words(LogText& text, const Error& error) noexcept {
    text.append(facts(error.step).name);
    if (!error.subject.view().empty()) {
        text.append(" (").append(error.subject.view()).append(")");
    }
    text.append(": ");
    if (error.reason != Reason::system) {
        text.append(reason_text(error.reason));
        if (error.reason == Reason::process_died) {
            text.append(how_it_ended(error.code).view());
        }
        return;
    }
    const std::string_view name = errno_name(error.code);
    text.append(name);
    if (name.back() == ' ') {
        text.append(std::int64_t{error.code});
    }
    const std::string_view why = hint(error.step, error.code);
    if (!why.empty()) {
        text.append(": ").append(why);
    }
}

inline constexpr std::string_view record_label = " {nsjoin ";

/// The error as append_words() has it, followed by its numbers: step, reason, code and the length
/// of the subject. A supervisor makes the Error of it again (error_of_log()).
inline void append_record(LogText& text, const Error& error) noexcept {
    append_words(text, error);
    text.append(record_label).append(static_cast<std::int64_t>(error.step));
    text.append(" ").append(static_cast<std::int64_t>(error.reason));
    text.append(" ").append(std::int64_t{error.code});
    text.append(" ").append(static_cast<std::int64_t>(error.subject.view().size())).append("}");
}

/// How many bytes the well-formed UTF-8 sequence at the front of `text` has: none that is longer
/// than it need be, no surrogate, nothing past U+10FFFF. 0: there is none. RFC 3629.
[[nodiscard]] constexpr auto utf8_length(std::string_view text) noexcept -> std::size_t {
    const auto byte = [&](std::size_t at) {
        return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    const unsigned lead = byte(0);
    if (lead < 0x80) {
        return text.empty() ? 0 : 1;
    }
    const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    // The second byte's limits are narrower than the others' after these leads.
    const unsigned least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0xc2 || lead > 0xf4 || byte(1) < least || byte(1) > most) {
        return 0;
    }
    for (std::size_t i = 2; i < length; ++i) {
        if (byte(i) < 0x80 || byte(i) > 0xbf) {
            return 0;
        }
    }
    return length;
}

/// Appends `text` as the inside of a JSON string. A path may be no UTF-8: a byte that is in none
/// stands as the character of its number.
template <std::size_t Size>
inline void append_json(FixedText<Size>& line, std::string_view text) noexcept {
    constexpr std::string_view digits = "0123456789abcdef";
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const std::string_view taken = first(text, length == 0 ? 1 : length);
        const auto byte = static_cast<unsigned char>(text.front());
        if (text.front() == '"' || text.front() == '\\') {
            line.append("\\").append(taken);
        } else if (length == 0 || byte < 0x20 || byte == 0x7f) {
            const std::array<char, 6> escape{
                '\\', 'u', '0', '0', digits[byte >> 4U], digits[byte & 0xfU]};
            line.append(std::string_view{escape.data(), escape.size()});
        } else {
            line.append(taken);
        }
        text = after(text, taken.size());
    }
}

/// "affinity: 0x3": the first 64 processors of which the calling thread may use some, a bit each.
/// Empty if the kernel does not say it. sched_getaffinity(2).
[[nodiscard]] inline auto affinity_text() noexcept -> FixedText<32> {
    // The kernel refuses a buffer with fewer bits than it has processors: 8192 at most.
    std::array<std::uint64_t, 128> mask{};
    FixedText<32> text;
    if (call(SYS_sched_getaffinity, 0, sizeof mask, mask.data()) <= 0) {
        return text;
    }
    std::array<char, 16> digits{};
    const std::to_chars_result end = std::to_chars(digits.begin(), digits.end(), mask.front(), 16);
    return text.append("affinity: 0x")
        .append({digits.data(), static_cast<std::size_t>(end.ptr - digits.data())});
}

/// Where an embedding program's log goes.
class Log {
  public:
    static constexpr int setup = -1; ///< the stage before there are processes

    /// Nowhere: only fatal errors are said, on standard error.
    Log() noexcept = default;

    Log(BorrowedFd pipe, int level) noexcept : pipe_{pipe}, level_{level} {}

    /// Not open if there is none.
    [[nodiscard]] auto pipe() const noexcept -> BorrowedFd { return pipe_; }

    /// Whether lines of that level are written.
    [[nodiscard]] auto has(LogLevel level) const noexcept -> bool {
        return pipe_.ok() && static_cast<int>(level) <= level_;
    }

    /// A line of JSON with level and text. That it is not written, or not whole, is ignored.
    void write(LogLevel level, int stage, std::string_view text) const noexcept {
        if (!has(level)) {
            return;
        }
        FixedText<6 * 768 + 128> line;
        line.append("{\"level\":\"").append(log_level_names[static_cast<std::size_t>(level)]);
        line.append("\", \"msg\": \"");
        append_origin(line, stage);
        append_json(line, text);
        line.append("\"}\n");
        (void)write_once(pipe_, as_bytes(line.view()));
    }

    /// Why the program ends.
    void fatal(int stage, const Error& error) const noexcept {
        LogText text;
        if (pipe_.ok()) {
            append_record(text, error);
            write(LogLevel::fatal, stage, text.view());
            return;
        }
        append_words(text, error);
        FixedText<1024> line;
        line.append("FATAL: ");
        append_origin(line, stage);
        line.append(text.view()).append("\n");
        (void)write_once(BorrowedFd{STDERR_FILENO}, as_bytes(line.view()));
    }

    [[nodiscard]] static auto as_bytes(std::string_view text) noexcept
        -> std::span<const std::byte> {
        return std::as_bytes(std::span<const char>{text.data(), text.size()});
    }

  private:
    template <std::size_t Size>
    static void append_origin(FixedText<Size>& line, int stage) noexcept {
        line.append("nsexec");
        if (stage != setup) {
            line.append("-").append(std::int64_t{stage});
        }
        line.append("[").append(std::int64_t{::getpid()}).append("]: ");
    }

    BorrowedFd pipe_;
    int level_ = static_cast<int>(LogLevel::debug);
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_LOG_HPP
