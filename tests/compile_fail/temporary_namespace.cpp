// expect: nsjoin: keep it in a variable
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.join(*nsjoin::NamespaceFd<Kind::net>::own());
#else
    return nsjoin::JoinPlan{}.join(net);
#endif
}
