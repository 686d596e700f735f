// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/console.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include "engine_support.hpp"
#include "tracer.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

using nsjoin::Error;
using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::NewUser;
using nsjoin::Plan;
using nsjoin::Reason;
using nsjoin::Step;
using nsjoin::Subject;

namespace {

constexpr auto last_reason = static_cast<int>(nsjoin::detail::last_reason);
constexpr int last_errno = 133;
constexpr std::size_t nowhere = std::string::npos;

/// A numbered step of an explanation: "  4. caller: make the joiner  [clone(...)]", and the line
/// with the reason below it, if there is one.
struct Line {
    std::string process;
    std::string name;
    std::string system;
    std::string why;
};

auto lines_of(const std::string& text) -> std::vector<Line> {
    std::vector<Line> lines;
    std::istringstream stream{text};
    std::string line;
    std::getline(stream, line); // what is joined and created
    while (std::getline(stream, line)) {
        const std::string label = std::to_string(lines.size() + 1) + ". ";
        const std::size_t at = line.find(label);
        const std::size_t colon = line.find(": ");
        const std::size_t bracket = line.find("  [");
        if (at <= 2 && colon != nowhere && bracket != nowhere && line.back() == ']') {
            const std::size_t start = at + label.size();
            lines.push_back({line.substr(start, colon - start),
                             line.substr(colon + 2, bracket - colon - 2),
                             line.substr(bracket + 3, line.size() - bracket - 4),
                             {}});
        } else if (!lines.empty() && lines.back().why.empty()) {
            lines.back().why = line;
        }
    }
    return lines;
}

/// Whether the line is about the step; a join of several kinds is each of its steps, and so is what
/// creates several.
auto is_about(const Line& line, const std::string& name) -> bool {
    if (line.name == name) {
        return true;
    }
    for (const std::string verb : {"join ", "create "}) {
        if (name.starts_with(verb) && line.name.starts_with(verb)) {
            const std::string kinds = " " + line.name.substr(verb.size()) + ",";
            return kinds.find(" " + name.substr(verb.size()) + ",") != nowhere;
        }
    }
    return false;
}

/// Where the step stands, or nowhere.
auto place_of(const std::vector<Line>& lines, const std::string& name) -> std::size_t {
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (is_about(lines[i], name)) {
            return i;
        }
    }
    return nowhere;
}

/// The step that a reason names, in quotes.
auto named_in(const std::string& why) -> std::string {
    const std::size_t begin = why.find('"');
    const std::size_t end = why.find('"', begin + 1);
    return begin == nowhere || end == nowhere ? "" : why.substr(begin + 1, end - begin - 1);
}

struct Handles {
    support::Container container{KindSet{nsjoin::all_kinds}};
    nsjoin::PidFd target = std::move(*nsjoin::PidFd::open(container.pid()));
    nsjoin::OwnedFd root{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    nsjoin::Console console = std::move(*nsjoin::Console::open());
    support::Cgroup cgroup{"/sys/fs/cgroup/unified"};
    support::Cgroup old_cgroup{"/sys/fs/cgroup/pids"};
};

struct Case {
    std::string what;
    Plan plan;
};

auto root_map() -> NewUser {
    return {.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}};
}

