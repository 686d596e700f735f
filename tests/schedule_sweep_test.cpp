// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/detail/engine/schedule.hpp>
#include <nsjoin/plan/possible.hpp>

#include "support.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

// Every schedule keeps what the table of constraints says, and what makes it one: for each kind
// joined, created or neither, with all that changes the order.

namespace {

using nsjoin::Constraint;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Step;
using nsjoin::When;
using nsjoin::detail::Call;
using nsjoin::detail::Facts;
using nsjoin::detail::JoinBy;
using nsjoin::detail::Memory;
using nsjoin::detail::Outline;
using nsjoin::detail::Process;
using nsjoin::detail::ProcessFacts;
using nsjoin::detail::Schedule;
using nsjoin::detail::Task;

/// What is asked of every schedule.
enum class Law : std::uint8_t {
    constraints,
    rights,
    once,
    kinds,
    said,
    processes,
    by_clone,
    waits,
    dumpable,
    own_memory,
    unexposed,
    compiled,
    refusal,
};

constexpr std::array<const char*, 13> law_texts{
    "a constraint of the table holds and is kept",
    "a kind is joined before the user namespace or after it, as the rights say",
    "each task is there once",
    "what differs is joined, what is to be created is created, and nothing else",
    "what the plan says is done",
    "who has a task is there, and is made by its maker before",
    "no cgroup and no time namespace is created by a clone",
    "the child waits where the caller writes into its directory of /proc",
    "who is exposed on the caller's memory is made when the dumpable flag is cleared",
    "what needs memory of its own is not done on the caller's",
    "nobody runs on the caller's memory, or with its descriptors, whom the target's processes "
    "reach",
    "what is compiled for plans of its type does each task",
    "it is refused where it can't be, and only there",
};

constexpr std::size_t absent = 0xFF;

auto index(Step step) -> std::size_t {
    return static_cast<std::size_t>(step);
}

/// Where the steps of a schedule stand: in the first task that does one, and in the last.
class Places {
  public:
    explicit Places(const Schedule& schedule) {
        first_.fill(absent);
        last_.fill(absent);
        std::size_t clone = 0;
        for (std::size_t i = 0; i < schedule.count; ++i) {
            const Task& task = schedule.list[i];
            // What a clone does besides is done at the place of that clone.
            const std::size_t place = task.call == Call::with_clone ? clone : i;
            clone = place;
            const bool end = task.call == Call::tell || task.call == Call::hear;
            for (const Kind kind : task.kinds) {
                put(is_join(task.step) ? join_step(kind) : create_step(kind), place, end);
            }
            if (task.kinds.empty()) {
                put(task.step, place, end);
            }
        }
    }

    [[nodiscard]] auto has(Step step) const -> bool { return first_[index(step)] != absent; }

    [[nodiscard]] auto of(Step step) const -> std::size_t { return first_[index(step)]; }

    [[nodiscard]] auto end_of(Step step) const -> std::size_t { return last_[index(step)]; }

    [[nodiscard]] auto times(Step step) const -> unsigned { return times_[index(step)]; }

    /// Whether the one comes before the other, or with it. Of two kinds, one that is tried twice
    /// may be tried out of the order once.
    [[nodiscard]] auto in_order(Step before, Step after) const -> bool {
        if (!has(before) || !has(after)) {
            return true;
        }
        return is_join(before) && is_join(after) ? of(before) <= end_of(after)
                                                 : end_of(before) <= of(after);
    }

  private:
    void put(Step step, std::size_t place, bool end) {
        first_[index(step)] = has(step) ? first_[index(step)] : place;
        last_[index(step)] = place;
        times_[index(step)] += end ? 0U : 1U;
    }

