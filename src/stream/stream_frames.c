/* SPDX-License-Identifier: MIT */
/* What the frames of the gateway's own have in common on all wires.  See stream_internal.h. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/stream_internal.h"

/* When to come back to what cannot be had now. */
#define AWAY_MIN_MS 30000
#define AWAY_MAX_MS 60000

unsigned stream_retry_ms(const struct stream *stream)
{
    uint64_t centre_ms = stream->host->streams->context->conf->stream.retry_ms;
    uint64_t low_ms = centre_ms * 2 / 3;
    uint64_t retry_ms = low_ms + jitter_below(&stream->host->streams->jitter,
                                              (uint32_t)(centre_ms * 2 - low_ms + 1));

    if (retry_ms < SSE_RETRY_MIN_MS)
        return SSE_RETRY_MIN_MS;
    return retry_ms > SSE_RETRY_MAX_MS ? SSE_RETRY_MAX_MS : (unsigned)retry_ms;
}

unsigned stream_away_ms(void)
{
    return AWAY_MIN_MS + arc4random_uniform(AWAY_MAX_MS - AWAY_MIN_MS + 1);
}

void stream_note_id(struct stream *stream, uint64_t position)
{
    stream->last_id_sent = position;
    stream->id_sent_ms = stream->filled_ms;
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

void stream_write_reset(const struct stream *stream, char to[STREAM_RESET_BYTES])
{
    struct hub *hub = stream->host->streams->hub;
    const char *epoch = history_epoch(hub_history(hub));
    char oldest[SSE_ID_BYTES + 3], newest[SSE_ID_BYTES + 3];
    struct history_bounds bounds;

    history_bounds(hub_history(hub), &bounds);
    put_id_or_null(oldest, epoch, bounds.trimmed + 1, bounds.trimmed < bounds.newest);
    put_id_or_null(newest, epoch, bounds.newest, bounds.trimmed < bounds.newest);
    snprintf(to, STREAM_RESET_BYTES, "\"reason\":\"%s\",\"oldest\":%s,\"newest\":%s",
             stream_reset_text((enum stream_reset)stream->reset_reason), oldest, newest);
}

enum stream_end stream_make_frame(struct stream *stream, enum stream_pending what,
                                  struct message **ret_frame)
{
    struct stats *stats = stream->host->streams->stats;
    enum stream_end end = stream->host->wire->make(stream, what, ret_frame);

    if (*ret_frame == NULL)
        return end;
    stats_add(stats, STATS_RESETS, what == STREAM_RESET);
    stats_add(stats, STATS_CHECKPOINTS, what == STREAM_CHECKPOINT);
    stats_add(stats, STATS_HEARTBEATS, what == STREAM_HEARTBEAT);
    return end;
}
