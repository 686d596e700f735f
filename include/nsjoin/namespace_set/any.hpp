// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_NAMESPACE_SET_ANY_HPP
#define NSJOIN_NAMESPACE_SET_ANY_HPP

#include <nsjoin/namespace_fd.hpp>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

// To be included by <nsjoin/namespace_set.hpp>, which defines what here has its kinds in its type.

namespace nsjoin::inline v0_1 {

template <Kind... Ks>
class NamespaceSet;

namespace detail {

/// A path of two parts.
class EntryPath {
  public:
    /// False if it is longer than a path can be, or the directory has no name.
    [[nodiscard]] auto assign(std::string_view directory, std::string_view name) noexcept -> bool {
        if (directory.empty() || directory.size() + name.size() + 2 > text_.size()) {
            return false;
        }
        char* end = text_.data();
        for (const std::string_view part : {directory, std::string_view{"/"}, name}) {
            for (const char c : part) {
                *end++ = c; // NOLINT(*-pointer-arithmetic)
            }
        }
        *end = '\0';
        return true;
    }

    [[nodiscard]] auto c_str() const noexcept -> const char* { return text_.data(); }

  private:
    std::array<char, 4096> text_{};
};

[[nodiscard]] inline auto wrong_path(std::string_view directory) noexcept -> int {
    return directory.empty() ? ENOENT : ENAMETOOLONG;
}

} // namespace detail

/// Namespaces, held open, at most one of a kind, whose kinds are known when the program runs;
/// NamespaceSet is its twin for kinds that are known when it is compiled. Owns a descriptor with
/// close-on-exec for each. Move-only: one that was moved from has the kinds still, and whatever is
/// done with it is an error.
class [[nodiscard]] AnyNamespaceSet {
  public:
    /// None.
    AnyNamespaceSet() noexcept = default;

    /// Those namespaces of the target. Errors: those of AnyNamespaceFd::open.
    [[nodiscard]] static auto open(const PidFd& target, KindSet kinds) noexcept
        -> Result<AnyNamespaceSet> {
        AnyNamespaceSet set;
        for (const Kind kind : kinds) {
            auto space = AnyNamespaceFd::open(kind, target);
            if (!space) {
                return Unexpected{space.error()};
            }
            set.put(*std::move(space));
        }
        return set;
    }

    /// Those that pin() has left in the directory, and any other that has such a name there.
    /// Errors: those of open(2) for the directory; those of AnyNamespaceFd::open for an entry,
    /// wrong_kind for one of another kind than its name says.
    [[nodiscard]] static auto open(const char* directory) noexcept -> Result<AnyNamespaceSet> {
        const auto there =
            detail::open_owned(Step::open_namespace, AT_FDCWD, directory, O_PATH | O_DIRECTORY);
        if (!there) {
            return Unexpected{there.error()};
        }
        AnyNamespaceSet set;
        detail::EntryPath path;
        for (const KindFacts& row : kind_table) {
            if (!path.assign(directory, row.name)) {
                return detail::fail(Step::open_namespace, detail::wrong_path(directory), directory);
            }
            auto space = AnyNamespaceFd::open(path.c_str());
            if (!space && space.error().code == ENOENT) {
                continue;
            }
            if (space && space->kind() != row.kind) {
                return detail::wrong_kind(Subject{path.c_str()}, space->kind());
            }
            if (!space) {
                return Unexpected{space.error()};
            }
            set.put(*std::move(space));
        }
        return set;
    }

    static auto open(std::nullptr_t) -> Result<AnyNamespaceSet> = delete;

    /// Which kinds there are.
    [[nodiscard]] auto kinds() const noexcept -> KindSet { return kinds_; }

    [[nodiscard]] auto contains(Kind kind) const noexcept -> bool { return kinds_.contains(kind); }

    /// The namespace's descriptor; not ok() where there is none.
    [[nodiscard]] auto fd(Kind kind) const& noexcept -> BorrowedFd {
        return fds_[static_cast<std::size_t>(kind)].borrow();
    }

    auto fd(Kind) && -> BorrowedFd = delete;

