/* SPDX-License-Identifier: MIT */
/*
 * The latest streams that the gateway itself got rid of: who, why, and how far behind, for
 * GET /api/evictions.
 *
 * A ring of a fixed size that all workers share.  Noting one is a copy under a lock and takes no
 * memory, so 10,000 at once hold up nobody.  Each is a line in the log too, through a valve.
 */
#ifndef BUGLE_EVICTIONS_H
#define BUGLE_EVICTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "stream.h"

struct evictions;

struct eviction {
    int64_t at_ms; /* wall clock */
    enum stream_end why;
    struct stream_facts facts; /* as they were; the filter is the eviction's own reference */
};

/* Keeps the last `max`, at least 1.  NULL when out of memory. */
struct evictions *evictions_new(size_t max);
void evictions_free(struct evictions *evictions); /* accepts NULL */

/* Note that a stream was evicted.  Borrows the facts and takes a reference to the filter in them.
 * Any thread; never fails. */
void evictions_note(struct evictions *evictions, const struct stream_facts *facts,
                    enum stream_end why);

/*
 * Copy the latest, newest first, at most `max`.
 *
 * ret_list   given, for evictions_free_list(); NULL when there are none or memory is out
 * ret_total  how many there ever were
 *
 * Returns how many, or -ENOMEM.  Any thread.
 */
int evictions_list(struct evictions *evictions, size_t max, struct eviction **ret_list,
                   uint64_t *ret_total);
void evictions_free_list(struct eviction *list, size_t list_n); /* accepts NULL */

#endif
