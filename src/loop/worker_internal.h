/* SPDX-License-Identifier: MIT */
/* What worker.c and worker_sched.c share.  All but the inbox is the worker's thread's. */
#ifndef BUGLE_WORKER_INTERNAL_H
#define BUGLE_WORKER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "loop/inbox.h"
#include "loop/worker.h"

/* The jobs of one class.  A flush takes what waits when it begins, in slices; what comes meanwhile
 * waits for the next.  Between two passes a quarter of what the first one took: a single
 * event leaves at once, and a storm packs itself. */
struct flush_queue {
    struct worker_jobs waiting;
    struct worker_jobs running;
    int64_t cost_ns; /* of the flush under way */
    int64_t not_before_ns;
    int64_t served_ns; /* of a late class: the end of its last slice */
};

struct worker {
    unsigned index;
    struct context context; /* its parts are this worker's to change */
    struct hub *hub;
    struct hub_listener listener;
    struct worker_hooks hooks;
    struct event *tick;
    struct event *alarm;
    struct event *bell;
    int alarm_fd;
    int bell_fd;
    int64_t alarm_ns; /* when it last was to go off */
    pthread_t thread;
    bool started;
    bool stopping;

    pthread_mutex_t lock; /* over the next two */
    struct inbox inbox;
    bool asleep;          /* it waits, or is about to: who leaves something rings */
    struct inbox serving; /* emptied by the worker; swapped with `inbox` */
    uint64_t turns_n;
    size_t work; /* left for the batches of this turn */

    struct hub_ops outbox;
    struct worker_jobs answers; /* PRIO_ANSWER */
    struct flush_queue queues[PRIO_COUNT];
    int64_t now_ns;
    _Atomic int load;
    struct stats stats;
};

/* Read the clock and keep what it says. */
static inline int64_t worker_read_clock(struct worker *worker)
{
    worker->now_ns = clock_mono_ns();
    return worker->now_ns;
}

/* ---- worker_sched.c ---- */

/* Run all jobs of PRIO_ANSWER, those too that they queue. */
void worker_run_answers(struct worker *worker);

/* Run one slice of the flush of a live class. */
void worker_flush(struct worker *worker, enum worker_prio prio);

/* The same for a class that makes way for what is live.  Without a pause between flushes: new
 * connections and replays are served as soon as there is time. */
void worker_flush_late(struct worker *worker, enum worker_prio prio);

/* When the first of the classes from PRIO_TARGETED to this one wants to go on: 0 for at once,
 * INT64_MAX for nothing to do. */
int64_t worker_due_ns(const struct worker *worker, enum worker_prio last, int64_t now_ns);

#endif
