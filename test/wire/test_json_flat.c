/* SPDX-License-Identifier: MIT */
/* What is plainly a flat object, with jansson as the judge of what it says.  See json_flat.h. */
#include "config.h"
#include "wire/json_flat.h"

#include <setjmp.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define MEMBERS_MAX 4
#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY)

static void assert_same_value(const struct json_flat_member *member, json_t *value)
{
    switch (member->kind) {
    case JSON_FLAT_STRING:
        assert_true(json_is_string(value));
        assert_int_equal(json_string_length(value), member->value.bytes_n);
        assert_memory_equal(json_string_value(value), member->value.at, member->value.bytes_n);
        return;
    case JSON_FLAT_COUNT:
        assert_true(json_is_real(value));
        assert_true(json_real_value(value) == json_flat_count(member->value));
        return;
    case JSON_FLAT_TRUE:
        assert_true(json_is_true(value));
        return;
    case JSON_FLAT_FALSE:
        assert_true(json_is_false(value));
        return;
    }
}

/* Read a copy without a byte behind it.  What is plain must be to jansson what it is here, member
 * for member. */
static bool is_plain(const char *text, size_t text_n)
{
    struct json_flat_member members[MEMBERS_MAX];
    size_t members_n = 0, i = 0;
    char *copy = malloc(text_n > 0 ? text_n : 1);
    const char *key;
    json_t *value;

    memcpy(copy, text, text_n);
    bool plain = json_flat_read((struct json_span){copy, text_n}, members, MEMBERS_MAX, &members_n);
    if (plain) {
        json_t *root = json_loadb(copy, text_n, FLAGS, NULL);

        if (root == NULL)
            fail_msg("jansson refuses %.*s", (int)text_n, text);
        assert_int_equal(json_object_size(root), members_n);
        json_object_foreach(root, key, value)
        {
            assert_true(json_flat_is(members[i].name, key));
            assert_same_value(&members[i++], value);
        }
        assert_int_equal(i, members_n);
        json_decref(root);
    }
    free(copy);
    return plain;
}

static void test_plain(void **state)
{
    static const char *const texts[] = {
        "{\"data\":\"x\"}",
        "{\"data\":\"\"}",
        "{\"\":\"\"}",
        " \t\r\n{ \"topic\" : \"orders/42\" ,\n\"data\"\t:\r\"hello, world\" } \r\n",
        "{\"ttl\":60,\"ephemeral\":true}",
        "{\"ephemeral\":false,\"ttl\":0}",
        "{\"a\":999999999999999 }",
        "{\"a\":\"\x7f [{,:}] / ' caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\xba \xef\xbf\xbf\"}",
        "{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\"}",
        "{\"a\":\"1234567\",\"aa\":\"12345678\",\"aaa\":\"123456789\"}",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++)
        if (!is_plain(texts[i], strlen(texts[i])))
            fail_msg("not plain: %s", texts[i]);
}

