/* SPDX-License-Identifier: MIT */
/* What the parts of a hub on a shared log have in common: hub_share.c has the loop, its end, and
 * what others may know; hub_share_group.c makes operations a group of the log and answers them, and
 * hub_share_gather.c says when one is worth it;
 * hub_share_follow.c hands out what the log brings; hub_share_say.c has ephemeral events. */
#ifndef BUGLE_HUB_SHARE_INTERNAL_H
#define BUGLE_HUB_SHARE_INTERNAL_H

#include "hub/hub_internal.h"
#include "hub/hub_share.h"

/* Where an event of the group under way comes from. */
struct share_place {
    struct hub_op *op;
    size_t index;
};

/* A node that has said ephemeral events. */
struct share_writer {
    char name[SHARED_LOG_WRITER_BYTES];
    uint64_t seq; /* of its latest */
    int64_t heard_ms;
    size_t held_n;      /* of what is held, so many messages, */
    uint64_t held_look; /* and the look in which one of them had to wait on */
};

struct hub_share {
    struct hub *hub;
    struct hub_share_conf conf;
    struct event_base *base;
    int wake_fd;
    struct event *wake;
    struct event *tick;
    struct log_node *node; /* NULL: the log is not open */
    bool is_open;          /* with the lock of the facts: tasks are taken */
    bool has_left;         /* the lease was given up */
    bool takes_none;       /* the store is to change hands: no group is begun */
    int64_t ticked_ms;
    uint64_t group_seq; /* of the last group before the log was left */

    struct hub_ops queued; /* taken from the hub, in order; what waits for a group */
    struct hub_turn turn;  /* the operations of the group under way */
    bool has_turn;
    int64_t turn_ns;         /* when it was begun */
    size_t gather_n;         /* for as many operations the next one waits, */
    int64_t gather_until_ns; /* until then; 0: it does not wait */
    struct event *gather;    /* wakes the loop when it has waited for long enough */
    struct message **events; /* of that group, */
    struct share_place *places;
    size_t events_n;
    size_t stored_n; /* so many of them stored */
    size_t events_room;

    struct hub_batch *batch;       /* to be handed out together with the answers; NULL: none */
    const struct lineage *lineage; /* of what was handed out last; NULL: nothing was */
    struct hub_ops answers;

    TAILQ_HEAD(share_held_list, share_held)
    held; /* ephemeral events of others that are ahead of this node */
    size_t held_bytes;
    uint64_t held_look; /* counts looks at all that is held */
    uint64_t said_seq;  /* of this node's latest */
    struct share_writer writers[HUB_SHARE_NODES_MAX];

    struct shared_log_question question; /* for the log's last word */
    bool asks;
    _Atomic bool asks_soon;
    int64_t asked_ms;
    int64_t caught_up_ms; /* this node had all that the log had then */
    int64_t cut_off_ms;   /* since when the log is not followed; 0: it is */
    int64_t told_ms;      /* when the operator was told that it is not */

    pthread_mutex_t lock; /* over all that follows */
    struct hub_share_facts facts;
    STAILQ_HEAD(, hub_share_task) tasks;
};

/* ---- hub_share.c ---- */

bool share_follows(const struct hub_share *share);

/* ---- hub_share_group.c ---- */

/* Take what was submitted, and answer what has waited for too long. */
void share_pull(struct hub_share *share);
void share_expire(struct hub_share *share, int64_t now_ns);

/* Begin the next group, if none is under way. */
void share_begin_group(struct hub_share *share);

/* The hook of log_node.h: the group is over. */
void share_settled(void *arg, const struct log_group *group, const struct shared_log_appended *of);

/* Count an event of a publish of this node. */
void share_count_published(struct hub_share *share, const struct message *event);

/* Answer all that waits, with this error; but for a group that is under way. */
void share_refuse_queued(struct hub_share *share, int error);

/* ---- hub_share_gather.c ---- */

/* A group of so many operations is over, which began at `turn_ns`: may the next wait for more? */
void share_plan_gather(struct hub_share *share, size_t ops_n);

/* Whether what is queued waits for more; the loop will be woken in time. */
bool share_gathers(struct hub_share *share);

/* ---- hub_share_follow.c: the hooks of log_node.h ---- */

void share_cut(void *arg, const struct log_follower_cut *cut);
void share_events(void *arg, struct message *const *events, size_t events_n);
void share_order(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n);

/* Give a batch to all workers, with or before the answers that are ready.  Takes the batch. */
void share_put_batch(struct hub_share *share, struct hub_batch *batch);

/* Have the workers know the history's lineage, as every batch does, if they do not. */
void share_tell_lineage(struct hub_share *share);

/* Hand out what is ready. */
void share_flush(struct hub_share *share);

/* ---- hub_share_say.c ---- */

/* Say the ephemeral events of an operation that are no repeats.  Returns 0, or what its result is
 * to be. */
int share_say(struct hub_share *share, const struct hub_op *op);

void share_heard(void *arg, const char *bytes, size_t bytes_n);

/* The history has more now: hand out what has waited for that, and give up what has waited for too
 * long. */
void share_release_held(struct hub_share *share);
void share_drop_held(struct hub_share *share);

#endif
