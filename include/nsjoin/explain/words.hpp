// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_EXPLAIN_WORDS_HPP
#define NSJOIN_EXPLAIN_WORDS_HPP

#include <nsjoin/command.hpp>
#include <nsjoin/detail/engine/placement.hpp>
#include <nsjoin/detail/engine/run.hpp>
#include <nsjoin/plan.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace nsjoin::inline v0_1::detail {

[[nodiscard]] inline auto names_of(KindSet kinds, std::string_view separator = ", ")
    -> std::string {
    std::string text;
    for (const Kind kind : kinds) {
        text.append(text.empty() ? "" : separator).append(facts(kind).name);
    }
    return text;
}

/// A schedule in words. It decides nothing.
class Words {
  public:
    Words(const Draft& plan, const Command* command, const Schedule& schedule) noexcept
        : plan_{plan}, command_{command}, schedule_{schedule} {}

    /// The task in that place: who does what, by which call, and why there.
    void append(std::string& text, std::string_view label, std::size_t place) const {
        const Task& task = schedule_.list[place];
        text.append(label).append(process(task.process)).append(": ").append(what(task));
        text.append("  [").append(system(task)).append("]\n");
        if (const std::string why = reason(place); !why.empty()) {
            text.append("        ").append(why).append("\n");
        }
    }

  private:
    [[nodiscard]] static auto process(Process which) noexcept -> std::string_view {
        constexpr std::array<std::string_view, process_count> names{"caller", "opener", "joiner",
                                                                    "child"};
        return names[static_cast<std::size_t>(which)];
    }

    [[nodiscard]] auto what(const Task& task) const -> std::string {
        if (task.call == Call::tell || task.call == Call::hear) {
            return std::string{task.step == Step::await_maps     ? "let the child go on"
                               : task.step == Step::report       ? "wait for the report"
                               : task.step == Step::offer_errors ? "take the pipe of the child"
                                                                 : "wait for the execution"};
        }
        if (!task.kinds.empty()) {
            return (is_join(task.step) ? "join " : "create ") + names_of(task.kinds);
        }
        std::string text{facts(task.step).name};
        if (task.step == Step::execute) {
            const char* const path = command_->program.path();
            text.append(path != nullptr ? std::string{" "} + path : " that is open");
        }
        return text;
    }

    /// The clone that makes a process, with the flags that say what kind of process it is.
    [[nodiscard]] auto clone(const Task& task) const -> std::string {
        const Process made = task.step == Step::make_joiner ? Process::joiner : Process::child;
        const ProcessFacts& process = schedule_.process(made);
        const bool vm = process.memory == Memory::callers || process.memory == Memory::joiners;
        const bool in_cgroup = process.maker == Process::caller && schedule_.born_in_cgroup();
        std::string flags;
        const auto add = [&flags](bool has, std::string_view flag) {
            flags.append(has && !flags.empty() ? " | " : "").append(has ? flag : "");
        };
        add(vm, "CLONE_VM");
        add(vm || schedule_.roles.shares, "CLONE_VFORK");
        add(process.clear_sighand, "CLONE_CLEAR_SIGHAND");
        add(process.sibling, "CLONE_PARENT");
        add(in_cgroup, "CLONE_INTO_CGROUP");
        add(made == Process::child && !schedule_.roles.by_clone.empty(),
            names_of(schedule_.roles.by_clone, " | "));
        std::string text{task.call == Call::clone3 ? "clone3" : "clone"};
        text.append(flags.empty() ? "" : "(").append(flags).append(flags.empty() ? "" : ")");
        if (task.step == Step::make_joiner) { // it ends before its maker goes on
            const bool copy = schedule_.roles.first == Memory::copy;
            text.append(copy && plan_.deadline.count() != 0 ? ", ppoll" : "");
            text.append(schedule_.roles.shares ? ", wait4"
                        : copy                 ? ", waitid, pidfd_open"
                                               : ", waitid");
        }
        return text;
    }

    /// One call that joins, as "setns(pidfd of 4711, user | mnt)".
    [[nodiscard]] auto join(const Task& task) const -> std::string {
        const JoinSource& source = plan_.source(task.slot.kind());
        std::string text{is_first_of_caller(task) ? "unshare(CLONE_FS), setns(" : "setns("};
        if (task.slot.is_opened()) {
            text.append("descriptor of ").append(facts(task.slot.kind()).name).append(" of pid ");
            text.append(std::to_string(source.target_pid));
        } else if (task.call == Call::setns_pidfd) {
            text.append("pidfd of pid ").append(std::to_string(source.target_pid));
        } else {
            text.append("descriptor ").append(std::to_string(source.fd.get()));
        }
        return text.append(", ").append(names_of(task.kinds, " | ")).append(")");
    }

    /// Whether it is the first call by which a caller joins that stays there.
    [[nodiscard]] auto is_first_of_caller(const Task& task) const -> bool {
        for (const Task& other : schedule_.tasks()) {
            if (is_join(other.step)) {
                return other.process == Process::caller && other == task;
            }
        }
        return false;
    }

