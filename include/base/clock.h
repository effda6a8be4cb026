/* SPDX-License-Identifier: MIT */
/* The two clocks: monotonic for every interval and deadline, wall time only for what is stored or
 * shown. */
#ifndef BUGLE_CLOCK_H
#define BUGLE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t clock_mono_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

static inline int64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

static inline int64_t clock_wall_ms(void)
{
    return clock_read_ns(CLOCK_REALTIME) / 1000000;
}

static inline int64_t clock_earlier(int64_t one, int64_t other)
{
    return one < other ? one : other;
}

#define CLOCK_UTC_BYTES 40
/* "2026-11-22T10:20:30.456Z", RFC 3339.  Returns `to`. */
const char *clock_utc_text(int64_t wall_ms, char to[CLOCK_UTC_BYTES]);

#endif
