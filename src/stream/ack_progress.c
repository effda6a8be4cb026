/* SPDX-License-Identifier: MIT */
/* Peers that take what they are sent, and peers that do not.  See ack_progress.h. */
#include "config.h"
#include "stream/ack_progress.h"

/* The kernel tells times in ticks of its own, and a record begins a moment before the send. */
#define LEFT_MARGIN_MS 1000
/* The next heartbeat may come a tick late, and an answer takes its time. */
#define NEXT_HEARTBEAT_MS 1000

void ack_progress_begin(struct ack_progress *progress, int64_t now_ms)
{
    *progress = (struct ack_progress){.began_ms = now_ms, .since_ms = now_ms};
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t ack_progress_heartbeat_due_ms(const struct ack_progress_limits *limits,
                                      int64_t heartbeat_ms, int64_t now_ms)
{
    int64_t wait_ms = lesser(limits->stall_ms, limits->vanish_ms) - 2 * ACK_PROGRESS_LOOK_MS;

    wait_ms =
        lesser(lesser(wait_ms, heartbeat_ms + NEXT_HEARTBEAT_MS), ACK_PROGRESS_HEARTBEAT_LOOK_MS);
    return now_ms + (wait_ms > ACK_PROGRESS_LOOK_MS ? wait_ms : ACK_PROGRESS_LOOK_MS);
}

int64_t ack_progress_first_due_ms(const struct ack_progress *progress,
                                  const struct ack_progress_limits *limits, int64_t heartbeat_ms,
                                  int64_t now_ms)
{
    int64_t limit_ms = lesser(limits->stall_ms, limits->vanish_ms);
    int64_t due_ms = now_ms + lesser(ACK_PROGRESS_FIRST_LOOK_MS, limit_ms);

    if (!progress->is_patient)
        return due_ms;
    return lesser(due_ms, ack_progress_heartbeat_due_ms(limits, heartbeat_ms, progress->began_ms));
}

/* Whatever is new was acknowledged when the peer was last heard, or before. */
static void note_move(struct ack_progress *progress, const struct tcp_progress *flow,
                      int64_t now_ms)
{
    int64_t heard_ms = now_ms - flow->silent_ms;

    if (heard_ms > progress->since_ms)
        progress->since_ms = heard_ms;
    progress->acknowledged = flow->acknowledged;
}

/* All had been acknowledged when the record began.  A peer that was heard since has taken some of
 * what was sent then, unless its window was closed: then it only answers probes. */
static void note_first(struct ack_progress *progress, const struct tcp_progress *flow,
                       int64_t sent_ms, int64_t now_ms)
{
    progress->looked = true;
    progress->acknowledged = flow->acknowledged;
    if (now_ms - flow->sent_ms + LEFT_MARGIN_MS < progress->began_ms ||
        now_ms - flow->silent_ms < progress->began_ms)
        return;
    progress->since_ms = sent_ms > progress->since_ms ? sent_ms : progress->since_ms;
    note_move(progress, flow, now_ms);
}

enum ack_progress_verdict ack_progress_look(struct ack_progress *progress,
                                            const struct tcp_progress *flow, int64_t sent_ms,
                                            const struct ack_progress_limits *limits,
                                            int64_t now_ms)
{
    if (flow->outstanding == 0)
        return ACK_PROGRESS_CLEAR;
    if (!progress->looked) {
        note_first(progress, flow, sent_ms, now_ms);
        return ACK_PROGRESS_MOVES;
    }
    if (flow->acknowledged != progress->acknowledged) {
        note_move(progress, flow, now_ms);
        return ACK_PROGRESS_MOVES;
    }
    int64_t waits_ms = now_ms - progress->since_ms;
    if (flow->unanswered && waits_ms >= limits->vanish_ms && flow->silent_ms >= limits->vanish_ms)
        return ACK_PROGRESS_VANISHED;
    return waits_ms >= limits->stall_ms ? ACK_PROGRESS_STALLED : ACK_PROGRESS_WAITS;
}

static int64_t sooner_if_ahead(int64_t due_ms, int64_t limit_ms, int64_t now_ms)
{
    return limit_ms > now_ms && limit_ms < due_ms ? limit_ms : due_ms;
}

int64_t ack_progress_due_ms(const struct ack_progress *progress,
                            const struct ack_progress_limits *limits, int64_t now_ms)
{
    int64_t due_ms = now_ms + ACK_PROGRESS_LOOK_MS;

    due_ms = sooner_if_ahead(due_ms, progress->since_ms + limits->stall_ms, now_ms);
    return sooner_if_ahead(due_ms, progress->since_ms + limits->vanish_ms, now_ms);
}
