/* SPDX-License-Identifier: MIT */
/*
 * A history that has lost events: what becomes of the streams that stand in it.
 *
 * A term ends at a position, and another order goes on from there (lineage.h).  A client that was
 * told an id beyond it, or has the beginning of such an event, has seen what is no more: it is told
 * `reset` and goes on from that position.  A client that was told less goes on in silence, since up
 * to there both orders are the same, and the ids that it has stay good.
 *
 * One that waits for the log's word on its id was told nothing by this gateway: its id is held
 * against the new lineage.
 *
 * Or events are gone that this gateway never had: then every stream that stands before them is told
 * that it has missed some.
 */
#include "config.h"

#include "stream/stream_internal.h"

/* Nothing of the ring or of a page holds any more; where its place is, is looked for anew. */
static void forget_where(struct stream *stream)
{
    stream->cursor = STREAM_CURSOR_NONE;
    stream->woken_by = STREAM_CURSOR_NONE;
    stream_drop_page(stream);
    stream->page_is_void = stream->page_asked;
}

static void tell(struct stream *stream, enum stream_reset reason, uint64_t position)
{
    stream_reset(stream, reason, position);
    stream_add_control(stream, STREAM_RESET); /* wakes one that is idle */
}

static bool was_told_beyond(const struct stream *stream, uint64_t position)
{
    const struct message *partial = stream->partial;

    return (stream->last_id_sent != UINT64_MAX && stream->last_id_sent > position) ||
           (partial != NULL && partial->kind == MESSAGE_STORED && partial->position > position);
}

static void end_term(struct stream *stream, uint64_t position)
{
    if (was_told_beyond(stream, position))
        tell(stream, STREAM_RESET_EPOCH, position);
    else if (stream->position > position)
        stream->position = position;
}

/* One that has no place yet finds one behind the gap. */
static void miss(struct stream *stream, uint64_t position)
{
    if (stream->since_ms < 0 && stream->position < position)
        tell(stream, STREAM_RESET_EXPIRED, position);
}

/* The ring is cut already, so an idle stream that is behind it has passed what was in there. */
static void cut_one(struct stream *stream, enum hub_cut cut, uint64_t position)
{
    if (stream->state == STREAM_CLOSING || stream->awaits_log)
        return;
    if (stream->state != STREAM_IDLE)
        forget_where(stream);
    if (cut == HUB_CUT_TERM)
        end_term(stream, position);
    else
        miss(stream, position);
}

/* A host's note that all of its streams know the newest id is of the order that was. */
static void forget_due(struct streams *streams)
{
    for (size_t i = 0; i < streams->hosts_n; i++) {
        streams->hosts[i].last_id_sent = UINT64_MAX;
        streams->hosts[i].checkpoint_ms = 0;
    }
}

void stream_cut_all(struct streams *streams, enum hub_cut cut, uint64_t position)
{
    ring_cut(streams->ring, position);
    for (size_t slot = 0; slot < streams->slots_n; slot++)
        if (streams->slots[slot] != NULL)
            cut_one(streams->slots[slot], cut, position);
    forget_due(streams);
    stream_await_look(streams);
}
