/* SPDX-License-Identifier: MIT */
/* A hub on a shared log: operations become a group of the log, and are answered when it is known
 * what became of that.  See hub_share.h. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "hub/hub_share_internal.h"

/* The place of a key's event within the group under way, until the log has said where that is. */
#define WITHIN_GROUP ((uint64_t)1 << 62)

/* ---- the queue ---- */

static bool is_new(const struct hub_op *op, size_t index, enum message_kind kind)
{
    return op->events[index]->kind == kind && !hub_is_repeat(op, index);
}

static bool has_new(const struct hub_op *op, enum message_kind kind)
{
    for (size_t i = 0; i < op->events_n; i++)
        if (is_new(op, i, kind))
            return true;
    return false;
}

static bool is_probe(const struct hub_op *op)
{
    return op->events_n == 0 && op->order == NULL;
}

/* For live streams only: it need not wait for the log. */
static bool is_ephemeral(const struct hub_op *op)
{
    return op->order == NULL && !has_new(op, MESSAGE_STORED);
}

static void put_answer(struct hub_share *share, struct hub_op *op, int result)
{
    op->result = result;
    atomic_fetch_sub_explicit(&share->hub->queue_bytes, op->bytes, memory_order_relaxed);
    STAILQ_INSERT_TAIL(&share->answers, op, link);
}

/* How long the oldest has waited, in a group or for one. */
static void note_oldest(struct hub_share *share)
{
    struct hub *hub = share->hub;
    const struct hub_op *oldest =
        share->has_turn ? STAILQ_FIRST(&share->turn.ops) : STAILQ_FIRST(&share->queued);

    pthread_mutex_lock(&hub->lock);
    if (oldest == NULL)
        oldest = STAILQ_FIRST(&hub->waiting);
    hub->oldest_ns = oldest != NULL ? oldest->submitted_ns : 0;
    pthread_mutex_unlock(&hub->lock);
}

void share_pull(struct hub_share *share)
{
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);
    struct hub_op *op;

    pthread_mutex_lock(&share->hub->lock);
    STAILQ_CONCAT(&ops, &share->hub->waiting);
    pthread_mutex_unlock(&share->hub->lock);
    while ((op = STAILQ_FIRST(&ops)) != NULL) {
        STAILQ_REMOVE_HEAD(&ops, link);
        op->result = 0;
        if (is_probe(op))
            put_answer(share, op, share_follows(share) ? 0 : HUB_LOG_UNREACHABLE);
        else if (is_ephemeral(op) && share_follows(share))
            put_answer(share, op, share_say(share, op));
        else
            STAILQ_INSERT_TAIL(&share->queued, op, link);
    }
}

void share_refuse_queued(struct hub_share *share, int error)
{
    struct hub_op *op;

    while ((op = STAILQ_FIRST(&share->queued)) != NULL) {
        STAILQ_REMOVE_HEAD(&share->queued, link);
        put_answer(share, op, error);
    }
}

static bool is_old(const struct hub_share *share, const struct hub_op *op, int64_t now_ns)
{
    return now_ns - op->submitted_ns > share->hub->limits.queue_age_max_ns;
}

/* A group that may be stored is waited for longer than one of which it is known that it is not. */
static bool is_turn_over(const struct hub_share *share, int64_t now_ns)
{
    const struct log_group *group = log_node_group(share->node);

    if (!share->has_turn)
        return false;
    if (group->state == LOG_GROUP_READY && !group->unknown && !group->seen)
        return is_old(share, STAILQ_FIRST(&share->turn.ops), now_ns);
    return now_ns - share->turn_ns > share->conf.answer_timeout_ns;
}

void share_expire(struct hub_share *share, int64_t now_ns)
{
    struct hub_op *op;

    if (share->hub->patient)
        return;
    if (is_turn_over(share, now_ns))
        log_node_give_up(share->node);
    while ((op = STAILQ_FIRST(&share->queued)) != NULL && is_old(share, op, now_ns)) {
        STAILQ_REMOVE_HEAD(&share->queued, link);
        put_answer(share, op, HUB_LOG_UNREACHABLE);
    }
}

/* ---- a group ---- */

static size_t count_keys(const struct hub_op *op)
{
    size_t keys_n = 0;

    for (size_t i = 0; i < op->events_n; i++)
        keys_n += op->events[i]->key_n > 0;
    return keys_n;
}

/* Move at most one group's worth of operations over; at least one if any waits.  An order is a
 * group of its own. */
