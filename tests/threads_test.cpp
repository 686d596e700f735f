// SPDX-License-Identifier: Apache-2.0
#include <nsjoin/join.hpp>

#include "engine_support.hpp"

#include <nsjoin/explain.hpp>

#include <atomic>
#include <thread>
#include <vector>

using nsjoin::Kind;

namespace {

/// Runs the plan again and again until the time is up; how many runs did not come out right.
auto run_until(std::chrono::steady_clock::time_point end, const nsjoin::Plan& plan) -> int {
    int bad = 0;
    while (std::chrono::steady_clock::now() < end) {
        auto side = support::clone(plan);
        if (side && side->is_child()) {
            ::_exit(7);
        }
        if (!side) {
            std::fprintf(stderr, "%s\n", nsjoin::explain(side.error()).c_str());
            return bad + 1;
        }
        const auto status = side->child().wait();
        bad += status && status->exit_code() == 7 ? 0 : 1;
    }
    return bad;
}

} // namespace

// Joins clear the dumpable flag of the whole process for a while; the files in /proc that creating
// a user namespace needs belong to root then, which an unprivileged caller is not.
TEST_CASE("sixteen unprivileged threads join and create at the same time") {
    CHECK(support::as_user(1000, [] {
              const support::Container container{nsjoin::KindSet{nsjoin::all_kinds} - Kind::time};
              CHILD_CHECK(container.ok());
              const auto target = nsjoin::PidFd::open(container.pid());
              CHILD_CHECK(target);
              const nsjoin::Plan join = nsjoin::JoinPlan{}.join(*target, nsjoin::all_kinds);
              const nsjoin::Plan create =
                  nsjoin::JoinPlan{}
                      .create(nsjoin::NewUser{.uids = {{0, 1000, 1}}, .gids = {{0, 1000, 1}}})
                      .create<Kind::mount, Kind::uts>()
                      .oom_score_adj(500);
              const support::NothingLeft nothing_left;
              std::atomic<int> bad{0};
              std::vector<std::thread> threads;
              const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{2};
              for (int i = 0; i < 16; ++i) {
                  threads.emplace_back(
                      [&, i] { bad += run_until(end, i % 2 == 0 ? join : create); });
              }
              for (std::thread& thread : threads) {
                  thread.join();
              }
              CHILD_CHECK(bad == 0);
              CHILD_CHECK(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
              CHILD_CHECK(nothing_left.holds());
              return 0;
          }) == 0);
}
