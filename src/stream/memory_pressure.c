/* SPDX-License-Identifier: MIT */
/* Giving memory up.  See memory_pressure.h. */
#include "config.h"
#include "stream/memory_pressure.h"

#include "base/log.h"
#include "event/message_form.h"
#include "stream/stream_internal.h"

#define LOOK_AFTER_MS 10
/* Where nobody holds anything it is put off: it goes through all streams. */
#define LOOK_IN_VAIN_MS 100
/* A page that was not touched for so long is not being read right now. */
#define PAGE_UNREAD_MS 250
#define CLASSES 64
/* A stream with this many bytes of patterns and answers holds as much as the connection of an
 * ordinary one.  Those with less are not ended for it: they are the many. */
#define OWN_BYTES_MUCH 16384

/* How many bytes the streams hold, by the magnitude of what each of them holds. */
struct held_bytes {
    size_t bytes[CLASSES];
};

/* The streams by slot, NULL after the last.  Nothing lists those that hold something: this is only
 * asked while memory is short. */
static struct stream *next_stream(const struct streams *streams, size_t *slot)
{
    while (*slot < streams->slots_n)
        if (streams->slots[(*slot)++] != NULL)
            return streams->slots[*slot - 1];
    return NULL;
}

static void drop_unread_pages(struct streams *streams, int64_t now_ms)
{
    struct stream *stream;
    size_t slot = 0;

    while ((stream = next_stream(streams, &slot)) != NULL)
        if (stream->page != NULL && now_ms - stream->filled_ms >= PAGE_UNREAD_MS) {
            stats_add(streams->stats, STATS_PAGES_DROPPED, 1);
            stream_drop_page(stream);
        }
}

/* Whether the worker's ring or a store in memory has the event as well. */
static bool is_kept(const struct streams *streams, const struct message *message)
{
    const struct history *history = hub_history(streams->hub);
    struct history_bounds bounds;

    if (message->position > ring_tail_position(streams->ring))
        return true;
    if (history->durability != HISTORY_MEMORY || message->kind != MESSAGE_STORED)
        return false;
    history_bounds(hub_history(streams->hub), &bounds);
    return message->position > bounds.trimmed;
}

/* What the end of a stream would set free of the event that it is in the middle of, if those who
 * share it end too. */
static size_t event_bytes(const struct streams *streams, const struct stream *stream)
{
    const struct message *partial = stream->partial;

    if (partial == NULL || partial->kind == MESSAGE_CONTROL || is_kept(streams, partial))
        return 0;
    return (partial->bytes + message_form_cost(partial)) /
           atomic_load_explicit(&partial->refs, memory_order_relaxed);
}

/* Answers that its client does not take. */
static size_t answer_bytes(const struct stream *stream)
{
    const struct message *partial = stream->partial;
    const struct stream_wire *wire = stream->host->wire;
    size_t bytes = wire->waiting != NULL ? wire->waiting(stream) : 0;

    if (partial == NULL || partial->kind != MESSAGE_CONTROL)
        return bytes;
    return bytes + partial->bytes / atomic_load_explicit(&partial->refs, memory_order_relaxed);
}

/* What the end of a stream would set free: an event, and what it asked for and was answered if that
 * is much. */
static size_t held_by(const struct streams *streams, const struct stream *stream)
{
    size_t own = stream->asked_bytes + answer_bytes(stream);

    if (stream->end != STREAM_END_NONE)
        return 0;
    return (own >= OWN_BYTES_MUCH ? own : 0) + event_bytes(streams, stream);
}

static unsigned magnitude(size_t bytes)
{
    return (unsigned)(CLASSES - 1 - __builtin_clzll(bytes));
}

static void count_held(const struct streams *streams, struct held_bytes *held)
{
    const struct stream *stream;
    size_t slot = 0;

    while ((stream = next_stream(streams, &slot)) != NULL) {
        size_t bytes = held_by(streams, stream);

        if (bytes > 0)
            held->bytes[magnitude(bytes)] += bytes;
    }
}

/* The least magnitude that has to go for so many bytes. */
static unsigned least_magnitude(const struct held_bytes *held, size_t wanted)
{
    size_t sum = 0;
    unsigned prio = CLASSES;

    while (prio > 0 && sum < wanted)
        sum += held->bytes[--prio];
    return prio;
}

static void evict_stream(struct streams *streams, struct stream *stream, size_t bytes)
{
    char peer[PEER_TEXT_BYTES];

    log_debug("stream %016llx of %s ended: it held %zu bytes, and memory is short",
              (unsigned long long)stream->id, peer_text(&stream->peer, peer), bytes);
    stream->promised = (uint32_t)bytes;
    memory_budget_promise(streams->context->memory, (int64_t)bytes);
    stream_end(stream, STREAM_END_MEMORY);
}

/* End streams that hold at least so much, those of larger magnitude first. */
static size_t evict_from(struct streams *streams, const struct held_bytes *held, size_t wanted)
{
    unsigned least = least_magnitude(held, wanted);
    size_t count = 0, found = 0;

    for (unsigned prio = CLASSES; prio > least && found < wanted; prio--) {
        struct stream *stream;
        size_t slot = held->bytes[prio - 1] > 0 ? 0 : streams->slots_n;

        while (found < wanted && (stream = next_stream(streams, &slot)) != NULL) {
            size_t bytes = held_by(streams, stream);

            if (bytes > 0 && magnitude(bytes) == prio - 1) {
                evict_stream(streams, stream, bytes);
                found += bytes;
                count++;
            }
        }
    }
    return count;
}

static void log_evicted(struct streams *streams, size_t evicted_n)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (evicted_n > 0 && log_valve_open(&streams->pressure_valve, &skipped))
        log_warning("memory is short: evicted the %zu streams that held most%s", evicted_n,
                    log_skipped(more, skipped));
}

/* Returns how many. */
static size_t evict_biggest(struct streams *streams)
{
    size_t wanted = memory_budget_excess(streams->context->memory), evicted_n;
    struct held_bytes held = {{0}};

    count_held(streams, &held);
    evicted_n = evict_from(streams, &held, wanted);
    log_evicted(streams, evicted_n);
    return evicted_n;
}

void memory_pressure_evict(struct streams *streams, int64_t now_ms)
{
    if (memory_budget_excess(streams->context->memory) == 0 ||
        now_ms - streams->pressure_looked_ms < LOOK_AFTER_MS)
        return;
    drop_unread_pages(streams, now_ms);
    bool in_vain = evict_biggest(streams) == 0;
    streams->pressure_looked_ms = in_vain ? now_ms + LOOK_IN_VAIN_MS - LOOK_AFTER_MS : now_ms;
}
