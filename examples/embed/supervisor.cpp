// SPDX-License-Identifier: Apache-2.0
// Starts any program that embeds nsjoin, in any dialect, and says what it reports.
#include <nsjoin/explain.hpp>
#include <nsjoin/supervisor.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
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

/// Takes one option off the front of the arguments; false if it is none, or a wrong one.
auto take_option(Request& request, char**& argument) -> bool {
    const std::string_view name{*argument++};
    if (name == "--explain") {
        return request.explain = true;
    }
    if (name == "--debug") {
        request.options.log = print_log;
        request.options.log_level = nsjoin::LogLevel::debug;
        return true;
    }
    if (name == "--map") {
        request.draft.maps.emplace(nsjoin::NewUser{*nsjoin::IdMap::single(0, geteuid()),
                                                   *nsjoin::IdMap::single(0, getegid())});
        return true;
    }
    if (*argument == nullptr) {
        return false;
    }
    const char* const value = *argument++;
    if (name == "--dialect") {
        return read_dialect(value, request.options.dialect);
    }
    if (name == "--create") {
        return read_kinds(value, request.draft.created);
    }
    if (name == "--target") {
        auto target = nsjoin::PidFd::open(std::atoi(value));
        if (target) {
            request.target.emplace(*std::move(target));
            request.draft.join(*request.target, nsjoin::all_kinds);
        } else {
            complain(target.error());
        }
        return request.target.has_value();
    }
    return false;
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

auto main(int /*argc*/, char** argv) -> int {
    Request request;
    char** argument = argv + 1;
    while (*argument != nullptr && std::string_view{*argument}.substr(0, 2) == "--") {
        if (std::string_view{*argument} == "--help") {
            std::fputs(usage.data(), stdout);
            return EXIT_SUCCESS;
        }
        if (!take_option(request, argument)) {
            std::fputs(usage.data(), stderr);
            return EXIT_FAILURE;
        }
    }
    if (*argument == nullptr) {
        std::fputs(usage.data(), stderr);
        return EXIT_FAILURE;
    }
    request.options.program = *argument;
    request.options.arguments.clear();
    for (; *argument != nullptr; ++argument) {
        request.options.arguments.emplace_back(*argument);
    }
    for (char** variable = environ; *variable != nullptr; ++variable) {
        request.options.environment.emplace_back(*variable);
    }
    return run(request);
}
