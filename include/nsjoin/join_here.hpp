// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_JOIN_HERE_HPP
#define NSJOIN_JOIN_HERE_HPP

#include <nsjoin/credentials.hpp>
#include <nsjoin/detail/kernel/clone.hpp>
#include <nsjoin/detail/kernel/contract.hpp>
#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/pid_fd.hpp>

#include <array>
#include <sys/prctl.h>
#include <utility>

namespace nsjoin::inline v0_1 {

namespace detail {

/// Whether only a process with one thread can visit these kinds: mount moves the root and working
/// directory, which threads share, and the kernel does not always refuse it (setns(2) of mnt and
/// net by one call moves those of all threads); time is refused by the kernel.
[[nodiscard]] constexpr auto wants_one_thread(KindSet kinds) noexcept -> bool {
    return kinds.intersects(Kind::mount | Kind::time);
}

template <Kind... Ks>
constexpr void check_kinds_with_a_way_back() noexcept {
    static_assert(sizeof...(Ks) != 0, "nsjoin: name the kinds to join");
    static_assert(((Ks != Kind::user) && ...),
                  "nsjoin: there is no way back from a user namespace, which takes the rights for "
                  "it away: use join_and_exec() or join_and_clone(), or join_for_good()");
}

/// Its address tells one thread from another, without a system call.
inline thread_local char thread_marker = 0; // NOLINT(*-non-const-global-variables)

/// Where a thread is at home.
struct HomeFds {
    std::array<OwnedFd, kind_count> spaces;
    OwnedFd root; ///< with the mount namespace only, as is the next
    OwnedFd working_directory;
};

/// Opens the calling thread's own namespace of the kind; where only its children are moved, theirs.
[[nodiscard]] inline auto open_home(Kind kind) noexcept -> Result<AnyNamespaceFd> {
    if (facts(kind).children_name.empty()) {
        return AnyNamespaceFd::own(kind);
    }
    auto of_children = AnyNamespaceFd::own_for_children(kind);
    if (kind == Kind::pid || !of_children) {
        return of_children;
    }
    // setns(2) moves the caller and its later children together, so they must be together now.
    const auto own = AnyNamespaceFd::own(kind);
    const Result<bool> together =
        own.and_then([&](const AnyNamespaceFd& space) { return is_same(space, *of_children); });
    if (!together) {
        return Unexpected{together.error()};
    }
    if (!*together) {
        return fail(Step::go_back, Reason::no_way_back,
                    "the caller's children are in another time namespace");
    }
    return of_children;
}

/// Gives the calling thread root and working directory of its own: another process may share them
/// (CLONE_FS), whose they would be moved as well. unshare(2).
[[nodiscard]] inline auto own_directories(KindSet kinds, std::string_view subject) noexcept
    -> Result<void> {
    // setns(2) of a user namespace wants them unshared too.
    const long result =
        kinds.intersects(Kind::mount | Kind::user) ? call(SYS_unshare, clone_fs) : 0;
    if (result < 0) {
        Subject what{"unshare(CLONE_FS) before "};
        what.append(subject);
        return fail(Step::join_here, static_cast<int>(-result), what.view());
    }
    return {};
}

/// Changes root and working directory to those of home. chroot(2). Returns 0 or -errno, and then
/// the working directory, at least, is home's.
[[nodiscard]] inline auto take_directories(const HomeFds& home) noexcept -> long {
    long root = call(SYS_fchdir, home.root.get());
    root = root == 0 ? call(SYS_chroot, ".") : root;
    long working = call(SYS_fchdir, home.working_directory.get());
    if (working != 0) { // once more: nothing else gives it back
        const long again = call(SYS_fchdir, home.working_directory.get());
        working = again == 0 ? working : again;
    }
    return root != 0 ? root : working;
}

/// Opens root and working directory, and takes them as on the way back: what fails then must fail
/// while nothing has moved.
[[nodiscard]] inline auto open_directories(HomeFds& home) noexcept -> Result<void> {
    const long root = open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
    home.root.reset(root < 0 ? -1 : static_cast<int>(root));
    const long working = root < 0 ? root : open_at(AT_FDCWD, ".", O_PATH | O_DIRECTORY);
    home.working_directory.reset(working < 0 ? -1 : static_cast<int>(working));
    if (working < 0) {
        return fail(Step::go_back, static_cast<int>(-working), "the root or working directory");
    }
    if (Result<void> own = own_directories(Kind::mount, "the way back"); !own) {
        return own;
    }
    const long taken = take_directories(home);
    return taken == 0
               ? Result<void>{}
               : fail(Step::go_back, static_cast<int>(-taken), "the root or working directory");
}

[[nodiscard]] inline auto open_home(KindSet kinds, HomeFds& home) noexcept -> Result<void> {
    if (wants_one_thread(kinds) && has_threads()) {
        return fail(Step::join_here, Reason::many_threads);
    }
    for (const Kind kind : kinds) {
        auto own = open_home(kind);
        if (!own) {
            return Unexpected{own.error()};
        }
        home.spaces[static_cast<std::size_t>(kind)] = own->release();
    }
    return kinds.contains(Kind::mount) ? open_directories(home) : Result<void>{};
}

/// setns(2) back, for each of the kinds. All are tried. With the mount namespace, the root and
/// working directory come back too.
[[nodiscard]] inline auto go_back(const HomeFds& home, KindSet kinds) noexcept -> Result<void> {
    Result<void> done;
    for (const Kind kind : kinds) {
        const int space = home.spaces[static_cast<std::size_t>(kind)].get();
        long result = call(SYS_setns, space, facts(kind).clone_flag);
        if (kind == Kind::mount && result == 0) {
            result = take_directories(home);
        }
        if (result < 0) {
            done = fail(Step::go_back, static_cast<int>(-result), facts(kind).name);
        }
    }
    return done;
}

} // namespace detail

/// The namespaces of some kinds that the calling thread is in, to go back to. Open it once, and
/// visit as many others as there are. Owns a descriptor a kind, and with the mount namespace two
/// more, for the root and the working directory. It must outlive its visits.
///
/// net, ipc, uts and cgroup can be visited by any thread, alone. So can pid, where only what is
/// forked meanwhile is in the namespace, and no thread can be made. mount and time can be visited
/// by a process with one thread. Kind::user does not compile: from there nobody comes back.
/// Several threads may use one Home at once: each visit is its own thread's.
template <Kind... Ks>
class [[nodiscard]] Home {
  public:
    static constexpr Kinds<Ks...> kinds{};

