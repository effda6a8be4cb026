/* SPDX-License-Identifier: MIT */
/*
 * A few threads that take from one or two queues in turn: work that must not run on a worker's
 * loop, since it waits for a disk or takes long.  The number of threads bounds how much of it runs
 * at once, so a storm of such work waits here and not in front of live delivery.
 */
#ifndef BUGLE_THREAD_POOL_H
#define BUGLE_THREAD_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "base/thread.h"

#define THREAD_POOL_QUEUES_MAX 2

struct thread_pool;

/* One piece of work.  Embedded by its owner; the pool's from thread_pool_give() to `run`, which
 * gives it back. */
struct thread_pool_task {
    STAILQ_ENTRY(thread_pool_task) link;
    /* On a thread of the pool.  `stopping`: begin nothing any more, only tell those who wait. */
    void (*run)(struct thread_pool_task *task, bool stopping);
};

/*
 * Start threads.
 *
 * name       of the threads, at most 15 bytes; static
 * threads_n  at least 1
 * queues_n   at most THREAD_POOL_QUEUES_MAX; served in turn while all have something
 *
 * NULL when out of memory or threads.
 */
struct thread_pool *thread_pool_new(const char *name, enum thread_urgency urgency,
                                    unsigned threads_n, unsigned queues_n);

/* Queue a task at the end of a queue.  Any thread; one lock. */
void thread_pool_give(struct thread_pool *pool, unsigned queue, struct thread_pool_task *task);

/* From here on tasks are run with `stopping`, those that wait and those that still come. */
void thread_pool_stop(struct thread_pool *pool);

/* Stop, run what is queued, and end the threads.  Accepts NULL. */
void thread_pool_free(struct thread_pool *pool);

#endif
