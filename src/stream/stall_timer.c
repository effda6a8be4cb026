/* SPDX-License-Identifier: MIT */
/* Peers that do not take what they are sent.  See stall_timer.h. */
#include "config.h"
#include "stream/stall_timer.h"

#include <assert.h>
#include <stddef.h>

#include "base/clock.h"

#define QUARTER_MS 250
/* A portion of looks; an eviction, with all that the kernel frees, costs as much as twenty. */
#define PORTION_NS 60000
#define CLOCK_EVERY 8

_Static_assert(ACK_PROGRESS_FIRST_LOOK_MS <= ACK_PROGRESS_HEARTBEAT_LOOK_MS &&
                   ACK_PROGRESS_HEARTBEAT_LOOK_MS / QUARTER_MS + 2 <= STALL_TIMER_SLOTS,
               "the wheel is too small");

static bool stall_timer_look_at_due(struct worker_job *job);

void stall_timer_init(struct stall_timer *timer, struct worker *worker,
                      const struct stall_timer_hooks *hooks)
{
    timer->worker = worker;
    timer->hooks = hooks;
    timer->job.run = stall_timer_look_at_due;
    timer->wheel_tick = clock_mono_ms() / QUARTER_MS;
    TAILQ_INIT(&timer->due);
    for (size_t i = 0; i < STALL_TIMER_SLOTS; i++)
        TAILQ_INIT(&timer->wheel[i]);
}

void stall_timer_stop(struct stall_timer *timer)
{
    assert(TAILQ_EMPTY(&timer->due));
    worker_dequeue(timer->worker, &timer->job);
}

/* ---- the wheel ---- */

/* A quarter is due when it is over, so no look comes before its time. */
static void stall_timer_enter(struct stall_timer *timer, struct stall_timer_entry *entry,
                              int64_t due_ms)
{
    int64_t quarter = due_ms / QUARTER_MS;

    assert(entry->list == NULL);
    if (quarter <= timer->wheel_tick)
        quarter = timer->wheel_tick + 1;
    entry->list = &timer->wheel[quarter % STALL_TIMER_SLOTS];
    TAILQ_INSERT_TAIL(entry->list, entry, link);
}

void stall_timer_remove(struct stall_timer_entry *entry)
{
    if (entry->list == NULL)
        return;
    TAILQ_REMOVE(entry->list, entry, link);
    entry->list = NULL;
}

static struct ack_progress_limits limits_of(const struct stall_timer *timer)
{
    const struct conf *conf = worker_context(timer->worker)->conf;

    return (struct ack_progress_limits){
        .stall_ms = (int64_t)conf->stream.stall_timeout_ms,
        .vanish_ms = (int64_t)conf->stream.vanish_timeout_ms,
    };
}

void stall_timer_start_entry(struct stall_timer *timer, struct stall_timer_entry *entry,
                             int64_t heartbeat_ms, int64_t now_ms)
{
    struct ack_progress_limits limits = limits_of(timer);
    int64_t due_ms;

    if (entry->list == NULL)
        ack_progress_begin(&entry->progress, now_ms);
    due_ms = ack_progress_first_due_ms(&entry->progress, &limits, heartbeat_ms, now_ms);
    entry->progress.is_patient = false;
    if (entry->list == &timer->due)
        return;
    stall_timer_remove(entry);
    stall_timer_enter(timer, entry, due_ms);
}

void stall_timer_add_heartbeat(struct stall_timer *timer, struct stall_timer_entry *entry,
                               int64_t heartbeat_ms, int64_t now_ms)
{
    if (entry->list != NULL)
        return;
    struct ack_progress_limits limits = limits_of(timer);

    ack_progress_begin(&entry->progress, now_ms);
    entry->progress.is_patient = true;
    stall_timer_enter(timer, entry, ack_progress_heartbeat_due_ms(&limits, heartbeat_ms, now_ms));
}

static void move_to_due(struct stall_timer *timer, struct stall_timer_list *list)
{
    struct stall_timer_entry *entry;

    while ((entry = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, entry, link);
        TAILQ_INSERT_TAIL(&timer->due, entry, link);
        entry->list = &timer->due;
    }
}

void stall_timer_tick(struct stall_timer *timer, int64_t now_ms)
{
    int64_t over = now_ms / QUARTER_MS - 1;

    if (over - timer->wheel_tick > STALL_TIMER_SLOTS)
        timer->wheel_tick = over - STALL_TIMER_SLOTS; /* the gateway slept */
    while (timer->wheel_tick < over)
        move_to_due(timer, &timer->wheel[++timer->wheel_tick % STALL_TIMER_SLOTS]);
    if (!TAILQ_EMPTY(&timer->due))
        worker_enqueue(timer->worker, &timer->job, PRIO_REPLAY);
}

/* ---- a look ---- */

static void stall_timer_look(struct stall_timer *timer, struct stall_timer_entry *entry,
                             const struct ack_progress_limits *limits, int64_t now_ms)
{
    enum ack_progress_verdict verdict;
    struct tcp_progress flow = {0};
    int64_t sent_ms;

    stall_timer_remove(entry);
    entry->progress.is_patient = false;
    if (timer->hooks->ask(entry, &flow, &sent_ms) != 0)
        return;
    verdict = ack_progress_look(&entry->progress, &flow, sent_ms, limits, now_ms);
    if (verdict == ACK_PROGRESS_MOVES || verdict == ACK_PROGRESS_WAITS)
        stall_timer_enter(timer, entry, ack_progress_due_ms(&entry->progress, limits, now_ms));
    timer->hooks->report(entry, verdict, now_ms);
}

/* The clock is read for every few looks: an acknowledgement must not seem older than it is. */
static bool stall_timer_look_at_due(struct worker_job *job)
{
    struct stall_timer *timer =
        (struct stall_timer *)((char *)job - offsetof(struct stall_timer, job));
    struct ack_progress_limits limits = limits_of(timer);
    int64_t begin_ns = clock_mono_ns(), now_ns = begin_ns;
    struct stall_timer_entry *entry;

    while ((entry = TAILQ_FIRST(&timer->due)) != NULL && now_ns - begin_ns < PORTION_NS) {
        for (int i = 0; entry != NULL && i < CLOCK_EVERY; i++) {
            stall_timer_look(timer, entry, &limits, now_ns / 1000000);
            entry = TAILQ_FIRST(&timer->due);
        }
        now_ns = clock_mono_ns();
    }
    return entry != NULL;
}
