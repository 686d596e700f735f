// expect: nsjoin: time offsets need a new time namespace
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.create<Kind::net>().time_offsets({});
#else
    return nsjoin::JoinPlan{}.create<Kind::time>().time_offsets({});
#endif
}
