// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_OUTLINE_HPP
#define NSJOIN_DETAIL_ENGINE_OUTLINE_HPP

#include <nsjoin/plan.hpp>

#include <array>
#include <cstdint>

namespace nsjoin::inline v0_1::detail {

/// What a plan says, without its values: all that its schedule depends on. A value, usable in
/// constant expressions.
struct Outline {
    KindSet joined{};
    KindSet created{};
    /// By kind: the number of the target that it comes from, from 1; 0 for a descriptor of its own.
    std::array<std::uint8_t, kind_count> targets{};
    /// The steps that the plan asks for, by whatever values it has for them.
    StepSet said{};
    SessionKeyring session_keyring = SessionKeyring::automatic;
    bool root_mapped = false; ///< the id maps have id 0
    bool ids = false;         ///< which ids the child takes is said
    bool keep_ids = false;
    bool keep_capabilities = false;
    bool callers_parent = false; ///< ChildOf::callers_parent
    bool deadline = false;
    bool more_cgroups = false; ///< than one
    bool program = false;      ///< the child becomes a program
    bool lends_memory = false; ///< a process that others can reach may run on the caller's memory

    /// Whether the kind comes from a target, by its pidfd.
    [[nodiscard]] constexpr auto by_target(Kind kind) const noexcept -> bool {
        return targets[static_cast<std::size_t>(kind)] != 0;
    }

    /// Whether both kinds come from the same target.
    [[nodiscard]] constexpr auto same_target(Kind a, Kind b) const noexcept -> bool {
        return by_target(a) &&
               targets[static_cast<std::size_t>(a)] == targets[static_cast<std::size_t>(b)];
    }

    /// Whether all that is joined comes from one target.
    [[nodiscard]] constexpr auto single_target() const noexcept -> bool {
        for (const Kind kind : joined) {
            if (!same_target(kind, *joined.begin())) {
                return false;
            }
        }
        return !joined.empty();
    }
};

/// The numbers of the targets: kinds with the same pidfd have the same one.
inline void number_targets(const Draft& plan, Outline& outline) noexcept {
    std::uint8_t last = 0;
    for (const Kind kind : outline.joined) {
        const JoinSource& source = plan.source(kind);
        if (source.from != JoinSource::From::target) {
            continue;
        }
        std::uint8_t& number = outline.targets[static_cast<std::size_t>(kind)];
        for (const Kind earlier : outline.joined) {
            if (earlier < kind && outline.by_target(earlier) &&
                plan.source(earlier).fd == source.fd) {
                number = outline.targets[static_cast<std::size_t>(earlier)];
            }
        }
        if (number == 0) {
            number = ++last;
        }
    }
}

[[nodiscard]] inline auto outline_of(const Draft& plan) noexcept -> Outline {
    Outline outline;
    outline.joined = plan.joined();
    outline.created = plan.created;
    number_targets(plan, outline);
    StepSet& said = outline.said;
    said.set(Step::enter_cgroup, plan.cgroup.ok());
    said.set(Step::set_oom_score_adj, plan.oom_score_adj.has_value());
    said.set(Step::write_time_offsets, plan.time_offsets.has_value());
    said.set(Step::take_mount_sources, !plan.mount_sources.list.empty());
    said.set(Step::set_propagation,
             plan.created.contains(Kind::mount) && plan.propagation != Propagation::unchanged);
    said.set(Step::new_session, plan.new_session || plan.console.ok());
    said.set(Step::set_console, plan.console.ok());
    said.set(Step::set_root, plan.root.ok() || plan.root_path);
    said.set(Step::pivot_root, plan.new_root.has_value());
    said.set(Step::detach_old_root, plan.new_root.has_value());
    said.set(Step::mount_proc, plan.proc.has_value());
    said.set(Step::set_working_directory,
             plan.working_directory.ok() || plan.working_directory_path);
    said.set(Step::set_name, !plan.name.empty());
    said.set(Step::set_host_name, !plan.host_name.empty());
    said.set(Step::set_domain_name, !plan.domain_name.empty());
    said.set(Step::bring_up_loopback, plan.loopback_up);
    said.set(Step::set_umask, plan.umask.has_value());
    said.set(Step::set_cpu_affinity, plan.cpu_affinity.has_value());
    said.set(Step::set_priority, plan.priority.has_value());
    said.set(Step::limit_capabilities, plan.capabilities.has_value());
    said.set(Step::set_capabilities, plan.capabilities.has_value());
    said.set(Step::install_filter, plan.filter.has_value());
    said.set(Step::set_no_new_privileges, plan.no_new_privileges);
    said.set(Step::set_death_signal, plan.death_signal != 0);
    said.set(Step::call_inside, plan.inside.ok());
    said.set(Step::call_last, plan.last.ok());
    if (plan.maps) {
        said.set(Step::await_maps);
        said.set(Step::write_uid_map, !plan.maps->uids.empty());
        said.set(Step::write_gid_map, !plan.maps->gids.empty());
        outline.root_mapped = plan.maps->uids.maps(0) && plan.maps->gids.maps(0);
    }
    if (plan.credentials) {
        outline.ids = true;
        said.set(Step::set_groups, !plan.credentials->groups.kept());
        said.set(Step::drop_groups, plan.credentials->groups.dropped());
        said.set(Step::set_gid, plan.credentials->gid.has_value());
        said.set(Step::set_uid, plan.credentials->uid.has_value());
    }
    outline.session_keyring = plan.session_keyring;
    outline.keep_ids = plan.keep_ids;
    outline.keep_capabilities = plan.keep_capabilities;
    outline.callers_parent = plan.child_of == ChildOf::callers_parent;
    outline.deadline = plan.deadline.count() != 0;
    outline.lends_memory = plan.lends_memory;
    outline.more_cgroups = plan.more_cgroups.front().ok();
    return outline;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_OUTLINE_HPP