    /// Puts one in, in the place of one of the same kind.
    void put(AnyNamespaceFd space) noexcept {
        kinds_ = kinds_ | space.kind();
        fds_[static_cast<std::size_t>(space.kind())] = space.release();
    }

    /// Gives one away: the caller closes it. Not ok() where there is none.
    [[nodiscard]] auto release(Kind kind) noexcept -> OwnedFd {
        kinds_ = kinds_ - kind;
        return std::move(fds_[static_cast<std::size_t>(kind)]);
    }

    /// The same set, with its kinds in its type; others that it has are closed. Errors: wrong_kind,
    /// which names the first that it lacks, and leaves it as it is.
    template <Kind... Ks>
    [[nodiscard]] auto as() && noexcept -> Result<NamespaceSet<Ks...>>;

    /// Keeps all of them alive under the names that they have in /proc/PID/ns ("net", "mnt") in the
    /// directory, which is made (mode 0755 less the umask) if there is none: AnyNamespaceFd::pin()
    /// for each. On an error nothing is left, and files that were there before stay. Errors: those
    /// of mkdir(2) and of pin(), which name the path. A mount namespace can't be pinned where its
    /// own mounts would show it: the directory is to be on a private mount (unshare(1)).
    [[nodiscard]] auto pin(const char* directory) const noexcept -> Result<void> {
        const long made = detail::call(SYS_mkdirat, AT_FDCWD, directory, 0755);
        if (made < 0 && made != -EEXIST) {
            return detail::fail(Step::pin_namespace, static_cast<int>(-made), directory);
        }
        KindSet pinned;
        KindSet files; // that were made for it
        for (const Kind kind : kinds_) {
            const Result<bool> done = pin_one(directory, kind);
            if (!done) {
                (void)unpin(directory, files, true);
                (void)unpin(directory, pinned - files, false);
                if (made >= 0) {
                    (void)detail::call(SYS_unlinkat, AT_FDCWD, directory, AT_REMOVEDIR);
                }
                return Unexpected{done.error()};
            }
            pinned = pinned | kind;
            files = *done ? files | kind : files;
        }
        return {};
    }

    auto pin(std::nullptr_t) const -> Result<void> = delete;

    /// Undoes pin(): AnyNamespaceFd::unpin() for each kind that is there; the directory is removed
    /// if nothing else is in it. All are tried. Errors: ENOENT if none is there; the first of
    /// unpin().
    [[nodiscard]] static auto unpin(const char* directory) noexcept -> Result<void> {
        Result<void> done = unpin(directory, KindSet{all_kinds}, true);
        if (done) {
            (void)detail::call(SYS_unlinkat, AT_FDCWD, directory, AT_REMOVEDIR);
        }
        return done;
    }

    static auto unpin(std::nullptr_t) -> Result<void> = delete;

  private:
    [[nodiscard]] auto pin_one(const char* directory, Kind kind) const noexcept -> Result<bool> {
        detail::EntryPath path;
        if (!path.assign(directory, facts(kind).name)) {
            return detail::fail(Step::pin_namespace, detail::wrong_path(directory), directory);
        }
        return detail::pin_namespace(fd(kind), path.c_str());
    }

    [[nodiscard]] static auto unpin(const char* directory, KindSet kinds, bool files_too) noexcept
        -> Result<void> {
        Result<void> first = detail::fail(Step::unpin_namespace, ENOENT, directory);
        bool found = false;
        for (const Kind kind : kinds) {
            detail::EntryPath path;
            Result<void> done =
                path.assign(directory, facts(kind).name)
                    ? detail::unpin_namespace(path.c_str(), files_too)
                    : detail::fail(Step::unpin_namespace, detail::wrong_path(directory), directory);
            if (!done && done.error().code == ENOENT) {
                continue;
            }
            first = found && !first ? first : done;
            found = true;
        }
        return first;
    }

    std::array<OwnedFd, kind_count> fds_;
    KindSet kinds_;
};

} // namespace nsjoin

#endif // NSJOIN_NAMESPACE_SET_ANY_HPP
