/* SPDX-License-Identifier: MIT */
/*
 * Small HTTP daemons inside one loop.
 *
 * libmicrohttpd walks all suspended connections of a daemon whenever one of them is resumed, each a
 * line or two that are in no cache, so connections live in many small daemons, and only a daemon
 * that has something to do is run.  A cell has no listening socket: the gate hands it descriptors
 * whose first request it has seen, and so picks the kind of cell by it.
 *
 * Rules that the library imposes: nothing runs a daemon from inside one of its callbacks; after a
 * resume or an addition the daemon must be run; what it says about its timeout must be honoured.
 * So resuming a connection only queues its cell, and cells run at the end of the worker's turn.
 *
 * A connection for requests is kept alive.  Between two requests it is idle: the cell suspends it,
 * so that the library does not read, and tells its owner.  The owner looks at the next head while
 * it is still in the kernel, and then resumes the connection or takes its descriptor back.  So the
 * library never reads a head that was not checked.  Bytes that it read beyond the end of a request
 * are not served: see cell_is_expected().  Inside TLS the owner cannot see the head: the library
 * reads it under the owner's deadline, and the handler checks it.
 *
 * Worker's thread throughout, but for cells_new() and cells_free().
 */
#ifndef BUGLE_CELL_H
#define BUGLE_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/peer.h"
#include "loop/worker.h"
#include "stream/stream.h"
#include "stream/streams.h"
#include "wire/http_head.h"

/* How many connections a cell has at most: streams, and all inside TLS, or requests. */
#define CELL_STREAMS_MAX 32
#define CELL_REQUESTS_MAX 128
#define CELL_DESCRIPTORS 2 /* of the daemon's own: for epoll, and an eventfd */

enum cell_kind {
    CELL_STREAM,       /* GET /events with an ordinary head */
    CELL_STREAM_LARGE, /* with a large one */
    CELL_API,          /* anything else with an ordinary head and a small body */
    CELL_API_LARGE,    /* with a larger one; can serve the others too */
    CELL_TLS,          /* anything inside TLS, where the head is not known before */
    CELL_KINDS,
};

struct MHD_Connection;
struct mhd_quirks;
struct tls_credentials;
struct gnutls_session_int;
struct cell;
struct cells;

/* The handler of requests: what libmicrohttpd calls, with the cell as first argument. */
struct cell_handler {
    void *arg;
    int (*request)(struct cell *cell, struct MHD_Connection *connection, const char *url,
                   const char *method, const char *version, const char *upload, size_t *upload_n,
                   void **context); /* MHD_YES or MHD_NO */
    /* The request is over.  `connected`: its connection can still be used; if not, it is closed as
     * soon as this returns. */
    void (*completed)(struct cell *cell, void **context, bool connected);
    /* A connection that cells_add() was given, with this address, is over. */
    void (*closed)(void *arg, const struct sockaddr *address);
};

/* A suspended request that will be answered.  Embedded by its owner, zeroed to begin with. */
struct cell_waiter {
    STAILQ_ENTRY(cell_waiter) link;
    struct MHD_Connection *connection;
    enum {
        CELL_RUNNING,   /* the library has it */
        CELL_SUSPENDED, /* from cell_suspend() to cell_answer() */
        CELL_ANSWERED,  /* cell_answer() was called; the cell has not resumed it yet */
    } state;
};

/* The owner of a kept connection, as the cell knows it: it checks the heads.  Embedded by it. */
struct cell_conn_owner {
    /* A request has been answered and the connection is idle, or a handshake waits for its peer.
     * Not called from inside the library, so anything may be done with the connection. */
    void (*idle)(struct cell_conn_owner *owner);
    /* TLS only, both called from inside the library, so nothing may be done with the connection:
     * the handshake is done; the first or next head is complete and its request begins. */
    void (*handshake_done)(struct cell_conn_owner *owner);
    void (*request_begins)(struct cell_conn_owner *owner);
    /* The connection ends and its descriptor is about to be closed; the cell has forgotten this. */
    void (*gone)(struct cell_conn_owner *owner);
    struct http_head head;  /* of the request that is under way or comes next, without its path */
    bool is_last;           /* the connection is to end with it */
    struct cell_kept *kept; /* the cell's side of it; NULL: in no cell */
};

/* No cells yet.  Borrows what it is given but `quirks`.  NULL when out of memory. */
struct cells *cells_new(struct worker *worker, struct streams *streams,
                        const struct cell_handler *handler, const struct mhd_quirks *quirks);

