/* SPDX-License-Identifier: MIT */
/* PROXY headers of both versions, whole, in pieces and wrong. */
#include "wire/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define V2 "\r\n\r\n\0\r\nQUIT\n"

struct text {
    const char *bytes;
    size_t n;
};

/* Every part of a good header asks for more, and what follows the header changes nothing. */
static void assert_good(struct text text, const char *client)
{
    struct proxy_protocol header;
    char is[PEER_TEXT_BYTES];
    char *longer = malloc(text.n + 8);

    for (size_t n = 0; n < text.n; n++)
        assert_int_equal(proxy_protocol_read(text.bytes, n, &header), PROXY_PROTOCOL_MORE);
    memcpy(longer, text.bytes, text.n);
    memcpy(longer + text.n, "GET / \r\n", 8);
    for (size_t more = 0; more <= 8; more++) {
        assert_int_equal(proxy_protocol_read(longer, text.n + more, &header), PROXY_PROTOCOL_GOOD);
        assert_int_equal(header.header_bytes, text.n);
        assert_string_equal(header.is_local ? "local" : peer_text(&header.client, is), client);
    }
    free(longer);
}

static void reads_version_1(void **state)
{
    static const struct {
        struct text text;
        const char *client;
    } cases[] = {
        {TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"), "192.0.2.1:4711"},
        {TEXT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
         "255.255.255.255:65535"},
        {TEXT("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n"), "[2001:db8::1]:4711"},
        {TEXT("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), "192.0.2.1:1"},
        {TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 0 0\r\n"), "192.0.2.1"},
        {TEXT("PROXY UNKNOWN\r\n"), "unknown"},
        {TEXT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
         "unknown"}, /* 107 bytes, the most */
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        assert_good(cases[i].text, cases[i].client);
}

static void reads_version_2(void **state)
{
    static const struct {
        struct text text;
        const char *client;
    } cases[] = {
        {TEXT(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\1\xbb"), "192.0.2.1:4711"},
        {TEXT(V2 "\x21\x12\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\1\xbb"), "192.0.2.1:4711"},
        {TEXT(V2 "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\x12\x67\1\xbb"),
         "[2001:db8::1]:4711"},
        {TEXT(V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1"
                 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\x12\x67\1\xbb"),
         "192.0.2.1:4711"},
        {TEXT(V2 "\x21\x11\0\x13\xc0\0\2\1\xc6\x33\x64\1\x12\x67\1\xbb\4\0\4abcd"),
         "192.0.2.1:4711"}, /* with an addition */
        {TEXT(V2 "\x20\0\0\0"), "local"},
        {TEXT(V2 "\x20\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\1\xbb"), "local"},
        {TEXT(V2 "\x20\xff\0\1\xff"), "local"},
        {TEXT(V2 "\x21\0\0\0"), "unknown"},
        {TEXT(V2 "\x21\x10\0\0"), "unknown"},
        {TEXT(V2 "\x21\x01\0\0"), "unknown"},
        {TEXT(V2 "\x21\x31\0\3abc"), "unknown"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        assert_good(cases[i].text, cases[i].client);
}

static void refuses_what_is_none(void **state)
{
    static const struct text cases[] = {
        TEXT("GET / HTTP/1.1\r\n"),
        TEXT("P "),
        TEXT("PROXY\r\n"),
        TEXT("proxy TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"),
        TEXT("PROXY  TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"),
        TEXT("PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 x\r\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 04711 443\r\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n"),
        TEXT("PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n"),
        TEXT("PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n"),
        TEXT("PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n"),
        TEXT("PROXY TCP6 192.0.2.1 198.51.100.1 4711 443\r\n"),
        TEXT("PROXY TCP5 192.0.2.1 198.51.100.1 4711 443\r\n"),
        TEXT("PROXY UNKNOWNX\r\n"),
        TEXT("PROXY \r\n"),
        TEXT("PROXY \n"),
        TEXT("PROXY UNKNOWN fffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), /* 108 bytes */
        TEXT("\r\n\r\nGET"),
        TEXT(V2 "\x11"),
        TEXT(V2 "\x22"),
        TEXT(V2 "\x21\x11\0\x0b\xc0\0\2\1\xc6\x33\x64\1\x12\x67\1"),
        TEXT(V2 "\x21\x21\0\x0c\xc0\0\2\1\xc6\x33\x64\1\x12\x67\1\xbb"),
        TEXT(V2 "\x21\x41\0\0"),
        TEXT(V2 "\x21\x13\0\0"),
        TEXT(V2 "\x21\x11\x0f\xf1"), /* a byte too long */
    };
    struct proxy_protocol header;

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        if (proxy_protocol_read(cases[i].bytes, cases[i].n, &header) != PROXY_PROTOCOL_BAD)
            fail_msg("case %zu: %s", i, cases[i].bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_version_1),
        cmocka_unit_test(reads_version_2),
        cmocka_unit_test(refuses_what_is_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
