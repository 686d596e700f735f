// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_SUPPORT_HPP
#define NSJOIN_TESTS_SUPPORT_HPP

#include <nsjoin/detail/kernel/numbers.hpp>
#include <nsjoin/kind.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <set>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

// What the tests share. They run against the real kernel: what changes a process (its namespaces,
// ids, filters) is done in a forked child.

namespace support {

/// Says why a test could not be made here; the runner counts these lines.
inline void skip(std::string_view why) {
    std::printf("SKIP: %.*s\n", static_cast<int>(why.size()), why.data());
    std::fflush(stdout);
}

/// One of so many is taken of what a sweep could try: `quick`, or as NSJOIN_TEST_DEPTH says, "long"
/// or "all", `longer` or 1.
inline auto every(std::size_t quick, std::size_t longer) -> std::size_t {
    const char* const set = ::getenv("NSJOIN_TEST_DEPTH"); // NOLINT(*-mt-unsafe)
    const std::string_view depth{set == nullptr ? "" : set};
    return depth == "all" ? 1 : depth == "long" ? longer : quick;
}

/// Takes off the handlers that doctest has for its own crashes: in a child, they would report
/// there.
inline void default_signals() {
    for (const int number : {SIGINT, SIGILL, SIGFPE, SIGSEGV, SIGTERM, SIGABRT}) {
        std::signal(number, SIG_DFL);
    }
}

/// Waits for a child; its exit code, or 128 and the signal that ended it.
inline auto wait_for(pid_t pid) -> int {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Runs `body`, a function that returns an int, in a forked child; returns what wait_for() does.
template <typename Body>
[[nodiscard]] auto run_in_child(Body body) -> int {
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) {
        default_signals();
        const int code = body();
        std::fflush(nullptr);
        ::_exit(code);
    }
    return pid < 0 ? -1 : wait_for(pid);
}

/// As run_in_child, with those ids and without supplementary groups or capabilities.
template <typename Body>
[[nodiscard]] auto as_user(uid_t uid, Body body) -> int {
    return run_in_child([&] {
        if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 ||
            ::setresuid(uid, uid, uid) != 0) {
            return 125;
        }
        // A change of ids clears it; a program that an unprivileged user runs has it.
        ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        return body();
    });
}

