/* SPDX-License-Identifier: MIT */
/*
 * A table of counts by key, shared by all threads.
 *
 * A key whose count is back at 0 takes no memory, so the table is never larger than what it counts.
 * It is split into parts with a lock each, held for one look into a hash table.  Keys come from
 * outside, so the hash has a secret seed.  Any thread.
 */
#ifndef BUGLE_KEYED_COUNT_H
#define BUGLE_KEYED_COUNT_H

#include <stddef.h>

struct keyed_count;
struct keyed_count_entry; /* the count of one key */

struct keyed_count *keyed_count_new(void);         /* NULL when out of memory */
void keyed_count_free(struct keyed_count *counts); /* accepts NULL */

/*
 * Count one more, unless there are `most` already.
 *
 * key  borrowed; bytes
 *
 * Returns the entry, to be counted off with keyed_count_leave(), or by its key; NULL at the limit,
 * and when out of memory.
 */
struct keyed_count_entry *keyed_count_enter(struct keyed_count *counts, const void *key,
                                            size_t key_n, size_t most);

/* Count one less. */
void keyed_count_leave(struct keyed_count *counts, struct keyed_count_entry *entry);
void keyed_count_leave_key(struct keyed_count *counts, const void *key, size_t key_n);

/* The count of a key, and the number of keys that have one. */
size_t keyed_count_of(struct keyed_count *counts, const void *key, size_t key_n);
size_t keyed_count_keys(struct keyed_count *counts);

#endif
