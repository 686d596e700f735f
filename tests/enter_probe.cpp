// SPDX-License-Identifier: Apache-2.0
// enter_probe [MODE ARGUMENT...]: small programs for the tests of enter; see main(). Without an
// argument prints the inodes of the namespaces that it is in, on one line, and needs no /proc.
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

[[nodiscard]] auto inode(int fd) -> unsigned long {
    struct stat about {};

    return fstat(fd, &about) == 0 ? about.st_ino : 0;
}

[[nodiscard]] auto pidfd_of(pid_t pid) -> int {
    return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

/// user mnt pid net ipc uts cgroup time, then pid and time for children. ioctl_pidfd(2).
auto print_namespaces() -> int {
    const int self = pidfd_of(getpid());
    for (const unsigned request : {9U, 3U, 5U, 4U, 2U, 10U, 1U, 7U, 6U, 8U}) {
        const int space = ioctl(self, 0xff00U | request, 0);
        std::printf("%lu ", inode(space));
        close(space);
    }
    std::puts("");
    return 0;
}

/// How a command ends, which a shell does not tell apart: "exit N" or "signal N".
auto print_end(char** command) -> int {
    const auto on_child = std::signal(SIGCHLD, SIG_DFL); // ignored, it would take the status away
    const pid_t child = fork();
    if (child == 0) {
        std::signal(SIGCHLD, on_child);
        execvp(*command, command);
        _exit(99);
    }
    int status = 0;
    waitpid(child, &status, 0);
    std::printf(WIFEXITED(status) ? "exit %d\n" : "signal %d\n",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return 0;
}

/// Makes a socket, says its number, and waits. Does not keep the network namespace by itself.
auto hold_socket() -> int {
    std::printf("%d\n", socket(AF_INET, SOCK_DGRAM, 0));
    std::fflush(stdout);
    if (unshare(CLONE_NEWNET) != 0) {
        return 1;
    }
    pause();
    return 0;
}

/// Makes a thread in another UTS namespace, which says its id, and waits.
auto hold_thread() -> int {
    std::thread{[] {
        if (unshare(CLONE_NEWUTS) == 0) {
            std::printf("%ld\n", syscall(SYS_gettid));
            std::fflush(stdout);
        }
        pause();
    }}.join();
    return 1;
}

} // namespace

auto main(int argc, char** argv) -> int {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (argv[0][0] == '-') { // a login shell
        std::printf("%s %d\n", argv[0], argc);
        return 0;
    }
    if (mode.empty()) {
        return print_namespaces();
    }
    if (mode == "end") {
        return print_end(argv + 2);
    }
    if (mode == "socket") {
        return hold_socket();
    }
    if (mode == "thread") {
        return hold_thread();
    }
    if (mode == "inode") { // of the pidfd of a process
        std::printf("%lu\n", inode(pidfd_of(std::atoi(argv[2]))));
        return 0;
    }
    if (mode == "process") { // session and process group, and whether the parent is that process
        std::printf("%d %d %d\n", getsid(0), getpgrp(), getppid() == std::atoi(argv[2]));
        return 0;
    }
    if (mode == "hidden") { // not dumpable, so that root owns its directory in /proc
        prctl(PR_SET_DUMPABLE, 0);
        std::puts("ready");
        std::fflush(stdout);
        pause();
    }
    return 2;
}
