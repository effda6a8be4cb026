/* SPDX-License-Identifier: MIT */
/* The names behind the counters and gauges, and the adding up of blocks. */
#include "config.h"

#include "base/stats.h"

#include <assert.h>

struct stats_row {
    const char *name;
    bool gauge;
    const char *text;
};

#define STATS_ROW(upper, lower, gauge, text) [STATS_##upper] = {#lower, gauge, text},
static const struct stats_row rows[STATS_COUNT] = {STATS_ROWS(STATS_ROW)};
#undef STATS_ROW

static const struct stats_row *row_of(enum stats_id id)
{
    assert((unsigned)id < STATS_COUNT);
    return &rows[id];
}

const char *stats_name(enum stats_id id)
{
    return row_of(id)->name;
}

bool stats_is_gauge(enum stats_id id)
{
    return row_of(id)->gauge;
}

const char *stats_text(enum stats_id id)
{
    return row_of(id)->text;
}

void stats_sum(struct stats *to, const struct stats *from)
{
    for (int id = 0; id < STATS_COUNT; id++)
        stats_add(to, id, stats_get(from, id));
}
