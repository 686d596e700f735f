// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_ARCHIVE_HPP
#define NSJOIN_DETAIL_LAUNCHER_ARCHIVE_HPP

#include <nsjoin/fd.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

// How values are written into a message and read out of it, one after the other, by functions that
// serve both: what is written is read in the same order. Both ends are the same program.

namespace nsjoin::inline v0_1::detail {

/// The most descriptors that one request has: the command's, and a plan's.
inline constexpr std::size_t most_in_request = 300;

/// Writes values into a buffer, and goes on counting when that is full.
class Writer {
  public:
    static constexpr bool reads = false;

    explicit Writer(std::span<std::byte> buffer) noexcept : buffer_{buffer} {}

    template <typename T>
    void value(const T& value) noexcept {
        static_assert(std::has_unique_object_representations_v<T>, "no padding leaves a process");
        bytes(&value, sizeof value);
    }

    void flag(bool value) noexcept { this->value(static_cast<std::uint8_t>(value)); }

    void fd(BorrowedFd fd) noexcept {
        std::int32_t place = -1;
        for (std::size_t i = 0; fd.ok() && i < fd_count_ && place < 0; ++i) {
            place = fds_[i] == fd ? static_cast<std::int32_t>(i) : place;
        }
        if (fd.ok() && place < 0) {
            place = attach(fd);
        }
        value(place);
    }

    /// Takes a descriptor along; its place among them, or -1 if there is no room.
    auto attach(BorrowedFd fd) noexcept -> std::int32_t {
        too_many_ = too_many_ || fd_count_ == fds_.size();
        if (too_many_) {
            return -1;
        }
        fds_[fd_count_] = fd;
        return static_cast<std::int32_t>(fd_count_++);
    }

    /// What another Writer has written.
    void copy(std::span<const std::byte> written) noexcept {
        bytes(written.data(), written.size());
    }

    void text(std::string_view text) noexcept {
        value(static_cast<std::uint64_t>(text.size()));
        bytes(text.data(), text.size());
        bytes("", 1);
    }

    void c_string(const char* text) noexcept { this->text(text); }

    /// A list that ends with a null pointer, or none.
    void words(const char* const* list) noexcept {
        std::uint64_t count = 0;
        while (list != nullptr && list[count] != nullptr) { // NOLINT(*-pointer-arithmetic)
            ++count;
        }
        value(count);
        for (std::uint64_t i = 0; i < count; ++i) {
            c_string(list[i]); // NOLINT(*-pointer-arithmetic)
        }
    }

    /// How many bytes there are, written or not.
    [[nodiscard]] auto size() const noexcept -> std::size_t { return size_; }

    [[nodiscard]] auto fits() const noexcept -> bool { return size_ <= buffer_.size(); }

    [[nodiscard]] auto too_many_descriptors() const noexcept -> bool { return too_many_; }

    [[nodiscard]] auto descriptors() const noexcept -> std::span<const BorrowedFd> {
        return std::span{fds_}.first(fd_count_);
    }

  private:
    void bytes(const void* from, std::size_t count) noexcept {
        if (count != 0 && size_ + count <= buffer_.size()) {
            std::memcpy(&buffer_[size_], from, count);
        }
        size_ += count;
    }

    std::span<std::byte> buffer_;
    std::size_t size_ = 0;
    std::array<BorrowedFd, most_in_request> fds_{};
    std::size_t fd_count_ = 0;
    bool too_many_ = false;
};

/// Reads what a Writer wrote. What it gives lies in the message, or in memory that the process
/// keeps to its end.
class Reader {
  public:
    static constexpr bool reads = true;

    Reader(std::span<std::byte> message, std::span<const OwnedFd> descriptors) noexcept
        : rest_{message}, fds_{descriptors} {}

    template <typename T>
    void value(T& value) noexcept {
        static_assert(std::is_trivially_copyable_v<T>);
        if (const std::byte* const from = take(sizeof value); from != nullptr) {
            std::memcpy(&value, from, sizeof value);
        }
    }

    void flag(bool& value) noexcept {
        std::uint8_t number = 0;
        this->value(number);
        value = number != 0;
    }

    void fd(BorrowedFd& fd) noexcept {
        std::int32_t place = -1;
        value(place);
        const auto index = static_cast<std::size_t>(place);
        good_ = good_ && (place < 0 || index < fds_.size());
        fd = good_ && place >= 0 ? fds_[index].borrow() : BorrowedFd{};
    }

    void text(std::string_view& text) noexcept {
        std::uint64_t size = 0;
        value(size);
        good_ = good_ && size < rest_.size();
        const std::byte* const from = good_ ? take(size + 1) : nullptr;
        text = from == nullptr
                   ? std::string_view{""}
                   : std::string_view{reinterpret_cast<const char*>(from), size}; // NOLINT(*-cast)
    }

    void c_string(const char*& text) noexcept {
        std::string_view view;
        this->text(view);
        text = view.data();
    }

    void words(const char* const*& list) noexcept {
        const std::span<const char*> words = many<const char*>(1);
        for (std::size_t i = 0; i + 1 < words.size(); ++i) {
            c_string(words[i]);
        }
        list = words.data();
    }

    /// Room for as many as the message says next, and `more`, all zero. At the end of the process
    /// it goes with it.
    template <typename T>
    [[nodiscard]] auto many(std::size_t more = 0) noexcept -> std::span<T> {
        static_assert(std::is_trivially_destructible_v<T>);
        std::uint64_t count = 0;
        value(count);
        good_ = good_ && count <= rest_.size(); // each takes a byte or more
        const std::size_t size = (good_ ? count : 0) + more;
        void* const memory = std::calloc(size == 0 ? 1 : size, sizeof(T)); // NOLINT(*-malloc)
        expect(memory != nullptr, "out of memory");
        return {static_cast<T*>(memory), size};
    }

    /// Whether all that was read was there.
    [[nodiscard]] auto good() const noexcept -> bool { return good_; }

  private:
    [[nodiscard]] auto take(std::size_t count) noexcept -> const std::byte* {
        good_ = good_ && count <= rest_.size();
        if (!good_) {
            return nullptr;
        }
        const std::byte* const from = rest_.data();
        rest_ = rest_.subspan(count);
        return from;
    }

    std::span<std::byte> rest_;
    std::span<const OwnedFd> fds_;
    bool good_ = true;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_ARCHIVE_HPP