auto cases(const Handles& h) -> std::vector<Case> {
    const nsjoin::TimeOffsets offsets{std::chrono::seconds{5}, std::chrono::seconds{0}};
    const auto root = h.root.borrow();
    std::vector<Case> cases{
        {"nothing", JoinPlan{}},
        {"all kinds", JoinPlan{}.join(h.target, nsjoin::all_kinds)},
        {"seven kinds",
         JoinPlan{}.join(h.target, nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net,
                                                 Kind::ipc, Kind::uts, Kind::cgroup>)},
        {"one kind, other ids", JoinPlan{}
                                    .join(h.target, nsjoin::kinds<Kind::uts>)
                                    .as({.uid = 1000, .gid = 1000, .groups = {5}})
                                    .death_signal(SIGKILL)
                                    .name("name")},
        {"create, with maps",
         JoinPlan{}.create(root_map()).create<Kind::mount, Kind::pid, Kind::uts>().new_session()},
        {"create, with an oom_score_adj", JoinPlan{}.create(root_map()).oom_score_adj(5)},
        {"create, with time offsets",
         JoinPlan{}.create(root_map()).create<Kind::time>().time_offsets(offsets)},
        {"create without a user namespace", JoinPlan{}
                                                .create<Kind::mount, Kind::cgroup, Kind::time>()
                                                .time_offsets(offsets)
                                                .root(root)
                                                .working_directory(root)
                                                .oom_score_adj(5)},
        {"join, and create with time offsets", JoinPlan{}
                                                   .join(h.target, nsjoin::kinds<Kind::net>)
                                                   .create(root_map())
                                                   .create<Kind::time>()
                                                   .time_offsets(offsets)},
        {"join, and create time", JoinPlan{}
                                      .join(h.target, nsjoin::kinds<Kind::net>)
                                      .create<Kind::time>()
                                      .time_offsets(offsets)},
        {"join user, and create", JoinPlan{}
                                      .join(h.target, nsjoin::kinds<Kind::user>)
                                      .create<Kind::uts, Kind::ipc>()
                                      .oom_score_adj(5)},
        {"create a user namespace without a map",
         JoinPlan{}.create<Kind::user, Kind::net, Kind::ipc, Kind::cgroup>()},
        {"create what a clone makes", JoinPlan{}.create<Kind::net, Kind::ipc, Kind::uts>()},
        {"create what it does not", JoinPlan{}.create<Kind::cgroup, Kind::time>()},
        {"join one, and create", JoinPlan{}
                                     .join(h.target, nsjoin::kinds<Kind::net>)
                                     .create<Kind::ipc, Kind::cgroup, Kind::mount>()},
        {"oom_score_adj alone", JoinPlan{}.oom_score_adj(5)},
        {"a console", JoinPlan{}.console(h.console.peer.fd()).death_signal(SIGKILL)},
    };
    for (const support::Cgroup* const cgroup : {&h.cgroup, &h.old_cgroup}) {
        if (!cgroup->ok()) {
            support::skip("no cgroup can be made at " + cgroup->path());
            continue;
        }
        const auto in = JoinPlan{}.cgroup(cgroup->fd());
        cases.push_back({"in a cgroup", in});
        cases.push_back(
            {"in a cgroup, with its root", in.create<Kind::cgroup, Kind::net>().oom_score_adj(5)});
        cases.push_back({"in a cgroup, join one", in.join(h.target, nsjoin::kinds<Kind::net>)});
        cases.push_back({"in a cgroup, join all", in.join(h.target, nsjoin::all_kinds)});
    }
    return cases;
}

auto is_root() -> bool {
    if (::geteuid() != 0) {
        support::skip("joins of every kind need root");
        return false;
    }
    return true;
}

/// The system calls that can be told apart by their number, and that nobody makes by the way.
struct Call {
    const char* name;
    long number;
};

constexpr std::array calls{
    Call{"setns", SYS_setns},           Call{"unshare", SYS_unshare},
    Call{"setsid", SYS_setsid},         Call{"setgroups", SYS_setgroups},
    Call{"setresgid", SYS_setresgid},   Call{"setresuid", SYS_setresuid},
    Call{"capset", SYS_capset},         Call{"chroot", SYS_chroot},
    Call{"socketpair", SYS_socketpair}, Call{"clone3", SYS_clone3},
};

/// The names of those calls, by process, in their order; what comes twice in a row stands once.
using Made = std::map<std::string, std::vector<std::string>>;

void add(Made& made, const std::string& process, const char* name) {
    std::vector<std::string>& list = made[process];
    if (list.empty() || list.back() != name) {
        list.emplace_back(name);
    }
}

