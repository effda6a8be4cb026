/* SPDX-License-Identifier: MIT */
/*
 * Streams whose place is open (stream_place.h): they wait for the log's word.
 *
 * Such a stream is there for all limits and figures, has its head and heartbeats, and no event: it
 * stands behind every position there can be, so that all events are ones which it has, and what is
 * delivered to others costs nothing more.  When its place is known it goes on from there like any
 * stream that begins behind the newest event, or is told `reset`; while nothing is known, for
 * example since this gateway is cut off from the log, it waits.
 *
 * They are looked at when this worker's ring has come to the position of one, after a cut, and with
 * each tick, when the log's word is new.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "hub/hub_share.h"
#include "stream/stream_internal.h"

/* Behind every event, and not the mark of a stream that was told no id. */
#define POSITION_WAITS (UINT64_MAX - 1)

struct stream_await {
    TAILQ_ENTRY(stream_await) in_awaits;
    struct stream *stream;
    int64_t since_ms;
    uint64_t position;     /* of the id */
    uint64_t from;         /* the ring's position from which on it is worth another look */
    char id[SSE_ID_BYTES]; /* as the client sent it */
};

static void count(const struct streams *streams, int n)
{
    stats_add(streams->stats, STATS_STREAMS_AWAITING_LOG, n);
    memory_budget_add(streams->context->memory, MEMORY_BUDGET_CONNECTIONS,
                      n * (int64_t)sizeof(struct stream_await));
}

int stream_await_begin(struct stream *stream, const char *id, size_t id_n)
{
    struct streams *streams = stream->host->streams;
    struct stream_await *wait = calloc(1, sizeof(*wait));
    const char *epoch;

    if (wait == NULL || !sse_parse_id(id, id_n, &epoch, &wait->position)) {
        free(wait);
        return -ENOMEM;
    }
    memcpy(wait->id, id, SSE_ID_BYTES);
    wait->stream = stream;
    wait->since_ms = clock_mono_ms();
    if (TAILQ_EMPTY(&streams->awaits))
        hub_share_ask_soon(streams->hub);
    TAILQ_INSERT_TAIL(&streams->awaits, wait, in_awaits);
    wait->from = wait->position;
    if (wait->from < streams->awaits_until)
        streams->awaits_until = wait->from;
    count(streams, 1);
    stream->awaits_log = true;
    stream->await = wait;
    stream->position = stream->last_id_sent = POSITION_WAITS;
    stream->live_from = UINT64_MAX; /* ephemeral events are none for it either */
    return 0;
}

void stream_await_end(struct stream *stream)
{
    struct streams *streams = stream->host->streams;

    if (!stream->awaits_log)
        return;
    TAILQ_REMOVE(&streams->awaits, stream->await, in_awaits);
    free(stream->await);
    stream->awaits_log = false;
    count(streams, -1);
}

uint64_t stream_await_position(const struct stream *stream)
{
    return stream->await->position;
}

/* Like one that has just come, and shows the id of that place. */
static void go_on(struct stream *stream, const struct stream_place *place)
{
    struct ring *ring = stream->host->streams->ring;

    stream_await_end(stream);
    stream->live_from = ring_head(ring);
    stream->cursor = stream->woken_by = STREAM_CURSOR_NONE;
    stream->position = place->position;
    stream->last_id_sent = place->reset == STREAM_RESET_NONE ? place->position : UINT64_MAX;
    if (place->reset != STREAM_RESET_NONE)
        stream_reset(stream, place->reset, place->position);
    stream_set_behind(stream, true);
    if (stream->state == STREAM_IDLE)
        stream_continue(stream);
}

/* Returns whether it waits on. */
static bool look_at(struct stream_await *wait, const struct hub_share_facts *facts)
{
    struct stream *stream = wait->stream;
    struct streams *streams = stream->host->streams;
    const struct hub_share_facts *word =
        facts != NULL && facts->asked_ms > wait->since_ms ? facts : NULL;
    struct stream_place place;

    if (stream->state == STREAM_CLOSING)
        return true;
    stream_find_place(streams->hub, wait->id, SSE_ID_BYTES, word, &place);
    /* what is committed but on its way to this worker is waited for too, so that what goes before
     * it to all does so here */
    if (place.is_open ||
        (place.reset == STREAM_RESET_NONE && place.position > ring_head_position(streams->ring)))
        return true;
    go_on(stream, &place);
    return false;
}

static uint64_t look_from(const struct streams *streams, const struct stream_await *wait)
{
    uint64_t end;

    if (lineage_find(history_lineage(hub_history(streams->hub)), wait->id, &end) &&
        wait->position > ring_head_position(streams->ring))
        return wait->position;
    return UINT64_MAX; /* it waits for something else */
}

/* Returns whether it waits on. */
static bool look_again(struct stream_await *wait, const struct hub_share_facts *facts)
{
    if (!look_at(wait, facts))
        return false;
    wait->from = look_from(wait->stream->host->streams, wait);
    return true;
}

/* facts  NULL: only at those that the ring has come to */
static void look_at_all(struct streams *streams, const struct hub_share_facts *facts)
{
    struct stream_await *wait = TAILQ_FIRST(&streams->awaits), *next;
    uint64_t head = ring_head_position(streams->ring);

    streams->awaits_until = UINT64_MAX;
    for (; wait != NULL; wait = next) {
        next = TAILQ_NEXT(wait, in_awaits);
        if ((facts != NULL || wait->from <= head) && !look_again(wait, facts))
            continue;
        if (wait->from < streams->awaits_until)
            streams->awaits_until = wait->from;
    }
}

void stream_await_reached(struct streams *streams)
{
    look_at_all(streams, NULL);
}

void stream_await_look(struct streams *streams)
{
    struct stream_await *last;
    struct hub_share_facts facts;

    if (TAILQ_EMPTY(&streams->awaits))
        return;
    hub_share_get_facts(streams->hub, &facts);
    look_at_all(streams, &facts);
    last = TAILQ_LAST(&streams->awaits, stream_awaits);
    if (last != NULL && facts.asked_ms <= last->since_ms)
        hub_share_ask_soon(streams->hub);
}
