// SPDX-License-Identifier: Apache-2.0
// many_networks COUNT: makes network namespaces, and lets eight threads look into all of them.
#include <nsjoin/explain.hpp>
#include <nsjoin/join_here.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <net/if.h>
#include <sched.h>
#include <thread>
#include <vector>

using Network = nsjoin::NamespaceFd<nsjoin::Kind::net>;

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "many_networks: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

/// In a thread of its own, which does not come back from the last of them.
static auto make(std::size_t count) -> std::vector<Network> {
    std::vector<Network> networks;
    std::thread{[&] {
        while (networks.size() < count && unshare(CLONE_NEWNET) == 0) {
            auto own = Network::own();
            if (!own) {
                return;
            }
            networks.push_back(*std::move(own));
        }
    }}.join();
    return networks;
}

auto main(int argc, char** argv) -> int {
    const auto home = nsjoin::Home<nsjoin::Kind::net>::open();
    if (!home) {
        return complain(home.error());
    }
    const auto networks = make(argc < 2 ? 100 : static_cast<std::size_t>(std::atoi(argv[1])));
    std::atomic<int> loopbacks{0};
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads(8);
    for (std::thread& thread : threads) {
        thread = std::thread([&] {
            for (std::size_t at = next++; at < networks.size(); at = next++) {
                const auto visit = nsjoin::join_here(*home, networks[at]);
                loopbacks += visit && if_nametoindex("lo") == 1 ? 1 : 0;
            } // the thread is at home again
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::printf("%zu networks, and a loopback interface in %d\n", networks.size(),
                loopbacks.load());
    return EXIT_SUCCESS;
}
