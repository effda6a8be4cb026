/* SPDX-License-Identifier: MIT */
/* How numbers, lists, addresses and origins are written in settings. */
#include "conf/conf_value.h"

#include <setjmp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define UNTOUCHED 4711
#define TEN_TIMES(x) x x x x x x x x x x

static void reads_numbers_with_one_unit(void **state)
{
    static const struct {
        enum conf_type type;
        const char *text;
        uint64_t expected; /* UNTOUCHED: refused */
    } rows[] = {
        {CONF_DURATION, "10", 10000},
        {CONF_DURATION, "0", 0},
        {CONF_DURATION, "500ms", 500},
        {CONF_DURATION, "30s", 30000},
        {CONF_DURATION, "10m", 600000},
        {CONF_DURATION, "24h", 86400000},
        {CONF_DURATION, "7d", 604800000},
        {CONF_DURATION, "007s", 7000},
        {CONF_DURATION, "9007199254740992ms", UINT64_C(9007199254740992)},
        {CONF_DURATION, "9007199254740993ms", UNTOUCHED},
        {CONF_DURATION, "9007199254740s", UINT64_C(9007199254740000)},
        {CONF_DURATION, "9007199254741s", UNTOUCHED},
        {CONF_DURATION, "99999999999999999999999ms", UNTOUCHED},
        {CONF_DURATION, "18446744073709551617ms", UNTOUCHED}, /* 1 if it wrapped */
        {CONF_DURATION, "", UNTOUCHED},
        {CONF_DURATION, "s", UNTOUCHED},
        {CONF_DURATION, "-1s", UNTOUCHED},
        {CONF_DURATION, "+1s", UNTOUCHED},
        {CONF_DURATION, "1.5s", UNTOUCHED},
        {CONF_DURATION, "1 s", UNTOUCHED},
        {CONF_DURATION, " 1s", UNTOUCHED},
        {CONF_DURATION, "1s ", UNTOUCHED},
        {CONF_DURATION, "1S", UNTOUCHED},
        {CONF_DURATION, "1w", UNTOUCHED},
        {CONF_DURATION, "1h30m", UNTOUCHED},
        {CONF_BYTES, "4096", 4096},
        {CONF_BYTES, "64K", 65536},
        {CONF_BYTES, "1M", 1048576},
        {CONF_BYTES, "2G", UINT64_C(2147483648)},
        {CONF_BYTES, "8388608G", UINT64_C(9007199254740992)},
        {CONF_BYTES, "8388609G", UNTOUCHED},
        {CONF_BYTES, "1k", UNTOUCHED},
        {CONF_BYTES, "1KB", UNTOUCHED},
        {CONF_BYTES, "0x10", UNTOUCHED},
        {CONF_COUNT, "12", 12},
        {CONF_COUNT, "12K", UNTOUCHED},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        uint64_t number = UNTOUCHED;
        bool is_read = conf_value_number(rows[i].type, rows[i].text, &number);
        if (is_read != (rows[i].expected != UNTOUCHED) || number != rows[i].expected)
            fail_msg("'%s' is read as %" PRIu64, rows[i].text, number);
    }
}

static void has_a_door_for_other_modules(void **state)
{
    uint64_t number = UNTOUCHED;

    (void)state;
    assert_true(conf_parse_duration_ms("2m", &number));
    assert_int_equal(number, 120000);
    assert_true(conf_parse_bytes("2M", &number));
    assert_int_equal(number, 2 << 20);
    assert_false(conf_parse_duration_ms("2M", &number));
    assert_false(conf_parse_bytes("2m", &number));
    assert_int_equal(number, 2 << 20);
}

