/* SPDX-License-Identifier: MIT */
/* What the files of cells share: cell.c runs the daemons, cell_keepalive.c keeps connections
 * between two requests, cell_tls.c knows what is different with TLS. */
#ifndef BUGLE_CELL_INTERNAL_H
#define BUGLE_CELL_INTERNAL_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "base/log.h"
#include "conn/cell.h"
#include "conn/mhd_quirks.h"
#include "conn/tls_credentials.h"

/* The cell's record of a connection, which the library keeps as its socket context.  0.9.75 ends a
 * connection that it cannot add to its epoll set without reporting the end of the request: then the
 * cell reports it. */
struct cell_conn {
    void *context; /* of the request under way; NULL: none */
    bool is_kept;  /* the first member of a cell_kept; else one of its cell's `stream_conns` */
    bool is_used;  /* of those */
};

/* A kept connection: it serves one request after another. */
struct cell_kept {
    struct cell_conn conn;
    struct cell_waiter waiter; /* while it is idle */
    struct cell *cell;
    struct cell_conn_owner *owner; /* NULL: it has taken the descriptor back */
    bool is_taken_back;
    bool is_idle;      /* suspended between two requests, or in a handshake that waits */
    bool expected;     /* the head that comes next has been checked */
    bool pauses;       /* in the cell's list `pausing`: it is suspended after the run */
    bool finished;     /* and is idle then, with no request under way */
    bool in_handshake; /* its TLS handshake is not done */
    unsigned begun_in; /* the run in which the request under way began */
    TAILQ_ENTRY(cell_kept) link;
    struct tls_credentials *tls; /* of a TLS connection: what its session uses; a reference */
    char *target;                /* of its request, until the first call; NULL: out of memory */
};

struct cell {
    struct stream_host host;
    struct worker_job jobs[PRIO_COUNT];
    struct cells *cells;
    enum cell_kind kind;
    struct MHD_Daemon *daemon;
    struct event *readable; /* the daemon's epoll descriptor */
    struct event *timer;
    unsigned connections_n;
    unsigned started; /* connections ever, to tell how far an addition got */
    bool running;
    unsigned runs_n;
    bool listed; /* in one of the lists of `cells` */
    STAILQ_HEAD(, cell_waiter) answered;
    TAILQ_HEAD(, cell_kept) pausing; /* since the daemon was run: to be suspended after it */
    struct cell_conn stream_conns[CELL_STREAMS_MAX]; /* of connections for streams */
    struct cell_conn *arriving;                      /* of the connection that is being added */
    TAILQ_ENTRY(cell) link;
};

struct cells {
    struct worker *worker;
    const struct context *context; /* of the worker */
    struct streams *streams;
    struct cell_handler handler;
    TAILQ_HEAD(cell_list, cell) open[CELL_KINDS]; /* with room */
    struct cell_list full[CELL_KINDS];
    size_t connections_n;
    size_t suspended_n;
    struct tls_credentials *tls; /* for handshakes from now on; a reference, NULL: no TLS */
    int fd_end;
    struct mhd_quirks quirks;
    struct log_valve valve;
    int ended_fd; /* a socket whose peer has closed: stands in for those taken back */
};

/* How many connections a cell of this kind has at most. */
unsigned cell_room(enum cell_kind kind);

/* ---- cell_keepalive.c ---- */

/* The kept connection; NULL: it is for a stream, or the library reported it too late. */
struct cell_kept *cell_kept_of(struct MHD_Connection *connection);

/* A record for the connection that is about to be added: of one that is kept, or for a stream.  The
 * former returns 0 or -ENOMEM. */
int cell_enter_kept(struct cell *cell, struct cell_conn_owner *owner);
void cell_enter(struct cell *cell);

/* The connection is over.  Returns whether its descriptor goes with it. */
bool cell_leave(struct cell_conn *conn);

/* The record of a connection; NULL: the library reported it too late. */
struct cell_conn *cell_conn_of(struct MHD_Connection *connection);

/* Call `gone`; the cell does not use the owner any more.  Accepts NULL. */
void cell_tell_gone(struct cell_conn_owner *owner);

/* Suspend it as idle once its daemon has been run, if it is still there then. */
void cell_idle_after_run(struct cell_kept *kept);

/* Take that, or cell_wait_after_run(), back. */
void cell_stay_after_run(struct cell_kept *kept);

/* Suspend it then because its request, which began in this run, waits for an answer. */
void cell_wait_after_run(struct cell_kept *kept);

/* Before its daemon is run again, and so before the library reads on, or asks for the answer. */
void cell_pause_after_run(struct cell *cell);

/* ---- cell_tls.c ---- */

/* What the client asked for, as it came; what comes later is taken apart and unescaped in its
 * place.
 */
void *cell_tls_on_target(void *cls, const char *target, struct MHD_Connection *connection);

/* A TLS connection has begun. */
void cell_tls_begin(struct cell_kept *kept);

#endif
