// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/console.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/spawn.hpp>

#include "spawn_support.hpp"
#include "tracer.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <sys/mman.h>
#include <vector>

// What the kernel sees of a run is what its schedule says, task by task, in each process: the names
// of the system calls are those that an explanation has in brackets.

using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::Plan;
using nsjoin::Program;
using nsjoin::Step;
using nsjoin::detail::Attempt;
using nsjoin::detail::Call;
using nsjoin::detail::Process;
using nsjoin::detail::Schedule;
using nsjoin::detail::Task;

namespace {

// ── System calls by name ─────────────────────────────────────────────────────────────────────────

struct Named {
    const char* name;
    long number;
};

constexpr std::array calls{
    Named{"capget", SYS_capget},
    Named{"capset", SYS_capset},
    Named{"chdir", SYS_chdir},
    Named{"chroot", SYS_chroot},
    Named{"clone", SYS_clone},
    Named{"clone3", SYS_clone3},
    Named{"close", SYS_close},
    Named{"close_range", nsjoin::detail::close_range_number},
    Named{"dup3", SYS_dup3},
    Named{"execve", SYS_execve},
    Named{"execveat", SYS_execveat},
    Named{"exit_group", SYS_exit_group},
    Named{"fchdir", SYS_fchdir},
    Named{"fcntl", SYS_fcntl},
    Named{"fstat", SYS_fstat},
    Named{"fstatfs", SYS_fstatfs},
    Named{"getcwd", SYS_getcwd},
    Named{"getgroups", SYS_getgroups},
    Named{"getpid", SYS_getpid},
    Named{"getresgid", SYS_getresgid},
    Named{"getresuid", SYS_getresuid},
    Named{"gettid", SYS_gettid},
    Named{"get_robust_list", SYS_get_robust_list},
    Named{"ioctl", SYS_ioctl},
    Named{"keyctl", SYS_keyctl},
    Named{"madvise", SYS_madvise},
    Named{"mmap", SYS_mmap},
    Named{"mount", SYS_mount},
    Named{"move_mount", nsjoin::detail::move_mount_number},
    Named{"munmap", SYS_munmap},
    Named{"newfstatat", SYS_newfstatat},
    Named{"open_tree", nsjoin::detail::open_tree_number},
    Named{"openat", SYS_openat},
    Named{"pidfd_open", SYS_pidfd_open},
    Named{"pidfd_send_signal", SYS_pidfd_send_signal},
    Named{"pipe2", SYS_pipe2},
    Named{"pivot_root", SYS_pivot_root},
    Named{"ppoll", SYS_ppoll},
    Named{"prctl", SYS_prctl},
    Named{"prlimit64", SYS_prlimit64},
    Named{"read", SYS_read},
    Named{"readlinkat", SYS_readlinkat},
    Named{"recvfrom", SYS_recvfrom},
    Named{"recvmsg", SYS_recvmsg},
    Named{"restart_syscall", SYS_restart_syscall},
    Named{"sched_setaffinity", SYS_sched_setaffinity},
    Named{"rseq", SYS_rseq},
    Named{"rt_sigaction", SYS_rt_sigaction},
    Named{"rt_sigprocmask", SYS_rt_sigprocmask},
    Named{"sched_yield", SYS_sched_yield},
    Named{"seccomp", SYS_seccomp},
    Named{"sendmsg", SYS_sendmsg},
    Named{"sendto", SYS_sendto},
    Named{"setdomainname", SYS_setdomainname},
    Named{"setgroups", SYS_setgroups},
    Named{"sethostname", SYS_sethostname},
    Named{"setns", SYS_setns},
    Named{"setpriority", SYS_setpriority},
    Named{"setresgid", SYS_setresgid},
    Named{"setresuid", SYS_setresuid},
    Named{"setsid", SYS_setsid},
    Named{"setsockopt", SYS_setsockopt},
    Named{"set_robust_list", SYS_set_robust_list},
    Named{"shutdown", SYS_shutdown},
    Named{"socket", SYS_socket},
    Named{"socketpair", SYS_socketpair},
    Named{"statx", SYS_statx},
    Named{"umask", SYS_umask},
    Named{"umount2", SYS_umount2},
    Named{"unshare", SYS_unshare},
    Named{"wait4", SYS_wait4},
    Named{"waitid", SYS_waitid},
    Named{"write", SYS_write},
};

constexpr std::size_t unknown = calls.size();

auto index_of(long number) -> std::size_t {
    std::size_t i = 0;
    while (i < calls.size() && calls[i].number != number) {
        ++i;
    }
    return i;
}

auto index_of(std::string_view name) -> std::size_t {
    std::size_t i = 0;
    while (i < calls.size() && calls[i].name != name) {
        ++i;
    }
    return i;
}

auto name_of(long number) -> std::string {
    const std::size_t i = index_of(number);
    return i == unknown ? "number " + std::to_string(number) : calls[i].name;
}

/// What no task is about, wherever it stands.
constexpr std::array housekeeping{
    Named{"what is open and not needed any more", SYS_close},
    Named{"signals are blocked over the whole run, by whoever runs on shared memory",
          SYS_rt_sigprocmask},
    Named{"the page of the hand-over, and that of the dumpable flag", SYS_mmap},
    Named{"the same", SYS_munmap},
    Named{"the page of the dumpable flag is not for copies", SYS_madvise},
    Named{"how a process ends", SYS_exit_group},
    Named{"a process that has ended is taken", SYS_waitid},
    Named{"the same, where it has no pidfd", SYS_wait4},
    Named{"the libc's record of the thread, for the child", SYS_set_robust_list},
    Named{"the same", SYS_get_robust_list},
    Named{"the same", SYS_rseq},
    Named{"the same", SYS_gettid},
    Named{"who the caller is, for a pidfd of it", SYS_getpid},
    Named{"a call that a stop of the tracer interrupted", SYS_restart_syscall},
    Named{"another thread has the lock of the dumpable flag", SYS_sched_yield},
};

/// What the caller does behind its last task, or behind the one that failed.
constexpr std::array afterwards{
    Named{"the dumpable flag is given back", SYS_prctl},
    Named{"the opener, or the child of an attempt that failed, is ended", SYS_pidfd_send_signal},
    Named{"the child of an attempt that failed sees it", SYS_shutdown},
    Named{"what it said before is heard", SYS_recvfrom},
};

/// What follows a task that failed: it is told, and the caller asks before it tries again.
constexpr std::array asks{
    Named{"namespaces are opened", SYS_openat},
    Named{"which process a pidfd is of, where it opens none itself", SYS_read},
    Named{"namespaces are opened by the pidfd, and asked for their owner", SYS_ioctl},
    Named{"namespaces are compared", SYS_newfstatat},
    Named{"the same", SYS_fstat},
    Named{"the same", SYS_statx},
    Named{"its own namespaces, where it has no /proc", SYS_pidfd_open},
    Named{"whether a namespace is one of /proc", SYS_fstatfs},
    Named{"whether a pidfd is still that of a process", SYS_ppoll},
    Named{"its capabilities", SYS_capget},
    Named{"a child tells the caller what failed", SYS_sendto},
};

template <std::size_t N>
auto is_in(const std::array<Named, N>& list, long number) -> bool {
    return std::any_of(list.begin(), list.end(),
                       [number](const Named& one) { return one.number == number; });
}

// ── What a schedule says ─────────────────────────────────────────────────────────────────────────

/// One call of a task's list, or one of several.
using Alternatives = std::vector<std::size_t>;

/// What stands in brackets: "openat, write(/proc/self/oom_score_adj)", "execve or execveat". What
/// is not the name of a system call stands alone, as "by that call" and "none".
auto parse(std::string text) -> std::vector<Alternatives> {
    for (std::size_t open = text.find('('); open != std::string::npos; open = text.find('(')) {
        text.erase(open, text.find(')', open) + 1 - open);
    }
    std::vector<Alternatives> list;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find(", ", begin), text.size());
        Alternatives alternatives;
        for (std::size_t at = begin; at < end;) {
            const std::size_t next = std::min(text.find(" or ", at), end);
            const std::string name = text.substr(at, next - at);
            if (name != "none" && name != "by that call") {
                alternatives.push_back(index_of(name));
            }
            at = next + 4;
        }
        if (!alternatives.empty()) {
            list.push_back(alternatives);
        }
        begin = end + 2;
    }
    return list;
}

