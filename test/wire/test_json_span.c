/* SPDX-License-Identifier: MIT */
/* Members, elements, depth and compact text of hand-written JSON. */
#include "wire/json_span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static struct json_span span(const char *text)
{
    return (struct json_span){text, strlen(text)};
}

/* `want` is NULL for "no such value". */
static void assert_span(struct json_span got, const char *want, const char *text)
{
    if (!want && !got.at)
        return;
    if (!want || !got.at || got.bytes_n != strlen(want) || memcmp(got.at, want, got.bytes_n) != 0)
        fail_msg("in %s: wanted %s", text, want ? want : "nothing");
}

static void finds_members(void **state)
{
    static const struct {
        const char *text, *key, *value;
    } rows[] = {
        {"{}", "data", NULL},
        {" \t\r\n{ } ", "data", NULL},
        {"[]", "data", NULL},
        {"[{\"data\":1}]", "data", NULL},
        {"\"data\"", "data", NULL},
        {"1", "data", NULL},
        {"", "data", NULL},
        {"  ", "data", NULL},
        {"{\"data\":1}", "data", "1"},
        {"{\"data\":1.10}", "data", "1.10"},
        {"{\"data\":-0}", "data", "-0"},
        {"{\"data\":12345678901234567890}", "data", "12345678901234567890"},
        {"{\"data\":true}", "data", "true"},
        {"{\"data\":null,\"a\":1}", "data", "null"},
        {" { \"data\" : 1 , \"a\" : 2 } ", "data", "1"},
        {" { \"data\" : 1 , \"a\" : 2 } ", "a", "2"},
        {"{\n\t\"data\"\r:\n[ 1 , 2 ]\n}", "data", "[ 1 , 2 ]"},
        {"{\"data\":{\"data\":1},\"x\":2}", "data", "{\"data\":1}"},
        {"{\"x\":{\"data\":1}}", "data", NULL},
        {"{\"x\":{\"data\":1},\"data\":2}", "data", "2"},
        {"{\"x\":[{\"data\":1},[]],\"data\":2}", "data", "2"},
        {"{\"data\":\"\"}", "data", "\"\""},
        {"{\"data\":\"a\\\"b\"}", "data", "\"a\\\"b\""},
        {"{\"data\":\"\\\\\",\"x\":1}", "data", "\"\\\\\""},
        {"{\"data\":\"\\\\\\\"\",\"x\":1}", "data", "\"\\\\\\\"\""},
        {"{\"x\":\"}\",\"data\":\"]{\"}", "data", "\"]{\""},
        {"{\"x\":[\"]\\\"]\"],\"data\":2}", "data", "2"},
        {"{\"x\":\"data\",\"data\":2}", "data", "2"},
        {"{\"dat\":1,\"data2\":2,\"Data\":3}", "data", NULL},
        {"{\"\":1}", "", "1"},
        {"{\"a\":1}", "", NULL},
        /* escaped keys */
        {"{\"d\\u0061ta\":1}", "data", "1"},
        {"{\"\\u0064\\u0061\\u0074\\u0061\":1}", "data", "1"},
        {"{\"dat\\u0061x\":1}", "data", NULL},
        {"{\"dat\\u0062\":1}", "data", NULL},
        {"{\"\\u006\":1}", "data", NULL},
        {"{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":1}", "\"\\/\b\f\n\r\t", "1"},
        {"{\"\\u00fC\":1}", "\xC3\xBC", "1"},
        {"{\"\\u20AC\":1}", "\xE2\x82\xAC", "1"},
        {"{\"\\uD83D\\uDC1D!\":1}", "\xF0\x9F\x90\x9D!", "1"},
        {"{\"\xC3\xBC\":1}", "\xC3\xBC", "1"},
        {"{\"\\u0000\":1}", "", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_span(json_span_member(span(rows[i].text), rows[i].key), rows[i].value, rows[i].text);
}

static void walks_arrays(void **state)
{
    static const struct {
        const char *text;
        const char *elements[5];
    } rows[] = {
        {"[]", {NULL}},
        {" [ \n ] ", {NULL}},
        {"{}", {NULL}},
        {"1", {NULL}},
        {"", {NULL}},
        {"[1]", {"1"}},
        {"[1,2,3]", {"1", "2", "3"}},
        {" [ 1 , \"a,]b\" , [2,3] , {\"x\":[4]} ] ", {"1", "\"a,]b\"", "[2,3]", "{\"x\":[4]}"}},
        {"[[],[[]],{}]", {"[]", "[[]]", "{}"}},
        {"[null,1.10]", {"null", "1.10"}},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct json_span text = span(rows[i].text);
        struct json_span element = json_span_first(text);

        for (size_t j = 0;; j++) {
            assert_span(element, rows[i].elements[j], rows[i].text);
            if (!element.at)
                break;
            element = json_span_next(text, element);
        }
    }
}

static void measures_depth(void **state)
{
    static const struct {
        const char *text;
        size_t depth;
    } rows[] = {
        {"", 0},
        {"1", 0},
        {"\"[[[\"", 0},
        {"\"\\\"[\"", 0},
        {"[]", 1},
        {" {} ", 1},
        {"[[]]", 2},
        {"[[],[[]],[]]", 3},
        {"{\"a\":[{\"b\":\"]\"}]}", 3},
        {"[\"\\\\\",[]]", 2},
        /* not JSON at all */
        {"[[[[", 4},
        {"]]]][", 1},
        {"}{[", 2},
        {"[] [[]]", 2},
        {"\"[", 0},
        {"[\"\\\"[[", 1},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        if (json_span_depth(span(rows[i].text)) != rows[i].depth)
            fail_msg("depth of %s", rows[i].text);
    }
}

static void compacts(void **state)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"1", "1"},
        {" 1 ", "1"},
        {"{\"a\":1}", "{\"a\":1}"},
        {" { \"a b\" : [ 1 , 2.0 ] } ", "{\"a b\":[1,2.0]}"},
        {"[\"  \\\"  \" , \"\\\\\" , \"\t\"]", "[\"  \\\"  \",\"\\\\\",\"\t\"]"},
        {"\n{\r\n\t\"a\":\n1e2\r\n}\n", "{\"a\":1e2}"},
        {"\" \"", "\" \""},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct json_span text = span(rows[i][0]);
        char *apart = malloc(text.bytes_n + 1), *in_place = malloc(text.bytes_n + 1);

        assert_non_null(apart);
        assert_non_null(in_place);
        memcpy(in_place, text.at, text.bytes_n);
        assert_int_equal(json_span_compact(apart, text), strlen(rows[i][1]));
        assert_memory_equal(apart, rows[i][1], strlen(rows[i][1]));
        text.at = in_place;
        assert_int_equal(json_span_compact(in_place, text), strlen(rows[i][1]));
        assert_memory_equal(in_place, rows[i][1], strlen(rows[i][1]));
        free(in_place);
        free(apart);
    }
}

