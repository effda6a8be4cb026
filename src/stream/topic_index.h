/* SPDX-License-Identifier: MIT */
/*
 * From an event to the listeners it reaches, without looking at the others.
 *
 * Patterns form a tree by segment (topic_tree.h).  The topics of an event go down it, following "*"
 * and "**" beside the plain name at each step, and find the listeners there.  So the cost is the
 * nodes that an event visits, at most TOPIC_TREE_VISITS_MAX a topic whatever was asked for, plus
 * the listeners it reaches, however many subscriptions there are.  Of an event for users the topics
 * mark what they come by, and the streams of the users look for the mark at each of their patterns.
 *
 * A match belongs to one worker: one thread, no lock.
 */
#ifndef BUGLE_TOPIC_INDEX_H
#define BUGLE_TOPIC_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "event/filter.h"
#include "event/message.h"
#include "stream/topic_share.h"

struct topic_index;
struct topic_tree_node;
struct topic_index_user;
struct topic_index_listener;

/* One pattern of one listener, hung on its node. */
struct topic_index_entry {
    struct topic_index_listener *listener;
    struct topic_tree_node *node; /* NULL: it has no pattern, and takes all topics */
    uint32_t place;               /* among those that hang there */
    bool is_rest;                 /* its pattern goes on with "**" */
};

/* Embedded by what wants events.  Zero it, then topic_index_add(). */
struct topic_index_listener {
    LIST_ENTRY(topic_index_listener) everyone;
    LIST_ENTRY(topic_index_listener) same_user;
    struct topic_index_user *user;
    struct topic_index_entry *entries; /* one a pattern; `one` when that is all */
    struct filter *filter;             /* its own reference, taken by topic_index_add() */
    uint64_t seen; /* the last event that found it: at most once, however many match */
    struct topic_index_entry one;
};

/* Gives an empty index; NULL when out of memory. */
struct topic_index *topic_index_new(void);

/* Every listener must have been removed.  Accepts NULL. */
void topic_index_free(struct topic_index *match);

/* Let the listener be found by what `filter` accepts.  Takes its own reference to the filter.
 *
 * owners  whose share its rare shapes count against (topic_share.h), and each may be NULL; NULL for
 *         nobody's
 *
 * Returns 0; or -ENOMEM; or -E2BIG: its wildcards would need one more shape than there may be
 * (topic_tree.h); or -EDQUOT: than one of its owners may have.  Then nothing is left behind. */
int topic_index_add(struct topic_index *match, struct topic_index_listener *listener,
                    struct filter *filter, const void *const *owners);

/* Undo topic_index_add(), with the same owners; drops the reference to the filter.  Harmless on a
 * zeroed listener. */
void topic_index_remove(struct topic_index *match, struct topic_index_listener *listener,
                        const void *const *owners);

/*
 * Find every listener the event reaches, each once, in no order.
 *
 * ret_found  set to an array that the match owns, good until the next call on it
 *
 * Returns how many.  Never fails: the array grew when the listeners were added.
 */
size_t topic_index_message(struct topic_index *match, const struct message *message,
                           struct topic_index_listener ***ret_found);

/* Listeners, nodes and users held now: for tests and stats. */
size_t topic_index_listeners(const struct topic_index *match);
size_t topic_index_nodes(const struct topic_index *match);

/* What the last topic_index_message() looked at: nodes, users, and patterns and listeners there. */
size_t topic_index_last_cost(const struct topic_index *match);

/* What all of it takes, the filters of the listeners included. */
size_t topic_index_bytes(const struct topic_index *match);

/* What the listener took that topic_index_add() took last: its filter, its entries, and the nodes
 * that were made for it. */
size_t topic_index_last_bytes(const struct topic_index *match);

#endif
