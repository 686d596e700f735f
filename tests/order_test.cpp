// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/order.hpp>

#include "support.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

using nsjoin::Constraint;
using nsjoin::Kind;
using nsjoin::Step;
using nsjoin::UserRights;
using nsjoin::When;

namespace {

constexpr std::array both{UserRights::granted, UserRights::taken};

constexpr auto index(Step step) -> std::size_t {
    return static_cast<std::size_t>(step);
}

constexpr auto granted_order = nsjoin::order(UserRights::granted);
constexpr auto taken_order = nsjoin::order(UserRights::taken);

constexpr auto place(UserRights rights, Step step) -> std::size_t {
    const auto& order = rights == UserRights::granted ? granted_order : taken_order;
    std::size_t at = 0;
    while (order[at] != step) {
        ++at;
    }
    return at;
}

constexpr auto in_order(UserRights rights, std::initializer_list<Step> steps) -> bool {
    for (const Step* step = steps.begin(); step + 1 < steps.end(); ++step) {
        if (place(rights, step[0]) >= place(rights, step[1])) {
            return false;
        }
    }
    return true;
}

constexpr auto in_order(std::initializer_list<Step> steps) -> bool {
    return in_order(UserRights::granted, steps) && in_order(UserRights::taken, steps);
}

constexpr auto each_step_once(UserRights rights) -> bool {
    std::array<int, nsjoin::plan_step_count> times{};
    for (const Step step : nsjoin::order(rights)) {
        ++times[index(step)];
    }
    return std::all_of(times.begin(), times.end(), [](int count) { return count == 1; });
}

constexpr auto each_kind_once(UserRights rights) -> bool {
    nsjoin::KindSet seen;
    for (const Kind kind : nsjoin::join_order(rights)) {
        seen = seen | kind;
    }
    return seen == nsjoin::KindSet{nsjoin::all_kinds};
}

static_assert(each_step_once(UserRights::granted) && each_step_once(UserRights::taken));
static_assert(each_kind_once(UserRights::granted) && each_kind_once(UserRights::taken));

// The user namespace is first where it gives the rights, last where it takes them away.
static_assert(nsjoin::join_order(UserRights::granted)[0] == Kind::user);
static_assert(nsjoin::join_order(UserRights::granted)[7] == Kind::mount);
static_assert(nsjoin::join_order(UserRights::taken)[6] == Kind::mount);
static_assert(nsjoin::join_order(UserRights::taken)[7] == Kind::user);

// runc's and crun's: oom_score_adj before the dumpable flag, and both before anything is joined.
static_assert(in_order({Step::set_oom_score_adj, Step::clear_dumpable, Step::join_user}));
static_assert(in_order({Step::clear_dumpable, Step::join_pid, Step::join_mount}));
static_assert(in_order({Step::open_time_offsets, Step::clear_dumpable}));
// Opened and verified before the joins: CVE-2015-3627, -2025-52565.
static_assert(in_order({Step::check_plan, Step::open_proc, Step::open_target, Step::make_joiner}));
static_assert(in_order({Step::check_console, Step::make_joiner, Step::join_mount}));
static_assert(in_order({Step::open_cgroup, Step::enter_cgroup, Step::join_cgroup}));
static_assert(in_order({Step::enter_cgroup, Step::make_child, Step::create_cgroup}));
// user_namespaces(7): the gid map after setgroups, ids after the maps, all else after the ids.
static_assert(in_order({Step::join_user, Step::make_child, Step::create_user, Step::write_uid_map,
                        Step::write_setgroups, Step::write_gid_map, Step::await_maps,
                        Step::become_root, Step::create_net}));
static_assert(in_order({Step::become_root, Step::create_mount, Step::take_mount_sources}));
static_assert(in_order({Step::become_root, Step::create_ipc}));
static_assert(in_order({Step::become_root, Step::create_uts}));
static_assert(in_order({Step::become_root, Step::create_cgroup}));
static_assert(in_order({Step::create_user, Step::create_pid}));
// time_namespaces(7).
static_assert(in_order({Step::become_root, Step::create_time, Step::write_time_offsets,
                        Step::enter_time}));
static_assert(in_order({Step::join_pid, Step::make_child}));
static_assert(in_order({Step::join_time, Step::make_child}));
static_assert(in_order({Step::join_mount, Step::make_child}));
// What the child does at last, and the rights go last of all.
static_assert(in_order({Step::new_session, Step::set_console, Step::set_groups}));
static_assert(in_order({Step::set_root, Step::set_working_directory, Step::set_groups}));
static_assert(in_order({Step::set_groups, Step::set_gid, Step::set_uid, Step::verify_ids,
                        Step::report}));
static_assert(in_order({Step::set_uid, Step::set_death_signal, Step::report}));
static_assert(in_order({Step::clear_inheritable, Step::set_uid}));
static_assert(nsjoin::order(UserRights::granted).front() == Step::check_plan);
static_assert(nsjoin::order(UserRights::taken).front() == Step::check_plan);
static_assert(nsjoin::order(UserRights::granted).back() == Step::execute);
static_assert(nsjoin::order(UserRights::taken).back() == Step::execute);

/// What a table of two or three constraints is sorted to, under circumstances in which each holds.
template <std::size_t N, const auto& Table>
constexpr auto sorted = nsjoin::detail::sort_steps(nsjoin::detail::waits_of<N, Table>(),
                                                   When::child_first);

// A cycle is seen, and so is a step that waits for itself; no constraint is the enum's order.
constexpr std::array cycle{Constraint{Step::open_proc, Step::open_target},
                           Constraint{Step::open_target, Step::check_console},
                           Constraint{Step::check_console, Step::open_proc}};
constexpr std::array no_cycle{cycle[0], cycle[1]};
constexpr std::array sometimes{
    cycle[0], cycle[1],
    Constraint{Step::check_console, Step::open_proc, "", {}, When::child_first}};
constexpr std::array never{
    cycle[0], cycle[1],
    Constraint{Step::check_console, Step::open_proc, "", {}, When::joiner_first},
    Constraint{Step::check_console, Step::open_proc, "", {}, When::child_first | When::own_memory}};
constexpr std::array itself{Constraint{Step::open_proc, Step::open_proc}};
constexpr std::array backwards{Constraint{Step::open_target, Step::check_plan}};
constexpr std::array<Constraint, 0> none{};
static_assert(sorted<4, cycle>.contradiction);
static_assert(!sorted<4, no_cycle>.contradiction);
static_assert(sorted<4, sometimes>.contradiction);
static_assert(!sorted<4, never>.contradiction);
static_assert(sorted<4, itself>.contradiction);
static_assert(sorted<3, none>.steps ==
              std::array{Step::check_plan, Step::open_proc, Step::open_target});
static_assert(sorted<3, backwards>.steps ==
              std::array{Step::open_proc, Step::open_target, Step::check_plan});
static_assert(sorted<64, none>.steps[63] == static_cast<Step>(63));

/// All circumstances that a plan can have: of each pair one. Who creates a time namespace before
/// the child is made is no child, and opens the file of its offsets by itself.
auto all_circumstances() -> std::vector<When> {
    std::vector<When> list;
    for (unsigned bits = 0; bits < 512; ++bits) {
        When when = When::always;
        for (unsigned pair = 0; pair < 9; ++pair) {
            when = when | static_cast<When>(1U << (2 * pair + (bits >> pair & 1U)));
        }
        const bool impossible =
            holds(When::time_by_first, when) &&
            (holds(When::child_first, when) || holds(When::offsets_by_caller, when));
        if (!impossible) {
            list.push_back(when);
        }
    }
    return list;
}

/// Which steps the constraints put before which, through other steps too: what the enum's order
/// has no part in.
class Implied {
  public:
    explicit constexpr Implied(When circumstances) {
        const auto sorted = nsjoin::detail::sort_steps(nsjoin::detail::plan_waits, circumstances);
        for (const Step step : sorted.steps) {
            for (const Constraint& c : nsjoin::constraints) {
                if (c.after == step && holds(c.when, circumstances)) {
                    before_[index(step)] |= before_[index(c.before)] | bit(c.before);
                }
            }
        }
    }

