// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/process_info.hpp>

#include "engine_support.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

using nsjoin::PidFd;
using nsjoin::ProcessInfo;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

/// A process that pauses, with those ids.
class Paused {
  public:
    Paused() : pid_{::fork()} {
        if (pid_ == 0) {
            (void)!::setresgid(11, 12, 13);
            (void)!::setresuid(1, 2, 3);
            (void)!::write(ready_.writer(), "x", 1);
            for (;;) {
                ::pause();
            }
        }
        char byte = 0;
        (void)!::read(ready_.reader(), &byte, 1);
    }

    Paused(const Paused&) = delete;
    Paused(Paused&&) = delete;
    auto operator=(const Paused&) -> Paused& = delete;
    auto operator=(Paused&&) -> Paused& = delete;

    ~Paused() {
        if (pid_ != 0) {
            end();
        }
    }

    void end() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }

    [[nodiscard]] auto pid() const -> pid_t { return pid_; }

  private:
    support::TestPipe ready_;
    pid_t pid_;
};

auto is_as_made(const ProcessInfo& info, pid_t pid) -> bool {
    return info.pid == pid && info.parent == ::getpid() && info.real_uid == 1 &&
           info.effective_uid == 2 && info.saved_uid == 3 && info.real_gid == 11 &&
           info.effective_gid == 12 && info.saved_gid == 13;
}

} // namespace

TEST_CASE("a pidfd tells the numbers and ids of its process, whichever way there is") {
    if (::geteuid() != 0) {
        MESSAGE("SKIP: needs root, for a process with other ids");
        return;
    }
    const Paused process;
    const auto target = PidFd::open(process.pid());
    REQUIRE(target);
    const auto info = ProcessInfo::of(*target);
    REQUIRE(info);
    CHECK(is_as_made(*info, process.pid()));
    for (const int refusal : {ENOTTY, EPERM, ENOSYS, EINVAL}) {
        CHECK(support::run_in_child([&] {
                  CHILD_CHECK(support::deny_ioctl(nsjoin::detail::pidfd_get_info, refusal));
                  const auto by_proc = ProcessInfo::of(*target);
                  CHILD_CHECK(by_proc);
                  CHILD_CHECK(!by_proc->cgroup_id);
                  ProcessInfo same = *info;
                  same.cgroup_id.reset();
                  CHILD_CHECK(*by_proc == same);
                  return 0;
              }) == 0);
    }
}

TEST_CASE("the cgroup's id is the inode of its directory") {
    const std::string text = support::slurp("/proc/self/cgroup");
    const std::size_t at = text.find("0::");
    const auto own = PidFd::open(::getpid());
    REQUIRE(own);
    const auto info = ProcessInfo::of(*own);
    REQUIRE(info);

    struct stat about {};

    if (at == std::string::npos || !info->cgroup_id) {
        MESSAGE("SKIP: no cgroup v2 hierarchy, or a kernel before 6.13");
        return;
    }
    const std::string path = text.substr(at + 3, text.find('\n', at) - at - 3);
    const bool found = ::stat(("/sys/fs/cgroup/unified" + path).c_str(), &about) == 0 ||
                       ::stat(("/sys/fs/cgroup" + path).c_str(), &about) == 0;
    if (!found) {
        MESSAGE("SKIP: the v2 hierarchy is not mounted where it is looked for");
        return;
    }
    CHECK(about.st_ino == *info->cgroup_id);
}

TEST_CASE("a process that is gone has nothing to tell, whichever way it is asked") {
    Paused process;
    const auto target = PidFd::open(process.pid());
    REQUIRE(target);
    process.end();
    CHECK(support::fails_with(ProcessInfo::of(*target), Step::read_credentials,
                              Reason::process_gone));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_ioctl(nsjoin::detail::pidfd_get_info, ENOTTY));
              return support::fails_with(ProcessInfo::of(*target), Step::open_namespace,
                                         Reason::process_gone) ||
                             support::fails_with(ProcessInfo::of(*target), Step::read_credentials,
                                                 Reason::process_gone)
                         ? 0
                         : 1;
          }) == 0);
}