/// The line of a task, as an explanation has it.
auto line_of(const Plan& plan, const nsjoin::Command* command, const Schedule& schedule,
             std::size_t place) -> std::string {
    std::string text;
    nsjoin::detail::Words{plan.parts(), command, schedule}.append(text, "", place);
    return text.substr(0, text.find('\n'));
}

auto in_brackets(const std::string& line) -> std::string {
    const std::size_t begin = line.find("  [") + 3;
    return line.substr(begin, line.rfind(']') - begin);
}

/// By step and call: what the schedules named, and what of it was made. In memory that the forked
/// tests share.
struct Seen {
    std::array<std::array<bool, calls.size()>, nsjoin::plan_step_count> named;
    std::array<std::array<bool, calls.size()>, nsjoin::plan_step_count> made;
};

auto seen() -> Seen& {
    static void* const page =
        ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return *static_cast<Seen*>(page);
}

// ── A case ───────────────────────────────────────────────────────────────────────────────────────

/// What the kernel lacks, or a filter forbids.
enum class Lack : std::uint8_t {
    nothing,
    clone3,          ///< before Linux 5.3: ENOSYS
    clone3_of_today, ///< before Linux 5.5: neither CLONE_CLEAR_SIGHAND nor CLONE_INTO_CGROUP
    setns_of_several,
    setns_of_pidfd,
};

constexpr std::array lacks{Lack::clone3, Lack::clone3_of_today, Lack::setns_of_several,
                           Lack::setns_of_pidfd};

constexpr std::array<const char*, 5> lack_texts{"", ", no clone3",
                                                ", no CLONE_CLEAR_SIGHAND and CLONE_INTO_CGROUP",
                                                ", no setns of several", ", no setns of a pidfd"};

struct Case {
    std::string what;
    Plan plan;
    const nsjoin::Command* command = nullptr;
    int pidfd = -1; ///< of the target
    Lack lack = Lack::nothing;
    bool owners_unknown = false; ///< the kernel does not tell who owns a namespace
};

