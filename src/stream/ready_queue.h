/* SPDX-License-Identifier: MIT */
/*
 * Streams that have something to send, in the order in which they got it.
 *
 * An array and not a list, so that the next ones can be brought into the caches while the first is
 * served: where they are does not stand in those before them.
 */
#ifndef BUGLE_READY_QUEUE_H
#define BUGLE_READY_QUEUE_H

#include <stddef.h>
#include <stdint.h>

struct stream;

/* A ring; all zero is an empty one without room.  Borrows the streams. */
struct ready_queue {
    struct stream **slots;
    uint32_t slots_n; /* a power of two, or 0 */
    uint32_t first;
    uint32_t n;
};

/* Make room for so many streams, if there is less.  Returns 0 or -ENOMEM. */
int ready_queue_make_room(struct ready_queue *queue, size_t streams_n);

/* Frees the room; the queue is empty and without room then. */
void ready_queue_free(struct ready_queue *queue);

/* To the end.  There must be room. */
void ready_queue_push(struct ready_queue *queue, struct stream *stream);

/* Takes a stream out, which must be there: at once if it is the first, else those behind it move
 * up. */
void ready_queue_remove(struct ready_queue *queue, const struct stream *stream);

/* Where the one at place `i` from the front stands. */
static inline struct stream **ready_queue_slot(const struct ready_queue *queue, uint32_t i)
{
    return &queue->slots[(queue->first + i) & (queue->slots_n - 1)];
}

/* The one at place `i` from the front, below `n`. */
static inline struct stream *ready_queue_at(const struct ready_queue *queue, uint32_t i)
{
    return *ready_queue_slot(queue, i);
}

#endif