/* jansson takes `[3\0,true\0]`; what is sent on must be JSON nevertheless. */
static void drops_nul_behind_plain_values(void **state)
{
    static const char text[] = "[3\0,true\0]";
    struct json_span array = {text, sizeof text - 1};
    struct json_span first = json_span_first(array);
    char to[sizeof text];

    (void)state;
    assert_span(first, "3", "the text with NUL");
    assert_span(json_span_next(array, first), "true", "the text with NUL");
    assert_int_equal(json_span_compact(to, array), 8);
    assert_memory_equal(to, "[3,true]", 8);
}

/* Every prefix of some text, in a block of exactly its size: a sanitizer sees a read past it. */
static void stays_inside_cut_text(void **state)
{
    static const char text[] =
        " { \"d\\u0061t\\uD83D\\uDC1D\" : [ \"a\\\\\\\"\" , { } ] , \"k\" : 1 } ";

    (void)state;
    for (size_t n = 0; n < sizeof text; n++) {
        char *cut = malloc(n > 0 ? n : 1);
        struct json_span part = {cut, n}, value;

        assert_non_null(cut);
        memcpy(cut, text, n);
        value = json_span_member(part, "data");
        assert_null(value.at);
        value = json_span_member(part, "k");
        assert_true(!value.at || (value.at >= cut && value.at + value.bytes_n <= cut + n));
        for (size_t from = 0; from < n; from++) {
            struct json_span tail = {cut + from, n - from};

            for (value = json_span_first(tail); value.at; value = json_span_next(tail, value))
                assert_true(value.at + value.bytes_n <= cut + n);
        }
        assert_true(json_span_depth(part) <= 3);
        assert_true(json_span_compact(cut, part) <= n);
        free(cut);
    }
}

static void tells_line_and_column(void **state)
{
    static const struct {
        const char *text;
        size_t offset, line, column;
    } rows[] = {
        {"", 0, 1, 1},     {"abc", 0, 1, 1},        {"abc", 3, 1, 4},    {"a\nb", 1, 1, 2},
        {"a\nb", 2, 2, 1}, {"a\r\n\r\nb", 5, 3, 1}, {"\n\n\n", 3, 4, 1}, {"\xC3\xBC!", 2, 1, 3},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        size_t line, column;

        json_span_place(rows[i].text, rows[i].offset, &line, &column);
        assert_int_equal(line, rows[i].line);
        assert_int_equal(column, rows[i].column);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_members),
        cmocka_unit_test(walks_arrays),
        cmocka_unit_test(measures_depth),
        cmocka_unit_test(compacts),
        cmocka_unit_test(drops_nul_behind_plain_values),
        cmocka_unit_test(stays_inside_cut_text),
        cmocka_unit_test(tells_line_and_column),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