auto take_away(const Case& one) -> bool {
    switch (one.lack) {
    case Lack::clone3:
        return support::deny_syscall(SYS_clone3, ENOSYS);
    case Lack::clone3_of_today: // the flags are in memory, where no filter sees them; the size is
                                // not
        return support::deny_value(SYS_clone3, 1, sizeof(nsjoin::detail::CloneArgs), E2BIG);
    case Lack::setns_of_several:
        return support::deny_setns_of_several(EINVAL);
    case Lack::setns_of_pidfd:
        return support::deny_value(SYS_setns, 0, static_cast<std::uint32_t>(one.pidfd), EINVAL);
    default:
        return true;
    }
}

/// The errno of the task under that lack, or 0.
auto errno_of(const Schedule& schedule, const Task& task, Lack lack) -> int {
    const Process made = task.step == Step::make_opener   ? Process::opener
                         : task.step == Step::make_joiner ? Process::joiner
                                                          : Process::child;
    const nsjoin::detail::ProcessFacts& process = schedule.process(made);
    bool in_cgroup = false;
    for (const Task& other : schedule.tasks()) {
        in_cgroup =
            in_cgroup || (other.step == Step::enter_cgroup && other.call == Call::with_clone);
    }
    // This process was started by root, and has become somebody else.
    if (task.step == Step::drop_groups && ::geteuid() != 0) {
        return EPERM;
    }
    const bool whole = process.clear_sighand ||
                       (in_cgroup && process.maker == Process::caller && made != Process::opener);
    switch (lack) {
    case Lack::clone3:
        return task.call == Call::clone3 ? ENOSYS : 0;
    case Lack::clone3_of_today:
        return task.call == Call::clone3 && whole ? E2BIG : 0;
    case Lack::setns_of_several:
        return is_join(task.step) && task.kinds.size() > 1 ? EINVAL : 0;
    case Lack::setns_of_pidfd:
        return task.call == Call::setns_pidfd ? EINVAL : 0;
    default:
        return 0;
    }
}

/// One attempt of a run, and the task that fails, if one does.
struct Tried {
    static constexpr std::size_t none = ~std::size_t{0};

    Schedule schedule;
    std::size_t failed = none;

    [[nodiscard]] auto fails() const -> bool { return failed != none; }

    /// Whether the process comes to that task of its own.
    [[nodiscard]] auto is_reached(std::size_t place) const -> bool {
        const Task& task = schedule.list[place];
        if (!fails() || place <= failed) {
            return true;
        }
        // A child with memory of its own tells of it by the channel: the caller goes on until then.
        const bool by_channel =
            schedule.list[failed].process == Process::child && !schedule.roles.shares;
        if (!by_channel || task.process != Process::caller) {
            return false;
        }
        for (std::size_t i = failed; i < place; ++i) {
            if (schedule.list[i].call == Call::hear) {
                return false;
            }
        }
        return true;
    }

    /// The tasks of a process that it comes to; what a clone does besides is none by itself.
    [[nodiscard]] auto places(Process process) const -> std::vector<std::size_t> {
        std::vector<std::size_t> list;
        for (std::size_t i = 0; i < schedule.count; ++i) {
            const Task& task = schedule.list[i];
            const bool is_performed = task.call != Call::with_clone && task.call != Call::none;
            if (task.process == process && is_performed && is_reached(i)) {
                list.push_back(i);
            }
        }
        return list;
    }

    /// The processes that are made, in the order in which they are.
    [[nodiscard]] auto made() const -> std::vector<Process> {
        std::vector<Process> list;
        for (std::size_t i = 0; i < schedule.count; ++i) {
            const Task& task = schedule.list[i];
            if (i == failed || !is_reached(i) || task.call == Call::with_clone) {
                continue;
            }
            if (task.step == Step::make_opener) {
                list.push_back(Process::opener);
            } else if (task.step == Step::make_joiner) {
                list.push_back(Process::joiner);
            } else if (task.step == Step::make_child) {
                list.push_back(Process::child);
            }
        }
        return list;
    }
};

/// The attempts of a run, as the engine comes to them: what it asks, and what it learns. The last
/// one does not fail.
auto attempts_of(const Case& one) -> std::vector<Tried> {
    const nsjoin::Draft& draft = one.plan.parts();
    const nsjoin::detail::Outline outline = one.command == nullptr
                                                ? nsjoin::detail::outline_of(draft)
                                                : nsjoin::detail::outline_of(draft, *one.command);
    nsjoin::detail::Run run{draft, outline, nullptr};
    std::vector<Tried> list;
    if (!nsjoin::detail::ask(draft, outline, run.facts, run.own_opened)) {
        return list;
    }
    // A caller that joins by itself asks for clone3(2) before, and this process has it.
    if (outline.callers_parent && !outline.joined.empty() && one.lack == Lack::clone3) {
        run.facts.clone3 = false;
    }
    for (;;) {
        Tried now{nsjoin::detail::schedule(outline, run.facts)};
        int code = 0;
        for (std::size_t i = 0; i < now.schedule.count && code == 0; ++i) {
            code = errno_of(now.schedule, now.schedule.list[i], one.lack);
            now.failed = code != 0 ? i : now.failed;
        }
        list.push_back(now);
        if (code == 0) {
            return list;
        }
        const nsjoin::Error error{
            now.schedule.list[now.failed].step, nsjoin::Reason::system, code, {}};
        const auto learned = nsjoin::detail::learn(run, now.schedule, error);
        if (!learned || !*learned || list.size() > 8) {
            std::fprintf(stderr, "nothing is learned\n");
            return {};
        }
    }
}

