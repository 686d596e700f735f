// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_INSIDE_HPP
#define NSJOIN_PLAN_INSIDE_HPP

#include <nsjoin/error.hpp>
#include <nsjoin/result.hpp>

#include <concepts>
#include <cstdint>
#include <optional> // with std::addressof: <memory> costs an includer as much as all of this
#include <string_view>
#include <type_traits>

// Functions of the caller's that the child calls.

namespace nsjoin::inline v0_1 {

/// When the child calls a function of the caller's.
enum class Moment : std::uint8_t {
    /// The namespaces are complete, and the child has every right that it gets in them; its root,
    /// its ids and its capabilities are still to change. The time to mount.
    namespaces_ready,
    /// All else is done, but for a seccomp filter that is installed last, and what a command says.
    last,
};

namespace detail {

template <typename F>
concept CalledInside = requires(F& function) {
    { function() }
    noexcept->std::same_as<Result<void>>;
};

} // namespace detail

/// A borrowed function without arguments that returns Result<void> and throws nothing. Empty, or
/// made by JoinPlan::inside() and Draft::inside().
class InsideFunction {
  public:
    constexpr InsideFunction() noexcept = default;

    template <detail::CalledInside F>

    requires(!std::same_as<std::remove_cv_t<F>, InsideFunction>) explicit InsideFunction(
        F& function) noexcept
        : call_{[](const InsideFunction& self) noexcept -> Result<void> {
              if constexpr (std::is_function_v<F>) {
                  return reinterpret_cast<F*>(self.function_)(); // NOLINT(*-reinterpret-cast)
              } else {
                  return (*static_cast<F*>(self.object_))();
              }
          }} {
        if constexpr (std::is_function_v<F>) {
            function_ = reinterpret_cast<void (*)()>(&function); // NOLINT(*-reinterpret-cast)
        } else {
            // NOLINTNEXTLINE(*-const-cast): it is called as what it is
            object_ = const_cast<void*>(static_cast<const void*>(std::addressof(function)));
        }
    }

    /// Whether there is one.
    [[nodiscard]] constexpr auto ok() const noexcept -> bool { return call_ != nullptr; }

    /// Precondition: ok().
    [[nodiscard]] auto operator()() const noexcept -> Result<void> { return call_(*this); }

    [[nodiscard]] friend auto operator==(const InsideFunction&, const InsideFunction&) noexcept
        -> bool = default;

  private:
    Result<void> (*call_)(const InsideFunction&) noexcept = nullptr;
    void* object_ = nullptr;
    void (*function_)() = nullptr;
};

/// For such a function: why it failed, in its own words (160 bytes at most), and an errno or 0. The
/// caller gets it as the error of the call. A function that calls the library returns its errors
/// as they are.
[[nodiscard]] constexpr auto failed_inside(std::string_view what, int code = 0) noexcept
    -> Unexpected {
    return Unexpected{Error{Step::call_inside, Reason::inside_failed, code, Subject{what}}};
}

} // namespace nsjoin

#endif // NSJOIN_PLAN_INSIDE_HPP
