// expect: nsjoin: a propagation needs a new mount namespace
#include <nsjoin/plan.hpp>

[[maybe_unused]] void says() {
#ifdef NSJOIN_REJECT
    (void)nsjoin::JoinPlan{}.propagation(nsjoin::Propagation::slave);
#else
    (void)nsjoin::JoinPlan{}.create<nsjoin::Kind::mount>().propagation(nsjoin::Propagation::slave);
#endif
}
