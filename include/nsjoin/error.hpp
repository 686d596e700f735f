// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_ERROR_HPP
#define NSJOIN_ERROR_HPP

#include <nsjoin/kind.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace nsjoin {

/// One thing that the library does. The first part are the steps of a plan, which order.hpp puts in
/// order; the rest are what a handle does on its own. An Error names the step that failed.
enum class Step : std::uint8_t {
    check_plan,
    open_proc,
    open_target,
    check_console,
    open_cgroup,
    make_channel,
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
    take_mount_sources,
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
    pass_descriptors,
    set_limits,
    set_no_new_privileges,
    set_signals,
    execute,
    join_here,
    go_back,
};

/// How many steps a plan can have: those from check_plan to report.
inline constexpr std::size_t plan_step_count = static_cast<std::size_t>(Step::report) + 1;

/// Which process does a step.
enum class Actor : std::uint8_t {
    caller, ///< the process that calls the library
    first,  ///< the joiner; where none is needed, the child
    child,  ///< the child
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
        {Step::open_proc, Actor::caller, "open /proc", "open, fstatfs"},
        {Step::open_target, Actor::caller, "pin the target", "pidfd_open"},
        {Step::check_console, Actor::caller, "check the console", "ioctl(TCGETS)"},
        {Step::open_cgroup, Actor::caller, "open the cgroup", "openat, fstatfs"},
        {Step::make_channel, Actor::caller, "make the report channel", "socketpair"},
        {Step::make_joiner, Actor::caller, "make the joiner", "clone"},
        {Step::enter_cgroup, Actor::first, "enter the cgroup", "clone3(CLONE_INTO_CGROUP) or write(cgroup.procs)"},
        {Step::set_oom_score_adj, Actor::first, "set oom_score_adj", "write(/proc/self/oom_score_adj)"},
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
        {Step::write_uid_map, Actor::caller, "write uid_map", "write(/proc/PID/uid_map)"},
        {Step::write_setgroups, Actor::caller, "write setgroups", "write(/proc/PID/setgroups)"},
        {Step::write_gid_map, Actor::caller, "write gid_map", "write(/proc/PID/gid_map)"},
        {Step::await_maps, Actor::child, "wait for the caller's word", "ppoll, recvfrom"},
        {Step::become_root, Actor::child, "become root of the user namespace", "setresgid, setresuid"},
        {Step::create_net, Actor::child, "create net", "unshare"},
        {Step::create_ipc, Actor::child, "create ipc", "unshare"},
        {Step::create_uts, Actor::child, "create uts", "unshare"},
        {Step::create_cgroup, Actor::child, "create cgroup", "unshare"},
        {Step::create_mount, Actor::child, "create mnt", "unshare"},
        {Step::create_time, Actor::child, "create time", "unshare"},
        {Step::write_time_offsets, Actor::child, "write timens_offsets", "write(/proc/self/timens_offsets)"},
        {Step::enter_time, Actor::child, "enter the new time namespace", "setns"},
        {Step::take_mount_sources, Actor::child, "take the mount sources", "recvmsg(SCM_RIGHTS), dup3"},
        {Step::new_session, Actor::child, "start a session", "setsid"},
        {Step::set_console, Actor::child, "make the console the controlling terminal", "ioctl(TIOCSCTTY), dup3"},
        {Step::set_root, Actor::child, "change the root directory", "fchdir, chroot"},
        {Step::set_working_directory, Actor::child, "change the working directory", "fchdir, getcwd"},
        {Step::set_name, Actor::child, "set the process name", "prctl(PR_SET_NAME)"},
        {Step::clear_inheritable, Actor::child, "clear the inheritable capabilities", "capset"},
        {Step::set_groups, Actor::child, "set the supplementary groups", "setgroups"},
        {Step::set_gid, Actor::child, "set the gid", "setresgid"},
        {Step::set_uid, Actor::child, "set the uid", "setresuid"},
        {Step::verify_ids, Actor::child, "verify the ids", "getresuid, getresgid, getgroups"},
        {Step::set_death_signal, Actor::child, "set the parent-death signal", "prctl(PR_SET_PDEATHSIG)"},
        {Step::report, Actor::child, "report to the caller", "send"},
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
        {Step::pass_descriptors, Actor::child, "pass the descriptors", "dup3, close_range"},
        {Step::set_limits, Actor::child, "set the limits", "prlimit64"},
        {Step::set_no_new_privileges, Actor::child, "set no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)"},
        {Step::set_signals, Actor::child, "set the signals", "rt_sigprocmask, rt_sigaction"},
        {Step::execute, Actor::child, "execute the program", "execve"},
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

/// The step that joins a kind.
[[nodiscard]] constexpr auto join_step(Kind kind) noexcept -> Step {
    return static_cast<Step>(static_cast<unsigned>(Step::join_user) + static_cast<unsigned>(kind));
}

/// The step that creates a kind.
[[nodiscard]] constexpr auto create_step(Kind kind) noexcept -> Step {
    constexpr std::array<Step, kind_count> steps{
        Step::create_user, Step::create_mount, Step::create_pid,    Step::create_net,
        Step::create_ipc,  Step::create_uts,   Step::create_cgroup, Step::create_time};
    return steps[static_cast<std::size_t>(kind)];
}

/// Why something failed, where the errno alone does not say it.
enum class Reason : std::uint8_t {
    system,               ///< the system call failed: see Error::code
    joined_twice,         ///< a plan joins a kind twice
    joined_and_created,   ///< a plan joins a kind and creates it
    maps_without_user,    ///< id maps without a new user namespace
    offsets_without_time, ///< time offsets without a new time namespace
    no_such_kind,         ///< the running kernel lacks the kind
    not_a_namespace,      ///< the descriptor is no namespace
    wrong_kind,           ///< a namespace of another kind
    map_empty,            ///< an id map without extents
    map_zero_count,       ///< an extent of no ids
    map_overflow,         ///< an extent past the last id
    map_overlap,          ///< two extents share an id
    map_too_long,         ///< more than 340 extents
    id_not_mapped,        ///< an id that the user namespace's maps do not have
    ids_differ,           ///< the process has other ids than it took
    groups_denied,        ///< setgroups is denied in the user namespace
    not_a_terminal,       ///< the console is no terminal
    not_procfs,           ///< /proc is not the kernel's
    not_a_cgroup,         ///< the descriptor is no directory of a cgroup file system
    process_gone,         ///< the process ended meanwhile
    process_died,         ///< the joiner or child died before it reported: see Error::code
    helper_failed,        ///< newuidmap or newgidmap said no: see Error::subject
    no_helper,            ///< newuidmap or newgidmap is not installed
    deadline_passed,      ///< the plan's deadline passed
    end_of_file,          ///< the other side closed before all was read
    init_has_no_sibling,  ///< pid 1 of a pid namespace can't use CLONE_PARENT
    pending_pid,          ///< the caller's children would be the first in a new pid namespace
    many_threads,         ///< the caller has several threads, and would have to join itself
    outside_root,         ///< the working directory is outside the root directory
    already_reaped,       ///< someone else waited for the process and took its status
    bad_value,            ///< a value outside its range
    no_way_back,          ///< a kind that the Home lacks, so that nobody could come back
    not_root_inside,      ///< no id map for id 0, which the plan needs
    bad_message,          ///< a bootstrap message or variable that breaks the dialect's rules
};

/// A short text inside an Error: never allocates, cuts what does not fit.
class Subject {
  public:
    constexpr Subject() noexcept = default;

