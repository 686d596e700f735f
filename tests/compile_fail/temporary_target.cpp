// expect: nsjoin: keep the PidFd in a variable
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.join(*nsjoin::PidFd::open(1), nsjoin::all_kinds);
#else
    return nsjoin::JoinPlan{}.join(target, nsjoin::all_kinds);
#endif
}
