/* SPDX-License-Identifier: MIT */
/*
 * Which clients of a worker's streams have left, and which can be sent more again.
 *
 * A suspended stream is in no epoll set of the library's, so nobody would see its client go before
 * a heartbeat finds out.  All streams of a worker are in one set of our own, which stands in the
 * worker's loop as a single event: an event of libevent's for each stream would cost 170 bytes.
 *
 * Worker's thread, but for peer_watch_init() and peer_watch_stop().
 */
#ifndef BUGLE_PEER_WATCH_H
#define BUGLE_PEER_WATCH_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

struct stream;

/* Embedded by the streams of a worker.  Zeroed: not begun. */
struct peer_watch {
    int set_fd;
    struct event ready; /* the set has something to tell */
    bool begun;
};

/* Begin to watch in `base`, which must outlive this.  Returns 0 or -errno. */
int peer_watch_init(struct peer_watch *departures, struct event_base *base);

/* Stop; every stream must be gone.  Harmless when not begun. */
void peer_watch_stop(struct peer_watch *departures);

/* Watch the client of a stream, until peer_watch_remove().  One system call.  Returns whether there
 * was memory for it; if not the heartbeats still find out who left. */
bool peer_watch_add(struct peer_watch *departures, struct stream *stream);

/* Whether a watched stream is to be told, by stream_direct_send_unsent(), that its socket has room.
 * One system call. */
void peer_watch_await_room(struct peer_watch *departures, struct stream *stream, bool awaits);

/* Before the stream's descriptor is closed. */
void peer_watch_remove(struct peer_watch *departures, struct stream *stream);

#endif
