// SPDX-License-Identifier: Apache-2.0
// Disturbs the library at each system call that it makes, in each way that a call or a process can
// be disturbed, and looks from outside and inside whether its promises hold.
//
//     faults [--list] [--scenario PART] [--every N] [--acts LIST] [--jobs N] [--index N]
//            [--table FILE]
//
// Without --every, NSJOIN_TEST_DEPTH says how dense the sweep is. --index repeats one disturbance,
// by the number that a line FAIL has; --table writes what came of all into a page.
#include "faults/judge.hpp"
#include "faults/table.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace faults;

struct Options {
    bool list = false;
    std::string scenario;
    std::size_t every = 1;
    std::string acts = "fail,part,kill,stop,signal,limits,twice";
    std::size_t jobs = static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN));
    long index = -1;
    std::string table;
};

constexpr std::size_t most_injections = 100'000;

/// What the harness processes of a scenario share.
// NOLINTNEXTLINE(*-member-init): fresh pages
struct Shared {
    std::atomic<std::size_t> next{0};
    std::atomic<std::size_t> runs{0};
    std::atomic<std::size_t> reached{0};
    std::atomic<std::size_t> kills{0};
    std::atomic<std::size_t> violations{0};
    std::size_t calls = 0;
    std::size_t count = 0;
    std::array<Injection, most_injections> list;
    std::array<bool, most_injections> executed;
};

auto wants(const Options& options, std::string_view act) -> bool {
    return ("," + options.acts + ",").find("," + std::string{act} + ",") != std::string::npos;
}

/// All disturbances of the calls that a run has made.
class Enumeration {
  public:
    Enumeration(const Options& options, const Scenario& scenario, Shared& shared)
        : options_{options}, scenario_{scenario}, shared_{shared} {}

    void add_all(const std::vector<Call>& calls) {
        shared_.calls = calls.size();
        for (const Call& call : calls) {
            add_failures(call);
            add_parts(call);
            add_kills(call);
            add_signals(call);
        }
        add_limits();
        add_pairs(calls);
    }

  private:
    static auto at(const Call& call, Act act) -> Injection {
        Injection injection;
        injection.act = act;
        injection.number = call.number;
        injection.ordinal = call.ordinal;
        copy_path(call.path, injection.path);
        return injection;
    }

    void add(const Injection& injection, bool executed = false) {
        if (shared_.count < most_injections) {
            shared_.executed[shared_.count] = executed;
            shared_.list[shared_.count++] = injection;
        }
    }

    void add_failures(const Call& call) {
        // What the libc does of it in its posix_spawn(3) it does not look at.
        const bool spawns = (scenario_.traits & by_libc) != 0 && !call.executed &&
                            call.path != "0" && call.number == SYS_rt_sigaction;
        if (!wants(options_, "fail") || is_out_of_scope(call.number) || spawns) {
            return;
        }
        Injection injection = at(call, Act::fail);
        for (const int error : errors_of(call.number)) {
            injection.value = error;
            add(injection, call.executed);
        }
    }

    void add_parts(const Call& call) {
        const CallFacts* row = facts_of(call.number);
        if (!wants(options_, "part") || row == nullptr || row->part == Part::none ||
            !call.by_stream || call.result < 1) {
            return;
        }
        Injection injection = at(call, Act::part);
        const int length = static_cast<int>(call.result);
        const int least = row->part == Part::in ? 0 : 1;
        for (const int part : std::set<int>{least, 1, length / 2, length - 1}) {
            if (part >= least && part < length) {
                injection.value = part;
                add(injection, call.executed);
            }
        }
    }

    void add_kills(const Call& call) {
        if (!wants(options_, "kill")) {
            return;
        }
        std::vector<std::string> victims = call.alive;
        victims.emplace_back("target");
        for (const std::string& victim : victims) {
            for (const bool at_exit : {false, true}) {
                Injection injection = at(call, Act::kill);
                injection.at_exit = at_exit;
                copy_path(victim, injection.victim);
                add(injection);
            }
        }
    }

    void add_signals(const Call& call) {
        if (wants(options_, "signal") && !call.executed) {
            add(at(call, Act::signal));
        }
        if (wants(options_, "stop") && (scenario_.traits & has_deadline) != 0) {
            add(at(call, Act::stop));
        }
    }

