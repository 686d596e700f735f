// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_RESULT_STORAGE_HPP
#define NSJOIN_DETAIL_KERNEL_RESULT_STORAGE_HPP

#include <nsjoin/detail/kernel/contract.hpp>
#include <nsjoin/error.hpp>

#include <optional> // with std::construct_at: <memory> costs an includer as much as all of this
#include <string_view>
#include <type_traits>
#include <utility>

// What a Result is made of.

namespace nsjoin::inline v0_1 {

class Unexpected;
template <typename T>
class Result;

namespace detail {

/// Ends the program, with the error that is there instead.
[[noreturn, gnu::cold]] inline void give_up_value(const Error& error) noexcept {
    Subject what{error.subject.view().empty() ? "" : ": "};
    what.append(error.subject.view()).append(error.code == 0 ? "" : ": errno ");
    if (error.code != 0) {
        what.append(std::int64_t{error.code});
    }
    give_up("the value of a Result was taken that holds an error, look with has_value() first: ",
            facts(error.step).name, what.view());
}

constexpr void expect_value(bool there, const Error& error) noexcept {
    if (!there) {
        give_up_value(error);
    }
}

inline constexpr std::string_view no_error =
    "the error of a Result was taken that holds a value: look with has_value() first";

template <typename T>
inline constexpr bool is_result = false;
template <typename T>
inline constexpr bool is_result<Result<T>> = true;

/// std::expected<T, Error>, known by its shape: <expected> is a header of C++23.
template <typename Other, typename T>
concept ExpectedOf = !is_result<Other> && requires(const Other& other) {
    typename Other::unexpected_type;
    requires std::is_same_v<typename Other::value_type, T>;
    requires std::is_same_v<typename Other::error_type, Error>;
    other.has_value();
};

/// f of the value, as std::invoke has it: f may be a pointer to a member.
template <typename F, typename Value>
constexpr auto apply(F&& f, Value&& value) -> decltype(auto) {
    if constexpr (std::is_member_function_pointer_v<std::remove_cvref_t<F>>) {
        return (std::forward<Value>(value).*f)();
    } else if constexpr (std::is_member_object_pointer_v<std::remove_cvref_t<F>>) {
        return (std::forward<Value>(value).*f);
    } else {
        return std::forward<F>(f)(std::forward<Value>(value));
    }
}

// `holds` says which member is active; moves are noexcept where T's are; assign() is for all.
// NOLINTBEGIN(*-union-access,*-noexcept-move*,*-exception-escape,cert-oop54-cpp)

struct HoldsValue {};

struct HoldsError {};

/// The value or the error. Who needs no destructor has none.
template <typename T, bool Trivial = std::is_trivially_destructible_v<T>>
struct ResultUnion {
    template <typename... Args>
    constexpr explicit ResultUnion(HoldsValue /*tag*/, Args&&... args) noexcept(
        std::is_nothrow_constructible_v<T, Args...>)
        : value(std::forward<Args>(args)...) {}

    constexpr ResultUnion(HoldsError /*tag*/, const Error& why) noexcept
        : error{why}, holds{false} {}

    union {
        T value;
        Error error;
    };

    bool holds = true;
};

template <typename T>
struct ResultUnion<T, false> {
    template <typename... Args>
    constexpr explicit ResultUnion(HoldsValue /*tag*/, Args&&... args) noexcept(
        std::is_nothrow_constructible_v<T, Args...>)
        : value(std::forward<Args>(args)...) {}

    constexpr ResultUnion(HoldsError /*tag*/, const Error& why) noexcept
        : error{why}, holds{false} {}

    ResultUnion(const ResultUnion&) = delete;
    ResultUnion(ResultUnion&&) = delete;
    auto operator=(const ResultUnion&) -> ResultUnion& = delete;
    auto operator=(ResultUnion&&) -> ResultUnion& = delete;

    constexpr ~ResultUnion() {
        if (holds) {
            value.~T();
        }
    }

    union {
        T value;
        Error error;
    };

    bool holds = true;
};

/// Puts the error back, if what is constructed in its place throws.
class ErrorKeeper {
  public:
    constexpr explicit ErrorKeeper(Error& place) noexcept : place_{&place}, saved_{place} {}

