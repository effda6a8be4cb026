/* SPDX-License-Identifier: MIT */
/*
 * Publish requests as bytes, by the operator's templates: which topics the events of a request go
 * to, how each is numbered, and the HTTP/1.1 request or the message of a WebSocket that carries
 * them.  No sockets.
 */
#ifndef BUGLE_BENCH_REQUEST_H
#define BUGLE_BENCH_REQUEST_H

#include "bench/bench_options.h"
#include "bench/bench_sequence.h"
#include "bench/bench_template.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One event of a request. */
struct bench_request_event {
    uint32_t topic;
    uint32_t number; /* within its topic, from 0 */
};

struct bench_request {
    const struct bench_options *options;
    struct bench_url url;
    struct bench_template path;
    struct bench_template body;
    char *constant; /* of the head, behind the path, up to the length of the body if it has one */
    size_t constant_n;
    char *data; /* of an event, its stamp at the start */
    uint32_t run;
    bool one_topic; /* the URL names the topic, so a batch has one */
    uint32_t turn;
    uint64_t chance;                 /* state of the random numbers */
    uint32_t *issued;                /* by topic: the number of its next event */
    struct bench_sequence *answered; /* by topic */
};

/* Zeroed to begin with.  Borrows `options`.  0, -ENOMEM, or -EINVAL after saying on standard
 * error what is wrong with a template. */
int bench_request_init(struct bench_request *request, const struct bench_options *options,
                       uint32_t run);
void bench_request_done(struct bench_request *request);

/* The most bytes that a request can take. */
size_t bench_request_room(const struct bench_request *request);

/* Write the request that begins a WebSocket to publish over, to bench_request_room() bytes.
 * `topic` is put into its URL.  Returns its bytes. */
size_t bench_request_write_upgrade(const struct bench_request *request, char *to, uint32_t topic);

/*
 * Write the next request, or with a WebSocket the frame of the next message.
 *
 * topic       of the WebSocket: that of the events if its URL names it
 * to          borrowed; bench_request_room() bytes
 * due_ns      goes into the stamps
 * ret_events  borrowed; filled with what the request carries, options->batch of them
 *
 * Returns its bytes.
 */
size_t bench_request_write(struct bench_request *request, char *to, uint32_t topic, uint64_t due_ns,
                           struct bench_request_event *ret_events);

/* Take note that the publishing of a request is over, well or not: what is written from now on
 * must not reach any stream before its events. */
void bench_request_answered(struct bench_request *request,
                            const struct bench_request_event *events);

#endif