    void add_limits() {
        if (!wants(options_, "limits")) {
            return;
        }
        Injection injection;
        injection.act = Act::descriptors;
        for (injection.value = 3; injection.value < 64; ++injection.value) {
            add(injection);
        }
        injection.act = Act::processes;
        for (injection.value = 0; (scenario_.traits & by_user) != 0 && injection.value < 12;
             ++injection.value) {
            add(injection);
        }
    }

    void add_pairs(const std::vector<Call>& calls) {
        if (!wants(options_, "twice") || (scenario_.traits & is_short) == 0) {
            return;
        }
        for (const Call& call : calls) {
            for (unsigned second = 1; second <= 24 && !is_out_of_scope(call.number); ++second) {
                Injection injection = at(call, Act::fail);
                injection.value = EPERM;
                injection.second = second;
                injection.second_value = ENOMEM;
                add(injection, call.executed);
            }
        }
    }

    const Options& options_;
    const Scenario& scenario_;
    Shared& shared_;
};

auto text_of(const Injection& injection) -> std::string {
    const std::string where = name_of(injection.number) + " (" + injection.path.data() + ", call " +
                              std::to_string(injection.ordinal) + ")";
    const std::string value = std::to_string(injection.value);
    const std::string second = injection.second == 0
                                   ? ""
                                   : ", and errno " + std::to_string(injection.second_value) + " " +
                                         std::to_string(injection.second) + " calls later";
    switch (injection.act) {
    case Act::none:
        return "undisturbed";
    case Act::fail:
        return "errno " + value + " of " + where + second;
    case Act::part:
        return "only " + value + " bytes of " + where;
    case Act::kill:
        return std::string{injection.victim.data()} + " killed at the " +
               (injection.at_exit ? "exit" : "entry") + " of " + where;
    case Act::stop:
        return "stopped at " + where;
    case Act::signal:
        return "a signal at " + where;
    case Act::descriptors:
        return "descriptors below " + value;
    case Act::processes:
        return value + " processes";
    }
    return {};
}

void say(const Scenario& scenario, std::size_t index, const Injection& injection,
         const std::string& wrong) {
    const std::string line = "FAIL " + scenario.name + " #" + std::to_string(index) + ": " +
                             text_of(injection) + ": " + wrong + "\n";
    (void)!::write(STDOUT_FILENO, line.data(), line.size());
}

/// The life of one harness process: every injection that nobody else has taken.
void work(const Options& options, const Scenario& scenario, const std::string& directory,
          Shared& shared) {
    Harness harness{scenario, directory};
    const std::string child = harness.run({}, nullptr).child;
    for (;;) {
        std::size_t index = shared.next.fetch_add(1) * options.every;
        if (options.index >= 0) {
            index = index == 0 ? static_cast<std::size_t>(options.index) : shared.count;
        }
        if (index >= shared.count) {
            return;
        }
        const Injection& injection = shared.list[index];
        const bool by_limit = injection.act == Act::descriptors || injection.act == Act::processes;
        Ran ran = harness.run(injection, nullptr);
        // Where processes run side by side, a call may be another one's the next time.
        for (int tries = 1; !ran.end.done && !by_limit && tries < 4; ++tries) {
            ran = harness.run(injection, nullptr);
        }
        ++shared.runs;
        shared.kills += injection.act == Act::kill && ran.end.done ? 1 : 0;
        shared.reached += ran.end.done || by_limit ? 1 : 0;
        std::string wrong = judge(scenario, injection, ran, child);
        const std::string error = judge_error(scenario, injection, ran, shared.executed[index]);
        wrong += !wrong.empty() && !error.empty() ? "; " + error : error;
        if (!wrong.empty()) {
            ++shared.violations;
            say(scenario, index, injection, wrong);
        } else if (options.index >= 0) {
            say(scenario, index, injection,
                ran.outcome == Outcome::error ? said(ran.error) : "no error");
        }
    }
}

template <typename Body>
void in_process(std::vector<pid_t>& pids, const Body& body) {
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        body();
        std::fflush(nullptr);
        ::_exit(0);
    }
    pids.push_back(pid);
}

auto all_ended_well(const std::vector<pid_t>& pids) -> bool {
    bool good = true;
    for (const pid_t pid : pids) {
        int status = -1;
        good = ::waitpid(pid, &status, 0) == pid && status == 0 && good;
    }
    return good;
}

