/* SPDX-License-Identifier: MIT */
/* POST /api/push from its head to the hub's answer: what is taken, what is refused and by whom. */
#include "config.h"
#include "api/publish.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "../support/make.h"
#include "event/topic.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define EVENT "{\"data\":\"x\"}"
#define TEXT "Content-Type: text/plain\n"
#define LONGEST_KEY TOPIC_BYTES_MAX /* as names */
#define KEY(value) FIXTURE_JSON "Idempotency-Key: " value "\n"

/* A text says whom it is for, or that it is for all. */
static struct client *push(struct fixture *fixture, const char *headers, const char *body)
{
    bool is_text = strncmp(headers, TEXT, strlen(TEXT)) == 0;

    return client_ask(fixture, "POST", is_text ? "/api/push?broadcast=true" : "/api/push", headers,
                      body);
}

static void assert_pointer(const struct client *client, const char *wanted)
{
    json_t *json = client_json(client);

    assert_string_equal(json_string_value(json_object_get(json, "pointer")), wanted);
    json_decref(json);
}

static void assert_retry_after(const struct client *client)
{
    assert_non_null(client_header(client, "Retry-After"));
    assert_in_range(atoi(client_header(client, "Retry-After")), 1, 5);
}

/* Nothing of what was refused still counts as waiting. */
static void assert_queue_is_empty(struct fixture *fixture)
{
    assert_false(hub_is_full(fixture->hub, fixture->conf->limits.queue_bytes));
}

/* ---- what is taken ---- */

static void one_event_is_answered_with_its_id(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = push(fixture, FIXTURE_JSON, EVENT);
    char wanted[128];

    (void)state;
    assert_int_equal(client->status, 201);
    snprintf(wanted, sizeof(wanted),
             "{\"id\":\"%s-0000000000000001\",\"durability\":\"memory\",\"duplicate\":false}\n",
             history_epoch(fixture->history));
    assert_string_equal(client->body, wanted);
    assert_int_equal(hub_committed(fixture->hub), 1);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void several_events_are_answered_with_their_ids(void **state)
{
    struct fixture *fixture = fixture_new("");
    const char *epoch = history_epoch(fixture->history);
    struct client *client = push(fixture, FIXTURE_JSON,
                                 "[{\"data\":\"a\"},{\"data\":\"b\",\"ephemeral\":true},"
                                 "{\"data\":\"c\"}]");
    char wanted[256];

    (void)state;
    assert_int_equal(client->status, 201);
    snprintf(wanted, sizeof(wanted),
             "{\"ids\":[\"%s-0000000000000001\",null,\"%s-0000000000000002\"],"
             "\"duplicates\":[false,false,false],\"durability\":\"memory\"}\n",
             epoch, epoch);
    assert_string_equal(client->body, wanted);
    client = push(fixture, FIXTURE_JSON, "[{\"data\":\"a\"}]"); /* an array all the same */
    snprintf(wanted, sizeof(wanted),
             "{\"ids\":[\"%s-0000000000000003\"],\"duplicates\":[false],"
             "\"durability\":\"memory\"}\n",
             epoch);
    assert_string_equal(client->body, wanted);
    fixture_free(fixture);
}

static void what_is_not_stored_has_no_id(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *stream = client_ask(fixture, "GET", "/events", "", NULL);
    struct client *client = push(fixture, FIXTURE_JSON, "{\"data\":\"now\",\"ephemeral\":true}");

    (void)state;
    assert_string_equal(client->body,
                        "{\"id\":null,\"durability\":\"none\",\"duplicate\":false}\n");
    assert_int_equal(hub_committed(fixture->hub), 0);
    client_wait_for(stream, "data: now\n");
    fixture_free(fixture);
}

static void text_is_one_event_with_fields_in_the_query(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *stream = client_ask(fixture, "GET", "/events?topic=a", "", NULL);
    static const char *const headers[] = {TEXT, "", TEXT "Content-Encoding: identity\n"};

    (void)state;
    for (size_t i = 0; i < ROWS(headers); i++)
        assert_int_equal(
            client_ask(fixture, "POST", "/api/push?topic=a&event=greeting", headers[i], "hello")
                ->status,
            201);
    client_wait_for(stream, "event: greeting\ndata: hello\n");
    fixture_free(fixture);
}

static void a_body_may_be_large_and_is_read_beside_the_loop(void **state)
{
    static char body[60000];
    struct fixture *fixture = fixture_new("limits.event_bytes=60000");

    (void)state;
    memset(body, 'x', sizeof(body) - 1);
    memcpy(body, "{\"data\":\"", 9);
    memcpy(body + sizeof(body) - 3, "\"}", 2);
    struct client *client = push(fixture, FIXTURE_JSON, body);
    assert_int_equal(client->status, 201);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_ASIDE), 1);
    body[sizeof(body) - 2] = ']';
    client_is_refused(push(fixture, FIXTURE_JSON, body), 400, "invalid_json");
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_ASIDE), 2);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED), 1);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void a_client_may_leave_while_its_body_is_read(void **state)
{
    static char body[8000];
    struct fixture *fixture = fixture_new("");

    (void)state;
    memset(body, 'x', sizeof(body));
    struct client *client = client_begin(fixture, "POST", "/api/push?topic=a", TEXT, sizeof(body));
    fake_mhd_piece(client->connection, body, sizeof(body));
    fake_mhd_end_body(client->connection);
    client_hang_up(client);
    client_wait(client);
    assert_true(client_is_closed(client));
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* Many that come in one turn: the loop reads some, and others have the rest. */
static void the_loop_reads_so_much_in_a_turn(void **state)
{
    enum { CLIENTS = 50, BYTES = 4000 };
    static char body[BYTES];
    struct fixture *fixture = fixture_new("");
    struct client *clients[CLIENTS];

    (void)state;
    memset(body, 'x', BYTES);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_begin(fixture, "POST", "/api/push?topic=a", TEXT, BYTES);
    for (int i = 0; i < CLIENTS; i++) {
        fake_mhd_piece(clients[i]->connection, body, BYTES);
        fake_mhd_end_body(clients[i]->connection);
    }
    for (int i = 0; i < CLIENTS; i++) {
        client_wait(clients[i]);
        assert_int_equal(clients[i]->status, 201);
    }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_ASIDE), CLIENTS - 131072 / BYTES);
    assert_int_equal(hub_committed(fixture->hub), CLIENTS);
    fixture_free(fixture);
}

