// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/join_here.hpp>

#include <doctest/doctest.h>

#include <sched.h>
#include <span>
#include <sys/mount.h>
#include <sys/resource.h>
#include <thread>

// What the child finds around it: mounts, keys, directory, descriptors, cgroup; and what errors say
// that were looked at.

using nsjoin::BorrowedFd;
using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::OwnedFd;
using nsjoin::Propagation;
using nsjoin::Reason;
using nsjoin::SessionKeyring;
using nsjoin::Step;

namespace {

// ── Mounts ──────────────────────────────────────────────────────────────────────────────────────

/// A directory on shared mounts of this process alone.
class SharedMounts {
  public:
    SharedMounts() {
        ok_ = support::own_mounts() &&
              ::mount("shared", directory_.path().c_str(), "tmpfs", 0, nullptr) == 0 &&
              ::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0 &&
              ::mkdir(inside().c_str(), 0755) == 0;
    }

    [[nodiscard]] auto ok() const -> bool { return ok_; }

    [[nodiscard]] auto inside() const -> std::string { return directory_.path() + "/inside"; }

    /// Whether something is mounted there.
    [[nodiscard]] auto shows() const -> bool {
        return support::slurp("/proc/self/mountinfo").find(inside() + " ") != std::string::npos;
    }

  private:
    support::TemporaryDirectory directory_;
    bool ok_ = false;
};

/// Whether a mount that the child of the plan makes shows outside, by both ways to have a child.
[[nodiscard]] auto shows_outside(const nsjoin::Plan& plan) -> std::string {
    const SharedMounts mounts;
    if (!mounts.ok()) {
        return "no shared mounts";
    }
    const std::string where = mounts.inside();
    const auto ran = support::run(
        plan, [&] { return ::mount("leak", where.c_str(), "tmpfs", 0, nullptr) == 0 ? 0 : 1; });
    if (!support::went_well(ran)) {
        return "failed";
    }
    std::string seen = mounts.shows() ? "clone shows" : "clone hides";
    (void)::umount2(where.c_str(), MNT_DETACH);
    const std::string script = "mount -t tmpfs leak " + where;
    const auto output = support::shell(plan, script.c_str());
    seen += output.error || output.code != 0 ? ", failed"
            : mounts.shows()                 ? ", exec shows"
                                             : ", exec hides";
    return seen;
}

} // namespace

TEST_CASE("mounts that are made inside do not show outside, unless the plan says so") {
    const auto plan = JoinPlan{}.create<Kind::mount>();

    struct Row {
        const char* name;
        nsjoin::Plan plan;
        std::string seen;
    };

    const std::array rows{
        Row{"nothing is said", plan, "clone hides, exec hides"},
        Row{"slave", plan.propagation(Propagation::slave), "clone hides, exec hides"},
        // Copies of shared mounts are peers of theirs, and stay that.
        Row{"shared", plan.propagation(Propagation::shared), "clone shows, exec shows"},
        Row{"unchanged", plan.propagation(Propagation::unchanged), "clone shows, exec shows"},
        Row{"with others", plan.create<Kind::pid, Kind::uts>(), "clone hides, exec hides"},
    };
    for (const Row& row : rows) {
        CAPTURE(row.name);
        CHECK(support::run_in_child([&] {
                  const std::string seen = shows_outside(row.plan);
                  if (seen != row.seen) {
                      std::fprintf(stderr, "%s: %s\n", row.name, seen.c_str());
                  }
                  return seen == row.seen ? 0 : 1;
              }) == 0);
    }
}

TEST_CASE("a slave sees what is mounted outside, private mounts do not") {
    for (const bool slave : {false, true}) {
        CAPTURE(slave);
        CHECK(support::run_in_child([slave] {
                  const SharedMounts mounts;
                  CHILD_CHECK(mounts.ok());
                  support::TestPipe go;
                  const auto plan = JoinPlan{}.create<Kind::mount>().propagation(
                      slave ? Propagation::slave : Propagation::private_);
                  auto side = nsjoin::join_and_clone(plan);
                  CHILD_CHECK(side);
                  if (side->is_child()) {
                      char c = 0;
                      ::_exit(go.get(c) && mounts.shows() ? 7 : 8);
                  }
                  CHILD_CHECK(::mount("later", mounts.inside().c_str(), "tmpfs", 0, nullptr) == 0);
                  CHILD_CHECK(go.put('x'));
                  CHILD_CHECK(side->child().wait()->exit_code() == (slave ? 7 : 8));
                  return 0;
              }) == 0);
    }
}

