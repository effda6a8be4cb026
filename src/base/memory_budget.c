/* SPDX-License-Identifier: MIT */
/* The account of memory.  See memory_budget.h. */
#include "config.h"
#include "base/memory_budget.h"

#include <assert.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define PIECE_BYTES 49152 /* see memory_budget_is_at_hand() */
#define NEAR_PERCENT 90
#define SCARCE_PERCENT 95
/* Evicting goes on until so much less than SCARCE is used, or it would begin anew at once. */
#define RELIEF_SHARE 64
/* Room that is made for something that was refused, at most. */
#define WANTED_SHARE 16
/* Large bodies, or large answers, all of them together. */
#define LARGE_SHARE 4
/* malloc() is asked to give back what it keeps when that has become so much more, in bytes or as a
 * share of the limit, whichever is less. */
#define TRIM_BYTES (INT64_C(32) << 20)
#define TRIM_SHARE 16
#define TRIM_SHARE_SHORT 128
#define TRIM_EVERY_MS 1000
/* And when so large a part of what connections took is off again, if it is worth the walk through
 * the arenas: a crowd has left, and more of the same is not on its way out. */
#define EXODUS_SHARE 4
#define EXODUS_BYTES (INT64_C(1) << 20)

/* A part has a cache line: they are counted by different threads. */
struct part {
    alignas(64) _Atomic int64_t bytes;
};

struct memory_budget {
    struct part parts[MEMORY_BUDGET_PARTS];
    alignas(64) _Atomic int64_t overhead; /* resident and not counted, at the last tick */
    _Atomic int64_t promised;
    _Atomic int64_t wanted; /* by what was refused since the last tick: the most at once */
    int64_t limit;
    int64_t shared;
    int statm_fd;
    int64_t resident;
    int64_t trimmed_overhead; /* what was left after the last trim */
    int64_t trimmed_ms;
    int64_t crowd;  /* the most that connections took since the last trim */
    int64_t looked; /* what they took at the last tick */
};

struct memory_budget *memory_budget_new(size_t limit_bytes, size_t shared_bytes)
{
    struct memory_budget *memory =
        aligned_alloc(alignof(struct memory_budget), sizeof(struct memory_budget));

    if (memory == NULL)
        return NULL;
    *memory = (struct memory_budget){
        .limit = (int64_t)limit_bytes,
        .shared = (int64_t)shared_bytes,
        .statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC),
        .trimmed_overhead = -1,
    };
    return memory;
}

void memory_budget_free(struct memory_budget *memory)
{
    if (memory == NULL)
        return;
    if (memory->statm_fd >= 0)
        close(memory->statm_fd);
    free(memory);
}

void memory_budget_add(struct memory_budget *memory, enum memory_budget_part part, int64_t bytes)
{
    if (memory != NULL)
        atomic_fetch_add_explicit(&memory->parts[part].bytes, bytes, memory_order_relaxed);
}

_Atomic int64_t *memory_budget_counter(struct memory_budget *memory, enum memory_budget_part part)
{
    return memory != NULL ? &memory->parts[part].bytes : NULL;
}

static int64_t part_bytes(const struct memory_budget *memory, enum memory_budget_part part)
{
    return atomic_load_explicit(&memory->parts[part].bytes, memory_order_relaxed);
}

static int64_t counted(const struct memory_budget *memory)
{
    int64_t sum = 0;

    for (enum memory_budget_part part = 0; part < MEMORY_BUDGET_PARTS; part++)
        sum += part_bytes(memory, part);
    return sum;
}

/* Rings and the memory store have what they may fill set aside, filled or not, so that filling them
 * is never what makes memory short. */
static int64_t used(const struct memory_budget *memory)
{
    int64_t unfilled = memory->shared - part_bytes(memory, MEMORY_BUDGET_EVENTS);

    return counted(memory) + atomic_load_explicit(&memory->overhead, memory_order_relaxed) +
           (unfilled > 0 ? unfilled : 0);
}

static int64_t threshold(const struct memory_budget *memory, enum memory_budget_level level)
{
    switch (level) {
    case MEMORY_BUDGET_FINE:
        return 0;
    case MEMORY_BUDGET_NEAR:
        return memory->limit / 100 * NEAR_PERCENT;
    case MEMORY_BUDGET_SCARCE:
        return memory->limit / 100 * SCARCE_PERCENT;
    case MEMORY_BUDGET_FULL:
        break;
    }
    return memory->limit;
}

