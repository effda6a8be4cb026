/* SPDX-License-Identifier: MIT */
/*
 * The terms of a history: the epoch of now, and the epochs before it with the position at which
 * each of them ended.
 *
 * An epoch names one order of events that nobody else has.  It ends when events may have been lost
 * or another order may exist beside it: a copy is opened, a log comes back from a failure.  What
 * stood before that point is the same in both, so an id of an earlier epoch is good up to the end
 * of its term.  Kafka calls this leader epochs.
 *
 *     positions   1 ......... 40 ......... 70 ....... now
 *     epochs      aaaa        bbbb         cccc
 *     terms       aaaa ends at 40, bbbb ends at 70
 *
 * When a term begins at a head, ends beyond that head are lowered to it: what they promise is gone.
 *
 * A lineage is immutable.  Pure; any thread.
 */
#ifndef BUGLE_LINEAGE_H
#define BUGLE_LINEAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/sse.h"

/* The oldest terms go; ids of a term that is forgotten are those of an unknown epoch. */
#define LINEAGE_TERMS_MAX 256
/* Of a lineage as text: the bytes of a term, with the blank behind it. */
#define LINEAGE_TERM_BYTES (SSE_EPOCH_BYTES + 1 + 20 + 1)

struct lineage_term {
    char epoch[SSE_EPOCH_BYTES];
    uint64_t end; /* the last position of this term */
};

struct lineage {
    struct lineage *former;          /* of the same history, kept for who still looks at it */
    char epoch[SSE_EPOCH_BYTES + 1]; /* of now, with a NUL */
    size_t terms_n;
    struct lineage_term terms[]; /* the oldest first; their ends never go down */
};

/* The first of its kind: an epoch without terms before it.  `epoch` is borrowed, SSE_EPOCH_BYTES
 * bytes.  Gives; NULL when out of memory.  Release with free(), as all that is given here. */
struct lineage *lineage_new(const char *epoch);

/* The same once more.  Gives; NULL when out of memory. */
struct lineage *lineage_copy(const struct lineage *lineage);

/*
 * The lineage after this one: its epoch ends at `head`, ends beyond are lowered, and `epoch`
 * begins. Gives; NULL when out of memory.
 */
struct lineage *lineage_begin(const struct lineage *before, const char *epoch, uint64_t head);

/*
 * Up to which position an epoch is good: UINT64_MAX for the one of now, the end of its term for an
 * earlier one.  `epoch` is borrowed, SSE_EPOCH_BYTES bytes.  Returns whether it is known.  Costs a
 * look at each term, the latest first.
 */
bool lineage_find(const struct lineage *lineage, const char *epoch, uint64_t *ret_end);

/*
 * How much of a history that has `mine` as its lineage and `head` as its newest position is also
 * part of `other`, from the beginning on: the position after which it is to be cut off before it
 * can follow the other.  0: they have nothing in common.
 */
uint64_t lineage_common(const struct lineage *mine, uint64_t head, const struct lineage *other);

/*
 * As text: "epoch end epoch end ...", terms only.
 *
 * lineage_write() writes a NUL behind it; `to` has room for terms_n * LINEAGE_TERM_BYTES + 1.
 * Returns the bytes before the NUL.
 *
 * lineage_read() takes what lineage_write() wrote, with `epoch` as the one of now.  Gives; NULL:
 * out of memory, or these are no terms (an end that goes down, a doubled epoch, more than
 * LINEAGE_TERMS_MAX), with errno ENOMEM or EINVAL.
 */
size_t lineage_write(const struct lineage *lineage, char *to);
struct lineage *lineage_read(const char *epoch, const char *terms, size_t terms_n);

#endif
