/* SPDX-License-Identifier: MIT */
/*
 * Lines out of bytes that come in pieces.  A line that lies whole in a piece is not copied; of
 * one that is cut, the first BENCH_LINE_BYTES are kept and the rest is dropped, which is enough
 * for what the load tool looks at.  LF ends a line, a CR before it goes with it.
 */
#ifndef BUGLE_BENCH_LINE_H
#define BUGLE_BENCH_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_LINE_BYTES 252

/* A line that has begun and not ended; zeroed to begin with. */
struct bench_line {
    uint32_t kept_n;
    char kept[BENCH_LINE_BYTES];
};

/*
 * Take the next line.
 *
 * at        moves behind the line end, or to `end` when there is none
 * ret_text  the line without its end, good until the next call; ret_n its bytes
 *
 * Returns whether there is one; if not, what was there is kept for the next call.
 */
bool bench_line_take(struct bench_line *line, const char **at, const char *end,
                     const char **ret_text, size_t *ret_n);

#endif
