// SPDX-License-Identifier: Apache-2.0
// job SECONDS COMMAND [ARGUMENT...]: runs a command in a pid namespace of its own, prints what it
// writes, and ends it and all that it started when the time is over.
#include <nsjoin/explain.hpp>
#include <nsjoin/pipe.hpp>
#include <nsjoin/spawn.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <unistd.h>

using Clock = std::chrono::steady_clock;

static auto left_until(Clock::time_point end) -> std::chrono::milliseconds {
    return std::max(std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()), {});
}

/// Prints what comes, until its end or that of the time.
static void print(int pipe, Clock::time_point end) {
    std::array<char, 4096> text{};
    pollfd entry{pipe, POLLIN, 0};
    for (ssize_t length = 1;
         length > 0 && poll(&entry, 1, static_cast<int>(left_until(end).count())) > 0;) {
        length = read(pipe, text.data(), text.size());
        (void)!write(STDOUT_FILENO, text.data(), length < 0 ? 0 : static_cast<std::size_t>(length));
    }
}

auto main(int argc, char** argv) -> int {
    const std::chrono::seconds limit{argc < 3 ? 0 : std::atoi(argv[1])};
    auto pipe = nsjoin::Pipe::open();
    if (limit.count() < 1 || !pipe) {
        std::fputs("usage: job SECONDS COMMAND [ARGUMENT...]\n", stderr);
        return EXIT_FAILURE;
    }
    const std::array<nsjoin::PassedFd, 1> passed{{{pipe->write_end, STDOUT_FILENO}}};
    const auto end = Clock::now() + limit;
    const auto child = nsjoin::join_and_exec(
        nsjoin::JoinPlan{}.create<nsjoin::Kind::pid>().death_signal(SIGKILL),
        {.program = nsjoin::Program::in_path(argv[2], "/usr/sbin:/usr/bin:/sbin:/bin"),
         .arguments = argv + 2,
         .descriptors = passed});
    pipe->write_end.reset();
    if (!child) {
        std::fprintf(stderr, "job: %s\n", nsjoin::explain(child.error()).c_str());
        return EXIT_FAILURE;
    }
    print(pipe->read_end.get(), end);
    if (!child->wait(left_until(end))) {
        (void)child->send_signal(SIGKILL); // it is pid 1 inside: all others end with it
        std::fputs("job: the time is over\n", stderr);
    }
    const auto status = child->wait();
    return status ? status->exit_code() : EXIT_FAILURE;
}
