/* SPDX-License-Identifier: MIT */
/*
 * Whether something that a peer sends or takes moves on: since when it has not, and how fast it
 * did on the whole.  Knows neither sockets nor a clock, so it can be asked about either direction.
 */
#ifndef BUGLE_MIN_RATE_H
#define BUGLE_MIN_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Nobody is called slow before this: a lost packet or two are repeated within it. */
#define MIN_RATE_GRACE_MS 5000

struct min_rate {
    int64_t begun_ms; /* monotonic, as all times here */
    int64_t begun_bytes;
    int64_t moved_ms; /* when `bytes` was last another number */
    int64_t bytes;
};

/* Begin at a count of bytes, which need not be 0. */
void min_rate_begin(struct min_rate *rate, int64_t now_ms, int64_t bytes);

/* Take note of the count as it is now. */
void min_rate_note(struct min_rate *rate, int64_t now_ms, int64_t bytes);

/* It moves, but by how much is not known this time. */
void min_rate_moved(struct min_rate *rate, int64_t now_ms);

/* For how long the count has not changed. */
int64_t min_rate_still_ms(const struct min_rate *rate, int64_t now_ms);

/* Whether the grace is over and, not counting it, fewer than `least` bytes a second have come since
 * the beginning.  Never with a least of 0. */
bool min_rate_is_slow(const struct min_rate *rate, int64_t now_ms, uint64_t least);

#endif
