// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_ENGINE_SUPPORT_HPP
#define NSJOIN_TESTS_ENGINE_SUPPORT_HPP

#include "support.hpp"

#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <sys/resource.h>
#include <sys/stat.h>
#include <vector>

// What the tests of join_and_clone() share.

namespace support {

/// The link of a namespace of a process, as "net:[4026531840]"; `process` is "self" or a pid.
inline auto namespace_link(const std::string& process, std::string_view name) -> std::string {
    std::string text(64, '\0');
    const std::string path = "/proc/" + process + "/ns/" + std::string{name};
    const ssize_t length = ::readlink(path.c_str(), text.data(), text.size());
    text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return text;
}

/// All namespaces of a process, by kind.
using Spaces = std::map<nsjoin::Kind, std::string>;

inline auto spaces_of(const std::string& process) -> Spaces {
    Spaces result;
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        result[row.kind] = namespace_link(process, row.name);
    }
    return result;
}

inline auto spaces_of(pid_t pid) -> Spaces {
    return spaces_of(std::to_string(pid));
}

/// The kinds in which the two differ.
inline auto differing(const Spaces& a, const Spaces& b) -> nsjoin::KindSet {
    nsjoin::KindSet set;
    for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
        if (a.at(row.kind) != b.at(row.kind)) {
            set = set | row.kind;
        }
    }
    return set;
}

/// The value of a line of /proc/PID/status ("CapInh"), without the name and the blank.
inline auto status_line(const std::string& process, const std::string& name) -> std::string {
    const std::string text = "\n" + slurp("/proc/" + process + "/status");
    const std::string key = "\n" + name + ":";
    const std::size_t at = text.find(key);
    if (at == std::string::npos) {
        return {};
    }
    const std::size_t begin = text.find_first_not_of(" \t", at + key.size());
    return text.substr(begin, text.find('\n', begin) - begin);
}

/// All of a process that join_and_clone() must leave as it is.
class CallerState {
  public:
    CallerState() : parts_{read()} {}

    /// What is different now: nothing, or a line a difference.
    [[nodiscard]] auto changes() const -> std::string {
        std::string text;
        const auto now = read();
        for (const auto& [name, before] : parts_) {
            if (now.at(name) != before) {
                text += name + " was " + before + ", is " + now.at(name) + "\n";
            }
        }
        return text;
    }

    /// Whether all is as before; says what is not.
    [[nodiscard]] auto holds() const -> bool {
        const std::string text = changes();
        std::fputs(text.c_str(), stderr);
        return text.empty();
    }

  private:
    static auto link(const char* path) -> std::string {
        std::string text(4096, '\0');
        const ssize_t length = ::readlink(path, text.data(), text.size());
        text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
        return text;
    }

    static auto read() -> std::map<std::string, std::string> {
        std::map<std::string, std::string> parts;
        for (const int fd : open_descriptors()) {
            const std::string number = std::to_string(fd);
            parts["descriptors"] += number + (closes_on_exec(fd) ? " cloexec " : " ");
        }
        for (const pid_t child : children()) {
            parts["children"] += std::to_string(child) + " ";
        }
        for (const char* name : {"user", "mnt", "pid", "pid_for_children", "net", "ipc", "uts",
                                 "cgroup", "time", "time_for_children"}) {
            parts[name] = link((std::string{"/proc/self/ns/"} + name).c_str());
        }
        for (const char* name : {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb",
                                 "SigBlk", "SigIgn", "SigCgt", "Name", "Umask", "Threads"}) {
            parts[name] = status_line("self", name);
        }
        // The two signals that glibc takes for itself when the first thread starts are its own.
        const auto caught = std::strtoull(parts["SigCgt"].c_str(), nullptr, 16);
        parts["SigCgt"] = std::to_string(caught & ~0x180000000ULL);
        int death_signal = 0;
        ::prctl(PR_GET_PDEATHSIG, &death_signal);
        parts["dumpable"] = std::to_string(::prctl(PR_GET_DUMPABLE));
        parts["subreaper"] = std::to_string(is_subreaper());
        parts["death signal"] = std::to_string(death_signal);
        parts["root"] = link("/proc/self/root");
        parts["cwd"] = link("/proc/self/cwd");
        parts["cgroup of it"] = slurp("/proc/self/cgroup");
        parts["oom_score_adj"] = slurp("/proc/self/oom_score_adj");
        parts["session"] = std::to_string(::getsid(0));
        parts.try_emplace("children");
        parts.try_emplace("descriptors");
        return parts;
    }

