/* SPDX-License-Identifier: MIT */
/*
 * Signed tokens (JWT in the compact form of JWS: RFC 7519, 7515, 8037) read the strict way of
 * RFC 8725.
 *
 * The order is the security: the form first, then the header, of which `alg` must be the algorithm
 * of a key of ours and `kid` may only choose among them; then the signature; and only then a byte
 * of the claims is looked at.  Keys or addresses of keys in a header are never looked at.
 *
 * Of the claims count `exp` and `nbf` (numbers of seconds from 0 on; one after the year 5000 is in
 * milliseconds, and with it the token would never end), `aud`, `iss`, `sub` (the
 * user), `bugle` and `mercure` (the rights).
 *
 * Pure but for the clock that is given; as many threads as there are sets of keys.
 */
#ifndef BUGLE_JWT_H
#define BUGLE_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "auth/identity.h"
#include "auth/jwt_keys.h"
#include "wire/json_alloc.h"

#define JWT_BYTES_MAX 8192
#define JWT_LEEWAY_MS 30000

enum jwt_error {
    JWT_OK,
    JWT_MALFORMED,
    JWT_HEADER,       /* `crit`, `b64`, another `typ` and so on */
    JWT_SIGNATURE,    /* no key of ours made it, or `alg` is not that key's */
    JWT_UNKNOWN_KEY,  /* the same, and no key here has its `kid` */
    JWT_MILLISECONDS, /* a time is in milliseconds */
    JWT_EXPIRED,
    JWT_NOT_YET,
    JWT_AUDIENCE,
    JWT_ISSUER,
    JWT_CLAIMS,  /* a claim is not what it must be */
    JWT_PUT_OFF, /* auth.h: it was not looked at */
    JWT_NO_MEMORY,
};

/* What a person can do about it, as the end of the sentence "The token …".  Never NULL; nothing of
 * the token is in it. */
const char *jwt_error_text(enum jwt_error error);

struct jwt_rules {
    const char *audience; /* one of `aud` must be this; empty: there must be no `aud` */
    const char *issuer;   /* `iss` must be this; empty: it may be anything */
    int64_t now_ms;       /* wall clock */
};

/*
 * Verify a token.
 *
 * keys          may be NULL: there are none
 * ret_identity  given with JWT_OK: one reference; `until_ms` is `exp`, without the leeway
 */
enum jwt_error jwt_verify(const struct jwt_keys *keys, const char *token, size_t token_n,
                          const struct jwt_rules *rules, struct identity **ret_identity);

/* One of the first two parts of a token, which is a JSON object without a name twice.  Gives it for
 * json_alloc_free(), or NULL with JWT_NO_MEMORY, or with JWT_MALFORMED if it is anything else,
 * longer than JWT_BYTES_MAX, nested deeper or of more values than a token has use for. */
enum jwt_error jwt_read_object(const char *text, size_t text_n, struct json_alloc **ret_object);

/* Whether a text has the form of a token: three parts with dots between. */
bool jwt_is_formed(const char *text, size_t text_n);

#endif
