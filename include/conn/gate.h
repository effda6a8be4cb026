/* SPDX-License-Identifier: MIT */
/*
 * Where a connection waits until a request's head is there and proved sound: the first one, and
 * every later one of a connection that is kept.
 *
 * The bytes are only peeked at (MSG_PEEK), so whoever gets the socket reads them again.  A head
 * that http_head_check() refuses is answered here; a good one goes to the kind of cell it needs.
 * A slow head costs a few hundred bytes and ends at an absolute deadline, however steadily it
 * drips.  Between two requests the connection comes back here (see cell.h), rests for at most
 * limits.keepalive_timeout, and the next head is treated like the first; if it needs another kind
 * of cell, the connection moves there.
 *
 * One for each worker; its thread.
 */
#ifndef BUGLE_GATE_H
#define BUGLE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "conf/conf.h"
#include "conn/cell.h"
#include "conn/client_quota.h"
#include "conn/lingering_close.h"
#include "loop/worker.h"

struct gate;

/* Borrows all it is given.  NULL when out of memory. */
struct gate *gate_new(struct worker *worker, struct cells *cells,
                      struct lingering_close_pool *lingering_close,
                      struct client_quota *client_quota);

/* The origins of the gateway's own page, whose pages may read what the gate answers; borrowed. */
void gate_set_own_origins(struct gate *gate, const struct conf_list *own_origins);

/* Closes what waits.  Its cells must have no connections any more.  Accepts NULL. */
void gate_free(struct gate *gate);

/* Take a connected, non-blocking descriptor, already counted in worker_load_add() and
 * client_quota_add_connection(). */
void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n);

/* The same for a connection of a trusted proxy that begins with a PROXY header, under the same
 * deadline as the head.  The header is read and gone before anybody else sees the socket, whose
 * address is then the client's, and counts as such.  Without a sound header it is closed. */
void gate_take_proxied(struct gate *gate, int fd, const struct sockaddr *address,
                       socklen_t address_n);

/* The same for a connection that begins with a TLS handshake, behind its PROXY header if it is
 * `proxied`.  It waits here until the client's hello is there, and then goes to a cell for TLS; one
 * deadline covers hello, handshake and first head.  Later heads are for the cell to read and for
 * the handler to check, under the same deadlines as others. */
void gate_take_tls(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n,
                   bool proxied);

/* Close whose head has taken longer than limits.header_timeout, whose handshake longer than
 * tls.handshake_timeout, and what has rested longer than limits.keepalive_timeout. */
void gate_tick(struct gate *gate, int64_t now_ms);

/* Close all that waits or rests, and from now on what comes to do so.  What rests is suspended in
 * its cell until the end of the worker's turn. */
void gate_abort(struct gate *gate);

/* Since when the connection that is idle longest has waited for a head, having been looked at, or
 * rested between two requests; INT64_MAX when there is none.  And close that one, for whom
 * descriptors are wanted. */
int64_t gate_since_ms(const struct gate *gate);
void gate_crowd_out(struct gate *gate);

/* Whether the library's largest pool has room for such a head and an answer. */
bool gate_has_room_for(const struct http_head *head);
/* What a 431 says of one for which it has not: "The request ...". */
#define GATE_NO_ROOM_FOR_HEAD "head has more fields and cookies than there is room for"

/* Connections whose head is awaited or under way. */
size_t gate_count(const struct gate *gate);

/* Connections that rest between two requests. */
size_t gate_resting(const struct gate *gate);

#endif
