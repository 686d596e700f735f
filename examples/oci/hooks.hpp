// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_OCI_HOOKS_HPP
#define EXAMPLES_OCI_HOOKS_HPP

#include "support.hpp"

#include <nsjoin/pipe.hpp>
#include <nsjoin/spawn.hpp>

#include <array>
#include <span>

namespace oci {

inline void run_hook(const json& hook, const std::string& state) {
    const auto path = hook.at("path").get<std::string>();
    auto pipe = need(nsjoin::Pipe::open());
    need(nsjoin::write_all(pipe.write_end, std::as_bytes(std::span{state})));
    pipe.write_end.reset();
    const auto words = get<Words>(hook, "args", {path});
    const auto variables = get<Words>(hook, "env");
    const auto arguments = pointers(words);
    const auto environment = pointers(variables);
    const std::array passed{nsjoin::PassedFd{pipe.read_end, 0}};
    const auto process = need(nsjoin::join_and_exec(
        nsjoin::JoinPlan{}, {.program = nsjoin::Program::at(path.c_str()),
                             .arguments = arguments.data(),
                             .environment = nsjoin::WordList{environment.data()},
                             .descriptors = passed,
                             .signal_mask = sigset_t{}}));
    const int limit = get<int>(hook, "timeout", -1);
    const auto status =
        process.wait(limit < 0 ? nsjoin::PidFd::forever : nsjoin::Duration::seconds(limit));
    if (!status) {
        (void)process.send_signal(SIGKILL);
    }
    if (need(status).exit_code() != 0) {
        throw Failure{"the hook " + path + " ended with " + std::to_string(status->exit_code())};
    }
}

inline void run_hooks(const json& config, const std::string& kind, const std::string& state) {
    for (const json& hook : at(config, "hooks/" + kind)) {
        run_hook(hook, state);
    }
}

/// The hooks that run in the runtime's namespaces while the container is made: by a process that
/// waits until the container has a pid.
class RuntimeHooks {
  public:
    RuntimeHooks(const json& config, json facts) {
        if (at(config, "hooks/prestart").empty() && at(config, "hooks/createRuntime").empty()) {
            return;
        }
        auto pair = need(nsjoin::SocketPair::open(nsjoin::SocketKind::seqpacket));
        const auto side = need(nsjoin::join_and_clone(nsjoin::JoinPlan{}));
        if (!side.is_child()) {
            socket_ = std::move(pair.first);
            return;
        }
        pair.first.reset();
        std::string answer = "done";
        const auto done = guarded([&] {
            pid_t pid = 0;
            need(nsjoin::read_all(pair.second, std::as_writable_bytes(std::span{&pid, 1})));
            facts["pid"] = pid;
            facts["status"] = "creating";
            run_hooks(config, "prestart", facts.dump());
            run_hooks(config, "createRuntime", facts.dump());
        });
        if (!done) {
            answer = done.error().subject.view();
        }
        (void)nsjoin::write_all(pair.second, std::as_bytes(std::span{answer}));
        _exit(0);
    }

    /// For the container's first process: waits until they have run.
    void run(pid_t pid) const {
        if (!socket_.ok()) {
            return;
        }
        std::array<char, 200> answer{};
        need(nsjoin::write_all(socket_, std::as_bytes(std::span{&pid, 1})));
        (void)need(nsjoin::read_some(socket_, std::as_writable_bytes(std::span{answer})));
        if (answer.data() != std::string_view{"done"}) {
            throw Failure{answer.data()};
        }
    }

  private:
    nsjoin::OwnedFd socket_;
};

} // namespace oci

#endif // EXAMPLES_OCI_HOOKS_HPP
