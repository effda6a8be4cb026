/* SPDX-License-Identifier: MIT */
/* Which names are topics, patterns and users, and which pattern covers which topic. */
#include "event/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define TEN_TIMES(x) x x x x x x x x x x

/* 250 and 256 bytes, 32 segments */
#define LETTERS "abcdefghij"
#define BYTES_250 TEN_TIMES(LETTERS) TEN_TIMES(LETTERS) LETTERS LETTERS LETTERS LETTERS LETTERS
#define SLASHES_31 TEN_TIMES("/") TEN_TIMES("/") TEN_TIMES("/") "/"

static void checks_names_patterns_and_users(void **state)
{
    static const struct {
        const char *text;
        enum topic_error name, pattern, user;
    } rows[] = {
        {"", TOPIC_EMPTY, TOPIC_EMPTY, TOPIC_EMPTY},
        {"news", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {"/", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {" a b ", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {"https://example.org/orders//7?x=%20#y", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {"gr\xC3\xBC\xC3\x9F/\xE4\xB8\xAD/\xF0\x9F\x90\x9D", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {BYTES_250 "123456", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {BYTES_250 "1234567", TOPIC_TOO_LONG, TOPIC_TOO_LONG, TOPIC_TOO_LONG},
        {SLASHES_31, TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {SLASHES_31 "/", TOPIC_TOO_MANY_SEGMENTS, TOPIC_TOO_MANY_SEGMENTS, TOPIC_OK},
        {"a\xFF", TOPIC_NOT_UTF8, TOPIC_NOT_UTF8, TOPIC_NOT_UTF8},
        {"a\xC3", TOPIC_NOT_UTF8, TOPIC_NOT_UTF8, TOPIC_NOT_UTF8},
        {"a\tb", TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER},
        {"a\x7F", TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER},
        {"a\xC2\x85", TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER},
        {"\xEF\xBB\xBF", TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER},
        {"a\xE2\x80\xAE", TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER, TOPIC_HIDDEN_CHARACTER},
        {"*", TOPIC_WILDCARD, TOPIC_OK, TOPIC_OK},
        {"**", TOPIC_WILDCARD, TOPIC_OK, TOPIC_OK},
        {"a/*/b", TOPIC_WILDCARD, TOPIC_OK, TOPIC_OK},
        {"a/**", TOPIC_WILDCARD, TOPIC_OK, TOPIC_OK},
        {"*/*/*/**", TOPIC_WILDCARD, TOPIC_OK, TOPIC_OK},
        {"*/*/*/*/x", TOPIC_WILDCARD, TOPIC_OK, TOPIC_OK},
        {"*/*/*/*/**", TOPIC_WILDCARD, TOPIC_TOO_MANY_WILDCARDS, TOPIC_OK},
        {"a*", TOPIC_WILDCARD, TOPIC_WILDCARD_PLACE, TOPIC_OK},
        {"*a", TOPIC_WILDCARD, TOPIC_WILDCARD_PLACE, TOPIC_OK},
        {"***", TOPIC_WILDCARD, TOPIC_WILDCARD_PLACE, TOPIC_OK},
        {"**/a", TOPIC_WILDCARD, TOPIC_WILDCARD_PLACE, TOPIC_OK},
        {"**/", TOPIC_WILDCARD, TOPIC_WILDCARD_PLACE, TOPIC_OK},
        {"**/**", TOPIC_WILDCARD, TOPIC_WILDCARD_PLACE, TOPIC_OK},
        {"$bugle/probe", TOPIC_RESERVED, TOPIC_RESERVED, TOPIC_OK},
        {"$bugle/", TOPIC_RESERVED, TOPIC_RESERVED, TOPIC_OK},
        {"$bugle/*", TOPIC_RESERVED, TOPIC_RESERVED, TOPIC_OK},
        {"$bugle", TOPIC_OK, TOPIC_OK, TOPIC_OK},
        {"$bugles/x", TOPIC_OK, TOPIC_OK, TOPIC_OK},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const char *text = rows[i].text;
        size_t text_n = strlen(text);

        if (topic_check_name(text, text_n) != rows[i].name)
            fail_msg("name '%s'", text);
        if (topic_check_pattern(text, text_n) != rows[i].pattern)
            fail_msg("pattern '%s'", text);
        if (topic_check_user(text, text_n) != rows[i].user)
            fail_msg("user '%s'", text);
    }
    assert_int_equal(topic_check_name("a\0b", 3), TOPIC_HIDDEN_CHARACTER);
}

static void has_a_text_for_every_error(void **state)
{
    (void)state;
    for (enum topic_error error = TOPIC_OK; error <= TOPIC_RESERVED; error++)
        assert_true(strlen(topic_error_text(error)) > 0);
}

static void knows_a_pattern(void **state)
{
    (void)state;
    assert_false(topic_is_pattern("a/b", 3));
    assert_true(topic_is_pattern("a/*", 3));
    assert_true(topic_is_pattern("**", 2));
}

static void splits_with_empty_segments(void **state)
{
    static const struct {
        const char *text;
        const char *segments[6];
    } rows[] = {
        {"a", {"a"}},
        {"a/b/c", {"a", "b", "c"}},
        {"/", {"", ""}},
        {"/a/", {"", "a", ""}},
        {"http://h/p", {"http:", "", "h", "p"}},
        {"a/**", {"a", "**"}},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct topic_segment segments[TOPIC_SEGMENTS_MAX];
        size_t segments_n = topic_split(rows[i].text, strlen(rows[i].text), segments);

        for (size_t j = 0; j < segments_n; j++) {
            assert_non_null(rows[i].segments[j]);
            assert_int_equal(segments[j].bytes_n, strlen(rows[i].segments[j]));
            assert_memory_equal(rows[i].text + segments[j].offset, rows[i].segments[j],
                                segments[j].bytes_n);
        }
        assert_null(rows[i].segments[segments_n]);
    }
}

static void splits_as_many_segments_as_there_may_be(void **state)
{
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];

    (void)state;
    assert_int_equal(topic_split(SLASHES_31, 31, segments), TOPIC_SEGMENTS_MAX);
    assert_int_equal(segments[31].offset, 31);
    assert_int_equal(segments[31].bytes_n, 0);
}

static void matches(void **state)
{
    static const struct {
        const char *pattern, *topic;
        bool match;
    } rows[] = {
        {"a", "a", true},          {"a", "b", false},
        {"a", "A", false},         {"a", "ab", false},
        {"ab", "a", false},        {"a", "a/", false},
        {"a/", "a", false},        {"a/b", "a/b", true},
        {"*", "a", true},          {"*", "a/b", false},
        {"*", "/", false},         {"*/*", "/", true},
        {"*/*", "a", false},       {"a/*", "a/", true},
        {"a/*", "a/b", true},      {"a/*", "a/b/c", false},
        {"a/*", "a", false},       {"a/*/c", "a/b/c", true},
        {"a/*/c", "a//c", true},   {"a/*/c", "a/b/d", false},
        {"*/b", "a/b", true},      {"*/b", "b", false},
        {"**", "a", true},         {"**", "/", true},
        {"**", "a/b/c", true},     {"a/**", "a", false},
        {"a/**", "a/", true},      {"a/**", "a/b", true},
        {"a/**", "a/b/c/d", true}, {"a/**", "b/c", false},
        {"a/**", "ab/c", false},   {"a/*/**", "a/b", false},
        {"a/*/**", "a/b/c", true}, {"http://h/*", "http://h/p", true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        if (topic_match(rows[i].pattern, strlen(rows[i].pattern), rows[i].topic,
                        strlen(rows[i].topic)) != rows[i].match)
            fail_msg("'%s' over '%s'", rows[i].pattern, rows[i].topic);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_names_patterns_and_users),
        cmocka_unit_test(has_a_text_for_every_error),
        cmocka_unit_test(knows_a_pattern),
        cmocka_unit_test(splits_with_empty_segments),
        cmocka_unit_test(splits_as_many_segments_as_there_may_be),
        cmocka_unit_test(matches),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