    std::array<std::size_t, nsjoin::plan_step_count> first_{};
    std::array<std::size_t, nsjoin::plan_step_count> last_{};
    std::array<unsigned, nsjoin::plan_step_count> times_{};
};

struct Pair {
    Step before;
    Step after;
};

/// The constraints that hold under the circumstances, but for those that the rights decide, which
/// differ from kind to kind.
auto holding(When circumstances) -> const std::vector<Pair>& {
    static std::map<When, std::vector<Pair>> all;
    const auto [found, is_new] = all.try_emplace(circumstances);
    if (is_new) {
        for (const Constraint& c : nsjoin::constraints) {
            const bool rights =
                holds(When::rights_taken, c.when) || holds(When::rights_granted, c.when);
            if (!rights && holds(c.when, circumstances)) {
                found->second.push_back({c.before, c.after});
            }
        }
    }
    return found->second;
}

/// The first constraint that is not kept, or null.
auto broken_constraint(const Schedule& schedule, const Places& places) -> const Pair* {
    static When last_circumstances = When::always;
    static const std::vector<Pair>* pairs = &holding(When::always);
    const When now = circumstances(schedule.roles);
    if (now != last_circumstances) {
        last_circumstances = now;
        pairs = &holding(now);
    }
    for (const Pair& pair : *pairs) {
        if (!places.in_order(pair.before, pair.after)) {
            return &pair;
        }
    }
    return nullptr;
}

/// Kinds that are joined by the very call that joins the user namespace have no order.
auto keeps_rights(const Outline& plan, const Facts& facts, const Places& places) -> bool {
    const KindSet joining = plan.joined - facts.same;
    if (!joining.contains(Kind::user)) {
        return true;
    }
    const std::size_t user = places.of(Step::join_user);
    for (const Kind kind : joining - Kind::user) {
        const std::size_t first = places.of(join_step(kind));
        const std::size_t last = places.end_of(join_step(kind));
        const bool together = first == user && last == user;
        const bool good = facts.untold.contains(kind)       ? first < user && user < last
                          : facts.after_user.contains(kind) ? user < first
                                                            : last < user;
        if (!together && !good) {
            return false;
        }
    }
    return true;
}

/// A kind that nobody could tell the owner of is tried twice where there is a user namespace.
auto is_there_once(const Schedule& schedule, const Places& places, const Facts& facts) -> bool {
    for (std::size_t i = 0; i < schedule.count; ++i) {
        const Task& task = schedule.list[i];
        if (task.may_wait && (!is_join(task.step) || !facts.untold.contains(task.kinds))) {
            return false;
        }
        if (task.kinds.empty() && places.times(task.step) != 1) {
            return false;
        }
        for (const Kind kind : task.kinds) {
            const Step step = is_join(task.step) ? join_step(kind) : create_step(kind);
            bool waits = false;
            for (std::size_t j = 0; j < schedule.count && is_join(task.step); ++j) {
                const Task& other = schedule.list[j];
                waits = waits || (other.may_wait && other.kinds.contains(kind));
            }
            if (places.times(step) != (waits ? 2U : 1U)) {
                return false;
            }
        }
    }
    return schedule.count <= Schedule::capacity;
}

auto has_its_kinds(const Outline& plan, const Facts& facts, const Schedule& schedule) -> bool {
    KindSet joined;
    KindSet created;
    for (const Task& task : schedule.tasks()) {
        if (is_join(task.step)) {
            joined = joined | task.kinds;
            if (task.kinds.empty()) {
                return false;
            }
        } else if (is_create(task.step)) {
            created = created | task.kinds;
        }
    }
    return joined == plan.joined - facts.same && created == plan.created;
}

auto does_what_is_said(const Outline& plan, const Facts& facts, const Schedule& schedule,
                       const Places& places) -> bool {
    for (std::size_t i = 0; i < nsjoin::plan_step_count; ++i) {
        const auto step = static_cast<Step>(i);
        const bool done = schedule.roles.caller_joins && facts.done.contains(step);
        // In a copy the table is the process's own.
        const bool has_one = step == Step::own_descriptors && !schedule.roles.shares;
        if (plan.said.contains(step) && !done && !has_one && !places.has(step)) {
            return false;
        }
    }
    return true;
}

auto made_by(Process process) -> Step {
    return process == Process::opener   ? Step::make_opener
           : process == Process::joiner ? Step::make_joiner
                                        : Step::make_child;
}

auto makes_its_processes(const Schedule& schedule, const Places& places) -> bool {
    for (const Process process : {Process::opener, Process::joiner, Process::child}) {
        const ProcessFacts& facts = schedule.process(process);
        const Step make = made_by(process);
        if (facts.there != places.has(make)) {
            return false;
        }
        for (std::size_t i = 0; i < schedule.count; ++i) {
            const Task& task = schedule.list[i];
            if (task.process == process && (!facts.there || i <= places.of(make))) {
                return false;
            }
            if (task.step == make && task.call != Call::with_clone && task.process != facts.maker) {
                return false;
            }
        }
    }
    return true;
}

auto clones_no_others(const Schedule& schedule) -> bool {
    for (const Task& task : schedule.tasks()) {
        if (task.call == Call::with_clone && task.kinds.intersects(Kind::cgroup | Kind::time)) {
            return false;
        }
    }
    return true;
}

/// Whether the caller tells the child to go on when it has written all, and the child waits.
auto waits_for_the_caller(const Schedule& schedule) -> bool {
    std::size_t wrote = absent;
    std::size_t told = absent;
    std::size_t heard = absent;
    for (std::size_t i = 0; i < schedule.count; ++i) {
        const Task& task = schedule.list[i];
        const bool writes = task.step == Step::write_uid_map || task.step == Step::write_gid_map ||
                            task.step == Step::write_setgroups || task.call == Call::of_the_child;
        wrote = writes && task.process == Process::caller ? i : wrote;
        told = task.call == Call::tell && task.process == Process::caller ? i : told;
        heard = task.step == Step::await_maps && task.process == Process::child ? i : heard;
    }
    return wrote == absent || (told != absent && heard != absent && wrote < told && told < heard);
}

auto is_not_dumpable_in_time(const Schedule& schedule, const Places& places) -> bool {
    for (const Process process : {Process::opener, Process::joiner, Process::child}) {
        const ProcessFacts& facts = schedule.process(process);
        if (!facts.there || !facts.exposed || facts.memory != Memory::callers) {
            continue;
        }
        const std::size_t cleared = places.of(Step::clear_dumpable);
        if (cleared == absent || cleared > places.of(made_by(process)) ||
            schedule.list[cleared].process != Process::caller) {
            return false;
        }
    }
    return true;
}

/// Who shares memory can't join a time namespace, nor use its own files of /proc when the flag of
/// that memory is cleared.
auto has_memory_of_its_own(const Schedule& schedule) -> bool {
    for (const Task& task : schedule.tasks()) {
        const Memory memory = schedule.process(task.process).memory;
        const bool shared = memory == Memory::callers || memory == Memory::joiners;
        const bool needs_own = (is_join(task.step) && task.kinds.contains(Kind::time)) ||
                               task.step == Step::create_time || task.step == Step::enter_time ||
                               task.step == Step::open_time_offsets ||
                               task.step == Step::set_oom_score_adj;
        if (shared && needs_own) {
            return false;
        }
    }
    return true;
}

/// What the type of a JoinPlan says that has this outline.
auto said_by_type(const Outline& plan) -> unsigned {
    using namespace nsjoin::detail; // NOLINT(google-build-using-namespace): two dozen names
    constexpr std::array<std::pair<Step, unsigned>, 21> words{{
        {Step::set_console, said_console},
        {Step::set_root, said_root},
        {Step::set_working_directory, said_directory},
        {Step::enter_cgroup, said_cgroup},
        {Step::set_oom_score_adj, said_oom},
        {Step::set_name, said_name},
        {Step::set_death_signal, said_death},
        {Step::await_maps, said_maps},
        {Step::write_time_offsets, said_offsets},
        {Step::set_host_name, said_host_name},
        {Step::set_domain_name, said_domain_name},
        {Step::bring_up_loopback, said_loopback},
        {Step::pivot_root, said_new_root},
        {Step::mount_proc, said_proc},
        {Step::set_umask, said_umask},
        {Step::set_cpu_affinity, said_cpus},
        {Step::set_priority, said_priority},
        {Step::set_capabilities, said_capabilities},
        {Step::install_filter, said_filter},
        {Step::call_inside, said_inside},
        {Step::call_last, said_last},
    }};
    const bool apart =
        plan.joined.contains(Kind::user | Kind::pid) && !plan.same_target(Kind::user, Kind::pid);
    const bool keyring = plan.session_keyring != nsjoin::SessionKeyring::automatic;
    unsigned said = (plan.ids ? said_ids : 0U) | (plan.deadline ? said_deadline : 0U) |
                    (plan.callers_parent ? said_parent : 0U) | (apart ? said_apart : 0U) |
                    (keyring ? said_keyring : 0U);
    for (const auto& [step, word] : words) {
        said |= plan.said.contains(step) ? word : 0U;
    }
    return said;
}

/// Whether perform() does each task as it is compiled for plans of that type, and leaves none out.
/// Mount sources are no JoinPlan's.
auto is_compiled(const Outline& plan, const Facts& facts, const Schedule& schedule) -> bool {
    if (plan.said.contains(Step::take_mount_sources)) {
        return true;
    }
    const auto may =
        nsjoin::detail::possible(plan.joined, plan.created, said_by_type(plan), facts.vfork);
    const auto& roles = schedule.roles;
    constexpr auto for_every_type = Step::own_descriptors | Step::offer_errors |
                                    Step::pass_descriptors | Step::set_limits | Step::set_signals |
                                    Step::execute | Step::set_no_new_privileges;
    for (const Task& task : schedule.tasks()) {
        if (is_join(task.step) || for_every_type.contains(task.step)) {
            continue;
        }
        const bool takes_id = task.step >= Step::set_groups && task.step <= Step::verify_ids;
        Step needed = task.step;
        needed = is_create(task.step) ? Step::create_net : needed;
        needed = task.step == Step::drop_groups ? Step::set_uid : needed;
        const bool copies =
            task.step == Step::make_joiner && !roles.shares && roles.first == Memory::copy;
        needed = copies ? Step::await_maps : needed;
        if (takes_id && !roles.becomes_root ? !may.ids : !may.steps.contains(needed)) {
            return false;
        }
    }
    return true;
}

/// Whether no process that others can see, signal or judge runs on the caller's memory, unless that
/// is lent: by what the tasks say, not by what the schedule says of its processes.
auto keeps_memory_to_itself(const Outline& plan, const Schedule& schedule) -> bool {
    if (plan.lends_memory) {
        return true;
    }
    KindSet joined;
    KindSet by_others;
    for (const Task& task : schedule.tasks()) {
        const bool by_caller = task.process == Process::caller;
        joined = is_join(task.step) ? joined | task.kinds : joined;
        by_others = is_join(task.step) && !by_caller ? by_others | task.kinds : by_others;
    }
    const bool hidden = joined.contains(Kind::pid) && plan.same_target(Kind::user, Kind::pid);
    const bool seen = by_others.contains(Kind::user) && !hidden;
    bool in_cgroup = false;
    for (const Task& task : schedule.tasks()) {
        const bool born_in = task.call == Call::with_clone;
        in_cgroup = in_cgroup || (task.step == Step::enter_cgroup &&
                                  (born_in || task.process != Process::caller));
        const Memory memory = schedule.process(task.process).memory;
        if (memory != Memory::callers && memory != Memory::joiners) {
            continue;
        }
        const bool in_there = task.process == Process::child && joined.contains(Kind::pid);
        const bool takes_id = task.step == Step::set_uid || task.step == Step::set_gid ||
                              task.step == Step::set_groups;
        if (in_there || seen || in_cgroup || (takes_id && !joined.empty())) {
            return false;
        }
    }
    return true;
}

auto expected_refusal(const Outline& plan, const Facts& facts) -> Reason {
    if (plan.callers_parent) {
        return facts.first_of_pids                          ? Reason::init_has_no_sibling
               : facts.many_threads && !plan.joined.empty() ? Reason::many_threads
                                                            : Reason::system;
    }
    return facts.pending_pid && !plan.joined.empty() ? Reason::pending_pid : Reason::system;
}

auto text_of(KindSet kinds) -> std::string {
    std::string text;
    for (const Kind kind : kinds) {
        text += std::string{text.empty() ? "" : " "} + std::string{facts(kind).name};
    }
    return text.empty() ? "nothing" : text;
}

/// Makes schedules, and counts those that break a law.
class Sweep {
  public:
    void check(const Outline& plan, const Facts& facts) {
        const Schedule made = schedule(plan, facts);
        ++count_;
        const Reason refused = expected_refusal(plan, facts);
        expect(Law::refusal, made.refused == refused, plan, facts);
        if (refused != Reason::system || made.refused != Reason::system) {
            expect(Law::refusal, made.count == 0, plan, facts);
            return;
        }
        const Places places{made};
        const Pair* const broken = broken_constraint(made, places);
        expect(Law::constraints, broken == nullptr, plan, facts);
        if (broken != nullptr && broken_.front() <= 3) {
            std::fprintf(stderr, "    \"%s\" is not before \"%s\"\n",
                         std::string{nsjoin::facts(broken->before).name}.c_str(),
                         std::string{nsjoin::facts(broken->after).name}.c_str());
        }
        expect(Law::rights, keeps_rights(plan, facts, places), plan, facts);
        expect(Law::once, is_there_once(made, places, facts), plan, facts);
        expect(Law::kinds, has_its_kinds(plan, facts, made), plan, facts);
        expect(Law::said, does_what_is_said(plan, facts, made, places), plan, facts);
        expect(Law::processes, makes_its_processes(made, places), plan, facts);
        expect(Law::by_clone, clones_no_others(made), plan, facts);
        expect(Law::waits, waits_for_the_caller(made), plan, facts);
        expect(Law::dumpable, is_not_dumpable_in_time(made, places), plan, facts);
        expect(Law::own_memory, has_memory_of_its_own(made), plan, facts);
        expect(Law::unexposed, keeps_memory_to_itself(plan, made), plan, facts);
        expect(Law::compiled, is_compiled(plan, facts, made), plan, facts);
    }

