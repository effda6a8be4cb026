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
#include "key_table.h"
#include "log.h"
#include "thread.h"

/* One commit takes at most so many events, so that the first of a long queue are not held up by
 * the last. */
#define BATCH_EVENTS_MAX 8192
#define HOUSEKEEPING_MS 250
/* Behind less than this, waiting says nothing about the pace: the sync is all of it.  So much may
 * wait however slow the store is, or else nobody would ever learn that it is fast again. */
#define PACE_BYTES_MIN ((size_t)65536)
#define ROOM_BYTES_MIN (2 * PACE_BYTES_MIN)
/* The pace is a mean in which a turn weighs this much less with each that follows. */
#define PACE_KEEPS(value) ((value) - (value) / 8)

/* Whose the store is.  Legal: OWNS > LEAVING > AWAY > RETURNING > OWNS, AWAY > FORWARDS, and from
 * LEAVING back to OWNS when the store could not be given up. */
enum hub_mode {
    HUB_OWNS,
    HUB_LEAVING,
    HUB_AWAY, /* operations wait */
    HUB_RETURNING,
    HUB_FORWARDS,
};

struct hub {
    struct history *history;
    struct hub_limits limits;
    SLIST_HEAD(, hub_listener) listeners;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* over the next eight */
    pthread_cond_t wake;
    struct hub_ops waiting;
    struct hub_backup *backup; /* asked for, until its answer; NULL: none */
    enum hub_mode mode;
    struct hub_change *change; /* while leaving or returning */
    struct hub_relay *relay;   /* while forwarding */
    bool stopping;
    bool stopped;

    _Atomic bool refuses_backups;
    bool backup_begun; /* the thread's own */
    int64_t paced_ns;  /* how long the latest have waited, and behind how many bytes */
    int64_t paced_bytes;
    _Atomic size_t queue_bytes;
    _Atomic size_t room_bytes;
    _Atomic bool patient; /* nothing is too old: the store is on its way, or another process's */
    _Atomic int64_t oldest_ns; /* when the oldest unanswered operation came; 0: there is none */
    _Atomic uint64_t committed;

    struct message **stored; /* the events of one commit, and room for more */
    size_t stored_n;
    size_t stored_room;
    struct key_table *keys; /* of that commit */
    int64_t kept_house_ms;
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
    hub->keys = key_table_new();
    if (hub->keys == NULL) {
        free(hub);
        return NULL;
    }
    hub->history = history;
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
}

void hub_free(struct hub *hub)
{
    if (hub == NULL)
        return;
    assert(!hub->started || hub->stopped);
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->lock);
    key_table_free(hub->keys);
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
    if (was_empty && hub->oldest_ns == 0 && hub->mode != HUB_FORWARDS)
        hub->oldest_ns = now_ns;
    pthread_mutex_unlock(&hub->lock);
    /* not before, since the hub is more urgent than who submits and would run into the lock */
    if (was_empty)
        pthread_cond_signal(&hub->wake);
}

