// SPDX-License-Identifier: Apache-2.0
// Starts any program that embeds nsjoin, in any dialect, and says what it reports.
#include <nsjoin/explain.hpp>
#include <nsjoin/supervisor.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <getopt.h>
#include <optional>
#include <string_view>
#include <unistd.h>

static constexpr std::string_view usage =
    R"(usage: supervisor [--dialect NAME] [--target PID] [--create KINDS] [--map] PROGRAM [ARGUMENT...]
  --dialect NAME   environment, runc-2016, runc-1.1 or runc-1.2 (the default)
  --target PID     join the namespaces of this process
  --create KINDS   create these, as "user,net,pid"
  --map            map id 0 of the created user namespace to the caller's
  --explain        print the plan, and do nothing
  --debug          print the program's log
The program is one that embeds the constructor, with the same dialect: supervisor --target PID ./embed PID COMMAND
)";

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "supervisor: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

namespace {

struct Request {
    nsjoin::Draft draft;
    nsjoin::SupervisorOptions options;
    std::optional<nsjoin::PidFd> target;
    bool explain = false;
};

auto read_dialect(std::string_view name, nsjoin::Dialect& dialect) -> bool {
    for (const nsjoin::Dialect each : {nsjoin::Dialect::environment, nsjoin::Dialect::runc_2016,
                                       nsjoin::Dialect::runc_1_1, nsjoin::Dialect::runc_1_2}) {
        if (nsjoin::facts(each).name == name) {
            dialect = each;
            return true;
        }
    }
    return false;
}

auto read_kinds(std::string_view names, nsjoin::KindSet& kinds) -> bool {
    while (!names.empty()) {
        const std::string_view name = names.substr(0, names.find(','));
        names.remove_prefix(std::min(names.size(), name.size() + 1));
        nsjoin::Kind kind{};
        if (!nsjoin::kind_from_name(name, kind)) {
            return false;
        }
        kinds = kinds | kind;
    }
    return true;
}

void print_log(nsjoin::LogLevel /*level*/, std::string_view text) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

[[noreturn]] void refuse(const char* what, const char* value) {
    std::fprintf(stderr, "supervisor: %s: %s\n%s", what, value, usage.data());
    std::exit(EXIT_FAILURE);
}

void take_target(Request& request, const char* pid) {
    auto target = nsjoin::PidFd::open(std::atoi(pid));
    if (!target) {
        std::exit(complain(target.error()));
    }
    request.target.emplace(*std::move(target));
    request.draft.join(*request.target, nsjoin::all_kinds);
}

/// Takes an option, or ends the program.
void take_option(Request& request, int chosen) {
    switch (chosen) {
    case 'd':
        if (!read_dialect(optarg, request.options.dialect)) {
            refuse("there is no such dialect", optarg);
        }
        break;
    case 't':
        take_target(request, optarg);
        break;
    case 'c':
        if (!read_kinds(optarg, request.draft.created)) {
            refuse("there is no such kind", optarg);
        }
        break;
    case 'm':
        request.draft.maps.emplace(nsjoin::NewUser{*nsjoin::IdMap::single(0, geteuid()),
                                                   *nsjoin::IdMap::single(0, getegid())});
        break;
    case 'e':
        request.explain = true;
        break;
    case 'l':
        request.options.log = print_log;
        request.options.log_level = nsjoin::LogLevel::debug;
        break;
    case 'h':
        std::fputs(usage.data(), stdout);
        std::exit(EXIT_SUCCESS);
    default: // getopt_long(3) has said what is wrong
        std::exit(EXIT_FAILURE);
    }
}

auto run(const Request& request) -> int {
    const auto plan = nsjoin::Plan::from(request.draft);
    if (!plan) {
        return complain(plan.error());
    }
    if (request.explain) {
        std::fputs(nsjoin::explain(*plan).c_str(), stdout);
        return EXIT_SUCCESS;
    }
    const auto embedded = nsjoin::supervise(*plan, request.options);
    if (!embedded) {
        return complain(embedded.error());
    }
    const auto status = embedded->child.wait();
    return status ? status->exit_code() : complain(status.error());
}

} // namespace

auto main(int argc, char** argv) -> int {
    const std::array<option, 8> names{{{"dialect", required_argument, nullptr, 'd'},
                                       {"target", required_argument, nullptr, 't'},
                                       {"create", required_argument, nullptr, 'c'},
                                       {"map", no_argument, nullptr, 'm'},
                                       {"explain", no_argument, nullptr, 'e'},
                                       {"debug", no_argument, nullptr, 'l'},
                                       {"help", no_argument, nullptr, 'h'},
                                       {}}};
    Request request;
    // A program without the constructor, or of another dialect, may never answer.
    request.options.deadline = std::chrono::seconds{10};
    for (int chosen = 0; (chosen = getopt_long(argc, argv, "+", names.data(), nullptr)) != -1;) {
        take_option(request, chosen);
    }
    if (optind == argc) {
        refuse("name the program", "one that embeds the constructor");
    }
    request.options.program = argv[optind];
    request.options.arguments.assign(argv + optind, argv + argc);
    return run(request);
}
