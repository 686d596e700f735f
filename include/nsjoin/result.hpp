// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_RESULT_HPP
#define NSJOIN_RESULT_HPP

#include <nsjoin/detail/kernel/contract.hpp>
#include <nsjoin/detail/kernel/result_storage.hpp>
#include <nsjoin/error.hpp>

#include <string_view>
#include <type_traits>
#include <utility>

namespace nsjoin::inline v0_1 {

/// An Error on its way into a Result: what std::unexpected<Error> is to std::expected.
class [[nodiscard]] Unexpected {
  public:
    constexpr explicit Unexpected(const Error& error) noexcept : error_{error} {}

    [[nodiscard]] constexpr auto error() & noexcept -> Error& { return error_; }

    [[nodiscard]] constexpr auto error() const& noexcept -> const Error& { return error_; }

    [[nodiscard]] friend constexpr auto operator==(const Unexpected&, const Unexpected&) noexcept
        -> bool = default;

  private:
    Error error_;
};

namespace detail {

/// Makes the Result that and_then() and transform() of an error return.
template <typename Next>
[[nodiscard]] constexpr auto passed_on(const Error& error) noexcept -> Next {
    return Next{Unexpected{error}};
}

} // namespace detail

// Names and conversions as std::expected has them.
// NOLINTBEGIN(*-union-access,*-explicit-*,*-forwarding-reference*,*-exception-escape,*-identifier-naming)

/// What a function that can fail returns: a value, or the Error that tells why there is none. It
/// has the shape and the names of std::expected<T, Error> of C++23, and converts to and from that
/// where the library has it; of its exceptions it has none: a broken precondition ends the program
/// with a line that says so. Owns the value. Trivially copyable and destructible where T is.
///
///     const nsjoin::Result<nsjoin::PidFd> target = nsjoin::PidFd::open(pid);
///     if (!target) { std::puts(explain(target.error()).c_str()); }
template <typename T>
class [[nodiscard]] Result {
    static_assert(std::is_object_v<T> && !std::is_array_v<T> && !std::is_same_v<T, Unexpected> &&
                      !detail::is_result<T>,
                  "nsjoin: a Result holds an object: no reference, array, Unexpected or Result");

  public:
    using value_type = T;
    using error_type = Error;
    using unexpected_type = Unexpected;

    /// The default value.
    constexpr Result() noexcept(
        std::is_nothrow_default_constructible_v<T>) requires std::is_default_constructible_v<T>
        : held_{detail::HoldsValue{}} {}

    /// A value, made from what converts to T.
    template <typename U = T>

    requires(!detail::is_result<std::remove_cvref_t<U>> &&
             !std::is_same_v<std::remove_cvref_t<U>, Unexpected> &&
             !detail::ExpectedOf<std::remove_cvref_t<U>, T> &&
             std::is_constructible_v<T, U>) constexpr explicit(!std::is_convertible_v<U, T>)
        Result(U&& value) noexcept(std::is_nothrow_constructible_v<T, U>)
        : held_{detail::HoldsValue{}, std::forward<U>(value)} {}

    /// An error.
    constexpr Result(const Unexpected& unexpected) noexcept
        : held_{detail::HoldsError{}, unexpected.error()} {}

    /// Refused, as std::expected has it. Compilers show this line.
    constexpr Result(const Error&) // nsjoin: return Unexpected{error}
        requires(!std::is_constructible_v<T, const Error&>) = delete;

    /// From std::expected<T, Error>.
    template <detail::ExpectedOf<T> Expected>
    constexpr Result(Expected expected)
        : Result{expected.has_value() ? Result{std::move(*expected)}
                                      : Result{Unexpected{expected.error()}}} {}

    /// To std::expected<T, Error>.
    template <detail::ExpectedOf<T> Expected>
    [[nodiscard]] constexpr operator Expected() const& {
        return held_.holds ? Expected{held_.value}
                           : Expected{typename Expected::unexpected_type{held_.error}};
    }

    template <detail::ExpectedOf<T> Expected>
    [[nodiscard]] constexpr operator Expected() && {
        return held_.holds ? Expected{std::move(held_.value)}
                           : Expected{typename Expected::unexpected_type{held_.error}};
    }

    [[nodiscard]] constexpr auto has_value() const noexcept -> bool { return held_.holds; }

    [[nodiscard]] constexpr explicit operator bool() const noexcept { return held_.holds; }

    /// The value. Precondition: there is one.
    [[nodiscard]] constexpr auto value() & noexcept -> T& {
        detail::expect_value(held_.holds, held_.error);
        return held_.value;
    }

    [[nodiscard]] constexpr auto value() const& noexcept -> const T& {
        detail::expect_value(held_.holds, held_.error);
        return held_.value;
    }

    [[nodiscard]] constexpr auto value() && noexcept -> T&& {
        detail::expect_value(held_.holds, held_.error);
        return std::move(held_.value);
    }

