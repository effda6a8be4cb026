/* SPDX-License-Identifier: MIT */
/* The names behind the counters and gauges, and the adding up of blocks. */
#include "config.h"

#include "base/stats.h"

#include <assert.h>

#define STATS_ROW(upper, lower, gauge, text) [STATS_##upper] = #lower,
static const char *const names[STATS_COUNT] = {STATS_ROWS(STATS_ROW)};
#undef STATS_ROW

const char *stats_name(enum stats_id id)
{
    assert((unsigned)id < STATS_COUNT);
    return names[id];
}

void stats_sum(struct stats *to, const struct stats *from)
{
    for (int id = 0; id < STATS_COUNT; id++)
        stats_add(to, id, stats_get(from, id));
}
