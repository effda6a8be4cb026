/* SPDX-License-Identifier: MIT */
/*
 * From an event to the listeners it reaches, without looking at the others.
 *
 * Patterns form a tree by segment; one hash table holds all its edges.  An event visits the nodes
 * its topics lead to, following "*" and "**" beside the plain name at each step, and finds the
 * listeners there.  Events for users start from the users instead.  So the cost is the nodes that
 * an event visits plus the listeners it reaches, however many subscriptions there are.
 *
 * A match belongs to one worker: one thread, no lock.
 */
#ifndef BUGLE_MATCH_H
#define BUGLE_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "message.h"
#include "filter.h"

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
 * Returns 0 or -ENOMEM, and then nothing is left behind. */
int match_add(struct match *match, struct match_listener *listener, struct filter *filter);

/* Undo match_add(); drops the reference to the filter.  Harmless on a zeroed listener. */
void match_remove(struct match *match, struct match_listener *listener);

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

/* How many nodes and listeners the last match_message() looked at. */
size_t match_last_cost(const struct match *match);

#endif
