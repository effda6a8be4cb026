/* SPDX-License-Identifier: MIT */
/* The dispatcher thread.  See hub.h. */
#include "config.h"
#include "hub.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"

/* One commit takes at most so many events, so that the first of a long queue are not held up by
 * the last. */
#define BATCH_EVENTS_MAX 8192
#define TRIM_EVERY_MS 250

struct hub {
    struct history *history;
    struct hub_limits limits;
    SLIST_HEAD(, hub_listener) listeners;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* over the next five */
    pthread_cond_t wake;
    struct hub_ops waiting;
    struct hub_backup *backup; /* asked for, until its answer; NULL: none */
    bool stopping;
    bool stopped;

    _Atomic bool refuses_backups;
    bool backup_begun; /* the thread's own */
    _Atomic size_t queue_bytes;
    _Atomic int64_t oldest_ns; /* when the oldest unanswered operation came; 0: there is none */
    _Atomic uint64_t committed;

    struct message **stored; /* room for the stored events of one batch */
    size_t stored_room;
    int64_t measured_ms;
    struct log_valve failure_valve;
    struct stats stats;
};

/* What one turn works on: operations of one commit, and their events in one row. */
struct turn {
    struct hub_ops ops;
    size_t events_n;
    size_t bytes;
};

void hub_batch_unref(struct hub_batch *batch)
{
    if (batch == NULL)
        return;
    if (atomic_fetch_sub_explicit(&batch->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < batch->events_n; i++)
        message_unref(batch->events[i]);
    free(batch);
}

struct hub *hub_new(struct history *history, const struct hub_limits *limits)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    struct history_bounds bounds;
    pthread_condattr_t attributes;

    if (hub == NULL)
        return NULL;
    hub->history = history;
    hub->limits = *limits;
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
}

void hub_free(struct hub *hub)
{
    if (hub == NULL)
        return;
    assert(!hub->started || hub->stopped);
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->lock);
    free(hub->stored);
    free(hub);
}

bool hub_admit(struct hub *hub, size_t bytes)
{
    if (hub_lag_ns(hub) > hub->limits.queue_age_max_ns)
        return false;
    size_t was = atomic_fetch_add_explicit(&hub->queue_bytes, bytes, memory_order_relaxed);
    if (was == 0 || was + bytes <= hub->limits.queue_bytes_max)
        return true;
    atomic_fetch_sub_explicit(&hub->queue_bytes, bytes, memory_order_relaxed);
    return false;
}

static void answer_unserved(struct hub *hub, struct hub_ops *ops)
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

void hub_submit(struct hub *hub, struct hub_ops *ops)
{
    int64_t now_ns = clock_mono_ns();
    struct hub_op *op;

    STAILQ_FOREACH (op, ops, link)
        op->submitted_ns = now_ns;
    pthread_mutex_lock(&hub->lock);
    if (hub->stopped) {
        pthread_mutex_unlock(&hub->lock);
        answer_unserved(hub, ops);
        return;
    }
    bool was_empty = STAILQ_EMPTY(&hub->waiting);
    STAILQ_CONCAT(&hub->waiting, ops);
    if (was_empty) {
        if (hub->oldest_ns == 0)
            hub->oldest_ns = now_ns;
        pthread_cond_signal(&hub->wake);
    }
    pthread_mutex_unlock(&hub->lock);
}

/* Move at most one commit's worth of operations over; at least one if any waits. */
static void take_turn(struct hub *hub, struct turn *turn)
{
    struct hub_op *op;

    STAILQ_INIT(&turn->ops);
    turn->events_n = turn->bytes = 0;
    while ((op = STAILQ_FIRST(&hub->waiting)) != NULL) {
        if (turn->events_n > 0 && turn->events_n + op->events_n > BATCH_EVENTS_MAX)
            break;
        STAILQ_REMOVE_HEAD(&hub->waiting, link);
        STAILQ_INSERT_TAIL(&turn->ops, op, link);
        turn->events_n += op->events_n;
        turn->bytes += op->bytes;
    }
}

static int reserve_stored(struct hub *hub, size_t events_n)
{
    if (events_n <= hub->stored_room)
        return 0;
    struct message **stored = realloc(hub->stored, events_n * sizeof(struct message *));
    if (stored == NULL)
        return -ENOMEM;
    hub->stored = stored;
    hub->stored_room = events_n;
    return 0;
}

/* Commit the stored events of a turn as one group. */
static int commit(struct hub *hub, const struct turn *turn, int64_t now_ms)
{
    struct hub_op *op;
    size_t stored_n = 0;

    if (reserve_stored(hub, turn->events_n) != 0)
        return -ENOMEM;
    STAILQ_FOREACH (op, &turn->ops, link)
        for (size_t i = 0; i < op->events_n; i++)
            if (op->events[i]->kind == MESSAGE_STORED)
                hub->stored[stored_n++] = op->events[i];
    if (stored_n == 0)
        return 0;
    int result = history_append(hub->history, hub->stored, stored_n, now_ms);
    if (result == 0)
        stats_add(&hub->stats, STATS_EVENTS_PUBLISHED, (int64_t)stored_n);
    return result;
}

static void report_failure(struct hub *hub, int result)
{
    unsigned long skipped;

    if (log_valve_open(&hub->failure_valve, &skipped))
        log_error("publishing failed: the store said error %d (%lu more like it)", -result,
                  skipped);
}

