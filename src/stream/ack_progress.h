/* SPDX-License-Identifier: MIT */
/*
 * Whether a peer takes what it is sent: pure numbers, from one look at the kernel's
 * figures to the next.
 *
 * A record begins with something sent.  From then on until all is acknowledged, time counts from
 * the last moment at which the peer may have acknowledged something new.  A moment between two
 * looks is taken for the later one, or for the last acknowledgement of any kind if that came
 * before it: nobody is judged too early, and too late by no more than the time between two looks.
 *
 * Heartbeats are so small and so far apart that the first look after one may be a late one, by
 * which there has been another.  Such a look finds something outstanding and must tell of which: of
 * the first if the peer has been silent since before that, or nothing has left for it since; else
 * of the second.
 */
#ifndef BUGLE_ACK_PROGRESS_H
#define BUGLE_ACK_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/peer.h"

/* The first look comes so long after something was sent; nearly all peers have taken it by then. */
#define ACK_PROGRESS_FIRST_LOOK_MS 1000
/* How often a peer that has something outstanding is looked at from then on. */
#define ACK_PROGRESS_LOOK_MS 750
/* The latest first look after a heartbeat. */
#define ACK_PROGRESS_HEARTBEAT_LOOK_MS 16500

struct ack_progress {
    int64_t began_ms; /* monotonic: since then something was outstanding */
    bool looked;      /* `acknowledged` is known */
    bool is_patient;  /* heartbeats are all that was sent, and the first look is a late one */
    int64_t since_ms; /* since then nothing new was acknowledged */
    int64_t acknowledged;
};

struct ack_progress_limits {
    int64_t stall_ms;  /* nothing new acknowledged for so long */
    int64_t vanish_ms; /* not even an answer for so long */
};

/* What a look finds. */
enum ack_progress_verdict {
    ACK_PROGRESS_CLEAR,    /* all is acknowledged */
    ACK_PROGRESS_MOVES,    /* something new is, or this is the first look */
    ACK_PROGRESS_WAITS,    /* nothing new, for less than the limits */
    ACK_PROGRESS_STALLED,  /* the peer's machine answers, but takes nothing */
    ACK_PROGRESS_VANISHED, /* nobody answers */
};

/* Something is sent to a peer that had acknowledged everything. */
void ack_progress_begin(struct ack_progress *progress, int64_t now_ms);

/* When to look first if all that is sent is a heartbeat, and another every `heartbeat_ms`: after
 * the next one, but before a third, and before either limit can be over. */
int64_t ack_progress_heartbeat_due_ms(const struct ack_progress_limits *limits,
                                      int64_t heartbeat_ms, int64_t now_ms);

/* When to look first now that something else is sent: in a limit's time at the latest, and no later
 * than is due already if heartbeats, every `heartbeat_ms`, were all that was sent since the record
 * began. */
int64_t ack_progress_first_due_ms(const struct ack_progress *progress,
                                  const struct ack_progress_limits *limits, int64_t heartbeat_ms,
                                  int64_t now_ms);

/* Judge by what tcp_progress() says at `now_ms`.  A peer that stalls and does not answer has
 * vanished.
 *
 * sent_ms  when the peer was last sent something
 */
enum ack_progress_verdict ack_progress_look(struct ack_progress *progress,
                                            const struct tcp_progress *flow, int64_t sent_ms,
                                            const struct ack_progress_limits *limits,
                                            int64_t now_ms);

/* When to look again: after ACK_PROGRESS_LOOK_MS, or at a limit that comes before. */
int64_t ack_progress_due_ms(const struct ack_progress *progress,
                            const struct ack_progress_limits *limits, int64_t now_ms);

#endif
