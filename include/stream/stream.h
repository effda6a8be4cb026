/* SPDX-License-Identifier: MIT */
/*
 * One open subscription: a client is only a cursor.
 *
 * A stream has no queue.  It is a place in the order of events: near the head it reads the
 * worker's ring, behind the ring it reads pages of the history, and both go through the same
 * reader, so replay, live and slow are one path without a hand-over.  All a stalled client holds
 * is one reference and an offset into its frame.
 *
 *   state      the connection is    and the stream
 *   IDLE       suspended            has sent all there is; its cursor is not touched
 *   READY      suspended            has something to send; in its host's queue
 *   DRAINING   the host's           is pulled by it, piece by piece (stream_pull())
 *              suspended            sends by itself, or waits until the socket has room
 *   PAGING     suspended            waits for a page of the history
 *   CLOSING    either               ends with the next pull or send, once what the socket did not
 *                                   take is out
 *
 * stream_move() is the only function that moves a stream between states.
 *
 * What carries the connection is the host (struct stream_host): the stream knows neither its
 * library nor its loop.  A stream sends by itself, past the host, which keeps the connection
 * suspended from its request to its end (stream_direct.c): the head of the answer and its beginning
 * in one segment, then what follows, then the end.  In which form is its host's wire (struct
 * stream_wire): the bytes of an event, the frames of the gateway, what stands around them.  Inside
 * TLS, without chunks, or behind a large head the host sends the answer, and pulls it; the stream
 * then sends at most its chunks by itself.
 *
 * All of it runs on the worker's thread.  Nothing here runs the host: a stream marks and wakes it,
 * and it runs at the end of the turn.
 */
#ifndef BUGLE_STREAM_H
#define BUGLE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "auth/identity.h"
#include "base/peer.h"
#include "event/filter.h"
#include "loop/worker.h"
#include "stream/ready_queue.h"
#include "stream/stream_end.h"
#include "stream/stream_place.h"
#include "stream/topic_share.h"

struct hub;
struct stream_host;
struct stream_wire;
struct stream;
struct streams;

TAILQ_HEAD(stream_list, stream);

enum stream_state { STREAM_IDLE, STREAM_READY, STREAM_DRAINING, STREAM_PAGING, STREAM_CLOSING };

/*
 * What a host can do with the connection of a stream, as it was given to stream_open().  They do
 * not call back into the stream.  A suspended connection is neither read, written nor timed.
 */
struct stream_host_ops {
    void (*suspend)(void *connection);
    void (*resume)(void *connection); /* it is pulled from in the host's next run, or ended */
    /* The client takes what it is sent: let the host's timeout of this connection begin anew. */
    void (*extend_timeout)(struct stream_host *host, void *connection);
    /* From within a pull that returns an end: have the connection closed in the next run. */
    void (*close_soon)(struct stream_host *host, void *connection);
    /* Where clients talk: this one has sent something; `is_end`: and will send no more.  Told once
     * for each time that something came. */
    void (*readable)(void *connection, bool is_end);
    /* There: what was said (stream_ws.h) is on its way, and more may be. */
    void (*said)(void *connection);
};

/*
 * What carries the connections of some streams.  Embedded by its owner, the cell, who sets what
 * stands before the blank line.  `wake` has stream_host_resume() called for that class at the end
 * of the turn, and the host run after it if `wants_run` is set by then, which the owner takes back.
 */
struct stream_host {
    struct streams *streams;        /* by streams_add_host() */
    const struct stream_wire *wire; /* what its clients speak: one of those below, or of
                                     * stream_ws.h */
    void (*wake)(struct stream_host *host, enum worker_prio prio);
    const struct stream_host_ops *ops;
    unsigned timeout_s; /* its own, for a connection that is not suspended; 0: none */
    /* Where the socket is not written to directly: send, and return how many bytes were taken, or
     * -1: the connection is over.  NULL: sendmsg() does. */
    ssize_t (*send)(void *connection, const struct iovec *parts, size_t parts_n);
    bool sends_past; /* streams may send past it; never inside TLS */

