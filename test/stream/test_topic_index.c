/* SPDX-License-Identifier: MIT */
/*
 * The index against the plain rule: every listener that filter_accepts() and no other, each once,
 * at a cost that other people's subscriptions do not raise.
 */
#include "stream/topic_index.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "stream/topic_tree.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static void add(struct topic_index *match, struct topic_index_listener *listener,
                const char *patterns, const char *user)
{
    struct filter *filter = make_filter(patterns, user);

    assert_int_equal(topic_index_add(match, listener, filter, NULL), 0);
    filter_unref(filter);
}

static bool is_among(struct topic_index_listener *listener, struct topic_index_listener **found,
                     size_t found_n)
{
    size_t times = 0;

    for (size_t i = 0; i < found_n; i++)
        times += found[i] == listener;
    assert_true(times <= 1);
    return times == 1;
}

static void finds_whom_the_event_is_for(void **state)
{
    static const struct {
        const char *patterns, *user;
    } listeners[] = {
        {"a/b", NULL},
        {"a/*", "ada"},
        {"a/**", "bob"},
        {"**", NULL},
        {NULL, NULL},
        {NULL, "ada"},
        {"*/b", NULL},
        {"a/b a/* **", NULL},
        {"a//b", NULL},
        {"a/*/c", NULL},
        {"a/*/**", "ada"},
        {"*", NULL},
        {"*/*", NULL},
        {"/", NULL},
        {"*/", NULL},
        {"c d e", "eve"},
        {"a/b/c", NULL},
        {"a", NULL},
        {"*/**", "ada"},
        {"*/*/*", NULL},
        {"*/*/*/**", 0},
        {"a/*/c/d/e/f/g", 0},
        {"*/b/c/d/e/f/**", NULL},
        {"*/*/*/d", NULL},
        {"*/b/*/*", 0},
        {"a/*/c/d/e/f/x", 0},
        {"a/*/c/d/e/f/g/**", "ada"},
    };
    static const struct {
        const char *topics, *users;
    } events[] = {
        {NULL, NULL},
        {"a/b", NULL},
        {"a", NULL},
        {"a/b/c", NULL},
        {"a//b", NULL},
        {"/", NULL},
        {"a/", NULL},
        {"c e", NULL},
        {"a/b c", NULL},
        {"z", NULL},
        {NULL, "ada"},
        {NULL, "zoe"},
        {NULL, "ada bob"},
        {"a/b", "ada"},
        {"a/b a/c", "bob ada"},
        {"c", "ada"},
        {"a b c", NULL},
        {"a/b/c/d", NULL},
        {"b/b", "eve"},
        {"d", "eve ada"},
        {"a/b/c/d/e/f/g", NULL},
        {"a/b/c/d/e/f/g/h", "ada"},
        {"a/b/d/c b/a/c/d", NULL},
    };
    struct topic_index_listener all[ROWS(listeners)] = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    for (size_t i = 0; i < ROWS(listeners); i++)
        add(match, &all[i], listeners[i].patterns, listeners[i].user);
    for (size_t e = 0; e < ROWS(events); e++) {
        struct message *message =
            make_message(.topics = events[e].topics, .users = events[e].users);
        struct topic_index_listener **found;
        size_t found_n = topic_index_message(match, message, &found);

        for (size_t i = 0; i < ROWS(listeners); i++)
            if (is_among(&all[i], found, found_n) != filter_accepts(all[i].filter, message))
                fail_msg("event %zu, listener %zu", e, i);
        message_unref(message);
    }
    for (size_t i = 0; i < ROWS(listeners); i++)
        topic_index_remove(match, &all[i], NULL);
    assert_int_equal(topic_index_nodes(match), 0);
    topic_index_free(match);
}

static size_t count(struct topic_index *match, const char *topics, const char *users)
{
    struct message *message = make_message(.topics = topics, .users = users);
    struct topic_index_listener **found;
    size_t found_n = topic_index_message(match, message, &found);

    message_unref(message);
    return found_n;
}

