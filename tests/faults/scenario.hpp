// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_SCENARIO_HPP
#define NSJOIN_TESTS_FAULTS_SCENARIO_HPP

#include "stage.hpp"

#include <nsjoin/join.hpp>
#include <nsjoin/launcher.hpp>
#include <nsjoin/spawn.hpp>

#include <array>
#include <functional>
#include <string>
#include <utility>
#include <vector>

// What a scenario is, and what they share.

namespace faults {

using nsjoin::JoinPlan;
using nsjoin::Kind;
using nsjoin::KindSet;
using nsjoin::PidFd;
using nsjoin::Plan;
using nsjoin::Result;

/// What else the harness has to know of a scenario; bits.
enum Trait : unsigned {
    plain = 0,
    has_deadline = 1U << 0U,    ///< a stopped process is in time
    changes_caller = 1U << 1U,  ///< what it succeeds in is done to the caller
    is_short = 1U << 2U,        ///< two faults at once
    by_user = 1U << 3U,         ///< the caller is an ordinary user, whose processes can be limited
    as_init = 1U << 4U,         ///< the caller is pid 1 of a pid namespace
    self_reaping = 1U << 5U,    ///< the statuses of its children are lost
    by_libc = 1U << 7U,         ///< posix_spawn(3) starts the program, which is sealed
    calls_functions = 1U << 8U, ///< the child runs code that may end it with any exit code
    joins_itself = 1U << 6U,    ///< the caller is the joiner, and stays where it got
};

struct Scenario {
    std::string name;
    KindSet target; ///< the kinds that the target has of its own
    unsigned traits = plain;
    std::function<void(Stage&)> body;
};

inline constexpr auto seven = nsjoin::kinds<Kind::user, Kind::mount, Kind::pid, Kind::net,
                                            Kind::ipc, Kind::uts, Kind::cgroup>;
inline constexpr auto six =
    nsjoin::kinds<Kind::mount, Kind::pid, Kind::net, Kind::ipc, Kind::uts, Kind::cgroup>;

/// A map of a namespace in which id 0 is the caller's own id.
inline auto own_root() -> nsjoin::NewUser {
    return nsjoin::NewUser{.uids = *nsjoin::IdMap::single(0, ::geteuid()),
                           .gids = *nsjoin::IdMap::single(0, ::getegid())};
}

/// join_and_clone() of the plan.
inline void clone(Stage& stage, const Plan& plan) {
    stage.begin();
    auto side = nsjoin::join_and_clone(plan);
    if (side && side->is_child()) {
        stage.in_child();
    }
    if (side) {
        stage.end(std::move(side->child()));
        side = nsjoin::Side{};
    } else {
        stage.failed(side.error());
    }
    stage.audit();
}

/// A command that says what the program is like.
class ProbeCommand {
  public:
    explicit ProbeCommand(const Stage& stage)
        : words_{stage.given().probe.c_str(), nullptr},
          passed_{{{nsjoin::BorrowedFd{stage.given().report_fd}, 3}}} {}

    [[nodiscard]] auto get() const -> nsjoin::Command {
        return {
            .program = nsjoin::Program::at(words_[0]), .arguments = words_, .descriptors = passed_};
    }

  private:
    std::array<const char*, 2> words_;
    std::array<nsjoin::PassedFd, 1> passed_;
};

/// What executes the command, and returns the program's process.
template <typename Execute>
void execute(Stage& stage, const Execute& by) {
    const ProbeCommand probe{stage};
    stage.begin();
    {
        Result<PidFd> child = by(probe.get());
        stage.end(child);
    }
    stage.audit();
}

inline void execute_plan(Stage& stage, const Plan& plan) {
    execute(stage,
            [&](const nsjoin::Command& command) { return nsjoin::join_and_exec(plan, command); });
}

inline auto target_of(const Stage& stage) -> PidFd {
    return *PidFd::open(stage.given().target);
}

inline auto launcher_options(const Stage& stage) -> nsjoin::LauncherOptions {
    return {.program = stage.given().embed};
}

/// A launcher that has been started before; ended before the audit.
template <typename Use>
void with_launcher(Stage& stage, const Use& use) {
    const ProbeCommand probe{stage};
    stage.remember();
    stage.trace();
    {
        auto launcher = nsjoin::Launcher::start(launcher_options(stage));
        stage.begin();
        Result<PidFd> child = use(*launcher, probe.get());
        stage.end(child);
    }
    stage.audit();
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_SCENARIO_HPP
