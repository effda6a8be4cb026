/* SPDX-License-Identifier: MIT */
/*
 * Closing so that the last answer can be read.  Closing a socket that still has unread bytes resets
 * it, and the reset may overtake the answer: a client that is still sending would never see its
 * 413. So after an answer that leaves a body unread only the sending half is closed, and what still
 * comes is read and discarded, until the peer closes or 2 s have passed.
 *
 * One for each worker; its thread.
 */
#ifndef BUGLE_LINGERING_CLOSE_H
#define BUGLE_LINGERING_CLOSE_H

#include <stddef.h>
#include <stdint.h>

#include "loop/worker.h"

struct lingering_close_pool;

/* Borrows the worker.  NULL when out of memory. */
struct lingering_close_pool *lingering_close_new(struct worker *worker);
void lingering_close_free(
    struct lingering_close_pool *pool); /* closes what is left; accepts NULL */

/* Take a descriptor whose answer has been handed to the kernel.  At a limit it is closed at
 * once. */
void lingering_close_take(struct lingering_close_pool *pool, int fd);

/* The same for a peer that answers the last words before it leaves, as to the Close of a WebSocket
 * (RFC 6455, 7.1.1): the sending half is closed when it says something, or after a second, and then
 * it has 5 s to leave.  A proxy that sees it closed sooner may not pass the last words on as it
 * should. */
void lingering_close_take_answered(struct lingering_close_pool *pool, int fd);

/* Close the sockets whose time is over.  Costs a look at each. */
void lingering_close_tick(struct lingering_close_pool *pool, int64_t now_ms);

size_t lingering_close_count(const struct lingering_close_pool *pool);

#endif