    bool wants_run; /* a connection was resumed, or is to be looked at */
    size_t streams_n;
    struct stream_list all;
    /* each with room for `streams_n` */
    struct ready_queue ready[PRIO_COUNT - PRIO_TARGETED];
    size_t flush_left[PRIO_COUNT - PRIO_TARGETED]; /* see stream_host_resume_piece() */
    size_t behind_n;                               /* streams that catch up with the past */
    size_t place;                                  /* among the hosts of `streams` */
};

/* Server-Sent Events in an answer of HTTP. */
extern const struct stream_wire stream_wire_sse;

/* Where a stream begins. */
struct stream_start {
    enum {
        STREAM_FROM_LATEST,
        STREAM_FROM_EARLIEST,
        STREAM_FROM_TIME,
        STREAM_FROM_LAST,
        STREAM_FROM_ID
    } from;
    const char *id; /* FROM_ID: as the client sent it, borrowed */
    size_t id_n;
    int64_t since_ms; /* FROM_TIME: wall clock */
    size_t last_n;    /* FROM_LAST: with the latest so many of its events, at most LAST_MAX */
};
#define STREAM_LAST_MAX 1000

/* By what a stream was let in, to find out whether it would be let in again (access_read.h). */
struct stream_grant {
    struct identity *identity; /* NULL: anonymous */
    const struct conf *conf;   /* the settings that did; NULL: they let in everybody */
    enum identity_way way;     /* with an identity */
};

/* The form of a stream, as its client asked for it. */
struct stream_options {
    bool ping_event : 1; /* heartbeats as `event: ping` */
    bool padding : 1;    /* a long comment at the beginning */
    bool envelope : 1;   /* Server-Sent Events: each event as MESSAGE_FORM_ENVELOPE */
};

/* What a client asked for, checked. */
struct stream_ask {
    struct filter *filter;     /* borrowed; the stream takes its own reference */
    struct stream_grant grant; /* the same, for identity and settings */
    const void
        *owners[TOPIC_SHARE_OWNERS]; /* as of topic_index_add(); good until the stream is closed */
    struct stream_start start;
    struct peer peer;
    uint64_t heartbeat_ms;
    struct stream_options options;
    bool http_1_0;
    /* Where the host keeps the connection, if it is worth giving pages of it back, from where the
     * request was read; NULL: it is not.  `pool_bytes` 0: up to the end of the room for a pull.
     */
    char *pool;
    size_t pool_bytes;
};

/*
 * Open a stream on a connection.
 *
 * connection  of the host, borrowed until stream_closed(): what its operations are given
 * fd          of the connection, which the host closes after stream_closed()
 * ret_stream  given
 *
 * Returns 0, or -ENOMEM, or -E2BIG or -EDQUOT as topic_index_add(); then nothing is left behind.
 */
int stream_open(struct stream_host *host, void *connection, int fd, const struct stream_ask *ask,
                struct stream **ret_stream);

/* Whether a new stream sends its whole answer by itself: its host goes on with stream_begin().
 * Else the host answers, and pulls. */
bool stream_answers_itself(const struct stream *stream);

/* ---- a host that answers, and pulls ---- */

/* Ends that stream_pull() returns in the place of a number of bytes. */
#define STREAM_PULL_END (-1)   /* all is sent: end the answer in order */
#define STREAM_PULL_ABORT (-2) /* end the connection, without the end of the answer */

/*
 * Ask for what goes out next, of a connection that is not suspended.
 *
 * buf  of `max` bytes.  Borrowed for as long as the connection: while that is suspended the host
 * does not use it, and the stream may write there
 *
 * Returns how many bytes are in `buf`; 0 if there is nothing, and then the connection is suspended;
 * or an end.
 */
ssize_t stream_pull(struct stream *stream, char *buf, size_t max);

/* What the host pulls by, borrowed for as long as the stream: memory that every pull touches, and
 * so is asked for ahead. */
void stream_set_reader(struct stream *stream, void *reader);
void *stream_reader(const struct stream *stream);

/* ---- a stream that answers by itself ---- */

