// expect: nsjoin: the kind of this namespace descriptor is known only at run time
#include <nsjoin/plan.hpp>

[[maybe_unused]] auto build(const nsjoin::AnyNamespaceFd& space) -> nsjoin::Plan {
#ifdef NSJOIN_REJECT
    nsjoin::JoinPlan{}.join(space);
    return nsjoin::JoinPlan{};
#else
    nsjoin::Draft draft;
    draft.join(space);
    return *nsjoin::Plan::from(draft);
#endif
}
