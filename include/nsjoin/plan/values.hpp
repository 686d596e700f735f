// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_VALUES_HPP
#define NSJOIN_PLAN_VALUES_HPP

#include <nsjoin/error.hpp>
#include <nsjoin/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

// Values that a plan has copies of, so that nobody has to keep them.

namespace nsjoin::inline v0_1 {

/// A name of at most `Most` bytes, without NUL.
template <std::size_t Most>
class ShortName {
  public:
    static constexpr std::size_t capacity = Most;

    /// No name.
    constexpr ShortName() noexcept = default;

    /// A literal; one that is too long, or has a NUL in it, does not compile.
    template <std::size_t Size>
    // NOLINTNEXTLINE(*-explicit-*,*-avoid-c-arrays): a literal is what it says
    consteval ShortName(const char (&text)[Size]) noexcept {
        static_assert(Size <= capacity + 1, "nsjoin: a process name has at most 15 bytes, a host "
                                            "or domain name at most 64");
        const std::string_view all{&text[0], Size};
        if (all.find('\0') != Size - 1) {
            a_name_ends_with_its_only_nul();
        }
        assign(all.substr(0, Size - 1));
    }

    /// A name that is known only at run time. Error: bad_value.
    [[nodiscard]] static constexpr auto from(std::string_view text) noexcept -> Result<ShortName> {
        if (text.size() > capacity || text.find('\0') != std::string_view::npos) {
            Subject subject{capacity == 15 ? "a process name" : "a host or domain name"};
            subject.append(" has at most ").append(static_cast<std::int64_t>(capacity));
            subject.append(" bytes and no NUL, not ");
            subject.append(static_cast<std::int64_t>(text.size())).append(" bytes");
            return Unexpected{Error{Step::check_plan, Reason::bad_value, 0, subject}};
        }
        ShortName name;
        name.assign(text);
        return name;
    }

    [[nodiscard]] constexpr auto empty() const noexcept -> bool { return text_.front() == '\0'; }

    [[nodiscard]] constexpr auto c_str() const noexcept -> const char* { return text_.data(); }

    [[nodiscard]] friend constexpr auto operator==(const ShortName&, const ShortName&) noexcept
        -> bool = default;

  private:
    static void a_name_ends_with_its_only_nul() noexcept; // what the compiler then names

    constexpr void assign(std::string_view text) noexcept {
        for (std::size_t i = 0; i < text.size(); ++i) {
            text_[i] = text[i];
        }
    }

    std::array<char, capacity + 1> text_{};
};

/// The name of a process, as top(1) shows it. PR_SET_NAME(2const).
using ProcessName = ShortName<15>;

/// A host name or NIS domain name. sethostname(2), setdomainname(2).
using HostName = ShortName<64>;

/// Processors, by their numbers: a value. sched_setaffinity(2).
class CpuSet {
  public:
    static constexpr unsigned most = 1024;

    constexpr CpuSet() noexcept = default;

    /// With one more. Precondition: below `most`.
    [[nodiscard]] constexpr auto with(unsigned number) const noexcept -> CpuSet {
        detail::expect(number < most, "a CpuSet has the processors 0 to 1023");
        CpuSet set = *this;
        set.words_[number / 64] |= std::uint64_t{1} << (number % 64);
        return set;
    }

    [[nodiscard]] constexpr auto contains(unsigned number) const noexcept -> bool {
        return number < most && (words_[number / 64] >> (number % 64) & 1U) != 0;
    }

    [[nodiscard]] constexpr auto empty() const noexcept -> bool { return *this == CpuSet{}; }

    /// As the kernel has it: bit 0 of the first word is processor 0.
    [[nodiscard]] constexpr auto words() const noexcept -> const std::array<std::uint64_t, 16>& {
        return words_;
    }

    [[nodiscard]] friend constexpr auto operator==(const CpuSet&, const CpuSet&) noexcept
        -> bool = default;

  private:
    std::array<std::uint64_t, most / 64> words_{};
};

} // namespace nsjoin

#endif // NSJOIN_PLAN_VALUES_HPP
