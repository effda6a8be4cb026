/* SPDX-License-Identifier: MIT */
/* Who takes what he is sent, and who does not.  See progress.h. */
#include "config.h"
#include "progress.h"

void progress_begin(struct progress *progress, int64_t now_ms)
{
    *progress = (struct progress){.began_ms = now_ms, .since_ms = now_ms};
}

/* Whatever is new was acknowledged when the peer was last heard, or before. */
static void note_move(struct progress *progress, const struct peer_flow *flow, int64_t now_ms)
{
    int64_t heard_ms = now_ms - flow->silent_ms;

    if (heard_ms > progress->since_ms)
        progress->since_ms = heard_ms;
    progress->acknowledged = flow->acknowledged;
    progress->looked = true;
}

enum progress_verdict progress_look(struct progress *progress, const struct peer_flow *flow,
                                    const struct progress_limits *limits, int64_t now_ms)
{
    if (flow->outstanding == 0)
        return PROGRESS_CLEAR;
    if (!progress->looked || flow->acknowledged != progress->acknowledged) {
        note_move(progress, flow, now_ms);
        return PROGRESS_MOVES;
    }
    int64_t waits_ms = now_ms - progress->since_ms;
    if (flow->unanswered && waits_ms >= limits->vanish_ms && flow->silent_ms >= limits->vanish_ms)
        return PROGRESS_VANISHED;
    return waits_ms >= limits->stall_ms ? PROGRESS_STALLED : PROGRESS_WAITS;
}

static int64_t sooner_if_ahead(int64_t due_ms, int64_t limit_ms, int64_t now_ms)
{
    return limit_ms > now_ms && limit_ms < due_ms ? limit_ms : due_ms;
}

int64_t progress_due_ms(const struct progress *progress, const struct progress_limits *limits,
                        int64_t now_ms)
{
    int64_t due_ms = now_ms + PROGRESS_LOOK_MS;

    due_ms = sooner_if_ahead(due_ms, progress->since_ms + limits->stall_ms, now_ms);
    return sooner_if_ahead(due_ms, progress->since_ms + limits->vanish_ms, now_ms);
}
