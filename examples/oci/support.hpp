// SPDX-License-Identifier: Apache-2.0
// Errors as exceptions, files, and values in JSON.
#ifndef EXAMPLES_OCI_SUPPORT_HPP
#define EXAMPLES_OCI_SUPPORT_HPP

#include <nsjoin/explain.hpp>
#include <nsjoin/fd.hpp>
#include <nsjoin/plan/inside.hpp>

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

namespace oci {

using nlohmann::json;
using Words = std::vector<std::string>;

struct Failure : std::runtime_error {
    explicit Failure(const std::string& text, int code = 0)
        : std::runtime_error{code == 0 ? text : text + ": " + std::strerror(code)},
          what_for{text},
          error{code} {}

    std::string what_for;
    int error;
};

/// The value; or the library's error as an exception.
template <typename T>
auto need(nsjoin::Result<T> result) -> T {
    if (!result) {
        throw Failure{nsjoin::explain(result.error())};
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*result);
    }
}

/// What a system call returned; or its error as an exception.
inline auto check(long result, const std::string& text) -> int {
    return result >= 0 ? static_cast<int>(result) : throw Failure{text, errno};
}

/// For a function of a plan: its exceptions as the library's errors.
template <typename F>
auto guarded(const F& function) noexcept -> nsjoin::Result<void> {
    try {
        function();
        return {};
    } catch (const Failure& failure) {
        return nsjoin::failed_inside(failure.what_for, failure.error);
    } catch (const std::exception& failure) {
        return nsjoin::failed_inside(failure.what());
    }
}

inline auto open_file(const std::string& path, int flags, mode_t mode = 0) -> nsjoin::OwnedFd {
    return nsjoin::OwnedFd{check(open(path.c_str(), flags | O_CLOEXEC, mode), "open " + path)};
}

inline auto read_all(const nsjoin::OwnedFd& file) -> std::string {
    std::string text;
    char part[4096]; // NOLINT(*-avoid-c-arrays)
    while (const int size = check(read(file.get(), part, sizeof part), "read")) {
        text.append(part, static_cast<std::size_t>(size));
    }
    return text;
}

inline auto read_file(const std::string& path) -> std::string {
    return read_all(open_file(path, O_RDONLY));
}

/// In one write(2), as the kernel's files want it.
inline void write_file(const std::string& path, std::string_view text, int flags = 0) {
    const auto file = open_file(path, O_WRONLY | flags, 0600);
    (void)check(write(file.get(), text.data(), text.size()), "write " + path);
}

/// The value at "a/b/c"; null if there is none.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the path
inline auto at(const json& from, std::string_view path) -> const json& {
    static const json none;
    const std::size_t slash = path.find('/');
    const auto found = from.is_object() ? from.find(path.substr(0, slash)) : from.end();
    if (!from.is_object() || found == from.end()) {
        return none;
    }
    return slash == std::string_view::npos ? *found : at(*found, path.substr(slash + 1));
}

/// An integer that the type has: a conversion of the library's cuts it, and takes true for 1.
template <typename T>
auto integer(const json& value, std::string_view name) -> T {
    const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                 : value.is_number_integer() &&
                                                       std::in_range<T>(value.get<std::int64_t>());
    return fits ? value.get<T>()
                : throw Failure{std::string{name} + " is out of its range: " + value.dump()};
}

template <typename T>
auto get(const json& from, std::string_view path, T otherwise = {}) -> T {
    const json& value = at(from, path);
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
        return value.is_null() ? otherwise : integer<T>(value, path);
    } else {
        return value.is_null() ? otherwise : value.get<T>();
    }
}

/// A number of an option, as the same in a configuration.
inline auto number_of(const std::string& text) -> json {
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    return digits && json::accept(text) ? json::parse(text)
                                        : throw Failure{"no number: \"" + text + '"'};
}

/// The configuration, or another file, whose name an error has.
inline auto parse_file(const std::string& path) -> json {
    try {
        return json::parse(read_file(path));
    } catch (const json::exception& error) {
        throw Failure{path + ": " + error.what()};
    }
}

/// Words as execve(2) takes them.
inline auto pointers(const Words& words) -> std::vector<const char*> {
    std::vector<const char*> list;
    for (const std::string& word : words) {
        list.push_back(word.c_str());
    }
    list.push_back(nullptr);
    return list;
}

} // namespace oci

#endif // EXAMPLES_OCI_SUPPORT_HPP
