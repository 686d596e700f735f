// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_WIRE_MOUNT_NUMBERS_HPP
#define NSJOIN_DETAIL_WIRE_MOUNT_NUMBERS_HPP

#include <nsjoin/bootstrap/message.hpp>
#include <nsjoin/detail/kernel/pages.hpp>
#include <nsjoin/detail/wire/variables.hpp>

#include <cstddef>
#include <fcntl.h>
#include <span>
#include <string_view>

namespace nsjoin::inline v0_1::detail {

/// The numbers of the descriptors for the mount sources, one a mount, -1 where none is wanted. Each
/// is taken in this process until the child has the source there, so that nothing else gets it.
class MountNumbers {
  public:
    static constexpr std::size_t capacity = 4096;

    /// Reads _LIBCONTAINER_MOUNT_FDS, a JSON array of integers; none if it is not set.
    [[nodiscard]] static auto read(BorrowedFd pipe, BorrowedFd log) noexcept
        -> Result<MountNumbers> {
        MountNumbers numbers;
        const char* const set = variable(name);
        if (set == nullptr) {
            return numbers;
        }
        std::string_view text{set};
        if (text.size() < 2 || text.front() != '[' || text.back() != ']') {
            return broken(name, "is no JSON array");
        }
        text.remove_prefix(1);
        text.remove_suffix(1);
        numbers.list_ = Array<int>{text.size() < capacity ? text.size() : capacity};
        bool more = !trimmed(text).empty();
        while (more) {
            more = text.find(',') != std::string_view::npos;
            const Result<void> done = numbers.take(trimmed(take_until(text, ',')), pipe, log);
            if (!done) {
                return Unexpected{done.error()};
            }
        }
        return numbers;
    }

    [[nodiscard]] auto view() const noexcept -> std::span<const int> {
        return list_.view().first(count_);
    }

  private:
    static constexpr const char* name = "_LIBCONTAINER_MOUNT_FDS";

    /// Takes the next item.
    [[nodiscard]] auto take(std::string_view text, BorrowedFd pipe, BorrowedFd log) noexcept
        -> Result<void> {
        const std::size_t item = count_ + 1;
        int number = -1;
        if (item > capacity) {
            return broken(name, "has more than 4096 items");
        }
        if (text != "-1" && !is_plain_number(text, number)) {
            return broken(name, "item", item, "is no descriptor number");
        }
        if (number >= 0) {
            if (number == pipe.get() || number == log.get()) {
                return broken(name, "item", item, "is the init pipe or the log pipe");
            }
            for (const int earlier : view()) {
                if (earlier == number) {
                    return broken(name, "item", item, "is there twice");
                }
            }
            if (call(SYS_fcntl, number, F_GETFD, 0) < 0 &&
                call_again(SYS_dup3, pipe.get(), number, O_CLOEXEC) < 0) {
                return broken(name, "item", item, "is past the limit of descriptors");
            }
        }
        list_.view()[count_++] = number;
        return {};
    }

    [[nodiscard]] static auto trimmed(std::string_view text) noexcept -> std::string_view {
        while (!text.empty() && text.front() == ' ') {
            text.remove_prefix(1);
        }
        while (!text.empty() && text.back() == ' ') {
            text.remove_suffix(1);
        }
        return text;
    }

    Array<int> list_;
    std::size_t count_ = 0;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_WIRE_MOUNT_NUMBERS_HPP
