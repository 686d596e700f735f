// SPDX-License-Identifier: Apache-2.0
#include "caller.hpp"
#include "jobs.hpp"
#include "report.hpp"
#include "target.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <sstream>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <thread>
#include <unistd.h>

namespace bench {
namespace {

using nsjoin::KindSet;

constexpr const char* usage =
    R"(usage: speed [OPTION]...
Measures this library beside the same jobs by hand and by other programs, and prints one table and
the ratios that have a bound. All of it runs in rounds, each of which does each job once or in one
block, so that whatever else the machine does hits all alike. Needs root.

  --rounds=N             how many rounds count; 31 if nothing is said
  --warm-up=N            how many come before and do not count; 3
  --json=FILE            writes what was measured there too
  --container=PID        the first process of a container, for the group `container`
  --inside=PATH          a program in that container that ends at once
  --peer=NAME=COMMAND    one more contender in that group
  --benchmark_filter=RE  only the rows whose name matches
)";

struct Options {
    int rounds = 31;
    int warm_up = 3;
    std::string json;
    std::vector<std::pair<std::string, std::string>> peers;
};

/// One row.
struct Entry {
    std::string name; ///< group/setting/contender
    std::function<std::optional<Nanoseconds>()> measure;
};

class Suite {
  public:
    /// A caller, or a line that says why there is none.
    auto caller(const std::string& name, const Likeness& likeness) -> Caller* {
        if (!fits(likeness.megabytes)) {
            std::printf("SKIP: %s: %zu MB do not fit into the free memory\n", name.c_str(),
                        likeness.megabytes);
            return nullptr;
        }
        callers_.push_back(std::make_unique<Caller>(likeness));
        if (!callers_.back()->ok()) {
            std::printf("SKIP: %s: the caller could not be made\n", name.c_str());
            return nullptr;
        }
        return callers_.back().get();
    }

    /// `times`: how often in a round; the round counts with the median.
    void add(Caller* caller, const std::string& name, Job job, KindSet kinds, int times,
             int at_once = 1) {
        if (caller != nullptr) {
            entries_.push_back({name, [=] {
                                    return caller->measure(job, kinds, times, at_once);
                                }});
        }
    }

    void add(const std::string& name, std::function<std::optional<Nanoseconds>()> measure) {
        entries_.push_back({name, std::move(measure)});
    }

    /// Hands the rows to Google Benchmark. They must not be added to any more.
    void enlist() const {
        for (const Entry& entry : entries_) {
            benchmark::RegisterBenchmark(entry.name.c_str(),
                                         [&entry](benchmark::State& state) {
                                             for ([[maybe_unused]] auto step : state) {
                                                 const std::optional<Nanoseconds> result =
                                                     entry.measure();
                                                 if (!result) {
                                                     state.SkipWithError("it failed");
                                                     break;
                                                 }
                                                 state.SetIterationTime(*result / 1e9);
                                             }
                                         })
                ->UseManualTime()
                ->Iterations(1);
        }
    }