// ── What a run does ──────────────────────────────────────────────────────────────────────────────

// A call of getppid marks the beginning and the end of a run, one of getuid the beginning of each
// task: nobody else makes these.

/// As every task is performed, but for the mark. The check of the plan comes before all, and makes
/// none.
auto marked(Attempt& attempt, std::size_t place) noexcept -> nsjoin::Result<void> {
    if (attempt.schedule.list[place].step != Step::check_plan) {
        (void)nsjoin::detail::call(SYS_getuid);
    }
    return nsjoin::detail::perform<nsjoin::detail::anything()>(attempt, place);
}

auto failed_run(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "%s\n", nsjoin::explain(error).c_str());
    return 1;
}

/// As join_and_clone() or join_and_exec() runs it.
auto run_marked(const Case& one) -> int {
    const bool is_sibling = one.plan.parts().child_of == nsjoin::ChildOf::callers_parent;
    (void)::syscall(SYS_getppid);
    if (one.command != nullptr) {
        const auto child = nsjoin::detail::execute_plan(one.plan.parts(), *one.command, marked);
        (void)::syscall(SYS_getppid);
        return !child ? failed_run(child.error()) : child->wait() ? 0 : 1;
    }
    auto side = nsjoin::detail::to_side(one.plan.parts(), marked);
    (void)::syscall(SYS_getppid);
    if (!side) {
        return failed_run(side.error());
    }
    if (side->is_child()) {
        ::_exit(0);
    }
    return is_sibling || side->child().wait() ? 0 : 1;
}

/// The system calls of one process: those before its first task, and then those of each.
using Parts = std::vector<std::vector<long>>;

/// By process, in the order in which they were made: the caller first.
auto parts_of(const support::Traced& run) -> std::vector<Parts> {
    const pid_t main = run.stops.front().pid;
    std::map<pid_t, Parts> by_pid;
    std::map<pid_t, int> marks;
    std::map<pid_t, bool> is_program;
    for (const support::Stop& stop : run.stops) {
        if (!stop.entry) {
            continue;
        }
        Parts& parts = by_pid[stop.pid];
        parts.resize(std::max<std::size_t>(parts.size(), 1));
        marks[stop.pid] += stop.number == SYS_getppid ? 1 : 0;
        const bool counts = marks[stop.pid] == (stop.pid == main ? 1 : 0) && !is_program[stop.pid];
        if (!counts || stop.number == SYS_getppid) {
            continue;
        }
        if (stop.number == SYS_getuid) {
            parts.emplace_back();
        } else {
            parts.back().push_back(stop.number);
        }
        is_program[stop.pid] = stop.number == SYS_execve || stop.number == SYS_execveat;
    }
    // Pids are given in order, and begin anew behind the last one.
    std::vector<Parts> list{by_pid[main]};
    for (const bool higher : {true, false}) {
        for (const auto& [pid, parts] : by_pid) {
            if (pid != main && (pid > main) == higher) {
                list.push_back(parts);
            }
        }
    }
    return list;
}

// ── The comparison ───────────────────────────────────────────────────────────────────────────────

/// Compares what a process did with its tasks, and says what is not as it should be.
class Comparison {
  public:
    explicit Comparison(const Case& one) : case_{one} {}

    /// All of it; 0 if all is as the schedules say.
    [[nodiscard]] auto compare(const std::vector<Tried>& attempts, const std::vector<Parts>& made)
        -> int {
        std::size_t next = 1;
        std::size_t next_of_caller = 1;
        for (const Tried& tried : attempts) {
            again_ = &tried != &attempts.front();
            next_of_caller = compare_process(tried, Process::caller, made.front(), next_of_caller);
            for (const Process process : tried.made()) {
                if (next >= made.size()) {
                    say("a process is missing");
                    return bad_;
                }
                const Parts parts = without_beginning(made[next++]);
                const std::size_t end = compare_process(tried, process, parts, 1);
                if (end < parts.size()) {
                    say("a process has more tasks than it should");
                }
            }
        }
        if (next != made.size()) {
            say("there are more processes than the schedule has");
        }
        if (next_of_caller < made.front().size()) {
            say("the caller has more tasks than it should");
        }
        return bad_;
    }

  private:
    /// What a process does before its first task is of that task too.
    [[nodiscard]] static auto without_beginning(Parts parts) -> Parts {
        if (parts.size() > 1) {
            parts[1].insert(parts[1].begin(), parts[0].begin(), parts[0].end());
        }
        return parts;
    }

    void say(const std::string& what) {
        std::fprintf(stderr, "%s: %s\n", case_.what.c_str(), what.c_str());
        bad_ = 1;
    }