static void writes_numbers_that_read_the_same(void **state)
{
    static const struct {
        enum conf_type type;
        uint64_t number;
        const char *expected;
    } rows[] = {
        {CONF_DURATION, 0, "0"},
        {CONF_DURATION, 1, "1ms"},
        {CONF_DURATION, 1500, "1500ms"},
        {CONF_DURATION, 75000, "75s"},
        {CONF_DURATION, 60000, "1m"},
        {CONF_DURATION, 5400000, "90m"},
        {CONF_DURATION, 3600000, "1h"},
        {CONF_DURATION, 604800000, "7d"},
        {CONF_BYTES, 0, "0"},
        {CONF_BYTES, 1000, "1000"},
        {CONF_BYTES, 4096, "4K"},
        {CONF_BYTES, 1 << 20, "1M"},
        {CONF_BYTES, 3 << 29, "1536M"},
        {CONF_COUNT, 65536, "65536"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char text[32];
        uint64_t number = UNTOUCHED;
        assert_ptr_equal(conf_value_number_text(rows[i].type, rows[i].number, text, sizeof text),
                         text);
        assert_string_equal(text, rows[i].expected);
        assert_true(conf_value_number(rows[i].type, text, &number));
        assert_int_equal(number, rows[i].number);
    }
}

static void knows_listen_addresses(void **state)
{
    static const struct {
        const char *item;
        bool is_listen, is_loopback;
    } rows[] = {
        {"127.0.0.1:8080", true, true},
        {"127.255.0.9:0", true, true},
        {"localhost:65535", true, true},
        {"[::1]:8080", true, true},
        {"[0:0:0:0:0:0:0:1]:8080", true, true},
        {"unix:/run/bugle/http.sock", true, true},
        {"0.0.0.0:80", true, false},
        {"*:80", true, false},
        {"[::]:80", true, false},
        {"[::ffff:127.0.0.1]:80", true, false},
        {"[fe80::1]:80", true, false},
        {"128.0.0.1:80", true, false},
        {"192.168.1.7:80", true, false},
        {"", false, false},
        {":80", false, false},
        {"8080", false, false},
        {"127.0.0.1", false, false},
        {"127.0.0.1:", false, false},
        {"127.0.0.1:65536", false, false},
        {"127.0.0.1:-1", false, false},
        {"127.0.0.1:80 ", false, false},
        {"127.0.0.1:http", false, false},
        {"127.1:80", false, false},
        {"127.0.0.256:80", false, false},
        {"example.org:80", false, false},
        {"localhosts:80", false, false},
        {"::1:80", false, false},
        {"[::1]", false, false},
        {"[]:80", false, false},
        {"[::1:80", false, false},
        {"[127.0.0.1]:80", false, false},
        {"[" TEN_TIMES("1234567890") "]:80", false, false},
        {"unix:", false, true},
        {"unix:/", false, true},
        {"unix:relative", false, true},
        {"unix:/" TEN_TIMES("1234567890") "123456", true, true},   /* 107 bytes and NUL fit */
        {"unix:/" TEN_TIMES("1234567890") "1234567", false, true}, /* 108 do not */
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        if (conf_value_is_listen(rows[i].item) != rows[i].is_listen)
            fail_msg("listen '%s'", rows[i].item);
        if (rows[i].is_listen && conf_value_is_loopback(rows[i].item) != rows[i].is_loopback)
            fail_msg("loopback '%s'", rows[i].item);
    }
}

static void knows_origins(void **state)
{
    static const struct {
        const char *item;
        bool expected;
    } rows[] = {
        {"loopback", true},
        {"https://example.org", true},
        {"http://example.org:8080", true},
        {"http://[::1]:3000", true},
        {"capacitor://localhost", true},
        {"", false},
        {"*", false},
        {"null", false},
        {"example.org", false},
        {"https://", false},
        {"://example.org", false},
        {"https://:80", false},
        {"https://example.org/", false},
        {"https://example.org/path", false},
        {"https://Example.org", false},
        {"HTTPS://example.org", false},
        {"https://*.example.org", false},
        {"https://user@example.org", false},
        {"https://a b", false},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        if (conf_value_is_origin(rows[i].item) != rows[i].expected)
            fail_msg("origin '%s'", rows[i].item);
}

static bool has_no_x(const char *item)
{
    return *item && !strchr(item, 'x');
}

static void lists_part_at_commas(void **state)
{
    static const struct {
        const char *text;
        int error;
        size_t items_n;
        const char *last;
    } rows[] = {
        {"", 0, 0, NULL},           {"a", 0, 1, "a"},
        {"a,b", 0, 2, "b"},         {"a , b c ,  d  ", 0, 3, "d"},
        {"a,b c", 0, 2, "b c"},     {"a,", -EINVAL, 2, ""},
        {",a", -EINVAL, 1, ""},     {" ", -EINVAL, 1, ""},
        {"a,x,b", -EINVAL, 2, "x"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct conf_list list = {0};
        assert_int_equal(conf_value_list_add(&list, rows[i].text, has_no_x), rows[i].error);
        assert_int_equal(list.items_n, rows[i].items_n);
        if (rows[i].last)
            assert_string_equal(list.items[list.items_n - 1], rows[i].last);
        conf_value_list_clear(&list);
        assert_int_equal(list.items_n, 0);
    }
}

static void lists_grow_unless_inherited(void **state)
{
    struct conf_list list = {0};

    (void)state;
    assert_int_equal(conf_value_list_add(&list, "a", has_no_x), 0);
    assert_int_equal(conf_value_list_add(&list, "b", has_no_x), 0);
    assert_int_equal(list.items_n, 2);

    list.inherited = true;
    assert_int_equal(conf_value_list_add(&list, "c", has_no_x), 0);
    assert_int_equal(list.items_n, 1);
    assert_string_equal(list.items[0], "c");
    assert_int_equal(conf_value_list_add(&list, "d", has_no_x), 0);
    assert_int_equal(list.items_n, 2);

    list.inherited = true;
    assert_int_equal(conf_value_list_add(&list, "", has_no_x), 0);
    assert_int_equal(list.items_n, 0);
    conf_value_list_clear(&list);
}

static void clean_text_has_no_control_characters(void **state)
{
    (void)state;
    assert_true(conf_value_is_clean(""));
    assert_true(conf_value_is_clean("/srv/gr\xc3\xbc\xc3\x9f e"));
    assert_false(conf_value_is_clean("a\tb"));
    assert_false(conf_value_is_clean("a\x7f"));
    assert_false(conf_value_is_clean("\x1b[0m"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_numbers_with_one_unit),
        cmocka_unit_test(has_a_door_for_other_modules),
        cmocka_unit_test(writes_numbers_that_read_the_same),
        cmocka_unit_test(knows_listen_addresses),
        cmocka_unit_test(knows_origins),
        cmocka_unit_test(lists_part_at_commas),
        cmocka_unit_test(lists_grow_unless_inherited),
        cmocka_unit_test(clean_text_has_no_control_characters),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
