/* SPDX-License-Identifier: MIT */
/* The life of a stream: opening, its states, its ends.  See stream.h; what it
 * sends is in stream_fill.c. */
#include "config.h"
#include "stream/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stream/stream_internal.h"

/* Live streams that are served in one go.  With fewer the library, where it sends, would walk its
 * list of suspended connections too often. */
#define PIECE_MAX 32

/* ---- states ---- */

static bool is_legal_move(enum stream_state from, enum stream_state to)
{
    switch (from) {
    case STREAM_IDLE:
        return to == STREAM_READY || to == STREAM_CLOSING;
    case STREAM_READY:
        return to == STREAM_DRAINING || to == STREAM_CLOSING;
    case STREAM_DRAINING:
        return to != STREAM_DRAINING;
    case STREAM_PAGING:
        return to == STREAM_READY || to == STREAM_CLOSING;
    case STREAM_CLOSING:
        return false;
    }
    return false;
}

static struct ready_queue *ready_queue(struct stream *stream)
{
    return &stream->host->ready[stream->prio - PRIO_TARGETED];
}

void stream_leave_ready(struct stream *stream)
{
    if (!stream->in_ready)
        return;
    ready_queue_remove(ready_queue(stream), stream);
    stream->in_ready = false;
}

static void enter_ready(struct stream *stream)
{
    ready_queue_push(ready_queue(stream), stream);
    stream->in_ready = true;
    stream->host->wake(stream->host, stream->prio);
}

void stream_move(struct stream *stream, enum stream_state to)
{
    assert(is_legal_move(stream->state, to));
    stream_leave_ready(stream);
    if (stream->state == STREAM_PAGING)
        replay_pages_stop_waiting(stream->host->streams, stream);
    stream->state = to;
    if (to == STREAM_IDLE)
        stream_set_behind(stream, false);
    /* a suspended stream that has something to do is to be resumed, once a chunk of its own is out
     */
    if (to == STREAM_READY || (to == STREAM_CLOSING && stream->suspended && stream->unsent_n == 0))
        enter_ready(stream);
}

void stream_set_behind(struct stream *stream, bool is_behind)
{
    if (stream->is_behind == is_behind)
        return;
    stream->is_behind = is_behind;
    if (is_behind)
        stream->host->behind_n++;
    else
        stream->host->behind_n--;
}

void stream_host_want_run(struct stream_host *host)
{
    host->wants_run = true;
    host->wake(host, PRIO_BROADCAST);
}

static void make_ready(struct stream *stream, enum worker_prio prio)
{
    stream->prio = prio;
    stream_move(stream, STREAM_READY);
}

void stream_continue(struct stream *stream)
{
    stream->prio = stream->is_behind ? PRIO_REPLAY : PRIO_BROADCAST;
    if (stream->state == STREAM_CLOSING)
        enter_ready(stream);
    else
        stream_move(stream, STREAM_READY);
}

/* An idle stream has passed everything in the ring: set its place before it does anything else. */
static void catch_up(struct stream *stream)
{
    struct ring *ring = stream->host->streams->ring;

    stream->position = stream_passed(stream);
    stream->cursor = ring_head(ring);
}

uint64_t stream_passed(const struct stream *stream)
{
    uint64_t head = ring_head_position(stream->host->streams->ring);
    bool caught_up =
        stream->state == STREAM_IDLE || stream->cursor == ring_head(stream->host->streams->ring);

    return caught_up && head > stream->position ? head : stream->position;
}

void stream_add_control(struct stream *stream, enum stream_pending what)
{
    stream->pending |= (uint8_t)what;
    if (stream->state != STREAM_IDLE)
        return;
    catch_up(stream);
    make_ready(stream, PRIO_BROADCAST);
}

/* A private event must not wait behind the broadcast that woke the stream first; where it waits
 * behind the stream's own past, there is nothing to be gained. */
static void promote(struct stream *stream)
{
    if (stream->prio != PRIO_BROADCAST)
        return;
    stream_leave_ready(stream);
    stream->prio = PRIO_TARGETED;
    enter_ready(stream);
}

