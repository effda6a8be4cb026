/* SPDX-License-Identifier: MIT */
/*
 * The keys that may sign a token, each for exactly one algorithm.
 *
 * A key comes from the settings or from a key set (JWKS, RFC 7517), is imported once, and from then
 * on a token is only compared with it: nothing a token says can add a key or change what one is
 * good for.  `none` is no algorithm; HS256 and its like take no public key, and no secret that is
 * shorter than their hash (RFC 7518 section 3.2); RSA takes no key of less than 2,048 bits.
 *
 * A set belongs to one thread at a time: GnuTLS does not promise more for its keys.
 */
#ifndef BUGLE_JWT_KEYS_H
#define BUGLE_JWT_KEYS_H

#include <gnutls/abstract.h>
#include <stdbool.h>
#include <stddef.h>

#include "auth/identity.h"

#define JWT_KEYS_MAX 64
#define JWT_KEY_TEXT_MAX 65536 /* bytes of a key's file */
#define JWT_KEY_WHY_BYTES 160

enum jwt_algorithm {
    JWT_HS256,
    JWT_HS384,
    JWT_HS512,
    JWT_RS256,
    JWT_RS384,
    JWT_RS512,
    JWT_ES256,
    JWT_ES384,
    JWT_ES512,
    JWT_EDDSA,
    JWT_ALGORITHMS,
};

struct jwt_key {
    enum jwt_algorithm algorithm;
    char *kid;              /* NULL: none */
    gnutls_pubkey_t public; /* NULL for HS */
    unsigned char *secret;  /* HS only */
    size_t secret_n;
    size_t signature_n; /* bytes of its signatures */
    gnutls_sign_algorithm_t sign;
    unsigned char mark[IDENTITY_FINGERPRINT_BYTES]; /* of the key and its algorithm */
};

struct jwt_keys {
    struct jwt_key list[JWT_KEYS_MAX];
    size_t n;
};

struct jwt_keys *jwt_keys_new(void);       /* NULL when out of memory */
void jwt_keys_free(struct jwt_keys *keys); /* accepts NULL; secrets are wiped */

/* The name of an algorithm as a token has it, and back; false for any other text.  Case matters. */
const char *jwt_algorithm_text(enum jwt_algorithm algorithm);
bool jwt_algorithm_parse(const char *text, size_t text_n, enum jwt_algorithm *ret_algorithm);

/*
 * Add the key of an item of auth.jwt_key, `ALG:SECRET` or `ALG:@FILE`: a secret as it stands (a
 * file's last line end is not part of it), or a public key as PEM or as one JWK.
 *
 * why  given: on failure what is wrong, without anything of a secret
 *
 * Returns 0, -EINVAL or -ENOMEM.  Reads the file; blocks.
 */
int jwt_keys_add_item(struct jwt_keys *keys, const char *item, char why[JWT_KEY_WHY_BYTES]);

/*
 * Add all keys of a key set that can be used here; those for other purposes or other algorithms are
 * passed over, and so is every secret, since what is fetched or lies about as a set is public.  A
 * key without `alg` gets the one usual for its kind: RS256, EdDSA, or what its curve says.
 *
 * Returns 0, -EINVAL (no set, more keys than JWT_KEYS_MAX, or none that can be used) or -ENOMEM.
 */
int jwt_keys_add_set(struct jwt_keys *keys, const char *text, size_t text_n,
                     char why[JWT_KEY_WHY_BYTES]);

/* Whether a key with this mark is among them. */
bool jwt_keys_have(const struct jwt_keys *keys,
                   const unsigned char mark[IDENTITY_FINGERPRINT_BYTES]);

#endif
