// SPDX-License-Identifier: Apache-2.0
// A program that embeds nsjoin, for tests of constructor and supervisor. How its constructor
// behaves, and what its main does, the environment says.
#include <nsjoin/constructor.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <string>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

auto is(const char* name, const char* value) -> bool {
    const char* const set = std::getenv(name);
    return set != nullptr && std::strcmp(set, value) == 0;
}

void say_joining(const nsjoin::Plan& plan) noexcept {
    (void)!::write(STDOUT_FILENO, "before\n", plan.parts().new_session ? 7 : 0);
}

void say_child(const nsjoin::Plan& plan) noexcept {
    (void)!::write(STDOUT_FILENO, "hook\n", plan.parts().new_session ? 5 : 0);
}

auto options() -> nsjoin::ConstructorOptions {
    nsjoin::ConstructorOptions options;
    for (const nsjoin::Dialect dialect : {nsjoin::Dialect::environment, nsjoin::Dialect::runc_2016,
                                          nsjoin::Dialect::runc_1_1, nsjoin::Dialect::runc_1_2}) {
        if (is("PROBE_DIALECT", nsjoin::facts(dialect).name.data())) {
            options.dialect = dialect;
        }
    }
    if (std::getenv("PROBE_SEAL") != nullptr) {
        options.seal = is("PROBE_SEAL", "yes");
    }
    if (std::getenv("PROBE_DEADLINE") != nullptr) {
        options.deadline = std::chrono::milliseconds{500};
    }
    if (std::getenv("PROBE_HOOKS") != nullptr) {
        options.before_join = say_joining;
        options.in_child = say_child;
    }
    return options;
}

auto thread_body(void* how) -> void* {
    if (how != nullptr) {
        nsjoin::bootstrap(options());
    }
    ::pause();
    return nullptr;
}

/// A constructor without a priority, as an embedding program may have for its own ends.
[[gnu::constructor]] void start_thread() {
    pthread_t thread{};
    if (std::getenv("PROBE_THREAD") != nullptr) {
        (void)pthread_create(&thread, nullptr, thread_body, nullptr);
    }
}

[[gnu::constructor(101)]] void enter() {
    if (std::getenv("PROBE_IN_MAIN") == nullptr) {
        nsjoin::bootstrap(options());
    }
}

[[gnu::constructor(102)]] void enter_too_late() {
    if (std::getenv("PROBE_LATE") != nullptr) {
        pthread_t thread{};
        (void)pthread_create(&thread, nullptr, thread_body, nullptr);
        nsjoin::bootstrap(options());
    }
}

auto link(const std::string& path) -> std::string {
    std::string text(256, '\0');
    const ssize_t length = ::readlink(path.c_str(), text.data(), text.size());
    text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return text;
}

auto own_name() -> std::string {
    std::array<char, 16> name{};
    ::prctl(PR_GET_NAME, name.data());
    return name.data();
}

void print_state(int argc, char** argv) {
    std::printf("pid %d sid %d uid %u gid %u groups %d dumpable %d name %s\n", ::getpid(),
                ::getsid(0), ::getuid(), ::getgid(), ::getgroups(0, nullptr),
                ::prctl(PR_GET_DUMPABLE), own_name().c_str());
    std::printf("exe %s\n", link("/proc/self/exe").c_str());
    for (const char* space : {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"}) {
        std::printf("%s\n", link(std::string{"/proc/self/ns/"} + space).c_str());
    }
    for (int i = 0; i < argc; ++i) {
        std::printf("argument <%s>\n", argv[i]);
    }
    std::fflush(stdout);
}

/// What is open under these numbers.
void print_links(const char* numbers) {
    char* end = nullptr;
    for (long fd = std::strtol(numbers, &end, 10); fd != 0; fd = std::strtol(end, &end, 10)) {
        const int flags = ::fcntl(static_cast<int>(fd), F_GETFD);
        std::printf("%ld is %s%s\n", fd, link("/proc/self/fd/" + std::to_string(fd)).c_str(),
                    flags >= 0 && (flags & FD_CLOEXEC) != 0 ? " cloexec" : "");
    }
    std::fflush(stdout);
}

/// The numbers of all descriptors.
void print_open() {
    std::printf("open:");
    for (int fd = 0; fd < 1024; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) {
            std::printf(" %d", fd);
        }
    }
    std::printf("\n");
    std::fflush(stdout);
}

/// Whether the file, "NUMBER PATH", is open under that number.
auto holds(const char* wanted) -> bool {
    char* path = nullptr;
    const long fd = std::strtol(wanted, &path, 10);
    return link("/proc/self/fd/" + std::to_string(fd)) == path + 1;
}

/// Waits for a byte of the supervisor, as a runtime does for its configuration.
void await_supervisor() {
    const char* const number = std::getenv("_LIBCONTAINER_INITPIPE");
    char byte = 0;
    if (number != nullptr) {
        (void)!::read(std::atoi(number), &byte, 1);
    }
}

} // namespace

auto main(int argc, char** argv) -> int {
    if (is("PROBE_IN_MAIN", "threads")) {
        for (int i = 0; i < 200; ++i) {
            pthread_t thread{};
            (void)pthread_create(&thread, nullptr, thread_body, i == 100 ? argv : nullptr);
        }
        ::pause();
    }
    if (is("PROBE_IN_MAIN", "yes")) {
        nsjoin::bootstrap(options());
    }
    if (std::getenv("PROBE_HANG") != nullptr) {
        ::pause();
    }
    if (const char* const wanted = std::getenv("PROBE_HOLDS"); wanted != nullptr) {
        return holds(wanted) ? 7 : 8;
    }
    if (const char* const name = std::getenv("PROBE_NAME"); name != nullptr) {
        return own_name() == name ? 7 : 8;
    }
    if (std::getenv("PROBE_QUIET") != nullptr) {
        return 7;
    }
    if (std::getenv("PROBE_SILENT") == nullptr) {
        print_state(argc, argv);
    }
    if (const char* const numbers = std::getenv("PROBE_LINKS"); numbers != nullptr) {
        print_links(numbers);
    }
    if (std::getenv("PROBE_OPEN") != nullptr) {
        print_open();
    }
    if (std::getenv("PROBE_WAIT") != nullptr) {
        await_supervisor();
    }
    return 7;
}
