// expect: nsjoin: the plan joins a kind and creates it
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.join(net).create<Kind::net>();
#else
    return nsjoin::JoinPlan{}.join(net).create<Kind::uts>();
#endif
}
