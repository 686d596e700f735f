// SPDX-License-Identifier: Apache-2.0
// The files where create pins namespaces. A process outside of them all does it, when the one
// inside is ready to run; and undoes it if that can't. Outside is create, or where that becomes the
// command a helper which nobody has to wait for.
#ifndef EXAMPLES_SUPPORT_PINS_HPP
#define EXAMPLES_SUPPORT_PINS_HPP

#include "create_options.hpp"

#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace examples {

/// Made before there are two processes, used in both.
class Pins {
  public:
    explicit Pins(const Options& options) {
        for (const nsjoin::Kind kind : options.created) {
            if (const char* file = options.pins[static_cast<std::size_t>(kind)]; file != nullptr) {
                files_.push_back({kind, file, access(file, F_OK) == 0});
            }
        }
        if (files_.empty()) {
            return;
        }
        sockets_ = take(nsjoin::SocketPair::open(nsjoin::SocketKind::seqpacket));
    }

    /// Leaves a helper out here that pins what `process` is in. It is nobody's child whom the
    /// command would know of, and ends when the command runs.
    void leave_helper(const nsjoin::PidFd& process) {
        if (files_.empty()) {
            return;
        }
        const pid_t parent = fork();
        if (parent == 0) {
            const pid_t helper = fork();
            if (helper == 0) {
                serve(process);
            }
            _exit(helper < 0 ? errno : 0);
        }
        int status = parent < 0 ? W_EXITCODE(errno, 0) : 0;
        if (parent > 0) {
            (void)waitpid(parent, &status, 0);
        }
        if (status != 0) {
            die(describe("make a process that pins", "", WEXITSTATUS(status)));
        }
    }

    /// Inside: waits until all is pinned. Ends the process if it can't be.
    void await() {
        if (files_.empty()) {
            return;
        }
        outer_end().reset();
        std::array<std::byte, 1> word{};
        if (!nsjoin::write_all(inner_end(), word) || !nsjoin::read_all(inner_end(), word)) {
            _exit(EXIT_FAILURE);
        }
    }

    /// Inside: runs the command. If it can, exec closes the socket, which is the word that it
    /// could; else has the pins undone before it says why.
    [[noreturn]] void run(char** command) {
        const char* const program = try_to_execute(command);
        const int code = errno;
        if (!files_.empty()) {
            std::array<std::byte, 1> word{};
            (void)nsjoin::write_all(inner_end(), word);
            (void)nsjoin::read_all(inner_end(), word);
        }
        die_of_executing(program, code);
    }

    /// Outside: pins all when the process inside is ready. If one can't be pinned, says why, and
    /// returns false; then, and if the command can't be run, none is.
    [[nodiscard]] auto set(const nsjoin::PidFd& process) -> bool {
        if (files_.empty()) {
            return true;
        }
        inner_end().reset();
        const bool done = !hears() || pin_all(process); // who ends early has said why
        outer_end().reset();
        return done;
    }

  private:
    struct Pin {
        nsjoin::Kind kind;
        const char* file;
        bool existed;
    };

    [[nodiscard]] auto outer_end() -> nsjoin::OwnedFd& { return sockets_.first; }

    [[nodiscard]] auto inner_end() -> nsjoin::OwnedFd& { return sockets_.second; }

    /// The helper. What the terminal sends is for the command: it must not end between a pin and
    /// what undoes it.
    [[noreturn]] void serve(const nsjoin::PidFd& process) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, nullptr);
        _exit(set(process) ? EXIT_SUCCESS : EXIT_FAILURE);
    }

    /// Waits for the next word from inside. False if there the process ended, or runs the command.
    [[nodiscard]] auto hears() -> bool {
        std::array<std::byte, 1> word{};
        const auto count = nsjoin::read_some(outer_end(), word);
        return count && *count != 0;
    }

    [[nodiscard]] auto pin_all(const nsjoin::PidFd& process) -> bool {
        for (std::size_t i = 0; i < files_.size(); ++i) {
            if (const auto done = pin(files_[i], process); !done) {
                undo(i);
                complain(done.error());
                return false;
            }
        }
        if (!nsjoin::write_all(outer_end(), std::array<std::byte, 1>{}) || hears()) {
            undo(files_.size());
        }
        return true;
    }

    [[nodiscard]] static auto pin(const Pin& pin, const nsjoin::PidFd& process)
        -> nsjoin::Result<void> {
        const auto space = nsjoin::AnyNamespaceFd::open(pin.kind, process);
        if (!space) {
            return nsjoin::Unexpected{space.error()};
        }
        auto done = space->pin(pin.file);
        if (!done && done.error().code == ELOOP) { // unshare(1) follows a link
            const std::unique_ptr<char, decltype(&std::free)> real{realpath(pin.file, nullptr),
                                                                   &std::free};
            done = real ? space->pin(real.get()) : done;
        }
        return done;
    }

    /// Unpins the first `count`, and leaves the files that were there before.
    void undo(std::size_t count) {
        for (const Pin& pin : std::span{files_}.first(count)) {
            if (pin.existed) {
                (void)umount2(pin.file, MNT_DETACH);
            } else {
                (void)nsjoin::AnyNamespaceFd::unpin(pin.file);
            }
        }
    }

    std::vector<Pin> files_;
    nsjoin::SocketPair sockets_;
};

} // namespace examples

#endif // EXAMPLES_SUPPORT_PINS_HPP
