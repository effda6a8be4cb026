/* SPDX-License-Identifier: MIT */
/*
 * The recent events of one worker, in the order of their commit: what live streams read from.
 *
 * A slot is known by its sequence number, which counts every event this worker was handed;
 * stored and ephemeral alike.  The positions of stored events grow along the ring, and an
 * ephemeral event carries the position of the stored one before it.  The ring is bounded by
 * events and by bytes and drops its oldest; a reader whose place is gone reads the history.
 *
 * One thread, no lock.
 */
#ifndef BUGLE_RING_H
#define BUGLE_RING_H

#include <stddef.h>
#include <stdint.h>

#include "event/message.h"

struct ring;

/*
 * events_max, bytes_max  bounds; at least the newest event is always held
 * position               the last committed position when the worker starts
 *
 * Gives an empty ring, NULL when out of memory.
 */
struct ring *ring_new(size_t events_max, size_t bytes_max, uint64_t position);
void ring_free(struct ring *ring); /* accepts NULL */

/* Add the newest event; takes a reference of its own.  Returns the event's sequence number.  When
 * memory for more slots is short, the oldest event makes room instead. */
uint64_t ring_append(struct ring *ring, struct message *message);

/* Drop all events.  The next one follows this position, which may be an earlier one than that of
 * the newest. */
void ring_cut(struct ring *ring, uint64_t position);

/* The sequence numbers held are [ring_tail, ring_head). */
uint64_t ring_tail(const struct ring *ring);
uint64_t ring_head(const struct ring *ring);

/* Borrowed; `sequence` must be held. */
struct message *ring_at(const struct ring *ring, uint64_t sequence);

/* The position of the newest event ever added, and the position from which on the ring has
 * everything: a reader that has seen up to there, or further, can go on in the ring. */
uint64_t ring_head_position(const struct ring *ring);
uint64_t ring_tail_position(const struct ring *ring);

/* The first held sequence number whose position is beyond `position`; ring_head() if none is.
 * Cost: a binary search. */
uint64_t ring_seek(const struct ring *ring, uint64_t position);

/* Bytes of events from `sequence` to the head, as they go on the wire.  Cost: constant. */
uint64_t ring_frame_bytes_from(const struct ring *ring, uint64_t sequence);

size_t ring_bytes(const struct ring *ring); /* what the events cost in memory */

#endif
