// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_TARGET_HPP
#define NSJOIN_BENCHMARKS_TARGET_HPP

#include <csignal>
#include <fcntl.h>
#include <linux/sched.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace bench {

/// A process that pauses in new namespaces of all eight kinds until this object ends it; root there
/// is root here.
class Target {
  public:
    Target() {
        clone_args args{};
        args.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                     CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWTIME;
        args.exit_signal = SIGCHLD;
        pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            for (;;) {
                ::pause();
            }
        }
        // All ids, so that nsenter's and runc's programs can become what they want there.
        good_ = pid_ > 0 && write("uid_map") && write("gid_map");
    }

    Target(const Target&) = delete;
    Target(Target&&) = delete;
    auto operator=(const Target&) -> Target& = delete;
    auto operator=(Target&&) -> Target& = delete;

    ~Target() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }

    [[nodiscard]] auto ok() const -> bool { return good_; }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

  private:
    [[nodiscard]] auto write(const std::string& file) const -> bool {
        constexpr std::string_view all = "0 0 4294967295";
        const std::string path = "/proc/" + std::to_string(pid_) + "/" + file;
        const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        const bool good = ::write(fd, all.data(), all.size()) == static_cast<ssize_t>(all.size());
        ::close(fd);
        return good;
    }

    pid_t pid_ = -1;
    bool good_ = false;
};

/// Many of them.
class Fleet {
  public:
    explicit Fleet(int count) {
        for (int i = 0; i < count && good_; ++i) {
            targets_.push_back(std::make_unique<Target>());
            good_ = targets_.back()->ok();
        }
    }

    [[nodiscard]] auto ok() const -> bool { return good_; }

    [[nodiscard]] auto pids() const -> std::vector<pid_t> {
        std::vector<pid_t> list;
        for (const auto& target : targets_) {
            list.push_back(target->pid());
        }
        return list;
    }

  private:
    std::vector<std::unique_ptr<Target>> targets_;
    bool good_ = true;
};

} // namespace bench

#endif // NSJOIN_BENCHMARKS_TARGET_HPP
