// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_SOAK_TARGETS_HPP
#define NSJOIN_TESTS_SOAK_TARGETS_HPP

#include "../engine_support.hpp"

#include <array>
#include <memory>
#include <mutex>
#include <random>
#include <set>

// The processes whose namespaces are joined, some of which die at any time.

namespace soak {

using Random = std::mt19937_64;

inline auto below(Random& random, std::uint64_t limit) -> std::uint64_t {
    return std::uniform_int_distribution<std::uint64_t>{0, limit - 1}(random);
}

inline auto one_of(Random& random, std::uint64_t count) -> bool {
    return below(random, count) == 0;
}

using Inodes = std::array<ino_t, nsjoin::kind_count>;

/// The namespace of a process, or 0. Safe in a child of a program with threads.
inline auto inode_of(const char* process, nsjoin::Kind kind) -> ino_t {
    const auto path = nsjoin::detail::SmallPath{"/proc/"}.append(process).append("/ns/").append(
        nsjoin::facts(kind).name);

    struct stat about {};

    return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

struct Target {
    nsjoin::PidFd process;
    nsjoin::KindSet kinds;
    Inodes inodes{};
    bool mortal = false;
};

/// A process that pauses in new namespaces of those kinds; null if it could not be made.
inline auto make_target(nsjoin::KindSet kinds, bool mortal) -> std::shared_ptr<Target> {
    nsjoin::Draft draft;
    draft.created = kinds;
    if (kinds.contains(nsjoin::Kind::user)) {
        draft.maps = support::own_root();
    }
    const auto plan = nsjoin::Plan::from(draft);
    auto side = plan ? nsjoin::join_and_clone(*plan)
                     : nsjoin::Result<nsjoin::Side>{nsjoin::Unexpected{plan.error()}};
    if (!side) {
        return nullptr;
    }
    if (side->is_child()) {
        // What other threads had open is theirs.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        (void)::syscall(SYS_close_range, 3U, ~0U, 0U);
        while (true) {
            ::pause();
        }
    }
    auto target = std::make_shared<Target>(Target{std::move(side->child()), kinds, {}, mortal});
    const std::string pid = std::to_string(target->process.pid());
    for (const nsjoin::Kind kind : kinds) {
        target->inodes[static_cast<std::size_t>(kind)] = inode_of(pid.c_str(), kind);
    }
    return target;
}

class Targets {
  public:
    static constexpr std::size_t count = 8;

    Targets() {
        for (std::size_t i = 0; i < count; ++i) {
            list_[i] = make_target(kinds_of(i), i % 2 == 1);
            remember(list_[i], true);
        }
    }

    Targets(const Targets&) = delete;
    Targets(Targets&&) = delete;
    auto operator=(const Targets&) -> Targets& = delete;
    auto operator=(Targets&&) -> Targets& = delete;

    ~Targets() {
        for (std::size_t i = 0; i < count; ++i) {
            end(list_[i]);
        }
    }

    [[nodiscard]] auto ok() const -> bool {
        return std::all_of(list_.begin(), list_.end(), [](const auto& one) { return one; });
    }

    [[nodiscard]] auto pick(Random& random) -> std::shared_ptr<Target> {
        const std::lock_guard lock{mutex_};
        return list_[below(random, count)];
    }

    /// Ends one that may die, and makes another one in its place.
    void replace(Random& random) {
        const std::size_t i = 1 + 2 * below(random, count / 2);
        auto next = make_target(kinds_of(i), true);
        if (!next) {
            return;
        }
        std::unique_lock lock{mutex_};
        std::swap(list_[i], next);
        remember(list_[i], true);
        lock.unlock();
        end(next);
        lock.lock();
        remember(next, false);
    }

    [[nodiscard]] auto has(pid_t pid) -> bool {
        const std::lock_guard lock{mutex_};
        return pids_.contains(pid);
    }

  private:
    [[nodiscard]] static auto kinds_of(std::size_t i) -> nsjoin::KindSet {
        using nsjoin::Kind;
        const nsjoin::KindSet all = nsjoin::KindSet{nsjoin::all_kinds};
        switch (i / 2) {
        case 0:
            return all - Kind::user - Kind::time;
        case 1:
            return all - Kind::time;
        case 2:
            return Kind::net | Kind::uts;
        default:
            return all;
        }
    }

    void remember(const std::shared_ptr<Target>& target, bool lives) {
        if (target && lives) {
            pids_.insert(target->process.pid());
        } else if (target) {
            pids_.erase(target->process.pid());
        }
    }

    static void end(const std::shared_ptr<Target>& target) {
        if (target) {
            (void)target->process.send_signal(SIGKILL);
            while (!target->process.wait() && errno == EINTR) {
            }
        }
    }

    std::mutex mutex_;
    std::array<std::shared_ptr<Target>, count> list_;
    std::set<pid_t> pids_;
};

} // namespace soak

#endif // NSJOIN_TESTS_SOAK_TARGETS_HPP