/// Whether `word` is in the text, and is not a part of a longer one.
auto has_word(const std::string& text, const std::string& word) -> bool {
    const std::size_t at = text.find(word);
    return at != nowhere && (at == 0 || text[at - 1] == ' ') &&
           (at + word.size() == text.size() ||
            std::strchr("(, ", text[at + word.size()]) != nullptr);
}

auto explained_calls(const std::vector<Line>& lines) -> Made {
    Made made;
    for (const Line& line : lines) {
        for (const Call& call : calls) {
            if (has_word(line.system, call.name)) {
                add(made, line.process, call.name);
            }
        }
    }
    return made;
}

/// Gives the process an inheritable capability, so that there is one to clear.
auto make_inheritable() -> bool {
    nsjoin::detail::CapHeader header;
    std::array<nsjoin::detail::CapData, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) {
        return false;
    }
    data[0].inheritable = data[0].permitted;
    return ::syscall(SYS_capset, &header, data.data()) == 0;
}

auto run_marked(const Plan& plan) -> int {
    (void)::syscall(SYS_getppid);
    auto side = support::clone(plan);
    (void)::syscall(SYS_getppid);
    if (side && side->is_child()) {
        ::_exit(0);
    }
    return side && side->child().wait() ? 0 : 1;
}

/// The calls that a run of the plan makes, from the beginning of join_and_clone() to its return in
/// the caller and in the child, which calls of getppid mark. Run it in a process of its own.
auto traced_calls(const Plan& plan, bool has_joiner) -> Made {
    const support::Traced run =
        support::Tracer{}.run([&] { return run_marked(plan); }, static_cast<std::size_t>(-1));
    Made made;
    std::map<pid_t, int> marks;
    std::vector<pid_t> order;
    for (const support::Stop& stop : run.stops) {
        if (!stop.entry) {
            continue;
        }
        if (std::find(order.begin(), order.end(), stop.pid) == order.end()) {
            order.push_back(stop.pid);
        }
        const bool caller = stop.pid == order.front();
        marks[stop.pid] += stop.number == SYS_getppid ? 1 : 0;
        if (marks[stop.pid] != (caller ? 1 : 0)) {
            continue;
        }
        const bool joiner = has_joiner && order.size() > 1 && stop.pid == order[1];
        for (const Call& call : calls) {
            if (call.number == stop.number) {
                add(made, caller ? "caller" : joiner ? "joiner" : "child", call.name);
            }
        }
    }
    return run.exit_code == 0 ? made : Made{};
}

auto text_of(const std::vector<std::string>& list) -> std::string {
    std::string text;
    for (const std::string& one : list) {
        text += one + " ";
    }
    return text;
}

/// Compares what is explained with what is made.
auto compare_calls(const Case& one) -> int {
    CHILD_CHECK(make_inheritable());
    const std::vector<Line> lines = lines_of(nsjoin::explain(one.plan));
    Made explained = explained_calls(lines);
    Made made = traced_calls(one.plan, place_of(lines, "make the joiner") != nowhere);
    int different = 0;
    for (const char* process : {"caller", "joiner", "child"}) {
        if (explained[process] != made[process]) {
            different = 1;
            std::fprintf(stderr, "%s: %s: explained: %s\n    made: %s\n", one.what.c_str(), process,
                         text_of(explained[process]).c_str(), text_of(made[process]).c_str());
        }
    }
    return different;
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
auto libc_name(int code) -> const char* {
    return ::strerrorname_np(code);
}
#else
auto libc_name(int) -> const char* {
    return nullptr;
}
#endif

} // namespace

TEST_CASE("an errno that means the same everywhere has a reason at every step") {
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        for (const int code : {EBADF, EMFILE, ENFILE, EROFS, ENOENT, ENOTDIR, ENOMEM, EACCES}) {
            const std::string text =
                nsjoin::explain(nsjoin::Error{row.step, nsjoin::Reason::system, code, {}});
            CAPTURE(text);
            const std::size_t name = text.rfind(": E");
            REQUIRE(name != std::string::npos);
            CHECK(text.find(": ", name + 2) != std::string::npos);
        }
    }
}

