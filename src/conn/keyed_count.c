/* SPDX-License-Identifier: MIT */
/* Counts by key.  See keyed_count.h. */
#include "config.h"
#include "conn/keyed_count.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define HASH_FUNCTION(key, key_n, hash)                                                            \
    ((hash) = (unsigned)hash_bytes((const char *)(key), (key_n)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PARTS_N 16

struct keyed_count_entry {
    UT_hash_handle hh;
    struct keyed_count_part *part;
    size_t count;
    size_t key_n;
    char key[];
};

struct keyed_count_part {
    pthread_mutex_t lock;
    struct keyed_count_entry *entries; /* hash table */
};

struct keyed_count {
    struct keyed_count_part parts[PARTS_N];
};

struct keyed_count *keyed_count_new(void)
{
    struct keyed_count *counts = calloc(1, sizeof(*counts));

    for (size_t i = 0; counts != NULL && i < PARTS_N; i++)
        pthread_mutex_init(&counts->parts[i].lock, NULL);
    return counts;
}

static void free_count_part(struct keyed_count_part *part)
{
    struct keyed_count_entry *entry, *next;

    HASH_ITER (hh, part->entries, entry, next) {
        HASH_DEL(part->entries, entry);
        free(entry);
    }
    pthread_mutex_destroy(&part->lock);
}

void keyed_count_free(struct keyed_count *counts)
{
    for (size_t i = 0; counts != NULL && i < PARTS_N; i++)
        free_count_part(&counts->parts[i]);
    free(counts);
}

/* By bits of the hash that the tables within do not go by first. */
static struct keyed_count_part *part_of_key(struct keyed_count *counts, const void *key,
                                            size_t key_n)
{
    return &counts->parts[hash_bytes(key, key_n) >> 32 & (PARTS_N - 1)];
}

static struct keyed_count_entry *find_entry(struct keyed_count_part *part, const void *key,
                                            size_t key_n)
{
    struct keyed_count_entry *entry;

    HASH_FIND(hh, part->entries, key, key_n, entry);
    return entry;
}

static struct keyed_count_entry *add_entry(struct keyed_count_part *part, const void *key,
                                           size_t key_n)
{
    struct keyed_count_entry *entry = calloc(1, sizeof(*entry) + key_n);

    if (entry == NULL)
        return NULL;
    entry->part = part;
    entry->key_n = key_n;
    memcpy(entry->key, key, key_n);
    HASH_ADD_KEYPTR(hh, part->entries, entry->key, entry->key_n, entry);
    if (entry->hh.tbl != NULL)
        return entry;
    free(entry);
    return NULL;
}

struct keyed_count_entry *keyed_count_enter(struct keyed_count *counts, const void *key,
                                            size_t key_n, size_t most)
{
    struct keyed_count_part *part = part_of_key(counts, key, key_n);

    pthread_mutex_lock(&part->lock);
    struct keyed_count_entry *entry = find_entry(part, key, key_n);
    if (entry == NULL && most > 0)
        entry = add_entry(part, key, key_n);
    if (entry != NULL && entry->count >= most)
        entry = NULL;
    if (entry != NULL)
        entry->count++;
    pthread_mutex_unlock(&part->lock);
    return entry;
}

static void count_entry_off(struct keyed_count_part *part, struct keyed_count_entry *entry)
{
    assert(entry != NULL && entry->count > 0);
    if (--entry->count > 0)
        return;
    HASH_DEL(part->entries, entry);
    free(entry);
}

void keyed_count_leave(struct keyed_count *counts, struct keyed_count_entry *entry)
{
    struct keyed_count_part *part = entry->part;

    (void)counts;
    pthread_mutex_lock(&part->lock);
    count_entry_off(part, entry);
    pthread_mutex_unlock(&part->lock);
}

void keyed_count_leave_key(struct keyed_count *counts, const void *key, size_t key_n)
{
    struct keyed_count_part *part = part_of_key(counts, key, key_n);

    pthread_mutex_lock(&part->lock);
    count_entry_off(part, find_entry(part, key, key_n));
    pthread_mutex_unlock(&part->lock);
}

size_t keyed_count_of(struct keyed_count *counts, const void *key, size_t key_n)
{
    struct keyed_count_part *part = part_of_key(counts, key, key_n);

    pthread_mutex_lock(&part->lock);
    const struct keyed_count_entry *entry = find_entry(part, key, key_n);
    size_t count = entry != NULL ? entry->count : 0;
    pthread_mutex_unlock(&part->lock);
    return count;
}

size_t keyed_count_keys(struct keyed_count *counts)
{
    size_t keys = 0;

    for (size_t i = 0; i < PARTS_N; i++) {
        struct keyed_count_part *part = &counts->parts[i];

        pthread_mutex_lock(&part->lock);
        keys += HASH_COUNT(part->entries);
        pthread_mutex_unlock(&part->lock);
    }
    return keys;
}
