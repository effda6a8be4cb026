/* SPDX-License-Identifier: MIT */
/* A moment as text.  See clock.h. */
#include "config.h"
#include "base/clock.h"

#include <stdio.h>

const char *clock_utc_text(int64_t wall_ms, char to[CLOCK_UTC_BYTES])
{
    int64_t seconds = wall_ms / 1000 - (wall_ms % 1000 < 0);
    time_t time = (time_t)seconds;
    struct tm tm;

    gmtime_r(&time, &tm);
    size_t n = strftime(to, CLOCK_UTC_BYTES, "%FT%T", &tm);
    snprintf(to + n, CLOCK_UTC_BYTES - n, ".%03dZ", (int)(wall_ms - seconds * 1000));
    return to;
}
