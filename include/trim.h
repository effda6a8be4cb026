/* SPDX-License-Identifier: MIT */
/*
 * When to give memory back to the kernel.
 *
 * What thousands of streams leave behind is free, but between what others hold, where the C library
 * keeps it.  malloc_trim() gives whole pages of it back; it takes some milliseconds and holds up
 * all who allocate, so it is worth it only after a crowd has left, and once it has.
 */
#ifndef BUGLE_TRIM_H
#define BUGLE_TRIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero it. */
struct trim {
    size_t peak; /* since the last time */
    size_t seen;
    int64_t looked_ms;
};

/* Told about four times a second how many there are: whether now is the time.  Pure. */
bool trim_is_due(struct trim *trim, size_t count, int64_t now_ms);

#endif
