// SPDX-License-Identifier: Apache-2.0
// big_program MEGABYTES PID: a program of that size, four threads of which start programs in the
// namespaces of a process, at the cost that a small one has.
#include <nsjoin/explain.hpp>
#include <nsjoin/launcher.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

NSJOIN_LAUNCHER();

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "big_program: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    if (argc != 3) {
        std::fputs("usage: big_program MEGABYTES PID\n", stderr);
        return EXIT_FAILURE;
    }
    auto launcher = nsjoin::Launcher::start();
    const auto target = nsjoin::PidFd::open(std::atoi(argv[2]));
    if (!launcher || !target) {
        return complain(launcher ? target.error() : launcher.error());
    }
    const std::vector<char> memory(static_cast<std::size_t>(std::atoi(argv[1])) << 20U, 'x');
    const auto plan = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
    const std::array<const char*, 2> words{"true", nullptr};
    std::atomic<int> good{0};
    std::vector<std::thread> threads(4);
    for (std::thread& thread : threads) {
        thread = std::thread([&] {
            for (int turn = 0; turn < 25; ++turn) {
                const auto child = launcher->exec(
                    plan, {.program = nsjoin::Program::at("/bin/true"), .arguments = words});
                const auto status = child ? child->wait() : nsjoin::Unexpected{child.error()};
                good += status && status->exit_code() == 0 ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::printf("%d programs ran, beside %zu MB\n", good.load(), memory.size() >> 20U);
    return good == 100 ? EXIT_SUCCESS : EXIT_FAILURE;
}
