// SPDX-License-Identifier: Apache-2.0
#include "jobs.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <vector>

extern char** environ; // NOLINT(*-redundant-declaration): the libc's

namespace bench {
namespace {

using nsjoin::Kind;
using nsjoin::KindSet;

/// /dev/null for standard input, output and error, so that no peer waits for or says anything.
auto quiet() -> const posix_spawn_file_actions_t* {
    static const auto actions = [] {
        posix_spawn_file_actions_t made{};
        posix_spawn_file_actions_init(&made);
        for (const int fd : {0, 1, 2}) {
            posix_spawn_file_actions_addopen(&made, fd, "/dev/null", O_RDWR, 0);
        }
        return made;
    }();
    return &actions;
}

auto run_words(const std::vector<std::string>& words) -> Nanoseconds {
    std::vector<char*> pointers;
    for (const std::string& word : words) {
        pointers.push_back(const_cast<char*>(word.c_str())); // NOLINT(*-const-cast)
    }
    pointers.push_back(nullptr);
    return timed([&] {
        pid_t pid = 0;
        int status = 1;
        return ::posix_spawnp(&pid, pointers.front(), quiet(), nullptr, pointers.data(), environ) ==
                   0 &&
               ::waitpid(pid, &status, 0) == pid && status == 0;
    });
}

/// The long options that util-linux has for the kinds.
auto util_linux_options(KindSet kinds) -> std::vector<std::string> {
    std::vector<std::string> options;
    for (const Kind kind : kinds) {
        const std::string_view name = nsjoin::facts(kind).name;
        options.push_back("--" + std::string{kind == Kind::mount ? "mount" : name});
    }
    return options;
}

auto nsenter_words(pid_t target, KindSet kinds, const std::string& program)
    -> std::vector<std::string> {
    std::vector<std::string> words = util_linux_options(kinds);
    words.insert(words.begin(), {"nsenter", "--target", std::to_string(target)});
    words.push_back(program);
    return words;
}

} // namespace

namespace peer {

auto nsenter(KindSet kinds) -> Nanoseconds {
    return run_words(nsenter_words(scene.target, kinds, scene.tiny));
}

auto nsenter_container(KindSet kinds) -> Nanoseconds {
    return run_words(nsenter_words(scene.container, kinds, scene.inside));
}

auto nsenter_fleet(KindSet kinds) -> Nanoseconds {
    return run_words(nsenter_words(next_target(), kinds, scene.tiny));
}

auto unshare(KindSet kinds) -> Nanoseconds {
    std::vector<std::string> words = util_linux_options(kinds);
    words.insert(words.begin(), {"unshare", "--fork"});
    words.push_back(scene.tiny);
    return run_words(words);
}

auto bwrap(KindSet kinds) -> Nanoseconds {
    std::vector<std::string> words{"bwrap", "--dev-bind", "/", "/"};
    for (const Kind kind : kinds) {
        if (kind != Kind::mount) { // it always makes one
            words.push_back("--unshare-" + std::string{nsjoin::facts(kind).name});
        }
    }
    words.push_back(scene.tiny);
    return run_words(words);
}

auto nothing(KindSet) -> Nanoseconds {
    return run_words({scene.tiny});
}

auto run(const std::string& command) -> Nanoseconds {
    std::istringstream stream{command};
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        words.push_back(word);
    }
    return run_words(words);
}

} // namespace peer
} // namespace bench
