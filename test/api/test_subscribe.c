/* SPDX-License-Identifier: MIT */
/* GET and HEAD of /events: what opens a stream, what refuses one, and what it takes and gives
 * back. */
#include "config.h"
#include "api/subscribe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "base/clock.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define FROM_LISTED "Origin: " FIXTURE_ORIGIN "\n"
#define EVENT_SOURCE "Accept: text/event-stream\n"

static struct client *open_stream(struct fixture *fixture, const char *target, const char *headers)
{
    struct client *client = client_ask(fixture, "GET", target, headers, NULL);

    if (client->status != 200 || client_is_closed(client))
        fail_msg("%s: %u %s", target, client->status, client->body);
    return client;
}

static void publish(struct fixture *fixture, const char *body)
{
    assert_int_equal(client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, body)->status, 201);
    fixture_settle(fixture);
}

/* Refused for its client to come back: as a problem, and as an EventSource understands it. */
static void assert_turned_away(struct fixture *fixture, const char *target, const char *headers,
                               unsigned status, const char *code)
{
    int64_t refused_n = fixture_stat(fixture, STATS_STREAMS_REFUSED);
    size_t streams_n = fixture->shared.streams_n;
    char lines[512];
    struct client *client = client_ask(fixture, "GET", target, headers, NULL);
    unsigned retry_ms;

    client_is_refused(client, status, code);
    assert_in_range(atoi(client_header(client, "Retry-After")), 30, 61);
    snprintf(lines, sizeof(lines), "%s" EVENT_SOURCE FROM_LISTED, headers);
    client = client_ask(fixture, "GET", target, lines, NULL);
    assert_int_equal(client->status, 200);
    assert_int_equal(sscanf(client->body, "retry: %u\n\n", &retry_ms), 1);
    assert_in_range(retry_ms, 30000, 60000);
    assert_true(client->connection->is_cut); /* an end without the last chunk */
    assert_string_equal(client_header(client, "Content-Type"), "text/event-stream; charset=utf-8");
    assert_string_equal(client_header(client, "Access-Control-Allow-Origin"), FIXTURE_ORIGIN);
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED), refused_n + 2);
    assert_int_equal(fixture->shared.streams_n, streams_n);
}

/* ---- the answer ---- */

static void a_stream_has_its_headers(void **state)
{
    static const struct {
        const char *name, *value;
    } headers[] = {
        {"Content-Type", "text/event-stream; charset=utf-8"},
        {"Cache-Control", "no-store, no-cache, private, no-transform"},
        {"X-Accel-Buffering", "no"},
        {"X-Content-Type-Options", "nosniff"},
        {"Connection", "close"},
        {"Vary", "Origin"},
        {"Access-Control-Allow-Origin", FIXTURE_ORIGIN},
        {"Access-Control-Expose-Headers", "Retry-After"},
    };

    (void)state;
    for (int way = 0; way < 3; way++) { /* by itself, by the library, without chunks */
        struct fixture *fixture = way == 1 ? fixture_new_by_library("") : fixture_new("");
        struct client *client =
            open_stream(fixture, "/events", way == 2 ? "HTTP/1.0\n" FROM_LISTED : FROM_LISTED);

        assert_int_equal(client->is_by_hand, way == 0);
        for (size_t i = 0; i < ROWS(headers); i++)
            assert_string_equal(client_header(client, headers[i].name), headers[i].value);
        assert_true(client_has(client, "retry: "));
        assert_int_equal(fixture->shared.streams_n, 1);
        fixture_free(fixture);
    }
}

static void events_come_whichever_way_the_stream_goes(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct fixture *fixture = way == 1 ? fixture_new_by_library("") : fixture_new("");
        struct client *client =
            open_stream(fixture, "/events?topic=a&user=u", way == 2 ? "HTTP/1.0\n" : "");

        publish(fixture, "{\"data\":\"one\",\"topic\":\"a\"}");
        publish(fixture, "{\"data\":\"two\",\"topic\":\"b\"}");
        publish(fixture, "{\"data\":\"three\",\"user\":\"u\"}");
        publish(fixture, "{\"data\":\"four\",\"user\":\"v\"}");
        client_wait_for(client, "data: three\n");
        assert_true(client_has(client, "data: one\n"));
        assert_false(client_has(client, "two"));
        assert_false(client_has(client, "four"));
        assert_true(client->connection->suspended);
        fixture_free(fixture);
    }
}