  private:
    std::vector<std::unique_ptr<Caller>> callers_;
    std::vector<Entry> entries_;
};

auto installed(const std::string& program) -> bool {
    std::istringstream path{std::getenv("PATH")};
    for (std::string directory; std::getline(path, directory, ':');) {
        if (::access((directory + "/" + program).c_str(), X_OK) == 0) {
            return true;
        }
    }
    std::printf("SKIP: %s: not installed\n", program.c_str());
    return false;
}

void add_joins(Suite& suite, Caller* small) {
    for (std::size_t count = 1; count <= nsjoin::kind_count; ++count) {
        const std::string name = "join/" + std::to_string(count) + " kinds/";
        const KindSet kinds = first_kinds(count);
        suite.add(small, name + "by hand: one setns", by_hand::join, kinds, 15);
        suite.add(small, name + "PidFd and setns", ours::join, kinds, 15);
        suite.add(small, name + "by hand: one setns a kind", by_hand::join_one_by_one, kinds, 5);
    }
}

void add_clones(Suite& suite, Caller* caller, const std::string& setting, KindSet kinds,
                int times) {
    const std::string name = "clone/" + setting + "/";
    suite.add(caller, name + "by hand: fork", by_hand::fork_join, kinds, times);
    suite.add(caller, name + "by hand: vfork first", by_hand::vfork_join, kinds, times);
    suite.add(caller, name + "join_and_clone", ours::join_and_clone, kinds, times);
}

void add_execs(Suite& suite, Caller* caller, const std::string& setting, KindSet kinds, int times) {
    const std::string name = "exec/" + setting + "/";
    suite.add(caller, name + "by hand: vfork", by_hand::vfork_exec, kinds, times);
    suite.add(caller, name + "by hand: vfork, the whole job", by_hand::whole_exec, kinds, times);
    suite.add(caller, name + "join_and_exec", ours::join_and_exec, kinds, std::max(1, times / 5));
    suite.add(caller, name + "join_and_exec, memory lent", ours::lent_exec, kinds, times);
    suite.add(caller, name + "launcher", ours::launch, kinds, times);
    suite.add(caller, name + "prepared plan", ours::prepared_exec, kinds, times);
    suite.add(caller, name + "by hand: fork", by_hand::fork_exec, kinds, std::max(1, times / 5));
    suite.add(caller, name + "nsenter", peer::nsenter, kinds, std::max(1, times / 5));
    suite.add(caller, name + "posix_spawn, joining nothing", peer::nothing, {}, times);
}

struct Setting {
    std::string name;
    Likeness likeness;
    int times;
};

void add_likenesses(Suite& suite) {
    for (const auto& [name, likeness, times] : {
             Setting{"caller 2 MB", {}, 10},
             Setting{"caller 256 MB", {.megabytes = 256}, 5},
             Setting{"caller 2048 MB", {.megabytes = 2048}, 5},
             Setting{"100 threads", {.threads = 100}, 5},
             Setting{"10000 descriptors", {.descriptors = 10000}, 5},
         }) {
        Caller* const caller = suite.caller(name, likeness);
        const int copies = likeness.megabytes > 1000 ? 1 : times;
        add_clones(suite, caller, name, seven_kinds(), copies);
        add_execs(suite, caller, name, seven_kinds(), times);
    }
}

void add_at_once(Suite& suite) {
    // A caller of their own: the stacks of its threads stay mapped.
    Caller* const caller = suite.caller("callers at once", {});
    for (const int count : {1, 2, 16}) {
        const std::string name = "at once/" + std::to_string(count) + " callers/";
        suite.add(caller, name + "by hand: vfork", by_hand::vfork_exec, seven_kinds(), 8, count);
        suite.add(caller, name + "join_and_exec", ours::join_and_exec, seven_kinds(), 8, count);
        suite.add(caller, name + "launcher", ours::launch, seven_kinds(), 8, count);
        suite.add(caller, name + "nsenter", peer::nsenter, seven_kinds(), 2, count);
    }
}

/// Eight threads of one caller, whose starts go round a thousand containers; a runtime's go into
/// the one that it has.
void add_fleet(Suite& suite, const Options& options) {
    if (scene.fleet.empty()) {
        std::printf("SKIP: fleet: %d targets can't be made here\n", fleet_size);
        return;
    }
    constexpr int threads = 8;
    constexpr int turns = fleet_size / threads;
    Caller* const caller = suite.caller("fleet", {});
    const std::string name = "fleet/8 threads, 1000 targets/";
    suite.add(caller, name + "launcher", ours::fleet_launch, seven_kinds(), turns, threads);
    suite.add(caller, name + "nsenter", peer::nsenter_fleet, seven_kinds(), turns / 5, threads);
    constexpr std::array jobs{peer::runtime_job<0>, peer::runtime_job<1>, peer::runtime_job<2>};
    for (std::size_t i = 0; i < options.peers.size() && i < jobs.size(); ++i) {
        suite.add(caller, name + options.peers[i].first, jobs[i], seven_kinds(), 3, threads);
    }
}

auto median_of(int times, const std::string& command) -> std::optional<Nanoseconds> {
    std::vector<double> values;
    for (int i = 0; i < times; ++i) {
        values.push_back(peer::run(command));
        if (values.back() < 0) {
            return std::nullopt;
        }
    }
    return summarize(std::move(values)).median;
}

void add_containers(Suite& suite, Caller* small, const Options& options) {
    if (scene.container == 0) {
        std::printf("SKIP: container: no --container\n");
        return;
    }
    const std::string name = "container/exec/";
    const KindSet kinds = first_kinds(6);
    suite.add(small, name + "by hand: vfork", by_hand::container_exec, kinds, 10);
    suite.add(small, name + "join_and_exec", ours::container_exec, kinds, 10);
    suite.add(small, name + "launcher", ours::container_launch, kinds, 10);
    suite.add(small, name + "nsenter", peer::nsenter_container, kinds, 2);
    for (const auto& [peer, command] : options.peers) {
        suite.add(name + peer, [command = command] { return median_of(3, command); });
    }
}

void add_constructors(Suite& suite, Caller* small) {
    if (scene.nsexec.empty()) {
        std::printf("SKIP: nsexec.c: golang-github-opencontainers-runc-dev is not installed\n");
    }
    const auto add = [&](const std::string& setting, Job theirs, Job job) {
        const std::string name = "constructor/" + setting + "/";
        if (!scene.nsexec.empty()) {
            suite.add(small, name + "nsexec.c", theirs, seven_kinds(), 5);
        }
        suite.add(small, name + "constructor.hpp", job, seven_kinds(), 5);
    };
    using enum From;
    add("just started", bootstrap_job<&Scene::nsexec, Start{}>,
        bootstrap_job<&Scene::constructor, Start{}>);
    add("just started, 12 MB program", bootstrap_job<&Scene::large_nsexec, Start{}>,
        bootstrap_job<&Scene::large_constructor, Start{}>);
    add("ours started sealed", bootstrap_job<&Scene::nsexec, Start{}>,
        bootstrap_job<&Scene::constructor, Start{mount}>);
    add("ours started sealed, 12 MB program", bootstrap_job<&Scene::large_nsexec, Start{}>,
        bootstrap_job<&Scene::large_constructor, Start{mount}>);
    add("ours started sealed, from before the start",
        bootstrap_job<&Scene::nsexec, Start{path, false, true}>,
        bootstrap_job<&Scene::constructor, Start{mount, false, true}>);
    add("both started sealed", bootstrap_job<&Scene::nsexec, Start{memory}>,
        bootstrap_job<&Scene::constructor, Start{mount}>);
    add("already waiting", bootstrap_job<&Scene::nsexec, Start{path, true}>,
        bootstrap_job<&Scene::constructor, Start{path, true}>);
}

void add_nets(Suite& suite) {
    Caller* const caller =
        suite.caller("1000 net namespaces", {.descriptors = sweep_size, .prepare = prepare_sweep});
    suite.add(caller, "nets/one and back/by hand: two setns", by_hand::net_and_back, {}, 10);
    suite.add(caller, "nets/one and back/join_here", ours::net_and_back, {}, 10);
    suite.add(caller, "nets/1000, each and back/by hand: two setns", by_hand::sweep, {}, 1);
    suite.add(caller, "nets/1000, each and back/join_here", ours::sweep, {}, 1);
}

/// Last in the round: the kernel takes the namespaces apart later.
void add_creations(Suite& suite, Caller* small) {
    const std::string name = "create/7 kinds/";
    suite.add(small, name + "by hand: clone3, exec", by_hand::create_exec, seven_kinds(), 2);
    suite.add(small, name + "join_and_clone, no exec", ours::create_and_clone, seven_kinds(), 2);
    if (installed("unshare")) {
        suite.add(small, name + "unshare", peer::unshare, seven_kinds(), 2);
    }
    if (installed("bwrap")) {
        suite.add(small, name + "bwrap", peer::bwrap, seven_kinds(), 2);
    }
}

void add_all(Suite& suite, const Options& options) {
    Caller* const small = suite.caller("the small caller", {});
    add_joins(suite, small);
    add_likenesses(suite);
    for (const std::size_t count : {1U, 2U, 3U, 4U, 5U, 6U, 8U}) {
        const std::string setting = std::to_string(count) + " kinds";
        add_clones(suite, small, setting, first_kinds(count), 5);
        // Nothing on the caller's memory can join a time namespace.
        if (count < nsjoin::kind_count) {
            add_execs(suite, small, setting, first_kinds(count), 5);
        }
    }
    add_at_once(suite);
    add_fleet(suite, options);
    add_containers(suite, small, options);
    add_constructors(suite, small);
    add_nets(suite);
    add_creations(suite, small);
}

auto over_nsexec(const std::string& setting) -> Bound {
    const std::string name = "constructor/" + setting + "/";
    return {"constructor over nsexec.c, both sealed, from bootstrap to pid: " + setting,
            name + "constructor.hpp", name + "nsexec.c", true, 0.5};
}

auto bounds() -> std::vector<Bound> {
    const std::string clone = "clone/caller 2 MB/";
    const std::string exec = "exec/caller 2 MB/";
    return {
        {"join of seven kinds over pidfd_open, setns and close by hand",
         "join/7 kinds/PidFd and setns", "join/7 kinds/by hand: one setns", true, 1.03},
        {"launcher, seven kinds, over the same by hand with vfork, unsafe", exec + "launcher",
         exec + "by hand: vfork, the whole job", true, 1.15},
        {"launcher from a caller of 2 GB, over by hand with vfork, unsafe",
         "exec/caller 2048 MB/launcher", "exec/caller 2048 MB/by hand: vfork, the whole job", true,
         1.2},
        {"nsenter by posix_spawn over launcher", exec + "nsenter", exec + "launcher", false, 10},
        {"nsenter over launcher, 8 threads into 1000 targets",
         "fleet/8 threads, 1000 targets/nsenter", "fleet/8 threads, 1000 targets/launcher", false,
         8},
        {"join_and_exec with memory lent, seven kinds, over the same by hand with vfork",
         exec + "join_and_exec, memory lent", exec + "by hand: vfork, the whole job", true, 1.05},
        {"join_and_exec with memory lent, from a caller of 2 GB over one of 2 MB",
         "exec/caller 2048 MB/join_and_exec, memory lent", exec + "join_and_exec, memory lent",
         true, 1.15},
        {"nsenter by posix_spawn over join_and_exec with memory lent", exec + "nsenter",
         exec + "join_and_exec, memory lent", false, 6},
        {"join_and_clone of seven kinds over fork and joins by hand", clone + "join_and_clone",
         clone + "by hand: fork", true, 1.10},
        {"join_here of a net namespace and back over two setns by hand",
         "nets/one and back/join_here", "nets/one and back/by hand: two setns", true, 1.10},
        over_nsexec("just started"),
        over_nsexec("just started, 12 MB program"),
        over_nsexec("ours started sealed"),
        over_nsexec("ours started sealed, 12 MB program"),
        over_nsexec("ours started sealed, from before the start"),
        over_nsexec("both started sealed"),
        over_nsexec("already waiting"),
    };
}

/// The parts of NAME=VALUE.
auto split(const std::string& text) -> std::pair<std::string, std::string> {
    const std::size_t at = std::min(text.find('='), text.size());
    return {text.substr(0, at), text.substr(std::min(at + 1, text.size()))};
}

auto take(const char* argument, Options& options) -> bool {
    const auto [name, value] = split(argument);
    if (name == "--rounds") {
        options.rounds = std::atoi(value.c_str());
    } else if (name == "--warm-up") {
        options.warm_up = std::atoi(value.c_str());
    } else if (name == "--json") {
        options.json = value;
    } else if (name == "--container") {
        scene.container = std::atoi(value.c_str());
    } else if (name == "--inside") {
        scene.inside = value;
    } else if (name == "--peer") {
        options.peers.push_back(split(value));
    } else {
        return false;
    }
    return true;
}

auto parse(int& count, char** arguments) -> Options {
    Options options;
    int kept = 1;
    for (int i = 1; i < count; ++i) {
        if (!take(arguments[i], options)) {
            arguments[kept++] = arguments[i];
        }
    }
    count = kept;
    return options;
}

/// A directory for copies of programs; removed at the end.
class Scratch {
  public:
    Scratch() {
        if (::mkdtemp(path_.data()) == nullptr) {
            std::perror("mkdtemp");
            std::exit(1);
        }
    }

