/* SPDX-License-Identifier: MIT */
/* A stretch of a text, while it is read from left to right.  Pure. */
#ifndef BUGLE_SPAN_H
#define BUGLE_SPAN_H

#include <stdint.h>

#include "base/bytes.h"

struct span {
    const char *at;
    size_t n;
};

static inline bool span_is(struct span span, const char *text)
{
    return bytes_are(span.at, span.n, text);
}

static inline bool span_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What is left without the blanks around it. */
static inline struct span span_trim(struct span span)
{
    for (; span.n > 0 && span_is_blank(span.at[0]); span.n--)
        span.at++;
    while (span.n > 0 && span_is_blank(span.at[span.n - 1]))
        span.n--;
    return span;
}

/* Take what stands before the next `separator`, which goes too, or all. */
static inline struct span span_take_until(struct span *rest, char separator)
{
    const char *end = rest->n > 0 ? memchr(rest->at, separator, rest->n) : NULL;
    struct span taken = {rest->at, end != NULL ? (size_t)(end - rest->at) : rest->n};
    size_t taken_n = taken.n + (end != NULL);

    *rest = (struct span){rest->at + taken_n, rest->n - taken_n};
    return taken;
}

/* One to five digits, at most 65535. */
static inline bool span_port(struct span digits, uint16_t *ret_port)
{
    unsigned port = 0;

    if (digits.n == 0 || digits.n > 5)
        return false;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9')
            return false;
        port = port * 10 + (unsigned)(digits.at[i] - '0');
    }
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

#endif