void stream_offer(struct stream *stream, uint64_t sequence, const struct message *message,
                  enum worker_prio prio)
{
    uint64_t before = message->kind == MESSAGE_STORED ? message->position - 1 : message->position;

    if (stream->state == STREAM_READY && prio == PRIO_TARGETED)
        promote(stream);
    if (stream->state != STREAM_IDLE)
        return;
    if (message->kind == MESSAGE_STORED ? message->position <= stream->position
                                        : message->position < stream->position)
        return;
    stream->cursor = stream->woken_by = sequence;
    if (before > stream->position)
        stream->position = before;
    make_ready(stream, prio);
}

/* ---- pages ---- */

void stream_reset(struct stream *stream, enum stream_reset reason, uint64_t position)
{
    stream->reset_reason = (uint8_t)reason;
    stream->position = position;
    stream->pending |= STREAM_RESET;
}

/* One that was asked for with another filter than the stream has by now is asked for again. */
static void take_asked_page(struct stream *stream, struct page_reader_request *request)
{
    if (request->page != NULL && request->filter != stream->listener.filter) {
        replay_pages_returned(stream->host->streams);
        return;
    }
    stream->page = request->page;
    stream->page_index = 0;
    request->page = NULL;
}

void stream_begin_search(struct stream *stream)
{
    stream->last_left_n = stream->last_n;
    stream->last_before = UINT64_MAX;
}

/* Of a search for the latest events.  Returns whether it is to go on, with another request. */
static bool search_goes_on(struct stream *stream, const struct page_reader_request *request)
{
    if (stream->last_n == 0 || request->result != 0)
        return false;
    if (request->filter != stream->listener.filter) {
        stream_begin_search(stream);
        if (request->page != NULL)
            replay_pages_returned(stream->host->streams);
        return true;
    }
    stream->last_left_n = (uint16_t)request->left_n;
    stream->last_before = request->before;
    return request->left_n > 0;
}

void stream_page_done(struct stream *stream, struct page_reader_request *request)
{
    bool is_void = stream->page_is_void;

    stream->page_asked = stream->page_is_void = false;
    if (stream->state != STREAM_PAGING || request->page == NULL || is_void)
        replay_pages_returned(stream->host->streams);
    if (stream->state != STREAM_PAGING) {
        page_reader_request_free(request);
        return;
    }
    if (is_void) /* asked for anew */
        stream_begin_search(stream);
    if (is_void || search_goes_on(stream, request)) {
        page_reader_request_free(request);
        make_ready(stream, PRIO_REPLAY);
        return;
    }
    if (request->result == -ESTALE) {
        /* one that began at the oldest event, or a time, had no place there to lose */
        if (stream->last_id_sent == UINT64_MAX && stream->begins_anywhere)
            stream->position = request->bounds.trimmed;
        else
            stream_reset(stream, STREAM_RESET_EXPIRED, request->bounds.trimmed);
    } else if (request->result != 0) {
        stream_end(stream, STREAM_END_FAILED);
        page_reader_request_free(request);
        return;
    } else {
        if (stream->since_ms >= 0)
            stream->position = request->after;
        take_asked_page(stream, request);
    }
    stream->since_ms = -1;
    stream->last_n = 0;
    page_reader_request_free(request);
    make_ready(stream, PRIO_REPLAY);
}

void stream_drop_page(struct stream *stream)
{
    if (stream->page == NULL)
        return;
    history_page_free(stream->page);
    stream->page = NULL;
    replay_pages_returned(stream->host->streams);
}

/* ---- opening ---- */

static void start_from_id(struct stream *stream, const struct stream_start *start)
{
    struct stream_place place;

    stream_find_place(stream->host->streams->hub, start->id, start->id_n, NULL, &place);
    if (place.is_open) {
        if (stream_await_begin(stream, start->id, start->id_n) != 0)
            stream_end(stream, STREAM_END_FAILED);
    } else if (place.reset != STREAM_RESET_NONE) {
        stream_reset(stream, place.reset, place.position);
    } else {
        stream->position = stream->last_id_sent = place.position;
    }
}

