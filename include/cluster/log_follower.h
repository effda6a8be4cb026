/* SPDX-License-Identifier: MIT */
/*
 * A node that follows the shared log: its history becomes the log's order, entry by entry, and when
 * the log comes back from a failure with another past, the history is cut off where they part.
 *
 * What streams were told and is no longer so is told to them: they get `reset`.  Nothing is passed
 * over: an entry stands right behind the one before, in the term that the node has attached to or
 * in one that had not ended there, and can be read, or the node attaches anew.
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

/* Begin with log_follower_init(). */
struct log_follower {
    struct history *history; /* borrowed */
    char writer[SHARED_LOG_WRITER_BYTES];
    struct log_group group; /* what this node appends; see log_group.h */
    bool attached;          /* to the term of the history's epoch */
    int error;              /* with LOG_FOLLOWER_FAILED: -errno */

    /* What the next attaching begins behind, since it cannot be had; 0: nothing. */
    uint64_t gap_end;
    enum log_follower_gap gap;
    uint64_t strange; /* the entry for whose term it attaches anew; 0: none */
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

/* Events of entries that are in the history now, for log_follower_batch_clear(). */
struct log_follower_batch {
    size_t events_n;
    struct message **events; /* a reference each */
};

/* writer  "node.incarnation", borrowed for the call; nobody else ever writes under it */
void log_follower_init(struct log_follower *follower, struct history *history, const char *writer);

/* For shared_log_attach().  Borrows `epoch_new`.  From here on nothing is followed until
 * log_follower_attached(). */
void log_follower_attach(struct log_follower *follower, const char *epoch_new,
                         struct shared_log_node *ret_node);

/*
 * The log was attached to: cut the history off where it has to be, and take the log's lineage over.
 * Then follow from the history's newest position on, see shared_log_tail().
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
