/* SPDX-License-Identifier: MIT */
/* Method and path to handler, and the rules that hold for all requests. */
#include "config.h"
#include "api/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define FROM_LISTED "Origin: " FIXTURE_ORIGIN "\n"
#define FROM_FOREIGN "Origin: " FIXTURE_FOREIGN "\n"
#define EVENT "{\"data\":\"x\"}"

static const struct {
    const char *path, *allow;
} paths[] = {
    {"/events", "GET, HEAD, OPTIONS"},
    {"/api/push", "POST, OPTIONS"},
    {"/api/history", "GET, HEAD, OPTIONS"},
    {"/api/stats", "GET, HEAD, OPTIONS"},
    {"/api/streams", "GET, HEAD, DELETE, OPTIONS"},
    {"/api/streams/0000000000000001", "DELETE, OPTIONS"},
    {"/api/evictions", "GET, HEAD, OPTIONS"},
    {"/api/backup", "POST, OPTIONS"},
    {"/api/tickets", "POST, OPTIONS"},
    {"/healthz", "GET, HEAD, OPTIONS"},
    {"/readyz", "GET, HEAD, OPTIONS"},
    {"/", "GET, HEAD, OPTIONS"},
};

/* ---- methods ---- */

static void every_path_tells_what_it_takes(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(paths); i++) {
        struct client *client = client_ask(fixture, "OPTIONS", paths[i].path, "", NULL);

        assert_int_equal(client->status, 204);
        assert_string_equal(client_header(client, "Allow"), paths[i].allow);
        client = client_ask(fixture, "PATCH", paths[i].path, "", NULL);
        client_is_refused(client, 405, "method_not_allowed");
        assert_string_equal(client_header(client, "Allow"), paths[i].allow);
    }
    fixture_free(fixture);
}

static void a_method_that_a_path_does_not_take_is_refused(void **state)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "PUT", "get"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(paths); i++)
        for (size_t k = 0; k < ROWS(methods); k++) {
            if (strstr(paths[i].allow, methods[k]) != NULL)
                continue;
            struct client *client = client_ask(fixture, methods[k], paths[i].path, "", NULL);

            if (strcmp(methods[k], "HEAD") == 0)
                assert_int_equal(client->status, 405);
            else
                client_is_refused(client, 405, "method_not_allowed");
        }
    fixture_free(fixture);
}

static void what_a_path_takes_is_not_refused_for_its_method(void **state)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(paths); i++)
        for (size_t k = 0; k < ROWS(methods); k++)
            if (strstr(paths[i].allow, methods[k]) != NULL)
                assert_int_not_equal(
                    client_ask(fixture, methods[k], paths[i].path, "", NULL)->status, 405);
    fixture_free(fixture);
}

static void the_server_as_a_whole_has_options(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "OPTIONS", "*", "", NULL);

    (void)state;
    assert_int_equal(client->status, 204);
    assert_string_equal(client_header(client, "Allow"), "GET, HEAD, POST, DELETE, OPTIONS");
    fixture_free(fixture);
}

/* ---- paths ---- */

static void nothing_is_where_no_route_is(void **state)
{
    static const char *const unknown[] = {
        "/nothing",    "/events/",      "/EVENTS",     "/api",  "/api/",   "/api/push/",
        "/api/pushes", "/api/history/", "/healthz/",   "//",    "/%00",    "/events%00x",
        "/api/stats/", "/api/stream",   "/index.html", "/x?y=", "/%2e%2e/"};
    static const char *const methods[] = {"GET", "POST", "DELETE", "PUT", "OPTIONS"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(unknown); i++)
        for (size_t k = 0; k < ROWS(methods); k++) {
            if (strcmp(unknown[i], "/events%00x") == 0 || strcmp(unknown[i], "/%00") == 0)
                continue; /* see below */
            client_is_refused(client_ask(fixture, methods[k], unknown[i], "", NULL), 404,
                              "not_found");
        }
    client_is_refused(client_ask(fixture, "GET", "/", "", NULL), 404, "no_page");
    fixture_free(fixture);
}

