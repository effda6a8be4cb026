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

#include "admission.h"
#include "cell.h"
#include "linger.h"
#include "worker.h"

struct gate;

/* Borrows all it is given.  NULL when out of memory. */
struct gate *gate_new(struct worker *worker, struct cells *cells, struct linger_pool *linger,
                      struct admission *admission);
void gate_free(struct gate *gate); /* closes what waits; accepts NULL */

/* Take a connected, non-blocking descriptor, already counted in worker_load_add() and
 * admission_add_connection(). */
void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n);

/* The same for a connection of a trusted proxy that begins with a PROXY header, under the same
 * deadline as the head.  The header is read and gone before anybody else sees the socket, whose
 * address is then the client's, and counts as such.  Without a sound header it is closed. */
void gate_take_proxied(struct gate *gate, int fd, const struct sockaddr *address,
                       socklen_t address_n);

/* Close what has waited longer than limits.header_timeout. */
void gate_tick(struct gate *gate, int64_t now_ms);

/* Close all that waits. */
void gate_abort(struct gate *gate);

/* When the socket came that waits longest, having been looked at; INT64_MAX when there is none.
 * And close that one, for whom descriptors are wanted. */
int64_t gate_since_ms(const struct gate *gate);
void gate_crowd_out(struct gate *gate);

size_t gate_count(const struct gate *gate);

#endif