TEST_CASE("in a chroot, whose root is no mount point, the error says what to say") {
    CHECK(support::run_in_child([] {
              const support::TemporaryDirectory jail;
              CHILD_CHECK(support::own_mounts());
              CHILD_CHECK(::chroot(jail.path().c_str()) == 0 && ::chdir("/") == 0);
              const auto plan = JoinPlan{}.create<Kind::mount>();
              const auto ran = support::run(plan, [] { return 0; });
              CHILD_CHECK(support::failed_with(ran, Step::set_propagation, Reason::system, EINVAL));
              CHILD_CHECK(nsjoin::explain(*ran.error).find("unchanged") != std::string::npos);
              CHILD_CHECK(support::went_well(
                  support::run(plan.propagation(Propagation::unchanged), [] { return 0; })));
              return 0;
          }) == 0);
}

// ── Keys ────────────────────────────────────────────────────────────────────────────────────────

namespace {

constexpr long session_keyring = -3; // KEY_SPEC_SESSION_KEYRING

/// Gives the calling process a session keyring with a key in it.
[[nodiscard]] auto have_key() -> bool {
    return ::syscall(SYS_keyctl, 1L, nullptr) >= 0 && // KEYCTL_JOIN_SESSION_KEYRING
           ::syscall(SYS_add_key, "user", "nsjoin-test", "secret", 6UL, session_keyring) >= 0;
}

/// 0 if the calling process finds the key in its session keyring, else 1.
[[nodiscard]] auto misses_key() -> int {
    constexpr long search = 10; // KEYCTL_SEARCH
    return ::syscall(SYS_keyctl, search, session_keyring, "user", "nsjoin-test", 0L) >= 0 ? 0 : 1;
}

} // namespace

TEST_CASE("a child in another user namespace has a session keyring of its own") {
    CHECK(support::run_in_child([] {
              if (!have_key()) {
                  support::skip("the kernel has no keyrings");
                  return 0;
              }
              const support::Container container{Kind::user | Kind::uts};
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(container.ok() && target);
              struct Row {
                  const char* name = "";
                  nsjoin::Plan plan;
                  int missed = 0;
              };
              const auto user = JoinPlan{}.create(support::own_root());
              const auto joined = JoinPlan{}.join(*target, nsjoin::kinds<Kind::user, Kind::uts>);
              const auto same = JoinPlan{}.create<Kind::uts>();
              const std::array rows{
                  Row{"a new user namespace", user, 1},
                  Row{"and other namespaces", user.create<Kind::pid, Kind::mount>(), 1},
                  Row{"a joined one", joined, 1},
                  Row{"the same one", same, 0},
                  Row{"asked for", same.session_keyring(SessionKeyring::fresh), 1},
                  Row{"kept", user.session_keyring(SessionKeyring::keep), 0},
              };
              for (const Row& row : rows) {
                  const auto ran = support::run(row.plan, misses_key);
                  if (ran.error || ran.code != row.missed) {
                      std::fprintf(stderr, "%s: %s\n", row.name,
                                   ran.error ? nsjoin::explain(*ran.error).c_str() : "");
                  }
                  CHILD_CHECK(!ran.error && ran.code == row.missed);
              }
              CHILD_CHECK(misses_key() == 0); // the caller's is as it was
              return 0;
          }) == 0);
}

TEST_CASE("a kernel without keyrings, or a filter: an error only where a keyring was asked for") {
    for (const int code : {ENOSYS, EPERM, EACCES}) {
        CAPTURE(code);
        CHECK(support::run_in_child([code] {
                  CHILD_CHECK(support::deny_syscall(SYS_keyctl, code));
                  const auto plan = JoinPlan{}.create(support::own_root());
                  CHILD_CHECK(support::went_well(support::run(plan, [] { return 0; })));
                  CHILD_CHECK(support::failed_with(
                      support::run(plan.session_keyring(SessionKeyring::fresh), [] { return 0; }),
                      Step::new_session_keyring, Reason::system, code));
                  return 0;
              }) == 0);
    }
    CHECK(support::run_in_child([] { // the user has too many keys
              CHILD_CHECK(support::deny_syscall(SYS_keyctl, EDQUOT));
              const auto ran =
                  support::run(JoinPlan{}.create(support::own_root()), [] { return 0; });
              CHILD_CHECK(
                  support::failed_with(ran, Step::new_session_keyring, Reason::system, EDQUOT));
              CHILD_CHECK(nsjoin::explain(*ran.error).find("maxkeys") != std::string::npos);
              return 0;
          }) == 0);
}

