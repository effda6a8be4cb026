/* SPDX-License-Identifier: MIT */
/* Headers of a GET, what they ask for, and the 101 (RFC 6455 section 4.2). */
#include "wire/ws_handshake.h"

#include <setjmp.h>
#include <gnutls/gnutls.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define UPGRADE "Upgrade: websocket\nConnection: Upgrade\n"
#define VERSION "Sec-WebSocket-Version: 13\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define GOOD UPGRADE VERSION KEY
#define PROTOCOL "Sec-WebSocket-Protocol: "

static bool no_memory;

int __real_gnutls_base64_encode2(const gnutls_datum_t *data, gnutls_datum_t *result);
int __wrap_gnutls_base64_encode2(const gnutls_datum_t *data, gnutls_datum_t *result);

int __wrap_gnutls_base64_encode2(const gnutls_datum_t *data, gnutls_datum_t *result)
{
    return no_memory ? GNUTLS_E_MEMORY_ERROR : __real_gnutls_base64_encode2(data, result);
}

/* Read lines of `Name:value`, each ended by a line feed.  They must stay. */
static struct ws_handshake read_lines(const char *lines)
{
    struct ws_handshake handshake;

    ws_handshake_begin(&handshake, true, false);
    while (*lines != '\0') {
        const char *end = strchr(lines, '\n');
        const char *colon = strchr(lines, ':');

        ws_handshake_add(&handshake, lines, (size_t)(colon - lines), colon + 1,
                         (size_t)(end - colon - 1));
        lines = end + 1;
    }
    return handshake;
}

static void check_verdict(const struct ws_handshake *handshake, const char *lines,
                          enum ws_handshake_verdict want, const char *word)
{
    const char *detail = "untouched";
    enum ws_handshake_verdict verdict = ws_handshake_verdict(handshake, &detail);

    if (verdict != want)
        fail_msg("%s: %d, %s", lines, verdict, detail != NULL ? detail : "good");
    if (want == WS_HANDSHAKE_GOOD)
        assert_null(detail);
    else if (strstr(detail, word) == NULL)
        fail_msg("%s: %s", lines, detail);
}

