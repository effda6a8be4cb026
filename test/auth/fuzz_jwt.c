/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for signed tokens.  The input is a token; and also, from its first line feed on, the
 * claims of a token that is signed well, with the header before it, so that what lies behind the
 * signature is reached.  What is accepted must have the one signature that we make ourselves, and
 * must grant nothing that is no pattern.
 */
#include "config.h"
#include "auth/jwt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../support/sign.h"
#include "event/topic.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define INPUT_MAX 4000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct jwt_keys *the_keys(void)
{
    static struct jwt_keys *keys;
    char why[JWT_KEY_WHY_BYTES];

    if (keys == NULL) {
        keys = jwt_keys_new();
        if (keys == NULL || jwt_keys_add_item(keys, "HS256:" SECRET, why) != 0)
            abort();
    }
    return keys;
}

static void check_list(const struct grants_list *list)
{
    assert(list->patterns_n <= GRANTS_PATTERNS_MAX);
    for (size_t i = 0; i < list->patterns_n; i++)
        assert(topic_check_pattern(list->patterns[i].bytes, list->patterns[i].bytes_n) == TOPIC_OK);
}

static void check_identity(const struct identity *identity)
{
    check_list(&identity->publish);
    check_list(&identity->subscribe);
    assert(identity->until_ms >= 0);
    if (identity->user.bytes != NULL)
        assert(topic_check_user(identity->user.bytes, identity->user.bytes_n) == TOPIC_OK);
}

/* The text after the last dot is what we would have written there. */
static void check_signature(const char *token, size_t token_n)
{
    const char *dot = memrchr(token, '.', token_n);
    unsigned char mac[32];
    char text[BASE64URL_TEXT_ROOM(32)];

    assert(dot != NULL);
    gnutls_hmac_fast(GNUTLS_MAC_SHA256, SECRET, strlen(SECRET), token, (size_t)(dot - token), mac);
    size_t text_n = base64url_encode(text, mac, sizeof(mac));
    assert(text_n == (size_t)(token + token_n - dot - 1) && memcmp(text, dot + 1, text_n) == 0);
}

static void verify(const char *token, size_t token_n)
{
    const struct jwt_rules rules = {.audience = "", .issuer = "", .now_ms = 1000};
    struct identity *identity = NULL;
    enum jwt_error error = jwt_verify(the_keys(), token, token_n, &rules, &identity);

    assert((error == JWT_OK) == (identity != NULL));
    assert(jwt_error_text(error)[0] != '\0');
    if (error != JWT_OK)
        return;
    check_signature(token, token_n);
    check_identity(identity);
    identity_unref(identity);
}

static void verify_signed(const char *text, size_t text_n)
{
    static char header[INPUT_MAX + 1], claims[INPUT_MAX + 1], token[SIGN_ROOM];
    const char *line_end = memchr(text, '\n', text_n);
    size_t header_n = line_end != NULL ? (size_t)(line_end - text) : 0;
    size_t claims_n = line_end != NULL ? text_n - header_n - 1 : text_n;

    memcpy(header, text, header_n);
    header[header_n] = '\0';
    memcpy(claims, text + text_n - claims_n, claims_n);
    claims[claims_n] = '\0';
    sign_hmac(token, GNUTLS_MAC_SHA256, SECRET, strlen(SECRET),
              header_n > 0 ? header : "{\"alg\":\"HS256\"}", claims);
    verify(token, strlen(token));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    verify((const char *)data, size);
    verify_signed((const char *)data, size);
    return 0;
}
