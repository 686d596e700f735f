// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <sys/stat.h>

// The tests compare with what they start from: that is the same wherever they are run, by nohup(1),
// in the background of a shell, or with a umask of one's own.
auto main(int count, char** words) -> int {
    for (int number = 1; number < SIGRTMAX; ++number) {
        (void)::signal(number, SIG_DFL);
    }
    sigset_t none{};
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::umask(022);
    return doctest::Context{count, words}.run();
}
