/* SPDX-License-Identifier: MIT */
/*
 * Which clients of a worker's streams have left, and which can be sent more again.
 *
 * A suspended stream is in no epoll set of the library's, so nobody would see its client go before
 * a heartbeat finds out.  All streams of a worker are in one set of our own, which stands in the
 * worker's loop as a single event: an event of libevent's for each stream would cost 170 bytes.
 *
 * Worker's thread, but for departures_init() and departures_stop().
 */
#ifndef BUGLE_DEPARTURES_H
#define BUGLE_DEPARTURES_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

struct stream;

/* Embedded by the streams of a worker.  Zeroed: not begun. */
struct departures {
    int set_fd;
    struct event ready; /* the set has something to tell */
    bool begun;
};

/* Begin to watch in `base`, which must outlive this.  Returns 0 or -errno. */
int departures_init(struct departures *departures, struct event_base *base);

/* Stop; every stream must be gone.  Harmless when not begun. */
void departures_stop(struct departures *departures);

/* Watch the client of a stream, until departures_forget().  One system call.  Returns whether there
 * was memory for it; if not the heartbeats still find out who left. */
bool departures_watch(struct departures *departures, struct stream *stream);

/* Whether a watched stream is to be told, by stream_send_rest(), that its socket has room.  One
 * system call. */
void departures_await_room(struct departures *departures, struct stream *stream, bool awaits);

/* Before the stream's descriptor is closed. */
void departures_forget(struct departures *departures, struct stream *stream);

#endif
