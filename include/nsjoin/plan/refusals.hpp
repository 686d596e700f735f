// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_REFUSALS_HPP
#define NSJOIN_PLAN_REFUSALS_HPP

#include <nsjoin/fd.hpp>

#include <concepts>
#include <string_view>
#include <type_traits>

namespace nsjoin::detail {

/// What is given where a descriptor has to be: a number that nobody owns, a Console.
template <typename Other>
concept NotADescriptor =
    !std::convertible_to<const Other&, BorrowedFd> && !std::same_as<Other, OwnedFd>;

/// The same, where a path will do as well.
template <typename Other>
concept NeitherPathNorDescriptor =
    NotADescriptor<Other> && !std::convertible_to<const Other&, std::string_view>;

/// A text that would be gone when the plan is used.
template <typename Text>
concept TemporaryText =
    !std::is_lvalue_reference_v<Text> && std::convertible_to<Text, std::string_view> &&
    !std::convertible_to<Text, const char*> &&
    !std::same_as<std::remove_cv_t<Text>, std::string_view>;

/// Calls that do not compile, and say why.
class Refusals {
  public:
    /// Does not compile: a plan borrows what is open.
    template <NeitherPathNorDescriptor Other>
    void root(const Other& other) const {
        static_assert(std::same_as<Other, void>,
                      "nsjoin: a root is a directory that is open and stays so: an OwnedFd of "
                      "open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), in a variable; or a path");
        (void)other;
    }

    /// Does not compile, as root().
    template <NeitherPathNorDescriptor Other>
    void working_directory(const Other& other) const {
        static_assert(std::same_as<Other, void>,
                      "nsjoin: a working directory is open and stays so: an OwnedFd of "
                      "open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), in a variable; or a path");
        (void)other;
    }

    template <TemporaryText Text>
    void root(Text&& path) const = delete; // nsjoin: keep the path in a variable

    template <TemporaryText Text>
    void working_directory(Text&& path) const = delete; // nsjoin: keep the path in a variable

    template <TemporaryText Text>
    void pivot_root(Text&& path) const = delete; // nsjoin: keep the path in a variable

    template <TemporaryText Text>
    void mount_proc(Text&& path) const = delete; // nsjoin: keep the path in a variable

    /// Does not compile, as root().
    template <NotADescriptor Other>
    void cgroup(const Other& other) const {
        static_assert(std::same_as<Other, void>,
                      "nsjoin: a cgroup is a directory that is open and stays so: an OwnedFd of "
                      "open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), in a variable");
        (void)other;
    }

    /// Does not compile: of a console, the child gets the peer.
    template <NotADescriptor Other>
    void console(const Other& other) const {
        static_assert(std::same_as<Other, void>,
                      "nsjoin: the child's console is the peer's descriptor: console.peer.fd()");
        (void)other;
    }
};

} // namespace nsjoin::detail

#endif // NSJOIN_PLAN_REFUSALS_HPP
