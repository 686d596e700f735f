// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_LAUNCHER_HPP
#define NSJOIN_LAUNCHER_HPP

#include <nsjoin/detail/launcher/serve.hpp>
#include <nsjoin/detail/launcher/start.hpp>
#include <nsjoin/detail/launcher/talk.hpp>
#include <nsjoin/detail/launcher/written_plan.hpp>
#include <nsjoin/detail/wire/variables.hpp>
#include <nsjoin/plan.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace nsjoin::inline v0_1 {

/// How a launcher is started.
struct LauncherOptions {
    /// A program that has NSJOIN_LAUNCHER() in one of its files. Its own main function is not run.
    std::string program = "/proc/self/exe";
    /// Until it is ready; zero: as long as it takes.
    Duration deadline = Duration::seconds(10);
    /// Gets a line when a launcher has ended and another one is started, if not null.
    void (*log)(LogLevel level, std::string_view text) = nullptr;
};

/// A small process of the caller's that starts programs for it: what join_and_exec() does, at a
/// cost that does not grow with the caller's memory, from any thread, and with nothing of that
/// memory in reach of what is inside. It is the caller's own executable, or another program, which
/// embeds it:
///
///     NSJOIN_LAUNCHER();
///
///     int main() {
///         auto launcher = nsjoin::Launcher::start();
///         auto child = launcher->exec(plan, command);
///
/// The launcher is executed anew, sealed where that can be had (constructor.hpp), so that nothing
/// of the caller's memory is in it; it has no descriptor of the caller's, is not dumpable, and ends
/// with this object, or with the caller.
///
/// Started programs are the caller's own children. Standard descriptors, working directory, umask,
/// signal mask and dispositions, process group, limits, priority and environment are those that
/// the caller has at the call (the umask as its first thread has it); user and group ids,
/// capabilities, filters, labels, namespaces, root directory, cgroups, processor affinity,
/// scheduling policy, I/O priority, oom_score_adj and personality(2) are those of the launcher's
/// start, unless the plan says others: who may call exec() holds those rights.
///
/// The process that joins in between is the caller's child too, for the kernel lets nobody else
/// make one: a SIGCHLD of its end reaches the caller, and the launcher's own end another. Its
/// status is taken by the next call at the latest; a wait(2) for all children, in another thread,
/// may see it. Two such processes wait for calls; where some are held up there are more, up to 64,
/// until these end.
///
/// Any thread may call; calls do not wait for each other. A copy of the process (fork(2)), and one
/// that has made itself a new session, start a launcher of their own at their first call. A death
/// signal of the plan comes when the thread ends that started the launcher.
class [[nodiscard]] Launcher {
  public:
    /// Starts it, as join_and_exec() starts a program. Allocates. Errors: those of that;
    /// no_launcher, process_died if the program ended without a word, and deadline_passed if it ran
    /// on: it has no NSJOIN_LAUNCHER(). A program without one that comes here again, as it was
    /// started for a launcher, ends.
    [[nodiscard]] static auto start(LauncherOptions options = {}) -> Result<Launcher> {
        // Without NSJOIN_LAUNCHER() the program's main function has come here again, in a process
        // that is to be a launcher, and each would start another one.
        if (::getenv(detail::launcher_variable) != nullptr) { // NOLINT(*-mt-unsafe): only read
            detail::exit_now(detail::code_without_launcher);
        }
        auto connection = connect(options);
        if (!connection) {
            return Unexpected{connection.error()};
        }
        auto state = std::make_shared<State>(std::move(options));
        take(*state, *std::move(connection));
        return Launcher{std::move(state)};
    }

    /// join_and_exec() by the launcher. Closes what the command does not name, as the launcher has
    /// nothing else. The plan's deadline counts from the moment when the launcher has the request.
    ///
    /// Errors: those of join_and_exec(), with the launcher in the caller's place; process_died if
    /// the launcher ended meanwhile, the next call starts another; bad_value for more than 300
    /// descriptors.
    [[nodiscard]] auto exec(const Plan& plan, const Command& command) -> Result<PidFd> {
        Result<void> done = check(plan.parts());
        done = done ? detail::check_command(command) : done;
        if (!done) {
            return Unexpected{done.error()};
        }
        return run(of_this_process(*state_), plan.parts(), command);
    }

    /// The same with a plan of the compiler's: one that a launcher can't perform does not compile.
    template <unsigned Joined, unsigned Created, unsigned Said>
    [[nodiscard]] auto exec(const JoinPlan<Joined, Created, Said>& plan, const Command& command)
        -> Result<PidFd> {
        static_assert((Said & (detail::said_inside | detail::said_last)) == 0,
                      "nsjoin: a launcher has nothing of the caller's memory, where the plan's own "
                      "function is: join_and_exec(), or join_and_clone()");
        return exec(plan.build(), command);
    }

