/* SPDX-License-Identifier: MIT */
/*
 * Where a connection waits until the head of a request is complete and checked: the first one, and
 * every later one of a kept connection.
 *
 * The bytes are only peeked at (MSG_PEEK), so that the cell, which gets the socket, reads them
 * again. A head that http_head_check() refuses is answered here; a good one goes to the kind of
 * cell it needs (gate_route.h).  A slow head costs a few hundred bytes and ends at an absolute
 * deadline, however steadily it drips.  Between two requests the connection comes back here
 * (cell.h) and is idle for at most limits.keepalive_timeout; the next head is treated like the
 * first, and if it needs another kind of cell, the connection moves there.
 *
 * With TLS the gate sees only the client's hello and when something comes; heads are read by the
 * cell and checked by the handler, under the same deadlines.
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
#include "conn/listener.h"
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

/*
 * Take a connected, non-blocking descriptor, already counted in worker_load_add() and
 * client_quota_add_connection().
 *
 * layers  proxied: it begins with a PROXY header.  The header is read off the socket, whose address
 *                  is the client's from then on, and counts as such; without a sound one the
 *                  connection is closed.
 *         tls:     behind that comes a TLS handshake.  It waits here until the client's hello is
 *                  complete, and goes to a cell for TLS then.
 *
 * One deadline covers PROXY header, hello, handshake and first head.
 */
void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n,
               struct listener_layers layers);

/* Close connections whose head has taken longer than limits.header_timeout, whose handshake longer
 * than tls.handshake_timeout, and those idle for longer than limits.keepalive_timeout. */
void gate_tick(struct gate *gate, int64_t now_ms);

/* Close all that wait or are idle, and from now on those that come to do so.  Idle ones are
 * suspended in their cells until the end of the worker's turn. */
void gate_abort(struct gate *gate);

/* Since when the longest idle connection has waited for a head, having been looked at, or been idle
 * between two requests; INT64_MAX when there is none.  And close that one, when there is one,
 * because descriptors run short. */
int64_t gate_idlest_since_ms(const struct gate *gate);
void gate_evict_idlest(struct gate *gate);

/* Connections whose head is awaited or under way. */
size_t gate_waiting_count(const struct gate *gate);

/* Connections that are idle between two requests. */
size_t gate_idle_count(const struct gate *gate);

#endif