    /// The tasks that the process comes to; returns where its next attempt begins.
    [[nodiscard]] auto compare_process(const Tried& tried, Process process, const Parts& parts,
                                       std::size_t next) -> std::size_t {
        const std::vector<std::size_t> places = tried.places(process);
        for (std::size_t i = 0; i < places.size(); ++i) {
            const std::size_t place = places[i];
            const std::string line = line_of(case_.plan, case_.command, tried.schedule, place);
            line_ = &line;
            step_ = tried.schedule.list[place].step;
            if (next >= parts.size()) {
                say(line + ": is not come to");
                return next;
            }
            const bool last = i + 1 == places.size();
            // What is open stays open for the next attempt, and of two tries to join, the first one
            // may have done it.
            optional_ = (step_ == Step::open_proc && again_) ||
                        (is_join(step_) && is_second_try(tried.schedule, place));
            waits_ = place != tried.failed;
            const auto list = parse(in_brackets(line));
            check(list, parts[next], last, tried.fails());
            ++next;
        }
        return next;
    }

    [[nodiscard]] static auto is_second_try(const Schedule& schedule, std::size_t place) -> bool {
        for (std::size_t i = 0; i < place; ++i) {
            const Task& task = schedule.list[i];
            if (task.may_wait && schedule.list[place].kinds.contains(task.kinds)) {
                return true;
            }
        }
        return false;
    }

    /// Whether the calls are those of the list, in their order: one may be repeated or left out,
    /// and so may the whole list. `last`: behind it comes what the process does at last.
    void check(const std::vector<Alternatives>& list, const std::vector<long>& made, bool last,
               bool fails) {
        std::size_t at = 0;
        bool any = false;
        bool asks_again = false;
        long before = -1;
        for (const long number : made) {
            // The tracer has the end of a process a moment before its parent gets it, which may ask
            // more than once meanwhile.
            asks_again = number == SYS_ppoll && (before == SYS_waitid || asks_again);
            before = number;
            std::size_t found = place_in(list, at, number);
            found = found == list.size() && place_in(list, 0, number) == 0 ? 0 : found;
            if (found < list.size()) {
                at = found;
                any = true;
                seen().made[static_cast<std::size_t>(step_)][index_of(number)] = true;
            } else if (!asks_again && !is_in(housekeeping, number) &&
                       !(last && is_in(afterwards, number)) &&
                       !(last && fails && is_in(asks, number))) {
                say(*line_ + ": left over: " + name_of(number) + all_of(made));
            }
        }
        if (!any && !list.empty() && !optional_) {
            say(*line_ + ": nothing of it was made" + all_of(made));
        }
        check_names(list, made);
    }

    /// The first in the list from there on that the call is one of.
    [[nodiscard]] static auto place_in(const std::vector<Alternatives>& list, std::size_t from,
                                       long number) -> std::size_t {
        const std::size_t call = index_of(number);
        while (from < list.size() &&
               (call == unknown ||
                std::find(list[from].begin(), list[from].end(), call) == list[from].end())) {
            ++from;
        }
        return from;
    }

    /// Notes what is named. A wait is housekeeping, but where it is named it is that one.
    void check_names(const std::vector<Alternatives>& list, const std::vector<long>& made) {
        for (const Alternatives& one : list) {
            for (const std::size_t call : one) {
                if (call == unknown) {
                    say(*line_ + ": names what is no system call of this test");
                    continue;
                }
                seen().named[static_cast<std::size_t>(step_)][call] = true;
                const long number = calls[call].number;
                if (waits_ && (number == SYS_waitid || number == SYS_wait4) &&
                    std::find(made.begin(), made.end(), number) == made.end()) {
                    say(*line_ + ": another wait is made" + all_of(made));
                }
            }
        }
    }

    [[nodiscard]] static auto all_of(const std::vector<long>& made) -> std::string {
        std::string text = "; made:";
        for (const long number : made) {
            text += " " + name_of(number);
        }
        return text;
    }

    const Case& case_;
    const std::string* line_ = nullptr;
    Step step_ = Step::check_plan;
    bool optional_ = false;
    bool again_ = false; ///< it is not the first attempt
    bool waits_ = true;  ///< whoever is made is waited for
    int bad_ = 0;
};

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

/// Run it in a process of its own.
auto is_as_scheduled(const Case& one) -> int {
    CHILD_CHECK(::geteuid() != 0 || make_inheritable());
    CHILD_CHECK(!one.owners_unknown || support::deny_ioctl(nsjoin::detail::ns_get_userns, ENOTTY));
    const std::vector<Tried> attempts = attempts_of(one);
    CHILD_CHECK(!attempts.empty());
    const support::Traced run = support::Tracer{}.run(
        [&one] { return take_away(one) ? run_marked(one) : 1; }, static_cast<std::size_t>(-1));
    if (run.exit_code != 0 || run.hung) {
        std::fprintf(stderr, "%s: it failed\n", one.what.c_str());
        return 1;
    }
    return Comparison{one}.compare(attempts, parts_of(run));
}

// ── The cases ────────────────────────────────────────────────────────────────────────────────────

constexpr auto seven = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net, Kind::ipc,
                                     Kind::uts, Kind::cgroup>;

