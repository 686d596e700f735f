// SPDX-License-Identifier: Apache-2.0
//
// pty_driver COMMAND [ARGUMENT...]: a user at a terminal. Runs the command on a pseudoterminal and
// does what standard input says, a line a step:
//
//     send TEXT         types it; \r is Enter, \xHH any byte, \\ a backslash
//     expect TEXT       waits until it is printed after what was expected before
//     resize ROWS COLS  changes the size of the window
//     shell COMMAND     runs it beside the terminal; it has to succeed
//     bytes COUNT       types that many bytes of all values; exactly they have to come back
//     hangup            closes the terminal
//     end CODE          waits until the command ended, with that exit code
//
// Exits with 0, or at the first step that goes wrong, with 1 and a line that says what was seen.
// It uses nothing of the library under test.
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <poll.h>
#include <pty.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace {

using Clock = std::chrono::steady_clock;

/// How long a step may take.
constexpr std::chrono::seconds patience{15};

struct Session {
    int terminal = -1;
    pid_t command = -1;
    std::string seen; ///< printed, and not expected yet
};

[[nodiscard]] auto printable(std::string_view text) -> std::string {
    std::string result;
    for (const char c : text) {
        if (c == '\r') {
            result += "\\r";
        } else if (c == '\n') {
            result += "\\n";
        } else if (static_cast<unsigned char>(c) < ' ') {
            result += '^';
            result += static_cast<char>(c + '@');
        } else {
            result += c;
        }
    }
    return result;
}

[[nodiscard]] auto unescaped(std::string_view text) -> std::string {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            result += text[i];
            continue;
        }
        const char next = text[++i];
        if (next == 'r') {
            result += '\r';
        } else if (next == 'x' && i + 2 < text.size()) {
            unsigned value = 0;
            std::from_chars(&text[i + 1], &text[i + 1] + 2, value, 16);
            result += static_cast<char>(value);
            i += 2;
        } else {
            result += next;
        }
    }
    return result;
}