static void take_turn(struct hub_share *share)
{
    struct hub_turn *turn = &share->turn;
    size_t keys_n = 0;
    struct hub_op *op;

    STAILQ_INIT(&turn->ops);
    turn->events_n = turn->bytes = 0;
    while ((op = STAILQ_FIRST(&share->queued)) != NULL) {
        bool is_first = STAILQ_EMPTY(&turn->ops);

        keys_n += count_keys(op);
        if (!is_first && (op->order != NULL || keys_n > SHARED_LOG_KEYS_MAX ||
                          turn->events_n + op->events_n > SHARED_LOG_EVENTS_MAX ||
                          turn->bytes + op->bytes > SHARED_LOG_BYTES_MAX))
            break;
        STAILQ_REMOVE_HEAD(&share->queued, link);
        STAILQ_INSERT_TAIL(&turn->ops, op, link);
        op->in_commit = false;
        turn->events_n += op->events_n;
        turn->bytes += op->bytes;
        if (op->order != NULL)
            break;
    }
}

static int reserve(struct hub_share *share, size_t events_n)
{
    if (events_n <= share->events_room)
        return 0;
    struct message **events = reallocarray(share->events, events_n, sizeof(*events));
    if (events == NULL)
        return -ENOMEM;
    share->events = events;
    struct share_place *places = reallocarray(share->places, events_n, sizeof(*places));
    if (places == NULL)
        return -ENOMEM;
    share->places = places;
    share->events_room = events_n;
    return 0;
}

/* Put what is new of an operation into the group, ephemeral events at their place. */
static int take_events(struct hub_share *share, struct hub_op *op, int64_t now_ms)
{
    op->in_commit = true;
    for (size_t i = 0; i < op->events_n; i++) {
        struct message *event = op->events[i];

        if (hub_is_repeat(op, i))
            continue;
        if (event->kind == MESSAGE_STORED && event->key_n > 0 &&
            idempotency_table_put(share->hub->keys, event, WITHIN_GROUP + share->stored_n,
                                  now_ms) != 0)
            return -ENOMEM;
        share->stored_n += event->kind == MESSAGE_STORED;
        share->events[share->events_n] = event;
        share->places[share->events_n++] = (struct share_place){op, i};
    }
    return 0;
}

/* What one operation adds to the group. */
static int gather_op(struct hub_share *share, struct hub_op *op, int64_t now_ms)
{
    if (op->duplicate_of != NULL && op->result == 0)
        op->result = hub_find_duplicates(share->hub, op, now_ms);
    if (op->result == 0 && has_new(op, MESSAGE_STORED))
        return take_events(share, op, now_ms);
    return 0;
}

/* Decide what each operation adds to the group: those that are refused add nothing.  Without memory
 * for all of them none is stored. */
static int gather_turn(struct hub_share *share)
{
    int result = reserve(share, share->turn.events_n);
    int64_t now_ms = clock_wall_ms();
    struct hub_op *op;

    idempotency_table_clear(share->hub->keys);
    share->events_n = share->stored_n = 0;
    STAILQ_FOREACH (op, &share->turn.ops, link) {
        if (result == 0)
            result = gather_op(share, op, now_ms);
        op->in_commit |= result != 0;
    }
    return result;
}

/* ---- its end ---- */

/* What becomes of an operation when that of the group is known.  What is left of one whose stored
 * events all came before is for live streams only. */
static int result_of(struct hub_share *share, struct hub_op *op, int result)
{
    if (op->result != 0)
        return op->result;
    if (op->in_commit)
        return result;
    return has_new(op, MESSAGE_EPHEMERAL) ? share_say(share, op) : 0;
}

/* Answer the operations of the turn; those that depend on the group with this. */
static void end_turn(struct hub_share *share, int result)
{
    struct hub_op *op;
    size_t ops_n = 0;

    share->has_turn = false;
    hub_learn_pace(share->hub, &share->turn);
    while ((op = STAILQ_FIRST(&share->turn.ops)) != NULL) {
        STAILQ_REMOVE_HEAD(&share->turn.ops, link);
        put_answer(share, op, result_of(share, op, result));
        ops_n++;
    }
    share_plan_gather(share, ops_n);
    idempotency_table_clear(share->hub->taken);
    note_oldest(share);
}

/* Nothing of the group is stored: who has not waited for long yet waits for the next. */
static void keep_young(struct hub_share *share)
{
    int64_t now_ns = clock_mono_ns();
    struct hub_ops young = STAILQ_HEAD_INITIALIZER(young), rest = STAILQ_HEAD_INITIALIZER(rest);
    struct hub_op *op;

    while ((op = STAILQ_FIRST(&share->turn.ops)) != NULL) {
        STAILQ_REMOVE_HEAD(&share->turn.ops, link);
        bool waits = op->result == 0 && op->in_commit && !is_old(share, op, now_ns);
        if (waits)
            STAILQ_INSERT_TAIL(&young, op, link);
        else
            STAILQ_INSERT_TAIL(&rest, op, link);
    }
    STAILQ_CONCAT(&share->turn.ops, &rest);
    STAILQ_CONCAT(&young, &share->queued);
    STAILQ_CONCAT(&share->queued, &young);
}

