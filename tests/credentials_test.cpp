// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/credentials.hpp>

#include "support.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

using nsjoin::Credentials;
using nsjoin::Groups;
using nsjoin::Reason;
using nsjoin::Step;
using nsjoin::detail::Denied;
using nsjoin::detail::SetgroupsDenied;

namespace {

constexpr std::size_t most_groups = 65'536; // NGROUPS_MAX
constexpr std::uint32_t no_change = 0xFFFF'FFFF;

struct Ids {
    uid_t real = 0;
    uid_t effective = 0;
    uid_t saved = 0;

    [[nodiscard]] auto all_are(uid_t id) const -> bool {
        return real == id && effective == id && saved == id;
    }
};

auto uids() -> Ids {
    Ids ids;
    (void)::getresuid(&ids.real, &ids.effective, &ids.saved);
    return ids;
}

auto gids() -> Ids {
    Ids ids;
    (void)::getresgid(&ids.real, &ids.effective, &ids.saved);
    return ids;
}

auto groups() -> std::vector<gid_t> {
    std::vector<gid_t> list(most_groups);
    const int count = ::getgroups(static_cast<int>(list.size()), list.data());
    list.resize(static_cast<std::size_t>(std::max(0, count)));
    return list;
}

auto set_groups(std::initializer_list<gid_t> list) -> bool {
    return ::setgroups(list.size(), list.begin()) == 0;
}

auto numbered_groups(std::size_t count) -> std::vector<gid_t> {
    std::vector<gid_t> list(count);
    for (std::size_t i = 0; i < count; ++i) {
        list[i] = static_cast<gid_t>(2 * i + 1);
    }
    return list;
}

[[nodiscard]] auto is_root() -> bool {
    if (::geteuid() == 0) {
        return true;
    }
    support::skip("taking other ids needs root");
    return false;
}

/// Puts the calling process into a new user namespace with these maps, as root writes them.
[[nodiscard]] auto enter_user_namespace(const char* uid_map, const char* gid_map,
                                        bool deny_setgroups) -> bool {
    std::array<int, 2> go{};
    if (::pipe(go.data()) != 0) {
        return false;
    }
    const std::string proc = "/proc/" + std::to_string(::getpid());
    const pid_t writer = ::fork();
    if (writer == 0) {
        char byte = 0;
        ::close(go[1]);
        const bool good = ::read(go[0], &byte, 1) == 1 &&
                          (!deny_setgroups || support::spill(proc + "/setgroups", "deny")) &&
                          support::spill(proc + "/uid_map", uid_map) &&
                          support::spill(proc + "/gid_map", gid_map);
        ::_exit(good ? 0 : 1);
    }
    const bool made = ::unshare(CLONE_NEWUSER) == 0 && ::write(go[1], "", 1) == 1;
    ::close(go[0]);
    ::close(go[1]);
    return support::wait_for(writer) == 0 && made;
}

auto subject_is(const nsjoin::Result<void>& result, std::string_view subject) -> bool {
    return !result && result.error().subject.view() == subject;
}

} // namespace

TEST_CASE("groups: dropped, kept or set, and nothing between") {
    const Groups none;
    const Groups kept = Groups::keep();
    const Groups two{7, 5};
    CHECK((none.dropped() && !none.kept() && none.ids().empty()));
    CHECK((!kept.dropped() && kept.kept() && kept.ids().empty()));
    CHECK((!two.dropped() && !two.kept() && two.ids().size() == 2));
    CHECK((two.ids()[0] == 7 && two.ids()[1] == 5));
    CHECK_FALSE(none == kept);
    CHECK_FALSE(none == two);
    CHECK(two == Groups{7, 5});
    CHECK_FALSE(two == Groups{5, 7});
    CHECK_FALSE(two == Groups{7});
    CHECK_FALSE(two == Groups{7, 5, 5});
}

TEST_CASE("groups: exactly none is not the same as dropped, which forgives") {
    const Groups exactly_none{std::span<const gid_t>{}};
    CHECK_FALSE(exactly_none.dropped());
    CHECK_FALSE(exactly_none.kept());
    CHECK(exactly_none.ids().empty());
    CHECK_FALSE(exactly_none == Groups{});
}

