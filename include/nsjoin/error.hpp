// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_ERROR_HPP
#define NSJOIN_ERROR_HPP

#include <nsjoin/step.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace nsjoin::inline v0_1 {

/// Why something failed, where the errno alone does not say it.
enum class Reason : std::uint16_t {
    system,               ///< the system call failed: see Error::code
    joined_twice,         ///< a plan joins a kind twice
    joined_and_created,   ///< a plan joins a kind and creates it
    maps_without_user,    ///< id maps without a new user namespace
    offsets_without_time, ///< time offsets without a new time namespace
    no_such_kind,         ///< the running kernel lacks the kind
    not_a_namespace,      ///< the descriptor is no namespace
    wrong_kind,           ///< a namespace of another kind
    map_empty,            ///< an id map without extents
    map_zero_count,       ///< an extent of no ids
    map_overflow,         ///< an extent past the last id
    map_overlap,          ///< two extents share an id
    map_too_long,         ///< more than 340 extents
    id_not_mapped,        ///< an id that the user namespace's maps do not have
    ids_differ,           ///< the process has other ids than it took
    groups_denied,        ///< setgroups is denied in the user namespace
    no_capability,        ///< a capability to keep that is not there: see Error::subject
    capabilities_differ,  ///< the process has other capabilities than it took
    not_a_terminal,       ///< the console is no terminal
    not_procfs,           ///< /proc is not the kernel's
    not_a_cgroup,         ///< the descriptor is no directory of a cgroup file system
    frozen,               ///< the cgroup is frozen, and would be what enters it
    refused_by_policy,    ///< the rights are there, but something refuses the system call
    process_gone,         ///< the process ended meanwhile
    first_thread_ended,   ///< the process's first thread ended, others run on
    process_died,         ///< the joiner or child died before it reported: see Error::code
    helper_failed,        ///< newuidmap or newgidmap said no: see Error::subject
    helper_powerless,     ///< newuidmap or newgidmap lacks its rights: see Error::subject
    no_helper,            ///< newuidmap or newgidmap is not installed
    deadline_passed,      ///< the plan's deadline passed
    end_of_file,          ///< the other side closed before all was read
    init_has_no_sibling,  ///< pid 1 of a pid namespace can't use CLONE_PARENT
    pending_pid,          ///< the caller's children would be the first in a new pid namespace
    many_threads,         ///< the caller has several threads, and would have to join itself
    outside_root,         ///< the working directory is outside the root directory
    already_reaped,       ///< someone else waited for the process and took its status
    bad_value,            ///< a value outside its range
    no_way_back,          ///< a kind that the Home lacks, so that nobody could come back
    not_root_inside,      ///< no id map for id 0, which the plan needs
    bad_message,          ///< a bootstrap message or variable that breaks the dialect's rules
    no_subordinate_ids,   ///< subuid(5) or subgid(5) has no range of the user's
    inside_failed,        ///< a function of the plan's own: see Error::subject, and code if not 0
    no_launcher,          ///< the program was to be a launcher, and has none in it
    not_dumpable,         ///< the child's files in /proc are another user's, as it is not dumpable
};

/// A short text inside an Error: never allocates, cuts what does not fit.
class Subject {
  public:
    constexpr Subject() noexcept = default;

    constexpr explicit Subject(std::string_view text) noexcept { append(text); }

    constexpr auto append(std::string_view text) noexcept -> Subject& {
        for (const char c : text) {
            if (length_ == text_.size() - 1) {
                break; // the last byte stays NUL
            }
            text_[length_++] = c;
        }
        return *this;
    }

    constexpr auto append(std::int64_t number) noexcept -> Subject& {
        std::array<char, 20> digits{};
        std::size_t count = 0;
        auto rest = number < 0 ? 0 - static_cast<std::uint64_t>(number)
                               : static_cast<std::uint64_t>(number);
        do {
            digits[count++] = static_cast<char>('0' + rest % 10);
            rest /= 10;
        } while (rest != 0);
        if (number < 0) {
            append("-");
        }
        while (count != 0) {
            append(std::string_view{&digits[--count], 1});
        }
        return *this;
    }

    [[nodiscard]] constexpr auto view() const noexcept -> std::string_view {
        return {text_.data(), length_};
    }

    /// The same, ended by a NUL.
    [[nodiscard]] constexpr auto c_str() const noexcept -> const char* { return text_.data(); }

    [[nodiscard]] friend constexpr auto operator==(const Subject& a, const Subject& b) noexcept
        -> bool {
        return a.view() == b.view();
    }

  private:
    std::array<char, 160> text_{};
    std::uint8_t length_ = 0;
    std::array<std::uint8_t, 3> gap_{}; ///< what is sent of it is all written
};

/// What failed: the step, to what it was being done, the errno and the reason. Trivially copyable,
/// so that it crosses from the child to the caller as it is. explain() puts it in words.
struct [[nodiscard]] Error {
    Step step = Step::check_plan;
    Reason reason = Reason::system;
    /// An errno; for process_died and helper_failed the wait status, or -1 if that is not known;
    /// else 0.
    std::int32_t code = 0;
    Subject subject; ///< what the step was done to ("pid 4711", "/run/netns/blue"), or empty

    [[nodiscard]] friend constexpr auto operator==(const Error&, const Error&) noexcept
        -> bool = default;
};

static_assert(std::is_trivially_copyable_v<Error> &&
              std::has_unique_object_representations_v<Error>);

namespace detail {

/// A message of another process has none beyond it.
inline constexpr Reason last_reason = Reason::not_dumpable;

/// In the place of a wait status that nobody knows.
inline constexpr int unknown_status = -1;

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_ERROR_HPP
