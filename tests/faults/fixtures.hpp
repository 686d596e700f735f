// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_FIXTURES_HPP
#define NSJOIN_TESTS_FAULTS_FIXTURES_HPP

#include "audit.hpp"

#include <nsjoin/detail/kernel/numbers.hpp>
#include <nsjoin/kind.hpp>

#include <array>
#include <filesystem>
#include <grp.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

// What a scenario finds: a target, a report to write, a root directory, a cgroup, ids to map.

namespace faults {

/// A process that pauses in new namespaces until this ends it. Ids 0 inside are the user's own.
class Target {
  public:
    Target(nsjoin::KindSet kinds, uid_t user) {
        std::array<int, 2> ready{-1, -1};
        std::array<int, 2> life{-1, -1};
        (void)!::pipe2(ready.data(), O_CLOEXEC);
        (void)!::pipe2(life.data(), O_CLOEXEC);
        const pid_t maker = ::fork();
        if (maker == 0) {
            if (user != 0) {
                become(user);
            }
            ::close(life[1]);
            make(kinds, ready[1], life[0]);
        }
        ::close(life[0]);
        life_ = life[1]; // before any other copy of this process
        ::close(ready[1]);
        char byte = 0;
        if (read_again(ready[0], &pid_, sizeof pid_) != sizeof pid_ || pid_ < 0) {
            pid_ = 0;
        }
        // At the end of the file it has nothing open any more that it will close.
        (void)!::write(life_, "g", 1);
        const bool said = read_again(ready[0], &byte, 1) == 1;
        good_ = read_again(ready[0], &byte, 1) == 0 && said;
        ::close(ready[0]);
        while (::waitpid(maker, nullptr, 0) < 0 && errno == EINTR) {
        }
    }

    Target(const Target&) = delete;
    Target(Target&&) = delete;
    auto operator=(const Target&) -> Target& = delete;
    auto operator=(Target&&) -> Target& = delete;

    ~Target() {
        ::close(life_);
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            // A zombie in its pid namespace, which may be this process's by now, would hold it up.
            for (pid_t ended = 0; ended != pid_ && (ended >= 0 || errno == EINTR);) {
                ended = ::waitpid(-1, nullptr, __WALL);
            }
        }
    }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

    [[nodiscard]] auto good() const -> bool { return good_ && pid_ > 0; }

    /// It has ended already, and was waited for.
    void forget() { pid_ = 0; }

    static void become(uid_t user) {
        (void)!::setgroups(0, nullptr);
        (void)!::setresgid(user, user, user);
        (void)!::setresuid(user, user, user);
        ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // a change of ids clears it
    }

  private:
    /// It ends with the one who has the other end of `life`.
    [[noreturn]] static void make(nsjoin::KindSet kinds, int ready, int life) {
        const uid_t uid = ::geteuid();
        nsjoin::detail::CloneArgs args;
        args.flags = kinds.clone_flags() | CLONE_PARENT;
        const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid != 0) {
            (void)!::write(ready, &pid, sizeof pid);
            ::_exit(0); // and with it what it has open
        }
        if (kinds.contains(nsjoin::Kind::user)) {
            spill("/proc/self/setgroups", "deny");
            spill("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
            spill("/proc/self/gid_map", "0 " + std::to_string(uid) + " 1");
        }
        char byte = 0;
        (void)!::read(life, &byte, 1); // after the maker's word
        (void)!::write(ready, "r", 1);
        ::close(ready);
        (void)!::read(life, &byte, 1);
        ::_exit(0);
    }

    static auto read_again(int fd, void* into, std::size_t size) -> ssize_t {
        ssize_t length = -1;
        do {
            length = ::read(fd, into, size);
        } while (length < 0 && errno == EINTR);
        return length;
    }

    static void spill(const char* path, const std::string& text) {
        const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
        (void)!::write(fd, text.data(), text.size());
        ::close(fd);
    }

    pid_t pid_ = 0;
    int life_ = -1;
    bool good_ = false;
};

