// SPDX-License-Identifier: Apache-2.0
// Parts of one program, each compiled by itself: WHAT says which this is.
#include <nsjoin/nsjoin.hpp>

#include <cstdio>
#include <unistd.h>

#define WHAT_PLANS 1
#define WHAT_CLONES 2
#define WHAT_MAIN 3
#define WHAT_ALONE 4
#define WHAT_OTHER 5

using nsjoin::Kind;

auto plan_of_two(const nsjoin::IdMap& map) -> nsjoin::Result<nsjoin::Plan>;
auto exit_code_in(const nsjoin::Plan& plan) -> nsjoin::Result<int>;
auto by_the_other() -> int;

#if WHAT == WHAT_PLANS
auto plan_of_two(const nsjoin::IdMap& map) -> nsjoin::Result<nsjoin::Plan> {
    return nsjoin::JoinPlan{}.create(nsjoin::NewUser{map, map}).create<Kind::uts>();
}
#endif

#if WHAT == WHAT_CLONES || WHAT == WHAT_ALONE || WHAT == WHAT_OTHER
static auto code_in(const nsjoin::Plan& plan) -> nsjoin::Result<int> {
    auto side = nsjoin::join_and_clone(plan);
    if (!side) {
        return nsjoin::Unexpected{side.error()};
    }
    if (side->is_child()) {
        _exit(static_cast<int>(getuid()) + 7);
    }
    return side->child().wait().transform([](auto status) { return status.exit_code(); });
}
#endif

#if WHAT == WHAT_CLONES
auto exit_code_in(const nsjoin::Plan& plan) -> nsjoin::Result<int> {
    return code_in(plan);
}
#elif WHAT == WHAT_MAIN
auto main() -> int {
    const nsjoin::IdMap map{{0, geteuid(), 1}};
    const auto code = plan_of_two(map).and_then(exit_code_in);
    if (!code) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(code.error()).c_str());
    }
    return code && *code == 7 ? 0 : 1;
}
#elif WHAT == WHAT_OTHER
auto by_the_other() -> int {
    return code_in(nsjoin::JoinPlan{}.create<Kind::uts>()).value_or(1);
}
#elif WHAT == WHAT_ALONE
auto main() -> int {
    const int own = code_in(nsjoin::JoinPlan{}.create<Kind::uts>()).value_or(2);
    return own == by_the_other() ? 0 : 1;
}
#endif
