/* SPDX-License-Identifier: MIT */
/*
 * What a stream's client is sent next, the frames of the gateway itself among it.  See stream.h.
 *
 * A host pulls again as soon as a chunk is out, so a delivery is two pulls: one that returns bytes
 * and one that finds nothing more and suspends.  Returning 0 without suspending would spin.
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stream/stream_internal.h"

/* Slots of the ring looked at in one call, so that a stream which wants few of many events does
 * not hold up the others; fewer where its patterns take long to compare. */
#define SLOTS_A_CALL 512
#define SLOTS_NS_MAX INT64_C(1000000)
#define SLOTS_CLOCK_EVERY 16
/* What comparing them may take of a turn of the loop for all streams together: see filter_steps().
 */
#define LOOKS_A_TURN 100000
/* And so many slots ahead that one call counts them, whether it has room for their events or not.
 */
#define LOOKS_A_CALL 64
/* Patterns of so many segments are what is usual, and bounded by the clock: no stream waits because
 * of others that ask for more. */
#define LOOKS_WEIGHT_FREE 16
#define PADDING_BYTES 2048
#define RESET_DATA_BYTES (64 + 2 * SSE_ID_BYTES)
#define EXPIRED_DATA_BYTES 32
/* When to come back to what cannot be had now. */
#define AWAY_MIN_MS 30000
#define AWAY_MAX_MS 60000
/* How often a client is told its place while what it passes over has nothing for it. */
#define CHECKPOINT_SEEKING_MS 1000

/* ---- frames of the gateway's own ---- */

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
    if (stream->padding) {
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

static struct message *make_farewell(const struct stream *stream)
{
    char text[STREAM_AWAY_BYTES];
    int n = stream->end == STREAM_END_FAILED
                ? snprintf(text, sizeof(text), STREAM_AWAY_FORMAT, stream_away_ms())
                : snprintf(text, sizeof(text), "retry: %u\n", jittered_retry_ms(stream));

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
        stream->told_ms = stream->read_ms;
    }
    return message_new_control(text, n);
}

/* Its reasons are the words of the ends (stream_end_text()). */
static struct message *make_expired(struct stream *stream)
{
    char data[EXPIRED_DATA_BYTES];

    snprintf(data, sizeof(data), "{\"reason\":\"%s\"}", stream_end_text(stream->end));
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

static struct message *make_beat(struct stream *stream)
{
    if (stream->ping_event)
        return make_event(stream, "ping", "", false, 0);
    return message_ref(stream->host->streams->beat);
}

/* Whether the client is to know that its login is over, and not only its connection.  One that
 * began without a credential has none that could end. */
static bool tells_expired(const struct stream *stream)
{
    return stream->grant.identity != NULL &&
           (stream->end == STREAM_END_DELETED || stream->end == STREAM_END_TOKEN ||
            stream->end == STREAM_END_KEY);
}

static enum stream_pending first_pending(const struct stream *stream)
{
    return (enum stream_pending)(stream->pending & -stream->pending);
}

static struct message *make_control(struct stream *stream, enum stream_pending what)
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
    case STREAM_BEAT:
        stats_add(stats, STATS_HEARTBEATS, 1);
        return make_beat(stream);
    case STREAM_FAREWELL:
        return tells_expired(stream) ? make_expired(stream) : make_farewell(stream);
    }
    assert(!"one pending bit");
    return NULL;
}

/* ---- copying ---- */

/* Nothing is left of the frame under way. */
void stream_frame_is_out(struct stream *stream)
{
    message_unref(stream->partial);
    stream->partial = NULL;
    stream->partial_offset = 0;
    stream->sends_frame = false;
}

/* Send what is left of the frame under way. */
static size_t copy_partial(struct stream *stream, char *to, size_t room)
{
    struct message *partial = stream->partial;
    size_t left = partial->frame_n - stream->partial_offset;
    size_t n = left < room ? left : room;

    memcpy(to, partial->frame + stream->partial_offset, n);
    stream->partial_offset += (uint32_t)n;
    if (n == left)
        stream_frame_is_out(stream);
    return n;
}

/* A frame larger than the room: one that sends by itself does so from where it stands. */
static size_t begin_partial(struct stream *stream, struct message *message, char *to, size_t room)
{
    stream->partial = message_ref(message);
    stream->partial_offset = 0;
    stream->sends_frame =
        stream->sends_chunks && stream->suspended && stream->state != STREAM_CLOSING;
    return stream->sends_frame ? 0 : copy_partial(stream, to, room);
}

/* Take a frame that is whole in the room, or the only one in it.  Returns whether it is taken; if
 * not it has to wait for the next chunk.  `*n` bytes are in `to` already, of `room`. */