static void finds_each_once_however_many_match(void **state)
{
    struct topic_index_listener one = {0}, many = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    add(match, &one, "a b c * ** a/b a/* a/** */b */* */**", "ada");
    add(match, &many, NULL, "ada");
    for (int again = 0; again < 3; again++) {
        assert_int_equal(count(match, "a b c a/b a/c", NULL), 2);
        assert_int_equal(count(match, NULL, "ada bob ada"), 2);
        assert_int_equal(count(match, "a b", "ada ada"), 2);
        assert_int_equal(count(match, NULL, NULL), 2);
    }
    topic_index_remove(match, &one, NULL);
    topic_index_remove(match, &many, NULL);
    topic_index_free(match);
}

static void an_empty_index_finds_nobody(void **state)
{
    struct topic_index *match = topic_index_new();

    (void)state;
    assert_int_equal(count(match, NULL, NULL), 0);
    assert_int_equal(count(match, "a", NULL), 0);
    assert_int_equal(count(match, NULL, "ada"), 0);
    assert_int_equal(topic_index_listeners(match) + topic_index_nodes(match), 0);
    topic_index_free(match);
    topic_index_free(NULL);
}

static void takes_its_own_reference_to_the_filter(void **state)
{
    struct topic_index_listener listener = {0};
    struct filter *filter = make_filter("a/b", "ada");
    struct topic_index *match = topic_index_new();

    (void)state;
    assert_int_equal(topic_index_add(match, &listener, filter, NULL), 0);
    assert_int_equal(filter->refs, 2);
    assert_ptr_equal(listener.filter, filter);
    topic_index_remove(match, &listener, NULL);
    assert_int_equal(filter->refs, 1);
    assert_null(listener.filter);
    filter_unref(filter);
    topic_index_free(match);
}

static void removing_is_harmless_on_a_zeroed_listener_and_twice(void **state)
{
    struct topic_index_listener never = {0}, listener = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    topic_index_remove(match, &never, NULL);
    add(match, &listener, "a", NULL);
    assert_int_equal(topic_index_listeners(match), 1);
    topic_index_remove(match, &listener, NULL);
    topic_index_remove(match, &listener, NULL);
    assert_int_equal(topic_index_listeners(match), 0);
    add(match, &listener, "b", NULL);
    assert_int_equal(count(match, "a", NULL), 0);
    assert_int_equal(count(match, "b", NULL), 1);
    topic_index_remove(match, &listener, NULL);
    topic_index_free(match);
}

/* A node that another pattern still needs stays; what only led to a removed pattern goes. */
static void keeps_only_the_nodes_in_use(void **state)
{
    struct topic_index_listener deep = {0}, short_one = {0}, rest = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    add(match, &deep, "a/b/c/d", NULL);
    assert_int_equal(topic_index_nodes(match), 4);
    add(match, &short_one, "a/b", NULL);
    assert_int_equal(topic_index_nodes(match), 4);
    add(match, &rest, "a/b/c/**", NULL);
    assert_int_equal(topic_index_nodes(match), 4);
    topic_index_remove(match, &deep, NULL);
    assert_int_equal(topic_index_nodes(match), 3);
    assert_int_equal(count(match, "a/b/c/d", NULL), 1);
    topic_index_remove(match, &rest, NULL);
    assert_int_equal(topic_index_nodes(match), 2);
    assert_int_equal(count(match, "a/b", NULL), 1);
    topic_index_remove(match, &short_one, NULL);
    assert_int_equal(topic_index_nodes(match), 0);
    topic_index_free(match);
}

static void a_user_is_gone_with_the_last_of_the_name(void **state)
{
    struct topic_index_listener first = {0}, second = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    add(match, &first, NULL, "ada");
    add(match, &second, NULL, "ada");
    assert_int_equal(count(match, NULL, "ada"), 2);
    topic_index_remove(match, &first, NULL);
    assert_int_equal(count(match, NULL, "ada"), 1);
    topic_index_remove(match, &second, NULL);
    assert_int_equal(count(match, NULL, "ada"), 0);
    add(match, &first, NULL, "ada");
    assert_int_equal(count(match, NULL, "ada"), 1);
    topic_index_remove(match, &first, NULL);
    topic_index_free(match);
}

