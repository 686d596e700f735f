// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_LOG_READER_HPP
#define NSJOIN_DETAIL_WIRE_LOG_READER_HPP

#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/detail/wire/log.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <ctime>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <utility>

// The log of an embedding program, as its supervisor reads it.

namespace nsjoin::inline v0_1::detail {

/// The text of a JSON string that `line` has under `key`, without the escapes; nothing if there is
/// none.
[[nodiscard]] inline auto json_text(std::string_view line, std::string_view key)
    -> std::optional<std::string> {
    const std::string label = "\"" + std::string{key} + "\":";
    const std::size_t at = line.find(label);
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    std::string_view rest = after(line, at + label.size());
    while (!rest.empty() && rest.front() == ' ') {
        rest.remove_prefix(1);
    }
    if (rest.empty() || rest.front() != '"') {
        return std::nullopt;
    }
    std::string text;
    for (std::size_t i = 1; i < rest.size(); ++i) {
        if (rest[i] == '"') {
            return text;
        }
        if (rest[i] != '\\' || i + 1 == rest.size()) {
            text.push_back(rest[i]);
            continue;
        }
        ++i;
        unsigned code = 0;
        if (rest[i] == 'u' && i + 4 < rest.size() &&
            std::from_chars(rest.data() + i + 1, rest.data() + i + 5, code, 16).ptr ==
                rest.data() + i + 5) {
            text.push_back(static_cast<char>(code));
            i += 4;
        } else {
            text.push_back(rest[i] == 'n' ? '\n' : rest[i]);
        }
    }
    return std::nullopt;
}

/// The Error that the text of a log line tells of, if it is one of append_record().
[[nodiscard]] inline auto error_of_text(std::string_view text) noexcept -> std::optional<Error> {
    const std::size_t at = text.rfind(record_label);
    if (at == std::string_view::npos || text.back() != '}') {
        return std::nullopt;
    }
    std::string_view record = after(text, at + record_label.size());
    record.remove_suffix(1);
    unsigned step = 0;
    unsigned reason = 0;
    std::size_t length = 0;
    Error error;
    if (!parse_number(take_until(record, ' '), step) ||
        !parse_number(take_until(record, ' '), reason) ||
        !parse_number(take_until(record, ' '), error.code) || !parse_number(record, length) ||
        step >= step_table.size() || reason > static_cast<unsigned>(last_reason)) {
        return std::nullopt;
    }
    error.step = static_cast<Step>(step);
    error.reason = static_cast<Reason>(reason);
    const std::string begin = "]: " + std::string{facts(error.step).name} + " (";
    const std::size_t found = text.find(begin);
    if (length != 0 && found != std::string_view::npos && found + begin.size() + length <= at) {
        error.subject.append(first(after(text, found + begin.size()), length));
    }
    return error;
}

[[nodiscard]] inline auto level_of(std::string_view name) noexcept -> LogLevel {
    for (std::size_t i = 0; i < log_level_names.size(); ++i) {
        if (log_level_names[i] == name) {
            return static_cast<LogLevel>(i);
        }
    }
    return LogLevel::error;
}

/// Reads the log of an embedding program, line by line.
class LogReader {
  public:
    using Take = void (*)(LogLevel level, std::string_view text);

    /// `take` gets each line, if it is not null.
    LogReader(OwnedFd pipe, Take take) noexcept : pipe_{std::move(pipe)}, take_{take} {}

    /// Not open after the end of the log.
    [[nodiscard]] auto pipe() const noexcept -> BorrowedFd { return pipe_.borrow(); }

    /// What the first line that told of an error said.
    [[nodiscard]] auto error() const noexcept -> const std::optional<Error>& { return error_; }

    void close() noexcept { pipe_.reset(); }

    /// Reads once.
    void read() {
        std::array<char, 4096> part{};
        const long count = call_again(SYS_read, pipe_.get(), part.data(), part.size());
        if (count <= 0) {
            pipe_.reset();
            return;
        }
        lines_.append(part.data(), static_cast<std::size_t>(count));
        std::size_t end = 0;
        while ((end = lines_.find('\n')) != std::string::npos) {
            take_line(first(lines_, end));
            lines_.erase(0, end + 1);
        }
        if (lines_.size() > line_capacity) {
            lines_.clear();
        }
    }

    /// What is still in the pipe: the child may hold its other end for long.
    void drain() {
        pollfd entry{pipe_.get(), POLLIN, 0};
        const timespec at_once{};
        while (pipe_.ok() && call(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL) > 0) {
            read();
            entry.fd = pipe_.get();
        }
    }

  private:
    static constexpr std::size_t line_capacity = 64UL * 1024;

    void take_line(std::string_view line) {
        const auto level = json_text(line, "level");
        const auto text = json_text(line, "msg");
        if (!level || !text) {
            return;
        }
        if (const auto error = error_of_text(*text); error && !error_) {
            error_ = error;
        }
        if (take_ != nullptr) {
            take_(level_of(*level), *text);
        }
    }

    OwnedFd pipe_;
    Take take_;
    std::string lines_;
    std::optional<Error> error_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_LOG_READER_HPP
