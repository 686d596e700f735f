// SPDX-License-Identifier: Apache-2.0
// The commands of a runtime. runtime.md of the OCI runtime specification.
#ifndef EXAMPLES_OCI_CONTAINER_HPP
#define EXAMPLES_OCI_CONTAINER_HPP

#include "hooks.hpp"
#include "mounts.hpp"
#include "process.hpp"
#include "seccomp.hpp"
#include "state.hpp"

#include <nsjoin/open_side.hpp>

#include <ctime>
#include <deque>
#include <iostream>

namespace oci {

struct Options {
    std::string root, id, bundle = ".", pid_file, console_socket, process, user, directory;
    Words environment, words;
    bool detach = false, terminal = false, force = false, all = false;
    int preserved = 0;
};

inline auto now() -> std::string {
    const std::time_t seconds = std::time(nullptr);
    char text[32]{}; // NOLINT(*-avoid-c-arrays)
    (void)std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&seconds));
    return text;
}

inline auto id_map(const json& lines) -> nsjoin::IdMap {
    std::vector<nsjoin::IdExtent> extents;
    for (const json& line : lines) {
        extents.push_back({line.at("containerID"), line.at("hostID"), line.at("size")});
    }
    return extents.empty() ? nsjoin::IdMap::none() : need(nsjoin::IdMap::from(extents));
}

/// The plan of a container, and what it borrows.
class ContainerPlan {
  public:
    ContainerPlan(const json& config, const Words& cgroups) : filter_{compile_filter(config)} {
        for (const json& entry : at(config, "linux/namespaces")) {
            say_namespace(entry);
        }
        if (!draft.created.contains(nsjoin::Kind::mount)) {
            throw Failure{"a container without a mount namespace of its own is not supported"};
        }
        if (draft.created.contains(nsjoin::Kind::user)) {
            draft.maps = {id_map(at(config, "linux/uidMappings")),
                          id_map(at(config, "linux/gidMappings"))};
        }
        draft.propagation = nsjoin::Propagation::slave;
        draft.loopback_up = draft.created.contains(nsjoin::Kind::net);
        draft.host_name = need(nsjoin::HostName::from(get<std::string>(config, "hostname")));
        draft.domain_name = need(nsjoin::HostName::from(get<std::string>(config, "domainname")));
        root_ = at(config, "root/path");
        draft.new_root = root_;
        enter(cgroups);
        if (!filter_.empty()) {
            draft.filter = {filter_};
        }
    }

    void enter(const Words& cgroups) {
        for (const std::string& directory : cgroups) {
            draft.enter(opened_.emplace_back(open_file(directory, O_PATH | O_DIRECTORY)));
        }
    }

    nsjoin::Draft draft;

  private:
    void say_namespace(const json& entry) {
        nsjoin::Kind kind{};
        const auto type = entry.at("type").get<std::string>();
        if (!nsjoin::kind_from_oci_name(type, kind)) {
            throw Failure{"no kind of namespace is called " + type};
        }
        const auto path = get<std::string>(entry, "path");
        if (path.empty()) {
            draft.created = draft.created | kind;
            return;
        }
        const auto& space = spaces_.emplace_back(need(nsjoin::AnyNamespaceFd::open(path.c_str())));
        if (space.kind() != kind) {
            throw Failure{path + " is no namespace of the kind " + type};
        }
        draft.join(space);
    }

    std::vector<sock_filter> filter_;
    std::string root_;
    std::deque<nsjoin::OwnedFd> opened_;
    std::deque<nsjoin::AnyNamespaceFd> spaces_;
};

/// The container's first process waits until it is started, and becomes its program.
[[noreturn]] inline void become_program(nsjoin::OpenSide& side, const nsjoin::OwnedFd& fifo,
                                        const json& config, State& state,
                                        const ProcessCommand& command) {
    const auto done = guarded([&] {
        (void)need(side.report());
        char word = 0;
        (void)check(read(fifo.get(), &word, 1), "wait for the start");
        run_hooks(config, "startContainer", state.told("created"));
    });
    if (done) {
        side.execute(command.command());
    }
    std::cerr << nsjoin::explain(done.error()) << '\n';
    _exit(EXIT_FAILURE);
}

inline void remove(const State& state, const json& config) {
    remove_cgroups(get<Words>(state.facts, "cgroups"));
    state.remove();
    run_hooks(config, "poststop", state.told("stopped"));
}

inline auto make_container(const Options& options, const json& config, State& state)
    -> nsjoin::PidFd {
    const json& process = config.at("process");
    const auto cgroups = get<Words>(state.facts, "cgroups");
    const auto directory = get<std::string>(process, "cwd", "/");
    const auto fifo = open_file(state.fifo(), O_RDWR);
    const ProcessCommand command{process, options.preserved};
    ContainerPlan plan{config, cgroups};
    say_process(plan.draft, process, directory);
    Terminal terminal{process, options.console_socket};
    const RuntimeHooks hooks{config, state.facts};
    auto ready = [&]() noexcept {
        return guarded([&] {
            const auto self = std::filesystem::read_symlink("/proc/self").string();
            state.facts["pid"] = std::stoi(self); // as it is known outside
            const Rootfs root = furnish(config, cgroups);
            hooks.run(state.facts["pid"]);
            run_hooks(config, "createContainer", state.told("creating"));
            terminal.make(root.find("/dev/pts"), &root);
            restrict(root, config);
        });
    };
    auto last = [&]() noexcept {
        return guarded([&] {
            terminal.take();
            command.look();
        });
    };
    plan.draft.call(nsjoin::Moment::namespaces_ready, ready);
    plan.draft.call(nsjoin::Moment::last, last);
    set_limits(process);
    auto side =
        need(nsjoin::join_and_clone(need(nsjoin::Plan::from(plan.draft)), nsjoin::keep_channel));
    if (side.is_child()) {
        become_program(side, fifo, config, state, command);
    }
    return need(side.await_program());
}

