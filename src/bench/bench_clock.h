/* SPDX-License-Identifier: MIT */
/* The clock of the load tool: nanoseconds of CLOCK_MONOTONIC, the same for all processes. */
#ifndef BUGLE_BENCH_CLOCK_H
#define BUGLE_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

#define BENCH_SECOND_NS UINT64_C(1000000000)
#define BENCH_NEVER UINT64_MAX

static inline uint64_t bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BENCH_SECOND_NS + (uint64_t)now.tv_nsec;
}

#endif
