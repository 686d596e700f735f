// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <cmath>
#include <fstream>
#include <sys/prctl.h>

using nsjoin::IdExtent;
using nsjoin::IdMap;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::NewUser;
using nsjoin::Reason;
using nsjoin::Setgroups;
using nsjoin::Step;

// What a plan creates: namespaces, id maps, clocks.

namespace {

auto plan_of(KindSet created) -> nsjoin::Plan {
    nsjoin::Draft draft;
    draft.created = created;
    if (created.contains(Kind::user)) {
        draft.maps = support::own_root();
    }
    return *nsjoin::Plan::from(draft);
}

/// Whether the child is in new namespaces of exactly these kinds.
auto creates(const nsjoin::Plan& plan, KindSet kinds) -> int {
    const support::CallerState state;
    const auto own = support::spaces_of("self");
    const auto ran = support::run(plan, [&] {
        CHILD_CHECK(support::differing(own, support::spaces_of("self")) == kinds);
        return 0;
    });
    CHILD_CHECK(support::went_well(ran));
    CHILD_CHECK(state.holds());
    return 0;
}

/// The numbers of a map file, without its columns.
auto map_of(const char* file) -> std::string {
    std::string text = support::slurp(file);
    std::string result;
    for (const char c : text) {
        const bool blank = c == ' ' || c == '\n';
        if (!blank || (!result.empty() && result.back() != ' ')) {
            result += blank ? ' ' : c;
        }
    }
    return result;
}

auto uptime() -> double {
    return std::strtod(support::slurp("/proc/uptime").c_str(), nullptr);
}

} // namespace

TEST_CASE("create: each kind alone, and all, as root") {
    for (const Kind kind : KindSet{nsjoin::all_kinds}) {
        INFO(std::string{nsjoin::facts(kind).name});
        CHECK(support::run_in_child([&] { return creates(plan_of(kind), kind); }) == 0);
    }
    const KindSet all{nsjoin::all_kinds};
    CHECK(support::run_in_child([&] { return creates(plan_of(all), all); }) == 0);
    CHECK(support::run_in_child(
              [&] { return creates(plan_of(all - Kind::user), all - Kind::user); }) == 0);
}

TEST_CASE("create: each kind with a user namespace, and all, as uid 1000") {
    for (const Kind kind : KindSet{nsjoin::all_kinds}) {
        const int code = support::as_user(
            1000, [&] { return creates(plan_of(kind | Kind::user), kind | Kind::user); });
        INFO(std::string{nsjoin::facts(kind).name});
        CHECK(code == 0);
    }
    const int code = support::as_user(
        1000, [] { return creates(plan_of(nsjoin::all_kinds), nsjoin::all_kinds); });
    CHECK(code == 0);
}

TEST_CASE("create: every kind beside joined ones") {
    const support::Container container{Kind::net | Kind::ipc};
    const KindSet joined = Kind::net | Kind::ipc;
    for (const Kind kind : KindSet{nsjoin::all_kinds} - joined) {
        const int code = support::run_in_child([&] {
            const auto target = nsjoin::PidFd::open(container.pid());
            nsjoin::Draft draft = plan_of(kind).parts();
            draft.join(*target, joined);
            CHILD_CHECK(creates(*nsjoin::Plan::from(draft), joined | kind) == 0);
            draft.created = draft.created | Kind::user;
            draft.maps = support::own_root();
            return creates(*nsjoin::Plan::from(draft), joined | kind | Kind::user);
        });
        INFO(std::string{nsjoin::facts(kind).name});
        CHECK(code == 0);
    }
}

TEST_CASE("create: inside a joined user namespace, as uid 1000") {
    for (const Kind kind : KindSet{nsjoin::all_kinds} - Kind::user) {
        const int code = support::as_user(1000, [&] {
            const support::Container container{Kind::user};
            CHILD_CHECK(container.ok());
            const auto target = nsjoin::PidFd::open(container.pid());
            nsjoin::Draft draft = plan_of(kind).parts();
            draft.join(*target, Kind::user);
            return creates(*nsjoin::Plan::from(draft), kind | Kind::user);
        });
        INFO(std::string{nsjoin::facts(kind).name});
        CHECK(code == 0);
    }
}