    static auto is_subreaper() -> int {
        int value = 0;
        ::prctl(PR_GET_CHILD_SUBREAPER, &value);
        return value;
    }

    std::map<std::string, std::string> parts_;
};

/// What a JoinPlan can have that only joins, with ids, without a time namespace.
inline constexpr nsjoin::detail::Possible only_joining = nsjoin::detail::possible(
    nsjoin::KindSet{nsjoin::all_kinds} - nsjoin::Kind::time, {}, nsjoin::detail::said_ids);

/// Whether the plan is run by what is compiled for plans that only join. That is so where a
/// JoinPlan's type says it; the tests run twice, and with NSJOIN_TEST_STEPS=joining it is so for
/// every plan that such a type could say.
inline auto runs_as_joining(const nsjoin::Plan& plan) -> bool {
    static const bool wanted = ::getenv("NSJOIN_TEST_STEPS") != nullptr; // NOLINT(*-mt-unsafe)
    using From = nsjoin::JoinSource::From;
    const nsjoin::JoinSource& user = plan.parts().source(nsjoin::Kind::user);
    const bool apart =
        user.from != From::nowhere &&
        (user.from != From::target || user.fd != plan.parts().source(nsjoin::Kind::pid).fd);
    nsjoin::Draft rest = plan.parts();
    const bool has_time = rest.joined().contains(nsjoin::Kind::time);
    rest.joins = {};
    rest.credentials.reset();
    rest.keep_ids = rest.keep_capabilities = rest.new_session = false;
    return wanted && !has_time && !apart && rest == nsjoin::Draft{};
}

/// join_and_clone() by what this run of the tests is for.
inline auto clone(const nsjoin::Plan& plan) -> nsjoin::Result<nsjoin::Side> {
    return runs_as_joining(plan)
               ? nsjoin::detail::to_side(plan.parts(), nsjoin::detail::perform<only_joining>)
               : nsjoin::join_and_clone(plan);
}

/// What a run came to, as the caller sees it.
struct Ran {
    std::optional<nsjoin::Error> error;
    int code = -1; ///< exit code of the child, as ExitStatus::exit_code() has it

    [[nodiscard]] auto ok() const -> bool { return !error && code == 0; }
};

/// Runs the plan; in the child, `body` returns its exit code. Waits for the child.
template <typename Body>
[[nodiscard]] auto run(const nsjoin::Plan& plan, Body body) -> Ran {
    std::fflush(nullptr);
    auto side = support::clone(plan);
    if (!side) {
        return {side.error(), -1};
    }
    if (side->is_child()) {
        const int code = body();
        std::fflush(nullptr);
        ::_exit(code);
    }
    const auto status = side->child().wait(std::chrono::seconds{20});
    if (!status) {
        (void)side->child().send_signal(SIGKILL);
        (void)side->child().wait();
        return {status.error(), -1};
    }
    return {std::nullopt, status->exit_code()};
}

/// Whether it went well; says what did not.
[[nodiscard]] inline auto went_well(const Ran& ran) -> bool {
    if (ran.error) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(*ran.error).c_str());
    } else if (ran.code != 0) {
        std::fprintf(stderr, "the child's exit code is %d\n", ran.code);
    }
    return ran.ok();
}

