// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BENCHMARKS_COPY_HPP
#define NSJOIN_BENCHMARKS_COPY_HPP

#include "job.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {

/// A page that this process and the copies of it share.
inline auto shared_number() -> Nanoseconds& {
    static auto* const page = static_cast<Nanoseconds*>(::mmap(
        nullptr, sizeof(Nanoseconds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    return *page;
}

/// Does `work` in a copy of this process, and says how long that alone took.
template <typename Work>
auto timed_in_copy(const Work& work) -> Nanoseconds {
    Nanoseconds& result = shared_number();
    result = failed;
    const pid_t pid = ::fork();
    if (pid == 0) {
        result = timed(work);
        ::_exit(0);
    }
    return pid > 0 && ::waitpid(pid, nullptr, 0) == pid ? result : failed;
}

} // namespace bench

#endif // NSJOIN_BENCHMARKS_COPY_HPP