static void head_tells_what_get_would_and_opens_nothing(void **state)
{
    struct fixture *fixture = fixture_new("limits.streams=1");

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct client *client = client_ask(fixture, "HEAD", "/events?topic=a", "", NULL);
        assert_int_equal(client->status, 200);
        assert_int_equal(client->body_n, 0);
        assert_string_equal(client_header(client, "Content-Type"),
                            "text/event-stream; charset=utf-8");
        assert_true(client_is_closed(client));
    }
    assert_int_equal(fixture->shared.streams_n, 0);
    assert_int_equal(client_ask(fixture, "HEAD", "/events?topic=", "", NULL)->status, 400);
    assert_int_equal(client_ask(fixture, "HEAD", "/events", "Accept: text/html\n", NULL)->status,
                     406);
    fixture_free(fixture);
}

static void accept_must_allow_a_stream(void **state)
{
    static const char *const good[] = {"",
                                       "Accept:\n",
                                       "Accept: */*\n",
                                       "Accept: text/*\n",
                                       "Accept: TEXT/EVENT-STREAM\n",
                                       "Accept: text/html, text/event-stream;q=0.1\n"};
    static const char *const bad[] = {"Accept: text/html\n", "Accept: application/json\n",
                                      "Accept: text/event\n", "Accept: *\n"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(good); i++)
        open_stream(fixture, "/events", good[i]);
    for (size_t i = 0; i < ROWS(bad); i++)
        client_is_refused(client_ask(fixture, "GET", "/events", bad[i], NULL), 406,
                          "not_acceptable");
    fixture_free(fixture);
}

static void what_the_query_gets_wrong_is_a_final_problem(void **state)
{
    static const struct {
        const char *target, *code;
    } cases[] = {
        {"/events?topic=", "invalid_topic"},
        {"/events?user=", "invalid_topic"},
        {"/events?user=a&user=b", "repeated_parameter"},
        {"/events?since=tomorrow", "invalid_since"},
        {"/events?heartbeat=x", "invalid_heartbeat"},
        {"/events?heartbeat=", "invalid_heartbeat"},
        {"/events?heartbeat=-5", "invalid_heartbeat"},
        {"/events?heartbeat=5s", "invalid_heartbeat"},
        {"/events?heartbeat=1.5", "invalid_heartbeat"},
        {"/events?heartbeat=5%00x", "invalid_heartbeat"},
        {"/events?ping=event%00x", "invalid_value"},
        {"/events?padding=true%00", "invalid_value"},
        {"/events?envelope=xml", "invalid_envelope"},
        {"/events?envelope=", "invalid_envelope"},
        {"/events?envelope=JSON", "invalid_envelope"},
        {"/events?envelope=json%00x", "invalid_envelope"},
        {"/events?anonymous=yes%00x", "invalid_anonymous"},
        {"/events?anonymous=maybe", "invalid_anonymous"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) /* for an EventSource too, since it cannot help it */
        client_is_refused(client_ask(fixture, "GET", cases[i].target, EVENT_SOURCE, NULL), 400,
                          cases[i].code);
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED), 0);
    assert_int_equal(fixture->shared.streams_n, 0);
    fixture_free(fixture);
}

/* ---- manners ---- */