/* ---- what is refused ---- */

static void what_kind_of_body_is_refused_before_it_comes(void **state)
{
    static const struct {
        const char *headers, *code;
    } cases[] = {
        {"Content-Type: multipart/form-data; boundary=x\n", "unsupported_type"},
        {"Content-Type: MULTIPART/mixed\n", "unsupported_type"},
        {FIXTURE_JSON "Content-Encoding: gzip\n", "unsupported_encoding"},
        {FIXTURE_JSON "Content-Encoding: identity, gzip\n", "unsupported_encoding"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = client_begin(fixture, "POST", "/api/push", cases[i].headers, 1000);
        client_wait(client);
        client_is_refused(client, 415, cases[i].code);
        assert_true(client_is_closed(client));
    }
    fixture_free(fixture);
}

static void what_a_body_has_wrong_is_refused(void **state)
{
    static const struct {
        const char *headers, *body;
        unsigned status;
        const char *code, *pointer;
    } cases[] = {
        {FIXTURE_JSON, NULL, 400, "invalid_json", NULL},
        {FIXTURE_JSON, "{", 400, "invalid_json", NULL},
        {FIXTURE_JSON, EVENT EVENT, 400, "invalid_json", NULL},
        {FIXTURE_JSON, "[[[[[[[[[[]]]]]]]]]]", 400, "json_too_deep", NULL},
        {FIXTURE_JSON, "\"x\"", 422, "not_an_object", NULL},
        {FIXTURE_JSON, "[]", 422, "empty_array", NULL},
        {FIXTURE_JSON, "{\"data\":\"x\",\"topic\":\"\"}", 422, "invalid_field", "/topic"},
        {FIXTURE_JSON, "{\"data\":\"x\",\"nonsense\":1}", 422, "invalid_field", "/nonsense"},
        {FIXTURE_JSON, "[{\"data\":\"x\"},{\"data\":\"x\",\"ttl\":-1}]", 422, "invalid_field",
         "/1/ttl"},
        {FIXTURE_JSON, "{\"data\":\"xxxxxxxxxxxxxxxxxxxxx\"}", 413, "event_too_large", "/data"},
        {TEXT, "xxxxxxxxxxxxxxxxxxxxx", 413, "event_too_large", NULL},
        {TEXT, "\xff", 400, "invalid_utf8", NULL},
        {"Content-Type: application/x-www-form-urlencoded\n", "{\"data\":\"x\"}", 415,
         "looks_like_json", NULL},
        {"Content-Type: application/x-www-form-urlencoded\n", "data=x", 415, "looks_like_form",
         NULL},
    };
    struct fixture *fixture = fixture_new("limits.event_bytes=20 limits.json_depth=8");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = push(fixture, cases[i].headers, cases[i].body);

        client_is_refused(client, cases[i].status, cases[i].code);
        if (cases[i].pointer != NULL)
            assert_pointer(client, cases[i].pointer);
        assert_true(client->is_idle); /* the body was read, so the connection is kept */
    }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED), ROWS(cases));
    assert_int_equal(hub_committed(fixture->hub), 0);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void what_is_no_json_is_told_where(void **state)
{
    struct fixture *fixture = fixture_new("");
    json_t *json = client_json(push(fixture, FIXTURE_JSON, "{\n  \"data\": x}"));

    (void)state;
    assert_int_equal(json_integer_value(json_object_get(json, "line")), 2);
    assert_true(json_integer_value(json_object_get(json, "column")) > 0);
    json_decref(json);
    fixture_free(fixture);
}

