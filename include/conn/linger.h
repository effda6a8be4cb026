/* SPDX-License-Identifier: MIT */
/*
 * A last answer that can be read.  Closing a socket that still has unread bytes resets it, and
 * the reset may overtake the answer: a client that is still sending would never see its 413.  So
 * after an answer that leaves a body unread we close only our sending half, and read and discard
 * what still comes, until the peer closes or a short time is over.
 *
 * One for each worker; its thread.
 */
#ifndef BUGLE_LINGER_H
#define BUGLE_LINGER_H

#include <stddef.h>
#include <stdint.h>

#include "loop/worker.h"

struct linger_pool;

/* Borrows the worker.  NULL when out of memory. */
struct linger_pool *linger_new(struct worker *worker);
void linger_free(struct linger_pool *linger); /* closes what is left; accepts NULL */

/* Take a descriptor whose answer has been handed to the kernel.  At a limit it is closed at
 * once. */
void linger_take(struct linger_pool *linger, int fd);

/* Close what has lingered long enough. */
void linger_tick(struct linger_pool *linger, int64_t now_ms);

size_t linger_count(const struct linger_pool *linger);

#endif
