// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_SUPERVISOR_HPP
#define NSJOIN_SUPERVISOR_HPP

#include <nsjoin/bootstrap.hpp>
#include <nsjoin/detail/engine/join_calls.hpp>
#include <nsjoin/detail/engine/map_writer.hpp>
#include <nsjoin/detail/wire/children.hpp>
#include <nsjoin/detail/wire/log.hpp>
#include <nsjoin/detail/wire/seal.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <span>
#include <spawn.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

// The other side of constructor.hpp: starts an embedding program with a plan, and reads what it
// reports.

namespace nsjoin {

/// How an embedding program is started.
struct SupervisorOptions {
    Dialect dialect = Dialect::runc_1_2;         ///< the one that its constructor speaks
    std::string program = "/proc/self/exe";      ///< its path
    std::vector<std::string> arguments{"embed"}; ///< all of them, its name the first
    std::vector<std::string> environment{};      ///< NAME=VALUE; _LIBCONTAINER_* are set anew
    LogLevel log_level = LogLevel::warning;      ///< the least important that is wanted
    Duration deadline{};                         ///< until the child is ready; zero: none

    /// Start the program sealed, so that it need not execute itself again for that, which is half
    /// of the time that it takes. To be set as the program's own option of that name; if nothing is
    /// said, as the dialect has it. Where it can't be done (before Linux 5.12, without
    /// CAP_SYS_ADMIN, for a script, or a program that is set-user-ID or has capabilities), the
    /// program is started by its path, and seals itself.
    std::optional<bool> seal{};

