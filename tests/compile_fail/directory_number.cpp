// expect: nsjoin: a working directory is open and stays so
#include <nsjoin/plan.hpp>

[[maybe_unused]] void changes(const nsjoin::OwnedFd& directory) {
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.working_directory(directory.get()), 0);
#else
    (void)nsjoin::JoinPlan{}.working_directory(directory);
#endif
}