// ── The working directory ───────────────────────────────────────────────────────────────────────

namespace {

/// A directory that only uid 1001 may search.
class OthersDirectory {
  public:
    explicit OthersDirectory(const std::string& parent) : path_{parent + "/of-1001"} {
        if (::chmod(parent.c_str(), 0755) == 0 && ::mkdir(path_.c_str(), 0700) == 0 &&
            ::chown(path_.c_str(), 1001, 1001) == 0) {
            fd_.reset(::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        }
    }

    [[nodiscard]] auto fd() const -> BorrowedFd { return fd_.borrow(); }

    [[nodiscard]] auto path() const -> const std::string& { return path_; }

  private:
    std::string path_;
    OwnedFd fd_;
};

/// Root inside, which has no rights over that directory, as its group is not mapped; and uid 1001.
[[nodiscard]] auto with_1001() -> nsjoin::NewUser {
    return {.uids = {{0, 0, 1}, {1001, 1001, 1}}, .gids = {{0, 0, 1}}};
}

} // namespace

TEST_CASE("a working directory that only the last ids may search is entered with them") {
    const support::TemporaryDirectory temporary;
    const OthersDirectory directory{temporary.path()};
    REQUIRE(directory.fd().ok());
    const auto user = JoinPlan{}.create(with_1001()).working_directory(directory.fd());
    const auto plan = user.as({.uid = 1001, .gid = 0, .groups = {}});
    CHECK(support::went_well(support::run(plan, [&] {
        std::array<char, 4096> name{};
        return ::getcwd(name.data(), name.size()) != nullptr && name.data() == directory.path() ? 0
                                                                                                : 1;
    })));
    CHECK(support::wrote(support::shell(plan, "pwd"), directory.path() + "\n"));
    const auto stays_root = support::run(user, [] { return 0; });
    CHECK(support::failed_with(stays_root, Step::set_working_directory, Reason::system, EACCES));
    const auto text = nsjoin::explain(plan);
    CHECK(text.find("again") == std::string::npos); // said as what happens
    CHECK(text.find("only if it was refused before") != std::string::npos);
}

TEST_CASE("entered late, a directory outside the root is refused as well (CVE-2024-21626)") {
    const support::TemporaryDirectory temporary;
    const OthersDirectory directory{temporary.path()};
    const support::TemporaryDirectory jail;
    const OwnedFd root{::open(jail.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    REQUIRE((directory.fd().ok() && root.ok()));
    const auto ran = support::run(JoinPlan{}
                                      .create(with_1001())
                                      .root(root)
                                      .working_directory(directory.fd())
                                      .as({.uid = 1001, .gid = 0, .groups = {}}),
                                  [] { return 0; });
    CHECK(support::failed_with(ran, Step::set_working_directory, Reason::outside_root));
}

// ── Descriptors ─────────────────────────────────────────────────────────────────────────────────

TEST_CASE("without close_range(2), what is open above a limit that was lowered is closed too") {
    for (const bool hides_proc : {false, true}) {
        CAPTURE(hides_proc);
        CHECK(
            support::run_in_child([hides_proc] {
                const int null = ::open("/dev/null", O_RDONLY);
                CHILD_CHECK(::dup2(null, 500) == 500 && ::dup2(null, 70) == 70);
                rlimit limit{};
                CHILD_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
                limit.rlim_cur = 64;
                CHILD_CHECK(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
                CHILD_CHECK(support::own_mounts());
                CHILD_CHECK(!hides_proc || ::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
                CHILD_CHECK(support::deny_syscall(436, ENOSYS)); // close_range
                const auto seen = [](bool close_others) {
                    return support::shell(
                        JoinPlan{}.new_session(),
                        "for fd in 70 500; do (eval \": <&$fd\") 2>/dev/null && echo $fd; done; :",
                        [=](nsjoin::Command& command) {
                            command.program =
                                nsjoin::Program::at("/bin/bash"); // takes three digits
                            command.close_others = close_others;
                        });
                };
                CHILD_CHECK(support::wrote(seen(false), "70\n500\n"));
                CHILD_CHECK(support::wrote(seen(true), ""));
                return 0;
            }) == 0);
    }
}

// ── Mount sources ───────────────────────────────────────────────────────────────────────────────

namespace {

/// Whether what the descriptor is open on lies on a mount of this process's mount namespace.
[[nodiscard]] auto lies_on_own_mount(int fd) -> bool {
    const std::string info = support::slurp("/proc/self/fdinfo/" + std::to_string(fd));
    const std::string key = "mnt_id:\t";
    const std::size_t at = info.find(key);
    if (at == std::string::npos) {
        return false;
    }
    const std::string id = info.substr(at + key.size(), info.find('\n', at) - at - key.size());
    const std::string mounts = "\n" + support::slurp("/proc/self/mountinfo");
    return mounts.find("\n" + id + " ") != std::string::npos;
}

/// A plan with these mount sources.
[[nodiscard]] auto with_sources(std::span<const nsjoin::MountSource> sources) -> nsjoin::Plan {
    nsjoin::Draft draft = JoinPlan{}.create(support::own_root()).create<Kind::mount>().draft();
    draft.mount_sources.list = sources;
    return *nsjoin::Plan::from(draft);
}

} // namespace

TEST_CASE("mount sources are opened in the child's mount namespace, and no program's") {
    const support::NothingLeft nothing_left;
    const std::array<nsjoin::MountSource, 2> sources{{{"/etc/passwd", 30}, {"/etc", 31}}};
    CHECK(support::went_well(support::run(with_sources(sources), [] {
        for (const int number : {30, 31}) {
            CHILD_CHECK(lies_on_own_mount(number));
            CHILD_CHECK(support::closes_on_exec(number));
        }
        return 0;
    })));
    const std::array<nsjoin::MountSource, 2> missing{{{"/etc/passwd", 30}, {"/not/there", 31}}};
    const auto ran = support::run(with_sources(missing), [] { return 0; });
    CHECK(support::failed_with(ran, Step::open_mount_sources, Reason::system, ENOENT));
    REQUIRE(ran.error);
    CHECK(ran.error->subject.view() == "/not/there");
}

TEST_CASE("mount sources: what keeps opener and child apart is told, and nobody waits for ever") {
    const std::array<nsjoin::MountSource, 1> sources{{{"/etc/passwd", 30}}};
    // The child can't ask, the opener can't hear it, and can't tell that by its own pid.
    for (const long number : {SYS_sendto, SYS_recvmsg, SYS_readlinkat}) {
        for (const int code : {EPIPE, ENOMEM}) {
            CAPTURE(number);
            CHECK(support::run_in_child([&] {
                      ::alarm(20);
                      const support::NothingLeft nothing_left;
                      const nsjoin::Plan plan = with_sources(sources);
                      CHILD_CHECK(support::deny_syscall(number, code));
                      const auto ran = support::run(plan, [] { return 0; });
                      CHILD_CHECK(ran.error && ran.error->reason == Reason::system);
                      CHILD_CHECK(ran.error->code == code);
                      CHILD_CHECK(nothing_left.holds());
                      return 0;
                  }) == 0);
        }
    }
}

// ── Cgroups ─────────────────────────────────────────────────────────────────────────────────────

namespace {

/// A cgroup of a v1 freezer, thawed at the end, or nothing.
class FreezerCgroup {
  public:
    FreezerCgroup() {
        if (::access(hierarchy, F_OK) == 0) {
            cgroup_.emplace(hierarchy);
        }
    }

    FreezerCgroup(const FreezerCgroup&) = delete;
    FreezerCgroup(FreezerCgroup&&) = delete;
    auto operator=(const FreezerCgroup&) -> FreezerCgroup& = delete;
    auto operator=(FreezerCgroup&&) -> FreezerCgroup& = delete;

    ~FreezerCgroup() {
        if (ok()) {
            (void)set("THAWED");
        }
    }

    [[nodiscard]] auto ok() const -> bool { return cgroup_ && cgroup_->ok(); }

    [[nodiscard]] auto fd() const -> BorrowedFd { return cgroup_->fd(); }

    [[nodiscard]] auto state_file() const -> std::string {
        return cgroup_->path() + "/freezer.state";
    }

    [[nodiscard]] auto set(std::string_view state) const -> bool {
        return support::spill(state_file(), state);
    }

  private:
    static constexpr const char* hierarchy = "/sys/fs/cgroup/freezer";
    std::optional<support::Cgroup> cgroup_;
};

} // namespace

TEST_CASE("a frozen cgroup is told before anything is put into it") {
    const support::NothingLeft nothing_left;
    const FreezerCgroup frozen;
    if (!frozen.ok()) {
        support::skip("no freezer of cgroup version 1");
        return;
    }
    REQUIRE(frozen.set("FROZEN"));
    const auto plan = JoinPlan{}.create<Kind::uts>().cgroup(frozen.fd());
    CHECK(support::failed_with(support::run(plan, [] { return 0; }), Step::open_cgroup,
                               Reason::frozen));
    CHECK(support::failed_with(support::shell(plan, ":"), Step::open_cgroup, Reason::frozen));
    REQUIRE(frozen.set("THAWED"));
    CHECK(support::went_well(support::run(plan, [] { return 0; })));
}

TEST_CASE("a child that SIGKILL does not reach holds nobody up past the deadline, and is told") {
    CHECK(support::run_in_child([] {
              const FreezerCgroup cgroup;
              if (!cgroup.ok()) {
                  support::skip("no freezer of cgroup version 1");
                  return 0;
              }
              const support::TemporaryDirectory temporary;
              const std::string helper = temporary.path() + "/newuidmap";
              CHILD_CHECK(support::write_script(helper, "#!/bin/sh\necho FROZEN >" +
                                                            cgroup.state_file() + "\n"));
              nsjoin::detail::CapHeader header;
              std::array<nsjoin::detail::CapData, 2> words{};
              CHILD_CHECK(::syscall(SYS_capget, &header, words.data()) == 0);
              words[0].effective &= ~(1U << 7U); // CAP_SETUID: the helper has to write the map
              CHILD_CHECK(::syscall(SYS_capset, &header, words.data()) == 0);
              nsjoin::Draft draft =
                  JoinPlan{}
                      .create(nsjoin::NewUser{.uids = {{0, 100'000, 1}}, .gids = {{0, 0, 1}}})
                      .cgroup(cgroup.fd())
                      .deadline(std::chrono::milliseconds{700})
                      .draft();
              draft.newuidmap = helper;
              const auto begin = std::chrono::steady_clock::now();
              const auto side = nsjoin::join_and_clone(*nsjoin::Plan::from(std::move(draft)));
              CHILD_CHECK(!side);
              CHILD_CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{5});
              CHILD_CHECK(side.error().reason == Reason::deadline_passed);
              CHILD_CHECK(nsjoin::explain(side.error()).find("SIGKILL") != std::string::npos);
              CHILD_CHECK(cgroup.set("THAWED"));
              support::wait_for(-1);
              return 0;
          }) == 0);
}

TEST_CASE("a write that takes less than all is an error, and no success") {
    CHECK(support::run_in_child([] {
              // A filter that lets write(2) return 0.
              CHILD_CHECK(support::deny_syscall(SYS_write, 0));
              const auto user = JoinPlan{}.create(support::own_root());
              CHILD_CHECK(support::failed_with(support::run(user, [] { return 0; }),
                                               Step::write_uid_map, Reason::system, EIO));
              CHILD_CHECK(support::failed_with(
                  support::run(JoinPlan{}.oom_score_adj(500), [] { return 0; }),
                  Step::set_oom_score_adj, Reason::system, EIO));
              CHILD_CHECK(support::failed_with(
                  support::run(JoinPlan{}.create<Kind::time>().time_offsets({}), [] { return 0; }),
                  Step::write_time_offsets, Reason::system, EIO));
              return 0;
          }) == 0);
}

// ── The libc's records ──────────────────────────────────────────────────────────────────────────

TEST_CASE("the child knows which processor it is on, however it was made") {
    const support::Container container{Kind::pid | Kind::uts};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE((container.ok() && target));
    const std::array plans{
        nsjoin::Plan{JoinPlan{}.new_session()},
        nsjoin::Plan{JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid, Kind::uts>)},
        nsjoin::Plan{
            JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid>).deadline(std::chrono::seconds{20})},
    };
    cpu_set_t allowed{};
    REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    for (const nsjoin::Plan& plan : plans) {
        CHECK(support::went_well(support::run(plan, [&] {
            for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
                cpu_set_t one{};
                CPU_SET(cpu, &one);
                if (CPU_ISSET(cpu, &allowed) &&
                    (::sched_setaffinity(0, sizeof one, &one) != 0 || ::sched_getcpu() != cpu)) {
                    return 1;
                }
            }
            return 0;
        })));
    }
}

// ── Errors that were looked at ──────────────────────────────────────────────────────────────────

TEST_CASE("EPERM for one who has the rights names a filter or a security module") {
    const support::Container container{Kind::uts | Kind::mount};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE((container.ok() && target));
    const auto joins = JoinPlan{}.join(*target, nsjoin::kinds<Kind::uts>);
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_syscall(SYS_setns, EPERM));
              for (const auto& ran :
                   {support::run(joins, [] { return 0; }),
                    support::run(JoinPlan{}.join(*target, nsjoin::kinds<Kind::uts, Kind::mount>),
                                 [] { return 0; })}) {
                  CHILD_CHECK(
                      support::failed_with(ran, Step::join_uts, Reason::refused_by_policy, EPERM));
                  const std::string text = nsjoin::explain(*ran.error);
                  CHILD_CHECK(text.find("EPERM") != std::string::npos);
                  CHILD_CHECK(text.find("seccomp") != std::string::npos);
              }
              CHILD_CHECK(support::failed_with(support::shell(joins, ":"), Step::join_uts,
                                               Reason::refused_by_policy, EPERM));
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_syscall(SYS_unshare, EPERM));
              const auto cgroup = JoinPlan{}.create<Kind::cgroup>();
              CHILD_CHECK(support::failed_with(support::run(cgroup, [] { return 0; }),
                                               Step::create_cgroup, Reason::refused_by_policy,
                                               EPERM));
              CHILD_CHECK(support::failed_with(
                  support::run(cgroup.create(support::own_root()), [] { return 0; }),
                  Step::create_cgroup, Reason::refused_by_policy, EPERM));
              return 0;
          }) == 0);

