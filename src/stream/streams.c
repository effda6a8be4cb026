/* SPDX-License-Identifier: MIT */
/* All streams of a worker.  See streams.h. */
#include "config.h"
#include "stream/streams.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "stream/memory_pressure.h"
#include "stream/page_ask.h"
#include "stream/stream_internal.h"
#include "wire/ws_deflate.h"
#include "wire/ws_frame.h"

/* An event that reaches no more than this goes before those that reach many. */
#define FEW_MAX 64
/* Streams that are asked for before an event is offered to them. */
#define AHEAD 8
/* An event into the ring, in steps of WORKER_WORK_A_TURN. */
#define EVENT_WORK 16
#define SLOTS_MIN 256
#define HOSTS_MIN 16
#define HEARTBEAT_TEXT ":\n"

/* One frame of each kind for all streams. */
static bool make_heartbeats(struct streams *streams)
{
    char frame[WS_CONTROL_FRAME_MAX];

    streams->heartbeat_frame = message_new_control(HEARTBEAT_TEXT, sizeof(HEARTBEAT_TEXT) - 1);
    streams->ws_pong_frame =
        message_new_control(frame, ws_frame_put_control(frame, WS_PONG, "", 0));
    streams->ws_ping_frame =
        message_new_control(frame, ws_frame_put_control(frame, WS_PING, "", 0));
    return streams->heartbeat_frame != NULL && streams->ws_pong_frame != NULL &&
           streams->ws_ping_frame != NULL;
}

struct streams *streams_new(struct worker *worker, struct page_reader *pager,
                            struct eviction_log *eviction_log)
{
    const struct conf *conf = worker_context(worker)->conf;
    struct streams *streams = calloc(1, sizeof(*streams));

    if (streams == NULL)
        return NULL;
    streams->worker = worker;
    streams->context = worker_context(worker);
    streams->hub = worker_hub(worker);
    streams->pager = pager;
    streams->eviction_log = eviction_log;
    streams->stats = worker_context(worker)->stats;
    jitter_begin(&streams->jitter);
    stall_timer_init(&streams->stall_timer, worker, &stream_stall_hooks);
    TAILQ_INIT(&streams->waiting);
    TAILQ_INIT(&streams->awaits);
    streams->awaits_until = UINT64_MAX;
    streams->ring =
        ring_new(conf->stream.ring_events, conf_ring_bytes(conf), hub_committed(streams->hub));
    streams->index = topic_index_new();
    streams->lineage = history_lineage(hub_history(streams->hub));
    if (streams->ring == NULL || streams->index == NULL || !make_heartbeats(streams) ||
        peer_watch_init(&streams->peer_watch, streams->context->base, &stream_peer_reports) != 0) {
        streams_free(streams);
        return NULL;
    }
    return streams;
}

void streams_free(struct streams *streams)
{
    if (streams == NULL)
        return;
    assert(streams->count == 0);
    stall_timer_stop(&streams->stall_timer);
    stream_expiry_stop(streams);
    peer_watch_stop(&streams->peer_watch);
    ring_free(streams->ring);
    topic_index_free(streams->index);
    message_unref(streams->heartbeat_frame);
    message_unref(streams->ws_pong_frame);
    message_unref(streams->ws_ping_frame);
    if (streams->deflater != NULL)
        memory_budget_add(streams->context->memory, MEMORY_BUDGET_CONNECTIONS, -WS_DEFLATE_BYTES);
    ws_deflate_free(streams->deflater);
    free(streams->hosts);
    free(streams->slots);
    free(streams->generations);
    free(streams);
}

/* One for all streams of the worker. */
int streams_get_deflater(struct streams *streams)
{
    if (streams->deflater != NULL)
        return 0;
    streams->deflater = ws_deflate_new();
    if (streams->deflater == NULL)
        return -ENOMEM;
    memory_budget_add(streams->context->memory, MEMORY_BUDGET_CONNECTIONS, WS_DEFLATE_BYTES);
    return 0;
}

static int make_room_for_host(struct streams *streams)
{
    if (streams->hosts_n < streams->hosts_room)
        return 0;
    size_t room = streams->hosts_room > 0 ? streams->hosts_room * 2 : HOSTS_MIN;
    struct stream_host_due *hosts = reallocarray(streams->hosts, room, sizeof(*hosts));

    if (hosts == NULL)
        return -ENOMEM;
    streams->hosts = hosts;
    streams->hosts_room = room;
    return 0;
}

