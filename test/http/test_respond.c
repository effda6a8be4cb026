/* SPDX-License-Identifier: MIT */
/* The headers that answers have, which of them are used again, and what happens without memory. */
#include "config.h"
#include "http/respond.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"

#define FROM_LISTED "Origin: " FIXTURE_ORIGIN "\n"
#define FROM_FOREIGN "Origin: " FIXTURE_FOREIGN "\n"
#define EVENT "{\"data\":\"x\"}"

static struct client *publish(struct fixture *fixture, const char *headers)
{
    char lines[256];

    snprintf(lines, sizeof(lines), FIXTURE_JSON "%s", headers);
    struct client *client = client_ask(fixture, "POST", "/api/push", lines, EVENT);
    assert_int_equal(client->status, 201);
    return client;
}

static void assert_retry_after(const struct client *client, int least, int most)
{
    const char *text = client_header(client, "Retry-After");

    assert_non_null(text);
    assert_in_range(atoi(text), least, most);
}

/* ---- headers ---- */

static void every_answer_has_the_headers_that_all_have(void **state)
{
    static const char *const paths[] = {"/healthz", "/api/stats", "/nothing", "/api/streams"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct client *client = client_ask(fixture, "GET", paths[i], "", NULL);

        assert_string_equal(client_header(client, "X-Content-Type-Options"), "nosniff");
        assert_string_equal(client_header(client, "Cache-Control"), "no-store");
        assert_string_equal(client_header(client, "Vary"), "Origin");
        assert_null(client_header(client, "Access-Control-Allow-Origin"));
        assert_null(client_header(client, "Connection"));
        assert_null(client_header(client, "Referrer-Policy"));
    }
    fixture_free(fixture);
}

static void json_ends_with_a_line_end(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);

    (void)state;
    assert_int_equal(client->status, 200);
    assert_string_equal(client_header(client, "Content-Type"), "application/json");
    assert_string_equal(client->body, "{\"status\":\"ok\"}\n");
    client = client_ask(fixture, "GET", "/nothing", "", NULL);
    assert_int_equal(client->body[client->body_n - 1], '\n');
    fixture_free(fixture);
}

static void pages_of_listed_origins_may_read_answers(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/nothing", FROM_LISTED, NULL);

    (void)state;
    assert_string_equal(client_header(client, "Access-Control-Allow-Origin"), FIXTURE_ORIGIN);
    assert_string_equal(client_header(client, "Access-Control-Expose-Headers"), "Retry-After");
    assert_null(client_header(client, "Access-Control-Allow-Credentials"));
    client = client_ask(fixture, "GET", "/nothing", FROM_FOREIGN, NULL);
    assert_null(client_header(client, "Access-Control-Allow-Origin"));
    assert_null(client_header(client, "Access-Control-Expose-Headers"));
    client = client_ask(fixture, "GET", "/nothing", "Origin: null\n", NULL);
    assert_null(client_header(client, "Access-Control-Allow-Origin"));
    fixture_free(fixture);
}

static void where_a_cookie_counts_credentials_may_be_sent(void **state)
{
    struct fixture *fixture = fixture_new("auth.cookie=session");
    struct client *client = client_ask(fixture, "GET", "/nothing", FROM_LISTED, NULL);

    (void)state;
    assert_string_equal(client_header(client, "Access-Control-Allow-Credentials"), "true");
    client = client_ask(fixture, "GET", "/nothing", FROM_FOREIGN, NULL);
    assert_null(client_header(client, "Access-Control-Allow-Credentials"));
    fixture_free(fixture);
}

static void a_url_with_a_credential_is_no_referrer(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    struct client *client = client_ask(fixture, "GET", "/events?access_token=x", "", NULL);

    (void)state;
    client_is_refused(client, 401, "invalid_token");
    assert_string_equal(client_header(client, "Referrer-Policy"), "no-referrer");
    fixture_free(fixture);
}

/* ---- OPTIONS and HEAD ---- */

static void preflight_tells_a_listed_origin_what_it_may_send(void **state)
{
    struct fixture *fixture = fixture_new("auth.allow_headers=x-trace,x-span");
    struct client *client = client_ask(fixture, "OPTIONS", "/api/push", FROM_LISTED, NULL);

    (void)state;
    assert_int_equal(client->status, 204);
    assert_int_equal(client->body_n, 0);
    assert_string_equal(client_header(client, "Allow"), "POST, OPTIONS");
    assert_string_equal(client_header(client, "Access-Control-Allow-Methods"), "POST, OPTIONS");
    assert_string_equal(client_header(client, "Access-Control-Allow-Headers"),
                        "authorization, cache-control, content-type, idempotency-key, "
                        "last-event-id, x-trace, x-span");
    assert_string_equal(client_header(client, "Access-Control-Max-Age"), "600");
    assert_string_equal(client_header(client, "Access-Control-Allow-Origin"), FIXTURE_ORIGIN);
    fixture_free(fixture);
}

