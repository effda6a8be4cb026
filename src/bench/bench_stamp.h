/* SPDX-License-Identifier: MIT */
/*
 * What the load tool writes at the start of the data of every event, so that the reading side
 * knows which event it is and when it was due: `~RUN-TOPIC-NUMBER-ANSWERED-DUE~` in lower-case
 * hex, all of fixed width.  The alphabet passes unchanged through JSON and URLs.
 */
#ifndef BUGLE_BENCH_STAMP_H
#define BUGLE_BENCH_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_STAMP_BYTES 54

struct bench_stamp {
    uint32_t run;      /* tells the events of this run from those of an earlier one */
    uint32_t topic;    /* index of the topic */
    uint32_t number;   /* the topic's own numbering, from 0 */
    uint32_t answered; /* the publishing of all numbers below was over when this one was sent */
    uint64_t due_ns;   /* when it was to be published, by bench_now() */
};

/* Write BENCH_STAMP_BYTES bytes, no NUL. */
void bench_stamp_write(char *to, const struct bench_stamp *stamp);

/* Find the first stamp in a text; `*ret_stamp` is untouched when there is none. */
bool bench_stamp_find(const char *text, size_t text_n, struct bench_stamp *ret_stamp);

#endif
