/* SPDX-License-Identifier: MIT */
/* What is due first.  See due_heap.h. */
#include "config.h"
#include "base/due_heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define ROOM_MIN 4

int due_heap_reserve(struct due_heap *heap, size_t n)
{
    size_t room = heap->room > 0 ? heap->room : ROOM_MIN;

    while (room < n)
        room *= 2;
    if (room == heap->room)
        return 0;
    struct due_item **items = realloc(heap->items, room * sizeof(heap->items[0]));
    if (items == NULL)
        return -ENOMEM;
    heap->items = items;
    heap->room = room;
    return 0;
}

static void set(struct due_heap *heap, size_t place, struct due_item *item)
{
    heap->items[place - 1] = item;
    item->place = place;
}

static struct due_item *at(const struct due_heap *heap, size_t place)
{
    return heap->items[place - 1];
}

static void rise(struct due_heap *heap, struct due_item *item, size_t place)
{
    for (; place > 1 && at(heap, place / 2)->due_ms > item->due_ms; place /= 2)
        set(heap, place, at(heap, place / 2));
    set(heap, place, item);
}

static void sink(struct due_heap *heap, struct due_item *item, size_t place)
{
    size_t child;

    for (; (child = place * 2) <= heap->n; place = child) {
        if (child < heap->n && at(heap, child + 1)->due_ms < at(heap, child)->due_ms)
            child++;
        if (at(heap, child)->due_ms >= item->due_ms)
            break;
        set(heap, place, at(heap, child));
    }
    set(heap, place, item);
}

void due_heap_put(struct due_heap *heap, struct due_item *item, int64_t due_ms)
{
    assert(item->place == 0 && heap->n < heap->room);
    item->due_ms = due_ms;
    rise(heap, item, ++heap->n);
}

void due_heap_take(struct due_heap *heap, struct due_item *item)
{
    size_t place = item->place;

    if (place == 0)
        return;
    struct due_item *last = at(heap, heap->n--);
    item->place = 0;
    if (last == item)
        return;
    if (place > 1 && at(heap, place / 2)->due_ms > last->due_ms)
        rise(heap, last, place);
    else
        sink(heap, last, place);
}

struct due_item *due_heap_first(const struct due_heap *heap)
{
    return heap->n > 0 ? heap->items[0] : NULL;
}

void due_heap_clear(struct due_heap *heap)
{
    free(heap->items);
    *heap = (struct due_heap){.items = NULL};
}
