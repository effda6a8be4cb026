/* SPDX-License-Identifier: MIT */
/* A log-linear histogram of latencies. */
#include "config.h"
#include "bench/bench_latency.h"

#include <assert.h>
#include <stddef.h>

#define STEP_BITS 6

static_assert(1 << STEP_BITS == BENCH_LATENCY_STEPS, "steps are a power of two");

static size_t bench_latency_bucket_of(uint64_t ns)
{
    if (ns < BENCH_LATENCY_STEPS)
        return ns;
    int doubling = 63 - __builtin_clzll(ns) - STEP_BITS;
    return (size_t)doubling * BENCH_LATENCY_STEPS + (ns >> doubling);
}

static uint64_t upper_edge(size_t bucket)
{
    if (bucket < BENCH_LATENCY_STEPS)
        return bucket;
    int doubling = (int)(bucket / BENCH_LATENCY_STEPS) - 1;
    uint64_t step = BENCH_LATENCY_STEPS + bucket % BENCH_LATENCY_STEPS;
    return ((step + 1) << doubling) - 1; /* the last bucket wraps to UINT64_MAX, as it should */
}

void bench_latency_record(struct bench_latency *latency, uint64_t ns)
{
    latency->buckets[bench_latency_bucket_of(ns)]++;
    latency->count++;
    if (ns > latency->max_ns)
        latency->max_ns = ns;
}

uint64_t bench_latency_percentile(const struct bench_latency *latency, double percent)
{
    assert(percent >= 0 && percent <= 100);
    double exact = (double)latency->count * percent / 100;
    uint64_t rank = (uint64_t)exact;
    if (rank == 0 || (double)rank < exact)
        rank++;
    uint64_t seen = 0;
    for (size_t i = 0; i < BENCH_LATENCY_BUCKETS; i++) {
        seen += latency->buckets[i];
        if (seen >= rank)
            return upper_edge(i) < latency->max_ns ? upper_edge(i) : latency->max_ns;
    }
    return latency->max_ns;
}