static void a_path_is_decoded_before_it_is_looked_up(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "/%68ealthz", "", NULL)->status, 200);
    assert_int_equal(client_ask(fixture, "GET", "/healthz?x", "", NULL)->status, 200);
    fixture_free(fixture);
}

static void a_proxy_may_send_the_whole_url(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "http://localhost/healthz", "", NULL)->status, 200);
    assert_int_equal(client_ask(fixture, "GET", "HTTP://localhost/healthz", "", NULL)->status, 200);
    client_is_refused(client_ask(fixture, "GET", "http://localhost", "", NULL), 404, "no_page");
    fixture_free(fixture);
}

static void one_stream_is_named_by_sixteen_digits(void **state)
{
    static const char *const tails[] = {"",
                                        "1",
                                        "0000000000000000",
                                        "000000000000001",
                                        "00000000000000001",
                                        "000000000000000G",
                                        "000000000000000A",
                                        "0x00000000000001",
                                        "0000000000000001/"};
    struct fixture *fixture = fixture_new("");
    char path[64];

    (void)state;
    for (size_t i = 0; i < ROWS(tails); i++) {
        snprintf(path, sizeof(path), "/api/streams/%s", tails[i]);
        client_is_refused(client_ask(fixture, "DELETE", path, "", NULL), 404, "no_such_stream");
    }
    fixture_free(fixture);
}

/* ---- parameters ---- */

static void a_parameter_that_a_route_does_not_know_is_refused(void **state)
{
    static const struct {
        const char *method, *target;
    } cases[] = {
        {"GET", "/events?topics_=x"},
        {"GET", "/events?limit=1"},
        {"HEAD", "/events?x=1"},
        {"GET", "/api/history?since=1m"},
        {"GET", "/api/stats?limit=1"},
        {"GET", "/api/streams?after=x"},
        {"DELETE", "/api/streams?limit=1&user=u"},
        {"DELETE", "/api/streams/0000000000000001?user=u"},
        {"GET", "/api/evictions?user=u"},
        {"POST", "/api/backup?x=1"},
        {"POST", "/api/tickets?user=u"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = client_ask(fixture, cases[i].method, cases[i].target, "", NULL);

        if (strcmp(cases[i].method, "HEAD") == 0)
            assert_int_equal(client->status, 400);
        else
            client_is_refused(client, 400, "unknown_parameter");
    }
    fixture_free(fixture);
}

static void a_parameter_that_counts_once_is_refused_twice(void **state)
{
    static const struct {
        const char *method, *target;
    } cases[] = {
        {"GET", "/events?since=1m&since=2m"},       {"GET", "/events?ping=event&ping=event"},
        {"GET", "/events?heartbeat=5&heartbeat=5"}, {"GET", "/events?ticket=a&ticket=b"},
        {"GET", "/api/history?after=a&after=b"},    {"GET", "/api/history?limit=1&limit=1"},
        {"GET", "/api/streams?user=a&user=b"},      {"DELETE", "/api/streams?user=a&user=b"},
        {"GET", "/api/evictions?limit=1&limit=2"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        client_is_refused(client_ask(fixture, cases[i].method, cases[i].target, "", NULL), 400,
                          "repeated_parameter");
    fixture_free(fixture);
}

static void what_pages_and_proxies_add_passes(void **state)
{
    static const char *const targets[] = {"/api/stats?_=1", "/api/stats?utm_source=x&cb=1&v=2&",
                                          "/api/evictions?_=1&_=2", "/healthz?whatever=1",
                                          "/readyz?x=1&x=2"};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(targets); i++)
        assert_int_equal(client_ask(fixture, "GET", targets[i], "", NULL)->status, 200);
    fixture_free(fixture);
}

/* ---- names of the server ---- */

static void without_names_a_loopback_gateway_serves_loopback_names(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "/api/stats", "Host: 127.0.0.1:80\n", NULL)->status,
                     200);
    client_is_refused(client_ask(fixture, "GET", "/api/stats", "Host: evil.example\n", NULL), 421,
                      "misdirected");
    client_is_refused(client_ask(fixture, "GET", "/events", "Host: evil.example\n", NULL), 421,
                      "misdirected");
    client_is_refused(client_ask(fixture, "POST", "/api/push", "Host: evil.example\n", EVENT), 421,
                      "misdirected");
    assert_int_equal(client_ask(fixture, "GET", "/healthz", "Host: evil.example\n", NULL)->status,
                     200);
    assert_int_equal(client_ask(fixture, "GET", "/readyz", "Host: evil.example\n", NULL)->status,
                     200);
    fixture_free(fixture);
}

