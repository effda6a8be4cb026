/* SPDX-License-Identifier: MIT */
/* Heartbeats and checkpoints.  See stream_internal.h. */
#include "config.h"

#include "base/clock.h"
#include "stream/stream_internal.h"

/* How often a host is looked at where a stream is busy, or knows a place that is no longer the last
 * one: what is due meanwhile is late by no more. */
#define LOOK_EVERY_MS 5000
#define CHECKPOINT_AFTER_MS 24000

/* A stream whose topics are quiet must not lose its place when the history is trimmed. */
static bool is_checkpoint_due(const struct stream *stream, int64_t now_ms)
{
    return now_ms - stream->id_sent_ms >= CHECKPOINT_AFTER_MS &&
           stream->last_id_sent != stream_passed(stream);
}

/* Whether it may need a checkpoint later though nothing is published. */
static bool is_place_old(const struct stream *stream, uint64_t last_id_sent)
{
    return stream->host->wire->tells_ids && stream->last_id_sent != last_id_sent;
}

/* Streams of a host that are nearly due go with the one that is: to look at them all is most of
 * what it costs, and so is the walk of the host where it is the one that sends. */
static bool is_heartbeat_due(int64_t sent_ms, const struct stream *stream, int64_t now_ms)
{
    return now_ms - sent_ms >= (int64_t)stream->heartbeat_ms * 4 / 5;
}

/* Have a stream send what is due by now. */
static void heartbeat_stream(struct stream *stream, struct stream_host_due *due, int64_t now_ms)
{
    int64_t id_sent_ms = stream->id_sent_ms, sent_ms = stream->sent_ms;

    if (stream->state != STREAM_IDLE) {
        due->heartbeat_ms = clock_earlier(due->heartbeat_ms, now_ms + LOOK_EVERY_MS);
        return;
    }
    if (stream->host->wire->tells_ids && is_checkpoint_due(stream, now_ms)) {
        stream_add_control(stream, STREAM_CHECKPOINT);
        id_sent_ms = sent_ms = now_ms;
    } else if (is_place_old(stream, due->last_id_sent)) {
        due->last_id_sent = UINT64_MAX;
    }
    if (is_heartbeat_due(sent_ms, stream, now_ms)) {
        stream_add_control(stream, STREAM_HEARTBEAT);
        sent_ms = now_ms;
    }
    due->heartbeat_ms = clock_earlier(due->heartbeat_ms, sent_ms + stream->heartbeat_ms);
    due->checkpoint_ms = clock_earlier(due->checkpoint_ms, id_sent_ms + CHECKPOINT_AFTER_MS);
}

static void heartbeat_host(struct stream_host_due *due, int64_t now_ms)
{
    struct stream *stream;

    due->heartbeat_ms = due->checkpoint_ms = INT64_MAX;
    due->last_id_sent = ring_head_position(due->host->streams->ring);
    TAILQ_FOREACH (stream, &due->host->all, in_host)
        heartbeat_stream(stream, due, now_ms);
    if (due->checkpoint_ms < now_ms + LOOK_EVERY_MS)
        due->checkpoint_ms = now_ms + LOOK_EVERY_MS;
}

/* While nothing is published nobody's place changes, and looking at an idle stream is what costs:
 * its memory is in no cache any more. */
static bool is_host_due(const struct stream_host_due *due, uint64_t position, int64_t now_ms)
{
    return due->heartbeat_ms <= now_ms ||
           (due->checkpoint_ms <= now_ms && due->last_id_sent != position);
}

void heartbeat_tick(struct streams *streams, int64_t now_ms)
{
    uint64_t position = ring_head_position(streams->ring);

    for (size_t i = 0; i < streams->hosts_n; i++)
        if (is_host_due(&streams->hosts[i], position, now_ms))
            heartbeat_host(&streams->hosts[i], now_ms);
}
