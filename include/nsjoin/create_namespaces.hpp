// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_CREATE_NAMESPACES_HPP
#define NSJOIN_CREATE_NAMESPACES_HPP

#include <nsjoin/namespace_set.hpp>
#include <nsjoin/open_side.hpp>

#include <array>
#include <csignal>
#include <span>

namespace nsjoin::inline v0_1 {

namespace detail {

/// What a plan may say of which nothing would be left.
inline constexpr unsigned said_of_a_process =
    said_ids | said_console | said_root | said_directory | said_oom | said_name | said_death |
    said_parent | said_keyring | said_umask | said_cpus | said_priority | said_capabilities |
    said_no_new_privileges | said_filter;

[[nodiscard]] inline auto check_for_namespaces(const Draft& plan) noexcept -> Result<void> {
    if (plan.created.empty()) {
        return refused("a plan that creates no namespace");
    }
    if (plan.created.contains(Kind::pid)) {
        return refused("a pid namespace, which ends with its first process: join_and_clone()");
    }
    const bool of_a_process =
        plan.credentials || plan.keep_ids || plan.console.ok() || plan.root.ok() ||
        plan.root_path || plan.working_directory.ok() || plan.working_directory_path ||
        plan.oom_score_adj || !plan.name.empty() || plan.death_signal != 0 ||
        plan.child_of != ChildOf::caller || plan.session_keyring != SessionKeyring::automatic ||
        plan.umask || plan.cpu_affinity || plan.priority || plan.capabilities || plan.filter ||
        plan.no_new_privileges || plan.new_session || plan.keep_capabilities;
    return of_a_process ? refused("what a process is to be, where none is left") : Result<void>{};
}

/// In the child: sends the namespaces that it is in. Through the caller's /proc, whatever is
/// mounted there inside.
[[nodiscard]] inline auto send_own_namespaces(KindSet kinds, BorrowedFd proc,
                                              BorrowedFd socket) noexcept -> Result<void> {
    std::array<OwnedFd, kind_count> owned;
    std::array<BorrowedFd, kind_count> sent;
    std::size_t count = 0;
    for (const Kind kind : kinds) {
        const auto path = SmallPath{"self/ns/"}.append(facts(kind).name);
        auto opened = open_owned(Step::open_namespace, proc.get(), path.c_str(), O_RDONLY);
        if (!opened) {
            return Unexpected{opened.error()};
        }
        owned[count] = *std::move(opened);
        sent[count] = owned[count].borrow();
        ++count;
    }
    return send_descriptors(socket, std::span{sent}.first(count));
}

[[nodiscard]] inline auto take_namespaces(KindSet kinds, BorrowedFd socket) noexcept
    -> Result<AnyNamespaceSet> {
    std::array<OwnedFd, kind_count> fds;
    const auto count = receive_descriptors(socket, fds);
    if (!count) {
        return Unexpected{count.error()};
    }
    AnyNamespaceSet set;
    for (OwnedFd& fd : std::span{fds}.first(*count)) {
        auto space = AnyNamespaceFd::adopt(std::move(fd));
        if (!space) {
            return Unexpected{space.error()};
        }
        set.put(*std::move(space));
    }
    Ensures(set.kinds() == kinds);
    return set;
}

/// Of a child that ended and could not tell why, the exit code is an errno.
[[nodiscard]] inline auto why_none(const Error& error) noexcept -> Unexpected {
    const ExitStatus status{error.code};
    const bool coded =
        error.reason == Reason::process_died && status.exited() && status.exit_code() != 0;
    return coded ? fail(Step::report, status.exit_code(), "the child could not tell")
                 : Unexpected{error};
}

[[nodiscard]] inline auto create_namespaces(const Draft& plan, Perform perform) noexcept
    -> Result<AnyNamespaceSet> {
    if (const Result<void> checked = check_for_namespaces(plan); !checked) {
        return Unexpected{checked.error()};
    }
    auto pair = SocketPair::open(SocketKind::seqpacket);
    if (!pair) {
        return Unexpected{pair.error()};
    }
    const auto proc = open_proc();
    if (!proc) {
        return Unexpected{proc.error()};
    }
    RunOptions options;
    options.child_stays_blocked = true; // no handler of the caller's runs there
    auto side = to_open_side(plan, perform, options);
    if (!side) {
        return Unexpected{side.error()};
    }
    if (side->is_child()) {
        const Result<void> sent = send_own_namespaces(plan.created, *proc, pair->second);
        if (!sent) {
            side->fail(sent.error());
        }
        const Result<void> told = side->report();
        exit_now(told ? 0 : told.error().code);
    }
    const auto child =
        side->await_program(plan.deadline.count() > 0 ? plan.deadline : PidFd::forever);
    if (!child) {
        return why_none(child.error());
    }
    auto set = take_namespaces(plan.created, pair->first);
    // It has nothing left to do but to end, and may have been stopped by who is inside.
    (void)child->send_signal(SIGKILL);
    (void)child->wait(killed_soon); // who traces it may keep its end; its status says nothing more
    return set;
}

/// The set with its kinds, those of the bits, in its type.
template <unsigned Bits, Kind... Ks>
[[nodiscard]] auto typed_set(Result<AnyNamespaceSet> set) noexcept {
    if constexpr (Bits != 0) {
        constexpr unsigned rest = Bits & (Bits - 1);
        return typed_set<rest, Ks..., *KindSet::from_bits(Bits).begin()>(std::move(set));
    } else {
        using Set = Result<NamespaceSet<Ks...>>;
        return set ? (*std::move(set)).template as<Ks...>() : Set{Unexpected{set.error()}};
    }
}

} // namespace detail

/// Creates the namespaces that the plan says, furnishes them as it says (id maps, offsets, names,
/// loopback, mounts), and returns them without a process: for several children, by
/// JoinPlan::join(set), or to be pinned (AnyNamespaceSet::pin). They live as long as the set, a
/// process in them, or a pin.
///
/// A process in between makes them, as the child of join_and_clone() would: its end is announced by
/// a SIGCHLD, and it is waited for. With a joined user namespace they belong to that. The caller is
/// as before, and on failure nothing is left.
///
/// Errors: those of join_and_clone(); bad_value for a pid namespace, which ends with its first
/// process, and for what a plan says of a process.
[[nodiscard]] inline auto create_namespaces(const Plan& plan) noexcept -> Result<AnyNamespaceSet> {
    return detail::create_namespaces(plan.parts(), detail::perform<detail::anything()>);
}

/// The same with a plan of the compiler's, which gives the set its type: what can't be does not
/// compile.
template <unsigned Joined, unsigned Created, unsigned Said>
[[nodiscard]] auto create_namespaces(const JoinPlan<Joined, Created, Said>& plan) noexcept {
    static_assert(Created != 0, "nsjoin: name the kinds to create: create<Kind::net>()");
    static_assert((Created & KindSet{Kind::pid}.bits()) == 0,
                  "nsjoin: a pid namespace ends with its first process, so that there is none "
                  "without: join_and_clone()");
    static_assert((Said & detail::said_of_a_process) == 0,
                  "nsjoin: the plan says what a process is to be, and create_namespaces() leaves "
                  "none");
    return detail::typed_set<Created>(detail::create_namespaces(
        plan.parts(), detail::perform<JoinPlan<Joined, Created, Said>::possible>));
}

} // namespace nsjoin

#endif // NSJOIN_CREATE_NAMESPACES_HPP
