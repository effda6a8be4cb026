/* SPDX-License-Identifier: MIT */
/*
 * What nodes say to each other beside the log (shared_log_say()), as bytes.
 *
 *     events      what only live streams get, to all nodes
 *     question    which streams there are, or that some are to end: to all, or to one
 *     answer      to the node that asked, a long one in parts
 *     stream end  to the node of a stream whose ticket was used anew
 *
 * An order of the log (hub_share.h) is a question too: it stands there and is not said, and is
 * answered like the others.
 *
 * Every message begins with a format number, in the machine's own order, as entries do
 * (log_entry.h): a node of another version, or of the other order, finds one that it does not know.
 * Anybody who may use the log's server can say anything, so reading trusts nothing: all of a
 * message is as a gateway would have written it, or none of it counts.  What reading one costs, in
 * time and in memory, follows from its bytes and not from what it claims.  Pure; any thread.
 */
#ifndef BUGLE_NODE_MESSAGE_H
#define BUGLE_NODE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/shared_log.h"
#include "event/message.h"
#include "wire/sse.h"

#define NODE_MESSAGE_FORMAT 1
#define NODE_MESSAGE_EVENTS_MAX 1000 /* as one publish may have */
/* Of one answer: so many parts, each with so many bytes of rows. */
#define NODE_MESSAGE_PARTS_MAX 128
#define NODE_MESSAGE_ROWS_BYTES_MAX ((size_t)65536)
/* A row in a part takes so many bytes more. */
#define NODE_MESSAGE_ROW_EXTRA sizeof(uint32_t)

enum node_message_kind {
    NODE_MESSAGE_EVENTS = 1,
    NODE_MESSAGE_QUESTION,
    NODE_MESSAGE_ANSWER,
    NODE_MESSAGE_STREAM_END,
};

/* Events that are not stored, in the order of their publish. */
struct node_message_events {
    /* What the publisher's node knew of the log when it said them: who gets them has them follow
     * the event at this position. */
    char epoch[SSE_EPOCH_BYTES + 1];
    uint64_t head;
    char writer[SHARED_LOG_WRITER_BYTES];
    uint64_t seq; /* 1, 2, 3 ... of this writer: who finds one left out has not heard it */
    size_t events_n;
    struct message *const *events; /* to be written: MESSAGE_EPHEMERAL, not sealed */
    const char *images;            /* as they were read: see node_message_read_events() */
    size_t images_n;
};

enum node_message_ask {
    NODE_MESSAGE_ASK_LIST = 1, /* the streams: rows, and how many there are */
    NODE_MESSAGE_ASK_END,      /* end them: how many there were */
};

/* Of which streams: all that the members do not rule out. */
struct node_message_question {
    uint64_t id; /* by whom it is asked, for the answer */
    enum node_message_ask what;
    uint64_t stream_id;        /* 0: any */
    struct message_name user;  /* `bytes` NULL: any.  No hashes are set */
    struct message_name topic; /* or a pattern, see admin_streams.c; NULL: any */
    int64_t given_ms;   /* an order: when it was given, by the clock of the log's server; else 0 */
    uint32_t limit;     /* LIST: rows, */
    uint32_t bytes_max; /* and what they take in all parts together */
};

/* An answer, or a part of one. */
struct node_message_answer {
    uint64_t id;      /* of the question */
    uint32_t part;    /* from 0 on, */
    uint32_t parts_n; /* of so many, at least 1 */
    uint64_t count;   /* of streams; the same in all parts */
    uint32_t rows_n;
    const char *rows; /* as node_message_put_row() writes them */
    size_t rows_bytes_n;
};

/* A later use has the ticket of a stream.  The node that is told had given it to the log, to be
 * said then (shared_ticket.h): so `from` is that node itself. */
struct node_message_stream_end {
    uint64_t mark; /* of the earlier use, as the node knows it */
};

/* One of them.  What it points to is borrowed: to be written, from its owner; as it was read, from
 * the bytes. */
struct node_message {
    enum node_message_kind kind;
    char from[SHARED_LOG_NODE_BYTES]; /* the node that says it */
    union {
        struct node_message_events events;
        struct node_message_question question;
        struct node_message_answer answer;
        struct node_message_stream_end stream_end;
    };
};

enum node_message_result {
    NODE_MESSAGE_FINE,
    NODE_MESSAGE_DAMAGED,
    NODE_MESSAGE_UNKNOWN, /* of another version: a format, or a kind, that is not known here */
    NODE_MESSAGE_NO_MEMORY,
};

/* The bytes that a message takes.  All of it is as reading would have it. */
size_t node_message_bytes(const struct node_message *message);

/* `to` has room for node_message_bytes(). */
void node_message_write(char *to, const struct node_message *message);

/*
 * Read one.
 *
 * ret_message  set with NODE_MESSAGE_FINE; borrows the bytes
 *
 * FINE, DAMAGED or UNKNOWN.
 */
enum node_message_result node_message_read(const char *bytes, size_t bytes_n,
                                           struct node_message *ret_message);

/*
 * Make the events of a message that was read.
 *
 * to  room for `events_n`: a reference each, not sealed, when it is FINE
 *
 * FINE, DAMAGED: none of them counts, or NO_MEMORY.
 */
enum node_message_result node_message_read_events(const struct node_message_events *events,
                                                  struct message **to);

/* Write one row of an answer.  Returns the end of it; `to` has room for the text and
 * NODE_MESSAGE_ROW_EXTRA. */
char *node_message_put_row(char *to, const char *text, size_t text_n);

/* Take the next row off the `*rows_n` bytes at `*rows`, which a message had that was read.  Returns
 * its text, `*ret_n` long; NULL: that was the last. */
const char *node_message_take_row(const char **rows, size_t *rows_n, size_t *ret_n);

/* Whether a text is the name of a node: 1 to 64 of [A-Za-z0-9._-]. */
bool node_message_is_node(const char *name, size_t name_n);

#endif
