/* SPDX-License-Identifier: MIT */
/* How fast something moves.  See rate.h. */
#include "config.h"
#include "base/rate.h"

void rate_begin(struct rate *rate, int64_t now_ms, int64_t bytes)
{
    *rate =
        (struct rate){.begun_ms = now_ms, .begun_bytes = bytes, .moved_ms = now_ms, .bytes = bytes};
}

void rate_note(struct rate *rate, int64_t now_ms, int64_t bytes)
{
    if (bytes == rate->bytes)
        return;
    rate->bytes = bytes;
    rate->moved_ms = now_ms;
}

void rate_moved(struct rate *rate, int64_t now_ms)
{
    rate->moved_ms = now_ms;
}

int64_t rate_still_ms(const struct rate *rate, int64_t now_ms)
{
    return now_ms - rate->moved_ms;
}

bool rate_is_slow(const struct rate *rate, int64_t now_ms, uint64_t least)
{
    int64_t counted_ms = now_ms - rate->begun_ms - RATE_GRACE_MS;
    double came = (double)(rate->bytes - rate->begun_bytes);

    return counted_ms > 0 && came < (double)least * (double)counted_ms / 1000;
}
