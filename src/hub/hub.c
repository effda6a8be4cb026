/* SPDX-License-Identifier: MIT */
/* The dispatcher's queue, its turns and its thread.  See hub.h. */
#include "config.h"
#include "hub/hub_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"

/* One commit takes at most so many events, so that the first of a long queue are not held up by
 * the last. */
#define BATCH_EVENTS_MAX 8192
#define HOUSEKEEPING_MS 250
/* So many events, and bells to ring, keep a submitter's loop for about as long as it takes to wake
 * the thread and be woken by it. */
#define AT_ONCE_EVENTS_MAX 64
#define AT_ONCE_LISTENERS_MAX 4

struct hub *hub_new(struct history *history, const struct hub_limits *limits)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    struct history_bounds bounds;
    pthread_condattr_t attributes;

    if (hub == NULL)
        return NULL;
    hub->keys = idempotency_table_new();
    if (hub->keys == NULL) {
        free(hub);
        return NULL;
    }
    hub->history = history;
    hub->durability = history->durability;
    hub->limits = *limits;
    hub->room_bytes = limits->queue_bytes_max;
    SLIST_INIT(&hub->listeners);
    STAILQ_INIT(&hub->waiting);
    pthread_mutex_init(&hub->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&hub->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    history_bounds(history, &bounds);
    hub->committed = bounds.newest;
    return hub;
}

void hub_add_listener(struct hub *hub, struct hub_listener *listener)
{
    assert(!hub->started);
    STAILQ_INIT(&listener->answers);
    SLIST_INSERT_HEAD(&hub->listeners, listener, link);
    hub->listeners_n++;
}

void hub_free(struct hub *hub)
{
    if (hub == NULL)
        return;
    assert(!hub->started || hub->stopped);
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->lock);
    idempotency_table_free(hub->keys);
    idempotency_table_free(hub->taken);
    hub_share_free(hub->share);
    free(hub->stored);
    free(hub);
}

/* Whatever is alone in the queue may wait there.  The pace says nothing while the store changes
 * hands. */
static bool has_room(const struct hub *hub, size_t queued, size_t bytes)
{
    size_t room = hub->patient ? hub->limits.queue_bytes_max : hub_queue_room(hub);

    return queued == 0 || queued + bytes <= room;
}

/* Whether the store hangs, as far as one can tell. */
static bool is_late(const struct hub *hub)
{
    return !hub->patient && hub_lag_ns(hub) > hub->limits.queue_age_max_ns;
}

bool hub_is_full(const struct hub *hub, size_t bytes)
{
    size_t queued = atomic_load_explicit(&hub->queue_bytes, memory_order_relaxed);

    return is_late(hub) || !has_room(hub, queued, bytes);
}

bool hub_admit(struct hub *hub, size_t bytes, struct hub_op *op)
{
    if (is_late(hub))
        return false;
    size_t was = atomic_fetch_add_explicit(&hub->queue_bytes, bytes, memory_order_relaxed);
    if (has_room(hub, was, bytes)) {
        if (op != NULL) {
            op->admitted_ns = clock_mono_ns();
            op->queued_bytes = was + bytes;
        }
        return true;
    }
    atomic_fetch_sub_explicit(&hub->queue_bytes, bytes, memory_order_relaxed);
    return false;
}

void hub_charge(struct hub *hub, size_t was, size_t is)
{
    atomic_fetch_add_explicit(&hub->queue_bytes, is - was, memory_order_relaxed);
}

size_t hub_queue_room(const struct hub *hub)
{
    return atomic_load_explicit(&hub->room_bytes, memory_order_relaxed);
}

void hub_answer_unserved(struct hub *hub, struct hub_ops *ops)
{
    struct hub_op *op;

    while ((op = STAILQ_FIRST(ops)) != NULL) {
        struct hub_ops one = STAILQ_HEAD_INITIALIZER(one);

        STAILQ_REMOVE_HEAD(ops, link);
        op->result = -ESHUTDOWN;
        atomic_fetch_sub_explicit(&hub->queue_bytes, op->bytes, memory_order_relaxed);
        STAILQ_INSERT_TAIL(&one, op, link);
        op->from->deliver(op->from, NULL, &one);
    }
}

static bool has_stored(const struct hub_op *op)
{
    for (size_t i = 0; i < op->events_n; i++)
        if (op->events[i]->kind == MESSAGE_STORED)
            return true;
    return false;
}