static bool has_stored(const struct hub_op *op)
{
    for (size_t i = 0; i < op->events_n; i++)
        if (op->events[i]->kind == MESSAGE_STORED)
            return true;
    return false;
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
        op->result = 0;
        op->in_commit = has_stored(op);
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

/* ---- idempotency keys ---- */

/* Whether an event with the same key stands in this commit already. */
static int find_key_in_commit(const struct hub *hub, const struct message *message,
                              uint64_t *ret_position)
{
    const struct key_entry *entry = key_table_find(hub->keys, message);

    if (entry == NULL)
        return HISTORY_KEY_NEW;
    *ret_position = entry->position;
    return key_entry_is_same(entry, message) ? HISTORY_KEY_SAME : HISTORY_KEY_OTHER;
}

/* Find out whether an event came before.  `ret_in_commit` is set when what came before, or else the
 * event itself, is not committed yet. */
static int find_first(struct hub *hub, const struct message *message, int64_t now_ms,
                      uint64_t *ret_position, bool *ret_in_commit)
{
    int known = HISTORY_KEY_NEW;

    *ret_position = 0;
    if (message->key_n > 0)
        known = history_find_key(hub->history, message, now_ms, ret_position);
    if (known != HISTORY_KEY_NEW)
        return known;
    *ret_in_commit |= message->kind == MESSAGE_STORED;
    return message->key_n > 0 ? find_key_in_commit(hub, message, ret_position) : known;
}

/* The same for all events of an operation.  Returns 0, -EEXIST, or -errno of the store. */
static int find_firsts(struct hub *hub, struct hub_op *op, int64_t now_ms)
{
    op->in_commit = false;
    for (size_t i = 0; i < op->events_n; i++) {
        int known = find_first(hub, op->events[i], now_ms, &op->firsts[i], &op->in_commit);

        if (known == HISTORY_KEY_OTHER)
            op->conflict_at = i;
        if (known != HISTORY_KEY_NEW && known != HISTORY_KEY_SAME) {
            op->in_commit = false;
            return known < 0 ? known : -EEXIST;
        }
    }
    return 0;
}

static bool is_repeat(const struct hub_op *op, size_t index)
{
    return op->firsts != NULL && op->firsts[index] != 0;
}

/* ---- the commit ---- */

/* Put the events of an operation into the commit under way. */
static int take_events(struct hub *hub, struct hub_op *op, int64_t now_ms)
{
    for (size_t i = 0; i < op->events_n; i++) {
        if (is_repeat(op, i) || op->events[i]->kind != MESSAGE_STORED)
            continue;
        hub->stored[hub->stored_n++] = op->events[i];
        if (op->events[i]->key_n > 0 &&
            key_table_put(hub->keys, op->events[i], hub->committed + hub->stored_n, now_ms) != 0)
            return -ENOMEM;
    }
    return 0;
}

/* Decide what each operation adds to the commit: those that are refused add nothing. */
static int gather_events(struct hub *hub, struct turn *turn, int64_t now_ms)
{
    struct hub_op *op;

    hub->stored_n = 0;
    key_table_clear(hub->keys);
    if (reserve_stored(hub, turn->events_n) != 0)
        return -ENOMEM;
    STAILQ_FOREACH (op, &turn->ops, link) {
        if (op->firsts != NULL)
            op->result = find_firsts(hub, op, now_ms);
        if (op->result == 0 && take_events(hub, op, now_ms) != 0)
            return -ENOMEM;
    }
    return 0;
}

/* Commit the stored events of a turn as one group. */
static int commit(struct hub *hub, struct turn *turn, int64_t now_ms)
{
    int result = gather_events(hub, turn, now_ms);

    if (result == 0 && hub->stored_n > 0)
        result = history_append(hub->history, hub->stored, hub->stored_n, now_ms);
    if (result == 0)
        stats_add(&hub->stats, STATS_EVENTS_PUBLISHED, (int64_t)hub->stored_n);
    return result;
}

static void report_failure(struct hub *hub, int result)
{
    unsigned long skipped;

    /* the store itself says when it has no room, and when it has some again */
    if (result != -ENOSPC && log_valve_open(&hub->failure_valve, &skipped))
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
        for (size_t i = 0; op->result == 0 && i < op->events_n; i++) {
            struct message *message = op->events[i];

            if (is_repeat(op, i)) {
                stats_add(&hub->stats, STATS_EVENTS_REPEATED, 1);
                continue;
            }
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

struct hub_batch *hub_batch_new(size_t events_n)
{
    struct hub_batch *batch = malloc(sizeof(*batch) + events_n * sizeof(struct message *));

    if (batch == NULL)
        return NULL;
    atomic_init(&batch->refs, 1);
    batch->events_n = 0;
    batch->bytes = 0;
    return batch;
}

/* A commit that failed is the answer to all that depend on it; what only live streams get, and
 * what was stored before, does not. */
static void fail_ops(struct turn *turn, int result, bool all)
{
    struct hub_op *op;

    STAILQ_FOREACH (op, &turn->ops, link)
        if (op->in_commit || (all && op->events_n > 0))
            op->result = result;
}

/* Give the batch to every worker and every answer to its own, the batch first. */
static void hand_out(struct hub *hub, struct hub_ops *ops, struct hub_batch *batch)
{
    struct hub_listener *listener;
    struct hub_op *op;

    while ((op = STAILQ_FIRST(ops)) != NULL) {
        STAILQ_REMOVE_HEAD(ops, link);
        STAILQ_INSERT_TAIL(&op->from->answers, op, link);
    }
    SLIST_FOREACH(listener, &hub->listeners, link)
    if (batch != NULL || !STAILQ_EMPTY(&listener->answers)) {
        struct hub_ops answers = STAILQ_HEAD_INITIALIZER(answers);

        STAILQ_CONCAT(&answers, &listener->answers);
        listener->deliver(listener, batch, &answers);
    }
}

/* Commit what a turn brought.  Gives the batch, or NULL when nothing new came of it. */
static struct hub_batch *make_batch(struct hub *hub, struct turn *turn)
{
    int64_t now_ms = clock_wall_ms();
    /* before the commit, since afterwards there is no way back */
    struct hub_batch *batch = hub_batch_new(turn->events_n);
    int result = batch == NULL ? -ENOMEM : commit(hub, turn, now_ms);

    if (result != 0) {
        report_failure(hub, result);
        fail_ops(turn, result, batch == NULL);
    }
    if (batch != NULL)
        fill_batch(hub, turn, batch, now_ms);
    if (batch != NULL && batch->events_n > 0) {
        stats_add(&hub->stats, STATS_HUB_BATCHES, 1);
        return batch;
    }
    hub_batch_unref(batch);
    return NULL;
}

/* ---- how much may wait ---- */

/* What is answered in limits.queue_wait at the pace of late. */
static void set_room(struct hub *hub)
{
    double bytes_a_ns = (double)hub->paced_bytes / (double)hub->paced_ns;
    double bytes = bytes_a_ns * (double)hub->limits.queue_wait_max_ns;
    size_t room =
        bytes < (double)hub->limits.queue_bytes_max ? (size_t)bytes : hub->limits.queue_bytes_max;

    if (room < ROOM_BYTES_MIN)
        room = ROOM_BYTES_MIN;
    if (room > hub->limits.queue_bytes_max)
        room = hub->limits.queue_bytes_max;
    atomic_store_explicit(&hub->room_bytes, room, memory_order_relaxed);
}

/* Of all that is answered now, the one that had most before it says how fast that went: reading
 * bodies, the commit before, the own.  (Whatever the stages cost, at a room of pace times wait the
 * last in the queue waits for just that time.) */
static void learn_pace(struct hub *hub, const struct turn *turn)
{
    const struct hub_op *most = NULL, *op;

    if (hub->limits.queue_wait_max_ns == 0)
        return;
    STAILQ_FOREACH (op, &turn->ops, link)
        if (op->admitted_ns != 0 && (most == NULL || op->queued_bytes > most->queued_bytes))
            most = op;
    if (most == NULL || most->queued_bytes < PACE_BYTES_MIN)
        return;
    hub->paced_ns = PACE_KEEPS(hub->paced_ns) + clock_mono_ns() - most->admitted_ns + 1;
    hub->paced_bytes = PACE_KEEPS(hub->paced_bytes) + (int64_t)most->queued_bytes;
    set_room(hub);
}

static void serve(struct hub *hub, struct turn *turn)
{
    struct hub_batch *batch = turn->events_n > 0 ? make_batch(hub, turn) : NULL;

    learn_pace(hub, turn);
    atomic_fetch_sub_explicit(&hub->queue_bytes, turn->bytes, memory_order_relaxed);
    hand_out(hub, &turn->ops, batch);
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

/* ---- a store that changes hands ---- */

static void ask_for_change(struct hub *hub, enum hub_mode from, enum hub_mode to,
                           struct hub_change *change)
{
    pthread_mutex_lock(&hub->lock);
    assert(hub->mode == from && hub->change == NULL);
    hub->mode = to;
    hub->change = change;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
}

void hub_release(struct hub *hub, struct hub_change *change)
{
    hub->refuses_backups = true;
    hub->patient = true;
    ask_for_change(hub, HUB_OWNS, HUB_LEAVING, change);
}

void hub_reclaim(struct hub *hub, struct hub_change *change)
{
    ask_for_change(hub, HUB_AWAY, HUB_RETURNING, change);
}

void hub_forward(struct hub *hub, struct hub_relay *relay)
{
    pthread_mutex_lock(&hub->lock);
    assert(hub->mode == HUB_AWAY);
    hub->mode = HUB_FORWARDS;
    hub->relay = relay;
    hub->oldest_ns = 0;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
}

/* The lock is held when this is called and when it returns, not while the store changes hands. */
static void change_hands(struct hub *hub)
{
    struct hub_change *change = hub->change;
    struct hub_backup *backup = hub->backup;
    bool leaving = hub->mode == HUB_LEAVING;

    pthread_mutex_unlock(&hub->lock);
    if (backup != NULL)
        answer_backup(hub, backup, -ESHUTDOWN);
    change->result = leaving ? history_release(hub->history) : history_reclaim(hub->history);
    pthread_mutex_lock(&hub->lock);
    hub->change = NULL;
    hub->mode = leaving && change->result == 0 ? HUB_AWAY : HUB_OWNS;
    if (hub->mode == HUB_AWAY)
        return;
    hub->patient = false;
    hub->refuses_backups = !leaving && change->result != 0;
}

/* What has waited for a store is as good as new. */
static void renew_waiting(struct hub *hub)
{
    int64_t now_ns = clock_mono_ns();
    struct hub_op *op;

    STAILQ_FOREACH (op, &hub->waiting, link) {
        op->submitted_ns = now_ns;
        op->admitted_ns = 0;
    }
    hub->oldest_ns = STAILQ_EMPTY(&hub->waiting) ? 0 : now_ns;
}

static void forward_waiting(struct hub *hub)
{
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);
    struct hub_op *op;

    STAILQ_CONCAT(&ops, &hub->waiting);
    pthread_mutex_unlock(&hub->lock);
    STAILQ_FOREACH (op, &ops, link)
        stats_add(&hub->stats, STATS_PUBLISHES_RELAYED, op->events_n > 0);
    hub->relay->forward(hub->relay, &ops);
    pthread_mutex_lock(&hub->lock);
}

static void refuse_waiting(struct hub *hub)
{
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    STAILQ_CONCAT(&ops, &hub->waiting);
    pthread_mutex_unlock(&hub->lock);
    answer_unserved(hub, &ops);
    pthread_mutex_lock(&hub->lock);
}

/* One turn of a hub whose store is not, or not surely, its own.  Returns whether to go on. */
static bool turn_away(struct hub *hub)
{
    struct hub_change *change = hub->change;

    if (change != NULL) {
        change_hands(hub);
        if (hub->mode == HUB_OWNS)
            renew_waiting(hub);
        pthread_mutex_unlock(&hub->lock);
        change->done(change);
        pthread_mutex_lock(&hub->lock);
    } else if (hub->mode == HUB_FORWARDS && !STAILQ_EMPTY(&hub->waiting)) {
        forward_waiting(hub);
    } else if (hub->stopping) {
        refuse_waiting(hub);
        return false;
    } else {
        pthread_cond_wait(&hub->wake, &hub->lock);
    }
    return true;
}

void hub_relayed(struct hub *hub, struct hub_batch *batch, struct hub_ops *answers,
                 uint64_t committed, int64_t oldest_ns)
{
    struct hub_op *op;

    STAILQ_FOREACH (op, answers, link)
        atomic_fetch_sub_explicit(&hub->queue_bytes, op->bytes, memory_order_relaxed);
    hub->oldest_ns = oldest_ns;
    atomic_store_explicit(&hub->committed, committed, memory_order_release);
    history_follow(hub->history, committed);
    hand_out(hub, answers, batch);
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

/* Also when nobody publishes, to keep the bound of age; and not after every commit, since a step
 * may cost as much as a commit.  Returns whether there is more to do at once. */
static bool keep_house(struct hub *hub, bool more)
{
    int64_t now_ms = clock_mono_ms();

    if (!more && now_ms - hub->kept_house_ms < HOUSEKEEPING_MS)
        return false;
    hub->kept_house_ms = now_ms;
    more = history_trim(hub->history, clock_wall_ms());
    measure(hub);
    return more;
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

/* One turn of a hub that has its store. */
static bool turn_as_owner(struct hub *hub, bool more)
{
    struct hub_backup *backup = hub->backup;
    struct turn turn;

    take_turn(hub, &turn);
    pthread_mutex_unlock(&hub->lock);
    if (!STAILQ_EMPTY(&turn.ops))
        serve(hub, &turn);
    more = keep_house(hub, more);
    history_settle(hub->history);
    if (backup != NULL)
        serve_backup(hub, backup);
    pthread_mutex_lock(&hub->lock);
    if (!STAILQ_EMPTY(&hub->waiting))
        hub->oldest_ns = STAILQ_FIRST(&hub->waiting)->submitted_ns;
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
        if (hub->mode != HUB_OWNS) {
            if (!turn_away(hub))
                break;
            continue;
        }
        if (STAILQ_EMPTY(&hub->waiting)) {
            hub->oldest_ns = 0;
            if (hub->stopping)
                break;
            if (!more && hub->backup == NULL)
                wait_for_work(hub);
        }
        if (hub->mode == HUB_OWNS)
            more = turn_as_owner(hub, more);
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