/* Now it is known where the group stands. */
static void place_events(struct hub_share *share, const struct log_group *group)
{
    const char *epoch = history_epoch(share->hub->history);
    uint64_t position = group->first;
    struct hub_op *op;

    for (size_t i = 0; i < share->events_n; i++)
        if (share->events[i]->kind == MESSAGE_STORED)
            message_seal(share->events[i], epoch, position++, group->at_ms);
    STAILQ_FOREACH (op, &share->turn.ops, link)
        for (size_t i = 0; op->duplicate_of != NULL && op->in_commit && i < op->events_n; i++)
            if (op->duplicate_of[i] >= WITHIN_GROUP)
                op->duplicate_of[i] = op->duplicate_of[i] - WITHIN_GROUP + group->first;
}

static void count_repeats(struct hub_share *share)
{
    const struct hub_op *op;

    STAILQ_FOREACH (op, &share->turn.ops, link)
        for (size_t i = 0; op->result == 0 && i < op->events_n; i++)
            stats_add(&share->hub->stats, STATS_EVENTS_REPEATED, hub_is_repeat(op, i));
}

void share_count_published(struct hub_share *share, const struct message *event)
{
    bool is_stored = event->kind == MESSAGE_STORED;

    stats_add(&share->hub->stats, is_stored ? STATS_EVENTS_PUBLISHED : STATS_EVENTS_EPHEMERAL, 1);
    stats_add(&share->hub->stats, STATS_BYTES_PUBLISHED, event->frame_n);
}

static int error_of(enum shared_log_outcome outcome)
{
    switch (outcome) {
    case SHARED_LOG_FULL:
        return HUB_LOG_FULL;
    case SHARED_LOG_REFUSED:
        return HUB_LOG_REFUSED;
    case SHARED_LOG_UNCONFIRMED:
        return HUB_LOG_UNCONFIRMED;
    case SHARED_LOG_LOST:
        return HUB_LOG_LOST;
    case SHARED_LOG_NO_MEMORY:
        return -ENOMEM;
    default:
        return HUB_LOG_UNREACHABLE;
    }
}

/* Nodes that publish with one key at once: what is the same is a repeat, and what is not refuses
 * its operation. */
static int note_taken(struct hub_share *share, const struct shared_log_taken *taken)
{
    const struct share_place *place = &share->places[log_node_key_index(share->node, taken->key)];
    const struct message *event = place->op->events[place->index];

    if (message_has_digest(event, taken->digest, taken->digest_n))
        return idempotency_table_put(share->hub->taken, event, taken->position, clock_wall_ms());
    place->op->conflict_at = place->index;
    place->op->result = -EEXIST;
    place->op->in_commit = false;
    return 0;
}

static void append(struct hub_share *share);

/* Take those out, and append the rest. */
static void append_rest(struct hub_share *share, const struct shared_log_appended *of)
{
    for (size_t i = 0; i < of->taken_n; i++)
        if (note_taken(share, &of->taken[i]) != 0) {
            end_turn(share, -ENOMEM);
            return;
        }
    append(share);
}

void share_settled(void *arg, const struct log_group *group, const struct shared_log_appended *of)
{
    struct hub_share *share = arg;
    struct hub_op *first = STAILQ_FIRST(&share->turn.ops);

    assert(share->has_turn);
    if (group->outcome == SHARED_LOG_KEYS && of != NULL) {
        append_rest(share, of);
        return;
    }
    if (group->outcome == SHARED_LOG_UNREACHABLE)
        keep_young(share);
    if (group->outcome != SHARED_LOG_DONE) {
        end_turn(share, error_of(group->outcome));
        return;
    }
    if (first->order != NULL) {
        first->order_seq = group->seq;
    } else {
        place_events(share, group);
        for (size_t i = 0; i < share->events_n; i++)
            share_count_published(share, share->events[i]);
    }
    count_repeats(share);
    end_turn(share, 0);
}

/* ---- its beginning ---- */

static int append_order(struct hub_share *share, struct hub_op *op)
{
    op->in_commit = true;
    return log_node_append_order(share->node, op->order, op->order_n);
}

/* Append what is new in the turn; answer it if nothing is. */
static void append(struct hub_share *share)
{
    struct hub_op *first = STAILQ_FIRST(&share->turn.ops);
    bool is_order = first->order != NULL;
    int result = is_order ? append_order(share, first) : gather_turn(share);

    if (result == 0 && !is_order && share->stored_n == 0) {
        count_repeats(share);
        end_turn(share, 0);
        return;
    }
    if (result == 0 && !is_order)
        result = log_node_append(share->node, share->events, share->events_n);
    if (result != 0)
        end_turn(share, result);
}

void share_begin_group(struct hub_share *share)
{
    while (!share->takes_none && !share->has_turn && !STAILQ_EMPTY(&share->queued) &&
           share_follows(share) && log_node_is_free(share->node) && !share_gathers(share)) {
        take_turn(share);
        share->has_turn = true;
        share->turn_ns = clock_mono_ns();
        append(share);
    }
    note_oldest(share);
}
