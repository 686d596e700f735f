// expect: nsjoin: id maps need a new user namespace
#include <nsjoin/plan.hpp>

using nsjoin::Kind;

[[maybe_unused]] auto build(const nsjoin::PidFd& target, const nsjoin::NamespaceFd<Kind::net>& net,
                            const nsjoin::NamespaceFd<Kind::uts>& uts) -> nsjoin::Plan {
    (void)target, (void)net, (void)uts;
#ifdef NSJOIN_REJECT
    return nsjoin::JoinPlan{}.create<Kind::net>().map_ids(
        {.uids = {{0, 1, 1}}, .gids = {{0, 1, 1}}});
#else
    return nsjoin::JoinPlan{}.create<Kind::user>().map_ids(
        {.uids = {{0, 1, 1}}, .gids = {{0, 1, 1}}});
#endif
}