static void find_start(struct stream *stream, const struct stream_start *start)
{
    struct hub *hub = stream->host->streams->hub;
    struct history_bounds bounds;

    stream->begins_anywhere = start->from == STREAM_FROM_EARLIEST ||
                              start->from == STREAM_FROM_TIME || start->from == STREAM_FROM_LAST;
    switch (start->from) {
    case STREAM_FROM_LATEST:
        stream->position = hub_committed(hub);
        break;
    case STREAM_FROM_EARLIEST:
        history_bounds(hub_history(hub), &bounds);
        stream->position = bounds.trimmed;
        break;
    case STREAM_FROM_TIME:
        stream->since_ms = start->since_ms;
        break;
    case STREAM_FROM_LAST:
        stream->since_ms = 0; /* not known yet */
        stream->last_n = (uint16_t)start->last_n;
        stream_begin_search(stream);
        break;
    case STREAM_FROM_ID:
        start_from_id(stream, start);
        break;
    }
}

static struct stream *stream_allocate(struct stream_host *host, const struct stream_ask *ask)
{
    struct stream *stream = aligned_alloc(alignof(struct stream), sizeof(*stream));

    if (stream == NULL)
        return NULL;
    memset(stream, 0, sizeof(*stream));
    stream->host = host;
    stream->state = STREAM_DRAINING; /* pulled from once the head is out */
    stream->prio = PRIO_BROADCAST;
    stream->cursor = stream->woken_by = STREAM_CURSOR_NONE;
    stream->live_from = ring_head(host->streams->ring);
    stream->last_id_sent = UINT64_MAX;
    stream->since_ms = -1;
    stream->options = ask->options;
    stream->in_envelope = ask->options.envelope;
    stream->http_1_0 = ask->http_1_0;
    stream->pending = STREAM_PRELUDE;
    stream->heartbeat_ms = (uint32_t)ask->heartbeat_ms;
    stream->gives_pages = true;
    /* without chunks there is no room in the pool that would show where it ends */
    if (!ask->http_1_0 || ask->pool_bytes > 0) {
        stream->pool = ask->pool;
        stream->pool_bytes = (uint32_t)ask->pool_bytes;
    }
    stream->peer = ask->peer;
    stream->grant = ask->grant;
    memcpy(stream->owners, ask->owners, sizeof(ask->owners));
    identity_ref(stream->grant.identity);
    conf_ref(stream->grant.conf);
    stream->started_ms = stream->filled_ms = stream->sent_ms = stream->id_sent_ms = clock_mono_ms();
    return stream;
}

const char *stream_get_epoch(const struct stream *stream)
{
    return stream->host->streams->lineage->epoch;
}

enum stream_end stream_get_end(const struct stream *stream)
{
    return stream->end;
}

/* For one more stream. */
static int make_room(struct stream_host *host)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < sizeof(host->ready) / sizeof(host->ready[0]); i++)
        result = ready_queue_make_room(&host->ready[i], host->streams_n + 1);
    return result;
}

static void join_host(struct stream_host *host, struct stream *stream)
{
    struct streams *streams = host->streams;
    struct stream_host_due *due = stream_host_due(host);

    TAILQ_INSERT_TAIL(&host->all, stream, in_host);
    host->streams_n++;
    if (stream->grant.identity != NULL)
        due->token_ms = clock_earlier(due->token_ms, stream->grant.identity->until_ms);
    due->heartbeat_ms = clock_earlier(due->heartbeat_ms, stream->sent_ms + stream->heartbeat_ms);
    due->last_id_sent = UINT64_MAX;
    stall_timer_add(&streams->stall_timer, &stream->stall, stream->heartbeat_ms,
                    stream->started_ms);
    stats_add(streams->stats, STATS_STREAMS_OPENED, 1);
    stats_add(streams->stats, STATS_STREAMS_OPEN, 1);
}

int stream_open(struct stream_host *host, void *connection, int fd, const struct stream_ask *ask,
                struct stream **ret_stream)
{
    struct streams *streams = host->streams;
    struct stream *stream = stream_allocate(host, ask);
    int result;

