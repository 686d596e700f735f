// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_CALLER_HPP
#define NSJOIN_BENCHMARKS_CALLER_HPP

#include "job.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <sys/types.h>

namespace bench {

/// What a caller is like before it calls.
struct Likeness {
    std::size_t megabytes = 2; ///< touched memory, in pages of 4 KiB
    int threads = 1;
    int descriptors = 10;
    /// What else it does before it is ready; whether that went well.
    bool (*prepare)() = nullptr;
};

/// A process that does jobs when told, so that all likenesses take part in one run. Ends with this
/// object.
class Caller {
  public:
    explicit Caller(const Likeness& likeness);
    Caller(const Caller&) = delete;
    Caller(Caller&&) = delete;
    auto operator=(const Caller&) -> Caller& = delete;
    auto operator=(Caller&&) -> Caller& = delete;
    ~Caller();

    /// Whether it could be made like that.
    [[nodiscard]] auto ok() const -> bool { return ready_; }

    /// Does the job `times` times and returns the median. With `at_once` threads that do so at the
    /// same time: what one job takes of all their time.
    [[nodiscard]] auto measure(Job job, nsjoin::KindSet kinds, int times, int at_once = 1)
        -> std::optional<Nanoseconds>;

  private:
    int channel_ = -1;
    pid_t pid_ = -1;
    bool ready_ = false;
};

/// Free memory for a caller of that size and the copies of its page tables?
[[nodiscard]] auto fits(std::size_t megabytes) -> bool;

} // namespace bench

#endif // NSJOIN_BENCHMARKS_CALLER_HPP