/* Something large was refused before memory is scarce by itself: let as much be evicted as it
 * needs, or it would be refused again and again.  A lost update costs one more refusal. */
static void note_wanted(struct memory_budget *memory, int64_t bytes)
{
    int64_t most = memory->limit / WANTED_SHARE;

    bytes = bytes < most ? bytes : most;
    if (bytes > atomic_load_explicit(&memory->wanted, memory_order_relaxed))
        atomic_store_explicit(&memory->wanted, bytes, memory_order_relaxed);
}

/* Whether `more` than is counted fits, out of `bytes` that are asked for. */
static bool fits(struct memory_budget *memory, enum memory_budget_part part,
                 enum memory_budget_level below, int64_t more, int64_t bytes)
{
    if (below <= MEMORY_BUDGET_SCARCE &&
        part_bytes(memory, part) + more > memory->limit / LARGE_SHARE)
        return false;
    if (used(memory) + more < threshold(memory, below))
        return true;
    note_wanted(memory, bytes);
    return false;
}

bool memory_budget_admit(struct memory_budget *memory, enum memory_budget_part part, size_t bytes,
                         enum memory_budget_level below)
{
    if (memory == NULL)
        return true;
    memory_budget_add(memory, part, (int64_t)bytes);
    if (fits(memory, part, below, 0, (int64_t)bytes))
        return true;
    memory_budget_add(memory, part, -(int64_t)bytes);
    return false;
}

bool memory_budget_would_admit(struct memory_budget *memory, enum memory_budget_part part,
                               size_t bytes, enum memory_budget_level below)
{
    return memory == NULL || fits(memory, part, below, (int64_t)bytes, (int64_t)bytes);
}

void memory_budget_want(struct memory_budget *memory, size_t bytes)
{
    if (memory != NULL)
        note_wanted(memory, (int64_t)bytes);
}

size_t memory_budget_used(const struct memory_budget *memory)
{
    int64_t bytes = memory != NULL ? used(memory) : 0;

    return bytes > 0 ? (size_t)bytes : 0;
}

size_t memory_budget_limit(const struct memory_budget *memory)
{
    return memory != NULL ? (size_t)memory->limit : SIZE_MAX;
}

enum memory_budget_level memory_budget_level(const struct memory_budget *memory)
{
    enum memory_budget_level level = MEMORY_BUDGET_FULL;

    if (memory == NULL)
        return MEMORY_BUDGET_FINE;
    int64_t bytes = used(memory);
    while (level > MEMORY_BUDGET_FINE && bytes < threshold(memory, level))
        level--;
    return level;
}

size_t memory_budget_ration(const struct memory_budget *memory, size_t n)
{
    static const size_t shares[] = {[MEMORY_BUDGET_FINE] = 1,
                                    [MEMORY_BUDGET_NEAR] = 4,
                                    [MEMORY_BUDGET_SCARCE] = 16,
                                    [MEMORY_BUDGET_FULL] = 64};
    size_t ration = n / shares[memory_budget_level(memory)];

    return ration > 0 ? ration : 1;
}

void memory_budget_promise(struct memory_budget *memory, int64_t bytes)
{
    if (memory != NULL && bytes != 0)
        atomic_fetch_add_explicit(&memory->promised, bytes, memory_order_relaxed);
}

size_t memory_budget_excess(const struct memory_budget *memory)
{
    int64_t bytes, aim, promised;

    if (memory == NULL)
        return 0;
    bytes = used(memory) + atomic_load_explicit(&memory->wanted, memory_order_relaxed);
    promised = atomic_load_explicit(&memory->promised, memory_order_relaxed);
    aim = threshold(memory, MEMORY_BUDGET_SCARCE) - memory->limit / RELIEF_SHARE;
    if (bytes < threshold(memory, MEMORY_BUDGET_SCARCE) || bytes - promised <= aim)
        return 0;
    return (size_t)(bytes - promised - aim);
}

/* ---- the tick ---- */

/* Returns -1 when the kernel does not say. */
static int64_t read_resident(const struct memory_budget *memory)
{
    char text[128];
    ssize_t n = memory->statm_fd >= 0 ? pread(memory->statm_fd, text, sizeof(text) - 1, 0) : -1;
    long long size, resident;

    if (n <= 0)
        return -1;
    text[n] = '\0';
    if (sscanf(text, "%lld %lld", &size, &resident) != 2)
        return -1;
    return resident * sysconf(_SC_PAGESIZE);
}

