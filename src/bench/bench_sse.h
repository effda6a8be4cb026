/* SPDX-License-Identifier: MIT */
/*
 * Server-Sent Events as the load tool reads them: an event counts when its blank line has come
 * (WHATWG HTML 9.2.6) and a line of its data carries a stamp in its first BENCH_LINE_BYTES bytes.
 * Lines that end in CR alone are not understood.  No sockets; one thread.
 */
#ifndef BUGLE_BENCH_SSE_H
#define BUGLE_BENCH_SSE_H

#include "bench/bench_line.h"
#include "bench/bench_stamp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A reader in the middle of a stream; zeroed to begin with. */
struct bench_sse {
    bool has_data;
    bool has_stamp;
    struct bench_stamp stamp;
    struct bench_line line;
};

/* Called with each event; `stamp` is NULL for one that carries none. */
typedef void bench_sse_event_fn(void *context, const struct bench_stamp *stamp);

void bench_sse_feed(struct bench_sse *sse, const char *bytes, size_t bytes_n,
                    bench_sse_event_fn *event, void *context);

#endif
