/* SPDX-License-Identifier: MIT */
/*
 * A few threads that take from one or two queues in turn: work that must not run on a worker's
 * loop, since it waits for a disk or takes long.  The number of threads bounds how much of it runs
 * at once, so a storm of such work waits here and not in front of live delivery.
 */
#ifndef BUGLE_CREW_H
#define BUGLE_CREW_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "base/thread.h"

#define CREW_QUEUES_MAX 2

struct crew;

/* One piece of work.  Embedded by its owner; the crew's from crew_give() to `run`, which gives it
 * back. */
struct crew_task {
    STAILQ_ENTRY(crew_task) link;
    /* On a thread of the crew.  `stopping`: begin nothing any more, only tell those who wait. */
    void (*run)(struct crew_task *task, bool stopping);
};

/*
 * Start threads.
 *
 * name       of the threads, at most 15 bytes; static
 * threads_n  at least 1
 * queues_n   at most CREW_QUEUES_MAX; served in turn while all have something
 *
 * NULL when out of memory or threads.
 */
struct crew *crew_new(const char *name, enum thread_urgency urgency, unsigned threads_n,
                      unsigned queues_n);

/* Queue a task at the end of a queue.  Any thread; one lock. */
void crew_give(struct crew *crew, unsigned queue, struct crew_task *task);

/* From here on tasks are run with `stopping`, those that wait and those that still come. */
void crew_stop(struct crew *crew);

/* Stop, run what is queued, and end the threads.  Accepts NULL. */
void crew_free(struct crew *crew);

#endif
