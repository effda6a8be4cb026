/* SPDX-License-Identifier: MIT */
/* Invalid tokens and their senders. See forged.h. */
#include "config.h"
#include "auth/forged.h"

#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/hash.h"
#include "base/token_bucket.h"

#define TOKENS_N 16384 /* powers of two */
#define ADDRESSES_N 4096
#define DIGEST_BYTES 16

struct seen {
    unsigned char digest[DIGEST_BYTES];
    int64_t since_ms;
    enum jwt_error error; /* JWT_OK: it was put off */
    unsigned epoch;       /* of forgetting; another one, and 0: it is not there */
};

struct address {
    uint8_t key[ADDRESS_KEY_BYTES];
    uint8_t key_n; /* 0: the place is free */
    struct token_bucket first, again;
};

struct forged {
    unsigned epoch;
    struct seen tokens[TOKENS_N];
    struct address addresses[ADDRESSES_N];
};

struct forged *forged_new(void)
{
    struct forged *forged = calloc(1, sizeof(*forged)); /* it has the pages that were touched */

    if (forged != NULL)
        forged->epoch = 1;
    return forged;
}

void forged_free(struct forged *forged)
{
    free(forged);
}

/* ---- tokens ---- */

static size_t forged_place_of(const unsigned char *digest)
{
    uint32_t bits;

    memcpy(&bits, digest, sizeof(bits));
    return bits & (TOKENS_N - 1);
}

/* NULL when it is not known. */
static const struct seen *forged_find_seen(const struct forged *forged, const unsigned char *digest,
                                           int64_t now_ms)
{
    const struct seen *seen = &forged->tokens[forged_place_of(digest)];

    if (seen->epoch != forged->epoch || now_ms - seen->since_ms >= FORGED_KNOWN_MS ||
        memcmp(seen->digest, digest, DIGEST_BYTES) != 0)
        return NULL;
    return seen;
}

static void forged_remember(struct forged *forged, const unsigned char *digest,
                            enum jwt_error error, int64_t now_ms)
{
    struct seen *seen = &forged->tokens[forged_place_of(digest)];

    *seen = (struct seen){.since_ms = now_ms, .error = error, .epoch = forged->epoch};
    memcpy(seen->digest, digest, DIGEST_BYTES);
}

enum jwt_error forged_find(const struct forged *forged,
                           const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES], int64_t now_ms)
{
    const struct seen *seen = forged_find_seen(forged, digest, now_ms);

    return seen != NULL ? seen->error : JWT_OK;
}

void forged_forget_tokens(struct forged *forged)
{
    forged->epoch++;
}

/* ---- addresses ---- */

/* The place of a client, and whether it has it. */
static struct address *forged_address_of(struct forged *forged, const struct peer *client,
                                         struct address *ret_named)
{
    *ret_named = (struct address){.key_n = 0};
    ret_named->key_n = (uint8_t)address_key(client, ret_named->key);
    return &forged->addresses[hash_bytes((const char *)ret_named->key, ret_named->key_n) &
                              (ADDRESSES_N - 1)];
}

static bool forged_is_same_address(const struct address *one, const struct address *other)
{
    return one->key_n == other->key_n && memcmp(one->key, other->key, one->key_n) == 0;
}

bool forged_may_look(struct forged *forged, const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES],
                     const struct peer *client, uint64_t per_second, int64_t now_ms)
{
    const struct seen *seen = forged_find_seen(forged, digest, now_ms);
    struct address named;
    struct address *address = forged_address_of(forged, client, &named);

    if (!forged_is_same_address(address, &named) ||
        token_bucket_wait_ms(&address->first, per_second, now_ms) == 0)
        return true;
    /* its client was told so, and has waited */
    if (seen != NULL && now_ms - seen->since_ms >= FORGED_AGAIN_MS &&
        token_bucket_wait_ms(&address->again, per_second, now_ms) == 0)
        return true;
    if (seen == NULL)
        forged_remember(forged, digest, JWT_OK, now_ms);
    return false;
}

static void forged_charge(struct forged *forged, const struct peer *client, uint64_t per_second,
                          int64_t now_ms)
{
    struct address named;
    struct address *address = forged_address_of(forged, client, &named);

    if (!forged_is_same_address(address, &named))
        *address = named;
    if (!token_bucket_take(&address->first, per_second, now_ms))
        token_bucket_take(&address->again, per_second, now_ms);
}

void forged_note(struct forged *forged, const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES],
                 const struct peer *client, uint64_t per_second, enum jwt_error error,
                 int64_t now_ms)
{
    if (error == JWT_SIGNATURE)
        forged_charge(forged, client, per_second, now_ms);
    forged_remember(forged, digest, error, now_ms);
}
