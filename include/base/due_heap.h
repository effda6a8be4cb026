/* SPDX-License-Identifier: MIT */
/*
 * What is due first: a binary heap of things by a time, from which any of them can be taken out.
 * One thread at a time.  Putting and taking cost the logarithm of how many there are.
 */
#ifndef BUGLE_DUE_HEAP_H
#define BUGLE_DUE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* A part of the thing; in one heap at a time. */
struct due_item {
    int64_t due_ms;
    size_t place; /* in the heap, from 1; 0: in none */
};

/* Begin with zeros; end with due_heap_clear(). */
struct due_heap {
    struct due_item **items;
    size_t n;
    size_t room;
};

/* Have room for so many, so that putting them cannot fail.  Returns 0 or -ENOMEM. */
int due_heap_reserve(struct due_heap *heap, size_t n);

/* For an item that is in no heap, with room reserved. */
void due_heap_put(struct due_heap *heap, struct due_item *item, int64_t due_ms);

/* Take out one that is in this heap; one that is in none stays so. */
void due_heap_take(struct due_heap *heap, struct due_item *item);

struct due_item *due_heap_first(const struct due_heap *heap); /* NULL when it is empty */
void due_heap_clear(struct due_heap *heap);

#endif
