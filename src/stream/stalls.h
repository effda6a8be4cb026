/* SPDX-License-Identifier: MIT */
/*
 * Which streams of a worker do not take what they are sent: peers that stalled, and peers that
 * vanished.
 *
 * A stream is looked at from the first byte that is sent until all are acknowledged, whatever its
 * state: what is sent to an idle one sits in the kernel, and nothing else would tell that nobody
 * takes it.  The first look comes PROGRESS_FIRST_LOOK_MS after the first byte; for nearly all
 * streams it is the only one, and costs one system call, cheap but for a socket that is in no
 * cache.  Others follow as progress.h has it.  While heartbeats are all that a stream is sent, the
 * first look waits until there were two.  Looks stand in a wheel by the quarter of a second in
 * which they are due, and are done in small portions, last after all other work, so that ten
 * thousand stalled streams hold up nobody.
 *
 * Worker's thread.
 */
#ifndef BUGLE_STALLS_H
#define BUGLE_STALLS_H

#include <stdint.h>
#include <sys/queue.h>

#include "stream/stream.h"
#include "loop/worker.h"

/* More quarters than the longest wait for a look spans. */
#define STALLS_SLOTS 72

/* Embedded by the streams of a worker. */
struct stalls {
    struct streams *streams;
    struct worker_job job;
    struct stream_list wheel[STALLS_SLOTS];
    struct stream_list due;
    int64_t turned_quarter; /* the last one whose looks are due */
};

void stalls_init(struct stalls *stalls, struct streams *streams);

/* Stop looking; every stream must be gone. */
void stalls_stop(struct stalls *stalls);

/* Something is sent on a stream.  Next to nothing if it is looked at already. */
void stalls_watch(struct stream *stream, int64_t now_ms);

/* The same when it is a heartbeat and nothing else. */
void stalls_watch_beat(struct stream *stream, int64_t now_ms);

/* The stream is over.  Harmless when it is not looked at. */
void stalls_forget(struct stream *stream);

/* About four times a second: have the looks done that are due. */
void stalls_tick(struct stalls *stalls, int64_t now_ms);

#endif