TEST_CASE("groups are a value: a copy of the ids, copied and moved with them") {
    std::vector<gid_t> list = numbered_groups(1000);
    const Groups from_list{std::span<const gid_t>{list}};
    const std::vector<gid_t> before = list;
    std::fill(list.begin(), list.end(), 9);
    CHECK(std::equal(before.begin(), before.end(), from_list.ids().begin(), from_list.ids().end()));
    Groups copy = from_list;
    CHECK(copy == from_list);
    CHECK(copy.ids().data() != from_list.ids().data());
    const Groups moved = std::move(copy);
    CHECK(moved == from_list);
    copy = Groups{1};
    CHECK(copy == Groups{1});
    copy = *&copy;
    CHECK(copy == Groups{1});
    copy = from_list;
    copy = Groups::keep();
    CHECK((copy.kept() && copy.ids().empty()));
    CHECK(moved == from_list);
}

TEST_CASE("credentials are compared by all that they name") {
    const Credentials one{.uid = 1, .gid = 2, .groups = {3}};
    CHECK(one == Credentials{.uid = 1, .gid = 2, .groups = {3}});
    CHECK_FALSE(one == Credentials{.uid = 0, .gid = 2, .groups = {3}});
    CHECK_FALSE(one == Credentials{.uid = 1, .gid = {}, .groups = {3}});
    CHECK_FALSE(one == Credentials{.uid = 1, .gid = 2});
    CHECK_FALSE(Credentials{.uid = 0} == Credentials{});
}

TEST_CASE("become: uid, gid and groups, and there is no way back") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({11, 12}));
              CHILD_CHECK(nsjoin::become({.uid = 1000, .gid = 1001, .groups = {5, 7}}));
              CHILD_CHECK(uids().all_are(1000));
              CHILD_CHECK(gids().all_are(1001));
              CHILD_CHECK(groups() == std::vector<gid_t>{5, 7});
              CHILD_CHECK(::setuid(0) != 0);
              CHILD_CHECK(::setgid(0) != 0);
              return 0;
          }) == 0);
}

TEST_CASE("become: what is not named stays, groups are dropped unless they are kept") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({11, 12}));
              CHILD_CHECK(nsjoin::become({.uid = {}, .gid = {}, .groups = Groups::keep()}));
              CHILD_CHECK(uids().all_are(0) && gids().all_are(0));
              CHILD_CHECK(groups() == std::vector<gid_t>{11, 12});
              CHILD_CHECK(nsjoin::become({.uid = {}, .gid = 8, .groups = Groups::keep()}));
              CHILD_CHECK(uids().all_are(0) && gids().all_are(8));
              CHILD_CHECK(groups() == std::vector<gid_t>{11, 12});
              CHILD_CHECK(nsjoin::become({}));
              CHILD_CHECK(uids().all_are(0) && gids().all_are(8));
              CHILD_CHECK(groups().empty());
              CHILD_CHECK(set_groups({11}));
              CHILD_CHECK(nsjoin::become(
                  {.uid = 9, .gid = {}, .groups = Groups{std::span<const gid_t>{}}}));
              CHILD_CHECK(uids().all_are(9) && gids().all_are(8));
              CHILD_CHECK(groups().empty());
              return 0;
          }) == 0);
}

TEST_CASE("become: saved ids of before do not stay") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::setresgid(1, 0, 3) == 0 && ::setresuid(1, 0, 3) == 0);
              CHILD_CHECK(nsjoin::become({.uid = 2, .gid = 2}));
              CHILD_CHECK(uids().all_are(2) && gids().all_are(2));
              return 0;
          }) == 0);
}

TEST_CASE("become: 65536 groups, and no more") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              const std::vector<gid_t> list = numbered_groups(most_groups);
              CHILD_CHECK(nsjoin::become(
                  {.uid = {}, .gid = {}, .groups = Groups{std::span<const gid_t>{list}}}));
              CHILD_CHECK(groups() == list);
              return 0;
          }) == 0);
}

