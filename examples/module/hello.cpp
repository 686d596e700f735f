// SPDX-License-Identifier: Apache-2.0
// A child in a uts namespace of its own, by the module.
#include <cstdio>
#include <unistd.h>

import nsjoin;

auto main() -> int {
    auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.create<nsjoin::Kind::uts>());
    if (!side) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(side.error()).c_str());
        return 1;
    }
    if (side->is_child()) {
        constexpr char name[] = "inside";
        _exit(sethostname(name, sizeof name - 1) == 0 ? 7 : 8);
    }
    const auto status = side->child().wait();
    std::printf("the child ended with %d\n", status ? status->exit_code() : -1);
    return status && status->exit_code() == 7 ? 0 : 2;
}
