// expect: nsjoin: a Plan may say anything
#include <nsjoin/join.hpp>

[[maybe_unused]] auto clones(const nsjoin::Plan& plan) -> bool {
#ifdef NSJOIN_REJECT
    return nsjoin::join_and_clone<nsjoin::Scope::joining>(plan).has_value();
#else
    return nsjoin::join_and_clone(plan).has_value();
#endif
}
