/* SPDX-License-Identifier: MIT */
/*
 * A token bucket: it fills evenly and holds a tenth of a second's worth, or what the caller says,
 * and at least one token.  Pure arithmetic; the caller passes the time.
 */
#ifndef BUGLE_TOKEN_BUCKET_H
#define BUGLE_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised it is full at its first use. */
struct token_bucket {
    int64_t full_us; /* when it will be full if no token is taken */
};

/* Take one, at `per_second` of them; 0 is no limit.  False when there is none. */
bool token_bucket_take(struct token_bucket *bucket, uint64_t per_second, int64_t now_ms);

/* The same from a bucket that holds what comes in `depth_ms`; pass the same each time. */
bool token_bucket_take_deep(struct token_bucket *bucket, uint64_t per_second, int64_t depth_ms,
                            int64_t now_ms);

/* Milliseconds until there is one, 0 when there is. */
int64_t token_bucket_wait_ms(const struct token_bucket *bucket, uint64_t per_second,
                             int64_t now_ms);

#endif
