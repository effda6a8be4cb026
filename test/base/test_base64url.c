/* SPDX-License-Identifier: MIT */
/* One text for each sequence of bytes, and nothing else is read. */
#include "base/base64url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static void writes_as_the_rfc_has_it(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xbf", "-_-_"},
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        size_t n = base64url_encode(text, cases[i].bytes, strlen(cases[i].bytes));

        assert_string_equal(text, cases[i].text);
        assert_int_equal(n, strlen(text));
        assert_true(n < BASE64URL_TEXT_ROOM(strlen(cases[i].bytes)));
    }
}

static void reads_back_what_it_wrote(void **state)
{
    unsigned char bytes[64], back[BASE64URL_BYTES_ROOM(BASE64URL_TEXT_ROOM(64))];
    char text[BASE64URL_TEXT_ROOM(64)];

    (void)state;
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        size_t back_n = SIZE_MAX;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 37 + n * 11);
        size_t text_n = base64url_encode(text, bytes, n);
        assert_true(base64url_decode(text, text_n, back, &back_n));
        assert_int_equal(back_n, n);
        assert_memory_equal(back, bytes, n);
    }
}

static void refuses_what_it_would_not_write(void **state)
{
    static const char *const texts[] = {
        "A",    "AAAAA", "Zg=",   "Zg==",   "Z===",    "=",     "Zh", "Zm9", "Zm8=",  "Zm+v",
        "Zm/v", "Zm v",  "Zm9v ", "\nZm9v", "Zm\x80v", "Zm9v.", "_x", "__",  "Zm9vYh"};
    unsigned char bytes[16];
    size_t n;

    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++)
        if (base64url_decode(texts[i], strlen(texts[i]), bytes, &n))
            fail_msg("it reads \"%s\"", texts[i]);
    assert_false(base64url_decode("Zm\0v", 4, bytes, &n));
}

/* Of all texts of two and three characters, exactly one for each sequence of bytes. */
static void reads_each_sequence_from_one_text(void **state)
{
    static unsigned char seen[65536];
    unsigned char bytes[4];
    size_t n, read_n = 0;

    (void)state;
    for (unsigned code = 0; code < 256U * 256U * 256U; code += 1) {
        char text[] = {(char)(code >> 16), (char)(code >> 8), (char)code};

        if (text[0] < '-' || text[0] > 'z' || text[1] < '-' || text[1] > 'z')
            continue;
        if (!base64url_decode(text, 3, bytes, &n))
            continue;
        assert_int_equal(n, 2);
        seen[bytes[0] << 8 | bytes[1]]++;
        read_n++;
    }
    assert_int_equal(read_n, 65536);
    for (size_t i = 0; i < sizeof(seen); i++)
        assert_int_equal(seen[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_as_the_rfc_has_it),
        cmocka_unit_test(reads_back_what_it_wrote),
        cmocka_unit_test(refuses_what_it_would_not_write),
        cmocka_unit_test(reads_each_sequence_from_one_text),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
