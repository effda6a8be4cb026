/* SPDX-License-Identifier: MIT */
/*
 * What a stream's client is sent next: which event or frame of the gateway's own, from which
 * offset. See stream_internal.h; its host's wire has
 * their bytes, and stream_direct.c or the host puts around them what the protocol needs.
 *
 * A host pulls again as soon as a chunk is out, so a delivery is two pulls: one that returns bytes
 * and one that finds nothing more and suspends.  Returning 0 without suspending would spin.
 */
#include "config.h"

#include <assert.h>
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
#define COMPARES_A_TURN 100000
/* And so many slots ahead that one call counts them, whether it has room for their events or not.
 */
#define COMPARES_A_CALL 64
/* Patterns of so many segments are what is usual, and bounded by the clock: no stream waits because
 * of others that ask for more. */
#define COMPARES_WEIGHT_FREE 16
/* How often a client is told its place while what it passes over has nothing for it. */
#define CHECKPOINT_SEEKING_MS 1000

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
static size_t copy_tail(struct stream *stream, char *to, size_t room)
{
    struct stream_bytes frame = stream_bytes_of(stream, stream->partial);
    size_t left = frame.n - stream->partial_offset;
    size_t n = left < room ? left : room;

    memcpy(to, frame.at + stream->partial_offset, n);
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
    return stream->sends_frame ? 0 : copy_tail(stream, to, room);
}

/* Take what goes out of a message: it, or what was made of it.  As take_frame(). */
static bool take_bytes(struct stream *stream, const struct message *message, struct message *sent,
                       char *to, size_t room, size_t *n)
{
    struct stream_bytes frame = stream_bytes_of(stream, sent);

    if (frame.at == NULL)
        stream_end(stream, STREAM_END_FAILED);
    if (frame.at == NULL || (frame.n > room - *n && *n > 0))
        return false;
    if (message->kind != MESSAGE_CONTROL) {
        stream->events_sent++;
        stats_add(stream->host->streams->stats, STATS_EVENTS_DELIVERED, 1);
    }
    if (message->id_offset != UINT32_MAX) {
        stream->last_id_sent = message->position;
        stream->id_sent_ms = stream->filled_ms;
    }
    if (frame.n <= room - *n) {
        memcpy(to + *n, frame.at, frame.n);
        *n += frame.n;
    } else {
        *n = begin_partial(stream, sent, to, room);
    }
    return true;
}

static bool take_own(struct stream *stream, struct message *message, char *to, size_t room,
                     size_t *n)
{
    struct message *own = stream_envelope_make(stream, message);

    if (own == NULL) {
        stream_end(stream, STREAM_END_FAILED);
        return false;
    }
    bool is_taken = take_bytes(stream, message, own, to, room, n);
    message_unref(own);
    return is_taken;
}

/* Take a frame that is whole in the room, or the only one in it.  Returns whether it is taken; if
 * not it has to wait for the next chunk.  `*n` bytes are in `to` already, of `room`. */
static bool take_frame(struct stream *stream, struct message *message, char *to, size_t room,
                       size_t *n)
{
    if (stream_envelope_is_own(stream, message))
        return take_own(stream, message, to, room, n);
    return take_bytes(stream, message, message, to, room, n);
}

static size_t take_control(struct stream *stream, char *to, size_t room)
{
    size_t n = 0;

    while (stream->pending != 0 && stream->partial == NULL && n < room) {
        enum stream_pending what = (enum stream_pending)(stream->pending & -stream->pending);
        enum stream_end end = stream_make_frame(stream, what, &stream->partial);

        if (end != STREAM_END_NONE) {
            stream_end(stream, end);
            return n;
        }
        stream->pending &= (uint8_t)~what;
        if (stream->partial != NULL)
            n += copy_tail(stream, to + n, room - n);
    }
    return n;
}

static void pass_event(struct stream *stream, const struct message *message)
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
        pass_event(stream, message);
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
static bool is_past_event(const struct stream *stream, const struct message *message)
{
    if (stream->cursor >= stream->live_from)
        return false;
    return message->kind == MESSAGE_EPHEMERAL ||
           (message->ttl_ms > 0 && message_expired(message, clock_wall_ms()));
}

/* Up to which slot this turn may still compare the many patterns of a stream with the events: those
 * that asked for much must not hold up the loop together. */
