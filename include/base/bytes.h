/* SPDX-License-Identifier: MIT */
/* Stretches of text that do not end in NUL, compared byte by byte.  Pure. */
#ifndef BUGLE_BYTES_H
#define BUGLE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool bytes_equal(const char *one, size_t one_n, const char *other, size_t other_n)
{
    return one_n == other_n && memcmp(one, other, one_n) == 0;
}

/* Whether they are this text, which ends in NUL. */
static inline bool bytes_are(const char *bytes, size_t bytes_n, const char *text)
{
    return bytes_equal(bytes, bytes_n, text, strlen(text));
}

#endif
