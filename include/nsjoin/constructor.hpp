// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CONSTRUCTOR_HPP
#define NSJOIN_CONSTRUCTOR_HPP

#include <nsjoin/bootstrap/decode.hpp>
#include <nsjoin/bootstrap/plan.hpp>
#include <nsjoin/detail/engine/engine.hpp>
#include <nsjoin/detail/wire/birth_mark.hpp>
#include <nsjoin/detail/wire/log.hpp>
#include <nsjoin/detail/wire/message_reader.hpp>
#include <nsjoin/detail/wire/mount_numbers.hpp>
#include <nsjoin/detail/wire/reply.hpp>
#include <nsjoin/detail/wire/seal.hpp>
#include <nsjoin/detail/wire/variables.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>

// Runs a supervisor's plan in a process that has just started, before its runtime (Go's scheduler,
// a JVM, …) has made a second thread. Nothing here needs the C++ run-time library: the object file
// of a program that embeds it links with a C linker. The assertions of libstdc++ do need it:
// version 16 has them without optimization, unless it is compiled with -D_GLIBCXX_NO_ASSERTIONS.

namespace nsjoin::inline v0_1 {

/// How an embedding program takes part.
struct ConstructorOptions {
    Dialect dialect = Dialect::runc_1_2;

    /// Execute the program again from where nobody can write it, before anything is joined, so that
    /// the host's file can't be overwritten through /proc/PID/exe (CVE-2019-5736): from a read-only
    /// mount that is in no mount namespace (Linux 5.12, with CAP_SYS_ADMIN), else from a copy in
    /// memory. /proc/self/exe then reads "/", or "/memfd:nsjoin (deleted)", so that the dynamic
    /// linker finds no library by $ORIGIN. If nothing is said, as the dialect has it: runc_1_1
    /// does. A supervisor can start the program sealed, which spares it the second start.
    std::optional<bool> seal{};

    /// How long it may take until the message is read and the child is ready; zero: as long as the
    /// supervisor lives.
    Duration deadline{};

    /// The constructor is in a library that dlopen(3) loads (an extension of an interpreter, say).
    /// The loader's lock is then held by the thread's id, and the child keeps the joiner's in the
    /// libc's records, so that the lock can be released; without this, the child blocks where it
    /// next loads a library, or exits. Do not set it for a program that has the constructor linked
    /// in: there, the libc is to know the child's own id.
    bool loaded_later = false;

    /// Called, if not null, before anything is joined, in the process that joins.
    void (*before_join)(const Plan& plan) noexcept = nullptr;

    /// Called, if not null, in the child, with all of it done, before it returns.
    void (*in_child)(const Plan& plan) noexcept = nullptr;
};

namespace detail {

/// The process name of the joiner; the child has one of its own.
inline constexpr ProcessName joiner_name{"runc:[0:PARENT]"};

/// One run of an embedding program's constructor.
class Constructor {
  public:
    explicit Constructor(const ConstructorOptions& options) noexcept : options_{options} {
        if (options.deadline.count() > 0) {
            deadline_ = Deadline{options.deadline};
        }
    }

    /// Returns in the child only; the joiner exits, with 1 after an error that it has told.
    void run() noexcept {
        const Result<bool> in_child = attempt();
        if (!in_child) {
            log_.fatal(stage_, in_child.error());
            exit_now(1);
        }
        if (!*in_child) {
            log_.write(LogLevel::debug, stage_, "the child goes on: done");
            exit_now(0);
        }
    }

  private:
    /// Whether this is the child.
    [[nodiscard]] auto attempt() noexcept -> Result<bool> {
        Result<void> done = prepare();
        done = done ? open_early() : done;
        if (!done) {
            return Unexpected{done.error()};
        }
        const Result<Bootstrap> bootstrap = read();
        if (!bootstrap) {
            return Unexpected{bootstrap.error()};
        }
        return join(bootstrap->plan());
    }

    /// What comes before the message.
    [[nodiscard]] auto prepare() noexcept -> Result<void> {
        const DialectFacts& row = facts(options_.dialect);
        const Result<Log> log = open_log();
        if (!log) {
            return Unexpected{log.error()};
        }
        log_ = *log;
        constexpr const char* name = "_LIBCONTAINER_INITPIPE";
        const char* const number = variable(name);
        if (number == nullptr) {
            return broken(name, "is not set");
        }
        const Result<BorrowedFd> pipe = parse_descriptor(name, number);
        if (!pipe) {
            return Unexpected{pipe.error()};
        }
        pipe_ = *pipe;
        if (has_threads()) {
            return fail(Step::check_plan, Reason::many_threads);
        }
        Result<void> done;
        if (options_.seal.value_or(row.seals)) {
            done = seal_executable(::environ);
        }
        if (done && row.announces) {
            done = say(std::string_view{"\0", 1});
        }
        if (done && row.names) {
            (void)call(SYS_prctl, PR_SET_NAME, joiner_name.c_str(), 0, 0, 0);
        }
        return done;
    }