static size_t cost(struct topic_index *match, const char *topics, const char *users,
                   size_t expected_n)
{
    assert_int_equal(count(match, topics, users), expected_n);
    return topic_index_last_cost(match);
}

/* Subscriptions that an event does not reach are not looked at, a hundred thousand no more than a
 * thousand. */
static void other_subscriptions_cost_nothing(void **state)
{
    enum { FEW = 1000, MANY = 100000 };
    struct topic_index_listener *all = calloc(MANY + 1, sizeof(*all));
    struct topic_index *match = topic_index_new();
    size_t exact = 0, deep = 0, user = 0;

    (void)state;
    add(match, &all[MANY], "news/* news/**", "ada");
    for (size_t i = 0; i < MANY; i++) {
        char pattern[64], name[64];

        snprintf(pattern, sizeof(pattern), i % 3 ? "orders/%zu" : "orders/%zu/**", i);
        snprintf(name, sizeof(name), "user%zu", i);
        add(match, &all[i], pattern, name);
        if (i + 1 == FEW) {
            exact = cost(match, "orders/7", NULL, 1);
            deep = cost(match, "orders/9/x/y", NULL, 1);
            user = cost(match, NULL, "user7", 1);
        }
    }
    assert_int_equal(topic_index_listeners(match), MANY + 1);
    assert_int_equal(cost(match, "orders/7", NULL, 1), exact);
    assert_int_equal(cost(match, "orders/9/x/y", NULL, 1), deep);
    assert_int_equal(cost(match, NULL, "user7", 1), user);
    assert_true(exact <= 8 && deep <= 8 && user <= 8);
    assert_true(cost(match, "news/today", NULL, 1) <= 8);
    assert_true(cost(match, "nobody/asked", NULL, 0) <= 8);
    assert_true(cost(match, NULL, "nobody", 0) <= 8);
    for (size_t i = 0; i <= MANY; i++)
        topic_index_remove(match, &all[i], NULL);
    assert_int_equal(topic_index_nodes(match), 0);
    assert_int_equal(topic_index_listeners(match), 0);
    topic_index_free(match);
    free(all);
}

/* ---- what was made to cost much ---- */

/* `segments_n` times "a", with `stars_n` wildcards somewhere among all but the last. */
static const char *put_pattern(char *to, size_t segments_n, size_t stars_n, char last)
{
    for (size_t i = 0; i < segments_n; i++) {
        to[2 * i] = 'a';
        to[2 * i + 1] = '/';
    }
    for (size_t i = 0; i < stars_n; i++)
        to[2 * ((size_t)random() % (segments_n - 1))] = '*';
    to[2 * (segments_n - 1)] = last;
    to[2 * segments_n - 1] = '\0';
    return to;
}

static int try_as(struct topic_index *match, struct topic_index_listener *listener,
                  const char *patterns, const void *const *owners)
{
    struct filter *filter = make_filter(patterns, NULL);
    int result = topic_index_add(match, listener, filter, owners);

    filter_unref(filter);
    return result;
}

static int try(struct topic_index *match, struct topic_index_listener *listener,
               const char *patterns)
{
    return try_as(match, listener, patterns, NULL);
}

enum { HOSTILE = 2000 };

/* Wildcards at random places of long patterns: all shapes are taken in the end. */
static size_t take_all_shapes(struct topic_index *match, struct topic_index_listener *listeners)
{
    size_t refused_n = 0;
    char pattern[64];

    srandom(3);
    for (size_t i = 0; i < HOSTILE; i++) {
        int result = try(match, &listeners[i], put_pattern(pattern, 32, 4, 'z'));

        assert_true(result == 0 || result == -E2BIG);
        assert_true(result == 0 || listeners[i].filter == NULL);
        refused_n += result != 0;
    }
    return refused_n;
}

