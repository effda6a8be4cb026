/* SPDX-License-Identifier: MIT */
/*
 * What a WebSocket client sends (RFC 6455 section 5, RFC 7692), read piece by piece.
 *
 *     while (at < end) {
 *         at += ws_parser_push(parser, at, end - at, &event);
 *         switch (event.kind) ...
 *     }
 *     ws_parser_release(parser);
 *
 * Each call stops behind the frame that completes something, so that a caller who must wait with
 * the next message need not read it.  A message that lies in one piece and in one frame is given
 * where it lies, without a copy; else it is gathered on the heap, which is all that a parser holds.
 *
 * What a peer sends against the rules ends in WS_EVENT_FAILED with the code for the Close frame:
 *
 *     1002  not masked; a reserved bit; an unknown opcode; a control frame that is split or longer
 *           than 125 bytes; a continuation of nothing; a new message inside another; a length
 *           that a shorter form could tell, or beyond 63 bits; a Close of one byte or with a code
 *           that nobody may send
 *     1003  binary
 *     1007  text or a Close's reason that is no UTF-8, found with the first byte that cannot go on,
 *           before the message is complete; compressed text that cannot be inflated
 *     1008  more than 64 empty fragments in a message
 *     1009  a message beyond the limit, found with the head of the frame, all fragments counted
 *           together; inflated text as soon as it is beyond
 *     1011  out of memory
 *
 * Whether a peer is too slow, too fast or silent is the caller's.  Pure and fuzzed; one thread at a
 * time.
 */
#ifndef BUGLE_WS_PARSER_H
#define BUGLE_WS_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/utf8.h"

#define WS_PARSER_EMPTY_FRAGMENTS_MAX 64

struct ws_parser_limits {
    uint32_t message_bytes; /* of a message's text, at most; below 2^31 */
    bool inflates;          /* permessage-deflate is agreed on */
};

enum ws_event_kind {
    WS_EVENT_NONE, /* all bytes are used, and nothing is complete */
    WS_EVENT_MESSAGE,
    WS_EVENT_PING,
    WS_EVENT_PONG,
    WS_EVENT_CLOSE,
    WS_EVENT_FAILED,
};

struct ws_event {
    enum ws_event_kind kind;
    /* Text of a message, payload of a Ping or Pong, reason of a Close; not ended by NUL.  Lies in
     * the bytes given to ws_parser_push() or in the parser: good until either is touched. */
    const char *bytes;
    size_t n;
    unsigned code; /* CLOSE: the peer's, WS_CLOSE_NO_CODE if it has none; FAILED: ours */
    /* FAILED: static, the reason for the Close frame: a sentence for people; for 1011 "failed". */
    const char *why;
};

struct ws_inflate;

/* Of no interest to others.  64-bit: 72 bytes. */
struct ws_parser {
    struct ws_parser_limits limits;
    char *text;         /* of a message that is not complete, or was given last */
    uint32_t text_n;    /* bytes in it */
    uint32_t text_room; /* bytes taken for it */
    char *control;      /* payload of a control frame that came in pieces */
    struct ws_inflate *inflate;
    uint32_t left;     /* payload bytes of the present frame that are to come */
    uint32_t packed_n; /* compressed bytes of the message, with those that are to come */
    struct utf8_pieces utf8;
    uint8_t state;
    uint8_t empty_n;  /* empty fragments of the message */
    uint8_t flags;    /* of the message */
    uint8_t mask_at;  /* which byte of the mask is next */
    uint8_t head_n;   /* bytes of the head that are there */
    uint8_t head[14]; /* of the present frame; the mask stands at its end */
};

/* Begin; takes nothing from the heap.  Limits are copied. */
void ws_parser_init(struct ws_parser *parser, const struct ws_parser_limits *limits);

/* Free what it holds.  It may be begun again. */
void ws_parser_end(struct ws_parser *parser);

/*
 * Read on, up to the end of the first frame that completes an event.
 *
 * bytes  borrowed, as they came; payload is unmasked where it lies
 *
 * Returns how many bytes were used: all of them with WS_EVENT_NONE.  After CLOSE and FAILED all
 * that comes is used up and says nothing.
 *
 * Cost: one pass over the payload to unmask it and one to judge it; a copy if it is in pieces.
 */
size_t ws_parser_push(struct ws_parser *parser, char *bytes, size_t bytes_n,
                      struct ws_event *ret_event);

/* Give back the memory of the last event, whose bytes go.  ws_parser_push() does so too; this is
 * for when nothing more is pushed for a while.  What is part received stays. */
void ws_parser_release(struct ws_parser *parser);

/* How many bytes may be read without reading beyond the present frame: at least 1.  A frame of
 * which nothing is there has at least 6. */
size_t ws_parser_wants(const struct ws_parser *parser);

/* Whether a frame or a message is part received: something is to follow. */
bool ws_parser_is_inside(const struct ws_parser *parser);

/* Bytes that it has from the heap: at most the limit and some, with inflating 48 KiB more. */
size_t ws_parser_held_bytes(const struct ws_parser *parser);

#endif
