/* SPDX-License-Identifier: MIT */
/*
 * How many there are of each: a table of counts by key, shared by all threads.
 *
 * A key whose count is back at none takes no memory, so the table is never larger than what it
 * counts.  It is split into parts with a lock each, held for one look into a hash table; keys come
 * from outside, so the hash has a secret seed.  Any thread.
 */
#ifndef BUGLE_TALLY_H
#define BUGLE_TALLY_H

#include <stddef.h>

struct tally;
struct tally_entry; /* a place in the count of one key */

struct tally *tally_new(void);        /* NULL when out of memory */
void tally_free(struct tally *tally); /* accepts NULL */

/*
 * Count one more, unless there are `most` already.
 *
 * key  borrowed; bytes
 *
 * Returns a place to be given back with tally_leave(), or by its key; NULL at the limit, and when
 * out of memory.
 */
struct tally_entry *tally_enter(struct tally *tally, const void *key, size_t key_n, size_t most);

/* Count one less. */
void tally_leave(struct tally *tally, struct tally_entry *entry);
void tally_leave_key(struct tally *tally, const void *key, size_t key_n);

/* The count of a key, and the number of keys that have one. */
size_t tally_count(struct tally *tally, const void *key, size_t key_n);
size_t tally_keys(struct tally *tally);

#endif
