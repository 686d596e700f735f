// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_ID_MAPS_HPP
#define NSJOIN_DETAIL_ENGINE_ID_MAPS_HPP

#include <nsjoin/detail/engine/steps.hpp>
#include <nsjoin/detail/kernel/handlers.hpp>
#include <nsjoin/detail/kernel/text.hpp>

#include <cstdlib>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

// How the caller writes the id maps of the child's user namespace: by itself, or where it may not,
// through newuidmap(1) and newgidmap(1). No allocation: the caller may be in a hurry too.

namespace nsjoin::inline v0_1::detail {

/// Decimal numbers and text in a buffer that holds a full map.
class MapText {
  public:
    void append(std::string_view text) noexcept {
        expect(length_ + text.size() < text_.size(), "an id map is longer than it can be");
        std::memcpy(&text_[length_], text.data(), text.size());
        length_ += text.size();
    }

    void append(std::uint32_t number) noexcept {
        Subject digits;
        append(digits.append(std::int64_t{number}).view());
    }

    /// Ends a word of an argument list, and returns it.
    [[nodiscard]] auto end_word(std::size_t begin) noexcept -> char* {
        append(std::string_view{"\0", 1});
        return &text_[begin];
    }

    [[nodiscard]] auto size() const noexcept -> std::size_t { return length_; }

    [[nodiscard]] auto view() const noexcept -> std::string_view { return {text_.data(), length_}; }

