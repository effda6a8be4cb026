/* SPDX-License-Identifier: MIT */
/* Where a client that shows an id goes on.  See stream_place.h. */
#include "config.h"
#include "stream/stream_place.h"

#include <string.h>

#include "history/history.h"
#include "hub/hub.h"
#include "hub/hub_share.h"
#include "wire/sse.h"

/* An id, as this gateway's history sees it. */
struct seen {
    const struct lineage *lineage;
    uint64_t committed;
    uint64_t position;
    bool knows_epoch;
    uint64_t end; /* of that epoch */
};

const char *stream_reset_text(enum stream_reset reset)
{
    static const char *const texts[] = {
        [STREAM_RESET_NONE] = "",           [STREAM_RESET_EXPIRED] = "expired",
        [STREAM_RESET_UNKNOWN] = "unknown", [STREAM_RESET_EPOCH] = "epoch",
        [STREAM_RESET_DAMAGED] = "damaged",
    };

    return texts[reset];
}

/* The place of an id in an epoch that is known: its own, or where that epoch ended before it. */
static uint64_t place_in_epoch(const struct seen *seen)
{
    return seen->position < seen->end ? seen->position : seen->end;
}

/* When this gateway has attached to the epoch that the log has, what its lineage says of earlier
 * ones is the log's word too. */
static bool is_open(const struct hub *hub, const struct seen *seen,
                    const struct hub_share_facts *word)
{
    uint64_t place = place_in_epoch(seen);

    if (!hub_shares(hub) ||
        (seen->knows_epoch && seen->position <= seen->end && place <= seen->committed))
        return false;
    if (word == NULL || strcmp(word->epoch, seen->lineage->epoch) != 0)
        return true;
    /* The log has that place, and this gateway will.  Nobody stands where there is nothing yet: if
     * the log lost it after all, there would be no cut here that told of it. */
    return seen->knows_epoch && place > seen->committed &&
           (seen->end != UINT64_MAX || place <= word->head);
}

/* As this gateway has it. */
static void judge(const struct seen *seen, const struct history_bounds *bounds,
                  struct stream_place *place)
{
    /* it knows events that are in no order any more: what came in their place begins at the end */
    bool is_lost = seen->position > seen->end;
    uint64_t position = place_in_epoch(seen);

    if (!seen->knows_epoch) {
        place->reset = STREAM_RESET_EPOCH;
        return;
    }
    if (position > seen->committed && seen->end == UINT64_MAX)
        return; /* unknown */
    place->position = position < bounds->trimmed ? bounds->trimmed : position;
    if (is_lost)
        place->reset = STREAM_RESET_EPOCH;
    else
        place->reset = position < bounds->trimmed ? STREAM_RESET_EXPIRED : STREAM_RESET_NONE;
}

void stream_find_place(const struct hub *hub, const char *id, size_t id_n,
                       const struct hub_share_facts *word, struct stream_place *ret_place)
{
    struct seen seen = {.lineage = history_lineage(hub_history(hub)),
                        .committed = hub_committed(hub)};
    struct history_bounds bounds;
    const char *epoch;

    history_bounds(hub_history(hub), &bounds);
    *ret_place = (struct stream_place){.reset = STREAM_RESET_UNKNOWN, .position = seen.committed};
    if (!sse_parse_id(id, id_n, &epoch, &seen.position))
        return;
    seen.end = UINT64_MAX;
    seen.knows_epoch = lineage_find(seen.lineage, epoch, &seen.end);
    if (is_open(hub, &seen, word))
        ret_place->is_open = true;
    else
        judge(&seen, &bounds, ret_place);
}
