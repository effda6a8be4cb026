/* SPDX-License-Identifier: MIT */
/* Who a caller is.  See identity.h. */
#include "config.h"
#include "auth/identity.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define SHA256_BYTES 32
/* More than the names and claims of any token. */
#define JOINED_BYTES_MAX 8192

/* What is hashed: each piece behind its length.  Returns 0 when that is too long. */
static size_t identity_join(unsigned char to[JOINED_BYTES_MAX], const struct identity_piece *pieces,
                            size_t pieces_n)
{
    size_t joined_n = 0;

    for (size_t i = 0; i < pieces_n; i++) {
        uint64_t n = pieces[i].bytes_n;

        if (n > JOINED_BYTES_MAX || joined_n + sizeof(n) + n > JOINED_BYTES_MAX)
            return 0;
        memcpy(to + joined_n, &n, sizeof(n));
        if (n > 0)
            memcpy(to + joined_n + sizeof(n), pieces[i].bytes, n);
        joined_n += sizeof(n) + n;
    }
    return joined_n;
}

/* The same in parts, for which the library needs memory: only keys in the settings are as long. */
static void identity_hash_parts(unsigned char to[SHA256_BYTES], const struct identity_piece *pieces,
                                size_t pieces_n)
{
    gnutls_hash_hd_t hash;

    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
        log_abort_without_memory("keys");
    for (size_t i = 0; i < pieces_n; i++) {
        uint64_t n = pieces[i].bytes_n;

        gnutls_hash(hash, &n, sizeof(n));
        if (n > 0)
            gnutls_hash(hash, pieces[i].bytes, pieces[i].bytes_n);
    }
    gnutls_hash_deinit(hash, to);
}

void identity_fingerprint(unsigned char to[IDENTITY_FINGERPRINT_BYTES],
                          const struct identity_piece *pieces, size_t pieces_n)
{
    unsigned char joined[JOINED_BYTES_MAX], digest[SHA256_BYTES];
    size_t joined_n = identity_join(joined, pieces, pieces_n);

    if (joined_n == 0)
        identity_hash_parts(digest, pieces, pieces_n);
    else if (gnutls_hash_fast(GNUTLS_DIG_SHA256, joined, joined_n, digest) < 0)
        abort();                      /* a hash that is not there: nothing could be told apart */
    explicit_bzero(joined, joined_n); /* keys may be in it */
    memcpy(to, digest, IDENTITY_FINGERPRINT_BYTES);
}

static void identity_fingerprint_text(unsigned char to[IDENTITY_FINGERPRINT_BYTES],
                                      const char *bytes, size_t bytes_n)
{
    struct identity_piece piece = {bytes, bytes_n};

    identity_fingerprint(to, &piece, 1);
}

void identity_claim(struct identity_claims *to, const char *audience,
                    const struct grants_pattern *issuer)
{
    to->is_set = true;
    identity_fingerprint_text(to->audience, audience, strlen(audience));
    identity_fingerprint_text(to->issuer, issuer->bytes, issuer->bytes_n);
}

static bool identity_is_fingerprint_of(const unsigned char mark[IDENTITY_FINGERPRINT_BYTES],
                                       const char *text)
{
    unsigned char other[IDENTITY_FINGERPRINT_BYTES];

    identity_fingerprint_text(other, text, strlen(text));
    return memcmp(mark, other, IDENTITY_FINGERPRINT_BYTES) == 0;
}

bool identity_claims_fit(const struct identity_claims *claims, const char *audience,
                         const char *issuer)
{
    if (!claims->is_set)
        return true;
    return identity_is_fingerprint_of(claims->audience, audience) &&
           (issuer[0] == '\0' || identity_is_fingerprint_of(claims->issuer, issuer));
}

/* All tokens of a user from one issuer share a scope, also when different keys signed them; a
 * credential without a user has the scope of its key. */
static void identity_set_scope(struct identity *identity, const struct identity_draft *draft)
{
    unsigned char kind = (unsigned char)draft->kind;
    struct identity_piece of_user[] = {{&kind, 1},
                                       {draft->issuer.bytes, draft->issuer.bytes_n},
                                       {draft->user.bytes, draft->user.bytes_n}};
    struct identity_piece of_nobody[] = {{&kind, 1},
                                         {draft->key_fingerprint, IDENTITY_FINGERPRINT_BYTES}};

    if (draft->user.bytes != NULL)
        identity_fingerprint(identity->scope, of_user, 3);
    else
        identity_fingerprint(identity->scope, of_nobody, 2);
}

static size_t identity_list_bytes(const struct grants_list *list)
{
    size_t bytes = 0;

    for (size_t i = 0; i < list->patterns_n; i++)
        bytes += list->patterns[i].bytes_n;
    return bytes;
}

static char *identity_copy_text(struct grants_pattern *to, const struct grants_pattern *from,
                                char *room)
{
    if (from->bytes == NULL)
        return room;
    memcpy(room, from->bytes, from->bytes_n);
    *to = (struct grants_pattern){room, from->bytes_n};
    return room + from->bytes_n;
}

static char *identity_copy_list(struct grants_list *to, const struct grants_list *from,
                                struct grants_pattern *slots, char *room)
{
    *to = (struct grants_list){slots, from->patterns_n};
    for (size_t i = 0; i < from->patterns_n; i++)
        room = identity_copy_text(&slots[i], &from->patterns[i], room);
    return room;
}

struct identity *identity_new(const struct identity_draft *draft)
{
    size_t slots_n =
        draft->publish.patterns_n + draft->subscribe.patterns_n + draft->public_topics.patterns_n;
    size_t slots_bytes = slots_n * sizeof(struct grants_pattern);
    struct identity *identity =
        calloc(1, sizeof(*identity) + slots_bytes + identity_list_bytes(&draft->publish) +
                      identity_list_bytes(&draft->subscribe) +
                      identity_list_bytes(&draft->public_topics) + draft->user.bytes_n);

    if (identity == NULL)
        return NULL;
    struct grants_pattern *slots = (struct grants_pattern *)(identity + 1);
    char *room = (char *)(slots + slots_n);

    atomic_init(&identity->refs, 1);
    identity->kind = draft->kind;
    identity->admin = draft->admin;
    identity->ticket = draft->ticket;
    identity->until_ms = draft->until_ms;
    identity->claims = draft->claims;
    memcpy(identity->key_fingerprint, draft->key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    room = identity_copy_text(&identity->user, &draft->user, room);
    room = identity_copy_list(&identity->publish, &draft->publish, slots, room);
    slots += draft->publish.patterns_n;
    room = identity_copy_list(&identity->subscribe, &draft->subscribe, slots, room);
    slots += draft->subscribe.patterns_n;
    identity_copy_list(&identity->public_topics, &draft->public_topics, slots, room);
    identity_set_scope(identity, draft);
    return identity;
}

struct identity *identity_ref(struct identity *identity)
{
    if (identity != NULL)
        atomic_fetch_add_explicit(&identity->refs, 1, memory_order_relaxed);
    return identity;
}

void identity_unref(struct identity *identity)
{
    if (identity == NULL)
        return;
    if (atomic_fetch_sub_explicit(&identity->refs, 1, memory_order_acq_rel) == 1)
        free(identity);
}