/// Whether the run failed with that step, reason and errno; says how else it ended.
[[nodiscard]] inline auto failed_with(const Ran& ran, nsjoin::Step step, nsjoin::Reason reason,
                                      int code = 0) -> bool {
    if (ran.error && ran.error->step == step && ran.error->reason == reason &&
        ran.error->code == code) {
        return true;
    }
    if (ran.error) {
        std::fprintf(stderr, "another error (step %d, reason %d, code %d): %s\n",
                     static_cast<int>(ran.error->step), static_cast<int>(ran.error->reason),
                     ran.error->code, nsjoin::explain(*ran.error).c_str());
    } else {
        std::fprintf(stderr, "no error; the child's exit code is %d\n", ran.code);
    }
    return false;
}

/// Whether the run ended with an error, and with a clean one: a text with a step and a reason.
[[nodiscard]] inline auto is_clean(const nsjoin::Error& error) -> bool {
    const std::string text = nsjoin::explain(error);
    const std::string_view name = nsjoin::facts(error.step).name;
    return text.rfind(name, 0) == 0 && text.size() > name.size() + 2 &&
           text.find('\n') == std::string::npos;
}

/// For a child: whether it is in these namespaces of the kinds.
[[nodiscard]] inline auto is_in(const Spaces& wanted, nsjoin::KindSet kinds) -> bool {
    for (const nsjoin::Kind kind : kinds) {
        const auto name = nsjoin::facts(kind).name;
        const std::string own = namespace_link("self", name);
        if (own != wanted.at(kind)) {
            std::fprintf(stderr, "the child is in %s, not in %s\n", own.c_str(),
                         wanted.at(kind).c_str());
            return false;
        }
    }
    return true;
}

/// Loads the word at `offset` of seccomp_data, and denies with `error` where `test` (instructions
/// that jump to the last one, past "deny", if they do not match) says so.
template <std::size_t N>
[[nodiscard]] auto deny_if(long number, const std::array<sock_filter, N>& test, int error) -> bool {
    const auto word = static_cast<std::uint32_t>(number);
    std::array<sock_filter, N + 4> code{};
    code[0] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    code[1] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word, 0, static_cast<std::uint8_t>(N + 1));
    std::copy(test.begin(), test.end(), code.begin() + 2);
    code[N + 2] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error));
    code[N + 3] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return install_filter(code);
}

/// The low half of a system call's argument; both machines are little-endian.
inline constexpr auto argument(std::size_t index) -> std::uint32_t {
    return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + index * sizeof(std::uint64_t));
}

/// setns with several kinds at once fails, as before Linux 5.8.
[[nodiscard]] inline auto deny_setns_of_several(int error) -> bool {
    return deny_if(SYS_setns,
                   std::array<sock_filter, 5>{
                       sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(1)),
                       sock_filter BPF_STMT(BPF_MISC | BPF_TAX, 0),
                       sock_filter BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 1),
                       sock_filter BPF_STMT(BPF_ALU | BPF_AND | BPF_X, 0),
                       sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
                   },
                   error);
}

/// The system call fails where a bit of `mask` is in its argument.
[[nodiscard]] inline auto deny_bits(long number, std::size_t index, std::uint32_t mask, int error)
    -> bool {
    return deny_if(number,
                   std::array<sock_filter, 2>{
                       sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(index)),
                       sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1),
                   },
                   error);
}

/// The system call fails where its argument is `value`.
[[nodiscard]] inline auto deny_value(long number, std::size_t index, std::uint32_t value, int error)
    -> bool {
    return deny_if(number,
                   std::array<sock_filter, 2>{
                       sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(index)),
                       sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
                   },
                   error);
}

/// A process that a test made; ended and waited for at the end.
class Process {
  public:
    /// Runs `body` in a fork.
    explicit Process(const std::function<int()>& body) {
        std::fflush(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            default_signals();
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            const int code = body();
            std::fflush(nullptr);
            ::_exit(code);
        }
    }

