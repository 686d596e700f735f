// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_USER_SCENARIOS_HPP
#define NSJOIN_TESTS_FAULTS_USER_SCENARIOS_HPP

#include "scenario.hpp"

#include <nsjoin/create_namespaces.hpp>

// Code of the caller's own in the child, and namespaces without one.

namespace faults {

/// join_and_clone() of the plan, whose child becomes a program.
template <typename Plan>
void clone_and_execute(Stage& stage, const Plan& plan) {
    const ProbeCommand probe{stage};
    const nsjoin::Command command = probe.get();
    stage.begin();
    {
        auto side = nsjoin::join_and_clone(plan, nsjoin::keep_channel);
        if (side && side->is_child()) {
            stage.is_child();
            side->execute(command);
        }
        if (side) {
            stage.end(side->await_program());
        } else {
            stage.failed(side.error());
        }
    }
    stage.audit();
}

inline auto succeeds() noexcept -> Result<void> {
    return {};
}

inline auto user_scenarios() -> std::vector<Scenario> {
    return {
        {"join_and_clone: a channel, and a program", seven, plain,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone_and_execute(stage, JoinPlan{}.join(target, seven));
         }},
        {"join_and_clone: created, a channel, and a program",
         {},
         plain,
         [](Stage& stage) {
             clone_and_execute(stage,
                               JoinPlan{}.create(own_root()).create<Kind::mount, Kind::pid>());
         }},
        {"join_and_clone: functions inside",
         {},
         calls_functions,
         [](Stage& stage) {
             clone(stage, JoinPlan{}
                              .create(own_root())
                              .create<Kind::mount, Kind::pid>()
                              .inside<nsjoin::Moment::namespaces_ready>(succeeds)
                              .inside<nsjoin::Moment::last>(succeeds));
         }},
        {"create_namespaces",
         {},
         plain,
         [](Stage& stage) {
             stage.begin();
             {
                 const auto set = nsjoin::create_namespaces(
                     JoinPlan{}
                         .create(own_root())
                         .create<Kind::mount, Kind::net, Kind::ipc, Kind::uts>()
                         .host_name("set")
                         .loopback_up());
                 set ? stage.succeeded() : stage.failed(set.error());
             }
             stage.audit();
         }},
    };
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_USER_SCENARIOS_HPP
