/* SPDX-License-Identifier: MIT */
/* GET /api/history: what it gives, its limits, and what it says when the history cannot be read. */
#include "config.h"
#include "api/route.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "base/clock.h"
#include "history/page_reader.h"
#include "hub/hub_share.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

/* ---- a log that gateways share, as a listing sees it ---- */

static bool is_shared;
static struct hub_share_facts word;
static unsigned asked_n;
static bool answers; /* the log is asked, and says at once what `word` has */

bool __wrap_hub_shares(const struct hub *hub);
void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts);
void __wrap_hub_share_ask_soon(struct hub *hub);

bool __wrap_hub_shares(const struct hub *hub)
{
    (void)hub;
    return is_shared;
}

void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts)
{
    (void)hub;
    *ret_facts = word;
}

void __wrap_hub_share_ask_soon(struct hub *hub)
{
    (void)hub;
    asked_n++;
    if (answers)
        word.asked_ms = clock_mono_ms() + 1;
}

static void publish(struct fixture *fixture, const char *body)
{
    assert_int_equal(client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, body)->status, 201);
}

static json_t *get(struct fixture *fixture, const char *target)
{
    struct client *client = client_ask(fixture, "GET", target, "", NULL);

    assert_int_equal(client->status, 200);
    return client_json(client);
}

static size_t events_of(const json_t *json)
{
    return json_array_size(json_object_get(json, "events"));
}

static void gives_what_there_is(void **state)
{
    struct fixture *fixture = fixture_new("");
    json_t *json = get(fixture, "/api/history");

    (void)state;
    assert_int_equal(events_of(json), 0);
    json_decref(json);
    publish(fixture, "{\"data\":\"one\",\"topic\":\"a\"}");
    publish(fixture, "{\"data\":\"two\",\"topic\":\"b\"}");
    publish(fixture, "{\"data\":\"three\",\"user\":\"u\",\"topic\":\"a\"}");
    json = get(fixture, "/api/history");
    size_t all_n = events_of(json);
    assert_true(all_n >= 2);
    json_decref(json);
    json = get(fixture, "/api/history?topic=a");
    assert_int_equal(events_of(json), 1);
    json_decref(json);
    json = get(fixture, "/api/history?topic=a&user=u");
    assert_int_equal(events_of(json), 2);
    json_decref(json);
    json = get(fixture, "/api/history?topic=nothing");
    assert_int_equal(events_of(json), 0);
    json_decref(json);
    fixture_free(fixture);
}

static void goes_on_where_the_last_answer_ended(void **state)
{
    struct fixture *fixture = fixture_new("");
    char target[128] = "/api/history?limit=2";
    size_t seen_n = 0;

    (void)state;
    for (int i = 0; i < 5; i++)
        publish(fixture, "{\"data\":\"x\"}");
    for (int i = 0; i < 3; i++) {
        json_t *json = get(fixture, target);
        size_t n = events_of(json);
        assert_int_equal(n, i < 2 ? 2 : 1);
        seen_n += n;
        snprintf(target, sizeof(target), "/api/history?limit=2&after=%s",
                 json_string_value(json_object_get(json, "next")));
        json_decref(json);
    }
    assert_int_equal(seen_n, 5);
    fixture_free(fixture);
}

static void gives_the_latest_and_where_to_go_on(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client;
    json_t *json;

    (void)state;
    client = client_ask(fixture, "GET", "/api/history?last=2", "", NULL);
    assert_int_equal(client->status, 200);
    assert_true(client_has(client, "{\"events\":[],"));
    for (int i = 0; i < 5; i++) {
        char body[64];

        snprintf(body, sizeof(body), "{\"topic\":\"%s\",\"data\":\"n%d\"}", i == 4 ? "b" : "a", i);
        assert_int_equal(client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, body)->status, 201);
        fixture_settle(fixture);
    }
    client = client_ask(fixture, "GET", "/api/history?topic=a&last=2", "", NULL);
    json = client_json(client);
    json_t *events = json_object_get(json, "events");
    assert_int_equal(json_array_size(events), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "data")),
                        "n2");
    assert_true(json_is_false(json_object_get(json, "more")));
    assert_string_equal(json_string_value(json_object_get(json, "next")),
                        json_string_value(json_object_get(json, "newest")));
    json_decref(json);
    fixture_free(fixture);
}

