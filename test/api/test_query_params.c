/* SPDX-License-Identifier: MIT */
/* What queries for events say: names, places to begin at, numbers, each at its borders. */
#include "config.h"
#include "api/query_params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "base/clock.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define EPOCH "abcdefghijkl"
#define OTHER "zzzzzzzzzzzz"
#define ID(epoch, digits) epoch "-" digits
#define COMMITTED 20

static const struct lineage lineage = {.epoch = EPOCH};
static struct query_params_past past = {&lineage, COMMITTED, false};

static struct fixture *fixture;

static int set_up(void **state)
{
    (void)state;
    fixture = fixture_new("");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

/* A request with this query that is under way, on a route that does not look at it. */
static const struct request *request_with(const char *query, const char *headers)
{
    size_t target_n = strlen(query) + 32;
    char *target = malloc(target_n);

    snprintf(target, target_n, "/api/push?%s", query);
    struct client *client = client_begin(fixture, "POST", target, headers, 10);
    free(target);
    assert_non_null(client->connection->context);
    return client->connection->context;
}

/* ---- names ---- */

static void assert_names(const char *query, const char *topics, const char *user)
{
    struct query_params_names names;
    struct problem problem;
    char seen[256] = "";

    assert_true(query_params_read_names(request_with(query, ""), &names, &problem));
    for (size_t i = 0; i < names.topics_n; i++)
        snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s%.*s", i > 0 ? " " : "",
                 (int)names.topics[i].bytes_n, names.topics[i].bytes);
    assert_string_equal(seen, topics);
    if (user == NULL)
        assert_null(names.user.bytes);
    else
        assert_string_equal(names.user.bytes, user);
}

static void assert_bad_names(const char *query, const char *code)
{
    struct query_params_names names;
    struct problem problem;

    assert_false(query_params_read_names(request_with(query, ""), &names, &problem));
    assert_string_equal(problem.code, code);
    assert_int_equal(problem.status, 400);
}

static void names_may_be_written_in_several_ways(void **state)
{
    (void)state;
    assert_names("", "", NULL);
    assert_names("other=1&topicx=2", "", NULL);
    assert_names("topic=a", "a", NULL);
    assert_names("topic=a&topics=b&topic[]=c&topics[3]=d&TOPIC=e", "a b c d", NULL);
    assert_names("topic=a&topic=a", "a a", NULL);
    assert_names("topic=a/*/b&topic=**", "a/*/b **", NULL);
    assert_names("topic=a%2Fb+c", "a/b c", NULL);
    assert_names("user=anna", "", "anna");
    assert_names("user=anna&user=anna&user[]=anna", "", "anna");
}

static void names_that_are_none_are_refused(void **state)
{
    (void)state;
    assert_bad_names("topic=", "invalid_topic");
    assert_bad_names("topic", "invalid_topic");
    assert_bad_names("topic=a%00b", "invalid_topic");
    assert_bad_names("topic=%ff", "invalid_topic");
    assert_bad_names("topic=a&topic=**/x", "invalid_topic");
    assert_bad_names("user=", "invalid_topic");
    assert_bad_names("user=a%00", "invalid_topic");
    assert_bad_names("user=anna&user=bob", "repeated_parameter");
    assert_bad_names("user=anna&user=ann", "repeated_parameter");
    assert_bad_names("user=anna&user=", "invalid_topic");
}

static char *many(size_t n, const char *one)
{
    char *text = malloc(n * (strlen(one) + 8) + 1);

    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        strcat(strcat(text, i > 0 ? "&topic=" : "topic="), one);
    return text;
}

static void so_many_topics_and_no_more(void **state)
{
    struct query_params_names names;
    struct problem problem;
    char *query = many(QUERY_PARAMS_TOPICS_MAX, "t");

    (void)state;
    assert_true(query_params_read_names(request_with(query, ""), &names, &problem));
    assert_int_equal(names.topics_n, QUERY_PARAMS_TOPICS_MAX);
    free(query);
    query = many(QUERY_PARAMS_TOPICS_MAX + 1, "t");
    assert_bad_names(query, "too_many_topics");
    free(query);
}

