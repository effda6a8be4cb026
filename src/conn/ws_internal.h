/* SPDX-License-Identifier: MIT */
/* What the files of WebSockets share: ws_conn.c has their life, ws_read.c what is read of them. */
#ifndef BUGLE_WS_INTERNAL_H
#define BUGLE_WS_INTERNAL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/token_bucket.h"
#include "conn/ws_conn.h"
#include "stream/stream_ws.h"
#include "wire/ws_parser.h"

/* What one read takes of a socket at most. */
#define WS_READ_BYTES 32768

struct ws_receiving;

struct ws_conn {
    struct stream_ws ws; /* first: the stream's `connection` */
    struct ws_parser parser;
    struct ws_conns *conns;
    struct ws_host *host;
    struct stream *stream;
    const struct ws_conn_ops *ops;
    void *arg;
    struct ws_receiving *receiving;     /* while a message is part received; else NULL */
    TAILQ_ENTRY(ws_conn) link;          /* in `again`, or `over` of its host */
    struct token_bucket rate;           /* of messages */
    struct gnutls_session_int *session; /* NULL: no TLS */
    int fd;
    uint32_t held_bytes; /* by the parser, as they are counted */
    struct peer address;
    bool has_more : 1;  /* in the socket, perhaps */
    bool has_ended : 1; /* its client: what is there is the last, and its end */
    bool in_again : 1;  /* the list */
    bool awaits : 1;    /* an answer */
    bool is_held : 1;   /* the session has a byte more than it was said to have taken */
    bool is_deaf : 1;   /* it is ending, or its client has said that it does */
};

TAILQ_HEAD(ws_conn_list, ws_conn);

/* Of one wire, inside TLS or not. */
struct ws_host {
    struct stream_host host;
    struct worker_job jobs[PRIO_COUNT];
    struct ws_conns *conns;
    struct ws_conn_list over;
    TAILQ_ENTRY(ws_host) link;
};

struct ws_conns {
    struct worker *worker;
    const struct context *context; /* of the worker */
    struct streams *streams;
    struct lingering_close_pool *lingering_close;
    struct client_quota *client_quota;
    TAILQ_HEAD(ws_hosts, ws_host) hosts;
    struct ws_conn_list again;            /* to be read from in the next turn */
    uint64_t turn;                        /* the worker's turn in which reading may */
    int64_t until_ns;                     /* go on until then */
    struct event *next_turn;              /* a timer of no time */
    TAILQ_HEAD(, ws_receiving) receiving; /* the first to be late first */
    size_t count;
    int fd_end;
    char buffer[WS_READ_BYTES];
};

/* ---- ws_tls.c ---- */

/* As `send` of struct stream_host. */
ssize_t ws_tls_send(void *connection, const struct iovec *parts, size_t parts_n);

/* Returns how many bytes were read; 0: the connection is over; -EAGAIN. */
ssize_t ws_tls_receive(struct ws_conn *conn, char *to, size_t room);

/* ---- ws_read.c ---- */

/* Returns 0 or -ENOMEM. */
int ws_read_init(struct ws_conns *conns);
void ws_read_free(struct ws_conns *conns);
void ws_read_tick(struct ws_conns *conns, int64_t now_ms);

void ws_read_begin(struct ws_conn *conn);
void ws_read_stop(struct ws_conn *conn); /* it is in no list any more */
void ws_read_end(struct ws_conn *conn);

/* As of the stream's host: something came; what was said is on its way. */
void ws_read_on_edge(void *connection, bool is_end);
void ws_read_on_said(void *connection);

#endif
