// expect: nsjoin: another type: use a Draft
#include <nsjoin/plan.hpp>

[[maybe_unused]] auto plan(bool network) -> bool {
#ifdef NSJOIN_REJECT
    auto plan = nsjoin::JoinPlan{};
    if (network) {
        plan = plan.create<nsjoin::Kind::net>();
    }
    return plan.build().parts().created.empty();
#else
    nsjoin::Draft draft;
    if (network) {
        draft.created = nsjoin::Kind::net;
    }
    const auto plan = nsjoin::Plan::from(draft);
    return plan && plan->parts().created.empty();
#endif
}
