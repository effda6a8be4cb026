/* SPDX-License-Identifier: MIT */
/*
 * WebSockets (RFC 6455): the side that reads, over a stream that writes.
 *
 * A WebSocket is a stream like any other (stream.h) whose wire is not Server-Sent Events but frames
 * (stream_ws.h), and whose client may talk back.  What goes out is the stream's: events, the frames
 * of the gateway, and the texts of a conversation, in order and each whole.  What comes in is read
 * here: frames become messages (ws_parser.h), pings are answered, rules are held to, and each text
 * goes to the conversation (struct ws_conn_ops).
 *
 * Inside TLS the library's connection stays, suspended, and its session is used past it.  A plain
 * one has left the HTTP library: its descriptor was copied and the library's connection let
 * go, so it counts by itself in what connections count in (worker_load(), client_quota, memory).
 * Its messages are looked at in the kernel (MSG_PEEK) and taken one by one: while an answer is
 * awaited nothing is read, and nothing stands in the memory of the process.
 *
 * All WebSockets of a worker are in a few hosts (struct stream_host) of many streams each.
 *
 *   opened     ws_conn_open(): the stream is in the index, nothing is sent
 *   begun      ws_conn_begin(): 101 with the first frames; from here on it is read from
 *   ending     ws_conn_end(), the client's Close, or an end of the stream: what is under way, what
 *              the conversation sent before, and a Close frame; texts are not read any more
 *   over       the sending half is shut, the socket is read to its end elsewhere
 *              (lingering_close.h), or it is reset where the stream's end cuts; `closed` is called
 *
 * Worker's thread throughout, but for ws_conns_new() and ws_conns_free().
 */
#ifndef BUGLE_WS_CONN_H
#define BUGLE_WS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/peer.h"
#include "conn/client_quota.h"
#include "conn/lingering_close.h"
#include "loop/worker.h"
#include "stream/stream.h"
#include "stream/streams.h"

struct gnutls_session_int;
struct ws_conn;
struct ws_conns;

/* ---- a conversation ---- */

/* Who talks with the client.  Neither is called from inside another function of this header. */
struct ws_conn_ops {
    /*
     * The client has sent a text: whole, whatever frames it came in, valid UTF-8, and of at most
     * limits.message_bytes.  It is one of limits.message_rate, which was looked at before.
     *
     * text  borrowed for the call; may have NUL in it and is not ended by one; text_n may be 0
     *
     * May call every function below but ws_conn_go_on().  Returns whether the next text may come:
     * true, as soon as what was sent here has left (so who sends much and reads nothing is not
     * answered into our memory); false: an answer is awaited, and nothing is read before
     * ws_conn_go_on().
     */
    bool (*text)(struct ws_conn *conn, const char *text, size_t text_n);

    /*
     * The connection is over, for whatever reason, perhaps while an answer is awaited: free what
     * belongs to it.  The stream is there until this returns, for its facts; `conn` is gone then,
     * and who still waits for an answer must not use it any more.  The last call, and always made
     * once the connection was opened.
     */
    void (*closed)(struct ws_conn *conn);
};

/* What ws_conn_open() was given, and the stream under it. */
void *ws_conn_arg(const struct ws_conn *conn);
struct stream *ws_conn_stream(const struct ws_conn *conn);

/*
 * Send a text, behind the frame that is under way and before the next event.  Several are sent in
 * their order.  A text is never compressed.
 *
 * text  copied; valid UTF-8
 *
 * What waits to be sent counts in limits.memory.  Without memory for it the connection ends (1011),
 * and the caller need not look.  Does nothing once the connection is ending.
 */
void ws_conn_send(struct ws_conn *conn, const char *text, size_t text_n);

/* The awaited answer was sent, or there is none: read on, in a later turn.  Once for each `text`
 * that returned false; does nothing once the connection is ending. */
void ws_conn_go_on(struct ws_conn *conn);

/*
 * End the connection: a Close frame with this code behind what was sent before.
 *
 * code    WS_CLOSE_* (ws_frame.h)
 * reason  borrowed for good, so a literal; at most 123 bytes of UTF-8, never something that a peer
 *         sent
 *
 * The first end counts.
 */
void ws_conn_end(struct ws_conn *conn, unsigned code, const char *reason);

/* ---- opening one ---- */

/* What a WebSocket takes in limits.memory beside what it asked for. */
#define WS_CONN_BYTES 2048

struct ws_conn_ask {
    const struct stream_ask *stream;
    const struct stream_wire *wire; /* of stream_ws.h */
    const struct ws_conn_ops *ops;  /* borrowed */
    void *arg;                      /* of the conversation; ws_conn_arg() */
    struct peer address;            /* of the socket, by which its connection is counted */
    int fd;                         /* copied: the caller's is the caller's to close */

    /* Inside TLS: the session of the library's connection, which stays suspended.  Nothing is
     * copied or counted then, and after `closed` that connection is to be closed. */
    struct gnutls_session_int *session;
};

/*
 * Open one on a connected socket that does not block.
 *
 * ret_conn  given; ws_conn_begin() follows at once
 *
 * Returns 0, or as stream_open(), or -EMFILE: no descriptor was free.  Then nothing is left behind,
 * and `closed` is not called.
 */
int ws_conn_open(struct ws_conns *conns, const struct ws_conn_ask *ask, struct ws_conn **ret_conn);

/* Send the head of the answer, of at most STREAM_HEAD_BYTES, with the first frames behind it. */
void ws_conn_begin(struct ws_conn *conn, const char *head, size_t head_n);

/* ---- all of a worker ---- */

/* Borrows all it is given.  NULL when out of memory. */
struct ws_conns *ws_conns_new(struct worker *worker, struct streams *streams,
                              struct lingering_close_pool *lingering_close,
                              struct client_quota *client_quota);

/* Every WebSocket must be over.  Accepts NULL. */
void ws_conns_free(struct ws_conns *conns);

/* No descriptor beyond this number: see fd_budget.h.  Before the first is opened. */
void ws_conns_set_fd_end(struct ws_conns *conns, int end);

/* About four times a second: end those that send a message too slowly (limits.body_timeout). */
void ws_conns_tick(struct ws_conns *conns, int64_t now_ms);

size_t ws_conns_count(const struct ws_conns *conns);

#endif
