/* SPDX-License-Identifier: MIT */
/* Tokens seen before.  See token_cache.h. */
#include "config.h"
#include "auth/token_cache.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Without memory an entry is not added, and nothing else changes. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct entry {
    unsigned char digest[TOKEN_CACHE_DIGEST_BYTES];
    struct identity *identity;
    UT_hash_handle hh;
    TAILQ_ENTRY(entry) in_use;
};

TAILQ_HEAD(entries, entry);

struct token_cache {
    struct entry *table;
    struct entries used; /* the one asked for last comes first */
    size_t entries_max;
};

struct token_cache *token_cache_new(size_t entries_max)
{
    struct token_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return NULL;
    TAILQ_INIT(&cache->used);
    cache->entries_max = entries_max;
    return cache;
}

static void token_cache_drop_entry(struct token_cache *cache, struct entry *entry)
{
    HASH_DEL(cache->table, entry);
    TAILQ_REMOVE(&cache->used, entry, in_use);
    identity_unref(entry->identity);
    free(entry);
}

void token_cache_clear(struct token_cache *cache)
{
    while (!TAILQ_EMPTY(&cache->used))
        token_cache_drop_entry(cache, TAILQ_FIRST(&cache->used));
}

void token_cache_free(struct token_cache *cache)
{
    if (cache == NULL)
        return;
    token_cache_clear(cache);
    free(cache);
}

void token_cache_digest(unsigned char to[TOKEN_CACHE_DIGEST_BYTES], const char *token,
                        size_t token_n)
{
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, token, token_n, to) < 0)
        abort(); /* tokens could not be told apart */
}

static struct entry *token_cache_find_entry(const struct token_cache *cache,
                                            const unsigned char *digest)
{
    struct entry *entry;

    HASH_FIND(hh, cache->table, digest, TOKEN_CACHE_DIGEST_BYTES, entry);
    return entry;
}

struct identity *token_cache_find(struct token_cache *cache,
                                  const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES])
{
    struct entry *entry = token_cache_find_entry(cache, digest);

    if (entry == NULL)
        return NULL;
    TAILQ_REMOVE(&cache->used, entry, in_use);
    TAILQ_INSERT_HEAD(&cache->used, entry, in_use);
    return entry->identity;
}

static void token_cache_make_room(struct token_cache *cache, size_t entries_max)
{
    while (HASH_COUNT(cache->table) > entries_max)
        token_cache_drop_entry(cache, TAILQ_LAST(&cache->used, entries));
}

void token_cache_put(struct token_cache *cache,
                     const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES],
                     struct identity *identity)
{
    if (cache->entries_max == 0)
        return;
    struct entry *entry = calloc(1, sizeof(*entry));
    if (entry == NULL)
        return;
    token_cache_make_room(cache, cache->entries_max - 1);
    memcpy(entry->digest, digest, TOKEN_CACHE_DIGEST_BYTES);
    HASH_ADD(hh, cache->table, digest, TOKEN_CACHE_DIGEST_BYTES, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return;
    }
    entry->identity = identity_ref(identity);
    TAILQ_INSERT_HEAD(&cache->used, entry, in_use);
}

void token_cache_drop(struct token_cache *cache,
                      const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES])
{
    struct entry *entry = token_cache_find_entry(cache, digest);

    if (entry != NULL)
        token_cache_drop_entry(cache, entry);
}

size_t token_cache_count(const struct token_cache *cache)
{
    return HASH_COUNT(cache->table);
}

void token_cache_resize(struct token_cache *cache, size_t entries_max)
{
    cache->entries_max = entries_max;
    token_cache_make_room(cache, entries_max);
}
