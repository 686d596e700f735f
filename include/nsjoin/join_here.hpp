// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_JOIN_HERE_HPP
#define NSJOIN_JOIN_HERE_HPP

#include <nsjoin/detail/contract.hpp>
#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <utility>

namespace nsjoin {

namespace detail {

/// The kinds that a thread can join alone and leave again. Of the others, user and time want a
/// process with one thread, and the way back from a user namespace needs rights that it took away;
/// mount moves the root and working directory that the threads share, for good; pid moves only
/// children. setns(2).
[[nodiscard]] constexpr auto is_of_a_thread(Kind kind) noexcept -> bool {
    return kind == Kind::net || kind == Kind::ipc || kind == Kind::uts || kind == Kind::cgroup;
}

template <Kind... Ks>
constexpr void check_kinds_of_a_thread() noexcept {
    static_assert(sizeof...(Ks) != 0, "nsjoin: name the kinds to join");
    static_assert((is_of_a_thread(Ks) && ...),
                  "nsjoin: a thread can't join and leave a user, mount, pid or time namespace by "
                  "itself: use join_and_exec() or join_and_clone()");
}

/// Its address tells one thread from another, without a system call.
inline thread_local char thread_marker = 0; // NOLINT(*-non-const-global-variables)

/// setns(2) back, for each of the kinds. All are tried.
[[nodiscard]] inline auto go_back(const std::array<OwnedFd, kind_count>& homes,
                                  KindSet kinds) noexcept -> Result<void> {
    Result<void> done;
    for (const Kind kind : kinds) {
        const int home = homes[static_cast<std::size_t>(kind)].get();
        const long result = call(SYS_setns, home, facts(kind).clone_flag);
        if (result < 0) {
            done = fail(Step::go_back, static_cast<int>(-result), facts(kind).name);
        }
    }
    return done;
}

} // namespace detail

/// The namespaces of some kinds that the calling thread is in, to go back to. Open it once, and
/// visit as many others as there are. Owns a descriptor a kind. It must outlive its visits.
template <Kind... Ks>
class [[nodiscard]] Home {
  public:
    static constexpr Kinds<Ks...> kinds{};

    /// The calling thread's own. Errors: those of AnyNamespaceFd::own; and who has not the rights
    /// to come back does not leave: EPERM without CAP_SYS_ADMIN over their owner, which setns(2)
    /// into the very namespaces that the thread is in tells.
    [[nodiscard]] static auto open() noexcept -> Result<Home> {
        detail::check_kinds_of_a_thread<Ks...>();
        Home home;
        for (const Kind kind : kinds.set) {
            auto own = AnyNamespaceFd::own(kind);
            if (!own) {
                return tl::unexpected<Error>{own.error()};
            }
            home.own_[static_cast<std::size_t>(kind)] = own->release();
        }
        Result<void> there = home.go_back(kinds);
        return there ? Result<Home>{std::move(home)} : tl::unexpected<Error>{there.error()};
    }

    /// Moves the calling thread back into those of the namespaces. Errors: those of setns(2), of
    /// the last kind that failed.
    [[nodiscard]] auto go_back(KindSet left) const noexcept -> Result<void> {
        return detail::go_back(own_, left & kinds.set);
    }

  private:
    Home() noexcept = default;

    std::array<OwnedFd, kind_count> own_;
};

/// The calling thread's stay in other namespaces. Its end is the way back, which is never left out
/// silently: if it fails in the destructor, the program ends, because a thread that is somewhere
/// else than its program believes is worse. end() is the way back that returns the error.
/// Precondition: it ends in the thread that it began in. A visit that begins during another one
/// ends at home too.
///
/// Meanwhile the thread's handlers, and the threads and processes that it makes, are there as well.
template <Kind... Ks>
class [[nodiscard]] Visit {
  public:
    explicit Visit(const Home<Ks...>& home, KindSet left) noexcept
        : home_{&home}, left_{left}, thread_{&detail::thread_marker} {}

    Visit(Visit&& other) noexcept
        : home_{other.home_},
          left_{std::exchange(other.left_, KindSet{})},
          thread_{other.thread_} {}

    auto operator=(Visit&&) -> Visit& = delete;
    Visit(const Visit&) = delete;
    auto operator=(const Visit&) -> Visit& = delete;

    ~Visit() { detail::expect(end().has_value()); }

    /// Goes back. setns(2). Errors: those of setns(2); the visit is over in the kinds that worked.
    [[nodiscard]] auto end() noexcept -> Result<void> {
        if (left_.empty()) {
            return {};
        }
        detail::expect(thread_ == &detail::thread_marker);
        Result<void> done = home_->go_back(left_);
        left_ = {};
        return done;
    }

  private:
    const Home<Ks...>* home_;
    KindSet left_;
    const char* thread_;
};

namespace detail {

template <Kind... Ks>
[[nodiscard]] auto visit(const Home<Ks...>& home, BorrowedFd where, KindSet kinds,
                         std::string_view subject) noexcept -> Result<Visit<Ks...>> {
    const long result = call(SYS_setns, where.get(), kinds.clone_flags());
    if (result < 0) {
        return fail(Step::join_here, static_cast<int>(-result), subject);
    }
    return Visit<Ks...>{home, kinds};
}

} // namespace detail

/// Moves the calling thread, and no other, into the namespace, until the result ends. The other
/// threads, the process's ids, root and working directory stay as they are. setns(2), Linux 3.0.
/// Errors: EPERM without CAP_SYS_ADMIN over the namespace's owner and in the own user namespace.
template <Kind K, Kind... Ks>
[[nodiscard]] auto join_here(const Home<Ks...>& home, const NamespaceFd<K>& space) noexcept
    -> Result<Visit<Ks...>> {
    detail::check_kinds_of_a_thread<K>();
    static_assert(((K == Ks) || ...), "nsjoin: the Home to go back to lacks this kind");
    return detail::visit(home, space.fd(), K, facts(K).name);
}

/// The same with a kind that is known only at run time. Errors: also not_by_a_thread for a kind
/// that a thread can't join, or that `home` lacks.
template <Kind... Ks>
[[nodiscard]] auto join_here(const Home<Ks...>& home, const AnyNamespaceFd& space) noexcept
    -> Result<Visit<Ks...>> {
    const Kind kind = space.kind();
    if (!detail::is_of_a_thread(kind) || !Home<Ks...>::kinds.set.contains(kind)) {
        return detail::fail(Step::join_here, Reason::not_by_a_thread, facts(kind).name);
    }
    return detail::visit(home, space.fd(), kind, facts(kind).name);
}

/// The same with all of home's kinds of the target, by one setns(2), all or nothing. Linux 5.8.
/// Errors: also process_gone; EINVAL before Linux 5.8.
template <Kind... Ks>
[[nodiscard]] auto join_here(const Home<Ks...>& home, const PidFd& target) noexcept
    -> Result<Visit<Ks...>> {
    Subject subject{"pid "};
    subject.append(std::int64_t{target.pid()});
    auto visit = detail::visit(home, target.fd(), Home<Ks...>::kinds.set, subject.view());
    if (!visit && visit.error().code == ESRCH) {
        visit.error().reason = Reason::process_gone;
    }
    return visit;
}

template <typename Space, Kind... Ks>
void join_here(const Home<Ks...>&& home, const Space& space) = delete;

} // namespace nsjoin

#endif // NSJOIN_JOIN_HERE_HPP
