// SPDX-License-Identifier: Apache-2.0

// What joiner.cpp does, by hand: joins all namespaces of a process but its time namespace, and runs
// a command there. With the checks that a program needs, and no more.

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int complain(const char* what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

int main(int count, char** arguments) {
    if (count < 3) {
        return 2;
    }
    const int target = (int)syscall(SYS_pidfd_open, atoi(arguments[1]), 0);
    if (target < 0) {
        return complain("pidfd_open");
    }
    if (setns(target, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                          CLONE_NEWUTS | CLONE_NEWCGROUP) != 0) {
        return complain("setns");
    }
    const pid_t child = fork();
    if (child == 0) {
        execvp(arguments[2], arguments + 2);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return complain("fork");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