    class Prepared;

    /// Checks a plan once and keeps it, with what it borrows, to be run many times: its texts are
    /// copied, and of each of its descriptors a second one is kept, with close-on-exec, fcntl(2),
    /// so that the plan's own may be closed, and no process that gets a target's pid later is ever
    /// joined. Allocates. Errors: those of exec() for a plan that can't be; EMFILE; EBADF.
    [[nodiscard]] auto prepare(const Plan& plan) const -> Result<Prepared>;

    /// The launcher's process, as it is now; 0 in a copy of the process that has none yet.
    [[nodiscard]] auto pid() const -> pid_t {
        State& state = of_this_process(*state_);
        const std::lock_guard lock{state.mutex};
        return state.connection == nullptr ? 0 : state.connection->process().pid();
    }

  private:
    using Connection = std::shared_ptr<detail::LauncherConnection>;

    /// Whether a launcher can perform the plan.
    [[nodiscard]] static auto check(const Draft& plan) -> Result<void> {
        if (plan.inside.ok() || plan.last.ok()) {
            return detail::refused("a function to call inside, which a launcher does not have");
        }
        const Result<void> done = detail::check_for_program(plan);
        return done ? detail::check_values(plan) : done;
    }

    struct State {
        explicit State(LauncherOptions how) : options{std::move(how)}, owner{::getpid()} {}

        State(const State&) = delete;
        State(State&&) = delete;
        auto operator=(const State&) -> State& = delete;
        auto operator=(State&&) -> State& = delete;

        ~State() { delete of_copy.load(); } // NOLINT(*-owning-memory): as below

        const LauncherOptions options;
        const pid_t owner;
        std::mutex mutex;
        Connection connection; ///< null: none was started yet
        OwnedFd status;        ///< /proc/PID/status
        std::atomic<State*> of_copy{nullptr};
    };

    /// That of the calling process. A copy of the one that made it can't wait for the mutex, which
    /// a thread may have held that the copy has not.
    [[nodiscard]] static auto of_this_process(State& state) -> State& {
        State* own = &state;
        while (own->owner != ::getpid()) {
            State* next = own->of_copy.load();
            if (next == nullptr) {
                auto fresh = std::make_unique<State>(own->options);
                const bool is_first = own->of_copy.compare_exchange_strong(next, fresh.get());
                next = is_first ? fresh.release() : next;
            }
            own = next;
        }
        return *own;
    }

    explicit Launcher(std::shared_ptr<State> state) : state_{std::move(state)} {}

    [[nodiscard]] static auto connect(const LauncherOptions& options) -> Result<Connection> {
        auto pair = SocketPair::open(SocketKind::seqpacket);
        if (!pair) {
            return Unexpected{pair.error()};
        }
        auto process = detail::start_launcher_program(options.program, pair->second);
        if (!process) {
            return Unexpected{process.error()};
        }

        struct stat about {};

        (void)::fstat(pair->second.get(), &about);
        pair->second.reset();
        const Duration limit =
            options.deadline.count() > 0 ? options.deadline : Duration::nanoseconds(-1);
        auto wanted = detail::await_hello(*process, pair->first, options.program, limit);
        const Result<void> ready = wanted ? Result<void>{} : Unexpected{wanted.error()};
        auto connection = std::make_shared<detail::LauncherConnection>(
            *std::move(process), std::move(pair->first), ready ? *std::move(wanted) : OwnedFd{},
            about.st_ino);
        if (!ready) { // the process ends with the connection
            connection->give_up();
            return Unexpected{ready.error()};
        }
        return connection;
    }

    /// `Planned` is a Draft, or a WrittenPlan.
    template <typename Planned>
    [[nodiscard]] static auto run(State& state, const Planned& plan, const Command& command)
        -> Result<PidFd> {
        constexpr int most_tries = 3;
        for (int tries = 1;; ++tries) {
            auto connection = live_connection(state);
            if (!connection) {
                return Unexpected{connection.error()};
            }
            bool taken = false;
            auto child = ask(state, **connection, plan, command, taken);
            if (child || taken || tries == most_tries) {
                return child;
            }
        }
    }

    /// The launcher that there is, or another one in its place.
    [[nodiscard]] static auto live_connection(State& state) -> Result<Connection> {
        const std::lock_guard lock{state.mutex};
        if (state.connection != nullptr && state.connection->serves_this_process()) {
            return state.connection;
        }
        if (state.options.log != nullptr) {
            state.options.log(LogLevel::warning,
                              "the launcher has ended, or is another process's: a new one starts");
        }
        auto connection = connect(state.options);
        if (connection) {
            take(state, *connection);
        }
        return connection;
    }

    static void take(State& state, Connection connection) {
        state.connection = std::move(connection);
        if (!state.status.ok()) {
            const auto proc = detail::open_proc();
            state.status.reset(
                proc ? static_cast<int>(detail::open_at(proc->get(), "self/status", O_RDONLY))
                     : -1);
        }
    }

