/* SPDX-License-Identifier: MIT */
/*
 * A node that follows the shared log: its history becomes the log's order, entry by entry, and when
 * the log comes back from a failure with another past, the history is cut off where they part.
 *
 * What streams were told and is no longer so is told to them: they get `reset`.  Nothing is passed
 * over: an entry stands right behind the one before, in the term that the node has attached to or
 * in one that had not ended there, and can be read, or the node attaches anew.
 *
 * An order is done once by each process, at its place: after all events before it are in the
 * history and handed out, and before any that follow.  Which were done is known by epoch and place,
 * since within a term they have one order.
 *
 *     same term again     it goes on behind the last order that was done
 *     another term        it looks at all orders behind the newest position, and does those that it
 *                         has not done; also what this term has in the place of others
 *     first of a process  the same: it may have served streams before it came to the log.  An order
 *                         spares what began after it (api/node_service.h)
 *     lost by a term      it may be done at some nodes and not at others: it is as lost as an event
 *                         is, and who gave it was told by the outcome (log_group.h)
 *     in a gap            it is lost to this node, as the events there are
 *     unreadable,         it is lost to this node, which counts it and goes on: no stream has
 *     or trimmed          missed an event
 *     of another log      it is of an earlier term and behind one of a later: attach
 *
 * No I/O but the history's.  Of the thread that writes the history (history.h).
 */
#ifndef BUGLE_LOG_FOLLOWER_H
#define BUGLE_LOG_FOLLOWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/log_entry.h"
#include "cluster/log_group.h"
#include "cluster/shared_log.h"
#include "history/history.h"

enum log_follower_result {
    LOG_FOLLOWER_FINE,
    LOG_FOLLOWER_TERM,    /* of another term: attach */
    LOG_FOLLOWER_EXPIRED, /* what comes before it is gone: attach, and begin behind */
    LOG_FOLLOWER_DAMAGED, /* it cannot be read: attach, and begin behind it */
    LOG_FOLLOWER_FORMAT,  /* of a later version: follow no more until this node is upgraded */
    LOG_FOLLOWER_FAILED,  /* the history, or out of memory; see `error`.  Try again later */
};

/* Why a history begins anew. */
enum log_follower_gap { LOG_FOLLOWER_NO_GAP, LOG_FOLLOWER_GAP_EXPIRED, LOG_FOLLOWER_GAP_DAMAGED };

/* How far the orders of an epoch are done. */
struct log_follower_mark {
    char epoch[SSE_EPOCH_BYTES];
    uint64_t last; /* up to this position, and behind it */
    uint64_t sub;  /* so many */
};

/* Begin with log_follower_init(). */
struct log_follower {
    struct history *history;  /* borrowed */
    _Atomic int64_t *account; /* where events are counted, see message_charge(); NULL: nowhere */
    char writer[SHARED_LOG_WRITER_BYTES];
    struct log_group group; /* what this node appends; see log_group.h */
    bool attached;          /* to the term of the history's epoch */
    int error;              /* with LOG_FOLLOWER_FAILED: -errno */

    /* What the next attaching begins behind, since it cannot be had; 0: nothing. */
    uint64_t gap_end;
    enum log_follower_gap gap;
    uint64_t strange, strange_sub; /* the entry for whose term it attaches anew; 0: none */

    /* Orders. */
    bool has_read; /* an entry, ever: what was trimmed before is older than the process */
    uint64_t sub;  /* so many behind the newest position were read, or are none of ours, */
    char sub_epoch[SSE_EPOCH_BYTES + 1]; /* the last of them in this epoch; empty: not known */
    uint64_t orders_lost;                /* to this node */
    size_t marks_n;
    struct log_follower_mark marks[2 * LINEAGE_TERMS_MAX]; /* more than a lineage has epochs */
};

/* What streams have to be told when a node has attached, in this order. */
struct log_follower_cut {
    /* A term ended at `end` and more than that had been in the history: who was told more gets
     * `reset` with the reason `epoch`.  All others go on; but a stream that waits with an id beyond
     * the newest position asks the lineage again. */
    bool is_cut;
    uint64_t end;

    /* The history begins behind `begin` and the events before are not to be had: who was told less
     * gets `reset` for that reason. */
    enum log_follower_gap gap;
    uint64_t begin;
};

/* What entries brought, for log_follower_batch_clear(). */
struct log_follower_batch {
    size_t entries_n; /* so many of them */
    /* sealed, a reference each; the stored ones are in the history, ephemeral ones stand between */
    size_t events_n;
    struct message **events;
    /* to be done once the events are handed out; within the entry that was read; NULL: none */
    const char *order;
    size_t order_n;
    char order_writer[SHARED_LOG_WRITER_BYTES]; /* whose it is, */
    uint64_t order_seq;                         /* and which of his */
};

/* writer  "node.incarnation", borrowed for the call; nobody else ever writes under it */
void log_follower_init(struct log_follower *follower, struct history *history, const char *writer);

/* For shared_log_attach().  Borrows `epoch_new`.  From here on nothing is followed until
 * log_follower_attached(). */
void log_follower_attach(struct log_follower *follower, const char *epoch_new,
                         struct shared_log_node *ret_node);

/*
 * The log was attached to: cut the history off where it has to be, and take the log's lineage over.
 * Then follow from the history's newest position on, behind `sub` of its orders, see
 * shared_log_tail().
 *
 * state  its lineage is taken, also when this fails
 *
 * Returns LOG_FOLLOWER_FINE or LOG_FOLLOWER_FAILED; `ret_cut` is set in both cases, and streams
 * have to be told.
 */
enum log_follower_result log_follower_attached(struct log_follower *follower,
                                               struct shared_log_state *state,
                                               struct log_follower_cut *ret_cut);

/*
 * Entries of the tail, in order.  Those before the first that is not the next are applied to the
 * history together, also when the result is not LOG_FOLLOWER_FINE: they are in `ret_batch`, to be
 * handed out.  After any other result the tail is over.
 *
 * An order is the last of its batch: with LOG_FOLLOWER_FINE and fewer than all `entries_n`, call
 * again with the rest.
 */
enum log_follower_result log_follower_entries(struct log_follower *follower,
                                              const struct shared_log_entry *entries,
                                              size_t entries_n,
                                              struct log_follower_batch *ret_batch);
void log_follower_batch_clear(struct log_follower_batch *batch);

/* The answer to the group: log_group_answered(), unless it is about a place in another term, where
 * positions are others.  Returns LOG_FOLLOWER_FINE or LOG_FOLLOWER_TERM. */
enum log_follower_result log_follower_appended(struct log_follower *follower,
                                               const struct shared_log_appended *appended);

/* The position that the history has reached. */
uint64_t log_follower_newest(const struct log_follower *follower);

#endif
