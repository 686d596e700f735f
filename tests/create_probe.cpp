// SPDX-License-Identifier: Apache-2.0
// create_probe CODE [DEVICE:INODE...]: prints what a process can see of where it is, one fact a
// line, and ends with CODE. The namespaces that are named are "old", all others "new", so that the
// lines of two processes can be compared. Needs no /proc, but says more with one.
#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <linux/capability.h>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

[[nodiscard]] auto id_of(int fd) -> std::string {
    struct stat facts {};

    return fstat(fd, &facts) == 0
               ? std::to_string(facts.st_dev) + ":" + std::to_string(facts.st_ino)
               : "none";
}

/// Old or new, and whether the process's user namespace owns it. ioctl_nsfs(2).
void print_namespace(const char* name, const std::vector<std::string_view>& old) {
    const int user = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    const int space = open((std::string{"/proc/self/ns/"} + name).c_str(), O_RDONLY | O_CLOEXEC);
    const int owner = ioctl(space, 0xb701 /* NS_GET_USERNS */);
    const bool known = std::find(old.begin(), old.end(), id_of(space)) != old.end();
    std::printf("ns %s: %s, owned by %s\n", name,
                space < 0 ? "none"
                : known   ? "old"
                          : "new",
                owner >= 0 && id_of(owner) == id_of(user) ? "this user" : "another");
    uid_t uid = 0;
    if (std::string_view{name} == "user" && ioctl(user, 0xb704 /* NS_GET_OWNER_UID */, &uid) == 0) {
        std::printf("owner of user: %u\n", uid);
    }
    for (const int fd : {user, space, owner}) {
        close(fd);
    }
}

void print_namespaces(const std::vector<std::string_view>& old) {
    for (const char* name : {"user", "mnt", "pid", "pid_for_children", "net", "ipc", "uts",
                             "cgroup", "time", "time_for_children"}) {
        print_namespace(name, old);
    }
}

void print_file(const char* path) {
    std::ifstream file{path};
    for (std::string line; std::getline(file, line);) {
        std::printf("%s: %s\n", path, line.c_str());
    }
}

void print_ids() {
    uid_t ruid = 0;
    uid_t euid = 0;
    uid_t suid = 0;
    gid_t rgid = 0;
    gid_t egid = 0;
    gid_t sgid = 0;
    getresuid(&ruid, &euid, &suid);
    getresgid(&rgid, &egid, &sgid);
    std::printf("uid: %u %u %u\ngid: %u %u %u\ngroups:", ruid, euid, suid, rgid, egid, sgid);
    std::array<gid_t, NGROUPS_MAX> groups{};
    const int count = getgroups(groups.size(), groups.data());
    for (int i = 0; i < count; ++i) {
        std::printf(" %u", groups[static_cast<std::size_t>(i)]);
    }
    std::printf("\n");
}

void print_capabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> words{};
    syscall(SYS_capget, &header, words.data());
    std::printf("effective: %08x%08x\n", words[1].effective, words[0].effective);
    std::printf("permitted: %08x%08x\n", words[1].permitted, words[0].permitted);
    std::printf("inheritable: %08x%08x\n", words[1].inheritable, words[0].inheritable);
    unsigned long long bounding = 0;
    unsigned long long ambient = 0;
    for (unsigned i = 0; i < 64; ++i) {
        bounding |= prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1 ? 1ULL << i : 0;
        ambient |= prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1 ? 1ULL << i : 0;
    }
    std::printf("bounding: %llx\nambient: %llx\n", bounding, ambient);
    std::printf("securebits: %x\n", static_cast<unsigned>(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)));
}

void print_signals() {
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, nullptr, &blocked);
    std::printf("signals:");
    for (int number = 1; number < NSIG; ++number) {
        struct sigaction action {};

        const bool ignored =
            sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
        if (ignored || sigismember(&blocked, number) == 1) {
            std::printf(" %d %s%s", number, ignored ? "ignored" : "", ignored ? "" : "blocked");
        }
    }
    std::printf("\n");
}

void print_process() {
    std::array<char, PATH_MAX> path{};
    std::printf("pid: %s\nparent: %s\n", getpid() == 1 ? "1" : "other",
                getppid() == 0 ? "outside" : "inside");
    const ssize_t length = readlink("/proc/self", path.data(), path.size() - 1);
    const std::string_view self{path.data(),
                                static_cast<std::size_t>(std::max(length, ssize_t{0}))};
    std::printf("/proc: %s\n", length < 0                         ? "none"
                               : self == std::to_string(getpid()) ? "of this pid namespace"
                                                                  : "of another one");
    std::printf("leads its group: %d, its session: %d\n", getpgrp() == getpid(),
                getsid(0) == getpid());
    std::printf("dumpable: %d, descriptors:", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    for (int fd = 0; fd < 256; ++fd) {
        if (fcntl(fd, F_GETFD) >= 0) {
            std::printf(" %d", fd);
        }
    }
    std::printf("\n");
}

void print_directories() {
    struct stat root {};

    std::array<char, PATH_MAX> path{};
    stat("/", &root);
    std::printf("root: %lu\n", static_cast<unsigned long>(root.st_ino));
    std::printf("directory: %s\n",
                getcwd(path.data(), path.size()) != nullptr ? path.data() : "none");
}

/// Each mount without the numbers that differ in every namespace.
void print_mounts() {
    std::ifstream file{"/proc/self/mountinfo"};
    for (std::string line; std::getline(file, line);) {
        std::istringstream words{line};
        std::string word;
        std::string text;
        for (int i = 0; words >> word; ++i) {
            const std::size_t number = word.find(':');
            if (i >= 3) {
                text += " " + (i >= 6 && number != std::string::npos && word[0] != '/'
                                   ? word.substr(0, number)
                                   : word);
            }
        }
        std::printf("mount%s\n", text.c_str());
    }
}

/// How far the clocks are from those of an untouched time namespace, which the environment names.
void print_clocks() {
    const auto distance = [](const char* variable, clockid_t clock) {
        timespec now{};
        clock_gettime(clock, &now);
        const char* base = std::getenv(variable);
        // The runs that are compared are a moment apart.
        return (now.tv_sec - (base != nullptr ? std::atol(base) : 0) + 25) / 50 * 50;
    };
    std::printf("clocks: monotonic %ld boottime %ld\n", distance("BASE_MONOTONIC", CLOCK_MONOTONIC),
                distance("BASE_BOOTTIME", CLOCK_BOOTTIME));
}

} // namespace

auto main(int argc, char** argv) -> int {
    const std::vector<std::string_view> old{argv + std::min(argc, 2), argv + argc};
    if (argc > 1 && std::string_view{argv[1]} == "base") {
        timespec monotonic{};
        timespec boottime{};
        clock_gettime(CLOCK_MONOTONIC, &monotonic);
        clock_gettime(CLOCK_BOOTTIME, &boottime);
        std::printf("%ld %ld\n", monotonic.tv_sec, boottime.tv_sec);
        return 0;
    }
    print_namespaces(old);
    for (const char* path : {"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups",
                             "/proc/self/timens_offsets"}) {
        print_file(path);
    }
    print_ids();
    print_capabilities();
    print_signals();
    print_process();
    print_directories();
    print_mounts();
    print_clocks();
    return argc > 1 ? std::atoi(argv[1]) : 0;
}