    /// Opens what can be had while the supervisor still writes; first of all the descriptors whose
    /// numbers it says.
    [[nodiscard]] auto open_early() noexcept -> Result<void> {
        if (options_.dialect == Dialect::runc_1_1) {
            Result<MountNumbers> mounts = MountNumbers::read(pipe_, log_.pipe());
            if (!mounts) {
                return Unexpected{mounts.error()};
            }
            mounts_ = *std::move(mounts);
        }
        const Result<void> taken = standard_.take();
        if (!taken) {
            return taken;
        }
        Result<Pipe> go = Pipe::open();
        if (!go) {
            return Unexpected{go.error()};
        }
        go_ = *std::move(go);
        if (Result<OwnedFd> proc = open_own_proc(::getpid()); proc) { // else who needs it tells why
            proc_ = *std::move(proc);
        }
        return {};
    }

    [[nodiscard]] auto read() noexcept -> Result<Bootstrap> {
        if (options_.dialect == Dialect::environment) {
            return read_environment();
        }
        log_.write(LogLevel::debug, stage_, "=> nsexec container setup");
        if (facts(options_.dialect).logs_affinity && log_.has(LogLevel::debug)) {
            log_.write(LogLevel::debug, stage_, affinity_text().view());
        }
        Result<Array<std::byte>> bytes = read_message(options_.dialect, deadline_, pipe_);
        if (!bytes) {
            return Unexpected{bytes.error()};
        }
        const std::span<const std::byte> view = bytes->view();
        const Result<BootstrapMessage> message = decode(options_.dialect, view);
        if (!message) {
            return Unexpected{message.error()};
        }
        return Bootstrap::open(options_.dialect, *message, *std::move(bytes), mounts_.view(),
                               proc_.borrow());
    }

    [[nodiscard]] static auto read_environment() noexcept -> Result<Bootstrap> {
        constexpr const char* name = "_LIBCONTAINER_INITPID";
        const std::string_view text{variable(name)};
        pid_t target = 0;
        if (text.empty() || text.front() < '1' || text.front() > '9' ||
            !parse_number(text, target)) {
            return broken(name, "is no pid");
        }
        constexpr const char* console_name = "_LIBCONTAINER_CONSOLE_PATH";
        const char* const console = variable(console_name);
        if (console == nullptr) {
            return Bootstrap::open(target, {});
        }
        const Result<void> good = check_path(console_name, console);
        return good ? Bootstrap::open(target, console) : Unexpected{good.error()};
    }

    [[nodiscard]] auto join(const Plan& plan) noexcept -> Result<bool> {
        stage_ = 0;
        log_.write(LogLevel::debug, stage_, "~> nsexec stage-0");
        if (options_.before_join != nullptr) {
            options_.before_join(plan);
        }
        Draft draft = plan.parts();
        if (options_.deadline.count() > 0) {
            // A deadline of 0 would be none.
            const Duration left = deadline_.left();
            draft.deadline = left.count() > 0 ? left : Duration::nanoseconds(1);
        }
        mark_.put(pipe_);
        const Result<Outcome> outcome =
            run_plan(draft, {options_.loaded_later, proc_.borrow(), announce, this});
        if (!outcome) {
            return Unexpected{outcome.error()};
        }
        if (outcome->pid == 0) {
            stage_ = 2;
            log_.write(LogLevel::debug, stage_, "~> nsexec stage-2");
            proc_.reset(); // it is the host's
            if (plan.parts().console.ok()) {
                standard_.leave();
            }
            standard_.give_back();
            go_.write_end.reset();
            await_go(go_.read_end);
            go_.read_end.reset();
            mark_.remove();
            if (options_.in_child != nullptr) {
                options_.in_child(plan);
            }
            log_.write(LogLevel::debug, stage_, "<= nsexec container setup");
            return true;
        }
        const PidFd child{OwnedFd{outcome->pidfd}, outcome->pid};
        // The child's word to go on comes last: it never talks to a supervisor that does not know
        // it yet, and does not outlive a joiner that died before it told.
        Result<void> done = told_ ? Result<void>{} : tell(child);
        done = done ? let_go() : done;
        if (!done) {
            go_.write_end.reset(); // it ends at that too, should it be nobody's to kill
            (void)child.send_signal(SIGKILL);
            (void)child.wait(Duration::seconds(1));
            return Unexpected{done.error()};
        }
        return false;
    }