    void (*log)(LogLevel level, std::string_view text) = nullptr; ///< gets each line, if not null
};

/// An embedding program inside of what the plan says.
struct Embedded {
    PidFd child;  ///< the caller's own child: wait for it
    OwnedFd pipe; ///< the stream to it, whose other end is _LIBCONTAINER_INITPIPE there
};

namespace detail {

/// The text of a JSON string that `line` has under `key`, without the escapes; nothing if there is
/// none.
[[nodiscard]] inline auto json_text(std::string_view line, std::string_view key)
    -> std::optional<std::string> {
    const std::string label = "\"" + std::string{key} + "\":";
    const std::size_t at = line.find(label);
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    std::string_view rest = after(line, at + label.size());
    while (!rest.empty() && rest.front() == ' ') {
        rest.remove_prefix(1);
    }
    if (rest.empty() || rest.front() != '"') {
        return std::nullopt;
    }
    std::string text;
    for (std::size_t i = 1; i < rest.size(); ++i) {
        if (rest[i] == '"') {
            return text;
        }
        if (rest[i] != '\\' || i + 1 == rest.size()) {
            text.push_back(rest[i]);
            continue;
        }
        ++i;
        unsigned code = 0;
        if (rest[i] == 'u' && i + 4 < rest.size() &&
            std::from_chars(rest.data() + i + 1, rest.data() + i + 5, code, 16).ptr ==
                rest.data() + i + 5) {
            text.push_back(static_cast<char>(code));
            i += 4;
        } else {
            text.push_back(rest[i] == 'n' ? '\n' : rest[i]);
        }
    }
    return std::nullopt;
}

/// The number that the reply has under `key`; 0 if there is none.
[[nodiscard]] inline auto json_number(std::string_view text, std::string_view key) noexcept
    -> pid_t {
    std::size_t at = text.find(key);
    if (at == std::string_view::npos) {
        return 0;
    }
    at += key.size();
    while (at < text.size() && (text[at] == '"' || text[at] == ' ' || text[at] == ':')) {
        ++at;
    }
    pid_t number = 0;
    (void)std::from_chars(text.data() + at, text.data() + text.size(), number);
    return number;
}

/// The Error that the text of a log line tells of, if it is one of append_record().
[[nodiscard]] inline auto error_of_text(std::string_view text) noexcept -> std::optional<Error> {
    const std::size_t at = text.rfind(record_label);
    if (at == std::string_view::npos || text.back() != '}') {
        return std::nullopt;
    }
    std::string_view record = after(text, at + record_label.size());
    record.remove_suffix(1);
    unsigned step = 0;
    unsigned reason = 0;
    std::size_t length = 0;
    Error error;
    if (!parse_number(take_until(record, ' '), step) ||
        !parse_number(take_until(record, ' '), reason) ||
        !parse_number(take_until(record, ' '), error.code) || !parse_number(record, length) ||
        step >= step_table.size() || reason > static_cast<unsigned>(Reason::bad_message)) {
        return std::nullopt;
    }
    error.step = static_cast<Step>(step);
    error.reason = static_cast<Reason>(reason);
    const std::string begin = "]: " + std::string{facts(error.step).name} + " (";
    const std::size_t found = text.find(begin);
    if (length != 0 && found != std::string_view::npos && found + begin.size() + length <= at) {
        error.subject.append(first(after(text, found + begin.size()), length));
    }
    return error;
}

[[nodiscard]] inline auto level_of(std::string_view name) noexcept -> LogLevel {
    for (std::size_t i = 0; i < log_level_names.size(); ++i) {
        if (log_level_names[i] == name) {
            return static_cast<LogLevel>(i);
        }
    }
    return LogLevel::error;
}

/// What a plan becomes in a message: the texts, and the descriptors that they stand for. Another
/// process opens them as /proc/PID/fd/N of this one, so that they are pinned and it inherits none.
class MessageOfPlan {
  public:
    /// Errors: what the dialect can't say; those of opening the target's namespaces.
    [[nodiscard]] auto read(Dialect dialect, const Draft& plan) -> Result<void> {
        Result<void> done = check(dialect, plan);
        for (const Kind kind : plan.joined()) {
            done = done ? join(dialect, plan.source(kind), kind) : done;
        }
        if (!done) {
            return done;
        }
        message.created = plan.created;
        if (plan.maps) {
            message.uids.emplace(plan.maps->uids);
            message.gids.emplace(plan.maps->gids);
            message.setgroups_allowed = plan.maps->setgroups == Setgroups::allow;
            message.rootless = plan.maps->setgroups == Setgroups::deny;
        }
        message.oom_score_adj = plan.oom_score_adj;
        message.time_offsets = plan.time_offsets;
        message.newuidmap = mapping_program(dialect, plan, "newuidmap", newuidmap_);
        message.newgidmap = mapping_program(dialect, plan, "newgidmap", newgidmap_);
        for (const MountSource& source : plan.mount_sources.list) {
            mounts_.append(source.path).push_back('\0');
            mount_numbers.append(mount_numbers.empty() ? "[" : ",");
            mount_numbers.append(std::to_string(source.number));
        }
        mount_numbers.append(mount_numbers.empty() ? "" : "]");
        message.mount_sources = mounts_;
        if (plan.console.ok()) {
            console_ = own_path(plan.console);
            message.console = console_;
        }
        return {};
    }

    BootstrapMessage message;
    std::string mount_numbers; ///< as _LIBCONTAINER_MOUNT_FDS has them

