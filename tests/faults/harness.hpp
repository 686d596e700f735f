// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_HARNESS_HPP
#define NSJOIN_TESTS_FAULTS_HARNESS_HPP

#include "fixtures.hpp"
#include "scenarios.hpp"
#include "trace.hpp"

#include <nsjoin/detail/kernel/clone.hpp>
#include <nsjoin/explain.hpp>

#include <cstdio>
#include <filesystem>
#include <grp.h>
#include <memory>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <utility>

// Runs a scenario once, disturbed or not, and looks at what came of it.

namespace faults {

/// What came of one run.
struct Ran {
    End end;
    Outcome outcome = Outcome::none;
    nsjoin::Error error;
    int child_status = -1;
    int handled_elsewhere = 0;
    std::string changes;
    std::string child; ///< what it is like, without what differs from run to run
    std::string target_changes;
};

/// A harness process's place: it runs one scenario again and again.
class Harness {
  public:
    Harness(const Scenario& scenario, std::string directory)
        : scenario_{scenario}, directory_{std::move(directory)} {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

        struct sigaction action {};

        action.sa_handler = [](int) {
        };
        ::sigaction(SIGALRM, &action, nullptr);
        const itimerval often{{0, 100'000}, {0, 100'000}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
        (void)!::unshare(CLONE_NEWNS); // what others mount meanwhile is not the library's
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
        if ((scenario_.traits & by_user) != 0) {
            give_subordinate_ids(user, root_.path());
        }
        own_ = namespaces_of("/proc/self");
        new_target();
    }

    auto run(const Injection& injection, std::vector<Call>* record) -> Ran {
        if (target_ == nullptr || target_->pid() == 0) {
            new_target();
        }
        // Of this run: a mount goes away everywhere when somebody else removes its directory.
        const std::string target_was = target_state();
        Report& report = *report_.get();
        report.outcome = Outcome::none;
        report.error = {};
        report.handled = report.handled_elsewhere = 0;
        report.changes[0] = report.child[0] = '\0';
        report.child_status = -1;
        Given given = gift(injection);
        const pid_t pid = start(given);
        Trace trace{injection, record, target_->pid()};
        const auto limit = std::chrono::seconds{15};
        Ran ran;
        ran.end = trace.follow(pid, limit);
        ran.outcome = report.outcome;
        ran.error = report.error;
        ran.child_status = report.child_status;
        ran.handled_elsewhere = report.handled_elsewhere;
        ran.changes = &report.changes[0];
        ran.child = plain_words(&report.child[0]);
        const bool killed = ran.end.done && std::string_view{injection.victim.data()} == "target";
        if (ran.end.target_ended) {
            target_->forget();
        } else if (killed) { // and its end not seen yet
            target_.reset();
        } else {
            ran.target_changes = target_state() == target_was ? "" : "the target has changed";
        }
        return ran;
    }

  private:
    auto gift(const Injection& injection) const -> Given {
        Given given;
        given.target = target_->pid();
        given.report = report_.get();
        given.report_fd = report_.fd();
        given.report_path = report_.path();
        given.probe = directory_ + "/faults_probe";
        given.embed = directory_ + "/faults_embed";
        given.root = root_.path();
        given.cgroup = cgroup_.path();
        given.descriptors = injection.act == Act::descriptors ? injection.value : -1;
        given.processes = injection.act == Act::processes ? injection.value : -1;
        return given;
    }

    [[nodiscard]] auto start(const Given& given) const -> pid_t {
        nsjoin::detail::CloneArgs args;
        args.exit_signal = SIGCHLD;
        args.flags = (scenario_.traits & as_init) != 0
                         ? static_cast<std::uint64_t>(CLONE_NEWPID | CLONE_NEWNS)
                         : 0U;
        const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
        if (pid == 0) {
            const itimerval never{};
            ::setitimer(ITIMER_REAL, &never, nullptr);
            if ((scenario_.traits & as_init) != 0) {
                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
                ::mount("proc", "/proc", "proc", 0, nullptr);
            }
            Stage stage{given};
            if ((scenario_.traits & by_user) != 0) {
                stage.trace(); // by root, or newuidmap gets no rights
                Target::become(user);
            }
            scenario_.body(stage);
            ::_exit(0);
        }
        return pid;
    }

    void new_target() {
        const uid_t owner = (scenario_.traits & by_user) != 0 ? user : 0;
        // The kernel takes its time to take namespaces apart, and has limits of them.
        for (int tries = 0; tries < 200 && (target_ == nullptr || !target_->good()); ++tries) {
            target_.reset();
            ::usleep(tries == 0 ? 0 : 10'000);
            target_ = std::make_unique<Target>(scenario_.target, owner);
        }
        target_spaces_ = namespaces_of("/proc/" + std::to_string(target_->pid()));
    }

    [[nodiscard]] auto target_state() const -> std::string {
        std::vector<char> bytes(32'768);
        Text text{bytes.data(), bytes.size()};
        const std::string process = "/proc/" + std::to_string(target_->pid());
        add_namespaces(text, process);
        add_status(text, process);
        add_descriptors(text, process, false);
        for (const char* file : {"/mountinfo", "/cgroup", "/oom_score_adj", "/limits"}) {
            add_hash(text, file, (process + file).c_str());
        }
        return std::string{text.view()};
    }

    static auto namespaces_of(const std::string& process) -> std::vector<std::string> {
        std::vector<std::string> all;
        std::array<char, 256> link{};
        for (const char* name : {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"}) {
            all.emplace_back(link_of({process, "/ns/", name}, link));
        }
        return all;
    }

    static void replace(std::string& text, const std::string& from, std::string_view to) {
        for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos;) {
            text.replace(at, from.size(), to);
            at += to.size();
        }
    }

    /// Namespaces by whose they are; other numbers that differ from run to run left out.
    [[nodiscard]] auto plain_words(std::string text) const -> std::string {
        for (const std::string& link : own_) {
            replace(text, link, "the caller's");
        }
        for (const std::string& link : target_spaces_) {
            replace(text, link, "the target's");
        }
        for (std::size_t at = 0; (at = text.find("/dev/pts/", at)) != std::string::npos;) {
            at += std::string_view{"/dev/pts/"}.size();
            text.erase(at, text.find_first_not_of("0123456789", at) - at);
        }
        for (std::size_t at = 0; (at = text.find(":[", at)) != std::string::npos; ++at) {
            const std::size_t end = text.find(']', at);
            text.erase(at + 2, end == std::string::npos ? end : end - at - 2);
        }
        return text;
    }

    const Scenario& scenario_;
    std::string directory_;
    SharedReport report_;
    std::unique_ptr<Target> target_;
    std::vector<std::string> own_;
    std::vector<std::string> target_spaces_;
    RootDirectory root_;
    OwnCgroup cgroup_;
    static constexpr uid_t user = 1000;
};

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_HARNESS_HPP
