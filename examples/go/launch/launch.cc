// SPDX-License-Identifier: Apache-2.0
#include "launch.h"

#include <nsjoin/explain.hpp>
#include <nsjoin/launcher.hpp>

#include <array>
#include <cstdio>
#include <mutex>
#include <optional>
#include <vector>

NSJOIN_LAUNCHER();

namespace {

/// That of the program, started by the first who asks.
auto launcher() -> nsjoin::Result<nsjoin::Launcher>& {
    static nsjoin::Result<nsjoin::Launcher> started = nsjoin::Launcher::start();
    return started;
}

auto launch(const nsjoin_request& request) -> nsjoin::Result<nsjoin::PidFd> {
    nsjoin::Result<nsjoin::Launcher>& by = launcher();
    if (!by) {
        return nsjoin::Unexpected{by.error()};
    }
    const auto target = nsjoin::PidFd::open(request.target);
    if (!target) {
        return nsjoin::Unexpected{target.error()};
    }
    nsjoin::Draft draft;
    draft.join(*target, nsjoin::all_kinds);
    draft.deadline = nsjoin::Duration::nanoseconds(request.deadline);
    const auto plan = nsjoin::Plan::from(std::move(draft));
    if (!plan) {
        return nsjoin::Unexpected{plan.error()};
    }
    std::vector<nsjoin::PassedFd> passed;
    for (int number = 0; number < 3; ++number) {
        if (request.standard[number] >= 0) {
            passed.push_back({nsjoin::BorrowedFd{request.standard[number]}, number});
        }
    }
    return by->exec(*plan, {.program = nsjoin::Program::in_path(request.path, request.search),
                            .arguments = request.arguments,
                            .environment = nsjoin::WordList{request.environment},
                            .descriptors = passed});
}

} // namespace

int nsjoin_launch(const nsjoin_request* request, int* pid, char* error, size_t size) {
    auto child = launch(*request);
    if (!child) {
        std::snprintf(error, size, "%s", nsjoin::explain(child.error()).c_str());
        return -1;
    }
    *pid = child->pid();
    return child->release().release();
}
