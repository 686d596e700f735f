// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_LAUNCHER_REQUEST_HPP
#define NSJOIN_DETAIL_LAUNCHER_REQUEST_HPP

#include <nsjoin/command.hpp>
#include <nsjoin/detail/launcher/archive.hpp>
#include <nsjoin/detail/launcher/caller_state.hpp>
#include <nsjoin/plan.hpp>

#include <optional>
#include <span>
#include <string_view>

// What a caller asks of its launcher: a plan, a command, and what the program inherits of the
// caller. Each function writes, with a Writer, and reads, with a Reader.

namespace nsjoin::inline v0_1::detail {

/// `what(there)`, where there is something, or is said to be.
template <typename Archive, typename Optional, typename What>
void optional(Archive& archive, Optional& value, const What& what) noexcept {
    bool there = value.has_value();
    archive.flag(there);
    if constexpr (Archive::reads) {
        if (there) {
            value.emplace();
        } else {
            value.reset();
        }
    }
    if (there) {
        what(*value);
    }
}

template <typename Archive, typename Enum>
void enumerator(Archive& archive, Enum& value) noexcept {
    auto number = static_cast<std::uint8_t>(value);
    archive.value(number);
    if constexpr (Archive::reads) {
        value = static_cast<Enum>(number);
    }
}

template <typename Archive, typename Time>
void duration(Archive& archive, Time& value) noexcept {
    std::int64_t count = value.count();
    archive.value(count);
    if constexpr (Archive::reads) {
        value = Duration::nanoseconds(count);
    }
}

template <typename Archive, typename Map>
void id_map(Archive& archive, Map& map) noexcept {
    if constexpr (Archive::reads) {
        const std::span<IdExtent> extents = archive.template many<IdExtent>();
        for (IdExtent& extent : extents) {
            archive.value(extent);
        }
        const auto made = IdMap::from(extents);
        map = made ? *made : IdMap::none();
    } else {
        archive.value(static_cast<std::uint64_t>(map.extents().size()));
        for (const IdExtent& extent : map.extents()) {
            archive.value(extent);
        }
    }
}

template <typename Archive, typename Policy>
void groups(Archive& archive, Policy& policy) noexcept {
    bool kept = policy.kept();
    bool dropped = policy.dropped();
    archive.flag(kept);
    archive.flag(dropped);
    if constexpr (Archive::reads) {
        const std::span<gid_t> ids = archive.template many<gid_t>();
        for (gid_t& id : ids) {
            archive.value(id);
        }
        policy = kept ? Groups::keep() : dropped ? Groups{} : Groups{std::span<const gid_t>{ids}};
    } else {
        archive.value(static_cast<std::uint64_t>(policy.ids().size()));
        for (const gid_t id : policy.ids()) {
            archive.value(id);
        }
    }
}

template <typename Archive, typename Sources>
void mount_sources(Archive& archive, Sources& sources) noexcept {
    const auto one = [&archive](auto& source) {
        archive.text(source.path);
        archive.value(source.number);
    };
    if constexpr (Archive::reads) {
        const std::span<MountSource> list = archive.template many<MountSource>();
        for (MountSource& source : list) {
            one(source);
        }
        sources.list = list;
    } else {
        archive.value(static_cast<std::uint64_t>(sources.list.size()));
        for (const MountSource& source : sources.list) {
            one(source);
        }
    }
}

template <typename Archive, typename Filter>
void seccomp_filter(Archive& archive, Filter& filter) noexcept {
    if constexpr (Archive::reads) {
        const std::span<sock_filter> code = archive.template many<sock_filter>();
        for (sock_filter& instruction : code) {
            archive.value(instruction);
        }
        filter.code = code;
    } else {
        archive.value(static_cast<std::uint64_t>(filter.code.size()));
        for (const sock_filter& instruction : filter.code) {
            archive.value(instruction);
        }
    }
}

template <typename Archive, typename Kinds>
void kind_set(Archive& archive, Kinds& kinds) noexcept {
    std::uint8_t bits = kinds.bits();
    archive.value(bits);
    if constexpr (Archive::reads) {
        kinds = KindSet::from_bits(bits);
    }
}

/// `Plan` is a Draft; whose child the child is, and whose memory is lent, is not asked.
template <typename Archive, typename Plan>
void plan_fields(Archive& archive, Plan& plan) noexcept {
    for (auto& source : plan.joins) {
        enumerator(archive, source.from);
        archive.fd(source.fd);
        archive.value(source.target_pid);
    }
    kind_set(archive, plan.created);
    bool maps = plan.maps.has_value();
    archive.flag(maps);
    if (maps) {
        if constexpr (Archive::reads) {
            plan.maps.emplace(NewUser{IdMap::none(), IdMap::none()});
        }
        id_map(archive, plan.maps->uids);
        id_map(archive, plan.maps->gids);
        enumerator(archive, plan.maps->setgroups);
    }
    optional(archive, plan.time_offsets, [&archive](auto& offsets) {
        duration(archive, offsets.monotonic);
        duration(archive, offsets.boottime);
    });
    optional(archive, plan.newuidmap, [&archive](auto& path) { archive.text(path); });
    optional(archive, plan.newgidmap, [&archive](auto& path) { archive.text(path); });
    mount_sources(archive, plan.mount_sources);
    optional(archive, plan.credentials, [&archive](auto& ids) {
        optional(archive, ids.uid, [&archive](auto& uid) { archive.value(uid); });
        optional(archive, ids.gid, [&archive](auto& gid) { archive.value(gid); });
        groups(archive, ids.groups);
    });
    archive.flag(plan.keep_ids);
    archive.flag(plan.keep_capabilities);
    archive.flag(plan.new_session);
    enumerator(archive, plan.session_keyring);
    enumerator(archive, plan.propagation);
    for (auto* const fd : {&plan.console, &plan.root, &plan.working_directory, &plan.cgroup}) {
        archive.fd(*fd);
    }
    for (auto& cgroup : plan.more_cgroups) {
        archive.fd(cgroup);
    }
    for (auto* const path :
         {&plan.root_path, &plan.new_root, &plan.proc, &plan.working_directory_path}) {
        optional(archive, *path, [&archive](auto& text) { archive.text(text); });
    }
    archive.value(plan.host_name);
    archive.value(plan.domain_name);
    archive.flag(plan.loopback_up);
    optional(archive, plan.umask, [&archive](auto& mode) { archive.value(mode); });
    optional(archive, plan.cpu_affinity, [&archive](auto& cpus) { archive.value(cpus); });
    optional(archive, plan.priority, [&archive](auto& nice) { archive.value(nice); });
    optional(archive, plan.capabilities, [&archive](auto& sets) { archive.value(sets); });
    optional(archive, plan.filter, [&archive](auto& filter) { seccomp_filter(archive, filter); });
    archive.flag(plan.no_new_privileges);
    optional(archive, plan.oom_score_adj, [&archive](auto& score) { archive.value(score); });
    archive.value(plan.name);
    archive.value(plan.death_signal);
    duration(archive, plan.deadline);
}

/// A command, which has no first state to be read into.
inline void write_command(Writer& archive, const Command& command) noexcept {
    const bool by_path = command.program.path() != nullptr;
    const auto list = command.program.search_list();
    archive.flag(by_path);
    archive.fd(command.program.file());
    archive.flag(list.has_value());
    archive.text(list.value_or(""));
    archive.c_string(by_path ? command.program.path() : "");
    archive.words(command.arguments.get());
    archive.words(command.environment ? command.environment->get() : ::environ);
    archive.value(static_cast<std::uint64_t>(command.descriptors.size()));
    for (const PassedFd& passed : command.descriptors) {
        archive.fd(passed.from);
        archive.value(passed.to);
    }
    archive.flag(command.close_others);
    archive.flag(command.default_signals.has_value());
    archive.value(command.default_signals ? to_kernel(*command.default_signals) : 0);
    archive.flag(command.signal_mask.has_value());
    archive.value(command.signal_mask ? to_kernel(*command.signal_mask) : 0);
    archive.value(static_cast<std::uint64_t>(command.limits.size()));
    for (const ResourceLimit& limit : command.limits) {
        archive.value(limit.resource);
        archive.value(limit.value);
    }
    archive.flag(command.no_new_privileges);
}

[[nodiscard]] inline auto from_kernel(KernelSignalSet words) noexcept -> sigset_t {
    sigset_t set;
    (void)::sigemptyset(&set);
    std::memcpy(&set, &words, sizeof words);
    return set;
}

[[nodiscard]] inline auto read_program(Reader& archive) noexcept -> Program {
    bool by_path = false;
    BorrowedFd file;
    bool searched = false;
    std::string_view list;
    const char* path = "";
    archive.flag(by_path);
    archive.fd(file);
    archive.flag(searched);
    archive.text(list);
    archive.c_string(path);
    return !by_path   ? Program::open_file(file)
           : searched ? Program::in_path(path, list)
                      : Program::at(path);
}

[[nodiscard]] inline auto read_command(Reader& archive) noexcept -> Command {
    const Program program = read_program(archive);
    const char* const* arguments = nullptr;
    const char* const* environment = nullptr;
    archive.words(arguments);
    archive.words(environment);
    Command command{.program = program, .arguments = arguments};
    command.environment = WordList{environment};
    const std::span<PassedFd> descriptors = archive.many<PassedFd>();
    for (PassedFd& passed : descriptors) {
        archive.fd(passed.from);
        archive.value(passed.to);
    }
    command.descriptors = descriptors;
    archive.flag(command.close_others);
    for (auto* const set : {&command.default_signals, &command.signal_mask}) {
        bool there = false;
        KernelSignalSet words = 0;
        archive.flag(there);
        archive.value(words);
        if (there) {
            *set = from_kernel(words);
        }
    }
    // Those of the caller may come before them.
    const std::span<ResourceLimit> limits = archive.many<ResourceLimit>();
    for (ResourceLimit& limit : limits) {
        archive.value(limit.resource);
        archive.value(limit.value);
    }
    command.limits = limits;
    archive.flag(command.no_new_privileges);
    return command;
}

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_LAUNCHER_REQUEST_HPP