  private:
    /// What no dialect, or not this one, has words for.
    [[nodiscard]] static auto check(Dialect dialect, const Draft& plan) -> Result<void> {
        const Credentials root{.uid = 0, .gid = 0, .groups = {}};
        const std::array<std::pair<bool, std::string_view>, 8> parts{{
            {plan.root.ok(), "root directory"},
            {plan.working_directory.ok(), "working directory"},
            {plan.cgroup.ok(), "cgroup"},
            {!plan.name.empty(), "process name"},
            {plan.death_signal != 0, "death signal"},
            {plan.keep_capabilities, "kept capabilities"},
            {plan.keep_ids, "kept ids"},
            {plan.credentials && (plan.credentials->uid != 0 || plan.credentials->gid != 0),
             "ids other than 0"},
        }};
        for (const auto& [there, name] : parts) {
            if (there) {
                return cannot_say(name, "no dialect has words for it");
            }
        }
        if (dialect == Dialect::environment &&
            (!single_target(plan).ok() || plan.joined() != KindSet{all_kinds})) {
            return cannot_say("joins", "the dialect joins every kind of one target");
        }
        if (plan.maps && (plan.maps->uids.empty() || plan.maps->gids.empty())) {
            return cannot_say("id maps", "a supervisor tells both of them or none");
        }
        if (plan.maps && dialect == Dialect::runc_2016 && plan.maps->setgroups == Setgroups::deny) {
            return cannot_say("setgroups", "the dialect can't deny it");
        }
        return {};
    }

    [[nodiscard]] auto join(Dialect dialect, const JoinSource& source, Kind kind) -> Result<void> {
        BorrowedFd space = source.fd;
        if (dialect == Dialect::environment) {
            return {};
        }
        if (source.from == JoinSource::From::target) {
            auto opened = open_target_namespace(source, kind);
            if (!opened) {
                return opened.error().reason == Reason::no_such_kind ? Result<void>{}
                                                                     : Unexpected{opened.error()};
            }
            if (is_own(kind, opened->get())) {
                return {};
            }
            spaces_[message.join_count] = *std::move(opened);
            space = spaces_[message.join_count].borrow();
        }
        if (kind == Kind::user && is_own(kind, space.get())) {
            return {}; // the program will be in it, and no dialect lets it join that
        }
        std::string& path = paths_[message.join_count];
        path = own_path(space);
        NamespacePath& entry = message.joins[message.join_count++];
        entry.path = path;
        if (facts(dialect).typed_paths) {
            entry.kind = kind;
        }
        return {};
    }

    /// What the message says of newuidmap(1) or newgidmap(1): a dialect that has words for a path
    /// does not look in PATH.
    [[nodiscard]] static auto mapping_program(Dialect dialect, const Draft& plan,
                                              std::string_view name, std::array<char, 4096>& path)
        -> std::string_view {
        if (const auto& named = helper_path(plan, name); named) {
            return *named;
        }
        if (!plan.maps || !facts(dialect).two_pids) {
            return {};
        }
        // Not found: the place that was looked at last, where the program finds none either.
        (void)find_program(name, path);
        return path.data();
    }

    [[nodiscard]] static auto own_path(BorrowedFd fd) -> std::string {
        return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
    }

    std::array<OwnedFd, kind_count> spaces_;
    std::array<std::string, kind_count> paths_;
    std::array<char, 4096> newuidmap_{};
    std::array<char, 4096> newgidmap_{};
    std::string console_;
    std::string mounts_;
};

/// Reads from a stream, and a descriptor if one comes along. recvmsg(2).
[[nodiscard]] inline auto receive_with_descriptor(BorrowedFd socket, std::span<char> into,
                                                  OwnedFd& descriptor) noexcept -> long {
    iovec payload{into.data(), into.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr header{};
    header.msg_iov = &payload;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const long count = call(SYS_recvmsg, socket.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const cmsghdr* const part = count > 0 ? CMSG_FIRSTHDR(&header) : nullptr;
    if (part != nullptr && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
        part->cmsg_len == CMSG_LEN(sizeof(int))) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(part), sizeof number);
        descriptor.reset(number);
    }
    return count;
}

/// The talk with an embedding program that was started.
class Conversation {
  public:
    Conversation(const SupervisorOptions& options, std::vector<std::byte> message)
        : options_{options}, message_{std::move(message)} {
        if (options.deadline.count() > 0) {
            deadline_ = Deadline{options.deadline};
        }
    }

