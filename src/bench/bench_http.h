/* SPDX-License-Identifier: MIT */
/*
 * One HTTP/1.1 response at a time, read as it comes: status, how the body ends, and the body's
 * bytes without their chunks.  Made to cost little rather than to judge: it takes what any
 * server sends and reports only what it cannot follow.  No sockets; one thread.
 */
#ifndef BUGLE_BENCH_HTTP_H
#define BUGLE_BENCH_HTTP_H

#include "bench/bench_line.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bench_http_state {
    BENCH_HTTP_STATUS,
    BENCH_HTTP_HEAD,
    BENCH_HTTP_BODY,       /* `left` bytes of it, which may mean until the connection ends */
    BENCH_HTTP_CHUNK_SIZE, /* before a chunk */
    BENCH_HTTP_CHUNK,      /* `left` bytes of it */
    BENCH_HTTP_CHUNK_END,  /* the line end behind it */
    BENCH_HTTP_TRAILER,
    BENCH_HTTP_DONE,
    BENCH_HTTP_BAD, /* not HTTP/1, or broken chunks */
};

struct bench_http {
    enum bench_http_state state;
    int status;
    bool chunked;
    bool counted; /* a Content-Length was seen */
    bool closes;  /* the server will not take another request on this connection */
    uint64_t left;
    struct bench_line line;
};

/* Called with each piece of the body, borrowed for the call. */
typedef void bench_http_body_fn(void *context, const char *bytes, size_t bytes_n);

/* Begin a response. */
void bench_http_start(struct bench_http *http);

/*
 * Read on.  Answers 1xx are skipped, but for 101, which is the last.  Stops behind the response
 * (state DONE) or where it cannot be followed (state BAD); otherwise it takes everything.
 *
 * body  called with what belongs to the body; may be NULL
 *
 * Returns how many bytes it took.
 */
size_t bench_http_feed(struct bench_http *http, const char *bytes, size_t bytes_n,
                       bench_http_body_fn *body, void *context);

/* Whether the head of the final answer has been read. */
static inline bool bench_http_has_head(const struct bench_http *http)
{
    return http->state >= BENCH_HTTP_BODY && http->state <= BENCH_HTTP_DONE;
}

#endif
