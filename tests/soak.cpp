// SPDX-License-Identifier: Apache-2.0
// Many threads use the library for long, with plans of all kinds, while targets die, processes are
// killed and stopped, descriptors run out, calls fail and signals arrive. What succeeds has to be
// right, what fails has to say why, and in the end all is as at the start.
//
//     soak [--seconds N] [--operations N] [--threads N] [--seed N] [--table FILE]
//
// It ends when both are reached, the time and the number of operations. Without them,
// NSJOIN_TEST_DEPTH says how long: 10 seconds, "long" 30, "all" 900 and 200,000 operations.
#include "soak/disturbance.hpp"

#include <nsjoin/launcher.hpp>
#include <nsjoin/nsjoin.hpp>

#include <chrono>
#include <fstream>
#include <getopt.h>
#include <iterator>

NSJOIN_LAUNCHER();

namespace {

using namespace soak;
using nsjoin::Error;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Reason;
using nsjoin::Result;

std::atomic<long> alarms{0};
pid_t main_process = 0;
int* foreign_handlers = nullptr; // on a page that all processes share

void on_alarm(int /*number*/) {
    const int kept = errno;
    if (::syscall(SYS_getpid) != main_process) {
        __atomic_add_fetch(foreign_handlers, 1, __ATOMIC_RELAXED);
    }
    ++alarms;
    errno = kept;
}

struct Options {
    long seconds = 10;
    long operations = 0;
    std::size_t threads = 16;
    std::uint64_t seed = 1;
    std::string table;
};

/// What a worker did.
struct Tally {
    long operations = 0;
    long succeeded = 0;
    long killed = 0; ///< succeeded, and was killed then
    long left = 0;   ///< had not ended in time, by the error's word
    std::map<std::string, long> errors;
};

/// What all threads have.
struct Common {
    Targets targets;
    Violations violations;
    std::atomic<bool> over{false};
    std::atomic<long> operations{0};
    std::atomic<std::size_t> injected{0};
    std::optional<nsjoin::Launcher> launcher;
};

class Worker {
  public:
    Worker(Common& common, std::uint64_t seed, bool injects)
        : common_{common}, random_{seed}, injects_{injects} {}

    void run() {
        std::thread judge;
        if (injects_) {
            // Who answers must not be asked about, so it is there before.
            judge = std::thread{[this, seed = random_()] {
                listener_.wait(0);
                answer(listener_ - 1, judged_, seed, common_.injected);
            }};
            listener_ = ask_about_calls() + 1;
            listener_.notify_one();
        }
        while (!common_.over) {
            target_ = common_.targets.pick(random_);
            one();
            ++tally.operations;
            ++common_.operations;
        }
        if (judge.joinable()) {
            judged_ = true;
            judge.join();
        }
    }

    Tally tally;

  private:
    void one() {
        const nsjoin::Draft draft = some_plan();
        some_ = draft;
        const auto plan = nsjoin::Plan::from(draft);
        if (!plan) {
            common_.violations.add("a plan is refused: " + nsjoin::explain(plan.error()));
            return;
        }
        switch (below(random_, 8)) {
        case 0:
        case 1:
            return clone(nsjoin::join_and_clone(*plan), draft);
        case 2:
            return program(nsjoin::join_and_exec(*plan, true_), draft);
        case 3:
        case 4: // a launcher that one of these starts anew would fail on purpose for all
            return injects_ ? program(nsjoin::join_and_exec(*plan, true_), draft)
                            : program(common_.launcher->exec(*plan, true_), draft);
        case 5:
            return prepared(*plan, draft);
        case 6:
            return open_side(*plan, draft);
        default:
            // Of one whose calls fail on purpose the way back would.
            return injects_ || one_of(random_, 4) ? space_set() : visit();
        }
    }

