// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_DETAIL_KERNEL_TARGET_HPP
#define NSJOIN_DETAIL_KERNEL_TARGET_HPP

// What the library is for. Each header without another one of ours below it includes this one
// first. A file that can't be there ends the compilation at once: after #error, the compiler would
// go on with hundreds of lines about what it does not know.

#if __cplusplus < 202002L
#include "nsjoin needs C++20: compile with -std=c++20"
#endif

// Elsewhere ioctls have other numbers, clone(2) takes its arguments in another order, or a pointer
// is not as long as the kernel's fields for it.
#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__)) || __SIZEOF_POINTER__ != 8
#include "nsjoin is for Linux on x86-64 and aarch64, with pointers of 64 bits"
#endif

#endif // NSJOIN_DETAIL_KERNEL_TARGET_HPP
