// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_CLONE_SCENARIOS_HPP
#define NSJOIN_TESTS_FAULTS_CLONE_SCENARIOS_HPP

#include "scenario.hpp"

#include <nsjoin/pty.hpp>

#include <chrono>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/resource.h>

// join_and_clone(), and what a plan can have.

namespace faults {

/// join_and_clone(), and what the child does by itself is not said in the plan.
inline auto clone_scenarios() -> std::vector<Scenario> {
    return {
        {"join_and_clone: seven kinds", seven, is_short,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, seven));
         }},
        {"join_and_clone: eight kinds", nsjoin::all_kinds, is_short,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, nsjoin::all_kinds));
         }},
        {"join_and_clone: eight kinds, deadline", nsjoin::all_kinds, has_deadline,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}
                              .join(target, nsjoin::all_kinds)
                              .deadline(std::chrono::milliseconds{700}));
         }},
        {"join_and_clone: by the child, and created", Kind::net | Kind::ipc, is_short,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}
                              .join(target, nsjoin::kinds<Kind::net, Kind::ipc>)
                              .create<Kind::uts, Kind::cgroup>());
         }},
        {"join_and_clone: by descriptor", Kind::net | Kind::uts, is_short,
         [](Stage& stage) {
             const auto net = nsjoin::NamespaceFd<Kind::net>::open(stage.given().target);
             const auto uts = nsjoin::NamespaceFd<Kind::uts>::open(stage.given().target);
             clone(stage, JoinPlan{}.join(*net).join(*uts));
         }},
        {"join_and_clone: created with maps",
         {},
         is_short,
         [](Stage& stage) {
             clone(stage, JoinPlan{}
                              .create(own_root())
                              .create<Kind::mount, Kind::pid, Kind::ipc, Kind::uts>());
         }},
        {"join_and_clone: created with maps and time, deadline",
         {},
         has_deadline,
         [](Stage& stage) {
             clone(stage, JoinPlan{}
                              .create(own_root())
                              .create<Kind::mount, Kind::pid, Kind::uts, Kind::time>()
                              .time_offsets({std::chrono::seconds{5}, std::chrono::seconds{5}})
                              .deadline(std::chrono::milliseconds{700}));
         }},
        {"join_and_clone: in the caller's own namespaces",
         {},
         is_short,
         [](Stage& stage) {
             clone(stage, JoinPlan{}.new_session().name("inside"));
         }},
        {"join_and_clone: a sibling of the caller", seven, self_reaping | joins_itself,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, seven).child_of(nsjoin::ChildOf::callers_parent));
         }},
        {"join_and_clone: rootless, with newuidmap",
         {},
         by_user,
         [](Stage& stage) {
             clone(stage, JoinPlan{}
                              .create(nsjoin::NewUser{.uids = {{0, 1000, 1}, {1, 100'000, 100}},
                                                      .gids = {{0, 1000, 1}, {1, 100'000, 100}}})
                              .create<Kind::mount, Kind::pid>());
         }},
        {"join_and_clone: a user's own container", seven, by_user,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             clone(stage, JoinPlan{}.join(target, seven));
         }},
    };
}

inline constexpr std::array<sock_filter, 1> allow_all{
    sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

inline auto feature_scenarios() -> std::vector<Scenario> {
    return {
        {"features: a new root and what is in it",
         {},
         plain,
         [](Stage& stage) {
             clone(stage,
                   JoinPlan{}
                       .create(own_root())
                       .create<Kind::mount, Kind::pid, Kind::net, Kind::uts>()
                       .host_name("inside")
                       .domain_name("nis")
                       .loopback_up()
                       .pivot_root(stage.given().root)
                       .mount_proc()
                       .working_directory("/volume")
                       .capabilities(nsjoin::Capabilities::limited_to(nsjoin::Capability::chown))
                       .no_new_privileges());
         }},
        {"features: ids, console, session, name, processors", Kind::net, plain,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             const auto master = nsjoin::PtyMaster::open();
             const auto peer = master->open_peer();
             clone(stage, JoinPlan{}
                              .join(target, nsjoin::kinds<Kind::net>)
                              .as({.uid = 1000, .gid = 1000, .groups = {}})
                              .console(peer->fd())
                              .name("inside")
                              .umask(027)
                              .priority(1)
                              .cpu_affinity(nsjoin::CpuSet{}.with(0))
                              .oom_score_adj(100)
                              .death_signal(SIGTERM)
                              .session_keyring(nsjoin::SessionKeyring::fresh)
                              .filter(allow_all)
                              .no_new_privileges());
         }},
        {"features: cgroup, root directory",
         {},
         plain,
         [](Stage& stage) {
             const nsjoin::OwnedFd cgroup{
                 ::open(stage.given().cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
             const nsjoin::OwnedFd root{
                 ::open(stage.given().root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
             clone(stage,
                   JoinPlan{}.cgroup(cgroup).root(root).working_directory("/volume").keep_ids());
         }},
        {"features: mount sources",
         {},
         plain,
         [](Stage& stage) {
             // The numbers that they are to have are free, and high enough to stay so.
             const std::array<nsjoin::MountSource, 2> sources{
                 {{"/etc/passwd", 130}, {"/etc/group", 131}}};
             nsjoin::Draft draft;
             draft.created = Kind::user | Kind::mount;
             draft.maps.emplace(own_root());
             draft.mount_sources.list = sources;
             clone(stage, *Plan::from(draft));
         }},
        {"features: a program's limits, mask and rights", Kind::ipc, plain,
         [](Stage& stage) {
             const PidFd target = target_of(stage);
             const Plan plan = JoinPlan{}.join(target, nsjoin::kinds<Kind::ipc>).new_session();
             const std::array<nsjoin::ResourceLimit, 1> limits{{{RLIMIT_CORE, {0, 0}}}};
             execute(stage, [&](nsjoin::Command command) {
                 sigset_t mask{};
                 ::sigemptyset(&mask);
                 ::sigaddset(&mask, SIGHUP);
                 command.limits = limits;
                 command.signal_mask = mask;
                 command.default_signals = mask;
                 command.no_new_privileges = true;
                 return nsjoin::join_and_exec(plan, command);
             });
         }},
    };
}

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_CLONE_SCENARIOS_HPP