    Process(const Process&) = delete;
    Process(Process&&) = delete;
    auto operator=(const Process&) -> Process& = delete;
    auto operator=(Process&&) -> Process& = delete;

    ~Process() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            (void)wait();
        }
    }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

    auto wait() -> int { return wait_for(std::exchange(pid_, -1)); }

  private:
    pid_t pid_ = -1;
};

/// A pipe of the test, closed at its end.
class TestPipe {
  public:
    TestPipe() {
        if (::pipe2(ends_.data(), O_CLOEXEC) != 0) {
            std::abort();
        }
    }

    TestPipe(const TestPipe&) = delete;
    TestPipe(TestPipe&&) = delete;
    auto operator=(const TestPipe&) -> TestPipe& = delete;
    auto operator=(TestPipe&&) -> TestPipe& = delete;

    ~TestPipe() {
        close_reader();
        close_writer();
    }

    void close_reader() { shut(ends_[0]); }

    void close_writer() { shut(ends_[1]); }

    template <typename T>
    [[nodiscard]] auto put(T value) const -> bool {
        return ::write(ends_[1], &value, sizeof value) == sizeof value;
    }

    template <typename T>
    [[nodiscard]] auto get(T& value) const -> bool {
        return ::read(ends_[0], &value, sizeof value) == sizeof value;
    }

    [[nodiscard]] auto reader() const -> int { return ends_[0]; }

    [[nodiscard]] auto writer() const -> int { return ends_[1]; }

  private:
    static void shut(int& fd) {
        if (fd >= 0) {
            ::close(std::exchange(fd, -1));
        }
    }

    std::array<int, 2> ends_{-1, -1};
};

/// Waits until `done` is true, at most as long as `limit`.
[[nodiscard]] inline auto eventually(const std::function<bool()>& done,
                                     std::chrono::milliseconds limit = std::chrono::seconds{10})
    -> bool {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!done()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        ::usleep(1000);
    }
    return true;
}