int streams_add_host(struct streams *streams, struct stream_host *host)
{
    if (make_room_for_host(streams) != 0)
        return -ENOMEM;
    host->streams = streams;
    host->streams_n = 0;
    TAILQ_INIT(&host->all);
    host->behind_n = 0;
    memset(host->ready, 0, sizeof(host->ready));
    memset(host->flush_left, 0, sizeof(host->flush_left));
    host->place = streams->hosts_n++;
    *stream_host_due(host) = (struct stream_host_due){
        .host = host,
        .heartbeat_ms = 0, /* with the next tick, which tells when the first stream is due */
        .checkpoint_ms = 0,
        .last_id_sent = UINT64_MAX,
        .token_ms = IDENTITY_FOREVER,
    };
    return 0;
}

void streams_remove_host(struct stream_host *host)
{
    struct streams *streams = host->streams;
    struct stream_host_due *last = &streams->hosts[--streams->hosts_n];

    assert(host->streams_n == 0);
    for (size_t i = 0; i < sizeof(host->ready) / sizeof(host->ready[0]); i++)
        ready_queue_free(&host->ready[i]);
    last->host->place = host->place; /* the last one takes the place that becomes free */
    *stream_host_due(host) = *last;
}

/* ---- ids: worker, generation and slot; a slot's next stream has another generation ---- */

#define ID_SLOT_BITS 24
#define ID_GENERATION_BITS 32

static int grow_slots(struct streams *streams)
{
    size_t slots_n = streams->slots_n > 0 ? streams->slots_n * 2 : SLOTS_MIN;

    if (slots_n > (size_t)1 << ID_SLOT_BITS)
        return -ENOMEM;
    struct stream **slots = realloc(streams->slots, slots_n * sizeof(struct stream *));
    if (slots == NULL)
        return -ENOMEM;
    streams->slots = slots;
    uint32_t *generations = realloc(streams->generations, slots_n * sizeof(uint32_t));
    if (generations == NULL)
        return -ENOMEM;
    streams->generations = generations;
    memset(slots + streams->slots_n, 0, (slots_n - streams->slots_n) * sizeof(struct stream *));
    memset(generations + streams->slots_n, 0, (slots_n - streams->slots_n) * sizeof(uint32_t));
    streams->free_hint = streams->slots_n;
    streams->slots_n = slots_n;
    return 0;
}

static size_t find_free_slot(const struct streams *streams)
{
    size_t slot = streams->free_hint;

    while (streams->slots[slot] != NULL)
        slot = slot + 1 < streams->slots_n ? slot + 1 : 0;
    return slot;
}

int streams_enter(struct streams *streams, struct stream *stream)
{
    if (streams->count == streams->slots_n && grow_slots(streams) != 0)
        return -ENOMEM;
    size_t slot = find_free_slot(streams);
    uint64_t worker = worker_index(streams->worker);
    uint64_t generation = ++streams->generations[slot];

    streams->slots[slot] = stream;
    streams->free_hint = slot;
    stream->id = worker << (ID_SLOT_BITS + ID_GENERATION_BITS) | generation << ID_SLOT_BITS | slot;
    streams->count++;
    return 0;
}

static size_t slot_of(uint64_t id)
{
    return id & (((uint64_t)1 << ID_SLOT_BITS) - 1);
}

void streams_leave(struct streams *streams, struct stream *stream)
{
    size_t slot = slot_of(stream->id);

    streams->slots[slot] = NULL;
    streams->free_hint = slot;
    streams->count--;
}

unsigned streams_worker_of(uint64_t id)
{
    return (unsigned)(id >> (ID_SLOT_BITS + ID_GENERATION_BITS));
}

struct stream *streams_find(struct streams *streams, uint64_t id)
{
    size_t slot = slot_of(id);

    if (slot >= streams->slots_n || streams->slots[slot] == NULL)
        return NULL;
    return streams->slots[slot]->id == id ? streams->slots[slot] : NULL;
}

void streams_each(struct streams *streams, bool (*see)(struct stream *stream, void *arg), void *arg)
{
    for (size_t slot = 0; slot < streams->slots_n; slot++)
        if (streams->slots[slot] != NULL && !see(streams->slots[slot], arg))
            return;
}

