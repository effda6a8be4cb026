/* SPDX-License-Identifier: MIT */
/*
 * A group of events, or an order, that a node appends to the shared log, from its first sending to
 * the moment when it is known what became of it.  An answer may get lost, the log may go back
 * behind the group while it waits, and another copy of it may still be on its way; so it is sent
 * again, with the same number, until it is settled or given up.
 *
 *     NONE --> READY --> SENT --> STORED --> OVER
 *                ^         |        |
 *                +---------+--------+   no answer, another term
 *
 * A group is stored for good, as far as the promise goes, when the log has said so and the tail has
 * brought it: then all before it is here too.  An order is done then, here.
 *
 * An order that a term took with it, or that its node cannot tell to be there, is sent again as a
 * group is, and stands in the next term at another place.  Nodes that had done it do it again.
 * Pure.
 */
#ifndef BUGLE_LOG_GROUP_H
#define BUGLE_LOG_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/shared_log.h"

enum log_group_state {
    LOG_GROUP_NONE,
    LOG_GROUP_READY,  /* to be sent, perhaps again, once the node has attached */
    LOG_GROUP_SENT,   /* its answer will come */
    LOG_GROUP_STORED, /* the tail will bring it */
    LOG_GROUP_OVER,   /* see `outcome` */
};

/* Begin with zeros. */
struct log_group {
    enum log_group_state state;
    uint64_t seq;      /* of this group, or of the last one; never used twice by a writer */
    uint32_t events_n; /* that take a position; 0: it is an order */
    bool unknown;      /* an answer is missing: it may be stored */
    bool seen;         /* the log said once that it is, though not by all that the promise names */
    bool arrived;      /* the tail has brought it, in the term that was attached last */

    /* Where it stands; 0: not known, or no longer there.  With SHARED_LOG_DONE: for good.  Of an
     * order the position after the one that it stands behind. */
    uint64_t first;
    int64_t at_ms;

    /* With OVER: DONE; KEYS, FULL, UNREACHABLE, REFUSED: not stored; UNCONFIRMED: stored by the
     * log, but the promise is not kept; LOST: unknown. */
    enum shared_log_outcome outcome;
};

/* Where a history stands after its node has attached. */
struct log_group_attached {
    uint64_t newest;   /* its newest position */
    uint64_t trimmed;  /* what the log no longer has: nor does it know whose that was */
    bool has_gap;      /* the history begins behind what the log no longer had */
    bool is_same_term; /* as before */
};

/* Another group, after one that is over.  Without events it is an order. */
void log_group_begin(struct log_group *group, uint32_t events_n);

void log_group_sent(struct log_group *group); /* READY: shared_log_append() took it */

/*
 * The answer.  One to an earlier group changes nothing.
 *
 * newest  the newest position in the history
 *
 * Afterwards it may be READY: at once after TERM and LOST, once the node has attached; and after a
 * while where the log would not store it now.
 */
void log_group_answered(struct log_group *group, const struct shared_log_appended *appended,
                        uint64_t newest);

/* The tail has brought an entry of this writer, and it is in the history; an order is done, or
 * about to be. */
void log_group_arrived(struct log_group *group, uint64_t seq, uint64_t first, int64_t at_ms);

/* The node has attached, and its history is cut off where it has to be. */
void log_group_attached(struct log_group *group, const struct log_group_attached *attached);

/* It has waited for too long. */
void log_group_give_up(struct log_group *group);

/* It was answered: there is none. */
void log_group_end(struct log_group *group);

#endif
