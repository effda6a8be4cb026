/* SPDX-License-Identifier: MIT */
/* GET /ws: the handshake, who is refused and how, raw mode, and what is given back at the end. */
#include "config.h"
#include "api/ws.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture_ws.h"
#include "base/clock.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define FROM_LISTED "Origin: " FIXTURE_ORIGIN "\n"

static const char *with_upgrade(const char *lines)
{
    static char all[4096];

    snprintf(all, sizeof(all), "%s%s", lines, FIXTURE_UPGRADE);
    return all;
}

static void publish(struct fixture *fixture, const char *body)
{
    assert_int_equal(client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, body)->status, 201);
    fixture_settle(fixture);
}

/* ---- the handshake ---- */

static void it_opens_with_a_101(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws?topic=a", FIXTURE_UPGRADE);

    (void)state;
    assert_string_equal(client_header(client, "Upgrade"), "websocket");
    assert_string_equal(client_header(client, "Connection"), "Upgrade");
    assert_string_equal(client_header(client, "Sec-WebSocket-Accept"),
                        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_null(client_header(client, "Sec-WebSocket-Protocol"));
    assert_null(client_header(client, "Sec-WebSocket-Extensions"));
    ws_assert_nothing(client);
    publish(fixture, "{\"topic\":\"a\",\"data\":\"event\"}");
    publish(fixture, "{\"topic\":\"b\",\"data\":\"not for it\"}");
    ws_assert_text(client, "event");
    ws_assert_nothing(client);
    assert_int_equal(fixture->shared.streams_n, 1);
    fixture_free(fixture);
}

static void a_subprotocol_is_answered(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws?topic=a", FIXTURE_V1);

    (void)state;
    assert_string_equal(client_header(client, "Sec-WebSocket-Protocol"), "bugle.v1");
    ws_assert_begins(client, "{\"type\":\"hello\",\"id\":\"");
    publish(fixture, "{\"topic\":\"a\",\"data\":{\"n\":1.10}}");
    assert_non_null(strstr(ws_assert_begins(client, "{\"type\":\"event\",\"id\":\""),
                           "\"topics\":[\"a\"],\"data\":{\"n\":1.10}}"));
    client = ws_open(fixture, "/ws", FIXTURE_UPGRADE "Sec-WebSocket-Protocol: x, bugle.raw\n");
    assert_string_equal(client_header(client, "Sec-WebSocket-Protocol"), "bugle.raw");
    fixture_free(fixture);
}

static void what_is_no_handshake_is_told(void **state)
{
    static const struct {
        const char *headers;
        unsigned status;
        const char *code;
    } cases[] = {
        {"", 426, "upgrade_required"},
        {"Upgrade: h2c\nConnection: Upgrade\n", 426, "upgrade_required"},
        {"HTTP/1.0\n" FIXTURE_UPGRADE, 426, "upgrade_required"},
        {"Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 8\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n",
         426, "unsupported_version"},
        {"Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n", 400,
         "invalid_handshake"},
        {FIXTURE_UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n", 400, "invalid_handshake"},
        {FIXTURE_UPGRADE "Sec-WebSocket-Protocol: chat\n", 400, "unknown_protocol"},
        {FIXTURE_UPGRADE "Sec-WebSocket-Protocol: bearer.abc\n", 400, "unknown_protocol"},
        {"Origin: " FIXTURE_FOREIGN "\n" FIXTURE_UPGRADE, 403, "foreign_origin"},
        {"Origin: " FIXTURE_FOREIGN "\n", 403, "foreign_origin"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = client_ask(fixture, "GET", "/ws", cases[i].headers, NULL);

        client_is_refused(client, cases[i].status, cases[i].code);
        assert_int_equal(client_header(client, "Upgrade") != NULL, cases[i].status == 426);
        if (cases[i].status == 426)
            assert_string_equal(client_header(client, "Sec-WebSocket-Version"), "13");
        assert_int_equal(fixture_stat(fixture, STATS_WEBSOCKETS_REFUSED), i + 1);
    }
    assert_int_equal(fixture->shared.streams_n, 0);
    fixture_free(fixture);
}

static void a_body_is_no_handshake(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    client_is_refused(client_begin(fixture, "GET", "/ws", FIXTURE_UPGRADE, 5), 400,
                      "invalid_handshake");
    fixture_free(fixture);
}

static void bytes_behind_the_head_are_refused(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture->is_last = true;
    client_is_refused(client_ask(fixture, "GET", "/ws", FIXTURE_UPGRADE, NULL), 400,
                      "invalid_handshake");
    fixture_free(fixture);
}

static void only_get_is_taken(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "HEAD", "/ws", FIXTURE_UPGRADE, NULL);

    (void)state;
    assert_int_equal(client->status, 405);
    assert_string_equal(client_header(client, "Allow"), "GET, OPTIONS");
    client_is_refused(client_ask(fixture, "POST", "/ws", FIXTURE_UPGRADE, NULL), 405,
                      "method_not_allowed");
    fixture_free(fixture);
}

static void origins_that_are_listed_and_none_may(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    ws_open(fixture, "/ws", with_upgrade(FROM_LISTED));
    ws_open(fixture, "/ws", with_upgrade("Origin: http://127.0.0.1:8080\n"));
    ws_open(fixture, "/ws", FIXTURE_UPGRADE);
    fixture_free(fixture);
}

static void the_query_is_that_of_events_and_more(void **state)
{
    static const struct {
        const char *target, *code;
    } cases[] = {
        {"/ws?topc=a", "unknown_parameter"},
        {"/ws?since=never", "invalid_since"},
        {"/ws?heartbeat=x", "invalid_heartbeat"},
        {"/ws?topic=**%2Fa", "invalid_topic"},
        {"/ws?publish=a%2F*", "invalid_topic"},
        {"/ws?publish=", "invalid_topic"},
        {"/ws?publish=1&publish=2&publish=3&publish=4&publish=5&publish=6&publish=7&publish=8&"
         "publish=9&publish=10&publish=11&publish=12&publish=13&publish=14&publish=15&publish=16&"
         "publish=17",
         "too_many_topics"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        client_is_refused(client_ask(fixture, "GET", cases[i].target, FIXTURE_UPGRADE, NULL), 400,
                          cases[i].code);
    client_is_refused(client_ask(fixture, "GET", "/ws?publish=a", FIXTURE_V1, NULL), 400,
                      "invalid_value");
    assert_int_equal(fixture->shared.streams_n, 0);
    fixture_free(fixture);
}

/* ---- refusals ---- */

static void who_has_no_right_is_told_as_its_kind_understands(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    const char *token = fixture_token("{\"sub\":\"anna\",\"bugle\":{\"subscribe\":[\"a\"]}}");
    char lines[2048];

    (void)state;
    client_is_refused(client_ask(fixture, "GET", "/ws", FIXTURE_UPGRADE, NULL), 401,
                      "no_credentials");
    struct client *client = ws_open(fixture, "/ws", with_upgrade(FROM_LISTED));
    ws_assert_close(client, WS_CLOSE_TOKEN, "no_credentials");
    client_is_refused(client_ask(fixture, "GET", "/ws?topic=b", with_upgrade(token), NULL), 403,
                      "missing_right");
    snprintf(lines, sizeof(lines), FROM_LISTED "%s" FIXTURE_V1, token);
    client = ws_open(fixture, "/ws?topic=b", lines);
    ws_assert_text(client, "{\"type\":\"bye\",\"code\":\"missing_right\"}");
    ws_assert_close(client, WS_CLOSE_FORBIDDEN, "missing_right");
    client = ws_open(fixture, "/ws?topic=a", lines);
    ws_assert_begins(client, "{\"type\":\"hello\"");
    assert_int_equal(fixture->shared.streams_n, 1);
    assert_int_equal(fixture_stat(fixture, STATS_WEBSOCKETS_REFUSED), 4);
    fixture_free(fixture);
}

static void a_token_may_be_a_subprotocol_and_is_not_told_again(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    const char *token = fixture_token("{\"bugle\":{\"subscribe\":[\"a\"]}}");
    char lines[2048];

    (void)state;
    token += strlen("Authorization: Bearer ");
    snprintf(lines, sizeof(lines), FIXTURE_UPGRADE "Sec-WebSocket-Protocol: bugle.v1, bearer.%s",
             token);
    struct client *client = ws_open(fixture, "/ws?topic=a", lines);
    assert_string_equal(client_header(client, "Sec-WebSocket-Protocol"), "bugle.v1");
    assert_null(strstr(client->wire, "bearer"));
    fixture_free(fixture);
}

static void at_a_limit_it_is_told_when_to_come_back(void **state)
{
    struct fixture *fixture = fixture_new("limits.streams=1");
    struct client *first = ws_open(fixture, "/ws", FIXTURE_UPGRADE);
    int64_t refused_n = fixture_stat(fixture, STATS_STREAMS_REFUSED);
    struct client *client = client_ask(fixture, "GET", "/ws", FIXTURE_UPGRADE, NULL);

    (void)state;
    client_is_refused(client, 503, "too_many_streams");
    assert_in_range(atoi(client_header(client, "Retry-After")), 30, 61);
    client = ws_open(fixture, "/ws", with_upgrade(FROM_LISTED));
    ws_assert_close(client, WS_CLOSE_TRY_LATER, "too_many_streams retry_ms=");
    assert_int_equal(fixture_stat(fixture, STATS_STREAMS_REFUSED), refused_n + 2);
    client_hang_up(first);
    fixture_settle(fixture);
    assert_int_equal(fixture->shared.streams_n, 0);
    ws_open(fixture, "/ws", FIXTURE_UPGRADE);
    fixture_free(fixture);
}

static void its_places_are_given_back(void **state)
{
    struct fixture *fixture = fixture_new("limits.streams_per_address=1");

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct client *client = ws_open(fixture, "/ws", FIXTURE_UPGRADE);

        client_is_refused(client_ask(fixture, "GET", "/ws", FIXTURE_UPGRADE, NULL), 429,
                          "too_many_streams_of_address");
        client_is_refused(client_ask(fixture, "GET", "/events", "", NULL), 429,
                          "too_many_streams_of_address");
        client_hang_up(client);
        fixture_settle(fixture);
    }
    fixture_free(fixture);
}

static void a_ticket_is_used_by_its_newest(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    const char *admin = fixture_token("{\"bugle\":{\"admin\":true}}");
    struct client *made =
        client_ask(fixture, "POST", "/api/tickets", admin, "{\"topics\":[\"a\"]}");
    char target[512];

    (void)state;
    json_t *json = client_json(made);
    snprintf(target, sizeof(target), "/ws?topic=a&ticket=%s",
             json_string_value(json_object_get(json, "ticket")));
    json_decref(json);
    struct client *first = ws_open(fixture, target, FIXTURE_V1);
    const char *hello = ws_assert_begins(first, "{\"type\":\"hello\",\"id\":\"");
    snprintf(target + strlen(target), sizeof(target) - strlen(target), "&last_event_id=%.29s",
             strchr(hello + strlen("{\"type\":\"hello\",\"id\":"), '"') + 1);
    struct client *second = ws_open(fixture, target, FIXTURE_V1);
    fixture_settle(fixture);
    ws_assert_text(first, "{\"type\":\"bye\",\"code\":\"replaced\"}");
    ws_assert_close(first, WS_CLOSE_TICKET_USED, "replaced");
    ws_assert_begins(second, "{\"type\":\"hello\"");
    fixture_free(fixture);
}

/* ---- raw ---- */

static void what_is_said_reaches_everybody_or_the_topics(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *all = ws_open(fixture, "/ws", FIXTURE_UPGRADE);
    struct client *a = ws_open(fixture, "/ws?topic=a&publish=b&publish=c", FIXTURE_UPGRADE);
    struct client *b = ws_open(fixture, "/ws?topic=b", FIXTURE_UPGRADE);

    (void)state;
    ws_say(all, "to all");
    ws_assert_text(all, "to all");
    ws_assert_text(a, "to all");
    ws_assert_text(b, "to all");
    ws_say(a, "{\"topic\":\"x\",\"data\":1}"); /* it is aimed, so it may look like anything */
    ws_assert_text(b, "{\"topic\":\"x\",\"data\":1}");
    ws_assert_text(all, "{\"topic\":\"x\",\"data\":1}");
    ws_assert_nothing(a);
    ws_say(a, "");
    ws_assert_text(b, "");
    ws_say(a, "two\nlines");
    ws_assert_text(b, "two\nlines");
    assert_int_equal(fixture_stat(fixture, STATS_WEBSOCKET_MESSAGES), 4);
    fixture_free(fixture);
}

static void pings_may_be_texts(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws?ping=text", FIXTURE_UPGRADE);

    (void)state;
    ws_say(client, "ping");
    ws_assert_text(client, "pong");
    ws_say(client, "ping ");
    ws_assert_text(client, "ping ");
    client = ws_open(fixture, "/ws", FIXTURE_UPGRADE);
    ws_say(client, "ping");
    ws_assert_text(client, "ping");
    fixture_free(fixture);
}

static void one_text_is_published_at_a_time(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws", FIXTURE_UPGRADE);

    (void)state;
    fixture->holds_store = true;
    ws_say(client, "one");
    ws_say(client, "two");
    ws_say(client, "three");
    assert_int_equal(fixture_stat(fixture, STATS_WEBSOCKET_MESSAGES), 1);
    ws_assert_nothing(client);
    fixture->holds_store = false;
    fixture_settle(fixture);
    ws_assert_text(client, "one");
    ws_assert_text(client, "two");
    ws_assert_text(client, "three");
    fixture_free(fixture);
}

static void who_goes_before_the_answer_has_published(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws", FIXTURE_UPGRADE),
                  *other = ws_open(fixture, "/ws", FIXTURE_UPGRADE);

    (void)state;
    fixture->holds_store = true;
    ws_say(client, "the last");
    client_hang_up(client);
    fixture_settle(fixture);
    assert_int_equal(fixture->shared.streams_n, 1);
    fixture->holds_store = false;
    fixture_settle(fixture);
    ws_assert_text(other, "the last");
    fixture_free(fixture);
}

static void what_may_not_be_published_ends_it(void **state)
{
    static const struct {
        const char *settings, *target, *text;
        int error;
        unsigned code;
        const char *reason;
    } cases[] = {
        {"limits.event_bytes=10", "/ws", "more than ten bytes", 0, WS_CLOSE_TOO_BIG,
         "event_too_large"},
        {"", "/ws", "{\"topic\":\"a\",\"data\":1}", 0, WS_CLOSE_POLICY, "looks_like_json"},
        {"websocket.publish=off", "/ws", "text", 0, WS_CLOSE_FORBIDDEN, "publishing_off"},
        {"", "/ws", "text", -EIO, WS_CLOSE_TRY_LATER, "store_failed retry_ms="},
        {"", "/ws", "text", -ENOSPC, WS_CLOSE_TRY_LATER, "disk_reserve retry_ms="},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct fixture *fixture = fixture_new(cases[i].settings);
        struct client *client = ws_open(fixture, cases[i].target, FIXTURE_UPGRADE);

        fixture->append_error = cases[i].error;
        ws_say(client, cases[i].text);
        ws_assert_close(client, cases[i].code, cases[i].reason);
        fixture_free(fixture);
    }
}

static void rights_to_publish_are_asked_for(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    char reader[1024], writer[1024];

    (void)state;
    strcpy(reader, with_upgrade(fixture_token("{\"bugle\":{\"subscribe\":[\"**\"]}}")));
    strcpy(writer,
           with_upgrade(fixture_token("{\"bugle\":{\"subscribe\":[\"**\"],\"publish\":[\"a\"]}}")));
    client_is_refused(client_ask(fixture, "GET", "/ws?publish=a", reader, NULL), 403,
                      "missing_right");
    client_is_refused(client_ask(fixture, "GET", "/ws?publish=a&publish=b", writer, NULL), 403,
                      "missing_right");
    struct client *reading = ws_open(fixture, "/ws", reader),
                  *writing = ws_open(fixture, "/ws?publish=a", writer),
                  *shouting = ws_open(fixture, "/ws", writer);
    ws_say(writing, "may");
    ws_assert_text(reading, "may");
    ws_say(shouting, "may not");
    ws_assert_text(shouting, "may");
    ws_assert_close(shouting, WS_CLOSE_FORBIDDEN, "missing_right");
    ws_say(reading, "may not");
    ws_assert_close(reading, WS_CLOSE_FORBIDDEN, "missing_right");
    fixture_free(fixture);
}

static void publishing_can_be_off(void **state)
{
    struct fixture *fixture = fixture_new("websocket.publish=off");

    (void)state;
    client_is_refused(client_ask(fixture, "GET", "/ws?publish=a", FIXTURE_UPGRADE, NULL), 403,
                      "publishing_off");
    struct client *client = ws_open(fixture, "/ws?topic=a", FIXTURE_UPGRADE);
    publish(fixture, "{\"topic\":\"a\",\"data\":\"event\"}");
    ws_assert_text(client, "event");
    fixture_free(fixture);
}

/* ---- ends ---- */

static void a_close_is_answered_and_read_to_its_end(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws", FIXTURE_UPGRADE);

    (void)state;
    ws_send_frame(client, WS_CLOSE,
                  "\x03\xe8"
                  "bye",
                  5);
    ws_assert_close(client, WS_CLOSE_NORMAL, "");
    assert_int_equal(fixture_lingering(fixture), 1);
    assert_int_equal(fixture->shared.streams_n, 0);
    client_hang_up(client);
    assert_int_equal(fixture_lingering(fixture), 0);
    fixture_free(fixture);
}

static void a_stop_says_goodbye(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws", FIXTURE_V1), *late;

    (void)state;
    ws_assert_begins(client, "{\"type\":\"hello\"");
    streams_drain(fixture->services[0].streams, clock_mono_ms(), 0, STREAM_END_DRAINED);
    fixture_settle(fixture);
    ws_assert_begins(client, "{\"type\":\"bye\",\"code\":\"stopping\",\"retry_ms\":");
    ws_assert_close(client, WS_CLOSE_GOING_AWAY, "stopping retry_ms=");
    late = ws_open(fixture, "/ws", FIXTURE_UPGRADE);
    ws_assert_close(late, WS_CLOSE_GOING_AWAY, "stopping retry_ms=");
    fixture_free(fixture);
}

static void an_administrator_can_end_it(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = ws_open(fixture, "/ws?user=anna", FIXTURE_UPGRADE);
    struct client *list = client_ask(fixture, "GET", "/api/streams", "", NULL);

    (void)state;
    assert_true(client_has(list, "\"transport\":\"websocket\""));
    assert_int_equal(client_ask(fixture, "DELETE", "/api/streams?user=anna", "", NULL)->status,
                     200);
    ws_assert_close(client, WS_CLOSE_NORMAL, "deleted");
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_opens_with_a_101),
        cmocka_unit_test(a_subprotocol_is_answered),
        cmocka_unit_test(what_is_no_handshake_is_told),
        cmocka_unit_test(a_body_is_no_handshake),
        cmocka_unit_test(bytes_behind_the_head_are_refused),
        cmocka_unit_test(only_get_is_taken),
        cmocka_unit_test(origins_that_are_listed_and_none_may),
        cmocka_unit_test(the_query_is_that_of_events_and_more),
        cmocka_unit_test(who_has_no_right_is_told_as_its_kind_understands),
        cmocka_unit_test(a_token_may_be_a_subprotocol_and_is_not_told_again),
        cmocka_unit_test(at_a_limit_it_is_told_when_to_come_back),
        cmocka_unit_test(its_places_are_given_back),
        cmocka_unit_test(a_ticket_is_used_by_its_newest),
        cmocka_unit_test(what_is_said_reaches_everybody_or_the_topics),
        cmocka_unit_test(pings_may_be_texts),
        cmocka_unit_test(one_text_is_published_at_a_time),
        cmocka_unit_test(who_goes_before_the_answer_has_published),
        cmocka_unit_test(what_may_not_be_published_ends_it),
        cmocka_unit_test(rights_to_publish_are_asked_for),
        cmocka_unit_test(publishing_can_be_off),
        cmocka_unit_test(a_close_is_answered_and_read_to_its_end),
        cmocka_unit_test(a_stop_says_goodbye),
        cmocka_unit_test(an_administrator_can_end_it),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
