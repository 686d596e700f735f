// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXPLAIN_HPP
#define NSJOIN_EXPLAIN_HPP

#include <nsjoin/detail/engine/run.hpp>
#include <nsjoin/detail/engine/steps.hpp>
#include <nsjoin/detail/kernel/reasons.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace nsjoin {

/// An error in words, on one line: what was being done to what, the errno by name, why, and what
/// to do. "join mnt (pid 4711): EPERM: needs CAP_SYS_ADMIN …". No system call; allocates.
[[nodiscard]] inline auto explain(const Error& error) -> std::string {
    std::string text{facts(error.step).name};
    if (!error.subject.view().empty()) {
        text.append(" (").append(error.subject.view()).append(")");
    }
    text.append(": ");
    if (error.reason == Reason::system) {
        text.append(detail::errno_name(error.code));
        if (text.back() == ' ') {
            text.append(std::to_string(error.code));
        }
        std::string_view hint = detail::hint(error.step, error.code);
        hint = hint.empty() ? detail::general_hint(error.code) : hint;
        if (!hint.empty()) {
            text.append(": ").append(hint);
        }
        return text;
    }
    text.append(detail::reason_text(error.reason));
    if (error.reason == Reason::process_died) {
        const ExitStatus status{error.code};
        text.append(status.exited() ? " (exit code " : " (signal ");
        text.append(std::to_string(status.exited() ? status.exit_code() : status.signal()));
        text.append(")");
        if (error.step == Step::start_program) {
            text.append(": it needs the constructor, of the dialect that it is started with");
        }
    }
    return text;
}

namespace detail {

[[nodiscard]] inline auto names_of(KindSet kinds, std::string_view separator = ", ")
    -> std::string {
    std::string text;
    for (const Kind kind : kinds) {
        text.append(text.empty() ? "" : separator).append(facts(kind).name);
    }
    return text;
}

template <Scope S>
[[nodiscard]] auto creates(const Run<S>& run, Step step) noexcept -> bool {
    for (const Kind kind : run.plan.created) {
        if (create_step(kind) == step) {
            return true;
        }
    }
    return false;
}

template <Scope S>
[[nodiscard]] auto joins(const Run<S>& run, Step step) noexcept -> bool {
    return is_join(step) &&
           run.joining.contains(static_cast<Kind>(static_cast<unsigned>(step) -
                                                  static_cast<unsigned>(Step::join_user)));
}

/// Whether the child sets, in this step, an id or the groups.
template <Scope S>
[[nodiscard]] auto sets_ids(const Run<S>& run, Step step) noexcept -> bool {
    if (run.ids == nullptr) {
        return false;
    }
    switch (step) {
    case Step::set_groups:
        return !run.ids->groups.kept();
    case Step::set_gid:
        return run.ids->gid.has_value();
    case Step::set_uid:
        return run.ids->uid.has_value();
    default:
        return run.ids->gid || run.ids->uid || !run.ids->groups.kept();
    }
}

/// Whether the child, or the program's process, is the first one, and joins by itself.
template <Scope S>
[[nodiscard]] auto first_is_child(const Run<S>& run) noexcept -> bool {
    return child_is_first(run.route.joiner) || run.one_process;
}

/// Whether the first process runs on the caller's memory.
template <Scope S>
[[nodiscard]] auto shares_callers_memory(const Run<S>& run) noexcept -> bool {
    const bool program = run.executes && !run.reports;
    return run.route.joiner == Joiner::shares_memory ||
           (program && run.route.joiner == Joiner::none);
}

/// Whether this run has that step.
template <Scope S>
[[nodiscard]] auto has_step(const Run<S>& run, Step step) noexcept -> bool {
    const auto& plan = run.plan;
    if (is_join(step)) {
        return joins(run, step);
    }
    if (step >= Step::create_net && step <= Step::create_time) {
        return creates(run, step);
    }
    switch (step) {
    case Step::create_user:
    case Step::create_pid:
        return creates(run, step);
    case Step::open_proc:
        return needs_proc(plan);
    case Step::open_target:
        return !plan.joined().empty();
    case Step::check_console:
    case Step::set_console:
        return plan.console.ok();
    case Step::open_cgroup:
    case Step::enter_cgroup:
        return plan.cgroup.ok();
    case Step::make_joiner:
        return !first_is_child(run) && run.route.joiner != Joiner::caller_itself;
    case Step::make_channel:
    case Step::report:
        return run.reports;
    case Step::set_oom_score_adj:
        return plan.oom_score_adj.has_value();
    case Step::open_time_offsets:
    case Step::write_time_offsets:
        return plan.time_offsets.has_value();
    case Step::clear_dumpable: // a change of ids clears that of the memory too
        return run.route.joiner != Joiner::none ||
               (shares_callers_memory(run) && run.ids != nullptr);
    case Step::write_uid_map:
        return plan.maps && !plan.maps->uids.empty();
    case Step::write_gid_map:
        return plan.maps && !plan.maps->gids.empty();
    case Step::write_setgroups:
        return plan.maps && must_deny_setgroups(*plan.maps);
    case Step::await_maps:
        return run.route.wait_for_caller;
    case Step::become_root:
        return run.route.become_root;
    case Step::enter_time:
        return run.route.by_unshare.contains(Kind::time);
    case Step::take_mount_sources:
        return !plan.mount_sources.list.empty();
    case Step::new_session:
        return plan.new_session || plan.console.ok();
    case Step::set_root:
        return plan.root.ok();
    case Step::set_working_directory:
        return plan.working_directory.ok();
    case Step::set_name:
        return !plan.name.empty();
    case Step::clear_inheritable:
        return !plan.keep_capabilities && !run.route.user_changes;
    case Step::set_groups:
    case Step::set_gid:
    case Step::set_uid:
        return sets_ids(run, step);
    case Step::verify_ids:
        return sets_ids(run, step) && !(run.executes && run.ids == &run.root_ids);
    case Step::set_death_signal:
        return plan.death_signal != 0;
    default:
        return step <= Step::report;
    }
}

/// The steps that the run has, in the order in which they are done. No step is in it twice.
class StepList {
  public:
    [[nodiscard]] auto size() const noexcept -> std::size_t { return size_; }