static void one_bad_event_is_the_end_of_all(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client =
        push(fixture, FIXTURE_JSON, "[{\"data\":\"a\"},{\"data\":\"b\"},{\"data\":7,\"id\":1}]");

    (void)state;
    client_is_refused(client, 422, "invalid_field");
    assert_int_equal(hub_committed(fixture->hub), 0);
    assert_int_equal(usage_of(fixture->history).events_n, 0);
    fixture_free(fixture);
}

static void so_many_events_and_no_more(void **state)
{
    struct fixture *fixture = fixture_new("");
    char *body = malloc(HUB_OP_EVENTS_MAX * 16 + 64);

    (void)state;
    for (int more = 0; more < 2; more++) {
        strcpy(body, "[");
        char *at = body + 1;
        for (int i = 0; i < HUB_OP_EVENTS_MAX + more; i++)
            at = stpcpy(stpcpy(at, i > 0 ? "," : ""), EVENT);
        strcpy(at, "]");
        struct client *client = push(fixture, FIXTURE_JSON, body);
        if (more)
            client_is_refused(client, 422, "too_many_events");
        else
            assert_int_equal(client->status, 201);
    }
    assert_int_equal(hub_committed(fixture->hub), HUB_OP_EVENTS_MAX);
    free(body);
    fixture_free(fixture);
}

