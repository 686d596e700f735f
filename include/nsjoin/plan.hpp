// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_HPP
#define NSJOIN_PLAN_HPP

// What is to happen: Draft, as it comes at run time; Plan, checked; JoinPlan, checked by the
// compiler.

#include <nsjoin/plan/checked.hpp>
#include <nsjoin/plan/draft.hpp>
#include <nsjoin/plan/join_plan.hpp>

#endif // NSJOIN_PLAN_HPP
