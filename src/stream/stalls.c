/* SPDX-License-Identifier: MIT */
/* Who does not take what he is sent.  See stalls.h. */
#include "config.h"
#include "stream/stalls.h"

#include <assert.h>

#include "base/clock.h"
#include "base/peer.h"
#include "stream/stream_internal.h"

#define QUARTER_MS 250
/* A portion of looks; an eviction, with all that the kernel frees, costs as much as twenty. */
#define PORTION_NS 60000
#define CLOCK_EVERY 8
#define PAGE_UNREAD_MAX_MS 1000

_Static_assert(PROGRESS_FIRST_LOOK_MS <= PROGRESS_BEAT_LOOK_MS &&
                   PROGRESS_BEAT_LOOK_MS / QUARTER_MS + 2 <= STALLS_SLOTS,
               "the wheel is too small");

static bool look_at_due(struct worker_job *job);

void stalls_init(struct stalls *stalls, struct streams *streams)
{
    stalls->streams = streams;
    stalls->job.run = look_at_due;
    stalls->turned_quarter = clock_mono_ms() / QUARTER_MS;
    TAILQ_INIT(&stalls->due);
    for (size_t i = 0; i < STALLS_SLOTS; i++)
        TAILQ_INIT(&stalls->wheel[i]);
}

void stalls_stop(struct stalls *stalls)
{
    assert(TAILQ_EMPTY(&stalls->due));
    worker_dequeue(stalls->streams->worker, &stalls->job);
}

/* ---- the wheel ---- */

/* A quarter is due when it is over, so no look comes before its time. */
static void enter(struct stream *stream, int64_t due_ms)
{
    struct stalls *stalls = &stream->host->streams->stalls;
    int64_t quarter = due_ms / QUARTER_MS;

    assert(stream->look_list == NULL);
    if (quarter <= stalls->turned_quarter)
        quarter = stalls->turned_quarter + 1;
    stream->look_list = &stalls->wheel[quarter % STALLS_SLOTS];
    TAILQ_INSERT_TAIL(stream->look_list, stream, in_look);
}

void stalls_forget(struct stream *stream)
{
    if (stream->look_list == NULL)
        return;
    TAILQ_REMOVE(stream->look_list, stream, in_look);
    stream->look_list = NULL;
}

static struct progress_limits limits_of(const struct stalls *stalls)
{
    const struct conf *conf = worker_conf(stalls->streams->worker);

    return (struct progress_limits){
        .stall_ms = (int64_t)conf->stream.stall_timeout_ms,
        .vanish_ms = (int64_t)conf->stream.vanish_timeout_ms,
    };
}

/* A look that was put off for heartbeats is not for what comes after them. */
void stalls_watch(struct stream *stream, int64_t now_ms)
{
    if (stream->look_list != NULL && !stream->progress.is_patient)
        return;
    struct stalls *stalls = &stream->host->streams->stalls;
    struct progress_limits limits = limits_of(stalls);
    int64_t due_ms;

    if (stream->look_list == NULL)
        progress_begin(&stream->progress, now_ms);
    due_ms = progress_first_due_ms(&stream->progress, &limits, stream->heartbeat_ms, now_ms);
    stream->progress.is_patient = false;
    if (stream->look_list == &stalls->due)
        return;
    stalls_forget(stream);
    enter(stream, due_ms);
}

void stalls_watch_beat(struct stream *stream, int64_t now_ms)
{
    if (stream->look_list != NULL)
        return;
    struct progress_limits limits = limits_of(&stream->host->streams->stalls);

    progress_begin(&stream->progress, now_ms);
    stream->progress.is_patient = true;
    enter(stream, progress_beat_due_ms(&limits, stream->heartbeat_ms, now_ms));
}

static void move_to_due(struct stalls *stalls, struct stream_list *list)
{
    struct stream *stream;

    while ((stream = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, stream, in_look);
        TAILQ_INSERT_TAIL(&stalls->due, stream, in_look);
        stream->look_list = &stalls->due;
    }
}

void stalls_tick(struct stalls *stalls, int64_t now_ms)
{
    int64_t over = now_ms / QUARTER_MS - 1;

    if (over - stalls->turned_quarter > STALLS_SLOTS)
        stalls->turned_quarter = over - STALLS_SLOTS; /* the gateway slept */
    while (stalls->turned_quarter < over)
        move_to_due(stalls, &stalls->wheel[++stalls->turned_quarter % STALLS_SLOTS]);
    if (!TAILQ_EMPTY(&stalls->due))
        worker_enqueue(stalls->streams->worker, &stalls->job, WORKER_REPLAY);
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
    stream_send_rest(stream);
    if (!stream->suspended || stream->rest_n > 0)
        stalls_watch(stream, now_ms);
}

static void look(struct stream *stream, const struct progress_limits *limits, int64_t now_ms)
{
    struct peer_flow flow = {0};

    stalls_forget(stream);
    stream->progress.is_patient = false;
    if (peer_flow(stream->fd, &flow) != 0)
        return; /* its watch tells the rest */
    drop_unread_page(stream, now_ms);
    switch (progress_look(&stream->progress, &flow, stream->wrote_ms, limits, now_ms)) {
    case PROGRESS_CLEAR:
        stream_keep_no_more(stream);
        look_again_if_held(stream, now_ms);
        return;
    case PROGRESS_MOVES:
        stream_keep(stream, now_ms);
        break;
    case PROGRESS_WAITS:
        break;
    case PROGRESS_STALLED:
        stream_end(stream, STREAM_END_STALLED);
        return;
    case PROGRESS_VANISHED:
        stream_end(stream, STREAM_END_VANISHED);
        return;
    }
    enter(stream, progress_due_ms(&stream->progress, limits, now_ms));
}

/* The clock is read for every few looks: an acknowledgement must not seem older than it is. */
static bool look_at_due(struct worker_job *job)
{
    struct stalls *stalls = (struct stalls *)((char *)job - offsetof(struct stalls, job));
    struct progress_limits limits = limits_of(stalls);
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
