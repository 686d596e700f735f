// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_JOIN_TASKS_HPP
#define NSJOIN_DETAIL_ENGINE_JOIN_TASKS_HPP

#include <nsjoin/detail/engine/task.hpp>

#include <cstddef>
#include <span>

namespace nsjoin::inline v0_1::detail {

/// Makes the tasks that join: what the caller has the rights over, then the user namespace, then
/// what that gives the rights over.
class JoinTasks {
  public:
    /// `order` has the steps that join, in their order.
    constexpr JoinTasks(const Outline& plan, const Facts& facts, std::span<const Step> order,
                        Schedule& schedule) noexcept
        : plan_{plan},
          facts_{facts},
          order_{order},
          schedule_{schedule},
          joining_{schedule.roles.joining} {}

    constexpr void add_all() noexcept {
        if (joining_.empty()) {
            return;
        }
        if (facts_.join_by == JoinBy::one_call) {
            add(*joining_.begin(), joining_, true, false);
            return;
        }
        add_part(false);
        if (joining_.contains(Kind::user)) {
            add_user();
        }
        // Without a user namespace nothing will give the rights: let the kernel say what it has
        // against each.
        add_part(true);
    }

  private:
    constexpr void add(Kind first, KindSet kinds, bool by_pidfd, bool may_wait) noexcept {
        const bool opened = !by_pidfd && plan_.by_target(first);
        schedule_.add({join_step(first), schedule_.roles.first_process(),
                       by_pidfd ? Call::setns_pidfd : Call::setns_space, kinds,
                       opened ? Slot::opened(first) : Slot::of_plan(first), may_wait});
    }

    /// Whether the kind is joined by the very call that joins the user namespace: not if the mount
    /// namespace, which is another target's, is joined before that, and the kind can be too.
    [[nodiscard]] constexpr auto with_user(Kind kind) const noexcept -> bool {
        const bool mount_before = joining_.contains(Kind::mount) &&
                                  !plan_.same_target(Kind::mount, Kind::user) &&
                                  !(facts_.after_user | facts_.untold).contains(Kind::mount);
        return facts_.join_by == JoinBy::target && joining_.contains(Kind::user) &&
               plan_.same_target(kind, Kind::user) &&
               (kind == Kind::user || !mount_before || facts_.after_user.contains(kind));
    }

    constexpr void add_user() noexcept {
        KindSet kinds = Kind::user;
        for (const Kind kind : joining_) {
            kinds = with_user(kind) ? kinds | kind : kinds;
        }
        const bool by_pidfd = facts_.join_by == JoinBy::target && plan_.by_target(Kind::user);
        add(Kind::user, kinds, by_pidfd, false);
    }

    /// The kinds before the user namespace, or those after it: the rights move none but that one.
    constexpr void add_part(bool after) noexcept {
        const std::size_t begin = schedule_.count;
        for (const Step step : order_) {
            if (!is_join(step)) {
                continue;
            }
            const Kind kind = join_kind(step);
            if (!joining_.contains(kind) || kind == Kind::user || with_user(kind)) {
                continue;
            }
            const bool untold = facts_.untold.contains(kind);
            const bool twice = untold && joining_.contains(Kind::user);
            if (twice || (untold ? !after : facts_.after_user.contains(kind) == after)) {
                add_or_merge(begin, kind, twice && !after);
            }
        }
    }

    constexpr void add_or_merge(std::size_t begin, Kind kind, bool may_wait) noexcept {
        const bool by_pidfd =
            facts_.join_by == JoinBy::target && plan_.by_target(kind) && !may_wait;
        for (std::size_t i = begin; by_pidfd && i < schedule_.count; ++i) {
            Task task = schedule_.list[i];
            if (task.call == Call::setns_pidfd && plan_.same_target(kind, task.slot.kind())) {
                // The last kind that there is, a mount namespace, takes its call to the end.
                for (; kind == Kind::mount && i + 1 < schedule_.count; ++i) {
                    schedule_.list[i] = schedule_.list[i + 1];
                }
                task.kinds = task.kinds | kind;
                schedule_.list[i] = task;
                return;
            }
        }
        add(kind, kind, by_pidfd, may_wait);
    }

    const Outline& plan_;
    const Facts& facts_;
    std::span<const Step> order_;
    Schedule& schedule_;
    KindSet joining_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_JOIN_TASKS_HPP
