// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXPLAIN_HPP
#define NSJOIN_EXPLAIN_HPP

#include <nsjoin/command.hpp>
#include <nsjoin/detail/engine/ask.hpp>
#include <nsjoin/detail/engine/program.hpp>
#include <nsjoin/detail/kernel/reasons.hpp>
#include <nsjoin/explain/words.hpp>
#include <nsjoin/plan.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace nsjoin::inline v0_1 {

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
    const bool has_code = error.reason == Reason::inside_failed && error.code != 0;
    if (error.reason == Reason::refused_by_policy || has_code) {
        text.append(detail::errno_name(error.code)).append(": ");
    }
    text.append(detail::reason_text(error.reason));
    if (error.reason == Reason::process_died) {
        text.append(detail::how_it_ended(error.code).view());
    }
    const bool ended = error.reason == Reason::process_died && ExitStatus{error.code}.exited();
    const bool silent =
        error.reason == Reason::deadline_passed && error.subject.view() != "the launcher";
    if (error.step == Step::start_program && (ended || silent)) {
        text.append(": it needs the constructor, of the dialect that it is started with, or "
                    "NSJOIN_LAUNCHER() to be a launcher");
    }
    return text;
}

namespace detail {

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
        text.append(" (the caller is already in: ").append(names_of(same)).append(")");
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
           "deadline, mount sources or a function of the plan's need a process with memory of its "
           "own\n";
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