TEST_CASE("a plan in words: numbered steps with a process, a system call and no empty reason") {
    if (!is_root()) {
        return;
    }
    const Handles handles;
    for (const Case& one : cases(handles)) {
        CAPTURE(one.what);
        const std::string text = nsjoin::explain(one.plan);
        CAPTURE(text);
        const std::vector<Line> lines = lines_of(text);
        REQUIRE(lines.size() >= 4);
        CHECK(text.starts_with("join "));
        CHECK(text.back() == '\n');
        CHECK(text.find("this will fail") == nowhere);
        CHECK(lines.front().name == "check the plan");
        CHECK(lines.back().name == "wait for the report");
        for (const Line& line : lines) {
            CAPTURE(line.name);
            CHECK(
                (line.process == "caller" || line.process == "joiner" || line.process == "child"));
            CHECK_FALSE(line.system.empty());
            CHECK(line.why.size() > 20);
            CHECK(line.why.find("\": ") + 3 != line.why.size());
        }
    }
}

TEST_CASE("a plan in words: has what the plan says, once, and nothing else of it") {
    if (!is_root()) {
        return;
    }
    const Handles handles;
    for (const Case& one : cases(handles)) {
        CAPTURE(one.what);
        const nsjoin::Draft& parts = one.plan.parts();
        const std::vector<Line> lines = lines_of(nsjoin::explain(one.plan));
        const auto has = [&lines](Step step) {
            return place_of(lines, std::string{facts(step).name}) != nowhere;
        };
        for (const Kind kind : nsjoin::all_kinds.set) {
            CAPTURE(facts(kind).name);
            CHECK(has(join_step(kind)) == parts.joined().contains(kind));
            CHECK(has(create_step(kind)) == parts.created.contains(kind));
        }
        // Else the child joins by itself.
        const bool needs_joiner = (parts.joined() | parts.created).contains(Kind::pid) ||
                                  parts.created.intersects(Kind::user | Kind::time);
        CHECK(has(Step::make_joiner) == (needs_joiner && !parts.joined().empty()));
        CHECK(has(Step::set_oom_score_adj) == parts.oom_score_adj.has_value());
        CHECK(has(Step::write_uid_map) == parts.maps.has_value());
        CHECK(has(Step::write_gid_map) == parts.maps.has_value());
        CHECK(has(Step::write_time_offsets) == parts.time_offsets.has_value());
        CHECK(has(Step::new_session) == parts.new_session);
        CHECK(has(Step::set_root) == parts.root.ok());
        CHECK(has(Step::set_working_directory) == parts.working_directory.ok());
        CHECK(has(Step::set_name) == !parts.name.empty());
        CHECK(has(Step::set_death_signal) == (parts.death_signal != 0));
        std::set<std::string> names;
        for (const Line& line : lines) {
            CAPTURE(line.name);
            CHECK(names.insert(line.name).second);
        }
    }
}

TEST_CASE("a plan in words: a reason says after a step that came, before one that comes") {
    if (!is_root()) {
        return;
    }
    const Handles handles;
    for (const Case& one : cases(handles)) {
        CAPTURE(one.what);
        const std::vector<Line> lines = lines_of(nsjoin::explain(one.plan));
        for (std::size_t i = 0; i < lines.size(); ++i) {
            const std::size_t other = place_of(lines, named_in(lines[i].why));
            if (named_in(lines[i].why).empty()) {
                continue;
            }
            CAPTURE(lines[i].name);
            CAPTURE(lines[i].why);
            REQUIRE(other != nowhere);
            CHECK((lines[i].why.find("after \"") != nowhere ? other < i : other > i));
        }
    }
}