  private:
    // Three numbers of ten digits and three separators a line, and a pid and a path.
    std::array<char, id_map_capacity * 33 + 4200> text_{};
    std::size_t length_ = 0;
};

/// A file in the child's directory of /proc, opened for writing and surely the child's: it is
/// opened first, and the child is seen alive afterwards.
[[nodiscard]] inline auto open_child_file(Step step, const Attempt& attempt,
                                          std::string_view name) noexcept -> Result<OwnedFd> {
    Subject path;
    path.append(std::int64_t{number_in_proc(attempt)}).append("/").append(name);
    Result<OwnedFd> file = open_owned(step, attempt.run.proc.get(), path.c_str(), O_WRONLY);
    const long ended = file ? has_ended(attempt.child.fd()) : 0;
    if (ended < 0) {
        return fail(step, static_cast<int>(-ended), path.view());
    }
    return ended > 0 ? fail(step, Reason::process_gone, path.view()) : std::move(file);
}

/// Whether the file belongs to another user than this process has: then the child is not dumpable,
/// and the helpers refuse it too.
[[nodiscard]] inline auto is_anothers(const Attempt& attempt, std::string_view name) noexcept
    -> bool {
    struct stat about {};

    Subject path;
    path.append(std::int64_t{number_in_proc(attempt)}).append("/").append(name);
    return ::fstatat(attempt.run.proc.get(), path.c_str(), &about, 0) == 0 &&
           about.st_uid != ::geteuid();
}

[[nodiscard]] inline auto write_child_file(Step step, const Attempt& attempt, std::string_view name,
                                           std::string_view text) noexcept -> Result<void> {
    const Result<OwnedFd> file = open_child_file(step, attempt, name);
    if (!file) {
        return Unexpected{file.error()};
    }
    return outcome(step, write_once(file->get(), text));
}

/// Finds an executable in PATH, written to `path`. False if there is none.
[[nodiscard]] inline auto find_program(std::string_view name, std::array<char, 4096>& path) noexcept
    -> bool {
    // Of a program that got rights by its execution, PATH is somebody else's.
    const char* const set = ::secure_getenv("PATH"); // NOLINT(concurrency-mt-unsafe): only read
    std::string_view rest = set != nullptr ? set : "/usr/local/bin:/usr/bin:/bin";
    while (!rest.empty()) {
        const std::string_view directory = take_until(rest, ':');
        if (directory.empty() || directory.size() + name.size() + 2 > path.size()) {
            continue;
        }
        std::memcpy(path.data(), directory.data(), directory.size());
        path[directory.size()] = '/';
        std::memcpy(&path[directory.size() + 1], name.data(), name.size());
        path[directory.size() + 1 + name.size()] = '\0';
        if (::access(path.data(), X_OK) == 0) {
            return true;
        }
    }
    return false;
}

/// A program to run, and where its standard error goes.
struct Helper {
    const char* path = nullptr;
    std::array<char*, 3 * id_map_capacity + 3> arguments{};
    int standard_error = -1;
    int refused = 0; ///< why it could not be executed, an errno
    KernelSignalSet mask = 0;
};

inline void execute_helper(Helper& helper) noexcept {
    reset_handlers(); // on the caller's memory none may run
    restore_signals(helper.mask);
    if (helper.standard_error == STDERR_FILENO) { // the caller's was closed
        (void)call(SYS_fcntl, STDERR_FILENO, F_SETFD, 0);
    } else {
        (void)call(SYS_dup3, helper.standard_error, STDERR_FILENO, 0);
    }
    std::array<char*, 1> environment{};
    const long result = call(SYS_execve, helper.path, helper.arguments.data(), environment.data());
    helper.refused = static_cast<int>(-result); // on the caller's memory
    exit_now(127);
}

/// Whether the program gets rights when it is executed that the caller lacks: by its set-user-ID
/// bit or a file capability, on a mount and in a process that let it.
[[nodiscard]] inline auto gains_rights(const char* path) noexcept -> bool {
    struct stat about {};

    struct statvfs mounted {};

    if (::stat(path, &about) != 0 || ::statvfs(path, &mounted) != 0) {
        return true; // not known
    }
    const bool marked = ((about.st_mode & S_ISUID) != 0 && about.st_uid == 0) ||
                        ::getxattr(path, "security.capability", nullptr, 0) > 0;
    return marked && (mounted.f_flag & ST_NOSUID) == 0 &&
           call(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0;
}

/// Runs the helper to its end. On failure the error's subject is what it wrote to standard error.
[[nodiscard]] inline auto run_helper(Step step, const Deadline& deadline, Helper& helper) noexcept
    -> Result<void> {
    std::array<int, 2> pipe{-1, -1};
    const long made = call(SYS_pipe2, pipe.data(), O_CLOEXEC);
    if (made != 0) {
        return outcome(step, made);
    }
    const OwnedFd reader{pipe[0]};
    OwnedFd writer{pipe[1]};
    helper.standard_error = writer.get();
    // It is read when the helper has ended, which must not wait for that with more to say.
    (void)call(SYS_fcntl, writer.get(), F_SETFL, O_NONBLOCK);
    int pidfd = -1;
    CloneArgs args;
    args.flags = clone_pidfd;
    args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd); // NOLINT(*-reinterpret-cast)
    args.exit_signal = SIGCHLD;
    helper.mask = block_signals();
    const long pid = run_on_this_memory(execute_helper, helper, args);
    restore_signals(helper.mask);
    if (pid < 0) {
        return outcome(step, pid);
    }
    writer.reset();
    const PidFd process{OwnedFd{pidfd}, static_cast<pid_t>(pid)};
    auto ended = process.wait(deadline.left());
    if (!ended && ended.error().reason == Reason::deadline_passed) {
        (void)process.send_signal(SIGKILL);
        (void)process.wait();
        return fail(step, Reason::deadline_passed, helper.path);
    }
    if (helper.refused != 0) {
        return fail(step, helper.refused, helper.path);
    }
    if (ended && ended->wait_status() == 0) {
        return {};
    }
    if (!ended && ended.error().reason == Reason::already_reaped) {
        return {}; // whether it did its work shows when the ids are taken
    }
    Error error{step, Reason::helper_failed, ended ? ended->wait_status() : unknown_status,
                Subject{}};
    std::array<char, 140> said{};
    const long length = call_again(SYS_read, reader.get(), said.data(), said.size());
    if (length > 0) {
        const std::string_view text{said.data(), static_cast<std::size_t>(length)};
        error.subject.append(first(text, text.find('\n')));
    }
    // Of a range that it does not allow, it says that.
    const bool denied = error.subject.view().find("not permitted") != std::string_view::npos;
    if (denied && ::geteuid() != 0 && !gains_rights(helper.path)) {
        error.reason = Reason::helper_powerless;
    }
    return Unexpected{error};
}

/// What the plan says of that program.
[[nodiscard]] inline auto helper_path(const Draft& plan, std::string_view name) noexcept
    -> const std::optional<std::string_view>& {
    return name == "newuidmap" ? plan.newuidmap : plan.newgidmap;
}

/// Whether there is such a program: at the path that the plan names, else in PATH.
[[nodiscard]] inline auto find_helper(const Draft& plan, std::string_view name,
                                      std::array<char, 4096>& path) noexcept -> bool {
    const std::optional<std::string_view>& named = helper_path(plan, name);
    if (!named) {
        return find_program(name, path);
    }
    if (named->size() >= path.size()) {
        return false;
    }
    std::memcpy(path.data(), named->data(), named->size());
    return ::access(path.data(), X_OK) == 0;
}

/// newuidmap PID INSIDE OUTSIDE COUNT …, or newgidmap.
[[nodiscard]] inline auto map_by_helper(Step step, const Attempt& attempt, std::string_view name,
                                        const IdMap& map) noexcept -> Result<void> {
    std::array<char, 4096> path{};
    if (!find_helper(attempt.run.plan, name, path)) {
        return fail(step, Reason::no_helper, name);
    }
    Helper helper;
    helper.path = path.data();
    helper.arguments[0] = path.data();
    MapText text;
    std::size_t count = 1;
    const auto add = [&](std::uint32_t number) {
        const std::size_t begin = text.size();
        text.append(number);
        helper.arguments[count++] = text.end_word(begin);
    };
    add(static_cast<std::uint32_t>(number_in_proc(attempt)));
    for (const IdExtent& e : map.extents()) {
        add(e.inside);
        add(e.outside);
        add(e.count);
    }
    return run_helper(step, attempt.run.deadline, helper);
}

[[nodiscard]] inline auto write_map(Step step, const Attempt& attempt, std::string_view file,
                                    std::string_view helper, const IdMap& map) noexcept
    -> Result<void> {
    MapText text;
    for (const IdExtent& e : map.extents()) {
        text.append(e.inside);
        text.append(" ");
        text.append(e.outside);
        text.append(" ");
        text.append(e.count);
        text.append("\n");
    }
    Result<void> written = write_child_file(step, attempt, file, text.view());
    if (!written && written.error().code == EACCES && is_anothers(attempt, file)) {
        return fail(step, Reason::not_dumpable, written.error().subject.view());
    }
    const bool may_ask = helper_path(attempt.run.plan, helper) != std::string_view{};
    if (!written && may_ask && (written.error().code == EPERM || written.error().code == EACCES)) {
        return map_by_helper(step, attempt, helper, map);
    }
    return written;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_ID_MAPS_HPP
