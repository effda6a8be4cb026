/* SPDX-License-Identifier: MIT */
/*
 * Idempotency keys in memory: which key has been used, by what content, for which position.  The
 * memory store keeps its keys in one, the hub those of a commit under way, and the reading of a
 * body those of one array.
 *
 * One thread at a time.  Each key is found in constant time and costs about 150 bytes with what
 * the allocator adds.
 */
#ifndef BUGLE_KEY_TABLE_H
#define BUGLE_KEY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/message.h"

struct key_table;

/* What is known of a key; the table's. */
struct key_entry {
    uint64_t position; /* of the event that came with it */
    int64_t stored_ms; /* wall clock */
    unsigned char digest[MESSAGE_DIGEST_BYTES];
};

struct key_table *key_table_new(void);        /* NULL when out of memory */
void key_table_free(struct key_table *table); /* accepts NULL */

/* The entry for the key of this event, or NULL.  Valid until the table changes. */
const struct key_entry *key_table_find(const struct key_table *table,
                                       const struct message *message);

/* Note the key of an event, in place of an entry that it may have.  Returns 0 or -ENOMEM. */
int key_table_put(struct key_table *table, const struct message *message, uint64_t position,
                  int64_t now_ms);

/* Whether the event says what the one did that came with the key. */
bool key_entry_is_same(const struct key_entry *entry, const struct message *message);

/* Forget the key of this event, which is there. */
void key_table_drop(struct key_table *table, const struct message *message);

/* The entry that was put first, or NULL; and forgetting it. */
const struct key_entry *key_table_oldest(const struct key_table *table);
void key_table_drop_oldest(struct key_table *table);

size_t key_table_count(const struct key_table *table);
void key_table_clear(struct key_table *table);

#endif