TEST_CASE("a plan in words: the reason is that of the nearest step before") {
    if (!is_root()) {
        return;
    }
    const Handles handles;
    for (const Case& one : cases(handles)) {
        CAPTURE(one.what);
        const std::vector<Line> lines = lines_of(nsjoin::explain(one.plan));
        for (const nsjoin::Constraint& c : nsjoin::constraints) {
            const std::size_t before = place_of(lines, std::string{facts(c.before).name});
            const std::size_t after = place_of(lines, std::string{facts(c.after).name});
            // The check of the plan comes before everything, which says little.
            if (c.when != nsjoin::When::always || c.before == Step::check_plan ||
                before == nowhere || after == nowhere || before >= after ||
                lines[after].name.starts_with("join ")) {
                continue;
            }
            CAPTURE(lines[after].name);
            CAPTURE(lines[after].why);
            CAPTURE(facts(c.before).name);
            const std::size_t said = place_of(lines, named_in(lines[after].why));
            REQUIRE(said != nowhere);
            CHECK(said >= before);
            CHECK(said < after);
        }
    }
}

TEST_CASE("a plan in words: the system calls are made, by the processes that it says") {
    if (!is_root()) {
        return;
    }
    const Handles handles;
    for (const Case& one : cases(handles)) {
        CAPTURE(one.what);
        CHECK(support::run_in_child([&] { return compare_calls(one); }) == 0);
    }
}

// In /proc, so that no count of system calls shows it.
TEST_CASE("a plan in words: who does what another process might do") {
    if (!is_root()) {
        return;
    }
    const Handles handles;
    const auto who = [](const Plan& plan, Step step) -> std::string {
        const std::vector<Line> lines = lines_of(nsjoin::explain(plan));
        const std::size_t at = place_of(lines, std::string{facts(step).name});
        return at == nowhere ? "nobody" : lines[at].process;
    };
    const auto join = JoinPlan{}.join(handles.target, nsjoin::kinds<Kind::pid>);
    const nsjoin::TimeOffsets offsets{std::chrono::seconds{5}, std::chrono::seconds{0}};
    const Plan user_and_time = join.create(root_map()).create<Kind::time>().time_offsets(offsets);
    CHECK(who(user_and_time, Step::open_time_offsets) == "caller");
    CHECK(who(join.create<Kind::time>().time_offsets(offsets), Step::open_time_offsets) ==
          "joiner");
    CHECK(who(join.create<Kind::time>().time_offsets(offsets), Step::write_time_offsets) ==
          "joiner");
    CHECK(who(JoinPlan{}.create<Kind::time>().time_offsets(offsets), Step::open_time_offsets) ==
          "child");
    CHECK(who(JoinPlan{}.create(root_map()).oom_score_adj(5), Step::set_oom_score_adj) == "caller");
    CHECK(who(JoinPlan{}.oom_score_adj(5), Step::set_oom_score_adj) == "child");
    CHECK(who(join.oom_score_adj(5), Step::set_oom_score_adj) == "joiner");
    // A joiner on the caller's memory shares the flag: the caller clears it before.
    CHECK(who(join, Step::clear_dumpable) == "caller");
    CHECK(who(join.oom_score_adj(5), Step::clear_dumpable) == "joiner");
    const auto net = JoinPlan{}.join(handles.target, nsjoin::kinds<Kind::net>);
    CHECK(who(net, Step::join_net) == "child");
    CHECK(who(net, Step::clear_dumpable) == "child");
    CHECK(who(net.oom_score_adj(5), Step::set_oom_score_adj) == "child");
}

TEST_CASE("a plan in words: to explain it does nothing, and says the same again") {
    const support::NothingLeft nothing_left;
    const nsjoin::PidFd self = std::move(*nsjoin::PidFd::open(::getpid()));
    const support::Spaces before = support::spaces_of("self");
    const Plan plan =
        JoinPlan{}.join(self, nsjoin::kinds<Kind::net, Kind::ipc>).create<Kind::user, Kind::uts>();
    const std::string text = nsjoin::explain(plan);
    CHECK(text == nsjoin::explain(plan));
    CHECK(
        text.starts_with("join nothing (the caller is already in: net, ipc); create user, uts\n"));
    CHECK(support::spaces_of("self") == before);
}

