/* SPDX-License-Identifier: MIT */
/* Who does not take what he is sent.  See stall_timer.h. */
#include "config.h"
#include "stream/stall_timer.h"

#include <assert.h>

#include "base/clock.h"
#include "base/peer.h"
#include "stream/stream_internal.h"

#define QUARTER_MS 250
/* A portion of looks; an eviction, with all that the kernel frees, costs as much as twenty. */
#define PORTION_NS 60000
#define CLOCK_EVERY 8
#define PAGE_UNREAD_MAX_MS 1000

_Static_assert(ACK_PROGRESS_FIRST_LOOK_MS <= ACK_PROGRESS_BEAT_LOOK_MS &&
                   ACK_PROGRESS_BEAT_LOOK_MS / QUARTER_MS + 2 <= STALL_TIMER_SLOTS,
               "the wheel is too small");

static bool look_at_due(struct worker_job *job);

void stall_timer_init(struct stall_timer *stalls, struct streams *streams)
{
    stalls->streams = streams;
    stalls->job.run = look_at_due;
    stalls->wheel_tick = clock_mono_ms() / QUARTER_MS;
    TAILQ_INIT(&stalls->due);
    for (size_t i = 0; i < STALL_TIMER_SLOTS; i++)
        TAILQ_INIT(&stalls->wheel[i]);
}

void stall_timer_stop(struct stall_timer *stalls)
{
    assert(TAILQ_EMPTY(&stalls->due));
    worker_dequeue(stalls->streams->worker, &stalls->job);
}

/* ---- the wheel ---- */

/* A quarter is due when it is over, so no look comes before its time. */
static void enter(struct stream *stream, int64_t due_ms)
{
    struct stall_timer *stalls = &stream->host->streams->stalls;
    int64_t quarter = due_ms / QUARTER_MS;

    assert(stream->look_list == NULL);
    if (quarter <= stalls->wheel_tick)
        quarter = stalls->wheel_tick + 1;
    stream->look_list = &stalls->wheel[quarter % STALL_TIMER_SLOTS];
    TAILQ_INSERT_TAIL(stream->look_list, stream, in_look);
}

void stall_timer_remove(struct stream *stream)
{
    if (stream->look_list == NULL)
        return;
    TAILQ_REMOVE(stream->look_list, stream, in_look);
    stream->look_list = NULL;
}

static struct ack_progress_limits limits_of(const struct stall_timer *stalls)
{
    const struct conf *conf = stalls->streams->context->conf;

    return (struct ack_progress_limits){
        .stall_ms = (int64_t)conf->stream.stall_timeout_ms,
        .vanish_ms = (int64_t)conf->stream.vanish_timeout_ms,
    };
}

/* A look that was put off for heartbeats is not for what comes after them. */
void stall_timer_add(struct stream *stream, int64_t now_ms)
{
    if (stream->look_list != NULL && !stream->progress.is_patient)
        return;
    struct stall_timer *stalls = &stream->host->streams->stalls;
    struct ack_progress_limits limits = limits_of(stalls);
    int64_t due_ms;

    if (stream->look_list == NULL)
        ack_progress_begin(&stream->progress, now_ms);
    due_ms = ack_progress_first_due_ms(&stream->progress, &limits, stream->heartbeat_ms, now_ms);
    stream->progress.is_patient = false;
    if (stream->look_list == &stalls->due)
        return;
    stall_timer_remove(stream);
    enter(stream, due_ms);
}

void stall_timer_add_heartbeat(struct stream *stream, int64_t now_ms)
{
    if (stream->look_list != NULL)
        return;
    struct ack_progress_limits limits = limits_of(&stream->host->streams->stalls);

    ack_progress_begin(&stream->progress, now_ms);
    stream->progress.is_patient = true;
    enter(stream, ack_progress_beat_due_ms(&limits, stream->heartbeat_ms, now_ms));
}

static void move_to_due(struct stall_timer *stalls, struct stream_list *list)
{
    struct stream *stream;

    while ((stream = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, stream, in_look);
        TAILQ_INSERT_TAIL(&stalls->due, stream, in_look);
        stream->look_list = &stalls->due;
    }
}

void stall_timer_tick(struct stall_timer *stalls, int64_t now_ms)
{
    int64_t over = now_ms / QUARTER_MS - 1;

    if (over - stalls->wheel_tick > STALL_TIMER_SLOTS)
        stalls->wheel_tick = over - STALL_TIMER_SLOTS; /* the gateway slept */
    while (stalls->wheel_tick < over)
        move_to_due(stalls, &stalls->wheel[++stalls->wheel_tick % STALL_TIMER_SLOTS]);
    if (!TAILQ_EMPTY(&stalls->due))
        worker_enqueue(stalls->streams->worker, &stalls->job, PRIO_REPLAY);
}

/* ---- a look ---- */

/* A page that the client does not take is only in the way. */
static void drop_unread_page(struct stream *stream, int64_t now_ms)
{
    bool waits = !stream->suspended || stream->rest_n > 0;

    if (stream->page == NULL || !waits || now_ms - stream->read_ms < PAGE_UNREAD_MAX_MS)
        return;
    stats_add(stream->host->streams->stats, STATS_PAGES_DROPPED, 1);
    stream_drop_page(stream);
}

/* While libmicrohttpd has the stream it may hold a chunk that the kernel has not been given, and a
 * stream that sends by itself may hold the rest of one: where it was the kernel that had no memory,
 * nothing else tells that it has some again. */
static void look_again_if_held(struct stream *stream, int64_t now_ms)
{
    stream_direct_send_unsent(stream);
    if (!stream->suspended || stream->rest_n > 0)
        stall_timer_add(stream, now_ms);
}

static void look(struct stream *stream, const struct ack_progress_limits *limits, int64_t now_ms)
{
    struct tcp_progress flow = {0};

    stall_timer_remove(stream);
    stream->progress.is_patient = false;
    if (tcp_progress(stream->fd, &flow) != 0)
        return; /* its watch tells the rest */
    drop_unread_page(stream, now_ms);
    switch (ack_progress_look(&stream->progress, &flow, stream->wrote_ms, limits, now_ms)) {
    case ACK_PROGRESS_CLEAR:
        stream_keep_no_more(stream);
        look_again_if_held(stream, now_ms);
        return;
    case ACK_PROGRESS_MOVES:
        stream_keep(stream, now_ms);
        break;
    case ACK_PROGRESS_WAITS:
        break;
    case ACK_PROGRESS_STALLED:
        stream_end(stream, STREAM_END_STALLED);
        return;
    case ACK_PROGRESS_VANISHED:
        stream_end(stream, STREAM_END_VANISHED);
        return;
    }
    enter(stream, ack_progress_due_ms(&stream->progress, limits, now_ms));
}

/* The clock is read for every few looks: an acknowledgement must not seem older than it is. */
static bool look_at_due(struct worker_job *job)
{
    struct stall_timer *stalls =
        (struct stall_timer *)((char *)job - offsetof(struct stall_timer, job));
    struct ack_progress_limits limits = limits_of(stalls);
    int64_t begin_ns = clock_mono_ns(), now_ns = begin_ns;
    struct stream *stream;

    while ((stream = TAILQ_FIRST(&stalls->due)) != NULL && now_ns - begin_ns < PORTION_NS) {
        for (int i = 0; stream != NULL && i < CLOCK_EVERY; i++) {
            look(stream, &limits, now_ns / 1000000);
            stream = TAILQ_FIRST(&stalls->due);
        }
        now_ns = clock_mono_ns();
    }
    return stream != NULL;
}
