// expect: nsjoin: the kinds of this set are known only at run time
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::AnyNamespaceSet& any,
                            const nsjoin::NamespaceSet<nsjoin::Kind::net>& set) {
    (void)any, (void)set;
#ifdef NSJOIN_REJECT
    nsjoin::JoinPlan{}.join(any);
#else
    (void)nsjoin::JoinPlan{}.join(set);
#endif
}
