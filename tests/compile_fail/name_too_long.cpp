// expect: nsjoin: a process name has at most 15 bytes
#include <nsjoin/plan.hpp>

[[maybe_unused]] auto build() -> nsjoin::Plan {
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.name("sixteen-letters!");
#else
    return nsjoin::JoinPlan{}.name("fifteen-letters");
#endif
}
