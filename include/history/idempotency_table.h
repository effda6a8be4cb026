/* SPDX-License-Identifier: MIT */
/*
 * Idempotency keys in memory: which key has been used, by what content, for which position.  The
 * memory store keeps its keys in one, the hub those of a commit under way, and the reading of a
 * body those of one array.
 *
 * One thread at a time.  Each key is found in constant time and costs about 150 bytes with what
 * the allocator adds.
 */
#ifndef BUGLE_IDEMPOTENCY_TABLE_H
#define BUGLE_IDEMPOTENCY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/message.h"

struct idempotency_table;

/* What is known of a key; the table's. */
struct idempotency_entry {
    uint64_t position; /* of the event that came with it */
    int64_t stored_ms; /* wall clock */
    unsigned char digest[MESSAGE_DIGEST_BYTES];
};

struct idempotency_table *idempotency_table_new(void);        /* NULL when out of memory */
void idempotency_table_free(struct idempotency_table *table); /* accepts NULL */

/* The entry for the key of this event, or NULL.  Valid until the table changes. */
const struct idempotency_entry *idempotency_table_find(const struct idempotency_table *table,
                                                       const struct message *message);

/* Note the key of an event, in place of an entry that it may have.  Returns 0 or -ENOMEM. */
int idempotency_table_put(struct idempotency_table *table, const struct message *message,
                          uint64_t position, int64_t now_ms);

/* Whether the event says what the one did that came with the key. */
bool idempotency_entry_is_same(const struct idempotency_entry *entry,
                               const struct message *message);

/* Forget the key of this event, if it is there. */
void idempotency_table_drop(struct idempotency_table *table, const struct message *message);

/* The entry that was put first, or NULL; and forgetting it. */
const struct idempotency_entry *idempotency_table_oldest(const struct idempotency_table *table);
void idempotency_table_drop_oldest(struct idempotency_table *table);

/* Forget those that were put last, of events after this position.  Positions were put as they grow.
 */
void idempotency_table_drop_after(struct idempotency_table *table, uint64_t position);

size_t idempotency_table_count(const struct idempotency_table *table);
void idempotency_table_clear(struct idempotency_table *table);

#endif
