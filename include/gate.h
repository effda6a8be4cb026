/* SPDX-License-Identifier: MIT */
/*
 * Where a new socket waits until its first request's head is there and proved sound.
 *
 * The bytes are only peeked at (MSG_PEEK), so whoever gets the socket reads them again.  A head
 * that http_head_check() refuses is answered here; a good one goes to the kind of cell it needs.
 * A slow head costs a few hundred bytes and ends at an absolute deadline, however steadily it
 * drips.
 *
 * One for each worker; its thread.
 */
#ifndef BUGLE_GATE_H
#define BUGLE_GATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "cell.h"
#include "linger.h"
#include "worker.h"

struct gate;

/* Borrows all it is given.  NULL when out of memory. */
struct gate *gate_new(struct worker *worker, struct cells *cells, struct linger_pool *linger);
void gate_free(struct gate *gate); /* closes what waits; accepts NULL */

/* Take a connected, non-blocking descriptor, already counted in worker_load_add(). */
void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n);

/* Close what has waited longer than limits.header_timeout. */
void gate_tick(struct gate *gate, int64_t now_ms);

/* Close all that waits. */
void gate_abort(struct gate *gate);

size_t gate_count(const struct gate *gate);

#endif