static void heartbeats_keep_their_bounds(void **state)
{
    static const struct {
        const char *query;
        int64_t silent_ms, heard_ms;
    } cases[] = {
        /* a tick may bring it when four fifths are over */
        {"", 11000, 16500},
        {"&heartbeat=10", 7500, 11500},
        {"&heartbeat=0", 2000, 4500},
        {"&heartbeat=3", 2000, 4500},
        {"&heartbeat=60", 47000, 61500},
        {"&heartbeat=61", 47000, 61500},
        {"&heartbeat=99999999999999999999", 47000, 61500},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct fixture *fixture = fixture_new("stream.heartbeat=15s");
        char target[64];

        snprintf(target, sizeof(target), "/events?ping=event%s", cases[i].query);
        struct client *client = open_stream(fixture, target, "");
        fixture_tick(fixture, cases[i].silent_ms);
        assert_false(client_has(client, "event: ping"));
        fixture_tick(fixture, cases[i].heard_ms);
        client_wait_for(client, "event: ping");
        fixture_free(fixture);
    }
}

static void a_heartbeat_is_a_comment_unless_it_is_asked_for(void **state)
{
    static const char *const targets[] = {"/events", "/events?ping=comment", "/events?ping="};
    struct fixture *fixture = fixture_new("stream.heartbeat=15s");

    (void)state;
    for (size_t i = 0; i < ROWS(targets); i++) {
        struct client *client = open_stream(fixture, targets[i], "");
        size_t before_n = client->body_n;

        fixture_tick(fixture, 17000);
        client_wait_for(client, "\n\n:");
        assert_true(client->body_n > before_n);
        assert_int_equal(client->body[before_n], ':');
        assert_false(client_has(client, "event: ping"));
        client_hang_up(client);
    }
    fixture_free(fixture);
}

static void padding_is_for_who_asks(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    assert_true(open_stream(fixture, "/events?padding=true", "")->body_n > 2048);
    assert_true(open_stream(fixture, "/events?padding=1", "")->body_n < 1024);
    assert_true(open_stream(fixture, "/events", "")->body_n < 1024);
    fixture_free(fixture);
}

static void events_come_in_an_envelope_for_who_asks(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct fixture *fixture = way == 1 ? fixture_new_by_library("") : fixture_new("");
        const char *line = way == 2 ? "HTTP/1.0\n" : "";
        struct client *in = open_stream(fixture, "/events?topic=a&user=u&envelope=json", line);
        struct client *other = open_stream(fixture, "/events?topic=a&user=v&envelope=json", line);
        struct client *bare = open_stream(fixture, "/events?topic=a&user=u", line);

        publish(fixture, "{\"topic\":\"a\",\"event\":\"paid\",\"data\":{\"n\":1.10}}");
        publish(fixture, "{\"user\":\"u\",\"data\":\"for u\"}");
        publish(fixture, "{\"users\":[\"u\",\"v\",\"w\"],\"data\":\"for all\"}");
        client_wait_for(in, "for all");
        client_wait_for(other, "for all");
        client_wait_for(bare, "for all");
        assert_true(client_has(
            in, "\"event\":\"paid\",\"topics\":[\"a\"],\"data\":{\"n\":1.10},\"published\":\""));
        assert_false(client_has(in, "event: paid"));
        assert_true(client_has(in, "\"users\":[\"u\"],\"data\":\"for u\""));
        assert_true(client_has(in, "\"users\":[\"u\"],\"data\":\"for all\""));
        assert_true(client_has(other, "\"users\":[\"v\"],\"data\":\"for all\""));
        assert_false(client_has(in, "\"v\"") || client_has(in, "\"w\""));
        assert_false(client_has(other, "\"u\"") || client_has(other, "for u"));
        assert_true(client_has(in, "-0000000000000003\n\n"));
        assert_true(client_has(bare, "event: paid\ndata: {\"n\":1.10}\nid: "));
        fixture_free(fixture);
    }
}

/* One with users of its own that does not fit what is sent at once. */
static void a_large_envelope_comes_whole(void **state)
{
    static char body[100000], want[90000];
    struct fixture *fixture = fixture_new("limits.event_bytes=100000");
    struct client *client = open_stream(fixture, "/events?user=u&envelope=json", "");

    (void)state;
    memset(want, 'x', sizeof(want) - 1);
    snprintf(body, sizeof(body), "{\"users\":[\"v\",\"u\"],\"data\":\"%s\"}", want);
    publish(fixture, body);
    client_wait_for(client, "\nid: ");
    assert_true(client_has(client, want));
    assert_true(client_has(client, "\"users\":[\"u\"],\"data\":\"xxx"));
    fixture_free(fixture);
}

