// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXPLAIN_HPP
#define NSJOIN_EXPLAIN_HPP

#include <nsjoin/command.hpp>
#include <nsjoin/detail/engine/ask.hpp>
#include <nsjoin/detail/engine/placement.hpp>
#include <nsjoin/detail/engine/program.hpp>
#include <nsjoin/detail/kernel/reasons.hpp>
#include <nsjoin/plan.hpp>

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
    if (error.reason == Reason::refused_by_policy) {
        text.append(detail::errno_name(error.code)).append(": ");
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

/// A schedule in words. It decides nothing.
class Words {
  public:
    Words(const Draft& plan, const Command* command, const Schedule& schedule) noexcept
        : plan_{plan}, command_{command}, schedule_{schedule} {}

    /// The task in that place: who does what, by which call, and why there.
    void append(std::string& text, std::string_view label, std::size_t place) const {
        const Task& task = schedule_.list[place];
        text.append(label).append(process(task.process)).append(": ").append(what(task));
        text.append("  [").append(system(task)).append("]\n");
        if (const std::string why = reason(place); !why.empty()) {
            text.append("        ").append(why).append("\n");
        }
    }

  private:
    [[nodiscard]] static auto process(Process which) noexcept -> std::string_view {
        constexpr std::array<std::string_view, process_count> names{"caller", "opener", "joiner",
                                                                    "child"};
        return names[static_cast<std::size_t>(which)];
    }

    [[nodiscard]] auto what(const Task& task) const -> std::string {
        if (task.call == Call::tell || task.call == Call::hear) {
            return std::string{task.step == Step::await_maps     ? "let the child go on"
                               : task.step == Step::report       ? "wait for the report"
                               : task.step == Step::offer_errors ? "take the pipe of the child"
                                                                 : "wait for the execution"};
        }
        if (!task.kinds.empty()) {
            return (is_join(task.step) ? "join " : "create ") + names_of(task.kinds);
        }
        std::string text{facts(task.step).name};
        if (task.step == Step::execute) {
            const char* const path = command_->program.path();
            text.append(path != nullptr ? std::string{" "} + path : " that is open");
        }
        return text;
    }

    /// The clone that makes a process, with the flags that say what kind of process it is.
    [[nodiscard]] auto clone(const Task& task) const -> std::string {
        const Process made = task.step == Step::make_joiner ? Process::joiner : Process::child;
        const ProcessFacts& process = schedule_.process(made);
        const bool vm = process.memory == Memory::callers || process.memory == Memory::joiners;
        bool in_cgroup = false;
        for (const Task& other : schedule_.tasks()) {
            in_cgroup =
                in_cgroup || (other.step == Step::enter_cgroup && other.call == Call::with_clone &&
                              process.maker == Process::caller);
        }
        std::string flags;
        const auto add = [&flags](bool has, std::string_view flag) {
            flags.append(has && !flags.empty() ? " | " : "").append(has ? flag : "");
        };
        add(vm, "CLONE_VM");
        add(vm || schedule_.roles.shares, "CLONE_VFORK");
        add(process.clear_sighand, "CLONE_CLEAR_SIGHAND");
        add(process.sibling, "CLONE_PARENT");
        add(in_cgroup, "CLONE_INTO_CGROUP");
        add(made == Process::child && !schedule_.roles.by_clone.empty(),
            names_of(schedule_.roles.by_clone, " | "));
        std::string text{task.call == Call::clone3 ? "clone3" : "clone"};
        text.append(flags.empty() ? "" : "(").append(flags).append(flags.empty() ? "" : ")");
        if (task.step == Step::make_joiner) { // it ends before its maker goes on
            const bool copy = schedule_.roles.first == Memory::copy;
            text.append(copy && plan_.deadline.count() != 0 ? ", ppoll" : "");
            text.append(schedule_.roles.shares ? ", wait4"
                        : copy                 ? ", waitid, pidfd_open"
                                               : ", waitid");
        }
        return text;
    }

    /// One call that joins, as "setns(pidfd of 4711, user | mnt)".
    [[nodiscard]] auto join(const Task& task) const -> std::string {
        const JoinSource& source = plan_.source(task.slot.kind());
        std::string text{is_first_of_caller(task) ? "unshare(CLONE_FS), setns(" : "setns("};
        if (task.slot.is_opened()) {
            text.append("descriptor of ").append(facts(task.slot.kind()).name).append(" of pid ");
            text.append(std::to_string(source.target_pid));
        } else if (task.call == Call::setns_pidfd) {
            text.append("pidfd of pid ").append(std::to_string(source.target_pid));
        } else {
            text.append("descriptor ").append(std::to_string(source.fd.get()));
        }
        return text.append(", ").append(names_of(task.kinds, " | ")).append(")");
    }

    /// Whether it is the first call by which a caller joins that stays there.
    [[nodiscard]] auto is_first_of_caller(const Task& task) const -> bool {
        for (const Task& other : schedule_.tasks()) {
            if (is_join(other.step)) {
                return other.process == Process::caller && other == task;
            }
        }
        return false;
    }

    /// What passes between the child and the caller has two ends, of which this is the caller's.
    [[nodiscard]] auto callers_end(const Task& task) const -> std::string {
        switch (task.step) {
        case Step::await_maps:
            return schedule_.roles.offsets_by_caller ? "sendmsg(SCM_RIGHTS)" : "sendto";
        case Step::report:
            return "ppoll, recvfrom";
        case Step::offer_errors:
            return "ppoll, recvmsg(SCM_RIGHTS)";
        default:
            return "ppoll, read";
        }
    }

    /// The calls of a step that depend on more than the step.
    [[nodiscard]] auto calls_of_step(const Task& task) const -> std::string {
        std::string usual{facts(task.step).system};
        const bool shares = schedule_.roles.shares;
        switch (task.step) {
        case Step::make_joiner:
        case Step::make_child:
            return clone(task);
        case Step::make_opener:
            return usual + (task.call == Call::clone3 ? ", clone3" : ", clone");
        case Step::await_maps:
            return schedule_.roles.offsets_by_caller ? "ppoll, recvmsg(SCM_RIGHTS)" : usual;
        case Step::set_death_signal:
            return shares ? usual + ", ppoll" : usual; // for a caller that has ended already
        case Step::set_gid:
        case Step::set_uid: // of those that are not to be traced
            return schedule_.process(Process::child).not_dumpable ? usual + ", prctl" : usual;
        case Step::verify_ids:
            return gives_up_capabilities() ? "capset, " + usual : usual;
        case Step::set_signals:
            return shares ? usual : "write, " + usual; // tells the caller
        case Step::execute:
            return command_->program.path() != nullptr ? "execve" : "execveat";
        default:
            return usual;
        }
    }

    [[nodiscard]] auto gives_up_capabilities() const noexcept -> bool {
        const auto& ids = plan_.credentials;
        return ids && ids->uid && *ids->uid != 0 && !plan_.keep_capabilities;
    }

    [[nodiscard]] auto system(const Task& task) const -> std::string {
        switch (task.call) {
        case Call::with_clone:
            return "by that call";
        case Call::none:
            return "none";
        case Call::tell:
        case Call::hear:
            return callers_end(task);
        case Call::of_the_child:
            return task.step == Step::set_oom_score_adj ? "openat, write(/proc/PID/oom_score_adj)"
                                                        : "openat(/proc/PID/timens_offsets), ppoll";
        default:
            break;
        }
        if (is_create(task.step)) {
            return "unshare(" + names_of(task.kinds, " | ") + ")";
        }
        return is_join(task.step) ? join(task) : calls_of_step(task);
    }

    [[nodiscard]] auto reason(std::size_t place) const -> std::string {
        const Task& task = schedule_.list[place];
        if (task.call == Call::tell || task.call == Call::hear) {
            return task.call == Call::tell
                       ? "before \"wait for the caller's word\": it is what the "
                         "child waits for"
                       : "after what the child does there: it is what tells of "
                         "it";
        }
        if (is_join(task.step) && task.kinds.size() > 1) {
            return task.kinds.contains(Kind::user)
                       ? "one call, all or nothing: the rights that the caller has and those that "
                         "the joined user namespace gives count together, so there is no order "
                         "among them"
                       : "one call, all or nothing: there is no order among them";
        }
        if (task.call == Call::again) {
            return "after \"set the uid\": only if it was refused before, as the last ids may be "
                   "the only ones that may search it";
        }
        if (task.may_wait && is_join(task.step)) {
            return "the kernel can't tell who owns it: tried before user, and again after it if "
                   "EPERM";
        }
        return by_rights(place);
    }

    /// Of a single kind beside the user namespace, where the rights decide.
    [[nodiscard]] auto by_rights(std::size_t place) const -> std::string {
        const Task& task = schedule_.list[place];
        bool user_before = false;
        for (std::size_t i = 0; i < place; ++i) {
            user_before = user_before || does(schedule_.list[i], Step::join_user);
        }
        if (is_join(task.step) && task.step != Step::join_user &&
            schedule_.roles.joining.contains(Kind::user)) {
            return user_before ? "after \"join user\": the rights over it come with the joined "
                                 "user namespace"
                               : "before \"join user\": the caller has the rights over it now, and "
                                 "loses them with the user namespace that it leaves";
        }
        const Placement found = placement_of(schedule_, place);
        if (found.constraint == nullptr) {
            return task.step == Step::report ? "after everything else: the child returns only when "
                                               "all of it is done"
                                             : "";
        }
        std::string text{found.other < place ? "after \"" : "before \""};
        const Task& other = schedule_.list[found.other];
        return text.append(what(other)).append("\": ").append(found.constraint->why);
    }

    const Draft& plan_;
    const Command* command_;
    const Schedule& schedule_;
};

[[nodiscard]] inline auto numbered(int number) -> std::string {
    return (number < 10 ? "  " : " ") + std::to_string(number) + ". ";
}

/// How the same is joined where the kernel refuses one call for several kinds.
inline void explain_otherwise(std::string& text, const Draft& plan, const Outline& outline,
                              Facts facts) {
    facts.join_by = JoinBy::descriptor;
    const Schedule other = schedule(outline, facts);
    text.append(
        "        where the kernel refuses that (before Linux 5.8, a seccomp filter), through "
        "descriptors opened before:\n");
    for (std::size_t i = 0; i < other.count; ++i) {
        if (is_join(other.list[i].step)) {
            Words{plan, nullptr, other}.append(text, "      - ", i);
        }
    }
}

/// Which namespaces, and what is in the way.
[[nodiscard]] inline auto explain_kinds(const Outline& outline, const Schedule& schedule,
                                        const Result<void>& asked) -> std::string {
    const KindSet joining = schedule.roles.joining;
    std::string text{"join "};
    text.append(joining.empty() ? "nothing" : names_of(joining));
    const KindSet same = outline.joined - joining;
    if (!same.empty()) {
        text.append(" (the caller is in the same ").append(names_of(same)).append(")");
    }
    text.append("; create ");
    text.append(outline.created.empty() ? "nothing" : names_of(outline.created)).append("\n");
    const Result<void> failure = asked && schedule.refused != Reason::system
                                     ? Result<void>{fail(Step::check_plan, schedule.refused)}
                                     : asked;
    if (!failure) {
        text.append("this will fail: ").append(nsjoin::explain(failure.error())).append("\n");
    }
    return text;
}

/// On whose memory the processes of a program run, and why.
[[nodiscard]] inline auto whose_memory(const Outline& plan, const Roles& roles) noexcept -> const
    char* {
    if (roles.shares) {
        return roles.first == Memory::callers
                   ? "on the caller's memory (CLONE_VM | CLONE_VFORK), nothing is copied\n"
                   : "on one copy of the caller's memory: who shares memory can't join a time "
                     "namespace\n";
    }
    if (!plan.lends_memory && exposes_child(plan, roles)) {
        return "in a copy of the caller's memory: the target's processes could reach one on that "
               "memory itself; a Launcher starts programs without a copy\n";
    }
    return "in a copy of the caller's memory: a new time namespace, id maps, oom_score_adj, a "
           "deadline or mount sources need a process with memory of its own\n";
}

/// What is asked, and the schedule that follows, in words.
[[nodiscard]] inline auto explain_plan(const Draft& plan, const Command* command) -> std::string {
    const Outline outline = command == nullptr ? outline_of(plan) : outline_of(plan, *command);
    Facts facts;
    OpenedSpaces opened;
    Result<void> asked = ask(plan, outline, facts, opened);
    if (asked && !outline.joined.empty()) {
        asked = look_at_spaces(plan, opened, facts);
    }
    if (!asked) { // what it would do
        facts.same = {};
        facts.join_by = outline.single_target() ? JoinBy::one_call : JoinBy::descriptor;
    }
    const Schedule now = schedule(outline, facts);
    std::string text{outline.program ? whose_memory(outline, now.roles) : ""};
    text.append(explain_kinds(outline, now, asked));
    if (now.roles.user_changes && !outline.said.contains(Step::new_session)) {
        text.append(
            "the child keeps the caller's controlling terminal, if it has one, and can type "
            "into it (CVE-2017-5226): a new session or a console keeps it out\n");
    }
    bool several = false;
    for (std::size_t i = 0; i < now.count; ++i) {
        const bool join = is_join(now.list[i].step);
        several = several || (join && now.list[i].kinds.size() > 1);
        Words{plan, command, now}.append(text, numbered(static_cast<int>(i) + 1), i);
        const bool last = join && (i + 1 == now.count || !is_join(now.list[i + 1].step));
        if (last && several && asked) {
            explain_otherwise(text, plan, outline, facts);
        }
    }
    return text;
}

} // namespace detail

/// A plan in words: each task in its order, which process does it, the system call and the reason
/// for its place. Asks the kernel what join_and_clone() would ask, and which of the namespaces
/// differ from the caller's and who owns them; does nothing. Allocates.
[[nodiscard]] inline auto explain(const Plan& plan) -> std::string {
    return detail::explain_plan(plan.parts(), nullptr);
}

/// The same as join_and_exec() runs it: on whose memory the processes run and why, and how the
/// child becomes the program. Allocates.
[[nodiscard]] inline auto explain(const Plan& plan, const Command& command) -> std::string {
    return detail::explain_plan(plan.parts(), &command);
}

} // namespace nsjoin

#endif // NSJOIN_EXPLAIN_HPP