static void a_topic_visits_no_more_nodes_than_there_are_shapes(void **state)
{
    struct topic_index_listener *listeners = calloc(HOSTILE, sizeof(*listeners));
    struct topic_index *match = topic_index_new();
    char topic[64], many[17 * 64] = "", *end = many;

    (void)state;
    assert_in_range(take_all_shapes(match, listeners), 1, HOSTILE - 2);
    assert_true(cost(match, put_pattern(topic, 32, 0, 'y'), NULL, 0) <= TOPIC_TREE_VISITS_MAX);
    for (char last = 'a'; last < 'a' + 16; last++)
        end += sprintf(end, "%s ", put_pattern(topic, 32, 0, last));
    assert_true(cost(match, many, NULL, 0) <= 16 * TOPIC_TREE_VISITS_MAX);
    for (size_t i = 0; i < HOSTILE; i++)
        topic_index_remove(match, &listeners[i], NULL);
    assert_int_equal(topic_index_nodes(match), 0);
    assert_in_range(take_all_shapes(match, listeners), 1, HOSTILE - 2);
    for (size_t i = 0; i < HOSTILE; i++)
        topic_index_remove(match, &listeners[i], NULL);
    topic_index_free(match);
    free(listeners);
}

/* What is usual must not depend on what others ask for. */
static void a_plain_pattern_is_taken_whatever_there_is(void **state)
{
    static const char *const plain[] = {
        "*/*",
        "a/*/c/*/**",
        "a/b/c/d/*/f",
        "*/a/a/a/a/*",
        "*/b/c/d/e/**",
        "**",
        "*/*/a/a/a/a",
        "a/a/a/a/*/*",
        "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/0/1/2/3/4/5",
    };
    struct topic_index_listener *listeners = calloc(HOSTILE, sizeof(*listeners));
    struct topic_index_listener own[ROWS(plain)] = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    take_all_shapes(match, listeners);
    for (size_t i = 0; i < ROWS(plain); i++)
        assert_int_equal(try(match, &own[i], plain[i]), 0);
    assert_int_equal(count(match, "a/b/c/d/e/f", NULL), 4);
    for (size_t i = 0; i < ROWS(plain); i++)
        topic_index_remove(match, &own[i], NULL);
    for (size_t i = 0; i < HOSTILE; i++)
        topic_index_remove(match, &listeners[i], NULL);
    topic_index_free(match);
    free(listeners);
}

/* A shape is free again when the last node that has it is gone, and not before. */
static void shapes_come_back(void **state)
{
    struct topic_index_listener twice[2] = {0}, *listeners = calloc(HOSTILE, sizeof(*listeners));
    struct topic_index *match = topic_index_new();
    static const char shape[] = "b/*/*/*/b";

    (void)state;
    add(match, &twice[0], shape, NULL);
    add(match, &twice[1], "c/*/*/*/c", NULL);
    take_all_shapes(match, listeners);
    topic_index_remove(match, &twice[0], NULL);
    assert_int_equal(try(match, &twice[0], "d/*/*/*/d"), 0);
    topic_index_remove(match, &twice[0], NULL);
    topic_index_remove(match, &twice[1], NULL);
    for (size_t i = 0; i < HOSTILE; i++)
        topic_index_remove(match, &listeners[i], NULL);
    topic_index_free(match);
    free(listeners);
}

/* One owner has no more than its share, whatever it asks for, and others have theirs. */
static void an_owner_has_a_share_of_the_shapes(void **state)
{
    struct topic_index_listener *listeners = calloc(HOSTILE, sizeof(*listeners)), other = {0};
    struct topic_index *match = topic_index_new();
    const void *const owners[][TOPIC_SHARE_OWNERS] = {
        {&listeners, NULL}, {NULL, &listeners}, {&other, &listeners}, {&other, NULL}};
    size_t taken_n = 0;
    char pattern[64];

    (void)state;
    srandom(3);
    for (size_t i = 0; i < HOSTILE; i++) {
        int result = try_as(match, &listeners[i], put_pattern(pattern, 32, 4, 'z'), owners[i % 2]);

        assert_true(result == 0 || result == -EDQUOT);
        assert_true(result == 0 || listeners[i].filter == NULL);
        taken_n += result == 0;
    }
    assert_in_range(taken_n, TOPIC_SHARE_SHAPES, TOPIC_TREE_RARE_SHAPES / 4);
    /* each of its owners must have room */
    assert_int_equal(try_as(match, &other, "o/*/*/*/o", owners[2]), -EDQUOT);
    assert_int_equal(try_as(match, &other, "o/*/*/*/o", owners[3]), 0);
    assert_int_equal(count(match, "o/a/b/c/o", NULL), 1);
    topic_index_remove(match, &other, owners[3]);
    for (size_t i = 0; i < HOSTILE; i++)
        topic_index_remove(match, &listeners[i], owners[i % 2]);
    assert_int_equal(try_as(match, &other, "o/*/*/*/o p/*/*/*/*", owners[2]), 0);
    topic_index_remove(match, &other, owners[2]);
    assert_int_equal(topic_index_nodes(match), 0);
    topic_index_free(match);
    free(listeners);
}

