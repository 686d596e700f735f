// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_STEP_HPP
#define NSJOIN_STEP_HPP

#include <nsjoin/kind.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nsjoin {

/// One kind of thing that the library does. The first part are the steps of a plan, which order.hpp
/// puts in order; the rest are what a handle does on its own. An Error names the step that failed.
enum class Step : std::uint8_t {
    check_plan,
    open_proc,
    open_target,
    check_console,
    open_cgroup,
    pin_caller,
    make_channel,
    make_opener,
    make_joiner,
    enter_cgroup,
    set_oom_score_adj,
    open_time_offsets,
    clear_dumpable,
    join_user,
    join_mount,
    join_pid,
    join_net,
    join_ipc,
    join_uts,
    join_cgroup,
    join_time,
    make_child,
    create_user,
    create_pid,
    write_uid_map,
    write_setgroups,
    write_gid_map,
    await_maps,
    become_root,
    create_net,
    create_ipc,
    create_uts,
    create_cgroup,
    create_mount,
    create_time,
    write_time_offsets,
    enter_time,
    open_mount_sources,
    take_mount_sources,
    own_descriptors,
    new_session,
    set_console,
    set_root,
    set_working_directory,
    set_name,
    clear_inheritable,
    set_groups,
    set_gid,
    set_uid,
    verify_ids,
    set_death_signal,
    report,
    offer_errors,
    pass_descriptors,
    set_limits,
    set_no_new_privileges,
    set_signals,
    execute,

    open_pidfd,
    send_signal,
    wait,
    open_namespace,
    read_namespace,
    pin_namespace,
    unpin_namespace,
    make_pipe,
    duplicate,
    read,
    write,
    send_descriptor,
    receive_descriptor,
    open_pty,
    open_peer,
    terminal_mode,
    window_size,
    read_credentials,
    read_bootstrap,
    seal_executable,
    start_program,
    join_here,
    go_back,
};

/// How many steps a plan can have: those from check_plan to execute.
inline constexpr std::size_t plan_step_count = static_cast<std::size_t>(Step::execute) + 1;

/// Which process does a step.
enum class Actor : std::uint8_t {
    caller, ///< the process that calls the library
    first,  ///< the joiner; where none is needed, the child
    child,  ///< the child
    opener, ///< the process that opens the mount sources
};

/// What is known of a step beside its place in the order.
struct StepFacts {
    Step step;
    Actor actor;
    std::string_view name;   ///< as errors and explanations print it
    std::string_view system; ///< the system call behind it
};

