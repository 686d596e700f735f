// SPDX-License-Identifier: Apache-2.0
#include "spawn_support.hpp"

#include <nsjoin/bootstrap/message_of_plan.hpp>
#include <nsjoin/detail/engine/schedule.hpp>
#include <nsjoin/launcher.hpp>
#include <nsjoin/open_side.hpp>

#include "schedule_words.hpp"

#include <doctest/doctest.h>

#include <sys/mount.h>

// Code of the caller's own in the child: the functions of a plan, and what is done between
// join_and_clone() and the program.

using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::Moment;
using nsjoin::Reason;
using nsjoin::Step;

namespace {

/// Maps and namespaces of a sandbox, for root and for a user.
auto sandbox() {
    return JoinPlan{}.create(support::own_root()).create<Kind::mount, Kind::pid, Kind::uts>();
}

auto command(const std::array<const char*, 4>& words) -> nsjoin::Command {
    return {.program = nsjoin::Program::at("/bin/sh"), .arguments = words};
}

constexpr std::array<const char*, 4> exit_7{"sh", "-c", "exit 7", nullptr};

/// What a function inside has found.
struct Seen {
    pid_t pid = 0;
    std::uint64_t effective = 0;
    std::string root;
    bool proc = false;
    bool blocked = false;
    bool no_new_privileges = false;
};

auto look() -> Seen {
    Seen seen;
    seen.pid = ::getpid();
    const std::string effective = support::status_line("self", "CapEff");
    seen.effective = effective.empty() ? 0 : std::stoull(effective, nullptr, 16);
    sigset_t mask{};
    seen.blocked =
        ::sigprocmask(SIG_BLOCK, nullptr, &mask) == 0 && sigismember(&mask, SIGTERM) == 1;
    seen.no_new_privileges = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    return seen;
}

/// Says what it has found over a pipe.
void tell(int fd, const Seen& seen) {
    const std::string text = std::to_string(seen.pid) + " " + std::to_string(seen.effective != 0) +
                             " " + std::to_string(seen.blocked) +
                             std::to_string(seen.no_new_privileges) + "\n";
    (void)!::write(fd, text.data(), text.size());
}

auto plain_function() noexcept -> nsjoin::Result<void> {
    return nsjoin::failed_inside("a plain function");
}

} // namespace

TEST_CASE("functions of the plan's are called inside: with all rights, and last of all") {
    const support::NothingLeft nothing_left;
    support::TestPipe pipe;
    const auto ready = [&]() noexcept -> nsjoin::Result<void> {
        tell(pipe.writer(), look());
        return {};
    };
    const auto last = ready;
    const auto plan = sandbox()
                          .inside<Moment::namespaces_ready>(ready)
                          .inside<Moment::last>(last)
                          .capabilities({})
                          .no_new_privileges();
    const auto child = nsjoin::join_and_exec(plan, command(exit_7));
    REQUIRE(child);
    CHECK(child->wait()->exit_code() == 7);
    pipe.close_writer();
    // In the pid namespace's first process, once with capabilities and once without.
    CHECK(support::read_all(pipe.reader()) == "1 1 10\n1 0 11\n");
}

