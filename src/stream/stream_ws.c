/* SPDX-License-Identifier: MIT */
/* Streams over WebSocket.  See stream_ws.h. */
#include "config.h"
#include "stream/stream_ws.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event/message_form.h"
#include "stream/stream_internal.h"
#include "wire/ws_deflate.h"
#include "wire/ws_frame.h"

/* A message of the gateway's own, but for what others say. */
#define TEXT_BYTES 256
/* Of heartbeats, every so many is a Ping. */
#define PING_EVERY 4
/* Said texts that fit into this are put together on the stack. */
#define SAID_BYTES 1024

struct stream_ws_pong {
    uint8_t payload_n;
    char payload[WS_CONTROL_PAYLOAD_MAX];
};

static struct stream_ws *ws_of(const struct stream *stream)
{
    return stream->connection;
}

/* ---- texts ---- */

static size_t put_text(char *to, const char *text, size_t text_n)
{
    char head[WS_FRAME_HEAD_MAX];
    size_t head_n = ws_frame_put_head(head, WS_TEXT, false, text_n);

    memcpy(to, head, head_n);
    memcpy(to + head_n, text, text_n);
    return head_n + text_n;
}

static struct message *make_text(const char *text)
{
    char frame[WS_FRAME_HEAD_MAX + TEXT_BYTES];

    return message_new_control(frame, put_text(frame, text, strlen(text)));
}

/* Behind what was said before, which nobody else has. */
static struct message *add_text(const struct message *said, const char *text, size_t text_n)
{
    size_t said_n = said != NULL ? said->frame_n : 0;
    size_t room_n = said_n + WS_FRAME_HEAD_MAX + text_n;
    char few[SAID_BYTES], *bytes = room_n <= sizeof(few) ? few : malloc(room_n);

    if (bytes == NULL)
        return NULL;
    if (said_n > 0)
        memcpy(bytes, said->frame, said_n);
    struct message *both =
        message_new_control(bytes, said_n + put_text(bytes + said_n, text, text_n));
    if (bytes != few)
        free(bytes);
    return both;
}

void stream_ws_say(struct stream *stream, const char *text, size_t text_n)
{
    struct stream_ws *ws = ws_of(stream);
    struct memory_budget *memory = stream->host->streams->context->memory;

    if (stream->end != STREAM_END_NONE)
        return;
    struct message *both = add_text(ws->said, text, text_n);
    if (both == NULL) {
        stream_end(stream, STREAM_END_FAILED);
        return;
    }
    message_charge(both, memory_budget_counter(memory, MEMORY_BUDGET_ANSWERS));
    message_unref(ws->said);
    ws->said = both;
    stream_add_control(stream, STREAM_SAID);
}

static size_t ws_waiting(const struct stream *stream)
{
    const struct message *said = ws_of(stream)->said;

    return said != NULL ? said->bytes : 0;
}

static struct message *take_said(struct stream *stream)
{
    struct stream_ws *ws = ws_of(stream);
    struct message *said = ws->said;

    ws->said = NULL;
    stream->host->ops->said(stream->connection);
    return said;
}

/* ---- pings and heartbeats ---- */

void stream_ws_answer_ping(struct stream *stream, const char *payload, size_t payload_n)
{
    struct stream_ws *ws = ws_of(stream);

    assert(payload_n <= WS_CONTROL_PAYLOAD_MAX);
    if (stream->end != STREAM_END_NONE)
        return;
    if (ws->pong == NULL)
        ws->pong = malloc(sizeof(*ws->pong));
    if (ws->pong == NULL)
        return;
    ws->pong->payload_n = (uint8_t)payload_n;
    memcpy(ws->pong->payload, payload, payload_n);
    stream_add_control(stream, STREAM_PONG);
}

static struct message *make_pong(struct stream_ws *ws)
{
    char frame[WS_CONTROL_FRAME_MAX];
    size_t n = ws_frame_put_control(frame, WS_PONG, ws->pong->payload, ws->pong->payload_n);