    OwnedFd pipe;          ///< the supervisor's end of the init pipe
    OwnedFd log;           ///< the end of the log pipe that is read
    ino_t program_end = 0; ///< the inode of the program's end of the init pipe
    std::optional<PidFd> joiner;
    OwnedFd child; ///< the pidfd that came with the reply

    /// Until the child's pid is there, and the joiner has ended well.
    [[nodiscard]] auto run() -> Result<pid_t> {
        while (reply_.find('\n') == std::string::npos && !closed_) {
            const Result<void> done = step();
            if (!done) {
                return Unexpected{done.error()};
            }
        }
        const Result<ExitStatus> status = joiner->wait(deadline_.left());
        drain_log();
        const pid_t pid = reply_pid();
        if (status && status->wait_status() == 0 && pid > 0) {
            return pid;
        }
        if (error_ || !status) {
            return Unexpected{error_ ? *error_ : status.error()};
        }
        return Unexpected{Error{Step::start_program, Reason::process_died, status->wait_status(),
                                Subject{options_.program}}};
    }

    /// The pid that the reply names; 0 if there is none.
    [[nodiscard]] auto reply_pid() const noexcept -> pid_t {
        return json_number(reply_, facts(options_.dialect).two_pids ? "\"stage2_pid\"" : "\"pid\"");
    }

  private:
    static constexpr std::size_t line_capacity = 64UL * 1024;

    [[nodiscard]] auto step() -> Result<void> {
        const bool sending = sent_ != message_.size();
        std::array<pollfd, 3> entries{
            pollfd{pipe.get(), static_cast<short>(POLLIN | (sending ? POLLOUT : 0)), 0},
            pollfd{log.get(), POLLIN, 0}, pollfd{joiner->fd().get(), POLLIN, 0}};
        const PollTimeout left{deadline_.left()};
        const long ready =
            call(SYS_ppoll, entries.data(), entries.size(), left.get(), nullptr, 0UL);
        if (ready == 0) {
            return fail(Step::start_program, Reason::deadline_passed, options_.program);
        }
        if (ready < 0) {
            return ready == -EINTR ? Result<void>{}
                                   : fail(Step::start_program, static_cast<int>(-ready));
        }
        if ((entries[1].revents & (POLLIN | POLLHUP)) != 0) {
            read_log();
        }
        Result<void> done = (entries[0].revents & POLLOUT) != 0 ? send_some() : Result<void>{};
        const bool ended = (entries[2].revents & POLLIN) != 0;
        if (done && (ended || (entries[0].revents & (POLLIN | POLLHUP)) != 0)) {
            done = read_reply(); // of one that has ended, what came between the two looks
            closed_ = closed_ || ended;
        }
        return done;
    }

    [[nodiscard]] auto send_some() -> Result<void> {
        // NOLINTNEXTLINE(*-pointer-arithmetic)
        const long count = call(SYS_sendto, pipe.get(), message_.data() + sent_,
                                message_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT, nullptr, 0);
        if (count > 0) {
            sent_ += static_cast<std::size_t>(count);
        } else if (count == -EPIPE || count == -ECONNRESET) {
            sent_ = message_.size(); // why it reads no more, its log tells
        } else if (count != -EAGAIN && count != -EINTR) {
            return fail(Step::start_program, static_cast<int>(-count), "send the message");
        }
        return {};
    }

    /// Takes the reply's line off the stream, and not a byte of what the child says after it.
    [[nodiscard]] auto read_reply() -> Result<void> {
        std::array<char, 256> part{};
        long count = call(SYS_recvfrom, pipe.get(), part.data(), part.size(),
                          MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr);
        if (count == -EAGAIN || count == -EINTR) {
            return {};
        }
        if (count == 0 || count == -ECONNRESET) {
            closed_ = true;
            return {};
        }
        if (count < 0) {
            return fail(Step::start_program, static_cast<int>(-count), "receive the reply");
        }
        const std::string_view seen{part.data(), static_cast<std::size_t>(count)};
        const std::size_t end = seen.find('\n');
        const std::size_t wanted = end == std::string_view::npos ? seen.size() : end + 1;
        count = receive_with_descriptor(pipe, std::span{part}.first(wanted), child);
        if (count < 0) { // a seccomp filter: the reply itself is enough
            count =
                call(SYS_recvfrom, pipe.get(), part.data(), wanted, MSG_DONTWAIT, nullptr, nullptr);
        }
        reply_.append(part.data(), static_cast<std::size_t>(count > 0 ? count : 0));
        closed_ = closed_ || reply_.size() > line_capacity;
        return {};
    }