    /// Some of the target's kinds, and some new ones, and a few of the other things.
    [[nodiscard]] auto some_plan() -> nsjoin::Draft {
        nsjoin::Draft draft;
        const bool all = one_of(random_, 3);
        for (const Kind kind : target_->kinds) {
            if (all || one_of(random_, 2)) {
                draft.join(target_->process, kind);
            }
        }
        for (const Kind kind : {Kind::mount, Kind::uts, Kind::ipc, Kind::pid, Kind::cgroup}) {
            if (one_of(random_, 6) && !draft.joined().contains(kind)) {
                draft.created = draft.created | kind;
            }
        }
        if (one_of(random_, 6) && !draft.joined().contains(Kind::user)) {
            draft.created = draft.created | Kind::user;
            draft.maps = support::own_root();
        }
        if (one_of(random_, 3)) {
            draft.deadline = std::chrono::microseconds{200 + below(random_, 200'000)};
        }
        draft.new_session = one_of(random_, 4);
        draft.name = one_of(random_, 4) ? nsjoin::ProcessName{"soaked"} : nsjoin::ProcessName{};
        draft.oom_score_adj = one_of(random_, 8) ? std::optional{500} : std::nullopt;
        draft.no_new_privileges = one_of(random_, 8);
        return draft;
    }

    /// The exit code of a child: 7 if it is where the plan says. Safe beside other threads.
    [[nodiscard]] auto where(const nsjoin::Draft& draft) const -> int {
        for (const Kind kind : draft.joined()) {
            if (inode_of("self", kind) != target_->inodes[static_cast<std::size_t>(kind)]) {
                return 8 + static_cast<int>(kind);
            }
        }
        return 7;
    }

    void clone(Result<nsjoin::Side> side, const nsjoin::Draft& draft) {
        if (side && side->is_child()) {
            ::_exit(where(draft));
        }
        if (!side) {
            return failed("join_and_clone", side.error(), draft);
        }
        ended("join_and_clone", side->child(), 7);
    }

    void program(const Result<nsjoin::PidFd>& child, const nsjoin::Draft& draft) {
        if (!child) {
            return failed("exec", child.error(), draft);
        }
        ended("exec", *child, 0);
    }

    void prepared(const nsjoin::Plan& plan, const nsjoin::Draft& draft) {
        auto ready = nsjoin::PreparedPlan::prepare(plan);
        if (!ready) {
            return failed("prepare", ready.error(), draft);
        }
        for (int i = 0; i < 3; ++i) {
            if (one_of(random_, 2)) {
                clone(ready->clone(), draft);
            } else {
                program(ready->exec(true_), draft);
            }
        }
    }

    void open_side(const nsjoin::Plan& plan, const nsjoin::Draft& draft) {
        auto side = nsjoin::join_and_clone(plan, nsjoin::keep_channel);
        if (side && side->is_child()) {
            side->execute(true_);
        }
        if (!side) {
            return failed("join_and_clone", side.error(), draft);
        }
        program(side->await_program(), draft);
    }

    void space_set() {
        const auto set = nsjoin::create_namespaces(
            nsjoin::JoinPlan{}.create<Kind::uts, Kind::ipc, Kind::mount>());
        if (!set) {
            return failed("create_namespaces", set.error(), {});
        }
        program(nsjoin::join_and_exec(nsjoin::JoinPlan{}.join(*set), true_), {});
    }

    void visit() {
        const KindSet kinds = Kind::net | Kind::uts;
        const ino_t before = inode_of("thread-self", Kind::uts);
        const auto home = nsjoin::Home<Kind::net, Kind::uts>::open();
        if (!home || (target_->kinds & kinds) != kinds) {
            return;
        }
        {
            auto there = nsjoin::join_here(*home, target_->process);
            if (!there) {
                return failed("join_here", there.error(), {});
            }
            expect("join_here", inode_of("thread-self", Kind::uts),
                   target_->inodes[static_cast<std::size_t>(Kind::uts)]);
            Result<void> back = there->end();
            if (!back) {
                common_.violations.add("no way back: " + nsjoin::explain(back.error()));
            }
        }
        expect("home", inode_of("thread-self", Kind::uts), before);
        ++tally.succeeded;
    }

    /// 0: /proc could not be read, with the descriptors that there were.
    void expect(const char* what, ino_t is, ino_t wanted) {
        if (is != 0 && wanted != 0 && is != wanted) {
            common_.violations.add(std::string{what} + ": the thread is somewhere else");
        }
    }

    void ended(const char* what, const nsjoin::PidFd& child, int wanted) {
        auto status = child.wait();
        while (!status && status.error().code != ECHILD &&
               status.error().reason == Reason::system) {
            status = child.wait(); // it fails on purpose too
        }
        if (!status) {
            common_.violations.add(std::string{what} +
                                   ", wait: " + nsjoin::explain(status.error()));
        } else if (status->signal() == SIGKILL) {
            ++tally.killed;
        } else if (status->exit_code() != wanted && !(injects_ && status->exit_code() >= 8)) {
            common_.violations.add(std::string{what} + ": the exit code is " +
                                   std::to_string(status->exit_code()) + "\n" +
                                   nsjoin::explain(*nsjoin::Plan::from(some_)));
        } else {
            ++tally.succeeded;
        }
    }

    void failed(const char* what, const Error& error, const nsjoin::Draft& draft) {
        const std::string text = nsjoin::explain(error);
        // With a deadline, one that takes long to end is left, and named.
        constexpr std::string_view left = "SIGKILL does not reach the child, pid ";
        if (const std::size_t at = text.find(left); at != std::string::npos) {
            ++tally.left;
            const long pid = std::strtol(text.c_str() + at + left.size(), nullptr, 10);
            (void)::waitpid(static_cast<pid_t>(pid), nullptr, __WALL); // it may have no signal
        }
        ++tally.errors[std::string{nsjoin::facts(error.step).name} + ": " + word_of(error)];
        if (!may_be(error, draft) || !support::is_clean(error)) {
            common_.violations.add(std::string{what} + ": " + text +
                                   (target_->mortal ? " (mortal)" : ""));
        }
    }

    [[nodiscard]] static auto word_of(const Error& error) -> std::string {
        const std::string text = nsjoin::explain(error);
        return error.reason == Reason::system
                   ? nsjoin::detail::errno_name(error.code).data()
                   : text.substr(text.rfind("): ") == std::string::npos ? text.find(": ") + 2
                                                                        : text.rfind("): ") + 3,
                                 40);
    }

    /// Whether something that is done on purpose explains the error.
    [[nodiscard]] auto may_be(const Error& error, const nsjoin::Draft& draft) const -> bool {
        const bool by_call = error.reason == Reason::system;
        if (error.reason == Reason::process_died || error.reason == Reason::end_of_file ||
            error.reason == Reason::process_gone) {
            return true; // killed
        }
        if (error.reason == Reason::deadline_passed) {
            return draft.deadline.count() != 0;
        }
        if (by_call && (error.code == ESRCH || error.code == ENOMEM)) {
            return target_->mortal || injects_;
        }
        if (by_call && (error.code == EMFILE || error.code == ENFILE)) {
            return true;
        }
        return injects_;
    }

    Common& common_;
    Random random_;
    bool injects_;
    std::atomic<bool> judged_{false};
    std::atomic<int> listener_{0}; ///< its number and one more, when it is there
    std::shared_ptr<Target> target_;
    nsjoin::Draft some_;
    std::array<const char*, 2> words_{"true", nullptr};
    nsjoin::Command true_{.program = nsjoin::Program::at("/bin/true"), .arguments = words_};
};

/// All that is to be at the end as at the start, beside CallerState.
struct Counts {
    std::size_t mounts = 0;
    long anonymous = 0; ///< kB

    static auto now() -> Counts {
        Counts counts;
        std::ifstream mounts{"/proc/self/mountinfo"};
        for (std::string line; std::getline(mounts, line);) {
            ++counts.mounts;
        }
        std::ifstream rollup{"/proc/self/smaps_rollup"};
        for (std::string line; std::getline(rollup, line);) {
            if (line.rfind("Anonymous:", 0) == 0) {
                counts.anonymous = std::strtol(line.c_str() + 10, nullptr, 10);
            }
        }
        return counts;
    }
};

void storm(bool on) {
    itimerval timer{};
    timer.it_interval.tv_usec = timer.it_value.tv_usec = on ? 2000 : 0;
    ::setitimer(ITIMER_REAL, &timer, nullptr);
}

/// Says how far it is until both are reached.
void supervise(const Options& options, Common& common) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::seconds{options.seconds};
    auto next = begin + std::chrono::seconds{10};
    while (Clock::now() < end || common.operations < options.operations) {
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
        if (Clock::now() > next) {
            next += std::chrono::seconds{10};
            const auto seconds =
                std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - begin);
            std::printf("%ld s: %ld operations, %zu violations\n",
                        static_cast<long>(seconds.count()), common.operations.load(),
                        common.violations.list.size());
            std::fflush(stdout);
        }
    }
    common.over = true;
}

struct Outcome {
    Tally all;
    std::size_t kills = 0;
    std::size_t stops = 0;
    std::size_t limits = 0;
    std::size_t injected = 0;
    std::size_t violations = 0;
};

auto soak_once(const Options& options, Common& common) -> Outcome {
    Mayhem mayhem{common.targets, common.over, options.seed + 1000};
    mayhem.launcher = common.launcher->pid();
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < options.threads; ++i) {
        workers.push_back(std::make_unique<Worker>(common, options.seed + i, i % 8 == 7));
        threads.emplace_back([worker = workers.back().get()] { worker->run(); });
    }
    threads.emplace_back([&] { mayhem.run(); });
    for (std::uint64_t i = 0; i < 2; ++i) {
        threads.emplace_back(
            [&, i] { guard_descriptors(common.over, common.violations, options.seed + 2000 + i); });
    }
    storm(true);
    supervise(options, common);
    for (std::thread& thread : threads) {
        thread.join();
    }
    storm(false);
    Outcome outcome;
    for (const auto& worker : workers) {
        outcome.all.operations += worker->tally.operations;
        outcome.all.succeeded += worker->tally.succeeded;
        outcome.all.killed += worker->tally.killed;
        outcome.all.left += worker->tally.left;
        for (const auto& [text, count] : worker->tally.errors) {
            outcome.all.errors[text] += count;
        }
    }
    outcome.kills = mayhem.kills;
    outcome.stops = mayhem.stops;
    outcome.limits = mayhem.limits;
    outcome.injected = common.injected;
    return outcome;
}