/* Move at most one commit's worth of operations over; at least one if any waits.  With the lock. */
static void begin_turn(struct hub *hub, struct hub_turn *turn)
{
    struct hub_op *op;

    assert(!hub->serving);
    hub->serving = true;
    STAILQ_INIT(&turn->ops);
    turn->events_n = turn->bytes = 0;
    turn->claimed = false;
    while ((op = STAILQ_FIRST(&hub->waiting)) != NULL) {
        if (turn->events_n > 0 && turn->events_n + op->events_n > BATCH_EVENTS_MAX)
            break;
        STAILQ_REMOVE_HEAD(&hub->waiting, link);
        STAILQ_INSERT_TAIL(&turn->ops, op, link);
        op->result = 0;
        op->in_commit = has_stored(op);
        turn->events_n += op->events_n;
        turn->bytes += op->bytes;
    }
}

/* With the lock.  Returns whether the thread has to be woken when somebody else's turn is over. */
static bool end_turn(struct hub *hub)
{
    hub->serving = false;
    hub->oldest_ns = STAILQ_EMPTY(&hub->waiting) ? 0 : STAILQ_FIRST(&hub->waiting)->submitted_ns;
    return hub->thread_waits || !STAILQ_EMPTY(&hub->waiting);
}

/* ---- submitting ---- */

/* With the lock.  Whether who submits may have the turn, since the thread has nothing to do that
 * must not wait; then the store is claimed. */
static bool may_serve(const struct hub *hub, size_t events_n)
{
    return hub->started && !hub->serving && !hub->thread_waits && !hub->stopping &&
           hub->mode == HUB_OWNS && hub->share == NULL && hub->backup == NULL &&
           events_n <= AT_ONCE_EVENTS_MAX && hub->listeners_n <= AT_ONCE_LISTENERS_MAX &&
           history_claim(hub->history, events_n);
}

/* With the lock, which is let go of meanwhile.  As end_turn(). */
static bool serve_at_once(struct hub *hub)
{
    struct hub_turn turn;

    begin_turn(hub, &turn);
    turn.claimed = true;
    pthread_mutex_unlock(&hub->lock);
    hub_serve(hub, &turn);
    pthread_mutex_lock(&hub->lock);
    return end_turn(hub);
}

/* With the lock, which is let go of meanwhile.  Returns whether to wake the thread. */
static bool queue(struct hub *hub, struct hub_ops *ops, int64_t now_ns)
{
    bool was_empty = STAILQ_EMPTY(&hub->waiting);
    size_t events_n = 0;
    struct hub_op *op;

    STAILQ_FOREACH (op, ops, link) {
        op->submitted_ns = now_ns;
        events_n += op->events_n;
    }
    STAILQ_CONCAT(&hub->waiting, ops);
    if (was_empty && hub->oldest_ns == 0 && hub->mode != HUB_FORWARDS)
        hub->oldest_ns = now_ns;
    if (was_empty && may_serve(hub, events_n))
        return serve_at_once(hub);
    return was_empty && !hub->serving;
}

void hub_submit(struct hub *hub, struct hub_ops *ops)
{
    int64_t now_ns = clock_mono_ns();

    pthread_mutex_lock(&hub->lock);
    if (hub->stopped) {
        pthread_mutex_unlock(&hub->lock);
        hub_answer_unserved(hub, ops);
        return;
    }
    bool wakes = queue(hub, ops, now_ns);
    pthread_mutex_unlock(&hub->lock);
    /* not before, since the hub is more urgent than who submits and would run into the lock */
    if (wakes)
        hub_wake(hub);
}

/* ---- copies of the store ---- */

void hub_answer_backup(struct hub *hub, struct hub_backup *backup, int result)
{
    if (result != 0)
        history_backup_end(hub->history);
    hub->backup_begun = false;
    pthread_mutex_lock(&hub->lock);
    hub->backup = NULL;
    pthread_mutex_unlock(&hub->lock);
    backup->result = result;
    backup->answer(backup);
}

/* Returns 1 when there is more to do, else the result of the whole. */
static int step(struct hub *hub, struct hub_backup *backup)
{
    if (hub->refuses_backups)
        return -ESHUTDOWN;
    if (backup->abandoned)
        return -ECANCELED;
    if (hub->backup_begun)
        return history_backup_step(hub->history, &backup->copy);
    int result = history_backup_begin(hub->history);
    hub->backup_begun = result == 0;
    return result == 0 ? 1 : result;
}

bool hub_step_backup(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    struct hub_backup *backup = hub->backup;
    pthread_mutex_unlock(&hub->lock);
    int result = backup != NULL ? step(hub, backup) : 0;

    if (backup != NULL && result <= 0)
        hub_answer_backup(hub, backup, result);
    return result > 0;
}

int hub_request_backup(struct hub *hub, struct hub_backup *backup)
{
    int result = 0;

    pthread_mutex_lock(&hub->lock);
    if (hub->stopped || hub->stopping || hub->refuses_backups)
        result = -ESHUTDOWN;
    else if (hub->backup != NULL)
        result = -EBUSY;
    else
        hub->backup = backup;
    hub_wake(hub);
    pthread_mutex_unlock(&hub->lock);
    return result;
}

