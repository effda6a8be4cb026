/* SPDX-License-Identifier: MIT */
/*
 * One account of what peers can make the gateway hold, and the one place that says no.
 *
 * Every part that grows by what peers do counts its bytes here at the moment it grows or shrinks:
 * events (whoever holds them: rings, inboxes, the queue, pages, the memory store, streams that
 * stopped inside a frame), bodies on their way in, answers on their way out, connections, sockets
 * at the gate, what parsing takes.  An event counts once however many hold it.  Nothing is counted
 * for a delivery.
 *
 * What is used is
 *
 *     what the process had resident at the last tick
 *   + what the parts have grown by since then
 *   + the room that rings and the memory store may still fill
 *
 * so what nobody counts (the libraries, SQLite's cache, what malloc() keeps) is corrected for four
 * times a second, and a burst is seen at once.
 *
 *   level            from     what is refused
 *   MEMORY_FINE      0        nothing
 *   MEMORY_NEAR      0.90     streams that begin in the past, listings, copies; fewer pages
 *   MEMORY_SCARCE    0.95     all new streams, bodies of more than MEMORY_LARGE_BYTES; who holds
 *                             most is evicted until it is less (pressure.h)
 *   MEMORY_FULL      1.00     all bodies, all new connections
 *
 * Any thread, without locks, but for memory_tick().  Every function takes NULL for a gateway
 * without a limit, as unit tests have.
 */
#ifndef BUGLE_MEMORY_H
#define BUGLE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/stats.h"

struct memory;

enum memory_part {
    MEMORY_EVENTS,      /* struct message, counted once each; see message_charge() */
    MEMORY_BODIES,      /* of requests, until they are parsed */
    MEMORY_PARSING,     /* what parsing one is going to take */
    MEMORY_PAGES,       /* of the history, from when they are asked for until they have come */
    MEMORY_ANSWERS,     /* listings, until the peer has them */
    MEMORY_CONNECTIONS, /* pools, streams and what they asked for; sockets at the gate */
    MEMORY_PARTS,
};

enum memory_level { MEMORY_FINE, MEMORY_NEAR, MEMORY_SCARCE, MEMORY_FULL };

/* Bodies and answers beyond this are refused earlier than small ones, and all of them together
 * may have a quarter of the limit, so that small ones still pass. */
#define MEMORY_LARGE_BYTES 16384

/*
 * Begin to count.
 *
 * limit_bytes   of the whole process
 * shared_bytes  that rings and the memory store may fill: set aside
 *
 * NULL when out of memory.
 */
struct memory *memory_new(size_t limit_bytes, size_t shared_bytes);
void memory_free(struct memory *memory); /* accepts NULL; no counted event may be left */

/* Count bytes, or with a negative number off again. */
void memory_add(struct memory *memory, enum memory_part part, int64_t bytes);

/* The number behind a part, for whoever counts off later without the account at hand; NULL without
 * an account. */
_Atomic int64_t *memory_counter(struct memory *memory, enum memory_part part);

/* Count `bytes` in, if what is used stays below the level then.  Large ones are asked for with
 * MEMORY_SCARCE, and stay within a quarter of the limit as well.  Returns whether it did. */
bool memory_admit(struct memory *memory, enum memory_part part, size_t bytes,
                  enum memory_level below);

/* Whether memory_admit() would, without counting. */
bool memory_would_admit(struct memory *memory, enum memory_part part, size_t bytes,
                        enum memory_level below);

/* Something of so many bytes was refused for its level alone: have as much evicted as it needs. */
void memory_want(struct memory *memory, size_t bytes);

/* The level to ask for with so many bytes. */
static inline enum memory_level memory_level_for(size_t bytes)
{
    return bytes > MEMORY_LARGE_BYTES ? MEMORY_SCARCE : MEMORY_FULL;
}

/*
 * Whether malloc() has so many bytes for the calling thread just now, MEMORY_AT_HAND_MAX at most.
 * For libraries that do not survive an allocation that fails: what was taken here is given back,
 * and stays for the next of the thread.  Costs some tenths of a microsecond; any thread.
 */
#define MEMORY_AT_HAND_MAX 196608
bool memory_is_at_hand(size_t bytes);

size_t memory_used(const struct memory *memory);
size_t memory_limit(const struct memory *memory); /* SIZE_MAX without an account */
enum memory_level memory_level(const struct memory *memory);

/* Of `n` things that are handed out at a time, as many as the level allows: at least one. */
size_t memory_ration(const struct memory *memory, size_t n);

/*
 * Streams that hold much have been ended and will let go of so many bytes; with a negative number,
 * they have.  memory_excess() is what is still to be found: how much more than a little below
 * MEMORY_SCARCE is used and not promised, or would be with what was refused since the last tick.
 */
void memory_promise(struct memory *memory, int64_t bytes);
size_t memory_excess(const struct memory *memory);

/* Look at what is resident, have malloc() give back what it keeps if that is much, and set the
 * gauges.  One thread, four times a second, and once before the first request. */
void memory_tick(struct memory *memory, struct stats *stats);

#endif
