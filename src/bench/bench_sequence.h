/* SPDX-License-Identifier: MIT */
/*
 * Which numbers of a row 0, 1, 2, … have come: costs nothing while they come in order, and a
 * range for each hole otherwise.  So a stream can tell lost, late and repeated events apart, and
 * a publisher can remember what was refused.  A plain value, zeroed to begin with; one thread.
 */
#ifndef BUGLE_BENCH_SEQUENCE_H
#define BUGLE_BENCH_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

struct bench_hole {
    uint32_t from;
    uint32_t to; /* the first number after the hole */
};

struct bench_sequence {
    uint32_t next; /* one above the largest number that came */
    uint32_t holes_n;
    uint32_t holes_room;
    struct bench_hole *holes; /* ascending, all below `next` */
};

enum bench_arrival {
    BENCH_ARRIVAL_IN_ORDER, /* beyond all before it, with or without a hole */
    BENCH_ARRIVAL_LATE,     /* fills a hole */
    BENCH_ARRIVAL_AGAIN,    /* has come before */
};

/* Take note of a number.  A hole that no memory can be had for counts as filled, so such a
 * shortage makes later placements look repeated. */
enum bench_arrival bench_sequence_take_slowly(struct bench_sequence *sequence, uint32_t number);

static inline enum bench_arrival bench_sequence_take(struct bench_sequence *sequence,
                                                     uint32_t number)
{
    if (number != sequence->next)
        return bench_sequence_take_slowly(sequence, number);
    sequence->next++;
    return BENCH_ARRIVAL_IN_ORDER;
}

bool bench_sequence_has(const struct bench_sequence *sequence, uint32_t number);

/* The smallest number that has not come. */
static inline uint32_t bench_sequence_first_missing(const struct bench_sequence *sequence)
{
    return sequence->holes_n ? sequence->holes[0].from : sequence->next;
}

/* How many of the numbers below `end` have not come, leaving out those that `excused` has. */
uint64_t bench_sequence_missing(const struct bench_sequence *sequence,
                                const struct bench_sequence *excused, uint32_t end);

/* Free what a sequence holds; the value is zeroed. */
void bench_sequence_done(struct bench_sequence *sequence);

#endif