    [[nodiscard]] static auto announce(void* self, const PidFd& child) noexcept -> Result<void> {
        return static_cast<Constructor*>(self)->tell(child);
    }

    /// Replies with the child's pid, and a pidfd beside it, which only supervise() looks for: in a
    /// process that ignores SIGCHLD, or reaps every child, it could come too late to open one.
    [[nodiscard]] auto tell(const PidFd& child) noexcept -> Result<void> {
        told_ = true;
        const auto text = reply(options_.dialect, child.pid());
        const long sent = send_with_descriptor(pipe_, text.view(), child.fd());
        return say(after(text.view(), static_cast<std::size_t>(sent > 0 ? sent : 0)));
    }

    [[nodiscard]] auto say(std::string_view text) const noexcept -> Result<void> {
        return write_all(pipe_, Log::as_bytes(text));
    }

    /// No SIGPIPE: the other end is open here too.
    [[nodiscard]] auto let_go() const noexcept -> Result<void> {
        const char word = 0;
        const long written = call_again(SYS_write, go_.write_end.get(), &word, sizeof word);
        return outcome(Step::write, written < 0 ? written : 0);
    }

    void await_go(BorrowedFd read_end) const noexcept {
        char word = 0;
        const long length = call_again(SYS_read, read_end.get(), &word, sizeof word);
        if (length < 0) { // whether the joiner has told of it is not known any more
            log_.fatal(stage_, fail(Step::read, static_cast<int>(-length)).error());
        }
        if (length != sizeof word) {
            exit_now(1);
        }
    }

    ConstructorOptions options_;
    Deadline deadline_;
    Log log_;
    int stage_ = Log::setup;
    BorrowedFd pipe_;
    MountNumbers mounts_;
    StandardNumbers standard_;
    Pipe go_;
    OwnedFd proc_;
    BirthMark mark_;
    bool told_ = false;
};

[[gnu::noinline]] inline void run_constructor(const ConstructorOptions& options) noexcept {
    Constructor{options}.run();
}

} // namespace detail

/// Does what a supervisor asks for in the environment, in the dialect of the options. Call it as
/// the first thing that a process does, from a constructor of the embedding program:
///
///     [[gnu::constructor(101)]] static void enter() {
///         nsjoin::bootstrap({.dialect = nsjoin::Dialect::runc_1_2});
///     }
///
/// If no supervisor asks (_LIBCONTAINER_INITPIPE is not set, or empty; for Dialect::environment,
/// _LIBCONTAINER_INITPID), it returns at once: one look at the environment, no system call. So it
/// does in a program that got rights by its execution (getauxval(3) AT_SECURE), whoever asks: what
/// is asked there is asked by somebody who has fewer.
/// Else it reads the plan, joins and creates, makes a child that is the supervisor's own
/// (CLONE_PARENT), tells its pid, and ends the process; it returns in the child, inside of all that
/// the plan says. What fails is told on the log pipe, or on standard error where there is none, and
/// ends the process with exit code 1, and the child if there is one: nothing is left then. The pid
/// may be told before the child has its session and ids, so that only exit code 0 says that it goes
/// on.
///
/// The process must have one thread and not be pid 1 of its pid namespace. What it changes in the
/// caller it changes in a process that ends. Throws nothing, needs no C++ run-time library.
inline void bootstrap(const ConstructorOptions& options) noexcept {
    const bool by_pid = options.dialect == Dialect::environment;
    if (detail::variable(by_pid ? "_LIBCONTAINER_INITPID" : "_LIBCONTAINER_INITPIPE") != nullptr) {
        detail::run_constructor(options);
    }
}

} // namespace nsjoin

/// Makes nsjoin::bootstrap() run before main, and before every constructor without a priority:
/// once, at namespace scope of one source file of the program. The argument is what stands in a
/// ConstructorOptions: NSJOIN_CONSTRUCTOR(.dialect = nsjoin::Dialect::runc_1_2)
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): nothing else makes a function of one line
#define NSJOIN_CONSTRUCTOR(...)                                                                    \
    [[gnu::constructor(101)]] static void nsjoin_constructor() noexcept {                          \
        ::nsjoin::bootstrap(::nsjoin::ConstructorOptions{__VA_ARGS__});                            \
    }                                                                                              \
    static_assert(true)

#endif // NSJOIN_CONSTRUCTOR_HPP
