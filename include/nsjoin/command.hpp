// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_COMMAND_HPP
#define NSJOIN_COMMAND_HPP

#include <nsjoin/fd.hpp>

#include <csignal>
#include <optional>
#include <span>
#include <string_view>
#include <sys/resource.h>

namespace nsjoin {

/// A descriptor for a program, and the number under which it finds it.
struct PassedFd {
    BorrowedFd from;
    int to = -1; ///< 0 or more
};

/// A limit for a program. setrlimit(2).
struct ResourceLimit {
    int resource = 0; ///< RLIMIT_NOFILE and so on
    rlimit value{};
};

/// A program to execute, and what it gets. Borrows all that it points to.
struct Command {
    /// The program's path inside the joined mount namespace and the plan's root, where it is
    /// looked up with the child's ids. execve(2).
    const char* path = nullptr;
    /// A list of directories, as PATH has it. If there is one, and no slash in `path`, the program
    /// is looked for there, as execvp(3) does.
    std::string_view search_path{};
    /// In the place of `path`, a program that is open already, from wherever: execveat(2). A script
    /// needs a descriptor without close-on-exec.
    BorrowedFd executable{};
    /// Ended by a null pointer; the first is the program's name for itself.
    const char* const* arguments = nullptr;
    /// "NAME=value" each, ended by a null pointer. If this is null, the caller's.
    const char* const* environment = nullptr;

    /// Descriptors to pass, at most 256, without close-on-exec. In any order; a number may be taken
    /// that another one of them comes from. After the console, if the plan has one.
    std::span<const PassedFd> descriptors{};
    /// Closes every descriptor but 0, 1, 2 and those that are passed. Else those stay open that
    /// have no close-on-exec. close_range(2), Linux 5.9; before, one close(2) for each number.
    bool close_others = false;

    /// The blocked signals. If empty, the calling thread's.
    std::optional<sigset_t> signal_mask{};
    /// Signals that are not to be ignored if the caller ignores them. Handlers are reset anyway.
    std::optional<sigset_t> default_signals{};
    std::span<const ResourceLimit> limits{};
    /// No program gives the child rights that it lacks. PR_SET_NO_NEW_PRIVS(2const).
    bool no_new_privileges = false;
};

} // namespace nsjoin

#endif // NSJOIN_COMMAND_HPP