/// One row a step, indexed by the step. facts(step) costs a program less.
inline constexpr std::array<StepFacts, static_cast<std::size_t>(Step::go_back) + 1> step_table{{
    // clang-format off
        {Step::check_plan, Actor::caller, "check the plan", "none"},
        {Step::open_proc, Actor::caller, "open /proc", "openat, fstatfs, readlinkat"},
        {Step::open_target, Actor::caller, "pin the target", "none"},
        {Step::check_console, Actor::caller, "check the console", "ioctl(TCGETS)"},
        {Step::open_cgroup, Actor::caller, "open the cgroup", "openat(cgroup.procs)"},
        {Step::pin_caller, Actor::caller, "pin the caller", "pidfd_open"},
        {Step::make_channel, Actor::caller, "make the report channel", "socketpair"},
        {Step::make_opener, Actor::caller, "make the opener of mount sources", "socketpair, setsockopt, clone3"},
        {Step::make_joiner, Actor::caller, "make the joiner", "clone"},
        {Step::enter_cgroup, Actor::first, "enter the cgroup", "write(cgroup.procs)"},
        {Step::set_oom_score_adj, Actor::first, "set oom_score_adj", "openat, write(/proc/self/oom_score_adj)"},
        {Step::open_time_offsets, Actor::first, "open timens_offsets", "openat(/proc/self/timens_offsets)"},
        {Step::clear_dumpable, Actor::first, "clear the dumpable flag", "prctl(PR_SET_DUMPABLE)"},
        {Step::join_user, Actor::first, "join user", "setns"},
        {Step::join_mount, Actor::first, "join mnt", "setns"},
        {Step::join_pid, Actor::first, "join pid", "setns"},
        {Step::join_net, Actor::first, "join net", "setns"},
        {Step::join_ipc, Actor::first, "join ipc", "setns"},
        {Step::join_uts, Actor::first, "join uts", "setns"},
        {Step::join_cgroup, Actor::first, "join cgroup", "setns"},
        {Step::join_time, Actor::first, "join time", "setns"},
        {Step::make_child, Actor::first, "make the child", "clone3"},
        {Step::create_user, Actor::first, "create user", "clone3(CLONE_NEWUSER)"},
        {Step::create_pid, Actor::first, "create pid", "clone3(CLONE_NEWPID)"},
        {Step::write_uid_map, Actor::caller, "write uid_map", "openat, ppoll, write(/proc/PID/uid_map)"},
        {Step::write_setgroups, Actor::caller, "write setgroups", "openat, ppoll, write(/proc/PID/setgroups)"},
        {Step::write_gid_map, Actor::caller, "write gid_map", "openat, ppoll, write(/proc/PID/gid_map)"},
        {Step::await_maps, Actor::child, "wait for the caller's word", "ppoll, recvfrom"},
        {Step::become_root, Actor::child, "become root of the user namespace", "setresgid, setresuid"},
        {Step::create_net, Actor::child, "create net", "unshare"},
        {Step::create_ipc, Actor::child, "create ipc", "unshare"},
        {Step::create_uts, Actor::child, "create uts", "unshare"},
        {Step::create_cgroup, Actor::child, "create cgroup", "unshare"},
        {Step::create_mount, Actor::child, "create mnt", "unshare"},
        {Step::create_time, Actor::child, "create time", "unshare"},
        {Step::write_time_offsets, Actor::child, "write timens_offsets", "write(/proc/self/timens_offsets)"},
        {Step::enter_time, Actor::child, "enter the new time namespace", "openat, setns"},
        {Step::open_mount_sources, Actor::opener, "open the mount sources", "prctl, recvmsg, openat, setns, openat, sendmsg(SCM_RIGHTS)"},
        {Step::take_mount_sources, Actor::child, "take the mount sources", "sendto, recvfrom, recvmsg(SCM_RIGHTS), dup3"},
        {Step::own_descriptors, Actor::child, "take a descriptor table of its own", "close_range(CLOSE_RANGE_UNSHARE) or unshare(CLONE_FILES)"},
        {Step::new_session, Actor::child, "start a session", "setsid"},
        {Step::set_console, Actor::child, "make the console the controlling terminal", "ioctl(TIOCSCTTY), dup3"},
        {Step::set_root, Actor::child, "change the root directory", "fchdir, chroot"},
        {Step::set_working_directory, Actor::child, "change the working directory", "fchdir, getcwd"},
        {Step::set_name, Actor::child, "set the process name", "prctl(PR_SET_NAME)"},
        {Step::clear_inheritable, Actor::child, "clear the inheritable capabilities", "capget, capset"},
        {Step::set_groups, Actor::child, "set the supplementary groups", "setgroups"},
        {Step::set_gid, Actor::child, "set the gid", "setresgid"},
        {Step::set_uid, Actor::child, "set the uid", "setresuid"},
        {Step::verify_ids, Actor::child, "verify the ids", "getresgid, getresuid, getgroups"},
        {Step::set_death_signal, Actor::child, "set the parent-death signal", "prctl(PR_SET_PDEATHSIG)"},
        {Step::report, Actor::child, "report to the caller", "sendto"},
        {Step::offer_errors, Actor::child, "make the pipe that tells of the execution", "pipe2, sendmsg(SCM_RIGHTS)"},
        {Step::pass_descriptors, Actor::child, "pass the descriptors", "fcntl, dup3, close_range"},
        {Step::set_limits, Actor::child, "set the limits", "prlimit64"},
        {Step::set_no_new_privileges, Actor::child, "set no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)"},
        {Step::set_signals, Actor::child, "set the signals", "rt_sigaction, rt_sigprocmask"},
        {Step::execute, Actor::child, "execute the program", "execve or execveat"},
        {Step::open_pidfd, Actor::caller, "open a pidfd", "pidfd_open"},
        {Step::send_signal, Actor::caller, "send a signal", "pidfd_send_signal"},
        {Step::wait, Actor::caller, "wait for a process", "waitid"},
        {Step::open_namespace, Actor::caller, "open a namespace", "open"},
        {Step::read_namespace, Actor::caller, "ask about a namespace", "ioctl"},
        {Step::pin_namespace, Actor::caller, "pin a namespace", "mount(MS_BIND)"},
        {Step::unpin_namespace, Actor::caller, "unpin a namespace", "umount2"},
        {Step::make_pipe, Actor::caller, "make a pipe or socket pair", "pipe2"},
        {Step::duplicate, Actor::caller, "duplicate a descriptor", "fcntl(F_DUPFD_CLOEXEC)"},
        {Step::read, Actor::caller, "read", "read"},
        {Step::write, Actor::caller, "write", "write"},
        {Step::send_descriptor, Actor::caller, "send a descriptor", "sendmsg(SCM_RIGHTS)"},
        {Step::receive_descriptor, Actor::caller, "receive a descriptor", "recvmsg(SCM_RIGHTS)"},
        {Step::open_pty, Actor::caller, "open a pseudoterminal", "open(/dev/ptmx)"},
        {Step::open_peer, Actor::caller, "open the pseudoterminal's peer", "ioctl(TIOCGPTPEER)"},
        {Step::terminal_mode, Actor::caller, "set the terminal's mode", "ioctl(TCSETS)"},
        {Step::window_size, Actor::caller, "read or set the window size", "ioctl(TIOCSWINSZ)"},
        {Step::read_credentials, Actor::caller, "read the process's ids", "getgroups"},
        {Step::read_bootstrap, Actor::caller, "read the bootstrap message", "read"},
        {Step::seal_executable, Actor::caller, "seal the executable", "memfd_create, execveat"},
        {Step::start_program, Actor::caller, "start the embedding program", "execve"},
        {Step::join_here, Actor::caller, "join with this thread", "setns"},
        {Step::go_back, Actor::caller, "go back to the thread's own namespace", "setns"},
    // clang-format on
}};

