/* SPDX-License-Identifier: MIT */
/* A store that changes hands: to another process and back, or what is published is forwarded to the
 * one that has it.  See hub.h. */
#include "config.h"
#include "hub/hub_internal.h"

#include <assert.h>
#include <errno.h>

#include "base/clock.h"

static void ask_for_change(struct hub *hub, enum hub_mode from, enum hub_mode to,
                           struct hub_change *change)
{
    pthread_mutex_lock(&hub->lock);
    assert(hub->mode == from && hub->change == NULL);
    hub->mode = to;
    hub->change = change;
    hub_wake(hub);
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
    hub_wake(hub);
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
        hub_answer_backup(hub, backup, -ESHUTDOWN);
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
    hub_answer_unserved(hub, &ops);
    pthread_mutex_lock(&hub->lock);
}

bool hub_turn_away(struct hub *hub)
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
    hub_hand_out(hub, answers, batch);
}