TEST_CASE("what a function mounts is there in the new root, and for the program") {
    const support::RootFileSystem files;
    REQUIRE(files.ok());
    const std::string inside = files.path() + "/volume";
    const auto mounts = [&]() noexcept -> nsjoin::Result<void> {
        // The old root is there yet.
        return ::mount("/usr", inside.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0
                   ? nsjoin::Result<void>{}
                   : nsjoin::failed_inside("bind /usr", errno);
    };
    const auto plan = sandbox().inside<Moment::namespaces_ready>(mounts).pivot_root(files.path());
    const auto output = support::shell(plan, "test -d /volume/lib && test ! -e /usr && echo there");
    CHECK(support::wrote(output, "there\n"));
    CHECK(::access((inside + "/lib").c_str(), F_OK) != 0); // nothing of it shows outside
}

TEST_CASE("the error of a function is that of the call, and nothing is left") {
    const support::NothingLeft nothing_left;
    const auto fails = []() noexcept -> nsjoin::Result<void> {
        return nsjoin::failed_inside("mount the volumes", EROFS);
    };
    const auto check = [](const auto& result, Step step) {
        REQUIRE(!result);
        CHECK(result.error().step == step);
        CHECK(result.error().reason == Reason::inside_failed);
        CHECK(result.error().code == EROFS);
        CHECK(nsjoin::explain(result.error()).find("(mount the volumes): EROFS: ") !=
              std::string::npos);
    };
    const auto early = sandbox().inside<Moment::namespaces_ready>(fails);
    const auto late = sandbox().inside<Moment::last>(fails);
    check(support::clone(early), Step::call_inside);
    check(support::clone(late), Step::call_last);
    check(nsjoin::join_and_exec(early, command(exit_7)), Step::call_inside);
    check(nsjoin::join_and_exec(late, command(exit_7)), Step::call_last);
    const auto prepared = nsjoin::PreparedPlan::prepare(late);
    REQUIRE(prepared);
    check(prepared->exec(command(exit_7)), Step::call_last);
}

TEST_CASE(
    "a function's error without an errno, one of the library's, a plain function, its death") {
    const auto plain = support::clone(sandbox().inside<Moment::last>(plain_function));
    REQUIRE(!plain);
    CHECK(nsjoin::explain(plain.error()) ==
          "call the plan's last function (a plain function): it is what the plan's own function "
          "says");
    const auto opens = []() noexcept -> nsjoin::Result<void> {
        const auto space = nsjoin::NamespaceFd<Kind::net>::open("/nowhere");
        return space ? nsjoin::Result<void>{} : nsjoin::Unexpected{space.error()};
    };
    const auto library = support::clone(sandbox().inside<Moment::namespaces_ready>(opens));
    REQUIRE(!library);
    CHECK(library.error().step == Step::open_namespace);
    CHECK(library.error().code == ENOENT);
    const auto dies = []() noexcept -> nsjoin::Result<void> {
        ::_exit(9);
    };
    const auto dead = support::clone(sandbox().inside<Moment::last>(dies));
    REQUIRE(!dead);
    CHECK(dead.error().reason == Reason::process_died);
    CHECK(nsjoin::ExitStatus{dead.error().code}.exit_code() == 9);
}

TEST_CASE("a function that changes memory changes the child's alone, however the child is made") {
    const support::Container container{nsjoin::kinds<Kind::net, Kind::uts>};
    const auto target = nsjoin::PidFd::open(container.pid());
    REQUIRE(target);
    int touched = 0;
    const auto touch = [&]() noexcept -> nsjoin::Result<void> {
        touched = 1;
        return {};
    };
    // Without a function these run on the caller's memory.
    const auto joins = JoinPlan{}.join(*target, nsjoin::kinds<Kind::net, Kind::uts>);
    const auto lends = joins.lend_memory_to_target();
    for (const nsjoin::Plan& plan :
         {nsjoin::Plan{joins.inside<Moment::last>(touch)},
          nsjoin::Plan{lends.inside<Moment::namespaces_ready>(touch)},
          nsjoin::Plan{JoinPlan{}.create<Kind::uts>().inside<Moment::last>(touch)}}) {
        const auto child = nsjoin::join_and_exec(plan, command(exit_7));
        REQUIRE(child);
        CHECK(child->wait()->exit_code() == 7);
        CHECK(touched == 0);
        CHECK(nsjoin::explain(plan, command(exit_7)).find("a function of the plan's") !=
              std::string::npos);
    }
}

TEST_CASE("who can't call a function of the caller's refuses it") {
    const auto nothing = []() noexcept -> nsjoin::Result<void> {
        return {};
    };
    const nsjoin::Plan plan = sandbox().inside<Moment::last>(nothing);
    auto launcher = nsjoin::Launcher::start();
    REQUIRE(launcher);
    CHECK(support::fails_with(launcher->exec(plan, command(exit_7)), Step::check_plan,
                              Reason::bad_value));
    CHECK(support::fails_with(launcher->prepare(plan), Step::check_plan, Reason::bad_value));
    nsjoin::detail::MessageOfPlan message;
    CHECK(support::fails_with(message.read(nsjoin::Dialect::runc_1_2, plan.parts()),
                              Step::start_program, Reason::bad_message));
}

TEST_CASE("a function is called between the namespaces and what takes rights") {
    using namespace words;
    const auto place = [](const nsjoin::detail::Schedule& schedule, Step step) {
        for (std::size_t i = 0; i < schedule.count; ++i) {
            if (schedule.list[i].step == step && schedule.list[i].process == Process::child) {
                return static_cast<int>(i);
            }
        }
        return -1;
    };
    PlanWords said = plan().creates(eight).maps().says(
        Step::call_inside | Step::call_last | Step::set_propagation | Step::pivot_root |
        Step::detach_old_root | Step::mount_proc | Step::limit_capabilities |
        Step::set_capabilities | Step::install_filter | Step::set_no_new_privileges |
        Step::set_umask | Step::set_name);
    const auto schedule = nsjoin::detail::schedule(said.outline, {});
    const int ready = place(schedule, Step::call_inside);
    const int last = place(schedule, Step::call_last);
    CHECK(place(schedule, Step::set_propagation) < ready);
    CHECK(ready < place(schedule, Step::pivot_root));
    CHECK(ready < place(schedule, Step::limit_capabilities));
    CHECK(place(schedule, Step::set_capabilities) < last);
    CHECK(place(schedule, Step::set_umask) < last);
    CHECK(last < place(schedule, Step::install_filter));
    CHECK(last < place(schedule, Step::report));
}

// ── After join_and_clone() ──────────────────────────────────────────────────────────────────────

namespace {

/// What await_program() returns where the child does that; with its exit code, or -1.
template <typename Plan, typename Body>
auto after_clone(const Plan& plan, const Body& body,
                 nsjoin::Duration limit = std::chrono::seconds{20}) -> support::Output {
    std::fflush(nullptr);
    auto side = nsjoin::join_and_clone(plan, nsjoin::keep_channel);
    if (side && side->is_child()) {
        body(*side);
        ::_exit(99);
    }
    if (!side) {
        return {side.error(), -1, {}};
    }
    const auto child = side->await_program(limit);
    if (!child) {
        return {child.error(), -1, {}};
    }
    return {std::nullopt, child->wait()->exit_code(), {}};
}

} // namespace

TEST_CASE("the child of join_and_clone() becomes a program, and the caller learns whether it did") {
    const support::NothingLeft nothing_left;
    const support::CallerState state;
    const auto runs = [](nsjoin::OpenSide& side) {
        side.execute(command(exit_7));
    };
    CHECK(after_clone(sandbox(), runs).code == 7);
    CHECK(after_clone(nsjoin::Plan{sandbox()}, runs).code == 7);
    const auto missing = after_clone(sandbox(), [](nsjoin::OpenSide& side) {
        nsjoin::Command absent = command(exit_7);
        absent.program = nsjoin::Program::at("/nowhere/sh");
        side.execute(absent);
    });
    CHECK(support::failed_with(missing, Step::execute, Reason::system, ENOENT));
    const auto wrong = after_clone(sandbox(), [](nsjoin::OpenSide& side) {
        const std::array<nsjoin::PassedFd, 1> none{nsjoin::PassedFd{nsjoin::BorrowedFd{}, 3}};
        nsjoin::Command unusable = command(exit_7);
        unusable.descriptors = none;
        side.execute(unusable);
    });
    CHECK(support::failed_with(wrong, Step::check_plan, Reason::bad_value));
    CHECK(state.changes().empty());
}

TEST_CASE("the program of such a child gets what its command says, and no other descriptor") {
    support::TestPipe pipe;
    const int writer = pipe.writer();
    const auto output = after_clone(sandbox(), [&](nsjoin::OpenSide& side) {
        (void)::dup2(writer, 50); // would stay open
        const std::array<nsjoin::PassedFd, 1> passed{
            nsjoin::PassedFd{nsjoin::BorrowedFd{writer}, 1}};
        const std::array<const char*, 4> words{
            "sh", "-c", "for n in /proc/self/fd/*; do test -e $n && echo ${n##*/}; done; umask",
            nullptr};
        nsjoin::Command shell = command(words);
        shell.descriptors = passed;
        shell.no_new_privileges = true;
        side.execute(shell);
    });
    pipe.close_writer();
    CHECK(output.code == 0);
    const std::string text = support::read_all(pipe.reader());
    CHECK(text.starts_with("0\n1\n2\n"));
    CHECK(text.find("50") == std::string::npos);
}

TEST_CASE("the child says why it failed, or that it goes on") {
    const support::NothingLeft nothing_left;
    const auto failed = after_clone(sandbox(), [](nsjoin::OpenSide& side) {
        side.fail(nsjoin::failed_inside("set up the devices", EROFS).error());
    });
    CHECK(support::failed_with(failed, Step::call_inside, Reason::inside_failed, EROFS));
    const auto goes_on =
        after_clone(sandbox(), [](nsjoin::OpenSide& side) { ::_exit(side.report() ? 8 : 9); });
    CHECK(goes_on.code == 8);
}

TEST_CASE("a child that ends, vanishes or hangs without a word is an error, and nothing is left") {
    const support::NothingLeft nothing_left;
    const auto ends = after_clone(sandbox(), [](nsjoin::OpenSide&) { ::_exit(5); });
    CHECK(support::failed_with(ends, Step::execute, Reason::process_died, 5 << 8));
    const auto killed = after_clone(JoinPlan{}.create<Kind::uts>(),
                                    [](nsjoin::OpenSide&) { (void)::kill(::getpid(), SIGKILL); });
    CHECK(support::failed_with(killed, Step::execute, Reason::process_died, SIGKILL));
    const auto silent = after_clone(sandbox(), [](nsjoin::OpenSide& side) {
        { const nsjoin::OpenSide gone = std::move(side); }
        ::pause();
    });
    CHECK(support::failed_with(silent, Step::execute, Reason::end_of_file));
    const auto hangs = after_clone(
        sandbox(), [](nsjoin::OpenSide&) { ::pause(); }, std::chrono::milliseconds{100});
    CHECK(support::failed_with(hangs, Step::execute, Reason::deadline_passed));
    const auto late = after_clone(
        sandbox(),
        [](nsjoin::OpenSide&) {
            ::sleep(3);
            ::_exit(5);
        },
        nsjoin::Duration{});
    CHECK(support::failed_with(late, Step::execute, Reason::deadline_passed));
}

TEST_CASE("a caller that does not wait for the program's start keeps nobody from it") {
    auto side = nsjoin::join_and_clone(sandbox(), nsjoin::keep_channel);
    REQUIRE(side);
    if (side->is_child()) {
        ::usleep(50'000);
        side->execute(command(exit_7));
    }
    const nsjoin::PidFd child = std::move(side->child());
    { const nsjoin::OpenSide gone = *std::move(side); }
    CHECK(child.wait()->exit_code() == 7);
}

TEST_CASE(
    "whoever can't be told gets a shell's exit code, and no caller that goes away ends a program") {
    const support::NothingLeft nothing_left;
    const auto code_of = [](const auto& body) {
        std::fflush(nullptr);
        auto side = nsjoin::join_and_clone(JoinPlan{}.new_session(), nsjoin::keep_channel);
        REQUIRE(side);
        if (side->is_child()) {
            body(*side);
            ::_exit(99);
        }
        const nsjoin::PidFd child = std::move(side->child());
        { const nsjoin::OpenSide gone = *std::move(side); }
        return child.wait()->exit_code();
    };
    CHECK(code_of([](nsjoin::OpenSide& side) {
              nsjoin::Command absent = command(exit_7);
              absent.program = nsjoin::Program::at("/nowhere/sh");
              side.execute(absent);
          }) == 127);
    CHECK(code_of([](nsjoin::OpenSide& side) {
              (void)side.report();
              side.execute(command(exit_7));
          }) == 7);
    int executed = 0;
    constexpr int all = 50;
    for (int i = 0; i < all; ++i) {
        executed += code_of([](nsjoin::OpenSide& side) { side.execute(command(exit_7)); }) == 7;
    }
    CHECK(executed == all);
}

TEST_CASE("a function is copied as what it is") {
    using nsjoin::InsideFunction;
    InsideFunction none;
    InsideFunction copy{none};
    CHECK(!copy.ok());
    InsideFunction plain{plain_function};
    InsideFunction same{plain};
    CHECK(same == plain);
}