/*
 * In the host's handler of the request: suspend the connection and send the head with the first
 * chunk, in one system call.
 *
 * head_n  at most STREAM_HEAD_BYTES
 *
 * When the host calls the handler again the stream is over, unless stream_waits(), and the handler
 * is to have the connection closed.
 */
#define STREAM_HEAD_BYTES 1024
void stream_begin(struct stream *stream, const char *head, size_t head_n);
bool stream_waits(const struct stream *stream);

/* ---- both ---- */

/* The connection has ended, for any reason: free the stream.  The host calls this once it has
 * finished the request, and only then. */
void stream_closed(struct stream *stream);

/* Have the stream end, as the table has it (stream_end.h).  The reason that comes first stays, but
 * one that cuts still cuts after one that does not. */
void stream_end(struct stream *stream, enum stream_end end);

/* Have at most `max` ready streams of a class send what they have, or resume them.  The caller runs
 * the host afterwards if it wants that.  Returns whether more are waiting. */
bool stream_host_resume(struct stream_host *host, enum worker_prio prio, size_t max);

/*
 * The same for a piece of the live streams that were ready when the flush came to this host, before
 * other jobs have their turn (worker.c).  What becomes ready after that waits for the next flush,
 * for which the host is woken: else events that come fast would never be packed.
 *
 * prio  PRIO_TARGETED or PRIO_BROADCAST
 *
 * Returns whether more of this flush is waiting.
 */
bool stream_host_resume_piece(struct stream_host *host, enum worker_prio prio);

/* Streams of one host that get their next page before other hosts get theirs. */
#define STREAM_HOST_REPLAYS 16

/* Have the host run at the end of the turn. */
void stream_host_want_run(struct stream_host *host);

/* By what it was let in, and what it asked for; borrowed from the stream. */
const struct stream_grant *stream_get_grant(const struct stream *stream);
struct filter *stream_get_filter(const struct stream *stream);

/*
 * Have it ask for something else, from its present place on: what comes behind that place is held
 * against the new filter alone, and nothing before it.  The frame under way goes out whole.  Not
 * from within streams_batch().
 *
 * filter        borrowed; the stream takes its own reference
 * conf          the settings that allow it, as those of a grant: all of the filter, and the way in;
 *               NULL: what it has is allowed anyway, since it is less than before
 * ret_position  given: that place; UINT64_MAX: it is not known yet (a time, or an open place)
 *
 * Returns 0; or -E2BIG or -EDQUOT as stream_open(), and it asks for what it did before; or -ENOMEM,
 * and it may have ended.
 */
int stream_set_filter(struct stream *stream, struct filter *filter, const struct conf *conf,
                      uint64_t *ret_position);

/* In which epoch its place is told: that of the order which it has heard, while the history may
 * have another already.  Borrowed for the call. */
const char *stream_get_epoch(const struct stream *stream);

/* Why it ends; STREAM_END_NONE: it does not. */
enum stream_end stream_get_end(const struct stream *stream);

/* What a monitor is told about a stream.  `filter` is borrowed. */
struct stream_facts {
    uint64_t id;
    const char *transport; /* static */
    struct peer peer;
    struct filter *filter;
    enum stream_state state;
    int64_t age_ms;
    bool awaits_log;               /* for the shared log's word on its id (stream_place.h) */
    uint64_t position;             /* while it waits, at most the id's and what there is */
    uint64_t last_id_sent;         /* of the last id sent; UINT64_MAX: none yet */
    uint64_t lag_events;           /* of the ring or the history, matching or not */
    uint64_t lag_bytes;            /* within the ring */
    uint64_t unacknowledged_bytes; /* sent, and in the kernel still */
    uint64_t events_sent;
    uint64_t bytes_sent;
};
void stream_get_facts(const struct stream *stream, int64_t now_ms, struct stream_facts *ret_facts);
const char *stream_state_text(enum stream_state state);

/* When a client is to come back to what it cannot have now, drawn for each: 30 to 60 seconds.  The
 * line that says so has a blank one behind it, since undici, and so Node.js, takes no `retry`
 * without. */
unsigned stream_away_ms(void);
#define STREAM_AWAY_FORMAT "retry: %u\n\n"
#define STREAM_AWAY_BYTES 32

#endif
