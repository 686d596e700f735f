// expect: nsjoin: keep the path in a variable
#include <nsjoin/plan.hpp>

#include <string>

[[maybe_unused]] void changes(const std::string& path) {
#ifdef NSJOIN_REJECT
    (void)(nsjoin::JoinPlan{}.working_directory(path + "/work"), 0);
#else
    (void)nsjoin::JoinPlan{}.working_directory(path);
    (void)nsjoin::JoinPlan{}.working_directory("/srv");
#endif
}
