// expect: nsjoin: the plan joins a kind and creates it
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.create<Kind::net>().join(net);
#else
    return nsjoin::JoinPlan{}.create<Kind::ipc>().join(net);
#endif
}
