// expect: nsjoin: a root is a directory that is open and stays so
#include <nsjoin/plan.hpp>

[[maybe_unused]] void changes(const nsjoin::OwnedFd& directory) {
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.root(directory.get()), 0);
#else
    (void)nsjoin::JoinPlan{}.root(directory);
#endif
}