static uint64_t may_compare_up_to(const struct stream *stream, uint64_t head)
{
    const struct filter *filter = stream->listener.filter;
    struct streams *streams = stream->host->streams;
    uint64_t end = stream->cursor, turn;

    if (head - end <= 1 || filter->weight <= COMPARES_WEIGHT_FREE)
        return head;
    turn = worker_turns(streams->worker);
    if (streams->compared_turn != turn)
        streams->compares_left = COMPARES_A_TURN;
    streams->compared_turn = turn;
    head = head - end < COMPARES_A_CALL ? head : end + COMPARES_A_CALL;
    while (end < head && streams->compares_left > 0) {
        size_t steps = filter_steps(filter, ring_at(streams->ring, end++));

        streams->compares_left -= steps < streams->compares_left ? steps : streams->compares_left;
    }
    return end;
}

static bool wants_event(const struct stream *stream, const struct message *message)
{
    if (message->kind == MESSAGE_STORED && message->position <= stream->position)
        return false;
    if (stream->cursor == stream->woken_by)
        return true;
    return filter_accepts(stream->listener.filter, message) && !is_past_event(stream, message);
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
    head = may_compare_up_to(stream, head);
    for (; stream->cursor < head && stream->partial == NULL && !is_late(stream, until_ns);
         stream->cursor++) {
        struct message *message = ring_at(ring, stream->cursor);

        if (wants_event(stream, message) && !take_frame(stream, message, to, room, &n))
            break;
        pass_event(stream, message);
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

/* Everything there is to send now, as far as there is room: the tail of a frame, then frames of the
 * gateway's own, then the past, then the ring. */
static size_t fill_from_sources(struct stream *stream, char *to, size_t room)
{
    size_t n = 0;

    if (stream->partial != NULL)
        n += copy_tail(stream, to, room);
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

/* ---- nothing left, and the end ---- */

static void fill_suspend(struct stream *stream, enum stream_state state)
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

static ssize_t fill_closing(struct stream *stream, char *buf, size_t max);

/* Nothing to send: wait for what the stream needs next. */
static ssize_t wait_for_more(struct stream *stream, char *buf, size_t max)
{
    struct streams *streams = stream->host->streams;

    if (stream->cursor == STREAM_CURSOR_NONE) {
        if (replay_pages_ask(streams, stream) != 0) {
            stream_end(stream, STREAM_END_FAILED);
            return fill_closing(stream, buf, max);
        }
        fill_suspend(stream, STREAM_PAGING);
        return 0;
    }
    if (has_more(stream)) {
        stream->prio = stream->is_behind ? PRIO_REPLAY : PRIO_BROADCAST;
        fill_suspend(stream, STREAM_READY);
        return 0;
    }
    fill_suspend(stream, STREAM_IDLE);
    return 0;
}

/* Whether a heartbeat is all that goes out in this call. */
static bool is_heartbeat_only(const struct stream *stream)
{
    return stream->pending == STREAM_HEARTBEAT && stream->partial == NULL && stream->page == NULL &&
           stream->cursor != STREAM_CURSOR_NONE && !has_more(stream);
}

static ssize_t account_sent(struct stream *stream, size_t n, bool is_heartbeat)
{
    struct stats *stats = stream->host->streams->stats;
    struct stall_timer *timer = &stream->host->streams->stall_timer;

    stream_note_chunk(stream);
    stream->sent_ms = stream->filled_ms;
    if (is_heartbeat)
        stall_timer_add_heartbeat(timer, &stream->stall, stream->heartbeat_ms, stream->filled_ms);
    else
        stall_timer_add(timer, &stream->stall, stream->heartbeat_ms, stream->filled_ms);
    stream->bytes_sent += n;
    stats_add(stats, STATS_BYTES_DELIVERED, (int64_t)n);
    stats_add(stats, STATS_SENDS, 1);
    return (ssize_t)n;
}

/* What is committed and at hand.  One that seeks through the past for longer than a call may take
 * comes back for more. */
static size_t fill_backlog(struct stream *stream, char *to, size_t room)
{
    int64_t until_ns = clock_mono_ns() + SLOTS_NS_MAX;
    uint64_t began;
    size_t n;

    do {
        began = stream->cursor;
        n = fill_from_sources(stream, to, room);
    } while (n == 0 && has_more(stream) && stream->cursor != began && clock_mono_ns() < until_ns);
    return n;
}

/* The last frames, and nothing after them. */
static size_t fill_last(struct stream *stream, char *to, size_t room)
{
    if (!stream->sent_final) {
        size_t n = stream_ends[stream->end].sends_backlog ? fill_backlog(stream, to, room) : 0;

        if (n > 0)
            return n;
        stream->sent_final = true;
        stream->pending |= STREAM_FINAL;
    }
    return stream->partial != NULL ? copy_tail(stream, to, room) : take_control(stream, to, room);
}

/* The last calls.  The host pulls what follows only when it is run once more, and the end must not
 * wait for its next event. */
static ssize_t fill_closing(struct stream *stream, char *buf, size_t max)
{
    const struct stream_end_row *end = &stream_ends[stream->end];
    size_t n = end->cuts ? 0 : fill_last(stream, buf, max);

    if (n == 0) {
        /* one that is suspended is resumed, and pulled from once more: the host hears it then */
        if (!stream->suspended)
            stream->host->ops->close_soon(stream->host, stream->connection);
        return end->ends_answer ? STREAM_PULL_END : STREAM_PULL_ABORT;
    }
    if (stream->sent_final)
        stream_host_want_run(stream->host);
    return account_sent(stream, n, false);
}

/* With nothing to send: a client that leaves before its first event must be able to come back here,
 * and one that has much to pass over must not begin again with every connection. */
static bool needs_place(const struct stream *stream)
{
    if (stream->state != STREAM_DRAINING || !stream->host->wire->tells_ids)
        return false;
    bool is_paging = stream->cursor == STREAM_CURSOR_NONE;
    if (!is_paging && stream->last_id_sent == UINT64_MAX)
        return true;
    return (is_paging ? stream->since_ms < 0 : has_more(stream)) &&
           stream->position != stream->last_id_sent &&
           stream->filled_ms - stream->id_sent_ms >= CHECKPOINT_SEEKING_MS;
}

/* The first frames of a stream go out in one chunk with its place, unless events come first. */
static bool is_first_chunk(const struct stream *stream)
{
    return stream->last_id_sent == UINT64_MAX && stream->events_sent == 0 &&
           stream->partial == NULL && stream->page == NULL &&
           stream->cursor != STREAM_CURSOR_NONE && !has_more(stream);
}

bool stream_has_sent_all(const struct stream *stream)
{
    return stream->state == STREAM_DRAINING && stream->pending == 0 && stream->partial == NULL &&
           stream->page == NULL && stream->cursor == ring_head(stream->host->streams->ring) &&
           (stream->last_id_sent != UINT64_MAX || !stream->host->wire->tells_ids);
}

ssize_t stream_fill(struct stream *stream, char *buf, size_t max)
{
    stream->filled_ms = worker_now_ms(stream->host->streams->worker);
    if (stream->state == STREAM_CLOSING)
        return fill_closing(stream, buf, max);
    bool is_heartbeat = is_heartbeat_only(stream);
    size_t n = fill_from_sources(stream, buf, max);
    if ((n == 0 || is_first_chunk(stream)) && !stream->sends_frame && needs_place(stream)) {
        stream->pending |= STREAM_CHECKPOINT;
        n += take_control(stream, buf + n, max - n);
    }
    size_t frame_n = stream->sends_frame ? stream_bytes_of(stream, stream->partial).n : 0;
    if (n + frame_n > 0) {
        account_sent(stream, n + frame_n, is_heartbeat);
        return (ssize_t)n;
    }
    if (stream->state == STREAM_CLOSING)
        return fill_closing(stream, buf, max);
    return wait_for_more(stream, buf, max);
}

ssize_t stream_pull(struct stream *stream, char *buf, size_t max)
{
    if (stream->suspended || stream->unsent_n > 0)
        return STREAM_PULL_ABORT; /* a host that pulls where it must not */
    if (buf != stream->room || max != stream->room_bytes)
        stream_note_room(stream, buf, max);
    stream->has_pages = true;
    ssize_t n = stream_fill(stream, buf, max);
    if (stream->state == STREAM_IDLE)
        stream_give_pages_back(stream);
    return n;
}