    free(ws->pong);
    ws->pong = NULL;
    return message_new_control(frame, n);
}

static bool has_vanished(const struct stream *stream)
{
    const struct stream_ws *ws = ws_of(stream);
    const struct conf *conf = stream->host->streams->context->conf;

    return ws->pings_n >= 2 &&
           stream->filled_ms - ws->second_ms >= (int64_t)conf->stream.vanish_timeout_ms;
}

static struct message *make_heartbeat(struct stream *stream, bool is_v1)
{
    struct stream_ws *ws = ws_of(stream);

    if (++ws->heartbeats_n % PING_EVERY != 0)
        return is_v1 && stream->options.ping_event
                   ? make_text("{\"type\":\"ping\"}")
                   : message_ref(stream->host->streams->ws_pong_frame);
    if (ws->pings_n < UINT8_MAX && ++ws->pings_n == 2)
        ws->second_ms = stream->filled_ms;
    return message_ref(stream->host->streams->ws_ping_frame);
}

/* ---- messages of bugle.v1 ---- */

static void put_id(const struct stream *stream, char to[SSE_ID_BYTES + 1], uint64_t position)
{
    sse_put_id(to, stream_get_epoch(stream), position);
    to[SSE_ID_BYTES] = '\0';
}

/* The place of one that begins at a time, or at an id that the shared log is asked about, is not
 * known yet. */
static struct message *make_hello(struct stream *stream)
{
    char text[TEXT_BYTES], id[SSE_ID_BYTES + 3] = "null";

    if (stream->since_ms < 0 && !stream->awaits_log) {
        uint64_t position = stream_passed(stream);

        id[0] = '"';
        put_id(stream, id + 1, position);
        strcat(id, "\"");
        stream_note_id(stream, position);
    }
    snprintf(text, sizeof(text), "{\"type\":\"hello\",\"id\":%s,\"heartbeat\":%u,\"retry_ms\":%u}",
             id, stream->heartbeat_ms / 1000, stream_retry_ms(stream));
    return make_text(text);
}

static struct message *make_reset(struct stream *stream)
{
    char text[TEXT_BYTES], members[STREAM_RESET_BYTES], id[SSE_ID_BYTES + 1];

    stream_write_reset(stream, members);
    put_id(stream, id, stream->position);
    stream_note_id(stream, stream->position);
    snprintf(text, sizeof(text), "{\"type\":\"reset\",%s,\"id\":\"%s\"}", members, id);
    return make_text(text);
}

static struct message *make_checkpoint(struct stream *stream)
{
    char text[TEXT_BYTES], id[SSE_ID_BYTES + 1];
    uint64_t position = stream_passed(stream);

    put_id(stream, id, position);
    stream_note_id(stream, position);
    snprintf(text, sizeof(text), "{\"type\":\"checkpoint\",\"id\":\"%s\"}", id);
    return make_text(text);
}

/* ---- ends ---- */

/* The client's own mistakes, after which it is not told when to come back. */
static bool is_mistake(unsigned code)
{
    return code == WS_CLOSE_PROTOCOL || code == WS_CLOSE_BINARY || code == WS_CLOSE_BAD_TEXT ||
           code == WS_CLOSE_POLICY || code == WS_CLOSE_TOO_BIG;
}

static unsigned code_of(const struct stream *stream)
{
    const struct stream_ws *ws = ws_of(stream);

    return ws->code != 0 ? ws->code : stream_ends[stream->end].close_code;
}

static const char *reason_of(const struct stream *stream)
{
    const struct stream_ws *ws = ws_of(stream);

    return ws->code != 0 ? ws->reason : stream_ends[stream->end].word;
}