/* ---- where it begins ---- */

static void a_stream_begins_where_it_is_asked_to(void **state)
{
    struct fixture *fixture = fixture_new("");
    const char *epoch = history_epoch(fixture->history);
    char text[128];

    (void)state;
    publish(fixture, "{\"data\":\"one\"}");
    publish(fixture, "{\"data\":\"two\"}");
    struct client *client = open_stream(fixture, "/events", "");
    assert_false(client_has(client, "data: two"));
    client = open_stream(fixture, "/events?since=earliest", "");
    client_wait_for(client, "data: two");
    assert_true(client_has(client, "data: one"));
    client = open_stream(fixture, "/events?since=1h", "");
    client_wait_for(client, "data: two");
    assert_true(client_has(client, "data: one"));
    snprintf(text, sizeof(text), "Last-Event-ID: %s-0000000000000001\n", epoch);
    client = open_stream(fixture, "/events", text);
    client_wait_for(client, "data: two");
    assert_false(client_has(client, "data: one"));
    snprintf(text, sizeof(text), "/events?last_event_id=%s-0000000000000001", epoch);
    client = open_stream(fixture, text, "");
    client_wait_for(client, "data: two");
    assert_false(client_has(client, "data: one"));
    assert_false(client_has(client, "event: reset"));
    fixture_free(fixture);
}

static void an_id_of_another_life_is_told(void **state)
{
    static const char *const ids[] = {"zzzzzzzzzzzz-0000000000000001", "nonsense"};
    struct fixture *fixture = fixture_new("");
    char line[128];

    (void)state;
    publish(fixture, "{\"data\":\"one\"}");
    for (size_t i = 0; i < ROWS(ids); i++) {
        snprintf(line, sizeof(line), "Last-Event-ID: %s\n", ids[i]);
        struct client *client = open_stream(fixture, "/events", line);
        client_wait_for(client, "event: reset\n");
    }
    fixture_free(fixture);
}

/* ---- limits ---- */

static void so_many_streams_and_no_more(void **state)
{
    struct fixture *fixture = fixture_new("limits.streams=2");

    (void)state;
    open_stream(fixture, "/events", "");
    struct client *second = open_stream(fixture, "/events", "");
    assert_turned_away(fixture, "/events", "", 503, "too_many_streams");
    client_hang_up(second);
    client_wait(second);
    assert_int_equal(fixture->shared.streams_n, 1);
    open_stream(fixture, "/events", "");
    assert_turned_away(fixture, "/events", "", 503, "too_many_streams");
    fixture_free(fixture);
}

static void so_many_of_one_address(void **state)
{
    struct fixture *fixture = fixture_new("limits.streams_per_address=1");

    (void)state;
    struct client *first = open_stream(fixture, "/events", "");
    assert_turned_away(fixture, "/events", "", 429, "too_many_streams_of_address");
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED_ADDRESS), 2);
    fixture->address = "192.0.2.2";
    open_stream(fixture, "/events", "");
    for (int i = 0; i < 3; i++) { /* who may speak for many */
        fixture->address = "127.0.0.1";
        open_stream(fixture, "/events", "");
        fixture->address = "unix";
        open_stream(fixture, "/events", "");
    }
    client_hang_up(first);
    client_wait(first);
    fixture->address = "192.0.2.1";
    open_stream(fixture, "/events", "");
    fixture_free(fixture);
}

static void behind_a_trusted_proxy_its_client_counts(void **state)
{
    struct fixture *fixture =
        fixture_new("limits.streams_per_address=1 server.trusted_proxies=192.0.2.1");

    (void)state;
    open_stream(fixture, "/events", "X-Forwarded-For: 198.51.100.1\n");
    open_stream(fixture, "/events", "X-Forwarded-For: 198.51.100.2\n");
    assert_turned_away(fixture, "/events", "X-Forwarded-For: 198.51.100.1\n", 429,
                       "too_many_streams_of_address");
    fixture->address = "192.0.2.2"; /* who is none says what it likes */
    open_stream(fixture, "/events", "X-Forwarded-For: 198.51.100.3\n");
    assert_turned_away(fixture, "/events", "X-Forwarded-For: 198.51.100.4\n", 429,
                       "too_many_streams_of_address");
    fixture_free(fixture);
}

