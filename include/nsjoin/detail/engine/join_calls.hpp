// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_ENGINE_JOIN_CALLS_HPP
#define NSJOIN_DETAIL_ENGINE_JOIN_CALLS_HPP

#include <nsjoin/plan.hpp>

#include <sys/ioctl.h>
#include <sys/stat.h>

// Which setns(2) calls join what a plan joins, in which order. Decided by the caller, before there
// is another process, from facts: who owns each namespace, and which rights the caller has.

namespace nsjoin::detail {

/// One setns(2).
struct JoinCall {
    int fd = -1;   ///< a pidfd, or the descriptor of a namespace
    KindSet kinds; ///< several only with a pidfd
    /// The kernel could not say whether the rights are there: EPERM means that the call is made
    /// again after the user namespace is joined.
    bool may_wait = false;
};

/// The calls of one attempt.
struct JoinCalls {
    std::array<JoinCall, 2 * kind_count> list{};
    std::size_t count = 0;

    void add(const JoinCall& call) noexcept { list[count++] = call; }

    [[nodiscard]] auto view() const noexcept -> std::span<const JoinCall> {
        return {list.data(), count};
    }
};

/// How an attempt joins.
enum class Way : std::uint8_t {
    one_call,       ///< all kinds are one target's: setns(pidfd, all of them), nothing looked up
    differing,      ///< the same with the kinds that differ from the caller's, by target
    by_descriptors, ///< one setns for each namespace: old kernels, seccomp filters
};

/// What is known of a namespace that is to be joined.
struct Candidate {
    Kind kind = Kind::user;
    JoinSource source;
    OwnedFd opened; ///< if it had to be opened
    bool same = false;
    enum class When : std::uint8_t { before_user, after_user, kernel_cannot_tell };
    When when = When::before_user;

    [[nodiscard]] auto namespace_fd() const noexcept -> int {
        return opened.ok() ? opened.get() : source.fd.get();
    }
};

/// stat(2) of a namespace of the calling thread: by its entry in /proc, or in a chroot without one
/// by ioctl_pidfd(2) (Linux 6.11). Whether that went well.
[[nodiscard]] inline auto stat_own(Kind kind, std::string_view name, struct stat& about) noexcept
    -> bool {
    Subject path{"/proc/thread-self/ns/"};
    if (::stat(path.append(name).c_str(), &about) == 0) {
        return true;
    }
    const OwnedFd self{static_cast<int>(call(SYS_pidfd_open, ::getpid(), 0U))};
    const unsigned number = facts(kind).pidfd_ioctl + (name == facts(kind).name ? 0U : 1U);
    const OwnedFd space{
        static_cast<int>(call(SYS_ioctl, self.get(), pidfd_get_namespace | number, 0))};
    return ::fstat(space.get(), &about) == 0;
}

/// Whether the descriptor is the caller's own namespace of the kind.
[[nodiscard]] inline auto is_own(Kind kind, int fd) noexcept -> bool {
    // The kernel shows the parent of a user namespace that is below the caller's, and of no other;
    // to ask that costs a fifth of a look into /proc.
    if (kind == Kind::user &&
        OwnedFd{static_cast<int>(call(SYS_ioctl, fd, ns_get_parent, 0))}.ok()) {
        return false;
    }
    // Where a kind moves only children, it is the children's namespace that counts.
    const std::string_view name =
        facts(kind).children_name.empty() ? facts(kind).name : facts(kind).children_name;

    struct stat own {};

    struct stat other {};

    return stat_own(kind, name, own) && ::fstat(fd, &other) == 0 && own.st_ino == other.st_ino &&
           own.st_dev == other.st_dev;
}

/// Finds out when a namespace can be joined: before the user namespace if the caller has the rights
/// over it now, else after, when the joined user namespace has given them.
[[nodiscard]] inline auto when_to_join(Kind kind, int fd) noexcept -> Candidate::When {
    using When = Candidate::When;
    const bool privileged =
        has_capability(cap_sys_admin) &&
        (!has(facts(kind).demands, Demands::chroot_right) || has_capability(cap_sys_chroot));
    if (!privileged) {
        return When::after_user;
    }
    // The kernel names the owner only if it is the caller's user namespace or a descendant, and a
    // capability in a user namespace is one in all its descendants. user_namespaces(7). Where it
    // does not, it may be an old kernel, a filter, or an owner outside.
    const OwnedFd owner{static_cast<int>(call(SYS_ioctl, fd, ns_get_userns, 0))};
    return owner.ok() ? When::before_user : When::kernel_cannot_tell;
}

/// Opens a namespace of a borrowed target. Errors: those of AnyNamespaceFd::open.
[[nodiscard]] inline auto open_target_namespace(const JoinSource& source, Kind kind) noexcept
    -> Result<OwnedFd> {
    PidFd target{OwnedFd{source.fd.get()}, source.target_pid};
    auto opened = AnyNamespaceFd::open(kind, target);
    (void)target.release().release(); // it is somebody else's
    if (!opened) {
        return Unexpected{opened.error()};
    }
    return opened->release();
}

/// Whether the namespace that is to be joined is the caller's (for time, that of its children).
[[nodiscard]] inline auto source_is_own(const JoinSource& source, Kind kind) noexcept -> bool {
    if (source.from == JoinSource::From::namespace_fd) {
        return is_own(kind, source.fd.get());
    }
    const auto opened = open_target_namespace(source, kind);
    // A kernel without namespaces of the kind has none that differs.
    return opened ? is_own(kind, opened->get()) : opened.error().reason == Reason::no_such_kind;
}

/// The target that all joined kinds come from, or nothing if they come from several places.
[[nodiscard]] inline auto single_target(const Draft& plan) noexcept -> BorrowedFd {
    BorrowedFd target;
    for (const Kind kind : plan.joined()) {
        const JoinSource& source = plan.source(kind);
        if (source.from != JoinSource::From::target || (target.ok() && target != source.fd)) {
            return {};
        }
        target = source.fd;
    }
    return target;
}

/// The namespaces that a plan joins, looked at.
class Candidates {
  public:
    /// Opens the target's namespaces and asks about all. Errors: those of opening them.
    [[nodiscard]] auto look(const Draft& plan) noexcept -> Result<void> {
        user_ = {};
        count_ = 0;
        for (const Kind kind : join_order(UserRights::taken)) {
            if (plan.source(kind).from == JoinSource::From::nowhere) {
                continue;
            }
            Candidate& candidate = list_[count_];
            candidate = Candidate{};
            candidate.kind = kind;
            candidate.source = plan.source(kind);
            Result<void> looked = look_at(candidate);
            if (!looked) {
                return looked;
            }
            if (!candidate.same) {
                joined_ = joined_ | kind;
                ++count_;
                if (kind == Kind::user) {
                    user_ = candidate.source;
                }
            }
        }
        return {};
    }