struct Handles {
    support::Container container{KindSet{nsjoin::all_kinds}};
    support::Container second{Kind::net | Kind::ipc | Kind::uts};
    nsjoin::PidFd target = std::move(*nsjoin::PidFd::open(container.pid()));
    nsjoin::PidFd other = std::move(*nsjoin::PidFd::open(second.pid()));
    nsjoin::NamespaceFd<Kind::net> net = std::move(*nsjoin::NamespaceFd<Kind::net>::open(target));
    nsjoin::NamespaceFd<Kind::user> user =
        std::move(*nsjoin::NamespaceFd<Kind::user>::open(target));
    nsjoin::OwnedFd root{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    nsjoin::OwnedFd program{::open("/bin/true", O_PATH | O_CLOEXEC)};
    nsjoin::Console console = std::move(*nsjoin::Console::open());
    support::Cgroup cgroup{"/sys/fs/cgroup/unified"};
    support::Cgroup old_cgroup{"/sys/fs/cgroup/pids"};
    std::array<nsjoin::MountSource, 1> sources{{{"/tmp", 200}}};
    support::RootFileSystem files;
    std::array<sock_filter, 1> filter{sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

    /// Those that this process may run on.
    [[nodiscard]] static auto cpus() -> nsjoin::CpuSet {
        nsjoin::CpuSet set;
        cpu_set_t allowed{};
        (void)::sched_getaffinity(0, sizeof allowed, &allowed);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            set = CPU_ISSET(cpu, &allowed) ? set.with(cpu) : set;
        }
        return set;
    }
};

auto root_map() -> nsjoin::NewUser {
    return {.uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}};
}

constexpr nsjoin::TimeOffsets offsets{std::chrono::seconds{5}, std::chrono::seconds{0}};

constexpr std::array<const char*, 2> words{"true", nullptr};

/// The commands: each has what is to be done otherwise.
struct Commands {
    explicit Commands(const Handles& h)
        : plain{.program = Program::at("/bin/true"), .arguments = words},
          open{.program = Program::open_file(h.program), .arguments = words},
          passed{{{h.root, 7}, {h.root, 8}}},
          crossed{{{h.root, h.program.get()}, {h.program, h.root.get()}}},
          whole{plain},
          swapping{plain} {
        ::sigemptyset(&none);
        ::sigfillset(&all);
        whole.descriptors = passed;
        whole.close_others = true;
        whole.limits = limits;
        whole.no_new_privileges = true;
        whole.default_signals = all;
        whole.signal_mask = none;
        swapping.descriptors = crossed;
        swapping.close_others = false;
    }

    sigset_t none{};
    sigset_t all{};
    nsjoin::Command plain;
    nsjoin::Command open;
    std::array<nsjoin::PassedFd, 2> passed;
    std::array<nsjoin::PassedFd, 2> crossed;
    std::array<nsjoin::ResourceLimit, 1> limits{{{RLIMIT_CORE, {0, 0}}}};
    nsjoin::Command whole;
    nsjoin::Command swapping;
};

auto with_sources(const Handles& h) -> Plan {
    nsjoin::Draft draft = JoinPlan{}.create(root_map()).create<Kind::mount>().draft();
    draft.mount_sources = {h.sources};
    return *Plan::from(draft);
}

auto plans_that_create(const Handles& h) -> std::vector<Case> {
    const auto root = h.root.borrow();
    return {
        {"nothing", JoinPlan{}},
        {"ids", JoinPlan{}.as({.uid = 1000, .gid = 1000, .groups = {5}}).death_signal(SIGKILL)},
        {"a name, and capabilities are kept", JoinPlan{}.name("name").keep_capabilities()},
        {"create, with maps",
         JoinPlan{}.create(root_map()).create<Kind::mount, Kind::pid, Kind::uts>().new_session()},
        {"create, setgroups denied",
         JoinPlan{}.create(nsjoin::NewUser{
             .uids = {{0, 0, 1}}, .gids = {{0, 0, 1}}, .setgroups = nsjoin::Setgroups::deny})},
        {"create, with an oom_score_adj", JoinPlan{}.create(root_map()).oom_score_adj(5)},
        {"create a user namespace, with an oom_score_adj",
         JoinPlan{}.create<Kind::user>().oom_score_adj(5)},
        {"create, with time offsets",
         JoinPlan{}.create(root_map()).create<Kind::time>().time_offsets(offsets)},
        {"create, with mount sources", with_sources(h)},
        {"create without a user namespace", JoinPlan{}
                                                .create<Kind::mount, Kind::cgroup, Kind::time>()
                                                .time_offsets(offsets)
                                                .root(root)
                                                .working_directory(root)
                                                .oom_score_adj(5)},
        {"create a user namespace without a map",
         JoinPlan{}.create<Kind::user, Kind::net, Kind::ipc, Kind::cgroup>()},
        {"create what a clone makes", JoinPlan{}.create<Kind::net, Kind::ipc, Kind::uts>()},
        {"create what it does not", JoinPlan{}.create<Kind::cgroup, Kind::time>()},
        {"oom_score_adj alone", JoinPlan{}.oom_score_adj(5)},
        {"a console", JoinPlan{}.console(h.console.peer.fd()).death_signal(SIGKILL)},
        {"a deadline", JoinPlan{}.deadline(std::chrono::seconds{20})},
        {"names and the loopback interface", JoinPlan{}
                                                 .create<Kind::uts, Kind::net>()
                                                 .host_name("inside")
                                                 .domain_name("here")
                                                 .loopback_up()},
        {"a root mount and a /proc", JoinPlan{}
                                         .create<Kind::mount, Kind::pid>()
                                         .pivot_root(h.files.path())
                                         .mount_proc()
                                         .working_directory("/tmp")},
        {"a root by path", JoinPlan{}.root("/").umask(022).priority(1).cpu_affinity(h.cpus())},
        {"capabilities",
         JoinPlan{}
             .as({.uid = 1000, .gid = 1000, .groups = {5}})
             .capabilities(nsjoin::Capabilities::kept_by_programs(nsjoin::Capability::chown))
             .no_new_privileges()},
        {"a filter", JoinPlan{}.create(root_map()).filter(h.filter)},
        {"a filter, and no_new_privs", JoinPlan{}.filter(h.filter).no_new_privileges()},
        {"capabilities in a user namespace",
         JoinPlan{}
             .create(root_map())
             .capabilities(nsjoin::Capabilities::limited_to(nsjoin::Capability::chown))},
        {"the caller's parent's child",
         JoinPlan{}.create<Kind::net, Kind::pid>().child_of(nsjoin::ChildOf::callers_parent)},
    };
}

