// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_STATE_HPP
#define NSJOIN_TESTS_FAULTS_STATE_HPP

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

// What a process is like, as lines "name=value". Nothing here allocates or takes a lock: a child of
// a caller with threads says it too.

namespace faults {

/// System calls that no kernel has: with them a process tells the tracer where it is.
enum Mark : long {
    mark_begin = 90'001, ///< the library is called next
    mark_end = 90'002,   ///< it has returned
    mark_out = 90'003,   ///< what this process does from here on is not the library's
};

/// Where in the report's file the child says what it is like.
inline constexpr long child_offset = 4096;
inline constexpr std::size_t child_size = 16'384;

inline void mark(Mark where) {
    (void)::syscall(where);
}

/// A text in memory of somebody else's; what does not fit is cut.
class Text {
  public:
    Text(char* data, std::size_t size) : data_{data}, size_{size} {}

    auto add(std::string_view text) -> Text& {
        for (const char c : text) {
            if (length_ + 1 < size_) {
                data_[length_++] = c;
            }
        }
        data_[length_] = '\0';
        return *this;
    }

    auto add(long number) -> Text& {
        std::array<char, 24> digits{};
        std::size_t at = digits.size();
        auto rest = number < 0 ? 0UL - static_cast<unsigned long>(number)
                               : static_cast<unsigned long>(number);
        do {
            digits[--at] = static_cast<char>('0' + rest % 10);
            rest /= 10;
        } while (rest != 0);
        add(number < 0 ? "-" : "");
        return add(std::string_view{&digits[at], digits.size() - at});
    }

    auto line(std::string_view name, long value) -> Text& {
        return add(name).add("=").add(value).add("\n");
    }

    auto line(std::string_view name, std::string_view value) -> Text& {
        return add(name).add("=").add(value).add("\n");
    }

    [[nodiscard]] auto view() const -> std::string_view { return {data_, length_}; }

  private:
    char* data_;
    std::size_t size_;
    std::size_t length_ = 0;
};

/// A small path, put together.
class Path {
  public:
    Path(std::string_view a, std::string_view b, std::string_view c = {}) {
        Text{bytes_.data(), bytes_.size()}.add(a).add(b).add(c);
    }

    [[nodiscard]] auto c_str() const -> const char* { return bytes_.data(); }

  private:
    std::array<char, 160> bytes_{};
};

/// Up to `size` bytes of a file; how many, or 0.
inline auto read_file(const char* path, char* into, std::size_t size) -> std::size_t {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    std::size_t length = 0;
    for (ssize_t got = 1; fd >= 0 && got > 0 && length < size;) {
        got = ::read(fd, into + length, size - length);
        length += got > 0 ? static_cast<std::size_t>(got) : 0U;
    }
    if (fd >= 0) {
        ::close(fd);
    }
    return length;
}

inline auto link_of(const Path& path, std::array<char, 256>& into) -> std::string_view {
    const ssize_t length = ::readlink(path.c_str(), into.data(), into.size());
    return length < 0 ? "?" : std::string_view{into.data(), static_cast<std::size_t>(length)};
}

/// FNV-1a: enough to see that a file is another one.
inline auto hash_of(std::string_view bytes) -> long {
    unsigned long hash = 14695981039346656037UL;
    for (const char c : bytes) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211UL;
    }
    return static_cast<long>(hash >> 1U);
}