    /// Says how many there were, and which laws were broken how often.
    void judge() const {
        std::printf("%llu schedules checked\n", count_);
        for (std::size_t law = 0; law < law_texts.size(); ++law) {
            const std::string text = law_texts[law];
            CAPTURE(text);
            CHECK(broken_[law] == 0);
        }
    }

    [[nodiscard]] auto count() const -> unsigned long long { return count_; }

  private:
    void expect(Law law, bool kept, const Outline& plan, const Facts& facts) {
        if (kept) {
            return;
        }
        const auto at = static_cast<std::size_t>(law);
        if (++broken_[at] > 3) {
            return;
        }
        std::fprintf(stderr, "not kept: %s:\n", law_texts[at]);
        std::fprintf(stderr, "    join %s, create %s, said", text_of(plan.joined).c_str(),
                     text_of(plan.created).c_str());
        for (std::size_t i = 0; i < nsjoin::plan_step_count; ++i) {
            if (plan.said.contains(static_cast<Step>(i))) {
                std::fprintf(stderr, " \"%.*s\"",
                             static_cast<int>(nsjoin::facts(static_cast<Step>(i)).name.size()),
                             nsjoin::facts(static_cast<Step>(i)).name.data());
            }
        }
        std::fprintf(stderr, "%s%s%s%s%s\n", plan.ids ? ", ids" : "",
                     plan.keep_ids ? ", keep ids" : "",
                     plan.callers_parent ? ", the caller's parent's" : "",
                     plan.deadline ? ", deadline" : "", plan.program ? ", program" : "");
        std::fprintf(stderr, "    join by %d, same %s, after user %s, untold %s, %s%s%s%s\n",
                     static_cast<int>(facts.join_by), text_of(facts.same).c_str(),
                     text_of(facts.after_user).c_str(), text_of(facts.untold).c_str(),
                     facts.clone3 ? "clone3 " : "", facts.clear_sighand ? "clear_sighand " : "",
                     facts.into_cgroup ? "into_cgroup " : "", facts.vfork ? "vfork" : "");
    }