static void with_names_only_these_are_served(void **state)
{
    struct fixture *fixture = fixture_new("server.hosts=push.example");

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "/api/stats", "Host: push.example\n", NULL)->status,
                     200);
    assert_int_equal(
        client_ask(fixture, "GET", "/api/stats", "Host: PUSH.example:8080\n", NULL)->status, 200);
    client_is_refused(client_ask(fixture, "GET", "/api/stats", "Host: localhost\n", NULL), 421,
                      "misdirected");
    client_is_refused(client_ask(fixture, "OPTIONS", "/api/push", "Host: x\n", NULL), 421,
                      "misdirected");
    fixture_free(fixture);
}

static void a_gateway_on_the_network_without_names_serves_any(void **state)
{
    struct fixture *fixture = fixture_new("server.listen=0.0.0.0:8080 auth.mode=none");

    (void)state;
    assert_int_equal(client_ask(fixture, "GET", "/api/stats", "Host: any.example\n", NULL)->status,
                     200);
    fixture_free(fixture);
}

/* ---- origins ---- */

static void pages_of_other_sites_change_nothing(void **state)
{
    static const struct {
        const char *method, *target;
    } changes[] = {
        {"POST", "/api/push"},
        {"POST", "/api/backup"},
        {"POST", "/api/tickets"},
        {"DELETE", "/api/streams?user=u"},
        {"DELETE", "/api/streams/0000000000000001"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(changes); i++) {
        const char *method = changes[i].method, *target = changes[i].target;

        client_is_refused(client_ask(fixture, method, target, FROM_FOREIGN, NULL), 403,
                          "foreign_origin");
        client_is_refused(client_ask(fixture, method, target, "Origin: null\n", NULL), 403,
                          "foreign_origin");
        assert_int_not_equal(client_ask(fixture, method, target, FROM_LISTED, NULL)->status, 403);
        assert_int_not_equal(
            client_ask(fixture, method, target, "Origin: http://127.0.0.1:8080\n", NULL)->status,
            403);
    }
    assert_int_equal(client_ask(fixture, "GET", "/api/stats", FROM_FOREIGN, NULL)->status, 200);
    client_is_refused(client_ask(fixture, "POST", "/api/push", FROM_FOREIGN, EVENT), 403,
                      "foreign_origin");
    assert_int_equal(hub_committed(fixture->hub), 0);
    fixture_free(fixture);
}

/* ---- bodies ---- */

static void what_takes_no_body_refuses_one(void **state)
{
    static const struct {
        const char *method, *target;
    } cases[] = {
        {"GET", "/api/stats"},   {"GET", "/api/history"},
        {"GET", "/healthz"},     {"DELETE", "/api/streams?user=u"},
        {"POST", "/api/backup"}, {"GET", "/"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = client_ask(fixture, cases[i].method, cases[i].target, "", "x");

        client_is_refused(client, 413, "body_not_taken");
        assert_true(client_is_closed(client)); /* the body stays unread */
    }
    assert_int_equal(fixture_lingering(fixture), ROWS(cases));
    fixture_free(fixture);
}

static void chunks_without_a_body_are_none(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_begin(fixture, "GET", "/healthz", "", -1);

    (void)state;
    client_send_end(client);
    client_wait(client);
    assert_int_equal(client->status, 200);
    client = client_begin(fixture, "GET", "/healthz", "", -1);
    client_send(client, "x", 1);
    assert_int_equal(client->status, 413);
    assert_true(client->is_by_hand && client_is_closed(client));
    fixture_free(fixture);
}

static void a_body_beyond_the_limit_is_refused_before_it_comes(void **state)
{
    struct fixture *fixture = fixture_new("limits.body_bytes=20000 limits.event_bytes=20000");
    struct client *client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, 20001);

    (void)state;
    client_wait(client);
    client_is_refused(client, 413, "body_too_large");
    assert_true(client_has(client, "(20000)"));
    assert_true(client_is_closed(client));
    client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, 20000);
    assert_int_equal(client->status, 0);
    client = client_begin(fixture, "POST", "/api/tickets", FIXTURE_JSON, 20000);
    client_wait(client);
    client_is_refused(client, 413, "body_too_large");
    assert_true(client_has(client, "this request may have"));
    fixture_free(fixture);
}

