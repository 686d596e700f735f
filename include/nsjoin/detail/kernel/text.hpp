// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_TEXT_HPP
#define NSJOIN_DETAIL_KERNEL_TEXT_HPP

#include <nsjoin/error.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string_view>

// Text without allocation, and without the functions of <string_view> that can throw: a program
// that is linked as C or Go has nobody who could.

namespace nsjoin::detail {

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

/// A decimal number, all of `text` and nothing else; `number` is set only then.
template <typename Number>
[[nodiscard]] auto parse_number(std::string_view text, Number& number) noexcept -> bool {
    const char* const end = text.data() + text.size();
    Number value{};
    const std::from_chars_result result = std::from_chars(text.data(), end, value);
    if (text.empty() || result.ec != std::errc{} || result.ptr != end) {
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

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_TEXT_HPP
