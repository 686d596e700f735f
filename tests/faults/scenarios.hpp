// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_SCENARIOS_HPP
#define NSJOIN_TESTS_FAULTS_SCENARIOS_HPP

#include "clone_scenarios.hpp"
#include "program_scenarios.hpp"
#include "user_scenarios.hpp"

#include <nsjoin/join_here.hpp>
#include <nsjoin/supervisor.hpp>

#include <atomic>
#include <thread>

// What is disturbed: each entry point of the library, and what a plan can have.

namespace faults {

/// Of this thread alone, there and back. What fails on the way back is tried again: then it is
/// home.
template <Kind... Ks>
void visit(Stage& stage, nsjoin::Kinds<Ks...> kinds) {
    const PidFd target = target_of(stage);
    stage.begin();
    {
        const auto home = nsjoin::Home<Ks...>::open();
        Result<void> done = home ? Result<void>{} : nsjoin::Unexpected{home.error()};
        if (home) {
            auto there = nsjoin::join_here(*home, target);
            done = there ? there->end() : nsjoin::Unexpected{there.error()};
            for (int tries = 0; there && !done && tries < 3; ++tries) {
                if (home->go_back(kinds)) {
                    break;
                }
            }
        }
        done ? stage.succeeded() : stage.failed(done.error());
    }
    stage.audit();
}

inline auto here_scenarios() -> std::vector<Scenario> {
    return {
        {"join_here: net, ipc and uts", Kind::net | Kind::ipc | Kind::uts, is_short,
         [](Stage& stage) {
             visit(stage, nsjoin::kinds<Kind::net, Kind::ipc, Kind::uts>);
         }},
        {"join_here: mount", KindSet{Kind::mount}, is_short,
         [](Stage& stage) {
             visit(stage, nsjoin::kinds<Kind::mount>);
         }},
        {"join_for_good", seven, is_short | joins_itself,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             stage.begin();
             const auto done = nsjoin::join_for_good(
                 target, nsjoin::kinds<Kind::user, Kind::mount, Kind::net, Kind::uts>);
             done ? stage.succeeded() : stage.failed(done.error());
             stage.describe_itself();
             stage.audit();
         }},
    };
}

/// How a caller's children are waited for otherwise.
inline void reap_all(int /*number*/) {
    const int saved = errno;
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    errno = saved;
}

/// Two that do nothing. While the libc makes a thread, it has blocked its signals.
inline void start_threads() {
    static std::atomic<int> there{0};
    for (int i = 0; i < 2; ++i) {
        std::thread{[] {
            ++there;
            ::pause();
        }}.detach();
    }
    while (there != 2) {
        ::usleep(100);
    }
}

inline auto caller_scenarios() -> std::vector<Scenario> {
    return {
        {"caller: with threads, clone", seven, plain,
         [](Stage& stage) {
             start_threads();
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, seven));
         }},
        {"caller: with threads, exec", Kind::net | Kind::uts, plain,
         [](Stage& stage) {
             start_threads();
             const PidFd target = target_of(stage);
             execute_plan(stage, JoinPlan{}.join(target, nsjoin::kinds<Kind::net, Kind::uts>));
         }},
        {"caller: pid 1, clone",
         {},
         as_init,
         [](Stage& stage) {
             clone(stage, JoinPlan{}.create(own_root()).create<Kind::mount, Kind::pid>());
         }},
        {"caller: pid 1, exec",
         {},
         as_init,
         [](Stage& stage) {
             execute_plan(stage, JoinPlan{}.create<Kind::uts, Kind::pid>());
         }},
        {"caller: SIGCHLD ignored, clone", seven, self_reaping,
         [](Stage& stage) {
             std::signal(SIGCHLD, SIG_IGN);
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, seven));
         }},
        {"caller: SIGCHLD ignored, exec", seven, self_reaping,
         [](Stage& stage) {
             std::signal(SIGCHLD, SIG_IGN);
             const PidFd target = target_of(stage);
             execute_plan(stage, JoinPlan{}.join(target, seven));
         }},
        {"caller: SIGCHLD reaped by a handler, clone", seven, self_reaping,
         [](Stage& stage) {
             std::signal(SIGCHLD, reap_all);
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, seven));
         }},
        {"caller: SIGCHLD reaped by a handler, exec", seven, self_reaping,
         [](Stage& stage) {
             std::signal(SIGCHLD, reap_all);
             const PidFd target = target_of(stage);
             execute_plan(stage, JoinPlan{}.join(target, seven));
         }},
    };
}

/// An embedding program in namespaces of the target, and in new ones.
inline void embed(Stage& stage, nsjoin::Dialect dialect, bool sealed, bool by_supervisor) {
    const PidFd target = target_of(stage);
    const auto net = nsjoin::NamespaceFd<Kind::net>::open(target);
    const auto ipc = nsjoin::NamespaceFd<Kind::ipc>::open(target);
    const Plan plan = dialect == nsjoin::Dialect::environment
                          ? JoinPlan{}.join(target, nsjoin::all_kinds).build()
                          : JoinPlan{}.join(*net).join(*ipc).create<Kind::uts, Kind::pid>().build();
    nsjoin::SupervisorOptions options;
    options.dialect = dialect;
    options.program = stage.given().embed;
    options.environment = {"FAULTS_DIALECT=" + std::string{nsjoin::facts(dialect).name},
                           std::string{"FAULTS_SEAL="} + (sealed ? "yes" : "no"),
                           "FAULTS_REPORT=" + stage.given().report_path};
    options.seal = by_supervisor;
    options.deadline = std::chrono::seconds{4};
    stage.begin();
    {
        const auto embedded = nsjoin::supervise(plan, options);
        if (!embedded) {
            stage.failed(embedded.error());
        } else {
            stage.end_of(embedded->child);
        }
    }
    stage.audit();
}

inline auto embed_scenarios() -> std::vector<Scenario> {
    std::vector<Scenario> all;
    for (const nsjoin::Dialect dialect : {nsjoin::Dialect::environment, nsjoin::Dialect::runc_2016,
                                          nsjoin::Dialect::runc_1_1, nsjoin::Dialect::runc_1_2}) {
        const std::string name = "supervise: " + std::string{nsjoin::facts(dialect).name};
        const KindSet target = dialect == nsjoin::Dialect::environment
                                   ? KindSet{nsjoin::all_kinds} - Kind::user
                                   : Kind::net | Kind::ipc;
        all.push_back({name, target, by_libc, [dialect](Stage& stage) {
                           embed(stage, dialect, false, false);
                       }});
        all.push_back({name + ", seals itself", target, by_libc, [dialect](Stage& stage) {
                           embed(stage, dialect, true, false);
                       }});
        all.push_back({name + ", started sealed", target, by_libc, [dialect](Stage& stage) {
                           embed(stage, dialect, true, true);
                       }});
    }
    return all;
}

inline auto all_scenarios() -> std::vector<Scenario> {
    std::vector<Scenario> all;
    for (const auto& part :
         {clone_scenarios(), feature_scenarios(), program_scenarios(), user_scenarios(),
          here_scenarios(), caller_scenarios(), embed_scenarios()}) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_SCENARIOS_HPP
