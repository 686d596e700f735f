// SPDX-License-Identifier: Apache-2.0
// tree [--json | --svg]: this machine's namespaces as a tree: who owns which, who lives there, and
// what keeps them alive without a process.
#include "tree/machine.hpp"
#include "tree/views.hpp"

#include <nsjoin/explain.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

auto main(int argc, char** argv) -> int {
    const std::string_view option{argc > 1 ? argv[1] : ""};
    if (argc > 2 || (argc == 2 && option != "--json" && option != "--svg")) {
        const bool asked = option == "--help";
        std::fputs("usage: tree [--json | --svg]\n", asked ? stdout : stderr);
        return asked ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    const auto machine = tree::look();
    if (!machine) {
        std::fprintf(stderr, "tree: %s\n", nsjoin::explain(machine.error()).c_str());
        return EXIT_FAILURE;
    }
    const std::string text = option == "--json"  ? tree::as_json(*machine)
                             : option == "--svg" ? tree::as_svg(*machine)
                                                 : tree::as_text(*machine);
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? EXIT_SUCCESS
                                                                           : EXIT_FAILURE;
}
