// expect: nsjoin: a host or domain name needs a new or joined UTS namespace
#include <nsjoin/plan.hpp>

[[maybe_unused]] void names() {
#ifdef NSJOIN_REJECT
    (void)nsjoin::JoinPlan{}.host_name("inside");
#else
    (void)nsjoin::JoinPlan{}.create<nsjoin::Kind::uts>().host_name("inside").domain_name("here");
#endif
}