/// The whole, in a scope of its own, so that what is left after it is the library's.
auto run(const Options& options) -> Outcome {
    const support::CallerState before;
    Outcome outcome;
    Violations last;
    {
        Common common;
        auto launcher = nsjoin::Launcher::start();
        if (!common.targets.ok() || !launcher) {
            last.add("the soak could not begin");
            outcome.violations = last.list.size();
            return outcome;
        }
        common.launcher = std::move(*launcher);
        const Counts counts = Counts::now();
        outcome = soak_once(options, common);
        const Counts after = Counts::now();
        common.launcher.reset();
        if (after.mounts != counts.mounts) {
            last.add("there are " + std::to_string(after.mounts) + " mounts, and were " +
                     std::to_string(counts.mounts));
        }
        constexpr long slack = 16'000;
        const bool keeps_what_was_freed = &__asan_unpoison_memory_region != nullptr;
        if (!keeps_what_was_freed && after.anonymous > counts.anonymous + slack) {
            last.add("it has " + std::to_string(after.anonymous) + " kB of memory, and had " +
                     std::to_string(counts.anonymous));
        }
        outcome.violations = common.violations.list.size();
    }
    const std::string changes = before.changes();
    if (!changes.empty()) {
        last.add("not as at the start: " + changes);
    }
    if (*foreign_handlers != 0) {
        last.add("the caller's handler ran in another process, " +
                 std::to_string(*foreign_handlers) + " times");
    }
    outcome.violations += last.list.size();
    return outcome;
}

