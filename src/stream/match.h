/* SPDX-License-Identifier: MIT */
/*
 * From an event to the listeners it reaches, without looking at the others.
 *
 * Patterns form a tree by segment (match_tree.h).  The topics of an event go down it, following "*"
 * and "**" beside the plain name at each step, and find the listeners there.  So the cost is the
 * nodes that an event visits, at most MATCH_VISITS_MAX a topic whatever was asked for, plus the
 * listeners it reaches, however many subscriptions there are.  Of an event for users the topics
 * mark what they come by, and the streams of the users look for the mark at each of their patterns.
 *
 * A match belongs to one worker: one thread, no lock.
 */
#ifndef BUGLE_MATCH_H
#define BUGLE_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "event/message.h"
#include "event/filter.h"
#include "stream/match_share.h"

struct match;
struct match_node;
struct match_user;
struct match_listener;

/* One pattern of one listener, hung on its node. */
struct match_entry {
    struct match_listener *listener;
    struct match_node *node; /* NULL: it has no pattern, and takes all topics */
    uint32_t place;          /* among those that hang there */
    bool is_rest;            /* its pattern goes on with "**" */
};

/* Embedded by whoever wants events.  Zero it, then match_add(). */
struct match_listener {
    LIST_ENTRY(match_listener) everyone;
    LIST_ENTRY(match_listener) same_user;
    struct match_user *user;
    struct match_entry *entries; /* one a pattern; `one` when that is all */
    struct filter *filter;       /* its own reference, taken by match_add() */
    uint64_t seen; /* the last event that found it: at most once, however many match */
    struct match_entry one;
};

/* Gives an empty index; NULL when out of memory. */
struct match *match_new(void);

/* Every listener must have been removed.  Accepts NULL. */
void match_free(struct match *match);

/* Let the listener be found by what `filter` accepts.  Takes its own reference to the filter.
 *
 * owners  whose share its rare shapes count against (match_share.h), and each may be NULL; NULL for
 *         nobody's
 *
 * Returns 0; or -ENOMEM; or -E2BIG: its wildcards would need one more shape than there may be
 * (match_tree.h); or -EDQUOT: than one of its owners may have.  Then nothing is left behind. */
int match_add(struct match *match, struct match_listener *listener, struct filter *filter,
              const void *const *owners);

/* Undo match_add(), with the same owners; drops the reference to the filter.  Harmless on a zeroed
 * listener. */
void match_remove(struct match *match, struct match_listener *listener,
                  const void *const *owners);

/*
 * Find every listener the event reaches, each once, in no order.
 *
 * ret_found  set to an array that the match owns, good until the next call on it
 *
 * Returns how many.  Never fails: the array grew when the listeners were added.
 */
size_t match_message(struct match *match, const struct message *message,
                     struct match_listener ***ret_found);

/* Listeners, nodes and users held now: for tests and stats. */
size_t match_listeners(const struct match *match);
size_t match_nodes(const struct match *match);

/* What the last match_message() looked at: nodes, users, and patterns and listeners there. */
size_t match_last_cost(const struct match *match);

/* What all of it takes, the filters of the listeners included. */
size_t match_bytes(const struct match *match);

/* What the listener took that match_add() took last: its filter, its entries, and the nodes that
 * were made for it. */
size_t match_last_bytes(const struct match *match);

#endif
