/* SPDX-License-Identifier: MIT */
/* What the files of the gate share: gate.c, gate_proxy.c, gate_room.c and gate_tls.c. */
#ifndef BUGLE_GATE_INTERNAL_H
#define BUGLE_GATE_INTERNAL_H

#include <event2/event_struct.h>
#include <stdbool.h>

#include "base/log.h"
#include "conn/gate.h"

enum place {
    AT_DOOR, /* the first head is awaited; the descriptor is the gate's */
    SHAKING, /* a cell has it, and a handshake or the first head inside TLS is under way */
    INSIDE,  /* a cell has the connection and works on a request */
    RESTING, /* a cell has it, and nothing of a next request is there */
    SPEAKING /* a cell has it, and the next head is under way */
};

struct gate_conn {
    struct cell_conn_owner owner;
    struct gate *gate;
    struct event readable;
    int fd;
    enum place place;
    bool watched;
    bool arrived;     /* in the list of those that nobody has looked at */
    bool proxied;     /* a PROXY header is to come first */
    bool stirred;     /* something came while a cell worked */
    bool ended;       /* its peer sends no more */
    bool tls;         /* then the head waited for at the door is the client's hello */
    bool said_hello;  /* in the list of those whose handshake may begin */
    bool greeted;     /* the handshake is done */
    bool waits;       /* SHAKING: for the next part of the handshake */
    size_t looked_at; /* bytes of an incomplete head that were gone through */
    int64_t since_ms; /* it is in this place */
    int64_t until_ms;
    struct sockaddr_storage address;
    socklen_t address_n;
    /* AT_DOOR and SPEAKING: in `heads`; with TLS AT_DOOR and SHAKING: in `greeting`; RESTING: in
     * `resting` */
    TAILQ_ENTRY(gate_conn) link;
    TAILQ_ENTRY(gate_conn) in_arrived; /* or in `hellos` */
};

TAILQ_HEAD(gate_conns, gate_conn);

struct gate {
    struct worker *worker;
    const struct context *context; /* of the worker */
    struct cells *cells;
    struct lingering_close_pool *lingering_close;
    struct client_quota *client_quota;
    size_t heads_n;
    size_t resting_n;
    size_t inside_n;
    struct gate_conns heads; /* the oldest first */
    struct gate_conns resting;
    struct gate_conns greeting;      /* in the order in which they came */
    TAILQ_HEAD(, gate_conn) arrived; /* of those at the door, whom to look at for the first time */
    struct worker_job job;
    TAILQ_HEAD(, gate_conn) hellos; /* whose handshake may begin */
    struct worker_job greet_job;
    struct event greet_timer; /* for the next turn */
    bool closing;
    struct log_valve valve;
    struct log_valve proxy_valve;
    const struct conf_list *own_origins; /* NULL: none */
    size_t peeked_n;                     /* in `peek`, of the conn that is looked at */
    size_t peek_bytes;
    char peek[];
};

/* A conn changes its place, and counts there. */
void gate_move_to(struct gate_conn *conn, enum place place);

/* Peek at what has arrived, into the gate's buffer; as recv() returns it. */
ssize_t gate_peek(struct gate_conn *conn);

/* Answer with a status and "The request `why`.", and close.  `why` is static text of ours.  What
 * was peeked at last tells which page it may be for. */
void gate_refuse(struct gate_conn *conn, unsigned status, const char *why);

/* Look at what has arrived.  Returns whether the conn goes on waiting; if not it is inside or
 * gone. */
bool gate_look(struct gate_conn *conn, bool may_grow);

/* Events of its socket from now on, and what is there already; no more of them.  Without memory it
 * is dropped. */
void gate_watch(struct gate_conn *conn);
void gate_unwatch(struct gate_conn *conn);

/* A connection was closed by the library: say so, now and then. */
void gate_tell_lost(struct gate *gate, int error);

/* A look brought nothing: `n` is what recv() returned, with errno as it left it.  Returns whether
 * the conn goes on waiting. */
bool gate_see_nothing(struct gate_conn *conn, ssize_t n, bool may_grow);

/* Close without a word.  Whom a cell has it closes itself, which takes no further descriptor. */
void gate_drop(struct gate_conn *conn);

/* Read the PROXY header off the socket.  Returns whether it is gone and the conn still there. */
bool gate_take_proxy_header(struct gate_conn *conn, bool may_grow);

/* Drop a conn for want of one; `why` goes into the log. */
void gate_refuse_proxy(struct gate_conn *conn, const char *why);

/* ---- gate_tls.c ---- */

/* What is needed for TLS, in a gate that is built or freed. */
void gate_init_tls(struct gate *gate);
void gate_clear_tls(struct gate *gate);

/* As look() for a conn with TLS. */
bool gate_look_at_tls(struct gate_conn *conn, bool may_grow);

/* Something came during a handshake.  The handshake waits from now on. */
void gate_shake_on(struct gate_conn *conn);
void gate_on_waiting(struct gate_conn *conn);

/* What its cell tells of a owner. */
void gate_on_greeted(struct cell_conn_owner *owner);
void gate_on_begun(struct cell_conn_owner *owner);

void gate_tick_tls(struct gate *gate, int64_t now_ms);

#endif