static void so_many_segments_and_no_more(void **state)
{
    struct query_params_names names;
    struct problem problem;
    char *query = many(QUERY_PARAMS_TOPICS_MAX, "1/2/3/4/5/6/7/8"); /* 512 */

    (void)state;
    assert_true(query_params_read_names(request_with(query, ""), &names, &problem));
    assert_true(query_params_check_size(&names, &problem));
    names.topics[0] = (struct message_name){.bytes = "1/2/3/4/5/6/7/8/9", .bytes_n = 17};
    assert_false(query_params_check_size(&names, &problem));
    assert_string_equal(problem.code, "too_many_segments");
    assert_non_null(strstr(problem.detail, "513"));
    names.topics_n = 0;
    assert_true(query_params_check_size(&names, &problem));
    free(query);
}

static void names_make_a_filter(void **state)
{
    struct query_params_names names;
    struct problem problem;

    (void)state;
    assert_true(
        query_params_read_names(request_with("topic=a/*&topic=b&user=u", ""), &names, &problem));
    struct filter *filter = query_params_make_filter(&names);
    assert_int_equal(filter->patterns_n, 2);
    assert_memory_equal(filter->user.bytes, "u", 1);
    filter_unref(filter);
    assert_true(query_params_read_names(request_with("", ""), &names, &problem));
    filter = query_params_make_filter(&names);
    assert_int_equal(filter->patterns_n, 0);
    assert_null(filter->user.bytes);
    filter_unref(filter);
}

/* ---- where to begin ---- */

static bool read_start(const char *query, const char *headers, struct stream_start *ret_start,
                       struct problem *ret_problem)
{
    return query_params_read_start(request_with(query, headers), &past, ret_start, ret_problem);
}

static void assert_start_id(const char *query, const char *headers, const char *id)
{
    struct stream_start start;
    struct problem problem;

    assert_true(read_start(query, headers, &start, &problem));
    if (id == NULL) {
        assert_int_equal(start.from, STREAM_FROM_LATEST);
        return;
    }
    assert_int_equal(start.from, STREAM_FROM_ID);
    assert_int_equal(start.id_n, strlen(id));
    assert_memory_equal(start.id, id, start.id_n);
}

static void a_stream_begins_with_what_comes_next(void **state)
{
    (void)state;
    assert_start_id("", "", NULL);
    assert_start_id("since=latest", "", NULL);
    assert_start_id("last_event_id=", "", NULL);
    assert_start_id("", "Last-Event-ID:\n", NULL);
}

static void an_id_may_stand_in_the_header_or_in_three_parameters(void **state)
{
    const char *id = ID(EPOCH, "0000000000000007");

    (void)state;
    assert_start_id("", "Last-Event-ID: " ID(EPOCH, "0000000000000007") "\n", id);
    assert_start_id("", "last-event-id:  " ID(EPOCH, "0000000000000007") " \n", id);
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000007"), "", id);
    assert_start_id("lastEventId=" ID(EPOCH, "0000000000000007"), "", id);
    assert_start_id("lastEventID=" ID(EPOCH, "0000000000000007"), "", id);
    assert_start_id("lastEventID[]=" ID(EPOCH, "0000000000000007"), "", id);
    assert_start_id("since=" ID(EPOCH, "0000000000000007"), "", id);
}

