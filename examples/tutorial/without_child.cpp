// SPDX-License-Identifier: Apache-2.0
// without_child PID PATH: looks at the host name where a process lives, and keeps that namespace
// alive at PATH, without another process.
#include <nsjoin/explain.hpp>
#include <nsjoin/join_here.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "without_child: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    if (argc != 3) {
        std::fputs("usage: without_child PID PATH\n", stderr);
        return EXIT_FAILURE;
    }
    const auto target = nsjoin::PidFd::open(std::atoi(argv[1]));
    const auto home = nsjoin::Home<nsjoin::Kind::uts>::open();
    if (!target || !home) {
        return complain(target ? home.error() : target.error());
    }
    const auto names = nsjoin::NamespaceFd<nsjoin::Kind::uts>::open(*target);
    if (!names) {
        return complain(names.error());
    }
    if (const auto visit = nsjoin::join_here(*home, *names)) {
        std::array<char, 65> name{};
        (void)gethostname(name.data(), name.size() - 1);
        std::printf("there: %s\n", name.data());
    } else {
        return complain(visit.error());
    }
    const auto pinned = names->pin(argv[2]);
    return pinned ? EXIT_SUCCESS : complain(pinned.error());
}