auto plans_that_join(const Handles& h) -> std::vector<Case> {
    const auto one = JoinPlan{}.join(h.target, nsjoin::kinds<Kind::net>);
    const int pidfd = h.target.fd().get();
    return {
        {"all kinds", JoinPlan{}.join(h.target, nsjoin::all_kinds), nullptr, pidfd},
        {"seven kinds", JoinPlan{}.join(h.target, seven), nullptr, pidfd},
        {"seven kinds, a deadline",
         JoinPlan{}.join(h.target, seven).deadline(std::chrono::seconds{20}), nullptr, pidfd},
        {"one kind, other ids",
         JoinPlan{}
             .join(h.target, nsjoin::kinds<Kind::uts>)
             .as({.uid = 1000, .gid = 1000, .groups = {5}})
             .death_signal(SIGKILL)
             .name("name"),
         nullptr, pidfd},
        {"join, and create with time offsets",
         one.create(root_map()).create<Kind::time>().time_offsets(offsets), nullptr, pidfd},
        {"join, and create time", one.create<Kind::time>().time_offsets(offsets), nullptr, pidfd},
        {"join user, and create",
         JoinPlan{}
             .join(h.target, nsjoin::kinds<Kind::user>)
             .create<Kind::uts, Kind::ipc>()
             .oom_score_adj(5),
         nullptr, pidfd},
        {"join one, and create", one.create<Kind::ipc, Kind::cgroup, Kind::mount>(), nullptr,
         pidfd},
        {"join one, and create with maps",
         one.create(root_map()).create<Kind::mount, Kind::pid>().oom_score_adj(5), nullptr, pidfd},
        {"two kinds", JoinPlan{}.join(h.target, nsjoin::kinds<Kind::user, Kind::net>), nullptr,
         pidfd},
        {"two kinds, the owners are unknown", JoinPlan{}.join(h.user).join(h.net), nullptr, pidfd,
         Lack::nothing, true},
        {"by descriptors", JoinPlan{}.join(h.user).join(h.net), nullptr, pidfd},
        {"two targets",
         JoinPlan{}
             .join(h.target, nsjoin::kinds<Kind::net>)
             .join(h.other, nsjoin::kinds<Kind::ipc, Kind::uts>),
         nullptr, pidfd},
        {"the caller's parent's child, joins",
         JoinPlan{}
             .join(h.target, seven)
             .oom_score_adj(5)
             .child_of(nsjoin::ChildOf::callers_parent),
         nullptr, pidfd},
        {"the caller's parent's child, joins, with time offsets",
         one.create<Kind::time>().time_offsets(offsets).child_of(nsjoin::ChildOf::callers_parent),
         nullptr, pidfd},
    };
}

/// The same as programs, and what only a command says.
auto programs(const Handles& h, const Commands& commands, const std::vector<Case>& plans)
    -> std::vector<Case> {
    std::vector<Case> list;
    for (const Case& one : plans) {
        if (one.plan.parts().child_of == nsjoin::ChildOf::caller) {
            list.push_back(one);
            list.back().what = "a program: " + one.what;
            list.back().command = &commands.plain;
        }
    }
    const auto copied = JoinPlan{}.deadline(std::chrono::seconds{20});
    const auto console = h.console.peer.fd();
    const int pidfd = h.target.fd().get();
    list.push_back({"an open program", JoinPlan{}, &commands.open});
    list.push_back({"an open program in a copy", copied, &commands.open});
    list.push_back({"all of a command", JoinPlan{}, &commands.whole});
    list.push_back({"all of a command in a copy", copied, &commands.whole});
    list.push_back(
        {"all of a command, and a console", JoinPlan{}.console(console), &commands.whole});
    list.push_back(
        {"all of a command, and a console in a copy", copied.console(console), &commands.whole});
    list.push_back(
        {"all of a command, joins", JoinPlan{}.join(h.target, seven), &commands.whole, pidfd});
    list.push_back({"descriptors in each other's place", JoinPlan{}, &commands.swapping});
    list.push_back({"a program that joins a time namespace",
                    JoinPlan{}.join(h.target, nsjoin::kinds<Kind::time>), &commands.plain, pidfd});
    return list;
}

