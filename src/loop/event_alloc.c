/* SPDX-License-Identifier: MIT */
/* Libevent's small pieces, apart from ours.  See event_alloc.h. */
#include "config.h"
#include "loop/event_alloc.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PIECE_BYTES 32
/* Two million records.  Addresses only: the kernel gives a page when it is first written to. */
#define PLACE_BYTES (UINT64_C(64) << 20)

/* The library's functions for memory are told nothing of who asks, so the place is the process's.
 */
static char *place;
static _Atomic size_t taken_bytes;

static bool is_here(const void *piece)
{
    return (uintptr_t)piece - (uintptr_t)place < PLACE_BYTES;
}

/* Pieces are not taken back: records stay as long as their loop, and little else is so small. */
static void *allocate(size_t bytes)
{
    if (bytes > PIECE_BYTES ||
        atomic_load_explicit(&taken_bytes, memory_order_relaxed) >= PLACE_BYTES)
        return malloc(bytes);
    size_t at = atomic_fetch_add_explicit(&taken_bytes, PIECE_BYTES, memory_order_relaxed);

    return at < PLACE_BYTES ? place + at : malloc(bytes);
}

static void release(void *piece)
{
    if (!is_here(piece))
        free(piece);
}

static void *resize(void *piece, size_t bytes)
{
    void *moved;

    if (piece == NULL)
        return allocate(bytes);
    if (!is_here(piece))
        return realloc(piece, bytes);
    if (bytes <= PIECE_BYTES)
        return piece;
    moved = malloc(bytes);
    if (moved != NULL)
        memcpy(moved, piece, PIECE_BYTES);
    return moved;
}

static void install(void)
{
    void *at = mmap(NULL, PLACE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return;
    place = at;
    event_set_mem_functions(allocate, resize, release);
}

void event_alloc_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install);
}

void event_alloc_free(struct event *event)
{
    if (event != NULL)
        event_free(event);
}
