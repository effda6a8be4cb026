/* SPDX-License-Identifier: MIT */
/*
 * The central dispatcher: takes publishes from all workers, gives them to the history as one group
 * commit, and only then hands the batch to every worker and the answers back to the publishers'
 * workers.  The order of commit is the order of ids is the order everywhere.
 *
 * It works in turns, one at a time, on a thread of its own.  But if that thread is idle, little was
 * submitted, and the store need not wait (history_claim()), hub_submit() runs the turn itself: two
 * wake-ups of a thread cost more than a commit in memory.  Below, "the hub's thread" means the
 * thread that runs the turn.
 *
 * Every operation that was submitted is answered, at a store failure and at shutdown too.  What
 * waits for its commit is bounded: in bytes, in age, and by how long it will wait, which follows
 * from how long the latest waited behind how much.  Past that hub_admit() says no.
 *
 * A hub can hand its store over to the hub of another process and then forward to that one: it
 * passes operations on, and gives the answers and events to its workers as if they were its own.
 * And several gateways can have one order: hub_share.h.
 */
#ifndef BUGLE_HUB_H
#define BUGLE_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/stats.h"
#include "event/message.h"
#include "history/history.h"

#define HUB_OP_EVENTS_MAX 1000

struct hub;

/* What happened to the history before a batch, where several gateways share one (lineage.h). */
enum hub_cut {
    HUB_CUT_NONE,
    HUB_CUT_TERM, /* a term ended: what was after `cut_at` is no more */
    HUB_CUT_GAP,  /* what was up to `cut_at` and did not come in time cannot be had any more */
};

/* Events that were committed together, shared by all workers.  Counted; immutable. */
struct hub_batch {
    _Atomic uint32_t refs;
    enum hub_cut cut;
    uint64_t cut_at;
    const struct lineage *lineage; /* of the history when this was handed out, which a worker may
                                    * hear of later than the history has another; NULL: as before */
    size_t events_n;
    size_t bytes;
    struct message *events[];
};

void hub_batch_unref(struct hub_batch *batch); /* accepts NULL */

/* One publish: the caller owns it and leaves it alone from hub_submit() to its answer. */
struct hub_op {
    STAILQ_ENTRY(hub_op) link;
    struct hub_listener *from; /* who gets the answer */
    struct message **events;   /* borrowed; none: a probe, answered without touching the store */
    size_t events_n;
    size_t bytes; /* of the events: what hub_admit() was asked for */

    /* Instead of events, where a log is shared (hub_share.h): what every node is to do.  Borrowed;
     * NULL: none. */
    const char *order;
    size_t order_n;
    uint64_t order_seq; /* set with the answer 0: its number, see hub_share_conf */

    /* Room for one number an event, or NULL when none has an idempotency key.  Set with the answer:
     * the position of the event that came first with the same key and is the same; 0: there is
     * none, this one was stored. */
    uint64_t *duplicate_of;

    /* Set with the answer: 0, or -errno and nothing of it was stored or sent.  -EEXIST: the key of
     * event `conflict_at` came before with other content. */
    int result;
    size_t conflict_at;

    int64_t submitted_ns; /* the hub's own use, as are the next three */
    int64_t admitted_ns;  /* 0: never asked for */
    size_t queued_bytes;  /* in all, with its own, when it was admitted */
    bool in_commit;       /* the answer depends on the commit under way */
};

STAILQ_HEAD(hub_ops, hub_op);

/*
 * A worker as the hub sees it.  `deliver` runs on the hub's thread and must only hand over:
 *
 * batch    borrowed for the call; take a reference to keep it; NULL when only answers came
 * answers  the listener's own operations, its to keep; may be empty
 */
struct hub_listener {
    void (*deliver)(struct hub_listener *listener, struct hub_batch *batch,
                    struct hub_ops *answers);
    struct hub_ops answers; /* the hub's own use */
    SLIST_ENTRY(hub_listener) link;
};

/*
 * A wish for a copy of the store.  The caller owns it and leaves it alone, but for `abandoned`,
 * from hub_request_backup() to its answer.
 */
struct hub_backup {
    void (*answer)(struct hub_backup *backup); /* on the hub's thread: must only hand over */
    _Atomic bool abandoned; /* by the caller: its answer is not needed any more */
    int result; /* with the answer: 0, or as history_backup_step(), -ESHUTDOWN or -ECANCELED */
    struct history_backup copy; /* with the result 0 */
};

/* A wish to give the store up or to take it back; the caller owns it until `done`. */
struct hub_change {
    void (*done)(struct hub_change *change); /* on the hub's thread: must only hand over */
    int result;                              /* set by then: 0 or -errno */
};

/*
 * Another process that has the store, once this one has given it up.  `forward` runs on the hub's
 * thread and takes the operations, whose answers come back later through hub_relayed().
 */