/// Puts the line between the two marks of the page. False if there are none.
auto write_table(const std::string& path, const std::string& line) -> bool {
    constexpr std::string_view begin = "<!-- soak -->\n";
    std::ifstream file{path};
    std::string page{std::istreambuf_iterator<char>{file}, {}};
    const std::size_t first = page.find(begin);
    const std::size_t last = page.find("<!-- /soak -->");
    if (first == std::string::npos || last == std::string::npos) {
        return false;
    }
    page.replace(first + begin.size(), last - first - begin.size(),
                 "| threads | seconds | operations | succeeded | kills | stops | few descriptors | "
                 "calls that failed | signals | violations |\n"
                 "| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n| " +
                     line + " |\n");
    return static_cast<bool>(std::ofstream{path} << page);
}

auto parse(int count, char** words) -> Options {
    const char* const depth = ::getenv("NSJOIN_TEST_DEPTH"); // NOLINT(*-mt-unsafe)
    Options options;
    if (depth != nullptr && std::string_view{depth} == "long") {
        options.seconds = 30;
    } else if (depth != nullptr && std::string_view{depth} == "all") {
        options.seconds = 900;
        options.operations = 200'000;
    }
    const std::array<option, 6> names{{{"seconds", required_argument, nullptr, 's'},
                                       {"operations", required_argument, nullptr, 'o'},
                                       {"threads", required_argument, nullptr, 't'},
                                       {"seed", required_argument, nullptr, 'r'},
                                       {"table", required_argument, nullptr, 'f'},
                                       {}}};
    for (int c = 0; (c = ::getopt_long(count, words, "", names.data(), nullptr)) != -1;) {
        const auto number = [] {
            return std::strtol(::optarg, nullptr, 10);
        };
        switch (c) {
        case 's':
            options.seconds = number();
            break;
        case 'o':
            options.operations = number();
            break;
        case 't':
            options.threads = static_cast<std::size_t>(number());
            break;
        case 'r':
            options.seed = static_cast<std::uint64_t>(number());
            break;
        case 'f':
            options.table = ::optarg;
            break;
        default:
            std::exit(2); // NOLINT(*-mt-unsafe)
        }
    }
    return options;
}

} // namespace

