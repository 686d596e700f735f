// expect: nsjoin: keep the path in a variable
#include <nsjoin/plan.hpp>

#include <string>

[[maybe_unused]] void changes(const std::string& path) {
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.root(path + "/root"), 0);
#else
    (void)nsjoin::JoinPlan{}.root(path);
    (void)nsjoin::JoinPlan{}.root("/srv");
#endif
}
