// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_FILES_HPP
#define NSJOIN_DETAIL_FILES_HPP

#include <nsjoin/detail/kernel/proc.hpp>
#include <nsjoin/fd.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <sys/stat.h>

// What the handles need to know of files before they trust them.

namespace nsjoin::inline v0_1::detail {

inline constexpr std::uint64_t devpts_super_magic = 0x1cd1;

/// A short path, built without allocation. What does not fit is a broken precondition.
class SmallPath {
  public:
    explicit SmallPath(std::string_view text) noexcept { append(text); }

    auto append(std::string_view text) noexcept -> SmallPath& {
        expect(text.size() < text_.size() - length_, "a path in /proc is longer than it can be");
        // Not view::copy(), which refers to the C++ run-time library.
        std::memcpy(text_.data() + length_, text.data(), text.size());
        length_ += text.size();
        return *this;
    }

    auto append(int number) noexcept -> SmallPath& {
        Subject digits;
        return append(digits.append(std::int64_t{number}).view());
    }

    [[nodiscard]] auto c_str() const noexcept -> const char* { return text_.data(); }

  private:
    std::array<char, 96> text_{};
    std::size_t length_ = 0;
};

/// A path of at most 4095 bytes, which was checked before, ended by a NUL for the kernel.
class PathText {
  public:
    // NOLINTNEXTLINE(*-pro-type-member-init): no more of it is read than is written
    explicit PathText(std::string_view path) noexcept {
        expect(path.size() < text_.size(), "a path is longer than it can be");
        std::memcpy(text_.data(), path.data(), path.size());
        text_[path.size()] = '\0';
    }

    [[nodiscard]] auto c_str() const noexcept -> const char* { return text_.data(); }

  private:
    std::array<char, 4096> text_;
};

/// Whether the open file, which may be one with O_PATH, is on a file system with that magic number.
[[nodiscard]] inline auto lies_on(BorrowedFd fd, std::uint64_t magic) noexcept -> bool {
    return lies_on(fd.get(), magic);
}

/// The same; what is wrong is `otherwise` only where the kernel says so.
[[nodiscard]] inline auto check_file_system(Step step, BorrowedFd fd, std::uint64_t magic,
                                            Reason otherwise, std::string_view subject) noexcept
    -> Result<void> {
    struct statfs facts {};

    const long known = call_again(SYS_fstatfs, fd.get(), &facts);
    if (known < 0 && known != -EBADF) { // what is not open is none either
        return fail(step, static_cast<int>(-known), subject);
    }
    return known == 0 && static_cast<std::uint32_t>(facts.f_type) == magic
               ? Result<void>{}
               : fail(step, otherwise, subject);
}

/// Whether the directory has that entry, itself, wherever it points if it is a link.
[[nodiscard]] inline auto has_entry(BorrowedFd directory, const char* name) noexcept -> bool {
    struct stat facts {};

    return ::fstatat(directory.get(), name, &facts, AT_SYMLINK_NOFOLLOW) == 0;
}

/// Whether an ioctl failed as one does that the kernel doesn't know or a seccomp filter denies, so
/// that the older way is to be tried.
[[nodiscard]] constexpr auto is_unknown_request(long result) noexcept -> bool {
    return result == -ENOTTY || (result < 0 && result != -EOPNOTSUPP && // the kind is what lacks
                                 may_be_missing(static_cast<int>(-result)));
}

/// /proc with O_PATH, verified to be the kernel's. Errors: not_procfs, and those of open(2).
[[nodiscard]] inline auto open_proc() noexcept -> Result<OwnedFd> {
    auto proc = open_owned(Step::open_proc, AT_FDCWD, "/proc", O_PATH | O_DIRECTORY);
    if (!proc) {
        return proc;
    }
    const Result<void> is =
        check_file_system(Step::open_proc, *proc, proc_super_magic, Reason::not_procfs, "/proc");
    return is ? std::move(proc) : Unexpected{is.error()};
}

/// The error for a /proc of which proc_calls_us() says that.
[[nodiscard]] inline auto foreign_proc(long ours) noexcept -> Unexpected {
    return ours < 0
               ? fail(Step::open_proc, static_cast<int>(-ours), "/proc/self")
               : fail(Step::open_proc, Reason::not_procfs, "/proc is of another pid namespace");
}

/// Opens /proc and makes sure that it is the kernel's (CVE-2019-16884, -19921), and that of the
/// caller's pid namespace: through another one, files of another process would be written.
[[nodiscard]] inline auto open_own_proc(pid_t pid) noexcept -> Result<OwnedFd> {
    Result<OwnedFd> proc = open_proc();
    if (!proc) {
        proc.error().step = Step::open_proc;
        return proc;
    }
    const long ours = proc_calls_us(proc->get(), pid);
    return ours == 1 ? std::move(proc) : Result<OwnedFd>{foreign_proc(ours)};
}

/// The way from /proc to a descriptor of the calling thread.
[[nodiscard]] inline auto path_of(BorrowedFd fd) noexcept -> SmallPath {
    return SmallPath{"thread-self/fd/"}.append(fd.get());
}

/// Opens, with `flags`, the very file that `path_fd` (O_PATH) stands for; the error names
/// `subject`.
[[nodiscard]] inline auto reopen(Step step, BorrowedFd path_fd, int flags,
                                 std::string_view subject) noexcept -> Result<OwnedFd> {
    const auto proc = open_proc();
    if (!proc) {
        return Unexpected{proc.error()};
    }
    auto fd = open_owned(step, proc->get(), path_of(path_fd).c_str(), flags);
    if (!fd) {
        fd.error().subject = Subject{subject};
    }
    return fd;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_FILES_HPP