    [[nodiscard]] constexpr auto holds_for(Step before, Step after) const -> bool {
        return (before_[index(after)] & bit(before)) != 0;
    }

  private:
    static constexpr auto bit(Step step) -> nsjoin::detail::StepBits {
        return nsjoin::detail::StepBits{1} << index(step);
    }

    std::array<nsjoin::detail::StepBits, nsjoin::plan_step_count> before_{};
};

constexpr Implied granted{nsjoin::circumstances(UserRights::granted)};
constexpr Implied taken{nsjoin::circumstances(UserRights::taken)};

/// An order that the table must say, as it is not to depend on where a step stands in the enum.
void must_follow(Step before, Step after) {
    const std::string pair =
        std::string{facts(before).name} + ", then " + std::string{facts(after).name};
    CAPTURE(pair);
    CHECK(granted.holds_for(before, after));
    CHECK(taken.holds_for(before, after));
}

} // namespace

TEST_CASE("under all circumstances there is an order, and it keeps every constraint that holds") {
    const std::vector<When> all = all_circumstances();
    CHECK(all.size() == 320);
    for (const When when : all) {
        const auto sorted = nsjoin::detail::sort_steps(nsjoin::detail::plan_waits, when);
        CAPTURE(static_cast<unsigned>(when));
        REQUIRE_FALSE(sorted.contradiction);
        std::array<std::size_t, nsjoin::plan_step_count> at{};
        for (std::size_t i = 0; i < sorted.steps.size(); ++i) {
            at[index(sorted.steps[i])] = i;
        }
        for (const Constraint& c : nsjoin::constraints) {
            CAPTURE(facts(c.before).name);
            CAPTURE(facts(c.after).name);
            CHECK((!holds(c.when, when) || at[index(c.before)] < at[index(c.after)]));
        }
    }
}

