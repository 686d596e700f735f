// expect: nsjoin: a program's process is the caller's own child: leave child_of() out
#include <nsjoin/spawn.hpp>

[[maybe_unused]] auto run(const nsjoin::Command& command) -> nsjoin::Result<nsjoin::PidFd> {
    const auto plan = nsjoin::JoinPlan{}.new_session();
#ifdef NSJOIN_REJECT
    return nsjoin::join_and_exec(plan.child_of(nsjoin::ChildOf::callers_parent), command);
#else
    return nsjoin::join_and_exec(plan, command);
#endif
}