[[nodiscard]] auto number(std::string_view text) -> int {
    int value = -1;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

/// Moves bytes for at most 50 ms: what there is to type, and what is printed. Returns false when
/// the terminal is hung up.
[[nodiscard]] auto relay(Session& session, std::string_view& typed) -> bool {
    const auto wanted = static_cast<short>(typed.empty() ? POLLIN : POLLIN | POLLOUT);
    pollfd entry{session.terminal, wanted, 0};
    if (poll(&entry, 1, 50) <= 0) {
        return true;
    }
    if ((entry.revents & POLLIN) != 0) {
        std::array<char, 4096> buffer{};
        const ssize_t count = read(session.terminal, buffer.data(), buffer.size());
        session.seen.append(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
        return count > 0;
    }
    if ((entry.revents & POLLOUT) != 0) {
        const ssize_t count = write(session.terminal, typed.data(), typed.size());
        typed.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
        return count > 0 || errno == EAGAIN;
    }
    return false;
}

[[nodiscard]] auto wrong(const Session& session, const std::string& expected) -> bool {
    constexpr std::size_t most = 1000;
    const std::string_view seen = session.seen;
    std::printf("expected %s, seen \"%s\"\n", expected.c_str(),
                printable(seen.substr(seen.size() - std::min(seen.size(), most))).c_str());
    return false;
}

[[nodiscard]] auto send(Session& session, std::string_view text) -> bool {
    const auto end = Clock::now() + patience;
    while (!text.empty() && Clock::now() < end && relay(session, text)) {
    }
    return text.empty() || wrong(session, "the terminal to take input");
}

[[nodiscard]] auto expect(Session& session, const std::string& text) -> bool {
    const auto end = Clock::now() + patience;
    std::string_view nothing;
    for (bool open = true; open || session.seen.find(text) != std::string::npos;) {
        const std::size_t place = session.seen.find(text);
        if (place != std::string::npos) {
            session.seen.erase(0, place + text.size());
            return true;
        }
        open = relay(session, nothing) && Clock::now() < end;
    }
    return wrong(session, "\"" + printable(text) + "\"");
}

[[nodiscard]] auto resize(Session& session, const std::string& size) -> bool {
    winsize window{};
    window.ws_row = static_cast<unsigned short>(number(size));
    window.ws_col = static_cast<unsigned short>(number(size.substr(size.find(' ') + 1)));
    return ioctl(session.terminal, TIOCSWINSZ, &window) == 0 || wrong(session, "a new size");
}

[[nodiscard]] auto shell(Session& session, const std::string& command) -> bool {
    return std::system(command.c_str()) == 0 || wrong(session, "success of: " + command);
}

[[nodiscard]] auto bytes(Session& session, std::size_t count) -> bool {
    std::string text(count, '\0');
    unsigned state = 1;
    for (char& c : text) {
        state = state * 1664525U + 1013904223U;
        c = static_cast<char>(state >> 24U);
    }
    session.seen.clear();
    const auto end = Clock::now() + patience;
    std::string_view typed = text;
    while (session.seen.size() < count && Clock::now() < end && relay(session, typed)) {
    }
    if (session.seen == text) {
        session.seen.clear();
        return true;
    }
    const auto differs =
        std::mismatch(text.begin(), text.end(), session.seen.begin(), session.seen.end());
    std::printf("expected %zu bytes back, seen %zu, the first %td unchanged\n", count,
                session.seen.size(), differs.first - text.begin());
    return false;
}

[[nodiscard]] auto ended(Session& session, const std::string& code) -> bool {
    const auto end = Clock::now() + patience;
    int status = 0;
    std::string_view nothing;
    for (bool open = true; Clock::now() < end;) {
        if (waitpid(session.command, &status, WNOHANG) == session.command) {
            session.command = -1;
            const int seen = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            return seen == number(code) ||
                   wrong(session, "exit code " + code + ", not " + std::to_string(seen));
        }
        // A command that prints into a full terminal never ends.
        open = open && session.terminal >= 0 && relay(session, nothing);
        if (!open) {
            usleep(10'000);
        }
    }
    return wrong(session, "the command to end");
}

[[nodiscard]] auto hang_up(Session& session) -> bool {
    return close(std::exchange(session.terminal, -1)) == 0;
}

[[nodiscard]] auto step(Session& session, const std::string& line) -> bool {
    const std::size_t blank = line.find(' ');
    const std::string word = line.substr(0, blank);
    const std::string rest = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (word == "send") {
        return send(session, unescaped(rest));
    }
    if (word == "expect") {
        return expect(session, unescaped(rest));
    }
    if (word == "resize") {
        return resize(session, rest);
    }
    if (word == "shell") {
        return shell(session, rest);
    }
    if (word == "bytes") {
        return bytes(session, static_cast<std::size_t>(number(rest)));
    }
    if (word == "hangup") {
        return hang_up(session);
    }
    if (word == "end") {
        return ended(session, rest);
    }
    return wrong(session, "a step, not \"" + line + "\"");
}

void clean_up(Session& session) {
    if (session.command > 0) {
        kill(session.command, SIGKILL);
        waitpid(session.command, nullptr, 0);
    }
}

} // namespace

auto main(int argc, char** argv) -> int {
    if (argc < 2) {
        std::fputs("usage: pty_driver COMMAND [ARGUMENT...] < STEPS\n", stderr);
        return 2;
    }
    Session session;
    winsize window{24, 80, 0, 0};
    session.command = forkpty(&session.terminal, nullptr, nullptr, &window);
    if (session.command == 0) {
        execvp(argv[1], argv + 1);
        std::perror(argv[1]);
        _exit(127);
    }
    if (session.command < 0) {
        std::perror("forkpty");
        return 1;
    }
    fcntl(session.terminal, F_SETFD, FD_CLOEXEC);
    fcntl(session.terminal, F_SETFL, O_RDWR | O_NONBLOCK);

    bool right = true;
    for (std::string line; right && std::getline(std::cin, line);) {
        if (!line.empty() && !step(session, line)) {
            std::printf("in: %s\n", line.c_str());
            right = false;
        }
    }
    clean_up(session);
    return right ? 0 : 1;
}
