/* SPDX-License-Identifier: MIT */
/* Which event is for which filter: the whole rule, and what a filter is made of. */
#include "event/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "base/hash.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static void follows_the_rule(void **state)
{
    static const struct {
        const char *patterns, *user; /* of the filter */
        const char *topics, *users;  /* of the event */
        bool topics_fit, accepted;
    } cases[] = {
        /* an event with neither is for everybody */
        {NULL, NULL, NULL, NULL, true, true},
        {"a", NULL, NULL, NULL, true, true},
        {"a *", "ada", NULL, NULL, true, true},
        /* topics */
        {NULL, NULL, "a", NULL, true, true},
        {"a", NULL, "a", NULL, true, true},
        {"a", NULL, "b", NULL, false, false},
        {"a", NULL, "A", NULL, false, false},
        {"a", NULL, "a/b", NULL, false, false},
        {"a/b", NULL, "a", NULL, false, false},
        {"a", NULL, "ab", NULL, false, false},
        {"ab", NULL, "a", NULL, false, false},
        {"a", NULL, "b c a", NULL, true, true},
        {"x b", NULL, "a b", NULL, true, true},
        {"x y", NULL, "a b", NULL, false, false},
        {"*", NULL, "a", NULL, true, true},
        {"*", NULL, "a/b", NULL, false, false},
        {"a/*", NULL, "a/b", NULL, true, true},
        {"a/*", NULL, "a/", NULL, true, true},
        {"a/*", NULL, "a", NULL, false, false},
        {"a/**", NULL, "a", NULL, false, false},
        {"a/**", NULL, "a/b/c", NULL, true, true},
        {"*/b", NULL, "a/b", NULL, true, true},
        {"*/b", NULL, "a/c", NULL, false, false},
        {"**", NULL, "a/b/c", NULL, true, true},
        {"n a/*", NULL, "b a/b", NULL, true, true},
        /* users */
        {NULL, NULL, NULL, "ada", true, false},
        {NULL, "ada", NULL, "ada", true, true},
        {NULL, "ada", NULL, "bob", true, false},
        {NULL, "ada", NULL, "bob ada", true, true},
        {NULL, "ada", NULL, "adam", true, false},
        {NULL, "adam", NULL, "ada", true, false},
        {NULL, "*", NULL, "ada", true, false},
        {NULL, "ada", NULL, "*", true, false},
        {"a", "ada", NULL, "ada", true, true},
        {"a", NULL, NULL, "ada", true, false},
        /* both must fit */
        {"a", "ada", "a", "ada", true, true},
        {"a", "ada", "a", "bob", true, false},
        {"a", "ada", "b", "ada", false, false},
        {"a", "ada", "a", NULL, true, true},
        {"ada", NULL, "ada", "ada", true, false},
        {"**", NULL, "a", "ada", true, false},
        {"**", "ada", "a", "ada", true, true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct filter *filter = make_filter(cases[i].patterns, cases[i].user);
        struct message *message = make_message(.topics = cases[i].topics, .users = cases[i].users);

        if (filter_accepts_topics(filter, message) != cases[i].topics_fit ||
            filter_accepts(filter, message) != cases[i].accepted)
            fail_msg("row %zu", i);
        filter_unref(filter);
        message_unref(message);
    }
}

static void holds_copies_of_all_it_was_given(void **state)
{
    char pattern[] = "a/*", user[] = "ada";
    struct message_name names[] = {{.bytes = pattern, .bytes_n = 3}};
    struct message_name name = {.bytes = user, .bytes_n = 3};
    struct filter *filter = filter_new(names, 1, &name);

    (void)state;
    memset(pattern, '-', sizeof(pattern));
    memset(user, '-', sizeof(user));
    assert_int_equal(filter->patterns_n, 1);
    assert_int_equal(filter->patterns[0].name.bytes_n, 3);
    assert_memory_equal(filter->patterns[0].name.bytes, "a/*", 3);
    assert_true(filter->patterns[0].wildcard);
    assert_true(filter->user.hash == hash_bytes("ada", 3));
    assert_memory_equal(filter->user.bytes, "ada", 3);
    filter_unref(filter);
}

static void keeps_each_pattern_once(void **state)
{
    struct filter *filter = make_filter("a b a a/* b a/* a c", NULL);
    static const char *const kept[] = {"a", "b", "a/*", "c"};

    (void)state;
    assert_int_equal(filter->patterns_n, ROWS(kept));
    for (size_t i = 0; i < ROWS(kept); i++) {
        const struct filter_pattern *pattern = &filter->patterns[i];

        assert_int_equal(pattern->name.bytes_n, strlen(kept[i]));
        assert_memory_equal(pattern->name.bytes, kept[i], strlen(kept[i]));
        assert_int_equal(pattern->wildcard, strchr(kept[i], '*') != NULL);
    }
    filter_unref(filter);
}

static void a_user_behind_dropped_patterns_is_whole(void **state)
{
    struct filter *filter = make_filter("abc abc abc", "ada");

    (void)state;
    assert_int_equal(filter->patterns_n, 1);
    assert_int_equal(filter->user.bytes_n, 3);
    assert_memory_equal(filter->user.bytes, "ada", 3);
    assert_memory_equal(filter->patterns[0].name.bytes, "abc", 3);
    filter_unref(filter);
}

static void lives_as_long_as_somebody_holds_it(void **state)
{
    struct filter *filter = make_filter("a", NULL);

    (void)state;
    assert_null(filter->user.bytes);
    assert_ptr_equal(filter_ref(filter), filter);
    assert_int_equal(filter->refs, 2);
    filter_unref(filter);
    assert_int_equal(filter->refs, 1);
    filter_unref(filter);
    filter_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_rule),
        cmocka_unit_test(holds_copies_of_all_it_was_given),
        cmocka_unit_test(keeps_each_pattern_once),
        cmocka_unit_test(a_user_behind_dropped_patterns_is_whole),
        cmocka_unit_test(lives_as_long_as_somebody_holds_it),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
