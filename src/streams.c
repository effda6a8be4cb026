/* SPDX-License-Identifier: MIT */
/* All streams of a worker.  See streams.h. */
#include "config.h"
#include "streams.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "stream_internal.h"

/* An event that reaches no more than this goes before those that reach many. */
#define FEW_MAX 64
/* Hosts are looked at for heartbeats at least so often, so a checkpoint is never late. */
#define BEAT_LOOK_MS 5000
#define CHECKPOINT_AFTER_MS 24000
#define STALL_LOOK_AFTER_MS 1000
#define PAGE_UNREAD_MAX_MS 1000
#define PAGE_BYTES 32768
#define SLOTS_MIN 256

struct streams *streams_new(struct worker *worker, struct pager *pager)
{
    const struct conf *conf = worker_conf(worker);
    struct streams *streams = calloc(1, sizeof(*streams));

    if (streams == NULL)
        return NULL;
    streams->worker = worker;
    streams->hub = worker_hub(worker);
    streams->pager = pager;
    streams->stats = worker_stats(worker);
    LIST_INIT(&streams->hosts);
    TAILQ_INIT(&streams->busy);
    TAILQ_INIT(&streams->waiting);
    streams->ring =
        ring_new(conf->stream.ring_events, conf->stream.ring_bytes, hub_committed(streams->hub));
    streams->match = match_new();
    if (streams->ring == NULL || streams->match == NULL) {
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
    ring_free(streams->ring);
    match_free(streams->match);
    free(streams->slots);
    free(streams->generations);
    free(streams);
}

void streams_add_host(struct streams *streams, struct stream_host *host)
{
    host->streams = streams;
    host->streams_n = 0;
    TAILQ_INIT(&host->all);
    host->behind_n = 0;
    for (size_t i = 0; i < sizeof(host->ready) / sizeof(host->ready[0]); i++)
        TAILQ_INIT(&host->ready[i]);
    host->beat_due_ms = 0;
    host->until_ms = IDENTITY_FOREVER;
    LIST_INSERT_HEAD(&streams->hosts, host, link);
}

void streams_remove_host(struct stream_host *host)
{
    assert(host->streams_n == 0);
    LIST_REMOVE(host, link);
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

size_t streams_count(const struct streams *streams)
{
    return streams->count;
}

/* ---- events ---- */

static struct stream *stream_of(struct match_listener *listener)
{
    return (struct stream *)((char *)listener - offsetof(struct stream, listener));
}

void streams_batch(struct streams *streams, struct hub_batch *batch)
{
    for (size_t i = 0; i < batch->events_n; i++) {
        struct message *message = batch->events[i];
        uint64_t sequence = ring_append(streams->ring, message);
        struct match_listener **found;
        size_t found_n = match_message(streams->match, message, &found);
        enum worker_class class = found_n <= FEW_MAX ? WORKER_FEW : WORKER_MANY;

        for (size_t j = 0; j < found_n; j++)
            stream_offer(stream_of(found[j]), sequence, message, class);
    }
}

/* ---- pages ---- */

/* The pager's answer, on its way to the stream. */
static void page_arrived(void *arg)
{
    struct pager_request *request = arg;
    struct streams *streams = request->arg;
    struct stream *stream = streams_find(streams, request->stream_id);

    if (request->result == 0 || request->result == -ESTALE)
        stats_add(streams->stats, STATS_PAGES_READ, 1);
    if (request->page != NULL && request->page->damaged)
        stats_add(streams->stats, STATS_PAGES_DAMAGED, 1);
    if (stream != NULL) {
        stream_page_done(stream, request);
        return;
    }
    pager_request_free(request);
    streams_page_over(streams);
}

static void page_read(struct pager_request *request)
{
    struct streams *streams = request->arg;

    if (worker_post(streams->worker, page_arrived, request) != 0)
        abort();
}

static int send_request(struct streams *streams, struct stream *stream)
{
    struct pager_request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        return -ENOMEM;
    request->done = page_read;
    request->arg = streams;
    request->stream_id = stream->id;
    request->filter = filter_ref(stream->listener.filter);
    request->since_ms = stream->since_ms;
    request->after = stream->position;
    request->upto = ring_head_position(streams->ring);
    request->bytes_max = PAGE_BYTES;
    streams->pages_n++;
    pager_read(streams->pager, request);
    return 0;
}

int streams_ask_page(struct streams *streams, struct stream *stream)
{
    assert(!stream->page_asked);
    stream_set_behind(stream, true);
    if (streams->pages_n < worker_conf(streams->worker)->stream.replay_pages) {
        if (send_request(streams, stream) != 0)
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

void streams_page_over(struct streams *streams)
{
    struct stream *next;

    assert(streams->pages_n > 0);
    streams->pages_n--;
    while ((next = TAILQ_FIRST(&streams->waiting)) != NULL) {
        streams_stop_waiting(streams, next);
        if (send_request(streams, next) == 0)
            return;
        stream_end(next, STREAM_END_FAILED);
    }
}

/* ---- housekeeping ---- */

/* A stream whose topics are quiet must not lose its place when the history is trimmed. */
static bool checkpoint_due(const struct stream *stream, int64_t now_ms)
{
    return now_ms - stream->told_ms >= CHECKPOINT_AFTER_MS &&
           stream->told_position != stream_passed(stream);
}

/* Streams of a host that are nearly due go with the one that is: resuming walks the whole cell. */
static bool beat_due(const struct stream *stream, int64_t now_ms)
{
    return now_ms - stream->wrote_ms >= (int64_t)stream->heartbeat_ms * 4 / 5;
}

static void beat_host(struct stream_host *host, int64_t now_ms)
{
    int64_t next_ms = now_ms + BEAT_LOOK_MS;
    struct stream *stream;

    TAILQ_FOREACH (stream, &host->all, in_host) {
        int64_t due_ms;

        if (stream->state != STREAM_IDLE)
            continue;
        if (checkpoint_due(stream, now_ms))
            stream_say(stream, STREAM_CHECKPOINT);
        else if (beat_due(stream, now_ms))
            stream_say(stream, STREAM_BEAT);
        due_ms = (stream->state == STREAM_IDLE ? stream->wrote_ms : now_ms) + stream->heartbeat_ms;
        if (due_ms < next_ms)
            next_ms = due_ms;
    }
    host->beat_due_ms = next_ms;
}

static void beat(struct streams *streams, int64_t now_ms)
{
    struct stream_host *host;

    LIST_FOREACH (host, &streams->hosts, link)
        if (host->beat_due_ms <= now_ms)
            beat_host(host, now_ms);
}

static void log_end(const struct stream *stream, const char *why)
{
    char peer[PEER_TEXT_BYTES];

    log_info("stream %016llx of %s ended: %s; %llu events sent, %lld ms old",
             (unsigned long long)stream->id, peer_text(&stream->peer, peer), why,
             (unsigned long long)stream->events_sent,
             (long long)(clock_mono_ms() - stream->started_ms));
}

/* Slow is no reason to evict: whoever acknowledges anything at all makes progress. */
static void check_progress(struct stream *stream, int64_t now_ms, int64_t stall_timeout_ms)
{
    int64_t acknowledged = 0;

    if (now_ms - stream->read_ms < STALL_LOOK_AFTER_MS)
        return;
    if (stream->page != NULL && now_ms - stream->read_ms >= PAGE_UNREAD_MAX_MS) {
        stats_add(stream->host->streams->stats, STATS_PAGES_DROPPED, 1);
        stream_drop_page(stream);
    }
    if (peer_acknowledged(stream->fd, &acknowledged) == 0 && acknowledged != stream->acknowledged) {
        stream->acknowledged = acknowledged;
        stream->progress_ms = now_ms;
        return;
    }
    if (now_ms - stream->progress_ms < stall_timeout_ms)
        return;
    log_end(stream, "it acknowledged nothing for stream.stall_timeout");
    stream_end(stream, STREAM_END_STALLED);
}

static void check_busy(struct streams *streams, int64_t now_ms)
{
    int64_t stall_timeout_ms = (int64_t)worker_conf(streams->worker)->stream.stall_timeout_ms;
    struct stream *stream = TAILQ_FIRST(&streams->busy);

    while (stream != NULL) {
        struct stream *next = TAILQ_NEXT(stream, in_busy);

        check_progress(stream, now_ms, stall_timeout_ms);
        stream = next;
    }
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
    int64_t elapsed_ms = now_ms - streams->drain_began_ms + 250;
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

void streams_tick(struct streams *streams, int64_t now_ms)
{
    if (streams->draining) {
        drain_part(streams, now_ms);
    } else {
        beat(streams, now_ms);
    }
    check_busy(streams, now_ms);
    stats_set(streams->stats, STATS_RING_EVENTS,
              (int64_t)(ring_head(streams->ring) - ring_tail(streams->ring)));
    stats_set(streams->stats, STATS_RING_BYTES, (int64_t)ring_bytes(streams->ring));
}
