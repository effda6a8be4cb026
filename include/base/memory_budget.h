/* SPDX-License-Identifier: MIT */
/*
 * One account of what peers can make the gateway hold, and the one place that says no.
 *
 * Every part that grows by what peers do counts its bytes here at the moment it grows or shrinks:
 * events (in rings, inboxes, the queue, pages, the memory store, streams stopped inside a frame),
 * bodies on their way in, answers on their way out, connections, sockets at the gate, what parsing
 * takes.  An event counts once however many hold it.  Nothing is counted for a delivery.
 *
 * What is used is
 *
 *     what the process had resident at the last tick
 *   + what the parts have grown by since then
 *   + the room that rings and the memory store may still fill
 *
 * so uncounted memory (the libraries, SQLite's cache, what malloc() keeps) is corrected for four
 * times a second, and a burst is seen at once.
 *
 *   level            from     what is refused
 *   MEMORY_BUDGET_FINE      0        nothing
 *   MEMORY_BUDGET_NEAR      0.90     streams that begin in the past, listings, copies; fewer pages
 *   MEMORY_BUDGET_SCARCE    0.95     all new streams, bodies of more than
 * MEMORY_BUDGET_LARGE_BYTES; who holds most is evicted until it is less (memory_pressure.h)
 *   MEMORY_BUDGET_FULL      1.00     all bodies, all new connections
 *
 * Any thread, without locks, but for memory_budget_tick().  Every function takes NULL for a gateway
 * without a limit, as unit tests have.
 */
#ifndef BUGLE_MEMORY_BUDGET_H
#define BUGLE_MEMORY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/stats.h"

struct memory_budget;

enum memory_budget_part {
    MEMORY_BUDGET_EVENTS,  /* struct message, counted once each; see message_charge() */
    MEMORY_BUDGET_BODIES,  /* of requests, until they are parsed */
    MEMORY_BUDGET_PARSING, /* what parsing one is going to take */
    MEMORY_BUDGET_PAGES,   /* of the history, from when they are asked for until they have come */
    MEMORY_BUDGET_ANSWERS, /* listings, until the peer has them */
    MEMORY_BUDGET_CONNECTIONS, /* pools, streams and what they asked for; sockets at the gate */
    MEMORY_BUDGET_PARTS,
};

enum memory_budget_level {
    MEMORY_BUDGET_FINE,
    MEMORY_BUDGET_NEAR,
    MEMORY_BUDGET_SCARCE,
    MEMORY_BUDGET_FULL
};

/* Bodies and answers beyond this are refused earlier than small ones, and all of them together
 * may have a quarter of the limit, so that small ones still pass. */
#define MEMORY_BUDGET_LARGE_BYTES 16384

/*
 * Begin to count.
 *
 * limit_bytes   of the whole process
 * shared_bytes  that rings and the memory store may fill: set aside
 *
 * NULL when out of memory.
 */
struct memory_budget *memory_budget_new(size_t limit_bytes, size_t shared_bytes);
void memory_budget_free(
    struct memory_budget *memory); /* accepts NULL; no counted event may be left */

/* Count bytes, or with a negative number off again. */
void memory_budget_add(struct memory_budget *memory, enum memory_budget_part part, int64_t bytes);

/* The counter of a part, for code that subtracts later without the account at hand; NULL without an
 * account. */
_Atomic int64_t *memory_budget_counter(struct memory_budget *memory, enum memory_budget_part part);

/* Count `bytes` in, if what is used stays below the level then.  Large ones are asked for with
 * MEMORY_BUDGET_SCARCE, and stay within a quarter of the limit as well.  Returns whether it did. */
bool memory_budget_admit(struct memory_budget *memory, enum memory_budget_part part, size_t bytes,
                         enum memory_budget_level below);

/* Whether memory_budget_admit() would, without counting. */
bool memory_budget_would_admit(struct memory_budget *memory, enum memory_budget_part part,
                               size_t bytes, enum memory_budget_level below);

/* Something of so many bytes was refused for its level alone: have as much evicted as it needs. */
void memory_budget_want(struct memory_budget *memory, size_t bytes);

/* The level to ask for with so many bytes. */
static inline enum memory_budget_level memory_budget_level_for(size_t bytes)
{
    return bytes > MEMORY_BUDGET_LARGE_BYTES ? MEMORY_BUDGET_SCARCE : MEMORY_BUDGET_FULL;
}

/*
 * Whether malloc() has so many bytes for the calling thread just now, MEMORY_BUDGET_AT_HAND_MAX at
 * most. For libraries that do not survive an allocation that fails: what was taken here is given
 * back, and stays for the next of the thread.  Costs some tenths of a microsecond; any thread.
 */
#define MEMORY_BUDGET_AT_HAND_MAX 196608
bool memory_budget_is_at_hand(size_t bytes);

size_t memory_budget_used(const struct memory_budget *memory);
size_t memory_budget_limit(const struct memory_budget *memory); /* SIZE_MAX without an account */
enum memory_budget_level memory_budget_level(const struct memory_budget *memory);

/* Of `n` things that are handed out at a time, as many as the level allows: at least one. */
size_t memory_budget_ration(const struct memory_budget *memory, size_t n);

/*
 * Streams that hold much have been ended and will let go of so many bytes; with a negative number,
 * they have.  memory_budget_excess() is what is still to be found: how much more than a little
 * below MEMORY_BUDGET_SCARCE is used and not promised, or would be with what was refused since the
 * last tick.
 */
void memory_budget_promise(struct memory_budget *memory, int64_t bytes);
size_t memory_budget_excess(const struct memory_budget *memory);

/* Look at what is resident, have malloc() give back what it keeps if that is much, and set the
 * gauges.  One thread, four times a second, and once before the first request. */
void memory_budget_tick(struct memory_budget *memory, struct stats *stats);

#endif