auto main(int count, char** words) -> int {
    if (::getuid() != 0) {
        support::skip("the soak needs root, for the namespaces of its targets");
        std::puts("0 passed, 0 failed, 1 skipped");
        return 0;
    }
    const Options options = parse(count, words);
    main_process = ::getpid();
    foreign_handlers = static_cast<int*>(
        ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

    struct sigaction action {};

    action.sa_handler = on_alarm; // without SA_RESTART
    ::sigaction(SIGALRM, &action, nullptr);
    const auto begin = std::chrono::steady_clock::now();
    const Outcome outcome = run(options);
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin);
    std::printf("%ld were killed after success, %ld had not ended in time\n", outcome.all.killed,
                outcome.all.left);
    for (const auto& [text, times] : outcome.all.errors) {
        std::printf("%8ld %s\n", times, text.c_str());
    }
    const std::string line =
        std::to_string(options.threads) + " | " + std::to_string(seconds.count()) + " | " +
        std::to_string(outcome.all.operations) + " | " + std::to_string(outcome.all.succeeded) +
        " | " + std::to_string(outcome.kills) + " | " + std::to_string(outcome.stops) + " | " +
        std::to_string(outcome.limits) + " | " + std::to_string(outcome.injected) + " | " +
        std::to_string(alarms.load()) + " | " + std::to_string(outcome.violations);
    std::printf("%s\n", line.c_str());
    if (!options.table.empty() && !write_table(options.table, line)) {
        std::fprintf(stderr, "%s has no place for the table\n", options.table.c_str());
        return 1;
    }
    std::printf("%d passed, %zu failed, 0 skipped\n", outcome.violations == 0 ? 1 : 0,
                outcome.violations);
    return outcome.violations == 0 ? 0 : 1;
}