    [[nodiscard]] constexpr auto operator*() & noexcept -> T& { return value(); }

    [[nodiscard]] constexpr auto operator*() const& noexcept -> const T& { return value(); }

    [[nodiscard]] constexpr auto operator*() && noexcept -> T&& { return std::move(*this).value(); }

    [[nodiscard]] constexpr auto operator->() noexcept -> T* { return std::addressof(value()); }

    [[nodiscard]] constexpr auto operator->() const noexcept -> const T* {
        return std::addressof(value());
    }

    /// The error. Precondition: there is one.
    [[nodiscard]] constexpr auto error() & noexcept -> Error& {
        detail::expect(!held_.holds, detail::no_error);
        return held_.error;
    }

    [[nodiscard]] constexpr auto error() const& noexcept -> const Error& {
        detail::expect(!held_.holds, detail::no_error);
        return held_.error;
    }

    [[nodiscard]] constexpr auto error() && noexcept -> Error&& {
        detail::expect(!held_.holds, detail::no_error);
        return std::move(held_.error);
    }

    /// The value, or `other` if there is none.
    template <typename U>
    [[nodiscard]] constexpr auto value_or(U&& other) const& -> T {
        return held_.holds ? held_.value : static_cast<T>(std::forward<U>(other));
    }

    template <typename U>
    [[nodiscard]] constexpr auto value_or(U&& other) && -> T {
        return held_.holds ? std::move(held_.value) : static_cast<T>(std::forward<U>(other));
    }

    /// `f` of the value, a Result, or else the error.
    template <typename F>
    constexpr auto and_then(F&& f) & {
        return and_then_of(*this, std::forward<F>(f));
    }

    template <typename F>
    constexpr auto and_then(F&& f) const& {
        return and_then_of(*this, std::forward<F>(f));
    }

    template <typename F>
    constexpr auto and_then(F&& f) && {
        return and_then_of(std::move(*this), std::forward<F>(f));
    }

    /// The value, or `f` of the error, a Result of the same type.
    template <typename F>
    constexpr auto or_else(F&& f) const& -> Result {
        return held_.holds ? *this : detail::mended<Result>(std::forward<F>(f), held_.error);
    }

    template <typename F>
    constexpr auto or_else(F&& f) && -> Result {
        return held_.holds ? std::move(*this)
                           : detail::mended<Result>(std::forward<F>(f), held_.error);
    }

    /// A Result of what `f` makes of the value, or else the error.
    template <typename F>
    constexpr auto transform(F&& f) & {
        return transform_of(*this, std::forward<F>(f));
    }

    template <typename F>
    constexpr auto transform(F&& f) const& {
        return transform_of(*this, std::forward<F>(f));
    }

    template <typename F>
    constexpr auto transform(F&& f) && {
        return transform_of(std::move(*this), std::forward<F>(f));
    }

    /// The value, or what `f` makes of the error: another Error.
    template <typename F>
    constexpr auto transform_error(F&& f) const& -> Result {
        return held_.holds ? *this : Result{Unexpected{std::forward<F>(f)(held_.error)}};
    }

    template <typename F>
    constexpr auto transform_error(F&& f) && -> Result {
        return held_.holds ? std::move(*this) : Result{Unexpected{std::forward<F>(f)(held_.error)}};
    }

    /// Whether both hold the same: equal values, or equal errors.
    [[nodiscard]] friend constexpr auto operator==(const Result& a, const Result& b) -> bool {
        return a.held_.holds == b.held_.holds &&
               (a.held_.holds ? static_cast<bool>(a.held_.value == b.held_.value)
                              : a.held_.error == b.held_.error);
    }

    /// Not of all that compares with T: what a test framework takes an expression apart into
    /// compares with everything, and would come back here.
    template <typename U>

    requires(!detail::is_result<U> && !std::is_same_v<U, Unexpected> &&
             std::is_convertible_v<const U&, T>) [[nodiscard]] friend constexpr auto
    operator==(const Result& a, const U& value) -> bool {
        return a.held_.holds && static_cast<bool>(a.held_.value == value);
    }

    [[nodiscard]] friend constexpr auto operator==(const Result& a, const Unexpected& b) noexcept
        -> bool {
        return !a.held_.holds && a.held_.error == b.error();
    }

  private:
    template <typename Self, typename F>
    static constexpr auto and_then_of(Self&& self, F&& f) {
        using Next = std::remove_cvref_t<decltype(detail::apply(std::forward<F>(f),
                                                                std::forward<Self>(self).value()))>;
        detail::check_and_then<Next>();
        return self.held_.holds
                   ? detail::apply(std::forward<F>(f), std::forward<Self>(self).value())
                   : detail::passed_on<Next>(self.held_.error);
    }

