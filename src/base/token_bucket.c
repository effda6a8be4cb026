/* SPDX-License-Identifier: MIT */
/* So many a second.  See token_bucket.h. */
#include "config.h"
#include "base/token_bucket.h"

#define SECOND_US INT64_C(1000000)
#define DEPTH_MS 100

/* Rounded down, in favour of who comes. */
static int64_t cost_us(uint64_t per_second)
{
    int64_t cost = SECOND_US / (int64_t)per_second;

    return cost > 0 ? cost : 1;
}

/* How much must have flown in by itself for one more to be there. */
static int64_t missing_us(const struct token_bucket *bucket, uint64_t per_second, int64_t depth_ms,
                          int64_t now_ms)
{
    int64_t cost = cost_us(per_second);
    int64_t depth = cost > depth_ms * 1000 ? cost : depth_ms * 1000;

    return bucket->full_us + cost - depth - now_ms * 1000;
}

bool token_bucket_take(struct token_bucket *bucket, uint64_t per_second, int64_t now_ms)
{
    return token_bucket_take_deep(bucket, per_second, DEPTH_MS, now_ms);
}

bool token_bucket_take_deep(struct token_bucket *bucket, uint64_t per_second, int64_t depth_ms,
                            int64_t now_ms)
{
    if (per_second == 0)
        return true;
    if (missing_us(bucket, per_second, depth_ms, now_ms) > 0)
        return false;
    if (bucket->full_us < now_ms * 1000)
        bucket->full_us = now_ms * 1000;
    bucket->full_us += cost_us(per_second);
    return true;
}

int64_t token_bucket_wait_ms(const struct token_bucket *bucket, uint64_t per_second, int64_t now_ms)
{
    int64_t missing = per_second > 0 ? missing_us(bucket, per_second, DEPTH_MS, now_ms) : 0;

    return missing > 0 ? (missing + 999) / 1000 : 0;
}
