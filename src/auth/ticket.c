/* SPDX-License-Identifier: MIT */
/* Sealed tickets.  See ticket.h. */
#include "config.h"
#include "auth/ticket.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>

#include "base/base64url.h"

#define NONCE_BYTES 12
#define TAG_BYTES 16
#define FORM 2 /* the first byte, for the day when there is another */
/* Of a ticket with as many names and bytes of names as one may have. */
#define PLAIN_BYTES_MAX                                                                            \
    (2 + TICKET_ID_BYTES + 4 * 8 + IDENTITY_FINGERPRINT_BYTES + sizeof(struct identity_claims) +   \
     2 + 2 * (1 + TICKET_TOPICS_MAX) + TICKET_NAMES_BYTES_MAX)
#define SEALED_BYTES_MAX (NONCE_BYTES + PLAIN_BYTES_MAX + TAG_BYTES)
_Static_assert((SEALED_BYTES_MAX * 4 + 2) / 3 < TICKET_TEXT_ROOM, "the longest text has room");

/* ---- bytes ---- */

struct writer {
    unsigned char *at;
    size_t room;
    bool good; /* all that was put had room */
};

/* Fixed parts as they are in memory: the same program on one machine seals and opens. */
static void ticket_put(struct writer *writer, const void *bytes, size_t bytes_n)
{
    if (writer->room < bytes_n)
        writer->good = false;
    if (!writer->good || bytes_n == 0)
        return;
    memcpy(writer->at, bytes, bytes_n);
    writer->at += bytes_n;
    writer->room -= bytes_n;
}

static void ticket_put_name(struct writer *writer, const struct grants_pattern *name)
{
    uint16_t n = (uint16_t)name->bytes_n;

    ticket_put(writer, &n, sizeof(n));
    ticket_put(writer, name->bytes, n);
}

struct reader {
    const unsigned char *at;
    size_t left;
    bool good;
};

static void ticket_get(struct reader *reader, void *to, size_t bytes_n)
{
    if (reader->left < bytes_n)
        reader->good = false;
    if (!reader->good)
        return;
    memcpy(to, reader->at, bytes_n);
    reader->at += bytes_n;
    reader->left -= bytes_n;
}

static void get_name(struct reader *reader, struct grants_pattern *ret_name)
{
    uint16_t n = 0;

    ticket_get(reader, &n, sizeof(n));
    if (reader->left < n)
        reader->good = false;
    if (!reader->good)
        return;
    *ret_name = (struct grants_pattern){n > 0 ? (const char *)reader->at : NULL, n};
    reader->at += n;
    reader->left -= n;
}

static bool names_fit(const struct ticket *ticket)
{
    size_t bytes = ticket->user.bytes_n;

    if (ticket->topics.patterns_n > TICKET_TOPICS_MAX)
        return false;
    for (size_t i = 0; i < ticket->topics.patterns_n; i++)
        bytes += ticket->topics.patterns[i].bytes_n;
    return bytes <= TICKET_NAMES_BYTES_MAX;
}

