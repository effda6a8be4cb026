/* SPDX-License-Identifier: MIT */
/*
 * Tokens that were verified before, by their SHA-256: a client that comes back costs a hash and a
 * look into a table instead of a signature.  No token itself is kept.  The entry that was not asked
 * for longest makes room for a new one.
 *
 * Only accepted tokens are kept, so it cannot be filled without valid ones.
 *
 * One thread; constant time.
 */
#ifndef BUGLE_TOKEN_CACHE_H
#define BUGLE_TOKEN_CACHE_H

#include <stddef.h>

#include "auth/identity.h"

#define TOKEN_CACHE_DIGEST_BYTES 32

struct token_cache;

struct token_cache *token_cache_new(size_t entries_max); /* NULL when out of memory */
void token_cache_free(struct token_cache *cache);        /* accepts NULL */

/* The name by which a token is asked for. */
void token_cache_digest(unsigned char to[TOKEN_CACHE_DIGEST_BYTES], const char *token,
                        size_t token_n);

/* Borrowed until the cache changes; NULL when it is not there. */
struct identity *token_cache_find(struct token_cache *cache,
                                  const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES]);

/* Keep one, which is not there yet, with a reference of its own; without memory it is not kept. */
void token_cache_put(struct token_cache *cache,
                     const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES],
                     struct identity *identity);

void token_cache_drop(struct token_cache *cache,
                      const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES]);
void token_cache_clear(struct token_cache *cache);
size_t token_cache_count(const struct token_cache *cache);

/* Change how many it may hold. */
void token_cache_resize(struct token_cache *cache, size_t entries_max);

#endif
