/* SPDX-License-Identifier: MIT */
/*
 * The latest streams that the gateway itself got rid of: who, why, and how far behind, for
 * GET /api/evictions.
 *
 * A ring of a fixed size that all workers share.  Noting one is a copy under a lock and takes no
 * memory, so 10,000 at once hold up nobody.  Each is a line in the log too, through a valve.
 */
#ifndef BUGLE_EVICTION_LOG_H
#define BUGLE_EVICTION_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/message.h"
#include "stream/stream.h"

/* For a user and as many topics as fit after it. */
#define EVICTION_TEXT_BYTES 512

struct eviction_log;

/* All in one piece: what a stream wanted is copied, since what it leaves in memory would keep whole
 * pages of the kernel's from being given back. */
struct eviction {
    int64_t at_ms; /* wall clock */
    enum stream_end why;
    struct stream_facts facts; /* as they were, but for `filter`, which is NULL */
    bool has_user;
    uint16_t topics_n;              /* that are in `text` */
    uint16_t topics_left_out_n;     /* there was no room */
    char text[EVICTION_TEXT_BYTES]; /* the user and the topics, each ended by NUL */
};

/* The user, or bytes NULL, and each topic.  Borrowed from the eviction; cost of one: all before. */
struct message_name eviction_user(const struct eviction *eviction);
struct message_name eviction_topic(const struct eviction *eviction, size_t index);

/* Keeps the last `max`, at least 1.  NULL when out of memory. */
struct eviction_log *eviction_log_new(size_t max);
void eviction_log_free(struct eviction_log *evictions); /* accepts NULL */

/* Note that a stream was evicted.  Borrows the facts for the call.  Any thread; never fails. */
void eviction_log_add(struct eviction_log *evictions, const struct stream_facts *facts,
                      enum stream_end why);

/*
 * Copy the latest, newest first, at most `max`.
 *
 * ret_list   given, for free()
 * ret_total  how many there ever were
 *
 * Returns how many, or -ENOMEM.  Any thread.
 */
int eviction_log_list(struct eviction_log *evictions, size_t max, struct eviction **ret_list,
                      uint64_t *ret_total);

#endif