/* Returns how many bytes it takes; 0 when it has no room. */
static size_t write_plain(unsigned char to[PLAIN_BYTES_MAX], const struct ticket *ticket)
{
    struct writer writer = {to, PLAIN_BYTES_MAX, names_fit(ticket)};
    unsigned char form = FORM, topics_n = (unsigned char)ticket->topics.patterns_n;

    ticket_put(&writer, &form, 1);
    ticket_put(&writer, ticket->id, TICKET_ID_BYTES);
    ticket_put(&writer, &ticket->made_ms, sizeof(int64_t));
    ticket_put(&writer, &ticket->first_until_ms, sizeof(int64_t));
    ticket_put(&writer, &ticket->until_ms, sizeof(int64_t));
    ticket_put(&writer, &ticket->position, sizeof(uint64_t));
    ticket_put(&writer, ticket->key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    ticket_put(&writer, &ticket->claims, sizeof(ticket->claims));
    ticket_put(&writer, &ticket->public_topics, sizeof(uint16_t));
    ticket_put_name(&writer, &ticket->user);
    ticket_put(&writer, &topics_n, 1);
    for (size_t i = 0; i < topics_n; i++)
        ticket_put_name(&writer, &ticket->topics.patterns[i]);
    return writer.good ? (size_t)(writer.at - to) : 0;
}

static bool ticket_read_plain(const unsigned char *bytes, size_t bytes_n, struct ticket_room *room,
                              struct ticket *ticket)
{
    struct reader reader = {bytes, bytes_n, true};
    unsigned char form = 0, topics_n = 0;

    ticket_get(&reader, &form, 1);
    ticket_get(&reader, ticket->id, TICKET_ID_BYTES);
    ticket_get(&reader, &ticket->made_ms, sizeof(int64_t));
    ticket_get(&reader, &ticket->first_until_ms, sizeof(int64_t));
    ticket_get(&reader, &ticket->until_ms, sizeof(int64_t));
    ticket_get(&reader, &ticket->position, sizeof(uint64_t));
    ticket_get(&reader, ticket->key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    ticket_get(&reader, &ticket->claims, sizeof(ticket->claims));
    ticket_get(&reader, &ticket->public_topics, sizeof(uint16_t));
    get_name(&reader, &ticket->user);
    ticket_get(&reader, &topics_n, 1);
    if (form != FORM || topics_n > TICKET_TOPICS_MAX)
        return false;
    for (size_t i = 0; i < topics_n; i++)
        get_name(&reader, &room->topics[i]);
    ticket->topics = (struct grants_list){room->topics, topics_n};
    return reader.good && reader.left == 0;
}

/* ---- the seal ---- */

/* What of the library's errors is no memory; all others of a cipher tell of a wrong text. */
static int result_of(int error)
{
    if (error >= 0)
        return 0;
    return error == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
}

static int start_cipher(const unsigned char *key, gnutls_aead_cipher_hd_t *ret_cipher)
{
    gnutls_datum_t datum = {(unsigned char *)(uintptr_t)key, TICKET_KEY_BYTES};

    return gnutls_aead_cipher_init(ret_cipher, GNUTLS_CIPHER_AES_256_GCM, &datum) < 0 ? -ENOMEM : 0;
}

ssize_t ticket_seal(char to[TICKET_TEXT_ROOM], const struct ticket *ticket,
                    const unsigned char key[TICKET_KEY_BYTES])
{
    unsigned char plain[PLAIN_BYTES_MAX], sealed[SEALED_BYTES_MAX];
    size_t plain_n = write_plain(plain, ticket), sealed_n = sizeof(sealed) - NONCE_BYTES;
    gnutls_aead_cipher_hd_t cipher;

    if (plain_n == 0)
        return 0;
    if (start_cipher(key, &cipher) != 0)
        return -ENOMEM;
    bool good = gnutls_rnd(GNUTLS_RND_NONCE, sealed, NONCE_BYTES) >= 0 &&
                gnutls_aead_cipher_encrypt(cipher, sealed, NONCE_BYTES, NULL, 0, TAG_BYTES, plain,
                                           plain_n, sealed + NONCE_BYTES, &sealed_n) >= 0;
    gnutls_aead_cipher_deinit(cipher);
    return good ? (ssize_t)base64url_encode(to, sealed, NONCE_BYTES + sealed_n) : -ENOMEM;
}

int ticket_open(const char *text, size_t text_n, const unsigned char key[TICKET_KEY_BYTES],
                struct ticket_room *room, struct ticket *ret_ticket)
{
    unsigned char sealed[BASE64URL_BYTES_ROOM(TICKET_TEXT_ROOM)];
    size_t sealed_n, plain_n = sizeof(room->bytes);
    gnutls_aead_cipher_hd_t cipher;

    if (text_n >= TICKET_TEXT_ROOM || !base64url_decode(text, text_n, sealed, &sealed_n) ||
        sealed_n <= NONCE_BYTES + TAG_BYTES)
        return -EBADMSG;
    if (start_cipher(key, &cipher) != 0)
        return -ENOMEM;
    int result = result_of(gnutls_aead_cipher_decrypt(
        cipher, sealed, NONCE_BYTES, NULL, 0, TAG_BYTES, sealed + NONCE_BYTES,
        sealed_n - NONCE_BYTES, room->bytes, &plain_n));
    gnutls_aead_cipher_deinit(cipher);
    if (result == 0 && !ticket_read_plain(room->bytes, plain_n, room, ret_ticket))
        result = -EBADMSG;
    return result;
}
