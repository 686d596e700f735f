// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;

// Who may join what, and in which order: by the one call, and the long way that old kernels and
// seccomp filters leave.

namespace {

constexpr KindSet mixed_kinds =
    KindSet{Kind::user} | Kind::mount | Kind::net | Kind::ipc | Kind::uts;

/// net and uts belong to the initial user namespace, mount and ipc to the target's own.
auto enter_mixed() -> bool {
    return ::unshare(CLONE_NEWNET | CLONE_NEWUTS) == 0 && support::new_user() &&
           ::unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0;
}

/// Everything belongs to the target's own user namespace.
auto enter_rootless() -> bool {
    return support::new_user() &&
           ::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
}

auto enter_rootless_of_user() -> bool {
    return support::become_user() && enter_rootless();
}

/// As `bwrap --dev` leaves it: the mount namespace belongs to the parent of the target's user
/// namespace.
auto enter_nested() -> bool {
    return enter_rootless() && support::new_user();
}

/// What stands in the way of the one call, or of asking the kernel.
struct Obstacle {
    const char* name;
    bool (*put)();
};

constexpr std::array obstacles{
    Obstacle{"none",
             [] {
                 return true;
             }},
    Obstacle{"setns of several kinds: EPERM",
             [] {
                 return support::deny_setns_of_several(EPERM);
             }},
    Obstacle{"setns of several kinds: EINVAL",
             [] {
                 return support::deny_setns_of_several(EINVAL);
             }},
    Obstacle{"setns of several kinds: ENOSYS",
             [] {
                 return support::deny_setns_of_several(ENOSYS);
             }},
    Obstacle{"no pidfd ioctls, no setns of several kinds",
             [] {
                 return support::deny_pidfd_ioctls(ENOTTY) &&
                        support::deny_setns_of_several(EINVAL);
             }},
    Obstacle{"the kernel can't say who owns a namespace (ENOTTY)",
             [] {
                 return support::deny_ioctl(nsjoin::detail::ns_get_userns, ENOTTY) &&
                        support::deny_setns_of_several(EINVAL);
             }},
    Obstacle{"the kernel can't say who owns a namespace, but has the one call",
             [] {
                 return support::deny_ioctl(nsjoin::detail::ns_get_userns, ENOTTY);
             }},
};

/// Whether the plan puts the child into the target's namespaces of `kinds` and leaves it in the
/// caller's other ones.
auto enters(const nsjoin::Plan& plan, pid_t target, KindSet kinds) -> bool {
    const support::CallerState state;
    const support::Spaces own = support::spaces_of("self");
    const support::Spaces wanted = support::spaces_of(target);
    const auto ran = support::run(plan, [&] {
        CHILD_CHECK(support::is_in(wanted, kinds));
        CHILD_CHECK(support::is_in(own, KindSet{nsjoin::all_kinds} - kinds));
        return 0;
    });
    return support::went_well(ran) && state.holds();
}

/// All of `kinds` from the target itself.
auto from_target(const nsjoin::PidFd& target, KindSet kinds) -> nsjoin::Plan {
    nsjoin::Draft draft;
    draft.join(target, kinds);
    return *nsjoin::Plan::from(draft);
}

/// Joins `kinds` of the target by its pidfd, and by a descriptor for each namespace.
auto enters_by_both(pid_t pid, KindSet kinds) -> int {
    const auto target = nsjoin::PidFd::open(pid);
    CHILD_CHECK(target);
    CHILD_CHECK(enters(from_target(*target, kinds), pid, kinds));
    std::vector<nsjoin::AnyNamespaceFd> opened;
    nsjoin::Draft draft;
    opened.reserve(nsjoin::kind_count);
    for (const Kind kind : kinds) {
        auto space = nsjoin::AnyNamespaceFd::open(kind, *target);
        CHILD_CHECK(space);
        opened.push_back(*std::move(space));
        draft.join(opened.back());
    }
    CHILD_CHECK(enters(*nsjoin::Plan::from(draft), pid, kinds));
    return 0;
}

/// That, behind each obstacle. Returns how often it went wrong.
auto enters_behind_all(pid_t pid, KindSet kinds) -> int {
    int bad = 0;
    for (const Obstacle& obstacle : obstacles) {
        const int code = support::run_in_child([&] {
            CHILD_CHECK(obstacle.put());
            return enters_by_both(pid, kinds);
        });
        if (code != 0) {
            std::fprintf(stderr, "... behind the obstacle: %s\n", obstacle.name);
            ++bad;
        }
    }
    return bad;
}

/// explain() of the long way to a mixed target.
auto explained(pid_t pid) -> std::string {
    const auto target = nsjoin::PidFd::open(pid);
    std::vector<nsjoin::AnyNamespaceFd> opened;
    nsjoin::Draft draft;
    opened.reserve(nsjoin::kind_count);
    for (const Kind kind : mixed_kinds) {
        opened.push_back(*nsjoin::AnyNamespaceFd::open(kind, *target));
        draft.join(opened.back());
    }
    return nsjoin::explain(*nsjoin::Plan::from(draft));
}

/// Where "join KIND" of the joiner stands in an explanation.
auto place_of(const std::string& text, const std::string& kind) -> std::size_t {
    return text.find("child: join " + kind + " ");
}

} // namespace