    if (stream == NULL)
        return -ENOMEM;
    stream->connection = connection;
    stream->fd = fd;
    stream->is_watched = peer_watch_add(&streams->peer_watch, fd, stream, host->wire->watches);
    stream->answers_itself = stream_may_answer_itself(stream);
    result = make_room(host);
    if (result == 0 && !stream->is_watched && host->wire->watches != 0)
        result = -ENOMEM; /* nothing would be heard of it */
    if (result != 0)
        goto fail;
    result = stream_enter_index(stream, ask->filter);
    if (result != 0)
        goto fail;
    result = streams_enter(streams, stream);
    if (result != 0) {
        stream_leave_index(stream);
        goto fail;
    }
    join_host(host, stream);
    find_start(stream, &ask->start);
    stream_set_behind(stream, ask->start.from != STREAM_FROM_LATEST);
    if (streams->draining)
        stream_end(stream, streams->drain_end);
    *ret_stream = stream;
    return 0;
fail:
    peer_watch_remove(&streams->peer_watch, stream->fd);
    identity_unref(stream->grant.identity);
    conf_unref(stream->grant.conf);
    free(stream);
    return result;
}

/* ---- ending ---- */

/* Reset the connection.  What the socket has not taken is not waited for. */
static void cut_connection(struct stream *stream)
{
    bool waits = stream->unsent_n > 0;

    if (!stream->is_gone)
        peer_abort(stream->fd);
    stream_drop_unsent(stream);
    if (waits && stream->state == STREAM_CLOSING)
        stream_continue(stream);
}

void stream_end(struct stream *stream, enum stream_end end)
{
    if (stream->end != STREAM_END_NONE) {
        /* an orderly end that finds no reader becomes a cut; the cut itself is an edge too */
        if (stream_ends[end].cuts && !stream_ends[stream->end].cuts)
            cut_connection(stream);
        return;
    }
    if (stream_ends[end].is_eviction) {
        struct stream_facts facts;

        stream_get_facts(stream, clock_mono_ms(), &facts);
        eviction_log_add(stream->host->streams->eviction_log, &facts, end);
    }
    stream->end = end;
    if (stream_ends[end].cuts)
        cut_connection(stream);
    /* unsaid heartbeats and checkpoints are of no use any more */
    stream->pending &= STREAM_OUTLIVES_END;
    if (stream->state == STREAM_IDLE)
        catch_up(stream);
    stream->prio = stream->in_ready ? stream->prio : PRIO_BROADCAST;
    stream_move(stream, STREAM_CLOSING);
    /* one that is not suspended may be waiting for room that never comes: have its host look */
    stream_host_want_run(stream->host);
}

void stream_closed(struct stream *stream)
{
    struct streams *streams = stream->host->streams;
    struct memory_budget *memory = streams->context->memory;

    peer_watch_remove(&streams->peer_watch, stream->fd);
    stream_leave_ready(stream);
    if (stream->answers_itself)
        free(stream->room);
    stall_timer_remove(&stream->stall);
    TAILQ_REMOVE(&stream->host->all, stream, in_host);
    stream->host->streams_n--;
    streams_leave(streams, stream);
    stats_add(streams->stats, stream_ends[stream->end].counter, 1);
    stats_add(streams->stats, STATS_STREAMS_OPEN, -1);
    stream_leave_index(stream);
    message_unref(stream->partial);
    memory_budget_promise(memory, -(int64_t)stream->promised);
    stream_await_end(stream);
    stream_set_behind(stream, false);
    replay_pages_stop_waiting(streams, stream);
    stream_drop_page(stream);
    identity_unref(stream->grant.identity);
    conf_unref(stream->grant.conf);
    free(stream);
}

bool stream_answers_itself(const struct stream *stream)
{
    return stream->answers_itself;
}

void stream_set_reader(struct stream *stream, void *reader)
{
    stream->reader = reader;
}

void *stream_reader(const struct stream *stream)
{
    return stream->reader;
}

static void prefetch_lines(const void *from, size_t bytes)
{
    for (size_t offset = 0; offset < bytes; offset += STREAM_LINE_BYTES)
        __builtin_prefetch((const char *)from + offset);
}

