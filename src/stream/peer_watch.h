/* SPDX-License-Identifier: MIT */
/*
 * Which peers of a worker's streams have left, which can be sent more again, and which have sent
 * something.
 *
 * A suspended connection is in no epoll set of its host, so nobody would see its client go before a
 * heartbeat finds out.  All of a worker are in one set of our own, which stands in the worker's
 * loop as a single event: an event of libevent's for each stream would cost 170 bytes.
 *
 * Worker's thread, but for peer_watch_init() and peer_watch_stop().
 */
#ifndef BUGLE_PEER_WATCH_H
#define BUGLE_PEER_WATCH_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

/* What is reported of a peer; `owner` is that of peer_watch_add().  The edge tells what the peer
 * did, so the socket need not be asked again.  None may free an owner: more edges of the same turn
 * may name it. */
struct peer_watch_reports {
    void (*gone)(void *owner, bool is_closed); /* is_closed: there is nothing left to reset */
    void (*half_closed)(void *owner);          /* only a byte sent to it tells if it still reads */
    void (*room)(void *owner);                 /* with PEER_WATCH_ROOM */
    /* with PEER_WATCH_READS, and in place of half_closed: it sent something; `is_end`: and will
     * send no more */
    void (*readable)(void *owner, bool is_end);
};

/* What is to be reported of a peer beside its end. */
#define PEER_WATCH_READS 1u
#define PEER_WATCH_ROOM 2u

/* Embedded by the streams of a worker.  Zeroed: not begun. */
struct peer_watch {
    int set_fd;
    const struct peer_watch_reports *reports;
    struct event ready; /* the set has something to tell */
    bool begun;
};

/* Begin to watch in `base`, which must outlive this, as must `reports`.  Returns 0 or -errno. */
int peer_watch_init(struct peer_watch *watch, struct event_base *base,
                    const struct peer_watch_reports *reports);

/* Stop; every peer must be gone.  Harmless when not begun. */
void peer_watch_stop(struct peer_watch *watch);

/* Watch a socket, until peer_watch_remove().  One system call.  Returns whether there was memory
 * for it; if not the heartbeats still find out who left. */
bool peer_watch_add(struct peer_watch *watch, int fd, void *owner, unsigned what);

/* What is to be reported from now on; what is the case already is reported once more.  One system
 * call. */
void peer_watch_change(struct peer_watch *watch, int fd, void *owner, unsigned what);

/* Before the descriptor is closed.  Harmless when it is not watched. */
void peer_watch_remove(struct peer_watch *watch, int fd);

#endif
