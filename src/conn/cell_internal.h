/* SPDX-License-Identifier: MIT */
/* What the files of cells share: cell.c runs the daemons, cell_keepalive.c keeps connections that
 * rest, cell_tls.c knows what is different with TLS. */
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

/* What the library keeps for us with a connection.  0.9.75 ends one that it cannot enter into its
 * epoll set without telling that the request is over, and then the cell does. */
struct cell_tie {
    void *context; /* of the request under way; NULL: none */
    bool is_seat;  /* the first member of one; else it is one of its cell's `ties` */
    bool is_taken; /* of those */
};

/* A kept connection as its cell sees it. */
struct cell_seat {
    struct cell_tie tie;
    struct cell_waiter waiter; /* while it rests */
    struct cell *cell;
    struct cell_guest *guest; /* NULL: it has left */
    bool is_taken_back;       /* with the descriptor */
    bool rests;               /* it is suspended between two requests */
    bool expected;            /* the head that comes next has been checked */
    bool pauses;              /* in the cell's list: it is suspended after the next run */
    bool finished;            /* and rests then, with no request under way */
    unsigned begun_in;        /* the run in which the request under way began */
    bool shakes;              /* its TLS handshake is not done */
    TAILQ_ENTRY(cell_seat) link;
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
    unsigned started;              /* connections ever, to tell how far an addition got */
    size_t flush_left[PRIO_COUNT]; /* of the streams that were ready when the flush came here */
    bool running;
    unsigned runs_n;
    bool listed; /* in one of the lists of `cells` */
    STAILQ_HEAD(, cell_waiter) answered;
    TAILQ_HEAD(, cell_seat) pausing;        /* since the daemon was run: to be suspended after it */
    struct cell_tie ties[CELL_STREAMS_MAX]; /* of connections for streams, which have no seat */
    struct cell_tie *arriving;              /* of the connection that is being added */
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
    int descriptors_end;
    struct mhd_quirks quirks;
    struct log_valve valve;
    int ended_fd; /* a socket whose peer has closed: stands in for those taken back */
};

/* How many connections a cell of this kind has at most. */
unsigned cell_room(enum cell_kind kind);

/* ---- cell_keepalive.c ---- */

/* The seat of a connection; NULL: it has none. */
struct cell_seat *cell_seat_of(struct MHD_Connection *connection);

/* A seat, or only a tie, for the connection that is about to be added.  The former returns 0 or
 * -ENOMEM. */
int cell_take_seat(struct cell *cell, struct cell_guest *guest);
void cell_take_tie(struct cell *cell);

/* The connection is over.  Returns whether its descriptor goes with it. */
bool cell_leave_seat(struct cell_tie *tie);

/* Of a connection that was added; NULL: the library told of it too late. */
struct cell_tie *cell_tie_of(struct MHD_Connection *connection);

/* The guest is its owner's again.  Accepts NULL. */
void cell_tell_gone(struct cell_guest *guest);

/* Let it rest once its daemon has been run, if it is still there then. */
void cell_rest_after_run(struct cell_seat *seat);

/* Not, after all. */
void cell_stay_after_run(struct cell_seat *seat);

/* Let it wait for its answer from there on: with a request that began in this run. */
void cell_wait_after_run(struct cell_seat *seat);

/* Before its daemon is run again, and so before the library reads on, or asks for the answer. */
void cell_pause_after_run(struct cell *cell);

/* ---- cell_tls.c ---- */

/* What the client asked for, as it came; what comes later is taken apart and unescaped in its
 * place.
 */
void *cell_tls_on_target(void *cls, const char *target, struct MHD_Connection *connection);

/* A TLS connection has begun. */
void cell_tls_begin(struct cell_seat *seat);

#endif
