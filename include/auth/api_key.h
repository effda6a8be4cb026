/* SPDX-License-Identifier: MIT */
/*
 * Keys for backends: an item of auth.api_key is NAME:RIGHTS:HASH, and the gateway knows only the
 * hash.
 *
 *   NAME    1 to 64 letters, digits, '-', '_' or '.'; what the log calls the key.  While a key is
 *           replaced the old one and the new one have the same: each with its own rights, but they
 *           are one caller, with one set of idempotency keys
 *   RIGHTS  words with blanks between: publish=PATTERN, subscribe=PATTERN, each as often as needed;
 *           `publish` and `subscribe` alone for all; `admin`
 *   HASH    sha256.SALT.DIGEST, as `bugle token hash` writes it: SHA-256 over 16 bytes of salt and
 *           the key
 *
 * A key is drawn at random, 32 bytes, so nobody can guess it even if the hash is fast: a slow hash
 * is for passwords, and would only make each request slow.  The salt keeps two gateways with the
 * same key from showing it.  Digests are compared in constant time, and every key is compared even
 * after a match.
 *
 * Pure; any thread may read a list.
 */
#ifndef BUGLE_API_KEY_H
#define BUGLE_API_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/identity.h"

#define API_KEYS_MAX 256
#define API_KEY_BYTES_MIN 32 /* what `bugle token hash` takes */
#define API_KEY_BYTES_MAX 512
#define API_KEY_SALT_BYTES 16
#define API_KEY_DIGEST_BYTES 32
#define API_KEY_HASH_ROOM 80
#define API_KEY_WHY_BYTES 160

struct api_key {
    char name[65];
    unsigned char salt[API_KEY_SALT_BYTES];
    unsigned char digest[API_KEY_DIGEST_BYTES];
    struct identity *identity;
};

struct api_keys {
    size_t n;
    struct api_key list[];
};

/*
 * Read all items of the setting.
 *
 * why  given: on failure the item's place and what is wrong with it, without its hash
 *
 * Gives a list for api_keys_free(); NULL with `why`.
 */
struct api_keys *api_keys_new(char *const *items, size_t items_n, char why[API_KEY_WHY_BYTES]);
void api_keys_free(struct api_keys *keys); /* accepts NULL */

/* The identity of a key: a reference given; NULL: there is none.  Costs one SHA-256 for each key.
 */
struct identity *api_keys_find(const struct api_keys *keys, const char *text, size_t text_n);

/* Whether a key with this mark (its identity's `key_fingerprint`) is among them. */
bool api_keys_have(const struct api_keys *keys,
                   const unsigned char mark[IDENTITY_FINGERPRINT_BYTES]);

/* Write the hash of a key with this salt. */
void api_key_hash(char to[API_KEY_HASH_ROOM], const unsigned char salt[API_KEY_SALT_BYTES],
                  const char *text, size_t text_n);

#endif