/* Streams of one user, each with many patterns, and an event that names the user again and again
 * and has many topics: it goes down the tree once for each topic, and looks at each stream once. */
static void looks_once_at_the_streams_of_a_user(void **state)
{
    enum { STREAMS = 16, PATTERNS = 48 };
    struct topic_index_listener listeners[STREAMS] = {0};
    char patterns[PATTERNS * 8] = "", topics[16 * 8] = "", users[20 * 5] = "", *end = patterns;
    struct topic_index *match = topic_index_new();

    (void)state;
    for (int i = 0; i < PATTERNS; i++)
        end += sprintf(end, "p/%d/* ", i);
    end = topics;
    for (int i = 0; i < 16; i++)
        end += sprintf(end, "t/%d ", i);
    end = users;
    for (int i = 0; i < 20; i++)
        end = stpcpy(end, "ada ");
    for (size_t i = 0; i < STREAMS; i++)
        add(match, &listeners[i], patterns, "ada");
    assert_true(cost(match, topics, users, 0) <= 16 * 2 + 20 + STREAMS * PATTERNS);
    strcpy(topics, "p/47/x");
    assert_true(cost(match, topics, users, STREAMS) <= 4 + 20 + STREAMS * (PATTERNS + 1));
    for (size_t i = 0; i < STREAMS; i++)
        topic_index_remove(match, &listeners[i], NULL);
    topic_index_free(match);
}

/* Many topics that come by the same crowd look at it once. */
static void looks_once_at_a_crowd(void **state)
{
    struct topic_index_listener crowd[100] = {0};
    struct topic_index *match = topic_index_new();

    (void)state;
    for (size_t i = 0; i < ROWS(crowd); i++)
        add(match, &crowd[i], "a/**", NULL);
    assert_true(cost(match, "a/b a/c a/d a/e a/f a/g", NULL, ROWS(crowd)) <= ROWS(crowd) + 12);
    for (size_t i = 0; i < ROWS(crowd); i++)
        topic_index_remove(match, &crowd[i], NULL);
    topic_index_free(match);
}

static void knows_what_it_takes(void **state)
{
    struct topic_index_listener one = {0}, same = {0}, more[40] = {0};
    struct topic_index *match = topic_index_new();
    char pattern[64];
    size_t empty, first;

    (void)state;
    add(match, &one, "a", NULL); /* arrays that stay */
    topic_index_remove(match, &one, NULL);
    empty = topic_index_bytes(match);
    add(match, &one, put_pattern(pattern, 32, 0, 'a'), "ada");
    first = topic_index_last_bytes(match);
    assert_in_range(first, 32 * sizeof(struct topic_tree_node),
                    32 * 2 * sizeof(struct topic_tree_node));
    assert_true(topic_index_bytes(match) >= empty + first);
    add(match, &same, pattern, NULL);
    assert_true(topic_index_last_bytes(match) < first / 8);
    for (size_t i = 0; i < ROWS(more); i++)
        add(match, &more[i], pattern, NULL);
    for (size_t i = 0; i < ROWS(more); i++)
        topic_index_remove(match, &more[i], NULL);
    topic_index_remove(match, &one, NULL);
    topic_index_remove(match, &same, NULL);
    assert_int_equal(topic_index_bytes(match), empty);
    topic_index_free(match);
}

/* ---- random names out of a small alphabet, so that much collides ---- */

