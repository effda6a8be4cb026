/* SPDX-License-Identifier: MIT */
/* The opening handshake.  See ws_handshake.h. */
#include "config.h"
#include "wire/ws_handshake.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "wire/ws_extensions.h"

#define KEY_TEXT_BYTES 24 /* of 16 bytes */
#define SHA1_BYTES 20
/* What a server has to append to the key, to show that it knows WebSocket (RFC 6455 section 1.3).
 */
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

static bool is_any_case(struct span span, const char *text)
{
    return span.n == strlen(text) && strncasecmp(span.at, text, span.n) == 0;
}

static void spoil(struct ws_handshake *handshake, const char *wrong)
{
    if (handshake->wrong == NULL)
        handshake->wrong = wrong;
}

/* ---- the headers ---- */

/* Whether a list names this, in any case. */
static bool names(struct span list, const char *text)
{
    while (list.n > 0)
        if (is_any_case(span_trim(span_take_until(&list, ',')), text))
            return true;
    return false;
}

static void add_upgrade(struct ws_handshake *handshake, struct span value)
{
    handshake->has_upgrade |= names(value, "websocket");
}

static void add_connection(struct ws_handshake *handshake, struct span value)
{
    handshake->has_connection |= names(value, "upgrade");
}

static void add_version(struct ws_handshake *handshake, struct span value)
{
    handshake->versions_n++;
    handshake->has_version_13 = span_is(value, "13");
}

/* Sixteen bytes in base64: what the bits are that the last character has too many is not looked at,
 * as nothing depends on it. */
