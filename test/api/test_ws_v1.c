/* SPDX-License-Identifier: MIT */
/* The conversation in bugle.v1: each message and its answer, over a real WebSocket of a gateway
 * without the HTTP library. */
#include "config.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <cmocka.h>

#include "../support/fail_alloc.h"
#include "../support/fixture.h"
#include "api/ws_session.h"
#include "base/clock.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define WAIT_MS 10000
#define LONG_N 6000 /* is read beside the loop */
#define UPGRADE                                                                                    \
    "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"                         \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: bugle.v1\n"

/* ---- a client ---- */

/* Where in what has come so far; heads of frames have NULs. */
static const char *find(const struct client *client, const char *text)
{
    return memmem(client->body, client->body_n, text, strlen(text));
}

static bool has(const struct client *client, const char *text)
{
    return find(client, text) != NULL;
}

static void hear(struct client *client, const char *text)
{
    struct timespec pause = {.tv_nsec = 200000};
    int64_t until_ms = clock_mono_ms() + WAIT_MS;

    while (!has(client, text)) {
        if (clock_mono_ms() > until_ms)
            fail_msg("no \"%s\" in \"%.*s\"", text, (int)client->body_n, client->body);
        fixture_turn(client->fixture);
        nanosleep(&pause, NULL);
    }
}

static struct client *connect_as(struct fixture *fixture, const char *target, const char *claims)
{
    char headers[2048] = UPGRADE;

    if (claims != NULL)
        strcat(headers, fixture_token(claims));
    struct client *client = client_begin(fixture, "GET", target, headers, 0);
    hear(client, "{\"type\":\"hello\"");
    return client;
}