    constexpr explicit Subject(std::string_view text) noexcept { append(text); }

    constexpr auto append(std::string_view text) noexcept -> Subject& {
        for (const char c : text) {
            if (length_ == text_.size() - 1) {
                break; // the last byte stays NUL
            }
            text_[length_++] = c;
        }
        return *this;
    }

    constexpr auto append(std::int64_t number) noexcept -> Subject& {
        std::array<char, 20> digits{};
        std::size_t count = 0;
        auto rest = number < 0 ? 0 - static_cast<std::uint64_t>(number)
                               : static_cast<std::uint64_t>(number);
        do {
            digits[count++] = static_cast<char>('0' + rest % 10);
            rest /= 10;
        } while (rest != 0);
        if (number < 0) {
            append("-");
        }
        while (count != 0) {
            append(std::string_view{&digits[--count], 1});
        }
        return *this;
    }

    [[nodiscard]] constexpr auto view() const noexcept -> std::string_view {
        return {text_.data(), length_};
    }

    /// The same, ended by a NUL.
    [[nodiscard]] constexpr auto c_str() const noexcept -> const char* { return text_.data(); }

    [[nodiscard]] friend constexpr auto operator==(const Subject& a, const Subject& b) noexcept
        -> bool {
        return a.view() == b.view();
    }

  private:
    std::array<char, 160> text_{};
    std::uint8_t length_ = 0;
};

/// What failed: the step, to what it was being done, the errno and the reason. Trivially copyable,
/// so that it crosses from the child to the caller as it is. explain() puts it in words.
struct [[nodiscard]] Error {
    Step step = Step::check_plan;
    Reason reason = Reason::system;
    std::int32_t code = 0; ///< an errno; for process_died the wait status; else 0
    Subject subject;       ///< what the step was done to ("pid 4711", "/run/netns/blue"), or empty

    [[nodiscard]] friend constexpr auto operator==(const Error&, const Error&) noexcept
        -> bool = default;
};

static_assert(std::is_trivially_copyable_v<Error>);

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

#endif // NSJOIN_ERROR_HPP
