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
#include "stream/stream.h"

/* More quarters than the longest wait for a look spans. */
#define STALL_TIMER_SLOTS 72

/* Embedded by the streams of a worker. */
struct stall_timer {
    struct streams *streams;
    struct worker_job job;
    struct stream_list wheel[STALL_TIMER_SLOTS];
    struct stream_list due;
    int64_t wheel_tick; /* the last one whose looks are due */
};

void stall_timer_init(struct stall_timer *stalls, struct streams *streams);

/* Stop looking; every stream must be gone. */
void stall_timer_stop(struct stall_timer *stalls);

/* Something is sent on a stream.  Next to nothing if it is looked at already. */
void stall_timer_add(struct stream *stream, int64_t now_ms);

/* The same when it is a heartbeat and nothing else. */
void stall_timer_add_heartbeat(struct stream *stream, int64_t now_ms);

/* The stream is over.  Harmless when it is not looked at. */
void stall_timer_remove(struct stream *stream);

/* About four times a second: have the looks done that are due. */
void stall_timer_tick(struct stall_timer *stalls, int64_t now_ms);

#endif
