// expect: nsjoin: this namespace descriptor is of another kind than the one named
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.join<Kind::net>(uts);
#else
    return nsjoin::JoinPlan{}.join<Kind::net>(net);
#endif
}