inline void add_hash(Text& text, const char* name, const char* path) {
    static char bytes[65'536]; // NOLINT(*-avoid-c-arrays,*-non-const-global-variables)
    text.line(name, hash_of({&bytes[0], read_file(path, &bytes[0], sizeof bytes)}));
}

inline void add_namespaces(Text& text, std::string_view process) {
    std::array<char, 256> link{};
    for (const char* name : {"user", "mnt", "pid", "pid_for_children", "net", "ipc", "uts",
                             "cgroup", "time", "time_for_children"}) {
        text.line(name, link_of({process, "/ns/", name}, link));
    }
}

/// What /proc/PID/status says of rights, signals and names. The two signals that glibc takes for
/// itself when a first thread starts are left out.
inline void add_status(Text& text, std::string_view process) {
    std::array<char, 4096> bytes{};
    const std::size_t length =
        read_file(Path{process, "/status"}.c_str(), bytes.data(), bytes.size());
    std::string_view rest{bytes.data(), length};
    while (!rest.empty()) {
        const std::string_view row = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(row.size() < rest.size() ? row.size() + 1 : row.size());
        const std::string_view name = row.substr(0, row.find(':'));
        for (const std::string_view wanted :
             {"Name", "Umask", "Uid", "Gid", "Groups", "SigIgn", "SigBlk", "CapInh", "CapPrm",
              "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
              "Cpus_allowed"}) {
            if (name == wanted) {
                text.add(row).add("\n");
            }
        }
        if (name == "SigCgt") {
            const auto caught = std::strtoull(row.data() + name.size() + 1, nullptr, 16);
            text.line(name, static_cast<long>(caught & ~0x180000000ULL));
        }
    }
}

/// The descriptors, and what each is.
inline void add_descriptors(Text& text, std::string_view process, bool own) {
    const int directory = ::open(Path{process, "/fd"}.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    alignas(dirent64) std::array<char, 8192> bytes{};
    std::array<char, 256> link{};
    for (long got = 1; directory >= 0 && got > 0;) {
        got = ::syscall(SYS_getdents64, directory, bytes.data(), bytes.size());
        for (long at = 0; at < got;) {
            const auto* entry =
                reinterpret_cast<const dirent64*>(&bytes[static_cast<unsigned>(at)]);
            at += entry->d_reclen;
            const int number = std::atoi(&entry->d_name[0]);
            if (entry->d_name[0] == '.' || (own && number == directory)) {
                continue;
            }
            const int flags = own ? ::fcntl(number, F_GETFD) : 0;
            text.add("fd ").add(number).add((flags & FD_CLOEXEC) != 0 ? " cloexec=" : "=");
            text.add(link_of({process, "/fd/", &entry->d_name[0]}, link)).add("\n");
        }
    }
    if (directory >= 0) {
        ::close(directory);
    }
}

inline auto asks(int option) -> long {
    int value = -1;
    ::prctl(option, &value, 0, 0, 0);
    return value;
}

/// What is the process's own and no thread's.
inline void add_process(Text& text) {
    std::array<char, 256> link{};
    text.line("root", link_of({"/proc/self/root", ""}, link));
    std::array<char, 4096> directory{};
    text.line("cwd", ::syscall(SYS_getcwd, directory.data(), directory.size()) > 0
                         ? std::string_view{directory.data()}
                         : "?");
    const pid_t pid = static_cast<pid_t>(::syscall(SYS_getpid));
    text.line("leads a session", ::getsid(0) == pid ? 1 : 0);
    const int terminal = ::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    text.line("has a terminal", terminal >= 0 ? 1 : 0);
    if (terminal >= 0) {
        ::close(terminal);
    }
    text.line("dumpable", ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    text.line("securebits", ::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
    text.line("keepcaps", ::prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0));
    text.line("death signal", asks(PR_GET_PDEATHSIG));
    text.line("subreaper", asks(PR_GET_CHILD_SUBREAPER));
    text.line("nice", ::getpriority(PRIO_PROCESS, 0));
    for (const int resource :
         {RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_STACK, RLIMIT_LOCKS}) {
        rlimit limit{};
        ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
        text.add("limit ").add(resource).add("=").add(static_cast<long>(limit.rlim_cur));
        text.add(" ").add(static_cast<long>(limit.rlim_max)).add("\n");
    }

    struct utsname names {};

    ::uname(&names);
    text.line("host name", &names.nodename[0]);
    text.line("domain name", &names.domainname[0]);
    add_hash(text, "cgroup of it", "/proc/self/cgroup");
    add_hash(text, "oom_score_adj", "/proc/self/oom_score_adj");
}

/// What is to be the same of a child, whatever way led to it. Its mounts are not: where a fall-back
/// has made them, they have other numbers.
inline void describe_child(Text& text) {
    add_namespaces(text, "/proc/self");
    add_status(text, "/proc/self");
    add_process(text);
    add_descriptors(text, "/proc/self", true);
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_STATE_HPP