    /// `taken` says whether the launcher may have done something of it.
    template <typename Planned>
    [[nodiscard]] static auto ask(const State& own, detail::LauncherConnection& to,
                                  const Planned& plan, const Command& command, bool& taken)
        -> Result<PidFd> {
        detail::CallerState state; // before anything is opened that takes the number of its own
        OwnedFd directory;
        Result<void> done = detail::ask_for_state(state, own.status, directory);
        auto pair = SocketPair::open(SocketKind::seqpacket);
        const bool open = pair.has_value();
        detail::LauncherReserve reserve;
        done = done && open ? detail::pass_sender(pair->first) : done;
        done = done && open ? reserve.take(pair->first) : done;
        if (!done || !open) {
            taken = true;
            return Unexpected{done ? pair.error() : done.error()};
        }
        done = send_descriptor(to.socket(), pair->second);
        if (!done) {
            if (done.error().code == EPIPE || done.error().code == ECONNRESET) {
                to.give_up(); // it has ended, or is about to
            }
            return Unexpected{done.error()};
        }
        taken = true;
        pair->second.reset();
        detail::LauncherTalk talk{std::move(pair->first), std::move(reserve), to, plan.deadline};
        done = talk.say(state, plan, command);
        auto child = talk.run();
        // A joiner that was killed with the request in its hands has done nothing: with the thread
        // that started the launcher ends who waits, and has not said yet that it works.
        taken = talk.taken() || !to.process().alive() || child ||
                child.error().reason != Reason::process_died;
        // Whoever closed the channel before all was sent may have said why, or has died.
        const bool closed = done || done.error().code == EPIPE || done.error().code == ECONNRESET;
        const bool told = child || (closed && child.error().reason != Reason::end_of_file);
        return done || told ? std::move(child) : Result<PidFd>{Unexpected{done.error()}};
    }

    std::shared_ptr<State> state_;
};

/// A plan that is kept for a launcher, in the form in which it travels, and owns its descriptors.
/// It needs its Launcher, which it does not keep: when that has ended, exec() is an error. It may
/// outlive it, and any number of them may be there. A launcher that follows one which died serves
/// it as well.
///
/// It lies on the caller's side. In the launcher's process each joiner would have a copy of it,
/// which makes each start dearer, and a container with CAP_SYS_PTRACE could take the descriptors of
/// another one's plan out of a joiner that comes to it.
///
/// Any thread may call exec(), several at once; a move is theirs to order.
class [[nodiscard]] Launcher::Prepared {
  public:
    /// As Launcher::exec() of the plan. Errors: also process_died if the Launcher is gone.
    [[nodiscard]] auto exec(const Command& command) const -> Result<PidFd> {
        const Result<void> checked = detail::check_command(command);
        if (!checked) {
            return Unexpected{checked.error()};
        }
        const std::shared_ptr<State> state = state_.lock();
        if (state == nullptr) {
            return detail::launcher_died();
        }
        return run(of_this_process(*state), plan_, command);
    }

    Prepared(const Prepared&) = delete;
    Prepared(Prepared&&) noexcept = default;
    auto operator=(const Prepared&) -> Prepared& = delete;
    auto operator=(Prepared&&) noexcept -> Prepared& = default;
    ~Prepared() = default;

  private:
    friend class Launcher;

    Prepared(std::weak_ptr<State> state, detail::WrittenPlan plan)
        : state_{std::move(state)}, plan_{std::move(plan)} {}

    std::weak_ptr<State> state_;
    detail::WrittenPlan plan_;
};

inline auto Launcher::prepare(const Plan& plan) const -> Result<Prepared> {
    if (const Result<void> done = check(plan.parts()); !done) {
        return Unexpected{done.error()};
    }
    auto written = detail::written(plan.parts());
    if (!written) {
        return Unexpected{written.error()};
    }
    return Prepared{state_, *std::move(written)};
}

/// What a program does that is started as a launcher: it serves, and never returns. In any other
/// program, and in one that got rights by its execution (AT_SECURE), it returns at once.
inline void serve_launcher() noexcept {
    const char* const number = detail::variable(detail::launcher_variable);
    int socket = -1;
    if (number != nullptr && detail::is_plain_number(number, socket)) {
        detail::run_launcher(socket);
    }
}

} // namespace nsjoin

/// Lets the program be its own launcher: once, at namespace scope of one of its source files.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): nothing else makes a function of one line
#define NSJOIN_LAUNCHER()                                                                          \
    [[gnu::constructor(101)]] static void nsjoin_launcher() noexcept {                             \
        ::nsjoin::serve_launcher();                                                                \
    }                                                                                              \
    static_assert(true)

#endif // NSJOIN_LAUNCHER_HPP