/* 0: it is not told.  Drawn once, for `bye` and Close alike. */
static unsigned retry_of(const struct stream *stream)
{
    struct stream_ws *ws = ws_of(stream);
    unsigned code = code_of(stream);

    if (stream->end == STREAM_END_CLOSED) /* the code is the client's own */
        return 0;
    if (ws->retry_ms == 0 && (code == WS_CLOSE_GOING_AWAY || code == WS_CLOSE_RESTART))
        ws->retry_ms = stream_retry_ms(stream);
    else if (ws->retry_ms == 0 && (code == WS_CLOSE_INTERNAL || code == WS_CLOSE_TRY_LATER))
        ws->retry_ms = stream_away_ms();
    return ws->retry_ms;
}

static void write_bye(char to[TEXT_BYTES], const char *word, unsigned retry_ms)
{
    if (retry_ms > 0)
        snprintf(to, TEXT_BYTES, "{\"type\":\"bye\",\"code\":\"%s\",\"retry_ms\":%u}", word,
                 retry_ms);
    else
        snprintf(to, TEXT_BYTES, "{\"type\":\"bye\",\"code\":\"%s\"}", word);
}

static size_t put_close(char to[WS_CONTROL_FRAME_MAX], unsigned code, const char *reason,
                        unsigned retry_ms)
{
    char both[TEXT_BYTES];

    if (retry_ms == 0)
        return ws_frame_put_close(to, code, reason);
    snprintf(both, sizeof(both), "%s retry_ms=%u", reason, retry_ms);
    return ws_frame_put_close(to, code, both);
}

static struct message *make_bye(struct stream *stream)
{
    char text[TEXT_BYTES];

    write_bye(text, reason_of(stream), retry_of(stream));
    return make_text(text);
}

static size_t ws_put_end(const struct stream *stream, char to[STREAM_WIRE_END_BYTES])
{
    _Static_assert(STREAM_WIRE_END_BYTES >= WS_CONTROL_FRAME_MAX, "no room for a Close");
    if (stream_ends[stream->end].cuts)
        return 0;
    return put_close(to, code_of(stream), reason_of(stream), retry_of(stream));
}

size_t stream_ws_write_refusal(char to[STREAM_WS_REFUSAL_BYTES], bool is_v1, unsigned code,
                               const char *reason, unsigned retry_ms)
{
    _Static_assert(STREAM_WS_REFUSAL_BYTES >=
                       WS_FRAME_HEAD_MAX + WS_CONTROL_FRAME_MAX + TEXT_BYTES - 10,
                   "no room for a refusal");
    char text[TEXT_BYTES];
    size_t n = 0;

    if (is_v1) {
        write_bye(text, reason, retry_ms);
        n = put_text(to, text, strlen(text));
    }
    return n + put_close(to + n, code, reason, retry_ms);
}

void stream_ws_close(struct stream *stream, enum stream_end end, unsigned code, const char *reason)
{
    struct stream_ws *ws = ws_of(stream);

    if (stream->end != STREAM_END_NONE)
        return;
    ws->code = (uint16_t)code;
    ws->reason = reason;
    stream_end(stream, end);
}

void stream_ws_free(struct stream_ws *ws)
{
    message_unref(ws->said);
    free(ws->pong);
    *ws = (struct stream_ws){.said = NULL};
}

/* ---- the wires ---- */

/* What both have.  Returns whether it is one of that. */
static bool make_common(struct stream *stream, enum stream_pending what, struct message **ret_frame)
{
    if (what == STREAM_PONG)
        *ret_frame = make_pong(ws_of(stream));
    else if (what == STREAM_SAID)
        *ret_frame = take_said(stream);
    return what == STREAM_PONG || what == STREAM_SAID;
}

static enum stream_end raw_make(struct stream *stream, enum stream_pending what,
                                struct message **ret_frame)
{
    *ret_frame = NULL;
    if (what == STREAM_HEARTBEAT && has_vanished(stream))
        return STREAM_END_VANISHED;
    if (what == STREAM_HEARTBEAT)
        *ret_frame = make_heartbeat(stream, false);
    else if (!make_common(stream, what, ret_frame))
        return STREAM_END_NONE;
    return *ret_frame != NULL ? STREAM_END_NONE : STREAM_END_FAILED;
}