static bool take_frame(struct stream *stream, struct message *message, char *to, size_t room,
                       size_t *n)
{
    if (message->frame_n > room - *n && *n > 0)
        return false;
    if (message->kind != MESSAGE_CONTROL) {
        stream->events_sent++;
        stats_add(stream->host->streams->stats, STATS_EVENTS_DELIVERED, 1);
    }
    if (message->id_offset != UINT32_MAX) {
        stream->last_id_sent = message->position;
        stream->told_ms = stream->read_ms;
    }
    if (message->frame_n <= room - *n) {
        memcpy(to + *n, message->frame, message->frame_n);
        *n += message->frame_n;
    } else {
        *n = begin_partial(stream, message, to, room);
    }
    return true;
}

static size_t take_control(struct stream *stream, char *to, size_t room)
{
    size_t n = 0;

    while (stream->pending != 0 && stream->partial == NULL && n < room) {
        enum stream_pending what = first_pending(stream);
        struct message *control = make_control(stream, what);

        if (control == NULL) {
            stream_end(stream, STREAM_END_FAILED);
            return n;
        }
        stream->pending &= (uint8_t)~what;
        stream->partial = control;
        n += copy_partial(stream, to + n, room - n);
    }
    return n;
}

static void pass(struct stream *stream, const struct message *message)
{
    if (message->position > stream->position)
        stream->position = message->position;
}

static size_t take_page(struct stream *stream, char *to, size_t room)
{
    struct history_page *page = stream->page;
    size_t n = 0;

    while (stream->page_index < page->events_n && stream->partial == NULL) {
        struct message *message = page->events[stream->page_index];

        if (!take_frame(stream, message, to, room, &n))
            return n;
        pass(stream, message);
        stream->page_index++;
    }
    if (stream->page_index == page->events_n) {
        if (page->upto > stream->position)
            stream->position = page->upto;
        if (page->damaged)
            stream_reset(stream, STREAM_RESET_DAMAGED, stream->position);
        stream_drop_page(stream);
    }
    return n;
}

/* What came before the stream did is replay, though the ring still has it: then ephemeral events
 * are over, and so are those past their ttl. */
static bool is_over(const struct stream *stream, const struct message *message)
{
    if (stream->cursor >= stream->live_from)
        return false;
    return message->kind == MESSAGE_EPHEMERAL ||
           (message->ttl_ms > 0 && message_expired(message, clock_wall_ms()));
}

/* Up to which slot this turn may still compare the many patterns of a stream with the events: those
 * that asked for much must not hold up the loop together. */
static uint64_t may_look_up_to(const struct stream *stream, uint64_t head)
{
    const struct filter *filter = stream->listener.filter;
    struct streams *streams = stream->host->streams;
    uint64_t end = stream->cursor, turn;

    if (head - end <= 1 || filter->weight <= LOOKS_WEIGHT_FREE)
        return head;
    turn = worker_turns(streams->worker);
    if (streams->looks_turn != turn)
        streams->looks_left = LOOKS_A_TURN;
    streams->looks_turn = turn;
    head = head - end < LOOKS_A_CALL ? head : end + LOOKS_A_CALL;
    while (end < head && streams->looks_left > 0) {
        size_t steps = filter_steps(filter, ring_at(streams->ring, end++));

        streams->looks_left -= steps < streams->looks_left ? steps : streams->looks_left;
    }
    return end;
}

static bool wants(const struct stream *stream, const struct message *message)
{
    if (message->kind == MESSAGE_STORED && message->position <= stream->position)
        return false;
    if (stream->cursor == stream->woken_by)
        return true;
    return filter_accepts(stream->listener.filter, message) && !is_over(stream, message);
}

/* Looks at the clock now and then, and only if there is an end to keep to. */
static bool is_late(const struct stream *stream, int64_t until_ns)
{
    return until_ns < INT64_MAX && stream->cursor % SLOTS_CLOCK_EVERY == 0 &&
           clock_mono_ns() >= until_ns;
}

static size_t take_ring(struct stream *stream, char *to, size_t room)
{
    struct ring *ring = stream->host->streams->ring;
    uint64_t head = ring_head(ring);
    int64_t until_ns = INT64_MAX;
    size_t n = 0;

    if (head - stream->cursor > SLOTS_CLOCK_EVERY)
        until_ns = clock_mono_ns() + SLOTS_NS_MAX;
    if (head - stream->cursor > SLOTS_A_CALL)
        head = stream->cursor + SLOTS_A_CALL;
    head = may_look_up_to(stream, head);
    for (; stream->cursor < head && stream->partial == NULL && !is_late(stream, until_ns);
         stream->cursor++) {
        struct message *message = ring_at(ring, stream->cursor);

        if (wants(stream, message) && !take_frame(stream, message, to, room, &n))
            break;
        pass(stream, message);
    }
    return n;
}

