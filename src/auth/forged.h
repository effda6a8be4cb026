/* SPDX-License-Identifier: MIT */
/*
 * Invalid tokens, and the addresses that send them: so that a flood of forged tokens costs a hash
 * each instead of a signature.
 *
 * A token that was refused is known by its SHA-256 for a minute.  And of one address only so many
 * forged ones a second are looked at; each one that turns out to be forged counts, a good one never
 * does.  When they are used up, a token that nobody has seen is put off.  Behind the same address
 * there may be good ones, so a token that was put off and comes again, half a second later or more,
 * is looked at out of a second allowance of the same size, which tokens that come once do not
 * touch.
 *
 * Two tables of a fixed size without chains: what falls on the same place takes it over.  Then a
 * bad token is verified once more, or an address has some more looked at.
 *
 * One thread; constant time.  All times are monotonic.
 */
#ifndef BUGLE_FORGED_H
#define BUGLE_FORGED_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/jwt.h"
#include "auth/token_cache.h"
#include "base/peer.h"

#define FORGED_KNOWN_MS 60000
#define FORGED_AGAIN_MS 500

struct forged;

struct forged *forged_new(void);         /* NULL when out of memory */
void forged_free(struct forged *forged); /* accepts NULL */

/* Why a token was refused within the last minute; JWT_OK: it is not known. */
enum jwt_error forged_find(const struct forged *forged,
                           const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES], int64_t now_ms);

/* Whether a token that is not known may be looked at, at so many forged ones a second of a client's
 * address (0: any).  False puts it off. */
bool forged_may_look(struct forged *forged, const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES],
                     const struct peer *client, uint64_t per_second, int64_t now_ms);

/* It was checked and is invalid. JWT_SIGNATURE counts against the client: a token that is refused
 * for another reason was made with a key. */
void forged_note(struct forged *forged, const unsigned char digest[TOKEN_CACHE_DIGEST_BYTES],
                 const struct peer *client, uint64_t per_second, enum jwt_error error,
                 int64_t now_ms);

/* The keys have changed: forget all tokens, but not the addresses. */
void forged_forget_tokens(struct forged *forged);

#endif