static struct message *make_v1(struct stream *stream, enum stream_pending what)
{
    switch (what) {
    case STREAM_PRELUDE:
        return make_hello(stream);
    case STREAM_RESET:
        return make_reset(stream);
    case STREAM_CHECKPOINT:
        return make_checkpoint(stream);
    case STREAM_HEARTBEAT:
        return make_heartbeat(stream, true);
    case STREAM_FINAL:
        return make_bye(stream);
    case STREAM_PONG:
    case STREAM_SAID:
        break;
    }
    assert(!"one pending bit of this wire");
    return NULL;
}

static enum stream_end v1_make(struct stream *stream, enum stream_pending what,
                               struct message **ret_frame)
{
    *ret_frame = NULL;
    if (what == STREAM_HEARTBEAT && has_vanished(stream))
        return STREAM_END_VANISHED;
    if (what == STREAM_FINAL && (stream->end == STREAM_END_CLOSED || is_mistake(code_of(stream))))
        return STREAM_END_NONE;
    if (!make_common(stream, what, ret_frame))
        *ret_frame = make_v1(stream, what);
    return *ret_frame != NULL ? STREAM_END_NONE : STREAM_END_FAILED;
}

static struct stream_bytes bytes_or_none(const struct message_bytes *bytes)
{
    return bytes != NULL ? (struct stream_bytes){bytes->bytes, bytes->n}
                         : (struct stream_bytes){NULL, 0};
}

static struct stream_bytes raw_bytes(const struct stream *stream, struct message *message)
{
    (void)stream;
    return bytes_or_none(message_form(message, MESSAGE_FORM_RAW));
}

static struct stream_bytes v1_bytes(const struct stream *stream, struct message *message)
{
    (void)stream;
    return bytes_or_none(message_form(message, MESSAGE_FORM_V1));
}

/* Whether an event is packed is decided once, for all streams, by the setting of that time: who
 * stopped inside it goes on in the same bytes. */
static struct stream_bytes packed_bytes(const struct stream *stream, struct message *message,
                                        enum message_form_kind kind)
{
    const struct streams *streams = stream->host->streams;

    ws_deflate_set_least(streams->deflater, streams->context->conf->websocket.deflate_from);
    return bytes_or_none(message_form_packed(message, kind, streams->deflater));
}

static struct stream_bytes raw_packed_bytes(const struct stream *stream, struct message *message)
{
    return packed_bytes(stream, message, MESSAGE_FORM_RAW);
}

static struct stream_bytes v1_packed_bytes(const struct stream *stream, struct message *message)
{
    return packed_bytes(stream, message, MESSAGE_FORM_V1);
}

const struct stream_wire stream_wire_raw = {
    .transport = "websocket",
    .bytes = raw_bytes,
    .make = raw_make,
    .put_end = ws_put_end,
    .waiting = ws_waiting,
    .watches = PEER_WATCH_READS,
};

const struct stream_wire stream_wire_v1 = {
    .transport = "websocket",
    .bytes = v1_bytes,
    .make = v1_make,
    .put_end = ws_put_end,
    .waiting = ws_waiting,
    .tells_ids = true,
    .watches = PEER_WATCH_READS,
};

const struct stream_wire stream_wire_raw_packed = {
    .transport = "websocket",
    .bytes = raw_packed_bytes,
    .make = raw_make,
    .put_end = ws_put_end,
    .waiting = ws_waiting,
    .watches = PEER_WATCH_READS,
};

const struct stream_wire stream_wire_v1_packed = {
    .transport = "websocket",
    .bytes = v1_packed_bytes,
    .make = v1_make,
    .put_end = ws_put_end,
    .waiting = ws_waiting,
    .tells_ids = true,
    .watches = PEER_WATCH_READS,
};

bool stream_wire_packs(const struct stream_wire *wire)
{
    return wire == &stream_wire_raw_packed || wire == &stream_wire_v1_packed;
}