/// In a function that runs in a child and returns its exit code: says what is wrong, and ends it.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): it returns, and prints the expression
#define CHILD_CHECK(...)                                                                           \
    do {                                                                                           \
        if (!(__VA_ARGS__)) {                                                                      \
            std::fprintf(stderr, "%s:%d: in a child: %s is false\n", __FILE__, __LINE__,           \
                         #__VA_ARGS__);                                                            \
            return 1;                                                                              \
        }                                                                                          \
    } while (false)

/// The numbers in a directory of /proc.
inline auto numbers_in(const char* path) -> std::set<int> {
    std::set<int> numbers;
    DIR* directory = ::opendir(path);
    if (directory == nullptr) {
        return numbers;
    }
    const int own = ::dirfd(directory);
    while (const dirent* entry = ::readdir(directory)) {
        char* end = nullptr;
        const long number = std::strtol(&entry->d_name[0], &end, 10);
        if (end != &entry->d_name[0] && *end == '\0' && number != own) {
            numbers.insert(static_cast<int>(number));
        }
    }
    ::closedir(directory);
    return numbers;
}

/// The open descriptors of this process.
inline auto open_descriptors() -> std::set<int> {
    return numbers_in("/proc/self/fd");
}

/// The whole of a small file, or nothing.
inline auto slurp(const std::string& path) -> std::string {
    std::string text(4096, '\0');
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd < 0 ? -1 : ::read(fd, text.data(), text.size());
    if (fd >= 0) {
        ::close(fd);
    }
    text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return text;
}

/// Writes a small file; whether that went well.
inline auto spill(const std::string& path, std::string_view text) -> bool {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    const bool good =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (fd >= 0) {
        ::close(fd);
    }
    return good;
}

/// The field that follows the name in /proc/PID/stat: the state, and then the parent.
inline auto state_and_parent(pid_t pid) -> std::pair<char, pid_t> {
    const std::string text = slurp("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t at = text.rfind(')');
    if (at == std::string::npos || at + 4 >= text.size()) {
        return {'\0', -1};
    }
    return {text[at + 2], static_cast<pid_t>(std::strtol(&text[at + 4], nullptr, 10))};
}

/// The children of this process, zombies too.
inline auto children() -> std::set<pid_t> {
    std::set<pid_t> found;
    for (const int pid : numbers_in("/proc")) {
        if (state_and_parent(pid).second == ::getpid()) {
            found.insert(pid);
        }
    }
    return found;
}

/// Checks, at the end of its scope, that the same descriptors and children are there as at its
/// beginning.
class NothingLeft {
  public:
    NothingLeft() : descriptors_{open_descriptors()}, children_{support::children()} {}

    NothingLeft(const NothingLeft&) = delete;
    NothingLeft(NothingLeft&&) = delete;
    auto operator=(const NothingLeft&) -> NothingLeft& = delete;
    auto operator=(NothingLeft&&) -> NothingLeft& = delete;

    ~NothingLeft() { CHECK(holds()); }

    /// For children, which have no CHECK.
    [[nodiscard]] auto holds() const -> bool {
        const std::set<int> descriptors = open_descriptors();
        const std::set<pid_t> children = support::children();
        for (const int fd : descriptors) {
            if (!descriptors_.contains(fd)) {
                std::array<char, 128> name{};
                const std::string path = "/proc/self/fd/" + std::to_string(fd);
                (void)!::readlink(path.c_str(), name.data(), name.size() - 1);
                std::fprintf(stderr, "descriptor %d is left: %s\n", fd, name.data());
            }
        }
        for (const pid_t pid : children) {
            if (!children_.contains(pid)) {
                std::fprintf(stderr, "child %d is left, in state %c\n", static_cast<int>(pid),
                             state_and_parent(pid).first);
            }
        }
        return descriptors == descriptors_ && children == children_;
    }

  private:
    std::set<int> descriptors_;
    std::set<pid_t> children_;
};

/// A process that pauses in new namespaces of the given kinds until this object ends it. With a
/// user namespace, ids 0 inside are the caller's own.
class Container {
  public:
    /// `pid`: if not 0, the pid that the process gets (CAP_SYS_ADMIN, Linux 5.5).
    explicit Container(nsjoin::KindSet kinds, pid_t pid = 0) {
        nsjoin::detail::CloneArgs args;
        args.flags = kinds.clone_flags();
        args.exit_signal = SIGCHLD;
        if (pid != 0) {
            args.set_tid = reinterpret_cast<std::uintptr_t>(&pid);
            args.set_tid_size = 1;
        }
        std::fflush(nullptr);
        // Blocked until the child has the default handlers, as it may be killed at once.
        sigset_t all{};
        sigset_t before{};
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, &before);
        pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid_ == 0) {
            default_signals();
        }
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            for (;;) {
                ::pause();
            }
        }
        if (pid_ > 0 && kinds.contains(nsjoin::Kind::user)) {
            write_maps();
        }
    }

    Container(const Container&) = delete;
    Container(Container&&) = delete;
    auto operator=(const Container&) -> Container& = delete;
    auto operator=(Container&&) -> Container& = delete;

    ~Container() { end(); }

    /// Whether the kernel made it.
    [[nodiscard]] auto ok() const -> bool { return pid_ > 0; }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

    /// Kills it and leaves it a zombie.
    void kill() const {
        ::kill(pid_, SIGKILL);
        siginfo_t info{};
        while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 &&
               errno == EINTR) {
        }
    }

    /// Kills it and waits for it.
    void end() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            wait_for(std::exchange(pid_, -1));
        }
    }

  private:
    void write_maps() const {
        const std::string proc = "/proc/" + std::to_string(pid_);
        spill(proc + "/setgroups", "deny");
        spill(proc + "/uid_map", "0 " + std::to_string(::geteuid()) + " 1");
        spill(proc + "/gid_map", "0 " + std::to_string(::getegid()) + " 1");
    }

    pid_t pid_ = -1;
};

/// Gives the calling process a mount namespace of its own, from which nothing gets out.
[[nodiscard]] inline auto own_mounts() -> bool {
    return ::unshare(CLONE_NEWNS) == 0 &&
           ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

/// A new empty directory, removed at the end if it is empty again.
class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        if (::mkdtemp(path_.data()) == nullptr) {
            std::abort();
        }
    }

    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory(TemporaryDirectory&&) = delete;
    auto operator=(const TemporaryDirectory&) -> TemporaryDirectory& = delete;
    auto operator=(TemporaryDirectory&&) -> TemporaryDirectory& = delete;

    ~TemporaryDirectory() { ::rmdir(path_.c_str()); }

    [[nodiscard]] auto file(const std::string& name) const -> std::string {
        return path_ + "/" + name;
    }

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

  private:
    std::string path_ = "/tmp/nsjoin-test-XXXXXX";
};

