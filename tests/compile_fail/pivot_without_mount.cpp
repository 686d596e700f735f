// expect: nsjoin: this needs a new namespace: create<Kind::mount>() first
#include <nsjoin/plan.hpp>

[[maybe_unused]] void changes() {
#ifdef NSJOIN_REJECT
    (void)nsjoin::JoinPlan{}.pivot_root("/srv");
#else
    (void)nsjoin::JoinPlan{}.create<nsjoin::Kind::mount>().pivot_root("/srv").mount_proc();
#endif
}