static void so_many_of_one_user(void **state)
{
    struct fixture *fixture = fixture_new("limits.streams_per_user=1");

    (void)state;
    struct client *first = open_stream(fixture, "/events?user=anna", "");
    assert_turned_away(fixture, "/events?user=anna", "", 429, "too_many_streams_of_user");
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED_USER), 2);
    open_stream(fixture, "/events?user=bob", "");
    open_stream(fixture, "/events", "");
    open_stream(fixture, "/events", "");
    client_hang_up(first);
    client_wait(first);
    open_stream(fixture, "/events?user=anna", "");
    fixture_free(fixture);
}

/* A refusal at one limit takes no place of another. */
static void what_is_refused_leaves_nothing_taken(void **state)
{
    struct fixture *fixture =
        fixture_new("limits.streams=1 limits.streams_per_user=1 limits.streams_per_address=2");

    (void)state;
    struct client *first = open_stream(fixture, "/events?user=bob", "");
    for (int i = 0; i < 3; i++)
        assert_turned_away(fixture, "/events?user=anna", "", 503, "too_many_streams");
    client_hang_up(first);
    client_wait(first);
    open_stream(fixture, "/events?user=anna", "");
    fixture_free(fixture);
}

static void rare_shapes_of_one_client_are_bounded(void **state)
{
    struct fixture *fixture = fixture_new("");
    char target[128];
    int opened = 0;

    (void)state;
    for (int bits = 7; bits < 256 && opened < 16; bits++) { /* three wildcards or more of eight */
        if (__builtin_popcount((unsigned)bits) != 3)
            continue;
        strcpy(target, "/events?topic=");
        for (int i = 0; i < 8; i++)
            strcat(target, bits >> i & 1 ? "*/" : "a/");
        target[strlen(target) - 1] = '\0';
        open_stream(fixture, target, "");
        opened++;
    }
    assert_turned_away(fixture, "/events?topic=a/a/a/a/a/*/*/*", "", 429, "too_many_shapes_of_one");
    open_stream(fixture, target, ""); /* one that it has */
    open_stream(fixture, "/events?topic=*/*", "");
    fixture->address = "192.0.2.2";
    open_stream(fixture, "/events?topic=a/a/a/a/a/*/*/*", "");
    fixture_free(fixture);
}

/* ---- memory ---- */

static void who_begins_in_the_past_is_turned_away_first(void **state)
{
    struct fixture *fixture = fixture_new("stream.ring_events=64");

    (void)state;
    for (int i = 0; i < 100; i++)
        publish(fixture, "{\"data\":\"x\"}");
    fixture_fill_memory(fixture, MEMORY_BUDGET_NEAR);
    open_stream(fixture, "/events", "");
    assert_turned_away(fixture, "/events?since=earliest", "", 503, "too_many_streams");
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED_MEMORY), 2);
    assert_int_equal(fixture_stat(fixture, STATS_REPLAYS_REFUSED_MEMORY), 2);
    fixture_fill_memory(fixture, MEMORY_BUDGET_SCARCE);
    assert_turned_away(fixture, "/events", "", 503, "too_many_streams");
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED_MEMORY), 4);
    assert_int_equal(fixture_stat(fixture, STATS_REPLAYS_REFUSED_MEMORY), 2);
    fixture_fill_memory(fixture, MEMORY_BUDGET_FINE);
    open_stream(fixture, "/events?since=earliest", "");
    fixture_free(fixture);
}