auto in_cgroups(const Handles& h, const Commands& commands) -> std::vector<Case> {
    std::vector<Case> list;
    const int pidfd = h.target.fd().get();
    for (const support::Cgroup* const cgroup : {&h.cgroup, &h.old_cgroup}) {
        if (!cgroup->ok()) {
            support::skip("no cgroup can be made at " + cgroup->path());
            continue;
        }
        const auto in = JoinPlan{}.cgroup(cgroup->fd());
        const auto joins = in.join(h.target, nsjoin::all_kinds);
        const std::string where = cgroup == &h.cgroup ? "a cgroup" : "a cgroup v1";
        list.push_back({"in " + where, in});
        list.push_back({"in " + where + ", with its root",
                        in.create<Kind::cgroup, Kind::net>().oom_score_adj(5)});
        list.push_back({"in " + where + ", join one", in.join(h.target, nsjoin::kinds<Kind::net>),
                        nullptr, pidfd});
        list.push_back({"in " + where + ", join all", joins, nullptr, pidfd});
        list.push_back({"a program in " + where, in, &commands.plain});
        list.push_back({"a program in " + where + ", join seven", in.join(h.target, seven),
                        &commands.plain, pidfd});
        list.push_back({"in " + where + ", the caller's parent's child, joins",
                        in.join(h.target, seven).child_of(nsjoin::ChildOf::callers_parent), nullptr,
                        pidfd});
    }
    return list;
}

/// Those of the cases in which the lack shows.
auto under(Lack lack, const std::vector<Case>& cases) -> std::vector<Case> {
    std::vector<Case> list;
    for (const Case& one : cases) {
        Case under_it = one;
        under_it.lack = lack;
        under_it.what += lack_texts[static_cast<std::size_t>(lack)];
        const std::vector<Tried> attempts = attempts_of(under_it);
        if (attempts.size() > 1) {
            list.push_back(under_it);
        }
    }
    return list;
}

void check_all(const std::vector<Case>& cases) {
    for (const Case& one : cases) {
        CAPTURE(one.what);
        CHECK(support::run_in_child([&one] { return is_as_scheduled(one); }) == 0);
    }
    MESSAGE(cases.size() << " plans traced");
}

auto all_cases(const Handles& handles, const Commands& commands) -> std::vector<Case> {
    std::vector<Case> cases = plans_that_create(handles);
    const auto add = [&cases](const std::vector<Case>& more) {
        cases.insert(cases.end(), more.begin(), more.end());
    };
    add(plans_that_join(handles));
    add(programs(handles, commands, cases));
    add(in_cgroups(handles, commands));
    return cases;
}

/// What a user without rights may do: join a container of its own, and create with a user
/// namespace.
auto rootless() -> int {
    const support::Container container{KindSet{nsjoin::all_kinds}};
    const auto target = nsjoin::PidFd::open(container.pid());
    CHILD_CHECK(target);
    const nsjoin::Command command{.program = Program::at("/bin/true"), .arguments = words};
    const int pidfd = target->fd().get();
    const auto all = JoinPlan{}.join(*target, nsjoin::all_kinds);
    const auto most = JoinPlan{}.join(*target, seven);
    const auto created = JoinPlan{}.create(support::own_root()).create<Kind::mount, Kind::pid>();
    std::vector<Case> cases{
        {"rootless: nothing", JoinPlan{}},
        {"rootless: all kinds", all, nullptr, pidfd},
        {"rootless: seven kinds", most, nullptr, pidfd},
        {"rootless: create", created},
        {"rootless: a program: all kinds", all, &command, pidfd},
        {"rootless: a program: seven kinds", most, &command, pidfd},
        {"rootless: a program: create", created, &command},
    };
    const auto several = under(Lack::setns_of_several, cases);
    cases.insert(cases.end(), several.begin(), several.end());
    int bad = 0;
    for (const Case& one : cases) {
        bad += support::run_in_child([&one] { return is_as_scheduled(one); }) == 0 ? 0 : 1;
    }
    return bad;
}

auto is_root() -> bool {
    if (::geteuid() != 0) {
        support::skip("joins of every kind need root");
        return false;
    }
    return true;
}

} // namespace

TEST_CASE("the system calls of every way to run are those that its schedule says") {
    if (is_root()) {
        (void)seen();
        const Handles handles;
        const Commands commands{handles};
        check_all(all_cases(handles, commands));
    }
}

TEST_CASE("under every lack of the kernel's, each attempt is as its schedule says") {
    if (is_root()) {
        (void)seen();
        const Handles handles;
        const Commands commands{handles};
        const std::vector<Case> cases = all_cases(handles, commands);
        for (const Lack lack : lacks) {
            check_all(under(lack, cases));
        }
    }
}

TEST_CASE("rootless: the system calls are those that the schedule says") {
    (void)seen();
    CHECK(support::as_user(1000, [] { return rootless(); }) == 0);
}

TEST_CASE("what is named of a step is made in some of these runs") {
    std::string never;
    for (std::size_t step = 0; step < nsjoin::plan_step_count; ++step) {
        for (std::size_t call = 0; call < calls.size(); ++call) {
            if (seen().named[step][call] && !seen().made[step][call]) {
                never += std::string{nsjoin::facts(static_cast<Step>(step)).name} + ": " +
                         calls[call].name + "\n";
            }
        }
    }
    CHECK(never == std::string{});
}