// Every id is mapped here: to say that one is not would send the reader to look at the wrong thing.
TEST_CASE("become: one group too many is not taken, and not for an id that is not mapped") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({11, 12}));
              const std::vector<gid_t> list = numbered_groups(most_groups + 1);
              const nsjoin::Result<void> done =
                  nsjoin::become({.uid = 1000, .gid = 1000, .groups = Groups{list}});
              CHILD_CHECK(!done && done.error().step == Step::set_groups);
              CHILD_CHECK(uids().all_are(0) && gids().all_are(0));
              CHILD_CHECK(groups() == std::vector<gid_t>{11, 12});
              CHILD_CHECK(done.error().reason != Reason::id_not_mapped);
              return 0;
          }) == 0);
}

TEST_CASE("become: an unprivileged process takes no other ids, nor drops groups") {
    if (!is_root()) {
        return;
    }
    CHECK(support::as_user(1000, [] {
              CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 1000, .gid = 1000}),
                                              Step::set_groups, Reason::system, EPERM));
              const auto with = [](std::optional<uid_t> uid, std::optional<gid_t> gid) {
                  return nsjoin::become({.uid = uid, .gid = gid, .groups = Groups::keep()});
              };
              CHILD_CHECK(with(1000, 1000));
              const auto other_gid = with(1000, 1001);
              CHILD_CHECK(support::fails_with(other_gid, Step::set_gid, Reason::system, EPERM));
              CHILD_CHECK(subject_is(other_gid, "gid 1001"));
              const auto other_uid = with(0, {});
              CHILD_CHECK(support::fails_with(other_uid, Step::set_uid, Reason::system, EPERM));
              CHILD_CHECK(subject_is(other_uid, "uid 0"));
              CHILD_CHECK(uids().all_are(1000) && gids().all_are(1000));
              return 0;
          }) == 0);
}

TEST_CASE("become: the id that means no change is not taken for one that was taken") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              const auto uid =
                  nsjoin::become({.uid = no_change, .gid = {}, .groups = Groups::keep()});
              CHILD_CHECK(support::fails_with(uid, Step::verify_ids, Reason::ids_differ));
              CHILD_CHECK(subject_is(uid, "uid 4294967295"));
              const auto gid =
                  nsjoin::become({.uid = {}, .gid = no_change, .groups = Groups::keep()});
              CHILD_CHECK(support::fails_with(gid, Step::verify_ids, Reason::ids_differ));
              CHILD_CHECK(subject_is(gid, "gid 4294967295"));
              return 0;
          }) == 0);
}

TEST_CASE("become: a filter that feigns success is seen through, for uid and gid") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_syscall(SYS_setresuid, 0));
              CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 1000, .gid = 1000}),
                                              Step::verify_ids, Reason::ids_differ));
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(support::deny_syscall(SYS_setresgid, 0));
              CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 1000, .gid = 1000}),
                                              Step::verify_ids, Reason::ids_differ));
              return 0;
          }) == 0);
}

TEST_CASE("become: a filter that feigns success is seen through, for the groups") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({11, 12}));
              CHILD_CHECK(support::deny_syscall(SYS_setgroups, 0));
              CHILD_CHECK(!nsjoin::become({.uid = 1000, .gid = 1000, .groups = {5}}));
              CHILD_CHECK(!nsjoin::become({.uid = {}, .gid = {}, .groups = {}}));
              return 0;
          }) == 0);
}

TEST_CASE("become: ids that the user namespace does not map") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(enter_user_namespace("0 3000 10", "0 4000 10", false));
              CHILD_CHECK(uids().all_are(65'534));
              const auto uid = nsjoin::become({.uid = 10, .gid = 9});
              CHILD_CHECK(support::fails_with(uid, Step::set_uid, Reason::id_not_mapped, EINVAL));
              CHILD_CHECK(subject_is(uid, "uid 10"));
              const auto gid = nsjoin::become({.uid = 0, .gid = 10});
              CHILD_CHECK(support::fails_with(gid, Step::set_gid, Reason::id_not_mapped, EINVAL));
              CHILD_CHECK(subject_is(gid, "gid 10"));
              const auto group = nsjoin::become({.uid = 0, .gid = 0, .groups = {9, 3000}});
              CHILD_CHECK(
                  support::fails_with(group, Step::set_groups, Reason::id_not_mapped, EINVAL));
              CHILD_CHECK(!group.error().subject.view().empty());
              CHILD_CHECK(nsjoin::become({.uid = 9, .gid = 9, .groups = {1, 9}}));
              CHILD_CHECK(uids().all_are(9) && gids().all_are(9));
              CHILD_CHECK(groups() == std::vector<gid_t>{1, 9});
              return 0;
          }) == 0);
}

