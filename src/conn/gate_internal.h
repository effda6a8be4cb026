/* SPDX-License-Identifier: MIT */
/*
 * What the files of the gate share.  gate.c holds the states of a connection and moves it between
 * them, gate_plain.c and gate_tls.c are the two sets of operations, gate_answer.c sends the gate's
 * own answers, gate_proxy.c reads PROXY headers, gate_evict.c closes idle connections.
 *
 * A plain connection    NEW - WAIT_HEAD - IN_REQUEST - IDLE - READ_HEAD - IN_REQUEST ...
 * with TLS              NEW - WAIT_HEAD - HELLO_QUEUED - HANDSHAKE - HEAD_IN_CELL - IN_REQUEST -
 *                       IDLE - HEAD_IN_CELL ...
 *
 * Behind a proxy WAIT_PROXY comes before WAIT_HEAD.
 */
#ifndef BUGLE_GATE_INTERNAL_H
#define BUGLE_GATE_INTERNAL_H

#include <event2/event_struct.h>
#include <stdbool.h>

#include "base/log.h"
#include "conn/gate.h"

/* The moves that are allowed stand in gate.c.  Up to GATE_HELLO_QUEUED the descriptor is the
 * gate's, from GATE_HANDSHAKE on a cell has the connection. */
enum gate_state {
    GATE_NEW,            /* not looked at yet; in the queue `arrived` */
    GATE_WAIT_PROXY,     /* its PROXY header is awaited */
    GATE_WAIT_HEAD,      /* its first head is awaited; with TLS, the client's hello */
    GATE_HELLO_QUEUED,   /* TLS: the hello is complete; in the queue `hellos` */
    GATE_HANDSHAKE,      /* TLS: the cell runs a step of the handshake */
    GATE_HANDSHAKE_WAIT, /* TLS: the cell has suspended it until the peer sends more */
    GATE_HEAD_IN_CELL,   /* TLS: the cell reads the first or next head */
    GATE_IN_REQUEST,     /* the cell works on a request */
    GATE_IDLE,           /* the cell has suspended it between two requests */
    GATE_READ_HEAD,      /* plain: suspended still, and a part of the next head is there */
    GATE_ENDING,         /* the cell is about to close it */
    GATE_STATES
};

struct gate_conn;
TAILQ_HEAD(gate_conns, gate_conn);

enum gate_list {
    GATE_LIST_PLAIN, /* a head is awaited; the first deadline first */
    GATE_LIST_TLS,   /* in order of their beginning; deadlines differ */
    GATE_LIST_IDLE,  /* the first deadline first */
    GATE_LISTS
};

/* What is different with and without TLS: chosen once, when a connection comes in. */
struct gate_ops {
    enum gate_list waiting_list; /* while a head is awaited */
    /* How long the state that it is in now may last, from `since_ms`.  A head is awaited. */
    int64_t (*limit_ms)(const struct gate_conn *conn);
    /* That time is over. */
    void (*time_out)(struct gate_conn *conn);
    /* Look at what has arrived.  `may_grow`: the peer has not ended.  Returns whether the
     * connection goes on waiting; if not, a cell has it or it is gone. */
    bool (*look)(struct gate_conn *conn, bool may_grow);
    /* Its cell has suspended it: wait for the peer, or go on with what is there already. */
    void (*on_suspended)(struct gate_conn *conn);
};

extern const struct gate_ops gate_plain_ops, gate_tls_ops;

struct gate_conn {
    struct cell_conn_owner owner;
    struct gate *gate;
    const struct gate_ops *ops;
    struct event readable;
    int fd;
    enum gate_state state;
    bool proxied;     /* a PROXY header comes first */
    bool watched;     /* `readable` is added */
    bool unread;      /* something came while the cell worked */
    bool peer_ended;  /* its peer sends no more */
    size_t looked_at; /* bytes of an incomplete head that were gone through */
    int64_t since_ms; /* it has waited for a head, or been idle */
    int64_t until_ms;
    struct sockaddr_storage address;
    socklen_t address_n;
    TAILQ_ENTRY(gate_conn) link;     /* in a list, while it waits or is idle */
    TAILQ_ENTRY(gate_conn) in_queue; /* `arrived` or `hellos` */
};

