/* SPDX-License-Identifier: MIT */
/* A worker's recent events.  See ring.h. */
#include "config.h"
#include "stream/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 64

struct slot {
    struct message *message;
    uint64_t frame_bytes_before; /* of all events ever added before this one */
};

struct ring {
    struct slot *slots;
    size_t slots_n; /* a power of two */
    size_t events_max;
    size_t bytes_max;
    size_t bytes;
    uint64_t tail;
    uint64_t head;
    uint64_t tail_position;
    uint64_t head_position;
    uint64_t frame_bytes; /* of all events ever added */
};

static struct slot *slot_of(const struct ring *ring, uint64_t sequence)
{
    return &ring->slots[sequence & (ring->slots_n - 1)];
}

struct ring *ring_new(size_t events_max, size_t bytes_max, uint64_t position)
{
    struct ring *ring = calloc(1, sizeof(*ring));

    if (ring == NULL)
        return NULL;
    ring->slots_n = SLOTS_MIN;
    ring->slots = calloc(ring->slots_n, sizeof(*ring->slots));
    if (ring->slots == NULL) {
        free(ring);
        return NULL;
    }
    ring->events_max = events_max > 0 ? events_max : 1;
    ring->bytes_max = bytes_max;
    ring->tail_position = ring->head_position = position;
    return ring;
}

static void drop_oldest(struct ring *ring)
{
    struct message *message = slot_of(ring, ring->tail)->message;

    ring->tail++;
    ring->bytes -= message->bytes;
    ring->tail_position = message->position;
    message_unref(message);
}

void ring_free(struct ring *ring)
{
    if (ring == NULL)
        return;
    while (ring->tail < ring->head)
        drop_oldest(ring);
    free(ring->slots);
    free(ring);
}

static int grow(struct ring *ring)
{
    size_t slots_n = ring->slots_n * 2;
    struct slot *slots = calloc(slots_n, sizeof(*slots));

    if (slots == NULL)
        return -ENOMEM;
    for (uint64_t sequence = ring->tail; sequence < ring->head; sequence++)
        slots[sequence & (slots_n - 1)] = *slot_of(ring, sequence);
    free(ring->slots);
    ring->slots = slots;
    ring->slots_n = slots_n;
    return 0;
}

static void make_room(struct ring *ring, size_t bytes)
{
    while (ring->tail < ring->head &&
           (ring->head - ring->tail >= ring->events_max || ring->bytes + bytes > ring->bytes_max))
        drop_oldest(ring);
    if (ring->head - ring->tail == ring->slots_n && grow(ring) != 0)
        drop_oldest(ring);
}

uint64_t ring_append(struct ring *ring, struct message *message)
{
    make_room(ring, message->bytes);
    assert(message->position >= ring->head_position);
    *slot_of(ring, ring->head) = (struct slot){message_ref(message), ring->frame_bytes};
    ring->frame_bytes += message->frame_n;
    ring->bytes += message->bytes;
    ring->head_position = message->position;
    return ring->head++;
}

void ring_cut(struct ring *ring, uint64_t position)
{
    while (ring->tail < ring->head)
        drop_oldest(ring);
    ring->head_position = ring->tail_position = position;
}

uint64_t ring_tail(const struct ring *ring)
{
    return ring->tail;
}

uint64_t ring_head(const struct ring *ring)
{
    return ring->head;
}

struct message *ring_at(const struct ring *ring, uint64_t sequence)
{
    assert(sequence >= ring->tail && sequence < ring->head);
    return slot_of(ring, sequence)->message;
}

uint64_t ring_head_position(const struct ring *ring)
{
    return ring->head_position;
}

uint64_t ring_tail_position(const struct ring *ring)
{
    return ring->tail_position;
}

uint64_t ring_seek(const struct ring *ring, uint64_t position)
{
    uint64_t low = ring->tail, high = ring->head;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (ring_at(ring, middle)->position > position)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t ring_frame_bytes_from(const struct ring *ring, uint64_t sequence)
{
    if (sequence >= ring->head)
        return 0;
    if (sequence < ring->tail)
        sequence = ring->tail;
    return ring->frame_bytes - slot_of(ring, sequence)->frame_bytes_before;
}

size_t ring_bytes(const struct ring *ring)
{
    return ring->bytes;
}