TEST_CASE("become: where setgroups is denied, groups stay if they are dropped, and none is set") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({4000, 4001}));
              CHILD_CHECK(enter_user_namespace("0 3000 10", "0 4000 10", true));
              CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 0, .gid = 0, .groups = {5}}),
                                              Step::set_groups, Reason::groups_denied));
              CHILD_CHECK(support::fails_with(
                  nsjoin::become({.uid = 0, .gid = 0, .groups = Groups{std::span<const gid_t>{}}}),
                  Step::set_groups, Reason::groups_denied));
              CHILD_CHECK(uids().all_are(65'534));
              CHILD_CHECK(nsjoin::become({.uid = 0, .gid = 0}));
              CHILD_CHECK(uids().all_are(0) && gids().all_are(0));
              CHILD_CHECK(groups() == std::vector<gid_t>{0, 1});
              CHILD_CHECK(nsjoin::become({.uid = 1, .gid = 1, .groups = Groups::keep()}));
              CHILD_CHECK(groups() == std::vector<gid_t>{0, 1});
              return 0;
          }) == 0);
}

TEST_CASE("become: only the calling thread moves") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({11, 12}));
              bool moved = false;
              std::thread{[&moved] {
                  moved = nsjoin::become({.uid = 1000, .gid = 1001, .groups = {5}}).has_value() &&
                          uids().all_are(1000) && gids().all_are(1001) &&
                          groups() == std::vector<gid_t>{5};
              }}.join();
              CHILD_CHECK(moved);
              CHILD_CHECK(uids().all_are(0) && gids().all_are(0));
              CHILD_CHECK(groups() == std::vector<gid_t>{11, 12});
              return 0;
          }) == 0);
}

TEST_CASE("become: a filter that refuses setgroups is not taken for a namespace that denies it") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({11, 12}));
              CHILD_CHECK(support::deny_syscall(SYS_setgroups, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 1000, .gid = 1000}),
                                              Step::set_groups, Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 0, .gid = 0, .groups = {5}}),
                                              Step::set_groups, Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside(),
                                              Step::set_groups, Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::detail::verify_ids({}), Step::verify_ids,
                                              Reason::ids_differ));
              CHILD_CHECK(uids().all_are(0) && gids().all_are(0));
              return 0;
          }) == 0);
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({4000, 4001}));
              CHILD_CHECK(enter_user_namespace("0 3000 10", "0 4000 10", false));
              CHILD_CHECK(support::deny_syscall(SYS_setgroups, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside(),
                                              Step::set_groups, Reason::system, EPERM));
              return 0;
          }) == 0);
}

TEST_CASE("become: another error of setgroups is never taken for one of its namespace") {
    if (!is_root()) {
        return;
    }
    for (const int error : {EACCES, ENOSYS, EINVAL}) {
        CHECK(support::run_in_child([error] {
                  CHILD_CHECK(set_groups({11, 12}));
                  CHILD_CHECK(support::deny_syscall(SYS_setgroups, error));
                  CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 0, .gid = 0}),
                                                  Step::set_groups, Reason::system, error));
                  CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside(),
                                                  Step::set_groups, Reason::system, error));
                  return 0;
              }) == 0);
    }
}

TEST_CASE(
    "become: where setgroups is denied, 0:0 is taken, and after a change of ids it shows yet") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({4000, 4001}));
              CHILD_CHECK(enter_user_namespace("0 3000 10", "0 4000 10", true));
              CHILD_CHECK(nsjoin::detail::become_root_inside());
              CHILD_CHECK(uids().all_are(0) && gids().all_are(0));
              // Neither rights nor, in /proc, files of its own.
              CHILD_CHECK(nsjoin::become({.uid = 5, .gid = 5}));
              CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
              CHILD_CHECK(nsjoin::detail::verify_ids({.uid = 5, .gid = 5}));
              CHILD_CHECK(groups() == std::vector<gid_t>{0, 1});
              return 0;
          }) == 0);
}

