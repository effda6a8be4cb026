/* SPDX-License-Identifier: MIT */
/*
 * Reading Server-Sent Events: the stream parser of WHATWG HTML 9.2.6, fed piece by piece.  The
 * result does not depend on where the pieces were cut.
 *
 * The parser knows nothing of sockets or clocks.  It keeps the unfinished line and event, bounded
 * by its limits, and the last event id, which outlives a connection.  Text is passed on byte by
 * byte: where a browser replaces what is no UTF-8, the caller must look.  One thread at a time.
 */
#ifndef BUGLE_SSE_PARSER_H
#define BUGLE_SSE_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One event.  Each text ends with a NUL that its length does not count.  All of it is borrowed
 * until the callback returns. */
struct sse_parser_event {
    const char *name; /* "message" when the stream gave none */
    size_t name_n;
    const char *data; /* its lines joined by LF */
    size_t data_n;
    const char *id; /* the last event id as of this event; empty when there is none */
    size_t id_n;
    bool has_id; /* the event brought that id itself */
};

struct sse_parser_limits {
    size_t line_bytes_max;  /* a line without its end; comments are not counted */
    size_t event_bytes_max; /* the data of one event */
};

struct sse_parser_handler {
    /* An event is complete.  A negative return stops the parser, see sse_parser_push().  May call
     * sse_parser_last_id(), nothing else of the parser. */
    int (*on_event)(void *arg, const struct sse_parser_event *event);
    /* The stream names its reconnection time; UINT64_MAX stands for more.  May be NULL. */
    void (*on_retry)(void *arg, uint64_t retry_ms);
    void *arg;
};

struct sse_parser;

/*
 * limits, handler  copied
 * last_id          borrowed for the call; where an earlier run left off; NULL or "": nowhere
 *
 * Gives a parser for sse_parser_free(), ready for the first byte of a stream; NULL when out of
 * memory.
 */
struct sse_parser *sse_parser_new(const struct sse_parser_limits *limits,
                                  const struct sse_parser_handler *handler, const char *last_id);
void sse_parser_free(struct sse_parser *reader);

/*
 * A new connection begins: the unfinished event of the last one is dropped, a byte order mark may
 * come first.  The last event id stays and events without an id inherit it, as in browsers; by
 * the letter of the standard they would have none.
 */
void sse_parser_begin(struct sse_parser *reader);

/*
 * Read the next bytes of the stream.
 *
 * Returns 0, -EMSGSIZE when a line or an event is beyond the limits, -ENOMEM, or what on_event
 * returned.  After a negative return only sse_parser_begin(), sse_parser_last_id() and
 * sse_parser_free() may be called.
 *
 * Cost: one pass; a line that lies whole in `bytes` is not copied but for its data.
 */
int sse_parser_push(struct sse_parser *reader, const char *bytes, size_t bytes_n);

/* The id to resume from, for Last-Event-ID: that of the last block which was complete, even one
 * without data.  Never NULL; borrowed until the next call that changes the parser. */
const char *sse_parser_last_id(const struct sse_parser *reader);

#endif
