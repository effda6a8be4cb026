/* SPDX-License-Identifier: MIT */
/* Which grant covers which wish: by a table, and against the meaning itself. */
#include "auth/grants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "event/topic.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static bool covers(const char *granted, const char *wanted)
{
    return grants_pattern_covers(granted, strlen(granted), wanted, strlen(wanted));
}

static void grants_cover_wishes(void **state)
{
    static const struct {
        const char *granted, *wanted;
        bool covered;
    } cases[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "ab", false},
        {"ab", "a", false},
        {"a", "A", false},
        {"a", "a/", false},
        {"a/", "a", false},
        {"a", "*", false},
        {"a", "**", false},
        {"*", "a", true},
        {"*", "*", true},
        {"*", "**", false},
        {"*", "a/b", false},
        {"*", "*/b", false},
        {"**", "a", true},
        {"**", "*", true},
        {"**", "**", true},
        {"**", "a/b/c", true},
        {"**", "*/*/**", true},
        {"a/*", "a/b", true},
        {"a/*", "a/*", true},
        {"a/*", "a/**", false},
        {"a/*", "a", false},
        {"a/*", "a/", true},
        {"a/*", "a/b/c", false},
        {"a/*", "*/b", false},
        {"a/*", "b/*", false},
        {"a/**", "a", false},
        {"a/**", "a/b", true},
        {"a/**", "a/*", true},
        {"a/**", "a/**", true},
        {"a/**", "a/*/c", true},
        {"a/**", "a/b/**", true},
        {"a/**", "ab/c", false},
        {"a/**", "*/**", false},
        {"a/**", "**", false},
        {"a/*/c", "a/b/c", true},
        {"a/*/c", "a/*/c", true},
        {"a/*/c", "a/b/*", false},
        {"a/*/c", "a/b/**", false},
        {"a/*/**", "a/**", false},
        {"a/*/**", "a/b/c", true},
        {"a/*/**", "a/b", false},
        {"*/b", "a/b", true},
        {"*/b", "*/b", true},
        {"*/b", "*/*", false},
        {"*/*", "**", false},
        {"https://x/y", "https://x/y", true},
        {"https://x/*", "https://x/y", true},
        {"https:/*/x/*", "https://x/y", true},
        {"/", "/", true},
        {"/*", "/", true},
        {"*/", "/", true},
        {"*", "/", false},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        if (covers(cases[i].granted, cases[i].wanted) != cases[i].covered)
            fail_msg("does %s cover %s?", cases[i].granted, cases[i].wanted);
}

/* Every name or pattern of up to three segments over a small alphabet. */
#define WORDS_MAX 256
static char words[WORDS_MAX][16];
static size_t words_n, topics_n;

static void make_words(void)
{
    static const char *const segments[] = {"a", "b", "", "*", "**"};

    for (int with_stars = 0; with_stars <= 1; with_stars++) {
        for (int code = 0; code < 6 * 6 * 6; code++) {
            int parts[] = {code % 6, code / 6 % 6, code / 36};
            size_t n = parts[2] < 5 ? 3 : parts[1] < 5 ? 2 : 1;
            char word[16] = "";

            if (parts[0] == 5 || (parts[1] == 5 && parts[2] < 5))
                continue;
            for (size_t i = 0; i < n; i++) {
                strcat(word, i > 0 ? "/" : "");
                strcat(word, segments[parts[i]]);
            }
            if (topic_check_pattern(word, strlen(word)) != TOPIC_OK ||
                topic_is_pattern(word, strlen(word)) != (with_stars == 1))
                continue;
            assert_true(words_n < WORDS_MAX);
            strcpy(words[words_n++], word);
        }
        if (!with_stars)
            topics_n = words_n;
    }
}

/* A grant covers a wish when every topic of the wish is one of the grant; the topics are looked
 * through, with segments that no pattern names. */
static void covering_is_containment(void **state)
{
    static const char *const others[] = {
        "x",     "x/x",   "x/x/x", "a/x",   "x/a",   "a/x/x", "x/a/x", "x/x/a",  "a/a/x", "a/x/a",
        "x/a/a", "b/x",   "x/b",   "/x",    "x/",    "b/x/x", "x/b/x", "x/x/b",  "/x/x",  "x//x",
        "x/x/",  "b/b/x", "b/x/b", "x/b/b", "a/b/x", "b/a/x", "a/x/b", "b/x/a",  "x/a/b", "x/b/a",
        "//x",   "x//",   "/x/",   "a//x",  "/a/x",  "b//x",  "/b/x",  "x/x/x/x"};

    (void)state;
    make_words();
    for (size_t g = 0; g < words_n; g++)
        for (size_t w = 0; w < words_n; w++) {
            bool contained = true;

            for (size_t t = 0; t < topics_n + ROWS(others); t++) {
                const char *topic = t < topics_n ? words[t] : others[t - topics_n];

                if (topic_match(words[w], strlen(words[w]), topic, strlen(topic)) &&
                    !topic_match(words[g], strlen(words[g]), topic, strlen(topic)))
                    contained = false;
            }
            /* deep topics tell apart what three segments cannot */
            if (covers(words[g], words[w]) && !contained)
                fail_msg("%s does not contain %s", words[g], words[w]);
            if (!covers(words[g], words[w]) && contained && strstr(words[w], "**") == NULL)
                fail_msg("%s contains %s", words[g], words[w]);
        }
}

static bool have_a_topic_in_common(const char *one, const char *other)
{
    for (size_t t = 0; t < topics_n; t++)
        if (topic_match(one, strlen(one), words[t], strlen(words[t])) &&
            topic_match(other, strlen(other), words[t], strlen(words[t])))
            return true;
    return false;
}

static void patterns_that_meet_have_a_topic_in_common(void **state)
{
    (void)state;
    assert_true(words_n > 0);
    for (size_t a = 0; a < words_n; a++)
        for (size_t b = 0; b < words_n; b++) {
            bool meet =
                grants_patterns_overlap(words[a], strlen(words[a]), words[b], strlen(words[b]));

            if (meet != have_a_topic_in_common(words[a], words[b]))
                fail_msg("%s and %s %s", words[a], words[b], meet ? "meet" : "do not meet");
        }
}

static void lists_cover(void **state)
{
    static const struct grants_pattern patterns[] = {{"news", 4}, {"orders/*", 8}};
    static const struct grants_pattern everything[] = {{"a", 1}, {"**", 2}};
    const struct grants_list none = {NULL, 0}, some = {patterns, 2}, all = {everything, 2};

    (void)state;
    assert_true(grants_cover(&some, "news", 4));
    assert_true(grants_cover(&some, "orders/1", 8));
    assert_false(grants_cover(&some, "orders/**", 9));
    assert_false(grants_cover(&some, "olds", 4));
    assert_false(grants_cover(&none, "news", 4));
    assert_true(grants_cover(&all, "news", 4));
    assert_false(grants_cover_all(&none));
    assert_false(grants_cover_all(&some));
    assert_true(grants_cover_all(&all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grants_cover_wishes),
        cmocka_unit_test(covering_is_containment),
        cmocka_unit_test(patterns_that_meet_have_a_topic_in_common),
        cmocka_unit_test(lists_cover),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
