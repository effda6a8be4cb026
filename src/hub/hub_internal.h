/* SPDX-License-Identifier: MIT */
/* What the files of the hub share: hub.c has the queue, the turns and the thread, hub_commit.c
 * makes a turn's operations a commit and hands out what came of it, hub_owner.c gives the store to
 * another process and takes it back, hub_share.c and its parts do all of that on a log that several
 * gateways have. */
#ifndef BUGLE_HUB_INTERNAL_H
#define BUGLE_HUB_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "history/idempotency_table.h"
#include "hub/hub.h"

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
    enum history_durability durability; /* what is promised: the store's, or of a shared log */
    SLIST_HEAD(, hub_listener) listeners;
    unsigned listeners_n;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* over the next ten */
    pthread_cond_t wake;
    struct hub_ops waiting;
    struct hub_backup *backup; /* asked for, until its answer; NULL: none */
    enum hub_mode mode;
    struct hub_change *change; /* while leaving or returning */
    struct hub_relay *relay;   /* while forwarding */
    bool serving;              /* a thread serves a turn; it looks at `waiting` at its end */
    bool thread_waits;         /* for the end of such a turn */
    bool stopping;
    bool stopped;

    _Atomic bool refuses_backups;
    bool backup_begun; /* the turn's own, as are the next two */
    int64_t paced_ns;  /* how long the latest have waited, and behind how many bytes */
    int64_t paced_bytes;
    _Atomic size_t queue_bytes;
    _Atomic size_t room_bytes;
    _Atomic bool patient; /* nothing is too old: the store is on its way, or another process's */
    _Atomic int64_t oldest_ns; /* when the oldest unanswered operation came; 0: there is none */
    _Atomic uint64_t committed;
    _Atomic bool is_cut_off; /* from the log that is shared (hub_share.h) */

    struct message **stored; /* the events of one commit, and room for more */
    size_t stored_n;
    size_t stored_room;
    struct idempotency_table *keys;  /* of that commit */
    struct hub_share *share;         /* the order that others have too (hub_share.h); NULL: none */
    struct idempotency_table *taken; /* keys that the log says are taken, of the group under way;
                                      * NULL without a log */
    int64_t kept_house_ms;
    struct log_valve failure_valve;
    struct stats stats;
};

/* What one turn works on: operations of one commit, and their events in one row. */
struct hub_turn {
    struct hub_ops ops;
    size_t events_n;
    size_t bytes;
    bool claimed; /* the store, until the commit */
};

/* Commit what a turn brought, and give everybody what came of it.  Takes the operations. */
void hub_serve(struct hub *hub, struct hub_turn *turn);

/* Give the batch to every worker and every answer to its own, the batch first.  Takes the
 * operations, borrows the batch; NULL: there is none. */
void hub_hand_out(struct hub *hub, struct hub_ops *ops, struct hub_batch *batch);

/* Find out which events of an operation came before, in the history or in the commit under way.
 * Returns 0, -EEXIST, or -errno of the store. */
int hub_find_duplicates(struct hub *hub, struct hub_op *op, int64_t now_ms);
bool hub_is_repeat(const struct hub_op *op, size_t index);

/* Of all that is answered now, the one that had most before it says how fast that went: reading
 * bodies, the commit before, the own.  (Whatever the stages cost, at a room of pace times wait the
 * last in the queue waits for just that time.) */
void hub_learn_pace(struct hub *hub, const struct hub_turn *turn);

/* Also when nobody publishes, to keep the bound of age; and not after every commit, since a step
 * may cost as much as a commit.  Returns whether there is more to do at once. */
bool hub_keep_house(struct hub *hub, bool more);

/* The next step of the copy under way.  Returns whether there is more to do. */
bool hub_step_backup(struct hub *hub);

/* Have the thread look at what it has to do.  With the lock or without. */
void hub_wake(struct hub *hub);

/* Tell all of these that nobody serves them any more.  Any thread, without the lock. */
void hub_answer_unserved(struct hub *hub, struct hub_ops *ops);

/* End the copy under way with this result. */
void hub_answer_backup(struct hub *hub, struct hub_backup *backup, int result);

/* One turn of a hub whose store is not, or not surely, its own.  With the lock held, which is let
 * go of meanwhile.  Returns whether to go on. */
bool hub_turn_away(struct hub *hub);

/* Serve as one of several, until the store is to change hands or the hub is to stop; then the log
 * is left and what waits is in the queue again.  With the lock held, which is let go of meanwhile.
 */
void hub_share_serve(struct hub *hub);
void hub_share_wake(struct hub_share *share);
void hub_share_free(struct hub_share *share); /* accepts NULL */

#endif