/* Find the stream's place in the ring, or lose it. */
static void find_cursor(struct stream *stream)
{
    struct ring *ring = stream->host->streams->ring;

    if (stream->cursor != STREAM_CURSOR_NONE && stream->cursor < ring_tail(ring))
        stream->cursor = STREAM_CURSOR_NONE;
    if (stream->cursor != STREAM_CURSOR_NONE || stream->since_ms >= 0 ||
        stream->position < ring_tail_position(ring))
        return;
    /* ephemeral events have the position of the stored one before them: begin before those */
    stream->cursor = stream->position > 0 ? ring_seek(ring, stream->position - 1) : ring_tail(ring);
}

/* Everything there is to say now, as far as there is room. */
static size_t fill(struct stream *stream, char *to, size_t room)
{
    size_t n = 0;

    if (stream->partial != NULL)
        n += copy_partial(stream, to, room);
    if (stream->pending != 0 && n < room)
        n += take_control(stream, to + n, room - n);
    if (stream->partial != NULL || n == room)
        return n;
    if (stream->page != NULL)
        n += take_page(stream, to + n, room - n);
    if (stream->partial != NULL || stream->page != NULL || n == room)
        return n;
    /* a page that ended at damage: told before what comes after */
    if (stream->pending != 0)
        n += take_control(stream, to + n, room - n);
    if (stream->partial != NULL || n == room)
        return n;
    find_cursor(stream);
    if (stream->cursor != STREAM_CURSOR_NONE)
        n += take_ring(stream, to + n, room - n);
    return n;
}

/* ---- resting ---- */

static void suspend(struct stream *stream, enum stream_state state)
{
    if (!stream->suspended)
        stream->host->ops->suspend(stream->connection);
    stream->suspended = true;
    stream_move(stream, state);
}

/* Whether the ring has something the stream has not looked at; a call looks at so much only. */
static bool has_more(const struct stream *stream)
{
    return stream->cursor != STREAM_CURSOR_NONE &&
           stream->cursor < ring_head(stream->host->streams->ring);
}

static ssize_t read_closing(struct stream *stream, char *buf, size_t max);

/* Nothing to send: wait for what the stream needs next. */
static ssize_t rest(struct stream *stream, char *buf, size_t max)
{
    struct streams *streams = stream->host->streams;

    if (stream->cursor == STREAM_CURSOR_NONE) {
        if (streams_ask_page(streams, stream) != 0) {
            stream_end(stream, STREAM_END_FAILED);
            return read_closing(stream, buf, max);
        }
        suspend(stream, STREAM_PAGING);
        return 0;
    }
    if (has_more(stream)) {
        stream->prio = stream->is_behind ? PRIO_REPLAY : PRIO_BROADCAST;
        suspend(stream, STREAM_READY);
        return 0;
    }
    suspend(stream, STREAM_IDLE);
    return 0;
}

/* Whether a heartbeat is all that goes out in this call. */
static bool beats_only(const struct stream *stream)
{
    return stream->pending == STREAM_BEAT && stream->partial == NULL && stream->page == NULL &&
           stream->cursor != STREAM_CURSOR_NONE && !has_more(stream);
}

static ssize_t account(struct stream *stream, size_t n, bool beats)
{
    struct stats *stats = stream->host->streams->stats;

    stream_note_chunk(stream);
    stream->wrote_ms = stream->read_ms;
    if (beats)
        stall_timer_add_heartbeat(stream, stream->read_ms);
    else
        stall_timer_add(stream, stream->read_ms);
    stream->bytes_sent += n;
    stats_add(stats, STATS_BYTES_DELIVERED, (int64_t)n);
    stats_add(stats, STATS_SENDS, 1);
    return (ssize_t)n;
}

/* An orderly end: what is committed and at hand goes out, then the farewell, and nothing after. One
 * that seeks through the past for longer than a call may take comes back for the rest. */
static size_t fill_last(struct stream *stream, char *to, size_t room)
{
    size_t n = 0;

    if (!stream->said_farewell) {
        int64_t until_ns = clock_mono_ns() + SLOTS_NS_MAX;
        uint64_t began;

        do {
            began = stream->cursor;
            n = fill(stream, to, room);
        } while (n == 0 && has_more(stream) && stream->cursor != began &&
                 clock_mono_ns() < until_ns);
        if (n > 0)
            return n;
        stream->said_farewell = true;
        stream->pending |= STREAM_FAREWELL;
    }
    return stream->partial != NULL ? copy_partial(stream, to, room)
                                   : take_control(stream, to, room);
}

