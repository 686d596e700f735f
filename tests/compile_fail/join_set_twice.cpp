// expect: nsjoin: the plan joins this kind twice
#include <nsjoin/plan.hpp>

[[maybe_unused]] void joins(const nsjoin::NamespaceSet<nsjoin::Kind::net>& set,
                            const nsjoin::NamespaceFd<nsjoin::Kind::net>& space) {
    const auto plan = nsjoin::JoinPlan{}.join(set);
#ifdef NSJOIN_REJECT
    (void)plan.join(space);
#else
    (void)plan, (void)space;
#endif
}
