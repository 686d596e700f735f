// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_COMMAND_HPP
#define NSJOIN_COMMAND_HPP

#include <nsjoin/fd.hpp>

#include <array>
#include <concepts>
#include <csignal>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <sys/resource.h>
#include <type_traits>

namespace nsjoin::inline v0_1 {

/// Which program to execute. There is none by default, so that a command without one does not
/// compile. Borrows its text or descriptor.
class Program {
  public:
    Program() = delete;

    /// Does not compile: a text says neither whether it is a path nor whether PATH is searched.
    template <typename Text>

    requires std::convertible_to<Text, std::string_view>
    // NOLINTNEXTLINE(*-explicit-*,*-pro-type-member-init): it makes none
    Program(const Text& text) {
        static_assert(std::same_as<Text, void>,
                      "nsjoin: say where the program is: Program::at(path) or "
                      "Program::in_path(name, list)");
        (void)text;
    }

    /// The program at this path, which is looked up inside: in the joined mount namespace, under
    /// the plan's root, from its working directory, with the child's ids. execve(2).
    [[nodiscard]] static constexpr auto at(const char* path) noexcept -> Program {
        detail::expect(path != nullptr, "Program::at() needs a path, not a null pointer");
        return Program{path, std::nullopt, {}};
    }

    /// The first program of this name in the directories of `list`, which is written as PATH is,
    /// looked up inside. A name with a slash is a path. What execvp(3) does, but that a file
    /// without a format that the kernel knows is ENOEXEC, and no shell's script.
    [[nodiscard]] static constexpr auto in_path(const char* name, std::string_view list) noexcept
        -> Program {
        detail::expect(name != nullptr, "Program::in_path() needs a name, not a null pointer");
        return Program{name, list, {}};
    }

    /// A program that is open already, from wherever: execveat(2). A script needs a descriptor
    /// without close-on-exec, and a /proc or /dev/fd inside.
    [[nodiscard]] static constexpr auto open_file(BorrowedFd file) noexcept -> Program {
        return Program{nullptr, std::nullopt, file};
    }

    /// The path or name; null if it is an open file.
    [[nodiscard]] constexpr auto path() const noexcept -> const char* { return path_; }

    /// Where the name is looked for; nothing if it is a path.
    [[nodiscard]] constexpr auto search_list() const noexcept -> std::optional<std::string_view> {
        const bool looked_for =
            list_ && std::string_view{path_}.find('/') == std::string_view::npos;
        return looked_for ? list_ : std::nullopt;
    }

    [[nodiscard]] constexpr auto file() const noexcept -> BorrowedFd { return file_; }

  private:
    constexpr Program(const char* path, std::optional<std::string_view> list,
                      BorrowedFd file) noexcept
        : path_{path}, list_{list}, file_{file} {}

    const char* path_;
    std::optional<std::string_view> list_;
    BorrowedFd file_;
};

namespace detail {

template <typename List>
concept ListOfWords = requires(const List& list) {
    { list.data() } -> std::same_as<const char* const*>;
    { list.size() } -> std::convertible_to<std::size_t>;
};

} // namespace detail

/// A list of texts as execve(2) takes it: ended by a null pointer. Borrows the list and the texts.
class WordList {
  public:
    WordList() = delete; // nsjoin: a Command needs its arguments, the program's name first
    WordList(std::nullptr_t) = delete; // NOLINT(google-explicit-constructor,hicpp-*)
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions)
    WordList(std::initializer_list<const char*>) = delete; // nsjoin: keep an array in a variable

    /// What main() gets, or a part of it; ended by a null pointer.
    template <typename Pointer>

    requires(std::is_pointer_v<Pointer>&& std::convertible_to<Pointer, const char* const*>)
        // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same list
        constexpr WordList(const Pointer& words) noexcept
        : words_{words} {
        detail::expect(words != nullptr, "a list of words is no null pointer, it ends with one");
    }

    /// An array whose last element is the null pointer; without one the program ends.
    template <typename Word, std::size_t N>

    requires std::convertible_to<Word*, const char* const*>

    // NOLINTNEXTLINE(*-explicit-*,*-avoid-c-arrays): the same list
    constexpr WordList(Word (&words)[N]) noexcept : words_{words} {
        detail::expect(words[N - 1] == nullptr, no_end);
    }

    template <std::size_t N>
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same list
    constexpr WordList(const std::array<const char*, N>& words) noexcept : words_{words.data()} {
        static_assert(N != 0, "nsjoin: a list of words ends with a null pointer");
        detail::expect(words[N - 1] == nullptr, no_end);
    }

    template <std::size_t N>
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions)
    WordList(const std::array<const char*, N>&&) = delete; // nsjoin: keep the array in a variable

    /// A vector, or another list of that kind, in the same way.
    template <detail::ListOfWords List>
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): the same list
    constexpr WordList(const List& list) noexcept : words_{list.data()} {
        detail::expect(list.size() != 0 && words_[list.size() - 1] == nullptr, no_end);
    }

    template <detail::ListOfWords List>
    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions)
    WordList(const List&&) = delete; // nsjoin: keep the list in a variable

    /// Does not compile: strings lie elsewhere than execve(2) wants their texts.
    template <typename Strings>

    requires requires(const Strings& list) {
        { *list.begin() } -> std::convertible_to<std::string_view>;
        requires !std::convertible_to<decltype(*list.begin()), const char*>;
    }

    // NOLINTNEXTLINE(*-explicit-*,*-pro-type-member-init): it makes none
    WordList(const Strings& list) {
        static_assert(std::same_as<Strings, void>,
                      "nsjoin: a list of words has a const char* for each, and a null pointer at "
                      "its end: fill a vector with the c_str() of the strings, which stay");
        (void)list;
    }

    [[nodiscard]] constexpr auto get() const noexcept -> const char* const* { return words_; }

  private:
    static constexpr std::string_view no_end = "a list of words ends with a null pointer";

    const char* const* words_;
};

/// A descriptor for a program, and the number under which it finds it.
struct PassedFd {
    BorrowedFd from;
    int to = -1; ///< 0 or more
};

/// A limit for a program. setrlimit(2).
struct ResourceLimit {
    int resource = 0; ///< RLIMIT_NOFILE and so on
    rlimit value{};
};

/// A program to execute, and what it gets. Borrows all that it points to.
struct Command {
    Program program;
    /// The first is the program's name for itself.
    WordList arguments;
    /// "NAME=value" each. If empty, the caller's.
    std::optional<WordList> environment{};

    /// Descriptors of the caller to pass, at most 256, without close-on-exec. In any order; a
    /// number may be taken that another one of them comes from, or that the console has.
    std::span<const PassedFd> descriptors{};
    /// Closes every descriptor but 0, 1, 2 and those that are passed: one that leads out of what is
    /// joined would be a way out (CVE-2024-21626). Else those stay open that have no close-on-exec.
    /// close_range(2), Linux 5.9; before, one close(2) for each that /proc lists.
    bool close_others = true;

    /// The blocked signals. If empty, the calling thread's.
    std::optional<sigset_t> signal_mask{};
    /// Signals that are not to be ignored if the caller ignores them. Handlers are reset anyway.
    std::optional<sigset_t> default_signals{};
    /// Set with the child's own rights: to raise a hard limit needs CAP_SYS_RESOURCE in the initial
    /// user namespace.
    std::span<const ResourceLimit> limits{};
    /// No program gives the child rights that it lacks. PR_SET_NO_NEW_PRIVS(2const).
    bool no_new_privileges = false;
};

} // namespace nsjoin

#endif // NSJOIN_COMMAND_HPP
