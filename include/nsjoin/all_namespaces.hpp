// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_ALL_NAMESPACES_HPP
#define NSJOIN_ALL_NAMESPACES_HPP

#include <nsjoin/detail/files.hpp>
#include <nsjoin/detail/kernel/text.hpp>
#include <nsjoin/namespace_fd.hpp>

#include <array>
#include <cstdint>
#include <dirent.h>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nsjoin::inline v0_1 {

/// A namespace of this machine, and what keeps it.
struct FoundNamespace {
    Kind kind{};
    std::uint64_t number = 0; ///< that in `net:[4026531840]`
    std::uint64_t owner = 0;  ///< its user namespace's, of one the parent's; 0: out of sight
    std::uint64_t parent = 0; ///< the number of a pid namespace's parent; 0: none, or out of sight
    std::vector<pid_t> processes{};
    std::vector<std::string> pins{}; ///< paths of mounts, and "PID/fd/N"
};

namespace detail {

/// Looks for namespaces wherever the caller may.
class NamespaceSearch {
  public:
    explicit NamespaceSearch(OwnedFd proc) noexcept : proc_{std::move(proc)} {}

    void look_everywhere() {
        look_at_mounts();
        look_at_list();
        for_each_name("", [this](std::string_view name) {
            int pid = 0;
            if (parse_number(name, pid) && pid > 0) {
                look_at_process(pid);
            }
        });
    }

    [[nodiscard]] auto found(KindSet kinds) && -> std::vector<FoundNamespace> {
        std::vector<FoundNamespace> list;
        for (auto& [number, space] : spaces_) {
            if (kinds.contains(space.kind)) {
                list.push_back(std::move(space));
            }
        }
        return list;
    }

  private:
    using Number = std::uint64_t;

    /// Calls it with each name in a directory of /proc.
    template <typename Do>
    void for_each_name(const char* path, const Do& act) const {
        const char* const from = *path == '\0' ? "." : path;
        OwnedFd fd{static_cast<int>(open_at(proc_.get(), from, O_RDONLY | O_DIRECTORY))};
        const std::unique_ptr<DIR, int (*)(DIR*)> directory{
            fd.ok() ? ::fdopendir(fd.get()) : nullptr, ::closedir};
        if (directory == nullptr) {
            return;
        }
        (void)fd.release();
        // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of its own
        while (const dirent* const entry = ::readdir(directory.get())) {
            act(std::string_view{static_cast<const char*>(entry->d_name)});
        }
    }

