/* SPDX-License-Identifier: MIT */
/* Idempotency keys in memory.  See idempotency_table.h. */
#include "config.h"
#include "history/idempotency_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"

/* As in topic_index.c: a secret seed, and running out of memory is an answer. */
#define HASH_FUNCTION(key, key_n, hash)                                                            \
    ((hash) = (unsigned)hash_bytes((const char *)(key), (key_n)))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct held {
    struct idempotency_entry entry;
    UT_hash_handle hh;
    TAILQ_ENTRY(held) link;
    size_t key_n;
    char key[];
};

struct idempotency_table {
    struct held *keys;
    TAILQ_HEAD(held_list, held) by_age;
};

struct idempotency_table *idempotency_table_new(void)
{
    struct idempotency_table *table = calloc(1, sizeof(*table));

    if (table != NULL)
        TAILQ_INIT(&table->by_age);
    return table;
}

static struct held *find(const struct idempotency_table *table, const struct message *message)
{
    struct held *held;

    HASH_FIND(hh, table->keys, message_key(message), message->key_n, held);
    return held;
}

static void forget(struct idempotency_table *table, struct held *held)
{
    TAILQ_REMOVE(&table->by_age, held, link);
    HASH_DELETE(hh, table->keys, held);
    free(held);
}

const struct idempotency_entry *idempotency_table_find(const struct idempotency_table *table,
                                                       const struct message *message)
{
    const struct held *held = find(table, message);

    return held != NULL ? &held->entry : NULL;
}

int idempotency_table_put(struct idempotency_table *table, const struct message *message,
                          uint64_t position, int64_t now_ms)
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

void idempotency_table_drop(struct idempotency_table *table, const struct message *message)
{
    struct held *held = find(table, message);

    if (held != NULL)
        forget(table, held);
}

bool idempotency_entry_is_same(const struct idempotency_entry *entry, const struct message *message)
{
    return message_has_digest(message, entry->digest, MESSAGE_DIGEST_BYTES);
}

const struct idempotency_entry *idempotency_table_oldest(const struct idempotency_table *table)
{
    const struct held *held = TAILQ_FIRST(&table->by_age);

    return held != NULL ? &held->entry : NULL;
}

void idempotency_table_drop_oldest(struct idempotency_table *table)
{
    forget(table, TAILQ_FIRST(&table->by_age));
}

void idempotency_table_drop_after(struct idempotency_table *table, uint64_t position)
{
    struct held *held;

    while ((held = TAILQ_LAST(&table->by_age, held_list)) != NULL &&
           held->entry.position > position)
        forget(table, held);
}

size_t idempotency_table_count(const struct idempotency_table *table)
{
    return HASH_COUNT(table->keys);
}

void idempotency_table_clear(struct idempotency_table *table)
{
    while (!TAILQ_EMPTY(&table->by_age))
        idempotency_table_drop_oldest(table);
}

void idempotency_table_free(struct idempotency_table *table)
{
    if (table == NULL)
        return;
    idempotency_table_clear(table);
    free(table);
}
