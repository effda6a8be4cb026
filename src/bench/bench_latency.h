/* SPDX-License-Identifier: MIT */
/*
 * The clock of the load tool, in nanoseconds of CLOCK_MONOTONIC, the same for all processes; and
 * latencies of one kind, counted into buckets whose width grows with the value: exact below
 * 64 ns, at most 1.6 % wide above, up to the largest number.  Recording costs a few nanoseconds
 * and never allocates.  A plain value, zeroed to begin with; one thread.
 */
#ifndef BUGLE_BENCH_LATENCY_H
#define BUGLE_BENCH_LATENCY_H

#include <stdint.h>
#include <time.h>

#define BENCH_SECOND_NS UINT64_C(1000000000)
#define BENCH_NEVER UINT64_MAX

#define BENCH_LATENCY_STEPS 64 /* buckets a doubling */
#define BENCH_LATENCY_BUCKETS (59 * BENCH_LATENCY_STEPS)

static inline uint64_t bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BENCH_SECOND_NS + (uint64_t)now.tv_nsec;
}

struct bench_latency {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[BENCH_LATENCY_BUCKETS];
};

void bench_latency_record(struct bench_latency *latency, uint64_t ns);

/*
 * The value that `percent` (0-100) of the recorded ones do not exceed, in nanoseconds: the upper
 * edge of its bucket, but never above the largest recorded value.  0 when nothing was recorded.
 */
uint64_t bench_latency_percentile(const struct bench_latency *latency, double percent);

#endif