    void read_log() {
        std::array<char, 4096> part{};
        const long count = call_again(SYS_read, log.get(), part.data(), part.size());
        if (count <= 0) {
            log.reset();
            return;
        }
        lines_.append(part.data(), static_cast<std::size_t>(count));
        std::size_t end = 0;
        while ((end = lines_.find('\n')) != std::string::npos) {
            take_line(first(lines_, end));
            lines_.erase(0, end + 1);
        }
        if (lines_.size() > line_capacity) {
            lines_.clear();
        }
    }

    /// What is still in the pipe: the child may hold its other end for long.
    void drain_log() {
        pollfd entry{log.get(), POLLIN, 0};
        const timespec at_once{};
        while (log.ok() && call(SYS_ppoll, &entry, 1UL, &at_once, nullptr, 0UL) > 0) {
            read_log();
            entry.fd = log.get();
        }
    }

    void take_line(std::string_view line) {
        const auto level = json_text(line, "level");
        const auto text = json_text(line, "msg");
        if (!level || !text) {
            return;
        }
        if (const auto error = error_of_text(*text); error && !error_) {
            error_ = error;
        }
        if (options_.log != nullptr) {
            options_.log(level_of(*level), *text);
        }
    }

    const SupervisorOptions& options_;
    std::vector<std::byte> message_;
    Deadline deadline_;
    std::size_t sent_ = 0;
    std::string reply_;
    std::string lines_;
    std::optional<Error> error_;
    bool closed_ = false;
};

/// Moves the descriptor to a number that is neither a standard stream's nor that of a mount source:
/// the program is to find it there.
[[nodiscard]] inline auto move_clear(OwnedFd& fd, const MountSources& sources) -> Result<void> {
    const auto taken = [&] {
        bool found = fd.get() <= STDERR_FILENO;
        for (const MountSource& source : sources.list) {
            found = found || source.number == fd.get();
        }
        return found;
    };
    while (taken()) {
        const long moved = call(SYS_fcntl, fd.get(), F_DUPFD_CLOEXEC, fd.get() + 1);
        if (moved < 0) {
            return fail(Step::duplicate, static_cast<int>(-moved));
        }
        fd.reset(static_cast<int>(moved));
    }
    return {};
}

/// posix_spawn(3) of the program, with the descriptors that it is to inherit.
class ProgramStart {
  public:
    ProgramStart() { ok_ = ::posix_spawn_file_actions_init(&actions_) == 0; }

    ~ProgramStart() {
        if (ok_) {
            (void)::posix_spawn_file_actions_destroy(&actions_);
        }
    }

    ProgramStart(const ProgramStart&) = delete;
    ProgramStart(ProgramStart&&) = delete;
    auto operator=(const ProgramStart&) -> ProgramStart& = delete;
    auto operator=(ProgramStart&&) -> ProgramStart& = delete;

    /// The program finds `fd` under `number`.
    void inherit(BorrowedFd fd, int number) {
        ok_ = ok_ && ::posix_spawn_file_actions_adddup2(&actions_, fd.get(), number) == 0;
    }

