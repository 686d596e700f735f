// SPDX-License-Identifier: Apache-2.0
// A user's program: a child in a new uts namespace, with a host name of its own.
#include <nsjoin/nsjoin.hpp>

#include <cstdio>
#include <string_view>
#include <sys/utsname.h>
#include <unistd.h>

static auto has_the_new_name() -> bool {
    constexpr std::string_view name = "consumer";
    utsname names{};
    return sethostname(name.data(), name.size()) == 0 && uname(&names) == 0 &&
           names.nodename == name;
}

auto main() -> int {
    utsname before{};
    utsname after{};
    (void)uname(&before);
    auto side = nsjoin::join_and_clone(nsjoin::JoinPlan{}.create<nsjoin::Kind::uts>());
    if (!side) {
        std::fprintf(stderr, "%s\n", nsjoin::explain(side.error()).c_str());
        return 1;
    }
    if (side->is_child()) {
        _exit(has_the_new_name() ? 7 : 8);
    }
    const auto status = side->child().wait();
    (void)uname(&after);
    const bool same = std::string_view{after.nodename} == before.nodename;
    return status && status->exit_code() == 7 && same ? 0 : 2;
}