/* What a delivery touches lies scattered, and other streams have driven it out of the caches. Asked
 * for at once for all of a piece it comes side by side; else each line is waited for by itself,
 * which took longer than all our own work. */
static void prefetch_ready(const struct stream_host *host, enum worker_prio prio, size_t max)
{
    const struct ready_queue *ready = &host->ready[prio - PRIO_TARGETED];
    uint32_t n = ready->n < max ? ready->n : (uint32_t)max;

    for (uint32_t i = 0; i < n; i++)
        prefetch_lines((const char *)ready_queue_at(ready, i) + STREAM_HOT_BEGIN,
                       STREAM_HOT_END - STREAM_HOT_BEGIN);
}

void stream_resume(struct stream *stream)
{
    if (stream->state == STREAM_READY)
        stream_move(stream, STREAM_DRAINING);
    else
        stream_leave_ready(stream);
    stream->suspended = false;
    stream->host->wants_run = true;
    stream->host->ops->resume(stream->connection);
}

bool stream_host_resume(struct stream_host *host, enum worker_prio prio, size_t max)
{
    struct ready_queue *ready = &host->ready[prio - PRIO_TARGETED];

    prefetch_ready(host, prio, max);
    while (max-- > 0 && ready->n > 0) {
        struct stream *stream = ready_queue_at(ready, 0);

        assert(stream->suspended);
        if (stream_sends_itself(stream))
            stream_direct_send(stream);
        else
            stream_resume(stream);
    }
    return ready->n > 0;
}

bool stream_host_resume_piece(struct stream_host *host, enum worker_prio prio)
{
    size_t *left = &host->flush_left[prio - PRIO_TARGETED];

    if (*left == 0)
        *left = host->ready[prio - PRIO_TARGETED].n;
    size_t piece = *left < PIECE_MAX ? *left : PIECE_MAX;
    bool more = stream_host_resume(host, prio, piece);

    *left = more ? *left - piece : 0;
    if (*left == 0 && more)
        host->wake(host, prio);
    return *left > 0;
}

/* ---- facts ---- */

const char *stream_state_text(enum stream_state state)
{
    static const char *const texts[] = {
        [STREAM_IDLE] = "idle",     [STREAM_READY] = "ready",     [STREAM_DRAINING] = "draining",
        [STREAM_PAGING] = "paging", [STREAM_CLOSING] = "closing",
    };

    return texts[state];
}

void stream_get_facts(const struct stream *stream, int64_t now_ms, struct stream_facts *ret_facts)
{
    struct streams *streams = stream->host->streams;
    bool in_ring = stream->state != STREAM_IDLE && stream->cursor != STREAM_CURSOR_NONE;
    struct tcp_progress flow = {0};

    tcp_progress(stream->fd, &flow);
    *ret_facts = (struct stream_facts){
        .id = stream->id,
        .peer = stream->peer,
        .filter = stream->listener.filter,
        .state = stream->state,
        .transport = stream->host->wire->transport,
        .age_ms = now_ms - stream->started_ms,
        .position = stream_passed(stream),
        .last_id_sent = stream->last_id_sent,
        .unacknowledged_bytes = flow.outstanding,
        .events_sent = stream->events_sent,
        .bytes_sent = stream->bytes_sent,
    };
    uint64_t committed = hub_committed(streams->hub);
    if (stream->awaits_log) {
        uint64_t position = stream_await_position(stream);

        ret_facts->awaits_log = true;
        ret_facts->position = position < committed ? position : committed;
        ret_facts->last_id_sent = UINT64_MAX;
        return;
    }
    if (in_ring && stream->cursor >= ring_tail(streams->ring))
        ret_facts->lag_events = ring_head(streams->ring) - stream->cursor;
    else if (stream->state != STREAM_IDLE && committed > ret_facts->position)
        ret_facts->lag_events = committed - ret_facts->position;
    if (in_ring)
        ret_facts->lag_bytes = ring_frame_bytes_from(streams->ring, stream->cursor);
}