static void of_several_ids_the_latest_that_was_given_counts(void **state)
{
    (void)state;
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000005"),
                    "Last-Event-ID: " ID(EPOCH, "0000000000000007") "\n",
                    ID(EPOCH, "0000000000000007"));
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000009"),
                    "Last-Event-ID: " ID(EPOCH, "0000000000000007") "\n",
                    ID(EPOCH, "0000000000000009"));
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000020"), /* the newest there is */
                    "Last-Event-ID: " ID(EPOCH, "0000000000000007") "\n",
                    ID(EPOCH, "0000000000000020"));
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000021"), /* nobody has given it */
                    "Last-Event-ID: " ID(EPOCH, "0000000000000007") "\n",
                    ID(EPOCH, "0000000000000007"));
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000003"),
                    "Last-Event-ID: " ID(OTHER, "0000000000000007") "\n",
                    ID(EPOCH, "0000000000000003"));
    assert_start_id("last_event_id=nonsense", "Last-Event-ID: other\n", "other");
    assert_start_id("last_event_id=first&last_event_id=second", "", "first");
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000003") "&since=earliest", "",
                    ID(EPOCH, "0000000000000003"));
}

/* Another gateway may be ahead of this one, or in an epoch of which it has not heard. */
static void where_a_history_is_shared_what_is_not_known_may_be_the_latest(void **state)
{
    (void)state;
    past.is_shared = true;
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000007"),
                    "Last-Event-ID: " ID(EPOCH, "0000000000000021") "\n",
                    ID(EPOCH, "0000000000000021"));
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000021"),
                    "Last-Event-ID: " ID(OTHER, "0000000000000007") "\n",
                    ID(OTHER, "0000000000000007"));
    assert_start_id("last_event_id=" ID(OTHER, "0000000000000007"),
                    "Last-Event-ID: " ID(EPOCH, "0000000000000021") "\n",
                    ID(OTHER, "0000000000000007"));
    assert_start_id("last_event_id=" ID(EPOCH, "0000000000000003"), "Last-Event-ID: other\n",
                    ID(EPOCH, "0000000000000003"));
    past.is_shared = false;
}

static void two_headers_are_refused(void **state)
{
    struct stream_start start;
    struct problem problem;
    /* the gate lets only one pass; nothing here rests on that */
    struct client *client = client_begin(fixture, "POST", "/api/push", "Last-Event-ID: a\n", 10);
    struct fake_mhd_pairs *headers = &client->connection->headers;

    (void)state;
    headers->list[headers->n] = headers->list[1];
    headers->list[headers->n].name = strdup(headers->list[1].name);
    headers->list[headers->n].value = strdup(headers->list[1].value);
    assert_string_equal(headers->list[1].name, "Last-Event-ID");
    headers->n++;
    assert_false(query_params_read_start(client->connection->context, &past, &start, &problem));
    assert_string_equal(problem.code, "invalid_position");
}

static void assert_since(const char *since, int64_t wanted_ms)
{
    struct stream_start start;
    struct problem problem;
    char query[64];

    snprintf(query, sizeof(query), "since=%s", since);
    assert_true(read_start(query, "", &start, &problem));
    assert_int_equal(start.from, STREAM_FROM_TIME);
    assert_in_range(start.since_ms, wanted_ms, wanted_ms + 60000); /* the clock goes on */
}

static void since_may_be_a_duration_or_a_moment(void **state)
{
    struct stream_start start;
    struct problem problem;
    int64_t now_ms = clock_wall_ms();

    (void)state;
    assert_since("10m", now_ms - 600000);
    assert_since("0", now_ms);
    assert_since("500ms", now_ms - 500);
    assert_since("60", now_ms - 60000);
    assert_since("1000000000", 1000000000000); /* ten digits: a moment */
    assert_since("9999999999", now_ms);        /* what is ahead is now */
    assert_since("999999999", now_ms - 999999999000);
    assert_since("100000d", 0); /* before 1970 */
    assert_true(read_start("since=earliest", "", &start, &problem));
    assert_int_equal(start.from, STREAM_FROM_EARLIEST);
}