    ErrorKeeper(const ErrorKeeper&) = delete;
    ErrorKeeper(ErrorKeeper&&) = delete;
    auto operator=(const ErrorKeeper&) -> ErrorKeeper& = delete;
    auto operator=(ErrorKeeper&&) -> ErrorKeeper& = delete;

    constexpr ~ErrorKeeper() {
        if (place_ != nullptr) {
            std::construct_at(place_, saved_);
        }
    }

    constexpr void dismiss() noexcept { place_ = nullptr; }

  private:
    Error* place_;
    Error saved_;
};

template <typename T>
concept CopyAssigned = std::is_copy_constructible_v<T> && std::is_copy_assignable_v<T>;
template <typename T>
concept MoveAssigned = std::is_move_constructible_v<T> && std::is_move_assignable_v<T>;

/// Copies and moves as T does: a T that is trivially copyable makes a Result that is.
template <typename T, bool Trivial = std::is_trivially_copyable_v<T>>
struct ResultStorage : ResultUnion<T> {
    using ResultUnion<T>::ResultUnion;
};

template <typename T>
struct ResultStorage<T, false> : ResultUnion<T> {
    using ResultUnion<T>::ResultUnion;

    constexpr ResultStorage(const ResultStorage& other) noexcept(
        std::is_nothrow_copy_constructible_v<T>) requires std::is_copy_constructible_v<T>
        : ResultUnion<T>{HoldsError{}, Error{}} {
        construct(other);
    }

    constexpr ResultStorage(ResultStorage&& other) noexcept(
        std::is_nothrow_move_constructible_v<T>) requires std::is_move_constructible_v<T>
        : ResultUnion<T>{HoldsError{}, Error{}} {
        construct(std::move(other));
    }

    constexpr auto operator=(const ResultStorage& other) noexcept(
        std::is_nothrow_copy_constructible_v<T>&& std::is_nothrow_copy_assignable_v<T>)
        -> ResultStorage& requires CopyAssigned<T> {
        assign(other);
        return *this;
    }

    constexpr auto operator=(ResultStorage&& other) noexcept(
        std::is_nothrow_move_constructible_v<T>&& std::is_nothrow_move_assignable_v<T>)
        -> ResultStorage& requires MoveAssigned<T> {
        assign(std::move(other));
        return *this;
    }

    constexpr ~ResultStorage() = default;

  private:
    /// Precondition: this holds an error. If T's constructor throws, it still does.
    template <typename Other>
    constexpr void construct(Other&& other) {
        if (!other.holds) {
            this->error = other.error;
            return;
        }
        ErrorKeeper keep{this->error};
        // NOLINTNEXTLINE(*-const-cast): of a T that is const, which is made here
        auto* const place = const_cast<std::remove_cv_t<T>*>(std::addressof(this->value));
        std::construct_at(place, std::forward<Other>(other).value);
        keep.dismiss();
        this->holds = true;
    }

    template <typename Other>
    constexpr void assign(Other&& other) {
        if (!this->holds) {
            construct(std::forward<Other>(other));
        } else if (other.holds) {
            this->value = std::forward<Other>(other).value;
        } else {
            const Error why = other.error; // the value may own `other`
            this->value.~T();
            std::construct_at(std::addressof(this->error), why);
            this->holds = false;
        }
    }
};

template <typename Next>
constexpr void check_and_then() noexcept {
    static_assert(is_result<Next>,
                  "nsjoin: and_then() takes a function that returns a Result: for one that returns "
                  "a value there is transform()");
}

/// What f makes of an error.
template <typename This, typename F>
constexpr auto mended(F&& f, const Error& error) -> This {
    constexpr bool right =
        std::is_same_v<std::remove_cvref_t<std::invoke_result_t<F, const Error&>>, This>;
    static_assert(right,
                  "nsjoin: or_else() takes a function that returns a Result of the same type: for "
                  "one that returns another Error there is transform_error()");
    if constexpr (right) {
        return std::forward<F>(f)(error);
    }
}

template <typename Value>
constexpr void check_transform() noexcept {
    static_assert(!is_result<Value>,
                  "nsjoin: transform() takes a function that returns a value: for one that returns "
                  "a Result there is and_then()");
}

// NOLINTEND(*-union-access,*-noexcept-move*,*-exception-escape,cert-oop54-cpp)

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_DETAIL_KERNEL_RESULT_STORAGE_HPP