/* Stop every daemon; no connection may be suspended any more.  Accepts NULL. */
void cells_free(struct cells *cells);

/*
 * Give a connected, non-blocking descriptor to a cell of this kind, opening one if need be.
 *
 * owner   for a kind for requests, with the head that comes first; borrowed until `gone` is called.
 *         NULL for a kind for streams: such a connection has one request and ends.
 *
 * CELL_TLS runs the daemon at once, which costs a handshake if the client has begun one: callers
 * add a few at a time.
 *
 * Takes the descriptor, also when it fails, and then `gone` has been called.  Returns 0, -ENOMEM,
 * -EMFILE or what else kept a new daemon from starting.
 */
int cells_add(struct cells *cells, enum cell_kind kind, int fd, const struct sockaddr *address,
              socklen_t address_n, struct cell_conn_owner *owner);

/* An idle connection: let the library read the request whose head is now in `owner->head`, or the
 * next part of a handshake. */
void cell_resume(struct cell_conn_owner *owner);

/* The peer has sent nothing but its end, or the descriptor was shut down: if the connection is
 * idle, let the library see that and close it. */
void cell_let_close(struct cell_conn_owner *owner);

/*
 * An idle connection: take the descriptor back, with what is unread in it.  The library's
 * connection ends and sends nothing to the peer; the owner is in no cell any more, and `gone` is
 * not called. Returns the descriptor, whose number is a new one and which counts in worker_load()
 * like any other, or -EMFILE, and then the connection is cut.
 */
int cell_take_back(struct cell_conn_owner *owner);

/* An idle TLS connection: whether a part of the next request was read with the last one. */
bool cell_has_pending(const struct cell_conn_owner *owner);

/* From now on handshakes use this set, whose reference it takes: NULL for none.  Worker's thread,
 * or before it starts. */
void cells_set_tls(struct cells *cells, struct tls_credentials *tls);

/* The session of a TLS connection; NULL without TLS. */
struct gnutls_session_int *cell_session(struct MHD_Connection *connection);

/* Of a TLS connection, in the first call of a request: the target as it was sent.  The caller's to
 * free(); NULL when there was no memory for it. */
char *cell_take_target(struct MHD_Connection *connection);

enum cell_kind cell_kind_of(const struct cell_conn_owner *owner);

/*
 * Whether the request that the library begins on this connection is the one whose head was
 * checked, and not something that it had read beyond the end of the last one.  Inside TLS the head
 * was not checked, and only the latter is told.  Once per request, in its first call.
 * `*ret_owner` is NULL for a connection without one.
 */
bool cell_is_expected(struct MHD_Connection *connection, const struct cell_conn_owner **ret_owner);

/* No descriptor beyond this number for new cells: see fd_budget.h.  Before the first is opened.
 */
void cells_set_fd_end(struct cells *cells, int end);

/* Close cells that stayed empty. */
void cells_tick(struct cells *cells);

/* Cut every connection, also those between requests: the last step of a stop.  No connection may
 * be suspended. */
void cells_abort(struct cells *cells);

/* Connections in all cells. */
size_t cells_connections(const struct cells *cells);

/* Idle connections, and requests that cell_suspend() suspended and that are not resumed yet,
 * answered or not. */
size_t cells_suspended(const struct cells *cells);

/* Suspend the connection until cell_answer().  From within the last call of the request handler, or
 * a later one, only, which then returns MHD_YES; it is called again once the answer is there.  The
 * connection may be suspended only when the run of its daemon is over, and is not answered before
 * the end of the turn. */
void cell_suspend(struct cell *cell, struct cell_waiter *waiter, struct MHD_Connection *connection);

/* Resume it at the end of this turn.  Once for each cell_suspend(). */
void cell_answer(struct cell *cell, struct cell_waiter *waiter);

/* The connection of a suspended request has ended, answered or not: no cell_answer() any more, and
 * the cell has forgotten the waiter.  From within the handler's `completed`. */
void cell_forget(struct cell *cell, struct cell_waiter *waiter);

/*
 * Where the library keeps a connection whose request is being answered, all of it: the head, its
 * records, and the room for chunks.
 *
 * method  of its request, as the library gives it: it stands where the head does
 * ret_n   0: it begins at or before the result, and ends at or behind the room for chunks
 *
 * Returns NULL for a small pool, which has no whole page to speak of, and where this version of the
 * library keeps pools elsewhere.
 */
char *cell_pool(const struct cell *cell, const char *method, size_t *ret_n);

struct stream_host *cell_host(struct cell *cell);
void *cell_handler_arg(struct cell *cell);

#endif