static void fields_stand_in_the_query_or_in_the_json(void **state)
{
    struct fixture *fixture = fixture_new("");
    char target[512] = "/api/push?topic=a";

    (void)state;
    client_is_refused(client_ask(fixture, "POST", target, FIXTURE_JSON, EVENT), 422,
                      "fields_in_query");
    for (int i = 0; i < 63; i++)
        strcat(target, "&x=1");
    client_is_refused(client_ask(fixture, "POST", target, TEXT, "x"), 422, "invalid_field");
    strcat(target, "&x=1");
    client_is_refused(client_ask(fixture, "POST", target, TEXT, "x"), 422, "too_many_fields");
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* ---- keys ---- */

static void the_same_key_with_the_same_content_is_a_repeat(void **state)
{
    static const char *const headers[] = {KEY("k"), KEY("\"k\""), KEY("  k  "), KEY("\"\\k\"")};
    struct fixture *fixture = fixture_new("");
    struct client *first = push(fixture, KEY("k"), EVENT);

    (void)state;
    assert_true(client_has(first, "\"duplicate\":false"));
    for (size_t i = 0; i < ROWS(headers); i++) {
        struct client *again = push(fixture, headers[i], EVENT);
        assert_int_equal(again->status, 201);
        assert_true(client_has(again, "-0000000000000001\""));
        assert_true(client_has(again, "\"duplicate\":true"));
    }
    assert_int_equal(hub_committed(fixture->hub), 1);
    struct client *many = push(fixture, FIXTURE_JSON,
                               "[{\"data\":\"y\"},{\"data\":\"x\",\"idempotency_key\":\"k\"}]");
    assert_int_equal(many->status, 201);
    assert_true(client_has(many, "\"duplicates\":[false,true]"));
    assert_true(client_has(many, "-0000000000000001\"]"));
    fixture_free(fixture);
}

static void the_same_key_with_other_content_is_a_conflict(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    assert_int_equal(push(fixture, KEY("k"), EVENT)->status, 201);
    struct client *client = push(fixture, KEY("k"), "{\"data\":\"y\"}");
    client_is_refused(client, 422, "idempotency_conflict");
    assert_pointer(client, "/idempotency_key");
    client = push(fixture, FIXTURE_JSON,
                  "[{\"data\":\"z\"},{\"data\":\"y\",\"idempotency_key\":\"k\"}]");
    client_is_refused(client, 422, "idempotency_conflict");
    assert_pointer(client, "/1/idempotency_key");
    assert_int_equal(hub_committed(fixture->hub), 1);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED), 2);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void a_key_that_is_none_is_refused(void **state)
{
    char longest[512] = FIXTURE_JSON "Idempotency-Key: ";
    struct fixture *fixture = fixture_new("");
    size_t n = strlen(longest);

    (void)state;
    client_is_refused(push(fixture, KEY("\"k"), EVENT), 400, "invalid_key");
    client_is_refused(push(fixture, KEY("\""), EVENT), 400, "invalid_key");
    client_is_refused(push(fixture, KEY("a") "Idempotency-Key: a\n", EVENT), 400, "invalid_key");
    client_is_refused(push(fixture, KEY("k"), "[" EVENT "," EVENT "]"), 422, "key_of_many");
    memset(longest + n, 'k', LONGEST_KEY);
    strcpy(longest + n + LONGEST_KEY, "\n");
    assert_int_equal(push(fixture, longest, EVENT)->status, 201);
    strcpy(longest + n + LONGEST_KEY, "k\n");
    assert_int_equal(push(fixture, longest, EVENT)->status, 422);
    assert_int_equal(hub_committed(fixture->hub), 1);
    fixture_free(fixture);
}

/* ---- the store ---- */

static void what_the_store_says_is_told(void **state)
{
    static const struct {
        int error;
        unsigned status;
        const char *code;
    } cases[] = {
        {-ENOSPC, 507, "disk_reserve"},      {-ESTALE, 503, "store_gone"},
        {-EIO, 503, "store_failed"},         {-ENOMEM, 503, "store_failed"},
        {-ECONNRESET, 503, "handover_lost"}, {-ESHUTDOWN, 503, "stopping"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        fixture->append_error = cases[i].error;
        struct client *client = push(fixture, FIXTURE_JSON, EVENT);
        client_is_refused(client, cases[i].status, cases[i].code);
        assert_retry_after(client);
        assert_true(client->is_idle);
    }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED_DISK), 1);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_FAILED), ROWS(cases) - 1);
    assert_int_equal(push(fixture, FIXTURE_JSON, "{\"data\":\"x\",\"ephemeral\":true}")->status,
                     201);
    fixture->append_error = 0;
    assert_int_equal(push(fixture, FIXTURE_JSON, EVENT)->status, 201);
    assert_int_equal(hub_committed(fixture->hub), 1);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void a_full_disk_is_told_with_its_figures(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture->append_error = -ENOSPC;
    fixture->history->trouble = HISTORY_NO_ROOM;
    fixture->history->free_bytes = 2048;
    fixture->history->disk_reserve = 4096;
    fixture->history->asked_bytes = 1025;
    struct client *client = push(fixture, FIXTURE_JSON, EVENT);
    client_is_refused(client, 507, "disk_reserve");
    assert_true(client_has(client, "2 KiB are free"));
    assert_true(client_has(client, "history.disk_reserve is 4 KiB"));
    assert_true(client_has(client, "takes up to 2 KiB"));
    fixture_free(fixture);
}

