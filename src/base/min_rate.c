/* SPDX-License-Identifier: MIT */
/* How fast something moves.  See min_rate.h. */
#include "config.h"
#include "base/min_rate.h"

void min_rate_begin(struct min_rate *rate, int64_t now_ms, int64_t bytes)
{
    *rate = (struct min_rate){
        .begun_ms = now_ms, .begun_bytes = bytes, .moved_ms = now_ms, .bytes = bytes};
}

void min_rate_note(struct min_rate *rate, int64_t now_ms, int64_t bytes)
{
    if (bytes == rate->bytes)
        return;
    rate->bytes = bytes;
    rate->moved_ms = now_ms;
}

void min_rate_moved(struct min_rate *rate, int64_t now_ms)
{
    rate->moved_ms = now_ms;
}

int64_t min_rate_still_ms(const struct min_rate *rate, int64_t now_ms)
{
    return now_ms - rate->moved_ms;
}

bool min_rate_is_slow(const struct min_rate *rate, int64_t now_ms, uint64_t least)
{
    int64_t counted_ms = now_ms - rate->begun_ms - MIN_RATE_GRACE_MS;
    double came = (double)(rate->bytes - rate->begun_bytes);

    return counted_ms > 0 && came < (double)least * (double)counted_ms / 1000;
}