/// A cgroup of the test, removed at the end.
class Cgroup {
  public:
    /// `hierarchy`: where one is mounted.
    explicit Cgroup(const std::string& hierarchy)
        : path_{hierarchy + "/nsjoin-test-" + std::to_string(::getpid())} {
        if (::mkdir(path_.c_str(), 0755) == 0) {
            fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
    }

    Cgroup(const Cgroup&) = delete;
    Cgroup(Cgroup&&) = delete;
    auto operator=(const Cgroup&) -> Cgroup& = delete;
    auto operator=(Cgroup&&) -> Cgroup& = delete;

    ~Cgroup() {
        if (fd_ >= 0) {
            ::close(fd_);
            (void)eventually([this] { return ::rmdir(path_.c_str()) == 0; });
        }
    }

    [[nodiscard]] auto ok() const -> bool { return fd_ >= 0; }

    [[nodiscard]] auto fd() const -> nsjoin::BorrowedFd { return nsjoin::BorrowedFd{fd_}; }

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

    /// Whether the calling process is in it.
    [[nodiscard]] auto has_this_process() const -> bool {
        return slurp("/proc/self/cgroup").find(path_.substr(path_.rfind('/'))) != std::string::npos;
    }

  private:
    std::string path_;
    int fd_ = -1;
};

/// An executable script of the test.
[[nodiscard]] inline auto write_script(const std::string& path, std::string_view text) -> bool {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    const bool good =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (fd >= 0) {
        ::close(fd);
    }
    return good && ::chmod(path.c_str(), 0755) == 0;
}

/// Moves the calling process into a new user namespace in which its ids are 0.
[[nodiscard]] inline auto new_user() -> bool {
    const std::string uid = std::to_string(::geteuid());
    const std::string gid = std::to_string(::getegid());
    return ::unshare(CLONE_NEWUSER) == 0 && spill("/proc/self/setgroups", "deny") &&
           spill("/proc/self/uid_map", "0 " + uid + " 1") &&
           spill("/proc/self/gid_map", "0 " + gid + " 1");
}

/// Gives up root for uid 1000, and stays dumpable as a program of that user is.
[[nodiscard]] inline auto become_user(uid_t uid = 1000) -> bool {
    return ::setgroups(0, nullptr) == 0 && ::setresgid(uid, uid, uid) == 0 &&
           ::setresuid(uid, uid, uid) == 0 && ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

/// A process that prepares itself as `enter` says and then pauses, as a target.
class Target {
  public:
    explicit Target(const std::function<bool()>& enter)
        : process_{[&] {
              const bool good = enter() && ready_.put('r');
              // What it holds of the test's pipes ends with it; nothing else wakes it.
              while (good) {
                  ::pause();
              }
              return 1;
          }} {
        ready_.close_writer();
        char c = '\0';
        ok_ = ready_.get(c);
    }

    [[nodiscard]] auto ok() const -> bool { return ok_; }

    [[nodiscard]] auto pid() const -> pid_t { return process_.pid(); }

  private:
    TestPipe ready_;
    Process process_;
    bool ok_ = false;
};

/// Ends and takes the children that are left, but for `kept`: a zombie in a container's pid
/// namespace would keep the container's init from ending.
inline void reap_strays(const std::set<pid_t>& kept) {
    for (const pid_t pid : children()) {
        if (!kept.contains(pid)) {
            ::kill(pid, SIGKILL);
            wait_for(pid);
        }
    }
}

/// A map of a namespace in which id 0 is the caller's own id.
[[nodiscard]] inline auto own_root() -> nsjoin::NewUser {
    return nsjoin::NewUser{.uids = *nsjoin::IdMap::single(0, ::geteuid()),
                           .gids = *nsjoin::IdMap::single(0, ::getegid())};
}

/// A root file system: a static shell, and a few directories.
class RootFileSystem {
  public:
    RootFileSystem() {
        for (const char* name : {"/bin", "/proc", "/tmp", "/volume"}) {
            ok_ = ok_ && ::mkdir((path() + name).c_str(), 0755) == 0;
        }
        std::error_code failed;
        for (const char* name : {"/bin/sh", "/bin/true"}) {
            ok_ = ok_ && std::filesystem::copy_file("/bin/busybox", path() + name, failed);
        }
        ok_ = ok_ && ::chmod(path().c_str(), 0755) == 0;
    }

    RootFileSystem(const RootFileSystem&) = delete;
    RootFileSystem(RootFileSystem&&) = delete;
    auto operator=(const RootFileSystem&) -> RootFileSystem& = delete;
    auto operator=(RootFileSystem&&) -> RootFileSystem& = delete;

    ~RootFileSystem() {
        std::error_code failed;
        for (const auto& entry : std::filesystem::directory_iterator{path(), failed}) {
            std::filesystem::remove_all(entry.path(), failed);
        }
    }

    [[nodiscard]] auto ok() const -> bool { return ok_; }

    [[nodiscard]] auto path() const -> const std::string& { return directory_.path(); }

    void link(const char* to, const char* name) {
        ok_ = ok_ && ::symlink(to, (path() + name).c_str()) == 0;
    }

  private:
    TemporaryDirectory directory_;
    bool ok_ = true;
};

/// Furnishes a bit of everything, in namespaces of its own.
[[nodiscard]] inline auto furnishing(const RootFileSystem& files) -> nsjoin::Plan {
    using nsjoin::Kind;
    return nsjoin::JoinPlan{}
        .create(own_root())
        .create<Kind::mount, Kind::pid, Kind::net, Kind::uts>()
        .host_name("inside")
        .loopback_up()
        .pivot_root(files.path())
        .mount_proc()
        .working_directory("/volume")
        .umask(022)
        .priority(1)
        .capabilities(nsjoin::Capabilities::limited_to(nsjoin::Capability::chown))
        .no_new_privileges();
}

} // namespace support

#endif // NSJOIN_TESTS_ENGINE_SUPPORT_HPP
