// expect: nsjoin: a cgroup is a directory that is open and stays so
#include <nsjoin/plan.hpp>

[[maybe_unused]] void enters(const nsjoin::OwnedFd& directory) {
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.cgroup("/sys/fs/cgroup/box"), 0);
#else
    (void)nsjoin::JoinPlan{}.cgroup(directory);
#endif
}