    [[nodiscard]] auto run(const SupervisorOptions& options, const char* path,
                           const std::vector<std::string>& environment) -> Result<PidFd> {
        pid_t pid = 0;
        const std::vector<char*> arguments = pointers(options.arguments);
        const std::vector<char*> variables = pointers(environment);
        const int code =
            ok_ ? ::posix_spawn(&pid, path, &actions_, nullptr, arguments.data(), variables.data())
                : ENOMEM;
        if (code != 0) {
            return fail(Step::start_program, code, options.program);
        }
        auto program = PidFd::open(pid);
        if (!program) { // it is not waited for yet, so that the number is its own
            (void)call(SYS_kill, pid, SIGKILL);
            (void)call_again(SYS_wait4, pid, nullptr, wait_all, nullptr);
        }
        return program;
    }

  private:
    static auto pointers(const std::vector<std::string>& texts) -> std::vector<char*> {
        std::vector<char*> result;
        result.reserve(texts.size() + 1);
        for (const std::string& text : texts) {
            result.push_back(const_cast<char*>(text.c_str())); // NOLINT(*-const-cast): execve's way
        }
        result.push_back(nullptr);
        return result;
    }

    posix_spawn_file_actions_t actions_{};
    bool ok_ = false;
};

/// Whether the variable is one of those that the dialects use. Of two with one name, the program
/// would take the first.
[[nodiscard]] inline auto is_reserved(std::string_view variable) noexcept -> bool {
    constexpr std::array<std::string_view, 6> names{
        "_LIBCONTAINER_INITPIPE",     "_LIBCONTAINER_INITPID",  "_LIBCONTAINER_LOGPIPE",
        "_LIBCONTAINER_CONSOLE_PATH", "_LIBCONTAINER_LOGLEVEL", "_LIBCONTAINER_MOUNT_FDS"};
    const std::string_view name = take_until(variable, '=');
    for (const std::string_view reserved : names) {
        if (name == reserved) {
            return true;
        }
    }
    return false;
}

/// The variables of the dialect, beside those of the options.
[[nodiscard]] inline auto environment_of(const SupervisorOptions& options, const Draft& plan,
                                         const MessageOfPlan& message, int pipe, int log)
    -> std::vector<std::string> {
    std::vector<std::string> variables;
    for (const std::string& variable : options.environment) {
        if (!is_reserved(variable)) { // those are of who started the supervisor
            variables.push_back(variable);
        }
    }
    variables.push_back("_LIBCONTAINER_INITPIPE=" + std::to_string(pipe));
    variables.push_back("_LIBCONTAINER_LOGPIPE=" + std::to_string(log));
    variables.push_back("_LIBCONTAINER_LOGLEVEL=" +
                        std::to_string(static_cast<int>(options.log_level)));
    if (options.dialect == Dialect::environment) {
        const JoinSource& target = plan.source(Kind::mount);
        variables.push_back("_LIBCONTAINER_INITPID=" + std::to_string(target.target_pid));
        if (!message.message.console.empty()) {
            variables.push_back("_LIBCONTAINER_CONSOLE_PATH=" +
                                std::string{message.message.console});
        }
    }
    if (!message.mount_numbers.empty()) {
        variables.push_back("_LIBCONTAINER_MOUNT_FDS=" + message.mount_numbers);
    }
    return variables;
}

/// Starts the program, its ends of the pipes with it. They are closed here when this returns.
[[nodiscard]] inline auto start_program(const SupervisorOptions& options, const Draft& plan,
                                        const MessageOfPlan& message, Conversation& talk)
    -> Result<void> {
    auto pipe = SocketPair::open(SocketKind::stream);
    auto log = Pipe::open();
    if (!pipe || !log) {
        return Unexpected{pipe ? log.error() : pipe.error()};
    }
    OwnedFd sealed;
    if (options.seal.value_or(facts(options.dialect).seals)) {
        sealed = open_sealed(options.program.c_str());
    }
    for (OwnedFd* const fd : {&pipe->second, &log->write_end, &sealed}) {
        const Result<void> moved = fd->ok() ? move_clear(*fd, plan.mount_sources) : Result<void>{};
        if (!moved) {
            return moved;
        }
    }
    ProgramStart start;
    start.inherit(pipe->second, pipe->second.get());
    start.inherit(log->write_end, log->write_end.get());
    const std::vector<std::string> variables =
        environment_of(options, plan, message, pipe->second.get(), log->write_end.get());
    auto by_descriptor =
        sealed.ok() ? start.run(options, SmallPath{"/proc/self/fd/"}.append(sealed.get()).c_str(),
                                variables)
                    : Result<PidFd>{fail(Step::start_program, ENOEXEC)};
    // By its path also where a security module wants to see one.
    auto joiner = by_descriptor ? std::move(by_descriptor)
                                : start.run(options, options.program.c_str(), variables);
    if (!joiner) {
        return Unexpected{joiner.error()};
    }

    struct stat about {};

    talk.program_end = ::fstat(pipe->second.get(), &about) == 0 ? about.st_ino : 0;
    talk.joiner.emplace(*std::move(joiner));
    talk.pipe = std::move(pipe->first);
    talk.log = std::move(log->read_end);
    return {};
}

} // namespace detail

/// Starts an embedding program, which runs `plan` in its constructor (constructor.hpp), and returns
/// when its main function is about to run inside. The child is the caller's own: wait for it.
/// What fails there fails here, with the same Error. May be called by any thread. The plan's
/// deadline does not count, the options' does.
///
/// On failure nothing is left, and no other child of the caller is touched: not one of another
/// thread's, nor one that it got because it is a subreaper or pid 1. What is ended and waited for
/// is the program, the child whose pidfd came with its reply, and what is known by the pipe that it
/// has open or by the limit that the constructor sets for it (RLIMIT_LOCKS, until it is told of).
/// Of another constructor (runc's own), a child that ended untold is left for the caller's wait(2).
///
/// The program opens what the plan borrows through /proc/PID/fd of the caller: it must see the
/// caller's /proc, and may not have fewer rights.
///
/// posix_spawn(3). Allocates. Errors: bad_message for what the dialect can't say (a root
/// directory, a cgroup, …), with its name; those of the program's steps; process_died if it ended
/// without a word: because it has no constructor, say; deadline_passed.
[[nodiscard]] inline auto supervise(const Plan& plan, const SupervisorOptions& options)
    -> Result<Embedded> {
    const Draft& parts = plan.parts();
    detail::MessageOfPlan message;
    Result<void> done = message.read(options.dialect, parts);
    std::vector<std::byte> bytes;
    if (done && options.dialect != Dialect::environment) {
        bytes.resize(message_capacity(options.dialect));
        const Result<std::size_t> size = encode(options.dialect, message.message, bytes);
        if (!size) {
            return Unexpected{size.error()};
        }
        bytes.resize(*size);
    }
    std::vector<pid_t> before;
    if (const auto proc = detail::open_own_proc(::getpid()); proc) {
        before = detail::thread_children(*proc);
    }
    detail::Conversation talk{options, std::move(bytes)};
    if (done) {
        done = detail::start_program(options, parts, message, talk);
    }
    if (!done) {
        return Unexpected{done.error()};
    }
    const Result<pid_t> pid = talk.run();
    const bool proven = talk.child.ok();
    auto child = detail::open_child(talk.reply_pid(), std::move(talk.child), before);
    if (pid && child) {
        return Embedded{*std::move(child), std::move(talk.pipe)};
    }
    talk.pipe.reset(); // the end of the stream ends a program that no signal may
    talk.log.reset();
    detail::end_own(*talk.joiner);
    if (proven && child) {
        detail::end_own(*child);
    }
    detail::end_untold(talk.program_end);
    return Unexpected{pid ? child.error() : pid.error()};
}

} // namespace nsjoin

#endif // NSJOIN_SUPERVISOR_HPP