/* One row of all events in the order of their operations, ephemeral ones sealed in their place. */
static void fill_batch(struct hub *hub, const struct turn *turn, struct hub_batch *batch,
                       int64_t now_ms)
{
    uint64_t position = hub->committed;
    struct hub_op *op;

    STAILQ_FOREACH (op, &turn->ops, link)
        for (size_t i = 0; i < op->events_n; i++) {
            struct message *message = op->events[i];

            if (message->kind == MESSAGE_STORED) {
                position = message->position;
            } else {
                message_seal(message, hub->history->epoch, position, now_ms);
                stats_add(&hub->stats, STATS_EVENTS_EPHEMERAL, 1);
            }
            batch->events[batch->events_n++] = message_ref(message);
            batch->bytes += message->bytes;
            stats_add(&hub->stats, STATS_BYTES_PUBLISHED, message->frame_n);
        }
    atomic_store_explicit(&hub->committed, position, memory_order_release);
}

static struct hub_batch *allocate_batch(size_t events_n)
{
    struct hub_batch *batch = malloc(sizeof(*batch) + events_n * sizeof(struct message *));

    if (batch == NULL)
        return NULL;
    atomic_init(&batch->refs, 1);
    batch->events_n = 0;
    batch->bytes = 0;
    return batch;
}

/* Give the batch to every worker and every answer to its own, the batch first. */
static void hand_out(struct hub *hub, struct turn *turn, struct hub_batch *batch, int result)
{
    struct hub_listener *listener;
    struct hub_op *op;

    while ((op = STAILQ_FIRST(&turn->ops)) != NULL) {
        STAILQ_REMOVE_HEAD(&turn->ops, link);
        op->result = op->events_n > 0 ? result : 0;
        STAILQ_INSERT_TAIL(&op->from->answers, op, link);
    }
    SLIST_FOREACH(listener, &hub->listeners, link)
    if (batch != NULL || !STAILQ_EMPTY(&listener->answers)) {
        struct hub_ops answers = STAILQ_HEAD_INITIALIZER(answers);

        STAILQ_CONCAT(&answers, &listener->answers);
        listener->deliver(listener, batch, &answers);
    }
}

static void serve(struct hub *hub, struct turn *turn)
{
    int64_t now_ms = clock_wall_ms();
    struct hub_batch *batch = NULL;
    int result = 0;

    if (turn->events_n > 0) {
        /* before the commit, since afterwards there is no way back */
        batch = allocate_batch(turn->events_n);
        result = batch == NULL ? -ENOMEM : commit(hub, turn, now_ms);
        if (result == 0) {
            fill_batch(hub, turn, batch, now_ms);
            stats_add(&hub->stats, STATS_HUB_BATCHES, 1);
        } else {
            report_failure(hub, result);
            hub_batch_unref(batch);
            batch = NULL;
        }
    }
    atomic_fetch_sub_explicit(&hub->queue_bytes, turn->bytes, memory_order_relaxed);
    hand_out(hub, turn, batch, result);
    hub_batch_unref(batch);
}

/* ---- copies of the store ---- */

static void answer_backup(struct hub *hub, struct hub_backup *backup, int result)
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
static int step_backup(struct hub *hub, struct hub_backup *backup)
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

static void serve_backup(struct hub *hub, struct hub_backup *backup)
{
    int result = step_backup(hub, backup);

    if (result <= 0)
        answer_backup(hub, backup, result);
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
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
    return result;
}

void hub_refuse_backups(struct hub *hub)
{
    hub->refuses_backups = true;
}

/* ---- the thread ---- */

static void measure_if_due(struct hub *hub)
{
    int64_t now_ms = clock_mono_ms();
    size_t events_n, bytes;

    if (now_ms - hub->measured_ms < TRIM_EVERY_MS)
        return;
    hub->measured_ms = now_ms;
    history_usage(hub->history, &events_n, &bytes);
    stats_set(&hub->stats, STATS_HISTORY_EVENTS, (int64_t)events_n);
    stats_set(&hub->stats, STATS_HISTORY_BYTES, (int64_t)bytes);
    stats_set(&hub->stats, STATS_QUEUE_BYTES, (int64_t)hub->queue_bytes);
}

static void wait_for_work(struct hub *hub)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TRIM_EVERY_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_cond_timedwait(&hub->wake, &hub->lock, &until);
}

static void *run(void *arg)
{
    struct hub *hub = arg;
    struct turn turn;
    struct hub_backup *backup;
    bool more_to_trim = false;

    pthread_setname_np(pthread_self(), "bugle-hub");
    pthread_mutex_lock(&hub->lock);
    for (;;) {
        if (STAILQ_EMPTY(&hub->waiting)) {
            hub->oldest_ns = 0;
            if (hub->stopping)
                break;
            if (!more_to_trim && hub->backup == NULL)
                wait_for_work(hub);
        }
        take_turn(hub, &turn);
        backup = hub->backup;
        pthread_mutex_unlock(&hub->lock);
        if (!STAILQ_EMPTY(&turn.ops))
            serve(hub, &turn);
        /* also when nobody publishes, to keep the bound of age */
        more_to_trim = history_trim(hub->history, clock_wall_ms());
        if (backup != NULL)
            serve_backup(hub, backup);
        measure_if_due(hub);
        pthread_mutex_lock(&hub->lock);
        if (!STAILQ_EMPTY(&hub->waiting))
            hub->oldest_ns = STAILQ_FIRST(&hub->waiting)->submitted_ns;
    }
    hub->stopped = true;
    backup = hub->backup;
    pthread_mutex_unlock(&hub->lock);
    if (backup != NULL)
        answer_backup(hub, backup, -ESHUTDOWN);
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
    pthread_cond_signal(&hub->wake);
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

struct history *hub_history(const struct hub *hub)
{
    return hub->history;
}

struct stats *hub_stats(struct hub *hub)
{
    return &hub->stats;
}