    unsigned long long count_ = 0;
    std::array<unsigned long long, law_texts.size()> broken_{};
};

/// Takes a number apart, digit by digit, each of its own base.
class Digits {
  public:
    explicit Digits(unsigned long long number) : rest_{number} {}

    [[nodiscard]] auto next(unsigned base) -> unsigned {
        const auto digit = static_cast<unsigned>(rest_ % base);
        rest_ /= base;
        return digit;
    }

    [[nodiscard]] auto flag() -> bool { return next(2) != 0; }

    /// Whether nothing is left: the number was one of all.
    [[nodiscard]] auto done() const -> bool { return rest_ == 0; }

  private:
    unsigned long long rest_;
};

constexpr unsigned all_kind_choices = 6561; // each kind neither, joined or created

auto plan_of_kinds(unsigned choice) -> Outline {
    Digits digits{choice};
    Outline plan;
    for (const Kind kind : nsjoin::all_kinds.set) {
        const unsigned what = digits.next(3);
        plan.joined = what == 1 ? plan.joined | kind : plan.joined;
        plan.created = what == 2 ? plan.created | kind : plan.created;
    }
    return plan;
}

/// The options with that number; false if there is none, or a plan can't have them all.
auto add_options(Outline& plan, unsigned long long number, bool& over) -> bool {
    Digits digits{number};
    const unsigned maps = digits.next(plan.created.contains(Kind::user) ? 3 : 1);
    plan.said.set(Step::await_maps, maps != 0);
    plan.said.set(Step::write_uid_map, maps != 0);
    plan.said.set(Step::write_gid_map, maps == 1);
    plan.root_mapped = maps == 1;
    const bool offsets = plan.created.contains(Kind::time) && digits.flag();
    plan.said.set(Step::write_time_offsets, offsets);
    const bool sources = plan.created.contains(Kind::mount) && digits.flag();
    plan.said.set(Step::take_mount_sources, sources);
    plan.said.set(Step::set_oom_score_adj, digits.flag());
    plan.said.set(Step::enter_cgroup, digits.flag());
    plan.said.set(Step::set_death_signal, digits.flag());
    const unsigned ids = digits.next(3);
    plan.ids = ids == 1;
    plan.keep_ids = ids == 2;
    plan.said.set(Step::set_groups, plan.ids);
    plan.said.set(Step::set_gid, plan.ids);
    plan.said.set(Step::set_uid, plan.ids);
    plan.callers_parent = digits.flag();
    plan.deadline = digits.flag();
    plan.program = digits.flag();
    plan.lends_memory = digits.flag();
    over = !digits.done();
    return !over;
}

/// What a child furnishes, some of it for each number: all of it would be too much to go through.
void furnish(Outline& plan, unsigned long long number) {
    std::uint64_t bits = (number + 1) * 0x9E37'79B9'7F4A'7C15U;
    const auto some = [&bits](bool can = true) {
        bits = std::rotl(bits, 7) * 0xBF58'476D'1CE4'E5B9U;
        return can && (bits >> 63U) != 0;
    };
    const bool mounts = plan.created.contains(Kind::mount);
    const bool names = (plan.joined | plan.created).contains(Kind::uts);
    plan.said.set(Step::set_propagation, some(mounts));
    plan.said.set(Step::set_host_name, some(names));
    plan.said.set(Step::set_domain_name, some(names));
    plan.said.set(Step::bring_up_loopback, some(plan.created.contains(Kind::net)));
    const bool pivots = some(mounts);
    plan.said.set(Step::pivot_root, pivots);
    plan.said.set(Step::detach_old_root, pivots);
    plan.said.set(Step::set_root, some(!pivots));
    plan.said.set(Step::mount_proc, some(mounts));
    plan.said.set(Step::new_session, some());
    plan.said.set(Step::set_console, some(plan.said.contains(Step::new_session)));
    const bool sets = some();
    plan.said.set(Step::limit_capabilities, sets);
    plan.said.set(Step::set_capabilities, sets);
    for (const Step step :
         {Step::set_umask, Step::set_cpu_affinity, Step::set_priority, Step::set_name,
          Step::set_no_new_privileges, Step::install_filter, Step::call_inside, Step::call_last}) {
        plan.said.set(step, some());
    }
    plan.session_keyring = some() ? nsjoin::SessionKeyring::fresh : nsjoin::SessionKeyring::keep;
}

/// The n-th kind of the set.
auto kind_at(KindSet kinds, std::size_t n) -> Kind {
    auto kind = kinds.begin();
    for (; n > 0; --n) {
        ++kind;
    }
    return *kind;
}

/// What the caller knows, by number. No joined kind, one, or all are the caller's own; it has the
/// rights over all the others, over all but the mount namespace, or over none, or nobody can tell.
auto facts_of(const Outline& plan, unsigned long long number, bool& over) -> Facts {
    Digits digits{number};
    Facts facts;
    const auto size = static_cast<unsigned>(plan.joined.size());
    facts.join_by = static_cast<JoinBy>(digits.next(size == 0 ? 1 : 3));
    const unsigned same = digits.next(size == 0 ? 1 : size == 1 ? 2 : size + 2);
    facts.same = same == 0      ? KindSet{}
                 : same <= size ? KindSet{kind_at(plan.joined, same - 1)}
                                : plan.joined;
    const KindSet differing = plan.joined - facts.same;
    switch (digits.next(size == 0 ? 1 : 5)) {
    case 1:
        facts.after_user = differing;
        break;
    case 2:
        facts.after_user = differing & Kind::mount;
        break;
    case 3:
        facts.untold = differing - Kind::user;
        break;
    case 4:
        facts.untold = differing & (Kind::net | Kind::pid);
        break;
    default:
        break;
    }
    facts.clone3 = digits.flag();
    facts.clear_sighand = digits.flag();
    facts.into_cgroup = digits.flag();
    facts.vfork = digits.flag();
    facts.deny_setgroups = plan.said.contains(Step::write_gid_map) && digits.flag();
    if (plan.callers_parent) {
        const unsigned who = digits.next(3);
        facts.first_of_pids = who == 1;
        facts.many_threads = who == 2;
    }
    over = !digits.done();
    return facts;
}

/// How many numbers `over` is not set for.
template <typename Make>
auto count_of(const Make& make) -> unsigned long long {
    unsigned long long count = 0;
    for (bool over = false; !over; ++count) {
        make(count, over);
    }
    return count - 1;
}

/// One of so many choices is taken; prime, so that each kind is met in each of its states.
auto stride() -> unsigned {
    return static_cast<unsigned>(support::every(29, 1));
}

constexpr unsigned long long mixer = 1'000'003; // prime, so that it meets every number of facts

} // namespace

