/* SPDX-License-Identifier: MIT */
/* The parser never sees an allocation fail: what it can take is taken before, and is enough. */
#include "wire/json_alloc.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* Allocations that succeed before one fails; negative: all succeed.  The linker sends malloc() of
 * all objects of this program here (--wrap); the library's come through json_alloc.c too. */
static int left_n = -1;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    if (left_n == 0)
        return NULL;
    left_n -= left_n > 0;
    return __real_malloc(bytes);
}

/* Text that repeats a part between two others. */
static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
    size_t part_n = strlen(part), head_n = strlen(head);
    char *text = malloc(head_n + n * part_n + strlen(tail) + 1);

    assert_non_null(text);
    memcpy(text, head, head_n);
    for (size_t i = 0; i < n; i++)
        memcpy(text + head_n + i * part_n, part, part_n);
    strcpy(text + head_n + n * part_n, tail);
    return text;
}

/* Names, each another one. */
static char *named(size_t n, const char *value)
{
    char *text;
    size_t text_n;
    FILE *to = open_memstream(&text, &text_n);

    assert_non_null(to);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "%c\"%zx\":%s", i == 0 ? '{' : ',', i, value);
    fputs("}", to);
    assert_int_equal(fclose(to), 0);
    return text;
}

static const struct {
    const char *head, *part, *tail;
} shapes[] = {
    {"\"", "a", "\""},
    {"\"", "\\\"", "\""},
    {"\"", "\\u00e9", "\""},
    {"\"", "\\ud83d\\ude00", "\""},
    {"[\"", "a", "\"]"},
    {"{\"", "n", "\":1}"},
    {"{\"", "n", "\":\"value\"}"},
    {"[1", ",1", "]"},
    {"[1.5", ",-1e9", "]"},
    {"[\"\"", ",\"\"", "]"},
    {"[{}", ",{}", "]"},
    {"[[]", ",[]", "]"},
    {"[{\"\":0}", ",{\"\":0}", "]"},
    {"[[0]", ",[\"0\"]", "]"},
    {"[true", ", \t\n null", "]"},
    {"", "1", ""},
    {"[", "1", "]"},
    {"0.", "1", ""},
    {"[", " ", "]"},
    /* and what is no JSON */
    {"\"", "a", ""},
    {"[", "[", ""},
    {"{\"a\":", "{\"a\":", ""},
    {"[1", "\"", ""},
    {"[1\"", "a,", "\""},
    {"", "truefalse", ""},
    {"[\"", "a b ", "\n\"]"},
};

static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 127, 128, 129, 1000, 4096, 30000};

static void parse_within(const char *text, size_t text_n)
{
    struct json_alloc *parsed = NULL;

    left_n = 1; /* what is set aside, and no more */
    int result = json_alloc_load(text, text_n, FLAGS, NULL, &parsed);
    left_n = -1;
    assert_true(result == 0 || result == -EINVAL);
    assert_int_equal(result == 0, parsed != NULL);
    if (parsed != NULL)
        assert_false(json_alloc_was_short(parsed));
    json_alloc_free(parsed);
}

static void takes_no_more_than_was_set_aside(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            char *text = repeated(shapes[i].head, shapes[i].part, sizes[j], shapes[i].tail);

            parse_within(text, strlen(text));
            free(text);
        }
    for (size_t n = 1; n < 300; n++) {
        char *text = named(n, n % 2 == 0 ? "1" : "\"one\"");

        parse_within(text, strlen(text));
        free(text);
    }
}

static void reads_the_same(void **state)
{
    char *text = repeated("{\"long\":\"", "x", 30000, "\",\"list\":[1,\"\\u00e9\",{\"a\":null}]}");
    struct json_alloc *parsed;
    json_t *want = json_loads(text, FLAGS, NULL);

    (void)state;
    assert_int_equal(json_alloc_load(text, strlen(text), FLAGS, NULL, &parsed), 0);
    assert_true(json_equal(parsed->root, want));
    assert_int_equal(json_string_length(json_object_get(parsed->root, "long")), 30000);
    json_alloc_free(parsed);
    json_decref(want);
    free(text);
}

/* A value may be in another tree meanwhile, as in that of a key. */
static void shares_values(void **state)
{
    struct json_alloc *parsed;
    json_t *other = json_object();

    (void)state;
    assert_int_equal(json_alloc_load("{\"a\":\"b\"}", 9, FLAGS, NULL, &parsed), 0);
    json_object_set(other, "a", json_object_get(parsed->root, "a"));
    assert_string_equal(json_string_value(json_object_get(other, "a")), "b");
    json_decref(other);
    json_alloc_free(parsed);
}

static void says_where_it_is_no_json(void **state)
{
    struct json_alloc *parsed;
    json_error_t error;

    (void)state;
    assert_int_equal(json_alloc_load("[1,\n2,}", 7, FLAGS, &error, &parsed), -EINVAL);
    assert_null(parsed);
    assert_int_equal(error.line, 2);
    assert_int_equal(json_alloc_load("", 0, FLAGS, &error, &parsed), -EINVAL);
    json_alloc_free(NULL);
}

/* Each allocation fails in turn, the text of 30,000 bytes included: refused, or read whole. */
static void fails_before_it_parses(void **state)
{
    char *text = repeated("{\"data\":\"", "x", 30000, "\"}");

    (void)state;
    for (int n = 0; n < 20; n++) {
        struct json_alloc *parsed;

        left_n = n;
        int result = json_alloc_load(text, strlen(text), FLAGS, NULL, &parsed);
        left_n = -1;
        assert_int_equal(result, n == 0 ? -ENOMEM : 0);
        if (result == 0)
            assert_int_equal(json_string_length(json_object_get(parsed->root, "data")), 30000);
        json_alloc_free(parsed);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_no_more_than_was_set_aside),
        cmocka_unit_test(reads_the_same),
        cmocka_unit_test(shares_values),
        cmocka_unit_test(says_where_it_is_no_json),
        cmocka_unit_test(fails_before_it_parses),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