    Scratch(const Scratch&) = delete;
    Scratch(Scratch&&) = delete;
    auto operator=(const Scratch&) -> Scratch& = delete;
    auto operator=(Scratch&&) -> Scratch& = delete;

    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    /// A copy of the program, as large as runc is; nothing if there is no such program.
    [[nodiscard]] auto enlarged(const std::string& program) const -> std::string {
        if (program.empty()) {
            return {};
        }
        constexpr std::uintmax_t size = 12U << 20U;
        const std::filesystem::path file{program};
        std::string copy = path_ + "/" + file.filename().string();
        std::filesystem::copy_file(file, copy);
        std::filesystem::resize_file(copy, size);
        return copy;
    }

  private:
    std::string path_ = "/tmp/nsjoin-speed-XXXXXX";
};

void set_scene(pid_t target, const Scratch& scratch) {
    const std::string here = std::filesystem::canonical("/proc/self/exe").parent_path();
    const auto program = [&](const std::string& name) {
        const std::string path = here + "/" + name;
        return ::access(path.c_str(), X_OK) == 0 ? path : std::string{};
    };
    scene.target = target;
    scene.tiny = program("tiny");
    scene.constructor = program("constructor");
    scene.large_constructor = scratch.enlarged(scene.constructor);
    scene.nsexec = program("nsexec");
    scene.large_nsexec = scratch.enlarged(scene.nsexec);
}

/// How far it is, on standard error: on a terminal in one line, elsewhere every tenth round.
void tell_progress(int done, int all, std::chrono::steady_clock::duration took) {
    const bool rewrites = ::isatty(STDERR_FILENO) == 1;
    if (rewrites || done % 10 == 0 || done == all) {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(took).count();
        std::fprintf(stderr, "%s%d of %d rounds, %lld s%s", rewrites ? "\r" : "", done, all,
                     static_cast<long long>(seconds), rewrites && done < all ? "" : "\n");
    }
}

void run_rounds(Collector& collector, const Options& options) {
    const auto began = std::chrono::steady_clock::now();
    for (int round = -options.warm_up; round < options.rounds; ++round) {
        if (round == 0) {
            collector.forget();
        }
        benchmark::RunSpecifiedBenchmarks(&collector);
        tell_progress(round + options.warm_up + 1, options.rounds + options.warm_up,
                      std::chrono::steady_clock::now() - began);
        // The kernel takes the namespaces apart that this round made.
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
    }
}

auto run(int count, char** arguments) -> int {
    const Options options = parse(count, arguments);
    benchmark::Initialize(&count, arguments);
    if (options.rounds < 1 || options.warm_up < 0 ||
        benchmark::ReportUnrecognizedArguments(count, arguments)) {
        std::fputs(usage, stderr);
        return 2;
    }
    if (::geteuid() != 0) {
        std::puts("SKIP: the benchmarks need root");
        return 77;
    }
    const Target target;
    if (!target.ok()) {
        std::puts("SKIP: no target with all eight kinds of namespaces can be made here");
        return 77;
    }
    const Fleet fleet{fleet_size};
    const Scratch scratch;
    set_scene(target.pid(), scratch);
    scene.fleet = fleet.ok() ? fleet.pids() : std::vector<pid_t>{};
    for (const auto& [name, command] : options.peers) {
        scene.runtimes.push_back(command);
    }
    Suite suite;
    add_all(suite, options);
    suite.enlist();
    Collector collector;
    run_rounds(collector, options);
    collector.print_table();
    collector.print_bounds(bounds());
    if (!options.json.empty()) {
        collector.write_json(options.json, bounds());
    }
    return 0;
}

} // namespace
} // namespace bench

auto main(int count, char** arguments) -> int {
    return bench::run(count, arguments);
}
