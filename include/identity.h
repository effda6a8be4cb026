/* SPDX-License-Identifier: MIT */
/*
 * Who a caller has proved to be, and what that caller may do.  Immutable and counted: the cache of
 * seen tokens, requests and streams share one.
 *
 * Nobody at all is NULL.  No secret is in here: neither the token nor the key.
 */
#ifndef BUGLE_IDENTITY_H
#define BUGLE_IDENTITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rights.h"

#define IDENTITY_MARK_BYTES 16
#define IDENTITY_FOREVER INT64_MAX

enum identity_kind { IDENTITY_TOKEN, IDENTITY_API_KEY, IDENTITY_TICKET };

/* What one is made of; everything is borrowed for the call. */
struct identity_draft {
    enum identity_kind kind;
    bool admin;
    int64_t until_ms;             /* wall clock; IDENTITY_FOREVER: it does not end by itself */
    struct rights_pattern user;   /* `bytes` NULL: acts for no user */
    struct rights_pattern issuer; /* for `scope`; `bytes` NULL: none */
    struct rights_list publish;
    struct rights_list subscribe;
    unsigned char voucher[IDENTITY_MARK_BYTES];
};

struct identity {
    _Atomic uint32_t refs;
    enum identity_kind kind;
    bool admin;
    int64_t until_ms;
    struct rights_pattern user;
    struct rights_list publish;
    struct rights_list subscribe;
    unsigned char voucher[IDENTITY_MARK_BYTES]; /* of the key that vouches, to find out whether it
                                                   still does */
    unsigned char scope[IDENTITY_MARK_BYTES];   /* of the caller: idempotency keys of one are none
                                                   of another, and a renewed token is the same */
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
void identity_mark(unsigned char to[IDENTITY_MARK_BYTES], const struct identity_piece *pieces,
                   size_t pieces_n);

#endif
