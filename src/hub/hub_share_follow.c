/* SPDX-License-Identifier: MIT */
/* A hub on a shared log: what the log brings goes to the workers.  See hub_share.h. */
#include "config.h"

#include "base/log.h"
#include "hub/hub_share_internal.h"

void share_flush(struct hub_share *share)
{
    struct hub_batch *batch = share->batch;

    if (batch == NULL && STAILQ_EMPTY(&share->answers))
        return;
    share->batch = NULL;
    hub_hand_out(share->hub, &share->answers, batch);
    hub_batch_unref(batch);
}

void share_put_batch(struct hub_share *share, struct hub_batch *batch)
{
    if (share->batch != NULL)
        share_flush(share);
    share->batch = batch;
    batch->lineage = share->lineage = history_lineage(share->hub->history);
    stats_add(&share->hub->stats, STATS_HUB_BATCHES, 1);
}

/* They are in the history: there is no way back. */
static struct hub_batch *new_batch(size_t events_n)
{
    struct hub_batch *batch = hub_batch_new(events_n);

    if (batch == NULL)
        log_abort_without_memory("hub");
    return batch;
}

void share_events(void *arg, struct message *const *events, size_t events_n)
{
    struct hub_share *share = arg;
    struct hub_batch *batch = new_batch(events_n);
    uint64_t position = share->hub->committed;

    for (size_t i = 0; i < events_n; i++) {
        hub_batch_add(batch, message_ref(events[i]));
        if (events[i]->kind == MESSAGE_STORED)
            position = events[i]->position;
    }
    stats_add(&share->hub->stats, STATS_EVENTS_FOLLOWED, (int64_t)events_n);
    atomic_store_explicit(&share->hub->committed, position, memory_order_release);
    share_put_batch(share, batch);
    share_release_held(share);
    /* before the log is asked for more, unless answers will go with it */
    if (!share->has_turn)
        share_flush(share);
}

static void tell_cut(struct hub_share *share, enum hub_cut cut, uint64_t position)
{
    struct hub_batch *batch = new_batch(0);

    batch->cut = cut;
    batch->cut_at = position;
    atomic_store_explicit(&share->hub->committed, position, memory_order_release);
    share_put_batch(share, batch);
    share_flush(share);
}

void share_tell_lineage(struct hub_share *share)
{
    if (share->lineage == history_lineage(share->hub->history))
        return;
    share_put_batch(share, new_batch(0));
    share_flush(share);
}

void share_cut(void *arg, const struct log_follower_cut *cut)
{
    struct hub_share *share = arg;

    if (cut->is_cut) {
        stats_add(&share->hub->stats, STATS_LOG_CUTS, 1);
        log_warning("the shared log has lost events that this node had: a term ended at position "
                    "%llu, and clients that were told more get a reset",
                    (unsigned long long)cut->end);
        tell_cut(share, HUB_CUT_TERM, cut->end);
    }
    if (cut->gap != LOG_FOLLOWER_NO_GAP) {
        stats_add(&share->hub->stats, STATS_LOG_GAPS, 1);
        log_warning("this node's history begins anew behind position %llu: %s",
                    (unsigned long long)cut->begin,
                    cut->gap == LOG_FOLLOWER_GAP_DAMAGED
                        ? "the log's events up to there cannot be read"
                        : "the log does not have the events up to there any more");
        tell_cut(share, HUB_CUT_GAP, cut->begin);
    }
}

void share_order(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n)
{
    struct hub_share *share = arg;

    share_flush(share); /* what stands before it in the log comes before it everywhere */
    share->conf.order(share->conf.arg, from, seq, order, order_n);
}