static void tells_what_is_wrong(void **state)
{
    static const struct {
        const char *lines;
        enum ws_handshake_verdict want;
        const char *word; /* is in the detail */
    } rows[] = {
        {"", WS_HANDSHAKE_NO_UPGRADE, "Upgrade"},
        {"Connection: Upgrade\n" VERSION KEY, WS_HANDSHAKE_NO_UPGRADE, "Upgrade"},
        {"Upgrade: websocket\n" VERSION KEY, WS_HANDSHAKE_NO_UPGRADE, "Connection"},
        {"Upgrade: h2c\nConnection: upgrade\n" VERSION KEY, WS_HANDSHAKE_NO_UPGRADE, "Upgrade"},
        {"Upgrade: websocket2\nConnection: upgrade\n", WS_HANDSHAKE_NO_UPGRADE, "Upgrade"},
        {"Upgrade: web socket\nConnection: upgrade\n", WS_HANDSHAKE_NO_UPGRADE, "Upgrade"},
        {"Upgrade: websocket\nConnection: upgraded\n", WS_HANDSHAKE_NO_UPGRADE, "Connection"},
        {"Upgrade: websocket\nConnection: keep-alive\n" VERSION KEY, WS_HANDSHAKE_NO_UPGRADE,
         "Connection"},
        /* versions */
        {UPGRADE "Sec-WebSocket-Version: 8\n" KEY, WS_HANDSHAKE_OTHER_VERSION, "Version"},
        {UPGRADE "Sec-WebSocket-Version: 8\n", WS_HANDSHAKE_OTHER_VERSION, "Version"},
        {UPGRADE "Sec-WebSocket-Version: 013\n" KEY, WS_HANDSHAKE_OTHER_VERSION, "Version"},
        {UPGRADE "Sec-WebSocket-Version: 13, 8\n" KEY, WS_HANDSHAKE_OTHER_VERSION, "Version"},
        {UPGRADE "Sec-WebSocket-Version:\n" KEY, WS_HANDSHAKE_OTHER_VERSION, "Version"},
        {UPGRADE KEY, WS_HANDSHAKE_INVALID, "Version is missing"},
        {GOOD VERSION, WS_HANDSHAKE_INVALID, "more than one Sec-WebSocket-Version"},
        /* keys */
        {UPGRADE VERSION, WS_HANDSHAKE_INVALID, "Key is missing"},
        {GOOD KEY, WS_HANDSHAKE_INVALID, "more than one Sec-WebSocket-Key"},
        {UPGRADE VERSION "Sec-WebSocket-Key:\n", WS_HANDSHAKE_INVALID, "Key is not"},
        {UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\n", WS_HANDSHAKE_INVALID,
         "Key is not"},
        {UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===\n", WS_HANDSHAKE_INVALID,
         "Key is not"},
        {UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\n", WS_HANDSHAKE_INVALID,
         "Key is not"},
        {UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEx\n", WS_HANDSHAKE_INVALID,
         "Key is not"},
        {UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSB-b25jZQ==\n", WS_HANDSHAKE_INVALID,
         "Key is not"},
        {UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNh XBsZSBub25jZQ==\n", WS_HANDSHAKE_INVALID,
         "Key is not"},
        /* a body */
        {GOOD "Content-Length: 1\n", WS_HANDSHAKE_INVALID, "Content-Length"},
        {GOOD "Transfer-Encoding: chunked\n", WS_HANDSHAKE_INVALID, "Transfer-Encoding"},
        /* lists that are none */
        {GOOD PROTOCOL "bugle.v1 bugle.raw\n", WS_HANDSHAKE_INVALID, "Protocol"},
        {GOOD PROTOCOL "bugle.v1, \"x\"\n", WS_HANDSHAKE_INVALID, "Protocol"},
        {GOOD PROTOCOL "bugle.v1, bearer.\n", WS_HANDSHAKE_INVALID, "no characters"},
        {GOOD PROTOCOL "bugle.v1, bearer.a, bearer.b\n", WS_HANDSHAKE_INVALID, "more than one"},
        {GOOD PROTOCOL "bugle.v1, bearer.a/b\n", WS_HANDSHAKE_INVALID, "Protocol"},
        {GOOD "Sec-WebSocket-Extensions: a b\n", WS_HANDSHAKE_INVALID, "Extensions"},
        /* protocols */
        {GOOD PROTOCOL "chat\n", WS_HANDSHAKE_UNKNOWN_PROTOCOL, "offers neither"},
        {GOOD PROTOCOL "Bugle.V1, bugle.v2\n", WS_HANDSHAKE_UNKNOWN_PROTOCOL, "offers neither"},
        {GOOD PROTOCOL "bearer.a\n", WS_HANDSHAKE_UNKNOWN_PROTOCOL, "alone"},
        {GOOD PROTOCOL "bearer.a, chat\n", WS_HANDSHAKE_UNKNOWN_PROTOCOL, "offers neither"},
        /* what comes first counts */
        {VERSION "Content-Length: 1\n", WS_HANDSHAKE_NO_UPGRADE, "Upgrade"},
        {GOOD PROTOCOL "chat\nContent-Length: 1\n", WS_HANDSHAKE_INVALID, "Content-Length"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct ws_handshake handshake = read_lines(rows[i].lines);

        check_verdict(&handshake, rows[i].lines, rows[i].want, rows[i].word);
    }
}

static void reads_lists_in_any_form(void **state)
{
    static const char *const rows[] = {
        GOOD,
        "upgrade: WebSocket\nCONNECTION: upgrade\nsec-websocket-version:13\n"
        "sec-WebSocket-KEY:\tdGhlIHNhbXBsZSBub25jZQ==\t\n",
        "Upgrade: h2c, ,websocket\nConnection: keep-alive , Upgrade\n" VERSION KEY,
        "Upgrade: h2c\nUpgrade: websocket\nConnection: close\nConnection: Upgrade\n" VERSION KEY,
        GOOD "Content-Length: 0\nHost: example.org\nCookie: a=b\n",
        UPGRADE VERSION "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n",
        UPGRADE VERSION "Sec-WebSocket-Key: +/+/+/+/+/+/+/+/+/+/+/==\n",
        GOOD PROTOCOL "\n",
        GOOD PROTOCOL ", ,\n",
        GOOD "Sec-WebSocket-Extensions: x-webkit-deflate-frame, foo; bar=\"baz\"\n",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct ws_handshake handshake = read_lines(rows[i]);

        check_verdict(&handshake, rows[i], WS_HANDSHAKE_GOOD, NULL);
        assert_int_equal(handshake.protocol, WS_PROTOCOL_NONE);
        assert_null(handshake.token);
        assert_false(handshake.deflates);
    }
}

static void knows_no_upgrade_in_http_1_0(void **state)
{
    struct ws_handshake handshake = read_lines(GOOD);

    (void)state;
    handshake.is_http_1_1 = false;
    check_verdict(&handshake, GOOD, WS_HANDSHAKE_NO_UPGRADE, "HTTP/1.0");
}

static void chooses_a_protocol(void **state)
{
    static const struct {
        const char *lines;
        enum ws_protocol protocol;
        const char *token;
    } rows[] = {
        {PROTOCOL "bugle.v1\n", WS_PROTOCOL_V1, NULL},
        {PROTOCOL "bugle.raw\n", WS_PROTOCOL_RAW, NULL},
        {PROTOCOL "bugle.raw, bugle.v1\n", WS_PROTOCOL_RAW, NULL},
        {PROTOCOL "chat, bugle.v1,bugle.raw\n", WS_PROTOCOL_V1, NULL},
        {PROTOCOL "chat\n" PROTOCOL "bugle.v1\n", WS_PROTOCOL_V1, NULL},
        {PROTOCOL "bearer.aA0-_.b, bugle.v1\n", WS_PROTOCOL_V1, "aA0-_.b"},
        {PROTOCOL "bugle.raw\n" PROTOCOL "bearer.x\n", WS_PROTOCOL_RAW, "x"},
        {PROTOCOL "bugle.v1, bearer\n", WS_PROTOCOL_V1, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char lines[400] = GOOD;
        char head[WS_HANDSHAKE_HEAD_MAX + 1];

        strcat(lines, rows[i].lines);
        struct ws_handshake handshake = read_lines(lines);
        check_verdict(&handshake, lines, WS_HANDSHAKE_GOOD, NULL);
        assert_int_equal(handshake.protocol, rows[i].protocol);
        if (rows[i].token == NULL) {
            assert_null(handshake.token);
        } else {
            assert_int_equal(handshake.token_n, strlen(rows[i].token));
            assert_memory_equal(handshake.token, rows[i].token, handshake.token_n);
        }
        head[ws_handshake_write_head(&handshake, head)] = '\0';
        assert_null(strstr(head, "bearer"));
        assert_non_null(strstr(head, rows[i].protocol == WS_PROTOCOL_V1
                                         ? "\r\nSec-WebSocket-Protocol: bugle.v1\r\n"
                                         : "\r\nSec-WebSocket-Protocol: bugle.raw\r\n"));
    }
}

/* The example of RFC 6455 section 1.3, and all that can be in a head. */
static void writes_the_head(void **state)
{
    char head[WS_HANDSHAKE_HEAD_MAX + 1];
    struct ws_handshake handshake = read_lines(GOOD);

    (void)state;
    head[ws_handshake_write_head(&handshake, head)] = '\0';
    assert_string_equal(head, "HTTP/1.1 101 Switching Protocols\r\n"
                              "Upgrade: websocket\r\n"
                              "Connection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                              "\r\n");
    handshake.protocol = WS_PROTOCOL_V1;
    handshake.deflates = true;
    head[ws_handshake_write_head(&handshake, head)] = '\0';
    assert_non_null(strstr(head, "\r\nSec-WebSocket-Protocol: bugle.v1\r\n"
                                 "Sec-WebSocket-Extensions: permessage-deflate;"
                                 " server_no_context_takeover; client_no_context_takeover\r\n"
                                 "\r\n"));
    handshake.names_window = true;
    head[ws_handshake_write_head(&handshake, head)] = '\0';
    assert_non_null(strstr(head, "; server_max_window_bits=15\r\n\r\n"));
}

static void says_when_there_is_no_memory(void **state)
{
    char head[WS_HANDSHAKE_HEAD_MAX];
    struct ws_handshake handshake = read_lines(GOOD);

    (void)state;
    no_memory = true;
    assert_int_equal(ws_handshake_write_head(&handshake, head), 0);
    no_memory = false;
}

static void agrees_on_deflate(void **state)
{
    static const struct {
        const char *value;
        bool deflates, names_window;
    } rows[] = {
        {"permessage-deflate", true, false},
        {"foo, permessage-deflate; client_max_window_bits", true, false},
        {"permessage-deflate; server_max_window_bits=15", true, true},
        {"permessage-deflate; server_max_window_bits=10", false, false},
        {"permessage-deflate; server_max_window_bits=10, permessage-deflate", true, false},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        for (int takes = 0; takes < 2; takes++) {
            struct ws_handshake handshake;
            const char *name = "Sec-WebSocket-Extensions";

            ws_handshake_begin(&handshake, true, takes);
            ws_handshake_add(&handshake, name, strlen(name), rows[i].value, strlen(rows[i].value));
            ws_handshake_add(&handshake, name, strlen(name), "bar", 3);
            assert_int_equal(handshake.deflates, takes && rows[i].deflates);
            assert_int_equal(handshake.names_window, takes && rows[i].names_window);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_is_wrong),
        cmocka_unit_test(reads_lists_in_any_form),
        cmocka_unit_test(knows_no_upgrade_in_http_1_0),
        cmocka_unit_test(chooses_a_protocol),
        cmocka_unit_test(writes_the_head),
        cmocka_unit_test(says_when_there_is_no_memory),
        cmocka_unit_test(agrees_on_deflate),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