inline void tell_pid(const Options& options, const nsjoin::PidFd& child) {
    if (!options.pid_file.empty()) {
        write_file(options.pid_file, std::to_string(child.pid()), O_CREAT | O_TRUNC);
    }
}

inline auto create(const Options& options) -> nsjoin::PidFd {
    (void)check(chdir(options.bundle.c_str()), "go to the bundle " + options.bundle);
    json config = parse_file("config.json");
    config["root"]["path"] = std::filesystem::canonical(config["root"]["path"]).string();
    State state{options.root, options.id};
    state.make();
    Words cgroups;
    try {
        state.facts = {{"ociVersion", "1.0.2"},
                       {"id", options.id},
                       {"bundle", std::filesystem::current_path().string()},
                       {"created", now()},
                       {"annotations", get<json>(config, "annotations", json::object())}};
        make_cgroups(config, cgroups);
        state.facts["cgroups"] = cgroups;
        auto child = make_container(options, config, state);
        state.facts["pid"] = child.pid();
        state.facts["start"] = start_time(child.pid());
        state.save();
        tell_pid(options, child);
        return child;
    } catch (...) {
        remove_cgroups(cgroups);
        state.remove();
        throw;
    }
}

inline auto load(const Options& options) -> State {
    State state{options.root, options.id};
    if (!state.exists()) {
        throw Failure{"container " + options.id + " does not exist"};
    }
    state.load();
    return state;
}

inline auto config_of(const State& state) -> json {
    return parse_file(state.facts.at("bundle").get<std::string>() + "/config.json");
}

inline void start(const Options& options) {
    const State state = load(options);
    const json config = config_of(state);
    if (state.status() != std::string_view{"created"}) {
        throw Failure{"the container is " + std::string{state.status()} + ", not created"};
    }
    const auto fifo = open_file(state.fifo(), O_WRONLY | O_NONBLOCK);
    (void)check(unlink(state.fifo().c_str()), "start the container"); // by one alone
    (void)check(write(fifo.get(), "", 1), "start the container");
    run_hooks(config, "poststart", state.told("running"));
}

/// The process of the options, or that of the configuration as they change it.
inline auto process_of(const Options& options, const json& config) -> json {
    if (!options.process.empty()) {
        return parse_file(options.process);
    }
    json process = config.at("process");
    process["args"] = options.words;
    process["terminal"] = options.terminal;
    for (const std::string& variable : options.environment) {
        process["env"].push_back(variable);
    }
    if (!options.directory.empty()) {
        process["cwd"] = options.directory;
    }
    if (!options.user.empty()) {
        const std::size_t colon = options.user.find(':');
        process["user"]["uid"] = number_of(options.user.substr(0, colon));
        if (colon != std::string::npos) {
            process["user"]["gid"] = number_of(options.user.substr(colon + 1));
        }
    }
    return process;
}

inline auto exec(const Options& options) -> int {
    const State state = load(options);
    const auto target = state.init();
    if (!target) {
        throw Failure{"cannot exec in a stopped container"};
    }
    const json config = config_of(state);
    const json process = process_of(options, config);
    const auto directory = get<std::string>(process, "cwd", "/");
    const auto filter = compile_filter(config);
    std::deque<nsjoin::OwnedFd> cgroups;
    nsjoin::Draft draft;
    draft.join(*target, nsjoin::all_kinds);
    for (const std::string path : at(state.facts, "cgroups")) {
        draft.enter(cgroups.emplace_back(open_file(path, O_PATH | O_DIRECTORY)));
    }
    say_process(draft, process, directory);
    if (!filter.empty()) {
        draft.filter = {filter};
    }
    Terminal terminal{process, options.console_socket};
    auto ready = [&]() noexcept {
        return guarded([&] {
            (void)setfsuid(0);
            terminal.make(open_file("/dev/pts", O_PATH | O_DIRECTORY), nullptr);
        });
    };
    const ProcessCommand command{process, options.preserved};
    auto last = [&]() noexcept {
        return guarded([&] {
            terminal.take();
            command.look();
        });
    };
    if (get<bool>(process, "terminal")) {
        draft.call(nsjoin::Moment::namespaces_ready, ready);
    }
    draft.call(nsjoin::Moment::last, last);
    set_limits(process);
    const auto child =
        need(nsjoin::join_and_exec(need(nsjoin::Plan::from(draft)), command.command()));
    tell_pid(options, child);
    return options.detach ? 0 : need(child.wait()).exit_code();
}

inline void send_signal(const Options& options, int number) {
    const State state = load(options);
    const auto init = state.init();
    if (options.all) {
        for (const std::string directory : at(state.facts, "cgroups")) {
            for (const pid_t pid : members(directory)) {
                (void)kill(pid, number);
            }
        }
    }
    if (init) {
        need(init->send_signal(number));
    } else if (!options.all) {
        throw Failure{"container not running"};
    }
}

inline void remove_container(const Options& options) {
    if (options.force && !State{options.root, options.id}.exists()) {
        return;
    }
    const State state = load(options);
    if (const auto init = state.init()) {
        if (!options.force) {
            throw Failure{"the container is not stopped: delete --force"};
        }
        need(init->send_signal(SIGKILL));
        for (int attempt = 0; init->alive() && attempt < 1000; ++attempt) {
            (void)usleep(10'000);
        }
    }
    json config;
    try {
        config = config_of(state);
    } catch (const std::exception&) { // the bundle may be gone by now
    }
    remove(state, config);
}

} // namespace oci

#endif // EXAMPLES_OCI_CONTAINER_HPP
