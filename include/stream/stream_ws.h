/* SPDX-License-Identifier: MIT */
/*
 * WebSocket as a wire of streams: each event is one text frame, made once for all clients
 * (message_form.h), and the gateway's own frames are Pongs, Pings, a Close, and with bugle.v1
 * messages in JSON.  A stream of such a wire always answers by itself; its host's `connection` is a
 * struct stream_ws, or begins with one.
 *
 * With bugle.raw a client sees the data of events and nothing else: it learns no ids, and is not
 * told of resets.
 *
 * A heartbeat is a Pong, which needs no answer, and every fourth a Ping.  A client of which nothing
 * is heard between two Pings, nor for stream.vanish_timeout after the second, has vanished.
 *
 * Worker's thread.
 */
#ifndef BUGLE_STREAM_WS_H
#define BUGLE_STREAM_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream/stream.h"

struct message;
struct stream_ws_pong;

extern const struct stream_wire stream_wire_raw;
extern const struct stream_wire stream_wire_v1;

/* The same, where permessage-deflate was agreed on. */
extern const struct stream_wire stream_wire_raw_packed;
extern const struct stream_wire stream_wire_v1_packed;
bool stream_wire_packs(const struct stream_wire *wire);

/* What a stream keeps for its wire; zeroed to begin with. */
struct stream_ws {
    struct message *said;        /* texts that wait for their turn, as frames; NULL: none */
    struct stream_ws_pong *pong; /* the last Ping that is not answered; NULL: none */
    const char *reason;          /* with `code` */
    int64_t second_ms;           /* when the second Ping since was sent */
    uint32_t retry_ms;           /* when to come back; 0: not drawn yet */
    uint16_t code; /* of the Close, where it is not that of the stream's end; else 0 */
    uint8_t heartbeats_n;
    uint8_t pings_n; /* sent since something was heard */
};

/* A frame has come, or a part of one. */
static inline void stream_ws_hear(struct stream_ws *ws)
{
    ws->pings_n = 0;
}

/*
 * Send a text, behind what is under way and before the next event.  Does nothing once the stream
 * ends.
 *
 * text  copied, and counted in limits.memory until it is on its way; then `said` of the host
 *
 * Without memory for it the stream ends.
 */
void stream_ws_say(struct stream *stream, const char *text, size_t text_n);

/* Answer a Ping, of at most 125 bytes, in place of one before it that is not answered yet.  Without
 * memory it is not. */
void stream_ws_answer_ping(struct stream *stream, const char *payload, size_t payload_n);

/* End the stream with this Close, behind what was said: see ws_conn_end().  `end` is
 * STREAM_END_CLOSED or STREAM_END_REFUSED. */
void stream_ws_close(struct stream *stream, enum stream_end end, unsigned code, const char *reason);

/* Free what is kept. */
void stream_ws_free(struct stream_ws *ws);

/*
 * The whole end of one that is refused: with bugle.v1 a `bye`, and a Close.
 *
 * reason    a word
 * retry_ms  0: none
 *
 * Returns the bytes written.
 */
#define STREAM_WS_REFUSAL_BYTES 384
size_t stream_ws_write_refusal(char to[STREAM_WS_REFUSAL_BYTES], bool is_v1, unsigned code,
                               const char *reason, unsigned retry_ms);

#endif
