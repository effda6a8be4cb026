/* SPDX-License-Identifier: MIT */
/*
 * A gateway at the shared log: it attaches whenever it has to, follows the tail into its history
 * (log_follower.h), does the orders in it, and sends its group until it is known what became of it
 * (log_group.h).
 *
 *     DOWN --> ATTACHING <--> FOLLOWING --> STOPPED
 *
 * Of the thread of the log's loop, which is the one that writes the history.  It has no clock: who
 * owns it calls log_node_tick() some times a second, at which it tries again what did not work.
 */
#ifndef BUGLE_LOG_NODE_H
#define BUGLE_LOG_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/log_follower.h"
#include "cluster/log_group.h"
#include "cluster/shared_log.h"
#include "history/history.h"

enum log_node_state {
    LOG_NODE_DOWN,      /* no server */
    LOG_NODE_ATTACHING, /* or about to */
    LOG_NODE_FOLLOWING,
    LOG_NODE_STOPPED, /* for good: the log has entries of a later version of this program */
};

struct log_node;

/* Called from the loop, and from functions below that say so.  All is borrowed for the call.  May
 * call log_node_append(), and nothing else. */
struct log_node_hooks {
    /* the history was cut off or begins anew: tell streams, before any other event */
    void (*cut)(void *arg, const struct log_follower_cut *cut);
    /* The stored ones are in the history now: hand all out, also the ephemeral ones between. */
    void (*events)(void *arg, struct message *const *events, size_t events_n);
    /* Do this, an order of this node or another: all events before it were handed out.
     * from  the name of the node that gave it; with `seq` it names the order */
    void (*order)(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n);
    /* The group is over, see log_group.h: answer its publishers.  `of` is the log's last word, with
     * the keys that are taken (SHARED_LOG_KEYS, log_node_key_index()), or NULL. */
    void (*settled)(void *arg, const struct log_group *group, const struct shared_log_appended *of);
    /* it changed, or why; `line` is for the operator, empty where there is nothing to say */
    void (*state)(void *arg, enum log_node_state state, const char *line);
    void (*heard)(void *arg, const char *bytes, size_t bytes_n);
    void *arg;
};

/* Borrows the history; `writer` as log_follower_init().  NULL when out of memory. */
struct log_node *log_node_new(struct history *history, const char *writer,
                              const struct log_node_hooks *hooks);

/* Count the events that come in this account, see message_charge().  Before log_node_open(). */
void log_node_set_account(struct log_node *node, _Atomic int64_t *account);

/* Groups are counted on from this one, the last that an earlier log_node of the same writer gave:
 * the log takes a number that it has seen for the same group sent again.  Before log_node_open().
 */
void log_node_count_from(struct log_node *node, uint64_t seq);

/* What the implementation of the log is to call. */
struct shared_log_hooks log_node_log_hooks(struct log_node *node);

/* Begin with this log, which was made with those hooks and is taken. */
void log_node_open(struct log_node *node, struct shared_log *log);

/* Frees the log too.  What is under way is not settled.  Accepts NULL. */
void log_node_free(struct log_node *node);

/* Whether log_node_append() can be called: no group is under way, and the log has let go of the
 * last one. */
bool log_node_is_free(const struct log_node *node);

/*
 * Append events as one group, in any state: settled() follows once, though perhaps not before
 * log_node_give_up().  The log is sent copies, which come back through events().
 *
 * events  borrowed; references are kept.  MESSAGE_STORED, at least one, and MESSAGE_EPHEMERAL; none
 *         is sealed.  At most SHARED_LOG_EVENTS_MAX, with at most SHARED_LOG_KEYS_MAX keys.
 *         log_group.events_n counts stored ones only
 *
 * Returns 0 or -ENOMEM: nothing follows.
 */
int log_node_append(struct log_node *node, struct message *const *events, size_t events_n);

/*
 * Append an order, in the same way: each node is told by order(), this one before settled() says
 * SHARED_LOG_DONE.
 *
 * order  borrowed; 1 to SHARED_LOG_ORDER_BYTES_MAX bytes
 *
 * Returns 0 or -ENOMEM: nothing follows.
 */
int log_node_append_order(struct log_node *node, const char *order, size_t order_n);

/* To which of the events that were given a key of the group belongs, from 0; in settled() only. */
size_t log_node_key_index(const struct log_node *node, size_t key);

/* The group has waited for too long: settled() from within, unless there is none. */
void log_node_give_up(struct log_node *node);

/* Try again what did not work.  Calls hooks. */
void log_node_tick(struct log_node *node);

enum log_node_state log_node_state(const struct log_node *node);
const struct log_group *log_node_group(const struct log_node *node);
struct shared_log *log_node_log(struct log_node *node); /* to say and to ask */

/* How many orders this node could not do, since they could not be had: see log_follower.h. */
uint64_t log_node_orders_lost(const struct log_node *node);

#endif
