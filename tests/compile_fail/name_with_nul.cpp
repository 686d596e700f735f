// expect: a_name_ends_with_its_only_nul
#include <nsjoin/plan.hpp>

[[maybe_unused]] auto build() -> nsjoin::Plan {
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.name("two\0names");
#else
    return nsjoin::JoinPlan{}.name("one name");
#endif
}