static void preflight_tells_others_nothing_but_the_methods(void **state)
{
    static const char *const origins[] = {"", FROM_FOREIGN};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct client *client = client_ask(fixture, "OPTIONS", "/api/push", origins[i], NULL);

        assert_int_equal(client->status, 204);
        assert_string_equal(client_header(client, "Allow"), "POST, OPTIONS");
        assert_null(client_header(client, "Access-Control-Allow-Methods"));
        assert_null(client_header(client, "Access-Control-Allow-Headers"));
        assert_null(client_header(client, "Access-Control-Max-Age"));
    }
    fixture_free(fixture);
}

static void head_has_the_headers_and_no_body(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "HEAD", "/healthz", FROM_LISTED, NULL);

    (void)state;
    assert_int_equal(client->status, 200);
    assert_int_equal(client->body_n, 0);
    assert_string_equal(client_header(client, "Content-Type"), "application/json");
    assert_string_equal(client_header(client, "Access-Control-Allow-Origin"), FIXTURE_ORIGIN);
    fixture_free(fixture);
}

/* ---- the connection ---- */

static void a_connection_is_kept_for_the_next_request(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_false(client_is_closed(client));
        assert_true(client->is_idle);
        client_ask_again(client, "GET", "/nothing", "", NULL);
        client_is_refused(client, 404, "not_found");
        client_ask_again(client, "POST", "/api/push", FIXTURE_JSON, EVENT);
        assert_int_equal(client->status, 201);
    }
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS), 7);
    fixture_free(fixture);
}

static void the_last_answer_says_that_the_connection_ends(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture->is_last = true;
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);
    assert_string_equal(client_header(client, "Connection"), "close");
    assert_true(client_is_closed(client));
    assert_int_equal(fixture_lingering(fixture), 1);
    fixture_free(fixture);
}

static void a_gateway_that_stops_keeps_no_connection(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture->shared.draining = true;
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);
    assert_string_equal(client_header(client, "Connection"), "close");
    assert_true(client_is_closed(client));
    fixture_free(fixture);
}

/* ---- answers that are used again ---- */

static void the_same_answer_is_used_again_with_other_bytes(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *first = publish(fixture, "");
    size_t made = fake_mhd_responses_made;
    struct client *second = publish(fixture, "");

    (void)state;
    assert_int_equal(fake_mhd_responses_made, made);
    assert_int_equal(first->body_n, second->body_n);
    assert_string_not_equal(first->body, second->body);
    assert_int_equal(first->headers->n, second->headers->n);
    assert_string_equal(client_header(second, "Content-Type"), "application/json");
    assert_string_equal(client_header(second, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(client_header(second, "Vary"), "Origin");
    fixture_free(fixture);
}

static void an_answer_under_way_is_not_used_again(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, 12);

    (void)state;
    client->connection->takes_no_answer = true;
    client_send(client, EVENT, 12);
    client_send_end(client);
    client_wait(client);
    assert_int_equal(client->status, 201);
    assert_false(client->connection->is_complete);
    struct client *other = publish(fixture, "");
    client->connection->takes_no_answer = false;
    client_send_end(client);
    client_wait(client);
    assert_true(client_has(client, "-0000000000000001\""));
    assert_true(client_has(other, "-0000000000000002\""));
    fixture_free(fixture);
}

static void an_answer_with_headers_of_its_own_is_made_anew(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    publish(fixture, "");
    size_t made = fake_mhd_responses_made;
    struct client *client = publish(fixture, FROM_LISTED);
    assert_int_equal(fake_mhd_responses_made, made + 1);
    assert_string_equal(client_header(client, "Access-Control-Allow-Origin"), FIXTURE_ORIGIN);
    fixture->is_last = true;
    client = publish(fixture, "");
    assert_int_equal(fake_mhd_responses_made, made + 2);
    assert_string_equal(client_header(client, "Connection"), "close");
    fixture->is_last = false;
    client = publish(fixture, "");
    assert_int_equal(fake_mhd_responses_made, made + 2);
    assert_null(client_header(client, "Connection"));
    assert_null(client_header(client, "Access-Control-Allow-Origin"));
    fixture_free(fixture);
}

static void a_long_answer_is_made_anew(void **state)
{
    static const char many[] =
        "[{\"data\":\"1\"},{\"data\":\"2\"},{\"data\":\"3\"},{\"data\":\"4\"},"
        "{\"data\":\"5\"},{\"data\":\"6\"},{\"data\":\"7\"}]";
    struct fixture *fixture = fixture_new("");

    (void)state;
    struct client *first = client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, many);
    size_t made = fake_mhd_responses_made;
    struct client *second = client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, many);
    assert_int_equal(first->status, 201);
    assert_true(second->body_n > 192);
    assert_int_equal(fake_mhd_responses_made, made + 1);
    fixture_free(fixture);
}