static void a_hub_that_has_stopped_says_so(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    hub_stop(fixture->hub);
    struct client *client = push(fixture, FIXTURE_JSON, EVENT);
    client_is_refused(client, 503, "stopping");
    assert_retry_after(client);
    client_is_refused(client_ask(fixture, "GET", "/readyz", "", NULL), 503, "not_ready");
    fixture_free(fixture);
}

static void readers_that_have_stopped_say_so(void **state)
{
    static char body[8000];
    struct fixture *fixture = fixture_new("");

    (void)state;
    memset(body, 'x', sizeof(body) - 1);
    thread_pool_stop(fixture->shared.body_readers);
    struct client *client = push(fixture, TEXT, body);
    client_is_refused(client, 503, "stopping");
    assert_retry_after(client);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_FAILED), 1);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* ---- overload ---- */

static void a_full_queue_sheds(void **state)
{
    struct fixture *fixture = fixture_new("limits.queue_bytes=1M");
    size_t taken = (1 << 20) - 300;

    (void)state;
    assert_true(hub_admit(fixture->hub, taken, NULL));
    assert_int_equal(push(fixture, FIXTURE_JSON, EVENT)->status, 201); /* 268 bytes */
    assert_true(hub_admit(fixture->hub, 100, NULL));
    struct client *client = push(fixture, FIXTURE_JSON, EVENT);
    client_is_refused(client, 503, "overloaded");
    assert_retry_after(client);
    assert_true(client->is_idle);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_SHED), 1);
    hub_charge(fixture->hub, 100, 0);
    assert_int_equal(push(fixture, FIXTURE_JSON, EVENT)->status, 201);
    hub_charge(fixture->hub, taken, 0);
    assert_int_equal(hub_committed(fixture->hub), 2);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void a_large_body_that_would_be_shed_is_not_read(void **state)
{
    struct fixture *fixture = fixture_new("limits.queue_bytes=1M");
    size_t taken = (1 << 20) - 1000;

    (void)state;
    assert_true(hub_admit(fixture->hub, taken, NULL));
    assert_int_equal(client_begin(fixture, "POST", "/api/push?topic=a", TEXT, 65536)->status, 0);
    struct client *client = client_begin(fixture, "POST", "/api/push?topic=a", TEXT, 65537);
    client_wait(client);
    client_is_refused(client, 503, "overloaded");
    assert_retry_after(client);
    assert_true(client_is_closed(client));
    hub_charge(fixture->hub, taken, 0);
    assert_int_equal(client_begin(fixture, "POST", "/api/push?topic=a", TEXT, 65537)->status, 0);
    fixture_free(fixture);
}

static void memory_may_run_short_before_a_body_is_read(void **state)
{
    static char large[8000];
    static const char *bodies[] = {EVENT, large};
    struct fixture *fixture = fixture_new("");

    (void)state;
    memset(large, ' ', sizeof(large) - 1);
    for (size_t i = 0; i < 2; i++) {
        struct client *client =
            client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, (long)strlen(bodies[i]));
        client_send(client, bodies[i], strlen(bodies[i]));
        fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
        client_send_end(client);
        client_wait(client);
        assert_int_equal(client->status, 503);
        assert_true(client_has(client, "\"memory_short\""));
        assert_retry_after(client);
        fixture_fill_memory(fixture, MEMORY_BUDGET_FINE);
    }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_SHED), 2);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED_MEMORY), 2);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_ASIDE), 0);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void events_are_counted_as_long_as_somebody_has_them(void **state)
{
    struct fixture *fixture = fixture_new("history.max_events=1 stream.ring_events=64");
    _Atomic int64_t *counted = memory_budget_counter(fixture->memory, MEMORY_BUDGET_EVENTS);

    (void)state;
    assert_int_equal(*counted, 0);
    push(fixture, FIXTURE_JSON, EVENT);
    assert_true(*counted > 0);
    assert_int_equal(*memory_budget_counter(fixture->memory, MEMORY_BUDGET_PARSING), 0);
    assert_int_equal(*memory_budget_counter(fixture->memory, MEMORY_BUDGET_BODIES), 0);
    fixture_free(fixture); /* which checks that none is left */
}

