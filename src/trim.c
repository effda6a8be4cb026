/* SPDX-License-Identifier: MIT */
/* When to give memory back.  See trim.h. */
#include "config.h"
#include "trim.h"

#define LOOK_MS 1000
/* Some megabytes. */
#define CROWD 1024

/* Many have gone, a good part of all, and hardly any are still going. */
static bool crowd_has_left(const struct trim *trim, size_t count)
{
    size_t gone = trim->peak - count;
    size_t going = trim->seen > count ? trim->seen - count : 0;

    return gone >= CROWD && gone >= trim->peak / 4 && going <= gone / 16;
}

bool trim_is_due(struct trim *trim, size_t count, int64_t now_ms)
{
    if (count > trim->peak)
        trim->peak = count;
    if (now_ms - trim->looked_ms < LOOK_MS)
        return false;
    bool is_due = crowd_has_left(trim, count);
    trim->looked_ms = now_ms;
    trim->seen = count;
    if (is_due)
        trim->peak = count;
    return is_due;
}
