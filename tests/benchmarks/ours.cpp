// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"
#include "jobs.hpp"
#include "nets.hpp"

#include <nsjoin/join.hpp>
#include <nsjoin/join_here.hpp>
#include <nsjoin/launcher.hpp>
#include <nsjoin/spawn.hpp>

#include <array>

#include <string>
#include <unistd.h>
#include <vector>

NSJOIN_LAUNCHER();

namespace bench {
namespace {

using nsjoin::KindSet;

/// Runs the plan; the child ends at once, and is waited for.
auto clone_and_wait(const nsjoin::Plan& plan) -> bool {
    auto side = nsjoin::join_and_clone(plan);
    if (!side) {
        return false;
    }
    if (side->is_child()) {
        ::_exit(0);
    }
    const auto status = side->child().wait();
    return status && status->exit_code() == 0;
}

auto ended_well(const nsjoin::Result<nsjoin::PidFd>& child) -> bool {
    const auto status = child ? child->wait() : nsjoin::Unexpected{child.error()};
    return status && status->exit_code() == 0;
}

/// Runs `work`, a function that takes the plan of a join and the command to execute.
template <typename Work>
auto with_command(const nsjoin::PidFd& target, KindSet kinds, const char* path, bool lends,
                  const Work& work) -> bool {
    nsjoin::Draft draft;
    draft.join(target, kinds);
    draft.lends_memory = lends;
    const auto plan = nsjoin::Plan::from(std::move(draft));
    const std::array<const char*, 2> words{path, nullptr};
    const std::array<const char*, 1> environment{nullptr};
    return plan && work(*plan, nsjoin::Command{.program = nsjoin::Program::at(path),
                                               .arguments = words,
                                               .environment = environment,
                                               .close_others = false}); // as by hand
}

auto exec_in(pid_t pid, KindSet kinds, const char* path, bool lends) -> Nanoseconds {
    return timed([=] {
        const auto target = nsjoin::PidFd::open(pid);
        return target &&
               with_command(*target, kinds, path, lends, [](const auto& plan, const auto& what) {
                   return ended_well(nsjoin::join_and_exec(plan, what));
               });
    });
}

/// That of the calling process, started when it is first asked for.
auto launcher() -> nsjoin::Launcher& {
    static nsjoin::Launcher started = nsjoin::Launcher::start().value();
    return started;
}

auto launch_in(pid_t pid, KindSet kinds, const char* path) -> Nanoseconds {
    nsjoin::Launcher& by = launcher();
    return timed([&] {
        const auto target = nsjoin::PidFd::open(pid);
        return target &&
               with_command(*target, kinds, path, false, [&](const auto& plan, const auto& what) {
                   return ended_well(by.exec(plan, what));
               });
    });
}

using Net = nsjoin::NamespaceFd<nsjoin::Kind::net>;
using NetHome = nsjoin::Home<nsjoin::Kind::net>;

/// The descriptors of the sweep, as the library has them.
auto own_nets() -> const std::vector<Net>& {
    static const std::vector<Net> opened = [] {
        std::vector<Net> list;
        for (const int net : nets) {
            const std::string path = "/proc/thread-self/fd/" + std::to_string(net);
            list.push_back(Net::open(path.c_str()).value());
        }
        return list;
    }();
    return opened;
}

auto home() -> const NetHome& {
    static const NetHome opened = NetHome::open().value();
    return opened;
}

auto visit(const Net& net) -> bool {
    auto visit = nsjoin::join_here(home(), net);
    return visit && visit->end().has_value();
}

} // namespace

auto ours::join(KindSet kinds) -> Nanoseconds {
    return timed_in_copy([=] {
        const auto target = nsjoin::PidFd::open(scene.target);
        if (!target) {
            return false;
        }
        return nsjoin::detail::call(SYS_setns, target->fd().get(), kinds.clone_flags()) == 0;
    });
}

auto ours::join_and_exec(KindSet kinds) -> Nanoseconds {
    return exec_in(scene.target, kinds, scene.tiny.c_str(), false);
}

auto ours::lent_exec(KindSet kinds) -> Nanoseconds {
    return exec_in(scene.target, kinds, scene.tiny.c_str(), true);
}

auto ours::launch(KindSet kinds) -> Nanoseconds {
    return launch_in(scene.target, kinds, scene.tiny.c_str());
}

auto ours::container_exec(KindSet kinds) -> Nanoseconds {
    return exec_in(scene.container, kinds, scene.inside.c_str(), false);
}

auto ours::container_launch(KindSet kinds) -> Nanoseconds {
    return launch_in(scene.container, kinds, scene.inside.c_str());
}

auto ours::fleet_launch(KindSet kinds) -> Nanoseconds {
    return launch_in(next_target(), kinds, scene.tiny.c_str());
}

auto ours::prepared_exec(KindSet kinds) -> Nanoseconds {
    const auto target = nsjoin::PidFd::open(scene.target);
    Nanoseconds result = failed;
    const auto work = [&result](const auto& plan, const auto& what) {
        const auto prepared = nsjoin::PreparedPlan::prepare(plan);
        if (prepared) {
            result = timed([&] { return ended_well(prepared->exec(what)); });
        }
        return prepared.has_value();
    };
    return target && with_command(*target, kinds, scene.tiny.c_str(), true, work) ? result : failed;
}

auto ours::net_and_back(KindSet) -> Nanoseconds {
    constexpr int times = 20;
    const Net& net = own_nets().front();
    (void)home();
    return timed([&] {
               bool good = true;
               for (int i = 0; i < times; ++i) {
                   good = visit(net) && good;
               }
               return good;
           }) /
           times;
}

auto ours::sweep(KindSet) -> Nanoseconds {
    const std::vector<Net>& all = own_nets();
    (void)home();
    return timed([&] {
               bool good = true;
               for (const Net& net : all) {
                   good = visit(net) && good;
               }
               return good;
           }) /
           sweep_size;
}

auto ours::join_and_clone(KindSet kinds) -> Nanoseconds {
    return timed([=] {
        const auto target = nsjoin::PidFd::open(scene.target);
        nsjoin::Draft draft;
        if (target) {
            draft.join(*target, kinds);
        }
        const auto plan = nsjoin::Plan::from(std::move(draft));
        return target && plan && clone_and_wait(*plan);
    });
}

auto ours::create_and_clone(KindSet kinds) -> Nanoseconds {
    return timed([=] {
        nsjoin::Draft draft;
        draft.created = kinds;
        draft.keep_ids = true;
        const auto plan = nsjoin::Plan::from(std::move(draft));
        return plan && clone_and_wait(*plan);
    });
}

} // namespace bench
