/* SPDX-License-Identifier: MIT */
/* Frames of the gateway's own, as Server-Sent Events.  See stream_internal.h. */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/stream_internal.h"

#define PADDING_BYTES 2048
#define RESET_DATA_BYTES (64 + 2 * SSE_ID_BYTES)
#define EXPIRED_DATA_BYTES 32
/* When to come back to what cannot be had now. */
#define AWAY_MIN_MS 30000
#define AWAY_MAX_MS 60000

/* Uniform in 2/3 to 2 times the centre, so that clients which lost their server together do not
 * come back together. */
static unsigned jittered_retry_ms(const struct stream *stream)
{
    uint64_t centre_ms = stream->host->streams->context->conf->stream.retry_ms;
    uint64_t low_ms = centre_ms * 2 / 3;
    uint64_t retry_ms = low_ms + jitter_below(&stream->host->streams->jitter,
                                              (uint32_t)(centre_ms * 2 - low_ms + 1));

    if (retry_ms < SSE_RETRY_MIN_MS)
        return SSE_RETRY_MIN_MS;
    return retry_ms > SSE_RETRY_MAX_MS ? SSE_RETRY_MAX_MS : (unsigned)retry_ms;
}

static struct message *make_prelude(const struct stream *stream)
{
    char text[1 + PADDING_BYTES + 40];
    size_t n = 0;

    text[n++] = ':';
    if (stream->options.padding) {
        memset(text + n, ' ', PADDING_BYTES);
        n += PADDING_BYTES;
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\nretry: %u\n", jittered_retry_ms(stream));
    return message_new_control(text, n);
}

unsigned stream_away_ms(void)
{
    return AWAY_MIN_MS + arc4random_uniform(AWAY_MAX_MS - AWAY_MIN_MS + 1);
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
    char text[RESET_DATA_BYTES + 128];
    size_t id_offset, data_offset;

    assert(sse_frame_bytes(&fields) <= sizeof(text));
    size_t n = sse_write_frame(text, &fields, &id_offset, &data_offset);
    if (with_id) {
        sse_put_id(text + id_offset, hub_history(stream->host->streams->hub)->epoch, position);
        stream->last_id_sent = position;
        stream->id_sent_ms = stream->filled_ms;
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

static void put_id_or_null(char *to, const char *epoch, uint64_t position, bool there)
{
    if (!there) {
        strcpy(to, "null");
        return;
    }
    to[0] = '"';
    sse_put_id(to + 1, epoch, position);
    strcpy(to + 1 + SSE_ID_BYTES, "\"");
}

static struct message *make_reset(struct stream *stream)
{
    struct hub *hub = stream->host->streams->hub;
    const char *epoch = hub_history(hub)->epoch;
    char data[RESET_DATA_BYTES], oldest[SSE_ID_BYTES + 3], newest[SSE_ID_BYTES + 3];
    struct history_bounds bounds;

    history_bounds(hub_history(hub), &bounds);
    put_id_or_null(oldest, epoch, bounds.trimmed + 1, bounds.trimmed < bounds.newest);
    put_id_or_null(newest, epoch, bounds.newest, bounds.trimmed < bounds.newest);
    snprintf(data, sizeof(data), "{\"reason\":\"%s\",\"oldest\":%s,\"newest\":%s}",
             stream_reset_text((enum stream_reset)stream->reset_reason), oldest, newest);
    return make_event(stream, "reset", data, true, stream->position);
}

static struct message *make_heartbeat(struct stream *stream)
{
    if (stream->options.ping_event)
        return make_event(stream, "ping", "", false, 0);
    return message_ref(stream->host->streams->heartbeat_frame);
}

static struct message *make_final(struct stream *stream)
{
    switch (stream_ends[stream->end].final) {
    case STREAM_FINAL_RETRY:
        return make_retry_line(jittered_retry_ms(stream), false);
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

struct message *stream_make_frame(struct stream *stream, enum stream_pending what)
{
    struct stats *stats = stream->host->streams->stats;

    switch (what) {
    case STREAM_PRELUDE:
        return make_prelude(stream);
    case STREAM_RESET:
        stats_add(stats, STATS_RESETS, 1);
        return make_reset(stream);
    case STREAM_CHECKPOINT:
        stats_add(stats, STATS_CHECKPOINTS, 1);
        return make_event(stream, "checkpoint", "", true, stream_passed(stream));
    case STREAM_HEARTBEAT:
        stats_add(stats, STATS_HEARTBEATS, 1);
        return make_heartbeat(stream);
    case STREAM_FINAL:
        return make_final(stream);
    }
    assert(!"one pending bit");
    return NULL;
}