TEST_CASE("create: what is created belongs to the user namespace that the child is in") {
    const int code = support::run_in_child([] {
        const auto ran = support::run(plan_of(nsjoin::all_kinds), [] {
            const auto user = nsjoin::NamespaceFd<Kind::user>::own();
            for (const Kind kind : KindSet{nsjoin::all_kinds} - Kind::user) {
                const auto space = nsjoin::AnyNamespaceFd::own(kind);
                const auto owner = space->owner();
                CHILD_CHECK(owner && owner->id() == user->id());
            }
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("create: a pid namespace's child is pid 1, and mounts its own proc") {
    const int code = support::run_in_child([] {
        const auto ran = support::run(plan_of(Kind::pid | Kind::mount), [] {
            CHILD_CHECK(::getpid() == 1);
            CHILD_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
            CHILD_CHECK(::mount("proc", "/proc", "proc", 0, nullptr) == 0);
            CHILD_CHECK(support::numbers_in("/proc") == std::set<int>{1});
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("maps: one line, as root and as uid 1000") {
    const auto is_root = [] {
        CHILD_CHECK(::getuid() == 0 && ::getgid() == 0);
        return 0;
    };
    const nsjoin::Plan plan =
        nsjoin::JoinPlan{}.create(NewUser{.uids = {{0, 100000, 1000}}, .gids = {{0, 200000, 500}}});
    CHECK(support::went_well(support::run(plan, [] {
        CHILD_CHECK(map_of("/proc/self/uid_map") == "0 100000 1000 ");
        CHILD_CHECK(map_of("/proc/self/gid_map") == "0 200000 500 ");
        CHILD_CHECK(support::slurp("/proc/self/setgroups") == "allow\n");
        CHILD_CHECK(::getgroups(0, nullptr) == 0);
        return ::getuid() == 0 && ::getgid() == 0 ? 0 : 1;
    })));
    const int code = support::as_user(1000, [&] {
        const auto ran = support::run(nsjoin::JoinPlan{}.create(support::own_root()), is_root);
        return support::went_well(ran) ? 0 : 1;
    });
    CHECK(code == 0);
}

namespace {

/// A map of 340 lines; `outside` is where its ids begin there.
auto long_map(std::uint32_t outside) -> nsjoin::Result<IdMap> {
    std::vector<IdExtent> lines;
    for (std::uint32_t i = 0; i < nsjoin::id_map_capacity; ++i) {
        lines.push_back({i * 2, outside + i * 2, 1});
    }
    return IdMap::from(lines);
}

} // namespace

TEST_CASE("maps: of a caller that is not dumpable the error says it") {
    const int code = support::as_user(1000, [] {
        const auto plan = nsjoin::JoinPlan{}.create(support::own_root());
        CHILD_CHECK(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
        const auto ran = support::run(plan, [] { return 0; });
        CHILD_CHECK(ran.error && ran.error->step == Step::write_uid_map);
        CHILD_CHECK(ran.error->reason == Reason::not_dumpable);
        CHILD_CHECK(nsjoin::explain(*ran.error).find("/uid_map") != std::string::npos);
        CHILD_CHECK(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
        return support::went_well(support::run(plan, [] { return 0; })) ? 0 : 1;
    });
    CHECK(code == 0);
}

TEST_CASE("maps: as many lines as the kernel takes") {
    const auto map = long_map(0);
    REQUIRE(map);
    const nsjoin::Plan plan =
        nsjoin::JoinPlan{}.create(NewUser{.uids = *map, .gids = *map}).as({.uid = 678, .gid = 4});
    CHECK(support::went_well(support::run(plan, [] {
        CHILD_CHECK(map_of("/proc/self/uid_map").substr(0, 12) == "0 0 1 2 2 1 ");
        CHILD_CHECK(::getuid() == 678 && ::getgid() == 4);
        return 0;
    })));
}

TEST_CASE("maps: one that is longer than a page, which the kernel refuses, is explained") {
    const auto map = long_map(3'000'000'000U);
    REQUIRE(map);
    const support::CallerState state;
    const auto ran = support::run(nsjoin::JoinPlan{}.create(NewUser{.uids = *map, .gids = *map}),
                                  [] { return 0; });
    REQUIRE(ran.error);
    CHECK(nsjoin::explain(*ran.error) != "write uid_map: EINVAL");
    CHECK(state.holds());
}

TEST_CASE("maps: without id 0 the child keeps its ids, or takes those that are named") {
    const NewUser user{.uids = {{5, 0, 1}}, .gids = {{6, 0, 1}}};
    const auto plain = nsjoin::JoinPlan{}.create(user).create<Kind::mount, Kind::time>();
    CHECK(support::went_well(support::run(plain, [] {
        CHILD_CHECK(::getuid() == 5 && ::getgid() == 6);
        return 0;
    })));
    CHECK(support::went_well(support::run(plain.as({.uid = 5, .gid = 6}), [] {
        CHILD_CHECK(support::status_line("self", "Uid") == "5\t5\t5\t5");
        return 0;
    })));
    const NewUser half{.uids = {{0, 0, 1}}, .gids = {{6, 0, 1}}};
    CHECK(support::went_well(support::run(nsjoin::JoinPlan{}.create(half), [] {
        CHILD_CHECK(::getuid() == 0 && ::getgid() == 6);
        return 0;
    })));
}

TEST_CASE("maps: each is asked of the helper that is for it") {
    const support::TemporaryDirectory temporary;
    REQUIRE(::chmod(temporary.path().c_str(), 0755) == 0);
    const std::string uids = temporary.path() + "/newuidmap";
    const std::string gids = temporary.path() + "/newgidmap";
    REQUIRE(support::write_script(uids, "#!/bin/sh\nexit 0\n"));
    REQUIRE(support::write_script(gids, "#!/bin/sh\necho $2 $3 $4 >&2\nexit 3\n"));
    CHECK(support::as_user(1000, [&] {
              nsjoin::Draft draft;
              draft.created = nsjoin::Kind::user;
              draft.maps.emplace(NewUser{{{0, 0, 5}}, {{0, 7, 5}}});
              draft.newuidmap = uids;
              draft.newgidmap = gids;
              const auto plan = nsjoin::Plan::from(draft);
              CHILD_CHECK(plan);
              const auto ran = support::run(*plan, [] { return 0; });
              CHILD_CHECK(
                  support::failed_with(ran, Step::write_gid_map, Reason::helper_failed, 3 << 8));
              CHILD_CHECK(ran.error->subject.view() == "0 7 5");
              return 0;
          }) == 0);
}

TEST_CASE("maps: a user namespace without maps stays unmapped") {
    const auto ran = support::run(nsjoin::JoinPlan{}.create<Kind::user, Kind::net>(), [] {
        CHILD_CHECK(map_of("/proc/self/uid_map").empty());
        CHILD_CHECK(::getuid() == 65534 && ::getgid() == 65534);
        return 0;
    });
    CHECK(support::went_well(ran));
}

TEST_CASE("maps: ids that they lack are refused before the first process") {
    const NewUser user{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}};
    const support::CallerState state;
    const auto refused = [&](nsjoin::Credentials ids) {
        return support::run(nsjoin::JoinPlan{}.create(user).as(std::move(ids)), [] { return 0; });
    };
    CHECK(support::failed_with(refused({.uid = 1, .gid = 0}), Step::check_plan,
                               Reason::id_not_mapped, EINVAL));
    CHECK(support::failed_with(refused({.uid = 0, .gid = 1}), Step::check_plan,
                               Reason::id_not_mapped, EINVAL));
    CHECK(support::failed_with(refused({.uid = 0, .gid = 0, .groups = {7}}), Step::check_plan,
                               Reason::id_not_mapped, EINVAL));
    CHECK(state.holds());
}

TEST_CASE("maps: ids outside that the caller's own user namespace lacks") {
    const int code = support::run_in_child([] {
        CHILD_CHECK(support::become_user() && support::new_user());
        const NewUser user{.uids = {{0, 77, 1}}, .gids = {{0, 77, 1}}};
        const support::CallerState state;
        const auto ran = support::run(nsjoin::JoinPlan{}.create(user), [] { return 0; });
        CHILD_CHECK(ran.error && ran.error->step == Step::write_uid_map);
        CHILD_CHECK(support::is_clean(*ran.error));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("setgroups: the policy") {
    const auto with = [](Setgroups policy) {
        return nsjoin::JoinPlan{}.create(
            NewUser{.uids = {{0, 0, 10}}, .gids = {{0, 0, 10}}, .setgroups = policy});
    };
    CHECK(support::went_well(support::run(with(Setgroups::deny), [] {
        CHILD_CHECK(support::slurp("/proc/self/setgroups") == "deny\n");
        return 0;
    })));
    for (const Setgroups policy : {Setgroups::allow, Setgroups::automatic}) {
        const auto plan = with(policy).as({.uid = 1, .gid = 2, .groups = {3, 4}});
        CHECK(support::went_well(support::run(plan, [] {
            CHILD_CHECK(support::slurp("/proc/self/setgroups") == "allow\n");
            CHILD_CHECK(support::status_line("self", "Groups") == "3 4 ");
            return 0;
        })));
    }
    const auto both = with(Setgroups::deny).as({.uid = 0, .gid = 0, .groups = {3}});
    CHECK(support::failed_with(support::run(both, [] { return 0; }), Step::check_plan,
                               Reason::groups_denied));
}

TEST_CASE("one map without the other, and none with setgroups denied") {
    const auto files = [](const NewUser& user) {
        return support::run(nsjoin::JoinPlan{}.create(user).keep_ids(), [&user] {
            const bool same = support::slurp("/proc/self/uid_map").empty() == user.uids.empty() &&
                              support::slurp("/proc/self/gid_map").empty() == user.gids.empty() &&
                              (support::slurp("/proc/self/setgroups") == "deny\n") ==
                                  (user.setgroups == Setgroups::deny);
            return same ? 0 : 1;
        });
    };
    const nsjoin::IdMap map{{0, 0, 5}};
    const auto none = nsjoin::IdMap::none();
    CHECK(support::went_well(files({map, none})));
    CHECK(support::went_well(files({none, map})));
    CHECK(support::went_well(files({none, none, Setgroups::deny})));
    CHECK(support::failed_with(
        support::run(
            nsjoin::JoinPlan{}.create(NewUser{map, none}).as({.uid = 0, .gid = 0, .groups = {}}),
            [] { return 0; }),
        Step::check_plan, Reason::id_not_mapped, EINVAL));
    static_assert(nsjoin::IdMap::none().empty() && !nsjoin::IdMap::none().maps(0));
    static_assert(!(nsjoin::IdMap::none() == nsjoin::IdMap{{0, 0, 1}}));
}

TEST_CASE("a newuidmap that has a lot to say is not waited for in vain") {
    const std::string directory = "/tmp/nsjoin_helper." + std::to_string(::getpid());
    REQUIRE(::mkdir(directory.c_str(), 0755) == 0);
    const std::string path = directory + "/newuidmap";
    {
        std::ofstream script{path};
        script
            << "#!/bin/sh\necho no, says the helper >&2\nhead -c 1000000 /dev/zero >&2\nexit 3\n";
    }
    REQUIRE(::chmod(path.c_str(), 0755) == 0);
    const int code = support::as_user(1000, [&path] {
        for (const bool closed : {false, true}) {
            if (closed) {
                ::close(STDERR_FILENO);
            }
            nsjoin::Draft draft;
            draft.created = nsjoin::Kind::user;
            draft.maps.emplace(NewUser{{{0, 0, 5}}, {{0, 0, 5}}});
            draft.newuidmap = path;
            const auto side = nsjoin::join_and_clone(*nsjoin::Plan::from(draft));
            CHILD_CHECK(!side);
            CHILD_CHECK(side.error().reason == Reason::helper_failed);
            CHILD_CHECK(side.error().subject.view() == "no, says the helper");
        }
        return 0;
    });
    CHECK(code == 0);
    ::unlink(path.c_str());
    ::rmdir(directory.c_str());
}

TEST_CASE("a child that is killed before it hears of the caller has died, and refused nothing") {
    const support::TemporaryDirectory temporary;
    REQUIRE(::chmod(temporary.path().c_str(), 0755) == 0);
    const std::string helper = temporary.path() + "/newuidmap";
    REQUIRE(support::write_script(helper, "#!/bin/sh\nkill -KILL $1\n"));
    CHECK(support::as_user(1000, [&helper] {
              nsjoin::Draft draft;
              draft.created = nsjoin::Kind::user;
              draft.maps.emplace(NewUser{{{0, 0, 5}}, nsjoin::IdMap::none()});
              draft.keep_ids = true;
              draft.newuidmap = helper;
              const auto plan = nsjoin::Plan::from(draft);
              CHILD_CHECK(plan);
              const support::CallerState state;
              CHILD_CHECK(support::failed_with(support::run(*plan, [] { return 0; }), Step::report,
                                               Reason::process_died, SIGKILL));
              CHILD_CHECK(state.holds());
              return 0;
          }) == 0);
}

TEST_CASE("setgroups: allowed by uid 1000 over its own gid is an error with a hint") {
    const int code = support::as_user(1000, [] {
        ::setenv("PATH", "/nonexistent", 1);
        NewUser user = support::own_root();
        user.setgroups = Setgroups::allow;
        const support::CallerState state;
        const auto ran = support::run(nsjoin::JoinPlan{}.create(user), [] { return 0; });
        CHILD_CHECK(support::failed_with(ran, Step::write_gid_map, Reason::no_helper));
        user.setgroups = Setgroups::automatic; // without a helper it has to be denied
        CHILD_CHECK(support::went_well(support::run(nsjoin::JoinPlan{}.create(user), [] {
            return support::slurp("/proc/self/setgroups") == "deny\n" ? 0 : 1;
        })));
        CHILD_CHECK(state.holds());
        return 0;
    });
    CHECK(code == 0);
}

namespace {

constexpr std::chrono::hours far{24 * 365};
constexpr double far_seconds = 24.0 * 3600 * 365;

auto is_far(double offset) -> bool {
    const double seen = uptime();
    if (std::abs(seen - offset - far_seconds) < 100) {
        return true;
    }
    std::fprintf(stderr, "uptime is %f\n", seen);
    return false;
}

} // namespace

TEST_CASE("time offsets: with a created, a joined and no user namespace, and beside a join") {
    const support::Container user{Kind::user};
    const support::Container net{Kind::net};
    const auto a = nsjoin::PidFd::open(user.pid());
    const auto b = nsjoin::PidFd::open(net.pid());
    const auto time =
        nsjoin::JoinPlan{}.create<Kind::time>().time_offsets({.monotonic = far, .boottime = far});
    const std::vector<nsjoin::Plan> plans{
        time,
        time.create(support::own_root()),
        time.join(*a, nsjoin::kinds<Kind::user>),
        time.join(*b, nsjoin::kinds<Kind::net>),
        time.create(support::own_root()).join(*b, nsjoin::kinds<Kind::net>),
        time.create<Kind::pid, Kind::mount>().join(*b, nsjoin::kinds<Kind::net>),
        time.create(support::own_root()).create<Kind::pid, Kind::mount>(),
    };
    for (std::size_t i = 0; i < plans.size(); ++i) {
        const double now = uptime();
        const auto before = support::spaces_of("self");
        const auto ran = support::run(plans[i], [&] {
            CHILD_CHECK(is_far(now));
            CHILD_CHECK(support::namespace_link("self", "time") ==
                        support::namespace_link("self", "time_for_children"));
            CHILD_CHECK(support::namespace_link("self", "time") != before.at(Kind::time));
            return 0;
        });
        INFO("plan " << i);
        CHECK(support::went_well(ran));
        CHECK(std::abs(uptime() - now) < 100);
    }
}

TEST_CASE("time offsets: as uid 1000, with a created and a joined user namespace") {
    const int code = support::as_user(1000, [] {
        const support::Container user{Kind::user};
        const auto target = nsjoin::PidFd::open(user.pid());
        const auto time = nsjoin::JoinPlan{}.create<Kind::time>().time_offsets(
            {.monotonic = far, .boottime = far});
        const double now = uptime();
        const auto check = [&] {
            return is_far(now) ? 0 : 1;
        };
        CHILD_CHECK(support::went_well(support::run(time.create(support::own_root()), check)));
        const auto joins = time.join(*target, nsjoin::kinds<Kind::user>);
        CHILD_CHECK(support::went_well(support::run(joins, check)));
        return 0;
    });
    CHECK(code == 0);
}

TEST_CASE("time offsets: negative, with parts of a second, and one that the kernel refuses") {
    const auto with = [](std::chrono::nanoseconds monotonic) {
        return nsjoin::JoinPlan{}.create<Kind::time>().time_offsets(
            {.monotonic = monotonic, .boottime = std::chrono::seconds{7}});
    };
    const auto offsets = [] {
        return support::slurp("/proc/self/timens_offsets");
    };
    const auto half = support::run(with(std::chrono::milliseconds{-1500}), [&] {
        const std::string text = offsets();
        const std::size_t boottime = text.find("boottime");
        CHILD_CHECK(text.find("-2 ") < boottime);
        CHILD_CHECK(text.find(" 500000000") < boottime);
        CHILD_CHECK(text.find(" 7 ", boottime) != std::string::npos);
        return 0;
    });
    CHECK(support::went_well(half));
    const support::CallerState state;
    const auto refused = support::run(with(-std::chrono::hours{24 * 365 * 100}), [] { return 0; });
    CHECK(support::failed_with(refused, Step::write_time_offsets, Reason::system, ERANGE));
    CHECK(state.holds());
}

TEST_CASE("create: what the plan says of root, name and session holds in created namespaces too") {
    const int code = support::as_user(1000, [] {
        const nsjoin::OwnedFd root{::open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC)};
        const nsjoin::OwnedFd bin{::open("/usr/bin", O_PATH | O_DIRECTORY | O_CLOEXEC)};
        const auto plan = nsjoin::JoinPlan{}
                              .create(support::own_root())
                              .create<Kind::mount, Kind::pid>()
                              .root(root)
                              .working_directory(bin)
                              .name("fifteen-letters")
                              .new_session();
        const auto ran = support::run(plan, [] {
            std::array<char, 100> name{};
            CHILD_CHECK(::getcwd(name.data(), name.size()) != nullptr);
            CHILD_CHECK(std::string_view{name.data()} == "/bin");
            std::array<char, 16> own{};
            ::prctl(PR_GET_NAME, own.data());
            CHILD_CHECK(std::string_view{own.data()} == "fifteen-letters");
            CHILD_CHECK(::getsid(0) == ::getpid());
            return 0;
        });
        CHILD_CHECK(support::went_well(ran));
        return 0;
    });
    CHECK(code == 0);
}