static void test_left_to_the_library(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "}",
        "{}",
        "[]",
        "\"x\"",
        "1",
        "null",
        "[{\"a\":\"b\"}]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" \"b\"}",
        "{\"a\":\"b\"",
        "{\"a\":\"b\",}",
        "{,\"a\":\"b\"}",
        "{\"a\":\"b\"}x",
        "{\"a\":\"b\"}{}",
        "x{\"a\":\"b\"}",
        "\xef\xbb\xbf{\"a\":\"b\"}",
        "{\"a\":\"b\"\"c\":\"d\"}",
        "{\"a\":\"b\":\"c\"}",
        "{a:\"b\"}",
        "{'a':\"b\"}",
        "{1:\"b\"}",
        "{\"a\":\"b}",
        "{\"a:\"b\"}",
        "{\"a\":\"\\n\"}",
        "{\"a\":\"\\u0041\"}",
        "{\"a\":\"\\\"}",
        "{\"\\u0061\":\"b\"}",
        "{\"a\":\"tab\there\"}",
        "{\"a\":\"line\nhere\"}",
        "{\"a\":\"12345678\x1f\"}",
        "{\"a\":\"\x01\"}",
        "{\"a\":null}",
        "{\"a\":[]}",
        "{\"a\":{}}",
        "{\"a\":tru}",
        "{\"a\":truex}",
        "{\"a\":True}",
        "{\"a\":-1}",
        "{\"a\":1.0}",
        "{\"a\":1e2}",
        "{\"a\":01}",
        "{\"a\":00}",
        "{\"a\":+1}",
        "{\"a\":1000000000000000}",
        "{\"a\":1x}",
        "{\"a\":t}",
        "{\"a\":falsefalse}",
        "{\"a\":1 2}",
        "{\"a\":\"b\",\"a\":\"c\"}",
        "{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\",\"e\":\"5\"}",
        "{\"a\":\"\x80\"}",
        "{\"a\":\"\xc0\xaf\"}",
        "{\"a\":\"\xc3\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\xf4\x90\x80\x80\"}",
        "{\"a\":\"\xff\"}",
        "{\"\xc3\":\"b\"}",
        "{\"a\":\"1234567\\\\\"}",
        "\v{\"a\":\"b\"}",
        "{\"a\":\"b\"}\f",
        "{\xc2\xa0\"a\":\"b\"}",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++)
        if (is_plain(texts[i], strlen(texts[i])))
            fail_msg("plain: %s", texts[i]);
}

static void test_nul_is_never_plain(void **state)
{
    static const char text[] = "{ \"ab\" : \"cd\" , \"e\" : 12 , \"f\" : true }";

    (void)state;
    assert_true(is_plain(text, sizeof(text) - 1));
    for (size_t at = 0; at < sizeof(text); at++) {
        char with[sizeof(text)];

        memcpy(with, text, at);
        with[at] = '\0';
        memcpy(with + at + 1, text + at, sizeof(text) - 1 - at);
        assert_false(is_plain(with, sizeof(text)));
    }
}

static void test_a_part_is_never_plain(void **state)
{
    static const char text[] = "{\"topic\":\"a/b\",\"data\":\"12345678901\",\"ttl\":12,\"e\":true}";

    (void)state;
    for (size_t n = 0; n < sizeof(text) - 1; n++)
        assert_false(is_plain(text, n));
    assert_true(is_plain(text, sizeof(text) - 1));
}

/* Each byte at each place of strings of each length up to two words: plain exactly where jansson
 * takes it as that one byte of the string. */
static void test_each_byte_in_a_string(void **state)
{
    char text[64];

    (void)state;
    for (size_t string_n = 1; string_n <= 17; string_n++)
        for (size_t at = 0; at < string_n; at++)
            for (int byte = 0; byte < 256; byte++) {
                size_t n = (size_t)sprintf(text, "{\"a\":\"%.*s\"}", (int)string_n,
                                           "abcdefghijklmnopqrstuvwxyz");
                bool good = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';

                text[6 + at] = (char)byte;
                assert_int_equal(is_plain(text, n), good);
            }
}

/* Two and three bytes beyond ASCII: just what is UTF-8 to jansson is plain. */
static void test_utf8(void **state)
{
    (void)state;
    for (unsigned first = 0x80; first < 0x100; first++)
        for (unsigned second = 0x80; second < 0x100; second++)
            for (unsigned third = 0x20; third < 0x100; third += third < 0x7f ? 0x5f : 1) {
                char text[] = "{\"a\":\"123\xff\xff\xff\"}";

                text[9] = (char)first;
                text[10] = (char)second;
                text[11] = (char)third;
                json_t *root = json_loadb(text, strlen(text), FLAGS, NULL);
                assert_int_equal(is_plain(text, strlen(text)), root != NULL);
                json_decref(root);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_left_to_the_library),
        cmocka_unit_test(test_nul_is_never_plain),
        cmocka_unit_test(test_a_part_is_never_plain),
        cmocka_unit_test(test_each_byte_in_a_string),
        cmocka_unit_test(test_utf8),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
