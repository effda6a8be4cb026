/* SPDX-License-Identifier: MIT */
/*
 * A hub that shares one order of events with the hubs of other gateways (the nodes): what is
 * published is appended to a log that all of them follow (cluster/shared_log.h), and what the log
 * brings, also what this node appended, goes into the history of this node and to its streams.
 *
 * Then the hub's thread runs the loop of the log, and every turn is served there.  One group of
 * operations is under way at a time.  It is answered when its promise is kept and the log has
 * brought it; so a publisher is answered after the streams of its own node have the events.
 *
 *     operation               way
 *     stored events           one group of the log: all of an operation or nothing
 *     both kinds of events    the same; the ephemeral ones stand in the group at their place
 *     ephemeral events alone  said to all nodes, this one too; a node that does not hear has lost
 *                             them
 *     an order (hub_op.order) an entry of the log without events: done by each node, also later
 *     a probe                 answered at once while the log is followed
 *
 * While the log cannot be had, what is published waits for as long as limits.queue_age allows.
 */
#ifndef BUGLE_HUB_SHARE_H
#define BUGLE_HUB_SHARE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cluster/log_node.h"
#include "hub/hub.h"

struct event_base;

#define HUB_SHARE_NODES_MAX 64
#define HUB_SHARE_LINE_BYTES 256

/* What hub_op.result is, beside what it is without a log. */
enum {
    HUB_LOG_UNREACHABLE = -ENOTCONN, /* nothing was stored: there was no log for too long */
    HUB_LOG_LOST = -ECONNABORTED,    /* it is unknown whether it was stored */
    HUB_LOG_UNCONFIRMED = -ETIME,    /* stored, but not by as many as cluster.promise names */
    HUB_LOG_FULL = -EDQUOT,          /* nothing was stored: the log has no room */
    HUB_LOG_REFUSED = -EACCES,       /* nothing was stored: the log's server does not allow it */
};

/* How to come by the log, and who hears what is not for the hub.  All is called on the hub's
 * thread, borrows what it is given, and must only hand over. */
struct hub_share_conf {
    /* Make the log.  Gives; NULL when out of memory. */
    struct shared_log *(*make)(void *arg, struct event_base *base,
                               const struct shared_log_hooks *hooks);

    /* Before the log is freed, when it is left for good: others may know at once.  `done` is called
     * from the loop.  Returns 0, or -errno: it will not be. */
    int (*leave)(void *arg, struct shared_log *log, void (*done)(void *arg), void *done_arg);

    /* A node said something that is not an event (cluster/node_message.h). */
    void (*heard)(void *arg, const char *bytes, size_t bytes_n);

    /* An order of the log, of this node or another.  Before its operation is answered.
     *
     * from    the name of the node that gave it
     * seq     with `from` it names the order
     */
    void (*order)(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n);

    void *arg;
    const char *node;   /* borrowed for as long as the hub, as is the next */
    const char *writer; /* "node.incarnation" */
    enum history_durability promise;
    int64_t answer_timeout_ns; /* for a group that was sent once */
    _Atomic int64_t *account;  /* of the memory of events, see message_charge(); NULL: nowhere */
};

/* Before hub_start().  Returns 0 or -ENOMEM. */
int hub_share(struct hub *hub, const struct hub_share_conf *conf);

/* Whether it does. */
bool hub_shares(const struct hub *hub);

/* How things stand. */
struct hub_share_facts {
    const char *node; /* the name of this one; as long as the hub */
    enum log_node_state state;
    char line[HUB_SHARE_LINE_BYTES]; /* why it is not followed, for the operator; or empty */
    int64_t behind_ms;  /* how long ago this node was known to have all of the log; 0 without one */
    int64_t cut_off_ms; /* for how long the log is not followed; 0: it is */
    uint64_t follows_n; /* how often it has begun to be */

    /* The log's last word: an id of `epoch` up to `head` is no id of the future. */
    char epoch[SSE_EPOCH_BYTES + 1]; /* empty: there was none yet */
    uint64_t head;
    int64_t asked_ms; /* clock_mono_ms() when it was asked */

    size_t nodes_n; /* who had a lease then, this node included */
    char nodes[HUB_SHARE_NODES_MAX][SHARED_LOG_NODE_BYTES];
};

/* Any thread; a lock. */
void hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts);

/* Ask the log for its word soon, instead of within a second.  Any thread. */
void hub_share_ask_soon(struct hub *hub);

/*
 * Have something done on the hub's thread: to say something to nodes, or to ask the log.
 *
 * task  the caller's; left alone until `run` is called, once, which may free it.  `log` is
 *       borrowed for the call, and may be down; NULL: the hub has left it
 *
 * Returns whether `run` will be called; false: the hub has left the log, or has no loop yet.  Any
 * thread; a lock.
 */
struct hub_share_task {
    STAILQ_ENTRY(hub_share_task) link;
    void (*run)(struct hub_share_task *task, struct shared_log *log);
};
bool hub_share_run(struct hub *hub, struct hub_share_task *task);

#endif
