/* SPDX-License-Identifier: MIT */
/*
 * An answer of GET /api/history while it is put together: pages of the history go in, one after
 * the other, and JSON comes out.
 *
 * It keeps the promise of the answer: `next` is the place up to which everything that matches is
 * in here or came before, and what cannot be had any more is said in `reset`, by the rule of
 * streams (stream_find_place()).  One answer tells of one loss: where a second begins, or where
 * something is lost behind events, it ends, and the next answer tells.  Damage ends its answer.
 *
 * Knows neither sockets nor threads; one thread at a time.
 */
#ifndef BUGLE_HISTORY_LISTING_H
#define BUGLE_HISTORY_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history/history.h"
#include "stream/stream.h"

struct history_listing;

/* What was asked for, checked. */
struct history_listing_ask {
    const char *epoch;               /* borrowed for the listing's life; so is `user` */
    const struct message_name *user; /* the only recipient that is shown; `bytes` NULL: none */
    uint64_t after;                  /* where to begin, by stream_find_place() */
    enum stream_reset reset;         /* why there and not where the client said */
    bool from_oldest;                /* the client named no place, so there is none to lose */
    uint64_t upto;                   /* the end: what was committed when the request came */
    size_t events_max;
    size_t bytes_max; /* of JSON; it is passed by one event at most */
};

/* NULL when out of memory. */
struct history_listing *history_listing_new(const struct history_listing_ask *ask);
void history_listing_free(struct history_listing *listing); /* accepts NULL */

/*
 * Take what history_read() gave for history_listing_position() and history_listing_upto().
 *
 * result  of the read; -ESTALE is dealt with
 * page    borrowed; NULL unless `result` is 0
 * bounds  as they were after the read
 *
 * Returns 0, or the `result` that cannot be dealt with, and then the listing is of no use.
 */
int history_listing_take(struct history_listing *listing, int result,
                         const struct history_page *page, const struct history_bounds *bounds);

/* Whether another page may go in. */
bool history_listing_wants_more(const struct history_listing *listing);

/* From where to where the next read goes. */
uint64_t history_listing_position(const struct history_listing *listing);
uint64_t history_listing_upto(const struct history_listing *listing);

/*
 * End it.
 *
 * bounds  as of now
 * ret_n   given: the length of the text
 *
 * Returns the whole answer with a line end, for free(); NULL when there was no memory for it.  Only
 * history_listing_free() may be called after it.
 */
char *history_listing_finish(struct history_listing *listing, const struct history_bounds *bounds,
                             size_t *ret_n);

#endif
