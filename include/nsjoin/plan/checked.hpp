// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_PLAN_CHECKED_HPP
#define NSJOIN_PLAN_CHECKED_HPP

#include <nsjoin/plan/draft.hpp>

#include <span>
#include <string_view>
#include <utility>

namespace nsjoin::inline v0_1 {

namespace detail {

[[nodiscard]] inline auto check_shape(const Draft& draft) noexcept -> Result<void> {
    const auto broken = [](Reason reason, KindSet kinds) {
        Subject subject;
        for (const Kind kind : kinds) {
            subject.append(subject.view().empty() ? "" : ", ").append(facts(kind).name);
        }
        return Unexpected{Error{Step::check_plan, reason, 0, subject}};
    };
    if (!draft.joined_twice.empty()) {
        return broken(Reason::joined_twice, draft.joined_twice);
    }
    if (draft.joined().intersects(draft.created)) {
        return broken(Reason::joined_and_created, draft.joined() & draft.created);
    }
    if (draft.maps && !draft.created.contains(Kind::user)) {
        return broken(Reason::maps_without_user, Kind::user);
    }
    if (draft.time_offsets && !draft.created.contains(Kind::time)) {
        return broken(Reason::offsets_without_time, Kind::time);
    }
    return {};
}

[[nodiscard]] inline auto check_mapped(const NewUser& maps, const Credentials& ids) noexcept
    -> Result<void> {
    if (ids.uid && !maps.uids.maps(*ids.uid)) {
        return id_error(Step::check_plan, -EINVAL, "uid ", *ids.uid);
    }
    if (ids.gid && !maps.gids.maps(*ids.gid)) {
        return id_error(Step::check_plan, -EINVAL, "gid ", *ids.gid);
    }
    for (const gid_t gid : ids.groups.ids()) {
        if (!maps.gids.maps(gid)) {
            return id_error(Step::check_plan, -EINVAL, "supplementary gid ", gid);
        }
    }
    if (!ids.groups.kept() && !ids.groups.dropped() && maps.setgroups == Setgroups::deny) {
        return fail(Step::check_plan, Reason::groups_denied);
    }
    return {};
}

[[nodiscard]] inline auto check_mount_sources(const Draft& draft) noexcept -> Result<void> {
    const std::span<const MountSource> list = draft.mount_sources.list;
    const auto refused = [](std::string_view why, std::string_view path) {
        return fail(Step::check_plan, Reason::bad_value, Subject{why}.append(path).view());
    };
    if (!list.empty() && !draft.created.contains(Kind::mount)) {
        return refused("mount sources without a new mount namespace", {});
    }
    for (auto source = list.begin(); source != list.end(); ++source) {
        if (!source->path.starts_with('/')) {
            return refused("a mount source is an absolute path, not ", source->path);
        }
        if (source->path.find('\0') != std::string_view::npos) {
            return refused("a path has no NUL: the mount source ", source->path.data());
        }
        if (source->number < 0) {
            return refused("no descriptor's number is given for the mount source ", source->path);
        }
        for (auto other = list.begin(); other != source; ++other) {
            if (other->number == source->number) {
                return refused("another one has the descriptor's number of the mount source ",
                               source->path);
            }
        }
    }
    return {};
}

[[nodiscard]] inline auto out_of_range(std::string_view what, std::int64_t value) noexcept
    -> Unexpected {
    Subject subject{what};
    subject.append(value);
    return Unexpected{Error{Step::check_plan, Reason::bad_value, 0, subject}};
}

[[nodiscard]] inline auto check_ids(const Draft& draft) noexcept -> Result<void> {
    constexpr std::uint32_t no_change = 0xFFFF'FFFF; // what setresuid(2) takes it for
    if (!draft.credentials) {
        return {};
    }
    if (draft.credentials->uid == no_change) {
        return out_of_range("no user has uid ", no_change);
    }
    if (draft.credentials->gid == no_change) {
        return out_of_range("no group has gid ", no_change);
    }
    return check_group_count(Step::check_plan, draft.credentials->groups);
}

[[nodiscard]] inline auto refused(std::string_view why) noexcept -> Unexpected {
    return fail(Step::check_plan, Reason::bad_value, why);
}

/// A path that a child copies before it uses it.
[[nodiscard]] inline auto is_path(std::string_view path) noexcept -> bool {
    constexpr std::size_t longest = 4095;
    bool has_nul = false;
    for (const char c : path) {
        has_nul = has_nul || c == '\0';
    }
    return !path.empty() && path.size() <= longest && !has_nul;
}

/// What is done inside to a namespace that has to be the child's own, or the target's.
[[nodiscard]] inline auto check_inside(const Draft& draft) noexcept -> Result<void> {
    const KindSet inside = draft.created | draft.joined();
    const bool mounts = draft.created.contains(Kind::mount);
    if (!(draft.host_name.empty() && draft.domain_name.empty()) && !inside.contains(Kind::uts)) {
        return refused("a host or domain name without a new or joined UTS namespace");
    }
    if (draft.loopback_up && !draft.created.contains(Kind::net)) {
        return refused("a loopback interface to bring up without a new network namespace");
    }
    if ((draft.new_root || draft.proc) && !mounts) {
        return refused("a root mount or a /proc without a new mount namespace");
    }
    const bool changes_root = draft.root.ok() || draft.root_path;
    if ((changes_root && draft.new_root) || (draft.root.ok() && draft.root_path)) {
        return refused("two root directories");
    }
    if (draft.working_directory.ok() && draft.working_directory_path) {
        return refused("two working directories");
    }
    for (const std::optional<std::string_view>& path :
         {draft.root_path, draft.new_root, draft.proc, draft.working_directory_path}) {
        if (path && !is_path(*path)) {
            return refused("a path has 1 to 4095 bytes and no NUL");
        }
    }
    return {};
}

/// What a process may have of the five sets.
[[nodiscard]] inline auto check_capabilities(const Capabilities& wanted) noexcept -> Result<void> {
    const auto lacks = [](std::string_view what, CapabilitySet missing) {
        return refused(Subject{what}.append(name_of(missing.first())).view());
    };
    if (!wanted.permitted.contains(wanted.effective)) {
        return lacks("effective and not permitted: ", wanted.effective - wanted.permitted);
    }
    const CapabilitySet both = wanted.permitted & wanted.inheritable;
    return both.contains(wanted.ambient)
               ? Result<void>{}
               : lacks("ambient and not both permitted and inheritable: ", wanted.ambient - both);
}

[[nodiscard]] inline auto check_process(const Draft& draft) noexcept -> Result<void> {
    if (draft.umask && *draft.umask > 0777) {
        return out_of_range("a umask is 0 to 0777 (511), not ", *draft.umask);
    }
    if (draft.priority && (*draft.priority < -20 || *draft.priority > 19)) {
        return out_of_range("a nice value is -20 to 19, not ", *draft.priority);
    }
    if (draft.cpu_affinity && draft.cpu_affinity->empty()) {
        return refused("a CPU affinity names a processor at least");
    }
    constexpr std::size_t longest = 4096; // BPF_MAXINSNS
    if (draft.filter && (draft.filter->code.empty() || draft.filter->code.size() > longest)) {
        return refused("a seccomp filter has 1 to 4096 instructions");
    }
    return draft.capabilities ? check_capabilities(*draft.capabilities) : Result<void>{};
}

/// The values of what a child furnishes.
[[nodiscard]] inline auto check_furniture(const Draft& draft) noexcept -> Result<void> {
    Result<void> inside = check_inside(draft);
    return inside ? check_process(draft) : inside;
}

/// What is borrowed has to be open: a child without its root or its limits would be the other case.
[[nodiscard]] inline auto check_borrowed(const Draft& draft) noexcept -> Result<void> {
    bool open = !draft.not_open;
    bool before = draft.cgroup.ok();
    for (const BorrowedFd more : draft.more_cgroups) {
        open = open && (before || !more.ok());
        before = more.ok();
    }
    return open ? Result<void>{}
                : refused("a root, directory, console or cgroup that is no open descriptor");
}

/// The other values.
[[nodiscard]] inline auto check_most_values(const Draft& draft) noexcept -> Result<void> {
    if (draft.oom_score_adj && (*draft.oom_score_adj < -1000 || *draft.oom_score_adj > 1000)) {
        return out_of_range("oom_score_adj is -1000 to 1000, not ", *draft.oom_score_adj);
    }
    if (draft.too_many_cgroups) {
        return refused("a plan has 16 cgroups at most, one of each hierarchy");
    }
    if (draft.death_signal < 0 || draft.death_signal > 64) {
        return out_of_range("a signal is 1 to 64, not ", draft.death_signal);
    }
    if (draft.deadline.count() < 0) {
        return out_of_range("a deadline is 0 ns or more, not ", draft.deadline.count());
    }
    if (draft.propagation != Propagation::private_ && !draft.created.contains(Kind::mount)) {
        return refused("a propagation without a new mount namespace");
    }
    if (const Result<void> sources = check_mount_sources(draft); !sources) {
        return sources;
    }
    Result<void> ids = check_ids(draft);
    if (ids && draft.credentials && draft.maps) {
        ids = check_mapped(*draft.maps, *draft.credentials);
    }
    return ids;
}

[[nodiscard]] inline auto check_values(const Draft& draft) noexcept -> Result<void> {
    Result<void> done = check_borrowed(draft);
    done = done ? check_most_values(draft) : done;
    return done ? check_furniture(draft) : done;
}

struct PlanAccess;

} // namespace detail

/// Everything that is to happen, as data that keeps the rules: no kind is joined twice or both
/// joined and created, maps and offsets go with the namespace that takes them, each value is in its
/// range. A value: it can be kept, copied, compared, explained and run again, by several threads at
/// once, as nothing changes it. It borrows its
/// descriptors, which must stay open as long as it is used.
class Plan {
  public:
    /// Checks a draft. Errors, all of Step::check_plan: joined_twice, joined_and_created,
    /// maps_without_user, offsets_without_time, id_not_mapped, groups_denied, bad_value.
    [[nodiscard]] static auto from(Draft draft) noexcept -> Result<Plan> {
        Result<void> checked = detail::check_shape(draft);
        if (checked) {
            checked = detail::check_values(draft);
        }
        if (!checked) {
            return Unexpected{checked.error()};
        }
        return Plan{std::move(draft)};
    }

    /// What the plan says.
    [[nodiscard]] auto parts() const noexcept -> const Draft& { return draft_; }

    [[nodiscard]] friend auto operator==(const Plan&, const Plan&) noexcept -> bool = default;

  private:
    friend struct detail::PlanAccess;

    explicit Plan(Draft draft) noexcept : draft_{std::move(draft)} {}

    Draft draft_;
};

} // namespace nsjoin

#endif // NSJOIN_PLAN_CHECKED_HPP
