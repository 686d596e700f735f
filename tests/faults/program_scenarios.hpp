// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_PROGRAM_SCENARIOS_HPP
#define NSJOIN_TESTS_FAULTS_PROGRAM_SCENARIOS_HPP

#include "scenario.hpp"

#include <chrono>

// join_and_exec() in its ways, and the launcher.

namespace faults {

inline auto program_scenarios() -> std::vector<Scenario> {
    return {
        {"join_and_exec: a copy", seven, is_short,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             execute_plan(stage, JoinPlan{}.join(target, seven));
         }},
        {"join_and_exec: lent memory, a joiner", seven, is_short,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             execute_plan(stage, JoinPlan{}.join(target, seven).lend_memory_to_target());
         }},
        {"join_and_exec: lent memory, no joiner", Kind::net | Kind::uts, is_short,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             execute_plan(stage, JoinPlan{}.join(target, nsjoin::kinds<Kind::net, Kind::uts>));
         }},
        {"join_and_exec: created with maps",
         {},
         plain,
         [](Stage& stage) {
             execute_plan(
                 stage, JoinPlan{}.create(own_root()).create<Kind::mount, Kind::pid, Kind::uts>());
         }},
        {"join_and_exec: a copy, deadline", seven, has_deadline,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             execute_plan(stage,
                          JoinPlan{}.join(target, seven).deadline(std::chrono::milliseconds{700}));
         }},
        {"join_and_exec: prepared", six, plain,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             const auto prepared = nsjoin::PreparedPlan::prepare(JoinPlan{}.join(target, six));
             execute(stage,
                     [&](const nsjoin::Command& command) { return prepared->exec(command); });
         }},
        {"launcher: exec", seven, plain,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             const Plan plan = JoinPlan{}.join(target, seven);
             with_launcher(stage, [&](nsjoin::Launcher& launcher, const nsjoin::Command& command) {
                 return launcher.exec(plan, command);
             });
         }},
        {"launcher: exec, deadline", seven, has_deadline,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             const Plan plan =
                 JoinPlan{}.join(target, seven).deadline(std::chrono::milliseconds{700});
             with_launcher(stage, [&](nsjoin::Launcher& launcher, const nsjoin::Command& command) {
                 return launcher.exec(plan, command);
             });
         }},
        {"launcher: prepared", six, plain,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             const Plan plan = JoinPlan{}.join(target, six);
             with_launcher(stage, [&](nsjoin::Launcher& launcher, const nsjoin::Command& command) {
                 auto prepared = launcher.prepare(plan);
                 return prepared ? prepared->exec(command)
                                 : Result<PidFd>{nsjoin::Unexpected{prepared.error()}};
             });
         }},
        {"launcher: start",
         {},
         plain,
         [](Stage& stage) {
             stage.begin();
             {
                 const auto launcher = nsjoin::Launcher::start(launcher_options(stage));
                 launcher ? stage.succeeded() : stage.failed(launcher.error());
             }
             stage.audit();
         }},
    };
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_PROGRAM_SCENARIOS_HPP