static void a_question_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *target, *code;
    } cases[] = {
        {"/api/history?after=x", "invalid_position"},
        {"/api/history?after=", "invalid_position"},
        {"/api/history?limit=0", "invalid_limit"},
        {"/api/history?limit=1001", "invalid_limit"},
        {"/api/history?last=0", "invalid_last"},
        {"/api/history?last=1001", "invalid_last"},
        {"/api/history?last=5%00", "invalid_last"},
        {"/api/history?last=5&limit=5", "invalid_last"},
        {"/api/history?topic=", "invalid_topic"},
        {"/api/history?user=a&user=b", "repeated_parameter"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        client_is_refused(client_ask(fixture, "GET", cases[i].target, "", NULL), 400,
                          cases[i].code);
    fixture_free(fixture);
}

static void a_history_that_cannot_be_read_says_so(void **state)
{
    static const struct {
        int error;
        const char *code;
    } cases[] = {{-EIO, "store_failed"}, {-ENOMEM, "out_of_memory"}};
    struct fixture *fixture = fixture_new("");

    (void)state;
    publish(fixture, "{\"data\":\"x\"}");
    for (size_t i = 0; i < ROWS(cases); i++) {
        fixture->read_error = cases[i].error;
        struct client *client = client_ask(fixture, "GET", "/api/history", "", NULL);
        client_is_refused(client, 503, cases[i].code);
        assert_in_range(atoi(client_header(client, "Retry-After")), 1, 5);
    }
    fixture->read_error = 0;
    json_t *json = get(fixture, "/api/history");
    assert_int_equal(events_of(json), 1);
    json_decref(json);
    fixture_free(fixture);
}

static void so_many_requests_and_no_more(void **state)
{
    struct fixture *fixture = fixture_new("limits.history_requests=2");

    (void)state;
    publish(fixture, "{\"data\":\"x\"}");
    fixture->shared.history_requests_n = 2; /* of others */
    struct client *client = client_ask(fixture, "GET", "/api/history", "", NULL);
    client_is_refused(client, 503, "overloaded");
    assert_in_range(atoi(client_header(client, "Retry-After")), 1, 5);
    assert_int_equal(fixture->shared.history_requests_n, 2);
    assert_int_equal(fixture_stat(fixture, STATS_HISTORY_SHED), 1);
    fixture->shared.history_requests_n = 1;
    json_decref(get(fixture, "/api/history"));
    fixture_settle(fixture);
    assert_int_equal(fixture->shared.history_requests_n, 1);
    fixture->shared.history_requests_n = 0;
    assert_int_equal(fixture_stat(fixture, STATS_HISTORY_REQUESTS), 0);
    fixture_free(fixture);
}

static void a_listing_needs_memory(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture_fill_memory(fixture, MEMORY_BUDGET_NEAR);
    client_is_refused(client_ask(fixture, "GET", "/api/history", "", NULL), 503, "memory_short");
    assert_int_equal(fixture_stat(fixture, STATS_ANSWERS_REFUSED_MEMORY), 1);
    assert_int_equal(fixture->shared.history_requests_n, 0);
    fixture_free(fixture);
}

static void who_asks_may_leave_meanwhile(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    publish(fixture, "{\"data\":\"x\"}");
    struct client *client = client_begin(fixture, "GET", "/api/history", "", 0);
    client_hang_up(client);
    client_wait(client);
    assert_true(client_is_closed(client));
    assert_int_equal(fixture->shared.history_requests_n, 0);
    fixture_free(fixture);
}

/* What is not known here is no loss before the log was asked. */
static void an_open_place_waits_for_the_word_of_the_log(void **state)
{
    struct fixture *fixture = fixture_new("");
    char target[128];

    (void)state;
    is_shared = true;
    publish(fixture, "{\"data\":\"x\"}");
    snprintf(target, sizeof(target), "/api/history?after=%s-0000000000000002",
             history_epoch(fixture->history));
    client_is_refused(client_ask(fixture, "GET", target, "", NULL), 503, "behind");
    assert_true(asked_n > 0);

    strcpy(word.epoch, history_epoch(fixture->history));
    word.head = 1;
    answers = true;
    json_t *json = get(fixture, target);
    const json_t *reset = json_object_get(json, "reset");
    assert_string_equal(json_string_value(json_object_get(reset, "reason")), "unknown");
    json_decref(json);

    word.head = 2; /* the log has it, and this gateway is behind */
    client_is_refused(client_ask(fixture, "GET", target, "", NULL), 503, "behind");
    struct client *client = client_begin(fixture, "GET", target, "", 0);
    publish(fixture, "{\"data\":\"y\"}");
    client_wait(client);
    assert_int_equal(client->status, 200);
    assert_int_equal(fixture->shared.history_requests_n, 0);
    is_shared = answers = false;
    fixture_free(fixture);
}

/* Its ids would name other events. */
static void a_history_that_changes_meanwhile_is_asked_again(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    publish(fixture, "{\"data\":\"x\"}");
    struct client *client = client_begin(fixture, "GET", "/api/history", "", 0);
    history_set_lineage(fixture->history,
                        lineage_begin(history_lineage(fixture->history), "anotherepoch", 1));
    client_wait(client);
    client_is_refused(client, 503, "behind");
    json_t *json = get(fixture, "/api/history");
    assert_int_equal(events_of(json), 1);
    json_decref(json);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_there_is),
        cmocka_unit_test(goes_on_where_the_last_answer_ended),
        cmocka_unit_test(gives_the_latest_and_where_to_go_on),
        cmocka_unit_test(a_question_that_is_none_is_refused),
        cmocka_unit_test(a_history_that_cannot_be_read_says_so),
        cmocka_unit_test(so_many_requests_and_no_more),
        cmocka_unit_test(a_listing_needs_memory),
        cmocka_unit_test(an_open_place_waits_for_the_word_of_the_log),
        cmocka_unit_test(a_history_that_changes_meanwhile_is_asked_again),
        cmocka_unit_test(who_asks_may_leave_meanwhile),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
