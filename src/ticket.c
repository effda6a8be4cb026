/* SPDX-License-Identifier: MIT */
/* Sealed tickets.  See ticket.h. */
#include "config.h"
#include "ticket.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base64url.h"

#define NONCE_BYTES 12
#define TAG_BYTES 16
#define FORM 2 /* the first byte, for the day when there is another */
#define PLAIN_BYTES_MAX (256 + TICKET_NAMES_BYTES_MAX)

/* ---- bytes ---- */

/* Fixed parts as they are in memory: who seals and who opens is the same program on one machine. */
static unsigned char *put(unsigned char *to, const void *bytes, size_t bytes_n)
{
    if (bytes_n > 0)
        memcpy(to, bytes, bytes_n);
    return to + bytes_n;
}

static unsigned char *put_name(unsigned char *to, const struct rights_pattern *name)
{
    uint16_t n = (uint16_t)name->bytes_n;

    to = put(to, &n, sizeof(n));
    return put(to, name->bytes, n);
}

struct reader {
    const unsigned char *at;
    size_t left;
    bool good;
};

static void get(struct reader *reader, void *to, size_t bytes_n)
{
    if (reader->left < bytes_n)
        reader->good = false;
    if (!reader->good)
        return;
    memcpy(to, reader->at, bytes_n);
    reader->at += bytes_n;
    reader->left -= bytes_n;
}

static void get_name(struct reader *reader, struct rights_pattern *ret_name)
{
    uint16_t n = 0;

    get(reader, &n, sizeof(n));
    if (reader->left < n)
        reader->good = false;
    if (!reader->good)
        return;
    *ret_name = (struct rights_pattern){n > 0 ? (const char *)reader->at : NULL, n};
    reader->at += n;
    reader->left -= n;
}

static size_t write_plain(unsigned char *to, const struct ticket *ticket)
{
    unsigned char form = FORM, topics_n = (unsigned char)ticket->topics.patterns_n, *end = to;

    end = put(end, &form, 1);
    end = put(end, ticket->id, TICKET_ID_BYTES);
    end = put(end, &ticket->made_ms, sizeof(int64_t));
    end = put(end, &ticket->first_until_ms, sizeof(int64_t));
    end = put(end, &ticket->until_ms, sizeof(int64_t));
    end = put(end, &ticket->position, sizeof(uint64_t));
    end = put(end, ticket->voucher, IDENTITY_MARK_BYTES);
    end = put(end, &ticket->claims, sizeof(ticket->claims));
    end = put(end, &ticket->public_topics, sizeof(uint16_t));
    end = put_name(end, &ticket->user);
    end = put(end, &topics_n, 1);
    for (size_t i = 0; i < topics_n; i++)
        end = put_name(end, &ticket->topics.patterns[i]);
    return (size_t)(end - to);
}

static bool read_plain(const unsigned char *bytes, size_t bytes_n, struct ticket_room *room,
                       struct ticket *ticket)
{
    struct reader reader = {bytes, bytes_n, true};
    unsigned char form = 0, topics_n = 0;

    get(&reader, &form, 1);
    get(&reader, ticket->id, TICKET_ID_BYTES);
    get(&reader, &ticket->made_ms, sizeof(int64_t));
    get(&reader, &ticket->first_until_ms, sizeof(int64_t));
    get(&reader, &ticket->until_ms, sizeof(int64_t));
    get(&reader, &ticket->position, sizeof(uint64_t));
    get(&reader, ticket->voucher, IDENTITY_MARK_BYTES);
    get(&reader, &ticket->claims, sizeof(ticket->claims));
    get(&reader, &ticket->public_topics, sizeof(uint16_t));
    get_name(&reader, &ticket->user);
    get(&reader, &topics_n, 1);
    if (form != FORM || topics_n > TICKET_TOPICS_MAX)
        return false;
    for (size_t i = 0; i < topics_n; i++)
        get_name(&reader, &room->topics[i]);
    ticket->topics = (struct rights_list){room->topics, topics_n};
    return reader.good && reader.left == 0;
}

/* ---- the seal ---- */

static gnutls_aead_cipher_hd_t cipher_of(const unsigned char *key)
{
    gnutls_datum_t datum = {(unsigned char *)(uintptr_t)key, TICKET_KEY_BYTES};
    gnutls_aead_cipher_hd_t cipher;

    if (gnutls_aead_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_GCM, &datum) < 0)
        abort(); /* no memory for a cipher: a ticket could neither be made nor refused */
    return cipher;
}

size_t ticket_seal(char to[TICKET_TEXT_ROOM], const struct ticket *ticket,
                   const unsigned char key[TICKET_KEY_BYTES])
{
    unsigned char plain[PLAIN_BYTES_MAX], sealed[NONCE_BYTES + PLAIN_BYTES_MAX + TAG_BYTES];
    size_t plain_n = write_plain(plain, ticket), sealed_n = sizeof(sealed) - NONCE_BYTES;
    gnutls_aead_cipher_hd_t cipher = cipher_of(key);

    assert(ticket->topics.patterns_n <= TICKET_TOPICS_MAX && plain_n <= sizeof(plain));
    if (gnutls_rnd(GNUTLS_RND_NONCE, sealed, NONCE_BYTES) < 0 ||
        gnutls_aead_cipher_encrypt(cipher, sealed, NONCE_BYTES, NULL, 0, TAG_BYTES, plain, plain_n,
                                   sealed + NONCE_BYTES, &sealed_n) < 0)
        abort();
    gnutls_aead_cipher_deinit(cipher);
    return base64url_encode(to, sealed, NONCE_BYTES + sealed_n);
}

bool ticket_open(const char *text, size_t text_n, const unsigned char key[TICKET_KEY_BYTES],
                 struct ticket_room *room, struct ticket *ret_ticket)
{
    unsigned char sealed[BASE64URL_BYTES_ROOM(TICKET_TEXT_ROOM)];
    size_t sealed_n, plain_n = sizeof(room->bytes);

    if (text_n >= TICKET_TEXT_ROOM || !base64url_decode(text, text_n, sealed, &sealed_n) ||
        sealed_n <= NONCE_BYTES + TAG_BYTES)
        return false;
    gnutls_aead_cipher_hd_t cipher = cipher_of(key);
    bool good = gnutls_aead_cipher_decrypt(cipher, sealed, NONCE_BYTES, NULL, 0, TAG_BYTES,
                                           sealed + NONCE_BYTES, sealed_n - NONCE_BYTES,
                                           room->bytes, &plain_n) >= 0;
    gnutls_aead_cipher_deinit(cipher);
    return good && read_plain(room->bytes, plain_n, room, ret_ticket);
}
