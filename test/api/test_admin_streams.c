/* SPDX-License-Identifier: MIT */
/* Lists of streams and evictions, and streams that are ended, over two workers. */
#include "config.h"
#include "api/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "base/clock.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static struct client *open_stream(struct fixture *fixture, const char *target)
{
    struct client *client = client_ask(fixture, "GET", target, "", NULL);

    assert_int_equal(client->status, 200);
    return client;
}

/* Streams of anna, bob and nobody, of which the last is the other worker's. */
static struct fixture *with_streams(struct client *streams[3])
{
    struct fixture *fixture = fixture_new("server.workers=2");

    streams[0] = open_stream(fixture, "/events?user=anna&topic=news/*");
    streams[1] = open_stream(fixture, "/events?user=bob&topic=orders/1&topic=news/a");
    fixture->worker = 1;
    streams[2] = open_stream(fixture, "/events");
    fixture->worker = 0;
    return fixture;
}

static void assert_listed(struct fixture *fixture, const char *query, size_t wanted_n)
{
    char target[128];

    snprintf(target, sizeof(target), "/api/streams%s", query);
    struct client *client = client_ask(fixture, "GET", target, "", NULL);
    assert_int_equal(client->status, 200);
    json_t *json = client_json(client);
    if (json_array_size(json_object_get(json, "streams")) != wanted_n)
        fail_msg("%s: %s", query, client->body);
    assert_int_equal(json_integer_value(json_object_get(json, "total")), fixture->shared.streams_n);
    json_decref(json);
}

static void streams_of_all_workers_are_listed(void **state)
{
    struct client *streams[3];
    struct fixture *fixture = with_streams(streams);

    (void)state;
    assert_listed(fixture, "", 3);
    assert_listed(fixture, "?limit=2", 2);
    assert_listed(fixture, "?limit=1", 1);
    assert_listed(fixture, "?user=anna", 1);
    assert_listed(fixture, "?user=nobody", 0);
    assert_listed(fixture, "?topic=news/a", 3); /* whom an event of it would reach */
    assert_listed(fixture, "?topic=orders/1", 2);
    assert_listed(fixture, "?topic=news/*", 2); /* and who asked for exactly that, or for all */
    assert_listed(fixture, "?topic=news/a&user=bob", 1);
    assert_listed(fixture, "?topic=orders/2", 1);
    fixture_free(fixture);
}

static void a_row_says_what_there_is_to_know(void **state)
{
    static const char *const names[] = {"id",          "address",    "state",
                                        "age_ms",      "position",   "last_id",
                                        "lag_events",  "lag_bytes",  "unacknowledged_bytes",
                                        "events_sent", "bytes_sent", "user",
                                        "topics",      "transport"};
    struct client *streams[3];
    struct fixture *fixture = with_streams(streams);
    json_t *json = client_json(client_ask(fixture, "GET", "/api/streams?user=bob", "", NULL));
    const json_t *row = json_array_get(json_object_get(json, "streams"), 0);

    (void)state;
    for (size_t i = 0; i < ROWS(names); i++)
        if (json_object_get(row, names[i]) == NULL)
            fail_msg("%s", names[i]);
    assert_int_equal(json_object_size(row), ROWS(names));
    assert_string_equal(json_string_value(json_object_get(row, "address")), "192.0.2.1:40000");
    assert_string_equal(json_string_value(json_object_get(row, "user")), "bob");
    assert_string_equal(json_string_value(json_object_get(row, "transport")), "sse");
    assert_int_equal(json_array_size(json_object_get(row, "topics")), 2);
    json_decref(json);
    fixture_free(fixture);
}