TEST_CASE("a plan in words: that its target has gone is said, and what it would do") {
    support::Container container{Kind::uts};
    if (!container.ok()) {
        support::skip("a target needs root");
        return;
    }
    const nsjoin::PidFd target = std::move(*nsjoin::PidFd::open(container.pid()));
    container.end();
    const std::string text =
        nsjoin::explain(JoinPlan{}.join(target, nsjoin::kinds<Kind::uts, Kind::pid>));
    CAPTURE(text);
    const std::size_t at = text.find("this will fail: ");
    REQUIRE(at != nowhere);
    CHECK(text.find("the process has ended\n", at) != nowhere);
    CHECK(text.find("check the plan") > at);
    // What it would do: the plan joins, so there is who does it.
    CHECK(text.starts_with("join pid, uts;"));
    CHECK(place_of(lines_of(text), "make the joiner") != nowhere);
}

TEST_CASE("an error in words: every reason has a text of its own") {
    std::set<std::string> texts;
    for (int reason = 1; reason <= last_reason; ++reason) {
        CAPTURE(reason);
        const Error error{Step::check_plan, static_cast<Reason>(reason), 0, {}};
        const std::string text = nsjoin::explain(error);
        CHECK(text.size() > std::string{"check the plan: "}.size() + 10);
        CHECK(texts.insert(text).second);
    }
    CHECK(nsjoin::detail::reason_text(Reason::system).empty());
    CHECK(nsjoin::detail::reason_text(static_cast<Reason>(last_reason + 1)).empty());
}

TEST_CASE("an error in words: no errno has a wrong name") {
    if (libc_name(EPERM) == nullptr) {
        support::skip("this libc does not tell the names of errnos");
        return;
    }
    for (int code = 1; code <= last_errno; ++code) {
        const std::string name{nsjoin::detail::errno_name(code)};
        const char* const libc = libc_name(code);
        CAPTURE(code);
        CAPTURE(name);
        CHECK((name == "errno " || (libc != nullptr && name == libc)));
    }
}

TEST_CASE("an error in words: every errno is said by name") {
    if (libc_name(EPERM) == nullptr) {
        support::skip("this libc does not tell the names of errnos");
        return;
    }
    std::string nameless;
    for (int code = 1; code <= last_errno; ++code) {
        const char* const libc = libc_name(code);
        const std::string text = nsjoin::explain(Error{Step::report, Reason::system, code, {}});
        if (libc != nullptr &&
            (text + ": ").rfind("report to the caller: " + std::string{libc} + ": ", 0) != 0) {
            nameless += std::string{libc} + " ";
        }
    }
    CHECK(nameless == std::string{});
}

TEST_CASE("an error in words: a number where there is no name") {
    for (const int code : {0, 41, 134, 4096, -1, -4711}) {
        CHECK(nsjoin::explain(Error{Step::report, Reason::system, code, {}}) ==
              "report to the caller: errno " + std::to_string(code));
    }
}

TEST_CASE("an error in words: an errno that there is a hint for has a name") {
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        for (int code = 1; code <= last_errno; ++code) {
            const std::string hint{nsjoin::detail::hint(row.step, code)};
            if (!hint.empty()) {
                CAPTURE(row.name);
                CAPTURE(hint);
                CHECK(nsjoin::detail::errno_name(code) != std::string_view{"errno "});
            }
        }
    }
}

TEST_CASE("an error in words: one line that ends well, for every step, errno and reason") {
    const std::array<Subject, 3> subjects{Subject{}, Subject{"pid 1"},
                                          Subject{std::string(500, 'x')}};
    std::string bad;
    const auto look = [&bad](const Error& error) {
        const std::string text = nsjoin::explain(error);
        const std::string start{facts(error.step).name};
        const bool good = text.starts_with(start) && text.find('\n') == nowhere &&
                          std::strchr(" :;,(", text.back()) == nullptr &&
                          text.find("  ") == nowhere && text.find(": :") == nowhere &&
                          text.find(" ()") == nowhere && text.find(error.subject.view()) != nowhere;
        bad += good ? "" : text + "|";
    };
    for (const nsjoin::StepFacts& row : nsjoin::step_table) {
        for (const Subject& subject : subjects) {
            for (int code = -1; code <= last_errno + 1; ++code) {
                look({row.step, Reason::system, code, subject});
            }
            for (int reason = 1; reason <= last_reason; ++reason) {
                look({row.step, static_cast<Reason>(reason), 0, subject});
            }
        }
    }
    CHECK(bad == std::string{});
}