TEST_CASE("owners: the obstacles of these tests stand") {
    const support::Target target{enter_mixed};
    REQUIRE(target.ok());
    const int code = support::run_in_child([&] {
        CHILD_CHECK(support::deny_setns_of_several(ENOSYS));
        CHILD_CHECK(support::deny_ioctl(nsjoin::detail::ns_get_userns, ENOTTY));
        const auto fd = nsjoin::PidFd::open(target.pid());
        CHILD_CHECK(::setns(fd->fd().get(), CLONE_NEWNET | CLONE_NEWUTS) == -1);
        CHILD_CHECK(errno == ENOSYS);
        const auto net = nsjoin::NamespaceFd<Kind::net>::open(*fd);
        CHILD_CHECK(!net->owner());
        CHILD_CHECK(::setns(fd->fd().get(), CLONE_NEWNET) == 0);
        CHILD_CHECK(::setns(net->fd().get(), CLONE_NEWNET) == 0);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("owners: root joins a target whose net and uts the initial user namespace owns") {
    const support::Target target{enter_mixed};
    REQUIRE(target.ok());
    CHECK(enters_behind_all(target.pid(), mixed_kinds) == 0);
}

TEST_CASE("owners: a filter forbids (EPERM) to ask who owns a namespace, and the one call") {
    const support::Target target{enter_mixed};
    REQUIRE(target.ok());
    const int code = support::run_in_child([&] {
        CHILD_CHECK(support::deny_ioctl(nsjoin::detail::ns_get_userns, EPERM));
        CHILD_CHECK(support::deny_setns_of_several(EPERM));
        return enters_by_both(target.pid(), mixed_kinds);
    });
    CHECK(code == 0);
}

TEST_CASE("owners: who has no right to chroot gets it of the user namespace, before mnt") {
    const support::Container container{Kind::user | Kind::mount | Kind::net};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE((container.ok() && target));
    const auto wanted = support::spaces_of(container.pid());
    constexpr auto kinds = nsjoin::kinds<Kind::user, Kind::mount, Kind::net>;
    CHECK(support::run_in_child([&] {
              nsjoin::detail::CapHeader header;
              std::array<nsjoin::detail::CapData, 2> words{};
              CHILD_CHECK(::syscall(SYS_capget, &header, words.data()) == 0);
              words[0].effective &= ~(1U << nsjoin::detail::cap_sys_chroot);
              CHILD_CHECK(::syscall(SYS_capset, &header, words.data()) == 0);
              CHILD_CHECK(support::deny_setns_of_several(EINVAL));
              CHILD_CHECK(
                  support::went_well(support::run(nsjoin::JoinPlan{}.join(*target, kinds), [&] {
                      return support::is_in(wanted, kinds) ? 0 : 1;
                  })));
              return 0;
          }) == 0);
}

TEST_CASE("owners: uid 1000 joins its own rootless target") {
    const int bad = support::as_user(1000, [] {
        const support::Target target{enter_rootless};
        CHILD_CHECK(target.ok());
        return enters_behind_all(target.pid(), mixed_kinds);
    });
    CHECK(bad == 0);
}

TEST_CASE("owners: root joins the rootless target of uid 1000") {
    const support::Target target{enter_rootless_of_user};
    REQUIRE(target.ok());
    CHECK(enters_behind_all(target.pid(), mixed_kinds) == 0);
}

TEST_CASE("owners: root joins a rootless target without its user namespace") {
    const support::Target target{enter_rootless_of_user};
    REQUIRE(target.ok());
    CHECK(enters_behind_all(target.pid(), mixed_kinds - Kind::user) == 0);
}

TEST_CASE("owners: uid 1000 may not join its rootless target without its user namespace") {
    const int code = support::as_user(1000, [] {
        const support::Target target{enter_rootless};
        CHILD_CHECK(target.ok());
        const auto fd = nsjoin::PidFd::open(target.pid());
        const support::CallerState state;
        const auto ran = support::run(from_target(*fd, mixed_kinds - Kind::user), [] { return 0; });
        CHILD_CHECK(ran.error);
        CHILD_CHECK(ran.error->reason == Reason::system && ran.error->code == EPERM);
        const std::string text = nsjoin::explain(*ran.error);
        CHILD_CHECK(text.find("EPERM: needs CAP_SYS_ADMIN") != std::string::npos);
        CHILD_CHECK(text.find("join the target's user namespace too") != std::string::npos);
        CHILD_CHECK(text.find("pid " + std::to_string(target.pid())) != std::string::npos);
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("owners: the root of a user namespace joins its descendants' namespaces") {
    const int bad = support::run_in_child([] {
        CHILD_CHECK(support::become_user());
        CHILD_CHECK(support::new_user());
        const support::Target mixed{enter_mixed};
        const support::Target rootless{enter_rootless};
        CHILD_CHECK(mixed.ok() && rootless.ok());
        return enters_behind_all(mixed.pid(), mixed_kinds) +
               enters_behind_all(rootless.pid(), mixed_kinds) +
               enters_behind_all(rootless.pid(), mixed_kinds - Kind::user);
    });
    CHECK(bad == 0);
}

TEST_CASE("owners: uid 1000 joins all eight kinds of its rootless container") {
    const int bad = support::as_user(1000, [] {
        const support::Container container{nsjoin::all_kinds};
        const support::Container without_time{KindSet{nsjoin::all_kinds} - Kind::time};
        CHILD_CHECK(container.ok() && without_time.ok());
        return enters_behind_all(container.pid(), nsjoin::all_kinds) +
               enters_behind_all(without_time.pid(), KindSet{nsjoin::all_kinds} - Kind::time);
    });
    CHECK(bad == 0);
}

TEST_CASE("owners: root joins all eight kinds of a container") {
    const support::Container container{nsjoin::all_kinds};
    const support::Container without_time{KindSet{nsjoin::all_kinds} - Kind::time};
    REQUIRE(container.ok());
    REQUIRE(without_time.ok());
    CHECK(enters_behind_all(container.pid(), nsjoin::all_kinds) == 0);
    CHECK(enters_behind_all(without_time.pid(), KindSet{nsjoin::all_kinds} - Kind::time) == 0);
}

TEST_CASE("owners: namespaces of two targets, the user namespace of a third") {
    const support::Target nets{[] {
        return ::unshare(CLONE_NEWNET | CLONE_NEWUTS) == 0;
    }};
    const support::Target user{enter_rootless_of_user};
    REQUIRE(nets.ok());
    REQUIRE(user.ok());
    for (const Obstacle& obstacle : obstacles) {
        const int code = support::run_in_child([&] {
            CHILD_CHECK(obstacle.put());
            const auto a = nsjoin::PidFd::open(nets.pid());
            const auto b = nsjoin::PidFd::open(user.pid());
            auto wanted = support::spaces_of(user.pid());
            wanted[Kind::net] = support::namespace_link(std::to_string(nets.pid()), "net");
            wanted[Kind::uts] = support::namespace_link(std::to_string(nets.pid()), "uts");
            nsjoin::Draft draft;
            draft.join(*a, Kind::net | Kind::uts);
            draft.join(*b, Kind::user | Kind::mount | Kind::ipc);
            const auto ran = support::run(*nsjoin::Plan::from(draft), [&] {
                return support::is_in(wanted, mixed_kinds) ? 0 : 1;
            });
            CHILD_CHECK(support::went_well(ran));
            return 0;
        });
        INFO(std::string{obstacle.name});
        CHECK(code == 0);
    }
}

TEST_CASE("util-linux#1592: the mount namespace of bwrap --dev, owned by the parent user "
          "namespace") {
    const int code = support::as_user(1000, [] {
        const support::Target target{enter_nested};
        CHILD_CHECK(target.ok());
        const auto fd = nsjoin::PidFd::open(target.pid());
        CHILD_CHECK(enters(from_target(*fd, mixed_kinds), target.pid(), mixed_kinds));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("util-linux#1592: without the one call it is a clean refusal or the same result") {
    const int code = support::as_user(1000, [] {
        const support::Target target{enter_nested};
        CHILD_CHECK(target.ok());
        CHILD_CHECK(support::deny_setns_of_several(EINVAL));
        const auto fd = nsjoin::PidFd::open(target.pid());
        const support::CallerState state;
        const auto ran = support::run(from_target(*fd, mixed_kinds), [] { return 0; });
        CHILD_CHECK(ran.ok() || (ran.error && ran.error->code == EPERM));
        CHILD_CHECK(!ran.error || support::is_clean(*ran.error));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("explain: rights that joining user takes are used before, those that it gives after") {
    const support::Target target{enter_mixed};
    REQUIRE(target.ok());
    const std::string as_root = explained(target.pid());
    for (const char* kind : {"net", "uts", "ipc", "mnt"}) {
        INFO(as_root);
        REQUIRE(place_of(as_root, kind) != std::string::npos);
        CHECK(place_of(as_root, kind) < place_of(as_root, "user"));
    }
    CHECK(as_root.find("before \"join user\": the caller has the rights over it now") !=
          std::string::npos);

    const int code = support::as_user(1000, [] {
        const support::Target own{enter_rootless};
        CHILD_CHECK(own.ok());
        const std::string text = explained(own.pid());
        for (const char* kind : {"net", "uts", "ipc", "mnt"}) {
            CHILD_CHECK(place_of(text, kind) != std::string::npos);
            CHILD_CHECK(place_of(text, kind) > place_of(text, "user"));
        }
        CHILD_CHECK(text.find("after \"join user\": the rights over it come with the joined user "
                              "namespace") != std::string::npos);
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("explain: the one call, and what is done where the kernel refuses it") {
    const support::Target target{enter_mixed};
    REQUIRE(target.ok());
    const auto fd = nsjoin::PidFd::open(target.pid());
    const std::string text = nsjoin::explain(from_target(*fd, mixed_kinds));
    INFO(text);
    CHECK(text.find("setns(pidfd of pid " + std::to_string(target.pid()) + ", user | mnt | net") !=
          std::string::npos);
    CHECK(text.find("all or nothing") != std::string::npos);
    CHECK(text.find("before Linux 5.8, a seccomp filter") != std::string::npos);
    CHECK(text.find("before \"join user\": the caller has the rights over it now") !=
          std::string::npos);
}

TEST_CASE("explain: asks and changes nothing") {
    const support::Target target{enter_mixed};
    REQUIRE(target.ok());
    const auto fd = nsjoin::PidFd::open(target.pid());
    const support::CallerState state;
    const std::string text = nsjoin::explain(from_target(*fd, mixed_kinds));
    CHECK(text.find("check the plan") != std::string::npos);
    CHECK(state.holds());
}
