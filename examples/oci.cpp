// SPDX-License-Identifier: Apache-2.0
// oci: an OCI runtime, for which Podman is the judge. See oci/README.md for what it lacks.
#include "oci/container.hpp"
#include "support/signal_names.hpp"

#include <nsjoin/version.hpp>

#include <getopt.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>

using oci::Failure;
using oci::Options;
using oci::State;

namespace {

constexpr const char* usage =
    "usage: oci [--root DIRECTORY] [--log FILE] [--log-format text|json] COMMAND [OPTION...] ID\n"
    "  create --bundle DIRECTORY [--pid-file FILE] [--console-socket PATH] [--preserve-fds N] ID\n"
    "  start ID\n"
    "  run    as create, and start; [--detach]\n"
    "  exec   [--detach] [--pid-file FILE] [--console-socket PATH] [--tty] [--user UID[:GID]]\n"
    "         [--cwd DIRECTORY] [--env NAME=VALUE] [--preserve-fds N]\n"
    "         ID COMMAND [ARGUMENT...] | --process FILE ID\n"
    "  kill   [--all] ID [SIGNAL]\n"
    "  delete [--force] ID\n"
    "  state ID\n";

struct Log {
    std::string file;
    bool json = false;

    void tell(const std::string& text) const {
        std::cerr << "oci: " << text << '\n';
        const oci::json line{{"level", "error"}, {"msg", text}, {"time", oci::now()}};
        std::ofstream{file, std::ios::app} << (json ? line.dump() : "oci: " + text) << '\n';
    }
};

/// Where the states are: root's in /run, a user's where it may write.
auto default_root() -> std::string {
    const char* own = std::getenv("XDG_RUNTIME_DIR");
    return std::string{access("/run", W_OK) == 0 || own == nullptr ? "/run" : own} + "/nsjoin-oci";
}

using Texts = std::map<std::string, std::string*>;
using Flags = std::map<std::string, bool*>;

/// The options, by their names or the letters of `brief`; where the other words begin.
auto parse(int count, char** words, const char* brief, const Texts& texts, const Flags& flags,
           oci::Words* variables) -> int {
    std::vector<option> known;
    for (const auto& [name, text] : texts) {
        known.push_back({name.c_str(), required_argument, nullptr, name.front()});
    }
    for (const auto& [name, flag] : flags) {
        known.push_back({name.c_str(), no_argument, nullptr, name.front()});
    }
    known.push_back({});
    optind = 0;
    int place = -1;
    for (int key = 0; (key = getopt_long(count, words, brief, known.data(), &place)) != -1;) {
        for (std::size_t i = 0; place < 0 && i + 1 < known.size(); ++i) {
            place = known[i].val == key ? static_cast<int>(i) : -1;
        }
        const std::string name = place < 0 ? "" : known[static_cast<std::size_t>(place)].name;
        place = -1;
        if (name == "env" && variables != nullptr) {
            variables->emplace_back(optarg);
        } else if (const auto text = texts.find(name); text != texts.end()) {
            *text->second = optarg;
        } else if (const auto flag = flags.find(name); flag != flags.end()) {
            *flag->second = true;
        } else {
            throw Failure{usage};
        }
    }
    return optind;
}

auto parse_command(int count, char** words) -> Options {
    Options options;
    std::string preserved = "0";
    const int first = parse(count, words, "+b:u:e:dtfa",
                            {{"bundle", &options.bundle},
                             {"pid-file", &options.pid_file},
                             {"console-socket", &options.console_socket},
                             {"preserve-fds", &preserved},
                             {"process", &options.process},
                             {"user", &options.user},
                             {"cwd", &options.directory},
                             {"env", nullptr}},
                            {{"detach", &options.detach},
                             {"tty", &options.terminal},
                             {"force", &options.force},
                             {"all", &options.all}},
                            &options.environment);
    if (first >= count) {
        throw Failure{usage};
    }
    options.preserved = oci::integer<int>(oci::number_of(preserved), "--preserve-fds");
    options.id = words[first];
    options.words.assign(words + first + 1, words + count);
    return options;
}

auto run(const Options& options) -> int {
    const auto child = oci::create(options);
    oci::start(options);
    if (options.detach) {
        return EXIT_SUCCESS;
    }
    const int code = oci::need(child.wait()).exit_code();
    oci::remove_container(options);
    return code;
}

auto dispatch(const std::string& command, const Options& options) -> int {
    if (command == "create") {
        (void)oci::create(options);
    } else if (command == "start") {
        oci::start(options);
    } else if (command == "run") {
        return run(options);
    } else if (command == "exec") {
        return oci::exec(options);
    } else if (command == "kill") {
        const char* name = options.words.empty() ? "TERM" : options.words.front().c_str();
        const auto number = examples::parse_signal(name);
        oci::send_signal(
            options, number ? *number : throw Failure{"no such signal: " + options.words.front()});
    } else if (command == "delete") {
        oci::remove_container(options);
    } else if (command == "state") {
        const State state = oci::load(options);
        std::cout << state.told(state.status()) << '\n';
    } else {
        throw Failure{"no such command: " + command + "\n" + usage};
    }
    return EXIT_SUCCESS;
}

auto handle(int count, char** words, Log& log) -> int {
    std::string root = default_root();
    std::string format;
    bool debug = false;
    bool version = false;
    bool help = false;
    const int first =
        parse(count, words, "+vh", {{"root", &root}, {"log", &log.file}, {"log-format", &format}},
              {{"debug", &debug}, {"version", &version}, {"help", &help}}, nullptr);
    log.json = format == "json";
    if (version || help) {
        std::cout << (help ? usage : "oci of nsjoin " NSJOIN_VERSION_TEXT "\nspec: 1.0.2\n");
        return EXIT_SUCCESS;
    }
    if (first >= count) {
        throw Failure{usage};
    }
    const std::string command = words[first];
    Options options = parse_command(count - first, words + first);
    options.root = root;
    return dispatch(command, options);
}

} // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): only the log itself may still throw
auto main(int argc, char** argv) -> int {
    Log log;
    try {
        return handle(argc, argv, log);
    } catch (const std::exception& failure) {
        log.tell(failure.what());
        return EXIT_FAILURE;
    }
}