namespace detail {

/// The texts of one column of step_table, one behind the other: a table of string_views has a
/// relocation a text, which costs three times as much as the text.
template <std::size_t Size>
struct PackedTexts {
    std::array<char, Size> text{};
    std::array<std::uint16_t, step_table.size() + 1> begin{};

    [[nodiscard]] constexpr auto operator[](Step step) const noexcept -> std::string_view {
        const auto index = static_cast<std::size_t>(step);
        return {text.data() + begin[index],
                static_cast<std::size_t>(begin[index + 1] - begin[index])};
    }
};

template <std::string_view StepFacts::*Column>
[[nodiscard]] consteval auto packed() noexcept {
    constexpr std::size_t size = [] {
        std::size_t sum = 0;
        for (const StepFacts& row : step_table) {
            sum += (row.*Column).size();
        }
        return sum;
    }();
    PackedTexts<size> result;
    std::size_t next = 0;
    for (std::size_t i = 0; i < step_table.size(); ++i) {
        for (const char c : step_table[i].*Column) {
            result.text[next++] = c;
        }
        result.begin[i + 1] = static_cast<std::uint16_t>(next);
    }
    return result;
}

[[nodiscard]] consteval auto packed_actors() noexcept {
    std::array<Actor, step_table.size()> result{};
    for (std::size_t i = 0; i < result.size(); ++i) {
        result[i] = step_table[i].actor;
    }
    return result;
}

inline constexpr auto step_names = packed<&StepFacts::name>();
inline constexpr auto step_systems = packed<&StepFacts::system>();
inline constexpr auto step_actors = packed_actors();

} // namespace detail

