/* SPDX-License-Identifier: MIT */
/* The figures of a run, as text for a person or as JSON. */
#ifndef BUGLE_BENCH_REPORT_H
#define BUGLE_BENCH_REPORT_H

#include "bench/bench_latency.h"
#include "bench/bench_options.h"
#include "bench/bench_publish.h"
#include "bench/bench_streams.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What was used at one moment. */
struct bench_usage {
    uint64_t at_ns;
    uint64_t server_cpu_ns;
    uint64_t own_cpu_ns;
    uint64_t deliveries;
    uint64_t acknowledged;
    uint64_t bytes;
};

struct bench_result {
    const struct bench_options *options;
    const struct bench_streams_facts *streams;
    const struct bench_publish_facts *publish;
    uint64_t lost;
    uint64_t connect_ns;      /* until the last stream stood */
    struct bench_usage begin; /* of the measured window */
    struct bench_usage end;
    bool has_server;        /* the figures of the server could be had, all of them */
    uint64_t memory_before; /* private bytes: without streams, with them, after the events */
    uint64_t memory_standing;
    uint64_t memory_after;
    uint64_t cpu_before_ns; /* of the server: without streams, and when all of them stood */
    uint64_t cpu_standing_ns;
    uint64_t cpu_closing_ns; /* around the closing of all streams; the same if it was left out */
    uint64_t cpu_closed_ns;
};

/* Whether every stream stood to the end, every event was acknowledged, and every delivery came
 * once and in order. */
bool bench_report_is_good(const struct bench_result *result);

void bench_report_text(FILE *to, const struct bench_result *result);
void bench_report_json(FILE *to, const struct bench_result *result);

#endif