TEST_CASE("an error in words: how a process died") {
    const auto died = [](int status) {
        return nsjoin::explain(
            Error{Step::make_joiner, Reason::process_died, status, Subject{"the joiner"}});
    };
    CHECK(died(SIGKILL) == "make the joiner (the joiner): the process died before it was through "
                           "(signal 9)");
    CHECK(died(SIGSEGV | 0x80).ends_with("(signal 11)")); // and dumped core
    CHECK(died(3 << 8).ends_with("(exit code 3)"));
    CHECK(died(0).ends_with("(exit code 0)"));
    CHECK(died(-1).ends_with("before it was through")); // nobody knows how
    const auto not_started = [](int status) {
        return nsjoin::explain(
            Error{Step::start_program, Reason::process_died, status, Subject{"the launcher"}});
    };
    CHECK(not_started(1 << 8).find("it needs the constructor") != std::string::npos);
    CHECK(not_started(SIGKILL).ends_with("(signal 9)"));
    CHECK(not_started(-1).ends_with("before it was through"));
}

TEST_CASE("an error in words: what to do") {
    const auto text = [](Step step, int code) {
        return nsjoin::explain(Error{step, Reason::system, code, Subject{"pid 4711"}});
    };
    CHECK(text(Step::join_mount, EPERM) ==
          "join mnt (pid 4711): EPERM: needs CAP_SYS_ADMIN over the namespace's owner, and "
          "CAP_SYS_CHROOT and CAP_SYS_ADMIN in the caller's user namespace: join the target's user "
          "namespace too, or run as root");
    CHECK(text(Step::join_net, EPERM).find("CAP_SYS_CHROOT") == nowhere);
    CHECK(text(Step::join_pid, EINVAL).find("descendant") != nowhere);
    CHECK(text(Step::create_user, ENOSPC).find("/proc/sys/user") != nowhere);
    CHECK(text(Step::create_net, EPERM).find("create a user namespace too") != nowhere);
    CHECK(text(Step::create_time, EINVAL).find("no namespaces of this kind") != nowhere);
    CHECK(text(Step::open_pidfd, ESRCH) == "open a pidfd (pid 4711): ESRCH: there is no such "
                                           "process");
    CHECK(text(Step::open_pidfd, ENOSYS).find("5.3") != nowhere);
    CHECK(text(Step::write_gid_map, EPERM).find("CAP_SETGID") != nowhere);
    CHECK(text(Step::set_oom_score_adj, EACCES).find("CAP_SYS_RESOURCE") != nowhere);
    CHECK(text(Step::make_child, EAGAIN).find("RLIMIT_NPROC") != nowhere);
    CHECK(text(Step::set_console, EPERM).find("another session") != nowhere);
    // Where nothing more is known, no more is said.
    CHECK(text(Step::write_time_offsets, EINTR) == "write timens_offsets (pid 4711): EINTR");
    CHECK(text(Step::create_net, EINTR) == "create net (pid 4711): EINTR");
}

TEST_CASE("a child of another user namespace that keeps the caller's terminal is named") {
    const auto names_terminal = [](const nsjoin::Plan& plan) {
        return nsjoin::explain(plan).find("CVE-2017-5226") != std::string::npos;
    };
    const auto user = nsjoin::JoinPlan{}.create(support::own_root());
    CHECK(names_terminal(user));
    CHECK_FALSE(names_terminal(user.new_session()));
    CHECK_FALSE(names_terminal(nsjoin::JoinPlan{}.create<nsjoin::Kind::uts>()));
}