struct hub_relay {
    void (*forward)(struct hub_relay *relay, struct hub_ops *ops);
};

struct hub_limits {
    size_t queue_bytes_max;
    int64_t queue_age_max_ns;  /* of the oldest that waits: the store hangs */
    int64_t queue_wait_max_ns; /* as it is foreseen for the one that asks; 0: no such bound */
};

/* Make a hub over a history it borrows.  NULL when out of memory. */
struct hub *hub_new(struct history *history, const struct hub_limits *limits);

/* Before hub_start(). */
void hub_add_listener(struct hub *hub, struct hub_listener *listener);

/* Start the thread.  Returns 0 or -errno. */
int hub_start(struct hub *hub);

/* Answer everything that was submitted, then end the thread.  The listeners must still be there.
 * Operations submitted after this are answered -ESHUTDOWN at once, through `deliver`, on the
 * calling thread. */
void hub_stop(struct hub *hub);
void hub_free(struct hub *hub); /* accepts NULL; stopped or never started */

/*
 * Ask whether `bytes` more may wait, and count them if so; the answer to the operation counts
 * them off again.
 *
 * op  what they are for: how long it waits, from here to its answer, tells the pace.  Or NULL.
 *
 * False: overload, say 503.  Any thread; no lock.
 */
bool hub_admit(struct hub *hub, size_t bytes, struct hub_op *op);

/* What was admitted as `was` bytes costs `is`: before hub_submit(), when the events are made, or
 * with 0 when there will be no operation.  Any thread; no lock. */
void hub_charge(struct hub *hub, size_t was, size_t is);

/* Whether hub_admit() would say no to `bytes` now. */
bool hub_is_full(const struct hub *hub, size_t bytes);

/* How many bytes may wait now: limits.queue_bytes, or fewer where the store is slow. */
size_t hub_queue_room(const struct hub *hub);

/* For a hub_batch from elsewhere: room for so many events, one reference.  NULL when out of memory.
 */
struct hub_batch *hub_batch_new(size_t events_n);

/* The next event of a batch that has room for it.  Takes a reference. */
void hub_batch_add(struct hub_batch *batch, struct message *event);

/* Hand over operations, in order; the list is empty afterwards.  They may be answered, and the
 * batch delivered, by the time this returns.  Any thread; a lock, and with a turn the store's and
 * each worker's. */
void hub_submit(struct hub *hub, struct hub_ops *ops);

/*
 * Have a copy of the store made, a step after each commit, and one after the other while nothing is
 * published.  Returns 0, and the answer follows in any case; -EBUSY: one is being made; or
 * -ESHUTDOWN.  Any thread; one lock.
 */
int hub_request_backup(struct hub *hub, struct hub_backup *backup);

/* The gateway is about to stop: give up the copy that is being made, and make none any more. */
void hub_refuse_backups(struct hub *hub);

/*
 * For a hand-over (handover_old.h), in this order.  Main thread; each returns at once.
 *
 * hub_release()  have the store given up: what is being committed is committed and answered, and
 *                what is submitted from then on waits, at any age.  A copy that is being made is
 *                given up.  When it fails the hub goes on as before.
 * hub_reclaim()  or: have it taken back, and go on with what waits.  When that fails, all
 *                operations are answered with the error.
 * hub_forward()  or: pass on what waits and all that comes later, again at any age.
 */
void hub_release(struct hub *hub, struct hub_change *change);
void hub_reclaim(struct hub *hub, struct hub_change *change);
void hub_forward(struct hub *hub, struct hub_relay *relay);

/*
 * What the other process committed, and answers of its hub.
 *
 * batch      borrowed; NULL: none
 * answers    operations that `forward` took, their results set; the list is empty afterwards
 * committed  the last position committed there
 * oldest_ns  when the oldest operation was forwarded that is still unanswered; 0: there is none
 *
 * One thread at a time.
 */
void hub_relayed(struct hub *hub, struct hub_batch *batch, struct hub_ops *answers,
                 uint64_t committed, int64_t oldest_ns);

/* Whether a log is shared (hub_share.h) and out of reach: what is published waits for it, and is
 * then refused for that reason.  Any thread; no lock. */
bool hub_is_cut_off(const struct hub *hub);

/* What the answer to a publish promises, as a word: what the store does, or the shared log. */
const char *hub_durability_text(const struct hub *hub);

/* The last committed position.  A caller that has seen an id reads at least its position here. */
uint64_t hub_committed(const struct hub *hub);

/* How long the oldest operation has been waiting, 0 for none. */
int64_t hub_lag_ns(const struct hub *hub);

struct history *hub_history(const struct hub *hub);
struct stats *hub_stats(struct hub *hub);

#endif
