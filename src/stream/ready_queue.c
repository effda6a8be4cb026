/* SPDX-License-Identifier: MIT */
/* Streams that have something to send.  See ready_queue.h. */
#include "config.h"
#include "stream/ready_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 8

int ready_queue_make_room(struct ready_queue *queue, size_t streams_n)
{
    size_t slots_n = queue->slots_n > 0 ? queue->slots_n : SLOTS_MIN;

    if (streams_n <= queue->slots_n)
        return 0;
    while (slots_n < streams_n)
        slots_n *= 2;
    struct stream **slots = malloc(slots_n * sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < queue->n; i++)
        slots[i] = ready_queue_at(queue, i);
    free(queue->slots);
    *queue = (struct ready_queue){.slots = slots, .slots_n = (uint32_t)slots_n, .n = queue->n};
    return 0;
}

void ready_queue_free(struct ready_queue *queue)
{
    free(queue->slots);
    *queue = (struct ready_queue){0};
}

void ready_queue_push(struct ready_queue *queue, struct stream *stream)
{
    assert(queue->n < queue->slots_n);
    *ready_queue_slot(queue, queue->n++) = stream;
}

void ready_queue_remove(struct ready_queue *queue, const struct stream *stream)
{
    uint32_t i = 0;

    while (i < queue->n && ready_queue_at(queue, i) != stream)
        i++;
    assert(i < queue->n);
    queue->n--;
    if (i == 0)
        queue->first = (queue->first + 1) & (queue->slots_n - 1);
    else
        for (; i < queue->n; i++)
            *ready_queue_slot(queue, i) = ready_queue_at(queue, i + 1);
}