static void put_segments(char **to, bool wildcards)
{
    size_t segments_n = (size_t)(1 + random() % 4);

    for (size_t i = 0; i < segments_n; i++) {
        static const char *const plain[] = {"a", "b", "c", ""};
        const char *segment = plain[random() % 4];

        if (wildcards && random() % 4 == 0)
            segment = i + 1 == segments_n && random() % 2 ? "**" : "*";
        *to = stpcpy(*to, i > 0 ? "/" : "");
        *to = stpcpy(*to, segment);
    }
}

/* One to four names with blanks between, as make_names() reads them; NULL now and then. */
static const char *random_topics(char *to, bool wildcards)
{
    size_t names_n = (size_t)(random() % 5);
    char *end = to;

    for (size_t i = 0; i < names_n; i++) {
        char *name = end;

        put_segments(&end, wildcards);
        if (end == name)
            *end++ = 'a'; /* a topic is never empty */
        *end++ = ' ';
    }
    *end = '\0';
    return names_n > 0 ? to : NULL;
}

static const char *random_user(void)
{
    static const char *const users[] = {NULL, "u", "v", "w", "uv"};

    return users[random() % 5];
}

static const char *random_users(void)
{
    static const char *const users[] = {NULL, NULL, "u", "v w", "uv u w", "x"};

    return users[random() % 6];
}

static void agrees_with_the_rule_under_churn(void **state)
{
    enum { LISTENERS = 300, ROUNDS = 6000 };
    struct topic_index_listener *all = calloc(LISTENERS, sizeof(*all));
    struct topic_index *match = topic_index_new();
    size_t held = 0, found_in_all = 0;
    char text[256];

    (void)state;
    srandom(7);
    for (int round = 0; round < ROUNDS; round++) {
        struct topic_index_listener *listener = &all[random() % LISTENERS];

        held -= listener->filter != NULL;
        if (listener->filter != NULL) {
            topic_index_remove(match, listener, NULL);
        } else if (random() % 4 > 0) {
            add(match, listener, random_topics(text, true), random_user());
            held++;
        }
        assert_int_equal(topic_index_listeners(match), held);

        struct message *message =
            make_message(.topics = random_topics(text, false), .users = random_users());
        struct topic_index_listener **found;
        size_t found_n = topic_index_message(match, message, &found), expected_n = 0;

        for (size_t i = 0; i < LISTENERS; i++)
            expected_n += all[i].filter != NULL && filter_accepts(all[i].filter, message);
        assert_int_equal(found_n, expected_n);
        for (size_t i = 0; i < found_n; i++) {
            assert_true(found[i]->filter != NULL && filter_accepts(found[i]->filter, message));
            assert_true(is_among(found[i], found, found_n));
        }
        found_in_all += found_n;
        message_unref(message);
    }
    assert_true(found_in_all > ROUNDS);
    for (size_t i = 0; i < LISTENERS; i++)
        topic_index_remove(match, &all[i], NULL);
    assert_int_equal(topic_index_nodes(match), 0);
    assert_int_equal(topic_index_listeners(match), 0);
    topic_index_free(match);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_whom_the_event_is_for),
        cmocka_unit_test(finds_each_once_however_many_match),
        cmocka_unit_test(an_empty_index_finds_nobody),
        cmocka_unit_test(takes_its_own_reference_to_the_filter),
        cmocka_unit_test(removing_is_harmless_on_a_zeroed_listener_and_twice),
        cmocka_unit_test(keeps_only_the_nodes_in_use),
        cmocka_unit_test(a_user_is_gone_with_the_last_of_the_name),
        cmocka_unit_test(other_subscriptions_cost_nothing),
        cmocka_unit_test(a_topic_visits_no_more_nodes_than_there_are_shapes),
        cmocka_unit_test(a_plain_pattern_is_taken_whatever_there_is),
        cmocka_unit_test(shapes_come_back),
        cmocka_unit_test(an_owner_has_a_share_of_the_shapes),
        cmocka_unit_test(looks_once_at_the_streams_of_a_user),
        cmocka_unit_test(looks_once_at_a_crowd),
        cmocka_unit_test(knows_what_it_takes),
        cmocka_unit_test(agrees_with_the_rule_under_churn),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
