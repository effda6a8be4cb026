/* SPDX-License-Identifier: MIT */
/* Idempotency keys in memory.  See key_table.h. */
#include "config.h"
#include "history/key_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "event/topic.h"

/* As in match.c: a secret seed, and running out of memory is an answer. */
#define HASH_FUNCTION(key, key_n, hash)                                                            \
    ((hash) = (unsigned)topic_hash((const char *)(key), (key_n)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct held {
    struct key_entry entry;
    UT_hash_handle hh;
    TAILQ_ENTRY(held) link;
    size_t key_n;
    char key[];
};

struct key_table {
    struct held *keys;
    TAILQ_HEAD(, held) by_age;
};

struct key_table *key_table_new(void)
{
    struct key_table *table = calloc(1, sizeof(*table));

    if (table != NULL)
        TAILQ_INIT(&table->by_age);
    return table;
}

static struct held *find(const struct key_table *table, const struct message *message)
{
    struct held *held;

    HASH_FIND(hh, table->keys, message_key(message), message->key_n, held);
    return held;
}

static void forget(struct key_table *table, struct held *held)
{
    TAILQ_REMOVE(&table->by_age, held, link);
    HASH_DELETE(hh, table->keys, held);
    free(held);
}

const struct key_entry *key_table_find(const struct key_table *table, const struct message *message)
{
    const struct held *held = find(table, message);

    return held != NULL ? &held->entry : NULL;
}

int key_table_put(struct key_table *table, const struct message *message, uint64_t position,
                  int64_t now_ms)
{
    struct held *held = malloc(sizeof(*held) + message->key_n), *old = find(table, message);

    if (held == NULL)
        return -ENOMEM;
    held->entry.position = position;
    held->entry.stored_ms = now_ms;
    memcpy(held->entry.digest, message_digest(message), MESSAGE_DIGEST_BYTES);
    held->key_n = message->key_n;
    memcpy(held->key, message_key(message), message->key_n);
    HASH_ADD_KEYPTR(hh, table->keys, held->key, held->key_n, held);
    if (held->hh.tbl == NULL) {
        free(held);
        return -ENOMEM;
    }
    if (old != NULL)
        forget(table, old);
    TAILQ_INSERT_TAIL(&table->by_age, held, link);
    return 0;
}

void key_table_drop(struct key_table *table, const struct message *message)
{
    forget(table, find(table, message));
}

bool key_entry_is_same(const struct key_entry *entry, const struct message *message)
{
    return memcmp(entry->digest, message_digest(message), MESSAGE_DIGEST_BYTES) == 0;
}

const struct key_entry *key_table_oldest(const struct key_table *table)
{
    const struct held *held = TAILQ_FIRST(&table->by_age);

    return held != NULL ? &held->entry : NULL;
}

void key_table_drop_oldest(struct key_table *table)
{
    forget(table, TAILQ_FIRST(&table->by_age));
}

size_t key_table_count(const struct key_table *table)
{
    return HASH_COUNT(table->keys);
}

void key_table_clear(struct key_table *table)
{
    while (!TAILQ_EMPTY(&table->by_age))
        key_table_drop_oldest(table);
}

void key_table_free(struct key_table *table)
{
    if (table == NULL)
        return;
    key_table_clear(table);
    free(table);
}
