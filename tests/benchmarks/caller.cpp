// SPDX-License-Identifier: Apache-2.0
#include "caller.hpp"

#include <algorithm>
#include <barrier>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace bench {
namespace {

struct Request {
    Job job = nullptr;
    nsjoin::KindSet kinds;
    int times = 0;
    int at_once = 0;
};

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

/// Memory that the kernel can't back with huge pages: the page tables are what a copy costs.
auto touch(std::size_t megabytes) -> bool {
    if (megabytes <= 2) {
        return true; // what any such process has
    }
    const std::size_t size = megabytes * mebibyte;
    void* const memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ::madvise(memory, size, MADV_NOHUGEPAGE) != 0) {
        return false;
    }
    auto* const bytes = static_cast<volatile char*>(memory);
    for (std::size_t at = 0; at < size; at += 4096) {
        bytes[at] = 1;
    }
    return true;
}

auto open_descriptors(int count) -> bool {
    const rlim_t wanted = std::max<rlim_t>(static_cast<rlim_t>(count) + 100, 4096);
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        limit.rlim_max = std::max(limit.rlim_max, wanted);
        if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            return false;
        }
    }
    int last = -1;
    do {
        last = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    } while (last >= 0 && last + 1 < count);
    return last >= 0;
}

void start_threads(int count) {
    for (int i = 1; i < count; ++i) {
        std::thread{[] {
            for (;;) {
                ::pause();
            }
        }}.detach();
    }
}

auto alone(const Request& request) -> Nanoseconds {
    std::vector<Nanoseconds> samples;
    for (int i = 0; i < request.times; ++i) {
        const Nanoseconds sample = request.job(request.kinds);
        if (sample < 0) {
            return failed;
        }
        samples.push_back(sample);
    }
    const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
    std::nth_element(samples.begin(), middle, samples.end());
    return *middle;
}

auto together(const Request& request) -> Nanoseconds {
    std::barrier start{request.at_once + 1};
    std::atomic<bool> good{true};
    std::vector<std::thread> threads;
    for (int i = 0; i < request.at_once; ++i) {
        threads.emplace_back([&] {
            start.arrive_and_wait();
            for (int n = 0; n < request.times; ++n) {
                if (request.job(request.kinds) < 0) {
                    good = false;
                }
            }
        });
    }
    const Nanoseconds all = timed([&] {
        start.arrive_and_wait();
        for (std::thread& thread : threads) {
            thread.join();
        }
        return good.load();
    });
    return all < 0 ? failed : all / (request.at_once * request.times);
}

[[noreturn]] void serve(int channel) {
    for (;;) {
        Request request;
        if (::read(channel, &request, sizeof request) != sizeof request) {
            ::_exit(0);
        }
        const Nanoseconds result = request.at_once > 1 ? together(request) : alone(request);
        if (::write(channel, &result, sizeof result) != sizeof result) {
            ::_exit(1);
        }
    }
}

} // namespace

Caller::Caller(const Likeness& likeness) {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return;
    }
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        // Not those of the other callers, so that each has as many as it is said to have.
        const int channel = ::dup2(ends[1], 3);
        ::fcntl(channel, F_SETFD, FD_CLOEXEC);
        ::close_range(4, ~0U, 0);
        bool good = touch(likeness.megabytes) && open_descriptors(likeness.descriptors);
        start_threads(likeness.threads);
        good = good && (likeness.prepare == nullptr || likeness.prepare());
        if (::write(channel, &good, sizeof good) != sizeof good || !good) {
            ::_exit(1);
        }
        serve(channel);
    }
    ::close(ends[1]);
    channel_ = ends[0];
    bool good = false;
    ready_ = pid_ > 0 && ::read(channel_, &good, sizeof good) == sizeof good && good;
}

Caller::~Caller() {
    if (channel_ >= 0) {
        ::close(channel_);
    }
    if (pid_ > 0) {
        ::waitpid(pid_, nullptr, 0);
    }
}

auto Caller::measure(Job job, nsjoin::KindSet kinds, int times, int at_once)
    -> std::optional<Nanoseconds> {
    const Request request{job, kinds, times, at_once};
    Nanoseconds result = failed;
    if (::write(channel_, &request, sizeof request) != sizeof request ||
        ::read(channel_, &result, sizeof result) != sizeof result || result < 0) {
        return std::nullopt;
    }
    return result;
}

auto fits(std::size_t megabytes) -> bool {
    std::ifstream file{"/proc/meminfo"};
    std::string word;
    std::size_t kibibytes = 0;
    while (file >> word && word != "MemAvailable:") {
    }
    file >> kibibytes;
    return kibibytes / 1024 > megabytes + 256;
}

} // namespace bench
