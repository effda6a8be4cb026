/* SPDX-License-Identifier: MIT */
/* A cheap reader of Server-Sent Events. */
#include "config.h"
#include "bench/bench_sse.h"

#include <string.h>

static void bench_sse_end_event(struct bench_sse *sse, bench_sse_event_fn *event, void *context)
{
    bool has_data = sse->has_data;
    const struct bench_stamp *stamp = sse->has_stamp ? &sse->stamp : NULL;

    sse->has_data = false;
    sse->has_stamp = false;
    if (has_data)
        event(context, stamp);
}

static void bench_sse_read_data(struct bench_sse *sse, const char *value, size_t value_n)
{
    /* Empty data dispatches nothing in a browser, so it does not count here either. */
    if (value_n && *value == ' ') {
        value++;
        value_n--;
    }
    if (value_n)
        sse->has_data = true;
    if (!sse->has_stamp)
        sse->has_stamp = bench_stamp_find(value, value_n, &sse->stamp);
}

void bench_sse_feed(struct bench_sse *sse, const char *bytes, size_t bytes_n,
                    bench_sse_event_fn *event, void *context)
{
    const char *at = bytes, *end = bytes + bytes_n, *text;
    size_t text_n;

    while (bench_line_take(&sse->line, &at, end, &text, &text_n)) {
        if (text_n == 0)
            bench_sse_end_event(sse, event, context);
        else if (text_n > 5 && memcmp(text, "data:", 5) == 0)
            bench_sse_read_data(sse, text + 5, text_n - 5);
    }
}
