/* SPDX-License-Identifier: MIT */
/* Server-Sent Events, as chunks of HTTP.  See struct stream_wire in stream_internal.h. */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/stream_internal.h"

#define PADDING_BYTES 2048
#define EXPIRED_DATA_BYTES 32
/* RFC 9112, 7.1: the end of the body, without trailers. */
#define LAST_CHUNK "0\r\n\r\n"

static struct message *make_prelude(const struct stream *stream)
{
    char text[1 + PADDING_BYTES + 40];
    size_t n = 0;

    text[n++] = ':';
    if (stream->options.padding) {
        memset(text + n, ' ', PADDING_BYTES);
        n += PADDING_BYTES;
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\nretry: %u\n", stream_retry_ms(stream));
    return message_new_control(text, n);
}

static struct message *make_retry_line(unsigned retry_ms, bool is_away)
{
    char text[STREAM_AWAY_BYTES];
    int n = is_away ? snprintf(text, sizeof(text), STREAM_AWAY_FORMAT, retry_ms)
                    : snprintf(text, sizeof(text), "retry: %u\n", retry_ms);

    return message_new_control(text, (size_t)n);
}

/* A frame with a name, data, and a position if the client is to keep one. */
static struct message *make_event(struct stream *stream, const char *name, const char *data,
                                  bool with_id, uint64_t position)
{
    struct sse_fields fields = {
        .name = name,
        .name_n = strlen(name),
        .data = data,
        .data_n = strlen(data),
        .with_id = with_id,
    };
    char text[STREAM_RESET_BYTES + 128];
    size_t id_offset, data_offset;

    assert(sse_frame_bytes(&fields) <= sizeof(text));
    size_t n = sse_write_frame(text, &fields, &id_offset, &data_offset);
    if (with_id) {
        sse_put_id(text + id_offset, stream_get_epoch(stream), position);
        stream_note_id(stream, position);
    }
    return message_new_control(text, n);
}

/* Its reasons are the words of the ends. */
static struct message *make_expired(struct stream *stream)
{
    char data[EXPIRED_DATA_BYTES];

    snprintf(data, sizeof(data), "{\"reason\":\"%s\"}", stream_ends[stream->end].word);
    return make_event(stream, "expired", data, false, 0);
}

static struct message *make_reset(struct stream *stream)
{
    char data[STREAM_RESET_BYTES + 2];

    data[0] = '{';
    stream_write_reset(stream, data + 1);
    strcat(data, "}");
    return make_event(stream, "reset", data, true, stream->position);
}

static struct message *make_heartbeat(struct stream *stream)
{
    if (stream->options.ping_event)
        return make_event(stream, "ping", "", false, 0);
    return message_ref(stream->host->streams->heartbeat_frame);
}

/* Whether the end has a frame for this client.  A client that began without a credential has
 * none that could end. */
static bool has_final(const struct stream *stream)
{
    enum stream_final final = stream_ends[stream->end].final;

    return final != STREAM_FINAL_NONE &&
           (final != STREAM_FINAL_EXPIRED || stream->grant.identity != NULL);
}

static struct message *make_final(struct stream *stream)
{
    switch (stream_ends[stream->end].final) {
    case STREAM_FINAL_RETRY:
        return make_retry_line(stream_retry_ms(stream), false);
    case STREAM_FINAL_AWAY:
        return make_retry_line(stream_away_ms(), true);
    case STREAM_FINAL_EXPIRED:
        return make_expired(stream);
    case STREAM_FINAL_NONE:
        break;
    }
    assert(!"an end with a final frame");
    return NULL;
}

static struct message *make_frame(struct stream *stream, enum stream_pending what)
{
    switch (what) {
    case STREAM_PRELUDE:
        return make_prelude(stream);
    case STREAM_RESET:
        return make_reset(stream);
    case STREAM_CHECKPOINT:
        return make_event(stream, "checkpoint", "", true, stream_passed(stream));
    case STREAM_HEARTBEAT:
        return make_heartbeat(stream);
    case STREAM_FINAL:
        return make_final(stream);
    case STREAM_PONG:
    case STREAM_SAID:
        break;
    }
    assert(!"one pending bit of this wire");
    return NULL;
}

static enum stream_end sse_make(struct stream *stream, enum stream_pending what,
                                struct message **ret_frame)
{
    *ret_frame = NULL;
    if (what == STREAM_FINAL && !has_final(stream))
        return STREAM_END_NONE;
    *ret_frame = make_frame(stream, what);
    return *ret_frame != NULL ? STREAM_END_NONE : STREAM_END_FAILED;
}

static size_t sse_put_end(const struct stream *stream, char to[STREAM_WIRE_END_BYTES])
{
    if (!stream_ends[stream->end].ends_answer)
        return 0;
    memcpy(to, LAST_CHUNK, sizeof(LAST_CHUNK) - 1);
    return sizeof(LAST_CHUNK) - 1;
}

const struct stream_wire stream_wire_sse = {
    .transport = "sse",
    .make = sse_make,
    .put_end = sse_put_end,
    .in_chunks = true,
    .tells_ids = true,
};