void hub_refuse_backups(struct hub *hub)
{
    hub->refuses_backups = true;
}

/* ---- the thread ---- */

static void measure(struct hub *hub)
{
    struct history_usage usage;

    history_usage(hub->history, &usage);
    stats_set(&hub->stats, STATS_HISTORY_EVENTS, (int64_t)usage.events_n);
    stats_set(&hub->stats, STATS_HISTORY_BYTES, (int64_t)usage.bytes);
    stats_set(&hub->stats, STATS_IDEMPOTENCY_KEYS, (int64_t)usage.keys_n);
    stats_set(&hub->stats, STATS_KEYS_FORGOTTEN_EARLY, (int64_t)usage.keys_early_n);
    stats_set(&hub->stats, STATS_QUEUE_BYTES, (int64_t)hub->queue_bytes);
    stats_set(&hub->stats, STATS_QUEUE_ROOM, (int64_t)hub_queue_room(hub));
}

bool hub_keep_house(struct hub *hub, bool more)
{
    int64_t now_ms = clock_mono_ms();

    if (!more && now_ms - hub->kept_house_ms < HOUSEKEEPING_MS)
        return false;
    hub->kept_house_ms = now_ms;
    history_watch(hub->history);
    more = history_trim(hub->history, clock_wall_ms());
    measure(hub);
    return more;
}

void hub_wake(struct hub *hub)
{
    if (hub->share != NULL)
        hub_share_wake(hub->share);
    pthread_cond_signal(&hub->wake);
}

static void wait_for_work(struct hub *hub)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += HOUSEKEEPING_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_cond_timedwait(&hub->wake, &hub->lock, &until);
}

/* With the lock, which is let go of meanwhile.  A submitter's turn is short. */
static void wait_for_turn(struct hub *hub)
{
    hub->thread_waits = true;
    while (hub->serving)
        pthread_cond_wait(&hub->wake, &hub->lock);
    hub->thread_waits = false;
}

/* One turn of a hub that has its store. */
static bool turn_as_owner(struct hub *hub, bool more)
{
    struct hub_turn turn;

    begin_turn(hub, &turn);
    pthread_mutex_unlock(&hub->lock);
    if (!STAILQ_EMPTY(&turn.ops))
        hub_serve(hub, &turn);
    more = hub_keep_house(hub, more);
    history_settle(hub->history);
    hub_step_backup(hub);
    pthread_mutex_lock(&hub->lock);
    end_turn(hub);
    return more;
}

static void *run(void *arg)
{
    struct hub *hub = arg;
    struct hub_backup *backup;
    bool more = false;

    thread_begin("bugle-hub", THREAD_AT_ONCE);
    pthread_mutex_lock(&hub->lock);
    for (;;) {
        wait_for_turn(hub);
        if (hub->mode != HUB_OWNS) {
            if (!hub_turn_away(hub))
                break;
            continue;
        }
        if (hub->share != NULL) {
            hub_share_serve(hub);
            if (hub->mode != HUB_OWNS)
                continue;
            break;
        }
        if (STAILQ_EMPTY(&hub->waiting)) {
            hub->oldest_ns = 0;
            if (hub->stopping)
                break;
            if (!more && hub->backup == NULL)
                wait_for_work(hub);
            wait_for_turn(hub);
        }
        if (hub->mode == HUB_OWNS)
            more = turn_as_owner(hub, more);
    }
    hub->stopped = true;
    backup = hub->backup;
    pthread_mutex_unlock(&hub->lock);
    if (backup != NULL)
        hub_answer_backup(hub, backup, -ESHUTDOWN);
    return NULL;
}

int hub_start(struct hub *hub)
{
    int error = pthread_create(&hub->thread, NULL, run, hub);

    hub->started = error == 0;
    return -error;
}

void hub_stop(struct hub *hub)
{
    if (!hub->started || hub->stopped)
        return;
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    hub_wake(hub);
    pthread_mutex_unlock(&hub->lock);
    pthread_join(hub->thread, NULL);
}

uint64_t hub_committed(const struct hub *hub)
{
    return atomic_load_explicit(&hub->committed, memory_order_acquire);
}

int64_t hub_lag_ns(const struct hub *hub)
{
    int64_t oldest_ns = hub->oldest_ns;

    return oldest_ns == 0 ? 0 : clock_mono_ns() - oldest_ns;
}

bool hub_is_cut_off(const struct hub *hub)
{
    return atomic_load_explicit(&hub->is_cut_off, memory_order_relaxed);
}

const char *hub_durability_text(const struct hub *hub)
{
    return history_durability_word(hub->durability);
}

struct history *hub_history(const struct hub *hub)
{
    return hub->history;
}

struct stats *hub_stats(struct hub *hub)
{
    return &hub->stats;
}