TEST_CASE("all kinds and all options: the schedule keeps every law, whatever is known") {
    Sweep sweep;
    unsigned long long turn = 0;
    for (unsigned choice = 0; choice < all_kind_choices; choice += stride()) {
        bool over = false;
        for (unsigned long long number = 0; !over; ++number) {
            Outline plan = plan_of_kinds(choice);
            plan.targets.fill(1);
            if (!add_options(plan, number, over)) {
                continue;
            }
            furnish(plan, turn);
            static std::map<unsigned, unsigned long long> counts;
            const unsigned shape = static_cast<unsigned>(plan.joined.size()) * 4 +
                                   (plan.said.contains(Step::write_gid_map) ? 2U : 0U) +
                                   (plan.callers_parent ? 1U : 0U);
            unsigned long long& count = counts[shape];
            bool past = false;
            count = count != 0 ? count : count_of([&](unsigned long long n, bool& end) {
                (void)facts_of(plan, n, end);
            });
            sweep.check(plan, facts_of(plan, turn++ * mixer % count, past));
        }
    }
    sweep.judge();
    CHECK((sweep.count() > 2'000'000 || stride() != 1));
}

TEST_CASE("all kinds and all that can be known: the schedule keeps every law, whatever is said") {
    Sweep sweep;
    unsigned long long turn = 0;
    for (unsigned choice = 0; choice < all_kind_choices; choice += stride()) {
        const Outline kinds = plan_of_kinds(choice);
        const unsigned long long options = count_of([&](unsigned long long n, bool& end) {
            Outline plan = kinds;
            (void)add_options(plan, n, end);
        });
        bool over = false;
        for (unsigned long long number = 0; !over; ++number) {
            Outline plan = kinds;
            bool past = false;
            while (!add_options(plan = kinds, turn++ * mixer % options, past)) {
            }
            furnish(plan, turn);
            // From one target, or each from a descriptor of its own.
            plan.targets.fill(turn % 2 == 0 ? 1 : 0);
            Facts facts = facts_of(plan, number, over);
            if (!over) {
                // One call for all needs a target that all come from.
                facts.join_by = plan.single_target() || facts.join_by != JoinBy::one_call
                                    ? facts.join_by
                                    : JoinBy::target;
                sweep.check(plan, facts);
            }
        }
    }
    sweep.judge();
    CHECK((sweep.count() > 3'000'000 || stride() != 1));
}

TEST_CASE("several targets: the schedule keeps every law") {
    Sweep sweep;
    unsigned long long turn = 0;
    for (unsigned choice = 0; choice < all_kind_choices; choice += stride()) {
        for (unsigned seed = 1; seed <= 40; ++seed) {
            Outline plan = plan_of_kinds(choice);
            bool over = false;
            (void)add_options(plan, turn++ % 64, over);
            for (std::size_t i = 0; i < nsjoin::kind_count; ++i) { // two targets, and descriptors
                plan.targets[i] = static_cast<std::uint8_t>((seed * 2654435761U >> (3 * i)) % 3);
            }
            Facts facts = facts_of(plan, turn * mixer % (std::size_t{3} << 10U), over);
            facts.join_by = facts.join_by == JoinBy::one_call ? JoinBy::target : facts.join_by;
            sweep.check(plan, facts);
        }
    }
    sweep.judge();
    CHECK((sweep.count() > 200'000 || stride() != 1));
}