static void since_may_be_so_many_of_the_latest(void **state)
{
    struct stream_start start;
    struct problem problem;

    (void)state;
    assert_true(read_start("since=last:1", "", &start, &problem));
    assert_int_equal(start.from, STREAM_FROM_LAST);
    assert_int_equal(start.last_n, 1);
    assert_true(read_start("since=last:1000", "", &start, &problem));
    assert_int_equal(start.last_n, 1000);
    assert_start_id("since=last:10", "Last-Event-ID: " ID(EPOCH, "0000000000000007") "\n",
                    ID(EPOCH, "0000000000000007"));
    assert_false(read_start("since=last:0", "", &start, &problem));
    assert_non_null(strstr(problem.detail, "from 1 to 1000"));
}

static void since_is_nothing_else(void **state)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "-1m",
                                      "1w",
                                      "LATEST",
                                      "latest%00",
                                      "10m%00",
                                      "+1000000000",
                                      "10%20m",
                                      "earliest+",
                                      "last",
                                      "last:",
                                      "last:0",
                                      "last:1001",
                                      "last:-1",
                                      "last:1x",
                                      "last:5%00",
                                      "last:99999999999999999999",
                                      "10000000000%00",
                                      ID(EPOCH, "000000000000000"),
                                      ID(EPOCH, "000000000000000G")};
    struct stream_start start;
    struct problem problem;
    char query[64];

    (void)state;
    for (size_t i = 0; i < ROWS(bad); i++) {
        snprintf(query, sizeof(query), "since=%s", bad[i]);
        if (read_start(query, "", &start, &problem))
            fail_msg("%s", query);
        assert_string_equal(problem.code, "invalid_since");
        assert_int_equal(problem.status, 400);
    }
}

/* ---- limit and anonymous ---- */

static void limit_has_bounds(void **state)
{
    static const struct {
        const char *query;
        size_t wanted; /* 0: refused */
    } cases[] = {
        {"", 100},        {"limit=1", 1},    {"limit=999", 999}, {"limit=1000", 1000},
        {"limit=007", 7}, {"limit=0", 0},    {"limit=1001", 0},  {"limit=", 0},
        {"limit", 0},     {"limit=-1", 0},   {"limit=%2B1", 0},  {"limit=+1", 0},
        {"limit=1x", 0},  {"limit=1%00", 0}, {"limit=1.0", 0},   {"limit=18446744073709551617", 0},
    };
    struct problem problem;
    size_t limit;

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        bool good =
            query_params_read_limit(request_with(cases[i].query, ""), 100, 1000, &limit, &problem);

        if (good != (cases[i].wanted > 0))
            fail_msg("%s", cases[i].query);
        if (good)
            assert_int_equal(limit, cases[i].wanted);
        else
            assert_string_equal(problem.code, "invalid_limit");
    }
}

static void anonymous_is_yes_or_no(void **state)
{
    static const char *const bad[] = {"anonymous=", "anonymous", "anonymous=YES", "anonymous=1",
                                      "anonymous=yes%00x"};
    struct problem problem;
    bool anonymous;

    (void)state;
    assert_true(query_params_read_anonymous(request_with("", ""), &anonymous, &problem));
    assert_true(anonymous);
    assert_true(
        query_params_read_anonymous(request_with("anonymous=yes", ""), &anonymous, &problem));
    assert_true(anonymous);
    assert_true(
        query_params_read_anonymous(request_with("anonymous=no", ""), &anonymous, &problem));
    assert_false(anonymous);
    for (size_t i = 0; i < ROWS(bad); i++) {
        assert_false(query_params_read_anonymous(request_with(bad[i], ""), &anonymous, &problem));
        assert_string_equal(problem.code, "invalid_anonymous");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_may_be_written_in_several_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_that_are_none_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_many_topics_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_many_segments_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_make_a_filter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_begins_with_what_comes_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_id_may_stand_in_the_header_or_in_three_parameters,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_several_ids_the_latest_that_was_given_counts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            where_a_history_is_shared_what_is_not_known_may_be_the_latest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_headers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(since_may_be_a_duration_or_a_moment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(since_may_be_so_many_of_the_latest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(since_is_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limit_has_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(anonymous_is_yes_or_no, set_up, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