    struct Row {
        long number = 0;
        nsjoin::Plan plan;
        Step step = Step::check_plan;
    };

    const OwnedFd here{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const std::array rows{
        Row{SYS_setresuid, JoinPlan{}.as({.uid = 1000}), Step::set_uid},
        Row{SYS_setresgid, JoinPlan{}.as({.gid = 1000}), Step::set_gid},
        Row{SYS_chroot, JoinPlan{}.root(here), Step::set_root},
        Row{SYS_mount, JoinPlan{}.create<Kind::mount>(), Step::set_propagation},
        Row{SYS_mount, JoinPlan{}.create(support::own_root()).create<Kind::mount>(),
            Step::set_propagation},
    };
    for (const Row& row : rows) {
        CHECK(support::run_in_child([&row] {
                  CHILD_CHECK(support::deny_syscall(row.number, EPERM));
                  CHILD_CHECK(support::failed_with(support::run(row.plan, [] { return 0; }),
                                                   row.step, Reason::refused_by_policy, EPERM));
                  return 0;
              }) == 0);
    }
    CHECK(support::as_user(1000, [&] {
              CHILD_CHECK(support::failed_with(support::run(joins, [] { return 0; }),
                                               Step::join_uts, Reason::system, EPERM) ||
                          support::failed_with(support::run(joins, [] { return 0; }),
                                               Step::open_namespace, Reason::system, EPERM) ||
                          support::failed_with(support::run(joins, [] { return 0; }),
                                               Step::open_namespace, Reason::system, EACCES));
              CHILD_CHECK(support::failed_with(
                  support::run(JoinPlan{}.create<Kind::uts>(), [] { return 0; }), Step::create_uts,
                  Reason::system, EPERM));
              return 0;
          }) == 0);
}

TEST_CASE(
    "of the init of a pid namespace that waits for others to end it is said that it has ended") {
    support::Container container{Kind::pid | Kind::uts};
    REQUIRE(container.ok());
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    auto side = support::clone(JoinPlan{}.join(*target, nsjoin::kinds<Kind::pid>));
    if (side && side->is_child()) {
        ::_exit(0);
    }
    REQUIRE(side);
    CHECK(support::eventually(
        [&] { return support::state_and_parent(side->child().pid()).first == 'Z'; }));
    REQUIRE(target->send_signal(SIGKILL));
    const auto space = "/proc/" + std::to_string(container.pid()) + "/ns/uts";

    struct stat about {};

    CHECK(support::eventually([&] { return ::stat(space.c_str(), &about) != 0; }));
    CHECK(target->alive());
    const auto ran =
        support::run(JoinPlan{}.join(*target, nsjoin::kinds<Kind::uts>), [] { return 0; });
    CHECK(support::failed_with(ran, Step::join_uts, Reason::process_gone, ESRCH));
    CHECK(side->child().wait());
}

TEST_CASE("of a process whose first thread has ended it is not said that it has ended") {
    const pid_t pid = ::fork();
    if (pid == 0) {
        (void)::unshare(CLONE_NEWUTS | CLONE_NEWIPC);
        std::thread{[] {
            for (;;) {
                ::pause();
            }
        }}.detach();
        ::syscall(SYS_exit, 0); // this thread alone
    }
    REQUIRE(pid > 0);
    const auto half = nsjoin::PidFd::open(pid);
    REQUIRE(half);
    CHECK(support::eventually([pid] { return support::state_and_parent(pid).first == 'Z'; }));
    const auto plan = JoinPlan{}.join(*half, nsjoin::kinds<Kind::uts, Kind::ipc>);
    for (const auto& ran : {support::run(plan, [] { return 0; }),
                            support::Ran{support::shell(plan, ":").error, -1}}) {
        REQUIRE(ran.error);
        CHECK(ran.error->reason == Reason::first_thread_ended);
        CHECK(nsjoin::explain(*ran.error).find("thread") != std::string::npos);
    }
    const auto space = nsjoin::AnyNamespaceFd::open(Kind::uts, *half);
    CHECK(support::fails_with(space, Step::open_namespace, Reason::first_thread_ended));
    CHECK(support::run_in_child([&] {
              CHILD_CHECK(support::deny_pidfd_ioctls(ENOTTY)); // as before Linux 6.11
              const auto by_name = nsjoin::AnyNamespaceFd::open(Kind::uts, *half);
              CHILD_CHECK(
                  support::fails_with(by_name, Step::open_namespace, Reason::first_thread_ended));
              CHILD_CHECK(support::deny_syscall(SYS_setns, EINVAL)); // as before Linux 5.8
              const auto ran = support::run(plan, [] { return 0; });
              CHILD_CHECK(ran.error && ran.error->reason == Reason::first_thread_ended);
              return 0;
          }) == 0);
    CHECK(support::run_in_child([&] {
              const auto moved = nsjoin::join_for_good(*half, nsjoin::kinds<Kind::uts>);
              return support::fails_with(moved, Step::join_here, Reason::first_thread_ended, ESRCH)
                         ? 0
                         : 1;
          }) == 0);
    ::kill(pid, SIGKILL);
    support::wait_for(pid);
    CHECK(support::run(plan, [] { return 0; }).error->reason == Reason::process_gone);
}

TEST_CASE("a newuidmap without its rights is told from one that refuses a range") {
    const support::TemporaryDirectory temporary;
    REQUIRE(::chmod(temporary.path().c_str(), 0755) == 0);
    const std::string helper = temporary.path() + "/newuidmap";
    REQUIRE(support::write_script(
        helper,
        "#!/bin/sh\necho 'newuidmap: write to uid_map failed: Operation not permitted' >&2\n"
        "exit 1\n"));
    nsjoin::Draft draft =
        JoinPlan{}
            .create(nsjoin::NewUser{.uids = {{0, 100'000, 1}}, .gids = {{0, 100'000, 1}}})
            .draft();
    draft.newuidmap = helper;
    const auto plan = nsjoin::Plan::from(draft);
    REQUIRE(plan);
    CHECK(support::as_user(1000, [&] {
              const auto ran = support::run(*plan, [] { return 0; });
              CHILD_CHECK(ran.error && ran.error->reason == Reason::helper_powerless);
              CHILD_CHECK(nsjoin::explain(*ran.error).find("set-user-ID") != std::string::npos);
              CHILD_CHECK(nsjoin::explain(*ran.error).find("not permitted") != std::string::npos);
              return 0;
          }) == 0);
    REQUIRE(::chmod(helper.c_str(), 04755) == 0); // the bit is there: then it was its own word
    CHECK(support::as_user(1000, [&] {
              const auto ran = support::run(*plan, [] { return 0; });
              CHILD_CHECK(ran.error && ran.error->reason == Reason::helper_failed);
              CHILD_CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
              const auto without = support::run(*plan, [] { return 0; });
              CHILD_CHECK(without.error && without.error->reason == Reason::helper_powerless);
              return 0;
          }) == 0);
}
