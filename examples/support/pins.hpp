// SPDX-License-Identifier: Apache-2.0
// The files where create pins namespaces. The caller does it, who is outside of them all, when the
// child is ready to run; and undoes it if the child can't.
#ifndef EXAMPLES_SUPPORT_PINS_HPP
#define EXAMPLES_SUPPORT_PINS_HPP

#include "create_options.hpp"

#include <nsjoin/namespace_fd.hpp>
#include <nsjoin/pipe.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <sys/mount.h>
#include <unistd.h>
#include <vector>

namespace examples {

/// Made before the clone, used on both sides of it.
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

    /// In the child: waits until all is pinned. Ends the child if it can't be.
    void await() {
        if (files_.empty()) {
            return;
        }
        caller_end().reset();
        std::array<std::byte, 1> word{};
        if (!nsjoin::write_all(child_end(), word) || !nsjoin::read_all(child_end(), word)) {
            _exit(EXIT_FAILURE);
        }
    }

    /// In the child: runs the command. Returns if it can't be run, and has the pins undone. If it
    /// can, exec closes the socket, which is the word that it could.
    void run(char** command) {
        if (!files_.empty() && *command != nullptr) {
            execvp(*command, command);
            (void)nsjoin::write_all(child_end(), std::array<std::byte, 1>{});
        }
    }

    /// In the caller: pins all when the child is ready. If one can't be pinned, or the command
    /// can't be run, none is.
    [[nodiscard]] auto set(const nsjoin::PidFd& child) -> nsjoin::Result<void> {
        if (files_.empty()) {
            return {};
        }
        child_end().reset();
        if (!hears()) {
            return {}; // the child has said why
        }
        for (std::size_t i = 0; i < files_.size(); ++i) {
            if (auto done = pin(files_[i], child); !done) {
                undo(i);
                caller_end().reset();
                return done;
            }
        }
        if (!nsjoin::write_all(caller_end(), std::array<std::byte, 1>{}) || hears()) {
            undo(files_.size());
        }
        return {};
    }

  private:
    struct Pin {
        nsjoin::Kind kind;
        const char* file;
        bool existed;
    };

    [[nodiscard]] auto caller_end() -> nsjoin::OwnedFd& { return sockets_.first; }

    [[nodiscard]] auto child_end() -> nsjoin::OwnedFd& { return sockets_.second; }

    /// Waits for the child's next word. False if it ended, or runs the command.
    [[nodiscard]] auto hears() -> bool {
        std::array<std::byte, 1> word{};
        const auto count = nsjoin::read_some(caller_end(), word);
        return count && *count != 0;
    }

    [[nodiscard]] static auto pin(const Pin& pin, const nsjoin::PidFd& child)
        -> nsjoin::Result<void> {
        const auto space = nsjoin::AnyNamespaceFd::open(pin.kind, child);
        return space ? space->pin(pin.file) : nsjoin::Unexpected{space.error()};
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
