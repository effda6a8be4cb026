/* SPDX-License-Identifier: MIT */
/*
 * Connections between two requests, the longest rest first.  They cost a descriptor each and wait
 * for nothing but a client's pleasure, so they go when descriptors are wanted.
 *
 * Worker's thread.
 */
#ifndef BUGLE_RESTING_H
#define BUGLE_RESTING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "stats.h"

/* One connection, for as long as it is there. */
struct resting {
    TAILQ_ENTRY(resting) link;
    int64_t since_ms;
    int fd;
    bool rests;
};

struct resting_pool {
    TAILQ_HEAD(, resting) list;
    struct stats *stats; /* borrowed; counts CONNECTIONS_RESTING */
};

void resting_init(struct resting_pool *pool, struct stats *stats);

struct resting *resting_new(int fd);                                   /* NULL when out of memory */
void resting_free(struct resting_pool *pool, struct resting *resting); /* accepts NULL */

/* A request is over; the next one has begun.  Both accept NULL, and what is so already. */
void resting_begin(struct resting_pool *pool, struct resting *resting, int64_t now_ms);
void resting_end(struct resting_pool *pool, struct resting *resting);

/* Since when the longest rest has lasted; INT64_MAX when nobody rests. */
int64_t resting_since_ms(const struct resting_pool *pool);

/* End the longest rest, by shutting the connection down: its daemon sees that and closes it.  One
 * whose next request has arrived is left alone.  Returns whether there was one to end. */
bool resting_cut_first(struct resting_pool *pool);

#endif