    /// The calling thread's own. Errors: those of AnyNamespaceFd::own; many_threads with mount or
    /// time; no_way_back if the caller's children are in another time namespace; and who has not
    /// the rights to come back does not leave: EPERM without CAP_SYS_ADMIN over their owner, which
    /// setns(2) into the very namespaces that the thread is in tells.
    [[nodiscard]] static auto open() noexcept -> Result<Home> {
        detail::check_kinds_with_a_way_back<Ks...>();
        Home home;
        Result<void> done = detail::open_home(kinds, home.own_);
        done = done ? home.go_back(kinds) : done;
        return done ? Result<Home>{std::move(home)} : Unexpected{done.error()};
    }

    /// Moves the calling thread back into those of the namespaces. Errors: those of setns(2), of
    /// the last kind that failed.
    [[nodiscard]] auto go_back(KindSet left) const noexcept -> Result<void> {
        return detail::go_back(own_, left & kinds.set);
    }

  private:
    Home() noexcept = default;

    detail::HomeFds own_;
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

    ~Visit() {
        detail::expect(end().has_value(), "the thread can't go back where it came from: a Visit's "
                                          "end() returns the error");
    }

    /// Goes back. setns(2). Errors: those of setns(2); the visit is over in the kinds that worked.
    [[nodiscard]] auto end() noexcept -> Result<void> {
        if (left_.empty()) {
            return {};
        }
        detail::expect(thread_ == &detail::thread_marker,
                       "a Visit ends in the thread that it began in");
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
    if (wants_one_thread(kinds) && has_threads()) {
        return fail(Step::join_here, Reason::many_threads, subject);
    }
    if (const Result<void> own = own_directories(kinds, subject); !own) {
        return Unexpected{own.error()};
    }
    const long result = call(SYS_setns, where.get(), kinds.clone_flags());
    if (result < 0) {
        return fail(Step::join_here, static_cast<int>(-result), subject);
    }
    return Visit<Ks...>{home, kinds};
}

} // namespace detail

/// Moves the calling thread, and no other, into the namespace, until the result ends. The other
/// threads and the process's ids stay as they are; so do root and working directory, but in a mount
/// namespace they are its root. setns(2), Linux 3.0.
/// Errors: EPERM without CAP_SYS_ADMIN over the namespace's owner and in the own user namespace;
/// many_threads with mount or time.
template <Kind K, Kind... Ks>
[[nodiscard]] auto join_here(const Home<Ks...>& home, const NamespaceFd<K>& space) noexcept
    -> Result<Visit<Ks...>> {
    detail::check_kinds_with_a_way_back<K>();
    static_assert(((K == Ks) || ...) || K == Kind::user,
                  "nsjoin: the Home to go back to lacks this kind");
    return detail::visit(home, space.fd(), K, facts(K).name);
}

/// Does not compile: nobody would come back.
template <Kind K>
void join_here(const NamespaceFd<K>&) = delete; // nsjoin: give the Home to go back to

/// The same with a kind that is known only at run time. Errors: also no_way_back for a kind that
/// `home` lacks.
template <Kind... Ks>
[[nodiscard]] auto join_here(const Home<Ks...>& home, const AnyNamespaceFd& space) noexcept
    -> Result<Visit<Ks...>> {
    const Kind kind = space.kind();
    if (!Home<Ks...>::kinds.set.contains(kind)) {
        return detail::fail(Step::join_here, Reason::no_way_back, facts(kind).name);
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
        visit.error().reason = detail::why_gone(target.fd(), target.pid());
    }
    return visit;
}

template <typename Space, Kind... Ks>
void join_here(const Home<Ks...>&& home, const Space& space) = delete; // nsjoin: keep the Home

namespace detail {

/// Whether the target is known to be in the caller's own user namespace, which can't be joined.
[[nodiscard]] inline auto shares_user(const PidFd& target, int proc) noexcept -> bool {
    SmallPath path{""};
    path.append(static_cast<int>(target.pid())).append("/ns/user");

    struct stat its {};

    struct stat own {};

    return lies_on(proc, proc_super_magic) &&
           proc_calls_us(proc, static_cast<pid_t>(call(SYS_getpid))) == 1 &&
           ::fstatat(proc, path.c_str(), &its, 0) == 0 &&
           ::fstatat(proc, "thread-self/ns/user", &own, 0) == 0 && target.alive() &&
           its.st_ino == own.st_ino && its.st_dev == own.st_dev;
}

[[nodiscard]] inline auto join_for_good(const PidFd& target, KindSet kinds) noexcept
    -> Result<void> {
    Subject subject{"pid "};
    subject.append(std::int64_t{target.pid()});
    if (has_threads()) {
        return fail(Step::join_here, Reason::many_threads, subject.view());
    }
    if (Result<void> own = own_directories(kinds, subject.view()); !own) {
        return own;
    }
    const long dumpable = call(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
    if (const long cleared = call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0); cleared < 0) {
        return fail(Step::clear_dumpable, static_cast<int>(-cleared), subject.view());
    }
    // From before the join: the target's may show anything.
    const long directory = kinds.contains(Kind::user) ? open_proc_directory() : -1;
    const OwnedFd proc{directory < 0 ? -1 : static_cast<int>(directory)};
    long result = call(SYS_setns, target.fd().get(), kinds.clone_flags());
    if (result == -EINVAL && kinds.contains(Kind::user) && shares_user(target, proc.get())) {
        kinds = kinds - Kind::user;
        result = kinds.empty() ? 0 : call(SYS_setns, target.fd().get(), kinds.clone_flags());
    }
    if (result < 0) {
        if (dumpable == 1) {
            (void)call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
        }
        Error error = fail(Step::join_here, static_cast<int>(-result), subject.view()).error();
        error.reason = result == -ESRCH ? why_gone(target.fd(), target.pid()) : Reason::system;
        return Unexpected{error};
    }
    return kinds.contains(Kind::user) ? become_root_inside({Denied::ask, proc.borrow()})
                                      : Result<void>{};
}

} // namespace detail

/// Moves the calling process, which must have one thread, into those namespaces of the target, for
/// good: what a small program does that is to end inside. By one setns(2), all or nothing; where
/// the target shares the caller's user namespace, without that. A joined pid namespace takes the
/// children that are forked from now on; with a mount namespace, root and working directory are its
/// root. Linux 5.8.
///
/// The process is not dumpable until it executes another program (CVE-2016-9962). If a user
/// namespace is joined, it becomes 0:0 without groups in there.
///
/// Errors, after which it is where it was: many_threads; process_gone; EPERM without the rights
/// over the target's namespaces; EINVAL before Linux 5.8. If it is inside and can't become 0:0, the
/// error is that of become(), and it should end.
template <Kind... Ks>
[[nodiscard]] auto join_for_good(const PidFd& target, Kinds<Ks...> kinds) noexcept -> Result<void> {
    static_assert(sizeof...(Ks) != 0, "nsjoin: name the kinds to join");
    return detail::join_for_good(target, kinds);
}

} // namespace nsjoin

#endif // NSJOIN_JOIN_HERE_HPP
