// expect: a_name_ends_with_its_only_nul
#include <nsjoin/plan.hpp>

[[maybe_unused]] auto build() -> nsjoin::Plan {
#ifdef NSJOIN_REJECT
    static constexpr char letters[] = {'n', 'a', 'm', 'e'};
#else
    static constexpr char letters[] = {'n', 'a', 'm', 'e', '\0'};
#endif
    return nsjoin::JoinPlan{}.name(letters);
}
