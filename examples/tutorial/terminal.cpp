// SPDX-License-Identifier: Apache-2.0
// terminal COMMAND [ARGUMENT...]: runs a command on a terminal of its own, in a new UTS namespace,
// and prints what it writes there.
#include <nsjoin/console.hpp>
#include <nsjoin/explain.hpp>
#include <nsjoin/join.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <unistd.h>

static auto complain(const nsjoin::Error& error) -> int {
    std::fprintf(stderr, "terminal: %s\n", nsjoin::explain(error).c_str());
    return EXIT_FAILURE;
}

auto main(int argc, char** argv) -> int {
    if (argc < 2) {
        std::fputs("usage: terminal COMMAND [ARGUMENT...]\n", stderr);
        return EXIT_FAILURE;
    }
    auto console = nsjoin::Console::open();
    if (!console) {
        return complain(console.error());
    }
    auto side = nsjoin::join_and_clone(
        nsjoin::JoinPlan{}.create<nsjoin::Kind::uts>().console(console->peer.fd()));
    if (!side) {
        return complain(side.error());
    }
    if (side->is_child()) {
        execvp(argv[1], argv + 1);
        std::perror(argv[1]);
        _exit(127);
    }
    (void)console->peer.release().reset(); // so that the command's end is the terminal's
    std::array<char, 4096> text{};
    ssize_t length = 0;
    while ((length = read(console->master.fd().get(), text.data(), text.size())) > 0) {
        std::fwrite(text.data(), 1, static_cast<std::size_t>(length), stdout);
    }
    const auto status = side->child().wait();
    return status ? status->exit_code() : complain(status.error());
}
