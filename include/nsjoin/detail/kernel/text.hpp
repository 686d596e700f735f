// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_TEXT_HPP
#define NSJOIN_DETAIL_KERNEL_TEXT_HPP

#include <nsjoin/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

// Text without allocation, and without the functions of <string_view> that can throw: a program
// that is linked as C or Go has nobody who could.

namespace nsjoin::inline v0_1::detail {

/// The first `count` characters, or all if there are fewer.
[[nodiscard]] constexpr auto first(std::string_view text, std::size_t count) noexcept
    -> std::string_view {
    return {text.data(), count < text.size() ? count : text.size()};
}

/// What follows the first `count` characters.
[[nodiscard]] constexpr auto after(std::string_view text, std::size_t count) noexcept
    -> std::string_view {
    text.remove_prefix(count < text.size() ? count : text.size());
    return text;
}

/// Takes the text up to the next `separator` off the front, and the separator with it. All of it
/// if there is none.
[[nodiscard]] constexpr auto take_until(std::string_view& text, char separator) noexcept
    -> std::string_view {
    const std::string_view taken = first(text, text.find(separator));
    text = after(text, taken.size() + 1);
    return taken;
}

/// A decimal number, all of `text` and nothing else, with a minus where Number has a sign; `number`
/// is set only then. Not std::from_chars(), which an includer's compiler spends more on than on
/// this.
template <typename Number>
[[nodiscard]] constexpr auto parse_number(std::string_view text, Number& number) noexcept -> bool {
    constexpr bool has_sign = static_cast<Number>(-1) < static_cast<Number>(0);
    const bool negative = has_sign && !text.empty() && text.front() == '-';
    text.remove_prefix(negative ? 1 : 0);
    Number value{};
    for (const char c : text) {
        const auto digit = static_cast<Number>(c - '0');
        if (c < '0' || c > '9' || __builtin_mul_overflow(value, Number{10}, &value) ||
            (negative ? __builtin_sub_overflow(value, digit, &value)
                      : __builtin_add_overflow(value, digit, &value))) {
            return false;
        }
    }
    if (text.empty()) {
        return false;
    }
    number = value;
    return true;
}

/// As Subject, but longer: cuts what does not fit.
template <std::size_t Size>
class FixedText {
  public:
    auto append(std::string_view text) noexcept -> FixedText& {
        for (const char c : text) {
            if (length_ == text_.size() - 1) {
                break; // the last byte stays NUL
            }
            text_[length_++] = c;
        }
        return *this;
    }

    auto append(std::int64_t number) noexcept -> FixedText& {
        Subject digits;
        return append(digits.append(number).view());
    }

    [[nodiscard]] auto view() const noexcept -> std::string_view { return {text_.data(), length_}; }

    [[nodiscard]] auto c_str() const noexcept -> const char* { return text_.data(); }

  private:
    std::array<char, Size> text_{};
    std::size_t length_ = 0;
};

/// The number behind a key of /proc/PID/status, or `otherwise`.
[[nodiscard]] constexpr auto number_in_status(std::string_view text, std::string_view key,
                                              std::uint64_t base, std::uint64_t otherwise) noexcept
    -> std::uint64_t {
    const std::size_t at = text.find(key);
    const std::string_view rest =
        at == std::string_view::npos ? std::string_view{} : after(text, at + key.size());
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) { // cut
        return otherwise;
    }
    std::uint64_t value = 0;
    for (const char digit : first(rest, end)) {
        if (digit == '-') {
            return otherwise;
        }
        value = value * base +
                static_cast<std::uint64_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    return value;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_TEXT_HPP
