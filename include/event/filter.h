/* SPDX-License-Identifier: MIT */
/*
 * What one stream wants and may have: its topic patterns and its user.  Immutable and counted,
 * since a reader of the history uses it on another thread while the stream may already be gone.
 *
 * The rule is the same everywhere, live, replay and listing (API: topics, patterns, users): an
 * event reaches a filter when one of its topics matches one of the patterns and, if it names
 * users, the filter's user is among them.  An event without topics matches any patterns, and a
 * filter without patterns matches any topics.
 */
#ifndef BUGLE_FILTER_H
#define BUGLE_FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/message.h"

/* Comparisons of hashes that take as long as that of a segment. */
#define FILTER_HASHES_A_STEP 8

struct filter_pattern {
    struct message_name name;
    bool wildcard;
};

struct filter {
    _Atomic uint32_t refs;
    uint32_t bytes;           /* of the whole allocation */
    struct message_name user; /* `bytes` NULL: nobody */
    size_t patterns_n;
    size_t weight; /* see filter_steps() */
    struct filter_pattern patterns[];
};

/*
 * Build a filter from checked names.
 *
 * patterns  borrowed; hashes need not be set; duplicates are dropped
 * user      borrowed; NULL for nobody
 *
 * Gives one reference; NULL when out of memory.
 */
struct filter *filter_new(const struct message_name *patterns, size_t patterns_n,
                          const struct message_name *user);

struct filter *filter_ref(struct filter *filter);
void filter_unref(struct filter *filter); /* accepts NULL */

/* Whether the event is for this filter.  Exact patterns cost a comparison of hashes each. */
bool filter_accepts(const struct filter *filter, const struct message *message);

/* About how many segments filter_accepts() compares at most, each some 10 ns; 0 for few exact
 * patterns.  A caller that asks for many events counts this and stops in time. */
static inline size_t filter_steps(const struct filter *filter, const struct message *message)
{
    return filter->weight * message->topics_n + message->users_n / FILTER_HASHES_A_STEP;
}

/* The half of the rule that is about topics. */
bool filter_accepts_topics(const struct filter *filter, const struct message *message);

#endif
