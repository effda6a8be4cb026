/* SPDX-License-Identifier: MIT */
/*
 * The publishing side of the load tool: requests over P keep-alive connections, or messages over P
 * WebSockets, one at a time on each.  Open loop: every event has a moment when it is due, and if
 * all connections are busy then it goes late, but its latency still counts from that moment. Closed
 * loop: a connection sends its next request when the last is answered.  One thread, sockets watched
 * by the caller's epoll.
 */
#ifndef BUGLE_BENCH_PUBLISH_H
#define BUGLE_BENCH_PUBLISH_H

#include "bench/bench_latency.h"
#include "bench/bench_options.h"
#include "bench/bench_sequence.h"

#include <stdbool.h>
#include <stdint.h>

struct bench_publish;

/* What has happened so far, in events. */
struct bench_publish_facts {
    uint64_t issued;
    uint64_t acknowledged;             /* answered with a status of 2xx */
    uint64_t refused;                  /* answered with another one */
    uint64_t unanswered;               /* the connection ended first */
    uint64_t unsent;                   /* due, but no connection was ever free */
    uint64_t expected;                 /* deliveries that the acknowledged events should cause */
    uint64_t last_ns;                  /* when the latest answer came; 0 before the first */
    struct bench_latency latency;      /* from when a request was due until its answer */
    struct bench_latency lag;          /* until it was sent: how far this tool was behind */
    char trouble[128];                 /* the first refusal or failure; "" when there was none */
    const uint32_t *numbers;           /* by topic: events issued */
    struct bench_sequence *unaccepted; /* by topic: those among them not acknowledged */
};

/*
 * Borrows `options`; connects at once.
 *
 * epoll  borrowed; entries are BENCH_KIND_PUBLISHER with the index of the connection
 * run    goes into every stamp
 * listening  borrowed; how many streams each topic has
 *
 * Returns 0, -EINVAL after saying on standard error what is wrong, or -ENOMEM.
 */
int bench_publish_new(struct bench_publish **ret_publish, const struct bench_options *options,
                      int epoll, uint32_t run, const uint32_t *listening);
void bench_publish_free(struct bench_publish *publish);

/* Whether every connection stands or has failed. */
bool bench_publish_settled(const struct bench_publish *publish);

/* Whether no connection is left. */
bool bench_publish_failed(const struct bench_publish *publish);

/* Begin the schedule: the first request is due at `from_ns`; only those due at `measure_ns` or
 * later are measured. */
void bench_publish_start(struct bench_publish *publish, uint64_t from_ns, uint64_t measure_ns);

/* When bench_publish_run() has something to do; BENCH_NEVER while it waits for answers. */
uint64_t bench_publish_due(const struct bench_publish *publish);

/* Send what is due, as far as connections are free. */
void bench_publish_run(struct bench_publish *publish, uint64_t now_ns);

/* Serve one entry of the epoll.  Returns the time it last looked at the clock. */
uint64_t bench_publish_ready(struct bench_publish *publish, uint32_t index);

/* Send no more; what is due and unsent is counted as such. */
void bench_publish_stop(struct bench_publish *publish, uint64_t now_ns);

/* Whether nothing is left to send and every answer has come. */
bool bench_publish_finished(const struct bench_publish *publish);

/* Give up the answers that are outstanding. */
void bench_publish_give_up(struct bench_publish *publish);

/* Borrowed for the life of `publish`; changes as it goes on. */
const struct bench_publish_facts *bench_publish_facts(const struct bench_publish *publish);

#endif