TEST_CASE("every constraint says why, stands once, and is about steps of a plan") {
    for (std::size_t i = 0; i < nsjoin::constraints.size(); ++i) {
        const Constraint& c = nsjoin::constraints[i];
        CAPTURE(facts(c.before).name);
        CAPTURE(facts(c.after).name);
        CHECK(c.before <= Step::execute);
        CHECK(c.after <= Step::execute);
        const std::string why = c.why;
        REQUIRE_FALSE(why.empty());
        CHECK(why.back() != '.');
        CHECK_FALSE(c.since < nsjoin::KernelVersion{3, 8});
        for (std::size_t j = 0; j < i; ++j) {
            const Constraint& other = nsjoin::constraints[j];
            const bool same = other.before == c.before && other.after == c.after;
            CHECK_FALSE((same && (holds(c.when, other.when) || holds(other.when, c.when))));
        }
    }
}

TEST_CASE("the rights put the user namespace before, or after, each of the other seven kinds") {
    for (const UserRights rights : both) {
        const When when = rights == UserRights::granted ? When::rights_granted : When::rights_taken;
        nsjoin::KindSet seen;
        for (const Constraint& c : nsjoin::constraints) {
            if (c.when != when) {
                continue;
            }
            const Step user = rights == UserRights::granted ? c.before : c.after;
            const Step other = rights == UserRights::granted ? c.after : c.before;
            CHECK(user == Step::join_user);
            for (const nsjoin::KindFacts& row : nsjoin::kind_table) {
                seen = join_step(row.kind) == other ? seen | row.kind : seen;
            }
        }
        CHECK(seen == nsjoin::KindSet{nsjoin::all_kinds} - Kind::user);
    }
}

TEST_CASE("the table says by itself: nothing is done before the plan is checked") {
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        if (row.step != Step::check_plan && row.step <= Step::execute) {
            must_follow(Step::check_plan, row.step);
        }
    }
}

TEST_CASE("the table says by itself: the joiner does what changes a process, not the caller") {
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        // On the caller's memory, the dumpable flag is the caller's to clear.
        if (row.actor != nsjoin::Actor::caller && row.step <= Step::execute &&
            row.step != Step::clear_dumpable) {
            must_follow(Step::make_joiner, row.step);
        }
        if (row.actor == nsjoin::Actor::child && row.step <= Step::execute) {
            must_follow(Step::make_child, row.step);
        }
    }
}

TEST_CASE("the table says by itself: what the child does is done before it is reported") {
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        if (row.step < Step::report) {
            must_follow(row.step, Step::report);
        }
    }
}

TEST_CASE(
    "the table says by itself: namespaces are joined and created with the rights still there") {
    for (const Kind kind : nsjoin::all_kinds.set) {
        must_follow(join_step(kind), Step::make_child);
        must_follow(create_step(kind), Step::set_groups);
        must_follow(create_step(kind), Step::set_uid);
    }
}

TEST_CASE("the table says by itself: a child furnishes with the rights still there") {
    for (const Step step : {Step::set_host_name, Step::set_domain_name, Step::bring_up_loopback,
                            Step::mount_proc, Step::detach_old_root, Step::limit_capabilities}) {
        must_follow(step, Step::set_groups);
    }
}

TEST_CASE("the table says by itself: what CVEs taught") {
    for (const Kind kind : nsjoin::all_kinds.set) {
        must_follow(Step::clear_dumpable, join_step(kind)); // CVE-2016-9962
        must_follow(Step::open_target, join_step(kind));
    }
    must_follow(Step::set_oom_score_adj, Step::clear_dumpable);
    must_follow(Step::write_setgroups, Step::write_gid_map);  // CVE-2014-8989
    must_follow(Step::await_maps, Step::become_root);         // CVE-2015-8709
    must_follow(Step::new_session, Step::set_console);        // CVE-2017-5226
    must_follow(Step::set_root, Step::set_working_directory); // CVE-2024-21626
    must_follow(Step::clear_inheritable, Step::set_uid);      // CVE-2022-29162
    must_follow(Step::check_console, Step::join_mount);       // CVE-2025-52565
    must_follow(Step::set_groups, Step::set_gid);
    must_follow(Step::set_gid, Step::set_uid);
    must_follow(Step::set_uid, Step::verify_ids);
    must_follow(Step::set_uid, Step::set_death_signal);
    must_follow(Step::detach_old_root, Step::set_working_directory); // CVE-2024-21626
    must_follow(Step::limit_capabilities, Step::set_uid);            // CVE-2022-29162
    must_follow(Step::set_uid, Step::set_capabilities);
    must_follow(Step::set_capabilities, Step::set_death_signal);
    must_follow(Step::set_priority, Step::join_user);
}
