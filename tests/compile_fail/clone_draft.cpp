// expect: nsjoin: a Draft is not checked yet: Plan::from
#include <nsjoin/join.hpp>

[[maybe_unused]] void clones(const nsjoin::Draft& draft) {
#ifdef NSJOIN_REJECT
    nsjoin::join_and_clone(draft);
#else
    (void)nsjoin::join_and_clone(*nsjoin::Plan::from(draft));
#endif
}
