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

/* An event that reaches no more than this goes before those that reach many. */
#define FEW_MAX 64
/* Streams that are asked for before an event is offered to them. */
#define AHEAD 8
/* An event into the ring, in steps of WORKER_WORK_A_TURN. */
#define EVENT_WORK 16
/* How often a host is looked at where a stream is busy, or knows a place that is no longer the last
 * one: what is due meanwhile is late by no more. */
#define BEAT_LOOK_MS 5000
#define CHECKPOINT_AFTER_MS 24000
#define PAGE_BYTES 32768
#define SLOTS_MIN 256
#define HOSTS_MIN 16
#define BEAT_TEXT ":\n"

struct streams *streams_new(struct worker *worker, struct page_reader *pager,
                            struct eviction_log *evictions)
{
    const struct conf *conf = worker_context(worker)->conf;
    struct streams *streams = calloc(1, sizeof(*streams));

    if (streams == NULL)
        return NULL;
    streams->worker = worker;
    streams->context = worker_context(worker);
    streams->hub = worker_hub(worker);
    streams->pager = pager;
    streams->evictions = evictions;
    streams->stats = worker_context(worker)->stats;
    jitter_begin(&streams->jitter);
    stall_timer_init(&streams->stalls, streams);
    TAILQ_INIT(&streams->waiting);
    streams->ring =
        ring_new(conf->stream.ring_events, conf_ring_bytes(conf), hub_committed(streams->hub));
    streams->match = topic_index_new();
    streams->beat = message_new_control(BEAT_TEXT, sizeof(BEAT_TEXT) - 1);
    if (streams->ring == NULL || streams->match == NULL || streams->beat == NULL ||
        peer_watch_init(&streams->departures, worker_context(worker)->base) != 0) {
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
    stall_timer_stop(&streams->stalls);
    stream_expiry_stop(streams);
    peer_watch_stop(&streams->departures);
    ring_free(streams->ring);
    topic_index_free(streams->match);
    message_unref(streams->beat);
    free(streams->hosts);
    free(streams->slots);
    free(streams->generations);
    free(streams);
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
    host->place = streams->hosts_n++;
    *stream_host_due(host) = (struct stream_host_due){
        .host = host,
        .beat_ms = 0, /* with the next tick, which tells when the first stream is due */
        .checkpoint_ms = 0,
        .last_id_sent = UINT64_MAX,
        .token_ms = IDENTITY_FOREVER,
    };
    return 0;
}

/* The last one takes the place that becomes free. */
static void leave_place(struct stream_host *host)
{
    struct streams *streams = host->streams;
    struct stream_host_due *last = &streams->hosts[--streams->hosts_n];

    last->host->place = host->place;
    *stream_host_due(host) = *last;
}

void streams_remove_host(struct stream_host *host)
{
    assert(host->streams_n == 0);
    for (size_t i = 0; i < sizeof(host->ready) / sizeof(host->ready[0]); i++)
        ready_queue_free(&host->ready[i]);
    leave_place(host);
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
    uint64_t position;

    if (start->from != STREAM_FROM_ID)
        return start->from != STREAM_FROM_LATEST;
    return stream_find_place(streams->hub, start->id, start->id_n, &position) ==
               STREAM_RESET_EXPIRED ||
           position < ring_tail_position(streams->ring);
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
    size_t found_n = topic_index_message(streams->match, message, &found);
    enum worker_prio prio = found_n <= FEW_MAX ? PRIO_TARGETED : PRIO_BROADCAST;

    for (size_t j = 0; j < found_n; j++) {
        if (j + AHEAD < found_n)
            stream_fetch_for_offer(stream_of(found[j + AHEAD]));
        stream_offer(stream_of(found[j]), sequence, message, prio);
    }
    return EVENT_WORK + topic_index_last_cost(streams->match) + found_n;
}

size_t streams_batch(struct streams *streams, struct hub_batch *batch, size_t from, size_t *work)
{
    size_t done = 0;

    while (from < batch->events_n && (done == 0 || done < *work))
        done += take_event(streams, batch->events[from++]);
    *work -= done < *work ? done : *work;
    /* what the ring has let go of is held by streams that stopped inside it */
    memory_pressure_evict(streams, worker_now_ms(streams->worker));
    return from;
}

/* ---- pages ---- */

/* Events that were read from a disk for this page are held by nobody else yet. */
static void charge_page(const struct streams *streams, const struct history_page *page)
{
    _Atomic int64_t *account =
        memory_budget_counter(streams->context->memory, MEMORY_BUDGET_EVENTS);

    for (size_t i = 0; i < page->events_n; i++)
        message_charge(page->events[i], account);
}

/* The pager's answer, on its way to the stream. */
static void page_arrived(void *arg)
{
    struct page_reader_request *request = arg;
    struct streams *streams = request->arg;
    struct stream *stream = streams_find(streams, request->stream_id);

    if (request->result == 0 || request->result == -ESTALE)
        stats_add(streams->stats, STATS_PAGES_READ, 1);
    if (request->page != NULL && request->page->damaged)
        stats_add(streams->stats, STATS_PAGES_DAMAGED, 1);
    memory_budget_add(streams->context->memory, MEMORY_BUDGET_PAGES, -(int64_t)request->reserved);
    if (request->page != NULL)
        charge_page(streams, request->page);
    if (stream != NULL) {
        stream_page_done(stream, request);
        return;
    }
    page_reader_request_free(request);
    streams_page_over(streams);
}

static void page_read(struct page_reader_request *request)
{
    struct streams *streams = request->arg;

    worker_post_note(streams->worker, &((struct page_ask *)(void *)request)->note, page_arrived,
                     request);
}

/* At most a page's bytes, or an event that is larger than a page. */
static size_t page_bytes_max(const struct streams *streams)
{
    size_t event_bytes = streams->context->conf->limits.event_bytes;

    return 2 * PAGE_BYTES + event_bytes;
}

/* Ask for a page, for which `reserved` bytes are counted already; if it fails, they are off. */
static int send_request(struct streams *streams, struct stream *stream, size_t reserved)
{
    struct page_ask *ask = calloc(1, sizeof(*ask));

    if (ask == NULL) {
        memory_budget_add(streams->context->memory, MEMORY_BUDGET_PAGES, -(int64_t)reserved);
        return -ENOMEM;
    }
    struct page_reader_request *request = &ask->request;
    request->done = page_read;
    request->arg = streams;
    request->stream_id = stream->id;
    request->filter = filter_ref(stream->listener.filter);
    request->since_ms = stream->since_ms;
    request->after = stream->position;
    request->upto = ring_head_position(streams->ring);
    request->bytes_max = PAGE_BYTES;
    request->reserved = reserved;
    streams->pages_n++;
    page_reader_read(streams->pager, request);
    return 0;
}

/* Whether one more page may be asked for, and if so the bytes that are counted for it.  One is
 * always, so that whoever waits gets a page in the end. */
static bool page_allowed(struct streams *streams, size_t *ret_reserved)
{
    struct memory_budget *memory = streams->context->memory;

    *ret_reserved = page_bytes_max(streams);
    if (streams->pages_n == 0) {
        memory_budget_add(memory, MEMORY_BUDGET_PAGES, (int64_t)*ret_reserved);
        return true;
    }
    return streams->pages_n <
               memory_budget_ration(memory, streams->context->conf->stream.replay_pages) &&
           memory_budget_admit(memory, MEMORY_BUDGET_PAGES, *ret_reserved, MEMORY_BUDGET_SCARCE);
}

int streams_ask_page(struct streams *streams, struct stream *stream)
{
    size_t reserved;

    assert(!stream->page_asked);
    stream_set_behind(stream, true);
    if (page_allowed(streams, &reserved)) {
        if (send_request(streams, stream, reserved) != 0)
            return -ENOMEM;
    } else {
        TAILQ_INSERT_TAIL(&streams->waiting, stream, in_waiting);
        stream->page_waits = true;
        stats_add(streams->stats, STATS_REPLAYS_WAITING, 1);
    }
    stream->page_asked = true;
    return 0;
}

void streams_stop_waiting(struct streams *streams, struct stream *stream)
{
    if (!stream->page_waits)
        return;
    TAILQ_REMOVE(&streams->waiting, stream, in_waiting);
    stream->page_waits = false;
    stats_add(streams->stats, STATS_REPLAYS_WAITING, -1);
}

/* Give pages to those who wait, the first first. */
static void hand_out_pages(struct streams *streams)
{
    struct stream *next;
    size_t reserved;

    while ((next = TAILQ_FIRST(&streams->waiting)) != NULL && page_allowed(streams, &reserved)) {
        streams_stop_waiting(streams, next);
        if (send_request(streams, next, reserved) != 0)
            stream_end(next, STREAM_END_FAILED);
    }
}

void streams_page_over(struct streams *streams)
{
    assert(streams->pages_n > 0);
    streams->pages_n--;
    hand_out_pages(streams);
}

/* ---- housekeeping ---- */

/* A stream whose topics are quiet must not lose its place when the history is trimmed. */
static bool checkpoint_due(const struct stream *stream, int64_t now_ms)
{
    return now_ms - stream->told_ms >= CHECKPOINT_AFTER_MS &&
           stream->last_id_sent != stream_passed(stream);
}

/* Streams of a host that are nearly due go with the one that is: to look at them all is most of
 * what it costs, and so is the walk of the library where it is the one that sends. */
static bool beat_due(int64_t wrote_ms, const struct stream *stream, int64_t now_ms)
{
    return now_ms - wrote_ms >= (int64_t)stream->heartbeat_ms * 4 / 5;
}

/* Have a stream say what it is to say by now. */
static void beat_stream(struct stream *stream, struct stream_host_due *due, int64_t now_ms)
{
    int64_t told_ms = stream->told_ms, wrote_ms = stream->wrote_ms;

    if (stream->state != STREAM_IDLE) {
        due->beat_ms = clock_earlier(due->beat_ms, now_ms + BEAT_LOOK_MS);
        return;
    }
    if (checkpoint_due(stream, now_ms)) {
        stream_say(stream, STREAM_CHECKPOINT);
        told_ms = wrote_ms = now_ms;
    } else if (stream->last_id_sent != due->last_id_sent) {
        due->last_id_sent = UINT64_MAX;
    }
    if (beat_due(wrote_ms, stream, now_ms)) {
        stream_say(stream, STREAM_BEAT);
        wrote_ms = now_ms;
    }
    due->beat_ms = clock_earlier(due->beat_ms, wrote_ms + stream->heartbeat_ms);
    due->checkpoint_ms = clock_earlier(due->checkpoint_ms, told_ms + CHECKPOINT_AFTER_MS);
}

static void beat_host(struct stream_host_due *due, int64_t now_ms)
{
    struct stream *stream;

    due->beat_ms = due->checkpoint_ms = INT64_MAX;
    due->last_id_sent = ring_head_position(due->host->streams->ring);
    TAILQ_FOREACH (stream, &due->host->all, in_host)
        beat_stream(stream, due, now_ms);
    if (due->checkpoint_ms < now_ms + BEAT_LOOK_MS)
        due->checkpoint_ms = now_ms + BEAT_LOOK_MS;
}

/* While nothing is published nobody's place changes, and looking at a stream that rests is what
 * costs: its memory is in no cache any more. */
static bool is_due(const struct stream_host_due *due, uint64_t position, int64_t now_ms)
{
    return due->beat_ms <= now_ms ||
           (due->checkpoint_ms <= now_ms && due->last_id_sent != position);
}

static void beat(struct streams *streams, int64_t now_ms)
{
    uint64_t position = ring_head_position(streams->ring);

    for (size_t i = 0; i < streams->hosts_n; i++)
        if (is_due(&streams->hosts[i], position, now_ms))
            beat_host(&streams->hosts[i], now_ms);
}

/* ---- draining ---- */

void streams_drain(struct streams *streams, int64_t now_ms, int64_t window_ms)
{
    streams->draining = true;
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
    if (stream->end != STREAM_END_NONE && drain->end == STREAM_END_DRAINED)
        return true;
    stream_end(stream, drain->end);
    drain->ended++;
    return true;
}

/* Streams end evenly over the window; after it, what does not read its farewell is cut. */
static void drain_part(struct streams *streams, int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - streams->drain_began_ms;
    struct drain drain = {.quota = SIZE_MAX, .end = STREAM_END_DRAINED};

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

void streams_drain_step(struct streams *streams, int64_t now_ms)
{
    if (streams->draining)
        drain_part(streams, now_ms);
}

void streams_tick(struct streams *streams, int64_t now_ms)
{
    streams_drain_step(streams, now_ms);
    beat(streams, now_ms); /* a window may be longer than a client waits for a sign */
    stall_timer_tick(&streams->stalls, now_ms);
    memory_pressure_evict(streams, now_ms);
    hand_out_pages(streams);
    stats_set(streams->stats, STATS_RING_EVENTS,
              (int64_t)(ring_head(streams->ring) - ring_tail(streams->ring)));
    stats_set(streams->stats, STATS_RING_BYTES, (int64_t)ring_bytes(streams->ring));
}