    /// What passes between the child and the caller has two ends, of which this is the caller's.
    [[nodiscard]] auto callers_end(const Task& task) const -> std::string {
        switch (task.step) {
        case Step::await_maps:
            return schedule_.roles.offsets_by_caller ? "sendmsg(SCM_RIGHTS)" : "sendto";
        case Step::report:
            return "ppoll, recvfrom";
        case Step::offer_errors:
            return "ppoll, recvmsg(SCM_RIGHTS)";
        default:
            return "ppoll, read";
        }
    }

    /// The calls of a step that depend on more than the step.
    [[nodiscard]] auto calls_of_step(const Task& task) const -> std::string {
        std::string usual{facts(task.step).system};
        const bool shares = schedule_.roles.shares;
        switch (task.step) {
        case Step::make_joiner:
        case Step::make_child:
            return clone(task);
        case Step::make_opener:
            return usual + (task.call == Call::clone3 ? ", clone3" : ", clone");
        case Step::await_maps:
            return schedule_.roles.offsets_by_caller ? "ppoll, recvmsg(SCM_RIGHTS)" : usual;
        case Step::set_root:
            return plan_.root_path ? "chdir, getcwd, chroot" : usual;
        case Step::set_working_directory:
            return plan_.working_directory_path ? "chdir, getcwd" : usual;
        case Step::limit_capabilities:
            return takes_other_uid() ? "prctl(PR_SET_KEEPCAPS), " + usual : usual;
        case Step::set_death_signal:
            return shares ? usual + ", ppoll" : usual; // for a caller that has ended already
        case Step::set_gid:
        case Step::set_uid: // of those that are not to be traced
            return schedule_.process(Process::child).not_dumpable ? usual + ", prctl" : usual;
        case Step::verify_ids:
            return gives_up_capabilities() ? "capset, " + usual : usual;
        case Step::set_signals:
            return shares ? usual : "write, " + usual; // tells the caller
        case Step::execute:
            return command_->program.path() != nullptr ? "execve" : "execveat";
        default:
            return usual;
        }
    }

    [[nodiscard]] auto takes_other_uid() const noexcept -> bool {
        const auto& ids = plan_.credentials;
        return ids && ids->uid && *ids->uid != 0;
    }

    [[nodiscard]] auto gives_up_capabilities() const noexcept -> bool {
        return takes_other_uid() && !plan_.keep_capabilities && !plan_.capabilities;
    }

    [[nodiscard]] auto system(const Task& task) const -> std::string {
        switch (task.call) {
        case Call::with_clone:
            return "by that call";
        case Call::none:
            return "none";
        case Call::tell:
        case Call::hear:
            return callers_end(task);
        case Call::of_the_child:
            return task.step == Step::set_oom_score_adj ? "openat, write(/proc/PID/oom_score_adj)"
                                                        : "openat(/proc/PID/timens_offsets), ppoll";
        default:
            break;
        }
        if (is_create(task.step)) {
            return "unshare(" + names_of(task.kinds, " | ") + ")";
        }
        return is_join(task.step) ? join(task) : calls_of_step(task);
    }

    [[nodiscard]] auto reason(std::size_t place) const -> std::string {
        const Task& task = schedule_.list[place];
        if (task.call == Call::tell || task.call == Call::hear) {
            return task.call == Call::tell
                       ? "before \"wait for the caller's word\": it is what the "
                         "child waits for"
                       : "after what the child does there: it is what tells of "
                         "it";
        }
        if (is_join(task.step) && task.kinds.size() > 1) {
            return task.kinds.contains(Kind::user)
                       ? "one call, all or nothing: the rights that the caller has and those that "
                         "the joined user namespace gives count together, so there is no order "
                         "among them"
                       : "one call, all or nothing: there is no order among them";
        }
        if (task.call == Call::again) {
            return "after \"set the uid\": only if it was refused before, as the last ids may be "
                   "the only ones that may search it";
        }
        if (task.may_wait && is_join(task.step)) {
            return "the kernel can't tell who owns it: tried before user, and again after it if "
                   "EPERM";
        }
        return by_rights(place);
    }

    /// Of a single kind beside the user namespace, where the rights decide.
    [[nodiscard]] auto by_rights(std::size_t place) const -> std::string {
        const Task& task = schedule_.list[place];
        bool user_before = false;
        for (std::size_t i = 0; i < place; ++i) {
            user_before = user_before || does(schedule_.list[i], Step::join_user);
        }
        if (is_join(task.step) && task.step != Step::join_user &&
            schedule_.roles.joining.contains(Kind::user)) {
            return user_before ? "after \"join user\": the rights over it come with the joined "
                                 "user namespace"
                               : "before \"join user\": the caller has the rights over it now, and "
                                 "loses them with the user namespace that it leaves";
        }
        const Placement found = placement_of(schedule_, place);
        if (found.constraint == nullptr) {
            return task.step == Step::report ? "after everything else: the child returns only when "
                                               "all of it is done"
                                             : "";
        }
        std::string text{found.other < place ? "after \"" : "before \""};
        const Task& other = schedule_.list[found.other];
        return text.append(what(other)).append("\": ").append(found.constraint->why);
    }

    const Draft& plan_;
    const Command* command_;
    const Schedule& schedule_;
};

} // namespace nsjoin::detail

#endif // NSJOIN_EXPLAIN_WORDS_HPP