    /// The kinds that differ from the caller's.
    [[nodiscard]] auto differing() const noexcept -> KindSet { return joined_; }

    /// The calls that join them: what the caller has the rights over, then the user namespace, then
    /// what that gives the rights over. With Way::differing, one call for the kinds of one target
    /// that fall into the same part.
    [[nodiscard]] auto calls(Way way) const noexcept -> JoinCalls {
        JoinCalls result;
        add_part(result, way, Candidate::When::before_user, UserRights::taken);
        if (user_joined()) {
            add_user(result, way);
            add_part(result, way, Candidate::When::after_user, UserRights::granted);
        } else {
            // Nothing will give the rights: let the kernel say what it has against each.
            add_part(result, way, Candidate::When::after_user, UserRights::taken);
        }
        return result;
    }

  private:
    [[nodiscard]] auto user_joined() const noexcept -> bool { return joined_.contains(Kind::user); }

    [[nodiscard]] static auto look_at(Candidate& candidate) noexcept -> Result<void> {
        if (candidate.source.from == JoinSource::From::target) {
            auto opened = open_target_namespace(candidate.source, candidate.kind);
            if (!opened) {
                candidate.same = opened.error().reason == Reason::no_such_kind; // nobody differs
                return candidate.same ? Result<void>{} : Unexpected{opened.error()};
            }
            candidate.opened.reset(opened->release());
        }
        candidate.same = is_own(candidate.kind, candidate.namespace_fd());
        candidate.when = when_to_join(candidate.kind, candidate.namespace_fd());
        return {};
    }

    [[nodiscard]] auto in_user_call(const Candidate& c, Way way) const noexcept -> bool {
        return way == Way::differing && user_.from == JoinSource::From::target && c.source == user_;
    }

    void add_user(JoinCalls& result, Way way) const noexcept {
        JoinCall call;
        for (const Candidate& c : view()) {
            if (c.kind == Kind::user) {
                call.fd = way == Way::differing ? c.source.fd.get() : c.namespace_fd();
                call.kinds = call.kinds | c.kind;
            } else if (in_user_call(c, way)) {
                call.kinds = call.kinds | c.kind;
            }
        }
        result.add(call);
    }

    void add_part(JoinCalls& result, Way way, Candidate::When part,
                  UserRights rights) const noexcept {
        const std::size_t begin = result.count;
        for (const Kind kind : join_order(rights)) {
            for (const Candidate& c : view()) {
                if (c.kind != kind || kind == Kind::user || in_user_call(c, way)) {
                    continue;
                }
                // Where the kernel can't tell, it is tried before, and again after if it was EPERM.
                const bool unsure = c.when == Candidate::When::kernel_cannot_tell;
                if (c.when == part || unsure) {
                    const bool first_try =
                        unsure && user_joined() && part == Candidate::When::before_user;
                    add_or_merge(result, begin, way, c, first_try);
                }
            }
        }
    }

    static void add_or_merge(JoinCalls& result, std::size_t begin, Way way, const Candidate& c,
                             bool tolerant) noexcept {
        const bool by_target =
            way == Way::differing && c.source.from == JoinSource::From::target && !tolerant;
        for (std::size_t i = begin; by_target && i < result.count; ++i) {
            if (result.list[i].fd == c.source.fd.get()) {
                result.list[i].kinds = result.list[i].kinds | c.kind;
                return;
            }
        }
        result.add({by_target ? c.source.fd.get() : c.namespace_fd(), c.kind, tolerant});
    }

    [[nodiscard]] auto view() const noexcept -> std::span<const Candidate> {
        return {list_.data(), count_};
    }

    std::array<Candidate, kind_count> list_{};
    std::size_t count_ = 0;
    KindSet joined_;
    JoinSource user_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_DETAIL_ENGINE_JOIN_CALLS_HPP
