/* SPDX-License-Identifier: MIT */
/*
 * Which streams of a worker do not take what they are sent: peers that stalled, and peers that
 * vanished.
 *
 * A stream is looked at from the first byte that is sent until all are acknowledged, whatever its
 * state: what is sent to an idle one sits in the kernel, and nothing else would tell that nobody
 * takes it.  The first look comes ACK_PROGRESS_FIRST_LOOK_MS after the first byte; for nearly all
 * streams it is the only one, and costs one system call, cheap but for a socket that is in no
 * cache.  Others follow as ack_progress.h has it.  While heartbeats are all that a stream is sent,
 * the first look waits until there were two.  Looks stand in a wheel by the quarter of a second in
 * which they are due, and are done in small portions, last after all other work, so that ten
 * thousand stalled streams hold up nobody.
 *
 * Worker's thread.
 */
#ifndef BUGLE_STALL_TIMER_H
#define BUGLE_STALL_TIMER_H

#include <stdint.h>
#include <sys/queue.h>

#include "loop/worker.h"
#include "stream/ack_progress.h"

/* More quarters than the longest wait for a look spans. */
#define STALL_TIMER_SLOTS 72

TAILQ_HEAD(stall_timer_list, stall_timer_entry);

/* Embedded by a stream; zeroed: it is not looked at.  The list stands first, and is all that a
 * delivery to a stream that is looked at needs, but for `is_patient`. */
struct stall_timer_entry {
    struct stall_timer_list *list; /* NULL: all is acknowledged */
    struct ack_progress progress;
    TAILQ_ENTRY(stall_timer_entry) link;
};

struct stall_timer_hooks {
    /* Ask the kernel how a peer takes what it is sent, and tell when it was last sent something.
     * Returns 0, or a negative number if the connection is over: then it is not looked at again. */
    int (*ask)(struct stall_timer_entry *entry, struct tcp_progress *ret_flow,
               int64_t *ret_sent_ms);

    /* The verdict of a look.  After CLEAR, STALLED and VANISHED the entry is not looked at any
     * more, unless it is added again, here or later; it may be removed. */
    void (*report)(struct stall_timer_entry *entry, enum ack_progress_verdict verdict,
                   int64_t now_ms);
};

/* Embedded by the streams of a worker. */
struct stall_timer {
    struct worker *worker;
    const struct stall_timer_hooks *hooks;
    struct worker_job job;
    struct stall_timer_list wheel[STALL_TIMER_SLOTS];
    struct stall_timer_list due;
    int64_t wheel_tick; /* the last one whose looks are due */
};

/* Borrows worker and hooks for its life. */
void stall_timer_init(struct stall_timer *timer, struct worker *worker,
                      const struct stall_timer_hooks *hooks);

/* Stop looking; every entry must be gone. */
void stall_timer_stop(struct stall_timer *timer);

void stall_timer_start_entry(struct stall_timer *timer, struct stall_timer_entry *entry,
                             int64_t heartbeat_ms, int64_t now_ms);

/* Something is sent.  Next to nothing if it is looked at already; but a look that was put off for
 * heartbeats is not for what comes after them. */
static inline void stall_timer_add(struct stall_timer *timer, struct stall_timer_entry *entry,
                                   int64_t heartbeat_ms, int64_t now_ms)
{
    if (entry->list == NULL || entry->progress.is_patient)
        stall_timer_start_entry(timer, entry, heartbeat_ms, now_ms);
}

/* The same when it is a heartbeat and nothing else. */
void stall_timer_add_heartbeat(struct stall_timer *timer, struct stall_timer_entry *entry,
                               int64_t heartbeat_ms, int64_t now_ms);

/* Harmless when it is not looked at. */
void stall_timer_remove(struct stall_timer_entry *entry);

/* About four times a second: have the looks done that are due. */
void stall_timer_tick(struct stall_timer *timer, int64_t now_ms);

#endif
