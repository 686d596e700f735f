// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_BOOTSTRAP_MESSAGE_OF_PLAN_HPP
#define NSJOIN_BOOTSTRAP_MESSAGE_OF_PLAN_HPP

#include <nsjoin/bootstrap/encode.hpp>
#include <nsjoin/detail/engine/id_maps.hpp>
#include <nsjoin/detail/engine/namespaces.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace nsjoin::inline v0_1::detail {

/// What a plan becomes in a message: the texts, and the descriptors that they stand for. Another
/// process opens them as /proc/PID/fd/N of this one, so that they are pinned and it inherits none.
class MessageOfPlan {
  public:
    /// Errors: what the dialect can't say; those of opening the target's namespaces.
    [[nodiscard]] auto read(Dialect dialect, const Draft& plan) -> Result<void> {
        Result<void> done = check(dialect, plan);
        for (const Kind kind : plan.joined()) {
            done = done ? join(dialect, plan.source(kind), kind) : done;
        }
        if (!done) {
            return done;
        }
        message.created = plan.created;
        if (plan.maps) {
            message.uids.emplace(plan.maps->uids);
            message.gids.emplace(plan.maps->gids);
            message.setgroups_allowed = plan.maps->setgroups == Setgroups::allow;
            message.rootless = plan.maps->setgroups == Setgroups::deny;
        }
        message.oom_score_adj = plan.oom_score_adj;
        message.time_offsets = plan.time_offsets;
        message.newuidmap = mapping_program(dialect, plan, "newuidmap", newuidmap_);
        message.newgidmap = mapping_program(dialect, plan, "newgidmap", newgidmap_);
        for (const MountSource& source : plan.mount_sources.list) {
            mounts_.append(source.path).push_back('\0');
            mount_numbers.append(mount_numbers.empty() ? "[" : ",");
            mount_numbers.append(std::to_string(source.number));
        }
        mount_numbers.append(mount_numbers.empty() ? "" : "]");
        message.mount_sources = mounts_;
        if (plan.console.ok()) {
            console_ = own_path(plan.console);
            message.console = console_;
        }
        return {};
    }

    BootstrapMessage message;
    std::string mount_numbers; ///< as _LIBCONTAINER_MOUNT_FDS has them

  private:
    /// What no dialect, or not this one, has words for.
    [[nodiscard]] static auto check(Dialect dialect, const Draft& plan) -> Result<void> {
        const Credentials root{.uid = 0, .gid = 0, .groups = {}};
        const std::array<std::pair<bool, std::string_view>, 20> parts{{
            {plan.root.ok() || plan.root_path, "root directory"},
            {plan.working_directory.ok() || plan.working_directory_path, "working directory"},
            {plan.new_root.has_value(), "root mount"},
            {plan.proc.has_value(), "/proc"},
            {!plan.host_name.empty() || !plan.domain_name.empty(), "host or domain name"},
            {plan.loopback_up, "loopback interface"},
            {plan.umask.has_value(), "umask"},
            {plan.cpu_affinity || plan.priority, "CPU affinity or priority"},
            {plan.capabilities.has_value(), "capabilities"},
            {plan.filter.has_value(), "seccomp filter"},
            {plan.no_new_privileges, "no_new_privs"},
            {plan.inside.ok() || plan.last.ok(), "function to call inside"},
            {plan.cgroup.ok(), "cgroup"},
            {!plan.name.empty(), "process name"},
            {plan.death_signal != 0, "death signal"},
            {plan.propagation == Propagation::shared || plan.propagation == Propagation::slave,
             "propagation"},
            {plan.session_keyring == SessionKeyring::fresh, "session keyring"},
            {plan.keep_capabilities, "kept capabilities"},
            {plan.keep_ids, "kept ids"},
            {plan.credentials && (plan.credentials->uid != 0 || plan.credentials->gid != 0),
             "ids other than 0"},
        }};
        for (const auto& [there, name] : parts) {
            if (there) {
                return cannot_say(name, "no dialect has words for it");
            }
        }
        if (dialect == Dialect::environment &&
            (!single_target(plan).ok() || plan.joined() != KindSet{all_kinds})) {
            return cannot_say("joins", "the dialect joins every kind of one target");
        }
        if (plan.maps && (plan.maps->uids.empty() || plan.maps->gids.empty())) {
            return cannot_say("id maps", "a supervisor tells both of them or none");
        }
        if (plan.maps && dialect == Dialect::runc_2016 && plan.maps->setgroups == Setgroups::deny) {
            return cannot_say("setgroups", "the dialect can't deny it");
        }
        return {};
    }

    [[nodiscard]] auto join(Dialect dialect, const JoinSource& source, Kind kind) -> Result<void> {
        BorrowedFd space = source.fd;
        if (dialect == Dialect::environment) {
            return {};
        }
        if (source.from == JoinSource::From::target) {
            auto opened = open_target_namespace(source, kind);
            if (!opened) {
                return opened.error().reason == Reason::no_such_kind ? Result<void>{}
                                                                     : Unexpected{opened.error()};
            }
            if (is_own(kind, opened->get())) {
                return {};
            }
            spaces_[message.join_count] = *std::move(opened);
            space = spaces_[message.join_count].borrow();
        }
        if (kind == Kind::user && is_own(kind, space.get())) {
            return {}; // the program will be in it, and no dialect lets it join that
        }
        std::string& path = paths_[message.join_count];
        path = own_path(space);
        NamespacePath& entry = message.joins[message.join_count++];
        entry.path = path;
        if (facts(dialect).typed_paths) {
            entry.kind = kind;
        }
        return {};
    }

    /// What the message says of newuidmap(1) or newgidmap(1): a dialect that has words for a path
    /// does not look in PATH.
    [[nodiscard]] static auto mapping_program(Dialect dialect, const Draft& plan,
                                              std::string_view name, std::array<char, 4096>& path)
        -> std::string_view {
        if (const auto& named = helper_path(plan, name); named) {
            return *named;
        }
        if (!plan.maps || !facts(dialect).two_pids) {
            return {};
        }
        // Not found: the place that was looked at last, where the program finds none either.
        (void)find_program(name, path);
        return path.data();
    }

    [[nodiscard]] static auto own_path(BorrowedFd fd) -> std::string {
        return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd.get());
    }

    std::array<OwnedFd, kind_count> spaces_;
    std::array<std::string, kind_count> paths_;
    std::array<char, 4096> newuidmap_{};
    std::array<char, 4096> newgidmap_{};
    std::string console_;
    std::string mounts_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_BOOTSTRAP_MESSAGE_OF_PLAN_HPP
