/* SPDX-License-Identifier: MIT */
/*
 * Who a caller is, as its credential shows, and what it may do.  Immutable and counted: the cache
 * of seen tokens, requests and streams share one.
 *
 * NULL is an anonymous caller.  No secret is in here: neither the token nor the key.
 */
#ifndef BUGLE_IDENTITY_H
#define BUGLE_IDENTITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/grants.h"

#define IDENTITY_FINGERPRINT_BYTES 16
#define IDENTITY_FOREVER INT64_MAX

enum identity_kind { IDENTITY_TOKEN, IDENTITY_API_KEY, IDENTITY_TICKET };

/* How a credential came: settings decide which ways count. */
enum identity_way {
    IDENTITY_BY_HEADER,
    IDENTITY_BY_TICKET,
    IDENTITY_BY_QUERY,
    IDENTITY_BY_COOKIE,
    IDENTITY_BY_COOKIE_OF_PAGE, /* a page that says its origin */
};

/* What a token claimed where settings ask for something, as marks, to find out whether other
 * settings would have taken it.  An API key claims nothing. */
struct identity_claims {
    bool is_set;
    unsigned char audience[IDENTITY_FINGERPRINT_BYTES]; /* auth.audience when it was verified */
    unsigned char issuer[IDENTITY_FINGERPRINT_BYTES];   /* its `iss` */
};

/* What one is made of; everything is borrowed for the call. */
struct identity_draft {
    enum identity_kind kind;
    bool admin;
    bool ticket;                  /* may make tickets for any user, of topics that it may read */
    int64_t until_ms;             /* wall clock; IDENTITY_FOREVER: it does not end by itself */
    struct grants_pattern user;   /* `bytes` NULL: acts for no user */
    struct grants_pattern issuer; /* for `scope`; `bytes` NULL: none */
    struct grants_list publish;
    struct grants_list subscribe;
    struct grants_list public_topics;
    struct identity_claims claims;
    unsigned char key_fingerprint[IDENTITY_FINGERPRINT_BYTES];
};

struct identity {
    _Atomic uint32_t refs;
    enum identity_kind kind;
    bool admin;
    bool ticket;
    int64_t until_ms;
    struct grants_pattern user;
    struct grants_list publish;
    struct grants_list subscribe;
    struct grants_list
        public_topics; /* of a ticket: what it asks for and may read as everybody may */
    struct identity_claims claims;
    unsigned char key_fingerprint[IDENTITY_FINGERPRINT_BYTES]; /* of the credential's key, to find
                                                                  out whether it was revoked */
    unsigned char scope[IDENTITY_FINGERPRINT_BYTES]; /* of the caller: idempotency keys of one are
                                                 none of another, and a renewed token is the same */
};

/* Gives one reference; NULL when out of memory. */
struct identity *identity_new(const struct identity_draft *draft);

struct identity *identity_ref(struct identity *identity); /* accepts NULL */
void identity_unref(struct identity *identity);           /* accepts NULL */

/* The first bytes of SHA-256 over pieces, each with its length before it: a mark that tells things
 * apart and gives none of them away. */
struct identity_piece {
    const void *bytes;
    size_t bytes_n;
};
void identity_fingerprint(unsigned char to[IDENTITY_FINGERPRINT_BYTES],
                          const struct identity_piece *pieces, size_t pieces_n);

/* Note what a token was verified by: auth.audience, and its `iss` (`bytes` NULL: none). */
void identity_claim(struct identity_claims *to, const char *audience,
                    const struct grants_pattern *issuer);

/* Whether a token with these claims is one for this auth.audience and auth.issuer.  One with
 * several audiences counts for the one that it was verified by. */
bool identity_claims_fit(const struct identity_claims *claims, const char *audience,
                         const char *issuer);

#endif
