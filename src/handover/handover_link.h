/* SPDX-License-Identifier: MIT */
/*
 * A unix socket between two gateways of one machine while the one takes over from the other
 * (handover_old.h): frames in order, each with a type, and the listening sockets with one of them.
 *
 * At first both sides send and wait, one step at a time.  Later a link is served by a loop
 * (handover_link_attach()): then any thread may send, without waiting.  All else is the main
 * thread's.
 *
 * The old process says:                         the new one says:
 *
 *                                               HELLO     version, store
 *   OFFER     addresses, with the sockets
 *                                               READY     all is there but the store
 *   RELEASED  epoch, newest position: the store
 *             is nobody's
 *                                               OPENED    epoch, newest position
 *   GO        from here on the store is yours
 *                                               SERVING   before it accepts or commits anything
 *   PUBLISH   an operation of its hub             BATCH     what was committed, in order
 *   NO_FEED   no stream is left here            ANSWER    to operations, in their order
 *                                               FEED_END  events of further batches are left out
 *                                               LINEAGE   of the store, which has another epoch
 *                                                         now (hub_share.h)
 *
 * and either, instead of its next step, REFUSED with a line that says why; or the socket ends.
 */
#ifndef BUGLE_HANDOVER_LINK_H
#define BUGLE_HANDOVER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handover/pack.h"

/* Of all that is said over a link, the images of events included. */
#define HANDOVER_LINK_VERSION 1
#define HANDOVER_LINK_SOCKETS_MAX 64

enum handover_link_type {
    HANDOVER_LINK_HELLO = 1,
    HANDOVER_LINK_OFFER,
    HANDOVER_LINK_READY,
    HANDOVER_LINK_RELEASED,
    HANDOVER_LINK_OPENED,
    HANDOVER_LINK_GO,
    HANDOVER_LINK_SERVING,
    HANDOVER_LINK_REFUSED,
    HANDOVER_LINK_PUBLISH,
    HANDOVER_LINK_NO_FEED,
    HANDOVER_LINK_BATCH,
    HANDOVER_LINK_ANSWER,
    HANDOVER_LINK_FEED_END,
    HANDOVER_LINK_LINEAGE,
};

struct handover_link;
struct event;
struct event_base;

/* `bytes` are the link's until the next call for that link. */
struct handover_link_frame {
    enum handover_link_type type;
    const char *bytes;
    size_t n;
};

/* On the loop.  `end` comes once, when the other side is gone or sends what is no frame; not after
 * handover_link_close(). */
struct handover_link_hooks {
    void *arg;
    void (*frame)(void *arg, const struct handover_link_frame *frame);
    void (*end)(void *arg);
};

/* Take a connected socket, also when this fails: NULL when out of memory or descriptors. */
struct handover_link *handover_link_new(int fd);

/* Have it end, on its loop and at the other side.  Any thread. */
void handover_link_break(struct handover_link *link);

/* Nothing is sent or comes any more.  The link itself stays. */
void handover_link_close(struct handover_link *link);
void handover_link_free(
    struct handover_link *link); /* closes it; no other thread may use it any more; accepts NULL */

/* Send a frame.  Without a loop this writes it out and waits for room if need be.  With a loop it
 * returns at once: any thread; one lock.  Returns 0, -EPIPE when the other side is gone, -ENOMEM,
 * or -errno. */
int handover_link_send(struct handover_link *link, enum handover_link_type type, const char *bytes,
                       size_t n);

/* The same with what is packed, which is cleared.  And a refusal. */
int handover_link_send_pack(struct handover_link *link, enum handover_link_type type,
                            struct pack *pack);
void handover_link_refuse(struct handover_link *link, const char *why);

/* Send a frame with sockets, at most HANDOVER_LINK_SOCKETS_MAX, which stay open here.  Without a
 * loop, or before anything else was sent. */
int handover_link_send_sockets(struct handover_link *link, enum handover_link_type type,
                               const struct pack *pack, const int *fds, size_t fds_n);

/* Wait for the next frame.  Without a loop.  Returns 0, -ETIMEDOUT, -EPIPE, -EPROTO or -errno. */
int handover_link_receive(struct handover_link *link, int timeout_ms,
                          struct handover_link_frame *ret_frame);

/* The sockets that came so far, now the caller's; at most HANDOVER_LINK_SOCKETS_MAX. */
size_t handover_link_take_sockets(struct handover_link *link, int *ret_fds);

/* Be served by a loop from now on.  Returns 0 or -ENOMEM. */
int handover_link_attach(struct handover_link *link, struct event_base *base,
                         const struct handover_link_hooks *hooks);

/* Write what there is room for at once, before a link is closed. */
void handover_link_flush(struct handover_link *link);

bool handover_link_is_closed(const struct handover_link *link);

/* Bytes that are not written yet.  Any thread. */
size_t handover_link_unsent(struct handover_link *link);

/* Free an event, if there is one, and leave NULL. */
void handover_link_free_event(struct event **event);

#endif
