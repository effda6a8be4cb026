/* SPDX-License-Identifier: MIT */
/*
 * The reading side of the load tool: N event streams, each on a topic, checked event by event.
 * Reading one event that is there costs well under a microsecond, so that the server is what is
 * measured.  One thread, sockets watched by the caller's epoll.
 */
#ifndef BUGLE_BENCH_STREAMS_H
#define BUGLE_BENCH_STREAMS_H

#include "bench/bench_latency.h"
#include "bench/bench_options.h"
#include "bench/bench_sequence.h"

#include <stdbool.h>
#include <stdint.h>

struct bench_streams;

/* What has happened so far. */
struct bench_streams_facts {
    uint32_t standing; /* heads received, not ended */
    uint32_t failed;   /* never stood */
    uint32_t ended;    /* stood, and were ended by the server */
    uint64_t received; /* events, each counted once a stream */
    uint64_t duplicated;
    uint64_t late;      /* came after one that was not yet sent when this one was acknowledged */
    uint64_t crossed;   /* came in another order than sent, but both were under way: no fault */
    uint64_t misrouted; /* of a topic that the stream did not ask for */
    uint64_t foreign;   /* events that are not of this run */
    uint64_t bytes;     /* as they came from the sockets */
    uint64_t last_ns;   /* when the latest event came; 0 before the first */
    struct bench_latency latency;
    struct bench_latency first_bytes; /* from the beginning of a connection to the head */
    char trouble[128];   /* why the first failed or ended one failed or ended; "" when none did */
    uint32_t *listening; /* by topic: streams that listen to it and have not failed */
};

/*
 * Borrows `options` for its life.
 *
 * epoll  borrowed; entries are BENCH_KIND_STREAM with the index of the stream
 * run    events with another run in their stamp are foreign
 *
 * Returns 0, -EINVAL after saying on standard error what is wrong with the URL, or -ENOMEM.
 */
int bench_streams_new(struct bench_streams **ret_streams, const struct bench_options *options,
                      int epoll, uint32_t run);
void bench_streams_free(struct bench_streams *streams);

/*
 * Start some of the outstanding connections, as far as they may be under way.  However many may
 * be, answers are read between a few starts and the next, so that a storm is not seen through the
 * tool's own delay.  Returns whether more of them may start at once.
 */
bool bench_streams_connect(struct bench_streams *streams);

/* Whether every stream stands or has failed. */
bool bench_streams_settled(const struct bench_streams *streams);

/* Give up those that do not stand yet. */
void bench_streams_give_up(struct bench_streams *streams);

/* Serve one entry of the epoll.  Returns the time it last looked at the clock. */
uint64_t bench_streams_ready(struct bench_streams *streams, uint32_t index);

/* Latencies are recorded of events due at `from_ns` or later. */
void bench_streams_measure(struct bench_streams *streams, uint64_t from_ns);

/* Borrowed for the life of `streams`; changes as it goes on. */
const struct bench_streams_facts *bench_streams_facts(const struct bench_streams *streams);

/* Close all that stand.  They stay in the counts: the server has not ended them. */
void bench_streams_close(struct bench_streams *streams);

/* Deliveries that should have come and have not.  `issued` and `refused` tell by topic how many
 * events were published and which of them without an acknowledgement. */
uint64_t bench_streams_missing(const struct bench_streams *streams, const uint32_t *issued,
                               const struct bench_sequence *refused);

#endif
