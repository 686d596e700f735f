// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_REFUSALS_HPP
#define NSJOIN_PLAN_REFUSALS_HPP

#include <nsjoin/namespace_set.hpp>
#include <nsjoin/plan/inside.hpp>

#include <concepts>
#include <initializer_list>
#include <string_view>
#include <type_traits>

namespace nsjoin::inline v0_1::detail {

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

template <typename F>
concept NotCalledInside = !CalledInside<F> && !CalledInside<const F>;

template <typename T>
concept Temporary = !std::is_lvalue_reference_v<T>;

/// Calls that do not compile, and say why.
class Refusals {
  public:
    /// Does not compile: the namespace or target is not there if the Result is an error.
    template <typename T, typename... Rest>
    void join(const Result<T>& result, const Rest&... rest) const {
        static_assert(std::same_as<T, void>,
                      "nsjoin: this is a Result: look whether it is an error, then give *result");
        (void)result, ((void)rest, ...);
    }

    /// Does not compile: a pid can be another process's by now.
    template <std::integral Pid, typename... Rest>
    void join(Pid pid, const Rest&... rest) const {
        static_assert(std::same_as<Pid, void>,
                      "nsjoin: a plan joins a process that is pinned: PidFd::open(pid) first");
        (void)pid, ((void)rest, ...);
    }

    /// Does not compile: the type of a KindSet does not say the kinds.
    template <typename Set>

    requires(std::convertible_to<Set, KindSet> &&
             !requires { Set::set; }) void join(const PidFd& target, Set set) const {
        static_assert(std::same_as<Set, void>,
                      "nsjoin: name the kinds in the type: kinds<Kind::net, Kind::mount>; or use a "
                      "Draft");
        (void)target, (void)set;
    }

    /// Does not compile, as that of a KindSet.
    void join(const PidFd&, std::initializer_list<Kind>) const = delete; // nsjoin: kinds<Kind::net>

    /// Does not compile: none is joined that is not named.
    void join(const PidFd&) const = delete; // nsjoin: of which kinds: all_kinds, kinds<Kind::net>

    /// Does not compile: the type of a Kind does not say which it is.
    template <std::same_as<Kind>... Ks>
    void create(Kind, Ks...) const = delete; // nsjoin: in the type: create<Kind::net>()

    /// Does not compile: the type of an AnyNamespaceFd does not say its kind.
    template <typename Any>

    requires(std::same_as<Any, AnyNamespaceFd>) void join(const Any& space) const {
        static_assert(!std::same_as<Any, AnyNamespaceFd>,
                      "nsjoin: the kind of this namespace descriptor is known only at run time: "
                      "use a NamespaceFd of a kind, or a Draft");
        (void)space;
    }

    /// Does not compile: the type of an AnyNamespaceSet does not say its kinds.
    template <typename Any>

    requires(std::same_as<Any, AnyNamespaceSet>) void join(const Any& spaces) const {
        static_assert(
            !std::same_as<Any, AnyNamespaceSet>,
            "nsjoin: the kinds of this set are known only at run time: as<Kind::net, …>() "
            "first, or a Draft");
        (void)spaces;
    }

    /// Does not compile: the child calls it later, and can say in one way only that it failed.
    template <Moment At, NotCalledInside F>
    void inside(const F& function) const {
        static_assert(std::same_as<F, void>,
                      "nsjoin: a function to call inside takes no argument, is noexcept and "
                      "returns nsjoin::Result<void>");
        (void)function;
    }

    template <Moment At, Temporary F>
    void inside(F&&) const = delete; // nsjoin: keep the function in a variable

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