/// What is known of a step.
[[nodiscard, gnu::always_inline]] constexpr auto facts(Step step) noexcept -> StepFacts {
    return {step, detail::step_actors[static_cast<std::size_t>(step)], detail::step_names[step],
            detail::step_systems[step]};
}

/// A set of a plan's steps: a value, usable in constant expressions and as a template argument.
class StepSet {
  public:
    constexpr StepSet() noexcept = default;

    // NOLINTNEXTLINE(google-explicit-constructor,hicpp-explicit-conversions): a step is a set of one
    constexpr StepSet(Step step) noexcept : bits{std::uint64_t{1} << static_cast<unsigned>(step)} {}

    [[nodiscard]] constexpr auto contains(Step step) const noexcept -> bool {
        return (bits >> static_cast<unsigned>(step) & 1U) != 0;
    }

    /// Puts the step in, or takes it out.
    constexpr void set(Step step, bool is_in = true) noexcept {
        bits = is_in ? bits | StepSet{step}.bits : bits & ~StepSet{step}.bits;
    }

    [[nodiscard]] friend constexpr auto operator|(StepSet a, StepSet b) noexcept -> StepSet {
        a.bits |= b.bits;
        return a;
    }

    [[nodiscard]] friend constexpr auto operator==(StepSet, StepSet) noexcept -> bool = default;

    std::uint64_t bits = 0; ///< public, as a template argument demands it
};

static_assert(plan_step_count <= 64);

[[nodiscard]] constexpr auto operator|(Step a, Step b) noexcept -> StepSet {
    return StepSet{a} | StepSet{b};
}

/// The step that joins a kind.
[[nodiscard]] constexpr auto join_step(Kind kind) noexcept -> Step {
    return static_cast<Step>(static_cast<unsigned>(Step::join_user) + static_cast<unsigned>(kind));
}

/// Whether the step joins a kind.
[[nodiscard]] constexpr auto is_join(Step step) noexcept -> bool {
    return step >= Step::join_user && step <= Step::join_time;
}

/// The step that creates a kind.
[[nodiscard]] constexpr auto create_step(Kind kind) noexcept -> Step {
    constexpr std::array<Step, kind_count> steps{
        Step::create_user, Step::create_mount, Step::create_pid,    Step::create_net,
        Step::create_ipc,  Step::create_uts,   Step::create_cgroup, Step::create_time};
    return steps[static_cast<std::size_t>(kind)];
}

/// Whether the step creates a kind.
[[nodiscard]] constexpr auto is_create(Step step) noexcept -> bool {
    return step == Step::create_user || step == Step::create_pid ||
           (step >= Step::create_net && step <= Step::create_time);
}

namespace detail {

[[nodiscard]] constexpr auto step_table_is_indexed_by_step() noexcept -> bool {
    for (std::size_t i = 0; i < step_table.size(); ++i) {
        if (static_cast<std::size_t>(step_table[i].step) != i || step_table[i].name.empty()) {
            return false;
        }
    }
    return true;
}

[[nodiscard]] constexpr auto join_steps_follow_the_kinds() noexcept -> bool {
    for (const KindFacts& row : kind_table) {
        if (facts(join_step(row.kind)).name.substr(5) != row.name ||
            facts(create_step(row.kind)).name.substr(7) != row.name) {
            return false;
        }
    }
    return true;
}

static_assert(step_table_is_indexed_by_step());
static_assert(join_steps_follow_the_kinds());

} // namespace detail

} // namespace nsjoin

#endif // NSJOIN_STEP_HPP