/// Memory that its file's readers and a process's children share.
class SharedReport {
  public:
    SharedReport() : path_{std::filesystem::temp_directory_path() / "nsjoin-faults-XXXXXX"} {
        fd_ = ::mkstemp(path_.data());
        (void)!::fchmod(fd_, 0666);
        (void)!::ftruncate(fd_, sizeof(Report));
        ::fcntl(fd_, F_SETFD, FD_CLOEXEC);
        memory_ = static_cast<Report*>(
            ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    }

    SharedReport(const SharedReport&) = delete;
    SharedReport(SharedReport&&) = delete;
    auto operator=(const SharedReport&) -> SharedReport& = delete;
    auto operator=(SharedReport&&) -> SharedReport& = delete;

    ~SharedReport() {
        ::munmap(memory_, sizeof(Report));
        ::close(fd_);
        ::unlink(path_.c_str());
    }

    [[nodiscard]] auto get() const -> Report* { return memory_; }

    [[nodiscard]] auto fd() const -> int { return fd_; }

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

  private:
    std::string path_;
    int fd_ = -1;
    Report* memory_ = nullptr;
};

/// A directory that a scenario makes its root, with what is mounted there or looked for.
class RootDirectory {
  public:
    RootDirectory() : path_{std::filesystem::temp_directory_path() / "nsjoin-faults-XXXXXX"} {
        (void)!::mkdtemp(path_.data());
        (void)!::chmod(path_.c_str(), 0755);
        for (const char* name : {"/proc", "/volume", "/dev"}) {
            (void)!::mkdir((path_ + name).c_str(), 0755);
        }
    }

    RootDirectory(const RootDirectory&) = delete;
    RootDirectory(RootDirectory&&) = delete;
    auto operator=(const RootDirectory&) -> RootDirectory& = delete;
    auto operator=(RootDirectory&&) -> RootDirectory& = delete;

    ~RootDirectory() {
        ::umount2((path_ + "/volume").c_str(), MNT_DETACH); // what give_subordinate_ids() put there
        for (const char* name : {"/proc", "/volume", "/dev", ""}) {
            ::rmdir((path_ + name).c_str());
        }
    }

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

  private:
    std::string path_;
};

/// A cgroup of a harness process, where there is a v2 hierarchy.
class OwnCgroup {
  public:
    OwnCgroup() {
        for (const std::string base : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
            if (path_.empty() && ::access((base + "/cgroup.procs").c_str(), W_OK) == 0) {
                path_ = base + "/nsjoin-faults-" + std::to_string(::getpid());
                (void)!::mkdir(path_.c_str(), 0755);
            }
        }
    }

    OwnCgroup(const OwnCgroup&) = delete;
    OwnCgroup(OwnCgroup&&) = delete;
    auto operator=(const OwnCgroup&) -> OwnCgroup& = delete;
    auto operator=(OwnCgroup&&) -> OwnCgroup& = delete;

    ~OwnCgroup() {
        for (int tries = 0; !path_.empty() && ::rmdir(path_.c_str()) != 0 && tries < 100; ++tries) {
            ::usleep(10'000);
        }
    }

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

  private:
    std::string path_;
};

/// Gives the user of the scenarios ids to map, in the mount namespace of the harness process.
inline void give_subordinate_ids(uid_t user, const std::string& directory) {
    const std::string number = std::to_string(user);
    ::mount("tmpfs", (directory + "/volume").c_str(), "tmpfs", 0, nullptr);
    const auto cover = [&](const std::string& name, const std::string& line) {
        const std::string file = directory + "/volume/" + name;
        std::error_code ignored;
        std::filesystem::copy_file("/etc/" + name, file, ignored);
        const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        (void)!::write(fd, line.data(), line.size());
        ::close(fd);
        ::mount(file.c_str(), ("/etc/" + name).c_str(), nullptr, MS_BIND, nullptr);
    };
    cover("passwd", "nsjoin-faults:x:" + number + ":" + number + "::/:/bin/false\n");
    cover("subuid", "nsjoin-faults:100000:65536\n");
    cover("subgid", "nsjoin-faults:100000:65536\n");
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_FIXTURES_HPP
