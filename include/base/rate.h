/* SPDX-License-Identifier: MIT */
/*
 * Whether something that a peer sends or takes moves on: since when it has not, and how fast it
 * did on the whole.  Knows neither sockets nor a clock, so it can be asked about either direction.
 */
#ifndef BUGLE_RATE_H
#define BUGLE_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Nobody is called slow before this: a lost packet or two are repeated within it. */
#define RATE_GRACE_MS 5000

struct rate {
    int64_t begun_ms; /* monotonic, as all times here */
    int64_t begun_bytes;
    int64_t moved_ms; /* when `bytes` was last another number */
    int64_t bytes;
};

/* Begin at a count of bytes, which need not be 0. */
void rate_begin(struct rate *rate, int64_t now_ms, int64_t bytes);

/* Take note of the count as it is now. */
void rate_note(struct rate *rate, int64_t now_ms, int64_t bytes);

/* It moves, but by how much is not known this time. */
void rate_moved(struct rate *rate, int64_t now_ms);

/* For how long the count has not changed. */
int64_t rate_still_ms(const struct rate *rate, int64_t now_ms);

/* Whether the grace is over and, not counting it, fewer than `least` bytes a second have come since
 * the beginning.  Never with a least of 0. */
bool rate_is_slow(const struct rate *rate, int64_t now_ms, uint64_t least);

#endif
