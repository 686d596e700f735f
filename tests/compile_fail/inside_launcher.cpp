// expect: nsjoin: a launcher has nothing of the caller's memory, where the plan's own function is
#include <nsjoin/launcher.hpp>
#include <nsjoin/spawn.hpp>

[[maybe_unused]] auto run(nsjoin::Launcher& launcher, const nsjoin::Command& command)
    -> nsjoin::Result<nsjoin::PidFd> {
    const auto mount = []() noexcept {
        return nsjoin::Result<void>{};
    };
    const auto plan = nsjoin::JoinPlan{}.inside<nsjoin::Moment::last>(mount);
#ifdef NSJOIN_REJECT
    return launcher.exec(plan, command);
#else
    (void)launcher;
    return nsjoin::join_and_exec(plan, command);
#endif
}