static bool is_key(struct span text)
{
    if (text.n != KEY_TEXT_BYTES || memcmp(text.at + KEY_TEXT_BYTES - 2, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < KEY_TEXT_BYTES - 2; i++) {
        char c = text.at[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

static void add_key(struct ws_handshake *handshake, struct span value)
{
    if (++handshake->keys_n > 1)
        spoil(handshake, "There is more than one Sec-WebSocket-Key.");
    else if (!is_key(value))
        spoil(handshake, "Sec-WebSocket-Key is not the base64 of 16 bytes.");
    else
        handshake->key = value.at;
}

static void add_token(struct ws_handshake *handshake, struct span token)
{
    if (handshake->token != NULL)
        spoil(handshake, "Sec-WebSocket-Protocol has more than one bearer token.");
    else if (token.n == 0)
        spoil(handshake, "Sec-WebSocket-Protocol has a bearer token of no characters.");
    handshake->token = token.at;
    handshake->token_n = token.n;
}

static void add_protocol(struct ws_handshake *handshake, struct span name)
{
    static const size_t bearer_n = sizeof(WS_PROTOCOL_BEARER) - 1;

    if (!ws_is_token(name)) {
        spoil(handshake, "Sec-WebSocket-Protocol is no list of names.");
        return;
    }
    if (name.n >= bearer_n && memcmp(name.at, WS_PROTOCOL_BEARER, bearer_n) == 0) {
        add_token(handshake, (struct span){name.at + bearer_n, name.n - bearer_n});
        return;
    }
    handshake->offers_protocol = true;
    if (handshake->protocol != WS_PROTOCOL_NONE)
        return;
    if (span_is(name, WS_PROTOCOL_V1_NAME))
        handshake->protocol = WS_PROTOCOL_V1;
    else if (span_is(name, WS_PROTOCOL_RAW_NAME))
        handshake->protocol = WS_PROTOCOL_RAW;
}

static void add_protocols(struct ws_handshake *handshake, struct span value)
{
    while (value.n > 0) {
        struct span name = span_trim(span_take_until(&value, ','));

        if (name.n > 0)
            add_protocol(handshake, name);
    }
}

static void add_extensions(struct ws_handshake *handshake, struct span value)
{
    struct ws_offer offer = {handshake->deflates, handshake->names_window};

    if (!ws_offer_look(&offer, value))
        spoil(handshake, "Sec-WebSocket-Extensions is no list of extensions.");
    if (!handshake->takes_deflate)
        return;
    handshake->deflates = offer.is_taken;
    handshake->names_window = offer.names_window;
}

static void add_content_length(struct ws_handshake *handshake, struct span value)
{
    if (!span_is(value, "0"))
        spoil(handshake, "Content-Length announces a body, which a handshake must not have.");
}

static void add_transfer_encoding(struct ws_handshake *handshake, struct span value)
{
    (void)value;
    spoil(handshake, "Transfer-Encoding announces a body, which a handshake must not have.");
}

static const struct {
    const char *name;
    void (*add)(struct ws_handshake *handshake, struct span value);
} headers[] = {
    {"Upgrade", add_upgrade},
    {"Connection", add_connection},
    {"Sec-WebSocket-Version", add_version},
    {"Sec-WebSocket-Key", add_key},
    {"Sec-WebSocket-Protocol", add_protocols},
    {"Sec-WebSocket-Extensions", add_extensions},
    {"Content-Length", add_content_length},
    {"Transfer-Encoding", add_transfer_encoding},
};

void ws_handshake_begin(struct ws_handshake *handshake, bool is_http_1_1, bool deflates)
{
    *handshake = (struct ws_handshake){.is_http_1_1 = is_http_1_1, .takes_deflate = deflates};
}

void ws_handshake_add(struct ws_handshake *handshake, const char *name, size_t name_n,
                      const char *value, size_t value_n)
{
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        if (is_any_case((struct span){name, name_n}, headers[i].name)) {
            headers[i].add(handshake, span_trim((struct span){value, value_n}));
            return;
        }
}

/* ---- what came of them ---- */

/* Why it is no request for a WebSocket, or NULL. */
static const char *no_upgrade(const struct ws_handshake *handshake)
{
    if (!handshake->is_http_1_1)
        return "HTTP/1.0 has no Upgrade; a WebSocket begins with HTTP/1.1.";
    if (!handshake->has_upgrade)
        return "Upgrade does not name websocket; a proxy on the way may have dropped it.";
    if (!handshake->has_connection)
        return "Connection does not name upgrade; a proxy on the way may have dropped it.";
    return NULL;
}

/* Why it is none that can be answered, or NULL. */
static const char *invalid(const struct ws_handshake *handshake)
{
    if (handshake->versions_n == 0)
        return "Sec-WebSocket-Version is missing.";
    if (handshake->versions_n > 1)
        return "There is more than one Sec-WebSocket-Version.";
    if (handshake->keys_n == 0)
        return "Sec-WebSocket-Key is missing.";
    return handshake->wrong;
}

static const char *unknown_protocol(const struct ws_handshake *handshake)
{
    if (handshake->protocol != WS_PROTOCOL_NONE)
        return NULL;
    if (handshake->offers_protocol)
        return "Sec-WebSocket-Protocol offers neither " WS_PROTOCOL_V1_NAME
               " nor " WS_PROTOCOL_RAW_NAME ".";
    if (handshake->token != NULL)
        return "Sec-WebSocket-Protocol offers a bearer token alone, which cannot be answered; offer"
               " " WS_PROTOCOL_V1_NAME " or " WS_PROTOCOL_RAW_NAME " beside it.";
    return NULL;
}

enum ws_handshake_verdict ws_handshake_verdict(const struct ws_handshake *handshake,
                                               const char **ret_detail)
{
    if ((*ret_detail = no_upgrade(handshake)) != NULL)
        return WS_HANDSHAKE_NO_UPGRADE;
    if (handshake->versions_n == 1 && !handshake->has_version_13) {
        *ret_detail = "Sec-WebSocket-Version is not 13.";
        return WS_HANDSHAKE_OTHER_VERSION;
    }
    if ((*ret_detail = invalid(handshake)) != NULL)
        return WS_HANDSHAKE_INVALID;
    *ret_detail = unknown_protocol(handshake);
    return *ret_detail != NULL ? WS_HANDSHAKE_UNKNOWN_PROTOCOL : WS_HANDSHAKE_GOOD;
}

/* ---- the answer ---- */

/* Sec-WebSocket-Accept: base64 of the hash of the key and the GUID.  Given; `data` is NULL when an
 * allocation failed. */
static gnutls_datum_t make_accept(const char *key)
{
    char text[KEY_TEXT_BYTES + sizeof(ACCEPT_GUID)];
    unsigned char hash[SHA1_BYTES];
    gnutls_datum_t hashed = {hash, sizeof(hash)};
    gnutls_datum_t accept = {NULL, 0};

    memcpy(text, key, KEY_TEXT_BYTES);
    memcpy(text + KEY_TEXT_BYTES, ACCEPT_GUID, sizeof(ACCEPT_GUID));
    if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, sizeof(text) - 1, hash) < 0 ||
        gnutls_base64_encode2(&hashed, &accept) < 0)
        return (gnutls_datum_t){NULL, 0};
    return accept;
}

static const char *protocol_line(enum ws_protocol protocol)
{
    switch (protocol) {
    case WS_PROTOCOL_RAW:
        return "Sec-WebSocket-Protocol: " WS_PROTOCOL_RAW_NAME "\r\n";
    case WS_PROTOCOL_V1:
        return "Sec-WebSocket-Protocol: " WS_PROTOCOL_V1_NAME "\r\n";
    default:
        return "";
    }
}

/* A window that was asked for has to be answered (RFC 7692 section 7.1.2.1). */
static const char *extensions_line(const struct ws_handshake *handshake)
{
    if (!handshake->deflates)
        return "";
    return handshake->names_window
               ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;"
                 " client_no_context_takeover; server_max_window_bits=15\r\n"
               : "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;"
                 " client_no_context_takeover\r\n";
}

size_t ws_handshake_write_head(const struct ws_handshake *handshake, char to[WS_HANDSHAKE_HEAD_MAX])
{
    gnutls_datum_t accept = make_accept(handshake->key);

    if (accept.data == NULL)
        return 0;
    int n = snprintf(to, WS_HANDSHAKE_HEAD_MAX,
                     "HTTP/1.1 101 Switching Protocols\r\n"
                     "Upgrade: websocket\r\n"
                     "Connection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %.*s\r\n%s%s\r\n",
                     (int)accept.size, (const char *)accept.data,
                     protocol_line(handshake->protocol), extensions_line(handshake));

    gnutls_free(accept.data);
    assert(n > 0 && n < WS_HANDSHAKE_HEAD_MAX);
    return (size_t)n;
}
