// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <array>
#include <limits>
#include <memory>
#include <string>
#include <vector>

using nsjoin::Credentials;
using nsjoin::Draft;
using nsjoin::Groups;
using nsjoin::IdMap;
using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::NewUser;
using nsjoin::Plan;
using nsjoin::ProcessName;
using nsjoin::Reason;
using nsjoin::Setgroups;
using nsjoin::Step;

namespace {

using std::chrono::milliseconds;

static_assert(ProcessName{}.empty() && ProcessName{""}.empty() && ProcessName{""} == ProcessName{});
static_assert(!ProcessName{"a"}.empty() && ProcessName{"a"} == ProcessName{"a"});
static_assert(!(ProcessName{"a"} == ProcessName{"ab"}));
static_assert(ProcessName{"fifteen letters"}.c_str()[15] == '\0');
static_assert(*ProcessName::from("fifteen letters") == ProcessName{"fifteen letters"});
static_assert(*ProcessName::from("") == ProcessName{});

struct Case {
    std::string what;
    Draft draft;
    Reason reason;
    const char* subject;
};

void check_refused(const Case& one) {
    CAPTURE(one.what);
    const nsjoin::Result<Plan> plan = Plan::from(one.draft);
    REQUIRE_FALSE(plan.has_value());
    CHECK(plan.error() ==
          nsjoin::Error{Step::check_plan, one.reason, 0, nsjoin::Subject{one.subject}});
}

auto mapped(IdMap uids, IdMap gids, Setgroups setgroups = Setgroups::automatic) -> Draft {
    Draft draft;
    draft.created = Kind::user;
    draft.maps = NewUser{uids, gids, setgroups};
    return draft;
}

auto with_ids(Draft draft, Credentials ids) -> Draft {
    draft.credentials = std::move(ids);
    return draft;
}

/// A draft that one thing is said in.
template <typename Change>
auto draft_with(Change change) -> Draft {
    Draft draft;
    change(draft);
    return draft;
}

/// What a check of ids answers; the code of these is the kernel's.
void check_unmapped(Credentials ids, std::string_view subject) {
    CAPTURE(subject);
    const auto plan =
        Plan::from(with_ids(mapped({{0, 1000, 1}, {5, 5, 5}}, {{0, 1000, 1}, {20, 20, 5}}), ids));
    REQUIRE_FALSE(plan.has_value());
    CHECK(plan.error().step == Step::check_plan);
    CHECK(plan.error().reason == Reason::id_not_mapped);
    CHECK(plan.error().subject.view() == subject);
}

struct Handles {
    nsjoin::PidFd self = std::move(*nsjoin::PidFd::open(::getpid()));
    nsjoin::NamespaceFd<Kind::net> net =
        std::move(*nsjoin::NamespaceFd<Kind::net>::open("/proc/self/ns/net"));
    nsjoin::NamespaceFd<Kind::uts> uts =
        std::move(*nsjoin::NamespaceFd<Kind::uts>::open("/proc/self/ns/uts"));
    nsjoin::OwnedFd root{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
};

/// Everything that a builder says, said in a draft.
auto full_draft(const Handles& handles) -> Draft {
    Draft draft;
    draft.join(handles.net).join(handles.self, Kind::ipc | Kind::cgroup);
    draft.created = Kind::user | Kind::mount | Kind::time;
    draft.maps = NewUser{{{0, 0, 10}}, {{0, 0, 10}}, Setgroups::allow};
    draft.time_offsets = nsjoin::TimeOffsets{std::chrono::seconds{3}, std::chrono::seconds{4}};
    draft.credentials = Credentials{.uid = 1, .gid = 2, .groups = {3, 4}};
    draft.keep_capabilities = true;
    draft.new_session = true;
    draft.console = handles.root.borrow();
    draft.root = handles.root.borrow();
    draft.working_directory = handles.root.borrow();
    draft.cgroup = handles.root.borrow();
    draft.oom_score_adj = 7;
    draft.name = ProcessName{"name"};
    draft.death_signal = SIGTERM;
    draft.child_of = nsjoin::ChildOf::callers_parent;
    draft.deadline = milliseconds{5000};
    return draft;
}

auto full_builder(const Handles& handles) {
    return JoinPlan{}
        .join(handles.net)
        .join(handles.self, nsjoin::kinds<Kind::ipc, Kind::cgroup>)
        .create(NewUser{{{0, 0, 10}}, {{0, 0, 10}}, Setgroups::allow})
        .create<Kind::mount, Kind::time>()
        .time_offsets({std::chrono::seconds{3}, std::chrono::seconds{4}})
        .as({.uid = 1, .gid = 2, .groups = {3, 4}})
        .keep_capabilities()
        .console(handles.root.borrow())
        .root(handles.root.borrow())
        .working_directory(handles.root.borrow())
        .cgroup(handles.root.borrow())
        .oom_score_adj(7)
        .name("name")
        .death_signal(SIGTERM)
        .child_of(nsjoin::ChildOf::callers_parent)
        .deadline(milliseconds{5000});
}

auto full_builder_backwards(const Handles& handles) {
    return JoinPlan{}
        .deadline(milliseconds{5000})
        .child_of(nsjoin::ChildOf::callers_parent)
        .death_signal(SIGTERM)
        .name("name")
        .oom_score_adj(7)
        .cgroup(handles.root.borrow())
        .working_directory(handles.root.borrow())
        .root(handles.root.borrow())
        .console(handles.root.borrow())
        .keep_capabilities()
        .as({.uid = 1, .gid = 2, .groups = {3, 4}})
        .create<Kind::time, Kind::mount>()
        .time_offsets({std::chrono::seconds{3}, std::chrono::seconds{4}})
        .create<Kind::user>()
        .map_ids(NewUser{{{0, 0, 10}}, {{0, 0, 10}}, Setgroups::allow})
        .join(handles.self, nsjoin::kinds<Kind::cgroup, Kind::ipc>)
        .join(handles.net);
}

/// A sandbox of the caller's own, which needs no privilege.
auto sandbox() -> Plan {
    return JoinPlan{}
        .create(NewUser{.uids = {{0, ::geteuid(), 1}}, .gids = {{0, ::getegid(), 1}}})
        .create<Kind::uts, Kind::net>();
}

} // namespace

TEST_CASE("process names: 15 bytes and no NUL") {
    CHECK(std::string{ProcessName::from("fifteen letters")->c_str()} == "fifteen letters");
    const auto long_one = ProcessName::from("sixteen letters!");
    REQUIRE_FALSE(long_one.has_value());
    CHECK(support::fails_with(long_one, Step::check_plan, Reason::bad_value));
    CHECK(long_one.error().subject.view().ends_with("not 16 bytes"));
    const std::string nul("a\0b", 3);
    CHECK(support::fails_with(ProcessName::from(nul), Step::check_plan, Reason::bad_value));
    CHECK(support::fails_with(ProcessName::from(std::string(1, '\0')), Step::check_plan,
                              Reason::bad_value));
    CHECK_FALSE(ProcessName::from(std::string(1'000'000, 'x')).has_value());
}

TEST_CASE("a draft breaks a rule about kinds") {
    const Handles handles;
    const std::array cases{
        Case{"a kind twice, by descriptor and target",
             draft_with([&](Draft& d) { d.join(handles.net).join(handles.self, Kind::net); }),
             Reason::joined_twice, "net"},
        Case{"two kinds twice, named in the enum's order", draft_with([&](Draft& d) {
                 d.join(handles.uts).join(handles.net);
                 d.join(handles.self, Kind::uts | Kind::net | Kind::ipc);
             }),
             Reason::joined_twice, "net, uts"},
        Case{"three times is twice",
             draft_with([&](Draft& d) { d.join(handles.net).join(handles.net).join(handles.net); }),
             Reason::joined_twice, "net"},
        Case{"joined and created", draft_with([&](Draft& d) {
                 d.join(handles.net);
                 d.created = Kind::net | Kind::uts;
             }),
             Reason::joined_and_created, "net"},
        Case{"all of them", draft_with([&](Draft& d) {
                 d.join(handles.self, nsjoin::all_kinds);
                 d.created = nsjoin::all_kinds;
             }),
             Reason::joined_and_created, "user, mnt, pid, net, ipc, uts, cgroup, time"},
        Case{"maps for a joined user namespace", draft_with([&](Draft& d) {
                 d.join(handles.self, Kind::user);
                 d.maps = NewUser{{{0, 0, 1}}, {{0, 0, 1}}};
             }),
             Reason::maps_without_user, "user"},
        Case{"offsets without a new time namespace", draft_with([](Draft& d) {
                 d.created = Kind::user;
                 d.time_offsets = nsjoin::TimeOffsets{};
             }),
             Reason::offsets_without_time, "time"},
        Case{"the first rule that is broken", draft_with([&](Draft& d) {
                 d.join(handles.net).join(handles.net);
                 d.created = Kind::net;
                 d.oom_score_adj = 2000;
             }),
             Reason::joined_twice, "net"},
    };
    for (const Case& one : cases) {
        check_refused(one);
    }
}

TEST_CASE("a draft has a value that is out of its range") {
    constexpr std::uint32_t no_change = 0xFFFF'FFFF;
    const nsjoin::MountSource source{"/", 9};
    const std::array cases{
        Case{"oom", draft_with([](Draft& d) { d.oom_score_adj = 1001; }), Reason::bad_value,
             "oom_score_adj is -1000 to 1000, not 1001"},
        Case{"oom", draft_with([](Draft& d) { d.oom_score_adj = -1001; }), Reason::bad_value,
             "oom_score_adj is -1000 to 1000, not -1001"},
        Case{"oom", draft_with([](Draft& d) { d.oom_score_adj = std::numeric_limits<int>::min(); }),
             Reason::bad_value, "oom_score_adj is -1000 to 1000, not -2147483648"},
        Case{"signal", draft_with([](Draft& d) { d.death_signal = 65; }), Reason::bad_value,
             "a signal is 1 to 64, not 65"},
        Case{"signal", draft_with([](Draft& d) { d.death_signal = -1; }), Reason::bad_value,
             "a signal is 1 to 64, not -1"},
        Case{"deadline", draft_with([](Draft& d) { d.deadline = milliseconds{-1}; }),
             Reason::bad_value, "a deadline is 0 ns or more, not -1000000"},
        Case{"deadline", draft_with([](Draft& d) { d.deadline = milliseconds::min(); }),
             Reason::bad_value, "a deadline is 0 ns or more, not -9223372036854775808"},
        Case{"uid", with_ids({}, {.uid = no_change, .gid = {}, .groups = {}}), Reason::bad_value,
             "no user has uid 4294967295"},
        Case{"gid", with_ids({}, {.uid = {}, .gid = no_change, .groups = {}}), Reason::bad_value,
             "no group has gid 4294967295"},
        Case{"sources", draft_with([&](Draft& d) {
                 d.mount_sources.list = {&source, 1};
             }),
             Reason::bad_value, "mount sources without a new mount namespace"},
    };
    for (const Case& one : cases) {
        check_refused(one);
    }
}

TEST_CASE("mount sources of the wrong shape") {
    const auto with = [](const std::vector<nsjoin::MountSource>& list) {
        return draft_with([&list](Draft& d) {
            d.created = Kind::mount;
            d.mount_sources.list = list;
        });
    };
    const std::vector<nsjoin::MountSource> relative{{"/etc", 9}, {"etc", 10}};
    const std::vector<nsjoin::MountSource> empty{{"", 9}};
    const std::vector<nsjoin::MountSource> unnumbered{{"/etc", -1}};
    const std::vector<nsjoin::MountSource> repeated{{"/etc", 9}, {"/usr", 10}, {"/var", 9}};
    const std::vector<nsjoin::MountSource> cut{{{"/etc\0/usr", 9}, 9}};
    check_refused({"relative", with(relative), Reason::bad_value,
                   "a mount source is an absolute path, not etc"});
    check_refused(
        {"empty", with(empty), Reason::bad_value, "a mount source is an absolute path, not "});
    check_refused({"unnumbered", with(unnumbered), Reason::bad_value,
                   "no descriptor's number is given for the mount source /etc"});
    check_refused({"repeated", with(repeated), Reason::bad_value,
                   "another one has the descriptor's number of the mount source /var"});
    check_refused(
        {"cut", with(cut), Reason::bad_value, "a path has no NUL: the mount source /etc"});
}

TEST_CASE("values at the ends of their ranges are taken") {
    const nsjoin::MountSource source{"/", 9};
    for (const Draft& draft : {
             draft_with([](Draft& d) { d.oom_score_adj = 1000; }),
             draft_with([](Draft& d) { d.oom_score_adj = -1000; }),
             draft_with([](Draft& d) { d.death_signal = 64; }),
             draft_with([](Draft& d) { d.death_signal = 0; }),
             draft_with([](Draft& d) { d.deadline = milliseconds::max(); }),
             with_ids({}, {.uid = 0xFFFF'FFFE, .gid = 0xFFFF'FFFE, .groups = {}}),
             draft_with([&](Draft& d) {
                 d.created = Kind::mount;
                 d.mount_sources.list = {&source, 1};
             }),
             Draft{},
         }) {
        CHECK(Plan::from(draft).has_value());
    }
}

TEST_CASE("ids that the plan's own maps do not have") {
    check_unmapped({.uid = 1, .gid = 0, .groups = {}}, "uid 1");
    check_unmapped({.uid = 4, .gid = {}, .groups = Groups::keep()}, "uid 4");
    check_unmapped({.uid = 10, .gid = 0, .groups = {}}, "uid 10");
    // Ids outside are not meant.
    check_unmapped({.uid = 1000, .gid = 0, .groups = {}}, "uid 1000");
    check_unmapped({.uid = 9, .gid = 9, .groups = {}}, "gid 9");
    check_unmapped({.uid = {}, .gid = 25, .groups = {}}, "gid 25");
    check_unmapped({.uid = 0, .gid = 0, .groups = {20, 24, 25}}, "supplementary gid 25");
    check_unmapped({.uid = 0, .gid = 0, .groups = {1000}}, "supplementary gid 1000");
    const Draft draft = mapped({{0, 1000, 1}, {5, 5, 5}}, {{0, 1000, 1}, {20, 20, 5}});
    CHECK(Plan::from(with_ids(draft, {.uid = 9, .gid = 24, .groups = {0, 20, 24}})).has_value());
    CHECK(Plan::from(with_ids(draft, {})).has_value());
    // No maps of its own: whoever writes them decides.
    CHECK(Plan::from(with_ids(draft_with([](Draft& d) { d.created = Kind::user; }), {.uid = 77}))
              .has_value());
}

TEST_CASE("groups in a user namespace where the plan denies setgroups") {
    const Draft denied = mapped({{0, 0, 10}}, {{0, 0, 10}}, Setgroups::deny);
    CHECK(Plan::from(with_ids(denied, {.uid = 0, .gid = 0})).has_value());
    CHECK(Plan::from(with_ids(denied, {.uid = 0, .gid = 0, .groups = Groups::keep()})).has_value());
    check_refused({"named", with_ids(denied, {.uid = 0, .gid = 0, .groups = {1}}),
                   Reason::groups_denied, ""});
    const Draft allowed = mapped({{0, 0, 10}}, {{0, 0, 10}}, Setgroups::allow);
    CHECK(Plan::from(with_ids(allowed, {.uid = 0, .gid = 0, .groups = {1}})).has_value());
}

// To set exactly none is a setgroups(2) too: it fails in the child, which is known before.
TEST_CASE("exactly no group, where the plan denies setgroups") {
    const Groups exactly_none{std::span<const gid_t>{}};
    check_refused({"none",
                   with_ids(mapped({{0, 0, 10}}, {{0, 0, 10}}, Setgroups::deny),
                            {.uid = 0, .gid = 0, .groups = exactly_none}),
                   Reason::groups_denied, ""});
}

TEST_CASE("more groups than a process can have are refused before the first system call") {
    CHECK(Plan::from(
              with_ids({}, {.uid = {}, .gid = {}, .groups = Groups{std::vector<gid_t>(65'536, 5)}}))
              .has_value());
    const auto plan = Plan::from(
        with_ids({}, {.uid = {}, .gid = {}, .groups = Groups{std::vector<gid_t>(65'537, 5)}}));
    CHECK(support::fails_with(plan, Step::check_plan, Reason::bad_value));
}

TEST_CASE("a builder and a draft of the same content give equal plans") {
    const Handles handles;
    const auto from_draft = Plan::from(full_draft(handles));
    REQUIRE(from_draft);
    CHECK(full_builder(handles).build() == *from_draft);
    CHECK(full_builder(handles).draft() == full_draft(handles));
    CHECK(Plan::from(full_builder(handles).draft()) == from_draft);
    const Plan nothing = JoinPlan{};
    CHECK(nothing == *Plan::from({}));
    CHECK_FALSE(nothing == *from_draft);
}

TEST_CASE("the calls of a builder commute") {
    const Handles handles;
    CHECK(full_builder(handles).build() == full_builder_backwards(handles).build());
    CHECK(JoinPlan{}.create<Kind::user, Kind::pid>().build() ==
          JoinPlan{}.create<Kind::pid>().create<Kind::user>().build());
    CHECK(JoinPlan{}.join(handles.net).join(handles.uts).build() ==
          JoinPlan{}.join(handles.uts).join(handles.net).build());
    // A console makes a session, whether that is said too or not, and before or after.
    const auto root = handles.root.borrow();
    CHECK(JoinPlan{}.console(root).build() == JoinPlan{}.new_session().console(root).build());
    CHECK(JoinPlan{}.console(root).build() == JoinPlan{}.console(root).new_session().build());
}

TEST_CASE("plans that differ in one thing differ") {
    const Handles handles;
    const Handles others;
    const Draft same = full_draft(handles);
    std::vector<Draft> different(20, same);
    std::size_t at = 0;
    const auto next = [&]() -> Draft& {
        return different[at++];
    };
    next().created = Kind::user | Kind::mount | Kind::time | Kind::pid;
    next().maps = NewUser{{{0, 0, 11}}, {{0, 0, 10}}, Setgroups::allow};
    next().maps->setgroups = Setgroups::automatic;
    next().time_offsets->boottime = nsjoin::Duration::seconds(9);
    next().time_offsets.reset();
    next().credentials->uid = 2;
    next().credentials->groups = {4, 3};
    next().credentials.reset();
    next().keep_capabilities = false;
    next().new_session = false;
    next().console = nsjoin::BorrowedFd{};
    next().root = others.root.borrow();
    next().working_directory = others.root.borrow();
    next().cgroup = others.root.borrow();
    next().oom_score_adj = 8;
    next().name = ProcessName{"names"};
    next().death_signal = SIGKILL;
    next().child_of = nsjoin::ChildOf::caller;
    next().deadline = milliseconds{5001};
    next().joins[static_cast<std::size_t>(Kind::net)].fd = others.net.fd();
    REQUIRE(at == different.size());
    for (std::size_t i = 0; i < different.size(); ++i) {
        CAPTURE(i);
        CHECK_FALSE(*Plan::from(different[i]) == *Plan::from(same));
    }
}

TEST_CASE("what else a draft says is compared too") {
    const nsjoin::MountSource one{"/a", 9};
    const nsjoin::MountSource again{"/a", 9};
    const nsjoin::MountSource other{"/a", 10};
    const auto with_source = [](const nsjoin::MountSource& source) {
        return draft_with([&source](Draft& d) { d.mount_sources.list = {&source, 1}; });
    };
    CHECK(with_source(one) == with_source(again));
    CHECK_FALSE(with_source(one) == with_source(other));
    CHECK_FALSE(with_source(one) == Draft{});
    CHECK_FALSE(draft_with([](Draft& d) { d.keep_ids = true; }) == Draft{});
    CHECK_FALSE(draft_with([](Draft& d) { d.newuidmap = ""; }) == Draft{});
    CHECK_FALSE(draft_with([](Draft& d) { d.newgidmap = ""; }) == Draft{});
}

TEST_CASE("a draft tells what it joins and from where") {
    const Handles handles;
    Draft draft;
    CHECK(draft.joined().empty());
    draft.join(handles.net).join(handles.self, Kind::uts | Kind::time);
    CHECK(draft.joined() == (Kind::net | Kind::uts | Kind::time));
    CHECK(draft.source(Kind::net).from == nsjoin::JoinSource::From::namespace_fd);
    CHECK(draft.source(Kind::net).fd == handles.net.fd());
    CHECK(draft.source(Kind::uts).from == nsjoin::JoinSource::From::target);
    CHECK(draft.source(Kind::uts).fd == handles.self.fd());
    CHECK(draft.source(Kind::uts).target_pid == ::getpid());
    CHECK(draft.source(Kind::user).from == nsjoin::JoinSource::From::nowhere);
    draft.join(handles.self, KindSet{});
    CHECK(draft.joined().size() == 3);
    CHECK(draft.joined_twice.empty());
}

TEST_CASE("a builder stays as it was when another is made of it") {
    const auto base = JoinPlan{}.create<Kind::uts>();
    const Plan before = base;
    const Plan more = base.create<Kind::net>().name("other").as({.uid = 0});
    CHECK(base.build() == before);
    CHECK_FALSE(more == before);
    CHECK(base.create<Kind::net>().name("other").as({.uid = 0}).build() == more);
}

TEST_CASE("a plan is a value: its copies live when it is gone") {
    auto first = std::make_unique<Plan>(sandbox());
    Plan copy = *first;
    Plan assigned = JoinPlan{};
    assigned = *first;
    CHECK(copy == *first);
    first.reset();
    CHECK(copy == assigned);
    CHECK(copy == sandbox());
    const Plan moved = std::move(copy);
    CHECK(moved == assigned);
    CHECK(moved.parts().created == (Kind::user | Kind::uts | Kind::net));
}

TEST_CASE("one plan is run twice, and each run makes namespaces of its own") {
    const support::NothingLeft nothing_left;
    const Plan plan = sandbox();
    const Plan before = plan;
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    std::vector<std::string> links;
    for (int i = 0; i < 2; ++i) {
        auto side = nsjoin::join_and_clone(plan);
        REQUIRE(side.has_value());
        if (side->is_child()) {
            const std::string link = support::namespace_link("self", "uts");
            const auto length = static_cast<ssize_t>(link.size());
            ::_exit(::write(ends[1], link.data(), link.size()) == length ? 7 : 1);
        }
        std::string link(64, '\0');
        const ssize_t length = ::read(ends[0], link.data(), link.size());
        REQUIRE(length > 0);
        link.resize(static_cast<std::size_t>(length));
        links.push_back(link);
        const auto status = side->child().wait();
        REQUIRE(status.has_value());
        CHECK(status->exit_code() == 7);
    }
    CHECK(links[0].starts_with("uts:["));
    CHECK(links[0] != support::namespace_link("self", "uts"));
    CHECK(links[1] != support::namespace_link("self", "uts"));
    CHECK(plan == before);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("the values of a builder's plan are checked when it is run, before anything is done") {
    const support::NothingLeft nothing_left;
    const std::array<Plan, 4> bad{JoinPlan{}.oom_score_adj(1001), JoinPlan{}.death_signal(65),
                                  JoinPlan{}.deadline(milliseconds{-1}),
                                  JoinPlan{}
                                      .create(NewUser{.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}})
                                      .as({.uid = 1, .gid = 0})};
    for (const Plan& plan : bad) {
        const auto side = nsjoin::join_and_clone(plan);
        REQUIRE_FALSE(side.has_value());
        const auto said = Plan::from(plan.parts());
        REQUIRE_FALSE(said.has_value());
        CHECK(side.error() == said.error());
        CHECK(side.error().step == Step::check_plan);
    }
}