/* What is counted before it is taken.  Taken for resident it would hide as much of what is: when
 * the count is off again, so much more would be let in until the next look. */
static int64_t reserved(const struct memory_budget *memory)
{
    return part_bytes(memory, MEMORY_BUDGET_PAGES) + part_bytes(memory, MEMORY_BUDGET_PARSING);
}

/* Counted bytes that were never touched, as in a pool half used, are no reason to promise more. */
static int64_t look(struct memory_budget *memory)
{
    int64_t resident = read_resident(memory);
    int64_t overhead = resident - (counted(memory) - reserved(memory));

    if (resident < 0)
        return atomic_load_explicit(&memory->overhead, memory_order_relaxed);
    memory->resident = resident;
    overhead = overhead > 0 ? overhead : 0;
    atomic_store_explicit(&memory->overhead, overhead, memory_order_relaxed);
    return overhead;
}

/* Worth it where much was let go that malloc() has not given back; sooner when memory is short. */
static bool trim_is_due(const struct memory_budget *memory, int64_t overhead, int64_t now_ms)
{
    bool is_short = memory_budget_level(memory) >= MEMORY_BUDGET_NEAR;
    int64_t much = memory->limit / (is_short ? TRIM_SHARE_SHORT : TRIM_SHARE);

    return now_ms - memory->trimmed_ms >= TRIM_EVERY_MS &&
           overhead > memory->trimmed_overhead + (much < TRIM_BYTES ? much : TRIM_BYTES);
}

/* Whether many connections have ended since the last trim, and none in the last tick. */
static bool crowd_has_left(struct memory_budget *memory)
{
    int64_t bytes = part_bytes(memory, MEMORY_BUDGET_CONNECTIONS), gone;
    bool is_leaving = bytes < memory->looked;

    memory->looked = bytes;
    memory->crowd = bytes > memory->crowd ? bytes : memory->crowd;
    gone = memory->crowd - bytes;
    return !is_leaving && gone >= EXODUS_BYTES && gone >= memory->crowd / EXODUS_SHARE;
}

static void trim(struct memory_budget *memory, struct stats *stats, int64_t now_ms)
{
    malloc_trim(0);
    memory->crowd = memory->looked;
    memory->trimmed_overhead = look(memory);
    memory->trimmed_ms = now_ms;
    stats_add(stats, STATS_MEMORY_TRIMS, 1);
}

/* Pieces are smaller than what malloc() maps and unmaps by itself. */
bool memory_budget_is_at_hand(size_t bytes)
{
    char *volatile pieces[MEMORY_BUDGET_AT_HAND_MAX /
                          PIECE_BYTES]; /* or the compiler leaves it all out */
    size_t n = 0;
    bool is_there = true;

    assert(bytes <= MEMORY_BUDGET_AT_HAND_MAX);
    while (is_there && n * PIECE_BYTES < bytes) {
        pieces[n] = malloc(PIECE_BYTES);
        is_there = pieces[n] != NULL;
        n += is_there;
    }
    while (n > 0)
        free(pieces[--n]);
    return is_there;
}

void memory_budget_tick(struct memory_budget *memory, struct stats *stats)
{
    int64_t now_ms = clock_mono_ms();

    if (memory == NULL)
        return;
    int64_t overhead = look(memory);
    atomic_store_explicit(&memory->wanted, 0, memory_order_relaxed);
    if (memory->trimmed_overhead < 0 || overhead < memory->trimmed_overhead)
        memory->trimmed_overhead = overhead;
    if (crowd_has_left(memory) || trim_is_due(memory, overhead, now_ms))
        trim(memory, stats, now_ms);
    stats_set(stats, STATS_MEMORY_LIMIT, memory->limit);
    stats_set(stats, STATS_MEMORY_USED, used(memory));
    stats_set(stats, STATS_MEMORY_RESIDENT, memory->resident);
    stats_set(stats, STATS_MEMORY_EVENTS, part_bytes(memory, MEMORY_BUDGET_EVENTS));
    stats_set(stats, STATS_MEMORY_BODIES, part_bytes(memory, MEMORY_BUDGET_BODIES));
    stats_set(stats, STATS_MEMORY_ANSWERS, part_bytes(memory, MEMORY_BUDGET_ANSWERS));
    stats_set(stats, STATS_MEMORY_CONNECTIONS, part_bytes(memory, MEMORY_BUDGET_CONNECTIONS));
}