/* ---- a probe ---- */

static void a_probe_goes_the_way_of_a_publish(void **state)
{
    struct fixture *fixture = fixture_new("limits.queue_bytes=1M");
    static const enum history_trouble troubles[] = {HISTORY_GONE, HISTORY_DAMAGED,
                                                    HISTORY_NO_MEMORY, HISTORY_FAILED};

    (void)state;
    assert_string_equal(client_ask(fixture, "GET", "/readyz", "", NULL)->body,
                        "{\"status\":\"ready\"}\n");
    fixture->history->trouble = HISTORY_NO_ROOM;
    assert_string_equal(client_ask(fixture, "GET", "/readyz", "", NULL)->body,
                        "{\"status\":\"ready\",\"publishing\":\"no_room\"}\n");
    for (size_t i = 0; i < ROWS(troubles); i++) {
        fixture->history->trouble = troubles[i];
        struct client *client = client_ask(fixture, "GET", "/readyz", "", NULL);
        client_is_refused(client, 503, "not_ready");
        assert_string_equal(client_header(client, "Retry-After"), "1");
    }
    fixture->history->trouble = HISTORY_FINE;
    assert_true(hub_admit(fixture->hub, 2 << 20, NULL));
    client_is_refused(client_ask(fixture, "GET", "/readyz", "", NULL), 503, "not_ready");
    hub_charge(fixture->hub, 2 << 20, 0);
    fixture->shared.draining = true;
    client_is_refused(client_ask(fixture, "GET", "/readyz", "", NULL), 503, "not_ready");
    fixture->shared.handed_over = true; /* the other process is ready */
    assert_int_equal(client_ask(fixture, "GET", "/readyz", "", NULL)->status, 200);
    assert_int_equal(hub_committed(fixture->hub), 0);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_event_is_answered_with_its_id),
        cmocka_unit_test(several_events_are_answered_with_their_ids),
        cmocka_unit_test(what_is_not_stored_has_no_id),
        cmocka_unit_test(text_is_one_event_with_fields_in_the_query),
        cmocka_unit_test(a_body_may_be_large_and_is_read_beside_the_loop),
        cmocka_unit_test(a_client_may_leave_while_its_body_is_read),
        cmocka_unit_test(the_loop_reads_so_much_in_a_turn),
        cmocka_unit_test(what_kind_of_body_is_refused_before_it_comes),
        cmocka_unit_test(what_a_body_has_wrong_is_refused),
        cmocka_unit_test(what_is_no_json_is_told_where),
        cmocka_unit_test(one_bad_event_is_the_end_of_all),
        cmocka_unit_test(so_many_events_and_no_more),
        cmocka_unit_test(fields_stand_in_the_query_or_in_the_json),
        cmocka_unit_test(the_same_key_with_the_same_content_is_a_repeat),
        cmocka_unit_test(the_same_key_with_other_content_is_a_conflict),
        cmocka_unit_test(a_key_that_is_none_is_refused),
        cmocka_unit_test(what_the_store_says_is_told),
        cmocka_unit_test(a_full_disk_is_told_with_its_figures),
        cmocka_unit_test(a_hub_that_has_stopped_says_so),
        cmocka_unit_test(readers_that_have_stopped_say_so),
        cmocka_unit_test(a_full_queue_sheds),
        cmocka_unit_test(a_large_body_that_would_be_shed_is_not_read),
        cmocka_unit_test(memory_may_run_short_before_a_body_is_read),
        cmocka_unit_test(events_are_counted_as_long_as_somebody_has_them),
        cmocka_unit_test(a_probe_goes_the_way_of_a_publish),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