bool streams_is_past(const struct streams *streams, const struct stream_start *start)
{
    struct stream_place place;

    if (start->from != STREAM_FROM_ID)
        return start->from != STREAM_FROM_LATEST;
    stream_find_place(streams->hub, start->id, start->id_n, NULL, &place);
    return !place.is_open && (place.reset == STREAM_RESET_EXPIRED ||
                              place.position < ring_tail_position(streams->ring));
}

size_t streams_count(const struct streams *streams)
{
    return streams->count;
}

/* ---- events ---- */

static struct stream *stream_of(struct topic_index_listener *listener)
{
    return (struct stream *)((char *)listener - offsetof(struct stream, listener));
}

/* Returns how much work it was. */
static size_t take_event(struct streams *streams, struct message *message)
{
    uint64_t sequence = ring_append(streams->ring, message);
    struct topic_index_listener **found;
    size_t found_n = topic_index_message(streams->index, message, &found);
    enum worker_prio prio = found_n <= FEW_MAX ? PRIO_TARGETED : PRIO_BROADCAST;

    for (size_t j = 0; j < found_n; j++) {
        if (j + AHEAD < found_n)
            stream_fetch_for_offer(stream_of(found[j + AHEAD]));
        stream_offer(stream_of(found[j]), sequence, message, prio);
    }
    return EVENT_WORK + topic_index_last_cost(streams->index) + found_n;
}

size_t streams_batch(struct streams *streams, struct hub_batch *batch, size_t from, size_t *work)
{
    size_t done = 0;

    if (from == 0 && batch->lineage != NULL)
        streams->lineage = batch->lineage;
    if (from == 0 && batch->cut != HUB_CUT_NONE)
        stream_cut_all(streams, batch->cut, batch->cut_at);
    while (from < batch->events_n && (done == 0 || done < *work))
        done += take_event(streams, batch->events[from++]);
    if (streams->awaits_until != UINT64_MAX &&
        ring_head_position(streams->ring) >= streams->awaits_until)
        stream_await_reached(streams);
    *work -= done < *work ? done : *work;
    /* what the ring has let go of is held by streams that stopped inside it */
    memory_pressure_evict(streams, worker_now_ms(streams->worker));
    return from;
}

/* ---- draining ---- */

void streams_drain(struct streams *streams, int64_t now_ms, int64_t window_ms, enum stream_end end)
{
    streams->draining = true;
    streams->drain_end = end;
    streams->drain_began_ms = now_ms;
    streams->drain_window_ms = window_ms;
    streams->drain_total = streams->count;
    streams->drain_ended = 0;
    streams_tick(streams, now_ms);
}

struct drain {
    size_t quota;
    size_t ended;
    enum stream_end end;
};

static bool drain_one(struct stream *stream, void *arg)
{
    struct drain *drain = arg;

    if (drain->ended >= drain->quota)
        return false;
    if (stream->end != STREAM_END_NONE && !stream_ends[drain->end].cuts)
        return true;
    stream_end(stream, drain->end);
    drain->ended++;
    return true;
}

/* Streams end evenly over the window; after it, what has not read its final frame is cut. */
void streams_drain_step(struct streams *streams, int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - streams->drain_began_ms;
    struct drain drain = {.quota = SIZE_MAX, .end = streams->drain_end};

    if (!streams->draining)
        return;
    if (elapsed_ms < streams->drain_window_ms) {
        size_t due =
            (streams->drain_total * (uint64_t)elapsed_ms) / (uint64_t)streams->drain_window_ms + 1;

        drain.quota = due > streams->drain_ended ? due - streams->drain_ended : 0;
    }
    streams_each(streams, drain_one, &drain);
    streams->drain_ended += drain.ended;
    if (elapsed_ms < streams->drain_window_ms + 500)
        return;
    drain = (struct drain){.quota = SIZE_MAX, .end = STREAM_END_STALLED};
    streams_each(streams, drain_one, &drain);
}

void streams_tick(struct streams *streams, int64_t now_ms)
{
    streams_drain_step(streams, now_ms);
    heartbeat_tick(streams, now_ms); /* a window may be longer than a client waits for a sign */
    stall_timer_tick(&streams->stall_timer, now_ms);
    memory_pressure_evict(streams, now_ms);
    replay_pages_hand_out(streams);
    stream_await_look(streams);
    stats_set(streams->stats, STATS_RING_EVENTS,
              (int64_t)(ring_head(streams->ring) - ring_tail(streams->ring)));
    stats_set(streams->stats, STATS_RING_BYTES, (int64_t)ring_bytes(streams->ring));
}