struct gate {
    struct worker *worker;
    const struct context *context; /* of the worker */
    struct cells *cells;
    struct lingering_close_pool *lingering_close;
    struct client_quota *client_quota;
    struct gate_conns lists[GATE_LISTS];
    size_t waiting_n, idle_n, busy_n;
    struct gate_conns arrived;
    struct worker_job job; /* looks at `arrived` */
    struct gate_conns hellos;
    struct worker_job handshake_job;
    struct event handshake_timer; /* for the next turn */
    bool closing;
    struct log_valve valve;
    struct log_valve proxy_valve;
    const struct conf_list *own_origins; /* NULL: none */
    size_t peeked_n;                     /* in `peek`, of the connection that is looked at */
    size_t peek_bytes;
    char peek[];
};

/* ---- gate.c ---- */

/* The only function that changes `state`: checks that the move is allowed, and keeps lists, queues,
 * counts and the deadline.  A deadline goes on as it was while the connection waits for one head.
 */
void gate_move(struct gate_conn *conn, enum gate_state to);

/* Whether a cell has the connection. */
bool gate_is_in_cell(const struct gate_conn *conn);

/* Receive events of its socket from now on, also of what is there already; no more of them. Without
 * memory for it the connection is dropped. */
void gate_watch(struct gate_conn *conn);
void gate_unwatch(struct gate_conn *conn);

/* A suspended connection waits for its peer.  `has_news`: look at once, if it was watched before.
 */
void gate_await(struct gate_conn *conn, bool has_news);

/* Peek at what has arrived, into the gate's buffer; as recv() returns it. */
ssize_t gate_peek(struct gate_conn *conn);

/* A look brought nothing: `n` is what recv() returned, with errno as it left it.  Returns whether
 * the connection goes on waiting. */
bool gate_see_nothing(struct gate_conn *conn, ssize_t n, bool may_grow);

/* Make the descriptor the gate's own: take it back from a cell.  Returns false when it is lost. */
bool gate_take_back(struct gate_conn *conn);

/* Leave the gate with the descriptor, which the caller has or closes. */
void gate_forget(struct gate_conn *conn);

/* A descriptor that the gate closes counts no more. */
void gate_count_off(struct gate *gate, const struct sockaddr *address);
const struct sockaddr *gate_address(const struct gate_conn *conn);

/* Give the connection to a cell of this kind, in the state it is in now; logs an error. */
void gate_add_to_cell(struct gate_conn *conn, enum cell_kind kind);
void gate_log_lost(struct gate *gate, int error);

/* Close without an answer.  A connection in a cell is shut down, and its cell closes it, which
 * takes no further descriptor. */
void gate_drop(struct gate_conn *conn);

/* ---- gate_answer.c ---- */

/* Answer with a status and "The request `why`.", and close.  `why` is static text of ours.  What
 * was peeked at last tells which page may read it. */
void gate_answer_refusal(struct gate_conn *conn, unsigned status, const char *why);

/* There is no memory for one more connection: answer 503 and close. */
void gate_answer_busy(struct gate_conn *conn);

/* ---- gate_proxy.c ---- */

/* Read the PROXY header off the socket, and move on.  Returns whether the connection waits for its
 * head now. */
bool gate_read_proxy_header(struct gate_conn *conn, bool may_grow);

/* Close a connection without a sound one; `why` goes into the log. */
void gate_drop_proxied(struct gate_conn *conn, const char *why);

/* ---- gate_tls.c ---- */

/* The queue of handshakes, in a gate that is built or freed. */
void gate_init_tls(struct gate *gate);
void gate_clear_tls(struct gate *gate);

/* What a cell reports of its connection, from inside the library. */
void gate_on_handshake_done(struct cell_conn_owner *owner);
void gate_on_request_begins(struct cell_conn_owner *owner);

#endif