TEST_CASE("become: a /proc that can't say whether setgroups is denied is an error") {
    if (!is_root()) {
        return;
    }
    const auto without_proc = [](bool with_descriptor) {
        return support::run_in_child([with_descriptor] {
            CHILD_CHECK(set_groups({4000, 4001}));
            const nsjoin::OwnedFd proc{::open("/proc", O_PATH | O_CLOEXEC)};
            CHILD_CHECK(enter_user_namespace("0 3000 10", "0 4000 10", true));
            CHILD_CHECK(support::own_mounts());
            CHILD_CHECK(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
            if (with_descriptor) {
                const Credentials root{.uid = 0, .gid = 0};
                const SetgroupsDenied before{Denied::ask, proc.borrow()};
                CHILD_CHECK(nsjoin::detail::set_groups(root.groups, false, before));
                CHILD_CHECK(nsjoin::detail::become_root_inside(before));
                CHILD_CHECK(nsjoin::detail::verify_ids(root, before));
                return 0;
            }
            CHILD_CHECK(support::fails_with(nsjoin::become({.uid = 0, .gid = 0}), Step::set_groups,
                                            Reason::not_procfs));
            CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside(), Step::set_groups,
                                            Reason::not_procfs));
            CHILD_CHECK(support::fails_with(nsjoin::detail::verify_ids({}), Step::verify_ids,
                                            Reason::not_procfs));
            return 0;
        });
    };
    CHECK(without_proc(true) == 0);
    CHECK(without_proc(false) == 0);
}

TEST_CASE("become: who knows whether setgroups is denied opens nothing, and who can't is told so") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({4000, 4001}));
              CHILD_CHECK(enter_user_namespace("0 3000 10", "0 4000 10", true));
              CHILD_CHECK(support::deny_syscall(SYS_openat, EMFILE));
              const Credentials root{.uid = 0, .gid = 0};
              const SetgroupsDenied yes{Denied::yes};
              CHILD_CHECK(nsjoin::detail::set_groups(root.groups, false, yes));
              CHILD_CHECK(nsjoin::detail::become_root_inside(yes));
              CHILD_CHECK(nsjoin::detail::verify_ids(root, yes));
              CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside({Denied::no}),
                                              Step::set_groups, Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside({Denied::unknown}),
                                              Step::set_groups, Reason::system, ENODATA));
              CHILD_CHECK(support::fails_with(nsjoin::detail::become_root_inside(),
                                              Step::set_groups, Reason::system, EMFILE));
              return 0;
          }) == 0);
}

TEST_CASE("become: an id map that isn't written yet is no namespace that denies setgroups") {
    if (!is_root()) {
        return;
    }
    CHECK(support::run_in_child([] {
              CHILD_CHECK(set_groups({4000, 4001}));
              CHILD_CHECK(::unshare(CLONE_NEWUSER) == 0);
              CHILD_CHECK(
                  support::fails_with(nsjoin::become({}), Step::set_groups, Reason::system, EPERM));
              return 0;
          }) == 0);
}

TEST_CASE("become: a process that is not dumpable is so again after each change of ids") {
    if (!is_root()) {
        return;
    }
    // Where that can't be made sure of, the ids are not called taken.
    CHECK(support::run_in_child([] {
              CHILD_CHECK(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
              CHILD_CHECK(nsjoin::become({.uid = 1000, .gid = 1000}));
              CHILD_CHECK(::prctl(PR_GET_DUMPABLE) == 0);
              CHILD_CHECK(support::deny_syscall(SYS_prctl, EPERM));
              CHILD_CHECK(support::fails_with(
                  nsjoin::become({.uid = {}, .gid = 1000, .groups = Groups::keep()}),
                  Step::clear_dumpable, Reason::system, EPERM));
              CHILD_CHECK(support::fails_with(
                  nsjoin::become({.uid = 1000, .gid = {}, .groups = Groups::keep()}),
                  Step::clear_dumpable, Reason::system, EPERM));
              return 0;
          }) == 0);
    CHECK(support::as_user(1000, [] {
              CHILD_CHECK(nsjoin::become({.uid = 1000, .gid = 1000, .groups = Groups::keep()}));
              return ::prctl(PR_GET_DUMPABLE) == 1 ? 0 : 1;
          }) == 0);
}
