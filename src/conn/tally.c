/* SPDX-License-Identifier: MIT */
/* Counts by key.  See tally.h. */
#include "config.h"
#include "conn/tally.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "event/topic.h"

#define HASH_FUNCTION(key, key_n, hash)                                                            \
    ((hash) = (unsigned)topic_hash((const char *)(key), (key_n)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PARTS_N 16

struct tally_entry {
    UT_hash_handle hh;
    struct tally_part *part;
    size_t count;
    size_t key_n;
    char key[];
};

struct tally_part {
    pthread_mutex_t lock;
    struct tally_entry *entries; /* hash table */
};

struct tally {
    struct tally_part parts[PARTS_N];
};

struct tally *tally_new(void)
{
    struct tally *tally = calloc(1, sizeof(*tally));

    for (size_t i = 0; tally != NULL && i < PARTS_N; i++)
        pthread_mutex_init(&tally->parts[i].lock, NULL);
    return tally;
}

static void free_part(struct tally_part *part)
{
    struct tally_entry *entry, *next;

    HASH_ITER (hh, part->entries, entry, next) {
        HASH_DEL(part->entries, entry);
        free(entry);
    }
    pthread_mutex_destroy(&part->lock);
}

void tally_free(struct tally *tally)
{
    for (size_t i = 0; tally != NULL && i < PARTS_N; i++)
        free_part(&tally->parts[i]);
    free(tally);
}

/* By bits of the hash that the tables within do not go by first. */
static struct tally_part *part_of(struct tally *tally, const void *key, size_t key_n)
{
    return &tally->parts[topic_hash(key, key_n) >> 32 & (PARTS_N - 1)];
}

static struct tally_entry *find(struct tally_part *part, const void *key, size_t key_n)
{
    struct tally_entry *entry;

    HASH_FIND(hh, part->entries, key, key_n, entry);
    return entry;
}

static struct tally_entry *add(struct tally_part *part, const void *key, size_t key_n)
{
    struct tally_entry *entry = calloc(1, sizeof(*entry) + key_n);

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

struct tally_entry *tally_enter(struct tally *tally, const void *key, size_t key_n, size_t most)
{
    struct tally_part *part = part_of(tally, key, key_n);

    pthread_mutex_lock(&part->lock);
    struct tally_entry *entry = find(part, key, key_n);
    if (entry == NULL && most > 0)
        entry = add(part, key, key_n);
    if (entry != NULL && entry->count >= most)
        entry = NULL;
    if (entry != NULL)
        entry->count++;
    pthread_mutex_unlock(&part->lock);
    return entry;
}

static void count_off(struct tally_part *part, struct tally_entry *entry)
{
    assert(entry != NULL && entry->count > 0);
    if (--entry->count > 0)
        return;
    HASH_DEL(part->entries, entry);
    free(entry);
}

void tally_leave(struct tally *tally, struct tally_entry *entry)
{
    struct tally_part *part = entry->part;

    (void)tally;
    pthread_mutex_lock(&part->lock);
    count_off(part, entry);
    pthread_mutex_unlock(&part->lock);
}

void tally_leave_key(struct tally *tally, const void *key, size_t key_n)
{
    struct tally_part *part = part_of(tally, key, key_n);

    pthread_mutex_lock(&part->lock);
    count_off(part, find(part, key, key_n));
    pthread_mutex_unlock(&part->lock);
}

size_t tally_count(struct tally *tally, const void *key, size_t key_n)
{
    struct tally_part *part = part_of(tally, key, key_n);

    pthread_mutex_lock(&part->lock);
    const struct tally_entry *entry = find(part, key, key_n);
    size_t count = entry != NULL ? entry->count : 0;
    pthread_mutex_unlock(&part->lock);
    return count;
}

size_t tally_keys(struct tally *tally)
{
    size_t keys = 0;

    for (size_t i = 0; i < PARTS_N; i++) {
        struct tally_part *part = &tally->parts[i];

        pthread_mutex_lock(&part->lock);
        keys += HASH_COUNT(part->entries);
        pthread_mutex_unlock(&part->lock);
    }
    return keys;
}
