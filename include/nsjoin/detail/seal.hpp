// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_SEAL_HPP
#define NSJOIN_DETAIL_SEAL_HPP

#include <nsjoin/bootstrap.hpp>
#include <nsjoin/detail/files.hpp>

#include <sys/stat.h>

// Keeps the host's executable from being overwritten through /proc/PID/exe by a process inside of
// what is joined (CVE-2019-5736): the program goes on from a copy that nobody can write.

namespace nsjoin::detail {

inline constexpr unsigned memfd_cloexec = 1;
inline constexpr unsigned memfd_allow_sealing = 2;
inline constexpr unsigned memfd_exec = 0x10; // Linux 6.3
inline constexpr int add_seals = 1033;       // F_ADD_SEALS
inline constexpr int get_seals = 1034;       // F_GET_SEALS
inline constexpr long all_seals = 0xf;       // SEAL, SHRINK, GROW, WRITE

[[nodiscard]] inline auto seal_error(long result, std::string_view what) noexcept
    -> tl::unexpected<Error> {
    return fail(Step::seal_executable, static_cast<int>(-result), what);
}

/// Whether the running executable is one that nobody can harm the host through: sealed memory, or
/// a file that has no name any more. Read from the file itself, because anybody can set a variable.
[[nodiscard]] inline auto is_sealed(BorrowedFd executable) noexcept -> bool {
    const long seals = call(SYS_fcntl, executable.get(), get_seals);
    if (seals >= 0 && (seals & all_seals) == all_seals) {
        return true;
    }

    struct stat about {};

    return ::fstat(executable.get(), &about) == 0 && about.st_nlink == 0;
}

[[nodiscard]] inline auto make_memfd() noexcept -> long {
    constexpr unsigned flags = memfd_cloexec | memfd_allow_sealing;
    const long made = call(SYS_memfd_create, "nsjoin", flags | memfd_exec);
    return made == -EINVAL ? call(SYS_memfd_create, "nsjoin", flags) : made;
}

[[nodiscard]] inline auto copy_file(BorrowedFd from, BorrowedFd to) noexcept -> long {
    struct stat about {};

    if (::fstat(from.get(), &about) != 0) {
        return -errno;
    }
    auto left = static_cast<std::size_t>(about.st_size);
    while (left != 0) {
        const long sent = call_again(SYS_sendfile, to.get(), from.get(), nullptr, left);
        if (sent <= 0) {
            return sent == 0 ? -EIO : sent;
        }
        left -= static_cast<std::size_t>(sent);
    }
    return 0;
}

/// A file without a name, for kernels without memfd_create and for sysctls that forbid to execute
/// one. Only a descriptor that can't write may be open when it is executed.
[[nodiscard]] inline auto copy_to_nameless_file(BorrowedFd executable) noexcept -> Result<OwnedFd> {
    for (const char* directory : {"/dev/shm", "/tmp", "/var/tmp", "/run"}) {
        const OwnedFd file{static_cast<int>(
            call_again(SYS_openat, AT_FDCWD, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0500))};
        if (file.ok() && copy_file(executable, file) == 0) {
            return reopen(Step::seal_executable, file, O_RDONLY, directory);
        }
    }
    return fail(Step::seal_executable, ENOENT, "no directory for a copy");
}

[[nodiscard]] inline auto sealed_copy(BorrowedFd executable) noexcept -> Result<OwnedFd> {
    const long made = make_memfd();
    if (made < 0) {
        return copy_to_nameless_file(executable);
    }
    OwnedFd memory{static_cast<int>(made)};
    long done = copy_file(executable, memory);
    if (done == 0) {
        done = call(SYS_fcntl, memory.get(), add_seals, all_seals);
    }
    if (done < 0) {
        return seal_error(done, "memfd");
    }
    return memory;
}

/// All of a file of /proc, which has no length. The result ends with a NUL that is not counted.
[[nodiscard]] inline auto read_whole(BorrowedFd file, std::size_t& length) noexcept -> Array<char> {
    length = 0;
    Array<char> text{4096};
    for (;;) {
        if (length == text.view().size()) {
            Array<char> longer{2 * length};
            std::memcpy(longer.view().data(), text.view().data(), length);
            text = std::move(longer);
        }
        const long count = call_again(SYS_read, file.get(), text.view().data() + length,
                                      text.view().size() - length);
        if (count <= 0) {
            return text;
        }
        length += static_cast<std::size_t>(count);
    }
}

/// The arguments that this process was started with: a constructor has none given by every libc.
class Arguments {
  public:
    /// Reads /proc/self/cmdline. Nothing is there if that fails.
    explicit Arguments(BorrowedFd file) noexcept {
        std::size_t length = 0;
        text_ = read_whole(file, length);
        std::size_t count = 0;
        for (std::size_t i = 0; i < length; ++i) {
            count += text_.view()[i] == '\0' ? 1U : 0U;
        }
        pointers_ = Array<char*>{count + 1};
        char* next = text_.view().data();
        for (std::size_t i = 0; i < count; ++i) {
            pointers_.view()[i] = next;
            next += std::strlen(next) + 1; // NOLINT(*-pointer-arithmetic)
        }
    }

    [[nodiscard]] auto data() noexcept -> char** { return pointers_.view().data(); }

    [[nodiscard]] auto empty() noexcept -> bool { return pointers_.view().front() == nullptr; }

  private:
    Array<char> text_;
    Array<char*> pointers_;
};

/// Makes sure that the program runs from a copy that nobody can write: executes it again from a
/// sealed memfd, with the same arguments and environment, if it does not yet. Returns only if it
/// was so already, or with an error. memfd_create(2), execveat(2).
[[nodiscard]] inline auto seal_executable(char* const* environment) noexcept -> Result<void> {
    const auto proc = open_proc();
    if (!proc) {
        return tl::unexpected<Error>{proc.error()};
    }
    const auto executable = open_owned(Step::seal_executable, proc->get(), "self/exe", O_RDONLY);
    if (!executable) {
        return tl::unexpected<Error>{executable.error()};
    }
    if (is_sealed(*executable)) {
        return {};
    }
    const auto line = open_owned(Step::seal_executable, proc->get(), "self/cmdline", O_RDONLY);
    if (!line) {
        return tl::unexpected<Error>{line.error()};
    }
    Arguments arguments{*line};
    if (arguments.empty()) {
        return seal_error(-ENODATA, "/proc/self/cmdline");
    }
    const auto copy = sealed_copy(*executable);
    if (!copy) {
        return tl::unexpected<Error>{copy.error()};
    }
    const long result =
        call(SYS_execveat, copy->get(), "", arguments.data(), environment, AT_EMPTY_PATH);
    return seal_error(result, "execveat");
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_SEAL_HPP
