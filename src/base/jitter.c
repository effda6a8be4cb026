/* SPDX-License-Identifier: MIT */
/* Numbers by chance for times.  See jitter.h. */
#include "config.h"
#include "base/jitter.h"

#include <stdlib.h>

void jitter_begin(struct jitter *jitter)
{
    arc4random_buf(&jitter->state, sizeof(jitter->state));
}

/* SplitMix64: its steps never fall into a short cycle, whatever the seed. */
static uint64_t next(struct jitter *jitter)
{
    uint64_t mixed = jitter->state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

uint32_t jitter_below(struct jitter *jitter, uint32_t end)
{
    return (uint32_t)((next(jitter) >> 32) * end >> 32);
}
