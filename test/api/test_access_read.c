/* SPDX-License-Identifier: MIT */
/* What a caller may read, and whether a stream that stands would be let in again. */
#include "api/access_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define TOPICS_MAX 4

/* Settings from "name=value" with blanks between. */
static struct conf *conf_of(const char *assignments)
{
    struct conf *conf = conf_new();
    struct conf_error error;
    char *text = strdup(assignments), *rest = NULL;

    for (char *item = strtok_r(text, " ", &rest); item != NULL; item = strtok_r(NULL, " ", &rest))
        if (conf_set(conf, item, &error) != 0)
            fail_msg("%s", error.text);
    free(text);
    return conf;
}

static struct identity *reader_of(const char *pattern)
{
    struct grants_pattern patterns[] = {{pattern, strlen(pattern)}};
    struct identity_draft draft = {.subscribe = {patterns, 1}};

    return identity_new(&draft);
}

static struct filter *filter_of(const char *topics)
{
    struct message_name names[TOPICS_MAX];
    size_t n = 0;

    for (const char *at = topics; *at != '\0'; n++) {
        size_t bytes_n = strcspn(at, " ");

        names[n] = (struct message_name){.bytes = at, .bytes_n = bytes_n};
        at += bytes_n + (at[bytes_n] == ' ');
    }
    return filter_new(names, n, NULL);
}

static void public_is_what_nothing_takes_back(void **state)
{
    struct conf *conf = conf_of("auth.anonymous=a/**,news auth.private=a/secret/**");

    (void)state;
    assert_true(access_read_public(conf, "news", 4));
    assert_true(access_read_public(conf, "a/1", 3));
    assert_false(access_read_public(conf, "a/**", 4));
    assert_false(access_read_public(conf, "a/secret/1", 10));
    assert_false(access_read_public(conf, "b", 1));
    struct identity *identity = reader_of("a/secret/*");
    assert_true(access_read_may(conf, identity, "a/secret/1", 10));
    assert_true(access_read_may(conf, identity, "news", 4));
    assert_false(access_read_may(conf, NULL, "a/secret/1", 10));
    identity_unref(identity);
    conf_unref(conf);
}

static void judges_again(void **state)
{
    static const struct {
        const char *before;
        const char *after;
        const char *reads;   /* "": everything */
        const char *subject; /* what its identity may subscribe to; NULL: nobody */
        enum identity_way way;
        bool is_good;
    } cases[] = {
        {"auth.anonymous=a,b", "auth.anonymous=b,a", "a b", NULL, 0, true},
        {"auth.anonymous=a,b", "auth.anonymous=b", "b", NULL, 0, true},
        {"auth.anonymous=a,b", "auth.anonymous=b", "a b", NULL, 0, false},
        {"auth.anonymous=a,b", "auth.anonymous=b", "a b", "a", 0, true},
        {"auth.anonymous=a/*", "auth.anonymous=a/**", "a/*", NULL, 0, true},
        {"auth.anonymous=a", "", "a", NULL, 0, false},
        {"auth.anonymous=**", "auth.anonymous=** auth.private=b", "a", NULL, 0, true},
        {"auth.anonymous=**", "auth.anonymous=** auth.private=b", "*", NULL, 0, false},
        {"auth.anonymous=**", "auth.anonymous=** auth.private=b", "", NULL, 0, false},
        {"auth.anonymous=**", "auth.anonymous=** auth.private=b", "", "**", 0, true},
        {"auth.anonymous=a", "auth.anonymous=b", ACCESS_READ_NO_TOPIC, NULL, 0, true},
        {"auth.anonymous=a", "", ACCESS_READ_NO_TOPIC, NULL, 0, false},
        {"auth.anonymous=a", "", ACCESS_READ_NO_TOPIC, "c", 0, true},
        {"auth.cookie=x", "auth.cookie=x", "a", "a", IDENTITY_BY_COOKIE, true},
        {"auth.cookie=x", "auth.cookie=y", "a", "a", IDENTITY_BY_COOKIE, false},
        {"auth.cookie=x", "", "a", "a", IDENTITY_BY_COOKIE_OF_PAGE, false},
        {"auth.cookie=x", "", "a", "a", IDENTITY_BY_TICKET, true},
        {"auth.cookie=x auth.origins=http://a,http://b", "auth.cookie=x auth.origins=http://b", "a",
         "a", IDENTITY_BY_COOKIE_OF_PAGE, false},
        {"auth.cookie=x auth.origins=http://a", "auth.cookie=x auth.origins=http://b,http://a", "a",
         "a", IDENTITY_BY_COOKIE_OF_PAGE, true},
        {"auth.cookie=x auth.origins=http://a", "auth.cookie=x auth.origins=http://b", "a", "a",
         IDENTITY_BY_COOKIE, true},
        {"auth.query_token=on", "auth.query_token=on", "a", "a", IDENTITY_BY_QUERY, true},
        {"auth.query_token=on", "", "a", "a", IDENTITY_BY_QUERY, false},
        {"auth.query_token=on", "", "a", "a", IDENTITY_BY_HEADER, true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct conf *before = conf_of(cases[i].before), *after = conf_of(cases[i].after);
        struct identity *identity = cases[i].subject != NULL ? reader_of(cases[i].subject) : NULL;
        struct filter *filter = filter_of(cases[i].reads);
        struct stream_grant grant = {identity, before, cases[i].way};

        if (access_read_still_may(after, &grant, filter) != cases[i].is_good)
            fail_msg("case %zu: %s, then %s", i, cases[i].before, cases[i].after);
        assert_true(access_read_still_may(before, &grant, filter));
        filter_unref(filter);
        identity_unref(identity);
        conf_unref(before);
        conf_unref(after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_is_what_nothing_takes_back),
        cmocka_unit_test(judges_again),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
