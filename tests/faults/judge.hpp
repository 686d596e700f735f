// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_JUDGE_HPP
#define NSJOIN_TESTS_FAULTS_JUDGE_HPP

#include "harness.hpp"

#include <nsjoin/detail/kernel/errno_names.hpp>

// What is right and what is wrong of a run.

namespace faults {

/// Steps that make a call which their row of step.hpp does not name, as it is no step's own.
struct AlsoCalls {
    nsjoin::Step step;
    long number;
    std::string_view reason;
};

// NOLINTNEXTLINE(*-avoid-c-arrays)
inline constexpr AlsoCalls also_calls[]{
    {nsjoin::Step::make_opener, SYS_clone, "the way before Linux 5.3"},
    {nsjoin::Step::make_joiner, SYS_mmap, "what the joiner says is said in a shared page"},
    {nsjoin::Step::make_child, SYS_mmap, "the same"},
    {nsjoin::Step::clear_dumpable, SYS_mmap, "threads that need it at once count in a page"},
    {nsjoin::Step::clear_dumpable, SYS_madvise, "the same"},
    {nsjoin::Step::report, SYS_ppoll, "the caller waits for it"},
    {nsjoin::Step::report, SYS_recvfrom, "the caller takes it"},
    {nsjoin::Step::report, SYS_recvmsg, "the same of a launcher's"},
    {nsjoin::Step::report, SYS_sendmsg, "a launcher's child tells of its birth"},
    {nsjoin::Step::report, SYS_pidfd_open, "the same, of itself"},
    {nsjoin::Step::await_maps, SYS_sendto, "the word that is waited for"},
    {nsjoin::Step::write_uid_map, SYS_clone, "newuidmap, of one who may not write it"},
    {nsjoin::Step::write_uid_map, SYS_pipe2, "the same"},
    {nsjoin::Step::write_uid_map, SYS_execve, "the same"},
    {nsjoin::Step::write_gid_map, SYS_clone, "newgidmap, the same"},
    {nsjoin::Step::write_gid_map, SYS_pipe2, "the same"},
    {nsjoin::Step::write_gid_map, SYS_execve, "the same"},
    {nsjoin::Step::open_namespace, SYS_openat, "its page says open"},
    {nsjoin::Step::open_namespace, SYS_ioctl, "by a pidfd, and its kind"},
    {nsjoin::Step::open_namespace, SYS_fstatfs, "whether it is one"},
    {nsjoin::Step::open_namespace, SYS_newfstatat, "the same, by glibc 2.36"},
    {nsjoin::Step::open_namespace, SYS_fstat, "the same, by glibc 2.41"},
    {nsjoin::Step::make_joiner, SYS_clone3, "the way since Linux 5.3"},
    {nsjoin::Step::set_working_directory, SYS_chdir, "by a path"},
    {nsjoin::Step::verify_ids, SYS_capset, "what ids may leave of capabilities"},
    {nsjoin::Step::verify_ids, SYS_capget, "the same"},
    {nsjoin::Step::verify_ids, SYS_prctl, "the same"},
    {nsjoin::Step::make_child, SYS_clone, "the way before Linux 5.3, and a program's"},
    {nsjoin::Step::make_pipe, SYS_socketpair, "a pair of sockets is one too"},
    {nsjoin::Step::make_pipe, SYS_setsockopt, "that tells who sends"},
    {nsjoin::Step::go_back, SYS_openat, "the root and working directory, for the way back"},
    {nsjoin::Step::go_back, SYS_fchdir, "the same"},
    {nsjoin::Step::go_back, SYS_chroot, "the same"},
    {nsjoin::Step::join_here, SYS_unshare, "what a thread shares with others can't be moved"},
    {nsjoin::Step::set_working_directory, SYS_openat, "the caller's, that a launcher takes"},
    {nsjoin::Step::pass_descriptors, SYS_fcntl, "the caller's, that a launcher takes"},
    {nsjoin::Step::set_umask, SYS_pread64, "the caller's, that a launcher takes"},
    {nsjoin::Step::set_priority, SYS_getpriority, "the caller's, that a launcher takes"},
    {nsjoin::Step::set_limits, SYS_prlimit64, "the caller's, that a launcher takes"},
    {nsjoin::Step::start_program, SYS_sendmsg, "a launcher is asked"},
    {nsjoin::Step::start_program, SYS_newfstatat, "by which end of the stream it is known"},
    {nsjoin::Step::start_program, SYS_fstat, "the same"},
    {nsjoin::Step::start_program, SYS_ppoll, "the supervisor waits for the reply"},
    {nsjoin::Step::start_program, SYS_recvfrom, "and takes it"},
    {nsjoin::Step::start_program, SYS_recvmsg, "the same"},
    {nsjoin::Step::start_program, SYS_sendto, "the message"},
    {nsjoin::Step::start_program, SYS_mmap, "the libc's stack for it"},
    {nsjoin::Step::start_program, SYS_clone, "the libc's posix_spawn"},
    {nsjoin::Step::start_program, SYS_clone3, "the libc's posix_spawn"},
    {nsjoin::Step::start_program, SYS_dup2, "the libc's posix_spawn"},
    {nsjoin::Step::start_program, SYS_fcntl, "the libc's posix_spawn"},
    {nsjoin::Step::start_program, SYS_getpgid, "the caller's group, that a launcher takes"},
    {nsjoin::Step::start_program, SYS_setpgid, "the caller's group, that a launcher takes"},
    {nsjoin::Step::seal_executable, SYS_openat, "itself, and its arguments"},
    {nsjoin::Step::seal_executable, SYS_read, "the same"},
    {nsjoin::Step::seal_executable, SYS_sendfile, "the copy"},
    {nsjoin::Step::seal_executable, SYS_fcntl, "the copy's seals"},
    {nsjoin::Step::read_bootstrap, SYS_fcntl, "whether the descriptor is one"},
    {nsjoin::Step::read_bootstrap, SYS_ppoll, "until there is something to read"},
    {nsjoin::Step::read_bootstrap, SYS_recvfrom, "of a socket"},
    {nsjoin::Step::write, SYS_sendto, "of a socket"},
    {nsjoin::Step::execute, SYS_pipe2, "the child would tell by it"},
    {nsjoin::Step::execute, SYS_sendmsg, "the same"},
    {nsjoin::Step::execute, SYS_ppoll, "the caller waits for it"},
    {nsjoin::Step::execute, SYS_read, "the same"},
    {nsjoin::Step::execute, SYS_recvmsg, "the same"},
    {nsjoin::Step::execute, SYS_write, "the child says that it comes to it"},
};

/// Reasons that stand for an errno.
struct Stands {
    nsjoin::Reason reason;
    int code;
};

// NOLINTNEXTLINE(*-avoid-c-arrays)
inline constexpr Stands stands_for[]{
    {nsjoin::Reason::process_gone, ESRCH},
    {nsjoin::Reason::first_thread_ended, ESRCH},
    {nsjoin::Reason::id_not_mapped, EINVAL},
    {nsjoin::Reason::not_procfs, ENOENT}, // it does not know who asks: /proc/self leads nowhere
    {nsjoin::Reason::already_reaped, ECHILD},
    {nsjoin::Reason::capabilities_differ, EINVAL}, // the kernel knows no such capability
    {nsjoin::Reason::not_a_namespace, EBADF},      // what is not open is none
    {nsjoin::Reason::not_procfs, EBADF},
    {nsjoin::Reason::outside_root, ERANGE}, // of a path that is too long
    {nsjoin::Reason::many_threads, EINVAL}, // what unshare(2) says of threads
    {nsjoin::Reason::end_of_file, EPIPE},   // so the other one says that had its message cut
    {nsjoin::Reason::process_gone, EPIPE},  // who can't be told to go on says that nobody is there
    {nsjoin::Reason::process_died, EPIPE},  // whose caller seems to be gone goes on without it
    {nsjoin::Reason::end_of_file, ECONNRESET},
    {nsjoin::Reason::process_died, ECONNRESET}, // of the other end of a socket
    {nsjoin::Reason::process_died, EAGAIN},     // there is nothing to be had from who has ended
};

/// Whether the name stands as a word in the text.
inline auto has_word(std::string_view text, std::string_view word) -> bool {
    for (std::size_t at = text.find(word); at != std::string_view::npos;
         at = text.find(word, at + 1)) {
        const auto is_part = [&](std::size_t place) {
            return place < text.size() &&
                   (std::isalnum(static_cast<unsigned char>(text[place])) != 0 ||
                    text[place] == '_');
        };
        if ((at == 0 || !is_part(at - 1)) && !is_part(at + word.size())) {
            return true;
        }
    }
    return false;
}

inline auto names_call(nsjoin::Step step, long number) -> bool {
    if (nsjoin::is_join(step) && number == SYS_unshare) {
        return true; // what a thread shares with others can't be moved
    }
    for (const AlsoCalls& row : also_calls) {
        if (row.step == step && row.number == number) {
            return true;
        }
    }
    return has_word(nsjoin::facts(step).system, name_of(number));
}

/// Whether the error is that of the call which failed.
inline auto tells_of(const nsjoin::Error& error, long number, int code, bool executed)
    -> std::string {
    using nsjoin::Reason;
    const bool by_end =
        error.reason == Reason::process_died || error.reason == Reason::end_of_file ||
        error.reason == Reason::helper_failed || error.reason == Reason::helper_powerless;
    if (executed && by_end) {
        return {}; // another program, whose start-up is the libc's
    }
    // Of what can't be compared, it is not known that it is the caller's own: it is joined.
    const bool compares = number == SYS_newfstatat || number == SYS_fstat;
    bool stands = compares && nsjoin::is_join(error.step) && error.code == EINVAL;
    for (const Stands& row : stands_for) {
        stands = stands || (row.reason == error.reason && row.code == code);
    }
    if (error.code != code && !stands) {
        return error.reason == nsjoin::Reason::system ? "tells of another errno"
                                                      : "tells of a reason";
    }
    return stands || names_call(error.step, number) ? "" : "tells of another step";
}

inline auto said(const nsjoin::Error& error) -> std::string {
    return "<" + nsjoin::explain(error) + ">";
}

/// The lines in which two descriptions differ.
inline auto difference(const std::string& was, const std::string& is) -> std::string {
    std::string lines;
    for (std::size_t at = 0; at < is.size();) {
        const std::size_t end = std::min(is.find('\n', at), is.size());
        const std::string line = is.substr(at, end - at);
        lines += was.find(line) == std::string::npos ? " [" + line + "]" : "";
        at = end + 1;
    }
    return lines.empty() ? " [lines are missing]" : lines;
}

/// What need not be the same: RLIMIT_LOCKS, by which a supervisor knows a child, limits nothing
/// since Linux 2.4; a program that could not be sealed in one way has the name of the other one.
inline auto without_marks(std::string text) -> std::string {
    for (const std::string_view name : {"limit 10=", "Name:"}) {
        const std::size_t at = text.find(name);
        if (at != std::string::npos) {
            text.erase(at, text.find('\n', at) - at);
        }
    }
    return text;
}

/// The child has the caller's limit, which is the one that was lowered.
inline auto without_limit(const Injection& injection, std::string text) -> std::string {
    const int resource = injection.act == Act::descriptors ? RLIMIT_NOFILE : RLIMIT_NPROC;
    const std::string name = "limit " + std::to_string(resource) + "=";
    const std::size_t at = text.find(name);
    if (at != std::string::npos &&
        (injection.act == Act::descriptors || injection.act == Act::processes)) {
        text.erase(at, text.find('\n', at) - at);
    }
    return text;
}

/// Whether a descriptor or a child is left in a caller that has moved elsewhere.
inline auto has_leftovers(const std::string& changes) -> bool {
    for (const char* word : {"is fd ", "child is left"}) {
        if (changes.find(word) != std::string::npos) {
            return true;
        }
    }
    return false;
}

/// What is wrong with a run: nothing, or a text. `child` is what the undisturbed one's child is.
inline auto judge(const Scenario& scenario, const Injection& injection, const Ran& ran,
                  const std::string& child) -> std::string {
    std::string wrong;
    const auto blame = [&wrong](const std::string& what) {
        wrong += (wrong.empty() ? "" : "; ") + what;
    };
    if (ran.end.late) {
        blame("not in time");
    }
    if (!ran.end.left.empty()) {
        blame("left:" + ran.end.left);
    }
    if (!ran.target_changes.empty()) {
        blame(ran.target_changes);
    }
    if (ran.handled_elsewhere != 0) {
        blame("a handler ran in another process");
    }
    const bool caller_killed = injection.act == Act::kill && ran.end.done &&
                               std::string_view{injection.victim.data()} == "0";
    if (caller_killed || !wrong.empty()) {
        return wrong;
    }
    if (!WIFEXITED(ran.end.status) || WEXITSTATUS(ran.end.status) != 0) {
        blame("the caller ended with status " + std::to_string(ran.end.status));
    }
    // Where the way back fails, and so does the way back from there, the error says where it is.
    const bool lost = ran.end.second_done && ran.error.step == nsjoin::Step::go_back;
    const bool moved = (scenario.traits & joins_itself) != 0 || lost ||
                       ((scenario.traits & changes_caller) != 0 && ran.outcome == Outcome::success);
    if (moved ? has_leftovers(ran.changes) : !ran.changes.empty()) {
        blame("the caller has changed: " + ran.changes);
    }
    if (ran.outcome == Outcome::error) {
        if (nsjoin::explain(ran.error).size() < 4) {
            blame("the error has no text");
        }
        return wrong;
    }
    if (ran.outcome == Outcome::none) {
        blame("the call did not return");
        return wrong;
    }
    const bool may_die =
        injection.act == Act::kill || injection.act == Act::signal || injection.act == Act::stop;
    // A child that can't read the word to go on ends, and says so with its exit code: its
    // supervisor may have been told of it already.
    const bool no_word =
        (scenario.traits & by_libc) != 0 && ran.child_status == 1 && injection.number == SYS_read;
    const bool unknown =
        ((scenario.traits & self_reaping) != 0 && ran.child_status == -1) || no_word;
    if (ran.child_status != 0 && !may_die && !unknown) {
        blame("success, but the child's status is " + std::to_string(ran.child_status));
    }
    const auto what_counts = [&](std::string text) {
        text = without_limit(injection, std::move(text));
        return (scenario.traits & by_libc) != 0 ? without_marks(std::move(text)) : text;
    };
    // The answer of fcntl(2) for a number that is not open: then the program has none there.
    const bool closed =
        injection.act == Act::fail && injection.number == SYS_fcntl && injection.value == EBADF;
    if (ran.child_status == 0 && !closed && what_counts(ran.child) != what_counts(child)) {
        blame("the child is another one:" + difference(child, ran.child));
    }
    return wrong;
}

/// The same with what an error has to say.
inline auto judge_error(const Scenario& scenario, const Injection& injection, const Ran& ran,
                        bool executed) -> std::string {
    if (injection.act != Act::fail || !ran.end.done || ran.outcome != Outcome::error) {
        return {};
    }
    if (ran.end.second_done) {
        return {}; // the way round the first may have come to the second, and tells of either
    }
    if ((scenario.traits & self_reaping) != 0 && ran.error.reason == nsjoin::Reason::process_died) {
        return {}; // the status by which a child tells what it could not say is somebody else's
    }
    const int how = ran.error.code;
    if ((scenario.traits & calls_functions) != 0 &&
        ran.error.reason == nsjoin::Reason::process_died && WIFEXITED(how) &&
        WEXITSTATUS(how) == injection.value) {
        return {}; // the errno, told as what it may be as well: the exit code of a function
    }
    std::string wrong = tells_of(ran.error, injection.number, injection.value, executed);
    return wrong.empty() ? wrong : wrong + ": " + said(ran.error);
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_JUDGE_HPP