    /// What a link of /proc refers to, if that is a namespace: "net:[4026531840]", and nothing
    /// else, for a path may have any name.
    [[nodiscard]] auto number_at(const char* path) const -> Number {
        std::array<char, 64> text{};
        const long length = call(SYS_readlinkat, proc_.get(), path, text.data(), text.size());
        std::string_view rest{text.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
        const std::string_view name = take_until(rest, ':');
        Kind kind{};
        if (!rest.starts_with('[') || !rest.ends_with(']') || !kind_from_name(name, kind)) {
            return 0;
        }
        Number number = 0;
        for (const char c : rest.substr(1, rest.size() - 2)) {
            if (c < '0' || c > '9') {
                return 0;
            }
            number = number * 10 + static_cast<unsigned>(c - '0');
        }
        return number;
    }

    /// Adds it, with its owners and parents; which one it is.
    // NOLINTNEXTLINE(misc-no-recursion): namespaces nest 32 deep at most
    auto add(const AnyNamespaceFd& space) -> Number {
        const auto id = space.id();
        if (!id) {
            return 0;
        }
        // try_emplace() makes a std::tuple, which clang++ 17 can't with GCC 14's in C++23.
        const auto [place, is_new] = spaces_.emplace(id->inode, FoundNamespace{});
        FoundNamespace& one = place->second;
        if (is_new) {
            one.kind = space.kind();
            one.number = id->inode;
            if (auto owner = space.owner()) {
                one.owner = add(std::move(*owner).any());
            }
            if (one.kind == Kind::pid) {
                const auto parent = space.parent();
                one.parent = parent ? add(*parent) : 0;
            }
        }
        return one.number;
    }

    /// Looked at before it is opened, for it may be something else by now: to open a FIFO waits,
    /// and a device may do something.
    [[nodiscard]] auto open_link(const char* path) const -> Result<AnyNamespaceFd> {
        const OwnedFd found{static_cast<int>(open_at(proc_.get(), path, O_PATH))};
        if (!lies_on(found, nsfs_magic)) {
            return fail(Step::open_namespace, Reason::not_a_namespace);
        }
        auto fd = reopen(Step::open_namespace, found, O_RDONLY, path);
        return fd ? AnyNamespaceFd::adopt(*std::move(fd)) : Unexpected{fd.error()};
    }

    /// That of the link, which was read as `number`; null if it has gone.
    [[nodiscard]] auto find(const char* path, Number number) -> FoundNamespace* {
        auto place = spaces_.find(number);
        if (place == spaces_.end()) {
            const auto space = open_link(path);
            place = spaces_.find(space ? add(*space) : 0);
        }
        return place == spaces_.end() ? nullptr : &place->second;
    }

    void look_at_process(pid_t pid) {
        for (const Kind kind : KindSet{all_kinds}) {
            const auto path = SmallPath{""}.append(pid).append("/ns/").append(facts(kind).name);
            const Number number = number_at(path.c_str());
            if (auto* const space = number != 0 ? find(path.c_str(), number) : nullptr) {
                space->processes.push_back(pid);
            }
        }
        const auto directory = SmallPath{""}.append(pid).append("/fd");
        for_each_name(directory.c_str(), [&](std::string_view name) {
            const auto path = SmallPath{directory}.append("/").append(name);
            const Number number = number_at(path.c_str());
            if (auto* const space = number != 0 ? find(path.c_str(), number) : nullptr) {
                space->pins.emplace_back(path.c_str());
            }
        });
    }

    /// A path as mountinfo has it, with blanks and the like as \\ooo.
    [[nodiscard]] static auto unescaped(std::string_view text) -> std::string {
        std::string path;
        while (!text.empty()) {
            const bool escaped = text.front() == '\\' && text.size() > 3;
            int code = 0;
            for (std::size_t i = 1; escaped && i <= 3; ++i) {
                code = code * 8 + (text[i] - '0');
            }
            path.push_back(escaped ? static_cast<char>(code) : text.front());
            text.remove_prefix(escaped ? 4 : 1);
        }
        return path;
    }

    /// Those that are mounted in this mount namespace.
    void look_at_mounts() {
        const OwnedFd file{static_cast<int>(open_at(proc_.get(), "self/mountinfo", O_RDONLY))};
        std::string text;
        std::array<char, 4096> part{};
        for (long length = 0;
             (length = call_again(SYS_read, file.get(), part.data(), part.size())) > 0;) {
            text.append(part.data(), static_cast<std::size_t>(length));
        }
        for (std::string_view rest{text}; !rest.empty();) {
            std::string_view line = take_until(rest, '\n');
            for (int skipped = 0; skipped < 3; ++skipped) {
                (void)take_until(line, ' ');
            }
            const bool is_one = take_until(line, ' ').find(":[") != std::string_view::npos;
            const std::string path = unescaped(take_until(line, ' '));
            const auto space = is_one ? AnyNamespaceFd::open(path.c_str())
                                      : Result<AnyNamespaceFd>{fail(Step::open_namespace, ENOENT)};
            const auto place = spaces_.find(space ? add(*space) : 0);
            if (place != spaces_.end()) {
                place->second.pins.push_back(path);
            }
        }
    }

    /// Those that listns(2) tells, which may have no process, mount or descriptor in sight.
    void look_at_list() {
        constexpr long listns_number = 470; // the same on every architecture of ours

        struct Request {
            std::uint32_t size = 32;
            std::uint32_t spare = 0;
            std::uint64_t after = 0;
            std::uint32_t types = 0;
            std::uint32_t more_spare = 0;
            std::uint64_t owner = 0;
        } request;

        std::array<std::uint64_t, 128> ids{};
        for (;;) {
            const long count = call(listns_number, &request, ids.data(), ids.size(), 0U);
            if (count <= 0) {
                return;
            }
            for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
                if (const auto space = AnyNamespaceFd::open(NamespaceHandle{.id = ids[i]})) {
                    add(*space);
                }
            }
            request.after = ids[static_cast<std::size_t>(count) - 1];
        }
    }

    OwnedFd proc_;
    std::map<Number, FoundNamespace> spaces_;
};

} // namespace detail

/// The namespaces of this machine, of those kinds, as far as the caller may see them, ordered by
/// their numbers: those of its processes, those that a mount of this mount namespace or a process's
/// open descriptor keeps, those that own or contain them, and since Linux 6.19 all others that
/// listns(2) tells. What changes meanwhile may be in it or not. Allocates. Errors: not_procfs and
/// those of open(2) for /proc.
[[nodiscard]] inline auto all_namespaces(KindSet kinds = all_kinds)
    -> Result<std::vector<FoundNamespace>> {
    auto proc = detail::open_proc();
    if (!proc) {
        return Unexpected{proc.error()};
    }
    detail::NamespaceSearch search{*std::move(proc)};
    search.look_everywhere();
    return std::move(search).found(kinds);
}

} // namespace nsjoin

#endif // NSJOIN_ALL_NAMESPACES_HPP