static void without_memory_for_a_stream_its_place_is_given_back(void **state)
{
    struct fixture *fixture = fixture_new_by_library("limits.streams=1");

    (void)state;
    fake_mhd_faults.responses = 1;
    client_is_refused(client_ask(fixture, "GET", "/events", "", NULL), 503, "too_many_streams");
    assert_int_equal(fixture->shared.streams_n, 0);
    fake_mhd_faults.queues = 1;
    struct client *client = client_ask(fixture, "GET", "/events", "", NULL);
    assert_int_equal(client->status, 0);
    assert_true(client_is_closed(client));
    assert_int_equal(fixture->shared.streams_n, 0);
    open_stream(fixture, "/events", "");
    fake_mhd_faults.responses = 1; /* not even for the line */
    client = client_ask(fixture, "GET", "/events", EVENT_SOURCE, NULL);
    assert_int_equal(client->status, 0);
    assert_true(client_is_closed(client));
    fake_mhd_faults.responses = 1;
    assert_true(client_is_closed(client_ask(fixture, "HEAD", "/events", "", NULL)));
    fixture_free(fixture);
}

/* ---- ends ---- */

static void a_stream_ends_when_its_client_has_left(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct fixture *fixture = way == 1 ? fixture_new_by_library("") : fixture_new("");
        struct client *client = open_stream(fixture, "/events", "");

        client_hang_up(client);
        client_wait(client);
        assert_true(client_is_closed(client));
        assert_int_equal(fixture->shared.streams_n, 0);
        assert_int_equal(streams_count(fixture->services[0].streams), 0);
        fixture_free(fixture);
    }
}

static void a_stop_ends_streams_and_those_that_still_come(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct fixture *fixture = way == 1 ? fixture_new_by_library("") : fixture_new("");
        struct client *client = open_stream(fixture, "/events", "");
        struct streams *streams = fixture->services[0].streams;

        fixture->shared.draining = true;
        streams_drain(streams, clock_mono_ms(), 0, STREAM_END_DRAINED);
        for (int i = 0; i < 100 && !client_is_closed(client); i++) {
            streams_drain_step(streams, clock_mono_ms() + i);
            fixture_settle(fixture);
        }
        assert_true(client_is_closed(client));
        struct client *late = client_begin(fixture, "GET", "/events", "", 0);
        for (int i = 0; i < 100 && !client_is_closed(late); i++) {
            streams_drain_step(streams, clock_mono_ms() + i);
            fixture_settle(fixture);
        }
        assert_true(client_is_closed(late));
        assert_int_equal(late->status, 200);
        assert_int_equal(fixture->shared.streams_n, 0);
        fixture_free(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_has_its_headers),
        cmocka_unit_test(events_come_whichever_way_the_stream_goes),
        cmocka_unit_test(head_tells_what_get_would_and_opens_nothing),
        cmocka_unit_test(accept_must_allow_a_stream),
        cmocka_unit_test(what_the_query_gets_wrong_is_a_final_problem),
        cmocka_unit_test(heartbeats_keep_their_bounds),
        cmocka_unit_test(a_heartbeat_is_a_comment_unless_it_is_asked_for),
        cmocka_unit_test(padding_is_for_who_asks),
        cmocka_unit_test(events_come_in_an_envelope_for_who_asks),
        cmocka_unit_test(a_large_envelope_comes_whole),
        cmocka_unit_test(a_stream_begins_where_it_is_asked_to),
        cmocka_unit_test(an_id_of_another_life_is_told),
        cmocka_unit_test(so_many_streams_and_no_more),
        cmocka_unit_test(so_many_of_one_address),
        cmocka_unit_test(behind_a_trusted_proxy_its_client_counts),
        cmocka_unit_test(so_many_of_one_user),
        cmocka_unit_test(what_is_refused_leaves_nothing_taken),
        cmocka_unit_test(rare_shapes_of_one_client_are_bounded),
        cmocka_unit_test(who_begins_in_the_past_is_turned_away_first),
        cmocka_unit_test(without_memory_for_a_stream_its_place_is_given_back),
        cmocka_unit_test(a_stream_ends_when_its_client_has_left),
        cmocka_unit_test(a_stop_ends_streams_and_those_that_still_come),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