    [[nodiscard]] auto operator[](std::size_t place) const noexcept -> Step {
        return steps_[place];
    }

    [[nodiscard]] auto begin() const noexcept -> const Step* { return steps_.data(); }

    [[nodiscard]] auto end() const noexcept -> const Step* { return steps_.data() + size_; }

    /// Where the step is; size() if it is not there.
    [[nodiscard]] auto find(Step step) const noexcept -> std::size_t {
        std::size_t place = 0;
        while (place < size_ && steps_[place] != step) {
            ++place;
        }
        return place;
    }

    void push_back(Step step) noexcept { steps_[size_++] = step; }

    /// Moves the step at `from` to `to`; those between make room.
    void move(std::size_t from, std::size_t to) noexcept {
        const Step step = steps_[from];
        for (; from < to; ++from) {
            steps_[from] = steps_[from + 1];
        }
        for (; from > to; --from) {
            steps_[from] = steps_[from - 1];
        }
        steps_[to] = step;
    }

    /// Moves `step`, if both are there, to the place before `anchor`.
    void move_before(Step step, Step anchor) noexcept {
        const std::size_t from = find(step);
        const std::size_t to = find(anchor);
        if (from != size_ && to != size_) {
            move(from, from < to ? to - 1 : to);
        }
    }

  private:
    std::array<Step, plan_step_count> steps_{};
    std::size_t size_ = 0;
};

/// What the clone that makes the child creates, it creates there and then.
template <Scope S>
void move_to_clone(StepList& list, const Run<S>& run) {
    std::size_t place = list.find(Step::make_child);
    for (const Step step : order(UserRights::taken)) {
        bool by_clone = false;
        for (const Kind kind : run.route.by_clone) {
            by_clone = by_clone || create_step(kind) == step;
        }
        if (by_clone) {
            list.move(list.find(step), ++place);
        }
    }
}

/// The child is made first where it does what else a joiner does.
template <Scope S>
void move_child_first(StepList& list, const Run<S>& run) {
    const auto is_first = [](Step step) {
        return facts(step).actor == Actor::first && step < Step::make_child;
    };
    const std::size_t made = list.find(Step::make_child);
    std::size_t first = 0;
    while (first < made && !is_first(list[first])) {
        ++first;
    }
    for (std::size_t i = 0; i <= run.route.by_clone.size(); ++i) {
        list.move(made + i, first + i);
    }
}

template <Scope S>
[[nodiscard]] auto steps_of(const Run<S>& run) -> StepList {
    StepList list;
    bool joined = false;
    for (const Step step : order(UserRights::taken)) {
        if (!is_join(step)) {
            if (has_step(run, step)) {
                list.push_back(step);
            }
        } else if (!joined) {
            joined = true;
            for (const JoinCall& join : run.calls.view()) {
                for (const Kind kind : join.kinds) {
                    list.push_back(join_step(kind));
                }
            }
        }
    }
    move_to_clone(list, run);
    if (first_is_child(run)) {
        move_child_first(list, run);
    }
    if (shares_callers_memory(run)) {
        list.move_before(Step::clear_dumpable,
                         first_is_child(run) ? Step::make_child : Step::make_joiner);
    }
    if (run.route.offsets_by_caller) {
        list.move_before(Step::open_time_offsets, Step::await_maps);
    }
    if (run.route.time_by_joiner) {
        list.move_before(Step::create_time, Step::make_child);
        list.move_before(Step::write_time_offsets, Step::make_child);
    }
    return list;
}

/// What no constraint of the table says, as it is so in this run only.
template <Scope S>
[[nodiscard]] auto reason_of_run(const Run<S>& run, Step step) noexcept -> std::string_view {
    const auto& route = run.route;
    switch (step) {
    case Step::set_oom_score_adj:
        return route.oom_by_caller ? "after \"make the child\": in the new user namespace it could "
                                     "not lower it any more"
                                   : "";
    case Step::open_time_offsets:
        return route.offsets_by_caller
                   ? "after \"make the child\": the file is the child's, who is "
                     "not dumpable and can't open it"
                   : "";
    case Step::clear_dumpable:
        return route.joiner == Joiner::none
                   ? "before \"make the child\": a change of ids clears the "
                     "flag of the memory, which is the caller's"
                   : "";
    case Step::create_time:
        return route.time_by_joiner ? "before \"make the child\": it takes only children" : "";
    case Step::await_maps:
        return route.joiner == Joiner::own_memory && !run.plan.maps
                   ? "after \"make the child\": the joiner's pidfd of it is gone, and while it "
                     "waits "
                     "the caller opens another"
                   : "";
    default:
        return "";
    }
}

/// What the table says of two steps; null if there is no constraint.
[[nodiscard]] inline auto constraint_of(Step before, Step after) noexcept -> const Constraint* {
    for (const Constraint& c : constraints) {
        if (c.before == before && c.after == after) {
            return &c;
        }
    }
    return nullptr;
}

/// Why the step stands where it does: the constraint with the nearest step before it that this run
/// has, or else with the nearest one after it.
template <Scope S>
[[nodiscard]] auto reason_for_place(const Run<S>& run, const StepList& list, Step step)
    -> std::string {
    if (const std::string_view own = reason_of_run(run, step); !own.empty()) {
        return std::string{own};
    }
    const std::size_t place = list.find(step);
    const auto said = [](std::string_view where, Step other, const Constraint& c) {
        std::string text{where};
        return text.append(facts(other).name).append("\": ").append(c.why);
    };
    for (std::size_t other = place; other-- != 0;) {
        const Constraint* c = constraint_of(list[other], step);
        if (c == nullptr && list[other] == Step::make_child && first_is_child(run)) {
            c = constraint_of(Step::make_joiner, step); // it is the joiner too
        }
        if (c != nullptr && list[other] != Step::check_plan) { // which comes before everything
            return said("after \"", list[other], *c);
        }
    }
    if (step == Step::report) {
        return "after everything else: the child returns only when all of it is done";
    }
    for (std::size_t other = place; other < list.size(); ++other) {
        if (const Constraint* const c = constraint_of(step, list[other]); c != nullptr) {
            return said("before \"", list[other], *c);
        }
    }
    const Constraint* const checked = constraint_of(Step::check_plan, step);
    return checked != nullptr ? said("after \"", Step::check_plan, *checked) : std::string{};
}

template <Scope S>
[[nodiscard]] auto process_name(const Run<S>& run, Step step) noexcept -> std::string_view {
    const auto& route = run.route;
    const std::string_view first = route.joiner == Joiner::caller_itself ? "caller"
                                   : first_is_child(run)                 ? "child"
                                                                         : "joiner";
    const bool by_caller = (step == Step::clear_dumpable && shares_callers_memory(run)) ||
                           (step == Step::open_time_offsets && route.offsets_by_caller) ||
                           (step == Step::set_oom_score_adj && route.oom_by_caller);
    if (by_caller || facts(step).actor == Actor::caller) {
        return "caller";
    }
    const bool time = step == Step::create_time || step == Step::write_time_offsets;
    if (route.time_by_joiner && time) {
        return first;
    }
    if (step == Step::enter_cgroup && run.into_cgroup) {
        return "caller";
    }
    bool by_clone = step == Step::make_child;
    for (const Kind kind : route.by_clone) {
        by_clone = by_clone || create_step(kind) == step;
    }
    if (by_clone) {
        return first_is_child(run) ? "caller" : first;
    }
    return facts(step).actor == Actor::child ? "child" : first;
}

/// The clone that makes a process, with the flags that say what kind of process it is.
template <Scope S>
[[nodiscard]] auto describe_clone(const Run<S>& run, Step step) -> std::string {
    const bool program = run.executes && !run.reports;
    const bool first = step == Step::make_joiner || first_is_child(run);
    std::string flags;
    const auto add = [&flags](bool has, std::string_view flag) {
        flags.append(has && !flags.empty() ? " | " : "").append(has ? flag : "");
    };
    add(first ? shares_callers_memory(run) : program, "CLONE_VM");
    add(first ? shares_callers_memory(run) || program : program, "CLONE_VFORK");
    add(first && program && shares_callers_memory(run), "CLONE_CLEAR_SIGHAND");
    add(!first || run.plan.child_of == ChildOf::callers_parent, "CLONE_PARENT");
    add(first && run.into_cgroup, "CLONE_INTO_CGROUP");
    if (step == Step::make_child) {
        add(!run.route.by_clone.empty(), names_of(run.route.by_clone, " | "));
    }
    const bool by_clone3 =
        first ? program || !shares_callers_memory(run) || run.into_cgroup : !program;
    return std::string{by_clone3 ? "clone3" : "clone"}
        .append(flags.empty() ? "" : "(")
        .append(flags)
        .append(flags.empty() ? "" : ")");
}

/// The system call of a step, where the run knows it better than the table.
template <Scope S>
[[nodiscard]] auto system_call(const Run<S>& run, Step step) -> std::string {
    if (step == Step::make_joiner || step == Step::make_child) {
        return describe_clone(run, step);
    }
    if (step == Step::set_oom_score_adj && run.route.oom_by_caller) {
        return "write(/proc/PID/oom_score_adj)";
    }
    if (step == Step::open_time_offsets && run.route.offsets_by_caller) {
        return "openat(/proc/PID/timens_offsets), sendmsg(SCM_RIGHTS)";
    }
    if (step == Step::await_maps && run.route.offsets_by_caller) {
        return "ppoll, recvmsg(SCM_RIGHTS)";
    }
    bool by_clone = step == Step::enter_cgroup && run.into_cgroup;
    for (const Kind kind : run.route.by_clone) {
        by_clone = by_clone || create_step(kind) == step;
    }
    if (by_clone) {
        return "by that call";
    }
    return step == Step::enter_cgroup ? "write(cgroup.procs)" : std::string{facts(step).system};
}

/// One call that joins, as "setns(pidfd of 4711, user | mnt)".
template <Scope S>
[[nodiscard]] auto describe_call(const Run<S>& run, const JoinCall& join) -> std::string {
    const JoinSource& source = run.plan.source(*join.kinds.begin());
    const bool by_pidfd = join.fd == source.fd.get() && source.from == JoinSource::From::target;
    std::string text{"setns("};
    text.append(by_pidfd ? "pidfd of pid " : "descriptor ");
    text.append(std::to_string(by_pidfd ? source.target_pid : join.fd));
    return text.append(", ").append(names_of(join.kinds, " | ")).append(")");
}

/// Why a call that joins stands where it does.
template <Scope S>
[[nodiscard]] auto reason_for_call(const Run<S>& run, const StepList& list, const JoinCall& join,
                                   bool user_before) -> std::string {
    if (join.kinds.size() > 1 && !join.kinds.contains(Kind::user)) {
        return "one call, all or nothing: there is no order among them";
    }
    if (join.kinds.size() > 1) {
        return "one call, all or nothing: the rights that the caller has and those that the joined "
               "user namespace gives count together, so there is no order among them";
    }
    if (join.may_wait) {
        return "the kernel can't tell who owns it: tried before user, and again after it if EPERM";
    }
    const Kind kind = *join.kinds.begin();
    if (kind != Kind::user && run.joining.contains(Kind::user)) {
        return user_before ? "after \"join user\": the rights over it come with the joined user "
                             "namespace"
                           : "before \"join user\": the caller has the rights over it now, and "
                             "loses them with the user namespace that it leaves";
    }
    return reason_for_place(run, list, join_step(kind));
}

inline void append_entry(std::string& text, std::string_view label, std::string_view what,
                         std::string_view system, std::string_view why) {
    text.append(label).append(what).append("  [").append(system).append("]\n");
    if (!why.empty()) {
        text.append("        ").append(why).append("\n");
    }
}

[[nodiscard]] inline auto numbered(int& number) -> std::string {
    ++number;
    return (number < 10 ? "  " : " ") + std::to_string(number) + ". ";
}

/// The calls that join, each with the reason for its place; with `number`, as numbered steps.
template <Scope S>
void explain_calls(std::string& text, const Run<S>& run, const StepList& list,
                   const JoinCalls& calls, int* number) {
    const std::string who = std::string{process_name(run, Step::join_user)} + ": ";
    bool user_before = false;
    for (const JoinCall& join : calls.view()) {
        const std::string label = number != nullptr ? numbered(*number) + who : "      - ";
        append_entry(text, label, "join " + names_of(join.kinds), describe_call(run, join),
                     reason_for_call(run, list, join, user_before));
        user_before = user_before || join.kinds.contains(Kind::user);
    }
}

template <Scope S>
void explain_joins(std::string& text, const Run<S>& run, const StepList& list, int& number) {
    explain_calls(text, run, list, run.calls, &number);
    bool several = false;
    for (const JoinCall& join : run.calls.view()) {
        several = several || join.kinds.size() > 1;
    }
    const JoinCalls otherwise = run.candidates.calls(Way::by_descriptors);
    if (several && otherwise.count != 0) {
        text.append("        where the kernel refuses that (before Linux 5.8, a seccomp filter), "
                    "through descriptors opened before:\n");
        explain_calls(text, run, list, otherwise, nullptr);
    }
}

/// One call for each source of the plan, of which nothing is known.
template <Scope S>
void add_calls_unseen(Run<S>& run) noexcept {
    if (const BorrowedFd target = single_target(run.plan); target.ok()) {
        run.calls.add({target.get(), run.joining});
        return;
    }
    for (const Kind kind : run.joining) {
        run.calls.add({run.plan.source(kind).fd.get(), kind});
    }
}

/// Looks at what is to be joined, and decides as join_and_clone() does. Changes nothing.
template <Scope S>
[[nodiscard]] auto decide(Run<S>& run) noexcept -> Result<void> {
    Result<void> looked = run.candidates.look(run.plan);
    run.joining = looked ? run.candidates.differing() : run.plan.joined();
    if (looked) {
        run.calls = run.candidates.calls(Way::differing);
    } else { // what it would do
        add_calls_unseen(run);
    }
    if (run.plan.cgroup.ok()) {
        (void)look_at_cgroup(run.plan, run.into_cgroup);
    }
    choose_route(run);
    return looked;
}

/// A run that is decided, in words.
template <Scope S>
[[nodiscard]] auto explain_run(const Run<S>& run, const Result<void>& looked) -> std::string {
    std::string text{"join "};
    text.append(run.joining.empty() ? "nothing" : names_of(run.joining));
    const KindSet same = run.plan.joined() - run.joining;
    if (!same.empty()) {
        text.append(" (the caller is in the same ").append(names_of(same)).append(")");
    }
    text.append("; create ");
    text.append(run.plan.created.empty() ? "nothing" : names_of(run.plan.created));
    text.append("\n");
    if (!looked) {
        text.append("this will fail: ").append(nsjoin::explain(looked.error())).append("\n");
    }
    bool joins_explained = false;
    int number = 0;
    const StepList list = steps_of(run);
    for (const Step step : list) {
        if (!is_join(step)) {
            const std::string label =
                numbered(number) + std::string{process_name(run, step)} + ": ";
            append_entry(text, label, facts(step).name, system_call(run, step),
                         reason_for_place(run, list, step));
        } else if (!joins_explained) {
            joins_explained = true;
            explain_joins(text, run, list, number);
        }
    }
    return text;
}

} // namespace detail

/// A plan in words: each step in its order, which process does it, the system call and the reason
/// for its place. Asks the kernel what join_and_clone() would ask (which of the namespaces differ
/// from the caller's, who owns them), and does nothing. Allocates.
template <Scope S = Scope::everything>
[[nodiscard]] auto explain(const Plan& plan) -> std::string {
    detail::Run<S> run{plan.parts()};
    const Result<void> looked = detail::decide(run);
    return detail::explain_run(run, looked);
}

} // namespace nsjoin

#endif // NSJOIN_EXPLAIN_HPP