/// The undisturbed run has to be right itself, and as often as it is made.
void record(const Options& options, const Scenario& scenario, const std::string& directory,
            Shared& shared) {
    Harness harness{scenario, directory};
    std::vector<Call> calls;
    const Ran first = harness.run({}, &calls);
    const Ran second = harness.run({}, nullptr);
    std::string wrong = judge(scenario, {}, first, second.child);
    if (first.outcome != Outcome::success || second.outcome != Outcome::success) {
        wrong += "; it fails undisturbed: " +
                 said(first.outcome == Outcome::error ? first.error : second.error);
    }
    if (!wrong.empty()) {
        ++shared.violations;
        say(scenario, 0, {}, wrong);
        return;
    }
    Enumeration{options, scenario, shared}.add_all(calls);
}

auto sweep(const Options& options, const Scenario& scenario, const std::string& directory) -> Row {
    void* const memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto& shared = *new (memory) Shared;
    std::vector<pid_t> pids;
    in_process(pids, [&] { record(options, scenario, directory, shared); });
    bool good = all_ended_well(pids);
    pids.clear();
    for (std::size_t job = 0; job < options.jobs && shared.count != 0; ++job) {
        in_process(pids, [&] { work(options, scenario, directory, shared); });
    }
    good = all_ended_well(pids) && good;
    const Row row{scenario.name,
                  shared.calls,
                  shared.reached,
                  shared.kills,
                  shared.runs - shared.reached,
                  shared.violations + (good ? 0U : 1U)};
    ::munmap(memory, sizeof(Shared));
    return row;
}

auto read_options(int argc, char** argv) -> Options {
    Options options;
    const char* const depth = std::getenv("NSJOIN_TEST_DEPTH");
    const std::string_view set{depth == nullptr ? "" : depth};
    options.every = set == "all" ? 1 : set == "long" ? 7 : 61;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name{argv[i]};
        const std::string value = i + 1 < argc ? argv[i + 1] : "";
        if (name == "--list") {
            options.list = true;
            continue;
        }
        ++i;
        if (name == "--scenario") {
            options.scenario = value;
        } else if (name == "--every") {
            options.every = std::max(1UL, std::strtoul(value.c_str(), nullptr, 10));
        } else if (name == "--acts") {
            options.acts = value;
        } else if (name == "--jobs") {
            options.jobs = std::strtoul(value.c_str(), nullptr, 10);
        } else if (name == "--index") {
            options.index = std::strtol(value.c_str(), nullptr, 10);
        } else if (name == "--table") {
            options.table = value;
        } else {
            std::fprintf(stderr, "faults: what is %s?\n", argv[i - 1]);
            std::exit(2);
        }
    }
    return options;
}

auto chosen(const Options& options) -> std::vector<Scenario> {
    std::vector<Scenario> some;
    for (Scenario& scenario : all_scenarios()) {
        if (scenario.name.find(options.scenario) != std::string::npos) {
            some.push_back(std::move(scenario));
        }
    }
    return some;
}

/// Runs one scenario, and says what came of it.
auto report(const Options& options, const Scenario& scenario, const std::string& directory) -> Row {
    const auto began = std::chrono::steady_clock::now();
    Row row = sweep(options, scenario, directory);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::printf("%s: %zu calls, %zu injections, %zu kills, %zu not reached, %zu violations, "
                "in %.1f s\n",
                row.name.c_str(), row.calls, row.injections, row.kills, row.missed, row.violations,
                took.count());
    return row;
}

} // namespace

auto main(int argc, char** argv) -> int {
    const Options options = read_options(argc, argv);
    if (options.list) {
        for (const Scenario& scenario : chosen(options)) {
            std::printf("%s\n", scenario.name.c_str());
        }
        return 0;
    }
    if (::geteuid() != 0) {
        std::printf("SKIP: fault injection needs root: it traces programs that get rights\n"
                    "0 passed, 0 failed\n");
        return 0;
    }
    const std::string directory = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    std::vector<Row> rows;
    std::size_t failed = 0;
    for (const Scenario& scenario : chosen(options)) {
        rows.push_back(report(options, scenario, directory));
        failed += rows.back().violations == 0 ? 0U : 1U;
    }
    if (!options.table.empty() && !write_table(options.table, rows, options.every)) {
        std::printf("FAIL %s has no place for the table\n", options.table.c_str());
        ++failed;
    }
    std::printf("%zu passed, %zu failed\n", rows.size() - std::min(failed, rows.size()), failed);
    return failed == 0 ? 0 : 1;
}
