// expect: nsjoin: the ordering constraints contradict each other
#include <nsjoin/order.hpp>

using nsjoin::Step;

static constexpr std::array rules{
    nsjoin::Constraint{Step::set_gid, Step::set_uid, "setgid needs the right that setuid gives up"},
#ifdef NSJOIN_REJECT
    nsjoin::Constraint{Step::set_uid, Step::set_gid, "the other way round"},
#else
    nsjoin::Constraint{Step::set_groups, Step::set_gid, "so does setgroups"},
#endif
};

static_assert(nsjoin::detail::ordered<nsjoin::plan_step_count, rules,
                                      nsjoin::circumstances(nsjoin::UserRights::taken)>()[0] ==
              Step::check_plan);
