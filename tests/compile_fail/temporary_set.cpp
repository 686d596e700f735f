// expect: nsjoin: keep the set in a variable
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::PidFd& target) {
    using Set = nsjoin::NamespaceSet<nsjoin::Kind::net>;
    const auto set = Set::open(target);
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.join(*Set::open(target)), 0);
#else
    (void)nsjoin::JoinPlan{}.join(*set);
#endif
}