#if defined(__x86_64__)
inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_AARCH64;
#else
#error "tests: say which AUDIT_ARCH this machine has"
#endif

/// Adds a seccomp(2) filter to the calling process, which cannot be taken off again.
template <std::size_t N>
[[nodiscard]] auto install_filter(std::array<sock_filter, N> code) -> bool {
    const sock_fprog program{static_cast<unsigned short>(N), code.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// From now on system call `number` fails with `error` in this process and its children.
[[nodiscard]] inline auto deny_syscall(long number, int error) -> bool {
    const auto word = static_cast<std::uint32_t>(number);
    const auto verdict = SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
    return install_filter(std::array<sock_filter, 6>{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit_arch, 0, 3),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, verdict),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    });
}

/// From now on ioctl `request` fails with `error` in this process and its children.
[[nodiscard]] inline auto deny_ioctl(unsigned long request, int error) -> bool {
    const auto word = static_cast<std::uint32_t>(request);
    const auto verdict = SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
    // Both machines are little-endian: the low half of the second argument comes first.
    return install_filter(std::array<sock_filter, 8>{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit_arch, 0, 5),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                             offsetof(seccomp_data, args) + sizeof(std::uint64_t)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, verdict),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    });
}

/// Makes the ioctls that open namespaces by a pidfd fail, as before Linux 6.11.
[[nodiscard]] inline auto deny_pidfd_ioctls(int error) -> bool {
    for (unsigned request = 1; request <= 10; ++request) {
        if (!deny_ioctl(nsjoin::detail::pidfd_get_namespace | request, error)) {
            return false;
        }
    }
    return true;
}

// What older kernels lack: asked of the kernel, as a distribution's may have more than its number.

/// Whether a pidfd opens namespaces.
inline auto has_pidfd_ioctls() -> bool {
    const auto self = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0U));
    const int space = ::ioctl(self, nsjoin::detail::pidfd_get_namespace | 1U, 0);
    ::close(space);
    ::close(self);
    return space >= 0;
}

/// Whether the status of a child that somebody else has waited for can still be had.
inline auto keeps_taken_status() -> bool {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::_exit(0);
    }
    const auto child = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
    wait_for(pid);
    nsjoin::detail::PidfdInfo info;
    info.mask = nsjoin::detail::pidfd_info_exit;
    const bool kept = ::ioctl(child, nsjoin::detail::pidfd_get_info, &info) == 0 &&
                      (info.mask & nsjoin::detail::pidfd_info_exit) != 0;
    ::close(child);
    return kept;
}

inline constexpr const char* no_taken_status =
    "the status of a child that somebody else waited for: Linux 6.15 (PIDFD_GET_INFO)";

/// Whether a mount can be made read-only by its descriptor.
inline auto has_mount_setattr() -> bool {
    constexpr long mount_setattr = 442;
    return ::syscall(mount_setattr, -1, "", 0U, nullptr, 0UL) != -1 || errno != ENOSYS;
}

inline constexpr const char* no_sealed_mount =
    "a read-only mount of the executable, to seal it: Linux 5.12 (mount_setattr)";

/// From now on a signal interrupts this process's system calls every 10 ms.
inline void interrupt_often() {
    struct sigaction action {};

    action.sa_handler = [](int) {
    };
    ::sigaction(SIGALRM, &action, nullptr); // no SA_RESTART: calls come back with EINTR
    const itimerval every{{0, 10'000}, {0, 10'000}};
    ::setitimer(ITIMER_REAL, &every, nullptr);
}

/// Whether the descriptor is closed on exec.
[[nodiscard]] inline auto closes_on_exec(int fd) -> bool {
    const int flags = ::fcntl(fd, F_GETFD);
    return flags >= 0 && (flags & FD_CLOEXEC) != 0;
}

/// Whether the result is the error with that step and reason (and errno, where one is given).
template <typename R, typename Step, typename Reason>
[[nodiscard]] auto fails_with(const R& result, Step step, Reason reason, int code = 0) -> bool {
    if (result) {
        std::fprintf(stderr, "no error, but one was expected\n");
        return false;
    }
    const auto& e = result.error();
    if (e.step == step && e.reason == reason && e.code == code) {
        return true;
    }
    const std::string subject{e.subject.view()};
    std::fprintf(stderr, "another error: step %d, reason %d, errno %d, %s\n",
                 static_cast<int>(e.step), static_cast<int>(e.reason), e.code, subject.c_str());
    return false;
}

} // namespace support

#endif // NSJOIN_TESTS_SUPPORT_HPP
