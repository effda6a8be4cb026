/* SPDX-License-Identifier: MIT */
/* What a turn of the hub brought becomes a commit.  See hub.h. */
#include "config.h"
#include "hub/hub_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/* Behind less than this, waiting says nothing about the pace: the sync is all of it.  So much may
 * wait however slow the store is, or else nobody would ever learn that it is fast again. */
#define PACE_BYTES_MIN ((size_t)65536)
#define ROOM_BYTES_MIN (2 * PACE_BYTES_MIN)
/* The pace is a mean in which a turn weighs this much less with each that follows. */
#define PACE_KEEPS(value) ((value) - (value) / 8)

/* ---- batches ---- */

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

struct hub_batch *hub_batch_new(size_t events_n)
{
    struct hub_batch *batch = malloc(sizeof(*batch) + events_n * sizeof(struct message *));

    if (batch == NULL)
        return NULL;
    atomic_init(&batch->refs, 1);
    batch->cut = HUB_CUT_NONE;
    batch->lineage = NULL;
    batch->events_n = 0;
    batch->bytes = 0;
    return batch;
}

void hub_batch_add(struct hub_batch *batch, struct message *event)
{
    batch->events[batch->events_n++] = event;
    batch->bytes += event->bytes;
}

/* ---- idempotency keys ---- */

/* Whether an event with the same key stands in this commit already. */
static int find_key_in_commit(const struct hub *hub, const struct message *message,
                              uint64_t *ret_position)
{
    const struct idempotency_entry *entry = idempotency_table_find(hub->keys, message);

    if (entry == NULL)
        return HISTORY_KEY_NEW;
    *ret_position = entry->position;
    return idempotency_entry_is_same(entry, message) ? HISTORY_KEY_SAME : HISTORY_KEY_OTHER;
}

/* Whether the log has said that the key of an event of the group under way is taken: by an event
 * that is the same, as others are refused at once. */
static bool is_taken(const struct hub *hub, const struct message *message, uint64_t *ret_position)
{
    const struct idempotency_entry *entry =
        hub->taken != NULL ? idempotency_table_find(hub->taken, message) : NULL;

    if (entry != NULL)
        *ret_position = entry->position;
    return entry != NULL;
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
    if (message->key_n > 0 && is_taken(hub, message, ret_position))
        return HISTORY_KEY_SAME;
    *ret_in_commit |= message->kind == MESSAGE_STORED;
    return message->key_n > 0 ? find_key_in_commit(hub, message, ret_position) : known;
}

int hub_find_duplicates(struct hub *hub, struct hub_op *op, int64_t now_ms)
{
    op->in_commit = false;
    for (size_t i = 0; i < op->events_n; i++) {
        int known = find_first(hub, op->events[i], now_ms, &op->duplicate_of[i], &op->in_commit);

        if (known == HISTORY_KEY_OTHER)
            op->conflict_at = i;
        if (known != HISTORY_KEY_NEW && known != HISTORY_KEY_SAME) {
            op->in_commit = false;
            return known < 0 ? known : -EEXIST;
        }
    }
    return 0;
}

bool hub_is_repeat(const struct hub_op *op, size_t index)
{
    return op->duplicate_of != NULL && op->duplicate_of[index] != 0;
}

/* ---- the commit ---- */

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

/* Put the events of an operation into the commit under way. */
static int take_events(struct hub *hub, struct hub_op *op, int64_t now_ms)
{
    for (size_t i = 0; i < op->events_n; i++) {
        if (hub_is_repeat(op, i) || op->events[i]->kind != MESSAGE_STORED)
            continue;
        hub->stored[hub->stored_n++] = op->events[i];
        if (op->events[i]->key_n > 0 &&
            idempotency_table_put(hub->keys, op->events[i], hub->committed + hub->stored_n,
                                  now_ms) != 0)
            return -ENOMEM;
    }
    return 0;
}

/* Decide what each operation adds to the commit: those that are refused add nothing. */
static int gather_events(struct hub *hub, struct hub_turn *turn, int64_t now_ms)
{
    struct hub_op *op;

    hub->stored_n = 0;
    idempotency_table_clear(hub->keys);
    if (reserve_stored(hub, turn->events_n) != 0)
        return -ENOMEM;
    STAILQ_FOREACH (op, &turn->ops, link) {
        if (op->duplicate_of != NULL)
            op->result = hub_find_duplicates(hub, op, now_ms);
        if (op->result == 0 && take_events(hub, op, now_ms) != 0)
            return -ENOMEM;
    }
    return 0;
}

/* Commit the stored events of a turn as one group. */
static int commit(struct hub *hub, struct hub_turn *turn, int64_t now_ms)
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
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    /* the store itself says when it has no room or is not in its place, and when that is over */
    if (result != -ENOSPC && result != -ESTALE && log_valve_open(&hub->failure_valve, &skipped))
        log_error("publishing failed: the store said error %d%s", -result,
                  log_skipped(more, skipped));
}

/* One row of all events in the order of their operations, ephemeral ones sealed in their place. */
static void fill_batch(struct hub *hub, const struct hub_turn *turn, struct hub_batch *batch,
                       int64_t now_ms)
{
    uint64_t position = hub->committed;
    struct hub_op *op;

    STAILQ_FOREACH (op, &turn->ops, link)
        for (size_t i = 0; op->result == 0 && i < op->events_n; i++) {
            struct message *message = op->events[i];

            if (hub_is_repeat(op, i)) {
                stats_add(&hub->stats, STATS_EVENTS_REPEATED, 1);
                continue;
            }
            if (message->kind == MESSAGE_STORED) {
                position = message->position;
            } else {
                message_seal(message, history_epoch(hub->history), position, now_ms);
                stats_add(&hub->stats, STATS_EVENTS_EPHEMERAL, 1);
            }
            hub_batch_add(batch, message_ref(message));
            stats_add(&hub->stats, STATS_BYTES_PUBLISHED, message->frame_n);
        }
    atomic_store_explicit(&hub->committed, position, memory_order_release);
}

/* A commit that failed is the answer to all that depend on it; what only live streams get, and
 * what was stored before, does not. */
static void fail_ops(struct hub_turn *turn, int result, bool all)
{
    struct hub_op *op;

    STAILQ_FOREACH (op, &turn->ops, link)
        if (op->in_commit || (all && op->events_n > 0))
            op->result = result;
}

void hub_hand_out(struct hub *hub, struct hub_ops *ops, struct hub_batch *batch)
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
static struct hub_batch *make_batch(struct hub *hub, struct hub_turn *turn)
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
        batch->lineage = history_lineage(hub->history);
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

void hub_learn_pace(struct hub *hub, const struct hub_turn *turn)
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

void hub_serve(struct hub *hub, struct hub_turn *turn)
{
    struct hub_batch *batch = turn->events_n > 0 ? make_batch(hub, turn) : NULL;

    if (turn->claimed)
        history_unclaim(hub->history);
    hub_learn_pace(hub, turn);
    atomic_fetch_sub_explicit(&hub->queue_bytes, turn->bytes, memory_order_relaxed);
    hub_hand_out(hub, &turn->ops, batch);
    hub_batch_unref(batch);
}
