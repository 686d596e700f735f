// SPDX-License-Identifier: Apache-2.0
// pages errors | order | edges: writes the pages of the reference that come from the library's own
// tables, and the edges of its picture of the order for dot(1).
#include <nsjoin/explain.hpp>
#include <nsjoin/order.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using nsjoin::Reason;
using nsjoin::Step;
using nsjoin::When;

namespace {

constexpr std::array reason_names{"system",
                                  "joined_twice",
                                  "joined_and_created",
                                  "maps_without_user",
                                  "offsets_without_time",
                                  "no_such_kind",
                                  "not_a_namespace",
                                  "wrong_kind",
                                  "map_empty",
                                  "map_zero_count",
                                  "map_overflow",
                                  "map_overlap",
                                  "map_too_long",
                                  "id_not_mapped",
                                  "ids_differ",
                                  "groups_denied",
                                  "no_capability",
                                  "capabilities_differ",
                                  "not_a_terminal",
                                  "not_procfs",
                                  "not_a_cgroup",
                                  "frozen",
                                  "refused_by_policy",
                                  "process_gone",
                                  "first_thread_ended",
                                  "process_died",
                                  "helper_failed",
                                  "helper_powerless",
                                  "no_helper",
                                  "deadline_passed",
                                  "end_of_file",
                                  "init_has_no_sibling",
                                  "pending_pid",
                                  "many_threads",
                                  "outside_root",
                                  "already_reaped",
                                  "bad_value",
                                  "no_way_back",
                                  "not_root_inside",
                                  "bad_message",
                                  "no_subordinate_ids",
                                  "inside_failed",
                                  "no_launcher",
                                  "not_dumpable"};
static_assert(reason_names.size() == static_cast<std::size_t>(nsjoin::detail::last_reason) + 1);

constexpr std::array<std::pair<When, const char*>, 18> conditions{{
    {When::rights_granted, "joining the user namespace gives the rights over the others"},
    {When::rights_taken, "joining the user namespace takes them away"},
    {When::joiner_first, "the child is made when all is joined"},
    {When::child_first, "the child joins by itself"},
    {When::own_memory, "the first process has memory of its own"},
    {When::callers_memory, "the first process is on the caller's memory"},
    {When::time_by_child, "the child creates the time namespace"},
    {When::time_by_first, "the first process creates the time namespace"},
    {When::oom_by_first, "the first process sets its oom_score_adj"},
    {When::oom_by_caller, "the caller sets the oom_score_adj"},
    {When::offsets_by_first, "the first process writes the time offsets"},
    {When::offsets_by_caller, "the caller writes the time offsets"},
    {When::mount_alone, "the mount namespace has a call of its own"},
    {When::mount_with_user, "one call joins user and mount"},
    {When::for_program, "the child becomes a program"},
    {When::for_caller, "the child goes on in the caller's code"},
    {When::filter_last, "the filter needs no right"},
    {When::filter_before_ids, "the filter needs CAP_SYS_ADMIN"},
}};

/// In a cell of a table.
auto cell(std::string_view text) -> std::string {
    std::string result;
    for (const char c : text) {
        result += c == '|' ? "\\|" : std::string(1, c);
    }
    return result;
}

auto errors_page() -> std::string {
    std::string page =
        "# Errors\n\nAn `Error` has a `Step`, what that was done to, a `Reason`, and where that is "
        "`Reason::system` an errno. `explain(error)` prints\nthem in one line, with what is in "
        "this "
        "page. It comes from the library's tables: `tests/reference` compares.\n\n## Reasons\n\n| "
        "reason | what it says |\n| --- | --- |\n";
    for (std::size_t i = 1; i < reason_names.size(); ++i) {
        page += std::string{"| `"} + reason_names[i] + "` | " +
                cell(nsjoin::detail::reason_text(static_cast<Reason>(i))) + " |\n";
    }
    page += "\n## What an errno means at a step\n\n| step | system calls | errno | cause, and what "
            "helps |\n| --- | --- | --- | --- |\n";
    std::map<int, std::string_view> general;
    for (const nsjoin::StepFacts& step : nsjoin::step_table) {
        for (int code = 1; code < 134; ++code) {
            if (const std::string_view why = nsjoin::detail::hint(step.step, code); !why.empty()) {
                page += "| " + cell(step.name) + " | " + cell(step.system) + " | " +
                        std::string{nsjoin::detail::errno_name(code)} + " | " + cell(why) + " |\n";
            }
            if (const std::string_view why = nsjoin::detail::general_hint(code); !why.empty()) {
                general[code] = why;
            }
        }
    }
    page += "\n## What an errno means at any other\n\n| errno | cause, and what helps |\n| --- | "
            "--- |\n";
    for (const auto& [code, why] : general) {
        page += "| " + std::string{nsjoin::detail::errno_name(code)} + " | " + cell(why) + " |\n";
    }
    return page;
}

auto words_of(When when) -> std::string {
    std::string text;
    for (const auto& [condition, words] : conditions) {
        if ((static_cast<unsigned>(when) & static_cast<unsigned>(condition)) != 0) {
            text += (text.empty() ? "" : "; ") + std::string{words};
        }
    }
    return text.empty() ? "always" : text;
}

auto order_page() -> std::string {
    std::string page =
        "# The order\n\nThe steps of a plan are sorted by these constraints (`constraints.hpp`); "
        "`explain(plan)` prints the one that puts a step where it is.\nThis page comes from the "
        "table: `tests/reference` compares.\n\n![The steps of a plan, each above those that wait "
        "for it](order.svg)\n\n| before | after | when | why |\n| --- | --- | --- | --- |\n";
    for (const nsjoin::Constraint& one : nsjoin::constraints) {
        page += "| " + cell(facts(one.before).name) + " | " + cell(facts(one.after).name) + " | " +
                words_of(one.when) + " | " + cell(one.why) + " |\n";
    }
    return page;
}

/// Of a child that a joiner makes, which is inside when all is joined, and of what is done in it.
auto edges() -> std::string {
    const When now = nsjoin::circumstances(nsjoin::UserRights::granted);
    std::string text = "digraph order {\n  rankdir=TB\n  nodesep=0.2\n  ranksep=0.3\n  node "
                       "[shape=box, fontname=sans]\n";
    for (const nsjoin::Constraint& one : nsjoin::constraints) {
        if (nsjoin::holds(one.when, now)) {
            text += "  \"" + std::string{facts(one.before).name} + "\" -> \"" +
                    std::string{facts(one.after).name} + "\"\n";
        }
    }
    return text + "}\n";
}

} // namespace

auto main(int count, char** words) -> int {
    const std::string_view which{count == 2 ? words[1] : ""};
    const std::string text = which == "errors"  ? errors_page()
                             : which == "order" ? order_page()
                             : which == "edges" ? edges()
                                                : "";
    std::fputs(text.empty() ? "usage: pages errors | order | edges\n" : text.c_str(),
               text.empty() ? stderr : stdout);
    return text.empty() ? EXIT_FAILURE : EXIT_SUCCESS;
}