/* ---- without memory ---- */

static void without_a_response_the_connection_is_closed(void **state)
{
    static const char *const paths[] = {"/healthz", "/nothing"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fake_mhd_faults.responses = 1;
        struct client *client = client_ask(fixture, "GET", paths[i], "", NULL);
        assert_int_equal(client->status, 0);
        assert_true(client_is_closed(client));
    }
    fake_mhd_faults.responses = 1;
    assert_true(client_is_closed(client_ask(fixture, "OPTIONS", "/healthz", "", NULL)));
    fake_mhd_faults.responses = 1;
    assert_true(client_is_closed(
        client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, EVENT))); /* it is stored */
    assert_int_equal(hub_committed(fixture->hub), 1);
    fixture_free(fixture);
}

static void an_answer_that_is_not_queued_closes_the_connection(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fake_mhd_faults.queues = 1;
    struct client *client = client_ask(fixture, "GET", "/nothing", "", NULL);
    assert_int_equal(client->status, 0);
    assert_true(client_is_closed(client));
    fake_mhd_faults.queues = 1;
    client = client_ask(fixture, "POST", "/api/push", FIXTURE_JSON, EVENT);
    assert_true(client_is_closed(client));
    publish(fixture, "");
    fixture_free(fixture);
}

static void where_memory_is_full_an_answer_is_a_small_one(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
    struct client *client = client_ask(fixture, "GET", "/api/stats", "", NULL);
    client_is_refused(client, 503, "memory_short");
    assert_retry_after(client, 1, 5);
    assert_int_equal(fixture_stat(fixture, STATS_ANSWERS_REFUSED_MEMORY), 1);
    fixture_fill_memory(fixture, MEMORY_BUDGET_SCARCE);
    assert_int_equal(client_ask(fixture, "GET", "/api/stats", "", NULL)->status, 200);
    fixture_free(fixture);
}

static void refusals_are_counted_by_their_class(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    client_ask(fixture, "GET", "/healthz", "", NULL);
    client_ask(fixture, "GET", "/nothing", "", NULL);
    client_ask(fixture, "DELETE", "/healthz", "", NULL);
    fixture->shared.draining = true;
    client_is_refused(client_ask(fixture, "GET", "/readyz", "", NULL), 503, "not_ready");
    assert_int_equal(fixture_stat(fixture, STATS_RESPONSES_4XX), 2);
    assert_int_equal(fixture_stat(fixture, STATS_RESPONSES_5XX), 1);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_the_headers_that_all_have),
        cmocka_unit_test(json_ends_with_a_line_end),
        cmocka_unit_test(pages_of_listed_origins_may_read_answers),
        cmocka_unit_test(where_a_cookie_counts_credentials_may_be_sent),
        cmocka_unit_test(a_url_with_a_credential_is_no_referrer),
        cmocka_unit_test(preflight_tells_a_listed_origin_what_it_may_send),
        cmocka_unit_test(preflight_tells_others_nothing_but_the_methods),
        cmocka_unit_test(head_has_the_headers_and_no_body),
        cmocka_unit_test(a_connection_is_kept_for_the_next_request),
        cmocka_unit_test(the_last_answer_says_that_the_connection_ends),
        cmocka_unit_test(a_gateway_that_stops_keeps_no_connection),
        cmocka_unit_test(the_same_answer_is_used_again_with_other_bytes),
        cmocka_unit_test(an_answer_under_way_is_not_used_again),
        cmocka_unit_test(an_answer_with_headers_of_its_own_is_made_anew),
        cmocka_unit_test(a_long_answer_is_made_anew),
        cmocka_unit_test(without_a_response_the_connection_is_closed),
        cmocka_unit_test(an_answer_that_is_not_queued_closes_the_connection),
        cmocka_unit_test(where_memory_is_full_an_answer_is_a_small_one),
        cmocka_unit_test(refusals_are_counted_by_their_class),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