static void say_bytes(struct client *client, const char *text, size_t text_n)
{
    unsigned char frame[2 * LONG_N + 14] = {0x81};
    size_t n = 2;

    assert_true(text_n + 14 <= sizeof(frame));
    frame[1] = (unsigned char)(0x80 | (text_n < 126 ? text_n : 126));
    if (text_n >= 126) {
        frame[n++] = (unsigned char)(text_n >> 8);
        frame[n++] = (unsigned char)text_n;
    }
    n += 4; /* a mask that changes nothing */
    memcpy(frame + n, text, text_n);
    n += text_n;
    assert_int_equal(send(client->fd, frame, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void say(struct client *client, const char *text)
{
    say_bytes(client, text, strlen(text));
}

static void ask(struct client *client, const char *text, const char *answer)
{
    say(client, text);
    hear(client, answer);
}

static void push(struct fixture *fixture, const char *body)
{
    assert_int_equal(client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, body)->status, 201);
}

/* ---- publishing ---- */

static void a_publish_is_answered_with_its_id(void **state)
{
    struct fixture *fixture = fixture_new("");
    const char *epoch = history_epoch(fixture->history);
    struct client *client = connect_as(fixture, "/ws?topic=a", NULL);
    char wanted[256];

    (void)state;
    say(client, "{\"type\":\"publish\",\"ref\":\"x \\u00e9\",\"events\":{\"topic\":\"a\","
                "\"data\":{\"n\": 1.10}}}");
    snprintf(wanted, sizeof(wanted),
             "{\"type\":\"ack\",\"ref\":\"x \\u00e9\",\"id\":\"%s-0000000000000001\","
             "\"durability\":\"memory\",\"duplicate\":false}",
             epoch);
    hear(client, wanted);
    hear(client, "\"data\":{\"n\":1.10}}");
    say(client, "{\"type\":\"publish\",\"ref\":2,\"events\":[{\"data\":\"x\"},"
                "{\"data\":\"y\",\"ephemeral\":true}]}");
    snprintf(wanted, sizeof(wanted),
             "{\"type\":\"ack\",\"ref\":2,\"ids\":[\"%s-0000000000000002\",null],"
             "\"duplicates\":[false,false],\"durability\":\"memory\"}",
             epoch);
    hear(client, wanted);
    fixture_free(fixture);
}

/* Nothing is read meanwhile, and all is answered in its order. */
static void one_publish_at_a_time(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = connect_as(fixture, "/ws?topic=none", NULL);

    (void)state;
    fixture->holds_store = true;
    say(client, "{\"type\":\"publish\",\"ref\":\"first\",\"events\":{\"data\":1}}");
    say(client, "{\"type\":\"ping\",\"ref\":\"second\"}");
    say(client, "{\"type\":\"publish\",\"ref\":\"third\",\"events\":{\"data\":1}}");
    fixture_settle(fixture);
    assert_int_equal(fixture->services[0].publishes_n, 1);
    assert_false(has(client, "second"));
    fixture->holds_store = false;
    hear(client, "\"third\"");
    assert_true(find(client, "first") < find(client, "second"));
    assert_true(find(client, "second") < find(client, "third"));
    assert_int_equal(hub_committed(fixture->hub), 2);
    fixture_free(fixture);
}

static void who_leaves_has_published_all_the_same(void **state)
{
    static char text[LONG_N + 100];
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (int is_long = 0; is_long < 2; is_long++) {
        struct client *client = connect_as(fixture, "/ws?topic=none", NULL);
        int n = snprintf(text, sizeof(text),
                         "{\"type\":\"publish\",\"ref\":1,\"events\":{\"data\":\"x\"");

        memset(text + n, ' ', sizeof(text) - (size_t)n);
        memcpy(text + (is_long ? LONG_N : n), "}}", 2);
        fixture->holds_store = true;
        say_bytes(client, text, (size_t)(is_long ? LONG_N : n) + 2);
        while (fixture->services[0].publishes_n == 0)
            fixture_turn(fixture);
        client_hang_up(client);
        while (streams_count(fixture->services[0].streams) > 0)
            fixture_turn(fixture);
        fixture->holds_store = false;
        while (fixture->services[0].publishes_n > 0)
            fixture_turn(fixture);
        assert_int_equal(hub_committed(fixture->hub), is_long + 1);
    }
    fixture_free(fixture);
}

static void what_is_wrong_with_events_is_told_from_the_message(void **state)
{
    static const struct {
        const char *events, *answer;
    } cases[] = {
        {"7", "\"status\":422,\"code\":\"not_an_object\",\"detail\":\"An event must be a JSON "
              "object.\",\"pointer\":\"/events\"}"},
        {"[]", "\"status\":422,\"code\":\"empty_array\",\"detail\":\"The array has no events.\","
               "\"pointer\":\"/events\"}"},
        {"[1]", "\"pointer\":\"/events/0\"}"},
        {"{\"data\":}", "\"status\":400,\"code\":\"invalid_json\""},
        {"{\"topic\":\"a\"}", "\"pointer\":\"/events/data\"}"},
        {"[{\"data\":1},{\"data\":1,\"topc\":1}]", "\"pointer\":\"/events/1/topc\"}"},
        {"{\"data\":\"xxxxxxxxxxxxxxxxxxxxx\"}", "\"status\":413,\"code\":\"event_too_large\""},
    };
    struct fixture *fixture = fixture_new("limits.event_bytes=20");
    struct client *client = connect_as(fixture, "/ws?topic=none", NULL);
    char text[256];

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        snprintf(text, sizeof(text), "{\"type\":\"publish\",\"ref\":%zu,\"events\":%s}", i,
                 cases[i].events);
        say(client, text);
        snprintf(text, sizeof(text), "{\"type\":\"error\",\"ref\":%zu,\"status\":", i);
        hear(client, text);
        hear(client, cases[i].answer);
    }
    say(client, "{\"type\":\"publish\",\"ref\":\"ok\",\"events\":{\"data\":1,"
                "\"idempotency_key\":\"k\"}}");
    hear(client, "{\"type\":\"ack\",\"ref\":\"ok\"");
    say(client, "{\"type\":\"publish\",\"ref\":\"no\",\"events\":[{\"data\":2,"
                "\"idempotency_key\":\"k\"}]}");
    hear(client, "{\"type\":\"error\",\"ref\":\"no\",\"status\":422,"
                 "\"code\":\"idempotency_conflict\"");
    hear(client, "\"pointer\":\"/events/0/idempotency_key\"}");
    assert_int_equal(hub_committed(fixture->hub), 1);
    fixture_free(fixture);
}

static void what_hinders_the_store_is_told(void **state)
{
    struct fixture *fixture = fixture_new("limits.queue_bytes=1M");
    struct client *client = connect_as(fixture, "/ws?topic=none", NULL);

    (void)state;
    fixture->append_error = -EIO;
    ask(client, "{\"type\":\"publish\",\"ref\":1,\"events\":{\"data\":1}}",
        "{\"type\":\"error\",\"ref\":1,\"status\":503,\"code\":\"store_failed\",\"detail\":\"The "
        "store failed; nothing was stored.\"}");
    fixture->append_error = 0;
    assert_true(hub_admit(fixture->hub, 1 << 20, NULL));
    ask(client, "{\"type\":\"publish\",\"ref\":2,\"events\":{\"data\":1}}",
        "{\"type\":\"error\",\"ref\":2,\"status\":503,\"code\":\"overloaded\"");
    hub_charge(fixture->hub, 1 << 20, 0);
    fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
    ask(client, "{\"type\":\"publish\",\"ref\":3,\"events\":{\"data\":1}}",
        "{\"type\":\"error\",\"ref\":3,\"status\":503,\"code\":\"memory_short\"");
    ask(client, "{\"type\":\"subscribe\",\"ref\":4,\"topics\":[\"b\"]}",
        "{\"type\":\"error\",\"ref\":4,\"status\":503,\"code\":\"memory_short\"");
    fixture_fill_memory(fixture, MEMORY_BUDGET_FINE);
    ask(client, "{\"type\":\"publish\",\"ref\":5,\"events\":{\"data\":1}}",
        "{\"type\":\"ack\",\"ref\":5,");
    fixture_free(fixture);
}

static void publishing_may_be_off(void **state)
{
    struct fixture *fixture = fixture_new("websocket.publish=off");
    struct client *client = connect_as(fixture, "/ws?topic=a", NULL);

    (void)state;
    ask(client, "{\"type\":\"publish\",\"ref\":1,\"events\":{\"data\":1}}",
        "{\"type\":\"error\",\"ref\":1,\"status\":403,\"code\":\"publishing_off\"");
    ask(client, "{\"type\":\"ping\",\"ref\":2}", "{\"type\":\"pong\",\"ref\":2}");
    assert_int_equal(hub_committed(fixture->hub), 0);
    fixture_free(fixture);
}

/* ---- rights ---- */

static void rights_hold(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token auth.anonymous=public/**");
    struct client *client =
        connect_as(fixture, "/ws?topic=a/1",
                   "{\"exp\":4102444800,\"sub\":\"anna\",\"bugle\":{\"subscribe\":[\"a/*\"],"
                   "\"publish\":[\"a/1\"]}}");
    struct client *reader = connect_as(fixture, "/ws", NULL);
    int64_t refused = fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN);

    (void)state;
    ask(client,
        "{\"type\":\"publish\",\"ref\":1,\"events\":[{\"topic\":\"a/1\",\"data\":1},"
        "{\"topic\":\"a/2\",\"data\":1}]}",
        "{\"type\":\"error\",\"ref\":1,\"status\":403,\"code\":\"missing_right\"");
    hear(client, "\"pointer\":\"/events/1/topic\"}");
    ask(client, "{\"type\":\"publish\",\"ref\":2,\"events\":{\"topic\":\"a/1\",\"data\":1}}",
        "{\"type\":\"ack\",\"ref\":2,");
    ask(client, "{\"type\":\"subscribe\",\"ref\":3,\"topics\":[\"a/2\",\"b\"]}",
        "{\"type\":\"error\",\"ref\":3,\"status\":403,\"code\":\"missing_right\"");
    ask(client, "{\"type\":\"subscribe\",\"ref\":4,\"topics\":[\"a/2\",\"public/x\"]}",
        "{\"type\":\"subscribed\",\"ref\":4,\"topics\":[\"a/1\",\"a/2\",\"public/x\"],");
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_FORBIDDEN), refused + 2);
    ask(reader, "{\"type\":\"publish\",\"ref\":5,\"events\":{\"topic\":\"public/x\",\"data\":1}}",
        "{\"type\":\"error\",\"ref\":5,\"status\":401,\"code\":\"no_credentials\"");
    ask(reader, "{\"type\":\"subscribe\",\"ref\":6,\"topics\":[\"a/1\"]}",
        "{\"type\":\"error\",\"ref\":6,\"status\":401,\"code\":\"no_credentials\"");
    ask(reader, "{\"type\":\"unsubscribe\",\"ref\":7,\"topics\":[\"public/**\"]}",
        "{\"type\":\"error\",\"ref\":7,\"status\":422,\"code\":\"not_subscribed\"");
    ask(reader, "{\"type\":\"subscribe\",\"ref\":8,\"topics\":[\"public/x\"]}",
        "{\"type\":\"subscribed\",\"ref\":8,\"topics\":[\"public/x\"],");
    fixture_free(fixture);
}

/* ---- topics ---- */

static void topics_change_from_a_place_on(void **state)
{
    struct fixture *fixture = fixture_new("");
    const char *epoch = history_epoch(fixture->history);
    struct client *client = connect_as(fixture, "/ws?topic=a", NULL);
    char wanted[256];

    (void)state;
    push(fixture, "{\"topic\":\"b\",\"data\":\"too early\"}");
    fixture_settle(fixture);
    say(client, "{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"b\",\"c/*\",\"a\",\"b\"]}");
    snprintf(wanted, sizeof(wanted),
             "{\"type\":\"subscribed\",\"ref\":1,\"topics\":[\"a\",\"b\",\"c/*\"],"
             "\"id\":\"%s-0000000000000001\"}",
             epoch);
    hear(client, wanted);
    push(fixture, "[{\"topic\":\"b\",\"data\":\"of b\"},{\"topic\":\"c/1\",\"data\":\"of c\"},"
                  "{\"topic\":\"d\",\"data\":\"of d\"}]");
    hear(client, "\"of c\"");
    say(client, "{\"type\":\"unsubscribe\",\"ref\":2,\"topics\":[\"b\",\"a\",\"b\"]}");
    snprintf(wanted, sizeof(wanted),
             "{\"type\":\"subscribed\",\"ref\":2,\"topics\":[\"c/*\"],\"id\":\"%s-", epoch);
    hear(client, wanted);
    push(fixture,
         "[{\"topic\":\"b\",\"data\":\"too late\"},{\"topic\":\"c/1\",\"data\":\"last\"}]");
    hear(client, "\"last\"");
    assert_true(has(client, "\"of b\""));
    assert_false(has(client, "too early"));
    assert_false(has(client, "too late"));
    assert_false(has(client, "of d"));
    fixture_free(fixture);
}

static void what_is_not_there_cannot_go(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = connect_as(fixture, "/ws?topic=a&topic=b", NULL);

    (void)state;
    ask(client, "{\"type\":\"unsubscribe\",\"ref\":1,\"topics\":[\"a\",\"c\"]}",
        "{\"type\":\"error\",\"ref\":1,\"status\":422,\"code\":\"not_subscribed\"");
    hear(client, "\"pointer\":\"/topics/1\"}");
    ask(client, "{\"type\":\"unsubscribe\",\"ref\":2,\"topics\":[\"a\"]}", "\"topics\":[\"b\"],");
    ask(client, "{\"type\":\"unsubscribe\",\"ref\":3,\"topics\":[\"b\"]}", "\"topics\":[],");
    ask(client, "{\"type\":\"unsubscribe\",\"ref\":4,\"topics\":[\"$bugle/none\"]}",
        "\"ref\":4,\"status\":400,\"code\":\"invalid_topic\"");
    push(fixture, "[{\"topic\":\"a\",\"data\":\"not for it\"},{\"data\":\"for all\"}]");
    hear(client, "\"for all\"");
    assert_false(has(client, "not for it"));
    ask(client, "{\"type\":\"subscribe\",\"ref\":5,\"topics\":[\"c\"]}", "\"topics\":[\"c\"],");
    fixture_free(fixture);
}

/* Who named no topic reads everything until it names one. */
static void everything_gives_way_to_the_first_topic(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = connect_as(fixture, "/ws?user=anna", NULL);

    (void)state;
    push(fixture, "{\"topic\":\"x\",\"data\":\"everything\"}");
    hear(client, "\"everything\"");
    ask(client, "{\"type\":\"unsubscribe\",\"ref\":1,\"topics\":[\"x\"]}",
        "\"ref\":1,\"status\":422,\"code\":\"not_subscribed\"");
    ask(client, "{\"type\":\"subscribe\",\"ref\":2,\"topics\":[\"a\"]}", "\"topics\":[\"a\"],");
    push(fixture, "[{\"topic\":\"x\",\"data\":\"not for it\"},"
                  "{\"topic\":\"a\",\"user\":\"berta\",\"data\":\"hers\"},"
                  "{\"topic\":\"a\",\"user\":\"anna\",\"data\":\"mine\"}]");
    hear(client, "\"mine\"");
    assert_false(has(client, "not for it"));
    assert_false(has(client, "hers"));
    fixture_free(fixture);
}

static void topics_have_limits(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = connect_as(fixture, "/ws?topic=a", NULL);
    char text[4096] = "{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"t/0\"", *at;

    (void)state;
    for (int i = 1; i < 64; i++) {
        at = text + strlen(text);
        snprintf(at, 16, ",\"t/%d\"", i);
    }
    strcat(text, "]}");
    ask(client, text, "{\"type\":\"error\",\"ref\":1,\"status\":400,\"code\":\"too_many_topics\"");
    hear(client, "\"pointer\":\"/topics/63\"}");
    *strstr(text, "t/63") = 'a'; /* "a/63" */
    memcpy(strstr(text, "\"a/63\""), "\"a\"   ", 6);
    text[strlen("{\"type\":\"subscribe\",\"ref\":")] = '2';
    ask(client, text, "{\"type\":\"subscribed\",\"ref\":2,");
    ask(client, "{\"type\":\"subscribe\",\"ref\":3,\"topics\":[\"b\"]}",
        "{\"type\":\"error\",\"ref\":3,\"status\":400,\"code\":\"too_many_topics\"");
    strcpy(text, "{\"type\":\"subscribe\",\"ref\":4,\"topics\":[\"0");
    for (int i = 0; i < 17; i++) {
        at = text + strlen(text);
        at += i > 0 ? sprintf(at, ",\"%d", i) : 0;
        for (int k = 0; k < 31; k++)
            at = stpcpy(at, "/x");
        strcpy(at, "\"");
    }
    strcat(text, "]}");
    client = connect_as(fixture, "/ws?topic=a", NULL);
    ask(client, text,
        "{\"type\":\"error\",\"ref\":4,\"status\":400,\"code\":\"too_many_segments\"");
    fixture_free(fixture);
}

/* ---- what is no message ---- */

static void what_is_no_message_is_told_and_nothing_ends(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = connect_as(fixture, "/ws?topic=a", NULL);

    (void)state;
    ask(client, "", "{\"type\":\"error\",\"status\":400,\"code\":\"invalid_json\",\"detail\":");
    ask(client, "[]", "{\"type\":\"error\",\"status\":422,\"code\":\"not_an_object\",\"detail\":");
    ask(client, "{\"type\":\"what\",\"ref\":1}",
        "{\"type\":\"error\",\"ref\":1,\"status\":422,\"code\":\"invalid_field\",\"detail\":");
    ask(client, "{\"type\":\"ping\",\"ref\":2,\"a\\\"\\u0001b\":1}", "\"ref\":2,\"status\":422");
    ask(client, "{\"type\":\"ping\"}", "\"pointer\":\"/ref\"}");
    say(client, "{\"type\":\"pong\"}");
    ask(client, "{\"type\":\"ping\",\"ref\":-3}", "{\"type\":\"pong\",\"ref\":-3}");
    assert_int_equal(streams_count(fixture->services[0].streams), 1);
    fixture_free(fixture);
}

/* A sentence that was cut to fit is still UTF-8. */
static void a_long_name_is_cut_at_a_character(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    struct client *client =
        connect_as(fixture, "/ws",
                   "{\"exp\":4102444800,\"sub\":\"\xc3\xa9\",\"bugle\":{\"subscribe\":[\"a\"]}}");
    char text[1024] = "{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"";

    (void)state;
    for (int i = 0; i < 85; i++)
        strcat(text, "\xe2\x82\xac");
    strcat(text, "\"]}");
    ask(client, text, "{\"type\":\"error\",\"ref\":1,\"status\":403,\"code\":\"missing_right\"");
    fixture_settle(fixture);
    const char *begin = find(client, "{\"type\":\"error\""); /* the last there is */
    json_t *parsed = json_loadb(begin, (size_t)(client->body + client->body_n - begin), 0, NULL);
    assert_non_null(parsed);
    json_decref(parsed);
    fixture_free(fixture);
}

/* ---- memory ---- */

/* Each allocation of an answer fails once: it is an answer that says so, or the end. */
static void memory_may_end_anywhere(void **state)
{
    static const char *const texts[] = {
        "{\"type\":\"publish\",\"ref\":1,\"events\":[{\"data\":1,\"topics\":[\"a\"]}]}",
        "{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"b\"]}",
        "{\"type\":\"unsubscribe\",\"ref\":1,\"topics\":[\"a\"]}",
        "{\"type\":\"ping\",\"ref\":1}",
        "{\"type\":\"what\",\"ref\":1}",
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++) {
        bool is_over = false;

        for (int n = 0; !is_over; n++) {
            struct client *client = connect_as(fixture, "/ws?topic=a", NULL);
            struct service *service = &fixture->services[0];

            say(client, texts[i]);
            fail_alloc(n);
            for (int turn = 0; turn < 3; turn++)
                worker_turn(service->worker, false);
            is_over = !fail_alloc_is_over();
            fail_alloc(-1);
            fixture_settle(fixture);
            bool is_answered = has(client, "\"ref\":1") || has(client, "\"out_of_memory\"") ||
                               has(client, "\"too_many_streams\"");
            if (!is_answered && streams_count(service->streams) > 0)
                hear(client, "\"ref\":1");
            assert_true(!is_over || is_answered);
            client_hang_up(client);
            while (streams_count(service->streams) > 0)
                fixture_turn(fixture);
            assert_in_range(n, is_over, 100);
        }
    }
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_publish_is_answered_with_its_id),
        cmocka_unit_test(one_publish_at_a_time),
        cmocka_unit_test(who_leaves_has_published_all_the_same),
        cmocka_unit_test(what_is_wrong_with_events_is_told_from_the_message),
        cmocka_unit_test(what_hinders_the_store_is_told),
        cmocka_unit_test(publishing_may_be_off),
        cmocka_unit_test(rights_hold),
        cmocka_unit_test(topics_change_from_a_place_on),
        cmocka_unit_test(what_is_not_there_cannot_go),
        cmocka_unit_test(everything_gives_way_to_the_first_topic),
        cmocka_unit_test(topics_have_limits),
        cmocka_unit_test(what_is_no_message_is_told_and_nothing_ends),
        cmocka_unit_test(a_long_name_is_cut_at_a_character),
        cmocka_unit_test(memory_may_end_anywhere),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
