// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_TESTS_FAULTS_REGISTERS_HPP
#define NSJOIN_TESTS_FAULTS_REGISTERS_HPP

#include <cstddef>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>

// How a tracer reads and changes the system call at which a process has stopped.

namespace faults {

struct CallInfo {
    bool entry = false;
    long number = 0; ///< at an entry
    long first = 0;  ///< the first argument, at an entry
    long result = 0; ///< at an exit
};

/// False for a process that is no longer there.
inline auto read_call(pid_t pid, CallInfo& info) -> bool {
    __ptrace_syscall_info raw{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof raw, &raw) <= 0) {
        return false;
    }
    info.entry = raw.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (info.entry) {
        info.number = static_cast<long>(raw.entry.nr);
        info.first = static_cast<long>(raw.entry.args[0]);
    } else {
        info.result = static_cast<long>(raw.exit.rval);
    }
    return true;
}

#if defined(__x86_64__)

/// At an entry: nothing is called.
inline void skip_call(pid_t pid) {
    ::ptrace(PTRACE_POKEUSER, pid, offsetof(user_regs_struct, orig_rax), -1L);
}

/// At an exit: what the process gets.
inline void set_result(pid_t pid, long value) {
    ::ptrace(PTRACE_POKEUSER, pid, offsetof(user_regs_struct, rax), value);
}

/// At an entry.
inline void set_third_argument(pid_t pid, long value) {
    ::ptrace(PTRACE_POKEUSER, pid, offsetof(user_regs_struct, rdx), value);
}

#elif defined(__aarch64__)

inline void skip_call(pid_t pid) {
    int number = -1;
    iovec part{&number, sizeof number};
    ::ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &part);
}

inline void set_register(pid_t pid, unsigned index, long value) {
    user_regs_struct all{};
    iovec part{&all, sizeof all};
    ::ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &part);
    all.regs[index] = static_cast<unsigned long long>(value);
    ::ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part);
}

inline void set_result(pid_t pid, long value) {
    set_register(pid, 0, value);
}

inline void set_third_argument(pid_t pid, long value) {
    set_register(pid, 2, value);
}

#else
#error "tests/faults: say how this machine's system calls are changed"
#endif

} // namespace faults

#endif // NSJOIN_TESTS_FAULTS_REGISTERS_HPP