static void a_length_beyond_all_numbers_is_too_large(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client =
        client_begin(fixture, "POST", "/api/push", "Content-Length: 9223372036854775807\n", 0);

    (void)state;
    client_wait(client);
    client_is_refused(client, 413, "body_too_large");
    fixture_free(fixture);
}

static void memory_decides_before_a_body_comes(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    fixture_fill_memory(fixture, MEMORY_BUDGET_SCARCE); /* small ones pass */
    assert_int_equal(client_begin(fixture, "POST", "/api/push", "", 16384)->status, 0);
    struct client *client = client_begin(fixture, "POST", "/api/push", "", 16385);
    client_wait(client);
    client_is_refused(client, 503, "memory_short");
    assert_in_range(atoi(client_header(client, "Retry-After")), 1, 5);
    client = client_begin(fixture, "POST", "/api/push", "", -1); /* as large as any */
    client_wait(client);
    client_is_refused(client, 503, "memory_short");
    fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
    client = client_begin(fixture, "POST", "/api/push", "", 1);
    client_wait(client);
    client_is_refused(client, 503, "memory_short");
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_SHED), 3);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED_MEMORY), 3);
    fixture_free(fixture);
}

static void only_streams_are_answered_in_the_first_call(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/events?since=no", "", NULL);

    (void)state;
    client_is_refused(client, 400, "invalid_since");
    assert_int_equal(client->connection->calls_n, 1);
    assert_true(client_is_closed(client));
    client = client_ask(fixture, "GET", "/nothing", "", NULL);
    assert_int_equal(client->connection->calls_n, 2);
    assert_false(client_is_closed(client));
    fixture_free(fixture);
}

static void a_connection_that_ends_is_counted_off_its_address(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);
    const struct peer peer = {.family = AF_INET, .address = {192, 0, 2, 1}};
    struct client_quota *quota = fixture->shared.client_quota;

    (void)state;
    assert_false(client_quota_add_connection(quota, &peer, 1));
    client_hang_up(client);
    client_wait(client);
    assert_true(client_quota_add_connection(quota, &peer, 1));
    client_quota_drop_connection(quota, &peer);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_tells_what_it_takes),
        cmocka_unit_test(a_method_that_a_path_does_not_take_is_refused),
        cmocka_unit_test(what_a_path_takes_is_not_refused_for_its_method),
        cmocka_unit_test(the_server_as_a_whole_has_options),
        cmocka_unit_test(nothing_is_where_no_route_is),
        cmocka_unit_test(a_path_is_decoded_before_it_is_looked_up),
        cmocka_unit_test(a_proxy_may_send_the_whole_url),
        cmocka_unit_test(one_stream_is_named_by_sixteen_digits),
        cmocka_unit_test(a_parameter_that_a_route_does_not_know_is_refused),
        cmocka_unit_test(a_parameter_that_counts_once_is_refused_twice),
        cmocka_unit_test(what_pages_and_proxies_add_passes),
        cmocka_unit_test(without_names_a_loopback_gateway_serves_loopback_names),
        cmocka_unit_test(with_names_only_these_are_served),
        cmocka_unit_test(a_gateway_on_the_network_without_names_serves_any),
        cmocka_unit_test(pages_of_other_sites_change_nothing),
        cmocka_unit_test(what_takes_no_body_refuses_one),
        cmocka_unit_test(chunks_without_a_body_are_none),
        cmocka_unit_test(a_body_beyond_the_limit_is_refused_before_it_comes),
        cmocka_unit_test(a_length_beyond_all_numbers_is_too_large),
        cmocka_unit_test(memory_decides_before_a_body_comes),
        cmocka_unit_test(only_streams_are_answered_in_the_first_call),
        cmocka_unit_test(a_connection_that_ends_is_counted_off_its_address),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
