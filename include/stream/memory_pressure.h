/* SPDX-License-Identifier: MIT */
/*
 * What the streams of a worker give up when memory is short (memory_budget.h:
 * MEMORY_BUDGET_SCARCE).
 *
 * A stream holds little: a page of the history while it catches up, and the event inside whose
 * frame its client stopped reading.  The page is dropped first, since it can be read again.  An
 * event that ring and store have let go of lives only in the streams that stopped inside it; each
 * of them holds its share.  And one that asked for much, or does not take the answers that it was
 * given, holds that: filter, index and texts, from the size of a usual connection on.  The stream
 * that holds most is evicted, to within a factor of two, and so on until enough is promised; it
 * resumes by its last id.  Idle streams that asked for little, and those that keep up, hold nothing
 * and are never touched.
 *
 * Worker's thread.
 */
#ifndef BUGLE_MEMORY_PRESSURE_H
#define BUGLE_MEMORY_PRESSURE_H

#include <stdint.h>

struct streams;

/* Cheap while memory is not short; else one look at the busy streams every 10 ms. */
void memory_pressure_evict(struct streams *streams, int64_t now_ms);

#endif
