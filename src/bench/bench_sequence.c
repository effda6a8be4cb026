/* SPDX-License-Identifier: MIT */
/* Holes in a row of numbers, as sorted ranges. */
#include "config.h"
#include "bench/bench_sequence.h"

#include <stdlib.h>
#include <string.h>

/* The first hole that ends beyond `number`; `holes_n` when there is none. */
static uint32_t bench_sequence_find_hole(const struct bench_sequence *sequence, uint32_t number)
{
    uint32_t low = 0, high = sequence->holes_n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (sequence->holes[middle].to > number)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static bool bench_sequence_make_room(struct bench_sequence *sequence)
{
    if (sequence->holes_n < sequence->holes_room)
        return true;
    uint32_t room = sequence->holes_room ? sequence->holes_room * 2 : 4;
    struct bench_hole *holes = reallocarray(sequence->holes, room, sizeof(*holes));
    if (holes == NULL)
        return false;
    sequence->holes = holes;
    sequence->holes_room = room;
    return true;
}

static void bench_sequence_insert_hole(struct bench_sequence *sequence, uint32_t at,
                                       struct bench_hole hole)
{
    if (!bench_sequence_make_room(sequence))
        return;
    struct bench_hole *place = sequence->holes + at;
    memmove(place + 1, place, (sequence->holes_n - at) * sizeof(*place));
    *place = hole;
    sequence->holes_n++;
}

/* Cut one number out of the hole that holds it: at an end, or into two. */
static void bench_sequence_fill(struct bench_sequence *sequence, uint32_t at, uint32_t number)
{
    struct bench_hole *hole = &sequence->holes[at];
    struct bench_hole rest = {number + 1, hole->to};

    if (number == hole->from) {
        hole->from++;
        if (hole->from == hole->to)
            memmove(hole, hole + 1, (--sequence->holes_n - at) * sizeof(*hole));
        return;
    }
    hole->to = number;
    if (rest.from < rest.to)
        bench_sequence_insert_hole(sequence, at + 1, rest);
}

enum bench_arrival bench_sequence_take_slowly(struct bench_sequence *sequence, uint32_t number)
{
    if (number >= sequence->next) {
        struct bench_hole hole = {sequence->next, number};

        if (hole.from < hole.to)
            bench_sequence_insert_hole(sequence, sequence->holes_n, hole);
        sequence->next = number + 1;
        return BENCH_ARRIVAL_IN_ORDER;
    }
    uint32_t at = bench_sequence_find_hole(sequence, number);
    if (at == sequence->holes_n || sequence->holes[at].from > number)
        return BENCH_ARRIVAL_AGAIN;
    bench_sequence_fill(sequence, at, number);
    return BENCH_ARRIVAL_LATE;
}

bool bench_sequence_has(const struct bench_sequence *sequence, uint32_t number)
{
    if (number >= sequence->next)
        return false;
    uint32_t at = bench_sequence_find_hole(sequence, number);
    return at == sequence->holes_n || sequence->holes[at].from > number;
}

static uint64_t count_missing(const struct bench_sequence *excused, uint32_t from, uint32_t to)
{
    if (excused->next == 0)
        return to - from;
    uint64_t missing = 0;
    for (uint32_t number = from; number < to; number++)
        missing += !bench_sequence_has(excused, number);
    return missing;
}

uint64_t bench_sequence_missing(const struct bench_sequence *sequence,
                                const struct bench_sequence *excused, uint32_t end)
{
    uint64_t missing = 0;

    for (uint32_t i = 0; i < sequence->holes_n; i++) {
        const struct bench_hole *hole = &sequence->holes[i];

        if (hole->from >= end)
            return missing;
        missing += count_missing(excused, hole->from, hole->to < end ? hole->to : end);
    }
    if (sequence->next < end)
        missing += count_missing(excused, sequence->next, end);
    return missing;
}

void bench_sequence_done(struct bench_sequence *sequence)
{
    free(sequence->holes);
    memset(sequence, 0, sizeof(*sequence));
}