static void a_question_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *method, *target, *code;
    } cases[] = {
        {"GET", "/api/streams?limit=0", "invalid_limit"},
        {"GET", "/api/streams?limit=10001", "invalid_limit"},
        {"GET", "/api/streams?user=", "invalid_name"},
        {"GET", "/api/streams?topic=**/x", "invalid_name"},
        {"DELETE", "/api/streams", "user_required"},
        {"DELETE", "/api/streams?topic=a", "user_required"},
        {"DELETE", "/api/streams?user=", "invalid_name"},
        {"GET", "/api/evictions?limit=x", "invalid_limit"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        client_is_refused(client_ask(fixture, cases[i].method, cases[i].target, "", NULL), 400,
                          cases[i].code);
    fixture_free(fixture);
}

static void assert_ended(struct fixture *fixture, const char *target, int wanted_n)
{
    struct client *client = client_ask(fixture, "DELETE", target, "", NULL);
    char wanted[32];

    snprintf(wanted, sizeof(wanted), "{\"ended\":%d}\n", wanted_n);
    assert_int_equal(client->status, 200);
    assert_string_equal(client->body, wanted);
}

static void the_streams_of_a_user_are_ended(void **state)
{
    struct client *streams[3];
    struct fixture *fixture = with_streams(streams);

    (void)state;
    assert_ended(fixture, "/api/streams?user=nobody", 0);
    assert_ended(fixture, "/api/streams?user=bob&topic=orders/2", 0);
    assert_ended(fixture, "/api/streams?user=bob&topic=orders/1", 1);
    client_wait(streams[1]);
    fixture_settle(fixture);
    assert_true(client_is_closed(streams[1]));
    assert_false(client_is_closed(streams[0]) || client_is_closed(streams[2]));
    assert_listed(fixture, "", 2);
    fixture_free(fixture);
}

static void one_stream_is_ended_wherever_it_is(void **state)
{
    struct client *streams[3];
    struct fixture *fixture = with_streams(streams);
    json_t *json = client_json(client_ask(fixture, "GET", "/api/streams?topic=orders/2", "", NULL));
    const json_t *row = json_array_get(json_object_get(json, "streams"), 0);
    char target[64];

    (void)state;
    snprintf(target, sizeof(target), "/api/streams/%s",
             json_string_value(json_object_get(row, "id")));
    json_decref(json);
    assert_ended(fixture, target, 1);
    for (int i = 0; i < 100 && !client_is_closed(streams[2]); i++)
        fixture_settle(fixture);
    assert_true(client_is_closed(streams[2]));
    client_is_refused(client_ask(fixture, "DELETE", target, "", NULL), 404, "no_such_stream");
    fixture_free(fixture);
}

static void a_long_list_needs_memory(void **state)
{
    enum { STREAMS = 101 };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (int i = 0; i < STREAMS; i++)
        open_stream(fixture, "/events");
    assert_listed(fixture, "", 100);
    assert_listed(fixture, "?limit=1000", STREAMS);
    fixture_fill_memory(fixture, MEMORY_BUDGET_SCARCE);
    client_is_refused(client_ask(fixture, "GET", "/api/streams?limit=1000", "", NULL), 503,
                      "memory_short");
    assert_int_equal(client_ask(fixture, "GET", "/api/streams?limit=10", "", NULL)->status, 200);
    fixture_free(fixture);
}

static void who_asks_may_leave_meanwhile(void **state)
{
    struct fixture *fixture = fixture_new("server.workers=2");
    struct client *client = client_begin(fixture, "GET", "/api/streams", "", 0);

    (void)state;
    client_hang_up(client);
    client_wait(client);
    assert_true(client_is_closed(client));
    fixture_free(fixture);
}

static void evictions_are_listed_with_their_reason(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = open_stream(fixture, "/events?user=anna&topic=a");
    struct client *list = client_ask(fixture, "GET", "/api/evictions", "", NULL);

    (void)state;
    assert_string_equal(list->body, "{\"evictions\":[],\"total\":0}\n");
    json_t *json = client_json(client_ask(fixture, "GET", "/api/streams", "", NULL));
    const json_t *row = json_array_get(json_object_get(json, "streams"), 0);
    uint64_t id = strtoull(json_string_value(json_object_get(row, "id")), NULL, 16);
    json_decref(json);
    stream_end(streams_find(fixture->services[0].streams, id), STREAM_END_STALLED);
    client_wait(client);
    json = client_json(client_ask(fixture, "GET", "/api/evictions?limit=1", "", NULL));
    assert_int_equal(json_integer_value(json_object_get(json, "total")), 1);
    row = json_array_get(json_object_get(json, "evictions"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "why")), "stalled");
    assert_string_equal(json_string_value(json_object_get(row, "user")), "anna");
    assert_string_equal(json_string_value(json_array_get(json_object_get(row, "topics"), 0)), "a");
    assert_non_null(json_object_get(row, "at"));
    json_decref(json);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_of_all_workers_are_listed),
        cmocka_unit_test(a_row_says_what_there_is_to_know),
        cmocka_unit_test(a_question_that_is_none_is_refused),
        cmocka_unit_test(the_streams_of_a_user_are_ended),
        cmocka_unit_test(one_stream_is_ended_wherever_it_is),
        cmocka_unit_test(a_long_list_needs_memory),
        cmocka_unit_test(who_asks_may_leave_meanwhile),
        cmocka_unit_test(evictions_are_listed_with_their_reason),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
