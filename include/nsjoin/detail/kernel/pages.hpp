// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_PAGES_HPP
#define NSJOIN_DETAIL_KERNEL_PAGES_HPP

#include <nsjoin/detail/kernel/contract.hpp>

#include <cstddef>
#include <span>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

namespace nsjoin::inline v0_1::detail {

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

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_KERNEL_PAGES_HPP