    template <typename Self, typename F>
    static constexpr auto transform_of(Self&& self, F&& f) {
        using Value = std::remove_cv_t<std::remove_reference_t<decltype(detail::apply(
            std::forward<F>(f), std::forward<Self>(self).value()))>>;
        detail::check_transform<Value>();
        using Next = Result<Value>;
        if (!self.held_.holds) {
            return detail::passed_on<Next>(self.held_.error);
        }
        if constexpr (std::is_void_v<Value>) {
            detail::apply(std::forward<F>(f), std::forward<Self>(self).value());
            return Next{};
        } else {
            return Next{detail::apply(std::forward<F>(f), std::forward<Self>(self).value())};
        }
    }

    detail::ResultStorage<T> held_;
};

/// What a function that can fail and has nothing to return returns: that it worked, or the Error.
/// std::expected<void, Error>.
template <>
class [[nodiscard]] Result<void> {
  public:
    using value_type = void;
    using error_type = Error;
    using unexpected_type = Unexpected;

    /// It worked.
    constexpr Result() noexcept = default;

    /// It did not.
    constexpr Result(const Unexpected& unexpected) noexcept
        : error_{unexpected.error()}, holds_{false} {}

    /// Refused, as std::expected has it. Compilers show this line.
    constexpr Result(const Error&) = delete; // nsjoin: return Unexpected{error}

    /// From std::expected<void, Error>.
    template <detail::ExpectedOf<void> Expected>
    constexpr Result(const Expected& expected)
        : error_{expected.has_value() ? Error{} : expected.error()}, holds_{expected.has_value()} {}

    /// To std::expected<void, Error>.
    template <detail::ExpectedOf<void> Expected>
    [[nodiscard]] constexpr operator Expected() const {
        return holds_ ? Expected{} : Expected{typename Expected::unexpected_type{error_}};
    }

    [[nodiscard]] constexpr auto has_value() const noexcept -> bool { return holds_; }

    [[nodiscard]] constexpr explicit operator bool() const noexcept { return holds_; }

    /// Nothing. Precondition: it worked.
    constexpr void value() const noexcept { detail::expect_value(holds_, error_); }

    constexpr void operator*() const noexcept { value(); }

    /// The error. Precondition: there is one.
    [[nodiscard]] constexpr auto error() & noexcept -> Error& {
        detail::expect(!holds_, detail::no_error);
        return error_;
    }

    [[nodiscard]] constexpr auto error() const& noexcept -> const Error& {
        detail::expect(!holds_, detail::no_error);
        return error_;
    }

    /// What `f`, which takes nothing, returns, a Result; or else the error.
    template <typename F>
    constexpr auto and_then(F&& f) const {
        using Next = std::remove_cvref_t<decltype(std::forward<F>(f)())>;
        detail::check_and_then<Next>();
        return holds_ ? std::forward<F>(f)() : detail::passed_on<Next>(error_);
    }

    /// This if it worked, or `f` of the error, a Result<void>.
    template <typename F>
    constexpr auto or_else(F&& f) const -> Result {
        return holds_ ? *this : detail::mended<Result>(std::forward<F>(f), error_);
    }

    /// A Result of what `f`, which takes nothing, returns; or else the error.
    template <typename F>
    constexpr auto transform(F&& f) const {
        using Value = std::remove_cv_t<decltype(std::forward<F>(f)())>;
        detail::check_transform<Value>();
        using Next = Result<Value>;
        if (!holds_) {
            return detail::passed_on<Next>(error_);
        }
        if constexpr (std::is_void_v<Value>) {
            std::forward<F>(f)();
            return Next{};
        } else {
            return Next{std::forward<F>(f)()};
        }
    }

    /// This if it worked, or what `f` makes of the error: another Error.
    template <typename F>
    constexpr auto transform_error(F&& f) const -> Result {
        return holds_ ? *this : Result{Unexpected{std::forward<F>(f)(error_)}};
    }

    /// Whether both worked, or failed with equal errors.
    [[nodiscard]] friend constexpr auto operator==(const Result& a, const Result& b) noexcept
        -> bool {
        return a.holds_ == b.holds_ && (a.holds_ || a.error_ == b.error_);
    }

    [[nodiscard]] friend constexpr auto operator==(const Result& a, const Unexpected& b) noexcept
        -> bool {
        return !a.holds_ && a.error_ == b.error();
    }

  private:
    Error error_;
    bool holds_ = true;
};

// NOLINTEND(*-union-access,*-explicit-*,*-forwarding-reference*,*-exception-escape,*-identifier-naming)

namespace detail {

[[nodiscard]] inline auto fail(Step step, int code, std::string_view subject = {}) noexcept
    -> Unexpected {
    return Unexpected{Error{step, Reason::system, code, Subject{subject}}};
}

[[nodiscard]] inline auto fail(Step step, Reason reason, std::string_view subject = {}) noexcept
    -> Unexpected {
    return Unexpected{Error{step, reason, 0, Subject{subject}}};
}

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_RESULT_HPP