/* The rest of a frame, and if there is something to say about the end, that. */
static size_t say_last(struct stream *stream, char *to, size_t room, bool says_farewell)
{
    if (says_farewell && !stream->said_farewell) {
        stream->said_farewell = true;
        stream->pending |= STREAM_FAREWELL;
    }
    return stream->partial != NULL ? copy_partial(stream, to, room)
                                   : take_control(stream, to, room);
}

/* One that is suspended is resumed, and pulled from once more: the host hears it then. */
static ssize_t over(struct stream *stream, ssize_t how)
{
    if (!stream->suspended)
        stream->host->ops->close_soon(stream->host, stream->connection);
    return how;
}

/* The last calls.  Whatever the reason, a frame that is part sent goes out whole if it can. */
static ssize_t read_closing(struct stream *stream, char *buf, size_t max)
{
    size_t n = 0;

    switch (stream->end) {
    case STREAM_END_NONE:
    case STREAM_END_LEFT:
    case STREAM_END_STALLED:
    case STREAM_END_MEMORY:
    case STREAM_END_VANISHED:
        return over(stream, STREAM_PULL_ABORT);
    case STREAM_END_FAILED:
        n = say_last(stream, buf, max, true);
        return n > 0 ? account(stream, n, false) : over(stream, STREAM_PULL_ABORT);
    case STREAM_END_DRAINED:
        n = fill_last(stream, buf, max);
        /* the host pulls what follows only when it is run once more, and the end must not wait for
         * its next event */
        if (n > 0 && stream->said_farewell)
            stream_host_want_run(stream->host);
        return n > 0 ? account(stream, n, false) : over(stream, STREAM_PULL_ABORT);
    case STREAM_END_DELETED:
    case STREAM_END_REPLACED:
    case STREAM_END_TOKEN:
    case STREAM_END_KEY:
        n = say_last(stream, buf, max, tells_expired(stream));
        if (n > 0)
            stream_host_want_run(stream->host); /* as above */
        return n > 0 ? account(stream, n, false) : over(stream, STREAM_PULL_END);
    }
    return over(stream, STREAM_PULL_ABORT);
}

/* With nothing to send: whoever leaves before the first event of theirs must be able to come back
 * to here, and one that has much to pass over must not begin again with every connection. */
static bool needs_place(const struct stream *stream)
{
    if (stream->state != STREAM_DRAINING)
        return false;
    bool is_paging = stream->cursor == STREAM_CURSOR_NONE;
    if (!is_paging && stream->last_id_sent == UINT64_MAX)
        return true;
    return (is_paging ? stream->since_ms < 0 : has_more(stream)) &&
           stream->position != stream->last_id_sent &&
           stream->read_ms - stream->told_ms >= CHECKPOINT_SEEKING_MS;
}

/* What a stream says at first goes in one chunk with its place, unless events come first. */
static bool is_beginning(const struct stream *stream)
{
    return stream->last_id_sent == UINT64_MAX && stream->events_sent == 0 &&
           stream->partial == NULL && stream->page == NULL &&
           stream->cursor != STREAM_CURSOR_NONE && !has_more(stream);
}

bool stream_has_said_all(const struct stream *stream)
{
    return stream->state == STREAM_DRAINING && stream->pending == 0 && stream->partial == NULL &&
           stream->page == NULL && stream->cursor == ring_head(stream->host->streams->ring) &&
           stream->last_id_sent != UINT64_MAX;
}

ssize_t stream_next(struct stream *stream, char *buf, size_t max)
{
    stream->read_ms = worker_now_ms(stream->host->streams->worker);
    if (stream->state == STREAM_CLOSING)
        return read_closing(stream, buf, max);
    bool beats = beats_only(stream);
    size_t n = fill(stream, buf, max);
    if ((n == 0 || is_beginning(stream)) && !stream->sends_frame && needs_place(stream)) {
        stream->pending |= STREAM_CHECKPOINT;
        n += take_control(stream, buf + n, max - n);
    }
    size_t frame_n = stream->sends_frame ? stream->partial->frame_n : 0;
    if (n + frame_n > 0) {
        account(stream, n + frame_n, beats);
        return (ssize_t)n;
    }
    if (stream->state == STREAM_CLOSING)
        return read_closing(stream, buf, max);
    return rest(stream, buf, max);
}

ssize_t stream_pull(struct stream *stream, char *buf, size_t max)
{
    if (stream->suspended || stream->rest_n > 0)
        return STREAM_PULL_ABORT; /* a host that pulls where it must not */
    if (buf != stream->room || max != stream->room_bytes)
        stream_note_room(stream, buf, max);
    stream->has_pages = true;
    ssize_t n = stream_next(stream, buf, max);
    if (stream->state == STREAM_IDLE)
        stream_give_pages_back(stream);
    return n;
}
