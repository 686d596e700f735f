// SPDX-License-Identifier: Apache-2.0
#ifndef NSJOIN_GO_LAUNCH_H
#define NSJOIN_GO_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nsjoin_request {
    int target;
    const char* path;
    const char* search; /* as PATH is written */
    const char* const* arguments;
    const char* const* environment;
    int standard[3]; /* or -1: the caller's */
    int64_t deadline; /* ns; 0: none */
} nsjoin_request;

/* The pidfd of the program, and its pid; or -1, and why in `error`. */
int nsjoin_launch(const nsjoin_request* request, int* pid, char* error, size_t size);

#ifdef __cplusplus
}
#endif

#endif
